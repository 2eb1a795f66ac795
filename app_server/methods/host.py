"""environment/info, windowsSandbox/readiness, server/diagnostics: this machine and this process, as they are."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import anyio.to_thread

from app_server.errors import InvalidRequest
from app_server.methods.services import Context
from app_server.protocol.host import (
    EnvironmentInfoParams,
    EnvironmentInfoResponse,
    EnvironmentShellInfo,
    ServerDiagnosticsGauge,
    ServerDiagnosticsParams,
    ServerDiagnosticsProcess,
    ServerDiagnosticsResponse,
    WindowsSandboxReadinessParams,
    WindowsSandboxReadinessResponse,
)
from app_server.rpc.registry import method
from app_server.turns.shell import shell_argv

_PAGES = Path("/proc/self/statm")


@method("environment/info", EnvironmentInfoParams)
async def environment_info(ctx: Context, params: EnvironmentInfoParams) -> EnvironmentInfoResponse:
    """The shell that commands run in, and the server's own folder. There is one environment, `local`."""
    if params.environment_id != "local":
        raise InvalidRequest(
            f"There is no environment {params.environment_id[:100]}; threads run in the one named local.",
            data_code="environmentNotFound",
        )
    shell = shell_argv("")[0]
    return EnvironmentInfoResponse(
        shell=EnvironmentShellInfo(name=PurePath(shell).stem, path=shell), cwd=ctx.services.cwd.as_uri()
    )


@method("windowsSandbox/readiness", WindowsSandboxReadinessParams)
async def windows_sandbox_readiness(
    ctx: Context, params: WindowsSandboxReadinessParams | None
) -> WindowsSandboxReadinessResponse:
    """There is none on any platform."""
    return WindowsSandboxReadinessResponse(status="notConfigured")


@method("server/diagnostics", ServerDiagnosticsParams)
async def server_diagnostics(ctx: Context, params: ServerDiagnosticsParams | None) -> ServerDiagnosticsResponse:
    """The process, its memory where the platform tells it, and how much it holds."""
    services = ctx.services
    gauges = {"app.connections": len(services.hub.clients()), "app.threads.loaded": len(services.threads.loaded)}
    return ServerDiagnosticsResponse(
        process=ServerDiagnosticsProcess(
            id=os.getpid(), resident_memory_bytes=await anyio.to_thread.run_sync(resident_memory_bytes)
        ),
        gauges=tuple(ServerDiagnosticsGauge(name=name, value=value) for name, value in gauges.items()),
    )


def resident_memory_bytes() -> int | None:
    """How much memory the process holds right now; None where the platform does not say."""
    try:
        pages = int(_PAGES.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
