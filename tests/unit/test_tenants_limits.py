"""What a tenant may have, in the settings and in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_server.config.errors import ConfigError
from app_server.config.layers import load_config
from app_server.config.schema import TenantLimitsConfig, TenantsConfig
from app_server.storage.places import Full, PlaceKind, free_in_ms
from app_server.tenants.limits import limits_for, refusal

SETTINGS = """
[tenants]
max_threads = 5
max_connections = 2

[tenants.limits."bob@example.com"]
max_threads = 0
max_running_turns = 7
"""


def loaded(folder: Path, text: str) -> TenantsConfig:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    config = load_config(folder, folder)
    assert config.warnings == ()
    return config.config.tenants


def test_a_name_has_its_own_limits_and_for_the_rest_those_of_all(tmp_path: Path) -> None:
    config = loaded(tmp_path, SETTINGS)
    assert limits_for(config, "ann") == config
    assert (config.max_threads, config.max_running_turns, config.max_connections) == (5, 0, 2)
    assert limits_for(config, "bob@example.com") == TenantLimitsConfig(max_running_turns=7, max_connections=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tenants]\nmax_threads = -1", "tenants.max_threads is -1; write a whole number of 0 or more"),
        ("[tenants.limits.bob]\nmax_threads = true", "tenants.limits.bob.max_threads is true"),
        ("[tenants]\nlimits = 3", "tenants.limits is a whole number; write a table"),
        ("[tenants.limits]\nbob = 3", "tenants.limits.bob is a whole number; write a table"),
    ],
)
def test_a_limit_that_is_none_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path, tmp_path)
    assert words in str(error.value)


def test_a_slip_in_a_limit_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[tenants]\nmax_thread = 1\n[tenants.limits.bob]\nmax_turns = 1\n")
    (warning,) = load_config(tmp_path, tmp_path).warnings
    assert "tenants.max_thread (did you mean max_threads?), tenants.limits.bob.max_turns" in warning


def test_a_project_sets_no_limits(tmp_path: Path) -> None:
    project = tmp_path / "work" / ".codex"
    project.mkdir(parents=True)
    (project / "config.toml").write_text("[tenants]\nmax_threads = 1\n", encoding="utf-8")
    config = load_config(tmp_path / "home", project.parent)
    assert config.config.tenants == TenantsConfig()


@pytest.mark.parametrize(
    ("kind", "full", "words", "retry_ms"),
    [
        ("threads", Full(used=2), "2 threads are there", None),
        ("turns", Full(used=2), "2 turns are running", 2000),
        ("connections", Full(used=2), "2 connections are open", 2000),
        ("pictures", Full(used=2, free_in_ms=59_999), "try again in 1 min", 59_999),
        ("pictures", Full(used=2, free_in_ms=3_600_000), "try again in 1 h", 3_600_000),
        ("pictures", Full(used=2, free_in_ms=86_340_000), "try again in 23 h 59 min", 86_340_000),
        ("pictures", Full(used=0), "ask for fewer at once", None),
    ],
)
def test_a_refusal_says_what_there_is_and_when_to_ask_again(
    kind: PlaceKind, full: Full, words: str, retry_ms: int | None
) -> None:
    error = refusal(kind, 2, 1, full)
    assert words in error.message
    assert (error.wire_code, error.data["limit"], error.data["used"]) == (-32001, 2, full.used)
    assert (error.data["retryAfterMs"], error.retry_after_ms) == (retry_ms, retry_ms)


@pytest.mark.parametrize(
    ("ends_ms", "wanted", "limit", "expected"),
    [
        ([30, 10, 20], 1, 3, 10),
        ([30, 10, 20], 2, 3, 20),
        ([30, 10, 20], 3, 3, 30),
        ([30, 10, 20], 4, 3, None),
        ([30, 10, 20, 40], 1, 2, 30),
        ([], 1, 0, None),
    ],
)
def test_there_is_room_when_so_many_places_have_ended(
    ends_ms: list[int], wanted: int, limit: int, expected: int | None
) -> None:
    assert free_in_ms(ends_ms, wanted, limit, 0) == expected
