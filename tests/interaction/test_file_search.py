"""Finding files by letters of their path, once and as a person types."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_server.workspace.belongings import MAX_SEARCHES
from tests.interaction.conversation import refused
from tests.support.server import connected, make_home, running, serving

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"
SEARCH = "fuzzyFileSearch"


def tree(folder: Path) -> str:
    for path in ("src/main.py", "src/store.py", "docs/index.md"):
        (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / path).write_text("")
    return str(folder / "tree")


async def test_a_search_answers_with_the_best_fits(tmp_path: Path) -> None:
    root = tree(tmp_path)
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        reply = await client.request(SEARCH, {"query": "store", "roots": [root], "cancellationToken": "t"})
        nothing = await client.request(SEARCH, {"query": "", "roots": [root]})
        nowhere = await client.request(SEARCH, {"query": "a", "roots": [root + "/none"]})

    (row,) = reply["files"]
    assert row.pop("score") > 0
    assert row == {
        "root": root,
        "path": "src/store.py",
        "match_type": "file",
        "file_name": "store.py",
        "indices": [4, 5, 6, 7, 8],
    }
    assert (nothing, nowhere) == ({"files": []}, {"files": []})


async def test_a_session_tells_what_each_query_found_and_then_that_it_is_complete(tmp_path: Path) -> None:
    root = tree(tmp_path)
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        assert await client.request(f"{SEARCH}/sessionStart", {"sessionId": "s", "roots": [root]}) == {}
        listed = await client.wait_for(f"{SEARCH}/sessionUpdated")
        assert await client.request(f"{SEARCH}/sessionUpdate", {"sessionId": "s", "query": "main"}) == {}
        updated = await client.wait_for(f"{SEARCH}/sessionUpdated")
        await client.wait_for(f"{SEARCH}/sessionCompleted")
        completed = await client.wait_for(f"{SEARCH}/sessionCompleted")
        assert await client.request(f"{SEARCH}/sessionStop", {"sessionId": "s"}) == {}
        assert await client.request(f"{SEARCH}/sessionStop", {"sessionId": "s"}) == {}
        gone = await refused(client, f"{SEARCH}/sessionUpdate", {"sessionId": "s", "query": "x"})

    assert listed == {"sessionId": "s", "query": "", "files": []}
    assert (updated["query"], [each["path"] for each in updated["files"]]) == ("main", ["src/main.py"])
    assert completed == {"sessionId": "s"}
    assert client.order() == [f"{SEARCH}/sessionUpdated", f"{SEARCH}/sessionCompleted"] * 2
    assert gone == (-32600, "fuzzy file search session not found: s; open it with fuzzyFileSearch/sessionStart.")


async def test_sessions_are_bounded_named_and_for_clients_with_the_capability(tmp_path: Path) -> None:
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app:
        async with connected(app) as client:
            empty = await refused(client, f"{SEARCH}/sessionStart", {"sessionId": "", "roots": []})
            for number in range(MAX_SEARCHES):
                await client.request(f"{SEARCH}/sessionStart", {"sessionId": str(number), "roots": []})
            await client.request(f"{SEARCH}/sessionStart", {"sessionId": "0", "roots": []})
            more = await refused(client, f"{SEARCH}/sessionStart", {"sessionId": "more", "roots": []})
        async with connected(app, experimental=False) as client:
            closed = await refused(client, f"{SEARCH}/sessionStart", {"sessionId": "s", "roots": []})

    assert empty == (-32600, "sessionId must not be empty: choose one.")
    assert more == (-32600, "8 search sessions are open; fuzzyFileSearch/sessionStop one first.")
    assert closed == (-32600, "fuzzyFileSearch/sessionStart requires experimentalApi capability")
