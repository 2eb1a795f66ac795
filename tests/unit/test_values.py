"""`@frozen` behaves like the standard library's frozen dataclass with slots: the two are held side by side."""

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, replace

import pytest

from app_server.values import frozen, slotted


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


@frozen(kw_only=False)
class Bare:
    here: str
    there: str = ""


@slotted()
class Counter:
    """Members that change."""

    name: str
    seen: list[int] = dataclasses.field(default_factory=list)


@slotted(eq=False, kw_only=True)
class Waiting:
    """One that is only itself."""

    name: str


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


def test_the_hundredth_instance_is_made_as_the_first_one_was() -> None:
    @frozen(kw_only=False)
    class Point:
        """A place."""

        x: int
        y: int = 2
        marks: dict[str, int] = dataclasses.field(default_factory=dict)

    made = [Point(number) for number in range(100)]
    assert [(one.x, one.y, one.marks) for one in made] == [(number, 2, {}) for number in range(100)]
    assert len({id(one.marks) for one in made}) == 100
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]  # that is what is tested


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        (("a", "b", "c"), {}, "takes from 2 to 3 positional arguments but 4 were given"),
        (("a",), {"here": "b"}, "got multiple values for argument 'here'"),
        ((), {"there": "b"}, "missing 1 required positional argument: 'here'"),
        (("a",), {"where": "b"}, "got an unexpected keyword argument 'where'"),
    ],
)
def test_a_first_call_that_is_wrong_is_refused_like_any_other(
    args: tuple[str, ...], kwargs: dict[str, str], why: str
) -> None:
    @frozen(kw_only=False)
    class Place:
        """Never made before."""

        here: str
        there: str = ""

    with pytest.raises(TypeError, match=why):
        Place(*args, **kwargs)


def test_a_class_without_a_docstring_has_none() -> None:
    assert [one.name for one in dataclasses.fields(Bare)] == ["here", "there"]
    assert (Bare.__doc__, dataclasses.is_dataclass(Bare), replace(Bare("a"), there="b")) == (None, True, Bare("a", "b"))


def test_a_slotted_class_changes_and_is_compared_by_its_members() -> None:
    one, other = Counter("a"), Counter(name="a")
    one.seen.append(1)
    other.seen = [1]
    assert one == other
    assert repr(one) == "Counter(name='a', seen=[1])"
    assert not hasattr(one, "__dict__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_a_slotted_class_may_be_compared_by_identity() -> None:
    one, other = Waiting(name="a"), Waiting(name="a")
    assert (one == other, len({one, other}), copy.copy(one).name) == (False, 2, "a")
