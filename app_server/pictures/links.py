"""Short-lived signed addresses of pictures, and the answer to `GET /images/<sha256>?expires=…&sig=…[&tenant=…]`.

The signature is an HMAC over sha256, expiry and tenant with a secret of the home, or of the storage that replicas
share: an address holds nothing secret but the right to one picture for a while, a restart does not end it, and it is
good at every replica. It stands in for a login: an `<img>` has no headers. One secret signs for all tenants, so that an
address can be refused (`refusal`) before anything of the tenant that it names is touched.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote

import anyio.to_thread

from app_server.extension_api.services import PictureRejected, Pictures
from app_server.pictures.files import give_name
from app_server.storage.base import LOCAL_TENANT, BlobStore, StorageError
from app_server.transport.http import HttpReply, HttpRequest

if TYPE_CHECKING:
    from app_server.clock import Clock

KEY_FILE: Final = "picture_links.key"
KEY_BYTES: Final = 32
DEFAULT_LIFE_S: Final = 600
SECRET_NAME: Final = "picture_links"
"""Of the secret in a storage that replicas share."""
PICTURE_ROUTE: Final = "/images/"
"""In front of the sha256 in an address of a picture."""
_PATH = re.compile(re.escape(PICTURE_ROUTE) + r"([0-9a-f]{64})")
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


def signature(key: bytes, sha256: str, expires_s: int, tenant: str = LOCAL_TENANT) -> str:
    """The signature of an address, as it stands in `sig`. A tenant without a name is not part of it."""
    of_tenant = "" if tenant == LOCAL_TENANT else f"\n{tenant}"
    signed = f"{sha256}\n{expires_s}{of_tenant}".encode("utf-8", "surrogatepass")
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def tenant_in(query: str) -> str:
    """The tenant whose picture an address shows; nobody's name, "", where it names several."""
    named = parse_qs(query).get("tenant", [LOCAL_TENANT])
    return named[0] if len(named) == 1 else ""


def remaining_s(key: bytes, sha256: str, query: str, now_s: int) -> int | str:
    """How long an address is good for, or why it is not: first the signature, in constant time, then the expiry."""
    fields = parse_qs(query)
    expires, signed = (fields.get(name, [""]) for name in ("expires", "sig"))
    if len(expires) != 1 or len(signed) != 1 or not _EXPIRES.fullmatch(expires[0]):
        return "This address of a picture is not complete; ask for one with image/url."
    expected = signature(key, sha256, int(expires[0]), tenant_in(query))
    if not hmac.compare_digest(expected.encode(), signed[0].encode("utf-8", "surrogatepass")):
        return "The signature of this address is wrong; ask for a new one with image/url."
    if int(expires[0]) <= now_s:
        return "This address of a picture has expired; ask for a new one with image/url."
    return int(expires[0]) - now_s


class PictureLinks:
    """Makes addresses of one tenant's pictures and answers them; the secret is made with the first one."""

    def __init__(
        self,
        home: Path,
        clock: Clock,
        pictures: Pictures,
        blobs: BlobStore,
        *,
        tenant: str = LOCAL_TENANT,
        shared: Callable[[str], Awaitable[bytes]] | None = None,
    ) -> None:
        """`shared` gives the secret of all replicas, whatever the tenant; without it the home keeps one."""
        self._file, self._clock, self._pictures, self._blobs = home / KEY_FILE, clock, pictures, blobs
        self._tenant, self._shared = tenant, shared
        self._key: bytes | None = None

    async def path(self, sha256: str, life_s: int = DEFAULT_LIFE_S) -> tuple[str, int]:
        """Path and query of an address, and when it expires (Unix seconds). Raises OSError without a secret."""
        expires_s = self._clock.now_ms() // 1000 + life_s
        signed = signature(await self._secret(), sha256, expires_s, self._tenant)
        of_tenant = "" if self._tenant == LOCAL_TENANT else f"&tenant={quote(self._tenant, safe='')}"
        return f"{PICTURE_ROUTE}{sha256}?expires={expires_s}&sig={signed}{of_tenant}", expires_s

    async def refusal(self, request: HttpRequest) -> HttpReply | None:
        """Why an address of any tenant is not good; None: it is, and `tenant_in` of its query says whom to ask."""
        asked = await self._asked(request)
        return asked if isinstance(asked, HttpReply) else None

    async def answer(self, request: HttpRequest) -> HttpReply:
        """The picture, or where the store shows it, or a refusal that tells nothing of what is stored."""
        asked = await self._asked(request)
        if isinstance(asked, HttpReply):
            return asked
        sha256, life_s = asked
        if tenant_in(request.query) != self._tenant:
            return _gone()
        try:
            if (ref := await self._blobs.ref(sha256)) is None:
                return _gone()
            if (url := await self._blobs.url(sha256, life_s)) is not None:
                return HttpReply(status=302, headers=_headers(life_s, Location=url))
            data = await self._pictures.read(ref)
        except (PictureRejected, StorageError):
            return _gone()
        return HttpReply(headers={"Content-Type": ref.mime, **_headers(life_s)}, body=data)

    async def _asked(self, request: HttpRequest) -> tuple[str, int] | HttpReply:
        """The sha256 of a good address and how long it is good for, or the refusal."""
        found = _PATH.fullmatch(request.path)
        if found is None:
            return _refused(404, "There is no picture at this address; ask for one with image/url.")
        try:
            life = remaining_s(await self._secret(), found[1], request.query, self._clock.now_ms() // 1000)
        except OSError:
            return _gone()
        return _refused(403, life) if isinstance(life, str) else (found[1], life)

    async def _secret(self) -> bytes:
        if self._key is None and self._shared is not None:
            try:
                self._key = await self._shared(SECRET_NAME)
            except StorageError as error:
                raise OSError(error.message) from error
        elif self._key is None:
            self._key = await anyio.to_thread.run_sync(read_key, self._file)
        return self._key


def read_key(file: Path) -> bytes:
    """The secret of this home; makes it, for its user alone, where there is none. Raises OSError."""
    for _ in range(2):
        try:
            key = file.read_bytes()
        except FileNotFoundError:
            _make_key(file)
        else:
            if len(key) == KEY_BYTES:
                return key
            raise OSError(f"{file} is damaged; remove it, and a new one is made")
    raise OSError(f"{file} cannot be read back; check the disk")


def _make_key(file: Path) -> None:
    """Whole or not at all, and never over one that another process made in between."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secrets.token_bytes(KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())
        try:
            give_name(temporary, file)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)


def _headers(life_s: int, **more: str) -> dict[str, str]:
    return {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": f"private, max-age={life_s}, immutable",
        **more,
    }


def _gone() -> HttpReply:
    return _refused(404, "This picture is not there any more.")


def _refused(status: int, sentence: str) -> HttpReply:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return HttpReply(status=status, headers=headers, body=f"{sentence}\n".encode())
