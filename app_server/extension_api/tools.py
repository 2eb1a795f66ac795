"""Tools as planner, router and extension see them: a name, a spec, an exposure with a reason, a call, an output.

An output has three faces: content for the model, one short line for logs, a small JSON object for hooks. Bytes of
pictures are in none of the last two, and in the first only by reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app_server.values import frozen

if TYPE_CHECKING:  # the services point back at the types of this module
    from app_server.extension_api.scopes import TurnScope
    from app_server.extension_api.services import Items


@frozen(kw_only=False, order=True)
class ToolName:
    """Name of a tool, with its namespace or None. Compared as a pair, never glued together for look-up."""

    namespace: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}" if self.namespace else self.name


@frozen
class ToolSpec:
    """What the model is told of a function tool. `parameters` is a JSON schema object."""

    name: ToolName
    description: str
    parameters: Mapping[str, Any]
    namespace_description: str | None = None
    strict: bool = False
    max_parallel: int | None = None
    """How many calls of one turn may run at a time; None: as many as the host allows."""


@frozen(kw_only=False)
class Visible:
    """The tool is offered in this turn."""


@frozen(kw_only=False)
class Hidden:
    """The tool is not offered in this turn, and why: one sentence that says what would change it."""

    reason: str


Exposure = Visible | Hidden


@frozen
class PictureRef:
    """A stored picture: what history, items and outputs carry in place of bytes."""

    sha256: str
    mime: str
    size_bytes: int
    width: int
    height: int

    def to_json(self) -> dict[str, Any]:
        return {
            "sha256": self.sha256,
            "mime": self.mime,
            "bytes": self.size_bytes,
            "width": self.width,
            "height": self.height,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PictureRef:
        return cls(
            sha256=data["sha256"],
            mime=data["mime"],
            size_bytes=data["bytes"],
            width=data["width"],
            height=data["height"],
        )


@frozen
class TextContent:
    """A text part of an output, sent as `input_text`."""

    text: str


@frozen
class PictureContent:
    """A picture part of an output, sent as `input_image`; the host makes a data URL of it on the way out."""

    picture: PictureRef
    detail: str = "high"
    handle: str | None = None
    """`img_3`: the name under which the model may refer to it later; from `ToolCall.next_handle`."""


Content = TextContent | PictureContent


@frozen
class ToolOutput:
    """The result of a call. `hook` is a JSON object under 4 KiB; `log` is one short line; neither carries bytes."""

    content: Sequence[Content]
    log: str
    hook: Mapping[str, Any]
    success: bool = True


@frozen
class ToolCall:
    """One call by the model.

    arguments: the model's JSON text, unparsed.
    history: the conversation so far as Responses input items, oldest first; a picture stands there as
        `{"type": "input_image", "picture": {sha256, mime, bytes, width, height}, "handle": "img_1", "detail": …}`, a
        hosted one as `{"type": "image_generation_call", …, "picture": {…}, "handle": …}`. The call itself is its last
        item or near it.
    items: makes things visible to the clients.
    next_handle: a new handle for a picture that joins the thread; call it once the picture is really there.
    """

    call_id: str
    name: ToolName
    arguments: str
    scope: TurnScope
    history: Sequence[Mapping[str, Any]]
    items: Items
    next_handle: Callable[[], str]


class ToolExecutor(Protocol):
    """A tool that this server runs itself."""

    @property
    def name(self) -> ToolName: ...

    def spec(self, scope: TurnScope) -> ToolSpec:
        """What the model is told, for this turn."""
        ...

    def exposure(self, scope: TurnScope) -> Exposure:
        """Whether the tool is offered in this turn. Pure and quick: it is asked for every request to the model."""
        ...

    async def handle(self, call: ToolCall) -> ToolOutput:
        """Run one call. Cancelled when the turn is interrupted; every item it started is then closed by the host.

        Raises:
            ToolFailure: with the text for the model. Any other exception becomes a generic text and a logged traceback.
        """
        ...
