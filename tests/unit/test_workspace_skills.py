"""Where skills are looked for, and what the head of a SKILL.md may say."""

from pathlib import Path

import pytest

from app_server.workspace.skills import NotASkill, Skill, SkillError, find_skills, read_head


def skill(folder: Path, name: str, text: str | None = None) -> Path:
    path = folder / name / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text(text or f"---\nname: {name}\ndescription: About {name}.\n---\nDo it.\n", encoding="utf-8")
    return path


def test_skills_come_from_the_folder_up_to_the_repository_and_from_the_home(tmp_path: Path) -> None:
    home, repository = tmp_path / "home", tmp_path / "repo"
    inner = repository / "a"
    (repository / ".git").mkdir(parents=True)
    near = skill(inner / ".codex" / "skills", "near")
    far = skill(repository / ".codex" / "skills", "far")
    own = skill(home / "skills", "own")
    skill(tmp_path / ".codex" / "skills", "outside")
    skill(home / "skills" / ".system", "bundled")

    skills, errors = find_skills(inner, home)

    assert errors == ()
    assert skills == (
        Skill(name="near", description="About near.", path=near, scope="repo"),
        Skill(name="far", description="About far.", path=far, scope="repo"),
        Skill(name="own", description="About own.", path=own, scope="user"),
    )


def test_outside_of_a_repository_only_the_folder_itself_counts(tmp_path: Path) -> None:
    skill(tmp_path / ".codex" / "skills", "above")
    inner = tmp_path / "inner"
    here = skill(inner / ".codex" / "skills", "here")

    skills, _ = find_skills(inner, tmp_path / "home")

    assert [one.path for one in skills] == [here]


def test_a_home_inside_of_a_project_is_not_read_twice(tmp_path: Path) -> None:
    own = skill(tmp_path / ".codex" / "skills", "own")

    skills, _ = find_skills(tmp_path, tmp_path / ".codex")

    assert skills == (Skill(name="own", description="About own.", path=own, scope="user"),)


def test_a_file_that_is_no_skill_is_told_and_the_others_count(tmp_path: Path) -> None:
    skills = tmp_path / ".codex" / "skills"
    broken, good = skill(skills, "broken", "Do it.\n"), skill(skills, "good")

    found, errors = find_skills(tmp_path, tmp_path / "home")

    why = "It has no front matter; begin the file with a line ---, name:, description: and a line ---."
    assert errors == (SkillError(path=broken, message=why),)
    assert [one.path for one in found] == [good]


@pytest.mark.parametrize(
    ("head", "name", "description"),
    [
        ("name: a\ndescription: One line.", "a", "One line."),
        ("name: \"a b\"\ndescription: 'It''s quoted: yes'", "a b", "It's quoted: yes"),
        ('name: a\ndescription: "Say \\"hi\\"."', "a", 'Say "hi".'),
        ("name: a # short\ndescription: Plain\n  and folded", "a", "Plain and folded"),
        ("description: |\n  First.\n\n  Second.\nname: a", "a", "First.\n\nSecond."),
        ("name: a\ndescription: >-\n  One\n  two.", "a", "One two."),
        ("name: a\nmetadata:\n  name: other\n  tags: [x]\nlicense: MIT\ndescription: D", "a", "D"),
        ("# a comment: here\nname: a\ndescription: See http://host/x", "a", "See http://host/x"),
    ],
)
def test_a_head_gives_name_and_description(head: str, name: str, description: str) -> None:
    assert read_head(f"---\n{head}\n---\nBody: text\n") == (name, description)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "no front matter"),
        ("name: a\n", "no front matter"),
        ("---\nname: a\ndescription: D\n", "has no end"),
        ("---\ndescription: D\n---\n", "has no name"),
        ("---\nname: a\ndescription:\n---\n", "has no description"),
        (f"---\nname: {'a' * 65}\ndescription: D\n---\n", "longer than 64"),
        (f"---\nname: a\ndescription: {'d' * 1025}\n---\n", "longer than 1024"),
    ],
)
def test_a_head_that_does_not_fit_says_what_to_write(text: str, fragment: str) -> None:
    with pytest.raises(NotASkill, match=fragment):
        read_head(text)


def test_a_folder_that_cannot_be_has_the_skills_of_the_user_alone(tmp_path: Path) -> None:
    for name in ("a\x00b", "x" * 5_000):
        assert find_skills(tmp_path / name, tmp_path / "home") == ((), ())
