"""The handshake is read without the models; both readings must say the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_server.protocol.handshake import Handshake, NoHandshake, plain_handshake, read_handshake
from app_server.protocol.initialize import InitializeCapabilities, InitializeParams

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
MEMBERS = [field.alias or name for name, field in InitializeCapabilities.model_fields.items()]
RIGHT = {
    "optOutNotificationMethods": st.none() | st.lists(st.text(max_size=5), max_size=2),
    "extensions": st.none() | st.dictionaries(st.text(max_size=5), SCALARS, max_size=2),
}
CAPABILITIES = st.fixed_dictionaries(
    {}, optional={name: RIGHT.get(name, st.none() | st.booleans()) | ANYTHING for name in MEMBERS}
)
CLIENT = st.fixed_dictionaries(
    {}, optional={"name": st.text(max_size=5), "version": st.text(max_size=5), "title": st.text(max_size=3) | ANYTHING}
)
PARAMS = st.fixed_dictionaries({}, optional={"clientInfo": CLIENT | ANYTHING, "capabilities": CAPABILITIES | ANYTHING})


def by_the_model(params: Any) -> Handshake:
    told = InitializeParams.model_validate(params)
    capabilities = told.capabilities or InitializeCapabilities()
    return Handshake(
        client_name=told.client_info.name,
        client_version=told.client_info.version,
        client_title=told.client_info.title,
        experimental_api=capabilities.experimental_api,
        opted_out=frozenset(capabilities.opt_out_notification_methods or ()),
        extensions=capabilities.extensions or {},
    )


@given(PARAMS | ANYTHING)
def test_what_is_read_by_hand_is_what_the_model_reads(params: Any) -> None:
    plain = plain_handshake(params)
    if plain is not None:
        assert plain == by_the_model(params)


def test_all_that_a_client_can_say_is_read_by_hand() -> None:
    params = {
        "clientInfo": {"name": "ide", "version": "1.2", "title": "An IDE", "unknown": 1},
        "capabilities": {
            **dict.fromkeys(MEMBERS, True),
            "optOutNotificationMethods": ["item/started"],
            "extensions": {"pictures": {"progress": True}},
        },
    }
    assert plain_handshake(params) == Handshake(
        client_name="ide",
        client_version="1.2",
        client_title="An IDE",
        experimental_api=True,
        opted_out=frozenset({"item/started"}),
        extensions={"pictures": {"progress": True}},
    )


def test_every_flag_of_the_model_is_checked_by_hand_too() -> None:
    for name in MEMBERS:
        assert plain_handshake({"clientInfo": {"name": "a", "version": "1"}, "capabilities": {name: 5}}) is None


def test_the_model_words_what_is_wrong() -> None:
    with pytest.raises(NoHandshake) as caught:
        read_handshake({"clientInfo": {"name": "x"}})
    assert str(caught.value) == "missing field `version` (at `clientInfo`)"
