"""One client: the read loop, requests in flight, requests that we sent, and the way out.

    frame ─► parse ─► reply         wakes the waiter of our own request
                      initialize    answered in the loop, before anything heavy is loaded
                      request       dispatch; what has to wait is a task with its own cancel scope → outbox
                      invalid       an error answer with the id that could be read
                      notification  `initialized` is accepted, unknown ones are skipped

The connection ends when its stream does: what is in flight may finish within a bound, then the outbox is flushed.
Turns are not the connection's: they go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio

from app_server.errors import AppServerError, InvalidRequest, Overloaded, RpcError, as_rpc_error
from app_server.observability.logging import REQUEST
from app_server.observability.watch import WATCH
from app_server.protocol.jsonrpc import (
    INVALID_REQUEST,
    Invalid,
    Notification,
    Reply,
    Request,
    encode_error,
    encode_request,
    encode_result,
    parse_frame,
)
from app_server.rpc.context import RequestContext
from app_server.rpc.outbox import Outbox
from app_server.rpc.session import Session
from app_server.transport.base import FrameTooLarge, MessageStream, QuickStream, StreamClosed, TracedStream
from app_server.values import frozen

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.rpc.delta import Delta
    from app_server.rpc.hub import Hub

S = TypeVar("S")
Answer = tuple[bytes, bool]
"""An encoded answer, and whether it is a good one."""
MAX_IN_FLIGHT = 1024
"""Requests of one connection that may be unanswered at a time; beyond it they are answered -32001."""
_DRAIN_TIMEOUT_S = 5.0


class DispatcherLike(Protocol):
    """`rpc/dispatch.Dispatcher`, named here so that importing a connection does not load the engine."""

    def begin(self, ctx: Any, request: Request) -> Answer | Coroutine[Any, Any, Answer]: ...


@frozen
class Core(Generic[S]):
    """What is loaded after the first answer: the services and the dispatcher over them."""

    services: S
    dispatcher: DispatcherLike


class Server(Protocol[S]):
    """What a connection needs from the composition root."""

    hub: Hub[S]

    def initialize(self, session: Session, params: Any) -> Mapping[str, Any]:
        """Fill the session, return the result. Raises InvalidRequest; the session stays uninitialized then."""
        ...

    async def core(self) -> Core[S]:
        """Load the rest on first need; later calls return at once."""
        ...

    async def client_ready(self, connection: Connection[S]) -> None:
        """Called once after the initialize reply: warm up, then tell the client what it should know."""
        ...


class Connection(Generic[S]):
    """One client over one stream. `run` returns when the client is gone and everything is answered."""

    def __init__(self, stream: MessageStream, server: Server[S], *, greeted: bool = False) -> None:
        """`greeted`: the first frame is an `initialize` that was answered before the server was loaded."""
        self._stream = stream
        self._quick = stream if isinstance(stream, QuickStream) else None
        self._greeted = greeted
        self._server = server
        self._outbox = Outbox(stream)
        self._waiting: dict[int | str, Callable[[Reply], None]] = {}
        self._core: Core[S] | None = None
        self.in_flight = 0
        """Requests without an answer so far."""
        self._ended = False
        self._idle = anyio.Event()
        self._closing: list[Callable[[], None]] | None = []
        self.session = Session(connection_id=server.hub.next_connection_id(), transport=stream.transport)
        if isinstance(stream, TracedStream):
            self.session.trace = stream.trace

    async def run(self) -> None:
        """Serve the client until its stream ends."""
        self._server.hub.add(self)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                if self._quick is not None:
                    self._quick.offer_to(partial(self._serve_now, tasks))
                await self._read(tasks)
                self._end_belongings()
                with anyio.move_on_after(_DRAIN_TIMEOUT_S):
                    while self.in_flight:
                        self._idle = anyio.Event()
                        await self._idle.wait()
                self._outbox.close()
                tasks.cancel_scope.deadline = anyio.current_time() + _DRAIN_TIMEOUT_S
        finally:
            self._ended = True
            self._server.hub.remove(self)
            self._end_belongings()
            for request_id, wake in list(self._waiting.items()):
                wake(Reply(request_id, None, {"message": "The client disconnected before it answered."}))
            with anyio.CancelScope(shield=True), anyio.move_on_after(_DRAIN_TIMEOUT_S):
                await self._stream.aclose()

    def on_close(self, callback: Callable[[], None]) -> None:
        """Run `callback` when the client is gone, before what is in flight is awaited; at once if it is gone."""
        if self._closing is None:
            callback()
        else:
            self._closing.append(callback)

    def _end_belongings(self) -> None:
        callbacks, self._closing = self._closing or [], None
        for callback in callbacks:
            callback()

    @property
    def outbox_bytes(self) -> int:
        """What waits to be read by the client."""
        return self._outbox.queued_bytes

    # -- out
    def send(self, frame: bytes, *, flushed: bool = False) -> None:
        """Queue a frame that must arrive; a client that never reads is cut off in the end. `flushed`: see `Outbox`."""
        if not self._outbox.put(frame, flushed=flushed):
            self._outbox.close()

    def send_delta(self, delta: Delta) -> None:
        self._outbox.put_delta(delta)

    async def room(self) -> None:
        """Wait while the client is behind in reading."""
        await self._outbox.room()

    async def request(self, method: str, params: Any) -> Any:
        """Ask the client; returns its result. Raises RpcError with its error, also when it goes away."""
        if self._ended:
            raise RpcError("The client has disconnected.", data_code="clientGone")
        request_id = self._server.hub.next_request_id()
        answer: list[Reply] = []
        done = anyio.Event()

        def wake(reply: Reply) -> None:
            answer.append(reply)
            done.set()

        self._waiting[request_id] = wake
        try:
            self.send(encode_request(request_id, method, params))
            await done.wait()
        finally:
            self._waiting.pop(request_id, None)
        reply = answer[0]
        if reply.error is not None:
            raise RpcError(str(reply.error.get("message", "The client refused."))[:500], data_code="clientError")
        return reply.result

    async def _write(self) -> None:
        await self._outbox.run()
        await self._stream.aclose()

    # -- in
    async def _read(self, tasks: TaskGroup) -> None:
        while True:
            if self._quick is None or not self._quick.ready:
                self._outbox.flush()
            try:
                data = await self._stream.receive()
            except StreamClosed:
                return
            except FrameTooLarge as error:
                self.send(encode_error(None, INVALID_REQUEST, str(error), {"code": "frameTooLarge"}))
                continue
            match parse_frame(data):
                case Request(method="initialize") as request:
                    self._initialize(request, tasks)
                case Request() as request:
                    await self._accept(request, tasks)
                case Reply() as reply:
                    if (wake := self._waiting.get(reply.id)) is not None:
                        wake(reply)
                case Invalid() as invalid:
                    self.send(encode_error(invalid.id, invalid.code, invalid.message, {"code": invalid.data_code}))
                case Notification() | None:
                    pass

    def _serve_now(self, tasks: TaskGroup, frames: Sequence[bytes | FrameTooLarge]) -> int:
        """Begin requests in the round of the loop in which they came; returns how many. `_read` does what is left."""
        taken = 0
        while (core := self._core) is not None and taken < len(frames) and self._outbox.takes_answers:
            frame = frames[taken]
            request = parse_frame(frame) if type(frame) is bytes else None
            if type(request) is not Request or request.method == "initialize" or self.in_flight >= MAX_IN_FLIGHT:
                break
            self._begin(core, request, tasks)
            taken += 1
        self._outbox.flush()
        return taken

    def _initialize(self, request: Request, tasks: TaskGroup) -> None:
        try:
            if self.session.initialized:
                raise InvalidRequest("Already initialized", data_code="alreadyInitialized")
            result = self._server.initialize(self.session, request.params)
        except RpcError as error:
            self._refuse(request, error)
            return
        if not self._greeted:
            self.send(encode_result(request.id, result))
        tasks.start_soon(self._server.client_ready, self)

    async def _accept(self, request: Request, tasks: TaskGroup) -> None:
        """Start serving a request. The reader itself waits for the core: what comes first is begun first."""
        if not self.session.initialized:
            error: RpcError = InvalidRequest("Not initialized", data_code="notInitialized")
        elif self.in_flight >= MAX_IN_FLIGHT:
            error = Overloaded(f"Server overloaded: {MAX_IN_FLIGHT} requests are unanswered; retry when some are.")
        else:
            try:
                await self._outbox.answers_read()  # who does not read is not heard either, before much is kept for them
                if self._core is None:
                    self._outbox.flush()
                    self._core = await self._server.core()
                core = self._core
            except AppServerError as failed:
                error = as_rpc_error(failed)
            else:
                self._begin(core, request, tasks)
                return
        self._refuse(request, error)

    def _begin(self, core: Core[S], request: Request, tasks: TaskGroup) -> None:
        """Answer at once what needs no waiting; the rest is a task."""
        ctx = RequestContext(
            services=core.services,
            connection=self,
            session=self.session,
            request_id=request.id,
            method=request.method,
            seen=WATCH.request(request.method, self.session.connection_id, request.trace, self.session.trace),
        )
        named = request.params.get("threadId") if type(request.params) is dict else None
        token = REQUEST.set((self.session.connection_id, request.id, request.method, named))
        try:
            if ctx.seen is None:
                self._answer(core, ctx, request, tasks)
            else:
                with ctx.seen.during():
                    self._answer(core, ctx, request, tasks)
        finally:
            REQUEST.reset(token)

    def _answer(self, core: Core[S], ctx: RequestContext[S], request: Request, tasks: TaskGroup) -> None:
        answer = core.dispatcher.begin(ctx, request)
        if isinstance(answer, tuple):
            self._reply(ctx, answer, flushed=True)
        else:
            self.in_flight += 1
            tasks.start_soon(self._finish, ctx, answer)

    def _refuse(self, request: Request, error: RpcError) -> None:
        self.send(encode_error(request.id, error.wire_code, error.message, error.data))

    async def _finish(self, ctx: RequestContext[S], waiting: Coroutine[Any, Any, Answer]) -> None:
        try:
            self._reply(ctx, await waiting)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    def _reply(self, ctx: RequestContext[S], answer: Answer, *, flushed: bool = False) -> None:
        frame, good = answer
        self.send(frame, flushed=flushed)
        if ctx.seen is not None:
            ctx.seen.answered(good)
        if good:
            for callback in ctx.callbacks:
                callback()


ConnectionHandler = Callable[[MessageStream], Awaitable[None]]
