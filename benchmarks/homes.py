"""The home that a measured server gets: its settings, which lead to the fake provider, and its environment.

The same for every server. `bench` makes them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.accounts import write_chatgpt_auth

_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""What a server gets of our own environment: no keys, no homes, no proxies."""

_SETTINGS: Final = """\
model = "gpt-5.5"
model_provider = "fake"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
chatgpt_base_url = "{url}/backend-api"

[analytics]
enabled = false

[otel]
exporter = "none"

[features]
apps = false
plugins = false

[model_providers.fake]
name = "Fake"
base_url = "{url}/v1"
wire_api = "responses"
{login}
request_max_retries = 0
stream_max_retries = 0
supports_websockets = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A folder on disk and what a server on it is started with."""

    home: Path
    cwd: Path
    log: Path
    """What the server writes to stderr."""
    env: Mapping[str, str]


def make_home(folder: Path, url: str, *, with_login: bool = False) -> Home:
    """A fresh home; `with_login`: of a ChatGPT account, so that the picture tool is offered."""
    home, cwd = folder / "home", folder / "work"
    for each in (home, cwd):
        each.mkdir(parents=True)
    login = "requires_openai_auth = true" if with_login else 'env_key = "FAKE_KEY"'
    (home / "config.toml").write_text(_SETTINGS.format(url=url, login=login), encoding="utf-8")
    if with_login:
        write_chatgpt_auth(home, plan="pro")
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    places = {"APP_SERVER_HOME": str(home), "CODEX_HOME": str(home), "HOME": str(home)}
    env = {**inherited, **places, "FAKE_KEY": "sk-fake", "RUST_LOG": "error"}
    return Home(home=home, cwd=cwd, log=folder / "stderr.log", env=env)
