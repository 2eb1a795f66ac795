"""Holds the manifest against the schema, the registered methods and the wire tables, in both directions."""

from collections.abc import Iterable, Mapping

import pytest

from app_server.protocol.tables import NOTIFICATIONS, SERVER_REQUESTS
from app_server.protocol.unsupported import UNSUPPORTED
from tests.conformance import manifest
from tests.conformance.manifest import Row, State
from tests.conformance.reference_schema import methods, needs_schema

TABLES: dict[str, Mapping[str, Row]] = {
    "ClientRequest": manifest.CLIENT_REQUESTS,
    "ClientNotification": manifest.CLIENT_NOTIFICATIONS,
    "ServerNotification": manifest.SERVER_NOTIFICATIONS,
    "ServerRequest": manifest.SERVER_REQUESTS,
}


def disagreements(rows: Mapping[str, Row], present: Iterable[str]) -> list[str]:
    """Return a sentence for every method whose row and whose presence contradict each other."""
    answered = {method for method, row in rows.items() if row.state is not State.NOT_SUPPORTED}
    there = set(present)
    return [
        *(f"{method} is marked {rows[method].state}, but is not there" for method in sorted(answered - there)),
        *(f"{method} is there, but its row does not say so" for method in sorted(there - answered)),
    ]


@needs_schema
@pytest.mark.parametrize("direction", TABLES)
def test_the_manifest_lists_exactly_the_methods_of_the_schema(direction: str) -> None:
    assert list(TABLES[direction]) == list(methods(direction))


@pytest.mark.parametrize("direction", TABLES)
def test_a_row_gives_a_reason_exactly_where_the_method_is_not_done(direction: str) -> None:
    unclear = [method for method, row in TABLES[direction].items() if bool(row.reason) is (row.state is State.DONE)]
    assert unclear == []


def test_the_methods_that_answer_are_the_registered_ones() -> None:
    # imported here, so that the other tests of this module do not need the handlers
    from app_server.methods import load_registry

    # the connection itself answers initialize, before the registry is loaded
    present = {*load_registry(), "initialize"} - manifest.OWN_METHODS
    assert disagreements(manifest.CLIENT_REQUESTS, present) == []
    assert load_registry().keys() >= manifest.OWN_METHODS


def test_every_method_that_is_not_supported_is_known_to_the_server_with_a_reason() -> None:
    unsupported = [method for method, row in manifest.CLIENT_REQUESTS.items() if row.state is State.NOT_SUPPORTED]
    assert sorted(unsupported) == sorted(UNSUPPORTED)
    assert [method for method, reason in UNSUPPORTED.items() if not reason or reason[-1] in ".;:"] == []


def test_the_notifications_that_are_done_have_a_shape() -> None:
    assert disagreements(manifest.SERVER_NOTIFICATIONS, NOTIFICATIONS) == []


def test_the_server_requests_that_are_done_have_a_shape() -> None:
    assert disagreements(manifest.SERVER_REQUESTS, SERVER_REQUESTS) == []


def test_a_contradiction_names_the_method_and_the_side_that_is_wrong() -> None:
    rows = {
        "a": Row(state=State.DONE),
        "b": Row(state=State.HONEST_EMPTY, reason="there are none"),
        "c": Row(state=State.NOT_SUPPORTED, reason="later"),
    }
    assert disagreements(rows, ["a", "c"]) == [
        "b is marked honest_empty, but is not there",
        "c is there, but its row does not say so",
    ]
