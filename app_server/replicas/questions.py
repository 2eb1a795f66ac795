"""Questions to the clients of a thread, wherever they are: the first answer counts.

A client of this replica is asked directly. Where there is none the question is a letter, every replica with a client
that follows the thread asks that one, and the others' clients need not answer any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from app_server.errors import AppServerError, RpcError, as_rpc_error
from app_server.observability.logging import get_logger

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.replicas.beyond import Beyond
    from app_server.replicas.post import Post
    from app_server.rpc.hub import Hub
    from app_server.storage.cluster import Cluster

log = get_logger("replicas")


class Questions:
    """Both ends of the questions of one tenant."""

    def __init__(self, cluster: Cluster, hub: Hub[Any], post: Post, beyond: Beyond, tasks: TaskGroup) -> None:
        self._cluster, self._hub, self._post, self._beyond, self._tasks = cluster, hub, post, beyond, tasks
        self._asking: dict[str, anyio.CancelScope] = {}

    async def ask(self, thread_id: str, method: str, params: Any) -> Any:
        """The answer of a client that follows the thread. Raises RpcError with its refusal, or when there is none."""
        if self._hub.has_subscribers(thread_id) or not self._beyond.is_followed(thread_id):
            return await self._hub.ask_thread(thread_id, method, params)
        letter_id = await self._cluster.post("question", thread_id, {"method": method, "params": params})
        try:
            while True:
                letter = await self._post.look(letter_id)
                if letter is not None and letter.answer is not None:
                    break
                if letter is None or not self._beyond.is_followed(thread_id):
                    raise RpcError("No client follows this thread, so nobody can answer.", data_code="nobodyThere")
        finally:
            with anyio.CancelScope(shield=True):
                await self._cluster.answer(letter_id, {"error": "The question was withdrawn."})
                await self._cluster.remove(letter_id)
        if "error" in letter.answer:
            raise RpcError(str(letter.answer["error"]), data_code="clientError")
        return letter.answer["result"]

    def hear(self, letter_id: str, thread_id: str) -> None:
        """A question waits for clients of a thread."""
        if letter_id not in self._asking and self._hub.has_subscribers(thread_id):
            self._asking[letter_id] = anyio.CancelScope()
            self._tasks.start_soon(self._ask_here, letter_id, thread_id)

    async def look(self, thread_id: str) -> None:
        """A client has come to a thread: it is asked what waits."""
        try:
            for letter in await self._cluster.waiting("question", thread_id):
                self.hear(letter.letter_id, thread_id)
        except AppServerError as error:
            log.warning("questions_not_looked_for", thread_id=thread_id, cause=error.message)

    def settled(self, letter_id: str) -> None:
        """Somebody has answered: our client need not."""
        if (scope := self._asking.get(letter_id)) is not None:
            scope.cancel()

    async def _ask_here(self, letter_id: str, thread_id: str) -> None:
        try:
            with self._asking[letter_id]:
                letter = await self._cluster.look(letter_id)
                if letter is None or letter.answer is not None:
                    return
                try:
                    result = await self._hub.ask_thread(thread_id, letter.body["method"], letter.body["params"])
                except RpcError as error:
                    if not self._hub.has_subscribers(thread_id):
                        return  # it went away: a client of another replica, or one that comes, may answer
                    await self._cluster.answer(letter_id, {"error": error.message})
                else:
                    await self._cluster.answer(letter_id, {"result": result})
        except AppServerError as error:
            log.warning("question_not_asked", thread_id=thread_id, cause=as_rpc_error(error).message)
        finally:
            self._asking.pop(letter_id, None)
