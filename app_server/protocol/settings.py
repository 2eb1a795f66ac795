"""Owns the words for how a model is asked to work: effort, summary, personality, collaboration mode."""

from typing import Annotated, Literal, get_args

from pydantic import Field, Tag

from app_server.protocol.base import Params, WireModel, name_or_object

ReasoningEffort = Annotated[str, Field(min_length=1)]
"""A level that the model's row of the catalogue advertises; the protocol leaves the names open."""

ReasoningSummary = Literal["auto", "concise", "detailed", "none"]
Personality = Literal["none", "friendly", "pragmatic"]
TurnItemsView = Literal["notLoaded", "summary", "full"]
"""Which items a turn object holds: none, the first of the user and the last of the model, or all."""
ThreadHistoryMode = Literal["legacy", "paginated"]
ThreadGoalStatus = Literal["active", "paused", "blocked", "usageLimited", "budgetLimited", "complete"]
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


class TurnEnvironmentParams(Params):
    """A place to work in; the first one of a list is the current one."""

    environment_id: str
    cwd: str
    runtime_workspace_roots: tuple[str, ...] | None = None
