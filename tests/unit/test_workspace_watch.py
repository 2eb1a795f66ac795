"""What counts as a change of a watched path, and that one poll loop tells it while anything is watched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from app_server.workspace.watch import FileWatcher, Watch, changed_paths, snapshot
from tests.support.bell import Bell


def touch(path: Path, at_s: int) -> None:
    """A time of its own, so that no change hides within the clock's grain."""
    path.write_text(str(at_s))
    os.utime(path, (at_s, at_s))


def changed_by(path: Path, change: Callable[[], object]) -> list[str]:
    before = snapshot(path)
    change()
    return [str(Path(name).relative_to(path.parent)) for name in changed_paths(path, before, snapshot(path))]


def test_a_file_changes_when_it_comes_is_written_is_replaced_and_goes(tmp_path: Path) -> None:
    path, other = tmp_path / "f", tmp_path / "other"
    assert changed_by(path, lambda: touch(path, 1)) == ["f"]
    assert changed_by(path, lambda: touch(path, 2)) == ["f"]
    touch(other, 2)
    assert changed_by(path, lambda: other.replace(path)) == ["f"]
    assert changed_by(path, path.unlink) == ["f"]
    assert changed_by(path, lambda: None) == []


def test_a_folder_tells_its_direct_children(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    (folder / "sub").mkdir(parents=True)
    touch(folder / "a", 1)

    def change() -> None:
        touch(folder / "a", 2)
        touch(folder / "new", 2)

    assert changed_by(folder, change) == ["d/a", "d/new"]
    assert changed_by(folder, (folder / "new").unlink) == ["d/new"]
    assert changed_by(folder, lambda: touch(folder / "sub" / "deep", 3)) == []


def test_a_folder_that_comes_or_goes_tells_itself_too(tmp_path: Path) -> None:
    folder = tmp_path / "d"

    def come() -> None:
        folder.mkdir()
        touch(folder / "a", 1)

    assert changed_by(folder, come) == ["d", "d/a"]
    assert changed_by(folder, lambda: folder.rename(tmp_path / "e")) == ["d", "d/a"]


@pytest.mark.anyio
async def test_changes_are_told_until_a_watch_is_dropped(tmp_path: Path) -> None:
    bell, told = Bell(), list[tuple[str, ...]]()

    def tell(paths: tuple[str, ...]) -> None:
        told.append(paths)
        bell.ring()

    path, other = tmp_path / "f", tmp_path / "other"
    async with anyio.create_task_group() as tasks:
        watcher = FileWatcher(tasks, poll_s=0.01)
        watch = Watch(path=path, changed=tell)
        await watcher.add(watch)
        touch(path, 1)
        await bell.until(lambda: len(told) == 1, 5, lambda: "a first change")
        watcher.drop(watch)
        second = Watch(path=other, changed=tell)
        await watcher.add(second)
        touch(path, 2)
        touch(other, 2)
        await bell.until(lambda: len(told) == 2, 5, lambda: "a second change")
        watcher.drop(second)
        watcher.drop(second)
    # the task group ends by itself: nothing is polled while nothing is watched
    assert told == [(str(path),), (str(other),)]
