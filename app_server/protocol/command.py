"""Owns command/exec*: a command outside of any thread, its input, its terminal and its output."""

from typing import Annotated, Literal

from pydantic import Field

from app_server.protocol.approvals import SandboxPolicy
from app_server.protocol.base import Bool, Flag, Int, Params, WireModel

UInt16 = Annotated[int, Field(strict=True, ge=0, le=2**16 - 1)]
UInt = Annotated[int, Field(strict=True, ge=0)]
CommandExecOutputStream = Literal["stdout", "stderr"]


class CommandExecTerminalSize(WireModel):
    """In characters."""

    rows: UInt16
    cols: UInt16


class CommandExecParams(Params):
    """`tty` implies `stream_stdin` and `stream_stdout_stderr`; each of the three needs a `process_id`.

    `env` comes on top of the server's environment; a null takes a name out of it.
    """

    command: tuple[str, ...]
    process_id: str | None = None
    tty: Flag = False
    stream_stdin: Flag = False
    stream_stdout_stderr: Flag = False
    output_bytes_cap: UInt | None = None
    disable_output_cap: Flag = False
    disable_timeout: Flag = False
    timeout_ms: Int | None = None
    cwd: str | None = None
    env: dict[str, str | None] | None = None
    size: CommandExecTerminalSize | None = None
    sandbox_policy: SandboxPolicy | None = None
    permission_profile: str | None = None


class CommandExecResponse(WireModel):
    """How it ended; the outputs are empty where they were streamed."""

    exit_code: Int
    stdout: str
    stderr: str


class CommandExecWriteParams(Params):
    process_id: str
    delta_base64: str | None = None
    close_stdin: Flag = False


class CommandExecTerminateParams(Params):
    process_id: str


class CommandExecResizeParams(Params):
    process_id: str
    size: CommandExecTerminalSize


class CommandExecOutputDeltaNotification(WireModel):
    """`command/exec/outputDelta`: between the request and its reply, in order for each stream.

    `cap_reached`: the stream went on beyond its cap, and this is its last delta.
    """

    process_id: str
    stream: CommandExecOutputStream
    delta_base64: str
    cap_reached: Bool
