"""Owns the visible things of a turn, the items, and the notifications that show them.

An item is shown by `item/started`, then deltas, then `item/completed`, exactly once each. Every item bears its two
times (Unix milliseconds); both notifications repeat theirs beside the item. Members that the reference does not have
are listed in each class's `additional` and are left out while they are None.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from app_server.protocol.base import Bool, DurableNotification, Int, JsonObject, SparseModel, WireModel
from app_server.protocol.item_parts import (
    AgentMessageModeration,
    AsyncUserInputQuestion,
    CommandAction,
    DynamicToolCallOutputContentItem,
    ImageGenerationError,
    ImageGenerationFailure,
    ImageGenerationInputImage,
    MemoryCitation,
)
from app_server.protocol.user_input import UserInput

MessagePhase = Literal["commentary", "partial_answer", "final_answer"]


class Item(WireModel):
    """What all items share."""

    additional: ClassVar[frozenset[str]] = frozenset()
    """Python names of the members that are ours, beyond the reference's."""

    id: str
    started_at_ms: Int | None = None
    completed_at_ms: Int | None = None


class UserMessageItem(Item):
    """What the user sent; `client_id` is the client's own id of it."""

    type: Literal["userMessage"] = "userMessage"
    client_id: str | None = None
    content: tuple[UserInput, ...]


class AgentMessageItem(Item, SparseModel):
    """A message of the model; its id is the upstream item's id.

    `status` "dropped": a retry or a steer cut it off. It holds the text shown so far and is never part of an answer.
    """

    additional = frozenset({"status"})
    omit_when_none = additional

    type: Literal["agentMessage"] = "agentMessage"
    moderation: AgentMessageModeration | None = None
    text: str
    phase: MessagePhase | None = None
    memory_citation: MemoryCitation | None = None
    delivery: Literal["async"] | None = None
    questions: tuple[AsyncUserInputQuestion, ...] | None = None
    status: Literal["dropped"] | None = None


class ReasoningItem(Item):
    """What the model shows of its reasoning: a text for each summary part and each content part."""

    type: Literal["reasoning"] = "reasoning"
    summary: tuple[str, ...] = ()
    content: tuple[str, ...] = ()


class ImageGenerationItem(Item, SparseModel):
    """A generated or edited picture; its id is the tool call's id.

    `result` is the base64 of the picture, or "" where there is none yet or only `saved_path` is given. `thumbnail` is
    a data URL; `bytes` counts the decoded picture. `removed` says why a picture that was saved is not there any more.
    """

    additional = frozenset(
        {
            "error",
            "prompt",
            "mime_type",
            "bytes",
            "width",
            "height",
            "has_alpha",
            "sha256",
            "handle",
            "model",
            "effective_parameters",
            "thumbnail",
            "removed",
        }
    )
    omit_when_none = additional | {"saved_path", "input_images"}

    type: Literal["imageGeneration"] = "imageGeneration"
    status: str
    revised_prompt: str | None = None
    result: str
    transparent_background: Bool | None = None
    failure: ImageGenerationFailure | None = None
    saved_path: str | None = None
    input_images: tuple[ImageGenerationInputImage, ...] | None = None
    generation_id: str | None = None
    error: ImageGenerationError | None = None
    prompt: str | None = None
    mime_type: str | None = None
    bytes: Int | None = None
    width: Int | None = None
    height: Int | None = None
    has_alpha: Bool | None = None
    sha256: str | None = None
    handle: str | None = None
    model: str | None = None
    effective_parameters: JsonObject | None = None
    thumbnail: str | None = None
    removed: Literal["deleted", "expired"] | None = None


class ImageViewItem(Item):
    """The model looked at a local picture."""

    type: Literal["imageView"] = "imageView"
    path: str


class EnteredReviewModeItem(Item):
    """A review begins; `review` says what is reviewed."""

    type: Literal["enteredReviewMode"] = "enteredReviewMode"
    review: str


class ExitedReviewModeItem(Item):
    """A review ended; `review` is what it found."""

    type: Literal["exitedReviewMode"] = "exitedReviewMode"
    review: str


class ContextCompactionItem(Item):
    """The history was replaced by a summary."""

    type: Literal["contextCompaction"] = "contextCompaction"


DynamicToolCallStatus = Literal["inProgress", "completed", "failed"]


class DynamicToolCallItem(Item):
    """A call of a tool that the client runs."""

    type: Literal["dynamicToolCall"] = "dynamicToolCall"
    namespace: str | None = None
    tool: str
    arguments: Any
    status: DynamicToolCallStatus
    content_items: tuple[DynamicToolCallOutputContentItem, ...] | None = None
    success: Bool | None = None
    duration_ms: Int | None = None


CommandExecutionSource = Literal["agent", "userShell", "unifiedExecStartup", "unifiedExecInteraction"]
CommandExecutionStatus = Literal["inProgress", "completed", "failed", "declined"]


class CommandExecutionItem(Item):
    """A command of the model or the user; output and exit code stand from its end on."""

    type: Literal["commandExecution"] = "commandExecution"
    plugin_id: str | None = None
    script_path: str | None = None
    command: str
    cwd: str
    process_id: str | None = None
    source: CommandExecutionSource = "agent"
    status: CommandExecutionStatus
    command_actions: tuple[CommandAction, ...]
    aggregated_output: str | None = None
    exit_code: Int | None = None
    duration_ms: Int | None = None


ThreadItem = Annotated[
    UserMessageItem
    | AgentMessageItem
    | ReasoningItem
    | ImageGenerationItem
    | ImageViewItem
    | EnteredReviewModeItem
    | ExitedReviewModeItem
    | ContextCompactionItem
    | DynamicToolCallItem
    | CommandExecutionItem,
    Field(discriminator="type"),
]


class ThreadItemEntry(SparseModel):
    """A row of thread/items/list."""

    omit_when_none = frozenset({"output_deferred"})

    turn_id: str
    item: ThreadItem
    started_at_ms: Int | None = None
    completed_at_ms: Int | None = None
    output_deferred: Bool | None = None


class ItemStartedNotification(DurableNotification):
    """`item/started`: an item becomes visible; sent before everything else about it."""

    item: ThreadItem
    thread_id: str
    turn_id: str
    started_at_ms: Int


class ItemCompletedNotification(DurableNotification):
    """`item/completed`: the item in its final form; what deltas said is replaced by it."""

    item: ThreadItem
    thread_id: str
    turn_id: str
    content_token_count: Int | None = None
    completed_at_ms: Int


class AgentMessageDeltaNotification(WireModel):
    """`item/agentMessage/delta`: the next piece of the text; may be merged, or dropped for a slow reader."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str


class ReasoningSummaryPartAddedNotification(WireModel):
    """`item/reasoning/summaryPartAdded`: a new summary part begins; sent before its first delta."""

    thread_id: str
    turn_id: str
    item_id: str
    summary_index: Int


class ReasoningSummaryTextDeltaNotification(WireModel):
    """`item/reasoning/summaryTextDelta`: the next piece of a summary part."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str
    summary_index: Int


class ReasoningTextDeltaNotification(WireModel):
    """`item/reasoning/textDelta`: the next piece of the reasoning itself, where the model shows it."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str
    content_index: Int


class DynamicToolCallParams(WireModel):
    """`item/tool/call`, a request to the client: run a tool that it declared in thread/start."""

    thread_id: str
    turn_id: str
    call_id: str
    namespace: str | None = None
    tool: str
    arguments: Any


class DynamicToolCallResponse(WireModel):
    """The client's answer; both members are required of it."""

    content_items: tuple[DynamicToolCallOutputContentItem, ...]
    success: Bool


class CommandExecutionOutputDeltaNotification(WireModel):
    """`item/commandExecution/outputDelta`: the next piece of a command's output, as text."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str
