"""What a connection hands over: text goes on at once, all else waits for the reader, and nothing overtakes anything."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from app_server.providers.base import ItemDone, TextDelta, UpstreamError
from app_server.providers.intake import TAPPED_BYTES, Intake
from app_server.providers.responses_errors import FailureSource
from app_server.providers.responses_events import ResponseReader
from app_server.sse import SseDecoder

ITEM = {"type": "message", "id": "m"}
DONE = {"type": "response.output_item.done", "item": ITEM}


class Connection:
    """A connection whose body may be tapped when all before was seen; `come` is what a read of the socket brought."""

    def __init__(self) -> None:
        self.came_bytes = 0
        self.read: list[bytes] = []
        """What the reader gets."""
        self._tap: Callable[[bytes], bool] | None = None

    def tap(self, tap: Callable[[bytes], bool] | None, seen_bytes: int) -> bool:
        good = seen_bytes == self.came_bytes
        self._tap = tap if good else None
        return good

    def come(self, data: bytes) -> None:
        self.came_bytes += len(data)
        if self._tap is None or not self._tap(data):
            self._tap = None
            self.read.append(data)


def delta(text: str) -> bytes:
    return event({"type": "response.output_text.delta", "item_id": "m", "delta": text})


def event(data: object) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


class Answer:
    """An intake on a connection, and all that came of it in order: text that was told, and events of the reader."""

    def __init__(self, room_bytes: int = 10**9, max_event_bytes: int = 10**9) -> None:
        self.connection, self.seen = Connection(), list[object]()
        source = FailureSource(provider_id="mine", url="http://x", login_hint="the key", secrets=())
        self.intake = Intake(
            ResponseReader(source), SseDecoder(max_event_bytes), room_bytes, self._told, self.connection
        )
        self.intake.tap()

    def _told(self, item_id: str, text: str) -> None:
        assert item_id == "m"
        self.seen.append(text)

    def wake(self) -> None:
        """The reader gets its turn, takes what is there and waits again."""
        self.intake.untap()
        while self.connection.read:
            self.intake.take(self.connection.read.pop(0))
            while (one := self.intake.next()) is not None:
                self.seen.append(one)
        self.intake.tap()


def test_text_goes_on_without_the_reader() -> None:
    answer = Answer()
    answer.connection.come(event({"type": "response.created"}) + delta("a") + delta("b")[:20])
    answer.connection.come(delta("b")[20:])
    assert (answer.seen, answer.connection.read, answer.intake.heard) == (["a", "b"], [], True)


def test_what_is_no_text_waits_for_the_reader_and_so_does_all_behind_it() -> None:
    answer = Answer()
    answer.connection.come(delta("a") + event(DONE) + delta("b"))
    answer.connection.come(delta("c"))
    before = list(answer.seen)
    answer.wake()
    answer.connection.come(delta("d"))
    rest = [ItemDone(item=ITEM), TextDelta("m", "b"), TextDelta("m", "c"), "d"]
    assert (before, answer.seen) == (["a"], ["a", *rest])


@pytest.mark.parametrize("size", range(1, 90))
def test_any_cuts_give_the_same_order_also_where_the_reader_gets_them_otherwise(size: int) -> None:
    stream = delta("a") + event(DONE) + delta("b") + delta("c") + event(DONE) + delta("d")
    answer = Answer()
    for at in range(0, len(stream), size):
        answer.connection.come(stream[at : at + size])
        if at // size % 3 == 0:
            answer.connection.read = [bytes([one]) for data in answer.connection.read for one in data]
            answer.wake()
    answer.wake()
    shown = [one.delta if isinstance(one, TextDelta) else one for one in answer.seen]
    assert shown == ["a", ItemDone(item=ITEM), "b", "c", ItemDone(item=ITEM), "d"]


def test_a_burst_is_left_to_the_reader() -> None:
    answer = Answer()
    answer.connection.come(delta("x" * TAPPED_BYTES))
    before = list(answer.seen)
    answer.wake()
    assert (before, answer.seen) == ([], [TextDelta("m", "x" * TAPPED_BYTES)])


def test_a_failure_is_raised_where_the_reader_is_behind_what_came_before() -> None:
    answer = Answer()
    answer.connection.come(delta("a") + event({"type": "response.failed", "response": {"error": {"message": "no"}}}))
    with pytest.raises(UpstreamError):
        answer.wake()
    assert answer.seen == ["a"]


def test_an_event_that_is_too_large_wakes_the_reader_and_fails_there() -> None:
    answer = Answer(max_event_bytes=100)
    answer.connection.come(b"data: " + b"x" * 200)
    with pytest.raises(UpstreamError, match="one event is larger than 100 bytes"):
        answer.wake()


def test_a_body_that_is_too_long_wakes_the_reader() -> None:
    answer = Answer(room_bytes=100)
    answer.connection.come(delta("a" * 100))
    assert (len(answer.connection.read), answer.intake.room_bytes < 0) == (1, True)
