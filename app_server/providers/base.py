"""The seam of model providers: a request goes in, a stream of events comes out, a failure is one typed error.

A provider knows the wire of its API and nothing of threads, items or clients. `turns/sampling.py` is its only caller.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, runtime_checkable

from app_server.errors import AppServerError
from app_server.extension_api.scopes import ModelFacts, ProviderFacts
from app_server.values import field, frozen
from app_server.version import __version__

USER_AGENT: Final = f"imagegen-app-server/{__version__}"

CodexErrorInfo = str | dict[str, Any]
"""The protocol's error kind: a camelCase word, or one key with details (`{"httpConnectionFailed": {…}}`)."""


@runtime_checkable
class Encoded(Protocol):
    """A sequence of which some items were made JSON before: what a request sends in its place."""

    @property
    def encoded(self) -> list[Any]:
        """The same items, for orjson."""
        ...


@frozen
class ModelRequest:
    """One call of the Responses API. Lists and dicts are JSON as the API takes it; pictures are data URLs already."""

    model: str
    input: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    reasoning: Mapping[str, Any]
    text: Mapping[str, Any]
    prompt_cache_key: str
    client_metadata: Mapping[str, str]
    parallel_tool_calls: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    """Identity headers of this turn (originator, session-id, thread-id, x-codex-…)."""
    on_text: Callable[[str, str], None] | None = None
    """(item id, piece): may be told text at once, while the next event is waited for, in place of a TextDelta."""


@frozen
class TokenUsage:
    """Tokens of one response; 0 where the API said nothing."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    total_tokens: int = 0


@frozen
class ItemAdded:
    """`response.output_item.added`: the item as far as it is known."""

    item: dict[str, Any]


@frozen
class ItemDone:
    """`response.output_item.done`: the whole item. May come without an ItemAdded before it."""

    item: dict[str, Any]


@frozen(kw_only=False)
class TextDelta:
    """A piece of an assistant message. Positional and light: this is the hot path."""

    item_id: str
    delta: str


@frozen(kw_only=False)
class ReasoningDelta:
    """A piece of a reasoning summary part (`summary=True`) or of raw reasoning text."""

    item_id: str
    index: int
    delta: str
    summary: bool = True


@frozen(kw_only=False)
class ReasoningPartAdded:
    """A new summary part begins."""

    item_id: str
    index: int


@frozen
class RateLimits:
    """What the response headers said about limits; all None without such headers. Percent is rounded to an integer."""

    primary: dict[str, Any] | None = None
    """`{usedPercent, windowDurationMins, resetsAt}` in the wire's shape."""
    secondary: dict[str, Any] | None = None


@frozen
class Completed:
    """The response is whole; always the last event of a good stream."""

    response_id: str
    usage: TokenUsage | None


ProviderEvent = ItemAdded | ItemDone | TextDelta | ReasoningDelta | ReasoningPartAdded | RateLimits | Completed


class UpstreamError(AppServerError):
    """The provider failed. One class: what to do about it stands in its fields.

    kind: the wire's CodexErrorInfo.   stream_retry: may the whole request be sent again (protocol.md §5)?
    retry_after_s: what the API asked to wait, or None.   details: the cause below the message, or None.
    http_status: of the answer, None when there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: CodexErrorInfo = "other",
        stream_retry: bool = False,
        retry_after_s: float | None = None,
        details: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.stream_retry, self.retry_after_s = kind, stream_retry, retry_after_s
        self.details, self.http_status = details, http_status


class ModelProvider(Protocol):
    """One configured provider, alive as long as the server. Safe for many streams at once."""

    @property
    def facts(self) -> ProviderFacts: ...

    @property
    def stream_max_retries(self) -> int:
        """How often a broken stream is started again."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        """Send the request and yield events in order, ending with Completed; close it (`aclose`) to hang up.

        Credentials are resolved at each call. Raises UpstreamError, MissingCredentials."""
        ...


class Credentials(Protocol):
    """What a provider needs to know of logins; `auth` has this shape, `bootstrap` joins them."""

    def headers(self) -> Mapping[str, str]:
        """Authorization and account headers as of now. Raises MissingCredentials with what to set."""
        ...


@runtime_checkable
class RenewableCredentials(Credentials, Protocol):
    """Credentials that can be renewed. Those of a provider may have this shape, or the plain one."""

    async def prepare(self) -> None:
        """Before a request: renew a login that has run out or is about to. A failure shows in `headers` or a 401."""
        ...

    async def refresh(self, refused: Mapping[str, str]) -> bool:
        """After a 401 to a request with these login headers: whether there is another login now, worth one more try."""
        ...


Modality = Literal["text", "image"]
__all__ = [
    "CodexErrorInfo", "Completed", "Credentials", "ItemAdded", "ItemDone", "Modality", "ModelFacts", "ModelProvider",
    "ModelRequest", "ProviderEvent", "ProviderFacts", "RateLimits", "ReasoningDelta", "ReasoningPartAdded",
    "RenewableCredentials", "TextDelta", "TokenUsage", "UpstreamError",
]  # fmt: skip
