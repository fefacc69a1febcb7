"""What a run counted, and the time that follows from it.

Time is computed from the counts alone, so it costs the simulation nothing and the same counts give the same
time:

- **serial**: every access waits for the one before. The sum, over the program's accesses, of the latency of
the
  level that had the line, what the TLB adds, the walk's fixed part and the latencies of its reads, and the
  compute cycles that the caller gave. Prefetches and write-backs cost nothing: they are off the path
  (assumed).
- **overlapped**: a lower bound for a core that sees all accesses at once and no dependences between them: the
  busiest of its parts decides. Issue takes ``accesses / accesses_per_cycle``, misses of the first cache take
  their latencies divided by ``outstanding_misses``, walks their cycles divided by ``walkers``, and compute
  its cycles.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..display import repr_html
from ..version import __version__
from .config import Hierarchy
from .levels import PAGE_LEVEL, WALK_LEVELS

SCHEMA: Final = "xenmm.timing/1"
KINDS: Final = ("read", "write", "execute", "walk", "prefetch", "writeback", "victim")
_DEMAND: Final = slice(0, 3)
_WALK: Final = KINDS.index("walk")
_PAGE_SIZES: Final = tuple(PAGE_LEVEL)
_OVERLAP: Final = (
    "all accesses known at once and independent; "
    "the busiest of issue, outstanding misses, walkers and compute decides"
)

Counts = dict[str, Any]


@dataclass(frozen=True)
class CacheCounts:
    """Counts of one cache.

    `hits` and `misses` are the program's accesses alone; `by_kind` has those of walks, prefetches, arriving
    write-backs and (exclusive caches) arriving clean victims too, as (hits, misses). `writebacks` are the
    dirty lines that left, `prefetches` the lines fetched ahead.
    """

    hits: int
    misses: int
    writebacks: int
    prefetches: int
    by_kind: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class TlbCounts:
    """Counts of one TLB; `by_page_size` has (hits, misses) by the size of the page that the access lies
    in."""

    hits: int
    misses: int
    by_page_size: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class WalkCounts:
    """Page walks.

    `by_page_size` counts walks, `reads` the entries read, `reads_by_level` those of level 1 (the entry of a
    4 KiB page) to 4, and `caches` (hits, misses) of each page-walk cache.
    """

    walks: int
    by_page_size: Mapping[str, int]
    reads: int
    reads_by_level: Mapping[int, int]
    caches: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Result:
    """What was simulated and what came out; made by :meth:`xenmm.timing.Engine.run`."""

    hierarchy: Hierarchy
    space: Mapping[str, Any]
    options: Mapping[str, Any]
    counts: Counts
    compute_cycles: int = 0
    intervals: tuple[Counts, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)

    _repr_html_ = repr_html

    @property
    def accesses(self) -> Mapping[str, int]:
        """The program's accesses by kind."""
        return dict(zip(KINDS, self.counts["accesses"], strict=False))

    @property
    def caches(self) -> Mapping[str, CacheCounts]:
        """Counts by cache, as configured."""
        return {c.name: _cache(self.counts["tables"]["cache." + c.name]) for c in self.hierarchy.caches}

    @property
    def tlbs(self) -> Mapping[str, TlbCounts]:
        """Counts by TLB, as configured."""
        return {t.name: _tlb(self.counts["tables"]["tlb." + t.name]) for t in self.hierarchy.tlbs}

    @property
    def walks(self) -> WalkCounts:
        """Page walks and what they read."""
        c = self.counts
        caches = {}
        for name, level in WALK_LEVELS.items():
            table = c["tables"].get(f"walk.level{level}")
            if table is not None:
                caches[name] = (table["hits"][0], table["misses"][0])
        by_level = {level: c["walk_reads_level"][level] for level in range(1, 5)}
        return WalkCounts(
            sum(c["walks"]),
            dict(zip(_PAGE_SIZES, c["walks"], strict=True)),
            c["walk_reads"],
            by_level,
            caches,
        )

    @property
    def memory(self) -> Mapping[str, int]:
        """Lines read from memory, of them those of walks and prefetches, and lines written."""
        reads = self.counts["memory_reads"]
        return {
            "reads": sum(reads),
            "walk_reads": reads[_WALK],
            "prefetch_reads": reads[_WALK + 1],
            "writes": self.counts["memory_writes"],
        }

    @property
    def cycles(self) -> Mapping[str, int]:
        """Serial cycles by cause: compute, each cache, memory, tlb, walk; and their total."""
        return serial_cycles(self.hierarchy, self.counts, self.compute_cycles)

    @property
    def overlapped(self) -> Mapping[str, Any]:
        """The overlapped bound: its total, the part that decides, every part, and the assumption."""
        return overlapped_cycles(self.hierarchy, self.counts, self.compute_cycles)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, every value in effect too, ready for JSON."""
        out: dict[str, Any] = {"schema": SCHEMA, "xenmm": __version__}
        if self.input:
            out["input"] = dict(self.input)
        out["hierarchy"] = self.hierarchy.to_dict()
        out["space"] = dict(self.space)
        out["options"] = dict(self.options)
        out |= counts_to_dict(self.hierarchy, self.counts, self.compute_cycles)
        if self.intervals:
            out["intervals"] = [
                {"start": i["start"], **counts_to_dict(self.hierarchy, i, 0)} for i in self.intervals
            ]
        return out

    def to_json(self, indent: int | None = 2) -> str:
        """Return :meth:`to_dict` as JSON: the same input and seed give the same bytes."""
        return json.dumps(self.to_dict(), indent=indent) + "\n"

    def rows(self) -> Iterator[tuple[str, int, str]]:
        """Yield (name, value, description) of every count and cycle figure."""
        for kind, n in self.accesses.items():
            yield f"accesses.{kind}", n, f"{kind} accesses of the program"
        for name, cache in self.caches.items():
            yield f"cache.{name}.hits", cache.hits, "hits of the program's accesses"
            yield f"cache.{name}.misses", cache.misses, "misses of the program's accesses"
            for kind, (hits, misses) in cache.by_kind.items():
                if kind not in ("read", "write", "execute") and hits + misses:
                    yield f"cache.{name}.{kind}.hits", hits, f"hits of {kind} accesses"
                    yield f"cache.{name}.{kind}.misses", misses, f"misses of {kind} accesses"
            yield f"cache.{name}.writebacks", cache.writebacks, "dirty lines that left"
            yield f"cache.{name}.prefetches", cache.prefetches, "lines fetched ahead"
        for name, tlb in self.tlbs.items():
            for size, (hits, misses) in tlb.by_page_size.items():
                yield f"tlb.{name}.{size}.hits", hits, f"hits in {size} pages"
                yield f"tlb.{name}.{size}.misses", misses, f"misses in {size} pages"
        walks = self.walks
        for size, n in walks.by_page_size.items():
            yield f"walks.{size}", n, f"page walks to {size} pages"
        for level, n in walks.reads_by_level.items():
            yield f"walks.reads.l{level}e", n, f"level {level} page-table entries read"
        for name, (hits, misses) in walks.caches.items():
            yield f"walks.cache.{name}.hits", hits, f"walks that began after a kept {name}"
            yield f"walks.cache.{name}.misses", misses, f"walks that found no kept {name}"
        for name, n in self.memory.items():
            yield f"memory.{name}", n, "lines"
        for cause, n in self.cycles.items():
            yield f"cycles.serial.{cause}", n, "cycles, one access after another"
        for part, n in self.overlapped["parts"].items():
            yield f"cycles.overlapped.{part}", n, "cycles that this part is busy"
        yield "cycles.overlapped.total", self.overlapped["total"], f"cycles at least: {_OVERLAP}"

    def to_csv(self) -> str:
        """Return the rows as CSV with the columns name, value, description."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("name", "value", "description"))
        writer.writerows(self.rows())
        return out.getvalue()

    def to_text(self) -> str:
        """Return the rows as ``name value # description``, the way gem5 writes its statistics."""
        rows = list(self.rows())
        width = max(len(name) for name, _, _ in rows)
        return "".join(f"{name:<{width}} {value:>20} # {text}\n" for name, value, text in rows)


def counts_to_dict(hierarchy: Hierarchy, counts: Counts, compute_cycles: int) -> dict[str, Any]:
    """Return one set of counts in words, with its cycles."""
    r = Result(hierarchy, {}, {}, counts, compute_cycles)
    walks = r.walks
    return {
        "accesses": {**r.accesses, "total": sum(counts["accesses"])},
        "caches": {
            name: {
                "hits": c.hits,
                "misses": c.misses,
                "writebacks": c.writebacks,
                "prefetches": c.prefetches,
                "by_kind": {k: {"hits": h, "misses": m} for k, (h, m) in c.by_kind.items()},
            }
            for name, c in r.caches.items()
        },
        "tlbs": {
            name: {
                "hits": t.hits,
                "misses": t.misses,
                "by_page_size": {k: {"hits": h, "misses": m} for k, (h, m) in t.by_page_size.items()},
            }
            for name, t in r.tlbs.items()
        },
        "walks": {
            "total": walks.walks,
            "by_page_size": dict(walks.by_page_size),
            "reads": walks.reads,
            "reads_by_level": {f"l{k}e": n for k, n in walks.reads_by_level.items()},
            "caches": {k: {"hits": h, "misses": m} for k, (h, m) in walks.caches.items()},
        },
        "memory": dict(r.memory),
        "cycles": {"serial": dict(r.cycles), "overlapped": dict(r.overlapped)},
    }


def serial_cycles(hierarchy: Hierarchy, counts: Counts, compute: int) -> dict[str, int]:
    """Return the serial cycles by cause."""
    out = {"compute": compute}
    walk = sum(counts["walks"]) * hierarchy.walk.latency if hierarchy.walk is not None else 0
    for c in hierarchy.caches:
        hits = counts["tables"]["cache." + c.name]["hits"]
        out["cache." + c.name] = c.latency * sum(hits[_DEMAND])
        walk += c.latency * hits[_WALK]
    latency = hierarchy.memory.latency
    out["memory"] = latency * sum(counts["memory_reads"][_DEMAND])
    out["tlb"] = sum(t.latency * sum(counts["tables"]["tlb." + t.name]["hits"][:3]) for t in hierarchy.tlbs)
    out["walk"] = walk + latency * counts["memory_reads"][_WALK]
    out["total"] = sum(out.values())
    return out


def overlapped_cycles(hierarchy: Hierarchy, counts: Counts, compute: int) -> dict[str, Any]:
    """Return the overlapped bound and its parts."""
    serial = serial_cycles(hierarchy, counts, compute)
    first = {"cache." + c.name for c in hierarchy.entries() if c is not None}
    behind = sum(n for cause, n in serial.items() if cause.startswith("cache.") and cause not in first)
    walkers = hierarchy.walk.walkers if hierarchy.walk is not None else 1
    parts = {
        "compute": compute,
        "issue": -(-sum(counts["accesses"]) // hierarchy.core.accesses_per_cycle),
        "misses": -(-(behind + serial["memory"]) // hierarchy.core.outstanding_misses),
        "walks": -(-serial["walk"] // walkers),
    }
    busiest = max(parts, key=lambda p: parts[p])
    return {"total": parts[busiest], "bound_by": busiest, "parts": parts, "assumption": _OVERLAP}


def subtract(after: Any, before: Any) -> Any:
    """Return the difference of two sets of counts."""
    if isinstance(after, dict):
        return {k: subtract(v, before[k]) for k, v in after.items()}
    if isinstance(after, list):
        return [a - b for a, b in zip(after, before, strict=True)]
    return after - before


def add(a: Any, b: Any) -> Any:
    """Return the sum of two sets of counts."""
    if isinstance(a, dict):
        return {k: add(v, b[k]) for k, v in a.items()}
    if isinstance(a, list):
        return [x + y for x, y in zip(a, b, strict=True)]
    return a + b


def _cache(table: Counts) -> CacheCounts:
    hits, misses = table["hits"], table["misses"]
    by_kind = {k: (hits[i], misses[i]) for i, k in enumerate(KINDS)}
    return CacheCounts(
        sum(hits[_DEMAND]), sum(misses[_DEMAND]), table["writebacks"], table["prefetches"], by_kind
    )


def _tlb(table: Counts) -> TlbCounts:
    hits, misses = table["hits"], table["misses"]
    by_size = {s: (hits[i], misses[i]) for i, s in enumerate(_PAGE_SIZES)}
    return TlbCounts(sum(hits[:3]), sum(misses[:3]), by_size)
