"""Thin handlers, one module per family: validate nothing that the models did, decide nothing that the domain can.

The table says which family has which methods, so that none is imported before it is asked for; a test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Final

from app_server.rpc.registry import Registry

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "account": ("account/read", "account/login/start", "account/login/cancel", "account/logout"),
        "account_more": ("account/rateLimits/read",),
        "account_usage": ("account/usage/read",),
        "command": ("command/exec", "command/exec/write", "command/exec/resize", "command/exec/terminate"),
        "config": ("config/read", "configRequirements/read"),
        "config_write": ("config/value/write", "config/batchWrite"),
        "feature": ("experimentalFeature/list", "experimentalFeature/enablement/set"),
        "fs": (
            "fs/readFile",
            "fs/writeFile",
            "fs/createDirectory",
            "fs/getMetadata",
            "fs/readDirectory",
            "fs/remove",
            "fs/copy",
            "fs/watch",
            "fs/unwatch",
        ),
        "host": ("environment/info", "windowsSandbox/readiness", "server/diagnostics"),
        "image": ("image/list", "image/read", "image/delete", "image/url"),
        "lists": (
            "skills/list",
            "hooks/list",
            "permissionProfile/list",
            "collaborationMode/list",
            "account/bedrock/checkGovCloudRequirements",
            "mcpServerStatus/list",
            "app/list",
            "plugin/list",
            "plugin/installed",
            "project/list",
            "threadSection/list",
            "thread/backgroundTerminals/list",
        ),
        "model": ("model/list", "modelProvider/list", "modelProvider/capabilities/read"),
        "search": (
            "fuzzyFileSearch",
            "fuzzyFileSearch/sessionStart",
            "fuzzyFileSearch/sessionUpdate",
            "fuzzyFileSearch/sessionStop",
        ),
        "thread": (
            "thread/start",
            "thread/resume",
            "thread/read",
            "thread/name/set",
            "thread/archive",
            "thread/unarchive",
            "thread/delete",
            "thread/unsubscribe",
            "thread/loaded/list",
        ),
        "thread_more": (
            "thread/fork",
            "thread/revert",
            "thread/compact/start",
            "thread/shellCommand",
            "review/start",
            "thread/inject_items",
            "thread/settings/update",
            "thread/metadata/update",
            "thread/search",
        ),
        "thread_pages": ("thread/list", "thread/turns/list", "thread/items/list"),
        "thread_state": ("thread/goal/set", "thread/goal/get", "thread/goal/clear", "thread/readState/update"),
        "turn": ("turn/start", "turn/steer", "turn/interrupt"),
    }
)


def load_family(family: str) -> ModuleType:
    """The module of a family."""
    return import_module(f"app_server.methods.{family}")


def load_registry() -> Registry:
    """All methods of this server, by name; none of them imported yet."""
    return Registry(FAMILIES, load_family)
