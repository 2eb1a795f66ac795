"""Fixtures that every suite shares."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The server's runtime is asyncio through anyio, so the tests run on that backend alone."""
    return "asyncio"
