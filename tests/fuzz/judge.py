"""What must hold of every answer, whatever was asked. Pure: frames in, complaints out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

RequestId = int | str
MAX_MESSAGE_CHARS = 1_001
INNER_WORDS = re.compile(
    r"Traceback|pydantic|validation error|input_value|<class |object at 0x|NoneType|\bErrno\b|errors\.pydantic"
    r"|\bNone\b|\bTrue\b|\bFalse\b|(?:Key|Value|Type|Attribute|Index|Recursion|Runtime|OS|Unicode)[A-Za-z]*Error"
    r"|\b(?:Posix|Windows)Path\(|__\w+__|app_server[./]\w|orjson|sqlite|asyncio|anyio"
)
"""Words of the inside, and of Python. No hostile text of `values.py` holds one, but for `__proto__`."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def complaints(
    asked: Mapping[RequestId, int], null_answers: tuple[int, int], frames: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What is wrong with the answers: `asked` counts the requests by id, `null_answers` is the least and the most."""
    found: list[str] = []
    answers: Counter[Any] = Counter()
    for frame in frames:
        if "method" in frame:
            continue
        answers[frame.get("id")] += 1
        if ("result" in frame) == ("error" in frame):
            found.append(f"neither a result nor an error, or both: {str(frame)[:300]}")
        if "error" in frame:
            found += [f"{each}: {str(frame)[:600]}" for each in error_complaints(frame["error"])]
    nulls = answers.pop(None, 0)
    if not null_answers[0] <= nulls <= null_answers[1]:
        found.append(f"{nulls} answers with a null id, expected {null_answers[0]} to {null_answers[1]}")
    for request_id in {*asked, *answers}:
        if answers[request_id] != asked.get(request_id, 0):
            found.append(
                f"{answers[request_id]} answers to the id {str(request_id)[:80]}, "
                f"which was asked {asked.get(request_id, 0)} times"
            )
    return found


def error_complaints(error: Any) -> list[str]:
    """What is wrong with one error object."""
    if not isinstance(error, dict):
        return ["the error is no object"]
    found = []
    if type(error.get("code")) is not int:
        found.append("the code is no integer")
    data = error.get("data")
    code = data.get("code") if isinstance(data, dict) else None
    if not isinstance(code, str) or not code:
        found.append("no data.code")
    if code == "internal":
        found.append("an internal error")
    message = error.get("message")
    if not isinstance(message, str) or not message.strip():
        return [*found, "no message"]
    if len(message) > MAX_MESSAGE_CHARS:
        found.append(f"a message of {len(message)} characters")
    if (inner := INNER_WORDS.search(message.replace("__proto__", ""))) is not None:
        found.append(f"the message holds {inner.group()!r}")
    if _CONTROL.search(message):
        found.append("the message holds control characters")
    return found
