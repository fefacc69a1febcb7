"""The machine-to-physical tables: 8 bytes an mfn, the guests' read-only copy, and 4 bytes for 32-bit guests.

Rule book: part 6. Xen c447b7308b, xen/arch/x86/x86_64/mm.c, paging_init (2009: the same at 78e09264ad).
Both are indexed by mfn, which is never compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..constants import (
    COMPAT_M2P_ENTRY_BYTES,
    M2P_ENTRY_BYTES,
    PDX_GROUP_COUNT,
)
from ._runs import Run, clipped, coarse, round_up
from .page_tables import PAGE_1G, PAGE_2M, LeafMap, PageTables, count_tables
from .profiles import Profile
from .tables import Fill, Table

#: Groups whose entries fill one 2 MiB page of the table.
GROUPS_PER_SLOT: Final = PAGE_2M // M2P_ENTRY_BYTES // PDX_GROUP_COUNT
_GROUPS_PER_COMPAT_SLOT: Final = PAGE_2M // COMPAT_M2P_ENTRY_BYTES // PDX_GROUP_COUNT
#: 32-bit guests see the table below this address, and from at most as low as the other.
MACH2PHYS_COMPAT_VIRT_START: Final = 0xF5800000
MACH2PHYS_COMPAT_VIRT_END: Final = 0xFFE00000


def m2p_size(max_page: int) -> int:
    """Bytes of the table up to ``max_page``, to whole 2 MiB pages."""
    return round_up(max_page * M2P_ENTRY_BYTES, PAGE_2M)


def compat_m2p_size(profile: Profile, max_page: int) -> int:
    """Bytes of the compat table, to whole 2 MiB pages, at most what the layout reserves."""
    return min(round_up(max_page * COMPAT_M2P_ENTRY_BYTES, PAGE_2M), profile.layout.compat_mpt_bytes)


def m2p_compat_vstart(profile: Profile, max_page: int) -> int:
    """Address of the compat table in a 32-bit guest."""
    return max(MACH2PHYS_COMPAT_VIRT_START, MACH2PHYS_COMPAT_VIRT_END - compat_m2p_size(profile, max_page))


def build_m2p(
    profile: Profile, mfn_groups: Sequence[Run], max_page: int, *, page_1g: bool
) -> tuple[Table, Table]:
    """Back and map the M2P and the guests' read-only copy.

    Parameters
    ----------
    profile : Profile
        Sparse or dense, and where.
    mfn_groups : sequence of (first, end)
        Groups of 65,536 mfn whose first frame is valid, as sorted runs.
    max_page : int
        One past the last mfn.
    page_1g : bool
        The CPU has 1 GiB pages.

    Returns
    -------
    (Table, Table)
        The table, and the read-only copy, which maps the same memory.
    """
    size = m2p_size(max_page)
    slots = _slots(profile.sparse_m2p, mfn_groups, GROUPS_PER_SLOT, size)
    leaves = LeafMap()
    fills: list[Fill] = []
    for start, end in slots:
        for run in _slot_leaves(start, end, size, page_1g=page_1g):
            leaves.paint(*run)
            value = profile.m2p_fill_1g if run[2] == PAGE_1G else profile.m2p_fill
            fills.append((run[0], run[1] - run[0], value))
    layout = profile.layout
    table = Table(
        "m2p",
        layout.rdwr_mpt_virt_start,
        layout.rdwr_mpt_bytes,
        size,
        leaves.mapped_bytes(),
        leaves.chunks(),
        tuple(fills),
        count_tables(leaves, layout.rdwr_mpt_virt_start, l3_static=True),
    )
    copy = Table(
        "ro_m2p",
        layout.ro_mpt_virt_start,
        layout.rdwr_mpt_bytes,
        size,
        0,
        table.chunks,
        (),
        _copy_tables(table.page_tables, leaves, size, page_1g=page_1g),
    )
    return table, copy


def build_compat_m2p(profile: Profile, mfn_groups: Sequence[Run], max_page: int) -> tuple[Table, Table]:
    """Back and map the compat M2P, in 2 MiB pages only, and the copy for 32-bit guests.

    Returns
    -------
    (Table, Table)
        The table, and the read-only copy: one level-2 page, there even when it maps nothing.
    """
    size = compat_m2p_size(profile, max_page)
    leaves = LeafMap()
    for start, end in _slots(profile.sparse_m2p, mfn_groups, _GROUPS_PER_COMPAT_SLOT, size):
        leaves.paint(start * PAGE_2M, end * PAGE_2M, PAGE_2M)
    layout = profile.layout
    table = Table(
        "compat_m2p",
        layout.compat_mpt_virt_start,
        layout.compat_mpt_bytes,
        size,
        leaves.mapped_bytes(),
        leaves.chunks(),
        tuple((a, b - a, profile.m2p_fill) for a, b, _ in leaves.runs),
        count_tables(leaves, layout.compat_mpt_virt_start, l3_static=True),
    )
    copy = Table(
        "ro_compat_m2p",
        m2p_compat_vstart(profile, max_page),
        MACH2PHYS_COMPAT_VIRT_END - MACH2PHYS_COMPAT_VIRT_START,
        size,
        0,
        table.chunks,
        (),
        PageTables(leaf_2m=table.page_tables.leaf_2m, l3_tables=1, l2_tables=1, l3_static=1),
    )
    return table, copy


def _slots(sparse: bool, mfn_groups: Sequence[Run], groups_per_slot: int, size: int) -> list[Run]:
    slots = coarse(mfn_groups, groups_per_slot) if sparse else [(0, size // PAGE_2M)]
    return clipped(slots, 0, size // PAGE_2M)


def _slot_leaves(start: int, end: int, size: int, *, page_1g: bool) -> list[tuple[int, int, int]]:
    # 1 GiB pages take whole aligned GiB of the table without a hole in them; 2 MiB pages take the rest.
    a, b = start * PAGE_2M, end * PAGE_2M
    whole_a, whole_b = round_up(a, PAGE_1G), b // PAGE_1G * PAGE_1G
    if not page_1g or whole_a >= whole_b:
        return [(a, b, PAGE_2M)]
    runs = [(a, whole_a, PAGE_2M), (whole_a, whole_b, PAGE_1G), (whole_b, b, PAGE_2M)]
    return [r for r in runs if r[0] < r[1]]


def _copy_tables(table: PageTables, leaves: LeafMap, size: int, *, page_1g: bool) -> PageTables:
    # A level-2 page at every 512th slot, holes or not, unless the whole GiB was skipped or is one page; and
    # only a CPU with 1 GiB pages makes Xen look at whole GiB.
    gibs = -(-size // PAGE_1G)
    if page_1g:
        whole = size // PAGE_1G
        level_2 = count_tables(leaves.below(whole * PAGE_1G), 0).l2_tables + gibs - whole
    else:
        level_2 = gibs
    return PageTables(
        leaf_1g=table.leaf_1g,
        leaf_2m=table.leaf_2m,
        l3_tables=1,
        l2_tables=level_2,
    )
