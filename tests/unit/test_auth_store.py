"""auth.json: read in every form that the reference writes, written in its newest, refused with a way out."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from app_server.auth.base import AuthMode
from app_server.auth.store import StoredAuth, StoredTokens, delete_auth, read_auth, write_auth
from app_server.errors import ConfigurationError

TOKENS = {"id_token": "i.d.t", "access_token": "a.c.c", "refresh_token": "r", "account_id": "acct-1"}
STORED_TOKENS = StoredTokens(id_token="i.d.t", access_token="a.c.c", refresh_token="r", account_id="acct-1")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"auth_mode": "apikey", "OPENAI_API_KEY": "sk-1"}, StoredAuth(mode=AuthMode.API_KEY, api_key="sk-1")),
        ({"OPENAI_API_KEY": "sk-1", "tokens": None}, StoredAuth(mode=AuthMode.API_KEY, api_key="sk-1")),
        (
            {"OPENAI_API_KEY": "sk-1", "tokens": TOKENS},
            StoredAuth(mode=AuthMode.API_KEY, api_key="sk-1", tokens=STORED_TOKENS),
        ),
        (
            {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": TOKENS, "last_refresh": "2026-01-01T00:00:00Z"},
            StoredAuth(mode=AuthMode.CHATGPT, tokens=STORED_TOKENS, last_refresh="2026-01-01T00:00:00Z"),
        ),
        ({"OPENAI_API_KEY": None, "tokens": TOKENS}, StoredAuth(mode=AuthMode.CHATGPT, tokens=STORED_TOKENS)),
        ({"OPENAI_API_KEY": None}, None),
        ({}, None),
    ],
)
def test_every_form_of_the_file_is_read(tmp_path: Path, content: dict[str, Any], expected: StoredAuth | None) -> None:
    (tmp_path / "auth.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_auth(tmp_path / "auth.json") == expected


def test_no_file_is_no_login(tmp_path: Path) -> None:
    assert read_auth(tmp_path / "auth.json") is None
    assert delete_auth(tmp_path / "auth.json") is False


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "it is not JSON"),
        ("[]", "it holds no JSON object"),
        ('{"OPENAI_API_KEY": 5}', "OPENAI_API_KEY is no text"),
        ('{"auth_mode": "magic"}', "auth_mode magic is not one of apikey, chatgpt"),
        ('{"auth_mode": "apikey"}', "auth_mode is apikey, but OPENAI_API_KEY is missing"),
        ('{"auth_mode": "chatgpt"}', "auth_mode is chatgpt, but the tokens are missing"),
        ('{"tokens": "x"}', "tokens is no JSON object"),
        ('{"tokens": {}}', "tokens has no access_token"),
        ('{"tokens": {"access_token": 1}}', "access_token is no text"),
    ],
)
def test_a_broken_file_is_named_with_the_cause_and_the_way_out(tmp_path: Path, content: str, cause: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        read_auth(path)
    assert raised.value.message == f"The login in {path} cannot be used ({cause}); delete the file and log in again."


def test_a_written_login_has_the_reference_s_shape_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o644)
    login = StoredAuth(mode=AuthMode.CHATGPT, tokens=STORED_TOKENS, last_refresh="2026-01-01T00:00:00Z")
    write_auth(path, login)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": TOKENS,
        "last_refresh": "2026-01-01T00:00:00Z",
    }
    assert read_auth(path) == login
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["auth.json"]


def test_a_login_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"cannot be changed \(.+\); make the file and its folder writable"):
        write_auth(tmp_path / "file" / "auth.json", StoredAuth(mode=AuthMode.API_KEY, api_key="sk-1"))


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(StoredAuth(mode=AuthMode.CHATGPT, api_key="s3cret", tokens=STORED_TOKENS))
    assert [word for word in ("s3cret", "a.c.c", "i.d.t", "'r'") if word in shown] == []
