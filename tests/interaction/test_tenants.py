"""Two tenants of one server try to get at each other, and at the host: nothing is listed, read, guessed or heard."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from websockets.exceptions import InvalidStatus

from app_server.storage.base import StorageSource
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.postgres.source import open_postgres_source
from app_server.storage.registry import tenant_folder
from app_server.tenants.gate import FOR_TENANTS, FOR_THE_HOST
from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    outputs,
    picture_home,
    run_turn,
    start_thread,
    start_turn,
)
from tests.support.client import Frame, RpcFailure
from tests.support.hosted import Hosted, hosting
from tests.support.pictures import BLUE, data_url, png
from tests.support.postgres import cluster
from tests.support.server import Home, connected
from tests.support.upstream import (
    Gate,
    ScriptedUpstream,
    function_call,
    image_reply,
    message,
    sse,
    text_turn,
)

pytestmark = pytest.mark.anyio
ANN, ANN_TOO, BOB = "a-token", "another-of-ann", "b-token"
NOBODY = "019a0000-0000-7000-8000-00000000beef"
NOTHING = "0" * 64
ITEM = "call_of_ann"


@dataclass
class Two:
    """Ann has a thread with a picture; Bob wants it. Bob may be at another replica."""

    up: ScriptedUpstream
    home: Home
    at: list[Hosted]
    ann: Client
    bob: Client
    thread_id: str = ""
    turn_id: str = ""
    item: Frame | None = None

    @property
    def sha256(self) -> str:
        assert self.item is not None
        return str(self.item["sha256"])


@asynccontextmanager
async def two_tenants(folder: Path, storage: str) -> AsyncIterator[Two]:
    async with ScriptedUpstream() as up:
        home = picture_home(folder, up)
        home.extensions = ("extensions.image_generation", "extensions.view_image")
        if storage in ("file", "memory"):
            url = "memory:" if storage == "memory" else None
            async with hosting(home, url=url) as hosted:
                yield Two(up, home, [hosted], await hosted.client(ANN), await hosted.client(BOB))
            return
        async with replicas(home, folder, storage) as (one, other):
            yield Two(up, home, [one, other], await one.client(ANN), await other.client(BOB))


@asynccontextmanager
async def replicas(home: Home, folder: Path, storage: str) -> AsyncIterator[tuple[Hosted, Hosted]]:
    """Two replicas that share a storage: `replicas` in memory, or `postgres`."""
    world, blobs = MemoryStorageWorld(home=folder), (folder / "blobs").as_uri()
    database = await cluster().new_database() if storage == "postgres" else None
    sources: list[StorageSource] = [
        world.replica() if database is None else open_postgres_source(database, blobs, home.home) for _ in range(2)
    ]
    async with hosting(home, source=sources[0]) as one, hosting(home, source=sources[1]) as other:
        yield one, other
    if database is not None:
        await cluster().drop(database)


@pytest.fixture(params=["file", "memory", "replicas", "postgres"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    async with two_tenants(tmp_path, request.param) as made:
        up, ann = made.up, made.ann
        up.queue += [sse("r1", imagegen(ITEM, prompt="A fox.")), text_turn("r2", "There it is.")]
        up.images.append(image_reply(png()))
        made.thread_id = await start_thread(ann)
        made.turn_id = (await run_turn(ann, made.thread_id, "A secret fox, please."))["id"]
        made.item = (await ann.wait_for("item/completed", item__id=ITEM))["item"]
        assert made.item["status"] == "completed"
        yield made


def guesses(thread_id: str, turn_id: str, sha256: str) -> list[tuple[str, dict[str, Any]]]:
    """Everything that can be asked about a thread and its picture by who knows their ids."""
    thread = {"threadId": thread_id}
    words = [{"type": "text", "text": "Hello"}]
    return [
        ("thread/resume", thread),
        ("thread/resume", {**thread, "sinceSeq": 0, "excludeTurns": True}),
        ("thread/read", {**thread, "includeTurns": True}),
        ("thread/fork", thread),
        ("thread/name/set", {**thread, "name": "Mine"}),
        ("thread/archive", thread),
        ("thread/unarchive", thread),
        ("thread/delete", thread),
        ("thread/unsubscribe", thread),
        ("thread/revert", {**thread, "turnId": turn_id}),
        ("thread/compact/start", thread),
        ("thread/inject_items", {**thread, "items": [{"type": "message", "role": "user", "content": []}]}),
        ("thread/settings/update", {**thread, "model": "gpt-5.5"}),
        ("thread/metadata/update", {**thread, "projectId": "p"}),
        ("thread/goal/set", {**thread, "objective": "Mine"}),
        ("thread/goal/get", thread),
        ("thread/goal/clear", thread),
        ("thread/readState/update", {**thread, "expectedRevision": "", "operation": {"type": "read"}}),
        ("thread/turns/list", thread),
        ("thread/items/list", thread),
        ("thread/backgroundTerminals/list", thread),
        ("experimentalFeature/list", thread),
        ("turn/start", {**thread, "input": words}),
        ("turn/steer", {**thread, "expectedTurnId": turn_id, "input": words}),
        ("turn/interrupt", {**thread, "turnId": turn_id}),
        ("image/list", thread),
        ("image/read", {"sha256": sha256}),
        ("image/read", {**thread, "itemId": ITEM}),
        ("image/url", {"sha256": sha256}),
        ("image/url", {**thread, "itemId": ITEM}),
        ("image/delete", {"sha256": sha256}),
        ("image/delete", {**thread, "itemId": ITEM}),
    ]


async def answer(client: Client, method: str, params: dict[str, Any]) -> Any:
    try:
        return await client.request(method, params)
    except RpcFailure as failure:
        return failure.code, failure.message, failure.data


def masked(value: Any, thread_id: str, sha256: str) -> str:
    return json.dumps(value).replace(thread_id, "THREAD").replace(sha256, "SHA")


async def test_what_is_known_of_another_tenants_thread_opens_no_more_than_an_id_that_nobody_has(two: Two) -> None:
    real = [
        masked(await answer(two.bob, *guess), two.thread_id, two.sha256)
        for guess in guesses(two.thread_id, two.turn_id, two.sha256)
    ]
    made_up = [masked(await answer(two.bob, *guess), NOBODY, NOTHING) for guess in guesses(NOBODY, NOBODY, NOTHING)]
    asked = {method for method, _ in guesses("", "", "")}

    assert real == made_up
    assert [text for text in real if not text.startswith("[") and "notLoaded" not in text] == []
    assert {method for method in FOR_TENANTS if method.startswith(("thread/", "turn/", "image/"))} - asked == {
        "thread/list",
        "thread/loaded/list",
        "thread/search",
        "thread/start",
    }
    read = await two.ann.request("thread/read", {"threadId": two.thread_id, "includeTurns": True})
    assert [turn["id"] for turn in read["thread"]["turns"]] == [two.turn_id]
    assert read["thread"]["name"] is None


async def test_lists_and_searches_hold_ones_own_alone(two: Two) -> None:
    lists = [
        ("thread/list", {}),
        ("thread/list", {"archived": True}),
        ("thread/search", {"searchTerm": "fox"}),
        ("thread/loaded/list", {}),
        ("image/list", {}),
    ]
    assert [(await two.bob.request(method, params))["data"] for method, params in lists] == [[], [], [], [], []]
    assert len((await two.ann.request("thread/list", {}))["data"]) == 1


async def test_nothing_that_happens_to_one_tenant_is_told_to_another(two: Two) -> None:
    two.up.queue += [text_turn("r3", "More.")]
    await run_turn(two.ann, two.thread_id)
    await two.ann.request("thread/name/set", {"threadId": two.thread_id, "name": "Foxes"})
    await two.ann.wait_for("thread/name/updated")
    for method, params in guesses(two.thread_id, two.turn_id, two.sha256)[:2]:
        await answer(two.bob, method, params)
    await two.bob.request("thread/list", {})

    assert [name for name in two.bob.order() if name.startswith(("thread/", "turn/", "item/"))] == []
    assert two.thread_id not in json.dumps(two.bob.incoming[1:]).replace(f"thread not found: {two.thread_id}", "")


async def test_a_question_of_a_tool_goes_to_nobody_elses_client(two: Two) -> None:
    tool = {"name": "weather", "description": "The weather.", "inputSchema": {"type": "object", "properties": {}}}
    two.up.queue += [sse("r3", function_call("call_w", "weather", {})), text_turn("r4", "Sunny.")]
    thread_id = await start_thread(two.ann, dynamicTools=[tool])
    await answer(two.bob, "thread/resume", {"threadId": thread_id})
    turn_id = await start_turn(two.ann, thread_id)
    asked = await two.ann.wait_for_request("item/tool/call")
    await two.bob.request("thread/list", {})
    await two.ann.reply(asked.id, {"success": True, "contentItems": [{"type": "inputText", "text": "Sun."}]})
    await ended(two.ann, turn_id)

    assert [frame for frame in two.bob.incoming if "method" in frame and "id" in frame] == []


async def test_the_address_of_a_picture_is_good_for_its_own_tenant_alone(two: Two) -> None:
    told = await two.ann.request("image/url", {"sha256": two.sha256})
    query = httpx.URL(told["url"]).params
    async with httpx.AsyncClient(trust_env=False) as web:
        whole = await web.get(told["url"])
        statuses = [
            (await web.get(str(httpx.URL(told["url"]).copy_with(params=query.set("tenant", tenant))))).status_code
            for tenant in ("user:bob", "local", "")
        ]
        without = await web.get(str(httpx.URL(told["url"]).copy_with(params=query.remove("tenant"))))

    assert (whole.status_code, whole.content) == (200, png())
    assert ([*statuses, without.status_code]) == [403, 403, 403, 403]
    assert "user:bob" not in [app.tenant for app in two.at[0].app.apps()] or len(two.at) == 1


async def test_a_file_of_another_tenant_or_of_the_host_is_read_no_more_than_one_that_is_not_there(
    tmp_path: Path,
) -> None:
    async with two_tenants(tmp_path, "file") as two:
        two.up.queue += [sse("r1", imagegen(ITEM, prompt="A fox.")), text_turn("r2", "There it is.")]
        two.up.images.append(image_reply(png()))
        await run_turn(two.ann, await start_thread(two.ann))
        anns = (await two.ann.wait_for("item/completed", item__id=ITEM))["item"]["savedPath"]
        hosts = tmp_path / "secret.png"
        hosts.write_bytes(png(colour=BLUE))
        own = tenant_folder(two.home.home, "user:bob")
        link = own / "link.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(hosts)
        paths = [anns, str(hosts), str(link), str(tmp_path / "missing.png"), f"{own}/../../config.toml", "~/x.png"]
        two.up.queue += [
            sse("r3", *[function_call(f"look_{n}", "view_image", {"path": path}) for n, path in enumerate(paths)]),
            sse("r4", imagegen("edit", prompt="More.", referenced_image_paths=[anns])),
            text_turn("r5", "Nothing."),
        ]
        thread_id = await start_thread(two.bob, cwd=str(tmp_path))
        inputs = [{"type": "localImage", "path": path} for path in paths]
        reply = await two.bob.request("turn/start", {"threadId": thread_id, "input": inputs})
        await ended(two.bob, reply["turn"]["id"])
        urls = [
            await answer(
                two.bob,
                "turn/start",
                {"threadId": thread_id, "input": [{"type": "image", "url": Path(path).as_uri()}]},
            )
            for path in paths[:2]
        ]

    sent = [request.body["input"] for request in two.up.posts()[2:]]
    assert "input_image" not in json.dumps(sent)
    said = [part["text"] for part in sent[0][-1]["content"]]
    assert ["files of this machine are not read" in text for text in said] == [True] * 5 + [False]
    assert "there is no such file" in said[5]
    told = [str(one["output"]) for one in outputs(two.up.posts()[-1])]
    assert len(told) == 7
    assert [text for text in told[:5] if "files of this machine are not read" not in text] == []
    assert "files of this machine are not read" in told[6]
    assert [(url[0], url[2]["code"]) for url in urls] == [(-32600, "invalidPicture")] * 2


async def test_a_tenant_uses_its_own_pictures_by_path(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, "file") as two:
        two.up.queue += [sse("r1", imagegen(ITEM, prompt="A fox.")), text_turn("r2", "There it is.")]
        two.up.images.append(image_reply(png()))
        thread_id = await start_thread(two.ann, cwd="/far/away/site")
        await run_turn(two.ann, thread_id)
        item = (await two.ann.wait_for("item/completed", item__id=ITEM))["item"]
        two.up.queue += [text_turn("r3", "Yes.")]
        reply = await two.ann.request(
            "turn/start", {"threadId": thread_id, "input": [{"type": "localImage", "path": item["savedPath"]}]}
        )
        await ended(two.ann, reply["turn"]["id"])
        listed = await two.ann.request("thread/list", {"cwd": "/far/away/site"})

    assert Path(item["savedPath"]).is_relative_to(tenant_folder(two.home.home, "user:ann"))
    assert "input_image" in json.dumps(two.up.posts()[-1].body["input"][-1])
    assert [row["cwd"] for row in listed["data"]] == ["/far/away/site"]


async def test_what_is_the_hosts_is_refused_with_a_code_and_one_sentence(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, "memory") as two:
        answers = {method: await answer(two.bob, method, {}) for method in sorted(FOR_THE_HOST)}
        async with connected(two.at[0].app) as host:
            served = await host.request("environment/info", {"environmentId": "local"})

    assert {(code, data["code"]) for code, _, data in answers.values()} == {(-32600, "notForTenants")}
    assert [
        method for method, (_, text, _) in answers.items() if not text.startswith(f"{method} is for the host")
    ] == []
    assert served["cwd"] == two.home.cwd.as_uri()


async def test_no_reply_tells_a_tenant_of_the_hosts_files_settings_login_or_of_others(tmp_path: Path) -> None:
    secrets = [str(tmp_path / "home" / "config.toml"), "somebody@example.com", "sk-", "user:ann", "ann-", "127.0.0.1"]
    async with two_tenants(tmp_path, "memory") as two:
        hello = next(frame for frame in two.bob.incoming if "result" in frame)["result"]
        replies = {
            method: await answer(two.bob, method, params)
            for method, params in [
                ("config/read", {"includeLayers": True}),
                ("config/read", {"cwd": str(two.home.cwd)}),
                ("configRequirements/read", {}),
                ("account/read", {"refreshToken": True}),
                ("modelProvider/list", {}),
                ("modelProvider/capabilities/read", {}),
                ("model/list", {}),
                ("skills/list", {"cwds": [str(two.home.cwd)]}),
                ("experimentalFeature/list", {}),
                ("permissionProfile/list", {}),
                ("collaborationMode/list", {}),
            ]
        }
        async with connected(two.at[0].app) as host:
            hosts = await host.request("account/read", {})

    text = json.dumps([replies, two.bob.incoming])
    email = hosts["account"]["email"]
    assert email
    assert [secret for secret in [*secrets, email] if secret in text] == []
    assert [reply for reply in replies.values() if isinstance(reply, tuple)] == []
    assert replies["account/read"]["account"] == {**hosts["account"], "email": None}
    assert hello["codexHome"] == str(tenant_folder(two.home.home, "user:bob"))


async def test_two_tokens_of_one_name_are_one_tenant_and_one_without_a_name_is_nobody(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with hosting(home, tokens="ann a-token\nann another-of-ann\nnameless\n") as hosted:
            one, other = await hosted.client(ANN), await hosted.client(ANN_TOO)
            thread_id = await start_thread(one)
            await other.wait_for("thread/started", thread__id=thread_id)
            read = await other.request("thread/read", {"threadId": thread_id})
            with pytest.raises(InvalidStatus) as refused:
                await hosted.client("nameless")

    assert read["thread"]["id"] == thread_id
    assert refused.value.response.status_code == 401


async def test_hooks_of_the_host_run_where_the_server_was_started_whatever_folder_a_client_names(
    tmp_path: Path,
) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        config = home.home / "config.toml"
        hook = '\n[[hooks.PreToolUse]]\n[[hooks.PreToolUse.hooks]]\ntype = "command"\ncommand = "pwd > seen.txt"\n'
        config.write_text(config.read_text() + hook)
        async with hosting(home) as hosted:
            up.queue += [sse("r1", imagegen(ITEM, prompt="A fox.")), text_turn("r2", "There.")]
            up.images.append(image_reply(png()))
            ann = await hosted.client(ANN)
            await run_turn(ann, await start_thread(ann, cwd=str(tmp_path)))

    assert (home.cwd / "seen.txt").read_text().strip() == str(home.cwd)
    assert not (tmp_path / "seen.txt").exists()


async def test_a_thread_of_a_tenant_tells_nothing_of_a_repository_of_the_host(tmp_path: Path) -> None:
    git = tmp_path / "repository" / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/secret-branch\n")
    async with two_tenants(tmp_path, "memory") as two:
        two.up.queue += [text_turn("r1", "Hello.")]
        thread_id = await start_thread(two.ann, cwd=str(git.parent))
        await run_turn(two.ann, thread_id)
        read = await two.ann.request("thread/read", {"threadId": thread_id})

    assert read["thread"]["gitInfo"] is None


async def test_a_thread_of_a_tenant_switches_no_feature_on_that_the_host_has_off(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, "memory") as two:
        for wanted in (True, False):
            own = {"features": {"omit_app_server_notification_media": wanted, "view_image": False}}
            thread_id = await start_thread(two.ann, config=own)
            rows = (await two.ann.request("experimentalFeature/list", {"threadId": thread_id}))["data"]
            states = {row["name"]: row["enabled"] for row in rows}
            assert (states["omit_app_server_notification_media"], states["view_image"]) == (False, False)


# -- limits


@asynccontextmanager
async def limited(
    folder: Path, tenants: str, storage: str | None = None
) -> AsyncIterator[tuple[ScriptedUpstream, list[Hosted]]]:
    """One server with these settings, or two replicas of it over `storage`."""
    async with ScriptedUpstream() as up:
        home = picture_home(folder, up, top=tenants)
        if storage is None:
            async with hosting(home) as hosted:
                yield up, [hosted]
            return
        async with replicas(home, folder, storage) as both:
            yield up, list(both)


async def limit_of(client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The data of the refusal."""
    with pytest.raises(RpcFailure) as refused:
        await client.request(method, params)
    assert refused.value.code == -32001
    data: dict[str, Any] = refused.value.data
    return data


async def test_threads_are_limited_also_ephemeral_ones_and_deleting_one_makes_room(tmp_path: Path) -> None:
    told = {"code": "tenantLimit", "what": "threads", "limit": 2, "used": 2, "retryAfterMs": None}
    async with limited(tmp_path, "[tenants]\nmax_threads = 2") as (_, [hosted]):
        ann, bob = await hosted.client(ANN), await hosted.client(BOB)
        first = await start_thread(ann)
        fleeting = await start_thread(ann, ephemeral=True)
        assert await limit_of(ann, "thread/start", {}) == told
        assert await limit_of(ann, "thread/fork", {"threadId": first}) == told
        assert await limit_of(ann, "thread/start", {"ephemeral": True}) == told
        assert await start_thread(bob)
        await ann.request("thread/delete", {"threadId": fleeting})
        await start_thread(ann)
        await ann.request("thread/delete", {"threadId": first})
        assert await start_thread(ann)
        async with connected(hosted.app) as host:
            assert [await start_thread(host) for _ in range(3)]


async def test_a_name_has_limits_of_its_own(tmp_path: Path) -> None:
    top = "[tenants]\nmax_threads = 1\n[tenants.limits.bob]\nmax_threads = 0"
    async with limited(tmp_path, top) as (_, [hosted]):
        ann, bob = await hosted.client(ANN), await hosted.client(BOB)
        assert [await start_thread(bob) for _ in range(3)]
        await start_thread(ann)
        assert (await limit_of(ann, "thread/start", {}))["limit"] == 1


@pytest.mark.parametrize("storage", ["replicas", "postgres"])
async def test_twenty_turns_at_once_at_two_replicas_never_run_more_than_the_limit(tmp_path: Path, storage: str) -> None:
    async with limited(tmp_path, "[tenants]\nmax_running_turns = 3", storage) as (up, hosted):
        clients = [await one.client(ANN) for one in hosted]
        threads = [(client, await start_thread(client)) for client in clients for _ in range(10)]
        halts = [Gate() for _ in threads]
        up.queue += [sse(f"r{n}", halt, message(f"m{n}", "Done.")) for n, halt in enumerate(halts)]
        began: list[tuple[Client, str, str]] = []
        refusals: list[RpcFailure] = []

        async def begin(client: Client, thread_id: str) -> None:
            try:
                began.append((client, thread_id, await start_turn(client, thread_id)))
            except RpcFailure as failure:
                refusals.append(failure)

        async with anyio.create_task_group() as tasks:
            for client, thread_id in threads:
                tasks.start_soon(begin, client, thread_id)
        assert (len(began), len(refusals)) == (3, 17)
        assert {(failure.code, failure.data["what"], failure.data["limit"]) for failure in refusals} == {
            (-32001, "runningTurns", 3)
        }
        assert all(failure.data["retryAfterMs"] > 0 for failure in refusals)
        for halt in halts:
            halt.release()
        for client, _, turn_id in began:
            await ended(client, turn_id)
        client, thread_id, _ = began[0]
        assert (await run_turn(client, thread_id))["status"] == "completed"


async def test_the_next_turn_may_begin_as_soon_as_the_last_one_has_told_its_end(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenants]\nmax_running_turns = 1") as (up, [hosted]):
        ann = await hosted.client(ANN)
        thread_id = await start_thread(ann)
        for number in range(5):
            up.queue.append(text_turn(f"r{number}", "Yes."))
            assert (await run_turn(ann, thread_id))["status"] == "completed"
        halt = Gate()
        up.queue.append(sse("r9", halt, message("m9", "Done.")))
        turn_id = await start_turn(ann, thread_id)
        assert await start_turn(ann, thread_id, "And this.") == turn_id  # words for the running turn are no turn
        halt.release()


async def test_the_places_of_a_dead_replica_are_free(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, top="[tenants]\nmax_running_turns = 1\nmax_connections = 2")
        world = MemoryStorageWorld(home=tmp_path)
        dead, alive = world.replica(), world.replica()
        async with hosting(home, source=dead) as one, hosting(home, source=alive) as other:
            halt = Gate()
            up.queue += [sse("r1", halt, message("m1", "Done.")), text_turn("r2", "Here.")]
            client = await one.client(ANN)
            await start_turn(client, await start_thread(client, ephemeral=True))
            await halt.wait_reached()
            survivor = await other.client(ANN)
            thread_id = await start_thread(survivor)
            words = {"threadId": thread_id, "input": [{"type": "text", "text": "Hello"}]}
            refusal = await limit_of(survivor, "turn/start", words)
            world.kill(dead.replica)
            assert (await run_turn(survivor, thread_id))["status"] == "completed"
            assert await other.client(ANN)
            halt.release()
    assert (refusal["what"], refusal["used"]) == ("runningTurns", 1)


async def test_a_turn_that_was_handed_over_counts_where_it_goes_on(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenants]\nmax_running_turns = 1", "replicas") as (up, [one, other]):
        leaver, stayer = await one.client(ANN), await other.client(ANN)
        halt, again = Gate(), Gate()
        up.queue += [
            sse("r1", halt, imagegen(ITEM, prompt="A fox.")),
            sse("r2", again, message("m2", "There.")),
            text_turn("r3", "Here."),
        ]
        up.images.append(image_reply(png()))
        thread_id, free = await start_thread(leaver), await start_thread(stayer)
        await stayer.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        turn_id = await start_turn(leaver, thread_id)
        await halt.wait_reached()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.app.drain, 10)
            await anyio.wait_all_tasks_blocked()
            halt.release()
        await again.wait_reached()
        words = {"threadId": free, "input": [{"type": "text", "text": "Hello"}]}
        refusal = await limit_of(stayer, "turn/start", words)
        again.release()
        turn = await ended(stayer, turn_id)
        after = await run_turn(stayer, free)

    assert (refusal["used"], turn["status"], after["status"]) == (1, "completed", "completed")


async def test_a_connection_beyond_the_limit_is_answered_once_and_closed(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenants]\nmax_connections = 1") as (_, [hosted]):
        first = await hosted.client(ANN)
        second = await hosted.client(ANN_TOO, initialize=False)
        with pytest.raises(RpcFailure) as refused:
            await second.initialize()
        await second.closed.wait()
        assert await hosted.client(BOB)
        await first.stream.aclose()
        await first.closed.wait()

    data = refused.value.data
    assert (refused.value.code, data["code"], data["what"], data["limit"]) == (-32001, "tenantLimit", "connections", 1)


async def test_a_picture_beyond_those_of_a_day_is_a_failed_item_that_says_when_and_costs_nothing(
    tmp_path: Path,
) -> None:
    async with limited(tmp_path, "[tenants]\nmax_pictures_per_day = 1") as (up, [hosted]):
        ann, bob = await hosted.client(ANN), await hosted.client(BOB)
        up.images += [image_reply(png()), image_reply(png(colour=BLUE))]
        items = []
        for client, call_id in ((ann, "one"), (ann, "two"), (bob, "three")):
            up.queue += [sse("r1", imagegen(call_id, prompt="A fox.")), text_turn("r2", "There.")]
            await run_turn(client, await start_thread(client))
            items.append((await client.wait_for("item/completed", item__id=call_id))["item"])
        told = [str(one["output"]) for one in outputs(up.posts()[3])]

    assert [item["status"] for item in items] == ["completed", "failed", "completed"]
    error = items[1]["error"]
    assert error["type"] == "tenantLimit"
    assert 86_000_000 < error["retryAfterMs"] <= 86_400_000
    assert [error["message"] in text for text in told] == [True]
    assert len([request for request in up.requests if "/images/" in request.path]) == 2
    assert "1 pictures were asked for within 24 hours, and the host of this server allows 1" in error["message"]


async def test_bytes_of_pictures_are_limited_for_generated_and_attached_ones(tmp_path: Path) -> None:
    large = png(700, 700) + bytes(2**20)
    async with limited(tmp_path, "[tenants]\nmax_picture_mb = 1") as (up, [hosted]):
        ann = await hosted.client(ANN)
        thread_id = await start_thread(ann)
        up.queue += [text_turn("r1", "Large.")]
        attached = {"threadId": thread_id, "input": [{"type": "image", "url": data_url(large, "image/png")}]}
        reply = await ann.request("turn/start", attached)
        await ended(ann, reply["turn"]["id"])
        small = {"threadId": thread_id, "input": [{"type": "image", "url": data_url(png(), "image/png")}]}
        refusal = await limit_of(ann, "turn/start", small)
        up.queue += [sse("r2", imagegen("call", prompt="A fox.")), text_turn("r3", "No.")]
        await run_turn(ann, thread_id)
        item = (await ann.wait_for("item/completed", item__id="call"))["item"]

    assert refusal == {"code": "tenantLimit", "what": "pictureMb", "limit": 1, "used": 1, "retryAfterMs": None}
    assert (item["status"], item["error"]["type"]) == ("failed", "tenantLimit")


async def test_where_pictures_are_limited_the_providers_own_tool_is_not_offered(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, top="[tenants.limits.ann]\nmax_pictures_per_day = 5", enable=())
        async with hosting(home) as hosted:
            ann, bob = await hosted.client(ANN), await hosted.client(BOB)
            reasons = [
                (await client.request("modelProvider/capabilities/read", {})).get("imageGenerationReason")
                for client in (ann, bob)
            ]
    assert reasons[1] is None
    assert "the host of this server limits pictures" in reasons[0]
