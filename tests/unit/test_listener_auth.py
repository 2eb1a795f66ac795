"""The login at a listener: tokens of a file, signed tokens, what the command line says of them, and revoking."""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.auth.listener import ListenerGate, read_capped
from app_server.auth.listener_tokens import (
    NO_NAME,
    NO_TOKEN,
    NOT_KNOWN,
    NOT_SIGNED,
    CapabilityTokens,
    NoTokens,
    SignedRules,
    SignedTokens,
    bearer_token,
    read_shared_secret,
    read_token_file,
    read_token_sha256,
)
from app_server.commands.listener_options import (
    VALUE_OPTIONS,
    ListenerOptions,
    add_listener_options,
    listener_options,
    read_origin,
)
from app_server.errors import ConfigurationError
from app_server.transport.address import ListenAddress
from app_server.transport.http import Visitor

NOW_S = 1_800_000_000
SECRET = b"0123456789abcdef0123456789abcdef"


class FixedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return NOW_S * 1000

    def monotonic_s(self) -> float:
        return 0.0


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


# -- the header


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer   abc  ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Token abc", None),
        ("", None),
        ("Bearer abc, Bearer def", "abc, Bearer def"),
    ],
)
def test_the_token_stands_behind_the_word_bearer(header: str, token: str | None) -> None:
    assert bearer_token({"authorization": header}) == token
    assert bearer_token({}) is None


# -- tokens of a file


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("secret\n", {digest("secret"): None}),
        ("  secret  ", {digest("secret"): None}),
        (
            "\n\nann one\n# a note\nbob two\r\nthree",
            {digest("one"): "ann", digest("two"): "bob", digest("three"): None},
        ),
        ("ann one\nann two\n", {digest("one"): "ann", digest("two"): "ann"}),
        ("one\none\n", {digest("one"): None}),
    ],
)
def test_a_token_file_holds_one_token_or_one_on_each_line(text: str, names: dict[bytes, str | None]) -> None:
    assert read_token_file(text, "f") == CapabilityTokens(names=names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f holds no token; write one into it, for example with openssl rand -hex 32."),
        (" \n# only a note\n", "f holds no token; write one into it, for example with openssl rand -hex 32."),
        ("ok\na b c\n", "f:2: this is no token; write TOKEN or NAME TOKEN on a line."),
        ("tökén\n", "f:1: this is no token; write TOKEN or NAME TOKEN on a line."),
        ("-ann one\n", "f:1: this name is not usable; take letters, digits and . _ @ -, 64 at most."),
        ("ann one\nbob one\n", "f:2: this token has another name already; give each its own."),
    ],
)
def test_a_bad_token_file_is_told_by_line_without_its_content(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_token_file(text, "f")
    assert error.value.message == message


def test_a_known_token_lets_in_under_its_name_and_holds_while_it_is_known() -> None:
    tokens, alone = read_token_file("ann one\nbob two\n", "f"), read_token_file("two\n", "f")
    ann, nobody = tokens.check("one", NOW_S), alone.check("two", NOW_S)
    assert ann == Visitor(principal="ann", key=digest("one"))
    assert nobody == Visitor(principal=None, key=digest("two"))
    assert (tokens.check("One", NOW_S), tokens.check("", NOW_S), tokens.check("ö", NOW_S)) == (NOT_KNOWN,) * 3
    assert tokens.holds(ann)
    assert not read_token_file("two\n", "f").holds(ann)
    assert not read_token_file("bob one\n", "f").holds(ann)


def test_a_token_without_a_name_opens_nothing_beside_one_with_a_name() -> None:
    tokens, alone = read_token_file("ann one\ntwo\n", "f"), read_token_file("two\n", "f")
    nobody = alone.check("two", NOW_S)
    assert isinstance(nobody, Visitor)
    assert tokens.check("two", NOW_S) == NO_NAME
    assert (alone.holds(nobody), tokens.holds(nobody)) == (True, False)


def test_a_sha256_stands_in_place_of_a_file() -> None:
    tokens = read_token_sha256(digest("one").hex().upper())
    assert tokens.check("one", NOW_S) == Visitor(principal=None, key=digest("one"))
    for text in ("", "abc", "g" * 64, "a" * 65):
        with pytest.raises(ConfigurationError, match="64 hex digits"):
            read_token_sha256(text)


def test_no_secret_is_in_what_is_printed_of_tokens() -> None:
    shown = repr([read_token_file("ann one\n", "f"), signed(), Visitor(principal="ann", key=b"k" * 32)])
    assert "ann one" not in shown
    assert digest("one").hex() not in shown
    assert SECRET.decode() not in shown
    assert "kkk" not in shown


# -- signed tokens


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims: Any, *, header: Any = None, secret: bytes = SECRET, algorithm: str = "sha256") -> str:
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    body = f"{encoded(head)}.{encoded(claims)}"
    return f"{body}.{encoded(hmac.new(secret, body.encode(), algorithm).digest())}"


def signed(**rules: Any) -> SignedTokens:
    return read_shared_secret(b" " + SECRET + b"\n", "f", SignedRules(**rules))


GOOD = {"exp": NOW_S + 60, "sub": "ann"}


def test_a_well_signed_token_lets_its_subject_in() -> None:
    key = hashlib.sha256(SECRET).digest()
    assert signed().check(jwt(GOOD), NOW_S) == Visitor(principal="ann", key=key)


def test_a_signed_token_that_names_nobody_opens_nothing() -> None:
    answer = signed().check(jwt({"exp": NOW_S + 60}), NOW_S)
    assert answer == "The token names nobody; ask for one with the claim sub, the name of whoever it is for."


NO_EXPIRY = "The token has no expiry; ask for one with the claim exp."
EXPIRED = "The token has expired; ask for a new one."
EARLY = "The token does not count yet; look at its claim nbf and at the clocks."
ISSUER = "The token is of another issuer; look at its claim iss."
AUDIENCE = "The token is for another audience; look at its claim aud."
SUBJECT = "The token names nobody; its claim sub has to be a text of 255 characters at most."


@pytest.mark.parametrize(
    ("claims", "rules", "reason"),
    [
        ({}, {}, NO_EXPIRY),
        ({"exp": None}, {}, NO_EXPIRY),
        ({"exp": str(NOW_S + 60)}, {}, NO_EXPIRY),
        ({"exp": True}, {}, NO_EXPIRY),
        ({"exp": NOW_S - 30}, {}, None),
        ({"exp": NOW_S - 30.5}, {}, EXPIRED),
        ({"exp": NOW_S - 1}, {"max_skew_s": 0}, EXPIRED),
        ({"exp": NOW_S - 300}, {"max_skew_s": 300}, None),
        ({**GOOD, "nbf": NOW_S + 30}, {}, None),
        ({**GOOD, "nbf": NOW_S + 31}, {}, EARLY),
        ({**GOOD, "nbf": NOW_S + 1}, {"max_skew_s": 0}, EARLY),
        ({**GOOD, "nbf": "soon"}, {}, EARLY),
        ({**GOOD, "nbf": None}, {}, EARLY),
        ({**GOOD, "iss": "me"}, {"issuer": "me"}, None),
        ({**GOOD, "iss": "you"}, {"issuer": "me"}, ISSUER),
        (GOOD, {"issuer": "me"}, ISSUER),
        ({**GOOD, "iss": "anyone"}, {}, None),
        ({**GOOD, "aud": "here"}, {"audience": "here"}, None),
        ({**GOOD, "aud": ["there", "here"]}, {"audience": "here"}, None),
        ({**GOOD, "aud": ["there"]}, {"audience": "here"}, AUDIENCE),
        ({**GOOD, "aud": "here and there"}, {"audience": "here"}, AUDIENCE),
        ({**GOOD, "aud": {"here": 1}}, {"audience": "here"}, AUDIENCE),
        (GOOD, {"audience": "here"}, AUDIENCE),
        ({**GOOD, "sub": 7}, {}, SUBJECT),
        ({**GOOD, "sub": ""}, {}, SUBJECT),
        ({**GOOD, "sub": "a\nb"}, {}, SUBJECT),
        ({**GOOD, "sub": "a" * 256}, {}, SUBJECT),
    ],
)
def test_each_claim_is_held_against_its_rule(claims: Any, rules: dict[str, Any], reason: str | None) -> None:
    answer = signed(**rules).check(jwt({"sub": "ann", **claims}), NOW_S)
    assert (answer if isinstance(answer, str) else None) == reason


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "..",
        jwt(GOOD, secret=b"another secret, another secret, a"),
        jwt(GOOD, header={"alg": "none"}),
        jwt(GOOD, header={"alg": "none"}).rpartition(".")[0] + ".",
        jwt(GOOD, header={"alg": "HS512"}, algorithm="sha512"),
        jwt(GOOD, header={"alg": "RS256"}),
        jwt(GOOD, header={"alg": "hs256"}),
        jwt(GOOD, header={"alg": "HS256", "crit": ["x"]}),
        jwt(GOOD, header=["HS256"]),
        jwt(GOOD, header=b"not json"),
        jwt([1]),
        jwt(b"not json"),
        jwt(b'{"exp": 1e999}'),
        jwt(b'{"exp": Infinity}'),
        jwt(b"[" * 3000),
        jwt(GOOD, header=b"[" * 3000),
        jwt(GOOD) + "=",
        jwt(GOOD) + ".x",
        jwt(GOOD).replace(".", ". ", 1),
        jwt(GOOD)[:-2],
        jwt({"exp": NOW_S - 3600}).rpartition(".")[0] + "." + jwt(GOOD).rpartition(".")[2],
    ],
)
def test_a_token_that_is_not_signed_as_it_should_tells_nothing_of_its_claims(token: str) -> None:
    assert signed().check(token, NOW_S) == NOT_SIGNED


def test_a_signed_visitor_stays_until_the_secret_changes() -> None:
    visitor = signed().check(jwt(GOOD), NOW_S)
    assert isinstance(visitor, Visitor)
    assert signed(issuer="me").holds(visitor)
    assert not read_shared_secret(SECRET + b"x", "f", SignedRules()).holds(visitor)
    assert not NoTokens().holds(visitor)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ConfigurationError) as error:
        read_shared_secret(b"\n" + SECRET[:31] + b"\n", "f", SignedRules())
    assert error.value.message == (
        "f holds a secret of 31 bytes; take at least 32, for example with openssl rand -hex 32."
    )


# -- the gate


def headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def gate_of(file: Path) -> ListenerGate:
    return ListenerGate(lambda: read_token_file(read_capped(file, "--o").decode(), str(file)), FixedClock())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("ann one\nbob two\n", encoding="utf-8")
    return path


@pytest.mark.anyio
async def test_the_gate_lets_in_with_the_tokens_that_the_file_holds_now(file: Path) -> None:
    gate = gate_of(file)
    assert await gate.admit({}) == NO_TOKEN
    assert await gate.admit(headers("three")) == NOT_KNOWN
    file.write_text("carl three\n", encoding="utf-8")
    assert await gate.admit(headers("three")) == Visitor(principal="carl", key=digest("three"))
    assert await gate.admit(headers("one")) == NOT_KNOWN
    file.unlink()
    assert await gate.admit(headers("three")) == NOT_KNOWN
    file.write_text("three\n", encoding="utf-8")
    assert await gate.admit(headers("three")) == Visitor(key=digest("three"))


async def visitor_of(gate: ListenerGate, token: str) -> Visitor:
    visitor = await gate.admit(headers(token))
    assert isinstance(visitor, Visitor)
    return visitor


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "out"),
    [
        (lambda file: file.write_text("# new\nbob two\nann one\n"), []),
        (lambda file: file.write_text("bob two\n"), ["ann"]),
        (lambda file: file.write_text("carl one\nbob two\n"), ["ann"]),
        (lambda file: file.write_text(""), ["ann", "bob"]),
        (lambda file: file.write_bytes(b"\xff\xfe"), ["ann", "bob"]),
        (lambda file: file.write_bytes(b"x" * 1024 * 1024 + b"\n"), ["ann", "bob"]),
        (lambda file: file.unlink(), ["ann", "bob"]),
    ],
)
async def test_whoever_lost_the_token_is_put_out_once(
    file: Path, change: Callable[[Path], Any], out: list[str]
) -> None:
    def load() -> CapabilityTokens:
        return read_token_file(read_capped(file, "--o").decode(errors="replace"), str(file))

    gate, gone = ListenerGate(load, FixedClock()), []
    ann, bob = await visitor_of(gate, "one"), await visitor_of(gate, "two")
    with gate.watching(ann, lambda: gone.append("ann")), gate.watching(bob, lambda: gone.append("bob")):
        change(file)
        await gate.refresh()
        await gate.refresh()
        assert gone == out
    file.unlink(missing_ok=True)
    await gate.refresh()
    assert gone == out


@pytest.mark.anyio
async def test_the_gate_looks_by_itself_again_and_again(file: Path) -> None:
    gate = ListenerGate(
        lambda: read_token_file(file.read_text(encoding="utf-8"), str(file)), FixedClock(), poll_s=0.001
    )
    out = anyio.Event()
    with gate.watching(await visitor_of(gate, "one"), out.set):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.run)
            file.write_text("bob two\n", encoding="utf-8")
            with anyio.fail_after(10):
                await out.wait()
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_token_revoked_between_the_door_and_the_room_is_noticed(file: Path) -> None:
    gate, gone = gate_of(file), []
    ann = await visitor_of(gate, "one")
    file.write_text("bob two\n", encoding="utf-8")
    await gate.refresh()
    with gate.watching(ann, lambda: gone.append("ann")):
        assert gone == ["ann"]


# -- the command line


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_listener_options(parser, default=None)
    return parser.parse_args(arguments)


def options(*arguments: str) -> ListenerOptions:
    return listener_options(parsed(*arguments), FixedClock())


def test_without_options_the_server_listens_on_stdio() -> None:
    stdio = ListenerOptions(addresses=(ListenAddress(scheme="stdio"),), gate=None, allowed_origins=frozenset())
    assert options() == options("--stdio") == options("--listen=", "--listen", "stdio://") == stdio


def test_each_option_with_a_value_is_known_as_one() -> None:
    parser = argparse.ArgumentParser()
    add_listener_options(parser, default=None)
    with_value = {name for action in parser._actions if action.nargs is None for name in action.option_strings}
    assert with_value == VALUE_OPTIONS


@pytest.mark.anyio
async def test_the_token_file_of_the_command_line_is_the_gate(file: Path) -> None:
    gate = options("--ws-auth", "capability-token", "--ws-token-file", str(file)).gate
    assert gate is not None
    assert await gate.admit(headers("one")) == Visitor(principal="ann", key=digest("one"))


@pytest.mark.anyio
async def test_the_sha256_of_the_command_line_is_the_gate() -> None:
    gate = options("--ws-auth=capability-token", f"--ws-token-sha256={digest('one').hex()}").gate
    assert gate is not None
    assert await gate.admit(headers("one")) == Visitor(key=digest("one"))


@pytest.mark.anyio
async def test_the_rules_of_the_command_line_hold_for_signed_tokens(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    rules = ["--ws-issuer", "me", "--ws-audience", "here", "--ws-max-clock-skew-seconds", "5"]
    gate = options("--ws-auth", "signed-bearer-token", "--ws-shared-secret-file", str(secret), *rules).gate
    assert gate is not None
    claims = {"iss": "me", "aud": "here", "sub": "ann"}
    assert await gate.admit(headers(jwt({**claims, "exp": NOW_S - 6}))) == EXPIRED
    assert await gate.admit(headers(jwt({**claims, "exp": NOW_S - 5, "iss": "you"}))) == ISSUER
    assert await gate.admit(headers(jwt({**claims, "exp": NOW_S - 5, "aud": "there"}))) == AUDIENCE
    assert await gate.admit(headers(jwt({**claims, "exp": NOW_S - 5}))) == Visitor(
        principal="ann", key=hashlib.sha256(SECRET).digest()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--ws-token-file", "f"],
            "--ws-token-file belongs to --ws-auth capability-token; add that, or leave --ws-token-file out.",
        ),
        (
            ["--ws-auth", "capability-token", "--ws-token-sha256", "a" * 64, "--ws-issuer", "me"],
            "--ws-issuer belongs to --ws-auth signed-bearer-token; add that, or leave --ws-issuer out.",
        ),
        (
            ["--ws-auth", "capability-token"],
            "--ws-auth capability-token needs either --ws-token-file or --ws-token-sha256.",
        ),
        (
            ["--ws-auth", "capability-token", "--ws-token-file", "f", "--ws-token-sha256", "a" * 64],
            "--ws-auth capability-token needs either --ws-token-file or --ws-token-sha256.",
        ),
        (["--ws-auth", "signed-bearer-token"], "--ws-auth signed-bearer-token needs --ws-shared-secret-file."),
        (
            ["--ws-auth", "signed-bearer-token", "--ws-shared-secret-file", "f", "--ws-max-clock-skew-seconds", "-1"],
            "--ws-max-clock-skew-seconds needs a whole number of seconds, for example 30.",
        ),
        (
            ["--ws-auth", "capability-token", "--ws-token-file", "/no/such/file"],
            "The file /no/such/file of --ws-token-file cannot be read (no such file or directory); "
            "name one that this user can read.",
        ),
        (
            ["--ws-auth", "signed-bearer-token", "--ws-shared-secret-file", "/no/such/file"],
            "The file /no/such/file of --ws-shared-secret-file cannot be read (no such file or directory); "
            "name one that this user can read.",
        ),
    ],
)
def test_a_login_that_is_not_whole_is_refused_at_the_start(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        options(*arguments)
    assert error.value.message == message


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost:5173", "http://localhost:5173"),
        ("HTTPS://Example.com/", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://[::1]:80", "http://[::1]"),
        ("vscode-webview://abc", "vscode-webview://abc"),
    ],
)
def test_an_origin_is_read_as_browsers_send_it(text: str, origin: str) -> None:
    assert read_origin(text) == origin
    assert options("--ws-allow-origin", text).allowed_origins == {origin}


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "*", "http://*", "https://*.example.com", "localhost:5173", "http://", "http://a/path",
        "http://a?x", "http://a#x", "http://me@a", "http://a:x",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no origin for --ws-allow-origin"):
        read_origin(text)
