"""What the answers of an images API mean: the picture, or a failure with a kind, a message and what else is known."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest

from app_server.extension_api import HttpAnswer
from extensions.image_generation.backends.answers import MAX_MESSAGE_CHARS, Answer, Link, error_message, read_answer
from extensions.image_generation.backends.base import BackendFailure, ResultPicture, UsageLimit
from extensions.image_generation.backends.base64_members import without_pictures
from tests.support.image_fakes import error_answer
from tests.support.pictures import as_base64, png


def test_the_pictures_of_an_answer_are_read_in_order_with_all_that_is_said_of_them() -> None:
    answer = HttpAnswer(
        status=200,
        headers={"X-Request-Id": "req-1", "X-Codex-Imagegen-Request-Id": "gen-req"},
        body=orjson.dumps(
            {
                "created": 1,
                "background": "transparent",
                "data": [
                    {"b64_json": f" {as_base64(png())}\n", "revised_prompt": "better", "generation_id": "gen-1"},
                    {"url": "https://x.test/a.png", "revised_prompt": "other"},
                    {"url": f"data:image/png;base64,{as_base64(png())}"},
                ],
                "size": "1024x1024",
                "quality": "high",
                "output_format": "png",
                "usage": {"total_tokens": 1},
            }
        ),
    )
    assert read_answer(answer) == Answer(
        pictures=(
            ResultPicture(data=png(), revised_prompt="better", generation_id="gen-1"),
            Link(url="https://x.test/a.png", revised_prompt="other"),
            ResultPicture(data=png()),
        ),
        said={"background": "transparent", "size": "1024x1024", "quality": "high", "output_format": "png"},
        request_id="gen-req",
    )


LONG = bytes(range(256)) * 1600
"""Longer than two pieces, as base64."""


@pytest.mark.parametrize("spaces", ["", " ", "\n  "])
def test_long_pictures_are_taken_out_of_the_text_and_put_in_their_places(spaces: str) -> None:
    encoded, other = as_base64(LONG), as_base64(LONG[::-1])
    says = 'quotes: \\"b64_json\\":\\"' + encoded
    body = (
        f'{{"data": [{{"b64_json"{spaces}:{spaces}"{encoded}", "revised_prompt": "{says}"}}, {{"b64_json": "AA=="}},'
        f' {{"url": "https://x.test/a.png", "b64_json": null}}, {{"b64_json": "{other}"}}], "size": "1x1"}}'
    )
    assert read_answer(HttpAnswer(status=200, headers={}, body=body.encode())) == Answer(
        pictures=(
            ResultPicture(data=LONG, revised_prompt=says.replace("\\", "")),
            ResultPicture(data=b"\0"),
            Link(url="https://x.test/a.png"),
            ResultPicture(data=LONG[::-1]),
        ),
        said={"size": "1x1"},
        request_id=None,
    )


@pytest.mark.parametrize("size", [300_000, 262_144 // 4 * 3 * 2, 393_217, 393_218])
def test_a_long_picture_of_any_length_is_decoded_whole(size: int) -> None:
    data = LONG[:size] + LONG[: max(0, size - len(LONG))]
    short, taken = without_pictures(b'{"b64_json":"%b"}' % as_base64(data).encode())
    assert (list(taken.values()), orjson.loads(short)["b64_json"]) == ([data], next(iter(taken)))


def test_reading_a_picture_takes_the_memory_of_the_picture_and_no_more() -> None:
    picture = LONG * 20
    answer = HttpAnswer(status=200, headers={}, body=b'{"data":[{"b64_json":"%b"}]}' % as_base64(picture).encode())
    tracemalloc.start()
    try:
        read_answer(answer)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1.25 * len(picture)


def test_a_picture_whose_slashes_are_escaped_is_read_all_the_same() -> None:
    escaped = as_base64(b"\xff" * 300_000).replace("/", r"\/")
    answer = HttpAnswer(status=200, headers={}, body=f'{{"data": [{{"b64_json": "{escaped}"}}]}}'.encode())
    assert read_answer(answer).pictures == (ResultPicture(data=b"\xff" * 300_000),)


@pytest.mark.parametrize("at", [7, 262_143, 400_000])
@pytest.mark.parametrize("bad", ["!", "=", "é", '\\"'])
def test_a_long_picture_with_a_bad_character_anywhere_is_not_valid_base64(at: int, bad: str) -> None:
    encoded = as_base64(LONG)
    body = f'{{"data": [{{"b64_json": "{encoded[:at]}{bad}{encoded[at:]}"}}]}}'.encode()
    assert "not valid base64" in failure_of(HttpAnswer(status=200, headers={}, body=body)).message


def test_a_bare_answer_is_enough() -> None:
    answer = HttpAnswer(status=200, headers={}, body=orjson.dumps({"data": [{"b64_json": as_base64(b"x")}]}))
    assert read_answer(answer) == Answer(pictures=(ResultPicture(data=b"x"),), said={}, request_id=None)


def failure_of(answer: HttpAnswer) -> BackendFailure:
    """The failure of the whole answer, or that of its only picture."""
    try:
        (only,) = read_answer(answer).pictures
    except BackendFailure as failure:
        return failure
    assert isinstance(only, BackendFailure)
    return only


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>oops</html>", "answered without the list `data`"),
        (b"[]", "answered without the list `data`"),
        (b'{"created": 1}', "answered without the list `data`"),
        (b'{"data": null}', "answered without the list `data`"),
        (b'{"data": []}', "answered, but returned no picture"),
        (b'{"data": ["x"]}', "answered, but returned no picture"),
        (b'{"data": [{}]}', "returned a picture without `b64_json` and `url`"),
        (b'{"data": [{"b64_json": ""}]}', "returned a picture without `b64_json` and `url`"),
        (b'{"data": [{"b64_json": 7, "url": 7}]}', "returned a picture without `b64_json` and `url`"),
        (b'{"data": [{"url": "data:image/png;base64,!"}]}', "returned a picture that is not valid base64"),
        (b'{"data": [{"b64_json": "!!!"}]}', "returned a picture that is not valid base64"),
        ('{"data": [{"b64_json": "é"}]}'.encode(), "returned a picture that is not valid base64"),
    ],
)
def test_an_answer_without_a_picture_is_an_invalid_response(body: bytes, message: str) -> None:
    failure = failure_of(HttpAnswer(status=200, headers={"x-request-id": "req-1"}, body=body))
    text = f"the images API {message}; try again, or use another provider"
    assert (failure.kind, failure.message, failure.request_id) == ("invalidResponse", text, "req-1")


def said(message: str, **members: Any) -> dict[str, Any]:
    return {"error": {"message": message, **members}}


@pytest.mark.parametrize(
    ("answer", "kind", "message", "retryable"),
    [
        (error_answer(500, said("boom")), "network", "the images API failed, try again later (HTTP 500): boom", True),
        (
            error_answer(502, b"<!doctype html><html>Bad Gateway</html>"),
            "network",
            "the images API failed, try again later (HTTP 502): a web page instead of an answer",
            True,
        ),
        (
            error_answer(503, b""),
            "network",
            "the images API failed, try again later (HTTP 503): it gave no reason",
            True,
        ),
        (error_answer(504, said("x")), "timeout", "the images API took too long, try again (HTTP 504): x", True),
        (error_answer(408, said("x")), "timeout", "the images API took too long, try again (HTTP 408): x", False),
        (
            error_answer(401, said("bad key")),
            "unauthorized",
            "the images API refused the login, log in again or check the key (HTTP 401): bad key",
            False,
        ),
        (
            error_answer(403, {"detail": "Forbidden"}),
            "unauthorized",
            "the images API refused the login, log in again or check the key (HTTP 403): Forbidden",
            False,
        ),
        (
            error_answer(400, said("size is unknown")),
            "invalidResponse",
            "the images API refused the request (HTTP 400): size is unknown",
            False,
        ),
        (
            error_answer(400, said("no", code="moderation_blocked")),
            "moderationBlocked",
            "the images API refused the request for safety reasons: no",
            False,
        ),
        (
            error_answer(400, said("no", code="content_policy_violation", type="invalid_request_error")),
            "moderationBlocked",
            "the images API refused the request for safety reasons: no",
            False,
        ),
        (
            error_answer(307, b""),
            "invalidResponse",
            "the images API answered with a redirect, correct the provider's base_url (HTTP 307): it gave no reason",
            False,
        ),
    ],
)
def test_a_refusal_has_a_kind_and_a_message(answer: HttpAnswer, kind: str, message: str, retryable: bool) -> None:
    failure = failure_of(answer)
    assert (failure.kind, failure.message, failure.retryable) == (kind, message, retryable)


@pytest.mark.parametrize(
    ("headers", "wait_ms", "when"),
    [
        ({"retry_after": "2"}, 2000, "in 2 s"),
        ({"retry_after": "0.2", "Retry_After_Ms": "1500"}, 1500, "in 2 s"),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, "later"),
        (
            {"retry_after": "Wed, 21 Oct 2026 07:28:09 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            9000,
            "in 9 s",
        ),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:09 GMT"}, 0, "in 1 s"),
        ({}, None, "later"),
    ],
)
def test_a_rate_limit_says_when_to_try_again(headers: dict[str, str], wait_ms: int | None, when: str) -> None:
    failure = failure_of(error_answer(429, said("slow down", code="rate_limit_exceeded"), **headers))
    text = f"the images API is asked too often (HTTP 429), try again {when}: slow down"
    assert (failure.kind, failure.message, failure.retry_after_ms) == ("rateLimited", text, wait_ms)


@pytest.mark.parametrize(
    ("status", "error_type", "limit_name", "kind", "limit"),
    [
        (
            429,
            "usage_limit_reached",
            "image_gen",
            "usageLimitExceeded",
            UsageLimit(limit_id="image_gen", resets_at_s=0),
        ),
        (429, "usage_limit_reached", "codex", "usageLimitExceeded", None),
        (429, "usage_limit_reached", "", "usageLimitExceeded", None),
        (429, "requests", "image_gen", "rateLimited", None),
        (400, "usage_limit_reached", "image_gen", "invalidResponse", None),
    ],
)
def test_a_usage_limit_is_named_only_where_the_backend_names_one_of_pictures(
    status: int, error_type: str, limit_name: str, kind: str, limit: UsageLimit | None
) -> None:
    body = said("used up", type=error_type, resets_at=0)
    failure = failure_of(error_answer(status, body, x_codex_active_limit=limit_name))
    assert (failure.kind, failure.limit) == (kind, limit)


@pytest.mark.parametrize(
    ("resets_at", "until", "kept"),
    [
        (1_700_000_000, " until 2023-11-14 22:13 UTC", 1_700_000_000),
        (None, "", None),
        ("soon", "", None),
        (10**30, "", None),
        (10**17, "", 10**17),
    ],
)
def test_a_usage_limit_says_when_it_ends(resets_at: object, until: str, kept: int | None) -> None:
    body = orjson.dumps(said("used up", type="usage_limit_reached")).replace(
        b'"usage_limit_reached"', b'"usage_limit_reached","resets_at":%s' % str(orjson_text(resets_at)).encode()
    )
    failure = failure_of(error_answer(429, body, x_codex_active_limit="image_gen"))
    assert failure.message == f"the image limit of this account is used up{until}: used up"
    assert failure.limit == UsageLimit(limit_id="image_gen", resets_at_s=kept)


def orjson_text(value: object) -> str:
    """JSON of a value, also of a number that orjson would not write."""
    return str(value) if isinstance(value, int) else orjson.dumps(value).decode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"detail": "Forbidden"}, "Forbidden"),
        ({"detail": {"message": "m", "code": "c"}}, "m"),
        ({"error": {"message": "first"}, "detail": "second"}, "first"),
        ({"error": {"message": "  "}, "detail": "second"}, "second"),
        ({"error": "odd"}, '{"error":"odd"}'),
        (b"  plain \n", "plain"),
        (b"", ""),
        (b"\xff\xfe", "��"),
        (b"x" * 4001, "x" * 3999 + "…"),
        (b"x" * 4000, "x" * 4000),
        ({"error": {"message": "x" * 5000}}, "x" * 3999 + "…"),
    ],
)
def test_the_message_of_a_body_is_found_and_capped(body: Any, message: str) -> None:
    found = error_message(body if isinstance(body, bytes) else orjson.dumps(body))
    assert found == message
    assert len(found) <= MAX_MESSAGE_CHARS
