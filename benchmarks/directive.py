"""What the fake provider is told, inside the text of the user: `[[deltas=20000 size_chars=24 pace_us=1000]]`. Pure.

`rows_*` write it, `upstream` reads it. A picture is asked for twice: the turn's text makes the model call the picture
tool, and the prompt of that call tells the images endpoint how large the picture is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

_MARK = re.compile(r"\[\[([a-z_]+=\d+(?: [a-z_]+=\d+)*)\]\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """How to answer. `picture_bytes`: the size of the PNG; 0 for an answer of text."""

    deltas: int = 1
    size_chars: int = 4
    pace_us: int = 0
    picture_bytes: int = 0


def written(directive: Directive) -> str:
    """The directive as it stands in a text."""
    return "[[" + " ".join(f"{key}={value}" for key, value in asdict(directive).items()) + "]]"


def parsed(text: str) -> Directive:
    """The last directive of a text; unknown keys are left out, and without any there is one short delta."""
    found = _MARK.findall(text)
    known = {field.name for field in fields(Directive)}
    pairs = (pair.split("=") for pair in (found[-1].split(" ") if found else ()))
    return Directive(**{key: int(value) for key, value in pairs if key in known})


def of_request(items: Sequence[Mapping[str, Any]]) -> Directive:
    """What a request of the Responses API asks for: the newest message of the user decides.

    Where the newest item is a tool's output, the model has made its call and ends with a short text."""
    if items and str(items[-1].get("type")).endswith("_call_output"):
        return Directive()
    texts = (_text(item) for item in reversed(items) if item.get("role") == "user")
    return next((parsed(text) for text in texts if _MARK.search(text)), Directive())


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or ())
