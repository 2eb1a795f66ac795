"""Owns fuzzyFileSearch*: files and folders by a few letters of their path. The rows of a result are snake_case."""

from typing import Literal

from pydantic import ConfigDict

from app_server.protocol.base import Params, UInt32, WireModel


class FuzzyFileSearchParams(Params):
    """A search with the token of one that still runs takes its place: the earlier one ends with what it has."""

    query: str
    roots: tuple[str, ...]
    cancellation_token: str | None = None


class FuzzyFileSearchResult(WireModel):
    """`path` is relative to `root`, `indices` are the characters of it that matched."""

    model_config = ConfigDict(alias_generator=None)

    root: str
    path: str
    match_type: Literal["file", "directory"]
    file_name: str
    score: UInt32
    indices: tuple[UInt32, ...] | None = None


class FuzzyFileSearchResponse(WireModel):
    """The best first."""

    files: tuple[FuzzyFileSearchResult, ...]


class FuzzyFileSearchSessionStartParams(Params):
    """`session_id` is the client's choice and counts on its connection alone."""

    session_id: str
    roots: tuple[str, ...]


class FuzzyFileSearchSessionUpdateParams(Params):
    session_id: str
    query: str


class FuzzyFileSearchSessionStopParams(Params):
    session_id: str


class FuzzyFileSearchSessionUpdatedNotification(WireModel):
    """`fuzzyFileSearch/sessionUpdated`: what the latest query of a session found."""

    session_id: str
    query: str
    files: tuple[FuzzyFileSearchResult, ...]


class FuzzyFileSearchSessionCompletedNotification(WireModel):
    """`fuzzyFileSearch/sessionCompleted`: nothing more is found for the latest query; follows sessionUpdated."""

    session_id: str
