"""`make parity`: records this server with the conformance kit and holds it against the reference's recordings.

Two things are taken out of both recordings before they are compared, because they would shift all that follows: what
an upstream request instructs the model with before the conversation begins, and the id of remote control among the
numbered ids. Every other difference needs a row in `tests.parity.differences`, and every row a difference.

Exit status: 0 nothing else differs, or nothing could run (SKIPPED, with the reason); 1 a difference without a row, a
row without a difference, a row without its reason in docs/differences.md, a scenario that fails, or a waiting one that
passes; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from tests.interop.run import STOP_GRACE_S, Verdict, missing, prepared, skipped
from tests.parity.differences import TABLE, Row, held

ROOT: Final = Path(__file__).resolve().parents[2]
OUT: Final = ROOT / ".conformance" / "parity"
DIFFERENCES: Final = ROOT / "docs" / "differences.md"
STANDALONE: Final = ("imagegen_*",)
"""Scenarios in which the reference offers the standalone picture tool; here a flag does."""

_SHELL: Final = "the model is to run a command, and this server has no tool for that yet"
_PATCH: Final = "the model is to change files, and this server has no tool for that yet"
WAITING: Final[Mapping[str, str]] = {
    "exec_no_approval": _SHELL,
    "exec_sandboxed": _SHELL,
    "exec_approval_accept": _SHELL,
    "exec_approval_acceptForSession": _SHELL,
    "exec_approval_cancel": _SHELL,
    "exec_approval_decline": _SHELL,
    "exec_background": _SHELL,
    "patch_accept": _PATCH,
    "patch_auto": _PATCH,
    "request_user_input": "the model is to ask the user, and this server has no tool for that yet",
    "mcp_server": "a tool of an MCP server is called, and this server has none yet",
    "ws_two_clients": "two clients are asked for an approval, and this server has no tool that needs one yet",
}
"""Scenarios that need a tool which is not there, and why. They run, have to fail, and are not compared."""

_ID: Final = re.compile(r"<uuid\d+>")
_REMOTE_CONTROL: Final = '"method": "remoteControl/status/changed"'
_DOCUMENTED: Final = re.compile(r"^\| `([^|]+)` \|[^|]*\| (?:\[(.+)\]\(#[^)]+\))?", re.MULTILINE)


def documented(text: str) -> list[tuple[str, str]]:
    """Id and section of every row of the table in "Against the recordings"; a section that is not there is empty."""
    table = text.partition("\n## Against the recordings\n")[2].partition("\n## ")[0]
    return [(name, section if f"\n## {section}\n" in text else "") for name, section in _DOCUMENTED.findall(table)]


def undocumented(table: Sequence[Row], text: str) -> list[str]:
    """What of the table and of docs/differences.md does not fit together, in both directions."""
    told, known = documented(text), [(row.id, row.section) for row in table]
    lacking = [
        f"{name}: docs/differences.md names no reason for it in its section {section}"
        for name, section in known
        if (name, section) not in told
    ]
    beyond = [
        f"{name}: docs/differences.md tells of it, and tests/parity/differences.py has no such row in {section}"
        for name, section in told
        if (name, section) not in known
    ]
    return lacking + beyond


def aligned_upstream(request: dict[str, Any]) -> dict[str, Any]:
    """An upstream request whose input begins with the conversation."""
    match request:
        case {"body": {"input": [*items]}}:
            instructing = (item.get("role") == "developer" or item.get("type") == "additional_tools" for item in items)
            begin = next((index for index, told in enumerate(instructing) if not told), len(items))
            return {**request, "body": {**request["body"], "input": items[begin:]}}
    return request


def aligned_transcript(lines: Sequence[str]) -> list[str]:
    """The messages but those about remote control, with the ids numbered as they come."""
    numbers: dict[str, str] = {}
    kept = (line for line in lines if _REMOTE_CONTROL not in line)
    return [_ID.sub(lambda found: numbers.setdefault(found[0], f"<uuid{len(numbers) + 1}>"), line) for line in kept]


def align(recorded: Path, aligned: Path) -> None:
    """Write one scenario's recording as it is compared."""
    aligned.mkdir(parents=True)
    transcript, upstream = "transcript.norm.jsonl", "upstream.norm.jsonl"
    (aligned / transcript).write_text(_jsonl(aligned_transcript(_lines(recorded / transcript))), encoding="utf-8")
    requests = (aligned_upstream(json.loads(line)) for line in _lines(recorded / upstream))
    (aligned / upstream).write_text(_jsonl([json.dumps(request) for request in requests]), encoding="utf-8")


def judge(
    passed: Mapping[str, bool], found: Mapping[str, Sequence[str]], text: str, *, table: Sequence[Row], partial: bool
) -> Verdict:
    """What a run means: the harness's verdict by scenario, and the differences of those that do not wait.

    `partial`: only some scenarios ran, so a row that explains nothing says nothing."""
    findings = held(table, found)
    lines = [
        f"{name} fails; {OUT / 'ours' / name / 'result.json'} says why"
        for name, ok in passed.items()
        if not ok and name not in WAITING
    ]
    lines += [
        f"{name} passes now; take it out of WAITING in tests/parity/compared.py"
        for name, ok in passed.items()
        if ok and name in WAITING
    ]
    lines += [f"not explained by any row: {line}" for line in findings.unexplained]
    lines += [] if partial else [f"explains nothing any more: {line}" for line in findings.stale]
    lines += undocumented(table, text)
    if lines:
        return Verdict(status=1, lines=tuple(f"parity: {line}" for line in lines))
    count, waiting = sum(map(len, found.values())), sum(name in WAITING for name in passed)
    summary = f"parity: {count} differences in {len(found)} scenarios, each with its reason; {waiting} scenarios wait"
    return Verdict(status=0, lines=(summary,))


def main(argv: Sequence[str]) -> int:
    """Run it and say what came of it."""
    args = _parser().parse_args(argv)
    kit = Path(os.environ.get("CONFORMANCE_DIR") or ROOT.parent / "shared" / "conformance").absolute()
    verdict = _run(kit, args.scenario, args.limit_s)
    print(*verdict.lines, sep="\n", flush=True)
    return verdict.status


def _run(kit: Path, only: Collection[str], limit_s: float) -> Verdict:
    if (why := missing(kit, sys.platform)) is not None:
        return skipped(why)
    if (why := prepared(*_kit(kit, ["setup", "harness"], limit_s, captured=True), limit_s)) is not None:
        return skipped(why)
    names = sorted(path.name for path in (kit / "golden").iterdir() if path.is_dir())
    if unknown := [name for name in only if name not in names]:
        return Verdict(status=2, lines=(f"parity: the reference has no recording of {', '.join(unknown)}",))
    names = [name for name in names if not only or name in only]
    shutil.rmtree(OUT, ignore_errors=True)
    for group, flag in groups(names):
        server = f"{shlex.quote(sys.executable)} -m app_server{flag}"
        running = ["harness", "run", "--server", server, "--out", str(OUT / "ours"), "--scenario", *group]
        if _kit(kit, running, limit_s, captured=False)[0] is None:
            return Verdict(status=1, lines=(f"parity: not done after {limit_s:g} s; see the last scenario above",))
    passed = {name: _passed(OUT / "ours" / name / "result.json") for name in names}
    found = _differences(kit, [name for name in names if name not in WAITING], limit_s)
    return judge(passed, found, DIFFERENCES.read_text(encoding="utf-8"), table=TABLE, partial=bool(only))


def groups(names: Sequence[str]) -> list[tuple[list[str], str]]:
    """Scenarios and the flag that the server gets for them."""
    standalone = [name for name in names if any(fnmatchcase(name, pattern) for pattern in STANDALONE)]
    plain = [name for name in names if name not in standalone]
    return [(group, flag) for group, flag in ((plain, ""), (standalone, " --enable imagegenext")) if group]


def _differences(kit: Path, names: Sequence[str], limit_s: float) -> Mapping[str, list[str]]:
    """The lines of `compare` for each scenario, from aligned recordings."""
    if not names:
        return {}
    ours, golden, told = OUT / "aligned", OUT / "golden", OUT / "differences.json"
    for name in names:
        align(OUT / "ours" / name, ours / name)
        align(kit / "golden" / name, golden / name)
    comparing = ["compare", "--ours", str(ours), "--golden", str(golden), "--json", str(told), "--scenario", *names]
    status, output = _kit(kit, comparing, limit_s, captured=True)
    if not told.is_file():
        sys.exit(f"parity: compare ended with status {status} and no results: {output.strip()[-400:]}")
    found: Mapping[str, list[str]] = json.loads(told.read_text(encoding="utf-8"))
    return found


def _kit(kit: Path, words: Sequence[str], limit_s: float, *, captured: bool) -> tuple[int | None, str]:
    """The kit's exit status (None: stopped at the limit) and output; SIGTERM lets it end its own servers."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if captured else {}
    argv = [sys.executable, str(kit / "run.py"), *words]
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


def _passed(result: Path) -> bool:
    """The harness's verdict; a scenario without one did not come to its end."""
    return result.is_file() and bool(json.loads(result.read_text(encoding="utf-8"))["ok"])


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()] if path.is_file() else []


def _jsonl(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make parity", description="Hold this server against the recordings.")
    parser.add_argument("--scenario", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument(
        "--limit", dest="limit_s", type=float, default=900.0, metavar="S", help="give up after S seconds (900), a phase"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
