"""command/exec and its companions: a command outside of any thread, with the rights of the user who runs the server.

There is no sandbox: `workspace/command_plan` refuses a request that names one.
"""

from __future__ import annotations

import base64
from typing import Any

from app_server.methods.fs import belongings
from app_server.methods.services import Context
from app_server.methods.thread import resolve_cwd
from app_server.protocol.command import (
    CommandExecOutputDeltaNotification,
    CommandExecOutputStream,
    CommandExecParams,
    CommandExecResizeParams,
    CommandExecResponse,
    CommandExecTerminateParams,
    CommandExecWriteParams,
)
from app_server.rpc.registry import method
from app_server.workspace.command_plan import InvalidOptions, plan_command, require_size
from app_server.workspace.files import decode_base64


@method("command/exec", CommandExecParams)
async def command_exec(ctx: Context, params: CommandExecParams) -> CommandExecResponse:
    """Run a command; the reply comes when it has ended, behind all of its deltas."""
    services, connection, process_id = ctx.services, ctx.connection, params.process_id or ""
    plan = plan_command(params, resolve_cwd(params.cwd, services), services.rare.workspace.env)

    async def emit(stream: CommandExecOutputStream, data: bytes, cap_reached: bool) -> None:
        delta = CommandExecOutputDeltaNotification(
            process_id=process_id,
            stream=stream,
            delta_base64=base64.b64encode(data).decode("ascii"),
            cap_reached=cap_reached,
        )
        services.hub.notify(connection, "command/exec/outputDelta", delta.wire())
        await connection.room()

    finished = await belongings(ctx).run(plan, emit)
    return CommandExecResponse(
        exit_code=finished.exit_code,
        stdout=finished.stdout.decode("utf-8", "replace"),
        stderr=finished.stderr.decode("utf-8", "replace"),
    )


@method("command/exec/write", CommandExecWriteParams)
async def command_exec_write(ctx: Context, params: CommandExecWriteParams) -> dict[str, Any]:
    """Feed a running command, close its input, or both; the reply does not wait until it is read."""
    command = belongings(ctx).command(params.process_id)
    if params.delta_base64 is None and not params.close_stdin:
        raise InvalidOptions("command/exec/write needs `deltaBase64`, `closeStdin: true`, or both.")
    data = decode_base64(params.delta_base64 or "")
    if data is None:
        message = "command/exec/write needs base64 in `deltaBase64`, with its padding and without line breaks."
        raise InvalidOptions(message, data_code="invalidBase64")
    command.write(data, close=params.close_stdin)
    return {}


@method("command/exec/resize", CommandExecResizeParams)
async def command_exec_resize(ctx: Context, params: CommandExecResizeParams) -> dict[str, Any]:
    """Change the size of a running command's terminal."""
    require_size(params.size)
    belongings(ctx).command(params.process_id).resize(params.size)
    return {}


@method("command/exec/terminate", CommandExecTerminateParams)
async def command_exec_terminate(ctx: Context, params: CommandExecTerminateParams) -> dict[str, Any]:
    """Ask a running command to end, and kill it when it does not; its own request is answered then."""
    belongings(ctx).command(params.process_id).end()
    return {}
