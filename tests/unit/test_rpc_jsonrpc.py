"""The envelope: what each kind of frame is taken for, and that no bytes at all make the reader fail."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_server.protocol.jsonrpc import (
    MISSING,
    Invalid,
    Notification,
    Reply,
    Request,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    parse_frame,
)

BAD_ID = Invalid(None, -32600, "The id must be a string or a 64-bit integer.", "invalidRequest")
BATCH = Invalid(None, -32600, "Batches are not supported; send one request object per message.", "invalidRequest")
SCALAR = Invalid(
    None, -32600, "A message must be a JSON object: send one request object per message.", "invalidRequest"
)


def no_method(request_id: int | str | None) -> Invalid:
    return Invalid(request_id, -32600, "A request needs a `method` that is a string.", "invalidRequest")


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b'{"id":1,"method":"m"}', Request(1, "m", MISSING)),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":null}', Request(1, "m", None)),
        (b'{"id":"a","method":"m","params":{"x":[1]}}', Request("a", "m", {"x": [1]})),
        (b'{"id":"","method":"","params":[]}', Request("", "", [])),
        (b'{"id":0,"method":"m"}', Request(0, "m")),
        (b'{"id":-7,"method":"m"}', Request(-7, "m")),
        (b'{"id":9007199254740993,"method":"m"}', Request(2**53 + 1, "m")),
        (b'{"id":9223372036854775807,"method":"m"}', Request(2**63 - 1, "m")),
        (b'{"id":9223372036854775808,"method":"m"}', BAD_ID),
        (b'{"id":18446744073709551615,"method":"m"}', BAD_ID),
        (b'{"id":18446744073709551616,"method":"m"}', BAD_ID),
        (b'{"id":1.0,"method":"m"}', BAD_ID),
        (b'{"id":true,"method":"m"}', BAD_ID),
        (b'{"id":null,"method":"m"}', BAD_ID),
        (b'{"id":[1],"method":"m"}', BAD_ID),
        (b'{"id":1,"id":2,"method":"m"}', Request(2, "m")),
        (b'{"method":"initialized"}', Notification("initialized", MISSING)),
        (b'{"method":"n","params":{}}', Notification("n", {})),
        (b'{"id":3,"result":{"ok":true}}', Reply(3, {"ok": True}, None)),
        (b'{"id":3,"result":null}', Reply(3, None, None)),
        (b'{"id":3,"error":{"code":1,"message":"no"}}', Reply(3, None, {"code": 1, "message": "no"})),
        (b'{"id":3,"error":"no"}', Reply(3, None, {"code": 0, "message": "no"})),
        (b'{"id":3,"error":null,"result":1}', Reply(3, 1, None)),
        (b'{"id":3}', no_method(3)),
        (b'{"id":true,"result":1}', no_method(None)),
        (b'{"id":"x","method":5}', no_method("x")),
        (b'{"id":4,"method":null,"result":1}', no_method(4)),
        (b'{"method":5}', no_method(None)),
        (b"{}", no_method(None)),
        (b"[]", BATCH),
        (b'[{"id":1,"method":"m"}]', BATCH),
        (b"3", SCALAR),
        (b'"text"', SCALAR),
        (b"null", SCALAR),
        (b"", None),
        (b" \t\r\n", None),
    ],
)
def test_a_frame_is_classified(frame: bytes, expected: object) -> None:
    assert parse_frame(frame) == expected


@pytest.mark.parametrize(
    "frame",
    [
        b"{",
        b'{"id":1,"method":"m"',
        b'{"id":1,"method":"m"} {}',
        b'{"id":1,"method":"\\ud800"}',
        b'{"id":1,"method":"\xff"}',
        b'{"id":1,"method":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"NaN",
        b'{"id":1' + b"0" * 400 + b',"method":"m"}',
        b'{"id":1,"method":"m","params":NaN}',
        b'{"id":1,"method":"m","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_a_parse_error_without_an_id(frame: bytes) -> None:
    parsed = parse_frame(frame)
    assert isinstance(parsed, Invalid)
    assert (parsed.id, parsed.code, parsed.data_code) == (None, -32700, "parseError")
    assert parsed.message.startswith("The message is not valid JSON: ")
    assert len(parsed.message) < 300


WORDS = st.text(alphabet='aé€😀"\\\n', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MEMBERS = st.sampled_from(["id", "method", "params", "result", "error", "jsonrpc", "other"])


@patient
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    parse_frame(data)


@patient
@given(st.dictionaries(MEMBERS, VALUES, max_size=7))
def test_every_object_is_one_of_the_four_kinds_and_its_id_is_given_back_unchanged(value: dict[str, Any]) -> None:
    parsed = parse_frame(orjson.dumps(value))
    assert isinstance(parsed, (Request, Notification, Reply, Invalid))
    if isinstance(parsed, (Request, Reply)):
        assert parsed.id == value["id"]
        assert type(parsed.id) is type(value["id"])
    if isinstance(parsed, Invalid):
        answer = orjson.loads(encode_error(parsed.id, parsed.code, parsed.message, {"code": parsed.data_code}))
        assert answer["id"] in (None, value.get("id"))


def test_answers_and_notifications_are_written_as_the_reference_writes_them() -> None:
    assert [
        encode_result("a", {"x": 1}),
        encode_error(7, -32600, "No.", {"code": "bad"}),
        encode_error(None, -32700, "No.", None),
        encode_notification("turn/started", {"é": None}, 5),
        encode_request(0, "item/tool/call", {}),
    ] == [
        b'{"id":"a","result":{"x":1}}',
        b'{"error":{"code":-32600,"message":"No.","data":{"code":"bad"}},"id":7}',
        b'{"error":{"code":-32700,"message":"No."},"id":null}',
        '{"method":"turn/started","params":{"é":null},"emittedAtMs":5}'.encode(),
        b'{"id":0,"method":"item/tool/call","params":{}}',
    ]


def test_a_message_that_quotes_a_client_is_one_short_line_without_control_characters() -> None:
    quoted = orjson.loads(encode_error(1, -32600, "No \x00\x1b[31m\r\n\x7f☃.", {"code": "bad"}))
    long = orjson.loads(encode_error(1, -32600, "x" * 5000, {"code": "bad"}))

    assert quoted["error"]["message"] == "No ␀␛[31m␍␊␡☃."
    assert long["error"]["message"] == "x" * 1000 + "…"
