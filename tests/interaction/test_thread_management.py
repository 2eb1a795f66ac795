"""Threads as a client keeps them: named, listed, paged through, archived, deleted, or never stored at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import (
    UNKNOWN_THREAD,
    Client,
    imagegen,
    kinds,
    picture_home,
    refused,
    run_turn,
    start_thread,
)
from tests.support.server import connected, make_home, running, serving
from tests.support.upstream import ScriptedUpstream, sse, text_turn

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        yield up, client


async def used_thread(talk: Talk, *words: str, **params: Any) -> str:
    """A thread with one turn for each of these words."""
    up, client = talk
    thread_id = await start_thread(client, **params)
    for each in words or ("Hello",):
        up.queue.append(text_turn(f"r{len(up.requests)}", f"About {each}."))
        await run_turn(client, thread_id, each)
    return thread_id


async def listed(client: Client, **params: Any) -> list[str]:
    return [thread["id"] for thread in (await client.request("thread/list", params))["data"]]


async def test_a_thread_is_listed_from_its_first_turn_on(talk: Talk) -> None:
    _, client = talk
    await start_thread(client)
    used = await used_thread(talk)

    assert await listed(client) == [used]


async def test_the_list_shows_the_first_words_and_the_newest_first(talk: Talk) -> None:
    _, client = talk
    old, new = await used_thread(talk, "first words", "later words"), await used_thread(talk, "others")

    page = await client.request("thread/list", {})

    assert [(thread["id"], thread["preview"]) for thread in page["data"]] == [(new, "others"), (old, "first words")]
    assert {*page["readStates"]} == {old, new}


async def test_the_list_is_paged_forwards_and_back(talk: Talk) -> None:
    _, client = talk
    ids = [await used_thread(talk) for _ in range(3)]

    first = await client.request("thread/list", {"limit": 2})
    second = await client.request("thread/list", {"limit": 2, "cursor": first["nextCursor"]})
    back = await client.request(
        "thread/list", {"limit": 2, "cursor": second["backwardsCursor"], "sortDirection": "asc"}
    )

    pages = [[thread["id"] for thread in page["data"]] for page in (first, second, back)]
    assert pages == [[ids[2], ids[1]], [ids[0]], [ids[1], ids[2]]]
    assert second["nextCursor"] is None


async def test_the_list_is_searched_and_filtered(talk: Talk, tmp_path: Path) -> None:
    _, client = talk
    fox, whale = await used_thread(talk, "a Fox"), await used_thread(talk, "a whale", cwd=str(tmp_path))

    assert await listed(client, searchTerm="fOx") == [fox]
    assert await listed(client, cwd=str(tmp_path)) == [whale]
    assert await listed(client, modelProviders=["openai"]) == []
    assert await listed(client, excludedThreadIds=[fox]) == [whale]
    assert await listed(client, sourceKinds=["vscode"], originators=["tests"]) == [whale, fox]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("thread/list", {"cursor": "yesterday"}),
        ("thread/list", {"cursor": "2026-01-01T00:00:00|x"}),
        ("thread/turns/list", {"cursor": "{}"}),
        ("thread/items/list", {"cursor": "["}),
        ("thread/loaded/list", {"cursor": "nothing"}),
        ("model/list", {"cursor": "-1"}),
        ("experimentalFeature/list", {"cursor": "x"}),
    ],
)
async def test_a_cursor_that_nobody_gave_is_refused(talk: Talk, method: str, params: Any) -> None:
    thread_id = await used_thread(talk)

    code, message = await refused(talk[1], method, {"threadId": thread_id, **params})

    assert (code, message.partition(":")[0]) == (-32600, "invalid cursor")


async def test_a_name_is_told_to_everybody_and_found(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        connected(app) as client,
        connected(app) as other,
    ):
        thread_id = await used_thread((up, client))

        assert await client.request("thread/name/set", {"threadId": thread_id, "name": "  My fox "}) == {}

        told = await other.wait_for("thread/name/updated")
        assert told == {"threadId": thread_id, "threadName": "My fox", "seq": told["seq"]}
        assert await listed(client, searchTerm="my FOX") == [thread_id]
        assert (await client.request("thread/read", {"threadId": thread_id}))["thread"]["name"] == "My fox"


async def test_an_empty_name_is_refused(talk: Talk) -> None:
    thread_id = await used_thread(talk)

    answer = await refused(talk[1], "thread/name/set", {"threadId": thread_id, "name": "  "})

    assert answer == (-32600, "thread name must not be empty")


async def test_a_stored_thread_is_named_without_loading_it(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        async with serving(home) as (_, client):
            thread_id = await used_thread((up, client))
        async with serving(home) as (_, client):
            await client.request("thread/name/set", {"threadId": thread_id, "name": "Stored"})
            read = (await client.request("thread/read", {"threadId": thread_id}))["thread"]

    assert (read["name"], read["status"]) == ("Stored", {"type": "notLoaded"})


async def test_an_archived_thread_leaves_the_list_and_comes_back(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk)

    await client.request("thread/archive", {"threadId": thread_id})
    away, archived = await listed(client), await listed(client, archived=True)
    status = (await client.wait_for("thread/status/changed", status__type="notLoaded"))["threadId"]
    back = await client.request("thread/unarchive", {"threadId": thread_id})

    assert (away, archived, status) == ([], [thread_id], thread_id)
    assert back["thread"]["status"] == {"type": "notLoaded"}
    assert (await client.wait_for("thread/archived")) == {"threadId": thread_id}
    assert (await client.wait_for("thread/unarchived")) == {"threadId": thread_id}
    assert await listed(client) == [thread_id]


async def test_an_archived_thread_has_to_be_unarchived_before_it_is_resumed(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk)
    await client.request("thread/archive", {"threadId": thread_id})

    code, message = await refused(client, "thread/resume", {"threadId": thread_id})

    assert (code, message) == (-32600, f"thread {thread_id} is archived; call thread/unarchive before you resume it")


async def test_an_archived_thread_is_not_archived_again(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk)
    await client.request("thread/archive", {"threadId": thread_id})

    code, message = await refused(client, "thread/archive", {"threadId": thread_id})

    assert (code, message) == (
        -32600,
        f"thread {thread_id} is archived already; call thread/unarchive to take it back into the list",
    )
    assert client.order().count("thread/archived") == 1


async def test_a_deleted_thread_is_gone_with_its_picture(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
            saved = (await client.wait_for("item/completed", item__id="call_1"))["item"]["savedPath"]
            assert Path(saved).is_file()

            assert await client.request("thread/delete", {"threadId": thread_id}) == {}

            assert await client.wait_for("thread/deleted") == {"threadId": thread_id}
            assert (await listed(client), await listed(client, archived=True)) == ([], [])
            assert (await refused(client, "thread/read", {"threadId": thread_id}))[0] == -32600
            assert not Path(saved).exists()


async def test_turns_are_paged_newest_first_and_back(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk, "one", "two", "three")

    async def page(**params: Any) -> Any:
        return await client.request("thread/turns/list", {"threadId": thread_id, "limit": 2, **params})

    first = await page()
    second = await page(cursor=first["nextCursor"])
    back = await page(cursor=second["backwardsCursor"], sortDirection="asc")

    words = [[turn["items"][0]["content"][0]["text"] for turn in each["data"]] for each in (first, second, back)]
    assert words == [["three", "two"], ["one"], ["one", "two"]]
    assert second["nextCursor"] is None
    assert kinds(first["data"][0]["items"]) == ["userMessage", "agentMessage"]
    assert first["data"][0]["itemsView"] == "summary"


@pytest.mark.parametrize(("view", "count"), [("notLoaded", 0), ("summary", 2), ("full", 3)])
async def test_turns_show_as_many_items_as_asked(tmp_path: Path, view: str, count: int) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
        thread_id = await start_thread(client)
        await run_turn(client, thread_id)

        page = await client.request("thread/turns/list", {"threadId": thread_id, "itemsView": view})

        assert (page["data"][0]["itemsView"], len(page["data"][0]["items"])) == (view, count)


async def test_items_are_paged_oldest_first_and_back(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk, "one", "two")

    async def page(**params: Any) -> Any:
        return await client.request("thread/items/list", {"threadId": thread_id, "limit": 3, **params})

    first = await page()
    second = await page(cursor=first["nextCursor"])
    back = await page(cursor=second["backwardsCursor"], sortDirection="desc")

    types = [kinds([entry["item"] for entry in each["data"]]) for each in (first, second, back)]
    assert types == [
        ["userMessage", "agentMessage", "userMessage"],
        ["agentMessage"],
        ["agentMessage", "userMessage", "agentMessage"],
    ]
    assert second["nextCursor"] is None


async def test_items_of_one_turn_are_listed_alone(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk, "one", "two")
    turns = await client.request("thread/turns/list", {"threadId": thread_id})
    wanted = turns["data"][1]["id"]

    page = await client.request("thread/items/list", {"threadId": thread_id, "turnId": wanted})

    assert [entry["turnId"] for entry in page["data"]] == [wanted, wanted]


async def test_items_are_listed_from_behind_one_item(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk, "one")
    items = (await client.request("thread/items/list", {"threadId": thread_id}))["data"]
    cursor = {"type": "item", "itemId": items[0]["item"]["id"]}

    page = await client.request("thread/items/list", {"threadId": thread_id, "cursor": cursor})

    assert page["data"] == items[1:]


async def test_a_read_shows_turns_only_when_asked(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk)

    plain = await client.request("thread/read", {"threadId": thread_id})
    whole = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})

    assert (plain["thread"]["turns"], len(whole["thread"]["turns"])) == ([], 1)
    assert plain["readState"]["firstUnread"]["turnId"] == whole["thread"]["turns"][0]["id"]
    assert client.order().count("deprecationNotice") == 1


async def test_a_new_thread_has_the_defaults_of_the_protocol(talk: Talk) -> None:
    _, client = talk

    thread = (await client.request("thread/start", {}))["thread"]

    wanted = (
        "historyMode",
        "source",
        "status",
        "path",
        "name",
        "turns",
        "preview",
        "ephemeral",
        "canAcceptDirectInput",
    )
    assert {key: thread[key] for key in wanted} == {
        "historyMode": "paginated",
        "source": "vscode",
        "status": {"type": "idle"},
        "path": None,
        "name": None,
        "turns": [],
        "preview": "",
        "ephemeral": False,
        "canAcceptDirectInput": True,
    }
    assert thread["sessionId"] == thread["id"]
    assert (await client.wait_for("thread/started"))["thread"] == thread


async def test_loaded_threads_are_listed_oldest_first_in_pages(talk: Talk) -> None:
    _, client = talk
    ids = [await start_thread(client) for _ in range(3)]

    first = await client.request("thread/loaded/list", {"limit": 2})
    second = await client.request("thread/loaded/list", {"limit": 2, "cursor": first["nextCursor"]})

    assert (first["data"], second["data"], second["nextCursor"]) == (ids[:2], ids[2:], None)


async def test_an_ephemeral_thread_talks_but_is_not_stored(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        async with serving(home) as (_, client):
            thread_id = await used_thread((up, client), "one", "two", ephemeral=True)
            read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
            here = await listed(client)
        async with serving(home) as (_, client):
            gone = await refused(client, "thread/resume", {"threadId": thread_id})

    assert (read["thread"]["ephemeral"], len(read["thread"]["turns"]), here) == (True, 2, [])
    assert gone[1].startswith(f"thread not found: {thread_id}")


async def test_an_ephemeral_thread_cannot_be_archived_and_lives_on(talk: Talk) -> None:
    up, client = talk
    thread_id = await used_thread(talk, ephemeral=True)

    code, message = await refused(client, "thread/archive", {"threadId": thread_id})
    up.queue.append(text_turn("r9", "Still here."))

    assert (code, message.partition(";")[0]) == (-32600, f"thread {thread_id} is ephemeral and is not stored")
    assert (await run_turn(client, thread_id))["status"] == "completed"


async def test_an_ephemeral_thread_can_be_deleted(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk, ephemeral=True)

    assert await client.request("thread/delete", {"threadId": thread_id}) == {}

    assert (await client.request("thread/loaded/list", {}))["data"] == []


async def test_a_thread_of_an_unknown_provider_is_refused_with_the_known_ones(talk: Talk) -> None:
    code, message = await refused(talk[1], "thread/start", {"modelProvider": "nobody"})

    assert code == -32600
    assert message.startswith('There is no model provider "nobody" (known are "fake", "offline", "openai")')


async def test_an_upper_case_id_names_the_same_thread(talk: Talk) -> None:
    _, client = talk
    thread_id = await used_thread(talk)

    read = await client.request("thread/read", {"threadId": thread_id.upper()})

    assert read["thread"]["id"] == thread_id


async def test_an_archive_of_an_unknown_thread_is_refused(talk: Talk) -> None:
    code, message = await refused(talk[1], "thread/archive", {"threadId": UNKNOWN_THREAD})

    assert (code, message.partition(";")[0]) == (-32600, f"thread not loaded: {UNKNOWN_THREAD}")
