"""Owns how every wire model behaves: names, nulls, strict scalars.

It never knows a method or a family. Every module of this package builds on it; `rpc/dispatch.py` validates with it and
words what does not fit with `validation_error_message`.

Three rules hold for all models:

* Python names are snake_case, the wire's are camelCase; members that we do not know are ignored.
* A member whose value is None is sent as an explicit null. A member that is left out instead is named in the model's
  `omit_when_none`, and the model derives from `SparseModel`; that holds however deep the model is nested.
* Collections are tuples, because a model is frozen; a JSON list is accepted for one.
"""

from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from app_server.protocol.validation import validation_error_message

__all__ = [
    "Bool",
    "DurableNotification",
    "Flag",
    "Int",
    "JsonObject",
    "JsonObjects",
    "NoParams",
    "Params",
    "Seq",
    "SparseModel",
    "UInt32",
    "WireModel",
    "name_or_object",
    "validation_error_message",
]

Int = Annotated[int, Strict()]
"""A JSON integer: a boolean, a float or a numeral in a string is refused."""

UInt32 = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
"""A page size."""

Seq = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
"""The number of a record in its thread's log."""

Bool = Annotated[bool, Strict()]
"""A JSON boolean, nothing that merely looks like one."""

Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value), Strict()]
"""An optional boolean param that is off by default; null counts as left out, as clients send it."""

JsonObject = dict[str, Any]
"""A JSON object that this server passes on or ignores: only its outer type is checked."""

JsonObjects = tuple[JsonObject, ...]


class WireModel(BaseModel):
    """A JSON object of the protocol. Immutable; built on first use, so that importing a family stays cheap."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        defer_build=True,
        frozen=True,
        protected_namespaces=(),  # `model_provider` and its like are the protocol's own words
    )

    def wire(self) -> dict[str, Any]:
        """Return the JSON object to send: wire names, explicit nulls, plain JSON values only."""
        return self.model_dump(mode="json", by_alias=True)


class Params(WireModel):
    """The `params` of a request. Every optional member also takes null, which means the same as leaving it out.

    Where the protocol tells null from absent (`serviceTier`, `projectId`, `sectionId`), ask `model_fields_set`.
    """


class NoParams(Params):
    """The params of a method that has none: whatever an object holds is ignored."""


class SparseModel(WireModel):
    """A model with members that are left out, not sent as null, while they are None."""

    omit_when_none: ClassVar[frozenset[str]] = frozenset()
    """Python names of those members."""

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        for name in self.omit_when_none:
            if getattr(self, name) is None:
                data.pop((fields[name].alias if info.by_alias else None) or name, None)
        return data


class DurableNotification(SparseModel):
    """The params of a notification that a record of the thread's log stands behind; clients resume from its `seq`."""

    omit_when_none = frozenset({"seq"})

    seq: Seq | None = None
    """Ours; left out where no record could be written (a full disk), or none stands behind this one."""


def name_or_object(names: tuple[str, ...], key: str) -> Discriminator:
    """Return what tells apart the branches of "one of these strings, or an object with the single member `key`".

    The branches bear `Tag("name")` and `Tag(key)`. Such a union gives one clear error, a plain one an error a branch.
    """

    def choose(value: Any) -> str | None:
        if isinstance(value, str):
            return "name" if value in names else None
        return key if isinstance(value, (dict, BaseModel)) else None

    return Discriminator(
        choose,
        custom_error_type="unknown_variant",
        custom_error_message="expected one of " + ", ".join(f"'{name}'" for name in (*names, key)),
    )
