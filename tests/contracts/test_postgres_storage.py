"""What is special to the storage in PostgreSQL: commits whose answer is lost, failing leases and hints, schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest

from app_server.cli import main
from app_server.errors import ConfigurationError
from app_server.ids import uuid7
from app_server.storage.base import LeaseHeld, LeaseLost, Record, StorageError, ThreadQuery
from app_server.storage.cluster import Hint
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.postgres import letters
from app_server.storage.postgres.address import read_address
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.source import PostgresSource
from app_server.storage.postgres.writer import PostgresWriter
from tests.contracts.test_cluster_contract import PATIENCE_S, TTL_S, Ear, cluster_of
from tests.contracts.test_storage_contract import a_row, drawn, facts, new_thread, removed
from tests.support.cutting_proxy import CuttingProxy, Loss, cutting_proxy
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio

LONG_TTL_S = 60.0


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await cluster().new_database()
    yield url
    await cluster().drop(url)


@pytest.fixture
async def proxy() -> AsyncIterator[CuttingProxy]:
    async with cutting_proxy(cluster().port) as proxy:
        yield proxy


@asynccontextmanager
async def replicas(url: str, *, ttl_s: float = LONG_TTL_S, count: int = 1) -> AsyncIterator[list[PostgresSource]]:
    """Sources of one database, none of which runs; their pictures are in memory."""
    pictures = MemoryStorageWorld().process().blobs
    async with AsyncExitStack() as ends:
        sources = [
            PostgresSource(PostgresDatabase(url), lambda tenant: pictures, lease_ttl_s=ttl_s) for _ in range(count)
        ]
        for source in sources:
            ends.push_async_callback(source.aclose)
        yield sources


def through(proxy: CuttingProxy, url: str) -> str:
    return url.replace(f":{cluster().port}/", f":{proxy.port}/") + "?sslmode=disable"


async def data_of(source: PostgresSource, thread_id: str) -> list[tuple[int, Any]]:
    return [(record.seq, record.data["n"]) for record in await source.log.read(thread_id)]


# --- commits whose answer is lost


@pytest.mark.parametrize("loss", ["request", "answer", "late"])
async def test_an_append_whose_connection_is_cut_is_there_once(url: str, proxy: CuttingProxy, loss: Loss) -> None:
    async with replicas(through(proxy, url)) as (source,):
        lease = await new_thread(source.storage("local"), facts(1))
        assert await source.log.append(lease, facts(2)) == 2
        proxy.lose(loss, b'{"n":3}')
        assert await source.log.append(lease, facts(3), row=a_row(lease.thread_id, name="three")) == 3
        assert proxy.losses == 1
        if loss == "late":
            await proxy.deliver()
        assert await source.log.append(lease, facts(4)) == 4
        assert await data_of(source, lease.thread_id) == [(1, 1), (2, 2), (3, 3), (4, 4)]
        assert await source.log.row(lease.thread_id) == a_row(lease.thread_id, name="three")


@pytest.mark.parametrize("loss", ["request", "answer"])
async def test_each_append_of_a_round_that_was_cut_learns_its_own_outcome(
    url: str, proxy: CuttingProxy, loss: Loss
) -> None:
    async with replicas(through(proxy, url)) as (source,):
        storage = source.storage("local")
        good, lost, unmade = await new_thread(storage), await new_thread(storage), await storage.leases.acquire(uuid7())
        await storage.leases.release(lost)
        assert await source.log.append(good, facts(0)) == 1
        outcomes: dict[int, Any] = {}

        async def append(number: int, lease: Any) -> None:
            try:
                outcomes[number] = await source.log.append(lease, facts(number))
            except StorageError as error:
                outcomes[number] = type(error)

        proxy.lose(loss, b'{"n":4}')
        async with anyio.create_task_group() as tasks:
            for number, lease in enumerate([good, lost, unmade, good], 1):
                tasks.start_soon(append, number, lease)
        assert outcomes == {1: 2, 2: LeaseLost, 3: StorageError, 4: 3}
        assert proxy.losses == 1
        assert await data_of(source, good.thread_id) == [(1, 0), (2, 1), (3, 4)]


@pytest.mark.parametrize("loss", ["request", "answer"])
async def test_a_thread_whose_commit_is_cut_is_made_once_and_its_lease_is_known(
    url: str, proxy: CuttingProxy, loss: Loss
) -> None:
    async with replicas(through(proxy, url)) as (source,):
        await new_thread(source.storage("local"))
        proxy.lose(loss, b"COMMIT")
        lease, last_seq = await source.log.create(a_row(uuid7()), facts(1, 2))
        assert (proxy.losses, last_seq, lease.epoch) == (1, 2, 1)
        assert await source.log.append(lease, facts(3)) == 3


@pytest.mark.parametrize("loss", ["request", "answer"])
async def test_a_letter_whose_taking_is_cut_is_ours_once(url: str, proxy: CuttingProxy, loss: Loss) -> None:
    async with replicas(through(proxy, url)) as (source,):
        taker = cluster_of(source)
        key = await taker.post("command", "t", {})
        proxy.lose(loss, b"COMMIT")
        assert (await taker.take(key), await taker.take(key)) == (True, False)
        assert proxy.losses == 1


async def test_an_append_of_which_nobody_can_tell_what_came_lets_the_thread_go(url: str, proxy: CuttingProxy) -> None:
    database = PostgresDatabase(through(proxy, url))
    async with replicas(through(proxy, url)) as (source,):
        source.log._writer = writer = PostgresWriter(  # a short patience
            database, source.replica, lease_ttl_s=LONG_TTL_S, reconnect_s=0, settle_s=0
        )
        lease = await new_thread(source.storage("local"))
        assert await source.log.append(lease, facts(1)) == 1
        proxy.refuses = True
        proxy.lose("late", b'{"n":2}')
        with pytest.raises(LeaseLost, match="is not known, since the connection to its storage was lost"):
            await source.log.append(lease, facts(2))
        proxy.refuses = False
        await writer.settled()
        await proxy.deliver()
        assert await data_of(source, lease.thread_id) == [(1, 1)]
        await writer.aclose()
    await database.aclose()


async def test_a_writer_whose_row_was_swept_away_begins_again(url: str) -> None:
    async with replicas(url) as (source,):
        lease = await new_thread(source.storage("local"))
        await ask(url, "DELETE FROM writers")
        assert await source.log.append(lease, facts(1)) == 1
        await ask(url, "DELETE FROM writers")
        assert (await source.log.create(a_row(uuid7()), facts(1)))[1] == 1


async def test_an_append_that_cannot_be_stored_fails_alone(url: str) -> None:
    async with replicas(url) as (source,):
        leases = [await new_thread(source.storage("local")) for _ in range(3)]
        outcomes: list[object] = []

        async def append(number: int) -> None:
            row = a_row(leases[number].thread_id, cwd="\ud800" if number == 1 else "/")
            try:
                outcomes.append((number, await source.log.append(leases[number], facts(number), row=row)))
            except StorageError as error:
                outcomes.append(error.message)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(append, number)
        assert sorted(map(str, outcomes)) == sorted(
            [
                "(0, 1)",
                "(2, 1)",
                f"PostgreSQL at 127.0.0.1:{url.partition('127.0.0.1:')[2]} cannot be given what was asked; "
                "leave out characters that no text has, such as half ones.",
            ]
        )


async def test_a_thread_that_cannot_be_made_leaves_nothing_and_the_next_one_is_made(url: str) -> None:
    async with replicas(url) as (source,):
        with pytest.raises(StorageError, match="leave out characters that no text has"):
            await source.log.create(a_row(uuid7(), cwd="\ud800"), facts(1))
        lease = await new_thread(source.storage("local"), facts(1))
        assert await ask(url, "SELECT thread_id FROM leases") == [(lease.thread_id,)]


async def test_pictures_that_come_and_go_in_one_round_are_indexed_in_order(url: str) -> None:
    async with replicas(url) as (source,):
        lease = await new_thread(source.storage("local"), [drawn("old", 1)])
        batches = [[drawn("a", 2)], [removed("a"), removed("old")], [drawn("b", 3), *facts(1)], [drawn("a", 4)]]
        async with anyio.create_task_group() as tasks:
            for batch in batches:
                tasks.start_soon(source.log.append, lease, batch)
        rows = await ask(url, "SELECT item_id, seq FROM pictures ORDER BY seq")
        assert rows == [("b", 5), ("a", 7)]


async def test_many_records_go_in_several_rounds_and_large_ones_are_read_back(url: str) -> None:
    async with replicas(url) as (source,):
        lease = await new_thread(source.storage("local"))
        text = "ä" * 4_000_000
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(source.log.append, lease, [Record(kind="history", data={"n": number, "text": text})])
        assert [(r.seq, r.data["n"], r.data["text"] == text) for r in await source.log.read(lease.thread_id)] == [
            (number + 1, number, True) for number in range(4)
        ]


# --- leases, hints, letters


async def test_a_lease_of_a_replica_that_runs_outlives_its_time(url: str) -> None:
    async with replicas(url, ttl_s=TTL_S, count=2) as (ours, theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        lease = await new_thread(ours.storage("local"))
        await ask(url, "SELECT pg_sleep($1)", TTL_S * 2.5)
        assert await cluster_of(theirs).owner(lease.thread_id) == ours.replica
        with pytest.raises(LeaseHeld):
            await theirs.storage("local").leases.acquire(lease.thread_id)
        tasks.cancel_scope.cancel()


async def test_a_renewal_does_not_wait_for_a_thread_that_is_being_written(url: str) -> None:
    async with replicas(url) as (source,):
        busy, idle = await new_thread(source.storage("local")), await new_thread(source.storage("local"))
        await ask(url, "UPDATE leases SET expires = '-infinity'")
        elsewhere = await asyncpg.connect(url)
        async with elsewhere.transaction():
            await elsewhere.execute("SELECT FROM leases WHERE thread_id = $1 FOR UPDATE", busy.thread_id)
            with anyio.fail_after(PATIENCE_S):
                assert await source.leases.renew() == []
        await elsewhere.close()
        assert await ask(url, "SELECT thread_id FROM leases WHERE expires > now()") == [(idle.thread_id,)]


async def test_who_lost_a_lease_hears_of_it(url: str) -> None:
    async with replicas(url, ttl_s=TTL_S, count=2) as (ours, theirs), anyio.create_task_group() as tasks:
        lost, kept = [await new_thread(ours.storage("guest")) for _ in range(2)]
        given = await new_thread(ours.storage("guest"))
        ear, other = Ear(ours, "guest"), Ear(ours)
        await ask(url, "UPDATE leases SET expires = '-infinity' WHERE thread_id = $1", lost.thread_id)
        await theirs.storage("guest").leases.acquire(lost.thread_id)
        await ours.storage("guest").leases.release(given)
        tasks.start_soon(ours.run)
        assert await ear.until("lost") == Hint(kind="lost", thread_id=lost.thread_id)
        assert [hint.thread_id for hint in (*ear.heard, *other.heard) if hint.kind == "lost"] == [lost.thread_id]
        assert await ours.log.append(kept, facts(1)) == 1
        tasks.cancel_scope.cancel()


async def test_a_listener_whose_connection_ends_is_told_to_look_again_and_hears_on(url: str) -> None:
    async with replicas(url, count=2) as (ours, theirs), anyio.create_task_group() as tasks:
        first = Ear(ours)
        tasks.start_soon(ours.run)
        await first.until("again")
        second = Ear(ours, "guest")
        await ask(
            url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% listener'"
        )
        await second.until("again")
        cluster_of(theirs, "guest").tell(Hint(kind="passing", key="x"))
        await second.until("passing", "x")
        tasks.cancel_scope.cancel()


async def test_a_writer_whose_connection_ends_goes_on(url: str) -> None:
    async with replicas(url) as (source,):
        lease = await new_thread(source.storage("local"))
        await ask(
            url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'app-server %'"
        )
        assert await source.log.append(lease, facts(1)) == 1
        assert await data_of(source, lease.thread_id) == [(1, 1)]


async def test_a_hint_that_is_too_large_is_left_out_and_the_others_are_heard(url: str) -> None:
    async with replicas(url, count=2) as (ours, theirs), anyio.create_task_group() as tasks:
        ear = Ear(theirs)
        tasks.start_soon(theirs.run)
        await ear.until("again")
        for key, size in (("fits", 6900), ("too large", 7001), ("end", 1)):
            cluster_of(ours).tell(Hint(kind="passing", key=key, data={"text": "x" * size}))
        await ear.until("passing", "end")
        assert [hint.key for hint in ear.heard if hint.kind == "passing"] == ["fits", "end"]
        tasks.cancel_scope.cancel()


async def test_letters_that_nobody_can_wait_for_are_swept_after_an_hour(url: str) -> None:
    async with replicas(url) as (source,):
        lease = await new_thread(source.storage("local"))
        post = cluster_of(source).post
        answered, forgotten = await post("question", lease.thread_id, {}), await post("command", lease.thread_id, {})
        waits = await post("question", lease.thread_id, {})
        gone, fresh = await post("question", "no thread", {}), await post("question", "no thread", {})
        await cluster_of(source).answer(answered, {})
        old = [answered, forgotten, waits, gone]
        await ask(url, "UPDATE letters SET touched_at = touched_at - interval '61 min' WHERE letter_id = ANY($1)", old)
        await letters.sweep(PostgresDatabase(url))
        assert await ask(url, "SELECT letter_id FROM letters ORDER BY number") == [(waits,), (fresh,)]


async def test_replicas_share_a_secret_for_each_name_and_tenant(url: str) -> None:
    async with replicas(url, count=2) as sources:
        found: list[bytes] = []
        for source in sources:
            for tenant, name in (("local", "links"), ("local", "other"), ("guest", "links")):
                secret = source.storage(tenant).shared_secret
                assert secret is not None
                found.append(await secret(name))
        assert found[:3] == found[3:]
        assert (len(set(found)), {len(one) for one in found}) == (3, {32})


async def test_a_source_that_closes_leaves_no_lease_and_no_row_of_its_own(url: str) -> None:
    async with replicas(url) as (source,):
        lease = await new_thread(source.storage("local"), facts(1))
        await source.aclose()
        await source.aclose()
        assert await ask(url, "SELECT owner, epoch, last_seq FROM leases") == [(None, lease.epoch, 1)]
        assert await ask(url, "SELECT * FROM writers") == []
        with pytest.raises(StorageError, match="The storage was closed"):
            await source.log.page(ThreadQuery())


# --- schemas and servers


async def test_replicas_that_start_together_on_an_empty_database_migrate_it_once() -> None:
    url = await cluster().empty_database()
    databases = [PostgresDatabase(url) for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for database in databases:
            tasks.start_soon(database.run, lambda connection: connection.fetchval("SELECT 1"))
    versions = [version for (version,) in await ask(url, "SELECT version FROM schema_versions ORDER BY version")]
    assert versions == list(range(1, (await databases[0].versions()).needed + 1))
    for database in databases:
        await database.aclose()
    await cluster().drop(url)


async def test_a_schema_of_a_newer_server_is_refused(url: str) -> None:
    await ask(url, "INSERT INTO schema_versions (version) VALUES (9999)")
    database = PostgresDatabase(url)
    with pytest.raises(
        StorageError, match=r"has schema version 9999 and this server knows \d+; install the newer server"
    ):
        await database.run(lambda connection: connection.fetchval("SELECT 1"))


async def test_a_database_that_cannot_hold_every_text_is_refused() -> None:
    url = await cluster().empty_database("ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StorageError, match="has the encoding LATIN1, which cannot hold every text; make one with"):
        await PostgresDatabase(url).upgrade()
    await cluster().drop(url)


@pytest.mark.parametrize(
    ("change", "sentence_part"),
    [
        (("127.0.0.1:{port}", "127.0.0.1:1"), "cannot be reached (connection refused); check that it runs"),
        (("/test_", "/no_"), "has no such database; create it"),
        (("tester:sesame@", "nobody:sesame@"), "refuses the login; check the user"),
        (("?", "?sslmode=sesame&"), "cannot be connected to with the options in storage.url"),
        (("?", "?target_session_attrs=standby&"), "is not the kind of server that target_session_attrs"),
    ],
    ids=["down", "no database", "no user", "no option", "no standby"],
)
async def test_a_server_that_cannot_be_used_is_named_without_the_password(
    url: str, change: tuple[str, str], sentence_part: str
) -> None:
    old, new = (text.format(port=cluster().port) for text in change)
    database = PostgresDatabase((url + "?").replace(old, new).removesuffix("?").removesuffix("&"))
    with pytest.raises(StorageError) as caught:
        await database.run(lambda connection: connection.fetchval("SELECT 1"))
    assert caught.value.message.startswith(f"PostgreSQL at {database.place} ")
    assert sentence_part in caught.value.message
    assert "sesame" not in caught.value.message + repr(database.address)


async def test_a_writer_that_cannot_connect_says_so_after_its_patience() -> None:
    database = PostgresDatabase("postgres://me:sesame@127.0.0.1:1/db")
    writer = PostgresWriter(database, "r", lease_ttl_s=1, reconnect_s=0)
    with pytest.raises(StorageError, match=r"^PostgreSQL at 127.0.0.1:1/db cannot be reached \(connection refused\); "):
        await writer.run(letters.remove("local", "x"))
    await writer.aclose()


@pytest.mark.parametrize(
    ("given", "pool_size", "place"),
    [
        ("postgres://me:sesame@db.internal:6432/app?pool_size=9&sslmode=require", 9, "db.internal:6432/app"),
        ("postgresql:///app?host=/run/postgresql", 4, "/run/postgresql/app"),
        ("postgresql://me:ses%2Fame@a:1,b:2/app", 4, "a:1,b:2/app"),
        ("postgres://localhost", 4, "localhost"),
    ],
)
async def test_an_address_shows_the_place_alone(given: str, pool_size: int, place: str) -> None:
    address = read_address(given)
    assert (address.pool_size, address.place) == (pool_size, place)
    assert "pool_size" not in address.dsn
    assert "ame" not in repr(address)


@pytest.mark.parametrize(
    "given", ["postgres:?x", "mysql://a", "postgres://a/b?pool_size=0", "postgres://a?pool_size=x"]
)
async def test_an_address_that_makes_no_sense_is_refused_without_being_shown(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_address(given)
    assert given not in caught.value.message


async def test_migrate_brings_a_schema_up_and_tells_before_whether_it_is_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await cluster().empty_database()
    arguments = ["migrate", "--home", str(tmp_path), "-c", f'storage.url="{url}"']
    statuses = [
        await anyio.to_thread.run_sync(main, [*arguments, *more]) for more in (["--check"], [], [], ["--check"])
    ]
    newest = (await PostgresDatabase(url).versions()).needed
    place = url.partition("@")[2]
    assert statuses == [1, 0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        f"{place}: schema 0, and this version needs {newest}; run `app-server migrate`.",
        f"{place}: schema 0 → {newest}.",
        f"{place}: schema {newest} is what this version needs.",
        f"{place}: schema {newest} is what this version needs.",
    ]
    await cluster().drop(url)


async def test_migrate_has_nothing_to_do_in_a_home_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await anyio.to_thread.run_sync(main, ["migrate", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        "The storage of this home has no schema to manage: a server brings it up when it opens it.\n"
    )
