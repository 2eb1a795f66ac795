"""The backends: what is sent as JSON or as a form, what is tried again, what links lead to, what the stand-in draws."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
import pytest
from PIL import Image

from app_server.extension_api import Form, FormFile, HttpAnswer, HttpFailure, ImagesEndpoint
from extensions.image_generation.backends.base import (
    BackendFailure,
    Gif,
    ImageRequest,
    ImageResult,
    InputPicture,
    ResultPicture,
)
from extensions.image_generation.backends.capabilities import APIS
from extensions.image_generation.backends.choice import api_name
from extensions.image_generation.backends.offline import OfflineBackend
from extensions.image_generation.backends.openai_images import OpenAiImagesBackend, Tools
from extensions.image_generation.backends.payloads import form_body, json_body
from extensions.image_generation.backends.words import words_of
from tests.support.image_fakes import ENDPOINT, FakeClock, FakeHttp, FakeLog, Streamed, error_answer, picture_answer
from tests.support.pictures import as_base64, data_url, jpeg, png, transparent_png

pytestmark = pytest.mark.anyio
REQUEST = ImageRequest(prompt="a fox", model="gpt-image-2")
BOTH = (InputPicture(mime="image/png", data=png()), InputPicture(mime="image/jpeg", data=jpeg()))
MASK = InputPicture(mime="image/png", data=transparent_png())
BOOM = error_answer(500, {"error": {"message": "boom"}})
JSON, MULTIPART = APIS["json"], APIS["multipart"]


class FakeReach:
    """The endpoints of the attempts to come; a refresh makes the next one count."""

    def __init__(self, *endpoints: ImagesEndpoint) -> None:
        self.endpoints = list(endpoints)
        self.refreshes = 0

    def endpoint(self) -> ImagesEndpoint:
        return self.endpoints[0]

    async def refresh_login(self) -> bool:
        self.refreshes += 1
        if len(self.endpoints) == 1:
            return False
        self.endpoints.pop(0)
        return True


class FakeWatch:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def heard(self, headers: Mapping[str, str]) -> None:
        pass

    def answered(self) -> None:
        self.told.append("answered")

    async def partial(self, index: int, data: bytes) -> None:
        self.told.append((index, data))


def endpoint(retries: int = 0, **changes: Any) -> ImagesEndpoint:
    return replace(ENDPOINT, request_max_retries=retries, **changes)


def backend(
    http: FakeHttp, reach: FakeReach | None = None, *, api: str = "json", retries: int = 0, timeout_s: float = 600.0
) -> OpenAiImagesBackend:
    tools = Tools(
        http=http,
        clock=FakeClock(),
        log=FakeLog(),
        timeout_s=timeout_s,
        first_backoff_s=0.0,
        jitter=lambda: 0.0,
    )
    return OpenAiImagesBackend(reach or FakeReach(endpoint(retries)), APIS[api], tools)


async def made(
    *answers: HttpAnswer | HttpFailure | Streamed, request: ImageRequest = REQUEST, **options: Any
) -> tuple[ImageResult, FakeHttp, FakeWatch]:
    """What comes of a request, what was sent for it, and what its watch was told."""
    http, watch = FakeHttp(*answers), FakeWatch()
    return await backend(http, **options).make(request, watch), http, watch


async def failed(
    *answers: HttpAnswer | HttpFailure | Streamed, request: ImageRequest = REQUEST, **options: Any
) -> tuple[BackendFailure, FakeHttp]:
    http = FakeHttp(*answers)
    with pytest.raises(BackendFailure) as failure:
        await backend(http, **options).make(request, FakeWatch())
    return failure.value, http


def datas(result: ImageResult) -> list[bytes]:
    return [picture.data for picture in result.pictures if isinstance(picture, ResultPicture)]


async def test_a_new_picture_is_one_post_with_automatic_parameters() -> None:
    result, http, watch = await made(
        picture_answer(), request=replace(REQUEST, key="key-1"), reach=FakeReach(endpoint(query={"api-version": "1"}))
    )
    assert (datas(result), watch.told) == ([png()], ["answered"])
    assert http.requests == [
        {
            "url": "http://images.test/v1/images/generations",
            "body": {
                "prompt": "a fox",
                "background": "auto",
                "model": "gpt-image-2",
                "quality": "auto",
                "size": "auto",
            },
            "headers": {"authorization": "Bearer secret-token", "originator": "tests", "idempotency-key": "key-1"},
            "params": {"api-version": "1"},
            "timeout_s": 600.0,
        }
    ]


async def test_an_edit_by_json_sends_its_pictures_first_as_data_urls_in_order() -> None:
    _, http, _ = await made(picture_answer(), request=replace(REQUEST, pictures=BOTH, background="transparent"))
    assert http.requests[0]["url"] == "http://images.test/v1/images/edits"
    assert list(http.requests[0]["body"].items()) == [
        ("images", [{"image_url": data_url(png())}, {"image_url": data_url(jpeg(), "image/jpeg")}]),
        ("prompt", "a fox"),
        ("background", "transparent"),
        ("model", "gpt-image-2"),
        ("quality", "auto"),
        ("size", "auto"),
    ]


async def test_an_edit_by_form_sends_its_pictures_as_files_in_order_and_then_the_mask() -> None:
    request = replace(REQUEST, pictures=BOTH, mask=MASK, size="1024x1024", quality="low", n=2, output_format="webp")
    _, http, _ = await made(picture_answer(), request=request, api="multipart")
    assert http.requests[0]["url"] == "http://images.test/v1/images/edits"
    assert http.requests[0]["body"] == Form(
        fields={
            "prompt": "a fox",
            "output_format": "webp",
            "model": "gpt-image-2",
            "quality": "low",
            "size": "1024x1024",
            "n": "2",
        },
        files=(
            FormFile(name="image[]", filename="image-1.png", mime="image/png", data=png()),
            FormFile(name="image[]", filename="image-2.jpg", mime="image/jpeg", data=jpeg()),
            FormFile(name="mask", filename="mask.png", mime="image/png", data=transparent_png()),
        ),
    )


@pytest.mark.parametrize(
    ("request_changes", "api", "body"),
    [
        ({}, "multipart", {"model": "gpt-image-2"}),
        (
            {"quality": "high", "size": "16x16"},
            "multipart",
            {"model": "gpt-image-2", "quality": "high", "size": "16x16"},
        ),
        ({"model": "dall-e-3"}, "multipart", {"model": "dall-e-3", "response_format": "b64_json"}),
        ({"model": "dall-e-3"}, "json", {"model": "dall-e-3", "response_format": "b64_json"}),
        ({"partial_images": 2}, "multipart", {"model": "gpt-image-2", "stream": True, "partial_images": 2}),
        ({"n": 3}, "multipart", {"model": "gpt-image-2", "n": 3}),
        (
            {"output_format": "gif", "gif": Gif(frame_count=3)},
            "json",
            {
                "output_format": "gif",
                "frame_count": 3,
                "background": "auto",
                "model": "gpt-image-2",
                "quality": "auto",
                "size": "auto",
            },
        ),
    ],
)
def test_the_parameters_of_a_body(request_changes: dict[str, Any], api: str, body: dict[str, Any]) -> None:
    built = json_body(replace(REQUEST, **request_changes), APIS[api])
    assert list(built.items()) == [("prompt", "a fox"), *body.items()]


def test_flags_are_words_in_a_form() -> None:
    form = form_body(replace(REQUEST, pictures=BOTH, partial_images=1), MULTIPART)
    assert (form.fields["stream"], form.fields["partial_images"]) == ("true", "1")


def test_a_mask_stands_behind_the_pictures_of_a_json_body() -> None:
    body = json_body(replace(REQUEST, pictures=BOTH, mask=MASK), JSON)
    assert list(body)[:3] == ["images", "mask", "prompt"]
    assert body["mask"] == {"image_url": data_url(transparent_png())}


@pytest.mark.parametrize("lost", [BOOM, HttpFailure("The connection was cut."), HttpFailure("slow", timeout=True)])
async def test_server_errors_and_lost_connections_are_tried_again_with_the_same_key(
    lost: HttpAnswer | HttpFailure,
) -> None:
    result, http, watch = await made(lost, lost, picture_answer(), request=replace(REQUEST, key="key-1"), retries=2)
    assert (datas(result), watch.told) == ([png()], ["answered"])
    assert [sent["headers"]["idempotency-key"] for sent in http.requests] == ["key-1"] * 3


async def test_the_last_attempt_gives_the_failure() -> None:
    failure, http = await failed(BOOM, retries=3)
    assert ("boom" in failure.message, len(http.requests)) == (True, 4)


async def test_a_rate_limit_with_a_time_to_wait_is_waited_for() -> None:
    wait = error_answer(429, {"error": {"message": "slow down"}}, retry_after="0")
    result, http, _ = await made(wait, wait, picture_answer(), retries=2)
    assert (datas(result), len(http.requests)) == ([png()], 3)


@pytest.mark.parametrize(
    "answer",
    [
        *(error_answer(status, {}) for status in (400, 403, 408, 429)),
        error_answer(429, {"error": {"type": "usage_limit_reached"}}, retry_after="0"),
        error_answer(429, {}, retry_after="601"),
        HttpFailure("too much", too_large=True),
        picture_answer(status=302),
        HttpAnswer(status=200, headers={}, body=b"{}"),
    ],
)
async def test_nothing_else_is_tried_again(answer: HttpAnswer | HttpFailure) -> None:
    _, http = await failed(answer, retries=3)
    assert len(http.requests) == 1


async def test_a_pause_that_would_outlast_the_deadline_is_not_made() -> None:
    wait = error_answer(503, {"error": {"message": "boom"}}, retry_after="5")
    failure, http = await failed(wait, retries=3, timeout_s=4.0)
    assert ("boom" in failure.message, len(http.requests)) == (True, 1)
    assert failure.retry_after_ms == 5000


REFUSED = error_answer(401, {"error": {"message": "expired"}})


async def test_a_refused_login_is_refreshed_once_and_asked_again_though_retries_are_off() -> None:
    reach = FakeReach(endpoint(), endpoint(headers={"authorization": "Bearer fresh-token"}))
    result, http, _ = await made(REFUSED, picture_answer(), reach=reach)
    assert datas(result) == [png()]
    assert [sent["headers"]["authorization"] for sent in http.requests] == ["Bearer secret-token", "Bearer fresh-token"]


async def test_a_login_that_stays_refused_fails_after_one_refresh() -> None:
    reach = FakeReach(endpoint(retries=3), endpoint(retries=3), endpoint(retries=3))
    failure, http = await failed(REFUSED, reach=reach)
    assert (failure.kind, len(http.requests), reach.refreshes) == ("unauthorized", 2, 1)


async def test_without_a_fresh_login_the_refusal_stands() -> None:
    failure, http = await failed(REFUSED, retries=3)
    assert (failure.kind, len(http.requests)) == ("unauthorized", 1)


@pytest.mark.parametrize(
    ("lost", "kind", "message"),
    [
        (HttpFailure("It timed out.", timeout=True), "timeout", "the images API did not answer in time: It timed out."),
        (HttpFailure("It is down."), "network", "the images API gave no answer: It is down."),
        (
            HttpFailure("x", too_large=True),
            "invalidResponse",
            "the images API sent more than the 96 MiB that are read; ask for a smaller picture",
        ),
    ],
)
async def test_a_lost_answer_has_a_kind(lost: HttpFailure, kind: str, message: str) -> None:
    failure, _ = await failed(lost)
    assert (failure.kind, failure.message) == (kind, message)


async def test_a_credential_that_the_service_repeats_is_not_passed_on() -> None:
    failure, _ = await failed(error_answer(401, {"error": {"message": "Incorrect key: secret-token."}}))
    assert "Incorrect key: [redacted]." in failure.message
    assert "secret-token" not in failure.message


def linked(*urls: str) -> HttpAnswer:
    return HttpAnswer(status=200, headers={}, body=orjson.dumps({"data": [{"url": url} for url in urls]}))


def file(data: bytes, status: int = 200) -> HttpAnswer:
    return HttpAnswer(status=status, headers={}, body=data)


async def test_links_are_fetched_where_the_backend_s_own_host_may_be_private() -> None:
    http, watch = FakeHttp(linked("http://images.test/a.png", "/files/b.png", "c.png")), FakeWatch()
    found = ["http://images.test/a.png", "http://images.test/files/b.png", "http://images.test/v1/c.png"]
    http.files = {url: file(png(colour=(n, n, n))) for n, url in enumerate(found)}
    result = await backend(http).make(replace(REQUEST, n=3), watch)
    assert datas(result) == [png(colour=(n, n, n)) for n in range(3)]
    assert (http.fetched, watch.told) == ([(url, "images.test") for url in found], ["answered"])


async def test_a_link_that_cannot_be_fetched_is_a_failure_in_its_place() -> None:
    http = FakeHttp(linked("http://a.test/1", "http://a.test/2", "http://a.test/3"))
    http.files = {"http://a.test/1": HttpFailure("It is private."), "http://a.test/2": file(b"", 404)}
    http.files["http://a.test/3"] = file(png())
    first, second, third = (await backend(http).make(replace(REQUEST, n=3), FakeWatch())).pictures
    assert isinstance(first, BackendFailure)
    assert isinstance(second, BackendFailure)
    assert (first.kind, first.message) == (
        "network",
        "the picture was made, but could not be fetched from the link that came back: It is private.",
    )
    assert (second.kind, second.message) == (
        "invalidResponse",
        "the picture was made, but the link that came back answered with HTTP 404; try again",
    )
    assert third == ResultPicture(data=png())


STREAM = replace(REQUEST, partial_images=2)
EVENTS = HttpAnswer(status=200, headers={"X-Request-Id": "req-1"}, body=b"")


def event(kind: str, **members: Any) -> bytes:
    return orjson.dumps({"type": kind, **members})


def partial(index: int, verb: str = "image_generation") -> bytes:
    data = as_base64(png(colour=(index, 0, 0)))
    return event(f"{verb}.partial_image", partial_image_index=index, b64_json=data)


def finished(verb: str = "image_generation") -> bytes:
    return event(f"{verb}.completed", b64_json=as_base64(png()), size="8x8", quality="low")


@pytest.mark.parametrize("verb", ["image_generation", "image_edit"])
async def test_a_stream_shows_unfinished_pictures_and_gives_the_finished_one(verb: str) -> None:
    payloads = [partial(0, verb), b"[DONE", partial(1, verb), finished(verb), partial(2, verb)]
    result, _, watch = await made((payloads, EVENTS), request=STREAM)
    assert result == ImageResult(pictures=(ResultPicture(data=png()),), size="8x8", quality="low", request_id="req-1")
    assert watch.told == [(0, png(colour=(0, 0, 0))), (1, png(colour=(1, 0, 0))), "answered", "answered"]


async def test_a_backend_that_does_not_stream_answers_as_always() -> None:
    result, _, watch = await made(picture_answer(), request=STREAM)
    assert (datas(result), watch.told) == ([png()], ["answered"])


@pytest.mark.parametrize(
    ("payloads", "kind", "message"),
    [
        ([], "invalidResponse", "ended its stream before the picture was there"),
        ([partial(0)], "invalidResponse", "ended its stream before the picture was there"),
        ([event("error", error={"message": "boom"})], "network", "failed, try again later (HTTP 500): boom"),
        ([event("error", message="boom")], "network", "failed, try again later (HTTP 500): boom"),
        (
            [event("error", error={"message": "no", "code": "moderation_blocked"})],
            "moderationBlocked",
            "refused the request for safety reasons: no",
        ),
        ([event("error", error={"message": "slow", "code": "rate_limit_exceeded"})], "rateLimited", "slow"),
    ],
)
async def test_a_stream_without_a_finished_picture_is_a_failure(
    payloads: Sequence[bytes], kind: str, message: str
) -> None:
    failure, _ = await failed(([*payloads], EVENTS), request=STREAM)
    assert failure.kind == kind
    assert message in failure.message


async def test_a_refused_stream_is_a_failure_like_any_other() -> None:
    failure, _ = await failed(error_answer(400, {"error": {"message": "no stream"}}), request=STREAM)
    assert (failure.kind, "no stream" in failure.message) == ("invalidResponse", True)


class CutHttp(FakeHttp):
    """Loses the connection at the end of the stream."""

    async def post_events(self, url: str, body: Any, **options: Any) -> HttpAnswer:
        await super().post_events(url, body, **options)
        raise HttpFailure("The connection was cut.")


async def test_a_stream_that_is_cut_after_the_finished_picture_has_given_it() -> None:
    http = CutHttp(([finished()], EVENTS))
    assert datas(await backend(http).make(STREAM, FakeWatch())) == [png()]


async def test_a_stream_that_is_cut_before_it_is_tried_again() -> None:
    http = CutHttp(([partial(0)], EVENTS))
    with pytest.raises(BackendFailure, match="gave no answer"):
        await backend(http, retries=1).make(STREAM, FakeWatch())
    assert len(http.requests) == 2


def test_pictures_show_no_bytes_in_their_text_form() -> None:
    assert repr(BOTH[0]) == f"InputPicture(image/png, {len(png())} bytes)"
    assert repr(ResultPicture(data=png(), revised_prompt="secret")) == f"ResultPicture({len(png())} bytes)"
    assert "secret" not in repr(Form(fields={"prompt": "secret"}))


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"chatgpt": True}, "json"),
        ({"chatgpt": False}, "multipart"),
        ({"chatgpt": False, "image_api": "json"}, "json"),
        ({"chatgpt": True, "image_api": "multipart"}, "multipart"),
    ],
)
def test_the_settings_else_the_login_decide_on_the_api(changes: dict[str, Any], row: str) -> None:
    assert api_name(replace(ENDPOINT, **changes)) == row


async def made_offline(request: ImageRequest) -> OfflinePicture:
    """One offline picture."""
    result = await OfflineBackend().make(request, FakeWatch())
    (picture,) = result.pictures
    assert isinstance(picture, ResultPicture)
    return OfflinePicture(picture.data, result.background)


class OfflinePicture(NamedTuple):
    data: bytes
    background: str | None


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


async def test_the_offline_stand_in_draws_equal_bytes_for_equal_prompts_and_others_for_others() -> None:
    first, again, other = [
        await made_offline(replace(REQUEST, prompt=prompt)) for prompt in ("a fox", "a fox", "a whale")
    ]
    assert first == again
    assert first.data != other.data
    assert (opened(first.data).size, opened(first.data).format, opened(first.data).mode) == ((768, 512), "PNG", "RGB")
    assert first.background == "opaque"


@pytest.mark.parametrize(
    "prompt", ["", "\0", "日本語の猫", "x" * 10_000, "a red house in the snow at night by the sea"]
)
async def test_the_offline_stand_in_draws_any_prompt(prompt: str) -> None:
    assert opened((await made_offline(replace(REQUEST, prompt=prompt))).data).size == (768, 512)


async def test_the_offline_stand_in_draws_what_the_words_say() -> None:
    async def corner(prompt: str) -> int:
        pixel = opened((await made_offline(replace(REQUEST, prompt=prompt))).data).getpixel((2, 2))
        assert isinstance(pixel, tuple)
        return sum(pixel[:3])

    assert await corner("a house at night") < 150 < await corner("a house")


async def test_the_offline_stand_in_makes_a_background_really_transparent() -> None:
    result = await made_offline(replace(REQUEST, background="transparent"))
    assert (result.background, opened(result.data).getpixel((2, 2))) == ("transparent", (0, 0, 0, 0))


EDITS = ["make it night", "warm light", "add snow", "grayscale", "sepia", "invert", "blur it", "sharpen", "flip it",
         "upside down", "brighter", "more contrast", "a red hat", "whatever"]  # fmt: skip


@pytest.mark.parametrize("prompt", EDITS)
async def test_every_offline_edit_changes_the_picture_and_keeps_its_size(prompt: str) -> None:
    drawn = (await made_offline(replace(REQUEST, prompt="a fox by a house"))).data
    request = replace(REQUEST, prompt=prompt, pictures=(InputPicture(mime="image/png", data=drawn),))
    edited = await made_offline(request)
    assert edited == await made_offline(request)
    sky = (0, 0, 768, 480)  # without the caption, which always changes
    assert opened(edited.data).crop(sky).tobytes() != opened(drawn).crop(sky).tobytes()
    assert (opened(edited.data).size, edited.background) == ((768, 512), "opaque")


async def test_an_offline_edit_keeps_alpha_and_makes_it_when_asked() -> None:
    kept = await made_offline(replace(REQUEST, pictures=(InputPicture(mime="image/png", data=transparent_png()),)))
    made = await made_offline(
        replace(REQUEST, background="transparent", pictures=(InputPicture(mime="image/png", data=png(64, 64)),))
    )
    assert opened(kept.data).getpixel((0, 0))[3] == 0  # type: ignore[index]  # an RGBA pixel is a tuple
    assert opened(made.data).getpixel((0, 0))[3] == 0  # type: ignore[index]  # as above


async def test_further_pictures_of_an_offline_edit_are_seen_in_it() -> None:
    base, other = (InputPicture(mime="image/png", data=png(100, 100, colour)) for colour in ((9, 9, 9), (250, 0, 0)))
    alone, both = [await made_offline(replace(REQUEST, pictures=given)) for given in ((base,), (base, other))]
    assert alone.data != both.data


def test_words_are_found_without_case_and_signs() -> None:
    assert words_of("A Red, red FOX-trot!") == {"a", "red", "fox", "trot"}


async def test_offline_variants_differ_and_sizes_and_formats_are_kept() -> None:
    watch = FakeWatch()
    request = replace(REQUEST, n=3, size="640x320", output_format="webp")
    found = datas(await OfflineBackend().make(request, watch))
    assert len(set(found)) == 3
    assert {(opened(data).size, opened(data).format) for data in found} == {((640, 320), "WEBP")}
    assert opened((await made_offline(replace(REQUEST, output_format="jpeg"))).data).format == "JPEG"
    assert watch.told == []


async def test_an_offline_animation_has_the_frames_and_the_pace_that_were_asked_for() -> None:
    gif = Gif(frame_count=4, frame_duration_ms=300)
    animation = opened((await made_offline(replace(REQUEST, output_format="gif", gif=gif))).data)
    assert (animation.format, getattr(animation, "n_frames", 1), animation.info["duration"]) == ("GIF", 4, 300)


async def test_an_offline_edit_keeps_what_the_mask_covers() -> None:
    before = InputPicture(mime="image/png", data=png(100, 100, (9, 200, 9)))
    covered = InputPicture(mime="image/png", data=png(100, 100, (0, 0, 0, 255)))
    request = replace(REQUEST, prompt="invert", pictures=(before,), mask=covered)
    assert opened((await made_offline(request)).data).getpixel((3, 3)) == (9, 200, 9)
    open_mask = replace(covered, data=png(100, 100, (0, 0, 0, 0)))
    assert opened((await made_offline(replace(request, mask=open_mask))).data).getpixel((3, 3)) == (246, 55, 246)


async def test_the_offline_stand_in_shows_unfinished_pictures_when_asked() -> None:
    watch = FakeWatch()
    await OfflineBackend().make(replace(REQUEST, partial_images=2), watch)
    assert [index for index, _ in watch.told] == [0, 1]
    assert all(opened(data).format == "PNG" for _, data in watch.told)
