"""Reads one TOML file; where it cannot, says at which line and column and what to write. Never judges the settings."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from app_server.config.errors import ConfigError
from app_server.config.schema import TomlTable
from app_server.values import frozen

_PLACE = r" \(at (?:line (\d+), column (\d+)|end of document)\)$"
_FIXES = (
    ("Invalid value", 'put texts in double quotes, such as model = "gpt-5.5"'),
    ("Expected '=' after a key", "write one key = value on the line"),
    ("Invalid statement", "start the line with a key, a [table] or a # comment"),
    ("Expected newline", "end the line after the value, or put a # before what follows"),
    ("Cannot overwrite a value", "the key stands there twice, keep one"),
    ("Cannot declare", "the table stands there twice, join the two"),
    ("Illegal character", "close the quote, or take the character out"),
    ("Unterminated string", "close the quote"),
    ("Unclosed", "close the bracket"),
    ("Unescaped '\\'", "double the backslash, or put the text in single quotes"),
)
_ANY_FIX = "correct it there; config.example.toml shows the form of every setting"


@frozen
class Document:
    """A file's text and the values in it."""

    path: Path
    text: str
    values: dict[str, Any]


def read_document(path: Path) -> Document | None:
    """The file, or None where there is none. Raises `ConfigError` when it cannot be read as TOML."""
    data = read_bytes(path)
    return None if data is None else document_of(path, data)


def read_bytes(path: Path) -> bytes | None:
    """What the file holds; None where there is none. Raises `ConfigError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        cause = (error.strerror or "input error").lower()
        raise ConfigError(
            f"cannot be read ({cause}); make it a file that this user can read.", source=str(path)
        ) from error


def document_of(path: Path, data: bytes) -> Document:
    """What a file with these bytes says. Raises `ConfigError` when it is no TOML."""
    text = _decoded(path, data)
    return Document(path=path, text=text, values=parse(text, source=str(path)))


def parse(text: str, *, source: str) -> dict[str, Any]:
    """The values in TOML text. Raises `ConfigError` with line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, column, what = _place(str(error), text)
        fix = next((fix for start, fix in _FIXES if what.startswith(start)), _ANY_FIX)
        raise ConfigError(f"not valid TOML ({what}); {fix}.", source=source, line=line, column=column) from error
    except RecursionError:
        raise ConfigError("nested too deeply to be read; no setting is, so take it out.", source=source) from None


def version_of(values: TomlTable) -> str:
    """A fingerprint of settings: the same for the same values, whatever their order and comments."""
    import hashlib  # slow to load, and a start needs none

    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        from app_server.config.positions import line_and_column  # of use to a broken file alone

        before = data[: error.start].decode()
        line, column = line_and_column(before, len(before))
        problem = "not UTF-8 text; save the file with the encoding UTF-8."
        raise ConfigError(problem, source=str(path), line=line, column=column) from error


def _place(message: str, text: str) -> tuple[int, int, str]:
    """Line, column and the bare complaint of a message of `tomllib`."""
    from app_server.config.positions import line_and_column

    match = re.search(_PLACE, message)
    if match is None:
        return 1, 1, message
    what = message[: match.start()]
    if match.group(1) is None:
        return (*line_and_column(text, len(text)), what)
    return int(match.group(1)), int(match.group(2)), what
