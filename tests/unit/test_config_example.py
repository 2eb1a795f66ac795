"""The table of keys, the dataclasses and config.example.toml say the same."""

import dataclasses
import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app_server.config.keys import KEYS, KeySpec
from app_server.config.known_elsewhere import PROVIDER, TOP_LEVEL
from app_server.config.layers import load_config
from app_server.config.merge import leaves, value_at
from app_server.config.schema import (
    Config,
    ImageGenerationConfig,
    ProviderConfig,
    ServerConfig,
    StorageConfig,
    TenantLimitsConfig,
)

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
SAMPLE_PROVIDER, SAMPLE_TENANT = "gateway", "ann"


def example_lines() -> list[str]:
    """The lines, with commented-out settings brought to life: `#name = …`, where a remark begins with `# `."""
    return [re.sub(r"^#(?! |$)", "", line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]


def in_example(spec: KeySpec) -> tuple[str, ...]:
    name = SAMPLE_TENANT if spec.path[0] == "tenants" else SAMPLE_PROVIDER
    return tuple(name if part == "*" else part for part in spec.path)


def has_default(spec: KeySpec) -> bool:
    return spec.default is not None and spec.default != {}


def test_the_example_has_every_key_and_no_other() -> None:
    example = tomllib.loads("\n".join(example_lines()))
    paths = {in_example(spec) for spec in KEYS}
    found = {
        next(path[:size] for size in range(len(path), 0, -1) if path[:size] in paths) for path, _ in leaves(example)
    }
    assert found == paths
    assert len(paths) == len(KEYS)


@pytest.mark.parametrize("spec", KEYS, ids=lambda spec: spec.key)
def test_the_example_shows_the_default_or_the_example_of_each_key(spec: KeySpec) -> None:
    example = tomllib.loads("\n".join(example_lines()))
    assert value_at(example, in_example(spec)) == (spec.default if has_default(spec) else spec.example)


@pytest.mark.parametrize("spec", KEYS, ids=lambda spec: spec.key)
def test_the_line_above_each_key_is_its_documentation(spec: KeySpec) -> None:
    lines = example_lines()
    pairs = [(above, line) for above, line in itertools.pairwise(lines) if line.startswith(f"{spec.path[-1]} =")]
    assert f"# {spec.doc}" in {above for above, _ in pairs}


def test_the_example_as_it_stands_changes_no_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(EXAMPLE.read_bytes())
    loaded = load_config(tmp_path, tmp_path)
    assert dataclasses.replace(loaded.config, raw={}) == dataclasses.replace(Config(), raw={})
    assert loaded.warnings == ()


def test_the_example_with_every_key_alive_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("\n".join(example_lines()), encoding="utf-8")
    loaded = load_config(tmp_path, tmp_path)
    assert list(loaded.config.model_providers) == [SAMPLE_PROVIDER]
    assert loaded.warnings == ()


def dataclass_defaults() -> dict[str, Any]:
    defaults = {field.name: getattr(Config(), field.name) for field in dataclasses.fields(Config)}
    for table, instance in (
        ("image_generation.", ImageGenerationConfig()),
        ("server.", ServerConfig()),
        ("storage.", StorageConfig()),
        ("tenants.", TenantLimitsConfig()),
        ("model_providers.*.", ProviderConfig(id="x")),
    ):
        defaults |= {table + field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
    for structure in ("raw", "model_providers", "image_generation", "server", "storage", "tenants"):
        del defaults[structure]
    del defaults["model_providers.*.id"]
    of_one = {f"tenants.limits.*.{field.name}": None for field in dataclasses.fields(TenantLimitsConfig)}
    return {**defaults, **of_one}


def test_the_defaults_of_the_table_are_those_of_the_dataclasses() -> None:
    assert {spec.key: spec.default for spec in KEYS if not spec.key.startswith("features.")} == dataclass_defaults()


def test_no_key_is_both_ours_and_known_elsewhere() -> None:
    assert {spec.path[0] for spec in KEYS} & TOP_LEVEL == set()
    assert {spec.path[2] for spec in KEYS if spec.path[0] == "model_providers"} & PROVIDER == set()
