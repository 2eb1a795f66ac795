"""What fs/* does on a disk: contents, folders, links, and what it refuses."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from app_server.errors import InternalError, InvalidRequest, RpcError
from app_server.protocol.fs import FsCopyParams, FsReadDirectoryEntry, FsReadFileParams
from app_server.protocol.validation import validation_error_message
from app_server.workspace import files


def entry(name: str, *, directory: bool = False, file: bool = False) -> FsReadDirectoryEntry:
    return FsReadDirectoryEntry(file_name=name, is_directory=directory, is_file=file)


def told(call: Callable[[], object]) -> tuple[type[RpcError], str, str]:
    with pytest.raises(RpcError) as raised:
        call()
    return type(raised.value), raised.value.data_code, raised.value.message


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    content = base64.b64encode(bytes(range(256))).decode()
    files.write_file(tmp_path / "f", content)
    assert files.read_file(tmp_path / "f") == content
    assert (tmp_path / "f").read_bytes() == bytes(range(256))


def test_writing_keeps_mode_and_links(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    (tmp_path / "f").chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "f")
    files.write_file(tmp_path / "link", base64.b64encode(b"new").decode())
    assert (tmp_path / "link").is_symlink()
    assert ((tmp_path / "f").read_text(), (tmp_path / "f").stat().st_mode & 0o777) == ("new", 0o700)


@pytest.mark.parametrize("text", ["***", "aGk", "aGk=\n", "aGk=ü"])
def test_what_is_no_base64_is_refused_and_nothing_is_written(tmp_path: Path, text: str) -> None:
    kind, code, _ = told(lambda: files.write_file(tmp_path / "f", text))
    assert (kind, code) == (InvalidRequest, "invalidBase64")
    assert not (tmp_path / "f").exists()


def test_a_pipe_is_neither_read_nor_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert told(lambda: files.read_file(tmp_path / "pipe"))[:2] == (InvalidRequest, "invalidPath")
    assert told(lambda: files.write_file(tmp_path / "pipe", ""))[:2] == (InvalidRequest, "invalidPath")


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(files.MAX_READ_BYTES + 1)
    kind, code, message = told(lambda: files.read_file(tmp_path / "large"))
    assert (kind, code) == (InvalidRequest, "invalidPath")
    assert str(files.MAX_READ_BYTES) in message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda at: files.read_file(at / "no"), "{at}/no cannot be read: no such file or directory; check the path."),
        (lambda at: files.read_file(at / "f" / "x"), "{at}/f/x cannot be read: not a directory; name a folder."),
        (lambda at: files.write_file(at, ""), "{at} cannot be written: is a directory; name a file."),
        (
            lambda at: files.metadata(at / "no"),
            "{at}/no cannot be looked at: no such file or directory; check the path.",
        ),
        (lambda at: files.read_directory(at / "f"), "{at}/f cannot be listed: not a directory; name a folder."),
        (
            lambda at: files.create_directory(at / "d", recursive=False),
            "{at}/d cannot be made: file exists; choose another path.",
        ),
        (
            lambda at: files.remove(at / "d", recursive=False, force=True),
            "{at}/d cannot be removed: directory not empty; empty it first, or leave `recursive` on.",
        ),
        (
            lambda at: files.remove(at / "no", recursive=True, force=False),
            "{at}/no cannot be removed: no such file or directory; check the path.",
        ),
        (
            lambda at: files.copy(at / "f", at / "d", recursive=False),
            "{at}/d cannot be part of the copy: is a directory; name a file.",
        ),
    ],
)
def test_a_fault_of_the_system_names_the_path_and_the_way_out(
    tmp_path: Path, call: Callable[[Path], object], message: str
) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "d" / "e").mkdir(parents=True)
    assert told(lambda: call(tmp_path)) == (InternalError, "fileSystem", message.format(at=tmp_path))


def test_folders_are_made_with_their_parents_and_may_be_there(tmp_path: Path) -> None:
    files.create_directory(tmp_path / "a" / "b", recursive=True)
    files.create_directory(tmp_path / "a" / "b", recursive=True)
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_is_listed_by_name_with_what_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("")
    (tmp_path / "to-b").symlink_to("b")
    (tmp_path / "to-nothing").symlink_to("nothing")
    (tmp_path / "round").symlink_to("round")
    assert files.read_directory(tmp_path) == (
        entry("a", file=True),
        entry("b", directory=True),
        entry("round"),
        entry("to-b", directory=True),
        entry("to-nothing"),
    )


def test_a_name_that_is_no_utf8_is_shown_with_replacements(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff")).write_text("")
    assert [each.file_name for each in files.read_directory(tmp_path)] == ["a\ufffd"]


def test_metadata_speaks_of_the_target_and_of_the_link(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    os.utime(tmp_path / "f", ns=(0, 1_700_000_000_123_000_000))
    (tmp_path / "link").symlink_to("f")
    found = files.metadata(tmp_path / "link")
    assert (found.is_file, found.is_directory, found.is_symlink) == (True, False, True)
    assert found.modified_at_ms == 1_700_000_000_123


def test_removing_takes_links_themselves_and_whole_folders(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "link").symlink_to("d")
    files.remove(tmp_path / "link", recursive=True, force=False)
    assert (tmp_path / "d").is_dir()
    files.remove(tmp_path / "d", recursive=True, force=False)
    files.remove(tmp_path / "d", recursive=True, force=True)
    assert list(tmp_path.iterdir()) == []


def test_the_root_of_the_file_system_is_left_alone(tmp_path: Path) -> None:
    assert told(lambda: files.remove(Path(tmp_path.anchor), recursive=False, force=False))[1] == "invalidPath"


def test_a_folder_is_copied_into_one_that_is_there_with_its_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "f").write_text("f")
    (tmp_path / "a" / "deep" / "f").chmod(0o755)
    (tmp_path / "a" / "link").symlink_to("deep/f")
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "kept").write_text("")
    files.copy(tmp_path / "a", tmp_path / "b", recursive=True)
    assert sorted(str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*")) == [
        "deep",
        "deep/f",
        "kept",
        "link",
    ]
    assert os.readlink(tmp_path / "b" / "link") == "deep/f"
    assert (tmp_path / "b" / "deep" / "f").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("source", "destination", "recursive"),
    [("d", "other", False), ("d", "d/inner", True), ("d", "d", True), ("f", "f", False), ("pipe", "other", False)],
)
def test_a_copy_that_would_lose_or_never_end_is_refused(
    tmp_path: Path, source: str, destination: str, recursive: bool
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    refused = told(lambda: files.copy(tmp_path / source, tmp_path / destination, recursive=recursive))
    assert refused[:2] == (InvalidRequest, "invalidPath")
    assert (tmp_path / "f").read_text() == "kept"


@pytest.mark.parametrize("path", ["relative.txt", "~/x", "", "/a\0b"])
def test_only_absolute_paths_are_taken(path: str) -> None:
    with pytest.raises(ValueError, match="path") as raised:
        FsReadFileParams.model_validate({"path": path})
    assert "path" in str(raised.value)
    with pytest.raises(ValueError, match="path"):
        FsCopyParams.model_validate({"sourcePath": "/a", "destinationPath": path})


def test_a_relative_path_is_named_in_the_answer() -> None:
    with pytest.raises(ValidationError) as raised:
        FsReadFileParams.model_validate({"path": "notes.txt"})
    assert (
        validation_error_message(raised.value, data={"path": "notes.txt"})
        == 'invalid value: string "notes.txt", expected an absolute path (at `path`)'
    )
