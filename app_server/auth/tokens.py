"""Reads the claims of a JWT. Pure, and no proof of anything: signatures are the provider's business."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from app_server.values import frozen

_AUTH_CLAIMS = "https://api.openai.com/auth"
_PROFILE_CLAIMS = "https://api.openai.com/profile"


@frozen
class TokenClaims:
    """What a token says of its holder; None for whatever it does not say."""

    email: str | None = None
    plan: str | None = None
    account_id: str | None = None
    user_id: str | None = None
    expires_at_s: int | None = None
    """Seconds since the Unix epoch."""


def read_claims(token: str | None) -> TokenClaims:
    """The claims of a token; of garbage, none at all."""
    claims = _payload(token or "")
    auth = _table(claims, _AUTH_CLAIMS)
    expires = claims.get("exp")
    return TokenClaims(
        email=_text(claims, "email") or _text(_table(claims, _PROFILE_CLAIMS), "email"),
        plan=_text(auth, "chatgpt_plan_type"),
        account_id=_text(auth, "chatgpt_account_id"),
        user_id=_text(auth, "chatgpt_user_id") or _text(auth, "user_id"),
        expires_at_s=expires if isinstance(expires, int) and not isinstance(expires, bool) else None,
    )


def _payload(token: str) -> Mapping[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):  # bad base64, bad UTF-8, bad JSON, absurd nesting
        return {}
    return payload if isinstance(payload, dict) else {}


def _table(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = claims.get(name)
    return value if isinstance(value, dict) else {}


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None
