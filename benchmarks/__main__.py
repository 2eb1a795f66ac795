"""`python -m benchmarks`: measure one server, or two in turn, and show what came of it.

Exit status: 0 measured, or SKIPPED with the reason where the peer cannot be had; 1 something could not be measured;
2 wrong arguments, or not Linux.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import rows_hosted, table
from benchmarks import run as runs
from benchmarks.figures import DEFAULT_ROWS, HOSTED, ROWS
from benchmarks.peer import VERSION, Unavailable, peer_command
from benchmarks.provider import Provider
from benchmarks.run import Run
from benchmarks.session import measured

OURS = f"{shlex.quote(sys.executable)} -m app_server --enable imagegenext"
"""With all its features on."""
_ROUNDS = 4


def main(argv: Sequence[str]) -> int:
    """Measure or read, write and show."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if (wrong := sorted(set(args.rows) - set(ROWS))) or not args.rows:
        parser.error(f"there is no row {', '.join(wrong) or '(none)'}; rows are {', '.join(ROWS)}")
    if HOSTED.intersection(args.rows) and not args.read and (missing := rows_hosted.missing()) is not None:
        sys.stdout.write(f"SKIPPED: {', '.join(sorted(HOSTED.intersection(args.rows)))}: {missing}\n")
        args.rows = [row for row in args.rows if row not in HOSTED]
        if not args.rows:
            return 0
    if args.read:
        run = runs.from_json(args.read.read_bytes())
    elif not sys.platform.startswith("linux"):
        parser.error(
            f"only Linux tells CPU and memory of a process as they are needed here, and this is {sys.platform}"
        )
    else:
        try:
            run = _measured(args, _servers(args))
        except Unavailable as reason:
            sys.stdout.write(f"SKIPPED: the reference server {VERSION} cannot be had: {reason}\n")
            return 0
    _show(run, args)
    return 1 if run.failures else 0


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure an app-server: start, requests, threads, turns, deltas, history, websockets, pictures. "
        "About two minutes alone. Absolute times of a shared machine repeat to about 30 %: quote ratios of "
        "--interleave or --peer only.",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--server", metavar="CMD", default=OURS, help="the server (default: this one, all features on)")
    chosen.add_argument(
        "--interleave", nargs=2, metavar=("CMD_A", "CMD_B"), help="two servers in turn; ratios are B ÷ A"
    )
    chosen.add_argument("--peer", action="store_true", help=f"the reference {VERSION} and this server in turn")
    chosen.add_argument("--read", metavar="FILE", type=Path, help="measure nothing: show a run that --json wrote")
    parser.add_argument(
        "--rows",
        type=_words,
        default=DEFAULT_ROWS,
        metavar="P1,P4",
        help="only these rows; H1 to H3 (several replicas) if named",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds (default: 1 alone, {_ROUNDS} in turn)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="fewer repetitions: 0.1 is a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value that was measured")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="FILE",
        help="show the table as Markdown; with FILE: put it between the marks of that document",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with homes and logs, and say where it is")
    return parser


def _words(text: str) -> list[str]:
    return [word.strip().upper() for word in text.split(",") if word.strip()]


def _servers(args: argparse.Namespace) -> Mapping[str, str]:
    """Name → command, the one to compare with first. Raises Unavailable."""
    if args.peer:
        return {table.PEER: peer_command(os.environ), "ours": OURS}
    if args.interleave:
        return dict(zip("AB", args.interleave, strict=True))
    return {"server": args.server}


def _measured(args: argparse.Namespace, servers: Mapping[str, str]) -> Run:
    """Measure in a folder that goes afterwards, also when we are told to end."""
    signal.signal(signal.SIGTERM, _end)
    folder = Path(tempfile.mkdtemp(prefix="app-server-bench-"))
    try:
        with Provider() as provider:
            rounds = args.rounds or (_ROUNDS if len(servers) > 1 else 1)
            return measured(servers, args.rows, rounds=rounds, scale=args.scale, folder=folder, provider=provider)
    finally:
        if args.keep:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def _show(run: Run, args: argparse.Namespace) -> None:
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_bytes(runs.to_json(run))
    if args.markdown in (None, "-"):
        sys.stdout.write((table.markdown if args.markdown else table.text)(run) + "\n")
    else:
        document = Path(args.markdown)
        text = document.read_text(encoding="utf-8")
        document.write_text(table.placed(text, table.markdown(run)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
