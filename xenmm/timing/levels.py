"""What stands at each place of a hierarchy: a cache, a TLB array, the page walker, memory, the core.

Each checks its own fields and names the wrong one as the TOML spells it; what must hold between them is
checked in :mod:`xenmm.timing.config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConfigError, need_one_of
from ._fields import check_integer, check_name, check_plru

REPLACEMENTS: Final = ("lru", "plru", "fifo", "random")
PREFETCHES: Final = ("none", "next-line")
CONTENTS: Final = ("shared", "exclusive")
ARRIVALS: Final = ("mark", "use")
HOLDS: Final = ("all", "data", "instruction")
#: Page sizes of x86-64, and the level of the page-table entry that maps each.
PAGE_LEVEL: Final[Mapping[str, int]] = {"4k": 1, "2m": 2, "1g": 3}
PAGE_BYTES: Final[Mapping[str, int]] = {"4k": 1 << 12, "2m": 1 << 21, "1g": 1 << 30}
#: Levels of entries that point to tables, in Xen's words: l2e points to a table of l1e, and so on.
WALK_LEVELS: Final[Mapping[str, int]] = {"l2e": 2, "l3e": 3, "l4e": 4}

_MAX_BYTES: Final = 1 << 34
_MAX_CYCLES: Final = 1 << 24


@dataclass(frozen=True)
class Cache:
    """One cache.

    Parameters
    ----------
    name : str
        Unique among the caches.
    size : int
        Bytes: a whole number of sets of `assoc` ways of `line` bytes. The sets need not be a power of two.
    assoc : int
        Ways of a set.
    line : int
        Bytes of a line, a power of two from 16.
    latency : int
        Cycles from the load to the use of a line that this cache has, as such figures are published: all that
        happened above it included.
    parent : str or None
        The cache that misses go to; None for memory.
    replacement : {"lru", "plru", "fifo", "random"}
        True LRU, tree-PLRU (`assoc` a power of two up to 64), FIFO, or seeded random.
    prefetch : {"none", "next-line"}
        With "next-line", a miss of the program also fetches the next line, when it lies in the same 4 KiB
        page.
    content : {"shared", "exclusive"}
        A shared cache keeps every line that passes through it, for all above it. An exclusive one keeps only
        what the caches above drove out, and gives a line away when it is read.
    holds : {"all", "data", "instruction"}
        Which accesses enter here, for a first cache.
    arrival : {"mark", "use"}
        What a line does that is written back from above and is found here: only its dirty bit changes (as in
        ChampSim), or it is used, and becomes the newest of its set (as in gem5).
    """

    name: str
    size: int
    assoc: int
    line: int = 64
    latency: int = 0
    parent: str | None = None
    replacement: str = "lru"
    prefetch: str = "none"
    content: str = "shared"
    holds: str = "all"
    arrival: str = "mark"

    def __post_init__(self) -> None:
        at = f"cache.{self.name}"
        check_name(at, self.name)
        check_integer(f"{at}.line", self.line, 16, 1 << 16)
        if self.line & (self.line - 1):
            raise ConfigError(f"{at}.line: {self.line} is not a power of two")
        check_integer(f"{at}.assoc", self.assoc, 1, 1 << 16)
        check_integer(f"{at}.size", self.size, self.line, _MAX_BYTES)
        if self.size % (self.assoc * self.line):
            raise ConfigError(
                f"{at}.size: {self.size} bytes are not a whole number of sets of "
                f"{self.assoc} ways of {self.line} bytes"
            )
        check_integer(f"{at}.latency", self.latency, 0, _MAX_CYCLES)
        need_one_of(f"{at}.replacement", self.replacement, REPLACEMENTS)
        need_one_of(f"{at}.prefetch", self.prefetch, PREFETCHES)
        need_one_of(f"{at}.content", self.content, CONTENTS)
        need_one_of(f"{at}.holds", self.holds, HOLDS)
        need_one_of(f"{at}.arrival", self.arrival, ARRIVALS)
        check_plru(at, self.replacement, self.assoc)
        if self.content == "exclusive" and self.prefetch != "none":
            raise ConfigError(f"{at}.prefetch: an exclusive cache fetches nothing, so it cannot prefetch")
        if self.parent is not None and not isinstance(self.parent, str):
            raise ConfigError(f"{at}.parent: {self.parent!r} is not the name of a cache")

    @property
    def sets(self) -> int:
        """Number of sets."""
        return self.size // (self.assoc * self.line)


@dataclass(frozen=True)
class Tlb:
    """One TLB array.

    Parameters
    ----------
    name : str
        Unique among the TLBs.
    entries, assoc : int
        `entries` is a whole number of sets of `assoc` ways.
    page_sizes : tuple of {"4k", "2m", "1g"}
        What it holds. Several sizes share its entries, each in the set of its own page number.
    level : int
        1 is looked up first; a miss goes to the array of the next level that holds the page's size.
    latency : int
        Cycles that a hit here adds to the access.
    replacement : str
        As of :class:`Cache`.
    holds : {"all", "data", "instruction"}
        Whose translations.
    splits : mapping of page size to page size
        ``{"1g": "2m"}``: a translation of a 1 GiB page is held, and takes entries, as 2 MiB pages.
    """

    name: str
    entries: int
    assoc: int
    page_sizes: tuple[str, ...] = ("4k",)
    level: int = 1
    latency: int = 0
    replacement: str = "lru"
    holds: str = "all"
    splits: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at = f"tlb.{self.name}"
        check_name(at, self.name)
        check_integer(f"{at}.entries", self.entries, 1, 1 << 24)
        check_integer(f"{at}.assoc", self.assoc, 1, 1 << 16)
        if self.entries % self.assoc:
            raise ConfigError(
                f"{at}.entries: {self.entries} entries are not a whole number of sets of {self.assoc} ways"
            )
        check_integer(f"{at}.level", self.level, 1, 4)
        check_integer(f"{at}.latency", self.latency, 0, _MAX_CYCLES)
        need_one_of(f"{at}.replacement", self.replacement, REPLACEMENTS)
        need_one_of(f"{at}.holds", self.holds, HOLDS)
        check_plru(at, self.replacement, self.assoc)
        if not isinstance(self.page_sizes, list | tuple) or not self.page_sizes:
            raise ConfigError(
                f"{at}.page_sizes: {self.page_sizes!r} is not a list of {', '.join(PAGE_LEVEL)}"
            )
        object.__setattr__(self, "page_sizes", tuple(self.page_sizes))
        for size in self.page_sizes:
            need_one_of(f"{at}.page_sizes", size, PAGE_LEVEL)
        if not isinstance(self.splits, Mapping):
            raise ConfigError(f"{at}.splits: {self.splits!r} is not a table from page size to page size")
        for size, held in self.splits.items():
            need_one_of(f"{at}.splits", size, self.page_sizes)
            need_one_of(f"{at}.splits.{size}", held, PAGE_LEVEL)
            if PAGE_LEVEL[held] > PAGE_LEVEL[size]:
                raise ConfigError(f"{at}.splits.{size}: {held} is larger than {size}")


@dataclass(frozen=True)
class PageWalk:
    """The page walker of four-level tables: superpages end the walk early.

    Parameters
    ----------
    latency : int
        Cycles of a walk beside the reads of its entries.
    walkers : int
        Walks that can be under way at once: the overlapped bound divides by it.
    entry : str or None
        The cache through which entries are read; None for the first data cache.
    caches : mapping of {"l2e", "l3e", "l4e"} to int
        Page-walk caches: how many entries of each level that point to tables are kept, LRU.
    assoc : mapping of {"l2e", "l3e", "l4e"} to int
        Their ways; fully associative where not given.
    """

    latency: int = 0
    walkers: int = 1
    entry: str | None = None
    caches: Mapping[str, int] = field(default_factory=dict)
    assoc: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_integer("walk.latency", self.latency, 0, _MAX_CYCLES)
        check_integer("walk.walkers", self.walkers, 1, 1024)
        for name, table in (("caches", self.caches), ("assoc", self.assoc)):
            if not isinstance(table, Mapping):
                raise ConfigError(f"walk.{name}: {table!r} is not a table from level to number")
            for level, n in table.items():
                need_one_of(f"walk.{name}", level, WALK_LEVELS)
                check_integer(f"walk.{name}.{level}", n, 0 if name == "caches" else 1, 1 << 16)
        for level, assoc in self.assoc.items():
            if self.caches.get(level, 0) % assoc:
                raise ConfigError(
                    f"walk.assoc.{level}: {self.caches.get(level, 0)} entries are not a whole number of sets "
                    f"of {assoc} ways"
                )

    def tables(self) -> list[tuple[int, int, int]]:
        """Return (level, entries, assoc) of each page-walk cache."""
        return [
            (WALK_LEVELS[name], n, self.assoc.get(name, n)) for name, n in sorted(self.caches.items()) if n
        ]


@dataclass(frozen=True)
class Memory:
    """DRAM: `latency` is the cycles from the load to its use, everything above included."""

    latency: int = 0

    def __post_init__(self) -> None:
        check_integer("memory.latency", self.latency, 0, _MAX_CYCLES)


@dataclass(frozen=True)
class Core:
    """What the overlapped bound of time assumes.

    Parameters
    ----------
    frequency_ghz : float or None
        Turns ``latency_ns`` of the TOML into cycles.
    accesses_per_cycle : int
        Loads and stores that can begin in one cycle.
    outstanding_misses : int
        Misses of the first cache that can be under way at once.
    """

    frequency_ghz: float | None = None
    accesses_per_cycle: int = 1
    outstanding_misses: int = 1

    def __post_init__(self) -> None:
        f = self.frequency_ghz
        if f is not None and not (isinstance(f, int | float) and not isinstance(f, bool) and 0 < f < 1000):
            raise ConfigError(f"core.frequency_ghz: {f!r} is not a positive number")
        check_integer("core.accesses_per_cycle", self.accesses_per_cycle, 1, 64)
        check_integer("core.outstanding_misses", self.outstanding_misses, 1, 4096)
