"""Finds the line and column of a key's value in valid TOML text. Pure; used only to report an error.

`tomllib` forgets where things stood and `tomlkit` does not tell, so this walks the text once: headers, dotted keys,
strings, arrays and inline tables.
"""

from __future__ import annotations

import re
import tomllib

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'",
    re.DOTALL,
)


def locate(text: str, path: tuple[str, ...]) -> tuple[int, int]:
    """Line and column (from 1) of what stands at `path`, or of the nearest thing around it."""
    text = text.replace("\r\n", "\n")
    found = _Walk(text).run()
    offset = found.get(path)
    if offset is None:
        inside = (found[key] for key in found if key[: len(path)] == path)
        around = (found[path[:size]] for size in range(len(path) - 1, 0, -1) if path[:size] in found)
        offset = next(inside, None)
        offset = next(around, 0) if offset is None else offset
    return line_and_column(text, offset)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a character."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Walk:
    """One pass over the text; `found` maps each key to the offset of its value, each table to that of its header."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[tuple[str, ...], int] = {}

    def run(self) -> dict[tuple[str, ...], int]:
        table: tuple[str, ...] = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.found

    def _header(self) -> tuple[str, ...]:
        start = self.at
        brackets = 2 if self.text.startswith("[[", start) else 1
        self.at += brackets
        key = self._key()
        self.at += brackets
        self.found.setdefault(key, start)
        return key

    def _pair(self, table: tuple[str, ...]) -> None:
        key = (*table, *self._key())
        self.at += 1  # the equals sign
        self._skip(_SPACES)
        self._value(key)

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._skip(_SPACES)
            if self.text[self.at] in "\"'":
                raw = self._skip(_STRING)
                parts.append(tomllib.loads(f"key = {raw}")["key"])
            else:
                parts.append(self._skip(_BARE_KEY))
            self._skip(_SPACES)
            if self.text[self.at] != ".":
                return tuple(parts)
            self.at += 1

    def _value(self, key: tuple[str, ...]) -> None:
        self.found.setdefault(key, self.at)
        opening = self.text[self.at]
        if opening in "\"'":
            self._skip(_STRING)
        elif opening in "[{":
            self.at += 1
            self._members(key, closing="]" if opening == "[" else "}")
        else:
            self._skip(_PLAIN_VALUE)

    def _members(self, key: tuple[str, ...], *, closing: str) -> None:
        index = 0
        self._skip(_BLANK)
        while self.text[self.at] != closing:
            if closing == "}":
                self._pair(key)
            else:
                self._value((*key, str(index)))
                index += 1
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
                self._skip(_BLANK)
        self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError("positions are looked up in valid TOML only")
        self.at = match.end()
        return match.group()
