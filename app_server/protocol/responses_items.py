"""Owns the shapes that the Responses API reads and writes: input items, their content, tool specs.

Plain dicts at run time, so that what was received is sent back byte for byte. Nothing here is ever shown to a client;
what clients see is in `items.py`. The engine builds these, `providers` sends them.
"""

from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["system", "developer", "user", "assistant"]
ResponsesImageDetail = Literal["auto", "low", "high", "original"]


class InputText(TypedDict):
    type: Literal["input_text"]
    text: str


class InputImage(TypedDict):
    """A picture by data URL, or by the id of a file that the upstream holds."""

    type: Literal["input_image"]
    image_url: NotRequired[str]
    file_id: NotRequired[str]
    detail: NotRequired[ResponsesImageDetail]


class OutputText(TypedDict):
    type: Literal["output_text"]
    text: str
    annotations: NotRequired[list[Any]]
    logprobs: NotRequired[list[Any]]


InputContent = InputText | InputImage
"""What a user message and a tool's output may hold."""

MessageContent = InputText | InputImage | OutputText


class MessageItem(TypedDict):
    """`phase` is the upstream's and goes back as it came."""

    type: Literal["message"]
    id: NotRequired[str]
    role: Role
    content: list[MessageContent]
    phase: NotRequired[str]
    status: NotRequired[str]


class FunctionCallItem(TypedDict):
    """`arguments` is JSON in a string, as the model wrote it."""

    type: Literal["function_call"]
    id: NotRequired[str]
    name: str
    namespace: NotRequired[str]
    arguments: str
    call_id: str
    status: NotRequired[str]


class FunctionCallOutputItem(TypedDict):
    """Text alone may be a string; a picture needs the list."""

    type: Literal["function_call_output"]
    id: NotRequired[str]
    call_id: str
    output: str | list[InputContent]


class SummaryText(TypedDict):
    type: Literal["summary_text"]
    text: str


class ReasoningText(TypedDict):
    type: Literal["reasoning_text", "text"]
    text: str


class ReasoningInputItem(TypedDict):
    """Goes back with its encrypted content and `content` null: the upstream keeps nothing for us."""

    type: Literal["reasoning"]
    id: NotRequired[str]
    summary: list[SummaryText]
    content: NotRequired[list[ReasoningText] | None]
    encrypted_content: NotRequired[str | None]


class ImageGenerationCallItem(TypedDict):
    """A picture of the hosted tool; `result` is base64, "" while there is none."""

    type: Literal["image_generation_call"]
    id: str
    status: str
    revised_prompt: NotRequired[str | None]
    result: str | None


InputItem = MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningInputItem | ImageGenerationCallItem


class FunctionToolSpec(TypedDict):
    """`parameters` is a JSON schema."""

    type: Literal["function"]
    name: str
    description: str
    strict: bool
    parameters: dict[str, Any]


class NamespaceToolSpec(TypedDict):
    """Functions under one name; only for providers that know namespaces."""

    type: Literal["namespace"]
    name: str
    description: str
    tools: list[FunctionToolSpec]


class HostedImageToolSpec(TypedDict):
    """The upstream draws by itself."""

    type: Literal["image_generation"]
    output_format: Literal["png", "jpeg", "webp"]


ToolSpec = FunctionToolSpec | NamespaceToolSpec | HostedImageToolSpec
