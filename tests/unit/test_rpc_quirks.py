"""How large a message each client takes: what it states, what was measured, what the server allows."""

from __future__ import annotations

from typing import Any

import pytest

from app_server.rpc.quirks import (
    LINE_OF_64_KIB,
    MESSAGE_OF_1_MIB,
    MIB,
    QUIRKS,
    InlinePolicy,
    MessageBudget,
    message_budget,
    turn_gap_s,
)
from app_server.rpc.session import Session

CAP = 100 * MIB


def session(name: str = "codex-tui", version: str = "0.169.0", transport: str = "stdio", **pictures: Any) -> Session:
    return Session(
        connection_id=1,
        transport=transport,
        initialized=True,
        client_name=name,
        client_version=version,
        extensions={"pictures": pictures} if pictures else {},
    )


@pytest.mark.parametrize(
    ("name", "version", "transport", "limit"),
    [
        ("codex-app-server-sdk", "0.4.1", "stdio", LINE_OF_64_KIB),
        ("codex-app-server-sdk", "0.4.1", "websocket", MESSAGE_OF_1_MIB),
        ("codex_python_sdk", "0.1.0", "stdio", LINE_OF_64_KIB),
        ("codex-python-sdk", "0.2.1", "stdio", LINE_OF_64_KIB),
        ("codex_client_provider", "0.1.0", "stdio", LINE_OF_64_KIB),
        ("codex-gateway", "0.1.2", "stdio", LINE_OF_64_KIB),
        ("codexed", "1.2.2", "websocket", MESSAGE_OF_1_MIB),
        ("codex_agent_sdk", "0.1.0", "stdio", MESSAGE_OF_1_MIB),
        ("codex_agent_sdk", "0.0.0", "stdio", MESSAGE_OF_1_MIB),
        ("codex_sdk_py", "0.1.0", "stdio", MESSAGE_OF_1_MIB),
        # measured to take 6 MB
        ("codex-tui", "0.169.0", "websocket", CAP),
        ("codex_python_sdk", "0.163.0", "stdio", CAP),
        ("codexed", "1.2.2", "stdio", CAP),
        # nobody knows
        ("somebody", "1", "memory", CAP),
        ("", "", "stdio", CAP),
    ],
)
def test_each_measured_client_gets_what_it_survives(name: str, version: str, transport: str, limit: int) -> None:
    budget = message_budget(session(name, version, transport), InlinePolicy())
    assert (budget.max_message_bytes, budget.inline) == (limit, True)


def test_every_row_says_what_was_measured() -> None:
    assert [row.client for row in QUIRKS if not row.reason] == []


@pytest.mark.parametrize(
    ("name", "transport", "gap_s"),
    [
        ("codexed", "stdio", 0.025),
        ("codexed", "websocket", 0.025),
        ("codex-tui", "websocket", 0.0),
        ("codex-app-server-sdk", "stdio", 0.0),
        ("", "stdio", 0.0),
    ],
)
def test_only_a_client_that_makes_its_queue_late_waits_for_its_turn(name: str, transport: str, gap_s: float) -> None:
    assert turn_gap_s(session(name, "1.2.2", transport)) == gap_s


@pytest.mark.parametrize(
    ("name", "stated", "policy", "budget"),
    [
        ("x", {"maxMessageBytes": 5000}, {}, (5000, True, "the client stated it")),
        ("codex-gateway", {"maxMessageBytes": 9 * MIB}, {}, (9 * MIB, True, "the client stated it")),
        ("x", {"maxMessageBytes": 900 * MIB}, {}, (CAP, True, "the client stated it")),
        ("x", {"maxMessageBytes": 0}, {}, (0, True, "the client stated it")),
        ("x", {"maxMessageBytes": True}, {}, (CAP, True, "the server's cap")),
        ("x", {"maxMessageBytes": -1}, {}, (CAP, True, "the server's cap")),
        ("x", {"maxMessageBytes": "5"}, {}, (CAP, True, "the server's cap")),
        ("x", {"inline": "live"}, {}, (CAP, True, "the server's cap")),
        ("x", {"inline": "never"}, {}, (CAP, False, "the client wants no picture inline")),
        ("x", {"inline": "live"}, {"mode": "never"}, (CAP, False, '[server] inline_images = "never"')),
        ("codex-gateway", {}, {"mode": "always"}, (CAP, True, "the server's cap")),
        ("x", {"maxMessageBytes": 7}, {"mode": "always"}, (7, True, "the client stated it")),
        ("x", {}, {"max_message_bytes": MIB}, (MIB, True, "the server's cap")),
    ],
)
def test_what_the_client_states_comes_before_the_table_and_the_cap_always_holds(
    name: str, stated: dict[str, Any], policy: dict[str, Any], budget: tuple[int, bool, str]
) -> None:
    limit, inline, reason = budget
    assert message_budget(session(name, **stated), InlinePolicy(**policy)) == MessageBudget(
        max_message_bytes=limit, inline=inline, reason=reason
    )


def test_a_form_is_taken_up_to_the_last_byte_and_inline_only_where_it_is_wanted() -> None:
    budget = MessageBudget(max_message_bytes=10, inline=False, reason="")
    taken = [budget.takes(kind, size) for kind in ("inline", "thumbnail") for size in (10, 11)]
    assert taken == [False, False, True, False]
