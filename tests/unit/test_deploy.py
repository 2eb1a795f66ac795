"""The files of deploy/ fit together and fit the server, as far as that can be told without an engine to run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app_server.cli import build_parser
from app_server.config.layers import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def filled(words: list[str]) -> list[str]:
    """The arguments with a value for each variable."""
    return [re.sub(r"\$\{\w+[^}]*\}", "sesame", word) for word in words]


def container_command() -> list[str]:
    (last,) = re.findall(r"^CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    words: list[str] = yaml.safe_load(last)
    return words


@pytest.mark.parametrize("words", [container_command(), filled(compose()["x-replica"]["command"])])
def test_commands_have_real_options_only(words: list[str]) -> None:
    parsed = build_parser().parse_args(words)  # exits where it knows one not
    assert (parsed.command, parsed.ws_auth, parsed.ws_token_file) == (
        "serve",
        "capability-token",
        "/run/secrets/tokens",
    )


def test_the_settings_of_the_replicas_are_settings_of_ours(tmp_path: Path) -> None:
    parsed = build_parser().parse_args(filled(compose()["x-replica"]["command"]))
    loaded = load_config(tmp_path, tmp_path, parsed.overrides, (), ())
    assert loaded.warnings == ()
    assert loaded.config.storage.url == "postgres://app_server@postgres/app_server"
    assert str(loaded.config.storage.blobs).startswith("s3://app-server/pictures?")
    assert loaded.config.server.public_url == "http://localhost:8080"


def test_every_file_that_is_named_exists() -> None:
    found = compose()
    build = found["x-replica"]["build"]
    mounted = [
        volume.partition(":")[0] for service in found["services"].values() for volume in service.get("volumes", ())
    ]
    files = [path for path in mounted if path.startswith(".")]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert files == ["./Caddyfile"]
    assert sources
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Containerfile"
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert [name for name in files if not (DEPLOY / name).is_file()] == []


def test_images_are_pinned_and_named_in_full() -> None:
    images = [service["image"] for service in compose()["services"].values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)
    assert len(images) == 5
    assert [image for image in images if not re.fullmatch(r"[a-z.]+\.[a-z]+/[a-z/]+:[\w.-]*\d[\w.-]*", image)] == []


def test_the_image_has_the_extras_and_no_rights() -> None:
    extras = re.findall(r"\.\[([a-z0-9,]+)\]", CONTAINERFILE)
    assert extras == ["postgres,s3,otel"]
    assert re.findall(r"^USER (\S+)", CONTAINERFILE, re.MULTILINE) == ["10001"]
    assert "/readyz" in CONTAINERFILE


def test_the_balancer_asks_every_replica_whether_it_is_ready() -> None:
    caddy = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    replicas = [name for name, service in compose()["services"].items() if "build" in service]
    assert re.findall(r"reverse_proxy (.*) \{", caddy) == [" ".join(f"{name}:8765" for name in replicas)]
    assert "health_uri /readyz" in caddy


def test_an_engine_waits_longer_for_a_replica_than_the_replica_for_its_turns() -> None:
    from app_server.commands.serve import SHARED_DRAIN_S

    grace = compose()["x-replica"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > SHARED_DRAIN_S
