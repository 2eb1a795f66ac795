"""`make interop`: has the conformance kit run every client that it knows against this server, stdio and websocket.

The kit installs the clients, once, from the package registries, and takes a driver of our own from `clients/` here: the
terminal UI through a whole session. Here is decided what a run means: `missing` and `prepared` say why there can be
none, `judge` what came of one.

Exit status: 0 every flow passed but those that wait for a tool, or nothing could run (SKIPPED, with the reason); 1 a
flow failed, or one that waited for a tool passes now; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
OUT: Final = ROOT / ".conformance" / "interop"
OURS: Final = ("--extra", str(Path(__file__).resolve().parent))
"""Has the kit take `clients/clients.toml` and its driver besides its own."""
STOP_GRACE_S: Final = 15.0

_SHELL: Final = "the model is to run a command, and this server has no tool for that yet"
_APPROVAL: Final = "asks before it runs a command, and this server has no tool for that yet"
WAITING: Final[Mapping[str, str]] = {
    "openai_codex:tool": _SHELL,
    "openai_codex:approval": _APPROVAL,
    "codex_app_server_sdk:steps": _SHELL,
    "codex_app_server_sdk:approval": _APPROVAL,
    "codex_python_sdk:approval": _APPROVAL,
    "codexed:tool": _SHELL,
    "ai_sdk_provider:tool": _SHELL,
    "tui:tool": _SHELL,
    "tui:approval": _APPROVAL,
}
"""Client and flow that need a tool which is not there, and why. They run, and a failure of theirs does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run means: the exit status and what is said of it."""

    status: int
    lines: tuple[str, ...]


def skipped(why: str) -> Verdict:
    """Nothing ran, and nobody is to blame."""
    return Verdict(status=0, lines=(f"SKIPPED: {why}",))


def missing(kit: Path, platform: str) -> str | None:
    """Why the clients cannot be run here at all; None when they can be tried."""
    if platform != "linux":
        return f"the conformance kit runs on Linux only, and this is {platform}"
    if not (kit / "run.py").is_file():
        return f"the conformance kit is not at {kit}; set CONFORMANCE_DIR to its folder"
    return None


def prepared(status: int | None, output: str, limit_s: float) -> str | None:
    """Why the clients' environments are not there; None when they are. `status` None: they were not made in time.

    A single client that could not be installed is no reason: it is left out (`unavailable`)."""
    if status is None:
        return f"the clients were not installed within {limit_s:g} seconds; a package registry may be out of reach"
    if status != 0:
        said = [line.strip() for line in output.splitlines() if line.strip()]
        failed = next((line for line in said if line.startswith("FAILED")), said[-1] if said else "it said nothing")
        return f"the kit cannot make its environment: {' '.join(failed.split())[:400]}"
    return None


def unavailable(output: str) -> Mapping[str, str]:
    """Clients that could not be installed, with the reason; trying them again would only wait again."""
    said = (line.split(None, 1)[1] for line in output.splitlines() if line.startswith("SKIPPED "))
    return {name: why for name, _, why in (text.partition(": ") for text in said)}


def judge(status: int | None, results: Sequence[Mapping[str, Any]] | None, limit_s: float) -> Verdict:
    """What the kit's run says. `status` None: it did not end in time; `results`: its clients.json, if it wrote one."""
    if status is None:
        return Verdict(status=1, lines=(f"interop: not done after {limit_s:g} seconds; see the last client above",))
    if results is None:
        return Verdict(status=1, lines=(f"interop: the kit ended with status {status} and no results; see above",))
    states: dict[str, set[str]] = {}  # a client of two transports has a flow twice
    for row in results:
        for flow, state in row["flows"].items():
            states.setdefault(f"{row['client']}:{flow}", set()).add(state)
    if set().union(*states.values()) <= {"SKIP"}:
        return skipped("no client could be run; the reasons stand above")
    arrived = sorted(name for name in WAITING if states.get(name) == {"PASS"})
    if arrived:
        names = ", ".join(arrived)
        return Verdict(
            status=1, lines=(f"interop: {names} passes now; take it out of WAITING in tests/interop/run.py",)
        )
    return Verdict(status=status, lines=() if status == 0 else ("interop: a real client fails; its flow stands above",))


def command(kit: Path, out: Path, python: str, skip: Collection[str] = ()) -> list[str]:
    """The kit's command line: our server with the standalone picture tool, every flow of every client but these."""
    server = f"{shlex.quote(python)} -m app_server --enable imagegenext"
    listening = f"{server} --listen ws://127.0.0.1:{{port}}"
    failing = ",".join(WAITING)
    flags = ["--server-cmd", server, "--ws-cmd", listening, "--expect-fail", failing, "--out", str(out), *OURS]
    flags += ["--skip", ",".join(skip)] if skip else []
    return [python, str(kit / "run.py"), "clients", *flags]


def main(argv: Sequence[str]) -> int:
    """Run it and say what came of it."""
    args = _parser().parse_args(argv)
    kit = Path(os.environ.get("CONFORMANCE_DIR") or ROOT.parent / "shared" / "conformance").absolute()
    verdict = _run(kit, args.only, args.limit_s)
    print(*verdict.lines, sep="\n", end="\n" if verdict.lines else "", flush=True)
    return verdict.status


def _run(kit: Path, only: str | None, limit_s: float) -> Verdict:
    if (why := missing(kit, sys.platform)) is not None:
        return skipped(why)
    output = ""
    for part in ("harness", "clients"):  # "harness" is the kit's own environment: without it nothing else is tried
        status, output = _child([sys.executable, str(kit / "run.py"), "setup", part, *OURS], limit_s, captured=True)
        if (why := prepared(status, output, limit_s)) is not None:
            return skipped(why)
    absent = unavailable(output)
    print(*(f"SKIPPED: {name}: {why}\n" for name, why in absent.items()), sep="", end="", flush=True)
    found = OUT / "clients.json"
    found.unlink(missing_ok=True)
    running = [*command(kit, OUT, sys.executable, absent), *(["--only", only] if only else [])]
    status, _ = _child(running, limit_s, captured=False)
    results = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else None
    return judge(status, results, limit_s)


def _child(argv: Sequence[str], limit_s: float, *, captured: bool) -> tuple[int | None, str]:
    """Exit status (None: stopped at the limit) and output; SIGTERM lets the kit end its own servers."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if captured else {}
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace", **pipes) as child:
        try:
            output, _ = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                child.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
            return None, ""
        return child.returncode, output or ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make interop", description="Run real clients against this server.")
    parser.add_argument("--only", metavar="A,B", help="only these clients")
    parser.add_argument(
        "--limit",
        dest="limit_s",
        type=float,
        default=900.0,
        metavar="S",
        help="give up after S seconds (900), each phase",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
