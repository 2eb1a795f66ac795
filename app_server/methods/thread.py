"""thread/start, resume, read, name/set, archive, unarchive, delete, unsubscribe, loaded/list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app_server.config.layers import LayerOrigin, LoadedConfig
from app_server.errors import InvalidRequest
from app_server.methods.services import Context, Services
from app_server.providers.catalog import default_model
from app_server.rpc.registry import method
from app_server.threads.joining import STREAMED, Notification, hide_open, opened
from app_server.threads.live_thread import LiveThread
from app_server.threads.missed import check_since, missed
from app_server.threads.naming import check_id, shown_id
from app_server.threads.paging import Anchor, cursor_text, page_limit, slice_ordinals
from app_server.threads.replay import ThreadState, item_entries, turn_objects
from app_server.threads.settings import (
    collaboration_mode,
    initial_settings,
    settings_members,
    with_resume_overrides,
)
from app_server.tools.dynamic import parse_dynamic_tools

if TYPE_CHECKING:  # loaded when a request needs more than its plain reading
    from app_server.protocol.thread import (
        ThreadArchiveParams,
        ThreadDeleteParams,
        ThreadLoadedListParams,
        ThreadReadParams,
        ThreadResumeParams,
        ThreadSetNameParams,
        ThreadStartParams,
        ThreadUnarchiveParams,
        ThreadUnsubscribeParams,
    )
    from app_server.threads.following import FollowedThread

_RESUME_NOTICE = {
    "summary": "Reading a whole thread at once is deprecated; set `excludeTurns: true`, then page with "
    "`thread/turns/list` and `thread/items/list`.",
    "details": None,
}
_READ_NOTICE = {
    "summary": "Reading a whole thread at once is deprecated; leave out `includeTurns`, then page with "
    "`thread/turns/list` and `thread/items/list`.",
    "details": None,
}


@method("thread/start", "thread.ThreadStartParams")
async def thread_start(ctx: Context, params: ThreadStartParams) -> dict[str, Any]:
    """A new thread; the starter is subscribed, everybody is told of it."""
    services = ctx.services
    parse_dynamic_tools(params.dynamic_tools or ())
    cwd = resolve_cwd(params.cwd, services)
    loaded = loaded_config(services, cwd, params.config)
    config = loaded.config
    provider = params.model_provider or config.model_provider
    services.providers.table(provider)
    settings = initial_settings(
        config,
        params,
        cwd=cwd,
        default_model=default_model(provider),
        features=features_of(loaded, LayerOrigin.THREAD),
        project_features=features_of(loaded, LayerOrigin.PROJECT),
    )
    live = await services.threads.create(
        settings,
        originator=ctx.session.client_name,
        ephemeral=bool(params.ephemeral),
        meta={"threadSource": params.thread_source, "projectId": params.project_id},
    )
    follow(ctx, live)
    thread = live.wire()
    ctx.after_reply(lambda: services.hub.broadcast("thread/started", {"thread": thread}))
    return {"thread": thread, **settings_members(settings)}


@method("thread/resume", "thread.ThreadResumeParams")
async def thread_resume(ctx: Context, params: ThreadResumeParams) -> dict[str, Any]:
    """Bring a thread back, loaded or stored, and subscribe to it.

    Once the records are read nothing waits until the reply, what was missed and what is open are sent: so these, and
    what comes live, follow each other without a gap or a double.
    """
    services = ctx.services
    loaded = await services.threads.load(params.thread_id)
    live = loaded.live
    if params.since_seq is not None:
        check_since(params.since_seq, live.last_seq)
        services.hub.unsubscribe(live.thread_id, ctx.connection)  # what comes meanwhile is among the missed
    if loaded.fresh and isinstance(live, LiveThread):
        cwd = resolve_cwd(params.cwd, services) if params.cwd else Path(live.settings.cwd)
        own = features_of(loaded_config(services, cwd, params.config), LayerOrigin.THREAD) if params.config else {}
        live.settings = with_resume_overrides(live.settings, params, features=own)
    comes_new = _join(ctx, live)  # before anything waits: it is not unloaded then
    records = await services.threads.shown_records(live, loaded.records)
    since_seq = live.last_seq if params.since_seq is None else params.since_seq
    state, told = missed(live.thread_id, records, since_seq, loaded.state)
    services.hub.subscribe(live.thread_id, ctx.connection)
    if not params.exclude_turns:
        services.hub.notify(ctx.connection, "deprecationNotice", _RESUME_NOTICE)
    if loaded.fresh:
        params_status = {"threadId": live.thread_id, "status": live.status}
        services.hub.broadcast("thread/status/changed", params_status)
    if params.since_seq is not None:
        ctx.after_reply(lambda: _tell(ctx, told))
    elif not params.exclude_turns:
        ctx.after_reply(lambda: tell_usage(ctx, live))
    if comes_new or params.since_seq is not None:
        now_open = opened(live.thread_id, state, live.pieces, lambda item: _knows(item, params, told))
        ctx.after_reply(lambda: _tell(ctx, now_open))
    turns = [] if params.exclude_turns else turn_objects(hide_open(state, STREAMED), "full")
    hide_open(state)
    return {
        "thread": live.wire(turns),
        **settings_members(live.settings),
        "collaborationMode": collaboration_mode(live.settings),
        "initialTurnsPage": _initial_page(live.thread_id, state, params),
        **backwards_cursors(live.thread_id, state),
        "lastSeq": live.last_seq,
    }


@method("thread/read", "thread.ThreadReadParams")
async def thread_read(ctx: Context, params: ThreadReadParams) -> dict[str, Any]:
    """Look at a thread, loaded or stored, without subscribing."""
    services = ctx.services
    row = await services.threads.row(params.thread_id)
    live = services.threads.shown(row.thread_id)
    thread = live.wire() if live is not None else services.threads.wire(row)
    if params.include_turns:
        services.hub.notify(ctx.connection, "deprecationNotice", _READ_NOTICE)
        thread["turns"] = turn_objects(hide_open(await services.threads.state(row.thread_id)), "full")
    return {"thread": thread, "readState": row.meta.get("readState")}


@method("thread/name/set", "thread.ThreadSetNameParams")
async def thread_name_set(ctx: Context, params: ThreadSetNameParams) -> dict[str, Any]:
    """Name a thread; everybody is told."""
    name = params.name.strip()
    if not name:
        raise InvalidRequest("thread name must not be empty", data_code="emptyName")
    check_id(params.thread_id)
    seq = await ctx.services.threads.set_name(params.thread_id, name)
    told = {"threadId": params.thread_id, "threadName": name, "seq": seq}
    ctx.after_reply(lambda: ctx.services.hub.broadcast("thread/name/updated", told))
    return {}


@method("thread/archive", "thread.ThreadArchiveParams")
async def thread_archive(ctx: Context, params: ThreadArchiveParams) -> dict[str, Any]:
    """Take a thread out of the list; a running turn is interrupted first. Pictures stay."""
    if (await ctx.services.threads.row(params.thread_id)).archived:
        raise InvalidRequest(
            f"thread {params.thread_id} is archived already; call thread/unarchive to take it back into the list",
            data_code="threadArchived",
        )
    row = await ctx.services.threads.set_archived(params.thread_id, True)
    ctx.after_reply(lambda: ctx.services.hub.broadcast("thread/archived", {"threadId": row.thread_id}))
    return {}


@method("thread/unarchive", "thread.ThreadUnarchiveParams")
async def thread_unarchive(ctx: Context, params: ThreadUnarchiveParams) -> dict[str, Any]:
    """Take an archived thread back into the list."""
    row = await ctx.services.threads.set_archived(params.thread_id, False)
    ctx.after_reply(lambda: ctx.services.hub.broadcast("thread/unarchived", {"threadId": row.thread_id}))
    return {"thread": ctx.services.threads.wire(row)}


@method("thread/delete", "thread.ThreadDeleteParams")
async def thread_delete(ctx: Context, params: ThreadDeleteParams) -> dict[str, Any]:
    """Remove a thread for good, its pictures with it."""
    await ctx.services.threads.delete(params.thread_id)
    ctx.after_reply(lambda: ctx.services.hub.broadcast("thread/deleted", {"threadId": params.thread_id}))
    return {}


@method("thread/unsubscribe", "thread.ThreadUnsubscribeParams")
async def thread_unsubscribe(ctx: Context, params: ThreadUnsubscribeParams) -> dict[str, Any]:
    """Stop hearing of a thread's turns; the thread goes on. An ephemeral one that nobody follows ends with its turn."""
    live = ctx.services.threads.shown(params.thread_id)
    if live is None:
        return {"status": "notLoaded"}
    gone = ctx.services.hub.unsubscribe(live.thread_id, ctx.connection)
    live.followers.discard(ctx.session.connection_id)
    live.left = gone and not live.followers
    if isinstance(live, LiveThread):
        ctx.after_reply(lambda: ctx.services.threads.unloader.let_leave(live))
    return {"status": "unsubscribed" if gone else "notSubscribed"}


@method("thread/loaded/list", "thread.ThreadLoadedListParams")
def thread_loaded_list(ctx: Context, params: ThreadLoadedListParams) -> dict[str, Any]:
    """Ids of the threads in memory, oldest first; the cursor is the last id of a page."""
    ids = ctx.services.threads.loaded
    if params.cursor is not None:
        if params.cursor not in ids:
            raise InvalidRequest(f"invalid cursor: {shown_id(params.cursor)}", data_code="invalidCursor")
        ids = ids[ids.index(params.cursor) + 1 :]
    page = ids[: page_limit(params.limit, default=len(ids) or 1)]
    return {"data": page, "nextCursor": page[-1] if len(page) < len(ids) else None}


def resolve_cwd(cwd: str | None, services: Services) -> Path:
    """The folder that a client named, absolute, or the server's own; a tenant's client may name what it likes."""
    if services.ground is not None:
        return services.ground.named(cwd)
    return (services.cwd / Path(cwd).expanduser()) if cwd else services.cwd


def loaded_config(services: Services, cwd: Path, overrides: Mapping[str, Any] | None) -> LoadedConfig:
    """The settings that hold there. Those of a tenant's thread may switch features off, and none on."""
    loaded = services.load_config(cwd)
    if not overrides:
        return loaded
    own = loaded.with_overrides(overrides)
    if services.ground is None:
        return own
    layers = [
        layer._replace(values={key: on for key, on in layer.values.items() if not on})
        if layer.origin == LayerOrigin.THREAD
        else layer
        for layer in own.feature_layers
    ]
    return replace(own, feature_layers=tuple(layers))


def features_of(loaded: LoadedConfig, origin: LayerOrigin) -> dict[str, bool]:
    layers = [layer.values for layer in loaded.feature_layers if layer.origin == origin]
    return {key: value for values in layers for key, value in values.items()}


def follow(ctx: Context, live: LiveThread) -> None:
    """Subscribe the client until it unsubscribes or is gone."""
    _join(ctx, live)
    ctx.services.hub.subscribe(live.thread_id, ctx.connection)


def _join(ctx: Context, live: LiveThread | FollowedThread) -> bool:
    """Count the client among those who follow the thread; whether it did not before."""
    number, followers = ctx.session.connection_id, live.followers
    comes_new, live.left = number not in followers, False
    if comes_new:
        followers.add(number)
        ctx.connection.on_close(lambda: followers.discard(number))
    return comes_new


def _knows(item: Mapping[str, Any], params: ThreadResumeParams, told: Sequence[Notification]) -> bool:
    """Whether a client that resumes has the beginning of an open item: from before, from the reply or the missed.

    Of what is streamed it knows a part at most when it was lost, so that begins anew."""
    if item["type"] not in STREAMED:
        return params.since_seq is not None or not params.exclude_turns
    return any(method == "item/started" and one["item"]["id"] == item["id"] for method, one in told)


def _tell(ctx: Context, told: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    for name, params in told:
        ctx.services.hub.notify(ctx.connection, name, params)


def tell_usage(ctx: Context, live: LiveThread | FollowedThread) -> None:
    """What the last answer cost, for a client that has the turns from the reply; nothing before there is one."""
    if live.usage is None:
        return
    usage = dict(live.usage)
    params = {"threadId": live.thread_id, "turnId": usage.pop("turnId"), "tokenUsage": usage}
    ctx.services.hub.notify(ctx.connection, "thread/tokenUsage/updated", params)


def _initial_page(thread_id: str, state: ThreadState, params: ThreadResumeParams) -> dict[str, Any] | None:
    if (wanted := params.initial_turns_page) is None:
        return None
    turns = turn_objects(state, wanted.items_view or "summary")
    page = slice_ordinals(
        len(turns),
        anchor=None,
        limit=page_limit(wanted.limit),
        descending=wanted.sort_direction != "asc",
        thread_id=thread_id,
        kind="turns",
    )
    return {
        "data": [turns[ordinal] for ordinal in page.ordinals],
        "nextCursor": page.next_cursor,
        "backwardsCursor": page.backwards_cursor,
    }


def backwards_cursors(thread_id: str, state: ThreadState) -> dict[str, Any]:
    """Where a walk back from the newest turn and item begins; null in a thread without turns."""
    turns, items = len(state.turns), len(item_entries(state.turns.values()))
    return {
        "turnsBackwardsCursor": cursor_text(thread_id, "turns", Anchor(ordinal=turns - 1, include=True))
        if turns
        else None,
        "itemsBackwardsCursor": cursor_text(thread_id, "items", Anchor(ordinal=items - 1, include=True))
        if items
        else None,
    }
