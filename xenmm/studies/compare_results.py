"""What differs between two results: every figure by its path, with its relative change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: What tells the rows of a list apart, tried in this order.
_KEYS: Final = ("profile", "name", "code", "figure", "case")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs.

    Attributes
    ----------
    path : str
        Where: keys with dots, rows of lists by what tells them apart, or by number.
    a, b : JSON value
        The values; None too where ``only`` says that one side has none.
    only : str
        ``a`` or ``b`` when the value is there alone, else empty.
    """

    path: str
    a: Any
    b: Any
    only: str = ""

    @property
    def relative(self) -> float | None:
        """Change in parts of ``a``; None where it is no number, or 0."""
        if not (_is_number(self.a) and _is_number(self.b)) or self.only or self.a == 0:
            return None
        return float((self.b - self.a) / abs(self.a))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        out = {"path": self.path, "a": self.a, "b": self.b}
        if self.only:
            out["only"] = self.only
        if self.relative is not None:
            out["relative"] = self.relative
        return out


def differences(a: Any, b: Any, path: str = "") -> Iterator[Difference]:
    """Every value that differs between two JSON documents, in the order of the first."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        yield from _of_mappings(a, b, path)
    elif isinstance(a, list) and isinstance(b, list):
        if _plain(a) and _plain(b):
            if a != b:
                yield Difference(path, a, b)
            return
        key = _key_of(a, b)
        yield from _of_mappings(_rows(a, key), _rows(b, key), path, "[{}]")
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield Difference(path, a, b)


def _of_mappings(
    a: Mapping[str, Any], b: Mapping[str, Any], path: str, form: str = ".{}"
) -> Iterator[Difference]:
    for key in dict.fromkeys((*a, *b)):
        here = (path + form.format(key)).removeprefix(".")
        left, right = a.get(key, _MISSING), b.get(key, _MISSING)
        if left is _MISSING:
            yield Difference(here, None, right, "b")
        elif right is _MISSING:
            yield Difference(here, left, None, "a")
        else:
            yield from differences(left, right, here)


def _plain(values: Sequence[Any]) -> bool:
    return not any(isinstance(v, Mapping) for v in values)


def _key_of(a: Sequence[Any], b: Sequence[Any]) -> str | None:
    # The key by which the rows of both lists can be told apart.
    for key in _KEYS:
        if all(isinstance(row, Mapping) and isinstance(row.get(key), str) for row in (*a, *b)) and all(
            len({row[key] for row in rows}) == len(rows) for rows in (a, b)
        ):
            return key
    return None


def _rows(rows: Sequence[Any], key: str | None) -> dict[str, Any]:
    return {str(i) if key is None else row[key]: row for i, row in enumerate(rows)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
