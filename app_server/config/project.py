"""The settings that a repository brings along (`.codex/config.toml`), and what it may not decide.

    never        who receives the conversation and signs for it: providers, addresses, logins, telemetry; where
                 pictures are kept and for how long
    if trusted   what tools may do: approvals, sandbox, servers and hooks to start;
                 trusted = [projects."<folder>"] trust_level = "trusted" in the user's own config.toml
    always       everything else: model, effort, features, pictures

What is not allowed is left out, with a warning that names it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from app_server.config.merge import merge, value_at
from app_server.config.schema import TomlTable

PROJECT_FILE = Path(".codex", "config.toml")

_NEVER = """
    chatgpt_base_url cli_auth_credentials_store cloud experimental_realtime_webrtc_call_base_url
    experimental_realtime_ws_base_url experimental_thread_store_endpoint forced_chatgpt_workspace_id
    forced_login_method image_generation.name_template image_generation.provider image_generation.quota_mb
    image_generation.retention_days image_generation.save_dir log_dir mcp_oauth_callback_port mcp_oauth_callback_url
    mcp_oauth_credentials_store model_provider model_providers notify openai_base_url oss_provider otel
    preferred_auth_method profile profiles projects server sqlite_home storage tenants
"""
_IF_TRUSTED = """
    allow_login_shell approval_policy approvals_reviewer apps default_permissions hooks marketplaces mcp_servers
    model_instructions_file permissions plugins sandbox_mode sandbox_workspace_write shell_environment_policy zsh_path
"""

NEVER: frozenset[tuple[str, ...]] = frozenset(tuple(key.split(".")) for key in _NEVER.split())
IF_TRUSTED: frozenset[tuple[str, ...]] = frozenset((key,) for key in _IF_TRUSTED.split())


def project_files(cwd: Path, home: Path, file: Path = PROJECT_FILE) -> tuple[Path, ...]:
    """Existing project files from the git repository's root down to `cwd`; outside of a repository only that of `cwd`.

    The server's own home is no project, even where it lies on the way. A folder that the system refuses to look into
    (no access, a name that is too long) has none: `os.path` says no where `Path` raises.
    """
    candidates = (os.path.join(folder, file) for folder in reversed(_up_to_root(cwd.absolute())))
    found = [Path(path) for path in candidates if os.path.isfile(path)]
    return tuple(path for path in found if path.resolve() != (home / file.name).resolve())


def allowed(path: Path, values: TomlTable, user: TomlTable) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What counts of a project file's values, and warnings about what does not."""
    never = sorted(key for key in NEVER if value_at(values, key) is not None)
    untrusted = () if is_trusted(path, user) else IF_TRUSTED
    guarded = sorted(key for key in untrusted if value_at(values, key) is not None)
    kept = merge({}, values)
    for key in (*never, *guarded):
        table = kept if len(key) == 1 else kept[key[0]]
        del table[key[-1]]
    warnings = []
    if never:
        warnings.append(
            f"{path}: {_names(never)} ignored: a repository must not redirect your credentials or files; "
            "set it in your own config.toml."
        )
    if guarded:
        warnings.append(
            f"{path}: {_names(guarded)} ignored: the project is not trusted; to allow it, write "
            f'[projects."{path.parent.parent}"] trust_level = "trusted" in your own config.toml.'
        )
    return kept, tuple(warnings)


def is_trusted(path: Path, user: TomlTable) -> bool:
    """Whether the user's settings trust the folder of a project file, or the repository it is in."""
    folders = _up_to_root(path.parent.parent)
    names = {str(name) for folder in (folders[0], folders[-1]) for name in (folder, folder.resolve())}
    return any(value_at(user, ("projects", name, "trust_level")) == "trusted" for name in names)


def _up_to_root(folder: Path) -> list[Path]:
    """The folder and those above it up to the root of its git repository; the folder alone where there is none."""
    folders = [folder, *folder.parents]
    root = next((index for index, parent in enumerate(folders) if os.path.exists(os.path.join(parent, ".git"))), 0)
    return folders[: root + 1]


def _names(keys: list[tuple[str, ...]]) -> str:
    return ", ".join(".".join(key) for key in keys) + (" is" if len(keys) == 1 else " are")
