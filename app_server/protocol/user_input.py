"""Owns what a user puts into a turn: text, pictures, sounds, skills, mentions. The userMessage item echoes it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app_server.protocol.base import Int, SparseModel, WireModel

ImageDetail = Literal["auto", "low", "high", "original"]


class ByteRange(WireModel):
    """A span of the UTF-8 bytes of a text, end exclusive."""

    start: Int = Field(ge=0)
    end: Int = Field(ge=0)


class TextElement(WireModel):
    """A span that the client's interface draws in its own way."""

    byte_range: ByteRange
    placeholder: str | None = None


class TextUserInput(WireModel):
    type: Literal["text"] = "text"
    text: str
    text_elements: tuple[TextElement, ...] = Field(default=(), alias="text_elements")


class _UrlOrFile(SparseModel):
    """Bytes by URL (a data URL), or by the id of a stored file: exactly one of them is meant."""

    omit_when_none = frozenset({"url", "file_id"})

    url: str | None = None
    file_id: str | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.url is None and self.file_id is None:
            raise PydanticCustomError("no_source", "expected a member `url` or `fileId`")
        return self


class ImageUserInput(_UrlOrFile):
    type: Literal["image"] = "image"
    detail: ImageDetail | None = None


class LocalImageUserInput(WireModel):
    type: Literal["localImage"] = "localImage"
    detail: ImageDetail | None = None
    path: str


class AudioUserInput(_UrlOrFile):
    type: Literal["audio"] = "audio"


class LocalAudioUserInput(WireModel):
    type: Literal["localAudio"] = "localAudio"
    path: str


class SkillUserInput(WireModel):
    type: Literal["skill"] = "skill"
    name: str
    path: str


class MentionUserInput(WireModel):
    type: Literal["mention"] = "mention"
    name: str
    path: str


UserInput = Annotated[
    TextUserInput
    | ImageUserInput
    | LocalImageUserInput
    | AudioUserInput
    | LocalAudioUserInput
    | SkillUserInput
    | MentionUserInput,
    Field(discriminator="type"),
]
