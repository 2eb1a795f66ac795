"""Every rule of command/exec's params: what is refused with which code, and what is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_server.errors import RpcError
from app_server.protocol.command import CommandExecParams, CommandExecTerminalSize
from app_server.workspace.command_plan import (
    DEFAULT_OUTPUT_BYTES,
    DEFAULT_SIZE,
    DEFAULT_TIMEOUT_S,
    MOST_OUTPUT_BYTES,
    CommandPlan,
    merged_env,
    plan_command,
)

CWD = Path("/work")


def plan(**params: Any) -> CommandPlan:
    given = CommandExecParams.model_validate({"command": ["true"], **params})
    return plan_command(given, CWD, {"PATH": "/bin", "HOME": "/root"})


def test_a_bare_command_is_buffered_with_the_servers_limits_and_environment() -> None:
    assert plan() == CommandPlan(
        argv=("true",),
        process_id=None,
        cwd=CWD,
        env={"PATH": "/bin", "HOME": "/root"},
        timeout_s=DEFAULT_TIMEOUT_S,
        output_cap_bytes=DEFAULT_OUTPUT_BYTES,
        takes_input=False,
        streams=False,
        size=None,
    )


def test_a_terminal_takes_input_streams_and_has_a_size() -> None:
    found = plan(tty=True, processId="p")
    assert (found.takes_input, found.streams, found.size) == (True, True, DEFAULT_SIZE)
    assert plan(tty=True, processId="p", size={"rows": 1, "cols": 2}).size == CommandExecTerminalSize(rows=1, cols=2)


def test_nulls_count_as_left_out() -> None:
    optional = [name for name in CommandExecParams.model_fields if name != "command"]
    aliases = [CommandExecParams.model_fields[name].alias or name for name in optional]
    assert plan(**dict.fromkeys(aliases)) == plan()


def test_environment_entries_are_added_replaced_and_taken_out() -> None:
    assert merged_env({"A": "1", "B": "2"}, {"B": "3", "C": "4", "A": None, "D": None}) == {"B": "3", "C": "4"}


@pytest.mark.parametrize(
    ("params", "timeout_s", "cap"),
    [
        ({"timeoutMs": 0}, 0.0, DEFAULT_OUTPUT_BYTES),
        ({"timeoutMs": 1500}, 1.5, DEFAULT_OUTPUT_BYTES),
        ({"disableTimeout": True}, None, DEFAULT_OUTPUT_BYTES),
        ({"outputBytesCap": 7}, DEFAULT_TIMEOUT_S, 7),
        ({"outputBytesCap": 2**40}, DEFAULT_TIMEOUT_S, MOST_OUTPUT_BYTES),
        ({"disableOutputCap": True}, DEFAULT_TIMEOUT_S, MOST_OUTPUT_BYTES),
        ({"disableOutputCap": True, "streamStdoutStderr": True, "processId": "p"}, DEFAULT_TIMEOUT_S, None),
        ({"outputBytesCap": 2**40, "streamStdoutStderr": True, "processId": "p"}, DEFAULT_TIMEOUT_S, 2**40),
    ],
)
def test_limits_are_the_clients_or_the_servers(
    params: dict[str, Any], timeout_s: float | None, cap: int | None
) -> None:
    found = plan(**params)
    assert (found.timeout_s, found.output_cap_bytes) == (timeout_s, cap)


@pytest.mark.parametrize(
    ("params", "wire_code", "data_code"),
    [
        ({"command": []}, -32600, "emptyCommand"),
        ({"command": [""]}, -32600, "emptyCommand"),
        ({"command": ["a\0b"]}, -32600, "nullCharacter"),
        ({"env": {"A": "\0"}}, -32600, "nullCharacter"),
        ({"env": {"A=B": "c"}}, -32600, "invalidEnvironment"),
        ({"env": {"": "c"}}, -32600, "invalidEnvironment"),
        ({"tty": True}, -32600, "missingProcessId"),
        ({"streamStdin": True}, -32600, "missingProcessId"),
        ({"streamStdoutStderr": True}, -32600, "missingProcessId"),
        ({"size": {"rows": 1, "cols": 1}, "processId": "p"}, -32602, "invalidOptions"),
        ({"size": {"rows": 0, "cols": 1}, "tty": True, "processId": "p"}, -32602, "invalidOptions"),
        ({"timeoutMs": 5, "disableTimeout": True}, -32602, "invalidOptions"),
        ({"timeoutMs": -1}, -32602, "invalidOptions"),
        ({"outputBytesCap": 1, "disableOutputCap": True}, -32602, "invalidOptions"),
        ({"sandboxPolicy": {"type": "dangerFullAccess"}, "permissionProfile": "x"}, -32600, "twoSandboxes"),
        ({"sandboxPolicy": {"type": "readOnly"}}, -32601, "notSupported"),
        ({"sandboxPolicy": {"type": "workspaceWrite"}}, -32601, "notSupported"),
        ({"permissionProfile": ":workspace"}, -32601, "notSupported"),
        ({"permissionProfile": "mine"}, -32601, "notSupported"),
    ],
)
def test_what_cannot_be_run_is_refused(params: dict[str, Any], wire_code: int, data_code: str) -> None:
    with pytest.raises(RpcError) as raised:
        plan(**params)
    assert (raised.value.wire_code, raised.value.data_code) == (wire_code, data_code)


@pytest.mark.parametrize(
    "params",
    [
        {"sandboxPolicy": {"type": "dangerFullAccess"}},
        {"sandboxPolicy": {"type": "externalSandbox"}},
        {"permissionProfile": ":danger-full-access"},
    ],
)
def test_what_asks_for_no_sandbox_of_ours_is_run(params: dict[str, Any]) -> None:
    assert plan(**params) == plan()
