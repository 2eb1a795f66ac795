"""Owns what items are made of: parts of a message, a picture, a tool call, a command. The items are in `items.py`."""

from typing import Annotated, Literal

from pydantic import Field

from app_server.protocol.base import Bool, Int, SparseModel, WireModel


class AgentMessageDisplay(WireModel):
    """How a client that knows the action shows the message; others ignore it."""

    action: str
    block_type: str | None = None
    check_trusted_contacts: Bool | None = None
    cyber_trusted_access: Bool | None = None


class AgentMessageModeration(WireModel):
    moderated: Bool
    display: AgentMessageDisplay | None = None


class MemoryCitationEntry(WireModel):
    path: str
    line_start: Int
    line_end: Int
    note: str


class MemoryCitation(WireModel):
    entries: tuple[MemoryCitationEntry, ...]
    thread_ids: tuple[str, ...]


class AsyncUserInputQuestion(WireModel):
    title: str
    options: tuple[str, ...] | None = None


class UsageLimitExceededImageGenerationFailure(WireModel):
    """Which limit was reached, and when (Unix seconds) it ends."""

    type: Literal["usageLimitExceeded"] = "usageLimitExceeded"
    limit_id: str
    resets_at: Int | None = None


ImageGenerationFailure = UsageLimitExceededImageGenerationFailure


class ImageGenerationInputImage(WireModel):
    """A local file that was read for the request; the hash is of its bytes as they were on disk."""

    path: str
    sha256: str


class ImageGenerationError(SparseModel):
    """Why there is no picture: a kind to act on and a sentence to show. Ours, beside the reference's `failure`."""

    omit_when_none = frozenset({"retry_after_ms", "request_id"})

    type: str
    message: str
    retry_after_ms: Int | None = None
    request_id: str | None = None


class InputTextDynamicToolCallOutputContentItem(WireModel):
    type: Literal["inputText"] = "inputText"
    text: str


class InputImageDynamicToolCallOutputContentItem(WireModel):
    type: Literal["inputImage"] = "inputImage"
    image_url: str


class InputAudioDynamicToolCallOutputContentItem(WireModel):
    type: Literal["inputAudio"] = "inputAudio"
    audio_url: str


DynamicToolCallOutputContentItem = Annotated[
    InputTextDynamicToolCallOutputContentItem
    | InputImageDynamicToolCallOutputContentItem
    | InputAudioDynamicToolCallOutputContentItem,
    Field(discriminator="type"),
]


class ReadCommandAction(WireModel):
    type: Literal["read"] = "read"
    command: str
    name: str
    path: str


class ListFilesCommandAction(WireModel):
    type: Literal["listFiles"] = "listFiles"
    command: str
    path: str | None = None


class SearchCommandAction(WireModel):
    type: Literal["search"] = "search"
    command: str
    query: str | None = None
    path: str | None = None


class UnknownCommandAction(WireModel):
    type: Literal["unknown"] = "unknown"
    command: str


CommandAction = Annotated[
    ReadCommandAction | ListFilesCommandAction | SearchCommandAction | UnknownCommandAction,
    Field(discriminator="type"),
]
