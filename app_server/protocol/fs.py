"""Owns fs/*: files and folders of the server's machine, addressed by absolute paths. Contents travel as base64."""

from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from app_server.protocol.base import Bool, Flag, Int, Params, WireModel


def _absolute(path: str) -> str:
    if "\0" in path:
        raise PydanticCustomError("path_with_null", "expected a path without null characters")
    if not PurePath(path).is_absolute():
        raise PydanticCustomError("relative_path", "expected an absolute path")
    return path


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
"""A path from the root; `~` is not expanded, because the client's home need not be the server's."""


class FsReadFileParams(Params):
    path: AbsolutePath


class FsReadFileResponse(WireModel):
    data_base64: str


class FsWriteFileParams(Params):
    path: AbsolutePath
    data_base64: str


class FsCreateDirectoryParams(Params):
    """`recursive`, on by default, makes missing parents and takes a folder that is there already."""

    path: AbsolutePath
    recursive: Bool | None = None


class FsGetMetadataParams(Params):
    path: AbsolutePath


class FsGetMetadataResponse(WireModel):
    """What the path leads to; `is_symlink` alone speaks of the path itself. A time that is not known is 0."""

    is_directory: Bool
    is_file: Bool
    is_symlink: Bool
    created_at_ms: Int
    modified_at_ms: Int


class FsReadDirectoryParams(Params):
    path: AbsolutePath


class FsReadDirectoryEntry(WireModel):
    """A direct child by its bare name."""

    file_name: str
    is_directory: Bool
    is_file: Bool


class FsReadDirectoryResponse(WireModel):
    entries: tuple[FsReadDirectoryEntry, ...]


class FsRemoveParams(Params):
    """`recursive` takes folders with all in them, `force` takes a path that is not there; both are on by default."""

    path: AbsolutePath
    recursive: Bool | None = None
    force: Bool | None = None


class FsCopyParams(Params):
    source_path: AbsolutePath
    destination_path: AbsolutePath
    recursive: Flag = False


class FsWatchParams(Params):
    """`watch_id` is the client's choice and counts on its connection alone."""

    watch_id: str
    path: AbsolutePath


class FsWatchResponse(WireModel):
    """The path as it was asked for; `fs/changed` speaks of it and of its children in these words."""

    path: str


class FsUnwatchParams(Params):
    watch_id: str


class FsChangedNotification(WireModel):
    """`fs/changed`: to the client that asked for the watch, any time after the reply of fs/watch."""

    watch_id: str
    changed_paths: tuple[str, ...]
