"""Secrets stay where they are: a real server full of canaries, at its most talkative, asked for all that it tells."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.auth.base import AuthMode
from app_server.auth.store import StoredAuth, read_auth, write_auth
from tests.fuzz.target import CANARY, secret_home
from tests.interaction.conversation import run_turn, start_thread
from tests.support.client import RpcFailure, stdio_client
from tests.support.upstream import ReceivedRequest, Reply, ScriptedUpstream

ROOT = str(Path(__file__).parents[2])
SERVER = [sys.executable, "-m", "app_server"]
CONFIG_READ = {"includeLayers": True}


def echo(request: ReceivedRequest) -> list[str]:
    """What a careless provider does: its failure repeats the login."""
    login = request.headers.get("authorization", "")
    failure = {"type": "error", "code": "x", "message": f"bad login {login}"}
    return [f"data: {orjson.dumps(failure).decode()}\n\n"]


@pytest.mark.anyio
async def test_no_secret_is_in_a_frame_or_in_the_log(tmp_path: Path) -> None:
    home = secret_home(tmp_path)
    async with ScriptedUpstream() as up:
        config = home.home / "config.toml"
        config.write_text(config.read_text(encoding="utf-8").replace("http://127.0.0.1:9/v1", up.base_url), "utf-8")
        for own in ("key", "bearer"):
            refusal = Reply(status=401, body={"error": {"message": f"no such key {CANARY}-{own}"}})
            up.queue += [Reply(events=echo), refusal]
        environment = {**home.env, "APP_SERVER_HOME": str(home.home), "PYTHONPATH": ROOT, "APP_SERVER_LOG": "debug"}
        async with stdio_client(SERVER, env=environment, cwd=home.cwd) as client:
            await client.initialize()
            for provider in ("fake", "secretive"):
                await fail_twice(client, provider)
            told = [
                await client.request("config/read", CONFIG_READ),
                await client.request("account/read", {}),
                await client.request("modelProvider/list", {}),
            ]
            await client.request("account/login/start", {"type": "apiKey", "apiKey": f"{CANARY}-given"})
            told.append(await client.request("account/read", {}))
            for method in ("account/login/start", "config/value/write"):
                with pytest.raises(RpcFailure):
                    await client.request(method, {"type": "apiKey", "apiKey": [f"{CANARY}-wrong"]})
        sent = str(client.incoming)

        assert any("authorization" in request.headers for request in up.posts())
    assert (CANARY in str(told), CANARY in sent, CANARY in client.stream.stderr_text) == (False, False, False)
    assert os.name == "nt" or (home.home / "auth.json").stat().st_mode & 0o777 == 0o600


async def fail_twice(client: Any, provider: str) -> None:
    """Two turns that the provider ends, each in its way."""
    thread_id = await start_thread(client, modelProvider=provider)
    statuses = [(await run_turn(client, thread_id))["status"] for _ in range(2)]
    assert statuses == ["failed", "failed"]


@pytest.mark.parametrize("words", [["features", "list"], ["extensions", "list"], ["doctor"]])
def test_no_secret_is_in_what_a_command_prints(tmp_path: Path, words: list[str]) -> None:
    home = secret_home(tmp_path)
    done = subprocess.run(
        [*SERVER, *words],
        cwd=home.cwd,
        env={**home.env, "APP_SERVER_HOME": str(home.home), "PYTHONPATH": ROOT, "APP_SERVER_LOG": "debug"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_whoever_reads_a_login_while_it_is_written_sees_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    logins = [StoredAuth(mode=AuthMode.API_KEY, api_key=letter * 20_000) for letter in "ab"]
    write_auth(path, logins[0])
    over = threading.Event()

    def write() -> None:
        for number in range(40):
            write_auth(path, logins[number % 2])
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        assert read_auth(path) in logins
    writer.join()
