"""What the host offers to extensions, as protocols: pictures, items, provider access, logging. `wiring` fills them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from app_server.clock import Clock
from app_server.errors import TenantLimit
from app_server.extension_api.scopes import AuthSnapshot, TurnScope
from app_server.extension_api.tools import PictureRef
from app_server.net_answers import Form as Form
from app_server.net_answers import FormFile as FormFile
from app_server.net_answers import HttpAnswer as HttpAnswer
from app_server.net_answers import HttpFailure as HttpFailure
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.protocol.items import DynamicToolCallItem, ImageGenerationItem, ImageViewItem

ExtensionItem: TypeAlias = "ImageGenerationItem | ImageViewItem | DynamicToolCallItem"


class PictureRejected(Exception):
    """Bytes are not a picture that this server takes; the message is one sentence for the model and the client."""


class PicturesUsedUp(PictureRejected):
    """No new picture now: the host of the server limits them."""

    def __init__(self, limit: TenantLimit) -> None:
        super().__init__(limit.message)
        self.limit = limit


class PictureRoom(Protocol):
    """Room for the pictures that are asked for."""

    async def leave(self, unspent: int) -> None:
        """The call is over: so many were not made and not paid for, and may be asked for again."""
        ...


@frozen
class CheckedPicture:
    """Bytes that were looked at: the real type, the pixels, whether an alpha channel is really used."""

    data: bytes
    ref: PictureRef
    suffix: str
    """`.png`, `.jpg`, `.webp` or `.gif`, by content."""
    has_alpha: bool

    def __repr__(self) -> str:  # bytes never reach a log line
        return f"CheckedPicture({self.ref!r}, suffix={self.suffix!r}, has_alpha={self.has_alpha!r})"


@frozen
class SavedPicture:
    """A generated picture, owned by its thread."""

    ref: PictureRef
    path: Path | None
    """Its file; None where the storage keeps pictures without files."""


class Pictures(Protocol):
    """Everything a picture goes through: check, save, read."""

    async def check(self, data: bytes) -> CheckedPicture:
        """Type by magic number, dimensions, alpha, limits. Raises PictureRejected."""
        ...

    async def require_room(self, count: int = 1) -> PictureRoom:
        """Ask before pictures are paid for. Raises PictureRejected when the quota is used up, with what to do.

        Raises PicturesUsedUp when the host allows no more now."""
        ...

    async def save_generated(
        self, picture: CheckedPicture, *, thread_id: str, call_id: str, prompt: str = ""
    ) -> SavedPicture:
        """Save as the settings name it, `<thread>/<call><suffix>` at first: atomic, never over a file. Raises OSError.

        `prompt` gives the words of a name that has some. A storage without files keeps it under `call_id`."""
        ...

    async def keep(self, picture: CheckedPicture, *, thread_id: str, paid: bool = False) -> PictureRef:
        """Store bytes that have no file of their own: an attachment, or a picture that was paid for and not saved.

        Raises OSError, and for an attachment PicturesUsedUp when the host allows no more bytes."""
        ...

    async def read(self, ref: PictureRef) -> bytes:
        """The stored bytes, checked against their sha256. Raises PictureRejected when they are gone or altered."""
        ...

    async def path_of(self, ref: PictureRef) -> str | None:
        """A file on this machine that holds the stored bytes, or None."""
        ...

    async def thumbnail(self, data: bytes, *, max_bytes: int = 24 * 1024) -> str | None:
        """A small data URL of a picture, or None when the bytes are no picture."""
        ...

    async def read_stored(self, sha256: str) -> CheckedPicture:
        """A picture that the store knows. Raises PictureRejected when it does not, or when the bytes are gone."""
        ...

    async def read_file(self, path: Path) -> CheckedPicture:
        """A picture file of the user, unscaled. Raises PictureRejected with the path and the cause."""
        ...


class Items(Protocol):
    """Makes items of the running turn visible: started once, completed once, in every outcome."""

    async def started(self, item: ExtensionItem) -> None:
        """Show the item as begun. When the call ends without `completed`, the host closes it as failed or cancelled."""
        ...

    async def completed(self, item: ExtensionItem, *, picture: PictureRef | None = None) -> None:
        """Show the final item. `picture` names the bytes for clients that take them inline; the item has none."""
        ...

    async def warning(self, message: str) -> None:
        """Tell the thread's clients something they should know."""
        ...

    def rate_limits(self, headers: Mapping[str, str]) -> None:
        """Show the limits that the response headers of a provider tell of; without such headers nothing is shown."""
        ...

    async def paid_call(self, item_id: str, idempotency_key: str) -> None:
        """Durable on return: money may be spent for this item from now on. Call it before the request is sent.

        After a crash an item with this mark and without its end is closed as failed with `unknownOutcome`, the model is
        told, and nothing is sent again."""
        ...

    def progress(
        self, item_id: str, *, elapsed_ms: int, partial_index: int | None = None, preview: str | None = None
    ) -> None:
        """`item/imageGeneration/progress`, to clients that opted in: still at work, and a preview (data URL)."""
        ...


@frozen
class ImagesEndpoint:
    """Where and how to reach the images API of the turn's provider, resolved per call."""

    base_url: str
    """Without a trailing slash; `/images/generations` is appended."""
    headers: Mapping[str, str]
    """Authorization, account, originator and the provider's own headers."""
    query: Mapping[str, str]
    offline: bool
    """True for the built-in offline provider: draw locally, send nothing."""
    chatgpt: bool
    """True when the login is ChatGPT: edits go as JSON; else the public API, which wants multipart."""
    request_max_retries: int
    image_api: str = "auto"
    """How edits are sent: `json`, `multipart`, or `auto`, which goes by the login."""


class ProviderAccess(Protocol):
    """A turn's provider, for an extension that calls its API itself."""

    def images_endpoint(self, scope: TurnScope) -> ImagesEndpoint:
        """Raises MissingCredentials with what to set."""
        ...

    def auth(self) -> AuthSnapshot: ...

    async def refresh_login(self, scope: TurnScope) -> bool:
        """After a 401: get a fresh token for the login of the images endpoint; False when there is none to get."""
        ...


class Http(Protocol):
    """The process's one HTTP client. Redirects of a POST are not followed; `timeout_s` bounds all of an exchange."""

    async def post_json(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """POST JSON and read the whole answer. Raises HttpFailure."""
        ...

    async def post_multipart(
        self,
        url: str,
        form: Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """POST a form with files and read the whole answer. Raises HttpFailure."""
        ...

    async def post_events(
        self,
        url: str,
        body: Mapping[str, Any] | Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
        on_event: Callable[[bytes], Awaitable[bool]],
    ) -> HttpAnswer:
        """POST and hand over the `data` of each server-sent event of a good answer, whose `body` is then empty.

        With False from `on_event` the rest is not read. An answer that is no event stream comes whole.
        Raises HttpFailure."""
        ...

    async def fetch(self, url: str, *, max_bytes: int, timeout_s: float, allowed_host: str | None = None) -> HttpAnswer:
        """GET an address that came from outside: no redirect to another host, no private address but `allowed_host`.

        Raises HttpFailure."""
        ...


class Log(Protocol):
    """Structured logging: an event name and fields. No picture bytes, tokens or prompts at info and above."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


@frozen
class ImageSettings:
    """The `[image_generation]` table of the config, resolved."""

    model: str = "gpt-image-2"
    timeout_s: float = 600.0
    """Total deadline of one call, retries included."""
    models: tuple[str, ...] = ()
    """Models that the tool may be asked for beside `model`."""
    max_references: int = 5
    """Pictures that one edit may name, by path or by handle."""
    expose_parameters: bool = False
    """Whether the model may choose size, quality, number, background, format, mask and image model."""
    partial_images: int = 0
    """Unfinished pictures to show while one is made, where the backend sends them."""
    heartbeat_s: float = 5.0
    """Time between two signs of life while a picture is made."""
    max_parallel: int = 4
    """Calls of one turn that run at a time."""


@frozen
class ExtensionServices:
    """The bundle that an extension gets when it is loaded."""

    pictures: Pictures
    provider: ProviderAccess
    http: Http
    clock: Clock
    log: Log
    images: ImageSettings
