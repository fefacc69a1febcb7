"""Values of every kind that a caller may hand over: numbers at the edges, arrays, texts, trees, objects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

POWERS = (12, 16, 21, 28, 30, 31, 32, 40, 44, 46, 47, 48, 52, 53, 63, 64, 65, 128)
EDGES = sorted({0, *(s * (1 << p) + d for p in POWERS for d in (-1, 0, 1) for s in (1, -1))} | {1, 2, -1, -2})

integers = st.sampled_from(EDGES) | st.integers() | st.integers(0, 300)
floats = st.floats() | st.sampled_from([0.0, -0.0, 0.5, 2.0, 1e308, math.inf, -math.inf, math.nan])
texts = st.text(max_size=8) | st.sampled_from(
    ["", "\0", "a\0b", "\ud800", "\n", "2m", "all", "none", "1", "0x10", "ram", "machine", "é", "x" * 5000]
)
numpy_scalars = st.sampled_from(
    [
        *(np.uint64((1 << 64) - 1), np.int64(-1), np.uint8(3), np.float64(2), np.float32("nan"), np.bool_(1)),
        *(np.str_("2m"), np.bytes_(b"x"), np.datetime64("NaT", "s"), np.complex128(1j), np.void(b"abcd")),
    ]
)
DTYPES = ("u8", "<u8", ">u8", "i8", "u4", "u1", "u2", "?", "f8", "f4", "c16", "O", "S4", "U3", "M8[s]", "V8")


@st.composite
def arrays(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES) -> np.ndarray[Any, Any]:
    """Arrays of any kind, shape and strides, some of which may not be written."""
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    made = np.zeros([2 * n for n in shape], draw(st.sampled_from(dtypes)))
    if made.dtype.kind in "uif":
        made[...] = draw(st.sampled_from([0, 1, 100, 255]))
    step = st.sampled_from([slice(None), slice(None, None, 2), slice(None, None, -1), slice(1, None)])
    if shape:
        made = made[tuple(draw(step) for _ in shape)]
    if draw(st.booleans()):
        made = made.T
    if draw(st.booleans()):
        made.setflags(write=False)
    return made


def nested(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists, tuples and dictionaries of what is given, a few deep."""
    return st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(texts, inner, max_size=2)
        ),
        max_leaves=6,
    )


plain = st.none() | st.booleans() | integers | floats | texts | st.binary(max_size=9)
others = st.sampled_from([object(), Exception("x"), int, len, range(3), {1, 2}, memoryview(b"ab"), ...])
#: Anything at all.
anything = plain | numpy_scalars | arrays() | nested(plain) | others
#: The same, but no number that asks for much work.
little = anything.filter(lambda v: not isinstance(v, int | np.integer) or v < 300)


@st.composite
def changed_document(draw: st.DrawFn, document: Any) -> Any:
    """A tree of plain values with one of them replaced by anything."""
    if isinstance(document, dict) and document and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(list(document)))
        return {**document, key: draw(changed_document(document[key]))}
    if isinstance(document, list | tuple) and document and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(document) - 1))
        return [*document[:place], draw(changed_document(document[place])), *document[place + 1 :]]
    return draw(anything)
