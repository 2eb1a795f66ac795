"""Which client takes how large a message: a table of measured clients, and the decision for one connection. Pure.

    what the client states  >  the table, unless inline_images = "always"  >  the server's cap, which holds in any case

A client states its own in `initialize`: `capabilities.extensions.pictures {maxMessageBytes, inline: "live" | "never"}`;
a member of another form counts as not given. The hub asks for every notification that has a form with picture bytes.

Names are those that the clients send by default, read in their sources (a program built on one may send its own name,
which nobody can know). Three of them share a name and differ by version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

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
_BUFFER = "keeps a line in a buffer of 1 MiB; 200 KB passed, 1.5 MB did not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """A client that breaks at a message above `max_message_bytes`, and what was measured."""

    client: str
    """`clientInfo.name`."""
    version_prefix: str = ""
    transport: str | None = None
    """None: on every transport."""
    max_message_bytes: int
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
    # codex-agent-sdk 0.0.2 and codex-python-sdk-unofficial 0.128.0 send the same name
    Quirk(client="codex_agent_sdk", max_message_bytes=MESSAGE_OF_1_MIB, reason=_BUFFER),
    # the lower of the two clients in codex-agent-sdk 0.0.2, which reads in the same way
    Quirk(client="codex_sdk_py", max_message_bytes=MESSAGE_OF_1_MIB, reason=_BUFFER),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InlinePolicy:
    """What the server's settings say of pictures inside messages (`[server] inline_images`, `inline_images_max_mb`).

    live: to every client that can take it; always: also to clients of the table; never: to nobody."""

    mode: Literal["live", "always", "never"] = "live"
    max_message_bytes: int = 100 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBudget:
    """What one connection takes, and why."""

    max_message_bytes: int
    inline: bool
    """Whether it gets whole pictures at all."""
    reason: str

    def takes(self, kind: str, message_bytes: int) -> bool:
        """Whether a form of this kind, in a message of this size, may be sent."""
        return message_bytes <= self.max_message_bytes and (kind != INLINE or self.inline)


def quirk_of(session: Session) -> Quirk | None:
    """The row that fits this client, if it is one of those that were measured to break."""
    for row in QUIRKS:
        if (
            session.client_name == row.client
            and session.client_version.startswith(row.version_prefix)
            and row.transport in (None, session.transport)
        ):
            return row
    return None


def message_budget(session: Session, policy: InlinePolicy) -> MessageBudget:
    """What this connection takes right now."""
    cap, stated = policy.max_message_bytes, session.stated_max_message_bytes
    quirk = quirk_of(session) if policy.mode != "always" else None
    if stated is not None:
        limit, reason = min(stated, cap), "the client stated it"
    elif quirk is not None:
        limit, reason = min(quirk.max_message_bytes, cap), quirk.reason
    else:
        limit, reason = cap, "the server's cap"
    if policy.mode == "never":
        return MessageBudget(max_message_bytes=limit, inline=False, reason='[server] inline_images = "never"')
    if session.pictures.get("inline") == "never":
        return MessageBudget(max_message_bytes=limit, inline=False, reason="the client wants no picture inline")
    return MessageBudget(max_message_bytes=limit, inline=True, reason=reason)
