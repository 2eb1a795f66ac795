"""image/list, image/read, image/delete: a client without the server's disk shows and removes pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # jsonschema ships no types
from PIL import Image

from app_server.methods import load_registry
from tests.conformance import manifest
from tests.interaction.conversation import (
    UNKNOWN_THREAD,
    Client,
    imagegen,
    picture_home,
    refused,
    run_turn,
    start_thread,
)
from tests.support.pictures import BLUE, GREEN, RED, data_url, image_edge, png
from tests.support.server import Home, connected, running
from tests.support.upstream import ScriptedUpstream, image_generated, sse, text_turn

pytestmark = pytest.mark.anyio
SCHEMA = orjson.loads((Path(__file__).parents[2] / "docs" / "schema" / "image.json").read_bytes())


async def ask(client: Client, method: str, **params: Any) -> dict[str, Any]:
    """A result that fits our own schema."""
    pointer = SCHEMA["methods"][method]
    for kind, value in (("params", params), ("result", await client.request(method, params))):
        Draft7Validator({**SCHEMA, "$ref": f"#/definitions/{pointer[kind]}"}).validate(value)
    return dict(value)
