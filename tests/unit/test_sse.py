"""The decoder of server-sent events: line ends, fields, chunks of any cut, the cap."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_server.sse import SseDecoder, SseTooLarge


def decode(*chunks: bytes) -> list[bytes]:
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard_separates_events(end: bytes) -> None:
    stream = end.join([b"event: a", b"data: one", b"", b"data: two", b"data: three", b"", b""])
    assert decode(stream) == [b"one", b"two\nthree"]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b": keep-alive\n\ndata: x\n\n", [b"x"]),
        (b"data:no space\n\n", [b"no space"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data\n\n", [b""]),
        (b"id: 1\nretry: 5\nevent: e\n\n", []),
        (b"database: no\n\n", []),
        (b"\n\n\ndata: x\n\n\n", [b"x"]),
        (b"\xef\xbb\xbfdata: after a byte order mark\n\n", [b"after a byte order mark"]),
        (b"data: \xff\xfe bytes stay bytes\n\n", [b"\xff\xfe bytes stay bytes"]),
        (b"data: cut off by the end\n", []),
    ],
)
def test_fields_are_read_as_the_standard_says(stream: bytes, events: list[bytes]) -> None:
    assert decode(stream) == events


BOM = b"\xef\xbb\xbf"
LINES = st.lists(st.sampled_from([b"data: x", b"data:y", b"data", b"", b": note", b"event: e", b"data: " + BOM, BOM]))
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(lines=LINES, ends=st.lists(ENDS, min_size=1), cuts=st.lists(st.integers(0, 200)))
@settings(max_examples=200, deadline=None)
def test_any_chunking_gives_the_same_events(lines: list[bytes], ends: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(line + ends[n % len(ends)] for n, line in enumerate(lines))
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert decode(*(stream[a:b] for a, b in pairwise(at))) == decode(stream)
    assert decode(*(stream[n : n + 1] for n in range(len(stream)))) == decode(stream)


def test_a_large_event_in_very_many_chunks_costs_linear_time() -> None:
    def seconds(total_bytes: int) -> float:
        stream = b"data: " + b"x" * total_bytes + b"\n\n"
        decoder, began = SseDecoder(), time.process_time()
        events = [event for n in range(0, len(stream), 256) for event in decoder.feed(stream[n : n + 256])]
        assert [len(event) for event in events] == [total_bytes]
        return time.process_time() - began

    seconds(1_000_000)
    small, large = min(seconds(1_000_000) for _ in range(3)), min(seconds(8_000_000) for _ in range(3))
    assert large < small * 24  # 8 with linear time, 64 with a buffer that is copied at every chunk


def test_an_unfinished_line_over_the_cap_is_refused() -> None:
    decoder = SseDecoder(max_event_bytes=100)
    assert decoder.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(SseTooLarge, match="100 bytes"):
        decoder.feed(b"x" * 20)


def test_many_data_lines_over_the_cap_are_refused() -> None:
    with pytest.raises(SseTooLarge):
        SseDecoder(max_event_bytes=100).feed(b"data: 0123456789\n" * 20)


def test_the_cap_counts_one_event_and_not_the_stream() -> None:
    assert SseDecoder(max_event_bytes=100).feed(b"data: 0123456789\n\n" * 20) == [b"0123456789"] * 20
