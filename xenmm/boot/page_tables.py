"""Mappings as runs of leaves: what ``map_pages_to_xen`` leaves behind, counted without a loop over pages.

Xen c447b7308b, xen/arch/x86/mm.c, map_pages_to_xen: each call takes the largest leaf that the alignment of
virtual address, frame and remaining length allow; a large leaf replaces a table below it, and a
small leaf inside a large one splits it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from .._facts import Facts
from ..constants import L2_PAGETABLE_SHIFT, L3_PAGETABLE_SHIFT, L4_PAGETABLE_SHIFT, PAGE_SHIFT, PAGE_SIZE
from ._runs import round_down, round_up

PAGE_4K = PAGE_SIZE
PAGE_2M = 1 << L2_PAGETABLE_SHIFT
PAGE_1G = 1 << L3_PAGETABLE_SHIFT
#: What one L3 table spans.
L3_SPAN = 1 << L4_PAGETABLE_SHIFT

#: One run of equal leaves: byte offset of the start, of the end, and bytes in one leaf.
Leaves = tuple[int, int, int]


class PageTables(Facts):
    """Leaves by size, page-table pages by level, and how many of those pages belong to Xen's image.

    Static pages cost nothing extra; ``allocated`` pages are the others.
    """

    __slots__ = ()

    leaf_1g: int = 0
    leaf_2m: int = 0
    leaf_4k: int = 0
    l3_tables: int = 0
    l2_tables: int = 0
    l1_tables: int = 0
    l3_static: int = 0
    l2_static: int = 0
    l1_static: int = 0

    @property
    def allocated(self) -> int:
        """Page-table pages taken from RAM."""
        tables = self.l3_tables + self.l2_tables + self.l1_tables
        return tables - self.l3_static - self.l2_static - self.l1_static

    @property
    def allocated_bytes(self) -> int:
        """Bytes of page-table pages taken from RAM."""
        return self.allocated << PAGE_SHIFT

    def to_dict(self) -> dict[str, int]:
        """Every count by name."""
        return asdict(self)


def greedy(virt: int, frame: int, frames: int, *, page_1g: bool) -> Iterator[Leaves]:
    """Split one mapping call into runs of leaves, largest first where alignment allows.

    ``virt`` is a byte offset whose alignment is the virtual address's. Yields at most five runs.
    """
    at, end = virt, virt + (frames << PAGE_SHIFT)
    skew = (frame << PAGE_SHIFT) - virt
    sizes = [PAGE_2M] if skew % PAGE_2M == 0 else []
    if sizes and page_1g and skew % PAGE_1G == 0:
        sizes.append(PAGE_1G)
    # Up the sizes to the first boundary of the next one, and down again behind the last.
    bounds = [(at, end)]
    for size in sizes:
        a, b = round_up(bounds[-1][0], size), round_down(bounds[-1][1], size)
        if a >= b:
            break
        bounds.append((a, b))
    steps = [PAGE_4K, PAGE_2M, PAGE_1G]
    for level in range(len(bounds) - 1):
        if bounds[level][0] < bounds[level + 1][0]:
            yield (bounds[level][0], bounds[level + 1][0], steps[level])
    if bounds[-1][0] < bounds[-1][1]:
        yield (*bounds[-1], steps[len(bounds) - 1])
    for level in reversed(range(len(bounds) - 1)):
        if bounds[level + 1][1] < bounds[level][1]:
            yield (bounds[level + 1][1], bounds[level][1], steps[level])


@dataclass(slots=True)
class LeafMap:
    """The leaves of one region, as sorted disjoint runs; later calls override earlier ones."""

    runs: list[Leaves] = field(default_factory=list)

    def paint(self, start: int, end: int, size: int) -> None:
        """Map [start, end) with leaves of ``size``, splitting larger leaves and replacing tables below."""
        runs = self.runs
        if not runs or start >= runs[-1][1]:
            self._append(start, end, size)
            return
        first = bisect_right(runs, start, key=_end_of)
        last = bisect_left(runs, end, key=_start_of)
        kept: list[Leaves] = []
        for run in runs[first:last]:
            kept += _remainder(run, start, end, size)
        kept.append((start, end, size))
        runs[first:last] = sorted(kept)

    def _append(self, start: int, end: int, size: int) -> None:
        runs = self.runs
        if runs and runs[-1][1] == start and runs[-1][2] == size:
            runs[-1] = (runs[-1][0], end, size)
        else:
            runs.append((start, end, size))

    def chunks(self) -> tuple[tuple[int, int, int], ...]:
        """The leaves as (byte offset, 4 KiB frames in a leaf, how many in a row)."""
        out: list[list[int]] = []
        for start, end, size in self.runs:
            count, frames = (end - start) // size, size >> PAGE_SHIFT
            if out and out[-1][1] == frames and out[-1][0] + out[-1][2] * size == start:
                out[-1][2] += count
            else:
                out.append([start, frames, count])
        return tuple((a, b, c) for a, b, c in out)

    def mapped_bytes(self) -> int:
        """Bytes that the leaves map."""
        return sum(end - start for start, end, _ in self.runs)

    def below(self, end: int) -> LeafMap:
        """The leaves that start below a boundary that no leaf crosses."""
        return LeafMap([(a, min(b, end), size) for a, b, size in self.runs if a < end])


def _start_of(run: Leaves) -> int:
    return run[0]


def _end_of(run: Leaves) -> int:
    return run[1]


def _remainder(run: Leaves, start: int, end: int, size: int) -> Iterator[Leaves]:
    # What is left of a run of leaves when [start, end) is taken by leaves of another size. A larger leaf
    # that is cut in part is split into leaves of the next size down, and so on.
    a, b, old = run
    for x, y in ((a, min(b, start)), (max(a, end), b)):
        if x >= y:
            continue
        step = old
        while step > size and (x % step or y % step):
            whole_a, whole_b = round_up(x, step), round_down(y, step)
            if whole_a < whole_b:
                yield (whole_a, whole_b, step)
                # One side is ragged, and is left: the other one is an edge of the old run.
                x, y = (x, whole_a) if x < whole_a else (whole_b, y)
            step //= 512
        yield (x, y, step)


def count_tables(leaves: LeafMap, virt_start: int, *, l3_static: bool = False) -> PageTables:
    """Count leaves and the page-table pages that hold them; ``l3_static``: Xen's image brings the L3."""
    leaf = {PAGE_4K: 0, PAGE_2M: 0, PAGE_1G: 0}
    # Runs ascend, so that a table shared with the run before is the last one counted.
    l1 = l2 = l3 = 0
    l1_end = l2_end = l3_end = -1
    for start, end, size in leaves.runs:
        leaf[size] += (end - start) // size
        a, b = virt_start + start, virt_start + end
        first, last = a // L3_SPAN, -(-b // L3_SPAN)
        l3 += last - (first if first > l3_end else l3_end)
        l3_end = last
        if size == PAGE_1G:
            continue
        first, last = a // PAGE_1G, -(-b // PAGE_1G)
        l2 += last - (first if first > l2_end else l2_end)
        l2_end = last
        if size == PAGE_2M:
            continue
        first, last = a // PAGE_2M, -(-b // PAGE_2M)
        l1 += last - (first if first > l1_end else l1_end)
        l1_end = last
    return PageTables(
        leaf_1g=leaf[PAGE_1G],
        leaf_2m=leaf[PAGE_2M],
        leaf_4k=leaf[PAGE_4K],
        l3_tables=max(l3, 1) if l3_static else l3,
        l2_tables=l2,
        l1_tables=l1,
        l3_static=int(l3_static),
    )
