"""The options of `app-server import`; its work, and what that imports, stands in `import_threads.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
The source is only read. Threads keep their ids, so the command may be stopped and run again as often as you like: what
is there already is compared and not written twice, and what came since is appended. At the end everything is read from
the target and compared by its sha256.

exit status: 0 all of it is in the target, 1 something is missing (each thing is named), 2 the import was refused or
failed on its way: do what the message says, and run it again
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """`import` and its options."""
    parser = commands.add_parser(
        "import",
        parents=[common],
        allow_abbrev=False,
        help="bring threads and pictures from another home, or from codex",
        description="Bring all threads, with their pictures, into the storage of this server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from", metavar="HOME", type=Path, dest="from_home", help="a home of this server that no server has open"
    )
    source.add_argument(
        "--codex", metavar="HOME", type=Path, dest="codex_home", help="a home of codex (~/.codex): its rollouts"
    )
    parser.add_argument("--to", metavar="URL", help="the storage to bring them into (default: that of the settings)")
    parser.add_argument("--blobs", metavar="URL", help="where its pictures go, beside PostgreSQL")
    parser.add_argument("--tenant", metavar="NAME", help="name of the login whose they shall be (default: the host)")
    parser.add_argument("--dry-run", action="store_true", help="only read the source and count; open no target")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the text")
    parser.set_defaults(command="import")
