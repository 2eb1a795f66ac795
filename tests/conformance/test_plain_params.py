"""What is read without the models is what the models would have read, and what they would refuse is left to them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app_server.methods import load_registry
from app_server.protocol.approvals import SandboxMode
from app_server.protocol.plain import PLAIN, PlainParams, plain_params

REGISTRY = load_registry()
METHODS = sorted(PLAIN)
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())
OBJECTS = st.dictionaries(st.text(), st.integers() | st.text())


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    """Mostly what the member takes, at times something else."""
    if isinstance(kind, frozenset):
        right: st.SearchStrategy[Any] = st.sampled_from(sorted(kind))
    else:
        right = {str: st.text(), bool: st.booleans(), dict: OBJECTS}[kind]
    return right | right | right | ANYTHING


@st.composite
def params_for(draw: st.DrawFn, method: str) -> dict[str, Any]:
    table = PLAIN[method]
    names = draw(st.sets(st.sampled_from(sorted(table)))) if table else set()
    given = {name: draw(value_of(table[name][1])) for name in sorted(names)}
    return given | draw(st.just({}) | st.dictionaries(st.sampled_from(["cursor", "history", "unknown"]), ANYTHING))


def fields(params: Any, names: list[str]) -> dict[str, Any]:
    """The members; a model's False by default counts like the None of what was not given."""
    found = {name: getattr(params, name) for name in names}
    return {
        name: None if value is False else value.wire() if hasattr(value, "wire") else value
        for name, value in found.items()
    }


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_what_is_read_plainly_is_what_the_model_reads(method: str, data: st.DataObject) -> None:
    params = data.draw(params_for(method))
    model = REGISTRY[method].model
    assert model is not None
    plain = plain_params(method, params)
    if plain is not None:
        names = list(model.model_fields)
        assert fields(plain, names) == fields(model.model_validate(params), names)


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_what_the_model_refuses_is_left_to_it(method: str, data: st.DataObject) -> None:
    params = data.draw(params_for(method))
    model = REGISTRY[method].model
    assert model is not None
    try:
        model.model_validate(params)
    except ValidationError:
        assert plain_params(method, params) is None


@pytest.mark.parametrize("params", [None, [], "x", 5, {"threadId": None}, {"threadId": 5}, {}])
def test_a_thread_to_resume_has_to_be_named(params: Any) -> None:
    assert plain_params("thread/resume", params) is None


def test_what_clients_send_most_is_read_plainly() -> None:
    started = plain_params("thread/start", {"cwd": "/x", "approvalPolicy": "never", "sandbox": "read-only"})
    resumed = plain_params("thread/resume", {"threadId": "t", "excludeTurns": True})
    assert isinstance(started, PlainParams)
    assert isinstance(resumed, PlainParams)
    assert (started.cwd, started.approval_policy, started.sandbox, started.model) == ("/x", "never", "read-only", None)
    assert (resumed.thread_id, resumed.exclude_turns) == ("t", True)
    assert plain_params("thread/list", {}) is None


def test_every_mode_of_the_sandbox_is_read_plainly() -> None:
    assert PLAIN["thread/start"]["sandbox"][1] == frozenset(get_args(SandboxMode))
