"""What can be wrong with settings: always with the place, what was found there and what to write instead."""

from __future__ import annotations

from app_server.errors import ConfigurationError


class ConfigError(ConfigurationError):
    """A setting cannot be used. `source` is a file's path, or the option or request that it came by."""

    def __init__(self, problem: str, *, source: str, line: int | None = None, column: int | None = None) -> None:
        place = source if line is None else f"{source}:{line}:{column}"
        super().__init__(f"{place}: {problem}")
        self.source = source
        self.line = line
        self.column = column


class ConfigVersionConflict(ConfigurationError):
    """The file changed since its version was read; nothing was written."""
