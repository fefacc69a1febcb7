"""64-bit words as Python has them and as NumPy's arrays have them: checks, and the two linear formulas."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from ..constants import U64_END

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]


def is_array(value: Any) -> bool:
    # A scalar of NumPy's is a number.
    return hasattr(value, "dtype") and hasattr(value, "ndim") and value.ndim > 0


def words(name: str, values: Any) -> Words:
    import numpy as np

    if values.dtype != np.uint64:
        raise TypeError(f"{name} has dtype {values.dtype}, not uint64; convert it by {name}.astype('uint64')")
    words: Words = values
    return words


def word(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(
            f"{name} must be an integer or a NumPy array of uint64, got {value!r} ({kind})"
        ) from None
    if not 0 <= number < U64_END:
        what = "is negative" if number < 0 else "is past 64 bits"
        shown = number if number < 0 else hex(number)
        raise OverflowError(f"{name} {shown} {what}; need 0 <= {name} < 2^64")
    return number


def plus(base: int, pfn: Any, shift: int) -> Any:
    if is_array(pfn):
        import numpy as np

        return (words("pfn", pfn) << np.uint64(shift)) + np.uint64(base)
    return (base + (word("pfn", pfn) << shift)) % U64_END


def minus(page: Any, base: int, shift: int) -> Any:
    # A difference of pointers is signed: what lies below the base comes out as a huge frame.
    if is_array(page):
        import numpy as np

        differences = words("page", page) - np.uint64(base)
        return (differences.view(np.int64) >> np.int64(shift)).view(np.uint64)
    apart = (word("page", page) - base) % U64_END
    signed = apart - U64_END if apart >> 63 else apart
    return (signed >> shift) % U64_END
