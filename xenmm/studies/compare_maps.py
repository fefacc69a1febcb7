"""What differs between two machines' memory: ranges of every kind, SRAT rows, and totals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..firmware.memory_map import KINDS, MemoryMap, merge

#: A range with what belongs to it: start, end, and the node and flags of an SRAT row.
Item = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two lists of ranges.

    Attributes
    ----------
    what : str
        A kind of range, or ``srat``.
    how : str
        ``added``, ``removed``, ``moved`` (of the same size), ``resized`` (one edge is the same), ``changed``
        (an SRAT row of the same range has another node or other flags).
    a, b : Item or None
        The range in each; None where there is none.
    """

    what: str
    how: str
    a: Item | None
    b: Item | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ranges as [start, end), SRAT rows as [start, end, node, flags]."""
        plain = [None if item is None else [item[0], item[1], *item[2]] for item in (self.a, self.b)]
        return {"what": self.what, "how": self.how, "a": plain[0], "b": plain[1]}


def map_changes(a: MemoryMap, b: MemoryMap) -> list[Change]:
    """Every difference in what memory there is; how it is cut into rows is none."""
    changes = []
    for kind in KINDS:
        before, after = (
            [(start, end, ()) for start, end in merge((r.start, r.end) for r in m.ranges if r.kind == kind)]
            for m in (a, b)
        )
        changes += _changes(kind, before, after)
    rows = [[(r.start, r.end, (r.node, r.flags)) for r in m.srat or ()] for m in (a, b)]
    return [*changes, *_changes("srat", sorted(rows[0]), sorted(rows[1]))]


def map_figures(m: MemoryMap) -> dict[str, Any]:
    """A map's totals by name."""
    holes = [end - start for start, end in m.holes]
    return {
        "ram_bytes": m.ram_bytes,
        "top": m.top,
        "ram_ranges": len(m.ram),
        "holes": len(holes),
        "all_holes_bytes": sum(holes),
        "largest_hole_bytes": max(holes, default=0),
        "nodes": len(m.nodes),
        "srat_rows": None if m.srat is None else len(m.srat),
    }


def _changes(what: str, before: Sequence[Item], after: Sequence[Item]) -> list[Change]:
    a, b = list(before), list(after)
    for item in before:
        if item in b:
            a.remove(item)
            b.remove(item)
    found = []
    # Each pair by the closest likeness that is left.
    likenesses: tuple[tuple[str, Callable[[Item], Any]], ...] = (
        ("changed", lambda item: (item[0], item[1])),
        ("resized", lambda item: (item[0], item[2])),
        ("resized", lambda item: (item[1], item[2])),
        ("moved", lambda item: (item[1] - item[0], item[2])),
    )
    for how, likeness in likenesses:
        for item in tuple(a):
            other = next((o for o in b if likeness(o) == likeness(item)), None)
            if other is not None:
                a.remove(item)
                b.remove(other)
                found.append(Change(what, how, item, other))
    found += [Change(what, "removed", item, None) for item in a]
    found += [Change(what, "added", None, item) for item in b]
    return sorted(found, key=lambda c: (c.a or c.b or (0, 0, ()), c.how))
