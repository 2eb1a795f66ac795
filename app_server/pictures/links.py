"""Short-lived signed addresses of pictures, and the answer to `GET /images/<sha256>?expires=…&sig=…`.

The signature is an HMAC over sha256 and expiry with a secret of the home, so an address holds nothing secret but the
right to one picture for a while, and a restart does not end it. It stands in for a login: an `<img>` has no headers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import anyio.to_thread

from app_server.extension_api.services import PictureRejected, Pictures
from app_server.pictures.files import give_name
from app_server.storage.base import BlobStore, StorageError
from app_server.transport.http import HttpReply, HttpRequest

if TYPE_CHECKING:
    from app_server.clock import Clock

KEY_FILE: Final = "picture_links.key"
KEY_BYTES: Final = 32
DEFAULT_LIFE_S: Final = 600
PICTURE_ROUTE: Final = "/images/"
"""In front of the sha256 in an address of a picture."""
_PATH = re.compile(re.escape(PICTURE_ROUTE) + r"([0-9a-f]{64})")
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


def signature(key: bytes, sha256: str, expires_s: int) -> str:
    """The signature of an address, as it stands in `sig`."""
    return hmac.new(key, f"{sha256}\n{expires_s}".encode(), hashlib.sha256).hexdigest()


def remaining_s(key: bytes, sha256: str, query: str, now_s: int) -> int | str:
    """How long an address is good for, or why it is not: first the signature, in constant time, then the expiry."""
    fields = parse_qs(query)
    expires, signed = (fields.get(name, [""]) for name in ("expires", "sig"))
    if len(expires) != 1 or len(signed) != 1 or not _EXPIRES.fullmatch(expires[0]):
        return "This address of a picture is not complete; ask for one with image/url."
    expected = signature(key, sha256, int(expires[0]))
    if not hmac.compare_digest(expected.encode(), signed[0].encode("utf-8", "surrogatepass")):
        return "The signature of this address is wrong; ask for a new one with image/url."
    if int(expires[0]) <= now_s:
        return "This address of a picture has expired; ask for a new one with image/url."
    return int(expires[0]) - now_s


class PictureLinks:
    """Makes addresses and answers them; the secret is made with the first one."""

    def __init__(self, home: Path, clock: Clock, pictures: Pictures, blobs: BlobStore) -> None:
        self._file, self._clock, self._pictures, self._blobs = home / KEY_FILE, clock, pictures, blobs
        self._key: bytes | None = None

    async def path(self, sha256: str, life_s: int = DEFAULT_LIFE_S) -> tuple[str, int]:
        """Path and query of an address, and when it expires (Unix seconds). Raises OSError without a secret."""
        expires_s = self._clock.now_ms() // 1000 + life_s
        return (
            f"{PICTURE_ROUTE}{sha256}?expires={expires_s}&sig={signature(await self._secret(), sha256, expires_s)}",
            expires_s,
        )

    async def answer(self, request: HttpRequest) -> HttpReply:
        """The picture, or a refusal that tells nothing of what is stored."""
        found = _PATH.fullmatch(request.path)
        if found is None:
            return _refused(404, "There is no picture at this address; ask for one with image/url.")
        sha256 = found[1]
        try:
            life = remaining_s(await self._secret(), sha256, request.query, self._clock.now_ms() // 1000)
            if isinstance(life, str):
                return _refused(403, life)
            ref = await self._blobs.ref(sha256)
            data = await self._pictures.read(ref) if ref is not None else None
        except (PictureRejected, StorageError, OSError):
            ref = data = None
        if ref is None or data is None:
            return _refused(404, "This picture is not there any more.")
        return HttpReply(
            headers={
                "Content-Type": ref.mime,
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Cache-Control": f"private, max-age={life}, immutable",
            },
            body=data,
        )

    async def _secret(self) -> bytes:
        if self._key is None:
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


def _refused(status: int, sentence: str) -> HttpReply:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return HttpReply(status=status, headers=headers, body=f"{sentence}\n".encode())
