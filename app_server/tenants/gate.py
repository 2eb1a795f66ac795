"""Which methods a tenant's clients may call. Pure, a table: a method that is in neither set is refused.

    FOR_TENANTS   threads, turns, pictures, and lists that hold nothing of the host
    FOR_THE_HOST  whatever shows or changes the files, processes, settings or login of the machine

A tenant has a name, which its login gave; a server without logins has none, and there everything is allowed. Asked by
`rpc/dispatch`; some of the methods for tenants tell them less (`methods/config`, `methods/account`, `methods/model`).
"""

from __future__ import annotations

from typing import Final

from app_server.errors import InvalidRequest

FOR_TENANTS: Final = frozenset(
    {
        "account/bedrock/checkGovCloudRequirements",
        "account/read",
        "app/list",
        "collaborationMode/list",
        "config/read",
        "configRequirements/read",
        "experimentalFeature/list",
        "image/delete",
        "image/list",
        "image/read",
        "image/url",
        "mcpServerStatus/list",
        "model/list",
        "modelProvider/capabilities/read",
        "modelProvider/list",
        "permissionProfile/list",
        "plugin/installed",
        "plugin/list",
        "project/list",
        "skills/list",
        "thread/archive",
        "thread/backgroundTerminals/list",
        "thread/compact/start",
        "thread/delete",
        "thread/fork",
        "thread/goal/clear",
        "thread/goal/get",
        "thread/goal/set",
        "thread/inject_items",
        "thread/items/list",
        "thread/list",
        "thread/loaded/list",
        "thread/metadata/update",
        "thread/name/set",
        "thread/read",
        "thread/readState/update",
        "thread/resume",
        "thread/revert",
        "thread/search",
        "thread/settings/update",
        "thread/start",
        "thread/turns/list",
        "thread/unarchive",
        "thread/unsubscribe",
        "threadSection/list",
        "turn/interrupt",
        "turn/start",
        "turn/steer",
    }
)
FOR_THE_HOST: Final = frozenset(
    {
        "account/login/cancel",
        "account/login/start",
        "account/logout",
        "account/rateLimits/read",
        "account/usage/read",
        "command/exec",
        "command/exec/resize",
        "command/exec/terminate",
        "command/exec/write",
        "config/batchWrite",
        "config/value/write",
        "environment/info",
        "experimentalFeature/enablement/set",
        "fs/copy",
        "fs/createDirectory",
        "fs/getMetadata",
        "fs/readDirectory",
        "fs/readFile",
        "fs/remove",
        "fs/unwatch",
        "fs/watch",
        "fs/writeFile",
        "fuzzyFileSearch",
        "fuzzyFileSearch/sessionStart",
        "fuzzyFileSearch/sessionStop",
        "fuzzyFileSearch/sessionUpdate",
        "hooks/list",
        "review/start",
        "server/diagnostics",
        "thread/shellCommand",
        "windowsSandbox/readiness",
    }
)


def refusal(method: str) -> InvalidRequest | None:
    """Why a tenant's client may not call a method of this server; None when it may."""
    if method in FOR_TENANTS:
        return None
    return InvalidRequest(
        f"{method} is for the host of this server: it is about the host's files, processes, settings or login, and a "
        "client with a name of its own has threads, turns and pictures.",
        data_code="notForTenants",
    )
