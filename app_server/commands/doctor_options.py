"""The options of `app-server doctor`; its work, and what that imports, stands in `doctor.py`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """`doctor` and its options."""
    text = "what is wrong with a home, its settings and its storage"
    parser = commands.add_parser(
        "doctor", parents=[common], allow_abbrev=False, help=f"tell {text}; repair it", description=f"Tell {text}."
    )
    parser.add_argument("--home", metavar="DIR", type=Path, help="the home to look at (default: the server's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--deep", action="store_true", help="read every stored picture and compare its sha256")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="make a new database of all that can be read; the broken one is kept beside it",
    )
    parser.set_defaults(command="doctor")
