"""Settings that come by the command line or with a request instead of a file. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from app_server.config.errors import ConfigError
from app_server.config.merge import merge, nested, split_key


def command_line_values(
    overrides: Sequence[str], enable: Sequence[str], disable: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values of `-c key=value`, `--enable F` and `--disable F` in one table, and warnings.

    Later options win over earlier ones, the feature options over `-c`; where a feature is both enabled and disabled it
    is off. Raises `ConfigError` for a `-c` without a key or an equals sign.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        path, value = parse_override(override)
        values = merge(values, nested(path, value))
    for names, wanted in ((enable, True), (disable, False)):
        for name in names:
            features = values.get("features")
            switched = {name.strip(): wanted}
            values["features"] = merge(features, switched) if isinstance(features, dict) else switched
    both = sorted(set(enable) & set(disable))
    warnings = tuple(
        f"--enable {name} and --disable {name} contradict each other: it is off; drop one." for name in both
    )
    return values, warnings


def parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    """Path and value of one `key=value`; the value is read as TOML, and as plain text where it is not TOML."""
    key, equals, text = override.partition("=")
    path = split_key(key)
    if not equals or not all(path):
        problem = 'has no key or no equals sign; write -c key=value, such as -c model="gpt-5.5".'
        raise ConfigError(problem, source=f"-c {key.strip() or '…'}")
    return path, _value(text.strip())


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip("\"'")
    return parsed["value"] if len(parsed) == 1 else text
