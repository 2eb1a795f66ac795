"""What single clients need beyond the protocol: a table of measured ones, and the decisions for a connection. Pure.

How large a message a client takes:

    what the client states  >  the table, unless inline_images = "always"  >  the server's cap, which holds in any case

A client states its own in `initialize`: `capabilities.extensions.pictures {maxMessageBytes, inline: "live" | "never"}`;
a member of another form counts as not given. The hub asks for every notification that has a form with picture bytes.

Names are those that the clients send by default, read in their sources (a program built on one may send its own name,
which nobody can know). Three of them share a name and differ by version.

A client that begins to listen for a turn only once it has read the reply of `turn/start` needs a gap behind that
reply (`turn_gap_ms`); everybody else gets none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.rpc.session import Session

KIB: Final = 1024
MIB: Final = 1024 * KIB
LINE_OF_64_KIB: Final = 64 * KIB - KIB
"""What a reader with a limit of 64 KiB takes for sure."""
MESSAGE_OF_1_MIB: Final = MIB - KIB
INLINE, THUMBNAIL = "inline", "thumbnail"
"""Kinds of forms: the whole picture as base64, or a small data URL."""

_STREAM_READER = "reads lines with asyncio's StreamReader, whose limit is 64 KiB; 200 KB broke the connection"
_WEBSOCKETS = "the websockets library closes at its max_size of 1 MiB; 200 KB passed, 1.5 MB did not"
_LATE_QUEUE = (
    "makes a turn's queue once it has read the reply; what came in the same read was lost, after 20 ms nothing"
)
_BUFFER = "keeps a line in a buffer of 1 MiB; 200 KB passed, 1.5 MB did not"


@frozen
class Quirk:
    """What one client needs, and what was measured. A member that is None says nothing of its matter."""

    client: str
    """`clientInfo.name`."""
    version_prefix: str = ""
    transport: str | None = None
    """None: on every transport."""
    max_message_bytes: int | None = None
    """It breaks at a message above this."""
    turn_gap_ms: int | None = None
    """It loses notifications of a turn that come sooner behind the reply of `turn/start`."""
    reason: str


QUIRKS: Final[tuple[Quirk, ...]] = (
    # codex-app-server-sdk 0.4.1
    Quirk(
        client="codex-app-server-sdk",
        transport="stdio",
        max_message_bytes=LINE_OF_64_KIB,
        reason=_STREAM_READER,
    ),
    Quirk(
        client="codex-app-server-sdk",
        transport="websocket",
        max_message_bytes=MESSAGE_OF_1_MIB,
        reason=_WEBSOCKETS,
    ),
    # codex-app-server-client 0.1.0 bears the name of the official SDK, whose versions begin at 0.100
    Quirk(
        client="codex_python_sdk",
        version_prefix="0.1.",
        max_message_bytes=LINE_OF_64_KIB,
        reason=_STREAM_READER,
    ),
    # codex-python-sdk 0.2.1
    Quirk(client="codex-python-sdk", max_message_bytes=LINE_OF_64_KIB, reason=_STREAM_READER),
    # codex-client-provider 0.1.0
    Quirk(client="codex_client_provider", max_message_bytes=LINE_OF_64_KIB, reason=_STREAM_READER),
    # codex-gateway 0.1.2
    Quirk(client="codex-gateway", max_message_bytes=LINE_OF_64_KIB, reason=_STREAM_READER),
    # codexed 1.2.2; over stdio it takes 6 MB
    Quirk(client="codexed", transport="websocket", max_message_bytes=MESSAGE_OF_1_MIB, reason=_WEBSOCKETS),
    Quirk(client="codexed", turn_gap_ms=25, reason=_LATE_QUEUE),
    # codex-agent-sdk 0.0.2 and codex-python-sdk-unofficial 0.128.0 send the same name
    Quirk(client="codex_agent_sdk", max_message_bytes=MESSAGE_OF_1_MIB, reason=_BUFFER),
    # the lower of the two clients in codex-agent-sdk 0.0.2, which reads in the same way
    Quirk(client="codex_sdk_py", max_message_bytes=MESSAGE_OF_1_MIB, reason=_BUFFER),
)


@frozen
class InlinePolicy:
    """What the server's settings say of pictures inside messages (`[server] inline_images`, `inline_images_max_mb`).

    live: to every client that can take it; always: also to clients of the table; never: to nobody."""

    mode: Literal["live", "always", "never"] = "live"
    max_message_bytes: int = 100 * MIB


@frozen
class MessageBudget:
    """What one connection takes, and why."""

    max_message_bytes: int
    inline: bool
    """Whether it gets whole pictures at all."""
    reason: str

    def takes(self, kind: str, message_bytes: int) -> bool:
        """Whether a form of this kind, in a message of this size, may be sent."""
        return message_bytes <= self.max_message_bytes and (kind != INLINE or self.inline)


def quirks_of(session: Session) -> Iterator[Quirk]:
    """The rows that fit this client, if it is one of those that were measured; the first that says something counts."""
    for row in QUIRKS:
        if (
            session.client_name == row.client
            and session.client_version.startswith(row.version_prefix)
            and row.transport in (None, session.transport)
        ):
            yield row


def turn_gap_s(session: Session) -> float:
    """How long a turn that this client starts waits behind the reply before it tells anything; 0 for nearly all."""
    return next((row.turn_gap_ms / 1000 for row in quirks_of(session) if row.turn_gap_ms is not None), 0.0)


def message_budget(session: Session, policy: InlinePolicy) -> MessageBudget:
    """What this connection takes right now."""
    cap, stated = policy.max_message_bytes, session.stated_max_message_bytes
    measured = ((row.max_message_bytes, row.reason) for row in quirks_of(session) if row.max_message_bytes is not None)
    known = next(measured, None) if policy.mode != "always" else None
    if stated is not None:
        limit, reason = min(stated, cap), "the client stated it"
    elif known is not None:
        limit, reason = min(known[0], cap), known[1]
    else:
        limit, reason = cap, "the server's cap"
    if policy.mode == "never":
        return MessageBudget(max_message_bytes=limit, inline=False, reason='[server] inline_images = "never"')
    if session.pictures.get("inline") == "never":
        return MessageBudget(max_message_bytes=limit, inline=False, reason="the client wants no picture inline")
    return MessageBudget(max_message_bytes=limit, inline=True, reason=reason)
