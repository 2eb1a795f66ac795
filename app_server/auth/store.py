"""`auth.json`: the login that outlives the process, in the reference's shape, so that one file serves both.

    {"auth_mode": "apikey" | "chatgpt", "OPENAI_API_KEY": str | null, "last_refresh": ISO time | null,
     "tokens": {"id_token", "access_token", "refresh_token", "account_id"} | null}

Older files have no `auth_mode`; a key then counts before tokens. Readable by its owner alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app_server.auth.base import AuthMode
from app_server.config.atomic import write_atomically
from app_server.errors import ConfigurationError
from app_server.values import field, frozen

AUTH_FILE = "auth.json"
_MODES = {mode.value.lower(): mode for mode in (AuthMode.API_KEY, AuthMode.CHATGPT)}


@frozen
class StoredTokens:
    """The tokens of a ChatGPT login."""

    access_token: str = field(repr=False)
    id_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    account_id: str | None = None


@frozen
class StoredAuth:
    """The content of the file."""

    mode: AuthMode
    api_key: str | None = field(default=None, repr=False)
    tokens: StoredTokens | None = None
    last_refresh: str | None = None


def read_auth(path: Path) -> StoredAuth | None:
    """The stored login, or None where there is none. Raises `ConfigurationError` for a file that cannot be used."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, (error.strerror or "input error").lower()) from error
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "it is not JSON") from error
    if not isinstance(content, dict):
        raise _unusable(path, "it holds no JSON object")
    api_key = _text(path, content, "OPENAI_API_KEY")
    tokens = _tokens(path, content.get("tokens"))
    mode = _mode(path, content, api_key)
    if mode is AuthMode.API_KEY and api_key is None:
        raise _unusable(path, "auth_mode is apikey, but OPENAI_API_KEY is missing")
    if mode is AuthMode.CHATGPT and tokens is None:
        if "auth_mode" not in content:
            return None  # an empty login, as an older logout leaves it
        raise _unusable(path, "auth_mode is chatgpt, but the tokens are missing")
    return StoredAuth(mode=mode, api_key=api_key, tokens=tokens, last_refresh=_text(path, content, "last_refresh"))


def write_auth(path: Path, auth: StoredAuth) -> None:
    """Replace the stored login. Raises `ConfigurationError` when the file cannot be written."""
    tokens = auth.tokens and {
        "id_token": auth.tokens.id_token,
        "access_token": auth.tokens.access_token,
        "refresh_token": auth.tokens.refresh_token,
        "account_id": auth.tokens.account_id,
    }
    content = {
        "auth_mode": auth.mode.value,
        "OPENAI_API_KEY": auth.api_key,
        "tokens": tokens,
        "last_refresh": auth.last_refresh,
    }
    try:
        write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def delete_auth(path: Path) -> bool:
    """Forget the stored login; whether there was one. Raises `ConfigurationError` when it cannot be removed."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def _mode(path: Path, content: Mapping[str, Any], api_key: str | None) -> AuthMode:
    named = _text(path, content, "auth_mode")
    if named is None:
        return AuthMode.API_KEY if api_key is not None else AuthMode.CHATGPT
    mode = _MODES.get(named.lower())
    if mode is None:
        raise _unusable(path, f"auth_mode {named[:40]} is not one of {', '.join(_MODES)}")
    return mode


def _tokens(path: Path, table: object) -> StoredTokens | None:
    if table is None:
        return None
    if not isinstance(table, dict):
        raise _unusable(path, "tokens is no JSON object")
    access_token = _text(path, table, "access_token")
    if access_token is None:
        raise _unusable(path, "tokens has no access_token")
    return StoredTokens(
        access_token=access_token,
        id_token=_text(path, table, "id_token"),
        refresh_token=_text(path, table, "refresh_token"),
        account_id=_text(path, table, "account_id"),
    )


def _text(path: Path, table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is not None and not isinstance(value, str):
        raise _unusable(path, f"{name} is no text")
    return value.strip() or None if value else None


def _unusable(path: Path, cause: str) -> ConfigurationError:
    return ConfigurationError(f"The login in {path} cannot be used ({cause}); delete the file and log in again.")


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    cause = (error.strerror or "output error").lower()
    return ConfigurationError(
        f"The login in {path} cannot be changed ({cause}); make the file and its folder writable."
    )
