"""Changing a setting leaves the rest of the file as it was, or changes nothing at all."""

import os
import stat
import tomllib
from functools import reduce
from pathlib import Path

import pytest

from app_server.config.document import version_of
from app_server.config.edit import Edit, apply_edits, set_value
from app_server.config.errors import ConfigError, ConfigVersionConflict

BEFORE = """\
# mine
model = "a" # the good one

[features] # switches
apps = false

[model_providers.x]
base_url = "http://x"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(BEFORE, encoding="utf-8")
    return path


def test_a_changed_value_keeps_comments_and_order(path: Path) -> None:
    set_value(path, "model", "b")
    set_value(path, "features.apps", True)
    assert path.read_text(encoding="utf-8") == BEFORE.replace('"a"', '"b"').replace("false", "true")


def test_a_new_top_level_key_stays_above_the_tables(path: Path) -> None:
    set_value(path, "model_verbosity", "low")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["model_verbosity"] == "low"


def test_a_new_table_is_made_for_a_dotted_key(path: Path) -> None:
    set_value(path, 'projects."/tmp/a.b".trust_level', "trusted")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["projects"] == {"/tmp/a.b": {"trust_level": "trusted"}}


def test_null_removes_the_key_and_is_fine_where_there_is_none(path: Path) -> None:
    set_value(path, "model", None)
    set_value(path, "no.such.key", None)
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {
        "features": {"apps": False},
        "model_providers": {"x": {"base_url": "http://x"}},
    }


def test_an_upsert_joins_tables_and_a_replacement_does_not(path: Path) -> None:
    table = {"imagegenext": True, "nothing": None}
    apply_edits(path, [Edit(key="features", value=table, upsert=True)])
    assert tomllib.loads(path.read_text(encoding="utf-8"))["features"] == {"apps": False, "imagegenext": True}
    apply_edits(path, [Edit(key="features", value=table)])
    assert tomllib.loads(path.read_text(encoding="utf-8"))["features"] == {"imagegenext": True}


def test_the_version_is_that_of_the_values_and_an_outdated_one_is_refused(path: Path) -> None:
    first = version_of(tomllib.loads(BEFORE))
    second = set_value(path, "model", "b", expected_version=first)
    assert second == version_of(tomllib.loads(path.read_text(encoding="utf-8")))
    with pytest.raises(ConfigVersionConflict, match=r"has changed since it was read"):
        set_value(path, "model", "c", expected_version=first)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sandbox_mode", "nonsense", r'sandbox_mode is "nonsense"; write "read-only" or'),
        ("features.imagegenext", 1, r"features\.imagegenext is a whole number; write true or false"),
        ("model_providers.x.base_url", None, r"model_providers\.x has no base_url"),
        ("", 1, r"the key is empty; name the setting"),
        ("model.x", 1, r"model is no table, so model\.x has no place"),
        ("a.b", reduce(lambda inner, _: {"c": inner}, range(31), 1), r"the value is nested more than 32 levels deep"),
        ("a", reduce(lambda inner, _: [inner], range(600), 1), r"the value is nested more than 32 levels deep"),
    ],
)
def test_what_could_not_be_read_afterwards_is_not_written(path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        set_value(path, key, value)
    assert path.read_text(encoding="utf-8") == BEFORE


def test_a_file_that_is_nested_too_deeply_is_left_to_the_person(path: Path) -> None:
    path.write_text(f"a = {'[' * 150}{']' * 150}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is nested too deeply to be changed here; edit it by hand"):
        set_value(path, "model", "x")


def test_of_several_edits_all_or_none_are_written(path: Path) -> None:
    with pytest.raises(ConfigError):
        apply_edits(path, [Edit(key="model", value="b"), Edit(key="model_verbosity", value="loud")])
    assert path.read_text(encoding="utf-8") == BEFORE


def test_a_missing_file_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    set_value(path, "features.imagegenext", True)
    assert path.read_text(encoding="utf-8") == "[features]\nimagegenext = true\n"
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_linked_file_stays_a_link_and_keeps_its_mode(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    set_value(link, "model", "b")
    assert link.is_symlink()
    assert 'model = "b"' in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
