"""Changing the user's settings over the wire: comments survive, conflicts and faults are told, the server follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import Client, run_turn, start_thread
from tests.support.client import RpcFailure
from tests.support.server import make_home, serving
from tests.support.upstream import ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"


def edit(key: str, value: Any, strategy: str = "replace", **more: Any) -> dict[str, Any]:
    return {"keyPath": key, "value": value, "mergeStrategy": strategy, **more}


async def refused_write(client: Client, params: dict[str, Any]) -> tuple[int, str, str]:
    """Code, the reference's word for it, and the message."""
    with pytest.raises(RpcFailure) as raised:
        await client.request("config/value/write", params)
    return raised.value.code, raised.value.data["config_write_error_code"], raised.value.message


async def version_of(client: Client) -> str:
    reply = await client.request("config/read", {})
    return str(reply["origins"]["model"]["version"])


async def test_a_value_is_written_and_comments_stay(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM, top="# mine\n")
    path = home.home / "config.toml"
    async with serving(home) as (_, client):
        reply = await client.request("config/value/write", edit("model", "gpt-6-sol"))
        config = (await client.request("config/read", {}))["config"]
        version = await version_of(client)

    assert reply == {"status": "ok", "version": version, "filePath": str(path), "overriddenMetadata": None}
    assert config["model"] == "gpt-6-sol"
    assert "# mine" in path.read_text(encoding="utf-8")


async def test_new_threads_run_with_what_was_written(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, "http://127.0.0.1:1/v1")) as (_, client):
        up.queue.append(text_turn("r1", "Hello."))
        batch = [
            edit("model", "gpt-6-sol"),
            edit("model_providers.second", {"base_url": up.base_url, "env_key": "FAKE_KEY"}, "upsert"),
            edit("model_provider", "second"),
        ]
        await client.request("config/batchWrite", {"edits": batch, "reloadUserConfig": True})
        turn = await run_turn(client, await start_thread(client))

    assert turn["status"] == "completed"
    assert up.posts()[0].body["model"] == "gpt-6-sol"


async def test_a_feature_that_is_written_counts_at_once(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM, enable=())) as (_, client):
        await client.request("config/value/write", edit("features.imagegenext", True))
        rows = (await client.request("experimentalFeature/list", {}))["data"]

    assert [row["enabled"] for row in rows if row["name"] == "imagegenext"] == [True]


async def test_a_value_below_a_higher_layer_is_written_and_said_not_to_count(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM, enable=("imagegenext",))) as (_, client):
        reply = await client.request("config/value/write", edit("features.imagegenext", False))

    overridden = reply["overriddenMetadata"]
    assert reply["status"] == "okOverridden"
    assert overridden["overridingLayer"]["name"] == {"type": "sessionFlags"}
    assert overridden["effectiveValue"] is True
    assert overridden["message"] == "features.imagegenext was written, but -c says something else, which counts."


async def test_an_old_version_is_a_conflict_until_the_config_is_read_again(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    path = home.home / "config.toml"
    async with serving(home) as (_, client):
        old = await version_of(client)
        path.write_text(path.read_text(encoding="utf-8").replace("gpt-5.5", "gpt-6-luna"), encoding="utf-8")
        conflict = await refused_write(client, edit("model", "gpt-6-sol", expectedVersion=old))
        new = await version_of(client)
        reply = await client.request("config/value/write", edit("model", "gpt-6-sol", expectedVersion=new))

    assert conflict[:2] == (-32600, "configVersionConflict")
    assert "read the configuration again" in conflict[2]
    assert reply["status"] == "ok"


@pytest.mark.parametrize(
    ("params", "code", "fragment"),
    [
        (edit("sandbox_mode", "nonsense"), "configValidationError", 'sandbox_mode is "nonsense"'),
        (edit("", 1), "configValidationError", "the key is empty"),
        (edit("model_providers.fake.env_key", "[hidden]"), "configValidationError", "stands for a secret"),
        (edit("model", "x", filePath="/elsewhere/other.toml"), "configLayerReadonly", "leave filePath out"),
        (edit("model", "x", filePath="a\x00b"), "configLayerReadonly", "leave filePath out"),
    ],
)
async def test_what_cannot_be_written_is_refused_with_its_key(
    tmp_path: Path, params: dict[str, Any], code: str, fragment: str
) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    before = (home.home / "config.toml").read_bytes()
    async with serving(home) as (_, client):
        failure = await refused_write(client, params)

    assert failure[:2] == (-32600, code)
    assert fragment in failure[2]
    assert (home.home / "config.toml").read_bytes() == before


async def test_a_null_removes_a_key_and_an_unknown_key_is_written(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    async with serving(home) as (_, client):
        edits = [edit("model", None), edit("no_such_key", 1), edit("tools.web_search", False, "upsert")]
        await client.request("config/batchWrite", {"edits": edits, "filePath": str(home.home / "config.toml")})
        config = (await client.request("config/read", {}))["config"]

    assert (config["model"], config["no_such_key"], config["tools"]) == (None, 1, {"web_search": None})


async def test_of_a_batch_all_or_nothing_is_written(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    async with serving(home) as (_, client):
        with pytest.raises(RpcFailure, match="sandbox_mode"):
            await client.request("config/batchWrite", {"edits": [edit("model", "x"), edit("sandbox_mode", 1)]})
        config = (await client.request("config/read", {}))["config"]

    assert config["model"] == "gpt-5.5"
