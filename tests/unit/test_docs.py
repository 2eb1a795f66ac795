"""The documents say what is true: commands, snippets, methods, error codes and links of README and its neighbours."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from app_server.bootstrap import App, Options
from app_server.cli import build_parser
from app_server.methods import load_registry
from app_server.version import __version__
from tests.architecture.test_layers import LEVELS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/differences.md",
    "docs/hosting.md",
    "docs/limits.md",
    "docs/protocol.md",
)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")
LEVEL_LINE = re.compile(r"^(\d)   (\S.*)$", re.MULTILINE)
SOURCE_FILES = [path for folder in ("app_server", "extensions") for path in (ROOT / folder).rglob("*.py")]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, info: str) -> list[str]:
    """The fenced blocks whose opening line says exactly this."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def parse_fault(arguments: list[str]) -> bool:
    """Whether the parser refuses the arguments; printing a help text is no refusal."""
    try:
        build_parser().parse_args(arguments)
    except SystemExit as ended:
        return ended.code != 0
    return False


def section(text: str, heading: str) -> str:
    """From one heading to the next of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {heading}"
    return found[1]


def commands(text: str, program: str) -> list[list[str]]:
    """The arguments of every call of a program in shell blocks and in inline code, without variables before it."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    calls = [shlex.split(line, comments=True) for line in lines if re.search(rf"(?:^|\s){program}(?:\s|$)", line)]
    bare = [[word for at, word in enumerate(call) if at or "=" not in word] for call in calls]
    return [call[1:] for call in bare if call and call[0] == program]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_names_real_subcommands_and_options(document: str) -> None:
    for arguments in commands(text_of(document), "app-server"):
        assert not parse_fault(arguments), f"app-server {shlex.join(arguments)}"


def test_the_commands_of_the_readme_are_found() -> None:
    found = commands(text_of("README.md"), "app-server")
    assert ["features", "list"] in found
    assert ["--listen", "ws://127.0.0.1:8765"] in found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_names_real_targets_and_variables(document: str) -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    variables = set(re.findall(r"\b(?:value |unexport.* )?([A-Z_]{4,})\b", makefile))
    for arguments in commands(text_of(document), "make"):
        words = [word for word in arguments if "=" not in word]
        settings = [word.partition("=")[0] for word in arguments if "=" in word]
        assert (set(words) - targets, set(settings) - variables) == (set(), set())


def test_the_embedding_snippet_makes_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = blocks(text_of("README.md"), "python embedding")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    saved = {Path(line) for line in capsys.readouterr().out.splitlines()}
    assert saved == set((tmp_path / "embedded-home" / "generated_images").glob("*/*.png"))
    assert len(saved) == 1


@pytest.mark.anyio
async def test_the_extension_of_the_readme_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = text_of("README.md")
    (module,), (project,) = blocks(readme, "python extension"), blocks(readme, "toml extension")
    points = tomllib.loads(project)["project"]["entry-points"]["app_server.extensions"]
    install(tmp_path, module, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    home = tmp_path / "home"
    home.mkdir()
    async with App(Options(home=home, cwd=home, env={})).running() as app:
        wiring = await app.wiring()
        registry = wiring.extensions(wiring.features.current())
    states = [(state.key, state.origin, state.loaded, state.reason) for state in registry.states]
    assert ("coin", "coin-tool", True, "coin is on by default") in states
    assert [str(name) for name in registry.tools] == ["view_image", "coin.toss"]


def install(folder: Path, module: str, points: dict[str, str]) -> None:
    """What an installer leaves behind of the README's package."""
    package, metadata = folder / "coin_tool", folder / "coin_tool-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text(module, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: coin-tool\nVersion: 1.0\n", encoding="utf-8")
    lines = ["[app_server.extensions]", *(f"{name} = {value}" for name, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    importlib.invalidate_caches()


def test_the_methods_of_the_readme_are_the_registered_ones() -> None:
    cells = re.findall(r"^\| (`[^|]+`) \|", section(text_of("README.md"), "Methods"), re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(listed) == sorted({*load_registry(), "initialize"})


def test_the_error_codes_of_the_readme_stand_in_the_code() -> None:
    listed = re.findall(r"`([A-Za-z]+)`", section(text_of("README.md"), "Errors").partition("|---|---|")[2])
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE_FILES)
    named = {word for word in listed if word not in ("error", "turn", "completed")}
    assert {word for word in named if f'"{word}"' not in code} == set()


def test_the_settings_of_the_readme_are_read_without_a_warning(tmp_path: Path) -> None:
    for settings in blocks(text_of("README.md"), "toml"):
        (tmp_path / "config.toml").write_text(settings, encoding="utf-8")
        loaded = App(Options(home=tmp_path, cwd=tmp_path, env={})).config
        assert loaded.warnings == ()
        assert loaded.config.image_generation.provider in (None, "openai", *loaded.config.model_providers)


def test_the_readme_names_the_version() -> None:
    assert f"The version is {__version__}:" in text_of("README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_that_exist(document: str) -> None:
    folder = (ROOT / document).parent
    assert [link for link in LINK.findall(text_of(document)) if not (folder / link).exists()] == []


def test_the_modules_that_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", text_of("ARCHITECTURE.md")))
    places = (ROOT, ROOT / "app_server", ROOT / "extensions" / "image_generation")
    assert sorted(name for name in named if not any((place / name).exists() for place in places)) == []


def test_the_drawing_of_the_levels_is_the_table_that_is_checked() -> None:
    drawn = {
        int(level): set(re.findall(r"\w+", units)) for level, units in LEVEL_LINE.findall(text_of("ARCHITECTURE.md"))
    }
    there = {path.stem for path in (ROOT / "app_server").iterdir()} | {"features"}
    assert drawn == {level: set(units) & there for level, units in enumerate(LEVELS)}


@pytest.mark.parametrize("line", ["--enabel imagegenext", "serv", "demo --provide offline"])
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    (arguments,) = commands(f"Run `app-server {line}` now.", "app-server")
    assert parse_fault(arguments)
