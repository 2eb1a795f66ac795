"""The differences from the recorded reference that are meant: a row for each cause, matched and never guessed.

Owns the table and its matching, both pure; `tests.parity.compared` runs the comparison, and each row has its reason
under its id in docs/differences.md, "Against the recordings". What the kit's `compare` says is a line a difference:

    KIND stream subject: detail      SHAPE reply reply thread/list.result.data[0].path: str "…" | NoneType null

A pattern is such a line as `canonical` leaves it: without the connection's name, positions and indexes. In it `*`
stands for one run without a space, and `…` at the very end for any rest, so a pattern names a kind, a stream, a place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

_KINDS: Final = "MISSING|EXTRA|ORDER|SHAPE"
_STREAMS: Final = "reply|event|state|warning|upstream"
_CONNECTION: Final = re.compile(rf"^({_KINDS}) (?!(?:{_STREAMS}) )\w+ (?=(?:{_STREAMS}) )")
_POSITION: Final = re.compile(r" \(position \d+ in (?:the reference|ours)\)|: position \d+ \| \d+$")
_INDEX: Final = re.compile(r"\[\d+\]")
PATTERN: Final = re.compile(rf"^(?:{_KINDS}) (?:{_STREAMS}) [^ *]\S*(?: [^…]*…?)?$")
"""What every pattern of the table has to look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cause: its id and section in docs/differences.md, the lines that it explains, and where they may be."""

    id: str
    section: str
    lines: tuple[str, ...]
    scenarios: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What does not fit: differences without a row, and what of the table explains nothing."""

    unexplained: tuple[str, ...]
    stale: tuple[str, ...]


def canonical(line: str) -> str:
    """A line of `compare` without what hangs on the scenario's length: connection, positions, indexes."""
    return _INDEX.sub("[]", _POSITION.sub("", _CONNECTION.sub(r"\1 ", line)))


def held(table: Sequence[Row], found: Mapping[str, Iterable[str]]) -> Findings:
    """Hold the differences of each scenario against the table. Several rows may explain the same one."""
    unexplained: list[str] = []
    used: set[tuple[str, str]] = set()
    for scenario, lines in found.items():
        for line in lines:
            marks = set(_explanations(table, scenario, canonical(line)))
            used |= marks
            if not marks:
                unexplained.append(f"{scenario}: {line}")
    parts = ((row.id, part) for row in table for part in (*row.lines, *row.scenarios))
    stale = tuple(f"{name}: {part}" for name, part in parts if (name, part) not in used)
    return Findings(unexplained=tuple(unexplained), stale=stale)


def _explanations(table: Sequence[Row], scenario: str, line: str) -> Iterator[tuple[str, str]]:
    """Row and pattern, row and scenario, of whatever explains this line."""
    for row in table:
        where = [name for name in row.scenarios if fnmatchcase(scenario, name)]
        what = [pattern for pattern in row.lines if _compiled(pattern).fullmatch(line)] if where else []
        if what:
            yield from ((row.id, part) for part in (*where, *what))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    rest = ".*" if pattern.endswith("…") else ""
    return re.compile("[^ ]*".join(re.escape(part) for part in pattern.removesuffix("…").split("*")) + rest)


def _each(template: str, names: str) -> tuple[str, ...]:
    """The template once for each name, in the place of `@`."""
    return tuple(template.replace("@", name) for name in names.split())


_WIRE: Final = "Wire and errors"
_THREADS: Final = "Threads and turns"
_UPSTREAM: Final = "What goes upstream"
_OFFERED: Final = "Which picture tool is offered"
_ARGUMENTS: Final = "Arguments of `image_gen.imagegen`"
_ITEM: Final = "The item, the file, the failure"
_SETTINGS: Final = "Settings, logins and lists"
_LATER: Final = "Not on purpose: what is not built yet"

_POST: Final = "SHAPE upstream POST /v1/responses.body."
_NULL: Final = 'str "*" | NoneType null'
_LIST: Final = "SHAPE reply reply model/list.result.data[]."
_CONFIG: Final = "SHAPE reply reply config/read.result.config."
_READ_ITEM: Final = "SHAPE reply reply thread/read.result.thread.turns[].items[]."
_ITEM_PLACES: Final = (
    "SHAPE event item/completed[imageGeneration].params.item.",
    _READ_ITEM,
    "SHAPE reply reply thread/items/list.result.data[].item.",
    "SHAPE reply reply thread/resume.result.thread.turns[].items[].",
)

TABLE: Final[tuple[Row, ...]] = (
    # -- wire and errors
    Row(
        id="frame-errors",
        section=_WIRE,
        scenarios=("handshake", "ws_probes"),
        lines=_each('EXTRA reply error reply None: {"error": {"code": @, …', "-32600 -32700"),
    ),
    Row(
        id="error-code",
        section=_WIRE,
        lines=(
            'SHAPE reply error reply *.error.data: only in ours ({"code": "*"})',
            'SHAPE reply error reply *.error.data.code: only in ours ("*")',
        ),
    ),
    Row(
        id="error-details",
        section=_WIRE,
        scenarios=("upstream_faults",),
        lines=_each(
            'SHAPE event @error.additionalDetails: NoneType null | str "The connection to …',
            "error.params. turn/completed.params.turn.",
        ),
    ),
    Row(
        id="started-at",
        section=_WIRE,
        scenarios=("turn_bad_requests",),
        lines=("SHAPE reply reply turn/start.result.turn.startedAt: NoneType null | number 0",),
    ),
    Row(
        id="goal-cleared",
        section=_WIRE,
        scenarios=("imagegen_resume", "thread_archive", "thread_resume_process", "thread_resume_same"),
        lines=("MISSING event thread/goal/cleared: …",),
    ),
    # -- threads and turns
    Row(
        id="seq",
        section=_THREADS,
        lines=(
            *_each(
                "SHAPE event @.params.seq: only in ours (*)",
                "item/started[*] item/completed[*] turn/started turn/completed "
                "thread/name/updated thread/reverted thread/settings/updated",
            ),
            "SHAPE state thread/tokenUsage/updated.params.seq: only in ours (*)",
            "SHAPE reply reply thread/resume.result.lastSeq: only in ours (*)",
        ),
    ),
    Row(
        id="thread-path",
        section=_THREADS,
        lines=(
            f"SHAPE event thread/started.params.thread.path: {_NULL}",
            *_each(
                f"SHAPE reply reply thread/@.result.thread.path: {_NULL}",
                "start resume fork read revert unarchive metadata/update",
            ),
            f"SHAPE reply reply thread/list.result.data[].path: {_NULL}",
            f"SHAPE reply reply thread/search.result.data[].thread.path: {_NULL}",
        ),
    ),
    Row(
        id="half-streamed",
        section=_THREADS,
        scenarios=("turn_bad_requests", "turn_interrupt", "upstream_faults"),
        lines=("EXTRA event item/completed[agentMessage]: …",),
    ),
    Row(
        id="review-turn",
        section=_THREADS,
        scenarios=("review",),
        lines=(
            "ORDER event turn/started",
            *_each("MISSING event @: …", "item/started[userMessage] item/completed[userMessage]"),
            "MISSING event item/started[agentMessage]: …",
            "EXTRA state thread/tokenUsage/updated: …",
            'SHAPE reply reply review/start.result.turn.rootTurnId: NoneType null | str "*"',
            "SHAPE reply reply thread/read.result.thread.turns: 6 | 4 elements",
            "SHAPE reply reply thread/read.result.thread.turns[].items: 1 | 3 elements",
            *_each(
                "SHAPE reply reply thread/read.result.thread.turns[].@: NoneType null | number 0",
                "completedAt durationMs",
            ),
            'SHAPE reply reply thread/read.result.thread.turns[].status: "interrupted" | "completed"',
            f"{_READ_ITEM}clientId: only in the reference (null)",
            f"{_READ_ITEM}content: only in the reference …",
            f"{_READ_ITEM}review: only in ours …",
            f'{_READ_ITEM}type: "userMessage" | "enteredReviewMode"',
            *_each(
                f'{_POST}client_metadata.@: only in the reference ("*")',
                "parent_turn_id x-codex-parent-thread-id x-openai-subagent",
            ),
            f"{_POST}tools.function:view_image: only in the reference …",
        ),
    ),
    Row(
        id="revert-stays-loaded",
        section=_THREADS,
        scenarios=("thread_revert",),
        lines=(
            "MISSING state thread/status/changed: …",
            'SHAPE state thread/status/changed.params.status.type: "notLoaded" | "active"',
            "SHAPE state thread/status/changed.params.status.activeFlags: only in ours ([])",
        ),
    ),
    Row(
        id="counted-usage",
        section=_THREADS,
        scenarios=("context_overflow", "thread_compact", "upstream_faults"),
        lines=("MISSING state thread/tokenUsage/updated: …",),
    ),
    Row(
        id="renamed-is-updated",
        section=_THREADS,
        scenarios=("thread_list_read",),
        lines=(
            'SHAPE reply reply thread/list.result.data[].name: str "My thread" | NoneType null',
            'SHAPE reply reply thread/list.result.data[].name: NoneType null | str "My thread"',
            'SHAPE reply reply thread/list.result.data[].gitInfo: dict {"sha": …',
            'SHAPE reply reply thread/list.result.data[].gitInfo: NoneType null | dict {"sha": …',
        ),
    ),
    Row(
        id="ephemeral-turns",
        section=_THREADS,
        scenarios=("thread_list_read",),
        lines=(
            'MISSING reply error reply thread/read: {"error": {"code": -32601, "message": "list_turns is not …',
            'EXTRA reply reply thread/read: {"id": 25, "result": {"thread": …',
        ),
    ),
    # -- what goes upstream
    Row(
        id="requests-beside",
        section=_UPSTREAM,
        scenarios=("account", "imagegen_*"),
        lines=_each(
            "MISSING upstream GET @: …", "/backend-api/wham/accounts/check /backend-api/wham/settings/user /v1/models"
        ),
    ),
    Row(
        id="other-tools",
        section=_UPSTREAM,
        lines=_each(
            f"{_POST}tools.@: only in the reference …",
            "custom:apply_patch function:exec_command function:write_stdin function:request_user_input "
            "function:create_goal function:get_goal function:update_goal tool_search: web_search:",
        ),
    ),
    Row(
        id="lite-models",
        section=_UPSTREAM,
        scenarios=("thread_resume_process", "turn_overrides"),
        lines=(
            f'{_POST}tools: only in ours ({{"function:view_image": …',
            f'{_POST}reasoning.context: only in the reference ("all_turns")',
        ),
    ),
    Row(
        id="after-compaction",
        section=_UPSTREAM,
        scenarios=("context_overflow", "thread_compact"),
        lines=(
            f"{_POST}input: 6 | 5 elements",
            f"{_POST}input: 7 | 6 elements",
            f"{_POST}input[].content: 3 | 1 elements",
            f'{_POST}input[].role: "developer" | "user"',
            f'{_POST}input[].id: only in ours ("msg_*")',
        ),
    ),
    Row(
        id="attached-pictures",
        section=_UPSTREAM,
        scenarios=("image_input", "imagegen_edit"),
        lines=(
            f"{_POST}input[].content: 1 | 3 elements",
            f"{_POST}input[].content: 2 | 4 elements",
            f"{_POST}input[].content: 5 | 7 elements",
            f'{_POST}input[].content[].text: only in ours ("<image name=[Image …',
            f'{_POST}input[].content[].text: only in ours ("</image>")',
            f'{_POST}input[].content[].text: only in the reference ("<image name=[Image …',
            f'{_POST}input[].content[].type: "input_image" | "input_text"',
            f'{_POST}input[].content[].type: "input_text" | "input_image"',
            f'{_POST}input[].content[].image_url: only in ours ("data:image/png;base64,*)',
            f'{_POST}input[].content[].image_url: only in the reference ("data:image/png;base64,*)',
            f'{_POST}input[].content[].detail: only in ours ("high")',
            f'{_POST}input[].content[].detail: only in the reference ("original")',
        ),
    ),
    Row(
        id="view-image",
        section=_UPSTREAM,
        lines=(
            f"{_POST}tools.function:view_image.parameters.properties.detail: only in ours …",
            f"{_POST}tools.function:view_image.parameters.properties.path.minLength: only in ours (1)",
            f"{_POST}input[].output: 1 | 2 elements",
        ),
    ),
    # -- pictures
    Row(
        id="offered-with-a-key",
        section=_OFFERED,
        scenarios=("account",),
        lines=(f"{_POST}tools.image_generation:: only in ours …",),
    ),
    Row(
        id="hosted-picture",
        section=_OFFERED,
        scenarios=("image_hosted",),
        lines=(
            *_each("EXTRA event item/@[imageGeneration]: …", "started completed"),
            "SHAPE reply reply thread/read.result.thread.turns[].items: 2 | 3 elements",
            f'{_READ_ITEM}type: "agentMessage" | "imageGeneration"',
            *_each(
                f"{_READ_ITEM}@: only in the reference …", "delivery memoryCitation moderation phase questions text"
            ),
            *_each(
                f"{_READ_ITEM}@: only in ours …",
                "failure generationId result revisedPrompt savedPath status transparentBackground",
            ),
            f"{_POST}input: 5 | 6 elements",
            f'{_POST}input[].role: "assistant" | "developer"',
            f'{_POST}input[].role: "user" | "assistant"',
            f'{_POST}input[].content[].type: "output_text" | "input_text"',
            f'{_POST}input[].content[].type: "input_text" | "output_text"',
            f"{_POST}input[].content[].annotations: only in ours ([])",
            f"{_POST}input[].content[].annotations: only in the reference ([])",
        ),
    ),
    Row(
        id="picture-arguments",
        section=_ARGUMENTS,
        scenarios=("imagegen_*",),
        lines=(
            *_each(
                f"{_POST}tools.namespace:image_gen.tools[].parameters.properties.@: only in ours …",
                "action referenced_images prompt.description prompt.minLength "
                "num_last_images_to_include.description num_last_images_to_include.minimum "
                "num_last_images_to_include.maximum referenced_image_paths.description referenced_image_paths.maxItems",
            ),
            f"{_POST}tools.namespace:image_gen.tools[].parameters.properties.referenced_image_paths.items.description: "
            "only in the reference …",
            f"{_POST}tools.namespace:image_gen.tools[].parameters.properties.transparent_background.type: "
            'str "boolean" | list ["boolean", "null"]',
        ),
    ),
    Row(
        id="picture-background",
        section=_ARGUMENTS,
        scenarios=("imagegen_*",),
        lines=tuple(f"{place}transparentBackground: bool false | NoneType null" for place in _ITEM_PLACES),
    ),
    Row(
        id="picture-members",
        section=_ITEM,
        scenarios=("image_hosted", "imagegen_*"),
        lines=(
            *_each("SHAPE event item/started[imageGeneration].params.item.@: only in ours …", "model prompt"),
            *(
                line
                for place in _ITEM_PLACES
                for line in _each(
                    f"{place}@: only in ours …",
                    "prompt model mimeType bytes width height hasAlpha sha256 handle effectiveParameters",
                )
            ),
        ),
    ),
    Row(
        id="interrupted-picture",
        section=_THREADS,
        scenarios=("imagegen_interrupt",),
        lines=("EXTRA event item/completed[imageGeneration]: …",),
    ),
    # -- settings, logins and lists
    Row(
        id="config-defaults",
        section=_SETTINGS,
        scenarios=("config_rpc",),
        lines=(
            f"{_CONFIG}*: only in the reference (null)",
            *_each(
                f"{_CONFIG}features.@: only in the reference …",
                "api_key_cyber_access_programs api_key_model_discovery auth_elicitation "
                "background_paginated_rollout_migration codex_apps_mcp_2026_07_28 daybreak_program_propagation "
                "mcp_2026_07_28 mcp_connection_sharing mcp_lazy_stdio_startup memories mentions_v2 remote_control "
                "remote_plugin tool_suggest windows_sandbox_service",
            ),
            *_each(
                f"{_CONFIG}@: only in the reference …",
                "allow_login_shell background_terminal_max_timeout file_opener hide_agent_reasoning history "
                "include_apps_instructions include_collaboration_mode_instructions include_environment_context "
                "include_environment_context_time include_permissions_instructions marketplaces "
                "mcp_oauth_credentials_store mcp_servers model_providers.fake.requires_openai_auth "
                "model_providers.fake.supports_standalone_web_search plugins profiles project_doc_fallback_filenames "
                "project_doc_max_bytes project_root_markers shell_environment_policy",
            ),
            f"{_CONFIG}no_such_key: only in ours (1)",
            "SHAPE reply reply config/read.result.layers: 2 | 1 elements",
        ),
    ),
    Row(
        id="model-list",
        section=_THREADS,
        scenarios=("lists",),
        lines=(
            "SHAPE reply reply model/list.result.data: 12 | * elements",
            *_each(f"{_LIST}supportedReasoningEfforts: @ | 4 elements", "5 6"),
            *_each(f"{_LIST}@: 1 | 0 elements", "additionalSpeedTiers serviceTiers"),
            *_each(f"{_LIST}@: {_NULL}", "defaultServiceTier modelSpecialty multiAgentVersion upgrade"),
            f'{_LIST}upgradeInfo: dict {{"model": …',
            f'{_LIST}availabilityNux: dict {{"message": …',
        ),
    ),
    Row(
        id="shorter-lists",
        section=_SETTINGS,
        scenarios=("lists",),
        lines=(
            "SHAPE reply reply experimentalFeature/list.result.data: 215 | * elements",
            *_each(
                "SHAPE reply reply experimentalFeature/list.result.data[].@: str …",
                "announcement description displayName",
            ),
            "SHAPE reply reply skills/list.result.data[].skills: 6 | 1 elements",
            "SHAPE reply reply collaborationMode/list.result.data: 2 | 1 elements",
            'SHAPE reply reply collaborationMode/list.result.data[].reasoning_effort: str "medium" | NoneType null',
            "SHAPE reply reply modelProvider/list.result.data: 2 | 3 elements",
            'SHAPE reply reply modelProvider/list.result.data[].settings.auth: only in ours ({"mode": "none"})',
            'SHAPE reply reply modelProvider/list.result.data[].settings.type: "openai" | "customGateway"',
            "SHAPE reply reply threadSection/list.result.data: 1 | 0 elements",
        ),
    ),
    Row(
        id="no-picture-reason",
        section=_OFFERED,
        scenarios=("lists",),
        lines=("SHAPE reply reply modelProvider/capabilities/read.result.imageGenerationReason: only in ours …",),
    ),
    Row(
        id="left-the-protocol",
        section=_SETTINGS,
        scenarios=("lists",),
        lines=('MISSING reply reply getAuthStatus: {"id": 28, …', 'EXTRA reply error reply getAuthStatus: {"error": …'),
    ),
    Row(
        id="workspace-routing",
        section=_SETTINGS,
        scenarios=("account",),
        lines=("SHAPE reply reply account/read.result.workspaceRouting: dict …",),
    ),
    # -- not built yet
    Row(
        id="plan-tool",
        section=_LATER,
        scenarios=("update_plan",),
        lines=(
            "MISSING event turn/plan/updated: …",
            f"{_POST}tools.function:update_plan: only in the reference …",
        ),
    ),
)
