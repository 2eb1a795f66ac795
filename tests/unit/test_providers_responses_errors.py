"""Every row of the failure table: kind, message, whether and when the request is sent again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app_server.providers.base import CodexErrorInfo, UpstreamError
from app_server.providers.responses_errors import (
    MAX_QUOTED_CHARS,
    FailureSource,
    asked_wait_s,
    disconnected,
    error_text,
    quoted,
    refusal,
    response_failed,
    response_incomplete,
    retry_after_s,
    unreachable,
)

NOW_S = 1_800_000_000.0
SOURCE = FailureSource(
    provider_id="mine", url="http://host/v1/responses", login_hint="the key in MY_KEY", secrets=("s3cret-value",)
)
LIMITED = {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}
Outcome = tuple[str, CodexErrorInfo, bool, float | None, int | None]


def outcome(error: UpstreamError) -> Outcome:
    return error.message, error.kind, error.stream_retry, error.retry_after_s, error.http_status


def refused(status: int, error: Any, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return outcome(refusal(status, orjson.dumps({"error": error}), named, SOURCE, now_s=NOW_S))


REFUSALS: list[tuple[Outcome, Outcome]] = [
    (
        refused(400, {"message": "scripted failure", "code": "bad_thing"}),
        ('Provider "mine" refused the request (400 Bad Request): scripted failure.', "other", False, None, 400),
    ),
    (
        refused(401, {"message": "Incorrect API key.", "code": "invalid_api_key"}),
        (
            'Provider "mine" answered with unexpected status 401 Unauthorized at http://host/v1/responses: '
            "Incorrect API key; check the key in MY_KEY.",
            {"httpConnectionFailed": {"httpStatusCode": 401}},
            False,
            None,
            401,
        ),
    ),
    (
        refused(403, {"message": "Forbidden for you"}),
        (
            'Provider "mine" answered with unexpected status 403 Forbidden at http://host/v1/responses: '
            "Forbidden for you; check the rights of the key in MY_KEY.",
            {"httpConnectionFailed": {"httpStatusCode": 403}},
            False,
            None,
            403,
        ),
    ),
    (
        refused(404, {"message": "no such model", "code": "model_not_found"}),
        (
            'Provider "mine" does not know this model; choose another one: no such model.',
            "modelNotFound",
            False,
            None,
            404,
        ),
    ),
    (
        refused(404, {"message": "Not Found"}),
        (
            'Provider "mine" answered with unexpected status 404 Not Found at http://host/v1/responses: Not Found; '
            'check the base_url of provider "mine" and that it speaks the Responses API.',
            {"httpConnectionFailed": {"httpStatusCode": 404}},
            False,
            None,
            404,
        ),
    ),
    (
        refused(429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}, retry_after="1"),
        (
            'Provider "mine" limits the rate of requests (429 Too Many Requests); wait and try again: '
            "Rate limit reached.",
            LIMITED,
            True,
            1.0,
            429,
        ),
    ),
    (
        refused(429, {"type": "usage_limit_reached", "plan_type": "pro", "resets_at": 4_000_000_000}),
        (
            "The usage limit of the pro plan is reached; try again after 2096-10-02 07:06 UTC, or add credits at "
            "https://chatgpt.com/settings/usage.",
            "usageLimitExceeded",
            False,
            None,
            429,
        ),
    ),
    (
        refused(429, {"type": "usage_limit_reached", "resets_at": 10**18}),
        (
            "The usage limit of the plan is reached; try again later, or add credits at "
            "https://chatgpt.com/settings/usage.",
            "usageLimitExceeded",
            False,
            None,
            429,
        ),
    ),
    (
        refused(429, {"message": "no quota", "code": "insufficient_quota"}),
        (
            "Quota exceeded: check the plan and the billing details of the account: no quota.",
            "usageLimitExceeded",
            False,
            None,
            429,
        ),
    ),
    (
        outcome(refusal(500, b"boom", {}, SOURCE, now_s=NOW_S)),
        (
            'Provider "mine" has a problem of its own (500 Internal Server Error); try again later: boom.',
            "internalServerError",
            True,
            None,
            500,
        ),
    ),
    (
        outcome(refusal(502, b"", {"retry-after": "3"}, SOURCE, now_s=NOW_S)),
        (
            'Provider "mine" has a problem of its own (502 Bad Gateway); try again later.',
            {"responseTooManyFailedAttempts": {"httpStatusCode": 502}},
            True,
            3.0,
            502,
        ),
    ),
    (
        refused(503, {"message": "Overloaded", "code": "server_is_overloaded"}),
        (
            'This model of provider "mine" is at capacity; try again later or choose another model: Overloaded.',
            "serverOverloaded",
            False,
            None,
            503,
        ),
    ),
    (
        refused(400, {"message": "Input is too long.", "code": "context_length_exceeded"}),
        (
            "The conversation no longer fits the model's context window; compact it or start a new thread: "
            "Input is too long.",
            "contextWindowExceeded",
            False,
            None,
            400,
        ),
    ),
    (
        outcome(refusal(599, b"", {}, SOURCE, now_s=NOW_S)),
        (
            'Provider "mine" has a problem of its own (599); try again later.',
            {"responseTooManyFailedAttempts": {"httpStatusCode": 599}},
            True,
            None,
            599,
        ),
    ),
]


@pytest.mark.parametrize(
    ("got", "wanted"), REFUSALS, ids=[f"{wanted[4]}-{n}" for n, (_, wanted) in enumerate(REFUSALS)]
)
def test_each_refused_request_has_its_row(got: Outcome, wanted: Outcome) -> None:
    assert got == wanted


@pytest.mark.parametrize(
    ("code", "said", "wanted"),
    [
        (
            "insufficient_quota",
            "You have no quota.",
            (
                "Quota exceeded: check the plan and the billing details of the account: You have no quota.",
                "usageLimitExceeded",
                False,
                None,
                None,
            ),
        ),
        (
            "server_is_overloaded",
            "overloaded",
            (
                'This model of provider "mine" is at capacity; try again later or choose another model: overloaded.',
                "serverOverloaded",
                False,
                None,
                None,
            ),
        ),
        (
            "context_length_exceeded",
            "",
            (
                "The conversation no longer fits the model's context window; compact it or start a new thread.",
                "contextWindowExceeded",
                False,
                None,
                None,
            ),
        ),
        (
            "rate_limit_exceeded",
            "Rate limit. Please try again in 0.1s.",
            (
                'Provider "mine" limits the rate of requests; wait and try again: '
                "Rate limit. Please try again in 0.1s.",
                "rateLimitExceeded",
                True,
                0.1,
                None,
            ),
        ),
        (
            "invalid_prompt",
            "Invalid prompt: flagged.",
            ('Provider "mine" refused the request: Invalid prompt: flagged.', "other", False, None, None),
        ),
        (
            "image_content_policy_violation",
            "",
            ('Provider "mine" refused the request: image_content_policy_violation.', "other", False, None, None),
        ),
        (
            "some_new_code",
            "something new",
            ("The stream disconnected before the answer was complete: something new.", "other", True, None, None),
        ),
        (
            "",
            "",
            (
                "The stream disconnected before the answer was complete: the provider gave no reason.",
                "other",
                True,
                None,
                None,
            ),
        ),
    ],
)
def test_each_failed_response_has_its_row(code: str, said: str, wanted: Outcome) -> None:
    assert outcome(response_failed({"code": code, "message": said}, SOURCE)) == wanted


def test_an_incomplete_response_names_its_reason_and_is_not_paid_for_twice() -> None:
    assert outcome(response_incomplete("max_output_tokens")) == (
        "Incomplete response: the model stopped early, reason max_output_tokens; ask for less at once or for the rest.",
        "other",
        False,
        None,
        None,
    )


def test_a_broken_stream_may_be_started_again() -> None:
    error = disconnected("the connection was cut", details="peer closed connection")
    assert outcome(error) == (
        "The stream disconnected before the answer was complete: the connection was cut.",
        "other",
        True,
        None,
        None,
    )
    assert error.details == "peer closed connection"


def test_a_provider_that_cannot_be_reached_is_a_failed_connection_without_status() -> None:
    assert outcome(unreachable(SOURCE)) == (
        'Cannot connect to provider "mine" at http://host/v1/responses; check the network and its base_url.',
        {"httpConnectionFailed": {"httpStatusCode": None}},
        True,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": " in error "}, "detail": "no"}', "in error"),
        (b'{"detail": "a string"}', "a string"),
        (b'{"detail": {"message": "inside"}}', "inside"),
        (b'{"error": "only a word"}', "only a word"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"  <h1>502</h1> \n", "<h1>502</h1>"),
        (b"[1, 2]", "[1, 2]"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"", ""),
    ],
)
def test_the_words_of_a_provider_are_found_wherever_it_puts_them(body: bytes, text: str) -> None:
    assert error_text(body) == text


def test_quoted_words_are_capped_on_one_line_and_without_secrets() -> None:
    assert quoted("key s3cret-value\n is  wrong.", SOURCE) == "key [redacted] is wrong"
    assert quoted("x" * 5_000, SOURCE) == "x" * MAX_QUOTED_CHARS + " …"


def test_the_source_of_a_failure_does_not_show_its_secrets() -> None:
    assert "s3cret" not in repr(SOURCE)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "150", "retry-after": "9"}, 0.15),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT"}, 10.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_headers_ask_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, now_s=NOW_S) == wait_s


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("Please try again in 0.1s.", 0.1),
        ("try again in 28ms", 0.028),
        ("Try again in 35 seconds", 35.0),
        ("try again in 2 minutes.", 120.0),
        ("try again in a while", None),
    ],
)
def test_the_wait_that_a_message_asks_for(text: str, wait_s: float | None) -> None:
    assert asked_wait_s(text) == pytest.approx(wait_s)
