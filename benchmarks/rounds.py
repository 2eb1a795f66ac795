"""Whose turn it is when two servers are measured in one session. Pure.

A B, B A, A B, …: what drifts (heat, neighbours, page cache) hurts both alike, and neither always comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def interleaved(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Round and server, in the order of measuring; every second round runs backwards."""
    for number in range(rounds):
        yield from ((number, name) for name in (names if number % 2 == 0 else reversed(names)))
