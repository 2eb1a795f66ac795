"""The backends: what is sent as JSON, what is tried again, what the offline stand-in draws, which one serves a call."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from extensions.image_generation.backends.openai_json import OpenAiJsonBackend, request_body
from PIL import Image

from app_server.extension_api import HttpAnswer, HttpFailure, ImagesEndpoint
from extensions.image_generation.backends.base import BackendFailure, Capabilities, ImageRequest, InputPicture
from extensions.image_generation.backends.choice import choose_backend
from extensions.image_generation.backends.offline import OfflineBackend
from extensions.image_generation.backends.words import words_of
from tests.support.image_fakes import ENDPOINT, FakeClock, FakeHttp, error_answer, image_host, picture_answer
from tests.support.pictures import data_url, jpeg, png, transparent_png

pytestmark = pytest.mark.anyio
REQUEST = ImageRequest(prompt="a fox", model="gpt-image-2")
BOTH = (InputPicture(mime="image/png", data=png()), InputPicture(mime="image/jpeg", data=jpeg()))
BOOM = error_answer(500, {"error": {"message": "boom"}})


def backend(http: FakeHttp, *, retries: int = 0, first_backoff_s: float = 0.0, **endpoint: Any) -> OpenAiJsonBackend:
    return OpenAiJsonBackend(
        http,
        replace(ENDPOINT, request_max_retries=retries, **endpoint),
        FakeClock(),
        capabilities=Capabilities(title="test", edits=True),
        timeout_s=600.0,
        first_backoff_s=first_backoff_s,
    )


async def test_a_new_picture_is_one_post_with_automatic_parameters() -> None:
    http = FakeHttp(picture_answer())
    result = await backend(http, query={"api-version": "1"}).generate(REQUEST)
    assert result.data == png()
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
            "headers": {"authorization": "Bearer secret-token", "originator": "tests"},
            "params": {"api-version": "1"},
            "timeout_s": 600.0,
        }
    ]


async def test_an_edit_sends_its_pictures_first_as_data_urls_in_order() -> None:
    http = FakeHttp(picture_answer())
    await backend(http).edit(replace(REQUEST, pictures=BOTH, background="transparent"))
    assert http.requests[0]["url"] == "http://images.test/v1/images/edits"
    assert list(http.requests[0]["body"].items()) == [
        ("images", [{"image_url": data_url(png())}, {"image_url": data_url(jpeg(), "image/jpeg")}]),
        ("prompt", "a fox"),
        ("background", "transparent"),
        ("model", "gpt-image-2"),
        ("quality", "auto"),
        ("size", "auto"),
    ]


def test_a_body_without_pictures_has_no_images() -> None:
    assert list(request_body(REQUEST)) == ["prompt", "background", "model", "quality", "size"]


@pytest.mark.parametrize("lost", [BOOM, HttpFailure("The connection was cut.")], ids=["500", "cut"])
async def test_server_errors_and_lost_connections_are_tried_again(lost: HttpAnswer | HttpFailure) -> None:
    http = FakeHttp(lost, lost, picture_answer())
    assert (await backend(http, retries=2).generate(REQUEST)).data == png()
    assert len(http.requests) == 3


async def test_the_last_attempt_gives_the_failure() -> None:
    http = FakeHttp(BOOM)
    with pytest.raises(BackendFailure, match="boom"):
        await backend(http, retries=3).generate(REQUEST)
    assert len(http.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [
        *(error_answer(status, {}) for status in (400, 401, 403, 408, 429)),
        HttpFailure("too slow", timeout=True),
        HttpFailure("too much", too_large=True),
        picture_answer(status=302),
        HttpAnswer(status=200, headers={}, body=b"{}"),
    ],
)
async def test_nothing_else_is_tried_again(answer: HttpAnswer | HttpFailure) -> None:
    http = FakeHttp(answer)
    with pytest.raises(BackendFailure):
        await backend(http, retries=3).generate(REQUEST)
    assert len(http.requests) == 1


async def test_a_pause_that_would_outlast_the_deadline_is_not_made() -> None:
    http = FakeHttp(BOOM)
    with pytest.raises(BackendFailure, match="boom"):
        await backend(http, retries=3, first_backoff_s=600.0).generate(REQUEST)
    assert len(http.requests) == 1


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
    with pytest.raises(BackendFailure) as failure:
        await backend(FakeHttp(lost)).generate(REQUEST)
    assert (failure.value.kind, failure.value.message) == (kind, message)


async def test_a_credential_that_the_service_repeats_is_not_passed_on() -> None:
    http = FakeHttp(error_answer(401, {"error": {"message": "Incorrect key: secret-token."}}))
    with pytest.raises(BackendFailure, match=r"Incorrect key: \[redacted\]\.") as failure:
        await backend(http).generate(REQUEST)
    assert "secret-token" not in failure.value.message


def test_pictures_show_no_bytes_in_their_text_form() -> None:
    assert repr(BOTH[0]) == f"InputPicture(image/png, {len(png())} bytes)"


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


async def test_the_offline_stand_in_draws_equal_bytes_for_equal_prompts_and_others_for_others() -> None:
    first, again, other = [
        await OfflineBackend().generate(replace(REQUEST, prompt=prompt)) for prompt in ("a fox", "a fox", "a whale")
    ]
    assert first == again
    assert first.data != other.data
    assert (opened(first.data).size, opened(first.data).format, opened(first.data).mode) == ((768, 512), "PNG", "RGB")
    assert (first.background, first.revised_prompt) == ("opaque", None)


@pytest.mark.parametrize(
    "prompt", ["", "\0", "日本語の猫", "x" * 10_000, "a red house in the snow at night by the sea"]
)
async def test_the_offline_stand_in_draws_any_prompt(prompt: str) -> None:
    assert opened((await OfflineBackend().generate(replace(REQUEST, prompt=prompt))).data).size == (768, 512)


async def test_the_offline_stand_in_draws_what_the_words_say() -> None:
    async def corner(prompt: str) -> int:
        pixel = opened((await OfflineBackend().generate(replace(REQUEST, prompt=prompt))).data).getpixel((2, 2))
        assert isinstance(pixel, tuple)
        return sum(pixel[:3])

    assert await corner("a house at night") < 150 < await corner("a house")


async def test_the_offline_stand_in_makes_a_background_really_transparent() -> None:
    result = await OfflineBackend().generate(replace(REQUEST, background="transparent"))
    assert (result.background, opened(result.data).getpixel((2, 2))) == ("transparent", (0, 0, 0, 0))


EDITS = ["make it night", "warm light", "add snow", "grayscale", "sepia", "invert", "blur it", "sharpen", "flip it",
         "upside down", "brighter", "more contrast", "a red hat", "whatever"]  # fmt: skip


@pytest.mark.parametrize("prompt", EDITS)
async def test_every_offline_edit_changes_the_picture_and_keeps_its_size(prompt: str) -> None:
    offline = OfflineBackend()
    drawn = (await offline.generate(replace(REQUEST, prompt="a fox by a house"))).data
    request = replace(REQUEST, prompt=prompt, pictures=(InputPicture(mime="image/png", data=drawn),))
    edited = await offline.edit(request)
    assert edited == await offline.edit(request)
    sky = (0, 0, 768, 480)  # without the caption, which always changes
    assert opened(edited.data).crop(sky).tobytes() != opened(drawn).crop(sky).tobytes()
    assert (opened(edited.data).size, edited.background) == ((768, 512), "opaque")


async def test_an_offline_edit_keeps_alpha_and_makes_it_when_asked() -> None:
    offline = OfflineBackend()
    kept = await offline.edit(replace(REQUEST, pictures=(InputPicture(mime="image/png", data=transparent_png()),)))
    made = await offline.edit(
        replace(REQUEST, background="transparent", pictures=(InputPicture(mime="image/png", data=png(64, 64)),))
    )
    assert opened(kept.data).getpixel((0, 0))[3] == 0  # type: ignore[index]  # an RGBA pixel is a tuple
    assert opened(made.data).getpixel((0, 0))[3] == 0  # type: ignore[index]  # as above


async def test_further_pictures_of_an_offline_edit_are_seen_in_it() -> None:
    offline = OfflineBackend()
    base, other = (InputPicture(mime="image/png", data=png(100, 100, colour)) for colour in ((9, 9, 9), (250, 0, 0)))
    alone, both = [await offline.edit(replace(REQUEST, pictures=given)) for given in ((base,), (base, other))]
    assert alone.data != both.data


def test_words_are_found_without_case_and_signs() -> None:
    assert words_of("A Red, red FOX-trot!") == {"a", "red", "fox", "trot"}


CASES = [
    pytest.param({"offline": True, "base_url": ""}, "offline sketch, not AI", True, id="offline"),
    pytest.param({"chatgpt": True}, "images API", True, id="chatgpt login"),
    pytest.param({"chatgpt": False}, "images API", True, id="other server with a key"),
    pytest.param({"chatgpt": False, "base_url": "https://api.openai.com/v1"}, "images API", False, id="public, key"),
    pytest.param({"chatgpt": False, "base_url": "https://EU.api.openai.com/v1"}, "images API", False, id="region"),
    pytest.param({"chatgpt": True, "base_url": "https://api.openai.com/v1"}, "images API", True, id="public, chatgpt"),
    pytest.param(
        {"chatgpt": False, "base_url": "https://api.openai.com.evil.test"}, "images API", True, id="not public"
    ),
]


@pytest.mark.parametrize(("endpoint", "title", "edits"), CASES)
def test_the_endpoint_decides_on_the_backend(tmp_path: Path, endpoint: dict[str, Any], title: str, edits: bool) -> None:
    services = image_host(tmp_path).services
    target: ImagesEndpoint = replace(ENDPOINT, **endpoint)
    found = choose_backend(services, target, OfflineBackend()).capabilities
    assert (found.title, found.edits, bool(found.why_no_edits)) == (title, edits, not edits)
