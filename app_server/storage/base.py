"""The seams of storage: what a thread log, a blob store and a lease manager promise. No caller sees an implementation.

Rules that every implementation obeys (one contract suite runs on all, `tests/contracts/`):
- The log is the truth. A record is `(tenant, thread, seq, kind, data)`; seq counts from 1 without gaps per thread.
- `append` returns once the records are durable, and is fenced: it fails when the lease's epoch is not the current one.
- Bytes of pictures never enter the log; a record holds `{sha256, mime, bytes, width, height}`.
- The thread index (`ThreadRow`) is derived: written in the same commit as the records that change it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from app_server.errors import AppServerError
from app_server.values import field, frozen

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef
    from app_server.storage.cluster import Cluster
    from app_server.storage.places import Places

LOCAL_TENANT = "local"
"""Of a server without logins, and of a visitor whose login names nobody."""


def tenant_of(principal: str | None) -> str:
    """The tenant of a login's name. No name is that of the tenant without one."""
    return LOCAL_TENANT if principal is None else f"user:{principal}"


def principal_of(tenant: str) -> str:
    """The name that `tenant_of` made this tenant of."""
    return tenant.removeprefix("user:")


class StorageError(AppServerError):
    """The log or a blob cannot be read or written; the message says which and why."""


class StorageDamaged(StorageError):
    """What is stored can no longer be read as what it was; `app-server doctor` tells more."""


class LeaseLost(StorageError):
    """Somebody else may write this thread: the append was refused and nothing of it was kept."""


class LeaseHeld(StorageError):
    """Another live process writes this thread."""


class Draining(StorageError):
    """This replica is about to end and takes no thread any more; another one does."""


class BlobMissing(StorageError):
    """A picture's file is not there any more."""


class BlobAltered(StorageError):
    """A picture's file no longer has the bytes that were stored (its sha256 differs)."""


@frozen
class Record:
    """One durable fact of a thread. `kind` is one of `storage/records.py`; `data` is JSON, never with picture bytes."""

    kind: str
    data: dict[str, Any]
    seq: int = 0
    """1, 2, 3 … as stored; 0 on a record that is not stored yet."""
    at_ms: int = 0
    """When it was appended, milliseconds since the epoch; filled by the log when 0."""


@frozen
class ThreadRow:
    """The index row of one thread: what `thread/list` and an unloaded `thread/read` need without reading the log."""

    thread_id: str
    tenant: str = LOCAL_TENANT
    created_at_ms: int
    updated_at_ms: int
    """When the last turn started or ended, or the last user change."""
    recency_at_ms: int
    """When the user last spoke in it."""
    listed: bool = False
    """False until the first turn starts: unused threads are not listed."""
    archived: bool = False
    name: str | None = None
    preview: str = ""
    """The first user text, at most 200 characters."""
    cwd: str
    source: str
    model: str
    model_provider: str
    meta: dict[str, Any] = field(default_factory=dict)
    """Further members of the wire's Thread object that no search looks at (originator, gitInfo, readState…)."""


ThreadSortKey = Literal["created_at", "updated_at", "recency_at"]


@frozen
class ThreadQuery:
    """A page of the thread index. Filters are joined by AND; None means any."""

    tenant: str = LOCAL_TENANT
    limit: int = 25
    sort_key: ThreadSortKey = "created_at"
    descending: bool = True
    after: tuple[int, str] | None = None
    """Keyset cursor: `(sort value in ms, thread id)` of the row before the page, exclusive."""
    archived: bool = False
    cwds: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    search: str | None = None
    """Part of preview or name, case-insensitive."""


@frozen
class ThreadPage:
    """Rows in the asked order, and whether more follow."""

    rows: tuple[ThreadRow, ...]
    has_more: bool


@frozen
class PictureRow:
    """One generated picture of a thread, as the record of its finished item tells it; derived, like the index."""

    tenant: str = LOCAL_TENANT
    thread_id: str
    seq: int
    """Of the record."""
    at_ms: int
    """When it was made."""
    turn_id: str
    item_id: str
    ref: PictureRef
    path: str | None = None
    """Where it was saved, unless it is kept in the store alone."""
    handle: str | None = None
    prompt: str | None = None
    model: str | None = None

    @property
    def place(self) -> tuple[int, str, int]:
        """Where it stands in the order of `ThreadLog.pictures`."""
        return self.at_ms, self.thread_id, self.seq


@frozen
class PictureQuery:
    """Generated pictures, the newest first. Filters are joined by AND; None means any."""

    tenant: str = LOCAL_TENANT
    limit: int = 25
    before: tuple[int, str, int] | None = None
    """Only those that stand behind this `PictureRow.place`: older ones."""
    thread_id: str | None = None
    item_id: str | None = None
    sha256: str | None = None


@frozen
class Lease:
    """The right to write one thread. `epoch` grows with every owner, so an old owner is fenced off."""

    thread_id: str
    tenant: str
    owner: str
    epoch: int


class ThreadLog(Protocol):
    """Append-only records by `(thread, seq)`, and the index of threads."""

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        """A new thread with its first records and its lease, as one commit; returns the lease and the last seq.

        Raises:
            LeaseHeld: another live process has a lease of this id.
            StorageError: the thread is there already, or the disk refused; nothing was written.
        """
        ...

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        """Append in order, as one commit, together with the new index row if given; returns the last seq.

        A cancellation is seen before the append or after it, never in between: returned means written. The data of one
        record is at most 256 MiB of JSON (`storage/rules.py`).

        Raises:
            LeaseLost: `lease.epoch` is not the thread's current epoch; nothing was written.
            StorageError: the disk refused; nothing was written.
        """
        ...

    async def read(
        self, thread_id: str, *, tenant: str = LOCAL_TENANT, after_seq: int = 0, limit: int | None = None
    ) -> list[Record]:
        """Records with `seq > after_seq` in order; an unknown thread has none."""
        ...

    async def row(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> ThreadRow | None:
        """The index row, or None for an unknown thread."""
        ...

    async def page(self, query: ThreadQuery) -> ThreadPage:
        """One page of the listed threads; without filters its cost does not grow with the store."""
        ...

    async def pictures(self, query: PictureQuery) -> list[PictureRow]:
        """Generated pictures that no `picture_removed` record took away, at most `limit`."""
        ...

    async def delete(self, lease: Lease) -> None:
        """Remove the thread, its records and its index rows. Raises LeaseLost like `append`."""
        ...

    async def aclose(self) -> None:
        """Flush and close; idempotent."""
        ...


class LeaseManager(Protocol):
    """Who may write a thread."""

    async def acquire(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> Lease:
        """Take the lease (or renew our own). A dead owner's lease is taken over with a higher epoch.

        Raises LeaseHeld while another live process has it."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it back; releasing a lost lease does nothing."""
        ...

    async def abandon(self, lease: Lease) -> None:
        """Let go of a thread that another process shall take over at once, as if this one were dead."""
        ...


class BlobStore(Protocol):
    """Picture bytes by sha256, each with the threads that own it; a file goes with its last owner."""

    @property
    def keeps_files(self) -> bool:
        """Whether a file of this machine can be a blob (`adopt`); else all is `put`, and pictures have no path."""
        ...

    async def put(self, data: bytes, ref: PictureRef, *, owner: str, name: str | None = None) -> PictureRef:
        """Store bytes under the store's own place; equal bytes are stored once.

        name: of the item that the picture was made for; it counts among the generated ones then, and `named` finds it.
        """
        ...

    async def named(self, owner: str, name: str) -> PictureRef | None:
        """The picture that was put for this item of `owner`."""
        ...

    async def url(self, sha256: str, life_s: int) -> str | None:
        """An address of the store's own that shows the picture to whoever has it; None where the store has none."""
        ...

    async def adopt(self, path: str, ref: PictureRef, *, owner: str, ours: bool = False) -> PictureRef:
        """Register a file that exists already (a saved generated picture) as this blob; the file itself is the blob.

        ours: this server made the file, so it may go with its last owner although it lies outside the home.

        Raises BlobMissing or BlobAltered when there is no file, or not with these bytes."""
        ...

    async def read(self, sha256: str) -> bytes:
        """The bytes, checked. Raises BlobMissing, BlobAltered."""
        ...

    async def path(self, sha256: str) -> str | None:
        """A file on this machine that holds the bytes, or None when unknown or not local."""
        ...

    async def share(self, owner: str, new_owner: str) -> None:
        """Every blob of `owner` is also owned by `new_owner` (a fork)."""
        ...

    async def release(self, owner: str) -> tuple[str, ...]:
        """`owner` lets go of all its blobs; files without an owner are removed. Returns the removed paths.

        A file outside the home is removed only when it was adopted as ours and still has its size."""
        ...

    async def release_picture(self, owner: str, sha256: str, path: str | None = None) -> tuple[str, ...]:
        """As `release`, of one picture: the file at `path`, or every file of it when `path` is None or unknown."""
        ...

    async def ref(self, sha256: str) -> PictureRef | None:
        """What is known of these bytes, or None when the store does not know them."""
        ...

    async def adopted_bytes(self) -> int:
        """The size of all generated pictures together: those that were adopted, or put with a name."""
        ...

    async def kept_bytes(self) -> int:
        """The size of all pictures together, attachments included."""
        ...


class Notices:
    """What a storage has to tell people: `tell` is called on the event loop and does nothing until somebody sets it."""

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda message: None


@frozen
class Storage:
    """One wiring of all storage seams, for one tenant; made by a `StorageSource`."""

    log: ThreadLog
    blobs: BlobStore
    leases: LeaseManager
    notices: Notices = field(default_factory=Notices)
    cluster: Cluster | None = None
    """The other replicas; None where this process has the storage for itself."""
    shared_secret: Callable[[str], Awaitable[bytes]] | None = None
    """32 random bytes by name, the same on every replica; None where the home keeps secrets."""
    places: Callable[[], Places] | None = None
    """Makes what counts for the limits of a tenant; asked only where there are any."""

    async def aclose(self) -> None:
        await self.log.aclose()


class StorageSource(Protocol):
    """One engine, and the storage of each tenant in it. A process has one; `storage/registry.py` makes it."""

    def storage(self, tenant: str) -> Storage:
        """What belongs to this tenant and to nobody else. Closing it closes nothing that others use."""
        ...

    async def run(self) -> None:
        """What goes on beside requests, until cancelled: leases are renewed, hints are heard. A local one has none."""
        ...

    async def abandoned(self) -> list[str]:
        """Tenants with threads whose owner did not renew its lease (`Cluster.ownerless`), at most 100."""
        ...

    def drain(self) -> None:
        """From now on no lease is taken, and none of a new thread: `Draining` says that another replica does it."""
        ...

    async def aclose(self) -> None:
        """Write what waits and close all; idempotent."""
        ...
