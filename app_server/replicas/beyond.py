"""What clients of other replicas hear of the threads here, beside their records: what is passing, and broadcasts.

    broadcast   to every client of the tenant on every replica
    passing     to the replicas whose clients follow the thread: pieces of text are merged for a moment, the rest goes
                at once, behind the pieces that came before it

Records need nothing of this: whoever follows reads them in the log. The hub calls; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson

from app_server.storage.cluster import Hint

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.clock import Clock
    from app_server.storage.cluster import Cluster

MERGE_S: Final = 0.03
FOLLOWS_S: Final = 15.0
"""For how long a replica that said so is taken to follow a thread; it says so again every third of it."""
MAX_PIECE_CHARS: Final = 1200
MAX_HINT_BYTES: Final = 6500

_Piece = tuple[tuple[Any, ...], str, dict[str, Any], list[str]]
"""Key, method, params and texts."""


class Beyond:
    """The other side of the hub."""

    def __init__(self, cluster: Cluster, clock: Clock, tasks: TaskGroup, owned: Callable[[str], bool]) -> None:
        self._cluster, self._clock, self._tasks, self._owned = cluster, clock, tasks, owned
        self._followers: dict[str, dict[str, float]] = {}
        self._held: dict[str, list[_Piece]] = {}
        self._told: dict[str, int] = {}
        self._sending = False

    def follows(self, thread_id: str, replica: str) -> None:
        """A replica says that clients of it follow a thread."""
        self._followers.setdefault(thread_id, {})[replica] = self._clock.monotonic_s() + FOLLOWS_S

    def is_followed(self, thread_id: str) -> bool:
        """Whether another replica follows the thread."""
        followers, now_s = self._followers.get(thread_id, {}), self._clock.monotonic_s()
        for replica in [replica for replica, until_s in followers.items() if until_s < now_s]:
            del followers[replica]
        if not followers:
            self._followers.pop(thread_id, None)
        return bool(followers)

    def told(self, thread_id: str) -> int:
        """The number of the thread's last passing hint, once all that is held is sent too; 0 before the first."""
        self._send(thread_id)
        return self._told.get(thread_id, 0)

    def _next(self, thread_id: str) -> int:
        """Numbers go on when the thread moves to another replica: each begins with the time."""
        self._told[thread_id] = self._told.get(thread_id, self._clock.now_ms()) + 1
        return self._told[thread_id]

    def broadcast(self, method: str, params: Any) -> None:
        """What every client hears; of other things than threads each replica tells its own clients."""
        if method.startswith("thread/"):
            self._cluster.tell(Hint(kind="broadcast", data={"method": method, "params": params}))

    def passing(self, thread_id: str, method: str, params: Mapping[str, Any]) -> None:
        """What followers of a thread hear and no record holds."""
        if thread_id not in self._followers or not self._owned(thread_id) or not self.is_followed(thread_id):
            return
        held = self._held.setdefault(thread_id, [])
        text = params.get("delta")
        if not isinstance(text, str):
            held.append(((), method, dict(params), []))
            self._send(thread_id)
            return
        key = (method, params.get("itemId"), params.get("summaryIndex"), params.get("contentIndex"))
        if not held or held[-1][0] != key:
            held.append((key, method, dict(params), []))
        held[-1][3].append(text)
        if not self._sending:
            self._sending = True
            self._tasks.start_soon(self._send_soon)

    async def _send_soon(self) -> None:
        await anyio.sleep(MERGE_S)
        self._sending = False
        for thread_id in list(self._held):
            self._send(thread_id)

    def settle(self, thread_id: str) -> None:
        """Send now what is held."""
        if thread_id in self._held:
            self._send(thread_id)

    def _send(self, thread_id: str) -> None:
        for _, method, params, texts in self._held.pop(thread_id, ()):
            text = "".join(texts)
            cuts = range(0, len(text), MAX_PIECE_CHARS) if texts else (0,)
            for begin in cuts:
                piece = {"delta": text[begin : begin + MAX_PIECE_CHARS]} if texts else {}
                self._tell(thread_id, {"method": method, "params": {**params, **piece}})

    def _tell(self, thread_id: str, data: dict[str, Any]) -> None:
        if len(orjson.dumps(data)) <= MAX_HINT_BYTES:  # a passing thing that is too large is one that may be missed
            self._cluster.tell(Hint(kind="passing", thread_id=thread_id, seq=self._next(thread_id), data=data))

    def forget(self, thread_id: str) -> None:
        """The thread is not ours any more."""
        self._followers.pop(thread_id, None)
        self._held.pop(thread_id, None)
        self._told.pop(thread_id, None)
