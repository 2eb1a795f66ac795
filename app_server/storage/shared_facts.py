"""What was found of a shared storage, for `app-server doctor` to judge. Data; it holds no secret."""

from __future__ import annotations

from app_server.values import frozen


@frozen
class SharedFacts:
    """What was reached is told; what comes behind `refused` was not looked at and has its default."""

    place: str
    """Host and name of the database."""
    refused: str | None = None
    server: str = ""
    """Its version."""
    round_trip_s: float = 0.0
    clock_ahead_s: float = 0.0
    """How far the database's clock is ahead of ours."""
    hint_s: float | None = None
    """How long a notification takes between two connections; None when it does not come."""
    version: int = 0
    newest: int = 0
    threads: int = 0
    live: int = 0
    """Leases that count, and how many replicas have them."""
    replicas: int = 0
    ownerless: int = 0
    """Leases that ran out and were not given back: nobody took their threads over yet."""
    letters: int = 0
    """Letters without an answer, and how old the oldest is."""
    oldest_letter_s: float = 0.0
    store: str = ""
    """Where the pictures are."""
    store_refused: str | None = None
