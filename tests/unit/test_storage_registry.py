"""Which storage a URL opens, and what is said of a URL that opens none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app_server.errors import ConfigurationError
from app_server.storage.local.log import SqliteThreadLog
from app_server.storage.memory import MemoryThreadLog
from app_server.storage.registry import open_storage

pytestmark = pytest.mark.anyio


def databases_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*.sqlite")]


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:", "home"),
        ("FILE:", "home"),
        ("file:data", "home/data"),
        ("file:{tmp}/else where", "else where"),
        ("file://{tmp}/else%20where", "else where"),
        ("file://localhost{tmp}/there", "there"),
    ],
)
async def test_a_file_url_opens_the_local_storage_of_a_folder(tmp_path: Path, url: str, folder: str) -> None:
    storage = open_storage(url.format(tmp=tmp_path.as_posix()), tmp_path / "home")
    assert isinstance(storage.log, SqliteThreadLog)
    await storage.log.open()
    await storage.aclose()
    assert databases_below(tmp_path) == [f"{folder}/state.sqlite"]


async def test_the_memory_url_opens_a_storage_that_has_no_database(tmp_path: Path) -> None:
    storage = open_storage("memory:", tmp_path / "home")
    assert isinstance(storage.log, MemoryThreadLog)
    await storage.leases.acquire("t")
    await storage.aclose()
    assert databases_below(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "mysql://user:secret@host/db",
            "The storage URL has the scheme mysql:, which is not known; "
            "use one of file:, memory:, postgres:, postgresql:.",
        ),
        ("somewhere", "The storage URL has no scheme; use one of file:, memory:, postgres:, postgresql:."),
        ("memory:x", "The storage URL memory: takes nothing after the colon; write memory: alone."),
        (
            "file://host/x",
            "The storage URL names the host host, and a folder of this machine is needed; write file:///<folder>.",
        ),
    ],
)
def test_a_url_that_opens_nothing_says_what_to_write(tmp_path: Path, url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_storage(url, tmp_path)
    assert refusal.value.message == sentence


def test_the_registry_and_the_memory_storage_do_not_load_sqlite() -> None:
    program = (
        "import sys; import app_server.storage.registry, app_server.storage.memory; sys.exit('sqlite3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
