"""Owns what a command/exec request asks for: pure, from params to a plan or to the reason why not.

    contradictory options                     -32602
    nothing to run, no process id, bad names,
    two sandboxes                             -32600
    a sandbox that this server has not        -32601

This server puts no sandbox around a command: it runs with the rights of the user who runs the server. Who asks for a
sandbox by name gets no command without it; the sandbox of the settings is the tools', and does not count here.
`methods/command` is its only caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from app_server.errors import InvalidRequest, NotSupported, RpcError
from app_server.protocol.approvals import DangerFullAccessSandboxPolicy, ExternalSandboxSandboxPolicy
from app_server.protocol.command import CommandExecParams, CommandExecTerminalSize
from app_server.values import frozen

DEFAULT_TIMEOUT_S: Final = 10.0
DEFAULT_OUTPUT_BYTES: Final = 1024 * 1024
MOST_OUTPUT_BYTES: Final = 32 * 1024 * 1024
"""Held of each stream for the reply, also without a cap: what is streamed instead has no such limit."""
DEFAULT_SIZE: Final = CommandExecTerminalSize(rows=24, cols=80)
UNSANDBOXED_PROFILE: Final = ":danger-full-access"


class InvalidOptions(RpcError):
    """Options of a request contradict each other, or one has a value that it cannot have."""

    wire_code: ClassVar[int] = -32602

    def __init__(self, message: str, *, data_code: str = "invalidOptions") -> None:
        super().__init__(message, data_code=data_code)


@frozen
class CommandPlan:
    """How a command is to be run. `size`: it has a terminal; `timeout_s` and `output_cap_bytes` None: no limit."""

    argv: tuple[str, ...]
    process_id: str | None
    cwd: Path
    env: Mapping[str, str]
    timeout_s: float | None
    output_cap_bytes: int | None
    takes_input: bool
    streams: bool
    size: CommandExecTerminalSize | None


def plan_command(params: CommandExecParams, cwd: Path, env: Mapping[str, str]) -> CommandPlan:
    """The plan for a request; `cwd` is resolved, `env` the server's. Raises RpcError."""
    streams = params.tty or params.stream_stdout_stderr
    if not params.command:
        raise InvalidRequest("command must not be empty: name a program.", data_code="emptyCommand")
    _require_texts(params, cwd)
    _require_agreement(params)
    if params.process_id is None and (streams or params.stream_stdin):
        raise InvalidRequest(
            "command/exec with `tty`, `streamStdin` or `streamStdoutStderr` needs a `processId`: choose one.",
            data_code="missingProcessId",
        )
    if params.size is not None:
        require_size(params.size)
    _refuse_sandbox(params)
    return CommandPlan(
        argv=params.command,
        process_id=params.process_id,
        cwd=cwd,
        env=merged_env(env, params.env or {}),
        timeout_s=_timeout_s(params),
        output_cap_bytes=_output_cap_bytes(params, streams),
        takes_input=params.tty or params.stream_stdin,
        streams=streams,
        size=(params.size or DEFAULT_SIZE) if params.tty else None,
    )


def merged_env(env: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment with the changes of a request; None takes a name out."""
    return {name: value for name, value in {**env, **changes}.items() if value is not None}


def require_size(size: CommandExecTerminalSize) -> None:
    """Raises InvalidOptions for a terminal without rows or columns."""
    if not size.rows or not size.cols:
        raise InvalidOptions("command/exec `size` needs at least one row and one column.")


def _require_texts(params: CommandExecParams, cwd: Path) -> None:
    env = params.env or {}
    texts = (*params.command, str(cwd), *env, *(value for value in env.values() if value is not None))
    if any("\0" in text for text in texts):
        raise InvalidRequest("command/exec takes no null characters; remove them.", data_code="nullCharacter")
    if not params.command[0]:
        raise InvalidRequest("command[0] must not be empty: name a program.", data_code="emptyCommand")
    if any(not name or "=" in name for name in env):
        message = "command/exec `env` has a name that is empty or holds `=`; rename it."
        raise InvalidRequest(message, data_code="invalidEnvironment")


def _require_agreement(params: CommandExecParams) -> None:
    if params.size is not None and not params.tty:
        raise InvalidOptions("command/exec `size` is for a terminal; set `tty: true` with it.")
    if params.timeout_ms is not None and params.disable_timeout:
        raise InvalidOptions("command/exec takes `timeoutMs` or `disableTimeout`, not both.")
    if params.timeout_ms is not None and params.timeout_ms < 0:
        raise InvalidOptions("command/exec `timeoutMs` must not be negative; use `disableTimeout` for no limit.")
    if params.output_bytes_cap is not None and params.disable_output_cap:
        raise InvalidOptions("command/exec takes `outputBytesCap` or `disableOutputCap`, not both.")
    if params.sandbox_policy is not None and params.permission_profile is not None:
        message = "command/exec takes `sandboxPolicy` or `permissionProfile`, not both."
        raise InvalidRequest(message, data_code="twoSandboxes")


def _refuse_sandbox(params: CommandExecParams) -> None:
    policy, profile = params.sandbox_policy, params.permission_profile
    unsandboxed = (DangerFullAccessSandboxPolicy, ExternalSandboxSandboxPolicy)
    if policy is not None and not isinstance(policy, unsandboxed):
        asked, instead = f"`sandboxPolicy` {policy.type}", "`dangerFullAccess`"
    elif profile not in (None, UNSANDBOXED_PROFILE):
        asked, instead = f"`permissionProfile` {profile}", f"`{UNSANDBOXED_PROFILE}`"
    else:
        return
    raise NotSupported(
        f"command/exec cannot enforce the {asked}: this server has no sandbox for commands; ask for {instead}, or "
        "leave it out, to run the command with the server's own rights."
    )


def _timeout_s(params: CommandExecParams) -> float | None:
    if params.disable_timeout:
        return None
    return DEFAULT_TIMEOUT_S if params.timeout_ms is None else params.timeout_ms / 1000


def _output_cap_bytes(params: CommandExecParams, streams: bool) -> int | None:
    if params.disable_output_cap:
        return None if streams else MOST_OUTPUT_BYTES
    cap = DEFAULT_OUTPUT_BYTES if params.output_bytes_cap is None else params.output_bytes_cap
    return cap if streams else min(cap, MOST_OUTPUT_BYTES)
