"""`make eval` itself, at a scripted provider: what it compares, when it passes and fails, and what it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evals.image_paths import Provider, Result, evaluate, faults, main
from tests.parity.observed import SeenPicture, digest
from tests.support.pictures import BLUE, RED, png
from tests.support.upstream import ScriptedUpstream, function_call, image_call, image_reply, sse, text_turn


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


def script(up: ScriptedUpstream, first: bytes, second: bytes) -> None:
    """Two cases, hosted and then standalone."""
    up.queue += [sse("h1", image_call("ig_1", first)), sse("h2", image_call("ig_2", second))]
    for name in ("s1", "s2"):  # a provider of one's own is taken to have no namespaces
        call = function_call(f"call_{name}", "image_gen__imagegen", {"prompt": "a circle"})
        up.queue += [sse(name, call), text_turn(f"{name}_end", "Done.")]
    up.images += [image_reply(first), image_reply(second)]


def picture(data: bytes, **changes: object) -> SeenPicture:
    good = SeenPicture(
        status="completed",
        revised_prompt=None,
        transparent=None,
        mime="image/png",
        size_bytes=len(data),
        width=8,
        height=8,
        has_alpha=False,
        sha256=digest(data),
        error=None,
        inline=digest(data),
        file=digest(data),
        file_name="generated_images/<thread>/<item>.png",
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # the tests name the fields


@pytest.mark.anyio
async def test_both_ways_pass_when_they_give_good_pictures(up: ScriptedUpstream, tmp_path: Path) -> None:
    script(up, png(colour=RED), png(colour=BLUE))
    results = await evaluate(Provider(key="sk-fake", base_url=up.base_url, timeout_s=10), 2, tmp_path)
    cases = [(case, way) for way in ("hosted", "standalone") for case in ("new", "edit")]
    assert [(result.case, result.way, result.faults) for result in results] == [(*each, ()) for each in cases]
    assert [one.picture.sha256 for one in results if one.picture] == [digest(png(colour=c)) for c in (RED, BLUE)] * 2


@pytest.mark.anyio
async def test_a_turn_without_a_picture_is_a_fault(up: ScriptedUpstream, tmp_path: Path) -> None:
    up.queue += [text_turn("h1", "No."), text_turn("s1", "No.")]
    results = await evaluate(Provider(key="sk-fake", base_url=up.base_url, timeout_s=10), 1, tmp_path)
    assert results == [
        Result(case="new", way=way, picture=None, faults=("0 pictures instead of 1",))
        for way in ("hosted", "standalone")
    ]


RED_PICTURE, BLUE_PICTURE = picture(png(colour=RED)), picture(png(colour=BLUE))
DONE = {"status": "completed"}


@pytest.mark.parametrize(
    ("turn", "pictures", "before", "expected"),
    [
        (DONE, [RED_PICTURE], None, ()),
        (DONE, [RED_PICTURE], BLUE_PICTURE, ()),
        (DONE, [RED_PICTURE, BLUE_PICTURE], None, ("2 pictures instead of 1",)),
        (DONE, [RED_PICTURE], RED_PICTURE, ("the edit gave the same bytes back",)),
        (
            DONE,
            [replace(BLUE_PICTURE, width=16)],
            RED_PICTURE,
            ("the edit has another shape: 16×8 after 8×8",),
        ),
        (
            DONE,
            [replace(RED_PICTURE, file="0")],
            None,
            (f"item, file and inline bytes differ: {RED_PICTURE.sha256}, 0, {RED_PICTURE.inline}",),
        ),
        (
            {"status": "failed", "error": {"message": "Gone."}},
            [replace(RED_PICTURE, status="failed", error="network", file=None, file_name=None)],
            None,
            ("the turn ended as failed: Gone.", "the picture is failed (network), saved as None"),
        ),
    ],
)
def test_what_does_not_hold_is_named(
    turn: dict[str, object], pictures: list[SeenPicture], before: SeenPicture | None, expected: tuple[str, ...]
) -> None:
    assert faults(turn, pictures, before) == expected


def test_without_a_key_it_says_why_it_is_skipped_and_what_it_would_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], env={}) == 0
    said = capsys.readouterr().out
    assert said.startswith("SKIPPED: OPENAI_API_KEY is not set")
    assert "6 at most" in said


def test_settings_that_cannot_be_used_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base-url", "nonsense"], env={"OPENAI_API_KEY": "sk-fake"}) == 2
    assert "base_url" in capsys.readouterr().out
