"""Pictures read piece by piece: every byte once, and not the whole file again for every piece."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from app_server.extension_api import PictureRef, PictureRejected
from app_server.pictures.check import PictureLimits, check_picture
from app_server.pictures.reading import Chunk, PictureReader
from app_server.pictures.store import PictureStore
from tests.support.pictures import jpeg, png, transparent_png

pytestmark = pytest.mark.anyio


class CountingPictures(PictureStore):
    """Holds pictures by sha256 and counts how often one is read."""

    def __init__(self, *datas: bytes) -> None:
        self.refs = [check_picture(data, PictureLimits()).ref for data in datas]
        self.datas = dict(zip((ref.sha256 for ref in self.refs), datas, strict=True))
        self.reads = 0

    async def read(self, ref: PictureRef) -> bytes:
        self.reads += 1
        if ref.sha256 not in self.datas:
            raise PictureRejected("it is gone")
        return self.datas[ref.sha256]


async def whole(reader: PictureReader, ref: PictureRef, length: int, max_edge_px: int | None = None) -> bytes:
    """All pieces joined."""
    joined, offset = b"", 0
    while True:
        chunk = await reader.chunk(ref, offset=offset, length=length, max_edge_px=max_edge_px)
        assert (chunk.offset, len(chunk.data) <= length) == (offset, True)
        joined += chunk.data
        if chunk.next_offset is None:
            assert chunk.total_bytes == len(joined)
            return joined
        offset = chunk.next_offset


@pytest.mark.parametrize("length", [1, 7, 70, 10_000])
async def test_the_pieces_make_the_picture_and_the_file_is_read_once(length: int) -> None:
    data = png(30, 20)
    pictures = CountingPictures(data)
    assert await whole(PictureReader(pictures), pictures.refs[0], length) == data
    assert pictures.reads == 1


async def test_a_piece_behind_the_end_is_empty() -> None:
    data = png()
    pictures = CountingPictures(data)
    assert await PictureReader(pictures).chunk(pictures.refs[0], offset=10**9, length=5) == Chunk(
        mime="image/png", total_bytes=len(data), offset=10**9, data=b"", next_offset=None
    )


@pytest.mark.parametrize(("data", "mime"), [(jpeg(300, 200), "image/jpeg"), (transparent_png(300, 200), "image/png")])
async def test_a_copy_is_within_the_edge_and_is_made_once_for_all_its_pieces(data: bytes, mime: str) -> None:
    pictures = CountingPictures(data)
    reader = PictureReader(pictures)
    first = await reader.chunk(pictures.refs[0], offset=0, length=10, max_edge_px=60)
    copy = await whole(reader, pictures.refs[0], 100, max_edge_px=60)
    with Image.open(io.BytesIO(copy)) as picture:
        assert (first.mime, picture.size, pictures.reads) == (mime, (60, 40), 1)


async def test_a_picture_within_the_edge_comes_as_it_is() -> None:
    pictures = CountingPictures(jpeg(30, 20))
    assert await whole(PictureReader(pictures), pictures.refs[0], 64, max_edge_px=30) == jpeg(30, 20)


async def test_little_is_kept_between_pieces() -> None:
    pictures = CountingPictures(png(colour=(1, 1, 1)), png(colour=(2, 2, 2)))
    reader = PictureReader(pictures, kept_bytes=len(png()) + 10)
    for ref in (*pictures.refs, pictures.refs[1], pictures.refs[0]):
        await reader.chunk(ref, offset=0, length=1)
    assert pictures.reads == 3


async def test_a_picture_that_is_gone_says_so() -> None:
    pictures = CountingPictures(png())
    ref = pictures.refs[0]
    pictures.datas.clear()
    with pytest.raises(PictureRejected, match="it is gone"):
        await PictureReader(pictures).chunk(ref, offset=0, length=1)
