"""What the offline stand-in answers: pure decisions from a request, by simple rules of words. No AI, no network.

    the request                                             the reply
    asks for JSON of a schema (`text.format`)               Say: the smallest object that fits the schema
    ends with outputs of tool calls                         Say: what came of them
    has no words of the user                                Say: what to write
    greets or asks a question                               Say: who answers here
    has words, and the image tool is offered                Call: edit a picture that is there, else generate
    has words, and no image tool (or only the hosted one)   Say: why there is no picture

Any text counts as the description of a picture ("a red fox in the snow") unless it is a greeting ("hello", "thank you")
or a question ("what can you do?"); a question that asks for a picture ("can you draw a fox?") is a request. It means an
edit when a picture was attached to it, or when one is in the conversation and a word says change: edit, make it, add,
remove, and so on. `offline.py` streams what is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import orjson

from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.providers.base import ModelRequest

STAND_IN: Final = "Offline stand-in (not an AI model)"
MAX_EDIT_PICTURES: Final = 5
MAX_QUOTED_CHARS: Final = 600
MAX_SCHEMA_DEPTH: Final = 12
MAX_SCHEMA_BOUND: Final = 100

_GREETING: Final = re.compile(
    r"(hi|hello|hey|hallo|good (morning|day|evening|night)|thanks?( you)?( very much)?|bye|goodbye|ok|okay|yes|no|test)"
    r"( there| all| again| everyone)?[.!, ]*",
    re.IGNORECASE,
)
_ASKS: Final = re.compile(r"(what|why|how|who|whose|whom|where|when|which|explain|tell me)\b", re.IGNORECASE)
_POLITE: Final = re.compile(r"(can|could|would|will|may|might|please)\b", re.IGNORECASE)
_DRAWS: Final = re.compile(
    r"\b(draw|paint|sketch|illustrate|render|generate|create|design|make|edit|change|add|remove|show|picture|image|photo)\b",
    re.IGNORECASE,
)
_CHANGES: Final = re.compile(
    r"\b(edit|change|modify|alter|adjust|add|remove|erase|delete|replace|swap|recolou?r|crop|brighten|darken|instead"
    r"|(make|turn|paint|colou?r) (it|this|that|them|him|her|the)|(same|last|previous) (picture|image|photo|one))\b",
    re.IGNORECASE,
)
_CONTEXT: Final = ("<environment_context", "<user_instructions", "<skill", "<turn_aborted", "<image name=", "</image>")
_CONTEXT_HEADING: Final = "# AGENTS.md instructions"


@frozen
class Say:
    """Answer with text; `reason` says which rule chose it."""

    text: str
    reason: str


@frozen
class Call:
    """Announce, then call the image tool."""

    namespace: str | None
    name: str
    arguments: Mapping[str, Any]
    announcement: str
    reason: str


Reply = Say | Call


def decide(request: ModelRequest) -> Reply:
    """The reply to a request; the same request always gets the same one."""
    schema = _output_schema(request.text)
    words, attached = _last_user_message(request.input)
    if schema is not None:
        return Say(text=orjson.dumps(sample_of(schema, words)).decode(), reason="a schema for the answer is given")
    outputs = _trailing_outputs(request.input)
    if outputs:
        return Say(text=" ".join(_told(output) for output in outputs), reason="tool calls have answered")
    if not words:
        return Say(text=f"{STAND_IN}: write what to draw, or how to change a picture.", reason="no words")
    if _is_talk(words) and not attached:
        text = f"{STAND_IN}: I cannot talk. Describe a picture, and I pass your words to the image tool."
        return Say(text=text, reason="a greeting or a question")
    tool = _image_tool(request.tools)
    if tool is None:
        return Say(text=_no_picture(request.tools), reason="no image tool is offered")
    count = min(attached, MAX_EDIT_PICTURES) or (1 if _CHANGES.search(words) and has_picture(request.input) else 0)
    if count:
        announcement = f"{STAND_IN}: I pass your words and the picture to the image tool."
        arguments: dict[str, Any] = {"prompt": words, "num_last_images_to_include": count}
        return _call(tool, arguments, announcement, "words of change, and a picture")
    announcement = f"{STAND_IN}: I pass your words to the image tool."
    return _call(tool, {"prompt": words}, announcement, "words that describe a picture")


def has_picture(items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the conversation holds a picture: attached, returned by a tool, or made by the hosted tool."""
    return any(
        (item.get("type") == "image_generation_call" and bool(item.get("result")))
        or any(part.get("type") == "input_image" for part in _parts(item))
        for item in items
    )


def sample_of(schema: Mapping[str, Any], words: str) -> Any:
    """The smallest value that fits the usual parts of a JSON schema; a free string becomes the user's words."""
    return _sample(schema, schema, " ".join(words.split())[:80] or "offline stand-in", MAX_SCHEMA_DEPTH)


def text_chars(items: Sequence[Mapping[str, Any]]) -> int:
    """Characters of text in input items, without the bytes of pictures: the basis of honest token counts."""
    return sum(len(text) for item in items for text in _strings(item) if not text.startswith("data:"))


def _call(tool: tuple[str | None, str], arguments: Mapping[str, Any], announcement: str, reason: str) -> Call:
    return Call(namespace=tool[0], name=tool[1], arguments=arguments, announcement=announcement, reason=reason)


def _is_talk(words: str) -> bool:
    text = words.strip()
    if _GREETING.fullmatch(text) or _ASKS.match(text):
        return True
    return text.endswith("?") and not (_POLITE.match(text) and _DRAWS.search(text))


def _image_tool(tools: Sequence[Mapping[str, Any]]) -> tuple[str | None, str] | None:
    """Namespace and name under which `image_gen.imagegen` is offered, or None."""
    for tool in tools:
        if tool.get("type") == "namespace" and tool.get("name") == "image_gen":
            if any(part.get("name") == "imagegen" for part in tool.get("tools", ())):
                return "image_gen", "imagegen"
        elif tool.get("type") == "function" and tool.get("name") == "image_gen__imagegen":
            return None, "image_gen__imagegen"
    return None


def _no_picture(tools: Sequence[Mapping[str, Any]]) -> str:
    if any(tool.get("type") == "image_generation" for tool in tools):
        why = "the hosted image_generation tool runs at a real provider and not here; enable the feature imagegenext"
    else:
        why = "no image tool is offered in this turn; enable the features image_generation and imagegenext"
    return f"{STAND_IN}: there is no picture, because {why} to get one drawn offline."


def _trailing_outputs(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    kinds = ("function_call_output", "custom_tool_call_output")
    return list(takewhile(lambda item: item.get("type") in kinds, reversed(items)))[::-1]


def _told(output: Mapping[str, Any]) -> str:
    """One sentence or two on a tool's output: what it says, and whether a picture came."""
    content = output.get("output")
    said = content if isinstance(content, str) else " ".join(_texts(output))
    said = " ".join(said.split())
    if len(said) > MAX_QUOTED_CHARS:
        said = said[:MAX_QUOTED_CHARS] + " …"
    if any(part.get("type") == "input_image" for part in _parts(output)):
        return "Here is the picture. It was drawn by an offline stand-in, not by an AI model."
    return f"No picture came; the tool said: {said or 'nothing'}"


def _last_user_message(items: Sequence[Mapping[str, Any]]) -> tuple[str, int]:
    """The user's own words, without what the server puts around them, and the number of pictures attached to them."""
    for item in reversed(items):
        if item.get("type", "message") != "message" or item.get("role") != "user":
            continue
        words = "\n".join(text for text in _texts(item) if not text.startswith((*_CONTEXT, _CONTEXT_HEADING))).strip()
        attached = sum(part.get("type") == "input_image" for part in _parts(item))
        if words or attached:
            return words, attached
    return "", 0


def _parts(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for parts in (item.get("content"), item.get("output")):
        if isinstance(parts, Sequence) and not isinstance(parts, str):
            yield from (part for part in parts if isinstance(part, Mapping))


def _texts(item: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(item.get("content"), str):
        yield item["content"]
    yield from (part["text"] for part in _parts(item) if isinstance(part.get("text"), str))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _strings(part)


def _output_schema(text: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = text.get("format")
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return None
    schema = wanted.get("schema")
    return schema if isinstance(schema, Mapping) else {"type": "object"}


def _sample(schema: Any, root: Mapping[str, Any], words: str, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    if isinstance(schema.get("$ref"), str):
        return _sample(_resolved(schema["$ref"], root), root, words, depth - 1)
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _sample(schema[key][0], root, words, depth - 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return _sample_object(schema, root, words, depth)
    if kind == "array":
        return [_sample(schema.get("items"), root, words, depth - 1)] * _bound(schema, "minItems", 0)
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    return words[: _bound(schema, "maxLength", len(words))]


def _sample_object(schema: Mapping[str, Any], root: Mapping[str, Any], words: str, depth: int) -> dict[str, Any]:
    """The required properties; all of them where the schema requires none by name."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    names = [name for name in (required if isinstance(required, list) else properties) if isinstance(name, str)]
    return {name: _sample(properties.get(name, {"type": "string"}), root, words, depth - 1) for name in names}


def _bound(schema: Mapping[str, Any], key: str, default: int) -> int:
    value = schema.get(key)
    return min(max(value, 0), MAX_SCHEMA_BOUND) if isinstance(value, int) else default


def _resolved(ref: str, root: Mapping[str, Any]) -> Any:
    """The part of the schema that a local reference (`#/$defs/name`) names."""
    found: Any = root
    for key in ref.removeprefix("#").strip("/").split("/") if ref != "#" else ():
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
