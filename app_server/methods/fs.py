"""fs/*: files and folders by absolute paths, with the rights of the user who runs the server; and fs/watch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from app_server.methods.services import Context
from app_server.protocol.fs import (
    FsChangedNotification,
    FsCopyParams,
    FsCreateDirectoryParams,
    FsGetMetadataParams,
    FsGetMetadataResponse,
    FsReadDirectoryParams,
    FsReadDirectoryResponse,
    FsReadFileParams,
    FsReadFileResponse,
    FsRemoveParams,
    FsUnwatchParams,
    FsWatchParams,
    FsWatchResponse,
    FsWriteFileParams,
)
from app_server.rpc.registry import method
from app_server.workspace import files
from app_server.workspace.belongings import Belongings


@method("fs/readFile", FsReadFileParams)
async def fs_read_file(ctx: Context, params: FsReadFileParams) -> FsReadFileResponse:
    """The content of a regular file."""
    content = await ctx.services.rare.workspace.in_thread(partial(files.read_file, Path(params.path)))
    return FsReadFileResponse(data_base64=content)


@method("fs/writeFile", FsWriteFileParams)
async def fs_write_file(ctx: Context, params: FsWriteFileParams) -> dict[str, Any]:
    """Make a file or replace its content."""
    await ctx.services.rare.workspace.in_thread(partial(files.write_file, Path(params.path), params.data_base64))
    return {}


@method("fs/createDirectory", FsCreateDirectoryParams)
async def fs_create_directory(ctx: Context, params: FsCreateDirectoryParams) -> dict[str, Any]:
    """Make a folder, with its parents unless told otherwise."""
    recursive = params.recursive is not False
    await ctx.services.rare.workspace.in_thread(partial(files.create_directory, Path(params.path), recursive=recursive))
    return {}


@method("fs/getMetadata", FsGetMetadataParams)
async def fs_get_metadata(ctx: Context, params: FsGetMetadataParams) -> FsGetMetadataResponse:
    """What a path leads to."""
    return await ctx.services.rare.workspace.in_thread(partial(files.metadata, Path(params.path)))


@method("fs/readDirectory", FsReadDirectoryParams)
async def fs_read_directory(ctx: Context, params: FsReadDirectoryParams) -> FsReadDirectoryResponse:
    """The direct children of a folder, by name."""
    entries = await ctx.services.rare.workspace.in_thread(partial(files.read_directory, Path(params.path)))
    return FsReadDirectoryResponse(entries=entries)


@method("fs/remove", FsRemoveParams)
async def fs_remove(ctx: Context, params: FsRemoveParams) -> dict[str, Any]:
    """Remove a file or a folder; forgiving unless told otherwise."""
    recursive, force = params.recursive is not False, params.force is not False
    await ctx.services.rare.workspace.in_thread(
        partial(files.remove, Path(params.path), recursive=recursive, force=force)
    )
    return {}


@method("fs/copy", FsCopyParams)
async def fs_copy(ctx: Context, params: FsCopyParams) -> dict[str, Any]:
    """Copy a file, a link or, with `recursive`, a folder."""
    source, destination = Path(params.source_path), Path(params.destination_path)
    await ctx.services.rare.workspace.in_thread(partial(files.copy, source, destination, recursive=params.recursive))
    return {}


@method("fs/watch", FsWatchParams)
async def fs_watch(ctx: Context, params: FsWatchParams) -> FsWatchResponse:
    """Tell this client of changes of a path, which need not be there yet, until fs/unwatch or its end."""
    hub, connection, watch_id = ctx.services.hub, ctx.connection, params.watch_id

    def tell(paths: tuple[str, ...]) -> None:
        changed = FsChangedNotification(watch_id=watch_id, changed_paths=paths)
        hub.notify(connection, "fs/changed", changed.wire())

    await belongings(ctx).watch(watch_id, Path(params.path), tell)
    return FsWatchResponse(path=params.path)


@method("fs/unwatch", FsUnwatchParams)
async def fs_unwatch(ctx: Context, params: FsUnwatchParams) -> dict[str, Any]:
    """Tell no more; an id that is not watched is no fault."""
    belongings(ctx).unwatch(params.watch_id)
    return {}


def belongings(ctx: Context) -> Belongings:
    """What the client of this request has open in the workspace."""
    return ctx.services.rare.workspace.of(ctx.session.connection_id, ctx.connection.on_close)
