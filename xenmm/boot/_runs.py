"""Arithmetic on sorted, disjoint, half-open runs of integers: tables are runs, never arrays of the span."""

from __future__ import annotations

from collections.abc import Iterable

Run = tuple[int, int]


def round_down(x: int, step: int) -> int:
    return x - x % step


def round_up(x: int, step: int) -> int:
    return x + -x % step


def merged(runs: Iterable[Run]) -> list[Run]:
    """Sort runs and join those that touch or overlap; empty ones vanish."""
    out: list[Run] = []
    for start, end in sorted(r for r in runs if r[0] < r[1]):
        if out and start <= out[-1][1]:
            if end > out[-1][1]:
                out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


def coarse(runs: Iterable[Run], granule: int) -> list[Run]:
    """The granules that any run touches, as runs of granule numbers; the runs must be sorted."""
    return merged((start // granule, -(-end // granule)) for start, end in runs)


def clipped(runs: Iterable[Run], start: int, end: int) -> list[Run]:
    """What of the runs lies inside [start, end)."""
    return [(max(a, start), min(b, end)) for a, b in runs if a < end and b > start]


def subtracted(runs: Iterable[Run], holes: Iterable[Run]) -> list[Run]:
    """The runs without the holes; both sorted and disjoint."""
    out: list[Run] = []
    cuts = list(holes)
    at = 0
    for start, end in runs:
        while at < len(cuts) and cuts[at][1] <= start:
            at += 1
        k = at
        while k < len(cuts) and cuts[k][0] < end:
            if start < cuts[k][0]:
                out.append((start, cuts[k][0]))
            start = max(start, cuts[k][1])
            k += 1
        if start < end:
            out.append((start, end))
    return out


def total(runs: Iterable[Run]) -> int:
    return sum(end - start for start, end in runs)
