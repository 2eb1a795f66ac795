"""The server under test, wired for a test: a home, a config that points at a scripted upstream, clients over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from app_server.bootstrap import App, Options
from app_server.transport.memory import memory_pair
from tests.support.client import RpcClient

CONFIG = """\
model = "gpt-5.5"
model_provider = "fake"
approval_policy = "on-request"
sandbox_mode = "workspace-write"
{top}
[model_providers.fake]
name = "Fake"
base_url = "{base_url}"
wire_api = "responses"
{login}
request_max_retries = {retries}
stream_max_retries = {retries}
{provider}

[features]
{features}
"""


@dataclass(kw_only=True)
class Home:
    """A home on disk and what a server on it is started with."""

    home: Path
    cwd: Path
    env: dict[str, str] = field(default_factory=lambda: {"FAKE_KEY": "sk-fake-for-tests"})
    enable: Sequence[str] = ("imagegenext",)
    extensions: Sequence[str] | None = ("extensions.image_generation",)

    def options(self) -> Options:
        return Options(env=self.env, cwd=self.cwd, home=self.home, enable=self.enable, extensions=self.extensions)


def make_home(
    folder: Path,
    base_url: str,
    *,
    login: str = 'env_key = "FAKE_KEY"',
    retries: int = 0,
    top: str = "",
    provider: str = "",
    features: str = "",
    enable: Sequence[str] = ("imagegenext",),
) -> Home:
    """A home whose config points at an upstream; `login` is a line of the provider's table."""
    home, cwd = folder / "home", folder / "work"
    for each in (home, cwd):
        each.mkdir(parents=True, exist_ok=True)
    text = CONFIG.format(base_url=base_url, login=login, retries=retries, top=top, provider=provider, features=features)
    (home / "config.toml").write_text(text, encoding="utf-8")
    return Home(home=home, cwd=cwd, enable=enable)


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[App]:
    """An embedded server on this home; leaving the block is an orderly end of the process."""
    async with App(home.options()).running() as app:
        yield app


@asynccontextmanager
async def connected(
    app: App, *, name: str = "tests", experimental: bool = True, pictures: Mapping[str, Any] | None = None
) -> AsyncIterator[RpcClient]:
    """An initialized client over the in-memory transport; every frame is checked against the schema.

    pictures: what the client states in `capabilities.extensions.pictures`."""
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app.serve, theirs)
        async with RpcClient(ours, tasks, name=name) as client:
            extensions = {} if pictures is None else {"extensions": {"pictures": pictures}}
            await client.initialize(experimental=experimental, **extensions)
            yield client
        await ours.aclose()


@asynccontextmanager
async def serving(home: Home) -> AsyncIterator[tuple[App, RpcClient]]:
    """A server with one client: what most tests need."""
    async with running(home) as app, connected(app) as client:
        yield app, client


__all__ = ["Home", "connected", "make_home", "running", "serving"]
