"""A request for another replica that nobody takes: it ends with an error, and is not done afterwards."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app_server.errors import RpcError
from app_server.replicas.commands import UNTAKEN_LOOKS, Commands
from app_server.storage.cluster import Letter

pytestmark = pytest.mark.anyio
LETTER = Letter(letter_id="letter", kind="command", thread_id="thread", body={})


class SilentOwner:
    """A replica that renews its lease and takes nothing; looks at the letter are at once over."""

    replica = "ours"

    def __init__(self) -> None:
        self.looks, self.taken = 0, list[str]()

    async def look(self, letter_id: str) -> Letter:
        self.looks += 1
        return LETTER

    async def owner(self, thread_id: str) -> str:
        return "silent"

    async def take(self, letter_id: str) -> bool:
        self.taken.append(letter_id)
        return True


async def test_a_letter_that_a_living_owner_never_takes_is_taken_back_and_said_not_to_be_done() -> None:
    silent = SilentOwner()
    nothing = cast("Any", None)  # none of it is asked while an answer is awaited
    commands = Commands(cast("Any", silent), nothing, cast("Any", silent), nothing, nothing, nothing)
    with pytest.raises(RpcError) as refusal:
        await commands._answered("letter", "thread")
    assert (silent.looks, silent.taken) == (UNTAKEN_LOOKS, ["letter"])
    assert (refusal.value.data or {}).get("code") == "ownerLost"
    assert "was not done" in refusal.value.message
