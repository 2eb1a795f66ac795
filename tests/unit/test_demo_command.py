"""The demo's arguments, the command of its server, and its conversation with a child that follows a script."""

import argparse
import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from app_server.clock import SystemClock
from app_server.commands.demo import demo, read_request, run, server_command, server_env
from app_server.commands.demo_options import add_parser
from app_server.commands.demo_view import DemoRequest, View
from tests.unit.test_demo_client import asked, child

THREAD = {"result": {"thread": {"id": "t1"}, "model": "offline", "modelProvider": "offline"}}
STARTED: dict[str, Any] = {"result": {"turn": {"id": "turn-1"}}}
DONE = {"method": "turn/completed", "params": {"threadId": "t1", "turn": {"id": "turn-1", "status": "completed"}}}
HELLO: dict[str, list[Any]] = {"initialize": [{"result": {"userAgent": "x"}}], "thread/start": [THREAD]}


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *words])


def completed(path: Path, at_ms: int = 1) -> dict[str, Any]:
    item = {"type": "imageGeneration", "id": "c", "savedPath": str(path), "bytes": 2048, "width": 4, "height": 2}
    return {**item, "completedAtMs": at_ms, "status": "completed"}


class Demo:
    """One run against a scripted child."""

    def __init__(self, tmp_path: Path, **wanted: Any) -> None:
        self.log, self.out, self.err = tmp_path / "asked.jsonl", io.StringIO(), io.StringIO()
        self.request = DemoRequest(**{"text": "a fox", "edit": False, "home": Path(".demo"), **wanted})
        self.view = View(out=self.out, err=self.err, env={}, cwd=tmp_path, clock=SystemClock(), request=self.request)

    async def run(self, script: dict[str, Any]) -> int:
        return await demo(self.request, self.view, child(script, self.log), {})

    @property
    def methods(self) -> list[str]:
        return [frame["method"] for frame in asked(self.log)]


@pytest.mark.parametrize(
    ("words", "env", "request_"),
    [
        ([], {}, DemoRequest(text="a red fox in the snow", edit=False)),
        (["a cat"], {}, DemoRequest(text="a cat", edit=False)),
        (["--edit", "more snow"], {}, DemoRequest(text="Edit the newest picture: more snow", edit=True)),
        ([], {"APP_SERVER_DEMO_PROMPT": ""}, DemoRequest(text="a red fox in the snow", edit=False, by_make=True)),
        (
            [],
            {"APP_SERVER_DEMO_PROMPT": 'a "cat" for $5'},
            DemoRequest(text='a "cat" for $5', edit=False, by_make=True),
        ),
        (
            ["a cat"],
            {"APP_SERVER_DEMO_PROMPT": "", "APP_SERVER_DEMO_EDIT": "x"},
            DemoRequest(text="a cat", edit=False, by_make=True),
        ),
        (
            [],
            {"APP_SERVER_DEMO_PROVIDER": "openai", "APP_SERVER_DEMO_HOME": "/h"},
            DemoRequest(text="a red fox in the snow", edit=False, provider="openai", home=Path("/h")),
        ),
        (
            ["--provider", "mine", "--home", "/x", "--model", "m", "--no-preview", "--timeout", "2.5"],
            {"APP_SERVER_DEMO_PROVIDER": "openai", "APP_SERVER_DEMO_HOME": "/h"},
            DemoRequest(
                text="a red fox in the snow",
                edit=False,
                provider="mine",
                home=Path("/x"),
                model="m",
                preview=False,
                timeout_s=2.5,
            ),
        ),
        (["a cat", "--edit", "x"], {}, None),
        ([], {"APP_SERVER_DEMO_PROMPT": "a cat", "APP_SERVER_DEMO_EDIT": "x"}, None),
    ],
)
def test_arguments_come_before_the_environment_of_make(
    words: list[str], env: dict[str, str], request_: DemoRequest | None
) -> None:
    assert read_request(parse(*words), env) == request_


def test_a_prompt_and_an_edit_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(parse("a cat", "--edit", "x"))
    told = "Give either a PROMPT for a new picture or --edit TEXT for the newest one, not both.\n"
    assert (status, capsys.readouterr().err) == (2, told)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "soon"])
def test_a_timeout_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        parse("--timeout", text)


def test_the_server_is_this_python_with_the_provider_as_a_toml_string() -> None:
    assert server_command(DemoRequest(text="x", edit=False, provider='my "own" ä')) == [
        sys.executable,
        *("-m", "app_server", "serve", "--listen", "stdio://", "--enable", "imagegenext"),
        *("-c", 'model_provider="my \\"own\\" ä"'),
    ]


def test_the_server_gets_the_home_of_the_demo_alone() -> None:
    env = {"PATH": "/bin", "CODEX_HOME": "/a", "APP_SERVER_HOME": "/b"}
    assert server_env(env, Path("/demo")) == {"PATH": "/bin", "APP_SERVER_HOME": "/demo"}


@pytest.mark.anyio
async def test_a_prompt_starts_a_thread_and_one_turn(tmp_path: Path) -> None:
    run_ = Demo(tmp_path, model="m")
    picture = {"method": "item/completed", "params": {"item": completed(tmp_path / "a.png")}}
    assert await run_.run({**HELLO, "turn/start": [STARTED, picture, DONE]}) == 0
    assert run_.methods == ["initialize", "initialized", "thread/start", "turn/start"]
    frames = asked(run_.log)
    assert (frames[0]["params"]["clientInfo"]["name"], frames[3]["params"]) == (
        "app_server_demo",
        {"threadId": "t1", "input": [{"type": "text", "text": "a fox"}]},
    )
    opened = {key: frames[2]["params"][key] for key in ("modelProvider", "model", "cwd")}
    assert opened == {"modelProvider": "offline", "model": "m", "cwd": str(tmp_path)}
    assert "picture:  a.png (4×2, 2 KB)\n" in run_.out.getvalue()


@pytest.mark.anyio
async def test_an_edit_resumes_the_thread_of_the_picture_that_was_finished_last(tmp_path: Path) -> None:
    saved = tmp_path / "a.png"
    saved.touch()
    gone = completed(tmp_path / "gone.png", 9_000)
    threads = [{"id": "talk", "updatedAt": 30}, {"id": "t1", "updatedAt": 20}, {"id": "old", "updatedAt": 4}]
    turns = [{"items": [{"type": "userMessage"}, completed(saved, 5_000), gone]}]
    script = {
        **HELLO,
        "thread/list": [{"result": {"data": threads, "nextCursor": None}}],
        "thread/turns/list": [{"result": {"data": turns, "nextCursor": None}}],
        "thread/resume": [THREAD],
        "turn/start": [STARTED, {"method": "item/completed", "params": {"item": completed(saved)}}, DONE],
    }
    run_ = Demo(tmp_path, edit=True, text="make it night")
    assert await run_.run(script) == 0
    listed = [frame["params"]["threadId"] for frame in asked(run_.log) if frame["method"] == "thread/turns/list"]
    assert (listed, run_.methods[-2:]) == (["talk", "t1"], ["thread/resume", "turn/start"])
    assert "editing:  a.png\n" in run_.out.getvalue()


@pytest.mark.anyio
async def test_an_edit_without_any_picture_says_what_to_run_first(tmp_path: Path) -> None:
    empty: dict[str, Any] = {"result": {"data": [], "nextCursor": None}}
    run_ = Demo(tmp_path, edit=True)
    assert await run_.run({**HELLO, "thread/list": [empty]}) == 1
    assert run_.err.getvalue() == (
        'There is no picture to edit in .demo: first run app-server demo "a red fox in the snow"\n'
    )


@pytest.mark.anyio
async def test_a_server_that_exits_early_is_shown_with_its_words(tmp_path: Path) -> None:
    run_ = Demo(tmp_path)
    assert await run_.run({"initialize": [{"exit": 2, "stderr": "config.toml:1:1: broken"}]}) == 1
    assert run_.err.getvalue() == "config.toml:1:1: broken\nThe server ended early, with exit status 2.\n"


@pytest.mark.anyio
async def test_a_refused_request_is_shown_with_the_words_of_the_server(tmp_path: Path) -> None:
    run_ = Demo(tmp_path)
    assert await run_.run({**HELLO, "turn/start": [{"error": {"code": -32600, "message": "Set OPENAI_API_KEY."}}]}) == 1
    assert run_.err.getvalue() == "Set OPENAI_API_KEY.\n"


@pytest.mark.anyio
async def test_a_failed_turn_is_followed_by_the_log_of_the_server(tmp_path: Path) -> None:
    turn = {"id": "turn-1", "status": "failed", "error": {"message": "The server failed; its log has the cause."}}
    failed = {"method": "turn/completed", "params": {"turn": turn}}
    run_ = Demo(tmp_path)
    assert await run_.run({**HELLO, "turn/start": [STARTED, failed, {"exit": 0, "stderr": "the cause"}]}) == 1
    assert run_.err.getvalue() == "The server failed; its log has the cause.\nThe server's log:\nthe cause\n"


@pytest.mark.anyio
async def test_a_turn_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    run_ = Demo(tmp_path, timeout_s=0.5)
    assert await run_.run({**HELLO, "turn/start": [STARTED], "turn/interrupt": [{"result": {}}]}) == 1
    assert asked(run_.log)[-1]["params"] == {"threadId": "t1", "turnId": "turn-1"}
    assert run_.err.getvalue() == "No picture after 0.5 seconds; give it longer with --timeout.\n"


@pytest.mark.anyio
async def test_a_cancelled_demo_interrupts_the_turn_and_ends_the_child(tmp_path: Path) -> None:
    run_ = Demo(tmp_path)
    begun = {"method": "item/agentMessage/delta", "params": {"itemId": "m", "delta": "begun"}}
    written = asyncio.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if text == "begun":
                written.set()
            return super().write(text)

    run_.view = View(out=Watched(), err=run_.err, env={}, cwd=tmp_path, clock=SystemClock(), request=run_.request)
    script = {**HELLO, "turn/start": [STARTED, begun], "turn/interrupt": [{"result": {}}]}
    task = asyncio.create_task(run_.run(script))
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run_.methods[-1] == "turn/interrupt"
