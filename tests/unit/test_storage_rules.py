"""What both storage backends refuse before anything is written."""

from __future__ import annotations

import pytest

from app_server.storage.base import Record, StorageDamaged, StorageError
from app_server.storage.rules import decode_records, encode_record


def test_a_record_beyond_the_cap_is_refused_with_both_sizes() -> None:
    with pytest.raises(StorageError, match="has 15 bytes, more than the 12 that the log takes"):
        encode_record("t1", Record(kind="history", data={"text": "1234"}), max_bytes=12)


def test_a_record_at_the_cap_is_taken() -> None:
    assert encode_record("t1", Record(kind="history", data={"text": "1234"}), max_bytes=15) == b'{"text":"1234"}'


def test_records_are_decoded_in_their_order() -> None:
    assert decode_records("t1", []) == []
    assert decode_records("t1", [(1, b'{"a":1}'), (2, b"{}")]) == [{"a": 1}, {}]


@pytest.mark.parametrize("damaged", [b'{"a":', b"[1]", b""])
def test_a_record_among_others_that_cannot_be_decoded_is_named(damaged: bytes) -> None:
    with pytest.raises(StorageDamaged, match="Record 2 of thread t1 is damaged"):
        decode_records("t1", [(1, b'{"a":1}'), (2, damaged), (3, b"{}")])
