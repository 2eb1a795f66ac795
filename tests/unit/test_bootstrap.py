"""The composition root at its edges: an intruder in our names, the handshake, and a server without its extension."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app_server.bootstrap import App, Options, check_one_parent_folder
from app_server.errors import ConfigurationError, InvalidRequest
from app_server.protocol.jsonrpc import MISSING
from app_server.rpc.session import Session
from app_server.version import PROTOCOL_VERSION

ROOT = Path(__file__).resolve().parents[2]
HANDSHAKE = {"clientInfo": {"name": "tests", "version": "1"}}


def app(tmp_path: Path, **options: object) -> App:
    return App(Options(**{"env": {}, "cwd": tmp_path, "home": tmp_path, **options}))  # type: ignore[arg-type]  # a test's own options


def test_our_own_packages_share_one_folder() -> None:
    check_one_parent_folder()


@pytest.mark.parametrize("package", ["features", "extensions"])
def test_a_package_that_hides_ours_is_named(tmp_path: Path, package: str) -> None:
    intruder = tmp_path / "intruder" / package
    intruder.mkdir(parents=True)
    (intruder / "__init__.py").write_text("BUILTIN = ()\n", encoding="utf-8")
    code = (
        "import sys\n"
        "from app_server.bootstrap import check_one_parent_folder\n"
        "from app_server.errors import ConfigurationError\n"
        f"for name in [name for name in sys.modules if name.partition('.')[0] == {package!r}]: del sys.modules[name]\n"
        f"sys.path.insert(0, {str(intruder.parent)!r})\n"
        "try:\n"
        "    check_one_parent_folder()\n"
        "except ConfigurationError as error:\n"
        "    sys.stdout.write(error.message)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert ended.stdout == (
        f"The package {package} of this server is hidden by {intruder.resolve()}; install the server isolated "
        "(pipx, uv tool or a venv of its own), or run it without that folder on the path."
    )


def test_the_handshake_fills_the_session_and_says_who_we_are(tmp_path: Path) -> None:
    session = Session(connection_id=1, transport="memory")
    capabilities = {"experimentalApi": True, "optOutNotificationMethods": ["a"], "extensions": {"x": 1}}
    reply = app(tmp_path).initialize(
        session, {"clientInfo": {"name": "n", "version": "1", "title": "T"}, "capabilities": capabilities}
    )
    assert session == Session(
        connection_id=1,
        transport="memory",
        initialized=True,
        client_name="n",
        client_version="1",
        client_title="T",
        experimental_api=True,
        opted_out=frozenset({"a"}),
        extensions={"x": 1},
    )
    assert reply["userAgent"].startswith(f"n/{PROTOCOL_VERSION} (")
    assert reply["codexHome"] == str(tmp_path)
    assert set(reply) == {"userAgent", "codexHome", "platformFamily", "platformOs"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (MISSING, "missing field `params`"),
        (None, "invalid type: null, expected a map"),
        ({}, "missing field `clientInfo`"),
        ({"clientInfo": {"name": "n"}}, "missing field `version` (at `clientInfo`)"),
        (
            {"clientInfo": {"name": "n", "version": "1"}, "capabilities": {"experimentalApi": 1}},
            "invalid type: integer `1`, expected a boolean (at `capabilities.experimentalApi`)",
        ),
    ],
)
def test_a_handshake_that_does_not_fit_leaves_the_session_as_it_was(
    tmp_path: Path, params: object, message: str
) -> None:
    session = Session(connection_id=1, transport="memory")
    with pytest.raises(InvalidRequest) as refused:
        app(tmp_path).initialize(session, params)
    assert refused.value.message == f"Invalid request: {message}"
    assert session == Session(connection_id=1, transport="memory")


def test_a_broken_config_raises_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("= 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"config\.toml:1:1: "):
        app(tmp_path)


@pytest.mark.anyio
async def test_a_server_wired_without_extensions_has_no_tools_of_its_own(tmp_path: Path) -> None:
    built = app(tmp_path, extensions=(), enable=("imagegenext",), storage_url="memory:")
    async with built.running():
        wiring = await built.wiring()
        registry = wiring.extensions(wiring.features.current())
    assert (dict(registry.tools), registry.states) == ({}, ())


@pytest.mark.anyio
async def test_core_needs_a_running_app(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="needs `async with app\\.running"):
        await app(tmp_path).core()
