"""Owns the options of `app-server demo`. Apart from the command, so that the parser of a server does not load it."""

from __future__ import annotations

import argparse
import math
from typing import Final

DEFAULT_PROMPT: Final = "a red fox in the snow"
DEFAULT_HOME: Final = ".demo"
OFFLINE: Final = "offline"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        allow_abbrev=False,
        help="make a picture in one turn, offline, and show it",
        description="Start the server as a child, run one turn that makes a picture, save it and show it. Without "
        "--provider the built-in offline provider and its offline image backend are used: stand-ins, not AI, that need "
        "no key and no network.",
    )
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help=f'what to draw (default: "{DEFAULT_PROMPT}")')
    parser.add_argument("--edit", metavar="TEXT", help="edit the newest picture of the home instead")
    parser.add_argument("--provider", metavar="NAME", help=f"model provider (default: {OFFLINE}, a stand-in, not AI)")
    parser.add_argument("--model", metavar="M", help="model to ask (default: the home's or the provider's)")
    parser.add_argument(
        "--home", metavar="DIR", help=f"where threads and pictures are kept (default: ./{DEFAULT_HOME})"
    )
    parser.add_argument("--no-preview", action="store_true", help="do not show the picture in the terminal")
    parser.add_argument("--timeout", type=seconds, default=180.0, metavar="S", help="give up after S seconds (180)")


def seconds(text: str) -> float:
    """A time from the command line; argparse names this function when it is not even a number."""
    value_s = float(text)
    if not 0 < value_s < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a time above 0 seconds")
    return value_s
