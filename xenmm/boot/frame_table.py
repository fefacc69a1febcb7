"""The frame table: one 32-byte page_info for each pdx, backed densely or group by group.

Rule book: part 5. Xen c447b7308b, xen/arch/x86/mm.c, init_frametable and init_frametable_chunk (2009: the
same at 73f0173619; dense: init_frametable at bac2000063).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ..constants import PAGE_INFO_BYTES, PAGE_SHIFT, PAGE_SIZE, PDX_GROUP_COUNT
from ._runs import Run, clipped
from .page_tables import PAGE_1G, PAGE_2M, PAGE_4K, LeafMap, Leaves, count_tables
from .profiles import Profile
from .tables import Fill, Table

#: A large page may reach this far past the end of what it is to back: the waste that Xen accepts.
_SLACK: Final = 4 << PAGE_SHIFT
_GROUP_BYTES: Final = PDX_GROUP_COUNT * PAGE_INFO_BYTES


def build_frame_table(profile: Profile, groups: Sequence[Run], max_pdx: int, *, page_1g: bool) -> Table:
    """Back and map the frame table.

    Parameters
    ----------
    profile : Profile
        Sparse or dense, and where.
    groups : sequence of (first, end)
        Valid groups, as sorted runs, group 0 among them.
    max_pdx : int
        One past the last pdx, in records.
    page_1g : bool
        The CPU has 1 GiB pages.
    """
    virt = profile.layout.frametable_virt_start
    leaves = LeafMap()
    fills: list[Fill] = []
    size = max_pdx * PAGE_INFO_BYTES
    if profile.sparse_frame_table:
        for start, end in _byte_runs(groups, max_pdx):
            for run in _sparse_leaves(virt, start, end, page_1g=page_1g):
                leaves.paint(*run)
            mapped_end = leaves.runs[-1][1] if leaves.runs else end
            fills += [(start, end - start, 0x00), (end, mapped_end - end, 0xFF)]
        if profile.modern:
            # Room for hot-added memory would be filled here; none of it is known yet at this point of boot.
            fills.append((size, 0, 0xFF))
    else:
        pages = -(-size // PAGE_SIZE)
        for run in _dense_leaves(pages, page_1g=page_1g):
            leaves.paint(*run)
        fills.append((0, pages << PAGE_SHIFT, 0x00))
    return Table(
        "frame_table",
        virt,
        profile.layout.frametable_bytes,
        size,
        leaves.mapped_bytes(),
        leaves.chunks(),
        tuple(fills),
        count_tables(leaves, virt, l3_static=True),
    )


def _byte_runs(groups: Sequence[Run], max_pdx: int) -> Iterator[Run]:
    # One run of bytes for each run of valid groups; the last one ends at max_pdx, whatever its groups say.
    runs = clipped(groups, 0, -(-max_pdx // PDX_GROUP_COUNT))
    for start, end in runs[:-1]:
        yield start * _GROUP_BYTES, end * _GROUP_BYTES
    if runs:
        yield runs[-1][0] * _GROUP_BYTES, max_pdx * PAGE_INFO_BYTES


def _sparse_leaves(virt: int, start: int, end: int, *, page_1g: bool) -> Iterator[Leaves]:
    at = start
    while at < end:
        room = end + _SLACK - at
        to_gib = -(virt + at) % PAGE_1G
        if page_1g and to_gib == 0 and room >= PAGE_1G:
            step, count = PAGE_1G, room // PAGE_1G
        elif room >= PAGE_2M:
            step, count = PAGE_2M, room // PAGE_2M
            if page_1g and to_gib:
                count = min(count, to_gib // PAGE_2M)
        else:
            step, count = PAGE_4K, -(-(end - at) // PAGE_4K)
        yield at, at + count * step, step
        at += count * step


def _dense_leaves(pages: int, *, page_1g: bool) -> Iterator[Leaves]:
    # The step only ever shrinks, whatever the alignment: each size is used as often as it still fits.
    end = pages << PAGE_SHIFT
    at = 0
    for step in (PAGE_1G, PAGE_2M, PAGE_4K) if page_1g else (PAGE_2M, PAGE_4K):
        if at >= end:
            return
        count = (end + _SLACK - at) // step if step > PAGE_4K else (end - at) // step
        if count:
            yield at, at + count * step, step
            at += count * step
