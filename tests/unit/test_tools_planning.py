"""What the model is offered: the truth table of the image tools, the full matrix against an oracle, names and order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

from app_server.extension_api import (
    AuthSnapshot,
    Exposure,
    Hidden,
    ModelFacts,
    ProviderFacts,
    ToolCall,
    ToolExecutor,
    ToolName,
    ToolOutput,
    ToolSpec,
    TurnScope,
    Visible,
)
from app_server.tools.planning import HiddenTool, ToolPlan, plan_tools
from extensions.image_generation.gates import image_generation_gate
from features import FEATURES, FeatureLayer, FeatureSet
from features.runtime import RuntimeFeatures
from tests.support.image_fakes import image_scope

IMAGEGEN = ToolName("image_gen", "imagegen")
VISIBLE = Visible()
HOSTED = {"type": "image_generation", "output_format": "png"}


@dataclass(frozen=True)
class FakeTool:
    """A tool with a fixed exposure; `gated` asks the real gates of the image tool instead."""

    name: ToolName
    decision: Exposure = VISIBLE
    gated: bool = False

    def spec(self, scope: TurnScope) -> ToolSpec:
        return ToolSpec(name=self.name, description=f"Does {self.name}.", parameters={"type": "object"})

    def exposure(self, scope: TurnScope) -> Exposure:
        return image_generation_gate(scope) if self.gated and self.decision == Visible() else self.decision

    async def handle(self, call: ToolCall) -> ToolOutput:
        raise AssertionError("a plan calls nothing")


def flags(config: dict[str, bool], thread: dict[str, bool] | None = None) -> FeatureSet:
    layers = [FeatureLayer(origin="config.toml", values=config)]
    return RuntimeFeatures(FEATURES, layers).for_thread({}, thread or {})


def offered(plan: ToolPlan) -> list[str]:
    """The names that the model sees, `hosted` for the provider's own tool."""
    names = []
    for spec in plan.specs:
        if spec["type"] == "namespace":
            names += [f"{spec['name']}.{tool['name']}" for tool in spec["tools"]]
        else:
            names.append("hosted" if spec["type"] == "image_generation" else str(spec["name"]))
    return names


def function(name: str, of: str) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": f"Does {of}.",
        "strict": False,
        "parameters": {"type": "object"},
    }


@pytest.mark.parametrize(
    ("image_generation", "imagegenext", "present", "namespaces", "expected"),
    [
        (True, False, True, True, ["hosted"]),
        (True, False, False, True, ["hosted"]),
        (True, True, True, True, ["image_gen.imagegen"]),
        (True, True, False, True, ["hosted"]),
        (True, True, True, False, ["image_gen__imagegen"]),
        (False, False, True, True, []),
        (False, True, True, True, []),
        (False, True, False, True, []),
        (False, True, True, False, []),
    ],
)
def test_the_truth_table_holds_with_the_kill_switch_above_everything(
    image_generation: bool, imagegenext: bool, present: bool, namespaces: bool, expected: list[str]
) -> None:
    scope = image_scope(features=flags({"image_generation": image_generation, "imagegenext": imagegenext}))
    scope = replace(scope, provider=replace(scope.provider, namespace_tools=namespaces))
    plan = plan_tools([FakeTool(IMAGEGEN, gated=True)] if present else [], scope)
    assert offered(plan) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"auth": AuthSnapshot(mode="apikey")},
        {"auth": AuthSnapshot()},
        {"auth": AuthSnapshot(mode="chatgpt", plan="free")},
        {"model": ModelFacts(slug="text-only", accepts_images=False)},
        {"provider": ProviderFacts(id="bedrock", requires_openai_auth=True, namespace_tools=True)},
    ],
)
@pytest.mark.parametrize(("image_generation", "imagegenext"), list(product((True, False), repeat=2)))
def test_without_login_model_or_provider_for_pictures_there_is_no_picture_tool(
    change: dict[str, Any], image_generation: bool, imagegenext: bool
) -> None:
    scope = image_scope(features=flags({"image_generation": image_generation, "imagegenext": imagegenext}), **change)
    plan = plan_tools([FakeTool(IMAGEGEN, gated=True)], scope)
    assert offered(plan) == []
    assert [entry.tool for entry in plan.hidden] == ["image_gen.imagegen", "image_generation"]


LOGINS = {
    "none": AuthSnapshot(),
    "apikey": AuthSnapshot(mode="apikey"),
    "free": AuthSnapshot(mode="chatgpt", plan="free"),
    "pro": AuthSnapshot(mode="chatgpt", plan="pro"),
}
OVERRIDES: dict[str, dict[str, bool]] = {
    "nothing": {},
    "kill": {"image_generation": False},
    "allow": {"image_generation": True},
    "next on": {"imagegenext": True},
    "next off": {"imagegenext": False},
}
BOTH = (True, False)


def oracle(
    switches: dict[str, bool], login: str, able: bool, needs: bool, keys: bool, images: bool, tool: str
) -> str | None:
    """What is offered, said as plainly as it can be: None, hosted or standalone."""
    logged_in = not needs or login == "pro" or (login == "apikey" and keys)
    if not (switches["image_generation"] and able and logged_in and images):
        return None
    return "standalone" if tool == "willing" and switches["imagegenext"] else "hosted"


@pytest.mark.parametrize("override", OVERRIDES)
@pytest.mark.parametrize(("kill", "flag"), list(product(BOTH, BOTH)))
@pytest.mark.parametrize("login", LOGINS)
def test_the_full_matrix_of_gates_agrees_with_the_oracle(login: str, kill: bool, flag: bool, override: str) -> None:
    config = {"image_generation": kill, "imagegenext": flag}
    features = flags(config, OVERRIDES[override])
    for able, needs, keys, namespaces, images in product(BOTH, repeat=5):
        provider = ProviderFacts(
            id="acme",
            image_generation=able,
            requires_openai_auth=needs,
            api_key_pictures=keys,
            namespace_tools=namespaces,
        )
        scope = image_scope(
            features=features,
            auth=LOGINS[login],
            provider=provider,
            model=ModelFacts(slug="some-model", accepts_images=images),
        )
        for tool in ("absent", "willing", "refusing"):
            decision: Exposure = Visible() if tool == "willing" else Hidden("not today")
            tools = [] if tool == "absent" else [FakeTool(IMAGEGEN, decision, gated=True)]
            plan = plan_tools(tools, scope)
            wanted = oracle({**config, **OVERRIDES[override]}, login, able, needs, keys, images, tool)
            name = "image_gen.imagegen" if namespaces else "image_gen__imagegen"
            assert offered(plan) == {None: [], "hosted": ["hosted"], "standalone": [name]}[wanted]
            assert len(plan.specs) <= 1, "never both tools"
            assert len(plan.routes) == (wanted == "standalone")
            assert len(plan.specs) + len(plan.hidden) == len(tools) + 1, "each tool is offered or hidden"
            assert all(entry.reason for entry in plan.hidden)


@pytest.mark.parametrize("namespaces", BOTH)
def test_a_tool_that_forgets_the_kill_switch_is_hidden_all_the_same(namespaces: bool) -> None:
    scope = image_scope(features=flags({"image_generation": False, "imagegenext": True}))
    scope = replace(scope, provider=replace(scope.provider, namespace_tools=namespaces))
    plan = plan_tools([FakeTool(IMAGEGEN)], scope)
    assert (plan.specs, plan.routes) == ((), {})
    assert [entry.tool for entry in plan.hidden] == ["image_gen.imagegen", "image_generation"]
    assert all("image_generation" in entry.reason for entry in plan.hidden)


def test_the_replaced_hosted_tool_says_what_took_its_place() -> None:
    plan = plan_tools([FakeTool(IMAGEGEN, gated=True)], image_scope())
    assert plan.hidden == (HiddenTool(tool="image_generation", reason="image_gen.imagegen takes its place"),)


def test_a_refusing_tool_gives_its_own_reason_and_the_hosted_one_comes_back() -> None:
    plan = plan_tools([FakeTool(IMAGEGEN, Hidden("the backend is down; try later"))], image_scope())
    assert plan.hidden == (HiddenTool(tool="image_gen.imagegen", reason="the backend is down; try later"),)
    assert plan.specs == (HOSTED,)


def test_of_two_equal_names_the_first_wins_with_a_warning() -> None:
    first, second = FakeTool(ToolName(None, "echo")), FakeTool(ToolName(None, "echo"), Visible(), gated=True)
    plan = plan_tools([first, second], image_scope())
    assert list(plan.routes.values()) == [first]
    assert next(iter(plan.routes.values())) is first
    assert plan.specs == (function("echo", "echo"), HOSTED)
    assert plan.warnings == ("Two tools are called echo; the first one is used, the second is left out.",)


def test_a_hidden_first_leaves_the_name_to_the_second() -> None:
    second = FakeTool(ToolName(None, "echo"))
    plan = plan_tools([FakeTool(ToolName(None, "echo"), Hidden("off")), second], image_scope())
    assert plan.routes == {ToolName(None, "echo"): second}
    assert plan.warnings == ()


def test_tools_of_one_namespace_stand_together_where_the_first_stood() -> None:
    names = [ToolName("fs", "read"), ToolName(None, "echo"), ToolName("fs", "write"), ToolName("git", "log")]
    plan = plan_tools([FakeTool(name) for name in names], image_scope())
    assert plan.specs == (
        {
            "type": "namespace",
            "name": "fs",
            "description": "Tools of fs.",
            "tools": [function("read", "fs.read"), function("write", "fs.write")],
        },
        function("echo", "echo"),
        {
            "type": "namespace",
            "name": "git",
            "description": "Tools of git.",
            "tools": [function("log", "git.log")],
        },
        HOSTED,
    )
    assert list(plan.routes) == names


def test_without_namespaces_every_tool_is_a_plain_function_and_routed_by_that_name() -> None:
    scope = image_scope(provider=ProviderFacts(id="plain", image_generation=False))
    read, echo = FakeTool(ToolName("fs", "read")), FakeTool(ToolName(None, "echo"))
    plan = plan_tools([read, echo], scope)
    assert plan.specs == (function("fs__read", "fs.read"), function("echo", "echo"))
    assert plan.routes == {ToolName(None, "fs__read"): read, ToolName(None, "echo"): echo}


def test_plain_names_that_clash_count_as_equal_names() -> None:
    scope = image_scope(provider=ProviderFacts(id="plain", image_generation=False))
    glued, pair = FakeTool(ToolName(None, "fs__read")), FakeTool(ToolName("fs", "read"))
    plan = plan_tools([glued, pair], scope)
    assert plan.routes == {ToolName(None, "fs__read"): glued}
    assert plan.specs == (function("fs__read", "fs__read"),)
    assert plan.warnings == ("Two tools are called fs__read; the first one is used, the second is left out.",)


@pytest.mark.parametrize("namespaces", BOTH)
def test_every_offered_function_has_a_route_and_every_route_an_offered_function(namespaces: bool) -> None:
    names = [ToolName("fs", "read"), ToolName(None, "fs"), ToolName("git", "fs"), ToolName("fs", "git"), IMAGEGEN]
    executors: list[ToolExecutor] = [FakeTool(name) for name in names]
    scope = image_scope()
    plan = plan_tools(executors, replace(scope, provider=replace(scope.provider, namespace_tools=namespaces)))
    assert sorted(str(name) for name in plan.routes) == sorted(offered(plan))
    assert [executor.name for executor in plan.routes.values()] == names
