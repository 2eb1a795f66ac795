"""What a row of the table of settings says: `KeySpec`, and the kinds of values. The rows are in `keys.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum, auto

from app_server.config.schema import NO_STRINGS
from app_server.values import field, frozen

Plain = str | int | float | bool | Mapping[str, str] | Sequence[str]


class Kind(StrEnum):
    """What a value must be."""

    TEXT = auto()
    URL = auto()
    FLAG = auto()
    COUNT = auto()
    SECONDS = auto()
    CHOICE = auto()
    STRINGS = auto()
    TEXTS = auto()
    NAME_TEMPLATE = auto()


@frozen
class KeySpec:
    """One setting. `default` None means unset; `example` is then what `config.example.toml` shows, commented out."""

    key: str
    kind: Kind
    doc: str
    default: Plain | None = None
    example: Plain | None = None
    minimum: int = 0
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=lambda: NO_STRINGS)
    """Values that were valid once or elsewhere, each with what to write now."""
    placeholders: tuple[str, ...] = ()
    """What may stand in braces in a template."""
    table_member: str = ""
    """Where a choice may also be a table: its only member."""

    @property
    def path(self) -> tuple[str, ...]:
        """The key in parts."""
        return tuple(self.key.split("."))
