"""Make a case that fails small, whatever it is of: lists lose parts, numbers lose bits, keys go."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def shrink(case: Any, fails: Callable[[Any], bool], seconds: float = 60.0) -> Any:
    """The smallest case found in that time for which ``fails`` still holds; it holds for ``case``.

    Cases are of dicts, lists, integers, booleans, strings and None.
    """
    end = time.monotonic() + seconds

    def still(candidate):
        return time.monotonic() < end and fails(candidate)

    while True:
        smaller = _shrink(case, still)
        if smaller == case or time.monotonic() >= end:
            return smaller
        case = smaller


def _shrink(value, fails):
    if isinstance(value, list):
        return _list(value, fails)
    if isinstance(value, dict):
        return _dict(value, fails)
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value, fails)
    if value is True and fails(False):
        return False
    return value


def _list(items, fails):
    # Parts go, the largest first; then each element gets smaller by itself.
    size = len(items)
    while size:
        at = 0
        while at < len(items):
            fewer = items[:at] + items[at + size :]
            if fails(fewer):
                items = fewer
            else:
                at += size
        size //= 2
    for i in range(len(items)):
        items = [
            *items[:i],
            _shrink(items[i], lambda v, i=i, was=items: fails([*was[:i], v, *was[i + 1 :]])),
            *items[i + 1 :],
        ]
    return items


def _dict(fields, fails):
    for key in list(fields):
        fewer = {k: v for k, v in fields.items() if k != key}
        if fails(fewer):
            fields = fewer
    for key in fields:
        fields = {**fields, key: _shrink(fields[key], lambda v, key=key, was=fields: fails({**was, key: v}))}
    return fields


def _integer(number, fails):
    for candidate in (0, 1):
        if candidate < number and fails(candidate):
            return candidate
    # Bits from the lowest up, so that what stays is round; then a few steps down.
    for bit in range(number.bit_length()):
        if number >> bit & 1 and number != 1 << bit and fails(number & ~(1 << bit)):
            number &= ~(1 << bit)
    while number > 1 and fails(number // 2):
        number //= 2
    return number
