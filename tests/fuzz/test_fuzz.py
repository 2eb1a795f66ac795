"""The fuzz: whatever a client sends, each request gets one good answer, and the server lives and keeps its secrets.

The suite plays the same few rounds every time. `make fuzz` plays new ones for FUZZ_SECONDS; what fails is printed with
its seed, and `FUZZ_SEED=… pytest tests/fuzz` plays that round again.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.frames import REGISTRY, Step, calls_of, first_steps, steps
from tests.fuzz.target import Target

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0")) or (secrets.randbelow(2**31) if SECONDS else 1)
EXAMPLES_A_ROUND = 60 if SECONDS else 15
EXAMPLES_A_METHOD = 20 if SECONDS else 2


def rounds(share: float) -> Iterator[int]:
    """Seeds: one for the suite, else new ones until the share of the time is over."""
    end = time.monotonic() + SECONDS * share
    for number in count(FIRST_SEED):
        yield number
        if time.monotonic() >= end:
            return


def play(
    number: int,
    strategy: st.SearchStrategy[Sequence[Step]],
    send: Callable[[Sequence[Step]], list[str]],
    max_examples: int = EXAMPLES_A_ROUND,
) -> None:
    """One round of examples; a failure is made small and shown with its seed."""

    @seed(number)
    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def examples(given_steps: Sequence[Step]) -> None:
        wrong = send(given_steps)
        assert wrong == [], f"FUZZ_SEED={number}: " + "\n".join(wrong)

    examples()


@pytest.mark.parametrize("experimental", [True, False])
def test_any_steps_of_a_client_are_answered_and_the_server_lives(tmp_path: Path, experimental: bool) -> None:
    for number in rounds(0.35 if experimental else 0.1):
        with Target(tmp_path / str(number)) as target:
            play(number, steps, lambda given_steps: target.send(given_steps, experimental=experimental))


def test_every_method_answers_any_params(tmp_path: Path) -> None:
    for number in rounds(0.45):
        with Target(tmp_path / str(number)) as target:
            for method in sorted(REGISTRY):
                play(number, st.lists(calls_of(method), min_size=1, max_size=8), target.send, EXAMPLES_A_METHOD)


def test_any_first_steps_are_answered_and_others_are_served(tmp_path: Path) -> None:
    for number in rounds(0.1):
        with Target(tmp_path / str(number)) as target:
            play(number, first_steps, lambda given_steps: target.send(given_steps, initialized=False))
            assert target.send([]) == []
