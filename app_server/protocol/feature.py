"""Owns experimentalFeature/*: the feature flags as clients see them."""

from typing import Literal

from app_server.protocol.base import Bool, Params, WireModel
from app_server.protocol.paging import Page, PageParams

ExperimentalFeatureStage = Literal["beta", "underDevelopment", "stable", "deprecated", "removed"]


class ExperimentalFeature(WireModel):
    """A flag and its state; name, description and announcement for people are given in beta alone."""

    name: str
    stage: ExperimentalFeatureStage
    display_name: str | None = None
    description: str | None = None
    announcement: str | None = None
    enabled: Bool
    default_enabled: Bool


class ExperimentalFeatureListParams(PageParams):
    """`thread_id` asks for the state in that thread instead of the process's."""

    thread_id: str | None = None


class ExperimentalFeatureListResponse(Page):
    data: tuple[ExperimentalFeature, ...]


class ExperimentalFeatureEnablementSetParams(Params):
    """Only the named features change, for the whole process."""

    enablement: dict[str, Bool]


class ExperimentalFeatureEnablementSetResponse(WireModel):
    """What this request changed."""

    enablement: dict[str, Bool]
