"""Conversions as numba functions with one machine's parameters as closure constants.

numba freezes what a function closes over, so that the compiled code holds the constants. For the same reason
it cannot keep such functions on disk: ``cache=True`` would have to tell two machines' functions apart, which
share one source line. Each process compiles them again, at the first call of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .._core import HostCore
from .._embed import struct_values
from ..errors import ConfigError

_Function: TypeAlias = Callable[[Any], Any]

_MODES: Final = ("none", "mask", "offset")


@dataclass(frozen=True, slots=True)
class Conversions:
    """One machine's conversions, each callable from Python and from nopython code, and in ``prange``.

    All take and give uint64 and are the bare formula modulo 2^64; only ``mfn_valid`` judges, and takes any
    value. Bind those that a loop uses to names (``mfn_to_page = functions.mfn_to_page``): numba compiles no
    attribute of a Python object.
    """

    mfn_to_pdx: _Function
    pdx_to_mfn: _Function
    mfn_to_page: _Function
    page_to_mfn: _Function
    mfn_to_virt: _Function
    virt_to_mfn: _Function
    maddr_to_virt: _Function
    virt_to_maddr: _Function
    page_to_virt: _Function
    virt_to_page: _Function
    page_to_mfn_to_virt: _Function
    mfn_valid: _Function


def constants(host: HostCore) -> Any:
    """Return the embedder's own write-once parameters as a named tuple of ``numpy.uint64``.

    A compiled function that closes over it, or has it as a global, holds the values as constants:
    ``own = constants(host)``, then ``own.rob_entries`` inside the function.
    """
    from collections import namedtuple

    import numpy as np

    names = [p.name for p in host.params.own]
    made: Any = namedtuple("OwnParameters", names)  # type: ignore[misc]
    return made(*(np.uint64(host.params[name]) for name in names))


def functions(host: HostCore) -> Conversions:
    """Return a host's conversions, compiled by numba at the first call of each.

    Parameters
    ----------
    host : HostCore
        A booted host.

    Raises
    ------
    ConfigError
        If numba is not installed.

    Notes
    -----
    numba has no unsigned literal and makes a float of an int64 and a uint64 together, hence every number here
    is a ``numpy.uint64``. Sources of the formulas: those of ``include/xenmm.h``.
    """
    try:
        from numba import njit
    except ImportError as e:
        raise ConfigError(f"numba is needed for this: pip install 'xenmm[numba]' ({e})") from e
    import numpy as np

    u64 = np.uint64
    struct = struct_values(host.capsule)

    def number(name: str) -> Any:
        return u64(struct[name])

    def table(name: str) -> Any:
        return np.array(struct[name] or (0,), dtype=u64)

    inline = njit(inline="never", nogil=True, error_model="numpy")
    primitives = _PRIMITIVES[_MODES[struct["mode"]]](inline, u64, number, table)
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

    return Conversions(
        mfn_to_pdx=mfn_to_pdx,
        pdx_to_mfn=pdx_to_mfn,
        mfn_to_page=mfn_to_page,
        page_to_mfn=page_to_mfn,
        mfn_to_virt=mfn_to_virt,
        virt_to_mfn=virt_to_mfn,
        maddr_to_virt=maddr_to_virt,
        virt_to_maddr=virt_to_maddr,
        page_to_virt=page_to_virt,
        virt_to_page=virt_to_page,
        page_to_mfn_to_virt=page_to_mfn_to_virt,
        mfn_valid=mfn_valid,
    )


# The primitives of each mode: mfn -> pdx, pdx -> mfn, the same on byte addresses, and what can be compressed.


def _none(inline: Any, u64: Any, number: Any, table: Any) -> tuple[_Function, ...]:
    @inline
    def same(x):  # type: ignore[no-untyped-def]
        return u64(x)

    @inline
    def compressible(mfn):  # type: ignore[no-untyped-def]
        return True

    return same, same, same, same, compressible


def _mask(inline: Any, u64: Any, number: Any, table: Any) -> tuple[_Function, ...]:
    shift, hole = number("pfn_pdx_hole_shift"), number("pfn_hole_mask")
    zero = u64(0)

    def both_ways(bottom: Any, top: Any) -> tuple[_Function, _Function]:
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


def _offset(inline: Any, u64: Any, number: Any, table: Any) -> tuple[_Function, ...]:
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


_PRIMITIVES: Final = {"none": _none, "mask": _mask, "offset": _offset}
