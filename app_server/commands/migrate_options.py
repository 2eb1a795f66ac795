"""The options of `app-server migrate`; its work, and what that imports, stands in `migrate.py`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """`migrate` and its options."""
    parser = commands.add_parser(
        "migrate",
        parents=[common],
        allow_abbrev=False,
        help="bring the schema of a shared storage up to this version",
        description="Bring the schema of storage.url up to what this version needs, as a server does at its first use.",
    )
    parser.add_argument("--home", metavar="DIR", type=Path, help="the home with the settings (default: the server's)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 when the schema is behind")
    parser.set_defaults(command="migrate")
