"""`app-server doctor` on a storage that replicas share: a real PostgreSQL, whole, old, newer and gone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app_server.commands.doctor_checks import State
from app_server.commands.doctor_shared import judge_shared
from app_server.storage.inspection import SharedFacts
from tests.e2e.test_exec import ROOT, TIMEOUT_S, environment
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio
WHOLE = SharedFacts(place="db/x", server="15.5", hint_s=0.001, version=2, newest=2, store="The folder /blobs")


def doctor(folder: Path, url: str, *words: str) -> tuple[int, dict[str, str], str]:
    """Exit status, the state of each check, and all that was printed."""
    home = folder / "home"
    home.mkdir()
    options = ["-c", "model_provider=offline", "-c", f'storage.url="{url}"', *words]
    ended = subprocess.run(
        [sys.executable, "-m", "app_server", "doctor", "--home", str(home), "--json", *options],
        cwd=folder,
        env=environment(folder / "elsewhere") | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    told = json.loads(ended.stdout)
    states = {check["name"]: check["state"] for check in told["checks"]}
    return ended.returncode, states, ended.stdout + ended.stderr


SHARED = ("database", "schema", "clock", "hints", "leases", "letters", "pictures")


async def test_a_healthy_shared_storage_has_no_problems_and_no_secret_is_told(tmp_path: Path) -> None:
    url = await cluster().new_database()
    await ask(url, "INSERT INTO leases VALUES ('t', 'x', 'replica', 1, clock_timestamp() + interval '1 hour', 3)")
    code, states, said = doctor(tmp_path, url)
    assert (code, {name: states[name] for name in SHARED}) == (0, dict.fromkeys(SHARED, "ok")), said
    assert "1 replicas write 1 threads; none was left behind" in said
    assert "sesame" not in said
    assert not any((tmp_path / "home" / "blobs-shared").rglob("[!p]*/*"))  # the probe's object is gone


async def test_a_thread_of_a_dead_replica_and_an_old_letter_are_warned_of(tmp_path: Path) -> None:
    url = await cluster().new_database()
    await ask(url, "INSERT INTO leases VALUES ('t', 'x', 'replica', 1, clock_timestamp() - interval '1 hour', 3)")
    await ask(
        url,
        "INSERT INTO letters (tenant, letter_id, kind, thread_id, body, touched_at) "
        "VALUES ('t', 'l', 'command', 'x', '{}', clock_timestamp() - interval '1 hour')",
    )
    code, states, _ = doctor(tmp_path, url)
    assert (code, states["leases"], states["letters"]) == (0, "warning", "warning")


async def test_an_empty_database_is_looked_at_and_not_migrated(tmp_path: Path) -> None:
    url = await cluster().empty_database()
    code, states, said = doctor(tmp_path, url)
    assert (code, states["schema"], "leases" in states) == (0, "warning", False), said
    assert await ask(url, "SELECT to_regclass('threads') IS NULL") == [(True,)]


async def test_a_newer_schema_is_a_problem(tmp_path: Path) -> None:
    url = await cluster().new_database()
    await ask(url, "INSERT INTO schema_versions (version) VALUES (99)")
    code, states, said = doctor(tmp_path, url)
    assert (code, states["database"], "schema version 99" in said) == (1, "problem", True)


async def test_a_database_that_is_gone_is_a_problem_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    url = cluster().url("no_such_database")
    code, states, said = doctor(tmp_path, url)
    assert (code, states["database"], states["pictures"]) == (1, "problem", "ok")
    assert ("no such database" in said, "sesame" in said) == (True, False)


async def test_a_store_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    url = await cluster().new_database()
    code, states, _ = doctor(tmp_path, url, "-c", f'storage.blobs="file://{tmp_path}/file"')
    assert (code, states["pictures"], states["schema"]) == (1, "problem", "ok")


@pytest.mark.parametrize(
    ("facts", "name", "state"),
    [
        (WHOLE, "hints", State.OK),
        (replace(WHOLE, hint_s=None), "hints", State.PROBLEM),
        (replace(WHOLE, clock_ahead_s=-5.0), "clock", State.WARNING),
        (replace(WHOLE, clock_ahead_s=1.0), "clock", State.OK),
        (replace(WHOLE, round_trip_s=0.2), "database", State.WARNING),
        (replace(WHOLE, version=1), "schema", State.WARNING),
    ],
)
def test_what_is_said_of_given_facts(facts: SharedFacts, name: str, state: State) -> None:
    assert {check.name: check.state for check in judge_shared(facts)}[name] == state
