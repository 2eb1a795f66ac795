"""Any replica takes any request: one for a thread that another replica writes goes to that one, and its answer back.

| who writes the thread | then |
|---|---|
| we, or the method is not about a live thread | served here |
| nobody, and clients follow it here | it is loaded here, then served here |
| nobody | served here, as by a server alone |
| another replica | a letter to whoever writes it: taken once, done once, answered once |

A letter that nobody took by the time its owner is gone is served here. One that was taken by a replica that died is an
error that says so: whether it was done is not known, and it is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import orjson

from app_server.errors import AppServerError, RpcError, as_rpc_error
from app_server.observability.logging import get_logger
from app_server.observability.watch import WATCH
from app_server.protocol.jsonrpc import Request, encode_error, encode_result
from app_server.rpc.context import RequestContext
from app_server.rpc.session import Session

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.replicas.beyond import Beyond
    from app_server.replicas.following import Following
    from app_server.replicas.post import Post
    from app_server.rpc.connection import Connection
    from app_server.rpc.dispatch import Answer, Dispatcher
    from app_server.storage.cluster import Cluster, Letter
    from app_server.threads.manager import ThreadManager

log = get_logger("replicas")

FOR_THE_OWNER: Final = frozenset(
    {
        "turn/start",
        "turn/steer",
        "turn/interrupt",
        "review/start",
        "thread/name/set",
        "thread/archive",
        "thread/delete",
        "thread/revert",
        "thread/compact/start",
        "thread/shellCommand",
        "thread/inject_items",
        "thread/settings/update",
        "thread/metadata/update",
        "thread/goal/set",
        "thread/goal/clear",
        "thread/readState/update",
        "thread/backgroundTerminals/list",
        "image/delete",
        "experimentalFeature/list",
        "mcpServerStatus/list",
        "skills/list",
    }
)
"""Methods that act on a live thread, or change a stored one."""
MOVED: Final = "moved"
"""The answer to a letter whose thread has just left the replica that took it: it is to be sent anew."""
KEPT_LOOK_S: Final = 0.005
UNTAKEN_LOOKS: Final = 45
"""How often, a second apart, until a letter that nobody takes is taken back; a minute old it is not served any more."""
LOST_LOOKS: Final = 15
"""How often, a second apart, an answer is looked for whose replica has lost the thread: it may still be on its way."""


class RemoteClient:
    """In place of the connection of a client at another replica: it follows there, so nothing is sent from here."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def on_close(self, callback: Callable[[], None]) -> None:
        """It has no end here."""

    def send(self, frame: bytes, *, flushed: bool = False) -> None:
        """Its own replica tells it."""


class Commands:
    """Both ends of the letters between replicas, for one tenant."""

    def __init__(
        self,
        cluster: Cluster,
        threads: ThreadManager,
        post: Post,
        following: Following,
        beyond: Beyond,
        tasks: TaskGroup,
    ) -> None:
        self._cluster, self._threads, self._post = cluster, threads, post
        self._following, self._beyond, self._tasks = following, beyond, tasks
        self._dispatcher: Dispatcher[Any] | None = None
        self._services: Any = None

    def serve_with(self, dispatcher: Dispatcher[Any], services: Any) -> None:
        """What requests are served with; from now on other replicas' are as well."""
        self._dispatcher, self._services = dispatcher, services

    # -- from our clients to the owner
    def route(self, ctx: RequestContext[Any], request: Request) -> Coroutine[Any, Any, Answer] | None:
        """The way of a request that another replica may have to serve; None for all others."""
        if request.method not in FOR_THE_OWNER or not isinstance(request.params, Mapping):
            return None
        thread_id = request.params.get("threadId")
        if not isinstance(thread_id, str) or self._threads.find(thread_id) is not None:
            return None
        return self._routed(ctx, request, thread_id)

    async def _routed(self, ctx: RequestContext[Any], request: Request, thread_id: str) -> Answer:
        while True:
            owner = await self._cluster.owner(thread_id)
            if owner in (None, self._cluster.replica) and self._following.knows(thread_id):
                await self._threads.load(thread_id)
                owner = await self._cluster.owner(thread_id)
            if owner in (None, self._cluster.replica):
                return await self._here(ctx, request)
            if (answer := await self._asked(ctx, request, thread_id)) is not None:
                return answer

    async def _here(self, ctx: RequestContext[Any], request: Request) -> Answer:
        assert self._dispatcher is not None  # requests come in when everything is built
        answer = self._dispatcher.begin(ctx, request, here=True)
        return answer if isinstance(answer, tuple) else await answer

    async def _asked(self, ctx: RequestContext[Any], request: Request, thread_id: str) -> Answer | None:
        """The owner's answer; None when the request has to find its way anew."""
        body = {"method": request.method, "params": request.params, "session": _session(ctx.session)}
        letter_id = await self._cluster.post("command", thread_id, body)
        WATCH.letter("posted")
        ctx.after_reply(lambda: self._following.replied(letter_id))
        try:
            letter = await self._answered(letter_id, thread_id)
        finally:
            await self._cluster.remove(letter_id)
        if letter is None or (answer := letter.answer) is None or MOVED in answer:
            return None
        if (error := answer.get("error")) is None:
            if request.method == "turn/start" and not await self._is_kept(answer["result"]["turn"]["id"], letter):
                return None
            return encode_result(request.id, answer["result"]), True
        self._following.replied(letter_id)
        return encode_error(request.id, error["code"], error["message"], error.get("data")), False

    async def _is_kept(self, turn_id: str, letter: Letter) -> bool:
        """Whether a turn that its owner acknowledged is in the log; it will never be, when the owner died before."""
        while True:
            is_lost = await self._cluster.owner(letter.thread_id) != letter.taken_by
            if await self._following.is_in_log(letter.thread_id, turn_id):
                return True
            if is_lost:
                return False
            await anyio.sleep(KEPT_LOOK_S)

    async def _answered(self, letter_id: str, thread_id: str) -> Letter | None:
        """The letter with the owner's answer; None when nobody took it, and nobody will."""
        lost, looks = 0, 0
        while True:
            letter = await self._post.look(letter_id)
            if letter is not None and letter.answer is not None:
                return letter
            owner = await self._cluster.owner(thread_id)
            looks += 1
            if letter is None or (letter.taken_by is None and owner in (None, self._cluster.replica)):
                if letter is None or await self._cluster.take(letter_id):
                    return None
            elif letter.taken_by is None and looks >= UNTAKEN_LOOKS and await self._cluster.take(letter_id):
                raise RpcError(
                    f"The replica that has thread {thread_id} takes no requests for it; this one was not done, so send "
                    "it again.",
                    data_code="ownerLost",
                )
            elif letter.taken_by is not None and letter.taken_by != owner:
                lost += 1
                if lost >= LOST_LOOKS:
                    raise RpcError(
                        f"The replica that took this request ended before it answered; read thread {thread_id} to see "
                        "whether it was done, then send it again if it was not.",
                        data_code="ownerLost",
                    )

    # -- from other replicas to us
    def hear(self, thread_id: str) -> None:
        """There may be letters for a thread."""
        if self._threads.find(thread_id) is not None and self._dispatcher is not None:
            self._tasks.start_soon(self._serve, thread_id)

    def came_here(self, thread_id: str) -> None:
        """The thread is ours from now on, and so are letters that its last owner did not take."""
        if self._dispatcher is not None:
            self._tasks.start_soon(self._serve, thread_id)

    def hear_all(self) -> None:
        """Hints may be lost."""
        for thread_id in self._threads.loaded:
            self.hear(thread_id)

    async def _serve(self, thread_id: str) -> None:
        try:
            for letter in await self._cluster.waiting("command", thread_id):
                if self._threads.find(thread_id) is not None and await self._cluster.take(letter.letter_id):
                    await self._do(letter)
        except AppServerError as error:  # the storage refuses: who asks looks again, and says so in the end
            log.warning("commands_not_served", thread_id=thread_id, cause=error.message)

    async def _do(self, letter: Letter) -> None:
        WATCH.letter("taken")
        if self._threads.find(letter.thread_id) is None:
            await self._cluster.answer(letter.letter_id, {MOVED: True})
            return
        if (replica := letter.body.get("follow")) is not None:
            await self._cluster.answer(letter.letter_id, self._joined(letter.thread_id, str(replica)))
            return
        session = Session(**{**letter.body["session"], "opted_out": frozenset(letter.body["session"]["opted_out"])})
        ctx = RequestContext(
            services=self._services,
            connection=cast("Connection[Any]", RemoteClient(session)),  # all that these methods use of a connection
            session=session,
            request_id=letter.letter_id,
            method=letter.body["method"],
        )
        request = Request(letter.letter_id, letter.body["method"], letter.body["params"])
        assert self._dispatcher is not None  # `hear` asked
        answer = self._dispatcher.begin(ctx, request, here=True)
        if isinstance(answer, tuple):
            await self._reply(letter, ctx, answer)
        else:
            self._tasks.start_soon(self._finish, letter, ctx, answer)  # others need not wait for it

    async def _finish(self, letter: Letter, ctx: RequestContext[Any], waiting: Coroutine[Any, Any, Answer]) -> None:
        try:
            await self._reply(letter, ctx, await waiting)
        except AppServerError as error:
            log.warning("command_not_answered", method=ctx.method, cause=as_rpc_error(error).message)

    async def _reply(self, letter: Letter, ctx: RequestContext[Any], answer: Answer) -> None:
        """Answer first: what the request brings about comes behind it in what this replica writes."""
        frame, good = answer
        told = orjson.loads(frame)
        await self._cluster.answer(letter.letter_id, {key: told[key] for key in ("result", "error") if key in told})
        WATCH.letter("answered")
        if good:
            for callback in ctx.callbacks:
                callback()

    def _joined(self, thread_id: str, replica: str) -> dict[str, Any]:
        """For a replica that follows from now on: the number of the last passing hint, and what is open."""
        passed, live = self._beyond.told(thread_id), self._threads.find(thread_id)
        self._beyond.follows(thread_id, replica)
        pieces = [] if live is None else live.pieces.all()
        return {"passed": passed, "pieces": [{"method": method, "params": params} for method, params in pieces]}


def _session(session: Session) -> dict[str, Any]:
    """What handlers may ask of a client, as JSON."""
    return {
        "connection_id": -session.connection_id,
        "transport": session.transport,
        "client_name": session.client_name,
        "client_version": session.client_version,
        "client_title": session.client_title,
        "experimental_api": session.experimental_api,
        "opted_out": sorted(session.opted_out),
        "extensions": dict(session.extensions),
    }
