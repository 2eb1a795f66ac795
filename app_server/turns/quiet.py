"""A sink for requests that are not part of the conversation (summaries, reviews): their items are not shown or kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app_server.storage.records import TOKEN_USAGE
from app_server.turns.running_history import RunningHistory

if TYPE_CHECKING:
    from app_server.storage.base import Record
    from app_server.turns.context import RicherForm, TurnSink


class QuietSink:
    """Items vanish, the history is its own; retries and usage are told as usual."""

    def __init__(self, sink: TurnSink, history: Iterable[Mapping[str, Any]]) -> None:
        self._sink, self._history = sink, RunningHistory(history)

    @property
    def history(self) -> RunningHistory:
        return self._history

    @property
    def context_tokens(self) -> int:
        return self._sink.context_tokens

    @property
    def window(self) -> int:
        return self._sink.window

    async def append(self, *records: Record) -> int:
        told = [record for record in records if record.kind == TOKEN_USAGE]
        return await self._sink.append(*told) if told else 0

    def later(self, record: Record, shown: Callable[[int], None]) -> None:
        if record.kind == TOKEN_USAGE:
            self._sink.later(record, shown)

    def show(
        self, method: str, params: Mapping[str, Any], *, forms: Sequence[RicherForm] = (), seq: int | None = None
    ) -> None:
        if not method.startswith("item/"):
            self._sink.show(method, params, seq=seq)

    def delta(self, method: str, params: Mapping[str, Any]) -> None:
        pass

    def wanted_forms(self, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        return frozenset()

    def next_handle(self) -> str:
        return self._sink.next_handle()

    def add_usage(self, last: Mapping[str, int]) -> Mapping[str, int]:
        return self._sink.add_usage(last)
