"""The command line: argument parser only. What a command does stands in `commands/`.

`app-server`, `app-server serve` and `app-server app-server` all start the server, and options may stand before or after
the subcommand, so that a client that spawns another app-server by its path can spawn ours. Unknown options are ignored
with a warning on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from app_server.errors import EXIT_CONFIGURATION, AppServerError, first_cause

if TYPE_CHECKING:
    import argparse

    from app_server.first_answer import Opening

_EPILOG = """\
exit status: 0 ended as asked, 1 the command failed, 2 a setting or file is wrong (said on stderr), 130 interrupted

home: $APP_SERVER_HOME, else $CODEX_HOME, else ~/.app-server; settings are read from config.toml there
log: stderr, level by APP_SERVER_LOG=error|warn|info|debug (default warn); stdout belongs to the protocol
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    import argparse

    from app_server.commands import demo_options, doctor_options, exec_options, import_options, migrate_options

    common = argparse.ArgumentParser(add_help=False)
    _add_common(common, default=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="app-server",
        description="A JSON-RPC app-server for agent clients (Codex app-server protocol v2), pictures included. "
        "Without a command it serves one client on stdin and stdout.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the versions and exit")
    _add_common(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    serve = commands.add_parser(
        "serve",
        aliases=["app-server"],
        parents=[common],
        allow_abbrev=False,
        help="serve clients (the default)",
        description="Serve clients: one on stdin and stdout, or any number on websockets and unix sockets.",
    )
    serve.set_defaults(command="serve")
    for name, text in (
        ("features", "the feature flags: stage, state, where it comes from, and why"),
        ("extensions", "the extensions: loaded or not, and why"),
    ):
        group = commands.add_parser(
            name, parents=[common], allow_abbrev=False, help=f"list {text}", description=f"Show {text}."
        )
        group.add_argument("action", choices=["list"], nargs="?", default="list")
        group.set_defaults(command=name)
    for name, text in (("generate-json-schema", "a JSON Schema"), ("generate-ts", "TypeScript declarations")):
        schema = commands.add_parser(
            name, allow_abbrev=False, help=f"write the protocol as {text}", description=f"Write the protocol as {text}."
        )
        schema.add_argument("--out", metavar="DIR", required=True, help="the folder to write to; made where missing")
    demo_options.add_parser(commands)
    exec_options.add_parser(commands, common)
    doctor_options.add_parser(commands, common)
    import_options.add_parser(commands, common)
    migrate_options.add_parser(commands, common)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, default: object) -> None:
    from app_server.commands.listener_options import add_listener_options

    add_listener_options(parser, default=default)
    options = parser.add_argument_group("server options")
    options.add_argument(
        "-c",
        "--config",
        metavar="KEY=VALUE",
        action="append",
        dest="overrides",
        default=default,
        help="set a key of config.toml for this run; the value is TOML, else taken as a string; may be repeated",
    )
    options.add_argument(
        "--enable", metavar="FEATURE", action="append", default=default, help="turn a feature on; may be repeated"
    )
    options.add_argument(
        "--disable", metavar="FEATURE", action="append", default=default, help="turn a feature off; may be repeated"
    )


def main(argv: Sequence[str] | None = None, opening: Opening | None = None) -> int:
    """Run a command; returns its exit status. `opening` was read from stdin before, for a server to go on with."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--version" in arguments or "-V" in arguments:
        from app_server.platform_facts import version_line

        sys.stdout.write(version_line() + "\n")
        return 0
    parsed = parse(arguments)
    try:
        try:
            return run(parsed, opening)
        except BaseExceptionGroup as group:  # what failed inside a task group is a plain error for the person
            raise first_cause(group) from None
    except AppServerError as error:
        sys.stderr.write(f"app-server: {error.message}\n")
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        return 130


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; options before a subcommand are joined with those behind it, unknown ones are named on stderr."""
    if (plain := _plain_server(arguments)) is not None:
        return cast("argparse.Namespace", plain)  # it has the members that are read
    parser = build_parser()
    first, rest = _known_command_first(arguments)
    parsed, unknown = parser.parse_known_args([*first, *rest])
    if unknown and parsed.command in ("demo", "exec", "doctor", "import", "migrate"):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if slips := [word for word in unknown if word.startswith("--ws-")]:
        parser.error(f"unrecognized arguments: {' '.join(word.partition('=')[0] for word in slips)}")
    if unknown:
        sys.stderr.write(f"app-server: ignored unknown options: {' '.join(unknown)[:300]}\n")
    for name in ("overrides", "enable", "disable"):
        setattr(parsed, name, list(getattr(parsed, name, None) or ()))
    parsed.command = parsed.command or "serve"
    return parsed


_REPEATED = {"-c": "overrides", "--config": "overrides", "--enable": "enable", "--disable": "disable"}


def _plain_server(arguments: Sequence[str]) -> SimpleNamespace | None:
    """What most clients start, read by hand: loading and building the parser takes a twentieth of a start."""
    found = SimpleNamespace(command="serve", listen=None, overrides=[], enable=[], disable=[])
    words, named = iter(arguments), False
    for word in words:
        if word in _REPEATED:
            value = next(words, "-")
            if value.startswith("-"):  # the parser says what is missing
                return None
            getattr(found, _REPEATED[word]).append(value)
        elif word in ("serve", "app-server") and not named:
            named = True
        else:
            return None
    return found


_COMMANDS = frozenset(
    {
        "serve",
        "app-server",
        "features",
        "extensions",
        "demo",
        "exec",
        "doctor",
        "import",
        "migrate",
        "generate-json-schema",
        "generate-ts",
    }
)


def _known_command_first(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Move the subcommand to the front, so that options before and behind it end up in one list."""
    from app_server.commands.listener_options import VALUE_OPTIONS

    with_value = _REPEATED.keys() | VALUE_OPTIONS
    skip = False
    for index, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument in with_value:
            skip = True
        elif argument in _COMMANDS:
            return [argument], [*arguments[:index], *arguments[index + 1 :]]
    return [], list(arguments)


def run(parsed: argparse.Namespace, opening: Opening | None = None) -> int:
    """Call the command."""
    match parsed.command:
        case "features" | "extensions":
            from app_server.commands import listing

            return listing.run(parsed)
        case "demo":
            from app_server.commands import demo

            return demo.run(parsed)
        case "generate-json-schema" | "generate-ts":
            from app_server.commands import schema

            return schema.run(parsed)
        case "doctor":
            from app_server.commands import doctor

            return doctor.run(parsed)
        case "migrate":
            from app_server.commands import migrate

            return migrate.run(parsed)
        case "import":
            from app_server.commands import import_threads

            return import_threads.run(parsed)
        case "exec":
            from app_server.commands import exec

            return exec.run(parsed)
        case _:
            from app_server.commands import serve

            return serve.run(parsed, opening)
