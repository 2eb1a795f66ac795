"""Signed addresses of pictures: good for one picture and a while, and for nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app_server.pictures.links import KEY_FILE, PictureLinks, read_key, remaining_s, signature
from app_server.pictures.store import PictureStore
from app_server.storage.memory import MemoryStorageWorld
from app_server.transport.http import HttpReply, HttpRequest
from tests.support.pictures import png

pytestmark = pytest.mark.anyio
KEY, SHA256, NOW_S = b"k" * 32, "a" * 64, 1_700_000_000


class MovableClock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def now_ms(self) -> int:
        return self.now_s * 1000

    def monotonic_s(self) -> float:
        return 0.0


def query(expires_s: int, signed_for: str = SHA256, key: bytes = KEY) -> str:
    return f"expires={expires_s}&sig={signature(key, signed_for, expires_s)}"


def test_an_address_is_good_until_it_expires() -> None:
    assert remaining_s(KEY, SHA256, query(NOW_S + 600), NOW_S) == 600
    assert remaining_s(KEY, SHA256, query(NOW_S + 1), NOW_S) == 1


GOOD = signature(KEY, SHA256, NOW_S + 600)
INCOMPLETE, WRONG = "is not complete; ask for one", "signature of this address is wrong"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (query(NOW_S), "has expired; ask for a new one"),
        (query(NOW_S + 600, signed_for="b" * 64), WRONG),
        (query(NOW_S + 600, key=b"o" * 32), WRONG),
        (f"expires={NOW_S + 601}&sig={GOOD}", WRONG),
        (f"expires={NOW_S + 600}&sig={GOOD.upper()}", WRONG),
        (f"expires={NOW_S + 600}&sig={GOOD[:-1]}", WRONG),
        (f"expires={NOW_S + 600}&sig=%C3%A9", WRONG),
        (f"expires={NOW_S + 600}&sig=", WRONG),
        (f"expires={NOW_S + 600}", WRONG),
        ("", INCOMPLETE),
        ("expires=soon&sig=x", INCOMPLETE),
        ("expires=-1&sig=x", INCOMPLETE),
        ("expires=٣&sig=x", INCOMPLETE),
        (f"expires=1&expires={NOW_S + 600}&sig={GOOD}", INCOMPLETE),
        (f"expires={NOW_S + 600}&sig=x&sig={GOOD}", INCOMPLETE),
    ],
)
def test_a_forged_altered_or_old_address_is_refused(asked: str, sentence: str) -> None:
    why = remaining_s(KEY, SHA256, asked, NOW_S)
    assert isinstance(why, str)
    assert sentence in why


async def served(home: Path, clock: MovableClock, data: bytes) -> tuple[PictureLinks, str]:
    """Links over a store with one picture, and its address."""
    blobs = MemoryStorageWorld(home=home).process().blobs
    pictures = PictureStore(home, blobs)
    saved = await pictures.save_generated(await pictures.check(data), thread_id="t", call_id="c")
    links = PictureLinks(home, clock, pictures, blobs)
    return links, (await links.path(saved.ref.sha256))[0]


def request(address: str) -> HttpRequest:
    parts = urlsplit(address)
    return HttpRequest(path=parts.path, query=parts.query, headers={})


async def test_a_good_address_gets_the_picture_with_its_type_and_nothing_to_sniff(tmp_path: Path) -> None:
    links, address = await served(tmp_path, MovableClock(), png())
    assert await links.answer(request(address)) == HttpReply(
        headers={
            "Content-Type": "image/png",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, max-age=600, immutable",
        },
        body=png(),
    )


async def test_an_address_ends_with_its_time(tmp_path: Path) -> None:
    clock = MovableClock()
    links, address = await served(tmp_path, clock, png())
    clock.now_s += 600
    reply = await links.answer(request(address))
    assert (reply.status, b"expired" in reply.body, reply.headers["Cache-Control"]) == (403, True, "no-store")


@pytest.mark.parametrize(
    "path",
    ["/images/", "/images/../picture_links.key", "/images/%2e%2e/x", "/images/" + "A" * 64, "/images/" + "a" * 65],
)
async def test_a_path_that_is_no_sha256_is_not_there(tmp_path: Path, path: str) -> None:
    links, address = await served(tmp_path, MovableClock(), png())
    reply = await links.answer(HttpRequest(path=path, query=urlsplit(address).query, headers={}))
    assert (reply.status, reply.headers["X-Content-Type-Options"]) == (404, "nosniff")


async def test_a_good_address_of_a_picture_that_is_gone_or_was_never_there_is_not_found(tmp_path: Path) -> None:
    links, address = await served(tmp_path, MovableClock(), png())
    (tmp_path / "generated_images" / "t" / "c.png").write_bytes(b"altered")
    unknown, _ = await links.path("f" * 64)
    assert [(await links.answer(request(one))).status for one in (address, unknown)] == [404, 404]


async def test_the_secret_is_made_once_for_its_user_alone_and_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / KEY_FILE
    first = read_key(file)
    assert (len(first), read_key(file), [path.name for path in tmp_path.iterdir()]) == (32, first, [KEY_FILE])
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_damaged_secret_is_named_and_never_used(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(OSError, match="is damaged; remove it"):
        read_key(tmp_path / KEY_FILE)
