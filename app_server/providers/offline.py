"""The offline provider: a stand-in that is not an AI model, so that everything else can be used without key or network.

It streams like a real provider (items, deltas in several pieces, usage) what `offline_replies.py` decides by rules of
words: see there what it answers to what. It never opens a connection and needs no login.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final, Literal

import anyio.lowlevel
import orjson

from app_server.ids import uuid7
from app_server.providers.base import (
    Completed,
    ItemAdded,
    ItemDone,
    ModelRequest,
    ProviderEvent,
    ProviderFacts,
    RateLimits,
    TextDelta,
    TokenUsage,
)
from app_server.providers.offline_replies import STAND_IN, Call, Reply, Say, decide, text_chars

OFFLINE_NAME: Final = STAND_IN
CHARS_PER_TOKEN: Final = 4
"""The usual rule of thumb: there is no tokenizer here, and usage should still say how large a request was."""

OFFLINE_FACTS: Final = ProviderFacts(
    id="offline", image_generation=True, namespace_tools=True, api_key_pictures=True, hosted_tools=False
)

_PIECE: Final = re.compile(r"\S+\s*|\s+")

Phase = Literal["commentary", "final_answer"]


class OfflineProvider:
    """Answers at once and always the same way. `new_id` makes the ids of items and calls."""

    def __init__(self, facts: ProviderFacts = OFFLINE_FACTS, *, new_id: Callable[[], str] = uuid7) -> None:
        self._facts, self._new_id = facts, new_id

    @property
    def facts(self) -> ProviderFacts:
        return self._facts

    @property
    def stream_max_retries(self) -> int:
        return 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        """See `ModelProvider.stream`; lets other tasks run between the pieces, so that it can be cancelled anywhere."""
        reply = decide(request)
        for event in self._events(reply):
            await anyio.lowlevel.checkpoint()
            yield event
        yield RateLimits()
        yield Completed(response_id=f"resp_{self._new_id()}", usage=_usage(request, reply))

    def _events(self, reply: Reply) -> Iterator[ProviderEvent]:
        match reply:
            case Say(text=text):
                yield from self._message(text, "final_answer")
            case Call():
                yield from self._message(reply.announcement, "commentary")
                yield from self._function_call(reply)

    def _message(self, text: str, phase: Phase) -> Iterator[ProviderEvent]:
        item = {"type": "message", "id": f"msg_{self._new_id()}", "role": "assistant", "phase": phase}
        yield ItemAdded(item={**item, "status": "in_progress", "content": []})
        for piece in _PIECE.findall(text):
            yield TextDelta(item["id"], piece)
        content = [{"type": "output_text", "text": text, "annotations": []}]
        yield ItemDone(item={**item, "status": "completed", "content": content})

    def _function_call(self, call: Call) -> Iterator[ProviderEvent]:
        item: dict[str, Any] = {
            "type": "function_call",
            "id": f"fc_{self._new_id()}",
            "call_id": f"call_{self._new_id()}",
            **({"namespace": call.namespace} if call.namespace else {}),
            "name": call.name,
        }
        yield ItemAdded(item={**item, "arguments": "", "status": "in_progress"})
        yield ItemDone(item={**item, "arguments": orjson.dumps(call.arguments).decode(), "status": "completed"})


def _usage(request: ModelRequest, reply: Reply) -> TokenUsage:
    said = reply.text if isinstance(reply, Say) else reply.announcement + orjson.dumps(reply.arguments).decode()
    input_tokens = _tokens(text_chars(request.input) + text_chars(request.tools))
    output_tokens = _tokens(len(said))
    return TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens)


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)
