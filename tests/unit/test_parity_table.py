"""What `make parity` decides: that each meant difference is written down, and that nothing else passes for one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.interop.run import Verdict
from tests.parity.compared import (
    DIFFERENCES,
    WAITING,
    align,
    aligned_transcript,
    aligned_upstream,
    documented,
    groups,
    judge,
    undocumented,
)
from tests.parity.differences import PATTERN, TABLE, Findings, Row, canonical, held

SEQ = Row(id="seq", section="Threads", lines=("SHAPE event *.params.seq: only in ours (*)",))
DOC = """
## Threads

## Against the recordings

| id | what the comparison shows | why |
|---|---|---|
| `seq` | numbers | [Threads](#threads): additional members |

## Later
"""


def explained(line: str, scenario: str = "text_turn_simple") -> bool:
    return held(TABLE, {scenario: [line]}).unexplained == ()


# -- the table and the document
def test_every_row_has_its_reason_in_the_document_and_every_reason_its_row() -> None:
    text = DIFFERENCES.read_text(encoding="utf-8")
    assert undocumented(TABLE, text) == []
    assert len(documented(text)) == len({row.id for row in TABLE}) == len(TABLE)


def test_a_row_without_a_reason_and_a_reason_without_a_row_are_both_named() -> None:
    other = Row(id="other", section="Threads", lines=SEQ.lines)
    moved = Row(id="seq", section="Elsewhere", lines=SEQ.lines)
    no_row = "seq: docs/differences.md tells of it, and tests/parity/differences.py has no such row in Threads"
    assert undocumented([SEQ], DOC) == []
    assert undocumented([SEQ, other], DOC) == [
        "other: docs/differences.md names no reason for it in its section Threads"
    ]
    assert undocumented([], DOC) == [no_row]
    assert undocumented([moved], DOC) == [
        "seq: docs/differences.md names no reason for it in its section Elsewhere",
        no_row,
    ]


def test_a_reason_has_to_name_a_section_that_is_there() -> None:
    assert documented(DOC.replace("## Threads", "## Turns")) == [("seq", "")]
    assert documented(DOC.replace("[Threads](#threads): ", "")) == [("seq", "")]


# -- patterns
@pytest.mark.parametrize("pattern", [line for row in TABLE for line in row.lines])
def test_a_pattern_names_a_kind_a_stream_and_a_place_and_is_open_at_its_end_alone(pattern: str) -> None:
    assert PATTERN.match(pattern)


@pytest.mark.parametrize(
    "pattern", ["…", "SHAPE …", "SHAPE event *", "SHAPE event * …", "NOISE event x", "SHAPE mood x"]
)
def test_a_pattern_that_could_mean_anything_is_none(pattern: str) -> None:
    assert not PATTERN.match(pattern)


def test_a_star_is_one_run_without_a_space_and_an_ellipsis_any_rest() -> None:
    row = Row(id="x", section="s", lines=("SHAPE event *.a: only in ours …", "SHAPE event b: * | null"))
    lines = ["SHAPE event b.c.a: only in ours (1 2 3)", "SHAPE event b: 1 | null"]
    misses = [
        "SHAPE event b c.a: only in ours (1)",
        "SHAPE event b: 1 2 | null",
        "SHAPE event x.a: only in the reference",
    ]
    assert held([row], {"s": lines}) == Findings(unexplained=(), stale=())
    assert held([row], {"s": misses}).unexplained == tuple(f"s: {line}" for line in misses)


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("SHAPE second reply reply x/read.a[12].b[0]: 1 | 2", "SHAPE reply reply x/read.a[].b[]: 1 | 2"),
        ("SHAPE reply error reply x.error.code: 1 | 2", "SHAPE reply error reply x.error.code: 1 | 2"),
        ("MISSING a state x (position 3 in the reference): {}", "MISSING state x: {}"),
        ("EXTRA event x (position 30 in ours): {}", "EXTRA event x: {}"),
        ("ORDER event turn/started: position 17 | 15", "ORDER event turn/started"),
    ],
)
def test_a_line_is_matched_without_connection_positions_and_indexes(line: str, plain: str) -> None:
    assert canonical(line) == plain


# -- differences
@pytest.mark.parametrize(
    "line",
    [
        "SHAPE event turn/completed.params.seq: only in ours (7)",
        'SHAPE second reply reply thread/resume.result.thread.path: str "<HOME>/a.jsonl" | NoneType null',
        'SHAPE reply error reply thread/read.error.data: only in ours ({"code": "threadNotFound"})',
    ],
)
def test_a_difference_that_is_meant_is_explained(line: str) -> None:
    assert explained(line)


@pytest.mark.parametrize(
    "line",
    [
        "SHAPE event turn/completed.params.seq: only in the reference (7)",
        "SHAPE event turn/completed.params.turn.seq: only in ours (7)",
        'SHAPE event turn/completed.params.turn.status: "failed" | "completed"',
        "SHAPE reply error reply thread/read.error.code: -32600 | -32603",
        'SHAPE reply error reply thread/read.error.data: only in ours ({"code": "x", "trace": "y"})',
        'SHAPE reply reply thread/read.result.thread.name: str "a" | NoneType null',
        "MISSING event turn/completed (position 9 in the reference): {}",
        "MISSING state thread/tokenUsage/updated (position 9 in the reference): {}",
        "EXTRA event item/completed[agentMessage] (position 9 in ours): {}",
        "EXTRA warning warning (position 0 in ours): {}",
        "ORDER event turn/started: position 1 | 2",
        "SHAPE upstream POST /v1/responses.body.input: 4 | 3 elements",
        "SHAPE upstream POST /v1/responses.body.tools.function:new_tool: only in the reference ({})",
    ],
)
def test_an_invented_difference_is_not_explained(line: str) -> None:
    assert not explained(line)


def test_a_row_counts_in_its_own_scenarios_alone() -> None:
    line = "EXTRA event item/completed[agentMessage] (position 6 in ours): {}"
    assert (explained(line, "turn_interrupt"), explained(line, "turn_steer")) == (True, False)


def test_a_pattern_and_a_scenario_that_explain_nothing_any_more_are_named() -> None:
    row = Row(id="x", section="s", lines=("ORDER event a", "ORDER event b"), scenarios=("one", "two_*"))
    findings = held([row], {"one": ["ORDER event a: position 1 | 2"], "two_b": [], "three": ["ORDER event b"]})
    assert findings == Findings(unexplained=("three: ORDER event b",), stale=("x: ORDER event b", "x: two_*"))


# -- recordings
def test_only_what_instructs_before_the_conversation_is_left_out() -> None:
    def request(*items: tuple[str, str]) -> dict[str, Any]:
        return {"path": "/v1/responses", "body": {"input": [{"type": kind, "role": role} for kind, role in items]}}

    user, developer, tools = ("message", "user"), ("message", "developer"), ("additional_tools", "")
    assert aligned_upstream(request(tools, developer, user, developer)) == request(user, developer)
    assert aligned_upstream(request(developer)) == request()
    assert aligned_upstream({"path": "/v1/models", "body": None}) == {"path": "/v1/models", "body": None}


def test_ids_are_numbered_as_if_remote_control_had_none(tmp_path: Path) -> None:
    told = json.dumps({"msg": {"method": "remoteControl/status/changed", "params": {"installationId": "<uuid1>"}}})
    named = '{"msg": {"method": "initialize", "params": {"optOut": ["remoteControl/status/changed"]}}}'
    assert aligned_transcript([told, named, '["<uuid2>", "<uuid3>"]', '["<uuid2>"]']) == [
        named,
        '["<uuid1>", "<uuid2>"]',
        '["<uuid1>"]',
    ]


def test_a_recording_without_upstream_requests_is_written_as_well(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    (recorded / "transcript.norm.jsonl").write_text('["<uuid4>"]\n')
    align(recorded, tmp_path / "aligned" / "x")
    written = {path.name: path.read_text() for path in (tmp_path / "aligned" / "x").iterdir()}
    assert written == {"transcript.norm.jsonl": '["<uuid1>"]\n', "upstream.norm.jsonl": ""}


def test_the_scenarios_of_the_standalone_tool_get_its_flag() -> None:
    names = ["handshake", "imagegen_edit", "image_hosted"]
    assert groups(names) == [(["handshake", "image_hosted"], ""), (["imagegen_edit"], " --enable imagegenext")]
    assert groups(["handshake"]) == [(["handshake"], "")]


# -- verdicts
SAME = {"handshake": True, "exec_background": False}
SEEN = {"handshake": ["SHAPE event turn/started.params.seq: only in ours (1)"]}


def verdict(
    passed: dict[str, bool], found: dict[str, list[str]], *, table: Sequence[Row] = (SEQ,), partial: bool = False
) -> Verdict:
    return judge(passed, found, DOC, table=table, partial=partial)


def test_a_run_in_which_everything_has_its_reason_is_green() -> None:
    line = "parity: 1 differences in 1 scenarios, each with its reason; 1 scenarios wait"
    assert verdict(SAME, SEEN) == Verdict(status=0, lines=(line,))


def test_a_difference_without_a_row_and_a_row_without_a_difference_fail() -> None:
    assert verdict(SAME, {"handshake": ["ORDER event x"]}) == Verdict(
        status=1,
        lines=(
            "parity: not explained by any row: handshake: ORDER event x",
            f"parity: explains nothing any more: seq: {SEQ.lines[0]}",
            "parity: explains nothing any more: seq: *",
        ),
    )


def test_a_row_without_a_difference_says_nothing_when_only_some_scenarios_ran() -> None:
    assert verdict(SAME, {"handshake": []}, partial=True).status == 0


def test_a_row_without_its_reason_fails() -> None:
    other = Row(id="other", section="Threads", lines=SEQ.lines)
    line = "parity: other: docs/differences.md names no reason for it in its section Threads"
    assert verdict(SAME, SEEN, table=(SEQ, other)) == Verdict(status=1, lines=(line,))


def test_a_scenario_that_fails_and_a_waiting_one_that_passes_both_fail_the_run() -> None:
    failing = verdict({"handshake": False, "exec_background": False}, SEEN)
    arrived = verdict({"handshake": True, "exec_background": True}, SEEN)
    assert [line.split(";")[0] for line in failing.lines] == ["parity: handshake fails"]
    line = "parity: exec_background passes now; take it out of WAITING in tests/parity/compared.py"
    assert arrived == Verdict(status=1, lines=(line,))


def test_no_row_is_about_a_scenario_that_waits() -> None:
    assert {name for row in TABLE for name in row.scenarios} & set(WAITING) == set()
