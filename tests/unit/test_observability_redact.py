"""What may stand in a log line: canaries of every kind go in, none comes out."""

import base64
import os

import orjson
import pytest

from app_server.observability.redact import MAX_ENTRIES, MAX_TEXT_CHARS, is_secret_key, redact, redact_text

CANARY = "canary7F3a"
JWT = f"eyJhbGciOiJSUzI1NiJ9.eyJzdWIi{CANARY}.c2ln-{CANARY}"
PICTURE = base64.b64encode(os.urandom(400)).decode()


@pytest.mark.parametrize(
    "key",
    [
        "authorization", "Authorization", "token", "api_key", "apiKey", "x-api-key", "secret", "password",
        "access_token", "accessToken", "refresh_token", "id_token", "client_secret", "set-cookie",
    ],
)  # fmt: skip
def test_a_value_under_a_secret_key_is_dropped_at_any_depth(key: str) -> None:
    assert redact({key: CANARY, "nested": [{key: {"inner": CANARY}}]}) == {
        key: "[redacted]",
        "nested": [{key: "[redacted]"}],
    }


@pytest.mark.parametrize("key", ["total_tokens", "tokens", "prompt_cache_key", "key", "keyboard", "secretary"])
def test_a_key_that_only_resembles_a_secret_keeps_its_value(key: str) -> None:
    assert not is_secret_key(key)
    assert redact({key: 12}) == {key: 12}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key sk-{CANARY}-x is bad", "key [redacted key] is bad"),
        (f"sk-proj-{CANARY}", "[redacted key]"),
        (f"got {JWT}!", "got [redacted token]!"),
        (f"header Bearer {CANARY}", "header Bearer [redacted]"),
        (f"Authorization: Basic {CANARY}=", "Authorization: Basic [redacted]"),
        (f"GET /x?api_key={CANARY}&n=1", "GET /x?api_key=[redacted]&n=1"),
        (f"GET /x?n=1&sig={CANARY}", "GET /x?n=1&sig=[redacted]"),
        (f'{{"access_token": "{CANARY}"}}', '{"access_token": "[redacted]"}'),
        (f"{{'password': '{CANARY}'}}", "{'password': '[redacted]'}"),
        (f"password={CANARY}", "password=[redacted]"),
        (f"http://me:{CANARY}@proxy:8080/", "http://[redacted]@proxy:8080/"),
        ('{"code": "invalid_api_key", "type": "x"}', '{"code": "invalid_api_key", "type": "x"}'),
        ("a plain sentence; with, signs: 1 = 1", "a plain sentence; with, signs: 1 = 1"),
    ],
)
def test_secrets_inside_a_text_are_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize("prefix", ["", "see ", '{"image_url":"'])
def test_a_data_url_is_told_by_type_and_length_only(prefix: str) -> None:
    url = f"data:image/png;base64,{PICTURE}"
    assert redact_text(f'{prefix}{url}" end') == f'{prefix}<data URL image/png, {len(url)} chars>" end'


def test_a_small_data_url_is_a_picture_too() -> None:
    assert redact_text("data:image/gif;base64,R0lGODlh") == "<data URL image/gif, 30 chars>"


def test_a_base64_run_is_told_by_its_length_only() -> None:
    assert redact_text(f"b64 {PICTURE} end") == f"b64 <base64, {len(PICTURE)} chars> end"


def test_base64_broken_into_lines_does_not_come_through() -> None:
    lines = base64.encodebytes(os.urandom(400)).decode().rstrip()
    assert redact_text(lines) == f"<base64, {len(lines)} chars>"


def test_bytes_are_told_by_their_number_only() -> None:
    assert redact({"a": b"123", "b": bytearray(4), "c": [memoryview(b"12")]}) == {
        "a": "<3 bytes>",
        "b": "<4 bytes>",
        "c": ["<2 bytes>"],
    }


def test_a_long_text_is_cut_and_says_how_much_is_missing() -> None:
    assert redact_text("word " * 500) == "word " * 400 + "… (+500 chars)"


def test_of_a_traceback_the_end_is_kept() -> None:
    text = "frame " * 1000 + "ValueError: the cause"
    redacted = redact({"exception": text})["exception"]
    assert redacted.endswith("ValueError: the cause")
    assert len(redacted) < MAX_TEXT_CHARS + 30


@pytest.mark.parametrize("keep_end", [False, True])
@pytest.mark.parametrize("secret", [f"sk-{CANARY * 3}", JWT, f"data:image/png;base64,{CANARY * 90}"])
def test_a_secret_at_the_place_of_the_cut_does_not_come_through(secret: str, keep_end: bool) -> None:
    for offset in range(0, 2 * len(secret), 7):
        for size in (MAX_TEXT_CHARS, 2 * MAX_TEXT_CHARS):
            head, tail = "x " * ((size - offset) // 2), "y " * size
            text = tail + secret + head if keep_end else head + secret + tail
            assert CANARY not in redact_text(text, keep_end=keep_end)


def test_a_huge_text_is_cut_without_being_searched_whole() -> None:
    assert redact_text("A" * 50_000_000) == "… (+50000000 chars)"


def test_wide_and_deep_containers_are_cut() -> None:
    deep: object = "leaf"
    for _ in range(10):
        deep = [deep]
    redacted = redact({"wide": list(range(MAX_ENTRIES + 5)), "deep": deep})
    assert redacted == {"wide": [*range(MAX_ENTRIES), "+5 entries"], "deep": [[[[[["<1 entries>"]]]]]]}


def test_what_is_written_can_always_be_encoded_as_json() -> None:
    fields = {
        "big": 2**70,
        "name": "caf\udce9",
        "error": ValueError(f"no sk-{CANARY}"),
        "none": None,
        "yes": True,
        "set": {1},
    }
    redacted = redact(fields)
    assert redacted == {
        "big": str(2**70), "name": "caf\\udce9", "error": "no [redacted key]", "none": None, "yes": True, "set": [1],
    }  # fmt: skip
    assert orjson.loads(orjson.dumps(redacted)) == redacted
