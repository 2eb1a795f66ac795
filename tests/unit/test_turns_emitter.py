"""How items become visible: durable before shown, started once and completed once, in every outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from app_server.extension_api import PictureRef, PictureRejected
from app_server.pictures.store import PictureStore
from app_server.protocol.items import AgentMessageItem, ImageGenerationItem, Item, ReasoningItem, UserMessageItem
from app_server.storage.base import Record, StorageError
from app_server.turns.context import RicherForm
from app_server.turns.emitter import ItemEmitter

pytestmark = pytest.mark.anyio
IDS = {"threadId": "t", "turnId": "u"}
REF = PictureRef(sha256="0" * 64, mime="image/png", size_bytes=3, width=1, height=1)


class TickingClock:
    """One more millisecond at every look."""

    def __init__(self) -> None:
        self.now = 0

    def now_ms(self) -> int:
        self.now += 1
        return self.now

    def monotonic_s(self) -> float:
        return 0.0


@dataclass
class FakeSink:
    """Keeps what was appended, shown and passed by, in one order; `full` makes every append fail."""

    log: list[tuple[str, Any]] = field(default_factory=list)
    takes: str = ""
    """The kind of forms that the one subscriber takes."""
    full: bool = False
    last_seq: int = 0
    seqs: list[int | None] = field(default_factory=list)
    """Of what was shown, in order."""

    @property
    def history(self) -> list[Mapping[str, Any]]:
        return []

    async def append(self, *records: Record) -> int:
        await anyio.lowlevel.checkpoint()
        if self.full:
            raise StorageError("The disk is full.")
        self.log.append(("append", [(record.kind, record.data) for record in records]))
        self.last_seq += len(records)
        return self.last_seq

    def show(
        self, method: str, params: Mapping[str, Any], *, forms: Sequence[RicherForm] = (), seq: int | None = None
    ) -> None:
        self.seqs.append(seq)
        self.log.append((method, next((form.params() for form in forms if form.kind == self.takes), params)))

    def delta(self, method: str, params: Mapping[str, Any]) -> None:
        self.log.append((method, params))

    def wanted_forms(self, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        return frozenset({self.takes} - {""})

    def next_handle(self) -> str:
        return "img_1"

    def add_usage(self, last: Mapping[str, int]) -> Mapping[str, int]:
        return last

    def events(self) -> list[str]:
        """The order in short: `+kind` for a record, the method for a notification."""
        out = []
        for name, body in self.log:
            out += [f"+{kind}" for kind, _ in body] if name == "append" else [name]
        return out

    def items(self, method: str) -> list[dict[str, Any]]:
        return [body["item"] for name, body in self.log if name == method]


class FakePictures(PictureStore):
    """Has the bytes `abc`, or nothing."""

    def __init__(self, gone: bool = False) -> None:
        self.gone = gone

    async def read(self, ref: PictureRef) -> bytes:
        if self.gone:
            raise PictureRejected("It is gone.")
        return b"abc"


def emitter_over(sink: FakeSink, pictures: FakePictures | None = None) -> ItemEmitter:
    return ItemEmitter(sink, pictures or FakePictures(), TickingClock(), thread_id="t", turn_id="u")


def message(text: str = "", **members: Any) -> AgentMessageItem:
    return AgentMessageItem(id="m", text=text, **members)


async def test_a_message_is_started_streamed_and_completed_each_durable_before_it_is_shown() -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    await emitter.started(message())
    emitter.text_delta("m", "Hel")
    await emitter.completed(message("Hello"), history=[{"type": "message"}])
    begun = {**message().wire(), "startedAtMs": 1, "completedAtMs": None}
    final = {**message("Hello").wire(), "startedAtMs": 1, "completedAtMs": 2}
    assert sink.log == [
        ("append", [("item_started", {"turnId": "u", "item": begun})]),
        ("item/started", {"item": begun, **IDS, "startedAtMs": 1}),
        ("item/agentMessage/delta", {**IDS, "itemId": "m", "delta": "Hel"}),
        (
            "append",
            [
                ("item_completed", {"turnId": "u", "item": final}),
                ("history", {"items": [{"type": "message"}]}),
            ],
        ),
        ("item/completed", {"item": final, **IDS, "contentTokenCount": None, "completedAtMs": 2}),
    ]
    assert emitter.final_message == final
    assert emitter.open_streamed() == []


@pytest.mark.parametrize(
    ("whole", "begun"),
    [
        (message("Hello"), {"text": ""}),
        (ReasoningItem(id="r", summary=("a",), content=("b",)), {"summary": [], "content": []}),
        (
            ImageGenerationItem(id="i", status="completed", result="", saved_path="/p", width=3),
            {"status": "in_progress", "savedPath": None},
        ),
    ],
)
async def test_an_item_that_was_never_started_is_started_first_without_its_end(
    whole: Item, begun: dict[str, Any]
) -> None:
    sink = FakeSink()
    await emitter_over(sink).completed(whole)
    assert sink.events() == ["+item_started", "item/started", "+item_completed", "item/completed"]
    started, completed = sink.items("item/started")[0], sink.items("item/completed")[0]
    assert {key: started.get(key) for key in begun} == begun
    assert {**completed, "startedAtMs": None, "completedAtMs": None} == whole.wire()


async def test_a_second_start_of_an_open_item_closes_the_first() -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    await emitter.started(message())
    emitter.text_delta("m", "lost")
    await emitter.started(message())
    await emitter.completed(message("kept"))
    shown = [event for event in sink.events() if event.startswith("item/") and not event.endswith("delta")]
    assert shown == ["item/started", "item/completed"] * 2
    assert [(item["text"], item.get("status")) for item in sink.items("item/completed")] == [
        ("lost", "dropped"),
        ("kept", None),
    ]


async def test_pieces_of_an_item_that_is_not_open_are_ignored() -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    emitter.text_delta("m", "x")
    emitter.summary_part("m", 0)
    emitter.reasoning_delta("m", 0, "x", summary=True)
    emitter.reasoning_delta("m", 0, "x", summary=False)
    assert sink.log == []


async def test_pieces_of_reasoning_name_their_part() -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    await emitter.started(ReasoningItem(id="r"))
    emitter.summary_part("r", 0)
    emitter.reasoning_delta("r", 0, "think", summary=True)
    emitter.reasoning_delta("r", 2, "late", summary=True)
    emitter.reasoning_delta("r", 1, "raw", summary=False)
    await emitter.close_open(interrupted=True)
    piece = {**IDS, "itemId": "r"}
    assert sink.log[2:6] == [
        ("item/reasoning/summaryPartAdded", {**piece, "summaryIndex": 0}),
        ("item/reasoning/summaryTextDelta", {**piece, "delta": "think", "summaryIndex": 0}),
        ("item/reasoning/summaryTextDelta", {**piece, "delta": "late", "summaryIndex": 2}),
        ("item/reasoning/textDelta", {**piece, "delta": "raw", "contentIndex": 1}),
    ]
    assert sink.items("item/completed")[0]["summary"] == ["think", "", "late"]


@pytest.mark.parametrize("interrupted", [True, False])
async def test_all_that_is_open_is_closed_in_the_order_in_which_it_began_as_one_commit(interrupted: bool) -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    await emitter.started(ImageGenerationItem(id="i", status="in_progress", result=""))
    await emitter.started(message(phase="final_answer"))
    emitter.text_delta("m", "so ")
    emitter.text_delta("m", "far")
    await emitter.started(ReasoningItem(id="r"))
    assert emitter.open_streamed() == ["m", "r"]
    before = len(sink.log)
    await emitter.close_open(interrupted=interrupted)
    await emitter.close_open(interrupted=interrupted)
    assert [name for name, _ in sink.log[before:]] == ["append", *["item/completed"] * 3]
    picture, text, reasoning = sink.items("item/completed")
    assert (picture["id"], picture["status"], picture["error"]["type"]) == (
        "i",
        "cancelled" if interrupted else "failed",
        "cancelled" if interrupted else "unknownOutcome",
    )
    assert (text["text"], text["phase"], text["status"]) == ("so far", "commentary", "dropped")
    assert reasoning["id"] == "r"
    assert emitter.final_message is None


async def test_only_what_is_named_is_closed() -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    for item_id in ("a", "b"):
        await emitter.started(ImageGenerationItem(id=item_id, status="in_progress", result=""))
    await emitter.close_open(["b", "unknown"], interrupted=False)
    assert [item["id"] for item in sink.items("item/completed")] == ["b"]


async def test_a_dropped_message_is_never_the_final_one() -> None:
    emitter = emitter_over(FakeSink())
    await emitter.completed(message("whole"))
    await emitter.completed(AgentMessageItem(id="n", text="cut", status="dropped"))
    assert emitter.final_message is not None
    assert emitter.final_message["text"] == "whole"


@pytest.mark.parametrize(("takes", "seen"), [("inline", "image"), ("", "localImage")])
async def test_items_that_are_whole_at_once_are_stored_without_bytes_and_shown_as_each_client_takes_them(
    takes: str, seen: str
) -> None:
    sink = FakeSink(takes=takes)
    shown = UserMessageItem(id="x", content=({"type": "image", "url": "data:image/png;base64,AAAA"},))
    stored = UserMessageItem(id="x", content=({"type": "localImage", "path": "/p.png"},))
    await emitter_over(sink).whole([(shown, stored)], Record(kind="history", data={"items": []}))
    assert sink.events() == ["+item_started", "+item_completed", "+history", "item/started", "item/completed"]
    assert [data["item"]["content"][0]["type"] for _, data in sink.log[0][1][:2]] == ["localImage"] * 2
    assert [sink.items(name)[0]["content"][0]["type"] for name in ("item/started", "item/completed")] == [seen] * 2
    times = [(item["startedAtMs"], item["completedAtMs"]) for _, body in sink.log[1:] for item in [body["item"]]]
    assert times == [(1, None), (1, 1)]


@pytest.mark.parametrize(
    ("takes", "gone", "result"), [("inline", False, "YWJj"), ("", False, ""), ("inline", True, "")]
)
async def test_bytes_go_to_clients_that_take_them_and_never_into_the_log(takes: str, gone: bool, result: str) -> None:
    sink = FakeSink(takes=takes)
    await emitter_over(sink, FakePictures(gone)).completed(
        ImageGenerationItem(id="i", status="completed", result=""), picture=REF
    )
    assert sink.items("item/completed")[0]["result"] == result
    stored = sink.log[2][1][0][1]
    assert (stored["item"]["result"], stored["picture"]) == ("", REF.to_json())


async def test_what_could_not_be_stored_is_not_shown() -> None:
    sink = FakeSink(full=True)
    emitter = emitter_over(sink)
    with pytest.raises(StorageError):
        await emitter.started(message())
    with pytest.raises(StorageError):
        await emitter.completed(message("x"))
    sink.full = False
    await emitter.close_open(interrupted=True)
    assert sink.log == []


async def test_an_item_whose_start_was_cancelled_is_not_completed_either() -> None:
    sink = FakeSink()
    emitter = emitter_over(sink)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await emitter.started(message())
    await emitter.close_open(interrupted=True)
    assert sink.log == []


async def test_each_notification_has_the_number_of_its_record() -> None:
    sink = FakeSink(last_seq=40)
    emitter = emitter_over(sink)
    await emitter.started(message())
    await emitter.completed(message("Hello"), history=[{"type": "message"}])
    one, other = message("a"), AgentMessageItem(id="n", text="b")
    await emitter.whole([(one, one), (other, other)], Record(kind="history", data={"items": []}))
    await emitter.started(AgentMessageItem(id="o", text=""))
    await emitter.started(AgentMessageItem(id="p", text=""))
    await emitter.close_open(interrupted=True)
    assert sink.seqs == [41, 42, 44, 45, 46, 47, 49, 50, 51, 52]
