"""Logging: one JSON line per event on stderr, or a short readable line where stderr is a terminal.

    get_logger(name).info("event", field=…) ─▶ level ─▶ context, level, time, traceback ─▶ redact ─▶ line ─▶ stderr

`configure_logging` is called once by the command; `get_logger` may be called at import by anyone. structlog and
`redact` are imported with the first line that is really written, so a quiet start-up does not pay for them. Warnings
and errors of libraries that use the standard library's logging go the same way. A line that stderr has no room for is
dropped and counted: a client that never reads stderr must not stop the server.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warn": 30, "error": 40, "off": 100}
DEFAULT_LEVEL = "warn"
_SYNONYMS: Mapping[str, str] = {"trace": "debug", "warning": "warn", "critical": "error", "none": "off"}
_NAMES: Mapping[int, str] = {number: name for name, number in LEVELS.items()}

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default={})  # noqa: B039 (never mutated: replaced)
RequestIds = tuple[int, int | str, str, Any]
"""Connection, request, method, and what the client says is its thread's id."""
_MAX_ID_CHARS = 64
"""A longer text is no id of ours, and is not told."""
REQUEST: ContextVar[RequestIds | None] = ContextVar("request_ids", default=None)
"""The request that a task works for, also in tasks that are started for it. Made into fields only for a line."""


class LogStream(Protocol):
    """Where lines go: bytes in, flushed after each line."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class _Settings:
    """The process's one configuration; `sink` is built with the first line."""

    threshold = LEVELS[DEFAULT_LEVEL]
    stream: LogStream | None = None
    readable = False
    sink: Any = None  # a structlog logger: its type is not imported here
    bridge: logging.Handler | None = None


def level_from_environment(environ: Mapping[str, str]) -> str:
    """The level that `APP_SERVER_LOG`, else `RUST_LOG`, asks for; `warn` if neither names one.

    Of a list such as `warn,some_module=debug` the word without a module counts.
    """
    for variable in ("APP_SERVER_LOG", "RUST_LOG"):
        for word in environ.get(variable, "").lower().split(","):
            level = _SYNONYMS.get(word.strip(), word.strip())
            if level in LEVELS:
                return level
    return DEFAULT_LEVEL


def configure_logging(level: str, stream: LogStream | None = None, *, readable: bool | None = None) -> None:
    """Set level (a word of LEVELS) and stream (default: stderr) for the process. A later call replaces the earlier.

    readable: lines for a person instead of JSON; by default where stderr is a terminal.
    """
    _Settings.threshold = LEVELS[level]
    _Settings.stream = stream or StderrStream()
    _Settings.readable = (
        (stream is None and sys.stderr is not None and sys.stderr.isatty()) if readable is None else readable
    )
    _Settings.sink = None
    root = logging.getLogger()
    if _Settings.bridge is None:
        _Settings.bridge = _LibraryBridge()
        root.addHandler(_Settings.bridge)
    root.setLevel(max(_Settings.threshold, logging.WARNING))


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add fields (connection, thread, turn) to every line logged inside, also by tasks started inside."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class Logger:
    """Logs events with fields; no f-strings. `exc_info=True` adds the traceback of the exception being handled."""

    __slots__ = ("_bound", "_name")

    def __init__(self, name: str, bound: Mapping[str, Any] | None = None) -> None:
        self._name, self._bound = name, dict(bound or {})

    def bind(self, **fields: Any) -> Logger:
        """A logger that adds these fields to each line."""
        return Logger(self._name, {**self._bound, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        self.log(10, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self.log(20, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.log(30, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self.log(40, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self.log(40, event, {"exc_info": True, **fields})

    def log(self, level: int, event: str, fields: Mapping[str, Any]) -> None:
        """Log at a numeric level of LEVELS."""
        if level >= _Settings.threshold:
            line = {
                "logger": self._name,
                **_request_fields(),
                **_context.get(),
                **self._bound,
                **fields,
                "level": _NAMES.get(level, "error"),
            }
            _sink().msg(event, **line)


def _request_fields() -> dict[str, Any]:
    ids = REQUEST.get()
    if ids is None:
        return {}
    shown = dict(zip(("connection_id", "request_id", "method"), ids[:3], strict=True))
    named = ids[3]
    return {**shown, "thread_id": named} if type(named) is str and len(named) <= _MAX_ID_CHARS else shown


def get_logger(name: str) -> Logger:
    """A logger for a module; cheap, imports nothing."""
    return Logger(name)


def _sink() -> Any:
    """The structlog logger at the end of the chain."""
    if _Settings.sink is None:
        import structlog

        from app_server.observability.redact import redact

        _Settings.sink = structlog.wrap_logger(
            structlog.BytesLogger(_Settings.stream or StderrStream()),  # type: ignore[arg-type] # wants BinaryIO, uses two methods
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.format_exc_info,
                lambda _logger, _method, event_dict: redact(event_dict),
                readable_line if _Settings.readable else json_line,
            ],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
        )
    return _Settings.sink


def json_line(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> bytes:
    """One JSON object: time, level, event, then the fields."""
    import orjson

    head = {key: event_dict.pop(key, None) for key in ("time", "level", "event")}
    return orjson.dumps({**head, **event_dict})


def readable_line(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> bytes:
    """`12:34:56.789 warn  event  field=value`, with a traceback on lines of its own."""
    clock = str(event_dict.pop("time", ""))[11:23]
    level, event = event_dict.pop("level", ""), event_dict.pop("event", "")
    traceback = event_dict.pop("exception", None)
    fields = " ".join(f"{key}={value}" for key, value in event_dict.items())
    line = f"{clock} {level:5} {event}  {fields}".rstrip()
    return (f"{line}\n{traceback}" if traceback else line).encode()


class StderrStream:
    """Stderr on a descriptor of its own. Loses lines rather than wait for a reader; tells how many were lost."""

    def __init__(self) -> None:
        self._fd = os.dup(2)
        self._lost, self._torn = 0, False
        self._poll: Any = None  # select.poll, which Windows lacks
        if sys.platform != "win32":
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    def write(self, data: bytes, /) -> None:
        if self._lost:
            data = b'{"level":"warn","event":"log lines lost","lines":%d}\n' % self._lost + data
        data = b"\n" * self._torn + data
        begun = False
        try:
            while data:
                if self._poll is not None and not self._poll.poll(0):
                    self._lost, self._torn = self._lost + 1, self._torn or begun
                    return
                data = data[os.write(self._fd, data if self._poll is None else data[: select.PIPE_BUF]) :]
                begun = True
        except OSError:  # nobody is there to read logs any more: the server goes on
            pass
        self._lost, self._torn = 0, False

    def flush(self) -> None:
        """Nothing is held back."""


class _LibraryBridge(logging.Handler):
    """Takes what libraries log through the standard library into our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        level = max((number for number in LEVELS.values() if number <= record.levelno), default=10)
        Logger(record.name).log(level, record.getMessage(), fields)
