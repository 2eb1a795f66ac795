"""Names of saved pictures: a template filled in, each part safe, never outside its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app_server.pictures.files import MAX_SLUG, saved_name, slug
from app_server.pictures.store import PictureStore, Saving
from app_server.storage.memory import MemoryStorageWorld
from tests.support.pictures import png

pytestmark = pytest.mark.anyio
FACTS = {"thread": "0190-t", "call": "call_1", "date": "2026-11-22", "slug": "a-red-fox"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{thread}/{call}", ("0190-t", "call_1")),
        ("{slug}", ("a-red-fox",)),
        ("{date}/{slug}-{call}", ("2026-11-22", "a-red-fox-call_1")),
        ("my pictures/é{call}", ("my_pictures", "_call_1")),
        ("a/b/c", ("a", "b", "c")),
        ("{{{call}}}", ("_call_1_",)),
    ],
)
def test_a_template_names_the_folders_and_the_file(template: str, name: tuple[str, ...]) -> None:
    assert saved_name(template, FACTS) == name


@pytest.mark.parametrize("call", ["../../etc/passwd", "a/b", "..", "/x", "\0", "a\\b", ""])
def test_what_comes_from_outside_never_makes_or_leaves_a_folder(call: str) -> None:
    folder, stem = saved_name("{thread}/{call}", {**FACTS, "call": call})
    assert (folder, stem != "", set(stem) & set("./\\\0")) == ("0190-t", True, set())


def test_a_long_part_is_cut() -> None:
    assert max(len(part) for part in saved_name("{call}/{slug}-{call}", {**FACTS, "call": "c" * 500})) == 120


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red FOX, in the snow!", "a-red-fox-in-the-snow"),
        ("../../etc", "etc"),
        ("  ", "picture"),
        ("狐", "picture"),
        ("é à", "picture"),
        ("x" * 99, "x" * MAX_SLUG),
        ("a " * 400, ("a-" * MAX_SLUG)[:MAX_SLUG].strip("-")),
    ],
)
def test_the_words_of_a_prompt_become_part_of_a_name(prompt: str, words: str) -> None:
    assert slug(prompt) == words


class MidYear:
    def now_ms(self) -> int:
        return 1_782_993_600_000  # noon UTC of 2026-07-02: that day nearly everywhere

    def monotonic_s(self) -> float:
        return 0.0


async def test_pictures_are_saved_where_the_settings_say_and_under_the_name_that_they_give(tmp_path: Path) -> None:
    blobs = MemoryStorageWorld(home=tmp_path / "home").process().blobs
    saving = Saving(root=tmp_path / "elsewhere", name_template="{date}/{slug}")
    pictures = PictureStore(tmp_path / "home", blobs, saving=saving, clock=MidYear())
    picture = await pictures.check(png())
    paths = [
        (await pictures.save_generated(picture, thread_id="t", call_id=call, prompt="A fox")).path for call in "ab"
    ]
    names = [path.relative_to(tmp_path / "elsewhere").as_posix() for path in paths]
    assert names == ["2026-07-02/a-fox.png", "2026-07-02/a-fox-2.png"]
    assert await pictures.read(picture.ref) == png()


async def test_a_picture_outside_the_home_goes_with_its_thread(tmp_path: Path) -> None:
    blobs = MemoryStorageWorld(home=tmp_path / "home").process().blobs
    pictures = PictureStore(tmp_path / "home", blobs, saving=Saving(root=tmp_path / "elsewhere"))
    saved = await pictures.save_generated(await pictures.check(png()), thread_id="t", call_id="c")
    await blobs.release("t")
    assert not saved.path.exists()


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
async def test_a_link_in_place_of_any_folder_below_the_root_is_refused(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    for folder in (root / "a", victim):
        folder.mkdir(parents=True)
    (root / "a" / "b").symlink_to(victim)
    blobs = MemoryStorageWorld(home=tmp_path / "home").process().blobs
    pictures = PictureStore(tmp_path / "home", blobs, saving=Saving(root=root, name_template="a/b/c/{call}"))
    with pytest.raises(OSError, match="is a link or a file, not a folder of its own"):
        await pictures.save_generated(await pictures.check(png()), thread_id="t", call_id="c")
    assert list(victim.iterdir()) == []
