"""The conversions as functions for a just-in-time compiler: one text for a host and for an exported module.

``conversions(inline, struct)`` closes over the struct's values, which numba freezes: the compiled code holds
them. ``inline`` is the decorator that compiles. :mod:`xenmm.embed.numba_module` writes the part below the
line of dashes into a file; nothing there may need xenmm.

numba has no unsigned literal and makes a float of an int64 and a uint64 together, hence every number here is
a ``numpy.uint64``. Sources of the formulas: those of ``include/xenmm.h``.
"""

from typing import Any

import numpy as np

# ----------------------------------------------------------------------------------------------------------


def conversions(inline: Any, struct: Any) -> dict[str, Any]:
    """Return the functions by name, compiled at the first call of each."""
    u64 = np.uint64

    def number(name: str) -> Any:
        return u64(struct[name])

    def table(name: str) -> Any:
        return np.array(struct[name] or (0,), dtype=u64)

    primitives = _PRIMITIVES[struct["mode"]](inline, u64, number, table)
    mfn_to_pdx, pdx_to_mfn, to_directmapoff, to_maddr, compressible = primitives

    frame_table, direct_map = number("frametable_virt_start"), number("directmap_virt_start")
    image_start, image_bytes = number("xen_virt_start"), number("xen_image_bytes")
    image_maddr, max_page = number("xen_phys_start"), number("max_page")
    groups, group_count = table("pdx_group_valid"), number("pdx_group_count")
    record_shift, page_shift, group_shift = u64(5), u64(12), u64(16)
    word_shift, bit_mask, one, pages_ratio = u64(6), u64(63), u64(1), u64(128)

    @inline
    def mfn_to_page(mfn):  # type: ignore[no-untyped-def]
        return (mfn_to_pdx(mfn) << record_shift) + frame_table

    @inline
    def page_to_mfn(page):  # type: ignore[no-untyped-def]
        return pdx_to_mfn((u64(page) - frame_table) >> record_shift)

    @inline
    def maddr_to_virt(maddr):  # type: ignore[no-untyped-def]
        return to_directmapoff(maddr) + direct_map

    @inline
    def virt_to_maddr(virt):  # type: ignore[no-untyped-def]
        into_image = u64(virt) - image_start
        if into_image < image_bytes:
            return into_image + image_maddr
        return to_maddr(u64(virt) - direct_map)

    @inline
    def mfn_to_virt(mfn):  # type: ignore[no-untyped-def]
        return maddr_to_virt(u64(mfn) << page_shift)

    @inline
    def virt_to_mfn(virt):  # type: ignore[no-untyped-def]
        return virt_to_maddr(virt) >> page_shift

    @inline
    def page_to_virt(page):  # type: ignore[no-untyped-def]
        return (u64(page) - frame_table) * pages_ratio + direct_map

    @inline
    def virt_to_page(virt):  # type: ignore[no-untyped-def]
        if u64(virt) - image_start < image_bytes:
            return mfn_to_page(virt_to_mfn(virt))
        return (((u64(virt) - direct_map) >> page_shift) << record_shift) + frame_table

    @inline
    def page_to_mfn_to_virt(page):  # type: ignore[no-untyped-def]
        return mfn_to_virt(page_to_mfn(page))

    @inline
    def mfn_valid(mfn):  # type: ignore[no-untyped-def]
        frame = u64(mfn)
        if frame >= max_page or not compressible(frame):
            return False
        group = mfn_to_pdx(frame) >> group_shift
        return group < group_count and (groups[group >> word_shift] >> (group & bit_mask)) & one == one

    return {
        "mfn_to_pdx": mfn_to_pdx,
        "pdx_to_mfn": pdx_to_mfn,
        "mfn_to_page": mfn_to_page,
        "page_to_mfn": page_to_mfn,
        "mfn_to_virt": mfn_to_virt,
        "virt_to_mfn": virt_to_mfn,
        "maddr_to_virt": maddr_to_virt,
        "virt_to_maddr": virt_to_maddr,
        "page_to_virt": page_to_virt,
        "virt_to_page": virt_to_page,
        "page_to_mfn_to_virt": page_to_mfn_to_virt,
        "mfn_valid": mfn_valid,
    }


# The primitives of each mode: mfn -> pdx, pdx -> mfn, the same on byte addresses, and what can be compressed.


def _none(inline: Any, u64: Any, number: Any, table: Any) -> Any:
    @inline
    def same(x):  # type: ignore[no-untyped-def]
        return u64(x)

    @inline
    def compressible(mfn):  # type: ignore[no-untyped-def]
        return True

    return same, same, same, same, compressible


def _mask(inline: Any, u64: Any, number: Any, table: Any) -> Any:
    shift, hole = number("pfn_pdx_hole_shift"), number("pfn_hole_mask")
    zero = u64(0)

    def both_ways(bottom: Any, top: Any) -> Any:
        @inline
        def compress(x):  # type: ignore[no-untyped-def]
            return (u64(x) & bottom) | ((u64(x) & top) >> shift)

        @inline
        def expand(x):  # type: ignore[no-untyped-def]
            return (u64(x) & bottom) | ((u64(x) << shift) & top)

        return compress, expand

    @inline
    def compressible(mfn):  # type: ignore[no-untyped-def]
        return u64(mfn) & hole == zero

    frames = both_ways(number("pfn_pdx_bottom_mask"), number("pfn_top_mask"))
    return *frames, *both_ways(number("ma_va_bottom_mask"), number("ma_top_mask")), compressible


def _offset(inline: Any, u64: Any, number: Any, table: Any) -> Any:
    region_size, slot_mask, page_shift = number("pdx_region_size"), u64(63), u64(12)
    mfn_shift, pdx_shift = number("pfn_index_shift"), number("pdx_index_shift")
    subtracted, added, bases = table("pfn_pdx_lookup"), table("pdx_pfn_lookup"), table("pfn_bases")

    @inline
    def mfn_to_pdx(mfn):  # type: ignore[no-untyped-def]
        return u64(mfn) - subtracted[(u64(mfn) >> mfn_shift) & slot_mask]

    @inline
    def pdx_to_mfn(pdx):  # type: ignore[no-untyped-def]
        return u64(pdx) + added[(u64(pdx) >> pdx_shift) & slot_mask]

    @inline
    def to_directmapoff(maddr):  # type: ignore[no-untyped-def]
        slot = ((u64(maddr) >> page_shift) >> mfn_shift) & slot_mask
        return u64(maddr) - (subtracted[slot] << page_shift)

    @inline
    def to_maddr(off):  # type: ignore[no-untyped-def]
        slot = ((u64(off) >> page_shift) >> pdx_shift) & slot_mask
        return u64(off) + (added[slot] << page_shift)

    @inline
    def compressible(mfn):  # type: ignore[no-untyped-def]
        base = bases[(u64(mfn) >> mfn_shift) & slot_mask]
        return u64(mfn) >= base and u64(mfn) - base < region_size

    return mfn_to_pdx, pdx_to_mfn, to_directmapoff, to_maddr, compressible


# By the struct's `mode`.
_PRIMITIVES = (_none, _mask, _offset)
