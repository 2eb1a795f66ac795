"""What is done with a thread beyond the basics: fork, revert, compact, shell, settings, metadata, search, review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app_server.config.layers import LayerOrigin
from app_server.errors import InvalidRequest
from app_server.methods.services import Context
from app_server.methods.thread import backwards_cursors, features_of, follow, loaded_config, resolve_cwd, tell_usage
from app_server.rpc.quirks import turn_gap_s
from app_server.rpc.registry import method
from app_server.storage import records as kinds
from app_server.storage.base import Record, ThreadQuery
from app_server.threads.paging import list_cursor_of, page_limit, parse_list_cursor
from app_server.threads.replay import turn_objects
from app_server.threads.settings import settings_members, with_resume_overrides, with_turn_overrides

if TYPE_CHECKING:
    from app_server.protocol.thread_more import (
        ReviewStartParams,
        ThreadCompactStartParams,
        ThreadForkParams,
        ThreadInjectItemsParams,
        ThreadMetadataUpdateParams,
        ThreadRevertParams,
        ThreadSearchParams,
        ThreadSettingsUpdateParams,
        ThreadShellCommandParams,
    )
    from app_server.threads.live_thread import LiveThread
    from app_server.turns.context import Settings
    from app_server.turns.engine import Work
    from app_server.turns.review import ReviewTarget


@method("thread/fork", "thread_more.ThreadForkParams")
async def thread_fork(ctx: Context, params: ThreadForkParams) -> dict[str, Any]:
    """A new thread with another one's turns; the starter is subscribed, everybody is told of it."""
    services = ctx.services
    source = await services.threads.row(params.thread_id)
    if params.ephemeral and not params.exclude_turns:
        raise InvalidRequest(
            "ephemeral paginated thread/fork requires `excludeTurns: true`", data_code="excludeTurnsRequired"
        )

    def choose(settings: Settings) -> Settings:
        cwd = resolve_cwd(params.cwd or settings.cwd, services)
        own = features_of(loaded_config(services, cwd, params.config), LayerOrigin.THREAD) if params.config else {}
        return with_resume_overrides(settings, params, features=own)

    live, state = await services.threads.fork(
        source,
        choose,
        originator=ctx.session.client_name,
        ephemeral=bool(params.ephemeral),
        last_turn_id=params.last_turn_id,
        before_turn_id=params.before_turn_id,
    )
    follow(ctx, live)
    told = live.wire()
    if not params.exclude_turns:
        ctx.after_reply(lambda: tell_usage(ctx, live))
    ctx.after_reply(lambda: services.hub.broadcast("thread/started", {"thread": told}))
    turns = [] if params.exclude_turns else turn_objects(state, "full")
    return {"thread": live.wire(turns), **settings_members(live.settings)}


@method("thread/revert", "thread_more.ThreadRevertParams")
async def thread_revert(ctx: Context, params: ThreadRevertParams) -> dict[str, Any]:
    """Drop a turn and all later ones; a running turn is interrupted first."""
    services = ctx.services
    live = (await services.threads.load(params.thread_id)).ours
    await live.stop()
    state = await services.threads.state(live.thread_id)
    if params.before_turn_id not in state.turns:
        raise InvalidRequest(f"turn not found: {params.before_turn_id[:80]}", data_code="turnNotFound")
    told = {"threadId": live.thread_id, "seq": await live.revert(params.before_turn_id, state)}
    ctx.after_reply(lambda: services.hub.broadcast("thread/reverted", told))
    return {"thread": live.wire(), **backwards_cursors(live.thread_id, state)}


@method("thread/compact/start", "thread_more.ThreadCompactStartParams")
async def thread_compact_start(ctx: Context, params: ThreadCompactStartParams) -> dict[str, Any]:
    """Replace the history by a summary, in a turn of its own."""
    from app_server.turns.compaction import Compaction  # the rooms of turns are loaded with the first one

    await _begin(ctx, params.thread_id, Compaction())
    return {}


@method("thread/shellCommand", "thread_more.ThreadShellCommandParams")
async def thread_shell_command(ctx: Context, params: ThreadShellCommandParams) -> dict[str, Any]:
    """Run a command of the user, in a turn of its own."""
    from app_server.turns.shell import ShellCommand  # the same

    if not params.command.strip() or "\0" in params.command:
        raise InvalidRequest("command must not be empty", data_code="emptyCommand")
    await _begin(ctx, params.thread_id, ShellCommand(params.command, (params.timeout_ms or 0) / 1000 or None))
    return {}


@method("review/start", "thread_more.ReviewStartParams")
async def review_start(ctx: Context, params: ReviewStartParams) -> dict[str, Any]:
    """Let the model review a change, in a turn of the thread."""
    from app_server.turns.review import Review  # the same

    target = review_target(params)
    live = await _begin(ctx, params.thread_id, Review(target))
    assert live.active is not None  # it was just begun
    turn = live.active.wire()
    content = [{"type": "text", "text": target.label, "text_elements": []}]
    item = {"type": "userMessage", "id": turn["id"], "clientId": None, "content": content}
    shown = {**item, "startedAtMs": None, "completedAtMs": None}
    return {"turn": {**turn, "items": [shown]}, "reviewThreadId": live.thread_id}


@method("thread/inject_items", "thread_more.ThreadInjectItemsParams")
async def thread_inject_items(ctx: Context, params: ThreadInjectItemsParams) -> dict[str, Any]:
    """Append raw Responses items to the history; clients do not see them."""
    live = await ctx.services.threads.require(params.thread_id)
    for index, item in enumerate(params.items):
        if not isinstance(item.get("type"), str):
            raise InvalidRequest(f"items[{index}] is not a Responses item: it has no type", data_code="invalidItem")
    await live.append(Record(kind=kinds.HISTORY, data={"items": list(params.items)}))
    return {}


@method("thread/settings/update", "thread_more.ThreadSettingsUpdateParams")
async def thread_settings_update(ctx: Context, params: ThreadSettingsUpdateParams) -> dict[str, Any]:
    """Change what the next turn starts with; subscribers are told."""
    live = await ctx.services.threads.require(params.thread_id)
    await live.change_settings(with_turn_overrides(live.settings, params))
    return {}


@method("thread/metadata/update", "thread_more.ThreadMetadataUpdateParams")
async def thread_metadata_update(ctx: Context, params: ThreadMetadataUpdateParams) -> dict[str, Any]:
    """Set git info or project of a thread."""
    services = ctx.services
    row = await services.threads.row(params.thread_id)
    changes: dict[str, Any] = {}
    if params.git_info is not None:
        given = params.git_info.model_dump(by_alias=True, exclude_unset=True)
        before = row.meta.get("gitInfo") or {"sha": None, "branch": None, "originUrl": None}
        changes["gitInfo"] = {**before, **given}
    if "project_id" in params.model_fields_set:
        changes["projectId"] = params.project_id
    if changes:
        row, _ = await services.threads.set_meta(row.thread_id, changes)
    return {"thread": services.threads.wire(row)}


@method("thread/search", "thread_more.ThreadSearchParams")
async def thread_search(ctx: Context, params: ThreadSearchParams) -> dict[str, Any]:
    """Threads whose preview or name has a text, with the place where it stands."""
    key = params.sort_key or "created_at"
    page = await ctx.services.threads.page(
        ThreadQuery(
            limit=page_limit(params.limit),
            sort_key=key,
            descending=params.sort_direction != "asc",
            after=parse_list_cursor(params.cursor) if params.cursor is not None else None,
            archived=bool(params.archived),
            sources=params.source_kinds or None,
            search=params.search_term,
        )
    )
    return {
        "data": [
            {"thread": ctx.services.threads.wire(row), "snippet": row.preview or row.name or ""} for row in page.rows
        ],
        "nextCursor": list_cursor_of(page.rows[-1], key) if page.has_more else None,
        "backwardsCursor": list_cursor_of(page.rows[0], key) if page.rows else None,
    }


async def _begin(ctx: Context, thread_id: str, work: Work) -> LiveThread:
    """Start a turn of its own kind behind the reply."""
    services = ctx.services
    live = await services.threads.require(thread_id)
    held = await services.allowance.turn() if services.allowance is not None else None
    try:
        turn = live.start_work(work)
    except BaseException:
        if held is not None:
            await held.free()
        raise
    if services.allowance is not None and held is not None:
        services.allowance.until_over(held, live.settled, lambda: live.active is not turn)
    ctx.after_reply(lambda: services.threads.run(live, turn, after_s=turn_gap_s(ctx.session)))
    return live


def review_target(params: ReviewStartParams) -> ReviewTarget:
    """What is reviewed, in words. Raises InvalidRequest for a custom target without words."""
    from app_server.protocol.thread_more import (  # loaded by now: the params are one of its models
        BaseBranchReviewTarget,
        CommitReviewTarget,
        CustomReviewTarget,
        UncommittedChangesReviewTarget,
    )
    from app_server.turns.review import ReviewTarget

    match params.target:
        case CustomReviewTarget(instructions=text):
            if not text.strip():
                raise InvalidRequest("instructions must not be empty", data_code="emptyInstructions")
            return ReviewTarget(label=text.strip(), request=text.strip(), kind="custom")
        case UncommittedChangesReviewTarget():
            request = "Review the uncommitted changes: staged, unstaged and untracked files."
            return ReviewTarget(label="current changes", request=request, kind="uncommittedChanges")
        case BaseBranchReviewTarget(branch=branch):
            request = f"Review what the current branch changes against {branch}."
            return ReviewTarget(
                label=f"changes against '{branch}'", request=request, kind="baseBranch", revision=branch
            )
        case CommitReviewTarget(sha=sha, title=title):
            label = f"commit {sha[:7]}" + (f": {title}" if title else "")
            return ReviewTarget(label=label, request=f"Review the {label}.", kind="commit", revision=sha)
