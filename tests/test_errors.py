"""What the package's errors say, and what the checks of arguments refuse."""

import numpy as np
import pytest

from xenmm.errors import (
    ConfigError,
    FrameError,
    MemoryMapError,
    TraceError,
    XenmmError,
    did_you_mean,
    need,
    need_all,
    need_one_of,
    need_range,
)
from xenmm.timing import Core


class Whole:
    """A whole number that is no int, as numpy's are."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "wrong"),
        ({"file": "boot.log"}, "boot.log: wrong"),
        ({"file": "boot.log", "line": 0}, "boot.log:0: wrong"),
        ({"file": "boot.log", "line": 3, "column": 9}, "boot.log:3:9: wrong"),
        ({"file": "boot.log", "text": "0x12"}, "boot.log: wrong: '0x12'"),
        ({"text": "0x12"}, "wrong: '0x12'"),
    ],
)
def test_the_map_error_names_its_place(place, text):
    error = MemoryMapError("wrong", **place)
    assert str(error) == text
    assert (error.message, error.file, error.line) == ("wrong", place.get("file"), place.get("line"))
    assert error.args == ("wrong",)
    assert (error.column, error.text) == (place.get("column"), place.get("text"))


@pytest.mark.parametrize("kind", [XenmmError, ConfigError, FrameError, MemoryMapError, TraceError])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\u2028", "\n\n"])
def test_an_error_is_one_line_whatever_was_given(kind, end):
    assert len(str(kind(f"got a{end}   b{end}")).splitlines()) == 1
    assert str(kind(f"got a{end}  b")).replace("  ", " ") == "got a b"
    assert str(kind(" as it is ")) == " as it is "
    assert str(kind("")) == ""


def test_an_array_in_an_error_is_one_line():
    with pytest.raises(ConfigError) as refused:
        Core(outstanding_misses=np.zeros((3, 3), np.uint64))
    assert "\n" not in str(refused.value) and str(refused.value).startswith("core.outstanding_misses: array")


def test_of_a_kind():
    need("size", 3, int)
    need("size", True, bool)
    for wrong, told in [(True, "True"), ("3", "'3'"), (3.0, "3.0"), (None, "None")]:
        with pytest.raises(ConfigError) as caught:
            need("size", wrong, int)
        assert str(caught.value) == f"size is an int, got {told}"
    with pytest.raises(FrameError, match=r"^size is a str, got 3$"):
        need("size", 3, str, FrameError)


def test_all_of_a_kind():
    assert need_all("sizes", [3, 4], int) == (3, 4)
    assert need_all("sizes", iter([3]), int) == (3,)
    assert need_all("names", "ab", str) == ("a", "b")
    assert need_all("sizes", (), int) == need_all("sizes", {}, object) == ()
    assert need_all("things", [None, 3], object) == (None, 3)
    with pytest.raises(ConfigError, match=r"^sizes: 3 is no sequence of int$"):
        need_all("sizes", 3, int)
    with pytest.raises(ConfigError, match=r"^things: None is no sequence$"):
        need_all("things", None, object)
    with pytest.raises(ConfigError, match=r"^each of sizes is an int, got '4'$"):
        need_all("sizes", [3, "4", 5], int)


def test_one_of_some_words():
    for word in ("none", "mask", "offset"):
        need_one_of("mode", word, ("none", "mask", "offset"))
    need_one_of("mode", "mask", {"mask": 1})
    for wrong, told in [
        ("musk", "'musk' is not one of none, mask; did you mean 'mask'?"),
        ("zzz", "'zzz' is not one of none, mask"),
        (3, "3 is not one of none, mask"),
        (None, "None is not one of none, mask"),
        (["mask"], "['mask'] is not one of none, mask"),
    ]:
        with pytest.raises(ConfigError) as caught:
            need_one_of("mode", wrong, ("none", "mask"))
        assert str(caught.value) == f"mode: {told}"


@pytest.mark.parametrize(
    "given", [(0, 0), (0, 1), [5, 9], (0, 1 << 64), (1 << 64, 1 << 64), (Whole(2), np.uint64(3)), range(7, 9)]
)
def test_a_range(given):
    start, end = need_range("window", given)
    assert (type(start), type(end)) == (int, int)
    assert [start, end] == [n.__index__() for n in given]


@pytest.mark.parametrize(
    "given",
    [
        *(None, 3, object, "01", (), (1,), (1, 2, 3)),
        *((2, 1), (-1, 1), (-2, -1), (0, (1 << 64) + 1)),
        *((0.0, 1), (0, None), ("0", "1")),
    ],
)
def test_no_range(given):
    with pytest.raises(ConfigError) as caught:
        need_range("window", given)
    assert str(caught.value) == f"window is (start, end), half-open and up to 2^64, got {given!r}"


def test_nearest_word():
    assert did_you_mean("xen-msk", ["xen-mask", "pre"]) == "; did you mean 'xen-mask'?"
    assert did_you_mean("PRE", ["xen-mask", "pre"]) == "; did you mean 'pre'?"
    assert did_you_mean("qqq", ["xen-mask", "pre"]) == did_you_mean("", []) == ""
