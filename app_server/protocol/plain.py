"""Owns reading the params of a thread's first request without the models, which are slow to load.

Who starts or resumes a thread right after the handshake would wait for pydantic nearly as long as for all the rest. So
what is plainly right is read by hand, as `handshake.py` does it, and everything else is left to the model, which words
what is wrong. `rpc/dispatch.py` asks here first; `tests/conformance/test_plain_params.py` holds the two readings
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

Kind = type[str] | type[bool] | type[dict[str, Any]] | frozenset[str]
"""What a member has to be: of this very type, or one of these words. Null is what leaving it out means."""

_OVERRIDES: Final[Mapping[str, tuple[str, Kind]]] = {
    "approvalPolicy": ("approval_policy", frozenset({"untrusted", "on-request", "never"})),
    "baseInstructions": ("base_instructions", str),
    "config": ("config", dict),
    "cwd": ("cwd", str),
    "developerInstructions": ("developer_instructions", str),
    "model": ("model", str),
    "modelProvider": ("model_provider", str),
    "sandbox": ("sandbox", frozenset({"read-only", "workspace-write", "danger-full-access"})),
    "serviceTier": ("service_tier", str),
}
PLAIN: Final[Mapping[str, Mapping[str, tuple[str, Kind]]]] = MappingProxyType(
    {
        "thread/start": {
            **_OVERRIDES,
            "ephemeral": ("ephemeral", bool),
            "serviceName": ("service_name", str),
            "threadSource": ("thread_source", str),
        },
        "thread/resume": {**_OVERRIDES, "threadId": ("thread_id", str), "excludeTurns": ("exclude_turns", bool)},
        "thread/fork": {
            **_OVERRIDES,
            "beforeTurnId": ("before_turn_id", str),
            "ephemeral": ("ephemeral", bool),
            "excludeTurns": ("exclude_turns", bool),
            "lastTurnId": ("last_turn_id", str),
            "threadId": ("thread_id", str),
            "threadSource": ("thread_source", str),
        },
        "thread/loaded/list": {},
    }
)
"""Method → wire name → name in the model, and what it has to be. Only what clients send often."""
_REQUIRED: Final = MappingProxyType({"thread/fork": "thread_id", "thread/resume": "thread_id"})


_BLANK: Final = {method: dict.fromkeys(name for name, _ in table.values()) for method, table in PLAIN.items()}
_BLANK["thread/loaded/list"] = {"cursor": None, "limit": None}  # given ones are for the model
"""Method → what it asks for, not given: an attribute that is there is found much sooner than a missing one."""


class PlainParams:
    """Params that their model would take as they are. What was not given is None, also where the model says False."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.__dict__.update(given)

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def plain_params(method: str, params: object) -> PlainParams | None:
    """Read the params; None when anything is not plainly right: then the model has the word."""
    table = PLAIN.get(method)
    if table is None or type(params) is not dict:
        return None
    read: dict[str, Any] = _BLANK[method].copy()
    for wire_name, value in params.items():
        if (row := table.get(wire_name)) is None:
            return None
        name, kind = row
        if value is not None and not _is(value, kind):
            return None
        read[name] = value
    required = _REQUIRED.get(method)
    return PlainParams(read) if required is None or read.get(required) is not None else None


def _is(value: object, kind: Kind) -> bool:
    return type(value) is str and value in kind if isinstance(kind, frozenset) else type(value) is kind
