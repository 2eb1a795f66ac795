"""Is the standalone tool as good as the hosted one? The same pictures, down both ways, must give the same everywhere.

Compared as whole objects, in `Outcome`: items live and stored, files, the pictures that were edited, what the next
request holds. `pytest -s tests/parity` prints the table. What differs on purpose is in `Trace`, named in BY_DESIGN.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tests.parity.observed import digest, table
from tests.parity.paths import Case, Outcome, Trace, Way, run_case
from tests.support.pictures import BLUE, GREEN, RED, gif, jpeg, png, transparent_png, webp

pytestmark = pytest.mark.anyio

CASES = (
    Case(title="a new picture", pictures=(png(64, 48, BLUE),)),
    Case(title="a transparent one", pictures=(transparent_png(32, 32),), background="transparent"),
    Case(title="opaque, though transparency was wished", pictures=(png(colour=GREEN),), background="transparent"),
    Case(title="a JPEG", pictures=(jpeg(40, 30, RED),)),
    Case(title="a WebP", pictures=(webp(40, 30, RED),)),
    Case(title="a GIF", pictures=(gif(40, 30, RED),)),
    Case(title="two at once", pictures=(png(colour=RED), png(colour=BLUE))),
    Case(title="an edit of an attached picture", pictures=(png(colour=GREEN),), attached=png(50, 50, RED)),
    Case(title="an edit of the picture before", pictures=(png(colour=GREEN),), earlier=png(60, 60, BLUE)),
    Case(title="bytes that are no picture", pictures=(b"no picture",), revised_prompt="a fox"),
    Case(title="a damaged picture", pictures=(png(300, 300)[:70],), revised_prompt="a fox"),
    Case(title="stopped by the user", pictures=(png(),), stopped=True),
)

BY_DESIGN = {
    "item_ids": "the provider's id (ig_…), or that of the tool call (call_…): both are stable and name the file",
    "item_members": "standalone also knows the prompt, the model and the request's own facts",
    "history_types": "an image_generation_call of the provider, or the output of our tool: either holds the picture",
    "hint_roles": "the place of the file is told in a developer message, or inside the tool's output",
    "model_requests": "standalone needs one request more: the model is told what its call gave",
}
"""Fields of Trace that may differ, and why."""

IDS = [case.title for case in CASES]


async def both(case: Case, folder: Path) -> tuple[tuple[Outcome, Trace], tuple[Outcome, Trace]]:
    ways: tuple[Way, Way] = ("hosted", "standalone")
    hosted, standalone = [await run_case(case, way, folder / way) for way in ways]
    print("\n" + report(case, hosted[0], standalone[0]))
    return hosted, standalone


def report(case: Case, hosted: Outcome, standalone: Outcome) -> str:
    """The table of one case: a row for each fact, with `=` where the ways agree."""
    rows = []
    for name, left, right in facts(hosted, standalone):
        rows.append((name, left, "=" if left == right else "≠", right))
    return f"{case.title}\n{table(rows, ('', 'hosted', '', 'standalone'))}"


def facts(hosted: Outcome, standalone: Outcome) -> list[tuple[str, str, str]]:
    """Name and both values, pictures taken apart."""
    out = []
    for one in fields(Outcome):
        left, right = getattr(hosted, one.name), getattr(standalone, one.name)
        if one.name != "pictures":
            out.append((one.name, _short(left), _short(right)))
            continue
        for number, (a, b) in enumerate(zip(left, right, strict=False), start=1):
            out += [(f"picture {number}: {name}", value, b.row()[name]) for name, value in a.row().items()]
    return out


def _short(value: object) -> str:
    if isinstance(value, tuple) and value and not isinstance(value[0], str):
        return f"{len(value)} picture(s): {', '.join(f'{each.status} {each.sha256}' for each in value)}"
    return " ".join(value) or "–" if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("case", CASES, ids=IDS)
async def test_both_ways_give_the_same_pictures_items_files_and_history(case: Case, tmp_path: Path) -> None:
    (hosted, _), (standalone, _) = await both(case, tmp_path)
    assert standalone == hosted


@pytest.mark.parametrize("case", [CASES[0], CASES[6], CASES[8]], ids=[IDS[0], IDS[6], IDS[8]])
async def test_what_differs_is_named(case: Case, tmp_path: Path) -> None:
    (_, hosted), (_, standalone) = await both(case, tmp_path)
    differing = {one.name for one in fields(Trace) if getattr(hosted, one.name) != getattr(standalone, one.name)}
    assert differing == set(BY_DESIGN)
    assert hosted.item_members < standalone.item_members


async def test_the_pictures_of_a_case_are_really_looked_at(tmp_path: Path) -> None:
    """So that two empty outcomes never pass for equal ones."""
    first, second = png(colour=RED), png(colour=BLUE)
    case = Case(title="two", pictures=(first, second), earlier=png(60, 60, GREEN))
    for outcome, trace in await both(case, tmp_path):
        before, made = digest(png(60, 60, GREEN)), sorted((digest(first), digest(second)))
        assert (outcome.turn_status, outcome.begun) == ("completed", ("in_progress",) * 2)
        assert [(one.file, one.inline, one.sha256) for one in outcome.pictures] == [(d, d, d) for d in made]
        assert [(one.file, one.inline) for one in outcome.stored] == [(d, None) for d in made]
        assert {one.file_name for one in outcome.pictures} == {"generated_images/<thread>/<item>.png"}
        assert (outcome.sources, outcome.next_request) == ((before,), tuple(sorted((before, *made))))
        assert (outcome.handles, len(trace.item_ids)) == (("img_2", "img_3"), 2)


async def test_a_large_picture_is_kept_whole_on_both_ways_and_only_ours_goes_back_as_a_copy(tmp_path: Path) -> None:
    """Named difference: the provider's item goes back to it as it came, a tool's output within the model's limits."""
    large = png(2600, 1300, BLUE)
    (hosted, _), (standalone, _) = await both(Case(title="a large picture", pictures=(large,)), tmp_path)
    assert standalone.pictures == hosted.pictures
    assert hosted.next_request == (digest(large),)
    assert len(standalone.next_request) == 1
    assert standalone.next_request != hosted.next_request
