"""Which matcher fires for which tool."""

import pytest

from app_server.extension_api.tools import ToolName
from app_server.hooks.matching import hook_names, matches

IMAGEGEN, VIEW = ToolName("image_gen", "imagegen"), ToolName(None, "view_image")


@pytest.mark.parametrize(
    ("matcher", "tools"),
    [
        (None, {IMAGEGEN, VIEW}),
        ("", {IMAGEGEN, VIEW}),
        ("*", {IMAGEGEN, VIEW}),
        (".*", {IMAGEGEN, VIEW}),
        ("image_gen.imagegen", {IMAGEGEN}),
        ("imagegen", {IMAGEGEN}),
        ("image_gen", {IMAGEGEN}),
        ("image_genimagegen", {IMAGEGEN}),
        ("image_gen__imagegen", {IMAGEGEN}),
        ("image_gen.*", {IMAGEGEN}),
        ("image_gen*", {IMAGEGEN}),
        ("*imagegen", {IMAGEGEN}),
        ("^image_gen", {IMAGEGEN}),
        ("^(imagegen|view_image)$", {IMAGEGEN, VIEW}),
        ("imagegen|view_image", {IMAGEGEN, VIEW}),
        ("view_*", {VIEW}),
        ("image", set()),
        ("view", set()),
        ("Bash", set()),
        ("[", set()),
        ("mcp__.*", set()),
    ],
)
def test_a_matcher_fires_for_these_tools(matcher: str | None, tools: set[ToolName]) -> None:
    assert {tool for tool in (IMAGEGEN, VIEW) if matches(matcher, tool)} == tools


def test_hooks_are_told_the_name_with_its_separator() -> None:
    assert [hook_names(tool)[0] for tool in (IMAGEGEN, VIEW)] == ["image_gen.imagegen", "view_image"]
