"""`@frozen` behaves like the standard library's frozen dataclass with slots: the two are held side by side."""

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, replace

import pytest

from app_server.values import frozen


@frozen
class Part:
    """A part."""

    name: str
    secret: str = dataclasses.field(default="hidden", repr=False)
    marks: dict[str, int] = dataclasses.field(default_factory=dict)

    def shout(self) -> str:
        return self.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """What the standard library makes of the same lines."""

    name: str
    secret: str = dataclasses.field(default="hidden", repr=False)
    marks: dict[str, int] = dataclasses.field(default_factory=dict)

    def shout(self) -> str:
        return self.name.upper()


@frozen(kw_only=False, order=True)
class Pair:
    left: int
    right: int = 2


@frozen
class Longer(Part):
    size_bytes: int = 0


@frozen
class Nothing:
    """A value without fields."""


def test_it_looks_and_behaves_like_the_standard_librarys() -> None:
    ours, theirs = Part(name="a"), Standard(name="a")
    assert repr(ours) == repr(theirs).replace("Standard", "Part") == "Part(name='a', marks={})"
    assert asdict(ours) == asdict(theirs) == {"name": "a", "secret": "hidden", "marks": {}}
    assert [one.name for one in dataclasses.fields(Part)] == [one.name for one in dataclasses.fields(Standard)]
    assert replace(ours, name="b") == Part(name="b")
    assert (ours == Part(name="a"), ours == Part(name="b"), ours == theirs) == (True, False, False)
    assert Part.__slots__ == Standard.__slots__  # type: ignore[attr-defined]  # made by the decorators
    assert not hasattr(ours, "__dict__")
    assert ours.shout() == "A"


def test_every_instance_gets_a_default_of_its_own() -> None:
    assert Part(name="a").marks is not Part(name="a").marks
    given = {"x": 1}
    assert Part(name="a", marks=given).marks is given


def test_a_value_is_hashed_by_its_fields() -> None:
    assert {Pair(1), Pair(1, 2)} == {Pair(1, 2)}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Part(name="a"))


def test_an_ordered_value_is_sorted_by_its_fields() -> None:
    assert sorted([Pair(2, 0), Pair(1, 3), Pair(1)]) == [Pair(1, 2), Pair(1, 3), Pair(2, 0)]
    assert (Pair(1) < Pair(2), Pair(1) >= Pair(2)) == (True, False)
    with pytest.raises(TypeError):
        _ = Pair(1) < (1, 2)  # type: ignore[operator]  # that is what is tested


def test_nothing_can_be_assigned_or_deleted() -> None:
    part = Part(name="a")
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
        part.name = "b"  # type: ignore[misc]  # that is what is tested
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
        del part.name
    assert part == Part(name="a")


def test_a_call_with_wrong_arguments_names_them() -> None:
    with pytest.raises(TypeError, match=r"Part\.__init__\(\) missing 1 required keyword-only argument: 'name'"):
        Part()  # type: ignore[call-arg]  # that is what is tested
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Part(name="a", colour="red")  # type: ignore[call-arg]  # that is what is tested


def test_a_value_can_extend_another() -> None:
    longer = Longer(name="a", size_bytes=3)
    assert repr(longer) == "Longer(name='a', marks={}, size_bytes=3)"
    assert Longer.__slots__ == ("size_bytes",)  # type: ignore[attr-defined]  # made by the decorator
    assert (longer.shout(), longer == Part(name="a")) == ("A", False)


def test_a_value_without_fields_is_equal_to_its_like() -> None:
    assert (Nothing() == Nothing(), repr(Nothing()), hash(Nothing()) == hash(Nothing())) == (True, "Nothing()", True)


def test_a_value_is_copied_and_pickled() -> None:
    part = Part(name="a", marks={"x": 1})
    assert copy.deepcopy(part) == part
    assert pickle.loads(pickle.dumps(part)) == part


def test_positional_matching_follows_the_fields() -> None:
    match Pair(1, 5):
        case Pair(left, right):
            assert (left, right) == (1, 5)
