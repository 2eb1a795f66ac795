"""Owns the words for how a model is asked to work: effort, summary, personality, collaboration mode."""

from typing import Annotated, Literal, get_args

from pydantic import Field, Tag

from app_server.protocol.base import WireModel, name_or_object

ReasoningEffort = Annotated[str, Field(min_length=1)]
"""A level that the model's row of the catalogue advertises; the protocol leaves the names open."""

ReasoningSummary = Literal["auto", "concise", "detailed", "none"]
Personality = Literal["none", "friendly", "pragmatic"]
ModeKind = Literal["plan", "default"]
MultiAgentModeName = Literal["explicitRequestOnly", "proactive"]
CyberAccessProgram = Literal["standard", "daybreakBlue", "daybreakRed"]


class CustomMultiAgentMode(WireModel):
    custom: str


MultiAgentMode = Annotated[
    Annotated[MultiAgentModeName, Tag("name")] | Annotated[CustomMultiAgentMode, Tag("custom")],
    name_or_object(get_args(MultiAgentModeName), "custom"),
]


class Settings(WireModel):
    """The settings of a collaboration mode, snake_case on the wire."""

    model: str
    reasoning_effort: ReasoningEffort | None = Field(default=None, alias="reasoning_effort")
    developer_instructions: str | None = Field(default=None, alias="developer_instructions")


class CollaborationMode(WireModel):
    mode: ModeKind
    settings: Settings
