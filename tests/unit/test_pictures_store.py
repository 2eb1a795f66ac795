"""Generated pictures become files that are whole, private, never overwritten, and owned by their thread."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app_server.extension_api import CheckedPicture, PictureRef, PictureRejected, Pictures, SavedPicture
from app_server.pictures import files
from app_server.pictures.check import PictureLimits
from app_server.pictures.store import PictureStore, data_url
from app_server.storage.base import StorageError
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.memory_blobs import MemoryBlobStore
from tests.support.pictures import data_url as expected_url
from tests.support.pictures import jpeg, png

pytestmark = pytest.mark.anyio
posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, links and pipes")


def store(home: Path, limits: PictureLimits | None = None) -> PictureStore:
    return PictureStore(home, MemoryStorageWorld(home=home).process().blobs, limits)


async def checked(pictures: Pictures, data: bytes | None = None) -> CheckedPicture:
    return await pictures.check(png() if data is None else data)


async def test_a_generated_picture_is_saved_as_received_and_can_be_read_back(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    picture = await checked(pictures)
    saved = await pictures.save_generated(picture, thread_id="0190-abc", call_id="call_1")
    assert saved == SavedPicture(ref=picture.ref, path=tmp_path / "generated_images" / "0190-abc" / "call_1.png")
    assert saved.path.read_bytes() == picture.data == await pictures.read(picture.ref)


@posix_only
async def test_a_saved_picture_is_for_its_owner_alone_and_nothing_else_stays_in_the_folder(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    saved = await pictures.save_generated(await checked(pictures), thread_id="t", call_id="c")
    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o600
    assert saved.path.stat().st_nlink == 1
    assert os.listdir(saved.path.parent) == ["c.png"]


async def test_the_suffix_follows_the_content(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    saved = await pictures.save_generated(await checked(pictures, jpeg()), thread_id="t", call_id="c")
    assert saved.path.name == "c.jpg"


async def test_a_taken_name_gets_a_number_and_the_first_file_stays_as_it_is(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    datas = [png(colour=(n, n, n)) for n in range(3)]
    paths = [
        (await pictures.save_generated(await checked(pictures, data), thread_id="t", call_id="c")).path
        for data in datas
    ]
    assert [path.name for path in paths] == ["c.png", "c-2.png", "c-3.png"]
    assert [path.read_bytes() for path in paths] == datas


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("call_1-A", "call_1-A"),
        ("a/b c.d:é", "a_b_c_d__"),
        ("../../x", "______x"),
        ("", "generated_image"),
        ("\0", "_"),
        ("c" * 120, "c" * 120),
        ("c" * 400, "c" * 111 + "-cb11f55c"),
    ],
)
def test_an_id_becomes_a_safe_file_name_of_bounded_length(name: str, stem: str) -> None:
    assert files.file_stem(name) == stem


def test_long_ids_that_begin_alike_get_different_names() -> None:
    assert files.file_stem("c" * 400) != files.file_stem("c" * 401)


@posix_only
@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
async def test_a_thread_folder_that_is_a_link_is_refused(tmp_path: Path, target: str) -> None:
    pictures = store(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "generated_images").mkdir()
    (tmp_path / "generated_images" / "t").symlink_to(tmp_path / target)
    with pytest.raises(OSError, match="is a link or a file, not a folder of its own"):
        await pictures.save_generated(await checked(pictures), thread_id="t", call_id="c")
    assert os.listdir(tmp_path / "elsewhere") == []


@posix_only
async def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    folder = tmp_path / "generated_images" / "t"
    folder.mkdir(parents=True)
    (folder / "c.png").symlink_to(tmp_path / "victim")
    saved = await pictures.save_generated(await checked(pictures), thread_id="t", call_id="c")
    assert (saved.path.name, (tmp_path / "victim").exists()) == ("c-2.png", False)


class RefusingBlobs(MemoryBlobStore):
    """A store whose disk is full."""

    async def adopt(self, path: str, ref: PictureRef, *, owner: str, ours: bool = False) -> PictureRef:
        raise StorageError("the disk is full")

    async def put(self, data: bytes, ref: PictureRef, *, owner: str, name: str | None = None) -> PictureRef:
        raise StorageError("the disk is full")


async def test_a_picture_that_cannot_be_registered_leaves_no_file(tmp_path: Path) -> None:
    process = MemoryStorageWorld(home=tmp_path).process().blobs
    assert isinstance(process, MemoryBlobStore)
    pictures = PictureStore(tmp_path, RefusingBlobs(process._process))
    picture = await checked(pictures)
    with pytest.raises(OSError, match="the disk is full"):
        await pictures.save_generated(picture, thread_id="t", call_id="c")
    with pytest.raises(OSError, match="the disk is full"):
        await pictures.keep(picture, thread_id="t")
    assert os.listdir(tmp_path / "generated_images" / "t") == []


async def test_a_home_that_is_a_file_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    pictures = store(tmp_path / "home")
    with pytest.raises(OSError):  # noqa: PT011  # which one differs between systems
        await pictures.save_generated(await checked(pictures), thread_id="t", call_id="c")


async def test_kept_bytes_have_no_file_and_can_be_read_back(tmp_path: Path) -> None:
    pictures = store(tmp_path)
    picture = await checked(pictures)
    assert await pictures.keep(picture, thread_id="t") == picture.ref
    assert await pictures.read(picture.ref) == picture.data


@pytest.mark.parametrize("change", ["altered", "removed"])
async def test_a_saved_picture_that_was_altered_or_removed_is_a_named_error(tmp_path: Path, change: str) -> None:
    pictures = store(tmp_path)
    saved = await pictures.save_generated(await checked(pictures), thread_id="t", call_id="c")
    saved.path.write_bytes(b"other") if change == "altered" else saved.path.unlink()
    with pytest.raises(PictureRejected, match="a stored picture can no longer be used: "):
        await pictures.read(saved.ref)


async def test_a_picture_file_of_the_user_is_read_with_its_original_bytes(tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(png(30, 20))
    pictures = store(tmp_path)
    assert await pictures.read_file(path) == await pictures.check(png(30, 20))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "read the picture at `{}`: there is no such file; check the path"),
        ("folder", "read the picture at `{}`: it is a folder or a device; give the path of a picture file"),
        ("text", "use the picture at `{}`: the bytes are plain text; PNG, JPEG, WebP and GIF pictures are taken"),
        ("corrupt.png", "use the picture at `{}`: it begins like a PNG picture but is damaged or cut off"),
        ("large.png", "use the picture at `{}`: it has more than the 1000 bytes that a picture may have"),
        ("nul\0.png", "read the picture at `{}`: no file can have this name; check the path"),
        ("n" * 300, "read the picture at `{}`: File name too long; give another path"),
    ],
)
async def test_a_file_that_is_no_picture_is_refused_with_its_path_and_the_cause(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("just text")
    (tmp_path / "corrupt.png").write_bytes(png()[:30])
    (tmp_path / "large.png").write_bytes(png() + bytes(2000))
    with pytest.raises(PictureRejected) as refused:
        await store(tmp_path, limits=PictureLimits(max_bytes=1000)).read_file(tmp_path / name)
    assert str(refused.value) == f"unable to {message.format(tmp_path / name)}"


@posix_only
async def test_a_pipe_in_place_of_a_picture_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureRejected, match="it is a folder or a device"):
        await store(tmp_path).read_file(tmp_path / "pipe.png")


async def test_a_data_url_names_the_type_and_holds_the_bytes(tmp_path: Path) -> None:
    picture = await store(tmp_path).check(jpeg())
    assert data_url(picture.ref, picture.data) == expected_url(jpeg(), "image/jpeg")
