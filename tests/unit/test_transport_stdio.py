"""Stdio: the splitter, and real processes whose wire must not tear and which must end by themselves."""

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from app_server.transport.base import FrameTooLarge
from app_server.transport.lines import LineSplitter
from app_server.transport.stdio import UNREAD_LIMIT_BYTES, StdioStream

MIB = 1024 * 1024

ECHO = """
import sys, anyio
from app_server.transport.base import StreamClosed
from app_server.transport.stdio import StdioStream, claim_stdio

async def main():
    stream = StdioStream(*claim_stdio(), watch=sys.argv[1] == "watch")
    {body}

anyio.run(main)
"""
ECHO_ALL = """
    try:
        while True:
            await stream.send([await stream.receive()])
    except StreamClosed:
        pass
"""
both_ways = pytest.mark.parametrize("how", ["watch", "threads"])


def server(body: str, how: str) -> list[str]:
    return [sys.executable, "-c", ECHO.format(body=body.strip()), how]


def split(chunks: list[bytes], limit_bytes: int) -> list[bytes | tuple[int, int]]:
    splitter = LineSplitter(limit_bytes)
    frames = [frame for chunk in chunks for frame in splitter.feed(chunk)] + splitter.finish()
    return [(f.size_bytes, f.limit_bytes) if isinstance(f, FrameTooLarge) else f for f in frames]


@pytest.mark.parametrize(
    ("chunks", "frames"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
        ([b"a\r\nb\r", b"\nc\rd\n"], [b"a", b"b", b"c\rd"]),
        ([b"\n\r\n"], [b"", b""]),
        ([b"a\nlast"], [b"a", b"last"]),
        ([b"a\n"], [b"a"]),
        ([], []),
        ([b"12345\n", b"123456\n", b"12345\r\n", b"x\n"], [b"12345", (6, 5), b"12345", b"x"]),
        ([b"1234", b"5678", b"90\nx\n"], [(10, 5), b"x"]),
        ([b"a\n1234567"], [b"a", (7, 5)]),
    ],
)
def test_lines_become_frames_without_their_ends(chunks: list[bytes], frames: list[bytes | tuple[int, int]]) -> None:
    assert split(chunks, 5) == frames


@given(st.lists(st.text("a\r\n", max_size=9).map(str.encode), max_size=9))
def test_where_the_chunks_are_cut_does_not_matter(chunks: list[bytes]) -> None:
    assert split(chunks, 4) == split([bytes([byte]) for chunk in chunks for byte in chunk], 4)


def test_an_endless_line_is_not_kept_in_memory() -> None:
    splitter = LineSplitter(1000)
    for _ in range(5000):
        assert splitter.feed(b"x" * 1000) == []
    assert sum(map(len, splitter._parts)) == 1
    (frame,) = splitter.feed(b"\n")
    assert (type(frame), str(frame)) == (
        FrameTooLarge,
        "A frame of 5000000 bytes is larger than the limit of 1000 bytes.",
    )


@both_ways
def test_at_the_end_of_input_the_last_line_counts_and_the_process_ends_with_code_0(how: str) -> None:
    done = subprocess.run(server(ECHO_ALL, how), input=b"1\n2\r\n3", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n2\n3\n", b"")


@both_ways
def test_a_frame_of_64_megabytes_passes(how: str) -> None:
    frame = b"x" * (64 * MIB) + b"\n"
    done = subprocess.run(server(ECHO_ALL, how), input=frame, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout == frame, done.stderr) == (0, True, b"")


@both_ways
def test_a_stray_print_and_a_child_process_cannot_tear_the_wire(how: str) -> None:
    body = """
    import subprocess
    print("stray")
    child = "import sys; print('child'); sys.exit(len(sys.stdin.read()))"
    assert subprocess.run([sys.executable, "-c", child]).returncode == 0
    await stream.send([b"frame " + await stream.receive()])
"""
    done = subprocess.run(
        server(body, how), input=b"1\nnot for the child\n", capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"frame 1\n", b"stray\nchild\n")


@both_ways
def test_a_cancelled_server_ends_although_its_input_stays_open(how: str) -> None:
    body = """
    async with anyio.create_task_group() as tg:
        await stream.send([await stream.receive()])
        tg.start_soon(stream.receive)
        await anyio.wait_all_tasks_blocked()
        tg.cancel_scope.cancel()
"""
    with subprocess.Popen(server(body, how), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"1\n"
        assert process.wait(timeout=20) == 0  # stdin is closed only after this


@both_ways
def test_a_server_whose_client_does_not_read_ends_when_it_is_cancelled(how: str) -> None:
    body = """
    async with anyio.create_task_group() as tg:
        tg.start_soon(stream.send, [b"x" * 5_000_000])
        await stream.receive()
        tg.cancel_scope.cancel()
    await stream.aclose()
"""
    with subprocess.Popen(server(body, how), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        assert process.wait(timeout=20) == 0


@both_ways
def test_a_file_may_be_the_input_and_the_output(how: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"1\n2\n")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        subprocess.run(server(ECHO_ALL, how), stdin=source, stdout=target, timeout=30, check=True)
    assert (tmp_path / "out").read_bytes() == b"1\n2\n"


@pytest.mark.skipif(os.name == "nt", reason="descriptors are closed with a POSIX shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_stdin_or_stdout_is_a_configuration_error(closed: str) -> None:
    code = "from app_server.transport.stdio import claim_stdio; claim_stdio()"
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        b"app_server.errors.ConfigurationError: Standard input or output is closed; "
        b"start the server with both connected, or use --listen ws://127.0.0.1:0."
    )


@pytest.mark.anyio
async def test_reading_stops_while_too_much_is_unread_and_goes_on_afterwards() -> None:
    (read_fd, feed_fd), (drain_fd, write_fd) = os.pipe(), os.pipe()
    os.set_blocking(feed_fd, False)
    stream = StdioStream(read_fd, write_fd)
    line, fed, idle = b"x" * 999 + b"\n", 0, 0
    received = 0
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:

            async def first() -> None:
                await stream.receive()

            tg.start_soon(first)
            while idle < 50:  # so many turns of the loop without room in the pipe: the reader has stopped
                await checkpoint()
                try:
                    fed += os.write(feed_fd, line[fed % 1000 :])
                    idle = 0
                except BlockingIOError:
                    idle += 1
        assert UNREAD_LIMIT_BYTES * 0.9 < fed < UNREAD_LIMIT_BYTES * 1.1
        received = 1
        os.set_blocking(feed_fd, True)
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.to_thread.run_sync, os.write, feed_fd, line[fed % 1000 :])
            while received * 1000 < fed:
                assert await stream.receive() == line[:-1]
                received += 1
        await stream.aclose()
    for fd in (feed_fd, drain_fd):
        os.close(fd)


@pytest.mark.anyio
async def test_frames_are_offered_as_they_come_and_what_is_not_taken_is_received_in_order() -> None:
    (read_fd, feed_fd), (drain_fd, write_fd) = os.pipe(), os.pipe()
    stream = StdioStream(read_fd, write_fd)
    offered: list[list[bytes | FrameTooLarge]] = []

    def take(frames: Sequence[bytes | FrameTooLarge]) -> int:
        offered.append(list(frames))
        waits = (at for at, frame in enumerate(frames) if isinstance(frame, bytes) and b"wait" in frame)
        return next(waits, len(frames))

    stream.offer_to(take)
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await stream.receive())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:
            tg.start_soon(receive)
            for chunk in (b"a\nb\n", b"c", b"c\nwait 1\nd\n", b"e\n"):
                await anyio.wait_all_tasks_blocked()
                os.write(feed_fd, chunk)
                while not _was_read(read_fd):
                    await checkpoint()
        received += [await stream.receive(), await stream.receive()]
        async with anyio.create_task_group() as tg:
            tg.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            os.write(feed_fd, b"f\nwait 2\n")
    await stream.aclose()
    for fd in (feed_fd, drain_fd):
        os.close(fd)
    assert (offered, received) == (
        [[b"a", b"b"], [b"cc", b"wait 1", b"d"], [b"f", b"wait 2"]],
        [b"wait 1", b"d", b"e", b"wait 2"],
    )


def _was_read(fd: int) -> bool:
    return not select.select([fd], [], [], 0)[0]
