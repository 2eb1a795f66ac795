"""`make eval`: makes the same pictures by the hosted and by the standalone tool at a real provider, and compares.

A model draws another picture every time, so bytes cannot be compared here as in tests/parity. What has to hold on both
ways: the turn and its picture are completed; item, inline bytes and file agree; the picture can be decoded; an edit is
a new picture of about the same shape. The words of the model are not judged.

Exit status: 0 both ways hold, or no key is set (SKIPPED, with the reason); 1 something does not hold; 2 wrong
arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio

from app_server.bootstrap import App, Options
from app_server.errors import ConfigurationError, first_cause
from tests.parity.observed import SeenPicture, seen, table
from tests.support.client import Frame, RpcClient, RpcFailure
from tests.support.server import connected

KEY: Final = "OPENAI_API_KEY"
WAYS: Final = ("hosted", "standalone")
CASES: Final = (
    ("new", "Draw a plain red circle on a white background. Flat colours, no text."),
    ("edit", "Make the circle of that picture blue, and change nothing else."),
    ("transparent", "Draw a yellow five-pointed star on a transparent background. Flat colours, no text."),
)
"""Run in one thread, in this order: an edit edits the picture before it."""
SHAPE_TOLERANCE: Final = 0.05
INSTRUCTIONS: Final = (
    "Every message of the user asks for one picture. Call the image tool exactly once for it, then say one short "
    "sentence."
)
_COST: Final = (
    "It makes two pictures for each case (one by each tool), so 6 at most, in automatic quality, and sends a few "
    "thousand tokens. A picture usually costs some cents; look up the prices of your provider before you run it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where to ask. `base_url` None: the public OpenAI API."""

    key: str
    base_url: str | None = None
    model: str | None = None
    image_model: str | None = None
    timeout_s: float = 600.0

    def overrides(self) -> list[str]:
        """The settings of the run."""
        chosen = ["model_provider=openai"]
        if self.base_url is not None:
            table_key = "model_providers.evaluated"
            chosen = ["model_provider=evaluated", f'{table_key}.base_url="{self.base_url}"']
            chosen += [f'{table_key}.env_key="{KEY}"', f"{table_key}.image_generation=true"]
        if self.model is not None:
            chosen.append(f'model="{self.model}"')
        if self.image_model is not None:
            chosen.append(f'image_generation.model="{self.image_model}"')
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case on one way. `faults` is empty when all holds."""

    case: str
    way: str
    picture: SeenPicture | None
    faults: tuple[str, ...]

    def row(self) -> list[str]:
        """For the table."""
        one = self.picture
        what = f"{one.width}×{one.height} {one.mime} alpha={one.has_alpha} {one.sha256}" if one else "–"
        return [self.case, self.way, what, "; ".join(self.faults) or "ok"]


def faults(turn: Frame, pictures: Sequence[SeenPicture], before: SeenPicture | None) -> tuple[str, ...]:
    """Everything that does not hold of one turn; `before` is the picture that was to be edited. Pure."""
    found = []
    if turn["status"] != "completed":
        found.append(f"the turn ended as {turn['status']}: {(turn.get('error') or {}).get('message')}")
    if len(pictures) != 1:
        return (*found, f"{len(pictures)} pictures instead of 1")
    (one,) = pictures
    if one.status != "completed" or one.file is None:
        return (*found, f"the picture is {one.status} ({one.error}), saved as {one.file_name}")
    if not one.sha256 == one.file == one.inline:
        found.append(f"item, file and inline bytes differ: {one.sha256}, {one.file}, {one.inline}")
    if before is not None and one.sha256 == before.sha256:
        found.append("the edit gave the same bytes back")
    if before is not None and abs(_shape(one) / _shape(before) - 1) > SHAPE_TOLERANCE:
        found.append(f"the edit has another shape: {one.width}×{one.height} after {before.width}×{before.height}")
    return tuple(found)


def _shape(picture: SeenPicture) -> float:
    return (picture.width or 1) / (picture.height or 1)


async def evaluate(provider: Provider, count: int, home: Path) -> list[Result]:
    """Run the first `count` cases on both ways."""
    results = []
    for way in WAYS:
        options = Options(
            env={**os.environ, KEY: provider.key},
            cwd=home,
            home=home / way,
            overrides=provider.overrides(),
            enable=("imagegenext",) if way == "standalone" else (),
        )
        options.home.mkdir(parents=True)  # type: ignore[union-attr]  # it was given three lines above
        async with App(options).running() as app, connected(app, name="eval") as client:
            results += await _run_way(client, way, count, provider.timeout_s)
    return results


async def _run_way(client: RpcClient[Any], way: str, count: int, timeout_s: float) -> list[Result]:
    thread = (await client.request("thread/start", {"developerInstructions": INSTRUCTIONS}))["thread"]
    results: list[Result] = []
    for case, words in CASES[:count]:
        client.incoming.clear()
        started = {"threadId": thread["id"], "input": [{"type": "text", "text": words}]}
        turn_id = (await client.request("turn/start", started))["turn"]["id"]
        turn = (await client.wait_for("turn/completed", timeout_s=timeout_s, turn__id=turn_id))["turn"]
        items: list[Mapping[str, Any]] = [params["item"] for params in client.notifications("item/completed")]
        pictures = [seen(item, thread["id"]) for item in items if item["type"] == "imageGeneration"]
        before = results[-1].picture if case == "edit" and results else None
        result = Result(case=case, way=way, picture=None, faults=faults(turn, pictures, before))
        results.append(replace(result, picture=pictures[0]) if pictures else result)
    return results


def read_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make eval", description=f"Compare both picture tools. {_COST}")
    parser.add_argument("--cases", type=int, choices=range(1, len(CASES) + 1), default=2, help="how many (default: 2)")
    parser.add_argument("--model", help="the chat model (default: the server's)")
    parser.add_argument("--image-model", help="the image model of the standalone tool (default: the server's)")
    parser.add_argument("--base-url", help="another provider that speaks the Responses and the Images API")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help="for each turn (default: 600)")
    parser.add_argument("--keep", metavar="DIR", help="keep homes and pictures here, to look at them")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    arguments = read_arguments(words)
    key = (os.environ if env is None else env).get(KEY)
    if not key:
        print(f"SKIPPED: {KEY} is not set, and this asks a real provider. {_COST}")
        return 0
    provider = Provider(
        key=key,
        base_url=arguments.base_url,
        model=arguments.model,
        image_model=arguments.image_model,
        timeout_s=arguments.timeout,
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(arguments.keep or folder).absolute()
        try:
            results = anyio.run(evaluate, provider, arguments.cases, home)
        except ConfigurationError as error:
            print(error.message)
            return 2
        except ExceptionGroup as group:
            cause = first_cause(group)
            if not isinstance(cause, (RpcFailure, AssertionError)):  # a refusal, or an answer that did not come in time
                raise
            print(f"FAILED: {cause}")
            return 1
    print(table((result.row() for result in results), ("case", "way", "picture", "verdict")))
    return int(any(result.faults for result in results))


if __name__ == "__main__":
    sys.exit(main())
