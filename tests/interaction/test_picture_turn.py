"""A turn with a picture, seen from a client: the whole way, hosted and standalone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.accounts import write_chatgpt_auth
from tests.support.server import make_home, serving
from tests.support.upstream import ScriptedUpstream, function_call, sse, text_turn

pytestmark = pytest.mark.anyio


async def test_a_standalone_picture_is_saved_shown_and_returned_to_the_model(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url, login="requires_openai_auth = true")
        write_chatgpt_auth(home.home)
        up.queue.append(
            sse("r1", function_call("call_1", "imagegen", {"prompt": "a blue whale"}, namespace="image_gen"))
        )
        up.queue.append(text_turn("r2", "Done."))
        async with serving(home) as (_, client):
            thread = (await client.request("thread/start", {"cwd": str(home.cwd)}))["thread"]
            await client.request(
                "turn/start", {"threadId": thread["id"], "input": [{"type": "text", "text": "Draw a whale"}]}
            )
            done = await client.wait_for("item/completed", item__type="imageGeneration")
            turn = (await client.wait_for("turn/completed"))["turn"]
        item = done["item"]
        saved = Path(item["savedPath"])
        assert turn["status"] == "completed"
        assert saved == home.home / "generated_images" / thread["id"] / "call_1.png"
        assert saved.read_bytes().startswith(b"\x89PNG")
        assert (item["status"], item["prompt"], item["mimeType"]) == ("completed", "a blue whale", "image/png")
        output = next(i for i in up.posts()[1].body["input"] if i["type"] == "function_call_output")["output"]
        assert [part["type"] for part in output] == ["input_image", "input_text"]
        assert output[0]["detail"] == "high"
        assert str(saved) in output[1]["text"]
