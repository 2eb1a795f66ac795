"""What one hostile client sends in a row: calls of every method, and frames that are none.

Call    a request with an id: one answer, whatever is wrong with it
Raw     bytes as they stand: `answers` says how many error answers with a null id follow (None: not known)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from app_server.methods import load_registry
from app_server.protocol.initialize import InitializeParams
from app_server.protocol.unsupported import UNSUPPORTED
from tests.fuzz.params import params_for
from tests.fuzz.values import any_json, texts

MAX_STEPS = 25
NO_PARAMS = object()
"""The params are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request. `twice`: a second one with the same id follows at once."""

    method: str
    params: Any
    text_id: bool = False
    twice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A frame that is no request with a readable id."""

    data: bytes
    answers: int | None

    def __repr__(self) -> str:
        return f"Raw(data={self.data[:100]!r} ({len(self.data)} bytes), answers={self.answers})"


Step = Call | Raw

REGISTRY = load_registry()
_PARAMS = {name: params_for(spec.model) for name, spec in REGISTRY.items()}
_OTHER_METHODS = st.one_of(st.sampled_from(sorted(UNSUPPORTED)), st.just("thread/fly"), texts)


def _with_absence(params: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(params, params, params, params, params, st.just(NO_PARAMS))


def calls_of(method: str) -> st.SearchStrategy[Call]:
    """Calls of one method of the registry."""
    return st.builds(
        Call, method=st.just(method), params=_with_absence(_PARAMS[method]), text_id=st.booleans(), twice=_SELDOM
    )


_SELDOM = st.sampled_from((False,) * 9 + (True,))
calls = st.sampled_from(sorted(REGISTRY)).flatmap(calls_of)
strange_calls = st.builds(Call, method=_OTHER_METHODS, params=_with_absence(any_json))
handshakes = st.builds(
    Call, method=st.just("initialize"), params=_with_absence(params_for(InitializeParams)), twice=_SELDOM
)


def _raw(answers: int | None, *frames: bytes) -> st.SearchStrategy[Raw]:
    return st.sampled_from([Raw(data=frame, answers=answers) for frame in frames])


_BATCHED = st.one_of(st.none(), st.integers(0, 9), st.builds(lambda: {"id": 1, "method": "thread/list", "params": {}}))
_BAD_IDS = (None, 1.5, True, {"a": 1}, [1], 2**63, -(2**63) - 1, 10**300)
raws = st.one_of(
    st.builds(Raw, data=st.binary(max_size=200), answers=st.none()),
    st.builds(Raw, data=any_json.map(lambda value: json.dumps(value).encode()), answers=st.none()),
    st.builds(
        Raw, data=st.lists(_BATCHED, max_size=3).map(lambda value: json.dumps(value).encode()), answers=st.just(1)
    ),
    _raw(
        1,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"id": 1, "method": "thread/list", "params": ' + b"[" * 2_000 + b"]" * 2_000 + b"}",
        b"\xff\xfe\x00",
        b'{"id": 1, "method": "\xc3\x28"}',
        b'{"id": 1, "method": "\\ud800"}',
        b'{"id": "\xed\xa0\x80", "method": "thread/list"}',
        b"[]",
        b'[{"id": 1, "method": "thread/list", "params": {}}]',
        b"0",
        b'"words"',
        b"null",
        b"true",
        b"{}",
        b"nan",
        b"\x00",
        b'{"id": 1',
        b'{"id": 1, "method": "thread/list", "params": {"limit": 1e999}}',
        b"9" * 100_000,
        b'"' + b"x" * 1_000_000,
        *(json.dumps({"id": each, "method": "thread/list", "params": {}}).encode() for each in _BAD_IDS),
    ),
    _raw(
        0,
        b"",
        b" \t ",
        b'{"method": "initialized"}',
        b'{"method": "no/such/notification", "params": [1]}',
        b'{"method": "thread/list", "params": 5}',
        b'{"id": 987654321, "result": {}}',
        b'{"id": "nobody", "error": {"code": 1, "message": "no"}}',
        b'{"id": "nobody", "error": 5}',
    ),
)
steps = st.lists(
    st.one_of(calls, calls, calls, calls, calls, calls, strange_calls, raws), min_size=1, max_size=MAX_STEPS
)
first_steps = st.lists(st.one_of(handshakes, handshakes, calls, strange_calls, raws), min_size=1, max_size=8)
