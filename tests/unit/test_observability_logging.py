"""The log: levels, lines, context, and a start-up that does not pay for it."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest

from app_server.observability.logging import configure_logging, get_logger, level_from_environment, log_context


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    yield io.BytesIO()
    configure_logging("warn", io.BytesIO())


def lines(stream: io.BytesIO) -> list[dict[str, object]]:
    """The JSON lines, without their times."""
    found = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    for line in found:
        assert str(line.pop("time")).endswith("Z")
    return found


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, "warn"),
        ({"APP_SERVER_LOG": "debug", "RUST_LOG": "error"}, "debug"),
        ({"RUST_LOG": "ERROR"}, "error"),
        ({"RUST_LOG": "off"}, "off"),
        ({"RUST_LOG": "trace"}, "debug"),
        ({"RUST_LOG": "codex_core=debug,info"}, "info"),
        ({"RUST_LOG": "codex_core=debug"}, "warn"),
        ({"APP_SERVER_LOG": "loud", "RUST_LOG": "info"}, "info"),
    ],
)
def test_the_environment_names_the_level(environ: dict[str, str], level: str) -> None:
    assert level_from_environment(environ) == level


def test_a_line_holds_event_level_logger_context_and_fields(stream: io.BytesIO) -> None:
    configure_logging("info", stream)
    with log_context(connection="c1"):
        get_logger("app_server.rpc").bind(thread="t1").info("turn started", turn="u1", token="canary")
    get_logger("app_server.rpc").warning("outside")
    assert lines(stream) == [
        {
            "level": "info", "event": "turn started", "logger": "app_server.rpc",
            "connection": "c1", "thread": "t1", "turn": "u1", "token": "[redacted]",
        },
        {"level": "warn", "event": "outside", "logger": "app_server.rpc"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["d", "i", "w", "e"]),
        ("info", ["i", "w", "e"]),
        ("warn", ["w", "e"]),
        ("error", ["e"]),
        ("off", []),
    ],
)
def test_the_level_decides_which_lines_are_written(stream: io.BytesIO, level: str, events: list[str]) -> None:
    configure_logging(level, stream)
    log = get_logger("x")
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert [line["event"] for line in lines(stream)] == events


def test_an_exception_is_logged_with_a_traceback_and_without_its_secrets(stream: io.BytesIO) -> None:
    configure_logging("error", stream)
    try:
        raise ValueError("bad key sk-canary123456")
    except ValueError:
        get_logger("x").exception("tool failed")
    (line,) = lines(stream)
    traceback = str(line.pop("exception"))
    assert traceback.startswith("Traceback (most recent call last):")
    assert traceback.endswith("ValueError: bad key [redacted key]")
    assert line == {"level": "error", "event": "tool failed", "logger": "x"}


def test_warnings_of_libraries_go_the_same_way(stream: io.BytesIO) -> None:
    configure_logging("info", stream)
    logging.getLogger("some.library").warning("no answer from %s", "http://me:canary@proxy")
    logging.getLogger("some.library").info("chatter")
    assert lines(stream) == [
        {"level": "warn", "event": "no answer from http://[redacted]@proxy", "logger": "some.library"}
    ]


def test_a_terminal_gets_a_line_for_a_person(stream: io.BytesIO) -> None:
    configure_logging("info", stream, readable=True)
    get_logger("x").info("listening", port=7, data=b"123")
    clock, _, rest = stream.getvalue().decode().partition(" ")
    assert len(clock) == len("12:34:56.789")
    assert rest == "info  listening  logger=x port=7 data=<3 bytes>\n"


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)


def test_a_quiet_start_does_not_import_structlog() -> None:
    done = run(
        "import sys\n"
        "from app_server.observability.logging import configure_logging, get_logger\n"
        "configure_logging('warn')\n"
        "get_logger('x').info('quiet')\n"
        "assert not {'structlog', 'orjson'} & set(sys.modules)\n"
        "get_logger('x').warning('loud')\n"
        "assert 'structlog' in sys.modules\n"
    )
    assert (done.stdout, orjson.loads(done.stderr)["event"]) == (b"", "loud")


@pytest.mark.skipif(os.name == "nt", reason="a pipe cannot be polled there")
def test_a_client_that_never_reads_stderr_does_not_stop_the_server() -> None:
    code = (
        "from app_server.observability.logging import configure_logging, get_logger\n"
        "configure_logging('info')\n"
        "log = get_logger('x')\n"
        "for n in range(2000): log.info('flood', n=n, text='word ' * 300)\n"
        "print('done', flush=True)\n"
        "input()\n"
        "log.info('again')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert process.stderr is not None
        first = os.read(process.stderr.fileno(), 1 << 20)  # all that the pipe holds: now there is room
        process.stdin.write(b"\n")
        process.stdin.close()
        *_, lost, last = (first + process.stderr.read()).splitlines()
        assert process.wait(timeout=30) == 0
    told, again = orjson.loads(lost), orjson.loads(last)
    assert (told["event"], told["lines"] > 1000, again["event"]) == ("log lines lost", True, "again")
