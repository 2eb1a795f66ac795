"""Owns environment/info, windowsSandbox/readiness and server/diagnostics: facts of the machine and the process."""

from typing import Literal

from app_server.protocol.base import Int, NoParams, Params, WireModel


class EnvironmentInfoParams(Params):
    environment_id: str


class EnvironmentShellInfo(WireModel):
    name: str
    path: str


class EnvironmentInfoResponse(WireModel):
    """`cwd` is a file URL."""

    shell: EnvironmentShellInfo
    cwd: str | None = None


class WindowsSandboxReadinessParams(NoParams):
    """None."""


class WindowsSandboxReadinessResponse(WireModel):
    status: Literal["ready", "notConfigured", "updateRequired"]


class ServerDiagnosticsParams(NoParams):
    """None."""


class ServerDiagnosticsProcess(WireModel):
    """Memory is null where the platform does not tell it."""

    id: Int
    resident_memory_bytes: Int | None = None
    physical_footprint_bytes: Int | None = None


class ServerDiagnosticsGauge(WireModel):
    name: str
    value: Int


class ServerDiagnosticsResponse(WireModel):
    process: ServerDiagnosticsProcess
    gauges: tuple[ServerDiagnosticsGauge, ...]
