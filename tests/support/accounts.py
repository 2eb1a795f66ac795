"""Made-up logins for tests: the `auth.json` of a ChatGPT account or of an API key, with tokens that nobody signed.

The shape is the reference's (protocol.md §13). Nothing here is a secret, and no service accepts any of it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

AUTH_CLAIM = "https://api.openai.com/auth"
"""The claim of an id token that holds plan, user and account."""
FAR_FUTURE_S = 4_000_000_000
"""Expiry of the made-up access token, in seconds since the epoch: the year 2096."""


def unsigned_jwt(claims: Mapping[str, Any]) -> str:
    """A token of the three usual parts whose signature is a placeholder (`alg: none`)."""
    parts = (orjson.dumps({"alg": "none", "typ": "JWT"}), orjson.dumps(dict(claims)), b"not-a-signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii") for part in parts)


def id_token(
    *,
    plan: str | None = "plus",
    account_id: str = "account-1",
    user_id: str = "user-1",
    email: str = "user@example.com",
) -> str:
    """The id token of a ChatGPT login; `plan=None` leaves the plan out."""
    account: dict[str, Any] = {"chatgpt_user_id": user_id, "chatgpt_account_id": account_id}
    if plan is not None:
        account["chatgpt_plan_type"] = plan
    return unsigned_jwt({"email": email, AUTH_CLAIM: account})


def access_token(*, expires_at_s: int = FAR_FUTURE_S) -> str:
    """The bearer of a ChatGPT login."""
    return unsigned_jwt({"exp": expires_at_s})


def chatgpt_auth(
    *,
    plan: str | None = "plus",
    account_id: str = "account-1",
    user_id: str = "user-1",
    email: str = "user@example.com",
    expires_at_s: int = FAR_FUTURE_S,
) -> dict[str, Any]:
    """The content of `auth.json` after a ChatGPT login that was refreshed just now."""
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": id_token(plan=plan, account_id=account_id, user_id=user_id, email=email),
            "access_token": access_token(expires_at_s=expires_at_s),
            "refresh_token": "refresh-1",
            "account_id": account_id,
        },
        "last_refresh": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }


def api_key_auth(key: str = "sk-test-key") -> dict[str, Any]:
    """The content of `auth.json` after a login with an API key."""
    return {"auth_mode": "apikey", "OPENAI_API_KEY": key, "tokens": None, "last_refresh": None}


def write_chatgpt_auth(
    home: Path, *, plan: str | None = "plus", account_id: str = "account-1", expires_at_s: int = FAR_FUTURE_S
) -> Path:
    """Log the home in with a ChatGPT account; returns the file."""
    return write_auth(home, chatgpt_auth(plan=plan, account_id=account_id, expires_at_s=expires_at_s))


def write_api_key_auth(home: Path, key: str = "sk-test-key") -> Path:
    """Log the home in with an API key; returns the file."""
    return write_auth(home, api_key_auth(key))


def write_auth(home: Path, content: Mapping[str, Any]) -> Path:
    """Write `auth.json` into the home, as whole as a login leaves it; the home is made when it is missing."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "auth.json"
    path.write_bytes(orjson.dumps(dict(content), option=orjson.OPT_INDENT_2))
    return path
