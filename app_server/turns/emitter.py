"""The only way to make an item visible: started → deltas → completed, exactly once each, in every outcome.

An item's record is durable before its notification is sent. Whatever is still open when an attempt, a tool or the turn
ends is closed by `close_open`, so no client is left with an open item. Picture bytes are in no record: they are shown
live, to those subscribers that take them (`emitter_forms.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app_server.observability.watch import WATCH
from app_server.protocol.item_parts import ImageGenerationError
from app_server.protocol.items import (
    AgentMessageItem,
    CommandExecutionItem,
    DynamicToolCallItem,
    ImageGenerationItem,
    Item,
    ReasoningItem,
)
from app_server.storage.base import Record
from app_server.storage.records import HISTORY, ITEM_COMPLETED, ITEM_STARTED
from app_server.turns.emitter_forms import completed_params, echo_forms, picture_forms, started_params

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.extension_api.services import Pictures
    from app_server.extension_api.tools import PictureRef
    from app_server.turns.context import RicherForm, TurnSink


class ItemEmitter:
    """The items of one turn."""

    def __init__(self, sink: TurnSink, pictures: Pictures, clock: Clock, *, thread_id: str, turn_id: str) -> None:
        self._sink, self._pictures, self._clock = sink, pictures, clock
        self._ids = {"threadId": thread_id, "turnId": turn_id}
        self._open: dict[str, Item] = {}
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._summaries: dict[str, list[list[str]]] = {}
        self.final_message: Mapping[str, Any] | None = None
        """The last whole agentMessage: what `turn/completed` shows."""

    def open_streamed(self) -> list[str]:
        """Open items that come piece by piece from the model's stream, in the order in which they began."""
        return [item_id for item_id, item in self._open.items() if isinstance(item, (AgentMessageItem, ReasoningItem))]

    # -- whole items
    async def started(self, item: Item) -> None:
        """Show an item as begun. An open item of the same id is closed first."""
        if item.id in self._open:
            await self.close_open([item.id], interrupted=False)
        shown = item.model_copy(update={"started_at_ms": self._clock.now_ms(), "completed_at_ms": None})
        wire = shown.wire()
        seq = await self._sink.append(self._record(ITEM_STARTED, wire))
        self._open[item.id] = shown  # not before: an append that was cancelled leaves nothing to close
        self._show_started(wire, seq)

    async def begun(self, item: Item) -> None:
        """Show an item as begun, unless it is open: before something is made for it that must not be orphaned."""
        if item.id not in self._open:
            await self.started(item)

    async def completed(
        self,
        item: Item,
        *,
        picture: PictureRef | None = None,
        history: Sequence[Mapping[str, Any]] = (),
        extra: Sequence[Record] = (),
    ) -> None:
        """Show an item in its final form; start it first if it was not. All is one commit."""
        if item.id not in self._open:
            await self.started(_beginning(item))
        final = self._finished(item)
        wire = final.wire()
        records = [self._record(ITEM_COMPLETED, wire, picture)]
        if history:
            records.append(Record(kind=HISTORY, data={"items": list(history)}))
        records += extra
        forms: Sequence[RicherForm] = ()
        if picture is not None and isinstance(final, ImageGenerationItem):
            forms = await picture_forms(wire, picture, self._sink.wanted_forms, self._pictures, self._ids)
        last = await self._sink.append(*records)
        self._forget(item.id)
        if isinstance(final, AgentMessageItem) and final.status is None:
            self.final_message = wire
        self._show_completed(wire, last - len(records) + 1, forms)

    async def whole(self, items: Sequence[tuple[Item, Item]], *records: Record) -> None:
        """Show items that are finished at once, as one commit with `records`: (as shown, as stored) each."""
        now = self._clock.now_ms()
        stamped = [
            tuple(form.model_copy(update={"started_at_ms": now, "completed_at_ms": now}).wire() for form in pair)
            for pair in items
        ]
        begun = [{**stored, "completedAtMs": None} for _, stored in stamped]
        item_records = [
            record
            for start, (_, stored) in zip(begun, stamped, strict=True)
            for record in (self._record(ITEM_STARTED, start), self._record(ITEM_COMPLETED, stored))
        ]
        last = await self._sink.append(*item_records, *records)
        seqs = range(last - len(item_records) - len(records) + 1, last, 2)
        for seq, start, (shown, stored) in zip(seqs, begun, stamped, strict=False):
            echo = echo_forms({**shown, "completedAtMs": None}, start, started_params, self._ids)
            self._show_started(start, seq, echo)
            self._show_completed(stored, seq + 1, echo_forms(shown, stored, completed_params, self._ids))

    # -- pieces
    def text_delta(self, item_id: str, delta: str) -> None:
        """A piece of an open message; of an unknown one it is ignored."""
        if item_id in self._open:
            self._texts[item_id].append(delta)
            self._sink.delta("item/agentMessage/delta", {**self._ids, "itemId": item_id, "delta": delta})

    def summary_part(self, item_id: str, index: int) -> None:
        """A part of a reasoning summary begins."""
        if item_id in self._open:
            self._summary(item_id, index)
            params = {**self._ids, "itemId": item_id, "summaryIndex": index}
            self._sink.delta("item/reasoning/summaryPartAdded", params)

    def reasoning_delta(self, item_id: str, index: int, delta: str, *, summary: bool) -> None:
        """A piece of a summary part, or of raw reasoning text."""
        if item_id not in self._open:
            return
        params = {**self._ids, "itemId": item_id, "delta": delta}
        if summary:
            self._summary(item_id, index).append(delta)
            self._sink.delta("item/reasoning/summaryTextDelta", {**params, "summaryIndex": index})
        else:
            self._sink.delta("item/reasoning/textDelta", {**params, "contentIndex": index})

    def picture_progress(self, item_id: str, elapsed_ms: int, partial_index: int | None, preview: str | None) -> None:
        """A picture is still being made; only clients that opted in hear of it."""
        if item_id in self._open:
            params: dict[str, Any] = {**self._ids, "itemId": item_id, "elapsedMs": elapsed_ms}
            if partial_index is not None:
                params |= {"partialIndex": partial_index, "preview": preview}
            self._sink.delta("item/imageGeneration/progress", params)

    def output_delta(self, item_id: str, delta: str) -> None:
        """A piece of a running command's output."""
        if item_id in self._open:
            self._sink.delta("item/commandExecution/outputDelta", {**self._ids, "itemId": item_id, "delta": delta})

    # -- the end
    async def close_open(self, only: Sequence[str] | None = None, *, interrupted: bool) -> None:
        """Complete what is still open, in the order in which it began, as one commit."""
        ids = [item_id for item_id in self._open if only is None or item_id in only]
        if not ids:
            return
        finals = [self._finished(self._cut(self._open[item_id], interrupted)).wire() for item_id in ids]
        last = await self._sink.append(*(self._record(ITEM_COMPLETED, wire) for wire in finals))
        for seq, item_id, wire in zip(range(last - len(ids) + 1, last + 1), ids, finals, strict=True):
            self._forget(item_id)
            self._show_completed(wire, seq)

    def show_unstored(self, cause: str) -> None:
        """Show the end of what is open though the disk refuses it; who loads the thread next closes it in the log."""
        for item_id in list(self._open):
            item = self._finished(self._cut(self._open[item_id], False))
            if isinstance(item, ImageGenerationItem):
                error = ImageGenerationError(type="saveFailed", message=f"The picture could not be kept: {cause}")
                item = item.model_copy(update={"error": error})
            self._forget(item_id)
            self._show_completed(item.wire(), None)

    def _cut(self, item: Item, interrupted: bool) -> Item:
        match item:
            case AgentMessageItem():
                text = "".join(self._texts.get(item.id, []))
                return item.model_copy(update={"text": text, "phase": "commentary", "status": "dropped"})
            case ReasoningItem():
                parts = tuple("".join(part) for part in self._summaries.get(item.id, []))
                return item.model_copy(update={"summary": parts})
            case ImageGenerationItem():
                return item.model_copy(
                    update={
                        "status": "cancelled" if interrupted else "failed",
                        "error": ImageGenerationError(
                            type="cancelled" if interrupted else "unknownOutcome",
                            message="The turn was interrupted before the picture was finished."
                            if interrupted
                            else "The picture was not finished: the call ended before it was there.",
                        ),
                    }
                )
            case DynamicToolCallItem():
                return item.model_copy(update={"status": "failed", "success": False})
            case CommandExecutionItem():
                return item.model_copy(update={"status": "failed"})
            case _:
                return item

    def _finished(self, item: Item) -> Item:
        begun = self._open.get(item.id)
        started = begun.started_at_ms if begun is not None else self._clock.now_ms()
        return item.model_copy(update={"started_at_ms": started, "completed_at_ms": self._clock.now_ms()})

    def _forget(self, item_id: str) -> None:
        self._open.pop(item_id, None)
        self._texts.pop(item_id, None)
        self._summaries.pop(item_id, None)

    def _summary(self, item_id: str, index: int) -> list[str]:
        parts = self._summaries.setdefault(item_id, [])
        while len(parts) <= min(index, 4096):
            parts.append([])
        return parts[min(index, 4096)]

    # -- notifications and records
    def _record(self, kind: str, item: Mapping[str, Any], picture: PictureRef | None = None) -> Record:
        data: dict[str, Any] = {"turnId": self._ids["turnId"], "item": item}
        if picture is not None:
            data["picture"] = picture.to_json()
        return Record(kind=kind, data=data)

    def _show_started(self, wire: Mapping[str, Any], seq: int, forms: Sequence[RicherForm] = ()) -> None:
        self._sink.show("item/started", started_params(wire, self._ids), forms=forms, seq=seq)

    def _show_completed(self, wire: Mapping[str, Any], seq: int | None, forms: Sequence[RicherForm] = ()) -> None:
        if WATCH.observer is not None and wire["type"] == "imageGeneration":
            WATCH.observer.metrics.pictures.add(wire["status"])
        self._sink.show("item/completed", completed_params(wire, self._ids), forms=forms, seq=seq)


def _beginning(item: Item) -> Item:
    """The form in which an item that was never started is shown first."""
    match item:
        case AgentMessageItem():
            return item.model_copy(update={"text": ""})
        case ReasoningItem():
            return item.model_copy(update={"summary": (), "content": ()})
        case ImageGenerationItem():
            return ImageGenerationItem(id=item.id, status="in_progress", result="")
        case _:
            return item
