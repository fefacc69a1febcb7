"""The direct map: RAM mapped 1:1 behind the compression, in the largest pages that alignment allows.

Rule book: part 7. Xen c447b7308b, xen/arch/x86/setup.c (__start_xen) and xen/arch/x86/x86_64/mm.c
(paging_init, for the L3 pages of memory that can be hot-added).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ..constants import GIB, MIB, PAGE_SHIFT, PAGE_SIZE, U64_END
from .page_tables import L3_SPAN, PAGE_1G, PAGE_2M, PAGE_4K, LeafMap, PageTables, count_tables, greedy
from .pdx import Translation
from .profiles import Layout, Profile
from .tables import Table
from .walk import Call

#: Xen's image brings the tables of the first 4 GiB along: one L3, four L2, and one L1 for the first 2 MiB.
_STATIC_L2_BYTES: Final = 4 * GIB


def build_direct_map(
    profile: Profile,
    calls: Sequence[Call],
    translation: Translation,
    *,
    page_1g: bool,
    hotplug_end: int = 0,
    guard_mfn: int | None = None,
) -> Table:
    """Map RAM.

    Parameters
    ----------
    profile : Profile
        Whose layout and prebuilt part.
    calls : sequence of (byte offset, mfn, frames)
        The mapping calls, in the order of boot.
    translation : Translation
        The compression.
    page_1g : bool
        The CPU has 1 GiB pages.
    hotplug_end : int
        End of the highest SRAT entry that can be hot-plugged, in bytes; 0 without.
    guard_mfn : int, optional
        First frame of a 2 MiB page that is split for stack guards.
    """
    layout = profile.layout
    leaves = LeafMap()
    leaves.paint(0, 2 * MIB, PAGE_4K)
    if profile.directmap_prebuilt_bytes > PAGE_2M:
        leaves.paint(PAGE_2M, profile.directmap_prebuilt_bytes, PAGE_2M)
    for offset, mfn, frames in calls:
        for run in greedy(offset, mfn, frames, page_1g=page_1g):
            leaves.paint(*run)
    if guard_mfn is not None:
        offset = translation.mfn_to_pdx(guard_mfn) << PAGE_SHIFT
        leaves.paint(offset, offset + PAGE_2M, PAGE_4K)
    hotplug_l3 = 0
    if profile.modern and hotplug_end:
        hotplug_l3 = _l3_below(hotplug_end, translation, layout)
    return Table(
        "direct_map",
        layout.directmap_virt_start,
        layout.directmap_bytes,
        leaves.runs[-1][1],
        0,
        leaves.chunks(),
        (),
        _count(leaves, layout.directmap_virt_start, hotplug_l3),
    )


def _l3_below(hotplug_end: int, translation: Translation, layout: Layout) -> int:
    # L3 pages from the direct map's start to the virtual address of that machine address. An address that
    # the compression does not cover can come out anywhere modulo 2^64, below the start as well.
    mfn, within = hotplug_end >> PAGE_SHIFT, hotplug_end & (PAGE_SIZE - 1)
    start = layout.directmap_virt_start
    virt = (start + (translation.mfn_to_pdx(mfn) << PAGE_SHIFT) + within) % U64_END
    return -(-min(max(virt - start, 0), layout.directmap_bytes) // L3_SPAN)


def _count(leaves: LeafMap, virt: int, hotplug_l3: int) -> PageTables:
    counted = count_tables(leaves, virt, l3_static=True)
    # A static L2 is there even when it is empty, unless a 1 GiB leaf stands in its place.
    low = count_tables(leaves.below(_STATIC_L2_BYTES), virt)
    static_l2 = _STATIC_L2_BYTES // PAGE_1G - low.leaf_1g
    hotplugged = count_tables(leaves.below(hotplug_l3 * L3_SPAN), virt)
    return replace(
        counted,
        l3_tables=counted.l3_tables + hotplug_l3 - hotplugged.l3_tables,
        l2_tables=counted.l2_tables + static_l2 - low.l2_tables,
        l2_static=static_l2,
        l1_static=count_tables(leaves.below(PAGE_2M), virt).l1_tables,
    )
