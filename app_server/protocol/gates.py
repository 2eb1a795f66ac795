"""Owns what needs the `experimentalApi` capability. Constants and one pure function: loaded before the first answer.

The schema does not mark what is experimental. A row stands here only where the reference was seen to refuse it, or its
published protocol marks it, and no known client without the capability sends it. `rpc` reads these tables.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

EXPERIMENTAL_METHODS: Final = frozenset(
    {
        # seen refused in a recorded handshake
        "collaborationMode/list",
        "mock/experimentalMethod",
        # marked experimental in the published protocol
        "environment/add",
        "fuzzyFileSearch/sessionStart",
        "fuzzyFileSearch/sessionStop",
        "fuzzyFileSearch/sessionUpdate",
        "memory/reset",
        "process/kill",
        "process/resizePty",
        "process/spawn",
        "process/writeStdin",
        "remoteControl/disable",
        "remoteControl/enable",
        "remoteControl/status/read",
        "thread/backgroundTerminals/clean",
        "thread/decrement_elicitation",
        "thread/increment_elicitation",
        "thread/memoryMode/set",
        "thread/realtime/appendAudio",
        "thread/realtime/appendText",
        "thread/realtime/listVoices",
        "thread/realtime/start",
        "thread/realtime/stop",
    }
)
"""Whole methods. thread/turns/list and thread/items/list are open although older releases marked them: every client is
told `historyMode` "paginated", and they are the way to read such a thread that is not deprecated. thread/goal/* and
permissionProfile/list are open too: clients of unknown capabilities call them and take any answer."""

EXPERIMENTAL_FIELDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "thread/start": frozenset(
            {
                "dynamicTools",  # seen refused in a recorded handshake, even as an empty list
                "experimentalRawEvents",  # published protocol: internal use only
                "mockExperimentalField",  # exists to test this gate
                "multiAgentMode",  # published protocol
                "permissions",  # published protocol: profiles are experimental, `sandbox` is the stable way
                "runtimeWorkspaceRoots",  # published protocol; reported refused in the field
                "selectedCapabilityRoots",  # published protocol: for hosting platforms
            }
        ),
        "thread/resume": frozenset(
            {
                "history",  # schema: unstable, not for use
                "path",  # schema: unstable
                "permissions",  # as in thread/start
                "runtimeWorkspaceRoots",  # as in thread/start
            }
        ),
        "turn/start": frozenset(
            {
                "additionalContext",  # published protocol
                "collaborationMode",  # schema: experimental
                "cyberAccessProgram",  # schema: experimental
                "multiAgentMode",  # as in thread/start
                "permissions",  # as in thread/start
                "responsesapiClientMetadata",  # published protocol
                "responsesapiClientMetadataPatch",  # companion of the one before
                "runtimeWorkspaceRoots",  # as in thread/start
            }
        ),
        "turn/steer": frozenset(
            {
                "additionalContext",  # as in turn/start
                "responsesapiClientMetadata",  # as in turn/start
                "responsesapiClientMetadataPatch",  # as in turn/start
            }
        ),
    }
)
"""Single params of methods that are open. Open on purpose, because clients without the capability send them:
`environments`, `historyMode`, `serviceName`, `threadSource`, `allowProviderModelFallback`, and `excludeTurns` and
`initialTurnsPage`, which the deprecation notice of thread/resume itself tells every client to use."""

EXPERIMENTAL_NOTIFICATIONS: Final = frozenset(
    {"thread/readState/changed"}
)  # withheld in the recorded opt-out handshake
"""Notifications that a connection without the capability never gets."""


def experimental_use(method: str, params: Mapping[str, Any] | None) -> str | None:
    """Return what of this request needs the capability (`method` or `method.param`), or None where nothing does.

    A param counts when it is there and says something: null and false are what its absence means.
    """
    if method in EXPERIMENTAL_METHODS:
        return method
    if not params or (fields := EXPERIMENTAL_FIELDS.get(method)) is None:
        return None
    for name in sorted(fields):
        value = params.get(name)
        if value is not None and value is not False:
            return f"{method}.{name}"
    return None
