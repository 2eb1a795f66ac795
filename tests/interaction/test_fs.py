"""Files of the server's machine as a client sees them, and what it is told while it watches."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from app_server.workspace.belongings import MAX_WATCHES
from tests.interaction.conversation import refused
from tests.support.server import connected, make_home, running, serving

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def touch(path: Path, at_s: int) -> None:
    path.write_text(str(at_s))
    os.utime(path, (at_s, at_s))


async def test_a_file_from_its_folder_to_its_end(tmp_path: Path) -> None:
    copied = str(tmp_path / "copied")
    folder, note = str(tmp_path / "d" / "e"), str(tmp_path / "d" / "e" / "note.txt")
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        replies = [
            await client.request("fs/createDirectory", {"path": folder, "recursive": None}),
            await client.request("fs/writeFile", {"path": note, "dataBase64": b64("hello")}),
            await client.request("fs/readFile", {"path": note}),
            await client.request("fs/copy", {"sourcePath": note, "destinationPath": folder + "/copy"}),
            await client.request("fs/remove", {"path": note}),
            await client.request("fs/remove", {"path": note}),
            await client.request("fs/readDirectory", {"path": folder}),
            await client.request("fs/copy", {"sourcePath": folder, "destinationPath": copied, "recursive": True}),
        ]
        metadata = await client.request("fs/getMetadata", {"path": copied})

    assert replies == [
        {},
        {},
        {"dataBase64": b64("hello")},
        {},
        {},
        {},
        {"entries": [{"fileName": "copy", "isDirectory": False, "isFile": True}]},
        {},
    ]
    assert {name: metadata[name] for name in ("isDirectory", "isFile", "isSymlink")} == {
        "isDirectory": True,
        "isFile": False,
        "isSymlink": False,
    }


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("fs/readFile", {"path": "relative.txt"}, -32600),
        ("fs/readFile", {"path": "{at}"}, -32600),
        ("fs/readFile", {"path": "{at}/missing"}, -32603),
        ("fs/writeFile", {"path": "{at}/f", "dataBase64": "***"}, -32600),
        ("fs/getMetadata", {"path": "{at}/missing"}, -32603),
        ("fs/readDirectory", {"path": "{at}/missing"}, -32603),
        ("fs/createDirectory", {"path": "{at}", "recursive": False}, -32603),
        ("fs/remove", {"path": "{at}/missing", "force": False}, -32603),
        ("fs/remove", {"path": "{at}", "recursive": False}, -32603),
        ("fs/copy", {"sourcePath": "{at}", "destinationPath": "{at}-copy"}, -32600),
        ("fs/watch", {"path": "relative.txt", "watchId": "w"}, -32600),
    ],
)
async def test_a_fault_has_the_code_of_the_reference(
    tmp_path: Path, method: str, params: dict[str, Any], code: int
) -> None:
    filled = {name: value.format(at=tmp_path) if isinstance(value, str) else value for name, value in params.items()}
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        assert (await refused(client, method, filled))[0] == code


async def test_a_watch_tells_its_client_alone_until_it_is_taken_back(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app, connected(app) as client, connected(app) as other:
        assert await client.request("fs/watch", {"watchId": "w", "path": str(note)}) == {"path": str(note)}
        code, message = await refused(client, "fs/watch", {"watchId": "w", "path": str(note)})
        touch(note, 1)
        changed = await client.wait_for("fs/changed")
        assert await client.request("fs/unwatch", {"watchId": "w"}) == {}
        assert await client.request("fs/unwatch", {"watchId": "w"}) == {}
        # the same id again, on either connection: what comes now is of these
        await client.request("fs/watch", {"watchId": "w", "path": str(tmp_path / "second")})
        await other.request("fs/watch", {"watchId": "w", "path": str(tmp_path)})
        touch(tmp_path / "second", 2)
        second, folder = await client.wait_for("fs/changed"), await other.wait_for("fs/changed")

    assert (code, message) == (-32600, "watchId already exists: w; choose another one, or fs/unwatch it first.")
    assert changed == {"watchId": "w", "changedPaths": [str(note)]}
    assert second == {"watchId": "w", "changedPaths": [str(tmp_path / "second")]}
    assert folder == {"watchId": "w", "changedPaths": [str(tmp_path / "second")]}
    assert len(client.notifications("fs/changed")) == 2


async def test_the_watches_of_a_connection_are_bounded_and_end_with_it(tmp_path: Path) -> None:
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app:
        async with connected(app) as client:
            for number in range(MAX_WATCHES):
                await client.request("fs/watch", {"watchId": str(number), "path": str(tmp_path)})
            code, message = await refused(client, "fs/watch", {"watchId": "more", "path": str(tmp_path)})
        workspace = (await app.wiring()).workspace
        assert (code, message) == (-32600, "64 paths are watched; fs/unwatch one first.")
        assert workspace.watcher.count == 0
        async with connected(app) as client:
            await client.request("fs/watch", {"watchId": "0", "path": str(tmp_path)})
            assert workspace.watcher.count == 1
