"""The first answer of a server on stdin, given before anything slow is loaded. Called by the console script alone.

A client that spawns a server sends `initialize` at once and waits. Its answer needs this machine, the home's path and
nothing else, and everything that is imported first holds it up. So the first line is read here, with the standard
library's quickest parts; the same line then goes through the server as if it had just come, without a second answer.
What is not plainly a good `initialize`, or does not come in a moment, is left to the server, and so is every error.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

_WAIT_MS = 25
"""How long the line is waited for; clients that spawn a server have sent it while the interpreter was starting."""
_CHUNK_BYTES = 64 * 1024
_LARGEST_ID = 2**63 - 1
_WITH_VALUE = frozenset({"-c", "--config", "--enable", "--disable"})


class Opening(NamedTuple):
    """What was taken from stdin, for the server to go on with; `answered`: the first line has its answer."""

    received: bytes
    answered: bool


def open_conversation(arguments: Sequence[str], env: Mapping[str, str]) -> Opening | None:
    """Answer on stdout if the command line asks for a server there and the first line is a plain `initialize`.

    None: nothing was read.
    """
    if not serves_stdio(arguments) or not hasattr(select, "poll"):
        return None
    try:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        if not poll.poll(_WAIT_MS):
            return None
        received = os.read(0, _CHUNK_BYTES)
        answer = answer_to(received.partition(b"\n")[0], env) if b"\n" in received else None
    except OSError:  # no stdin: the server says so
        return None
    return Opening(received, answer is not None and _written(answer))


def serves_stdio(arguments: Sequence[str]) -> bool:
    """Nothing but options that do not change where is served; what else there may be is the parser's business."""
    words = iter(arguments)
    for word in words:
        if word in _WITH_VALUE:
            if next(words, None) is None:
                return False
        elif word not in ("serve", "app-server"):
            return False
    return True


def answer_to(line: bytes, env: Mapping[str, str]) -> bytes | None:
    """The answer to a plain `initialize`, byte for byte what the server would send; None for anything else."""
    from app_server.config.home import home_text
    from app_server.platform_facts import server_facts
    from app_server.protocol.handshake import plain_handshake

    try:
        request = json.loads(line.decode("utf-8"), parse_constant=_refuse)
        if type(request) is not dict or request.get("method") != "initialize":
            return None
        told, request_id, home = plain_handshake(request.get("params")), request.get("id"), home_text(env)
        usable = type(request_id) is str or (type(request_id) is int and abs(request_id) <= _LARGEST_ID)
        if told is None or home is None or not usable:
            return None
        result = server_facts(told.client_name, told.client_version, home, env)
        answer = {"id": request_id, "result": result}
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
    except (ValueError, RecursionError, OSError):  # the last: the working folder is gone
        return None


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _written(answer: bytes) -> bool:
    if sys.stdout is None:
        return False
    try:
        while answer:
            answer = answer[os.write(1, answer) :]
    except OSError:
        return False
    return True
