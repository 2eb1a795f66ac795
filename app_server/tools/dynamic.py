"""Tools that a client brings and runs itself: declared in thread/start, called by `item/tool/call`.

A spec is `{name, description, inputSchema}` (with `type: "function"` or without), or a namespace of such. The client
that answers is one that follows the thread; without one the call fails in words. What a client sends back is checked:
pictures must be data URLs of real pictures, sound is not taken.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from app_server.errors import AppServerError, InvalidRequest, RpcError, ToolFailure
from app_server.extension_api.services import PictureRejected, Pictures
from app_server.extension_api.tools import (
    Content,
    Exposure,
    PictureContent,
    TextContent,
    ToolCall,
    ToolName,
    ToolOutput,
    ToolSpec,
    Visible,
)
from app_server.tools.hosted import STANDALONE_IMAGEGEN
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.scopes import TurnScope

AskClient = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]
"""(thread id, method, params) → the answer of a client that follows the thread. Raises RpcError."""
FAILED = "dynamic tool request failed"


@frozen
class DynamicSpec:
    """One tool of a client, as it declared it."""

    name: ToolName
    description: str
    parameters: Mapping[str, Any]
    namespace_description: str | None = None


def parse_dynamic_tools(declared: Iterable[Mapping[str, Any]]) -> tuple[DynamicSpec, ...]:
    """The tools of a thread/start. Raises InvalidRequest for a bad spec, a reserved namespace, or a name twice."""
    specs: list[DynamicSpec] = []
    for index, tool in enumerate(declared):
        if tool.get("type") == "namespace":
            about = str(tool.get("description") or "")
            inner = tool.get("tools")
            _require_free(tool.get("name"))
            if not isinstance(inner, list):
                raise _bad(index, "a namespace needs a list `tools`")
            specs += [_spec(each, index, tool.get("name"), about) for each in inner]
        else:
            specs.append(_spec(tool, index, tool.get("namespace"), None))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"duplicate dynamic tool: {name}", data_code="duplicateTool")
    return tuple(specs)


def _spec(tool: Any, index: int, namespace: Any, about: str | None) -> DynamicSpec:
    if not isinstance(tool, Mapping):
        raise _bad(index, "it is no object")
    name, schema = tool.get("name"), tool.get("inputSchema")
    if not isinstance(name, str) or not name:
        raise _bad(index, "it has no name")
    if not isinstance(schema, Mapping):
        raise _bad(index, "its inputSchema is no object")
    if namespace is not None and (not isinstance(namespace, str) or not namespace):
        raise _bad(index, "its namespace is no text")
    _require_free(namespace)
    described = str(tool.get("description") or "")
    return DynamicSpec(
        name=ToolName(namespace, name), description=described, parameters=schema, namespace_description=about
    )


def _require_free(namespace: Any) -> None:
    if namespace == STANDALONE_IMAGEGEN.namespace:
        raise InvalidRequest(
            f"dynamic tool namespace collides with a reserved Responses API namespace: {namespace}; rename yours",
            data_code="reservedNamespace",
        )


def _bad(index: int, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"dynamicTools[{index}] is not usable: {why}; send name, description and inputSchema", data_code="invalidTool"
    )


class DynamicTool:
    """The executor of one tool of a client."""

    def __init__(self, spec: DynamicSpec, ask: AskClient, pictures: Pictures) -> None:
        self._spec, self._ask, self._pictures = spec, ask, pictures

    @property
    def name(self) -> ToolName:
        return self._spec.name

    def spec(self, scope: TurnScope) -> ToolSpec:
        return ToolSpec(
            name=self._spec.name,
            description=self._spec.description,
            parameters=self._spec.parameters,
            namespace_description=self._spec.namespace_description,
        )

    def exposure(self, scope: TurnScope) -> Exposure:
        return Visible()

    async def handle(self, call: ToolCall) -> ToolOutput:
        try:
            arguments = orjson.loads(call.arguments or "{}")
        except orjson.JSONDecodeError as error:
            raise ToolFailure(f"the arguments of {self.name} are not valid JSON: {error}") from None
        from app_server.protocol.items import DynamicToolCallItem  # models are loaded when they are needed

        item = DynamicToolCallItem(
            id=call.call_id,
            namespace=self.name.namespace,
            tool=self.name.name,
            arguments=arguments,
            status="inProgress",
        )
        await call.items.started(item)
        began = time.monotonic()
        items, success = await self._answer(call, arguments)
        content = await self._content(items, call)
        final: dict[str, Any] = {
            "status": "completed" if success else "failed",
            "content_items": items,
            "success": success,
        }
        final["duration_ms"] = round((time.monotonic() - began) * 1000)
        await call.items.completed(DynamicToolCallItem.model_validate({**item.model_dump(), **final}))
        hook = {"tool": str(self.name), "success": success, "parts": len(content)}
        return ToolOutput(content=content, log=f"[{len(content)} parts]", hook=hook, success=success)

    async def _answer(self, call: ToolCall, arguments: Any) -> tuple[list[dict[str, Any]], bool]:
        params = {
            "threadId": call.scope.thread_id,
            "turnId": call.scope.turn_id,
            "callId": call.call_id,
            "namespace": self.name.namespace,
            "tool": self.name.name,
            "arguments": arguments,
        }
        try:
            answer = await self._ask(call.scope.thread_id, "item/tool/call", params)
        except RpcError:
            return [{"type": "inputText", "text": FAILED}], False
        if not isinstance(answer, Mapping) or not isinstance(answer.get("contentItems"), list):
            return [{"type": "inputText", "text": f"{FAILED}: the client's answer has no contentItems"}], False
        good = [part for part in answer["contentItems"] if _usable(part)]
        return good, answer.get("success") is True

    async def _content(self, items: Sequence[Mapping[str, Any]], call: ToolCall) -> list[Content]:
        content: list[Content] = []
        for part in items:
            if part["type"] == "inputText":
                content.append(TextContent(text=part["text"]))
                continue
            try:
                picture = await self._pictures.check(_decode(part["imageUrl"]))
                ref = await self._pictures.keep(picture, thread_id=call.scope.thread_id)
            except (PictureRejected, OSError, AppServerError) as error:
                content.append(TextContent(text=f"image content omitted: {error}"))
                continue
            content.append(PictureContent(picture=ref, detail="original", handle=call.next_handle()))
        return content or [TextContent(text="")]


def _usable(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    key = {"inputText": "text", "inputImage": "imageUrl"}.get(str(part.get("type")))
    return key is not None and isinstance(part.get(key), str)


def _decode(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise PictureRejected("a picture must be a data URL")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise PictureRejected("its data is not base64") from None
