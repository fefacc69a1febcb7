"""Miss curves: the miss rate of one cache or TLB against its size, the same input replayed at each size."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from .config import Hierarchy, load_microarchitecture
from .replay import Input, replay

if TYPE_CHECKING:
    from ..boot.host import Host

#: Sizes that are tried, as multiples of the configured one.
FACTORS: Final = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Point:
    """One size of a miss curve.

    Attributes
    ----------
    size : int
        Bytes of the cache, or entries of the TLB.
    hits, misses : int
        The program's own accesses that looked there.
    cycles : int
        Serial cycles of the whole run.
    """

    size: int
    hits: int
    misses: int
    cycles: int

    @property
    def miss_rate(self) -> float:
        """Misses of all look-ups, 0 to 1; 0 without any."""
        return self.misses / (self.hits + self.misses) if self.hits + self.misses else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "size": self.size,
            "hits": self.hits,
            "misses": self.misses,
            "miss_rate": self.miss_rate,
            "cycles": self.cycles,
        }


def miss_curve(
    host: Host | None,
    source: Input | str | os.PathLike[str],
    uarch: str | Hierarchy = "zen3",
    table: str = "L1",
    *,
    factors: Sequence[float] = FACTORS,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> tuple[Point, ...]:
    """Replay the same input with one cache or TLB smaller and larger: a whole run for each size.

    The number of sets changes; ways, line, latency and every other part stay as they are configured. A size
    that is no whole number of sets is left out.

    Parameters
    ----------
    host, source, uarch, **options
        As :func:`xenmm.replay` takes them.
    table : str
        The name of a cache or of a TLB of the microarchitecture.
    factors : sequence of float
        Sizes as multiples of the configured one.
    progress : callable, optional
        Told how many sizes are done.

    Returns
    -------
    tuple of Point
        By ascending size.

    Raises
    ------
    ConfigError
        If there is no such cache or TLB, or as :func:`xenmm.replay`.
    """
    hierarchy = uarch if isinstance(uarch, Hierarchy) else load_microarchitecture(uarch)
    points = []
    for size, changed in _sizes(hierarchy, table, sorted(factors)):
        result = replay(host, source, changed, **options)
        counts = result.caches[table] if table in result.caches else result.tlbs[table]
        points.append(Point(size, counts.hits, counts.misses, result.cycles["total"]))
        if progress is not None:
            progress(len(points))
    return tuple(points)


def _sizes(hierarchy: Hierarchy, table: str, factors: Sequence[float]) -> list[tuple[int, Hierarchy]]:
    # The hierarchy with the table at each size that is a whole number of sets.
    found = []
    for cache in hierarchy.caches:
        if cache.name == table:
            for sets in _whole(cache.sets, factors):
                changed = replace(cache, size=sets * cache.assoc * cache.line)
                caches = tuple(changed if c is cache else c for c in hierarchy.caches)
                found.append((changed.size, replace(hierarchy, caches=caches)))
            return found
    for tlb in hierarchy.tlbs:
        if tlb.name == table:
            for sets in _whole(tlb.entries // tlb.assoc, factors):
                entries = replace(tlb, entries=sets * tlb.assoc)
                tlbs = tuple(entries if t is tlb else t for t in hierarchy.tlbs)
                found.append((entries.entries, replace(hierarchy, tlbs=tlbs)))
            return found
    names = ", ".join([c.name for c in hierarchy.caches] + [t.name for t in hierarchy.tlbs])
    raise ConfigError(f"no cache or TLB is called {table!r}; there are {names}")


def _whole(sets: int, factors: Sequence[float]) -> list[int]:
    return [int(sets * f) for f in factors if sets * f >= 1 and sets * f == int(sets * f)]
