"""What both storage backends refuse before anything is written."""

from __future__ import annotations

import pytest

from app_server.storage.base import Record, StorageError
from app_server.storage.rules import encode_record


def test_a_record_beyond_the_cap_is_refused_with_both_sizes() -> None:
    with pytest.raises(StorageError, match="has 15 bytes, more than the 12 that the log takes"):
        encode_record("t1", Record(kind="history", data={"text": "1234"}), max_bytes=12)


def test_a_record_at_the_cap_is_taken() -> None:
    assert encode_record("t1", Record(kind="history", data={"text": "1234"}), max_bytes=15) == b'{"text":"1234"}'
