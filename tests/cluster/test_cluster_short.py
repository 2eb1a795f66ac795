"""The short form of `make cluster-test`: two replicas, leases of two seconds, everything once that the long one has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cluster.report import fault_lines
from tests.cluster.run import Plan, cluster_run

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP"),
]

SLACK_S = 5.0
"""Other tests run beside this one: how long a takeover lasts is for the long form to judge."""


async def test_replicas_that_are_killed_stopped_and_drained_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    plan = Plan(seconds=20.0, replicas=2, threads=8, trouble_every_s=6.0, ttl_s=2.0, slack_s=SLACK_S)
    outcome = await cluster_run(plan, tmp_path)
    assert not outcome.faults, "\n".join(fault_lines(outcome.faults))
    ran = outcome.figures["run"]
    assert (ran["drained"], ran["stopped"], ran["killed"] > 0) == (1, 1, True)
