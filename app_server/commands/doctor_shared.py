"""The checks of `app-server doctor` for a storage that replicas share: PostgreSQL and a store of pictures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app_server.commands.doctor_checks import Check, ok, problem, warning
from app_server.storage.inspection import SharedFacts

MAX_CLOCK_S: Final = 2.0
"""Times in logs and lists come from each replica's own clock; leases from the database's alone."""
SLOW_S: Final = 0.05
OLD_LETTER_S: Final = 60.0


def judge_shared(facts: SharedFacts) -> Iterator[Check]:
    """Every check in order; what cannot be looked at is left out."""
    yield judge_connection(facts)
    if facts.refused is None:
        yield judge_schema(facts)
        yield judge_clock(facts)
        yield judge_hints(facts)
        if facts.version == facts.newest:
            yield judge_shared_leases(facts)
            yield judge_letters(facts)
    yield judge_store(facts)


def judge_connection(facts: SharedFacts) -> Check:
    """Can it be reached, and how far away is it?"""
    if facts.refused is not None:
        return problem(
            "database", facts.refused, "The server says the same at its first use; nothing works without it."
        )
    trip_ms = facts.round_trip_s * 1000
    said = f"PostgreSQL {facts.server} at {facts.place} answers in {trip_ms:.1f} ms."
    if facts.round_trip_s > SLOW_S:
        return warning("database", said, "Run the replicas nearer to it: a turn takes several round trips.")
    return ok("database", said)


def judge_schema(facts: SharedFacts) -> Check:
    """Are the tables those of this version?"""
    if facts.version < facts.newest:
        said = f"The schema has version {facts.version} of {facts.newest}."
        return warning("schema", said, "Run app-server migrate, or start a replica: it does the same first.")
    return ok("schema", f"The schema has version {facts.version}, and {facts.threads} threads are there.")


def judge_clock(facts: SharedFacts) -> Check:
    """Do both clocks say the same?"""
    ahead_s = facts.clock_ahead_s
    if abs(ahead_s) > MAX_CLOCK_S:
        said = f"The database's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's."
        return warning("clock", said, "Set both by NTP: threads are sorted by their replicas' clocks.")
    return ok("clock", "The clocks of the database and of this machine agree.")


def judge_hints(facts: SharedFacts) -> Check:
    """Does LISTEN hear what NOTIFY says?"""
    if facts.hint_s is None:
        fix = "Connect to PostgreSQL itself, or to a pooler in session mode: LISTEN does not work across transactions."
        return problem("hints", "A notification sent on one connection was not heard on another one.", fix)
    return ok("hints", f"A notification is heard within {facts.hint_s * 1000:.1f} ms.")


def judge_shared_leases(facts: SharedFacts) -> Check:
    """Who writes threads, and is there any that nobody takes over?"""
    said = f"{facts.replicas} replicas write {facts.live} threads"
    if facts.ownerless:
        fix = "A replica takes them over within seconds; start one if none runs."
        return warning("leases", f"{said}; {facts.ownerless} were left by replicas that died.", fix)
    return ok("leases", f"{said}; none was left behind.")


def judge_letters(facts: SharedFacts) -> Check:
    """Are requests between replicas answered?"""
    said = f"{facts.letters} letters between replicas wait for an answer"
    if facts.oldest_letter_s > OLD_LETTER_S:
        said = f"{said}, the oldest for {facts.oldest_letter_s:.0f} s."
        return warning("letters", said, "Look into the logs of the replicas; what nobody waits for is swept away.")
    return ok("letters", f"{said}.")


def judge_store(facts: SharedFacts) -> Check:
    """Can pictures be put there, read and removed?"""
    if facts.store_refused is not None:
        return problem("pictures", facts.store_refused, "Check storage.blobs; docs/hosting.md has the rights it needs.")
    return ok("pictures", f"{facts.store} takes an object, gives it back and removes it.")
