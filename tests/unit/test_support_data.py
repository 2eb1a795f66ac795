"""The pictures and logins that tests make up have the formats and claims that they say."""

import base64
import io
from pathlib import Path

import orjson
import pytest
from PIL import Image

from tests.support import accounts, pictures


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (pictures.png(3, 2), ("PNG", (3, 2), "RGB", 1)),
        (pictures.transparent_png(3, 2), ("PNG", (3, 2), "RGBA", 1)),
        (pictures.jpeg(3, 2), ("JPEG", (3, 2), "RGB", 1)),
        (pictures.webp(3, 2), ("WEBP", (3, 2), "RGB", 1)),
        (pictures.gif(3, 2), ("GIF", (3, 2), "P", 1)),
        (pictures.animated_gif(3, 2), ("GIF", (3, 2), "P", 3)),
    ],
)
def test_a_picture_has_the_format_and_size_it_was_asked_for(
    data: bytes, expected: tuple[str, tuple[int, int], str, int]
) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert (picture.format, picture.size, picture.mode, getattr(picture, "n_frames", 1)) == expected


def test_a_hand_made_png_has_the_colour_it_was_asked_for() -> None:
    with Image.open(io.BytesIO(pictures.png(2, 2, (1, 2, 3)))) as opaque:
        assert opaque.getpixel((1, 1)) == (1, 2, 3)
    with Image.open(io.BytesIO(pictures.transparent_png(2, 2, (1, 2, 3)))) as transparent:
        assert transparent.getpixel((1, 1)) == (1, 2, 3, 0)


def test_an_oversized_png_is_tiny_and_claims_to_be_huge() -> None:
    data = pictures.oversized_png(40_000, 40_000)

    assert len(data) < 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def claims_of(token: str) -> object:
    body = token.split(".")[1]
    return orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_a_chatgpt_login_carries_plan_user_and_account(tmp_path: Path) -> None:
    content = orjson.loads(accounts.write_chatgpt_auth(tmp_path / "home", plan="free", account_id="acct").read_bytes())

    assert claims_of(content["tokens"]["id_token"]) == {
        "email": "user@example.com",
        accounts.AUTH_CLAIM: {"chatgpt_user_id": "user-1", "chatgpt_account_id": "acct", "chatgpt_plan_type": "free"},
    }
    assert claims_of(content["tokens"]["access_token"]) == {"exp": accounts.FAR_FUTURE_S}
    assert {**content, "tokens": sorted(content["tokens"]), "last_refresh": content["last_refresh"][-1]} == {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": ["access_token", "account_id", "id_token", "refresh_token"],
        "last_refresh": "Z",
    }


def test_an_api_key_login_is_the_key_alone(tmp_path: Path) -> None:
    assert orjson.loads(accounts.write_api_key_auth(tmp_path, "sk-1").read_bytes()) == {
        "auth_mode": "apikey",
        "OPENAI_API_KEY": "sk-1",
        "tokens": None,
        "last_refresh": None,
    }
