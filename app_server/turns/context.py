"""The frozen facts of one turn, and the seams through which a turn reaches its thread. No decisions here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from app_server.hooks.config import HookSetup
from app_server.values import field, frozen

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.extension_api.scopes import TurnScope
    from app_server.extension_api.services import Pictures
    from app_server.extension_api.tools import PictureRef, ToolExecutor
    from app_server.providers.base import ModelProvider
    from app_server.storage.base import Record
    from app_server.turns.running_history import RunningHistory


@frozen
class Settings:
    """What a thread's next turn runs with. `threads/settings.py` makes and changes it; records and replies show it.

    Values are the wire's: `sandbox` is a SandboxPolicy object, `approval_policy` an AskForApproval.
    """

    model: str
    model_provider: str
    cwd: str
    approval_policy: Any = "on-request"
    approvals_reviewer: str = "user"
    sandbox: Mapping[str, Any] = field(default_factory=lambda: {"type": "readOnly", "networkAccess": False})
    permission_profile: str | None = None
    """The profile that the sandbox comes from; None: somebody chose the sandbox itself."""
    effort: str | None = None
    summary: str | None = None
    verbosity: str | None = None
    personality: str | None = None
    service_tier: str | None = None
    service_name: str | None = None
    base_instructions: str | None = None
    developer_instructions: str | None = None
    dynamic_tools: tuple[Mapping[str, Any], ...] = ()
    """Tools of the client, as it declared them in thread/start."""
    features: Mapping[str, bool] = field(default_factory=dict)
    """Feature values of the thread's own config."""
    project_features: Mapping[str, bool] = field(default_factory=dict)
    """Feature values of the project config that holds in `cwd`."""


@frozen
class UserMessage:
    """One user message, resolved: how clients see it, and what the model gets.

    shown: the item's `content` as the client sent it; stored: the same with pictures by file, for the log;
    parts: Responses content items, pictures by reference; a picture's `path` is where the user has it, or absent.
    """

    client_id: str | None
    shown: Sequence[Mapping[str, Any]]
    stored: Sequence[Mapping[str, Any]]
    parts: Sequence[Mapping[str, Any]]

    @property
    def text(self) -> str:
        """The texts of the message, for a preview."""
        return "\n".join(str(part.get("text", "")) for part in self.stored if part.get("type") == "text")


@frozen
class Moment:
    """What is true right now for this turn: asked before every request, because logins and flags change."""

    scope: TurnScope
    provider: ModelProvider
    executors: Sequence[ToolExecutor]


@frozen
class TurnContext:
    """One turn. Frozen when it starts; `now` looks at the world again."""

    thread_id: str
    turn_id: str
    settings: Settings
    output_schema: Any
    now: Callable[[], Moment]
    clock: Clock
    pictures: Pictures
    installation_id: str
    hooks: HookSetup = field(default_factory=HookSetup)
    """The user's commands before and after a tool."""


class HandOver(Exception):
    """The turn goes on at another replica: nothing of it is open, and the history holds all that was said."""


@frozen
class RicherForm:
    """A notification with picture bytes in it, for clients whose budget it fits; `rpc/hub.Richer` has this shape."""

    kind: str
    """`inline`: the bytes as they are; `thumbnail`: a small copy."""
    message_bytes: int
    """How large the whole message is at most."""
    params: Callable[[], Any]

    def with_seq(self, seq: int) -> RicherForm:
        """The form with the number of its record in its params."""
        return replace(self, params=lambda: {**self.params(), "seq": seq})


class TurnSink(Protocol):
    """The turn's way to its thread. `threads/live_thread.LiveThread` has this shape."""

    @property
    def history(self) -> RunningHistory:
        """The conversation as the model will be sent it, pictures by reference, oldest first."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens of the last response's whole context: how full the model's window is."""
        ...

    @property
    def window(self) -> int:
        """How often the history was compacted."""
        ...

    async def append(self, *records: Record) -> int:
        """Durable on return, and part of `history` when the record is history; the seq of the last one.

        Raises StorageError."""
        ...

    def later(self, record: Record, shown: Callable[[int], None]) -> None:
        """Append it with what is appended next, as one commit; `shown` is then called with its seq.

        For what something else follows at once: each commit is a sync of the disk."""
        ...

    def show(
        self, method: str, params: Mapping[str, Any], *, forms: Sequence[RicherForm] = (), seq: int | None = None
    ) -> None:
        """Tell the thread's subscribers, each in the first of `forms` that it takes, else in the plain one.

        `seq` is that of the record behind it, which is durable already. Whoever appends shows before it waits for
        anything else: else a client that resumes meanwhile would miss it."""
        ...

    def delta(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell subscribers something passing, which a slow one may miss."""
        ...

    def wanted_forms(self, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        """Which forms some subscriber takes, were the message so large with the picture, or with a small copy."""
        ...

    def next_handle(self) -> str:
        """`img_1`, `img_2` …: the name of the next picture of this thread, never given twice."""
        ...

    def add_usage(self, last: Mapping[str, int]) -> Mapping[str, int]:
        """Count one response's tokens; returns the thread's new total."""
        ...


class PictureUrls(Protocol):
    """Data URLs of stored pictures, on the way to a model. `pictures/prompt.py` has this shape."""

    async def data_url(self, picture: PictureRef, detail: str | None) -> str | None:
        """The picture as large as `detail` allows, or as it is stored when `detail` is None.

        None when it is gone, altered or can no longer be decoded: the model is told in words then."""
        ...
