"""Extensions found by name: broken ones named and left out, gates with reasons, equal names, flags of third parties."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from app_server.extension_api import (
    Contributions,
    Exposure,
    Extension,
    ExtensionServices,
    ExtensionState,
    ToolCall,
    ToolName,
    ToolOutput,
    ToolSpec,
    TurnScope,
    Visible,
)
from app_server.extension_host import ExtensionHost, Found, discover, feature_specs, may_be_installed
from features import FEATURES, FeatureLayer, FeatureSet, FeatureSpec, Stage, resolve_features
from features.resolution import FeatureClashError

ON = FeatureSpec(key="on", stage=Stage.STABLE, default=True)
OFF = FeatureSpec(key="off", stage=Stage.BETA, default=False)
SPECS = (ON, OFF)
ECHO, OTHER = ToolName("acme", "echo"), ToolName("acme", "other")


@dataclass(frozen=True)
class FakeTool:
    name: ToolName
    owner: str = ""

    def spec(self, scope: TurnScope) -> ToolSpec:
        return ToolSpec(name=self.name, description="", parameters={})

    def exposure(self, scope: TurnScope) -> Exposure:
        return Visible()

    async def handle(self, call: ToolCall) -> ToolOutput:
        raise AssertionError("the host calls no tool")


def found(
    key: str, *tools: FakeTool, feature: str = "on", origin: str = "built-in", build: Callable[..., Any] | None = None
) -> Found:
    made = build or (lambda services: Contributions(tools=tools))
    extension = Extension(key=key, title=f"The {key}", feature=feature, build=made)
    return Found(name=key, origin=origin, extension=extension)


def host_of(*each: Found) -> tuple[ExtensionHost, list[str]]:
    told: list[str] = []
    services = cast("Callable[[str], ExtensionServices]", lambda name: name)  # the fakes ask nothing of them
    return ExtensionHost(each, services, told.append), told


def flags(specs: Iterable[FeatureSpec] = SPECS, **values: bool) -> FeatureSet:
    return resolve_features(tuple(specs), [FeatureLayer(origin="test", values=values)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; modules that are imported from it are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]


MANIFEST = """\
from app_server.extension_api import Contributions, Extension
from features import FeatureSpec, Stage

EXTENSION = Extension(
    key="{key}",
    title="Acme pictures",
    feature="acme_flag",
    build=lambda services: Contributions(),
    feature_specs=(
        FeatureSpec(key="{flag}", stage=Stage.BETA, default=True, title="Acme", owner="acme-dist"),
    ),
)
"""


def write_distribution(folder: Path, name: str, **points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{point} = {target}" for point, target in points.items()]
    text = "[app_server.extensions]\n" + "\n".join(lines) + "\n"
    (info / "entry_points.txt").write_text(text, encoding="utf-8")


# -- discovery
def test_the_named_modules_alone_are_imported() -> None:
    from extensions.image_generation import EXTENSION

    assert discover([]) == ()
    assert discover(["extensions.image_generation"]) == (
        Found(name="image_generation", origin="built-in", extension=EXTENSION),
    )


def test_all_built_in_extensions_are_found_first() -> None:
    assert discover()[0].name == "image_generation"


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        (
            "import no_such_module_at_all",
            "acme_broken cannot be imported (ModuleNotFoundError: No module named 'no_such_module_at_all')",
        ),
        ("raise RuntimeError('boom')", "acme_broken cannot be imported (RuntimeError: boom)"),
        ("raise RuntimeError('x' * 5000)", "acme_broken cannot be imported (RuntimeError: " + "x" * 186 + ")"),
        ("def oops(:", None),
        (
            "",
            "acme_broken cannot be imported (AttributeError: module 'acme_broken' has no attribute 'EXTENSION')",
        ),
        ("EXTENSION = 5", "acme_broken.EXTENSION is no Extension; see app_server.extension_api"),
    ],
)
def test_a_module_that_is_no_extension_is_named_with_the_cause(folder: Path, source: str, failure: str | None) -> None:
    (folder / "acme_broken.py").write_text(source + "\n", encoding="utf-8")
    (only,) = discover(["acme_broken"])
    if failure is None:
        assert only.failure.startswith("acme_broken cannot be imported (SyntaxError: ")
        failure = only.failure
    assert only == Found(name="acme_broken", origin="built-in", extension=None, failure=failure)


def test_installed_extensions_are_found_by_their_entry_points_with_their_distribution(folder: Path) -> None:
    (folder / "acme_pictures.py").write_text(MANIFEST.format(key="acme", flag="acme_flag"), encoding="utf-8")
    write_distribution(folder, "acme-dist", zeta="acme_missing", acme="acme_pictures:EXTENSION")
    mine = [each for each in discover() if each.origin == "acme-dist"]
    assert [(each.name, each.failure) for each in mine] == [
        ("acme", ""),
        ("acme_missing", "acme_missing cannot be imported (ModuleNotFoundError: No module named 'acme_missing')"),
    ]
    specs = feature_specs(mine)
    assert specs == (FeatureSpec(key="acme_flag", stage=Stage.BETA, default=True, title="Acme", owner="acme-dist"),)
    host, told = host_of(*mine)
    features = resolve_features((*FEATURES, *specs))
    assert host.registry(features).states == (
        ExtensionState(
            key="acme",
            title="Acme pictures",
            feature="acme_flag",
            origin="acme-dist",
            loaded=True,
            reason="acme_flag is on by default",
        ),
        ExtensionState(
            key="acme_missing",
            title="acme_missing",
            feature="",
            origin="acme-dist",
            loaded=False,
            reason="acme_missing cannot be imported (ModuleNotFoundError: No module named 'acme_missing')",
        ),
    )
    assert told == [f"{mine[1].failure}; the server runs without it."]


def test_a_third_partys_flag_that_clashes_with_ours_names_both_owners(folder: Path) -> None:
    (folder / "acme_clash.py").write_text(MANIFEST.format(key="acme", flag="imagegenext"), encoding="utf-8")
    specs = feature_specs(discover(["acme_clash"]))
    with pytest.raises(FeatureClashError, match="“Standalone image generation” of app-server and “Acme” of acme-dist"):
        resolve_features((*FEATURES, *specs))


# -- gates
def test_an_extension_is_built_once_when_its_flag_is_first_on() -> None:
    built: list[object] = []

    def build(services: object) -> Contributions:
        built.append(services)
        return Contributions(tools=(FakeTool(ECHO),))

    host, told = host_of(found("acme", feature="off", build=build))
    closed = host.registry(flags())
    assert (dict(closed.tools), built) == ({}, [])
    assert closed.states == (
        ExtensionState(
            key="acme",
            title="The acme",
            feature="off",
            origin="built-in",
            loaded=False,
            reason="off is off by default",
        ),
    )
    opened = host.registry(flags(off=True))
    assert (dict(opened.tools), built) == ({ECHO: FakeTool(ECHO)}, ["acme"])
    assert opened.states[0].loaded
    assert opened.states[0].reason == "off is enabled by test"
    assert dict(host.registry(flags()).tools) == {}
    assert dict(host.registry(flags(off=True)).tools) == {ECHO: FakeTool(ECHO)}
    assert (built, told) == (["acme"], [])


def test_a_flag_that_nobody_declared_keeps_its_extension_closed_and_says_so() -> None:
    host, _ = host_of(found("acme", FakeTool(ECHO), feature="nowhere"))
    registry = host.registry(flags())
    assert (dict(registry.tools), registry.states[0].loaded) == ({}, False)
    assert registry.states[0].reason == "nowhere is no feature of this server"


# -- isolation
def raising(services: object) -> Contributions:
    raise ValueError("no disk")


@pytest.mark.parametrize(
    ("build", "cause"),
    [
        (raising, "ValueError: no disk"),
        (lambda services: None, "TypeError: build returned no Contributions; see app_server.extension_api"),
        (lambda: None, None),
    ],
)
def test_a_broken_build_is_told_once_and_the_others_go_on(build: Any, cause: str | None) -> None:
    host, told = host_of(found("broken", build=build), found("fine", FakeTool(ECHO)))
    registries = [host.registry(flags()) for _ in range(3)]
    assert all(dict(registry.tools) == {ECHO: FakeTool(ECHO)} for registry in registries)
    if cause is not None:
        assert told == [f"The extension broken failed to start ({cause}); the server runs without it."]
    assert len(told) == 1
    broken, fine = registries[-1].states
    assert (broken.loaded, fine.loaded) == (False, True)
    assert told == [f"{broken.reason}; the server runs without it."]


def test_of_two_tools_of_one_name_the_first_wins_with_one_warning() -> None:
    first, second = FakeTool(ECHO, "first"), FakeTool(ECHO, "second")
    host, told = host_of(found("one", first), found("two", second, FakeTool(OTHER)))
    registries = [host.registry(flags()) for _ in range(2)]
    warning = "The tool acme.echo of two is left out: one has one of that name."
    for registry in registries:
        assert dict(registry.tools) == {ECHO: first, OTHER: FakeTool(OTHER)}
        assert registry.warnings == (warning,)
    assert told == [warning]


def test_a_tool_of_a_closed_extension_leaves_its_name_to_the_next() -> None:
    host, told = host_of(found("one", FakeTool(ECHO, "one"), feature="off"), found("two", FakeTool(ECHO, "two")))
    assert dict(host.registry(flags()).tools) == {ECHO: FakeTool(ECHO, "two")}
    assert told == []


def test_of_two_extensions_of_one_key_the_first_wins_and_the_second_is_named_as_broken() -> None:
    host, told = host_of(
        found("acme", FakeTool(ECHO)),
        found("acme", FakeTool(OTHER), origin="acme-dist"),
    )
    registry = host.registry(flags())
    reason = "The extension acme of acme-dist has the key of another extension, of built-in"
    assert dict(registry.tools) == {ECHO: FakeTool(ECHO)}
    assert [(state.key, state.origin, state.loaded) for state in registry.states] == [
        ("acme", "built-in", True),
        ("acme of acme-dist", "acme-dist", False),
    ]
    assert registry.states[1].reason == reason
    assert told == [f"{reason}; the server runs without it."]


def test_a_folder_without_our_entry_points_is_told_by_its_files(tmp_path: Path) -> None:
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (tmp_path / "bare-1.0.dist-info").mkdir()
    (other / "entry_points.txt").write_text("[console_scripts]\nx = y:z\n", encoding="utf-8")
    archive = tmp_path / "packages.zip"
    archive.write_bytes(b"PK")
    ours = tmp_path / "more" / "coin-1.0.dist-info"
    ours.mkdir(parents=True)
    (ours / "entry_points.txt").write_text("[app_server.extensions]\ncoin = coin\n", encoding="utf-8")
    places = [str(tmp_path), str(tmp_path / "gone"), str(archive), str(ours.parent)]
    assert [may_be_installed([place]) for place in places] == [False, False, True, True]
    assert may_be_installed(places[:2] + places[3:])
