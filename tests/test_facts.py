"""Facts: made and read as a frozen dataclass is, and no value is reached a second time."""

import copy
import dataclasses
import pickle
from dataclasses import field

import pytest

from xenmm._facts import Facts, FrozenDict, derived, sealed
from xenmm.errors import FrozenError


class Point(Facts):
    """A point."""

    __slots__ = ()

    x: int
    y: int = 2
    seen: list = field(default_factory=lambda: [1, [2]])

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("x is negative")

    @derived
    def total(self):
        """x and y together."""
        COMPUTED.append(self)
        return [self.x + self.y]


class Point3(Point):
    __slots__ = ()

    z: int = 3


COMPUTED = []


def test_fields_defaults_and_factories():
    point = Point(1)
    assert (point.x, point.y, point.seen) == (1, 2, (1, (2,)))
    assert Point(1, seen=5, y=4) == Point(1, 4, 5)
    assert (Point3(1).x, Point3(1, z=9).z) == (1, 9)
    assert repr(Point(1, 2, 3)) == "Point(x=1, y=2, seen=3)"
    assert Point.__match_args__ == ("x", "y", "seen")


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "no value for the field 'x'"),
        ((1, 2, 3, 4), {}, "has 3 fields, got 4"),
        ((1,), {"x": 1}, "two values for the field 'x'"),
        ((1,), {"w": 1}, "no field 'w'"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, named, message):
    with pytest.raises(TypeError, match=message):
        Point(*arguments, **named)


def test_what_is_made_was_checked():
    with pytest.raises(ValueError, match="x is negative"):
        Point(-1)
    with pytest.raises(ValueError, match="x is negative"):
        dataclasses.replace(Point(1), x=-1)


def test_dataclasses_take_it_as_one_of_theirs():
    point = Point3(1)
    assert [f.name for f in dataclasses.fields(point)] == ["x", "y", "seen", "z"]
    assert dataclasses.replace(point, z=4) == Point3(1, z=4)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "seen": (1, (2,)), "z": 3}


def test_equal_only_to_its_own_kind():
    assert Point(1) == Point(1)
    assert hash(Point(1)) == hash(Point(1))
    assert Point(1) != Point(2)
    assert Point(1) != Point3(1)
    assert Point(1) != (1, 2, (1, (2,)))
    assert len({Point(1), Point(1), Point3(1)}) == 2


def test_copies_and_pickles():
    point = Point(5)
    assert copy.copy(point) is point
    assert copy.deepcopy([point])[0] is point
    assert pickle.loads(pickle.dumps(point)) == point


def test_derived_values_are_computed_once_and_frozen():
    COMPUTED.clear()
    point = Point(1)
    assert point.total == (3,)
    assert point.total is point.total
    assert len(COMPUTED) == 1
    assert Point.total.__doc__ == "x and y together."
    with pytest.raises(FrozenError, match="cannot set total"):
        point.total = 1
    with pytest.raises(FrozenError, match="cannot delete total"):
        del point.total


def test_refusals_name_the_field():
    point = Point(1)
    with pytest.raises(FrozenError, match="Point does not change: cannot set x"):
        point.x = 2
    with pytest.raises(FrozenError, match="Point does not change: cannot delete y"):
        del point.y
    with pytest.raises(TypeError, match="x is a field of Point"):
        Point.x.__get__(object(), None)
    assert Point.x is Point.__dict__["x"]


def test_classes_are_sealed_and_the_base_has_no_fields():
    with pytest.raises(TypeError, match="immutable"):
        Point.y = 3
    with pytest.raises(TypeError, match="no fields"):
        Facts()
    with pytest.raises(TypeError, match="only a class"):
        sealed(5)

    class Ordinary:
        pass

    assert sealed(Ordinary) is Ordinary
    with pytest.raises(TypeError, match="immutable"):
        Ordinary.x = 1


def test_a_frozen_dict_is_a_mapping_that_does_not_change():
    given = {"b": [1, {"c": 2}], "a": bytearray(b"x")}
    frozen = FrozenDict(given)
    assert frozen == given
    assert frozen != {"b": 1}
    assert frozen != 5
    assert dict(frozen) == {"b": (1, FrozenDict({"c": 2})), "a": b"x"}
    assert (list(frozen), len(frozen), "a" in frozen, frozen.get("z", 7)) == (["b", "a"], 2, True, 7)
    assert frozen.keys() == ("b", "a")
    assert frozen.values()[1] == b"x"
    assert hash(frozen) == hash(FrozenDict(reversed(frozen.items())))
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert copy.copy(frozen) is copy.deepcopy(frozen) is frozen
    assert eval(repr(frozen)) == frozen
    with pytest.raises(KeyError):
        frozen["z"]
    with pytest.raises(TypeError):
        frozen["a"] = 1
