"""Claims are read from whatever looks like a token, and garbage says nothing."""

import base64
import json

import pytest

from app_server.auth.tokens import TokenClaims, read_claims


def token(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.sig"


def test_the_claims_of_a_chatgpt_token_are_read() -> None:
    claims = {
        "email": "user@example.com",
        "exp": 4_000_000_000,
        "https://api.openai.com/auth": {
            "chatgpt_plan_type": "pro",
            "chatgpt_user_id": "user-1",
            "chatgpt_account_id": "acct-1",
        },
    }
    assert read_claims(token(json.dumps(claims).encode())) == TokenClaims(
        email="user@example.com", plan="pro", account_id="acct-1", user_id="user-1", expires_at_s=4_000_000_000
    )


def test_the_email_of_the_profile_stands_in() -> None:
    claims = {"https://api.openai.com/profile": {"email": "user@example.com"}}
    assert read_claims(token(json.dumps(claims).encode())) == TokenClaims(email="user@example.com")


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        "",
        "sk-key",
        "a.b.c",
        "a.é.c",
        "a.b.c.d",
        token(b"\xff\xfe"),
        token(b"[1]"),
        token(b'{"exp": true, "email": 5, "https://api.openai.com/auth": "x"}'),
        token(b"[" * 100_000),
    ],
)
def test_garbage_says_nothing(garbage: str | None) -> None:
    assert read_claims(garbage) == TokenClaims()
