"""The tokens that a listener takes: what a token file or a shared secret says, and whether a token counts. Pure.

    CapabilityTokens   a token is known by its SHA-256; lines of the file are `TOKEN` or `NAME TOKEN`
    SignedTokens       a JSON Web Token (RFC 7519), signed with HMAC-SHA256 by a shared secret; `sub` is the name

Both give a Visitor or the reason of a 401, and tell later whether that visitor may stay. Secrets are compared in
constant time, and no reason carries any of them. `listener.py` calls it.

A visitor with a name is a tenant, one without is the host itself. So where names are given, a token without one opens
nothing: not beside a named one in a file, and never when it is signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeGuard

import orjson

from app_server.errors import ConfigurationError
from app_server.transport.http import Visitor
from app_server.values import field, frozen

MIN_SECRET_BYTES: Final = 32
"""A shared secret below this is guessed too easily (RFC 7518 §3.2 asks for 256 bits)."""
DEFAULT_SKEW_S: Final = 30
NO_TOKEN: Final = "Send the token of this server in the header Authorization: Bearer TOKEN."
NOT_KNOWN: Final = "The token is not known; ask the owner of this server for one that is."
NO_NAME: Final = (
    "The token has no name, and others of this server have one; ask its owner to write NAME TOKEN on its line."
)
NOT_SIGNED: Final = "The token is not signed by this server's secret with HS256; ask its owner for one that is."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class ListenerTokens(Protocol):
    """What both kinds can do."""

    def check(self, token: str, now_s: float) -> Visitor | str:
        """Who this token lets in, or why nobody."""
        ...

    def holds(self, visitor: Visitor) -> bool:
        """Whether what let this visitor in still counts."""
        ...


@frozen
class NoTokens:
    """In place of tokens that cannot be read any more: nobody comes in, nobody stays."""

    def check(self, token: str, now_s: float) -> Visitor | str:
        return NOT_KNOWN

    def holds(self, visitor: Visitor) -> bool:
        return False


@frozen
class CapabilityTokens:
    """Known tokens: SHA-256 → name."""

    names: Mapping[bytes, str | None] = field(repr=False)

    def check(self, token: str, now_s: float) -> Visitor | str:
        """Every known digest is compared, whatever the first ones say."""
        presented = hashlib.sha256(token.encode()).digest()
        found = [digest for digest in self.names if hmac.compare_digest(digest, presented)]
        if not found:
            return NOT_KNOWN
        name = self.names[found[0]]
        return Visitor(principal=name, key=presented) if self._opens(name) else NO_NAME

    def holds(self, visitor: Visitor) -> bool:
        known = visitor.key in self.names and self.names[visitor.key] == visitor.principal
        return known and self._opens(visitor.principal)

    def _opens(self, name: str | None) -> bool:
        return name is not None or not any(self.names.values())


def read_token_file(text: str, source: str) -> CapabilityTokens:
    """The tokens of a file. Raises ConfigurationError that names `source` and the line, never its content."""
    names: dict[bytes, str | None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name, token = (words[0], words[1]) if len(words) == 2 else (None, words[0])
        if len(words) > 2 or not token.isascii() or not token.isprintable():
            raise ConfigurationError(f"{source}:{number}: this is no token; write TOKEN or NAME TOKEN on a line.")
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{source}:{number}: this name is not usable; take letters, digits and . _ @ -, 64 at most."
            )
        digest = hashlib.sha256(token.encode()).digest()
        if names.setdefault(digest, name) != name:
            raise ConfigurationError(f"{source}:{number}: this token has another name already; give each its own.")
    if not names:
        raise ConfigurationError(f"{source} holds no token; write one into it, for example with openssl rand -hex 32.")
    return CapabilityTokens(names=names)


def read_token_sha256(text: str) -> CapabilityTokens:
    """One token, known by the hex digits of its SHA-256."""
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text.strip()):
        raise ConfigurationError("--ws-token-sha256 needs the 64 hex digits of the token's SHA-256.")
    return CapabilityTokens(names={bytes.fromhex(text.strip()): None})


@frozen
class SignedRules:
    """What a signed token has to say beyond its signature."""

    issuer: str | None = None
    audience: str | None = None
    max_skew_s: int = DEFAULT_SKEW_S


@frozen
class SignedTokens:
    """Tokens signed by one shared secret."""

    secret: bytes = field(repr=False)
    rules: SignedRules

    def check(self, token: str, now_s: float) -> Visitor | str:
        claims = self._claims(token)
        if claims is None:
            return NOT_SIGNED
        if (reason := claims_fault(claims, self.rules, now_s)) is not None:
            return reason
        return Visitor(principal=claims.get("sub"), key=self._key())

    def holds(self, visitor: Visitor) -> bool:
        """A token is taken at the door only: a connection may outlive it, but not the secret."""
        return hmac.compare_digest(visitor.key, self._key())

    def _key(self) -> bytes:
        return hashlib.sha256(self.secret).digest()

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The payload of a token with a good signature; nothing of another one is read but its header."""
        parts = token.split(".")
        header, payload, signature = map(_decoded, parts) if len(parts) == 3 else (None, None, None)
        if header is None or payload is None or signature is None:
            return None
        head = _object(header)
        if head is None or head.get("alg") != "HS256" or "crit" in head:
            return None
        expected = hmac.new(self.secret, f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256).digest()
        return _object(payload) if hmac.compare_digest(signature, expected) else None


def read_shared_secret(data: bytes, source: str, rules: SignedRules) -> SignedTokens:
    """The secret of a file, without white space around it. Raises ConfigurationError when it is too short."""
    secret = data.strip()
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"{source} holds a secret of {len(secret)} bytes; take at least {MIN_SECRET_BYTES}, for example with "
            "openssl rand -hex 32."
        )
    return SignedTokens(secret=secret, rules=rules)


def claims_fault(claims: Mapping[str, Any], rules: SignedRules, now_s: float) -> str | None:
    """Why a well signed token does not count now; None when it does. RFC 7519 §4.1 has the claims."""
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    audience, subject = claims.get("aud"), claims.get("sub")
    if not _is_number(expires):
        return "The token has no expiry; ask for one with the claim exp."
    if now_s > expires + rules.max_skew_s:
        return "The token has expired; ask for a new one."
    if not _is_number(begins) or now_s < begins - rules.max_skew_s:
        return "The token does not count yet; look at its claim nbf and at the clocks."
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        return "The token is of another issuer; look at its claim iss."
    if rules.audience is not None and rules.audience not in (audience if isinstance(audience, list) else [audience]):
        return "The token is for another audience; look at its claim aud."
    if subject is None:
        return "The token names nobody; ask for one with the claim sub, the name of whoever it is for."
    if not (isinstance(subject, str) and 0 < len(subject) <= 255 and subject.isprintable()):
        return "The token names nobody; its claim sub has to be a text of 255 characters at most."
    return None


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token of the Authorization header (RFC 6750 §2.1); None without one."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decoded(part: str) -> bytes | None:
    """Base64url without padding."""
    if not _BASE64URL.fullmatch(part) or len(part) % 4 == 1:
        return None
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
