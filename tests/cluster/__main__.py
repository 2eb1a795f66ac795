"""`make cluster-test`: replicas under load and trouble for CLUSTER_SECONDS (120), and what came of it.

    CLUSTER_REPLICAS  processes (4)            CLUSTER_EVERY_S  seconds between two kills (5)
    CLUSTER_THREADS   threads at once (64)     CLUSTER_TTL_S    life of a lease (that of the product)

Prints a table of Markdown and the same as JSON. Exit status: 0 nothing was lost, doubled, run twice or left open, and
takeovers were in time, or there is no PostgreSQL here (SKIPPED); 1 something was, and the faults say what.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import anyio
import orjson
import pytest

from tests.cluster.report import fault_lines, table
from tests.cluster.run import Plan, cluster_run

DEFAULT = Plan()


def main() -> int:
    """Run it as the environment says."""
    plan = Plan(
        seconds=float(os.environ.get("CLUSTER_SECONDS") or DEFAULT.seconds),
        replicas=int(os.environ.get("CLUSTER_REPLICAS") or DEFAULT.replicas),
        threads=int(os.environ.get("CLUSTER_THREADS") or DEFAULT.threads),
        trouble_every_s=float(os.environ.get("CLUSTER_EVERY_S") or DEFAULT.trouble_every_s),
        ttl_s=float(os.environ.get("CLUSTER_TTL_S") or DEFAULT.ttl_s),
    )
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        try:
            outcome = anyio.run(cluster_run, plan, Path(folder))
        except pytest.skip.Exception as reason:
            print(f"SKIPPED: {reason}")
            return 0
    print("\n".join(table(outcome.figures)))
    print(orjson.dumps({**outcome.figures, "faults": outcome.faults}).decode())
    print("\n".join(fault_lines(outcome.faults)))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
