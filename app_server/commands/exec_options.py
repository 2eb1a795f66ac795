"""Owns the options of `app-server exec`. Apart from the command, so that the parser of a server does not load it."""

from __future__ import annotations

import argparse

_EPILOG = """\
exit status: 0 the turn and all its pictures were completed, 1 the turn failed, 2 a setting, a file or an argument is
wrong, 3 the turn was completed but a picture failed or could not be saved, 130 interrupted

Text: what the agent says, and a line "picture: PATH (SIZE)" for each picture, on stdout; all else on stderr.
--json: one object a line on stdout, told apart by "type": thread.started, turn.started, item.started, item.completed,
error, turn.completed (with "usage"), turn.failed. Pictures are named by path, size and sha256; bytes are never printed.
"""


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Add the subcommand; `common` holds the options of a server."""
    parser = subparsers.add_parser(
        "exec",
        parents=[common],
        allow_abbrev=False,
        help="run one turn without a client, and print what comes of it",
        description="Run one turn with your own settings and print what comes of it. Pictures need a provider that\n"
        "makes them; --enable imagegenext turns the standalone tool on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to do; - or nothing reads it from stdin")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON lines instead of text")
    parser.add_argument(
        "--image", metavar="PATH", action="append", default=[], dest="images", help="attach a picture; may be repeated"
    )
    parser.add_argument("-C", metavar="DIR", dest="folder", help="the folder to work in (default: this one)")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the model to ask (default: that of the settings)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--ephemeral", action="store_true", help="do not store the thread")
    which.add_argument("--resume", metavar="ID", help="go on with this thread")
    which.add_argument("--last", action="store_true", help="go on with the thread that was used last, in any folder")
