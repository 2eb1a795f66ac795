"""Commands of a client, outside of any thread: replies, deltas, input, and their end with the connection."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.workspace.belongings import MAX_COMMANDS
from tests.interaction.conversation import refused
from tests.support.server import connected, make_home, running, serving

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"
EXEC = "command/exec"
STREAMS = {"processId": "p", "streamStdin": True, "streamStdoutStderr": True}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_command_answers_with_its_outputs_and_exit_code(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    home.env["PATH"] = "/usr/bin:/bin"
    async with serving(home) as (_, client):
        reply = await client.request(EXEC, {"command": ["/bin/sh", "-c", "pwd; echo err >&2; exit 3"]})
        elsewhere = await client.request(EXEC, {"command": ["pwd"], "cwd": str(tmp_path), "env": {"A": None}})

    assert reply == {"exitCode": 3, "stdout": f"{home.cwd}\n", "stderr": "err\n"}
    assert elsewhere == {"exitCode": 0, "stdout": f"{tmp_path}\n", "stderr": ""}


async def test_output_is_streamed_before_the_reply_and_input_is_fed(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        request = await client.post(EXEC, {"command": ["/bin/cat"], **STREAMS})
        assert await client.request(f"{EXEC}/write", {"processId": "p", "deltaBase64": b64(b"hello\n")}) == {}
        delta = await client.wait_for(f"{EXEC}/outputDelta")
        again = await refused(client, EXEC, {"command": ["/bin/true"], "processId": "p"})
        assert await client.request(f"{EXEC}/write", {"processId": "p", "closeStdin": True}) == {}
        reply = await client.result(request)
        late = await refused(client, f"{EXEC}/write", {"processId": "p", "deltaBase64": "AA=="})

    assert delta == {"processId": "p", "stream": "stdout", "deltaBase64": b64(b"hello\n"), "capReached": False}
    assert reply == {"exitCode": 0, "stdout": "", "stderr": ""}
    assert again == (-32600, 'duplicate active command/exec process id: "p"; choose another one.')
    assert late == (
        -32600,
        'no active command/exec for process id "p": it has ended, or was not started on this connection.',
    )


async def test_a_terminal_is_sized_resized_and_terminated(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    home.env["PATH"] = "/usr/bin:/bin"
    script = ["/bin/sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"]
    async with serving(home) as (_, client):
        params = {"command": script, "processId": "p", "tty": True, "size": {"rows": 10, "cols": 40}}
        request = await client.post(EXEC, params)
        first = await client.wait_for(f"{EXEC}/outputDelta")
        await client.request(f"{EXEC}/resize", {"processId": "p", "size": {"rows": 20, "cols": 50}})
        second = await client.wait_for(f"{EXEC}/outputDelta")
        assert await client.request(f"{EXEC}/terminate", {"processId": "p"}) == {}
        reply = await client.result(request)

    assert [first["deltaBase64"], second["deltaBase64"]] == [b64(b"10 40\r\n"), b64(b"20 50\r\n")]
    assert reply["exitCode"] > 128


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("", {"command": []}, -32600),
        ("", {"command": ["no-such-program-x"]}, -32603),
        ("", {"command": ["true"], "timeoutMs": 5, "disableTimeout": True}, -32602),
        ("", {"command": ["true"], "tty": True}, -32600),
        ("", {"command": ["true"], "processId": "p", "size": {"rows": 1, "cols": 1}}, -32602),
        ("", {"command": ["true"], "sandboxPolicy": {"type": "readOnly"}}, -32601),
        ("/terminate", {"processId": "nope"}, -32600),
        ("/resize", {"processId": "nope", "size": {"rows": 1, "cols": 1}}, -32600),
        ("/resize", {"processId": "nope", "size": {"rows": 0, "cols": 1}}, -32602),
        ("/write", {"processId": "nope", "closeStdin": True}, -32600),
    ],
)
async def test_a_fault_has_the_code_of_the_reference(
    tmp_path: Path, method: str, params: dict[str, Any], code: int
) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        assert (await refused(client, EXEC + method, params))[0] == code


@pytest.mark.parametrize("params", [{}, {"deltaBase64": "*"}])
async def test_a_write_without_content_is_refused(tmp_path: Path, params: dict[str, Any]) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        request = await client.post(EXEC, {"command": ["/bin/cat"], **STREAMS})
        assert (await refused(client, f"{EXEC}/write", {"processId": "p", **params}))[0] == -32602
        await client.request(f"{EXEC}/terminate", {"processId": "p"})
        await client.result(request)


async def test_a_process_belongs_to_its_connection(tmp_path: Path) -> None:
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app, connected(app) as client, connected(app) as other:
        await client.post(EXEC, {"command": ["/bin/cat"], **STREAMS})
        await client.request(f"{EXEC}/write", {"processId": "p", "deltaBase64": ""})
        assert (await refused(other, f"{EXEC}/terminate", {"processId": "p"}))[0] == -32600


async def test_the_commands_of_a_connection_are_bounded(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        requests = [
            await client.post(EXEC, {"command": ["/bin/cat"], **STREAMS, "processId": str(number)})
            for number in range(MAX_COMMANDS)
        ]
        more = await refused(client, EXEC, {"command": ["/bin/true"]})
        for number in range(MAX_COMMANDS):
            await client.request(f"{EXEC}/write", {"processId": str(number), "closeStdin": True})
        assert {(await client.result(request))["exitCode"] for request in requests} == {0}

    assert more == (-32600, "32 commands run; wait for one to end, or terminate one first.")


async def test_commands_end_when_their_client_goes_away(tmp_path: Path) -> None:
    script = f"trap 'touch {tmp_path}/tidied; exit' TERM; echo ready; while :; do /bin/sleep 0.05; done"
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app:
        with anyio.fail_after(8):
            async with connected(app) as client:
                params = {"command": ["/bin/sh", "-c", script], **STREAMS, "disableTimeout": True}
                await client.post(EXEC, params)
                await client.wait_for(f"{EXEC}/outputDelta")
    assert (tmp_path / "tidied").exists()


async def test_output_beyond_what_a_connection_may_hold_arrives_whole(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "/usr/bin/head -c 12000000 /dev/zero"]
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        params = {"command": command, "processId": "p", "streamStdoutStderr": True, "disableOutputCap": True}
        reply = await client.request(EXEC, params, timeout_s=60)
        deltas = client.notifications(f"{EXEC}/outputDelta")

    assert reply == {"exitCode": 0, "stdout": "", "stderr": ""}
    assert sum(len(base64.b64decode(delta["deltaBase64"])) for delta in deltas) == 12_000_000
