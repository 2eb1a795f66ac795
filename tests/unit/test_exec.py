"""`app-server exec` inside one process: the server and its one client, against a scripted upstream."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.bootstrap import App
from app_server.cli import parse
from app_server.commands.exec import ExecRequest, execute, read_request
from app_server.commands.exec_view import ExecView, JsonForm
from app_server.errors import ConfigurationError
from tests.interaction.conversation import imagegen, picture_home, users_words
from tests.support.pictures import data_url, png
from tests.support.server import Home, make_home
from tests.support.upstream import Reply, ScriptedUpstream, failed, image_call, sse, text_turn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def home(tmp_path: Path, up: ScriptedUpstream) -> Home:
    return picture_home(tmp_path, up, enable=())


async def run(home: Home, prompt: str = "Hello", **options: Any) -> tuple[int, list[Any], str]:
    """Exit status, the JSON lines, and stderr."""
    out, err = io.StringIO(), io.StringIO()
    request = ExecRequest(prompt=prompt, cwd=home.cwd, **options)
    status = await execute(App(home.options()), request, ExecView(JsonForm(out), err))
    return status, [orjson.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def kinds(events: list[Any]) -> list[str]:
    return [f"{event['type']} {event.get('item', {}).get('type', '')}".strip() for event in events]


async def test_one_turn_is_run_and_its_thread_is_kept(home: Home, up: ScriptedUpstream) -> None:
    up.queue.append(text_turn("r1", "Hello yourself."))
    status, events, err = await run(home)
    assert (status, err) == (0, "")
    assert kinds(events) == ["thread.started", "turn.started", "item.completed agent_message", "turn.completed"]
    assert events[2]["item"]["text"] == "Hello yourself."
    assert events[3]["usage"]["total_tokens"] == 135

    for again, options in enumerate(({"last": True}, {"resume": events[0]["thread_id"]}), start=1):
        up.queue.append(text_turn(f"r{again + 1}", "Yes?"))
        _, resumed, _ = await run(home, "Again", **options)
        assert resumed[0] == events[0]
        assert users_words(up.posts()[again]) == ["Hello", *["Again"] * again]


async def test_an_ephemeral_thread_leaves_nothing_to_go_on_with(home: Home, up: ScriptedUpstream) -> None:
    up.queue.append(text_turn("r1", "Hello."))
    assert (await run(home, ephemeral=True))[0] == 0
    status, events, _ = await run(home, last=True)
    assert (status, events) == (
        1,
        [
            {
                "type": "error",
                "message": "There is no thread to go on with yet; leave out --last.",
                "will_retry": False,
            }
        ],
    )


async def test_a_hosted_picture_is_printed_by_its_path(home: Home, up: ScriptedUpstream) -> None:
    up.queue.append(sse("r1", image_call("ig_1", png(), "a fox")))
    status, events, _ = await run(home, "Draw a fox")
    (item,) = (event["item"] for event in events if event["type"] == "item.completed")
    assert (status, item["type"], item["status"], "result" in item) == (0, "image_generation", "completed", False)
    assert Path(item["saved_path"]).read_bytes() == png()


async def test_a_picture_that_failed_ends_with_status_3(home: Home, up: ScriptedUpstream) -> None:
    up.queue += [sse("r1", image_call("ig_1", b"no picture")), text_turn("r2", "Sorry.")]
    status, events, _ = await run(home, "Draw a fox")
    (item,) = (
        event["item"]
        for event in events
        if event.get("item", {}).get("type") == "image_generation" and event["type"] == "item.completed"
    )
    assert (status, item["status"], item["error"]["type"]) == (3, "failed", "invalidResponse")
    assert events[-1]["type"] == "turn.completed"


async def test_the_standalone_tool_works_as_well(tmp_path: Path, up: ScriptedUpstream) -> None:
    home = picture_home(tmp_path, up)
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
    status, events, _ = await run(home, "Draw a fox")
    assert status == 0
    assert "item.started image_generation" in kinds(events)
    assert "item.completed image_generation" in kinds(events)


async def test_pictures_are_attached_in_their_order(home: Home, up: ScriptedUpstream, tmp_path: Path) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    first.write_bytes(png(8, 8))
    second.write_bytes(png(9, 9))
    up.queue.append(text_turn("r1", "Two."))
    await run(home, "What is this?", images=(first, second))
    content = up.posts()[0].body["input"][-1]["content"]
    urls = [part["image_url"] for part in content if part["type"] == "input_image"]
    assert (content[0]["text"], urls) == ("What is this?", [data_url(png(8, 8)), data_url(png(9, 9))])


async def test_the_model_can_be_chosen(home: Home, up: ScriptedUpstream) -> None:
    up.queue.append(text_turn("r1", "Hello."))
    await run(home, model="another-model")
    assert up.posts()[0].body["model"] == "another-model"


async def test_a_turn_that_fails_ends_with_status_1(home: Home, up: ScriptedUpstream) -> None:
    up.queue.append(Reply(events=[failed("r1", "invalid_prompt", "Not this.")]))
    status, events, _ = await run(home)
    assert (status, kinds(events)[-2:]) == (1, ["error", "turn.failed"])
    assert "Not this." in events[-1]["error"]["message"]


async def test_a_request_that_is_refused_ends_with_status_1_and_the_servers_words(home: Home) -> None:
    status, events, _ = await run(home, resume="nobody")
    assert (status, kinds(events)) == (1, ["error"])
    assert "nobody" in events[0]["message"]


async def test_warnings_of_the_config_reach_stderr(tmp_path: Path, up: ScriptedUpstream) -> None:
    home = make_home(tmp_path, up.base_url, features="kites = true")
    up.queue.append(text_turn("r1", "Hello."))
    assert "warning: Ignored features that do not exist: kites" in (await run(home))[2]


# arguments


def asked(*words: str, stdin: str = "") -> ExecRequest:
    return read_request(parse(["exec", *words]), io.StringIO(stdin))


def test_all_arguments_are_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    images = ["--image", str(tmp_path / "a.png"), "--image", str(tmp_path / "b.png")]
    assert asked("draw", *images, "-C", str(tmp_path), "-m", "m1", "--resume", "t1") == ExecRequest(
        prompt="draw",
        images=(tmp_path / "a.png", tmp_path / "b.png"),
        cwd=tmp_path.resolve(),
        model="m1",
        resume="t1",
    )
    assert asked("draw", "--last").last
    assert asked("draw", "--ephemeral").ephemeral


@pytest.mark.parametrize("words", [["-"], []])
def test_a_dash_or_nothing_stands_for_stdin(words: list[str]) -> None:
    assert asked(*words, stdin="a fox\n").prompt == "a fox\n"


class Terminal(io.StringIO):
    """A stdin at which a person sits."""

    def isatty(self) -> bool:
        return True


def test_nobody_is_left_waiting_at_a_terminal_for_a_prompt() -> None:
    with pytest.raises(ConfigurationError):
        read_request(parse(["exec"]), Terminal("never read"))


def test_options_of_the_server_may_stand_before_the_command() -> None:
    parsed = parse(["--enable", "imagegenext", "exec", "serve", "-c", "model=x"])
    assert (parsed.command, parsed.prompt, parsed.enable, parsed.overrides) == (
        "exec",
        "serve",
        ["imagegenext"],
        ["model=x"],
    )


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        ([" "], "", "The prompt is empty; give it as an argument, or on stdin."),
        (["-"], "\n", "The prompt is empty; give it as an argument, or on stdin."),
        (["a", "--image", "/nowhere/a.png"], "", "--image: there is no file /nowhere/a.png; check the path."),
        (["a", "-C", "/nowhere"], "", "-C: /nowhere is no folder; give the folder to work in."),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(words: list[str], stdin: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        asked(*words, stdin=stdin)
    assert error.value.message == message


@pytest.mark.parametrize("words", [["a", "--bogus"], ["a", "--last", "--resume", "x"], ["a", "--last", "--ephemeral"]])
def test_a_wrong_command_line_ends_with_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["exec", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err
