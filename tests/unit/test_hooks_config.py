"""Which hooks a process has: from which files, in which order, and what is said of those left out."""

from pathlib import Path

import pytest

from app_server.config.layers import load_config
from app_server.hooks.config import HookCommand, HookEvent, Hooks, read_hooks

PRE = """
[[hooks.PreToolUse]]
matcher = "image_gen.*"
[[hooks.PreToolUse.hooks]]
type = "command"
command = "{command}"
timeout = 60
"""
JSON = '{{"hooks": {{"PostToolUse": [{{"hooks": [{{"type": "command", "command": "{command}"}}]}}]}}}}'


def hooks_of(home: Path, cwd: Path | None = None, *overrides: str) -> Hooks:
    folder = cwd or home
    return read_hooks(load_config(home, folder, overrides), home, folder)


def project(root: Path, *, trusted_by: Path | None = None) -> Path:
    """A repository with a hook in both of its files."""
    (root / ".git").mkdir(parents=True)
    (root / ".codex").mkdir()
    (root / ".codex" / "config.toml").write_text(PRE.format(command="theirs"), encoding="utf-8")
    (root / ".codex" / "hooks.json").write_text(JSON.format(command="theirs too"), encoding="utf-8")
    if trusted_by is not None:
        text = (trusted_by / "config.toml").read_text(encoding="utf-8")
        trust = f"{text}\n[projects.'{root}']\ntrust_level = \"trusted\"\n"
        (trusted_by / "config.toml").write_text(trust, encoding="utf-8")
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "config.toml").write_text(PRE.format(command="mine"), encoding="utf-8")
    return folder


def test_without_hooks_there_are_none(tmp_path: Path) -> None:
    assert hooks_of(tmp_path) == Hooks()


def test_a_hook_of_the_config_is_read_whole(home: Path) -> None:
    assert hooks_of(home) == Hooks(
        commands=(
            HookCommand(
                event=HookEvent.PRE_TOOL_USE,
                matcher="image_gen.*",
                command="mine",
                timeout_s=60.0,
                source="user",
                source_path=str(home / "config.toml"),
                order=0,
            ),
        )
    )


def test_hooks_of_all_places_add_up_in_order(home: Path, tmp_path: Path) -> None:
    (home / "hooks.json").write_text(JSON.format(command="mine too"), encoding="utf-8")
    root = project(tmp_path / "repo", trusted_by=home)
    found = hooks_of(home, root, 'hooks.PreToolUse=[{hooks=[{command="typed"}]}]')
    assert [(hook.command, hook.source, hook.order) for hook in found.commands] == [
        ("mine", "user", 0),
        ("mine too", "user", 1),
        ("theirs", "project", 2),
        ("theirs too", "project", 3),
        ("typed", "sessionFlags", 4),
    ]
    assert found.warnings == ()


def test_hooks_of_a_project_that_is_not_trusted_never_run(home: Path, tmp_path: Path) -> None:
    root = project(tmp_path / "repo")
    loaded, found = load_config(home, root), hooks_of(home, root)
    assert [hook.command for hook in found.commands] == ["mine"]
    assert found.warnings == (
        f"{root / '.codex' / 'hooks.json'} is ignored: the project is not trusted; to allow its hooks, write "
        f'[projects."{root}"] trust_level = "trusted" in your own config.toml.',
    )
    assert "hooks is ignored: the project is not trusted" in loaded.warnings[0]


def test_the_user_switches_all_hooks_off_but_a_project_cannot(home: Path, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    (root / ".codex").mkdir(parents=True)
    (root / ".codex" / "config.toml").write_text("[features]\nhooks = false\n", encoding="utf-8")
    assert [hook.command for hook in hooks_of(home, root).commands] == ["mine"]
    assert hooks_of(home, root, "features.hooks=false") == Hooks()
    assert hooks_of(home, root, "features.codex_hooks=false") == Hooks()


@pytest.mark.parametrize(
    ("written", "warning"),
    [
        ("[hooks]\nPreToolUse = 1", "hooks.PreToolUse[0] does not run: it needs a text matcher and a list of hooks."),
        (
            "[[hooks.PreToolUse]]\nmatcher = 1\nhooks = []",
            "hooks.PreToolUse[0] does not run: it needs a text matcher and a list of hooks.",
        ),
        (
            '[[hooks.PostToolUse]]\nhooks = [{type = "prompt"}]',
            'hooks.PostToolUse[0].hooks[0] does not run: its type is not "command", the only one this server runs.',
        ),
        (
            '[[hooks.PreToolUse]]\nhooks = [{command = " "}]',
            "hooks.PreToolUse[0].hooks[0] does not run: it has no command; write the shell command to run as a text.",
        ),
        (
            '[[hooks.PreToolUse]]\nhooks = [{command = "x", timeout = 0}]',
            "hooks.PreToolUse[0].hooks[0] does not run: its timeout must be a number of seconds above 0 and at most "
            "3600.",
        ),
        (
            '[[hooks.PreToolUse]]\nhooks = [{command = "x", async = true}]',
            "hooks.PreToolUse[0].hooks[0] does not run: async hooks are not supported; leave async out, and the tool "
            "waits for it.",
        ),
        (
            '[[hooks.Stop]]\nhooks = [{command = "x"}]\n[hooks.state]\na = 1',
            "hooks for Stop do not run here; this server has PreToolUse and PostToolUse.",
        ),
        ("hooks = 3", "hooks is no table; write [[hooks.PreToolUse]] with matcher and hooks."),
    ],
)
def test_a_hook_that_cannot_be_run_is_left_out_with_a_warning(tmp_path: Path, written: str, warning: str) -> None:
    (tmp_path / "config.toml").write_text(written, encoding="utf-8")
    assert hooks_of(tmp_path) == Hooks(warnings=(f"{tmp_path / 'config.toml'}: {warning}",))


def test_a_broken_hooks_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "hooks.json").write_text("{", encoding="utf-8")
    path = tmp_path / "hooks.json"
    assert hooks_of(tmp_path) == Hooks(
        warnings=(f"{path}: no hook of this file runs (it is not valid JSON); correct or remove it.",)
    )


def test_the_hooks_of_the_readme_are_read_without_a_warning(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    text = readme.partition("```toml hooks\n")[2].partition("```")[0]
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    found = hooks_of(tmp_path)
    assert [(hook.event, hook.matcher) for hook in found.commands] == [
        (HookEvent.PRE_TOOL_USE, "image_gen.imagegen"),
        (HookEvent.POST_TOOL_USE, "imagegen|view_image"),
    ]
    assert (found.warnings, load_config(tmp_path, tmp_path).warnings) == ((), ())
