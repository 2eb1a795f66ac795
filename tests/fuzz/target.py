"""A live server for the fuzz: in a thread of its own, on a home full of canaries, spoken to over the memory transport.

`Target.send` plays the steps of one client and returns what was wrong. A target holds state on purpose: what an earlier
step left behind (threads, watches, logins, settings) is there for the next one. `test_fuzz.py` makes a new one from
time to time, and each must end in order.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import orjson
from anyio.from_thread import start_blocking_portal

from app_server.bootstrap import App
from app_server.observability.logging import configure_logging
from app_server.transport.base import StreamClosed
from app_server.transport.memory import memory_pair
from tests.fuzz.confine import placed
from tests.fuzz.frames import NO_PARAMS, Call, Raw, Step
from tests.fuzz.judge import RequestId, complaints
from tests.support.accounts import chatgpt_auth, write_auth
from tests.support.bell import Bell
from tests.support.pictures import png
from tests.support.server import Home, make_home

ANSWER_TIMEOUT_S = 30.0
CANARY = "canary-5ecret"
UNREACHABLE = "http://127.0.0.1:9"
CANARIES = f"""
[model_providers.secretive]
name = "Secretive"
base_url = "{UNREACHABLE}/v1"
experimental_bearer_token = "{CANARY}-bearer"
http_headers = {{ "X-Api-Key" = "{CANARY}-header", "X-Other" = "{CANARY}-other" }}
query_params = {{ api_key = "{CANARY}-query" }}
"""
REFUSAL = {"code": -32000, "message": "The fuzz answers nothing."}


class Target:
    """The server and the folder that it may touch. Use it as a context manager, from a thread without an event loop."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self._home = secret_home(folder)
        self._log = io.BytesIO()
        self._exit = ExitStack()
        self._count = 0
        self._known = {"@thread": "", "@turn": "no-turn", "@item": "no-item", "@sha256": "0" * 64}

    def __enter__(self) -> Self:
        configure_logging("debug", self._log, readable=False)
        self._portal = self._exit.enter_context(start_blocking_portal("asyncio"))
        self._exit.enter_context(self._portal.wrap_async_context_manager(self._serving()))
        self._begin()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()
        configure_logging("warn", io.BytesIO())

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async with App(self._home.options()).running() as app:
            self._app = app
            yield

    def _begin(self) -> None:
        hello = {"clientInfo": {"name": "fuzz", "version": "1"}, "capabilities": {"experimentalApi": True}}
        frames, wrong = self._portal.call(
            self._talk,
            [
                orjson.dumps({"id": "hello", "method": "initialize", "params": hello}),
                orjson.dumps({"id": "begin", "method": "thread/start", "params": {"cwd": str(self.work)}}),
            ],
            Counter(["hello", "begin"]),
            (0, 0),
            True,
        )
        assert wrong == []
        begun = next(frame for frame in frames if frame.get("id") == "begin")
        self._known["@thread"] = begun["result"]["thread"]["id"]

    def send(self, steps: Sequence[Step], *, initialized: bool = True, experimental: bool = True) -> list[str]:
        """Play the steps on a connection of their own; what was wrong with the answers."""
        frames: list[bytes] = []
        asked: Counter[RequestId] = Counter()
        least = most = 0
        if initialized:
            params = {
                "clientInfo": {"name": "fuzz", "version": "1"},
                "capabilities": {"experimentalApi": experimental},
            }
            frames.append(orjson.dumps({"id": "hello", "method": "initialize", "params": params}))
            asked["hello"] += 1
        for step in steps:
            match step:
                case Raw(data=data, answers=answers):
                    frames.append(data)
                    least += answers or 0
                    most += 1 if answers is None else answers
                case Call():
                    frame, request_id = self._request(step)
                    frames += [frame] * (1 + step.twice)
                    asked[request_id] += 1 + step.twice
        answers_, wrong = self._portal.call(self._talk, frames, asked, (least, most), initialized)
        self._learn(answers_)
        return wrong + self._leaks(answers_)

    def _request(self, call: Call) -> tuple[bytes, RequestId]:
        self._count += 1
        request_id: RequestId = f"ask {self._count} ☃" if call.text_id else self._count
        frame: dict[str, Any] = {"id": request_id, "method": call.method}
        if call.params is not NO_PARAMS:
            frame["params"] = placed(call.method, call.params, self._resolve, self.work)
        return json.dumps(frame).encode(), request_id

    def _resolve(self, text: str) -> str:
        if text.startswith("@work"):
            return str(self.work) + text.removeprefix("@work")
        return self._known.get(text, text)

    async def _talk(
        self, frames: list[bytes], asked: Counter[RequestId], nulls: tuple[int, int], greeted: bool
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Send all at once, answer what the server asks, and wait for the answers; at the end the server must live."""
        ours, theirs = memory_pair()
        got: list[dict[str, Any]] = []
        bell, closed = Bell(), anyio.Event()

        async def read() -> None:
            try:
                while True:
                    frame = orjson.loads(await ours.receive())
                    got.append(frame)
                    if "method" in frame and "id" in frame:
                        await ours.send([orjson.dumps({"id": frame["id"], "error": REFUSAL})])
                    bell.ring()
            except StreamClosed:
                closed.set()
                bell.ring()

        def answered(ids: Counter[RequestId]) -> bool:
            come = Counter(frame.get("id") for frame in got if "method" not in frame)
            return closed.is_set() or all(come[each] >= count for each, count in ids.items())

        async def wait(ids: Counter[RequestId]) -> None:
            missing = {str(each)[:60] for each in ids}
            await bell.until(lambda: answered(ids), ANSWER_TIMEOUT_S, lambda: f"answers to {missing}, had {len(got)}")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._app.serve, theirs)
            tasks.start_soon(read)
            await ours.send(frames)
            await wait(asked)
            await ours.send([b'{"id": "probe", "method": "thread/list", "params": {"limit": 1}}'])
            asked["probe"] += 1
            await wait(asked)
            wrong = ["the server closed the connection"] if closed.is_set() else []
            await ours.aclose()
        wrong += complaints(asked, nulls, got)
        if greeted and not any(frame.get("id") == "probe" and "result" in frame for frame in got):
            wrong.append("thread/list is not served any more")
        return got, wrong

    def _learn(self, frames: Sequence[dict[str, Any]]) -> None:
        """Ids that later steps may use."""
        for frame in frames:
            params = frame.get("params")
            if frame.get("method") == "item/completed" and isinstance(params, dict):
                self._known |= {"@turn": params["turnId"], "@item": params["item"]["id"]}
                if params["item"].get("sha256"):
                    self._known["@sha256"] = params["item"]["sha256"]
            if frame.get("method") == "thread/started":
                self._known["@thread"] = frame["params"]["thread"]["id"]

    def _leaks(self, frames: Sequence[dict[str, Any]]) -> list[str]:
        """Canaries in what was sent or logged, and failures that only the log tells of."""
        found = [f"a secret in {str(frame)[:600]}" for frame in frames if CANARY in str(frame)]
        for line in self._log.getvalue().splitlines():
            if CANARY.encode() in line:
                found.append(f"a secret in the log: {line[:600]!r}")
            if b'"level":"error"' in line:
                found.append(f"an error in the log: {line.decode()[-1500:]}")
        self._log.seek(0)
        self._log.truncate()
        return found


def secret_home(folder: Path) -> Home:
    """A home whose keys, tokens and headers all hold the canary, and a folder with a few files to play with."""
    home = make_home(folder, f"{UNREACHABLE}/v1", features="", provider="")
    config = home.home / "config.toml"
    config.write_text(config.read_text(encoding="utf-8") + CANARIES, encoding="utf-8")
    login = chatgpt_auth()
    login["tokens"] |= {"access_token": f"{CANARY}-access", "refresh_token": f"{CANARY}-refresh"}
    write_auth(home.home, login)
    home.env = {
        "PATH": "/usr/bin:/bin",
        "FAKE_KEY": f"{CANARY}-key",
        "OPENAI_API_KEY": f"{CANARY}-openai",
        "APP_SERVER_LOGIN_PORT": "0",
        "CODEX_APP_SERVER_LOGIN_ISSUER": UNREACHABLE,
        "CODEX_REFRESH_TOKEN_URL_OVERRIDE": f"{UNREACHABLE}/token",
    }
    (home.cwd / "a.txt").write_text("a\n", encoding="utf-8")
    (home.cwd / "picture.png").write_bytes(png())
    (home.cwd / "folder").mkdir()
    return home
