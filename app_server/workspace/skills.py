"""Finds skills: folders with a SKILL.md, of the user and of a repository. Reads their heads; runs and caches nothing.

    <folder>/.codex/skills/<any>/SKILL.md    from the working directory up to the root of its git repository: scope repo
    <home>/skills/<any>/SKILL.md             scope user

A SKILL.md begins with front matter between two lines `---`: `name: …` and `description: …`, each a plain, a quoted or a
block text (`|`, `>`). What else YAML can do is not read. A file that does not fit is told with its cause. Blocking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from app_server.values import frozen

SKILL_FILE: Final = "SKILL.md"
MAX_SKILLS_PER_FOLDER: Final = 200
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_NAME_CHARS: Final = 64
_MAX_DESCRIPTION_CHARS: Final = 1024
_BLOCKS: Final = {"|": "\n", "|-": "\n", "|+": "\n", ">": " ", ">-": " ", ">+": " "}
"""The mark of a block text → what joins its lines."""

SkillScope = Literal["repo", "user"]


@frozen
class Skill:
    """One skill, as its front matter introduces it."""

    name: str
    description: str
    path: Path
    scope: SkillScope


@frozen
class SkillError:
    """A SKILL.md that cannot be used, and why."""

    path: Path
    message: str


class NotASkill(Exception):
    """The text of a SKILL.md does not fit; the message is a sentence."""


def find_skills(cwd: Path, home: Path) -> tuple[tuple[Skill, ...], tuple[SkillError, ...]]:
    """The skills that hold in a folder, those of the repository first, and the files that are none."""
    skills: list[Skill] = []
    errors: list[SkillError] = []
    seen: set[Path] = set()
    for scope, folder in _folders(cwd, home):
        for path in _files(folder):
            if (real := path.resolve()) in seen:
                continue
            seen.add(real)
            try:
                name, description = read_head(_head(path))
            except NotASkill as why:
                errors.append(SkillError(path=path, message=str(why)))
            else:
                skills.append(Skill(name=name, description=description, path=path, scope=scope))
    return tuple(skills), tuple(errors)


def read_head(text: str) -> tuple[str, str]:
    """Name and description of a skill. Raises NotASkill."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        raise NotASkill("It has no front matter; begin the file with a line ---, name:, description: and a line ---.")
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise NotASkill("Its front matter has no end; close it with a line ---.")
    fields = _fields(lines[1:end])
    for field, most in (("name", _MAX_NAME_CHARS), ("description", _MAX_DESCRIPTION_CHARS)):
        if not fields.get(field):
            raise NotASkill(f"Its front matter has no {field}; add a line {field}: … with a text.")
        if len(fields[field]) > most:
            raise NotASkill(f"Its {field} is longer than {most} characters; shorten it.")
    return fields["name"], fields["description"]


def _folders(cwd: Path, home: Path) -> Iterator[tuple[SkillScope, Path]]:
    for folder in _up_to_root(cwd.absolute()):
        if (own := folder / ".codex") != home:
            yield "repo", own / "skills"
    yield "user", home / "skills"


def _up_to_root(folder: Path) -> list[Path]:
    """The folder and those above it up to the root of its git repository; the folder alone where there is none."""
    folders = [folder, *folder.parents]
    root = next((at for at, parent in enumerate(folders) if os.path.exists(parent / ".git")), 0)
    return folders[: root + 1]


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(entry / SKILL_FILE for entry in folder.iterdir() if not entry.name.startswith("."))
        return [path for path in found if os.path.isfile(path)][:MAX_SKILLS_PER_FOLDER]
    except (OSError, ValueError):
        return []  # there is no such folder, it is not ours to read, or no folder could have such a name


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_HEAD_BYTES).decode(errors="replace")
    except OSError as error:
        cause = (error.strerror or "input error").lower()
        raise NotASkill(f"It cannot be read ({cause}); make the file readable.") from error


def _fields(lines: list[str]) -> dict[str, str]:
    """The texts of the keys at the left margin; keys below others, lists and comments are passed over."""
    fields: dict[str, str] = {}
    for at, line in enumerate(lines):
        key, colon, value = line.partition(":")
        if not colon or key != key.strip() or key.startswith(("#", "-")):
            continue
        value = value.strip()
        below = _indented(lines[at + 1 :])
        if value in _BLOCKS:
            fields[key] = _BLOCKS[value].join(below).strip()
        elif value.startswith(('"', "'")):
            fields[key] = _unquoted(value)
        else:
            fields[key] = " ".join([value.partition(" #")[0].strip(), *below]).strip() if value else ""
    return fields


def _indented(lines: list[str]) -> list[str]:
    """The lines that belong to the key above them: those with a margin, and blank ones between."""
    below: list[str] = []
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t")):
            break
        below.append(line.strip())
    return below


def _unquoted(value: str) -> str:
    mark, end = value[0], value.rfind(value[0])
    inner = value[1:end] if end > 0 else value[1:]
    return inner.replace("''", "'") if mark == "'" else inner.replace('\\"', '"').replace("\\\\", "\\")
