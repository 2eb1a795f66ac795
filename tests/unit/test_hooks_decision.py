"""What each end of a hook means."""

import pytest

from app_server.hooks.config import HookCommand, HookEvent
from app_server.hooks.decision import MAX_REASON_CHARS, Verdict, judge
from app_server.hooks.process import Ran

PRE, POST = HookEvent.PRE_TOOL_USE, HookEvent.POST_TOOL_USE
DENY = '{"hookSpecificOutput": {"permissionDecision": "deny", "permissionDecisionReason": "no foxes"}}'
CONTEXT = '{"hookSpecificOutput": {"additionalContext": "logged as 7"}}'


def hook(event: HookEvent) -> HookCommand:
    return HookCommand(
        event=event, matcher=None, command="x", timeout_s=1, source="user", source_path="config.toml", order=0
    )


@pytest.mark.parametrize(
    ("event", "ran", "verdict"),
    [
        (PRE, Ran(exit_status=0), Verdict(status="completed")),
        (PRE, Ran(exit_status=0, stdout="done", stderr="noise"), Verdict(status="completed")),
        (PRE, Ran(exit_status=2, stderr="no foxes"), Verdict(status="blocked", text="no foxes")),
        (POST, Ran(exit_status=2, stderr="too dark"), Verdict(status="blocked", text="too dark")),
        (PRE, Ran(exit_status=2), Verdict(status="blocked", text="the hook gave no reason")),
        (PRE, Ran(exit_status=0, stdout=DENY), Verdict(status="blocked", text="no foxes")),
        (POST, Ran(exit_status=0, stdout=DENY), Verdict(status="completed")),
        (PRE, Ran(exit_status=0, stdout='{"decision":"block","reason":"r"}'), Verdict(status="blocked", text="r")),
        (POST, Ran(exit_status=0, stdout=CONTEXT), Verdict(status="completed", text="logged as 7")),
        (PRE, Ran(exit_status=0, stdout=CONTEXT), Verdict(status="completed")),
        (PRE, Ran(exit_status=1, stderr="oops"), Verdict(status="failed", text="it ended with status 1: oops")),
        (PRE, Ran(exit_status=127), Verdict(status="failed", text="it ended with status 127")),
        (PRE, Ran(exit_status=0, stdout="{"), Verdict(status="failed", text="its output begins like JSON and is none")),
        (PRE, Ran(exit_status=None, failure="it was late"), Verdict(status="failed", text="it was late")),
    ],
)
def test_the_end_of_a_hook_has_one_meaning(event: HookEvent, ran: Ran, verdict: Verdict) -> None:
    assert judge(hook(event), ran) == verdict


def test_a_reason_is_cut_before_it_reaches_the_model() -> None:
    verdict = judge(hook(PRE), Ran(exit_status=2, stderr="x" * 5000))
    assert (len(verdict.text), verdict.text[-1]) == (MAX_REASON_CHARS, "…")


def test_clients_are_shown_the_reason_as_feedback_and_a_failure_as_an_error() -> None:
    assert [Verdict(status=status, text="t").entries for status in ("blocked", "failed", "completed")] == [
        [{"kind": kind, "text": "t"}] for kind in ("feedback", "error", "context")
    ]
    assert Verdict(status="completed").entries == []
