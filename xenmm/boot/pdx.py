"""What to squeeze out of the frame numbers: the choice of mask, offset or none, with its reason.

A refusal is a normal result. Rule book: part 3. Xen c447b7308b, xen/common/pdx.c
(pfn_pdx_compression_setup, pdx_is_region_compressible) and xen/arch/x86/srat.c (srat_parse_regions);
2009: the same names in xen/arch/x86/srat.c and x86_64/mm.c at bac2000063.

One bit diagram for the mask::

    mfn  | top bits | hole: zero in every frame | bottom bits |
    pdx             | top bits                  | bottom bits |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from .._facts import Facts
from ..constants import GIB, MAX_ORDER, PAGE_SHIFT, PAGE_SIZE, U64_END
from ._runs import Run, clipped, merged

_U64: Final = U64_END - 1
#: Entries of the offset tables: 2^CONFIG_PDX_OFFSET_TBL_ORDER, x86's default.
TABLE_ORDER: Final = 6
TABLE_ENTRIES: Final = 1 << TABLE_ORDER
#: Bound of Xen's list of ranges (MAX_PFN_RANGES on x86).
RANGES_MAX: Final = 1024
#: Groups of 65,536 frames stay whole in every compression: no bit below this one is ever squeezed.
_GROUP_SHIFT: Final = 16


class Translation(Protocol):
    """mfn <-> pdx, unchecked, modulo 2^64."""

    def mfn_to_pdx(self, mfn: int, /) -> int: ...
    def pdx_to_mfn(self, pdx: int, /) -> int: ...
    def mfn_compressible(self, mfn: int, /) -> bool: ...


class Region(Facts):
    """One region of the offset compression, in frames: its first mfn, length, and slot in the tables."""

    __slots__ = ()

    base_pfn: int
    pages: int
    pfn_idx: int


class Compression(Facts):
    """How mfn and pdx differ.

    Attributes
    ----------
    kind : str
        ``none``, ``mask`` or ``offset``.
    method : str
        What the profile was built to try; ``kind`` is ``none`` when it refused.
    reason : str
        Why it was chosen or refused, in plain words.
    base : int or None
        The first RAM address at or above 4 GiB, which makes Xen look; None when nothing did.
    bottom_shift, hole_shift : int
        Mask: the hole is ``hole_shift`` bits wide and starts at bit ``bottom_shift`` of an mfn.
    pfn_index_shift, pdx_index_shift : int
        Offset: shifts of an mfn and of a pdx to their slot in the tables.
    pdx_region_size : int
        Offset: frames in one region, a power of two; 2^64 - 1 when not in use.
    regions : tuple of Region
        Offset: after the merge by slot, ascending.
    order_needed : int
        Offset: the table order that would tell every region apart, when the table is too small; else 0.
    no_gain : bool
        Offset: refused since the regions would reach as far as the memory does.
    first : Compression or None
        What Xen chose, and printed, before it fell back to none.
    """

    __slots__ = ()

    kind: str
    method: str
    reason: str
    base: int | None = None
    bottom_shift: int = 0
    hole_shift: int = 0
    pfn_index_shift: int = 0
    pdx_index_shift: int = 0
    pdx_region_size: int = _U64
    regions: tuple[Region, ...] = ()
    order_needed: int = 0
    no_gain: bool = False
    first: Compression | None = None

    @property
    def pfn_pdx_bottom_mask(self) -> int:
        """Mask: the bits of an mfn below the hole; all ones without one."""
        return (1 << self.bottom_shift) - 1 if self.hole_shift else _U64

    @property
    def pfn_hole_mask(self) -> int:
        """Mask: the bits of an mfn in the hole."""
        return ((1 << self.hole_shift) - 1) << self.bottom_shift

    @property
    def pfn_top_mask(self) -> int:
        """Mask: the bits of an mfn above the hole; 0 without one."""
        return _U64 & ~(self.pfn_pdx_bottom_mask | self.pfn_hole_mask)

    @property
    def pfn_pdx_lookup(self) -> tuple[int, ...]:
        """Offset: what to subtract from an mfn, by slot; zeros where unused."""
        table = [0] * TABLE_ENTRIES
        for i, region in enumerate(self.regions):
            table[region.pfn_idx] = (region.base_pfn - self.pdx_region_size * i) & _U64
        return tuple(table)

    @property
    def pdx_pfn_lookup(self) -> tuple[int, ...]:
        """Offset: what to add to a pdx, by region; zeros where unused."""
        table = [0] * TABLE_ENTRIES
        for i, region in enumerate(self.regions):
            table[i] = (region.base_pfn - self.pdx_region_size * i) & _U64
        return tuple(table)

    @property
    def pfn_bases(self) -> tuple[int, ...]:
        """Offset: the first mfn of each slot's region, ~0 where unused; all zero without compression."""
        table = [_U64 if self.kind == "offset" else 0] * TABLE_ENTRIES
        for region in self.regions:
            table[region.pfn_idx] = region.base_pfn
        return tuple(table)

    def parameters(self) -> dict[str, Any]:
        """The boot parameters that this choice fixes, by name; see ``frozen.PARAMETERS``."""
        return {
            "pdx_compression": self.kind,
            "pfn_pdx_hole_shift": self.hole_shift,
            "pfn_pdx_bottom_mask": self.pfn_pdx_bottom_mask,
            "pfn_top_mask": self.pfn_top_mask,
            "pfn_hole_mask": self.pfn_hole_mask,
            "ma_va_bottom_mask": (self.pfn_pdx_bottom_mask << PAGE_SHIFT | (PAGE_SIZE - 1)) & _U64,
            "ma_top_mask": self.pfn_top_mask << PAGE_SHIFT & _U64,
            "pfn_index_shift": self.pfn_index_shift,
            "pdx_index_shift": self.pdx_index_shift,
            "pdx_region_size": self.pdx_region_size,
            "pfn_pdx_lookup": self.pfn_pdx_lookup,
            "pdx_pfn_lookup": self.pdx_pfn_lookup,
            "pfn_bases": self.pfn_bases,
        }

    def is_region_compressible(self, start: int, end: int) -> bool:
        """Whether [start, end), in bytes, survives the compression (Xen: pdx_is_region_compressible)."""
        pfn, pages = start >> PAGE_SHIFT, -(-end >> PAGE_SHIFT) - (start >> PAGE_SHIFT)
        if self.kind == "mask":
            moving = fill(start ^ (start + (pages << PAGE_SHIFT) - 1))
            bottom = (1 << (self.bottom_shift + PAGE_SHIFT)) - 1
            return not pfn & self.pfn_hole_mask and not moving & ~bottom
        if self.kind == "offset":
            base = self.pfn_bases[(pfn >> self.pfn_index_shift) % TABLE_ENTRIES]
            return pfn >= base and pfn + pages <= (base + self.pdx_region_size) & _U64
        return True

    def valid_group_runs(self, groups: Sequence[Run], max_page: int) -> list[Run]:
        """The mfn groups whose first frame is valid, as runs of ``mfn >> 16``.

        ``groups`` are the valid pdx groups, as sorted runs. Work is in proportion to the runs, not to the
        span: compression keeps groups whole, so a run of pdx groups is a few runs of mfn groups.
        """
        if self.kind == "mask":
            runs = self._expanded(groups)
        elif self.kind == "offset":
            runs = self._shifted(groups)
        else:
            runs = list(groups)
        return merged(clipped(runs, 0, -(-max_page >> _GROUP_SHIFT)))

    def _expanded(self, groups: Sequence[Run]) -> list[Run]:
        block = 1 << (self.bottom_shift - _GROUP_SHIFT)
        out = []
        for start, end in groups:
            while start < end:
                stop = min(end, (start // block + 1) * block)
                jump = (start // block) * (block << self.hole_shift) - (start // block) * block
                out.append((start + jump, stop + jump))
                start = stop
        return out

    def _shifted(self, groups: Sequence[Run]) -> list[Run]:
        size = self.pdx_region_size >> _GROUP_SHIFT
        out = []
        for i, region in enumerate(self.regions):
            # Frames past the end of the slot look at another slot, which is not theirs.
            slot_end = (region.base_pfn >> self.pfn_index_shift) + 1 << self.pfn_index_shift
            frames = min(self.pdx_region_size, slot_end - region.base_pfn)
            jump = (region.base_pfn >> _GROUP_SHIFT) - size * i
            inside = clipped(groups, size * i, size * i + (frames >> _GROUP_SHIFT))
            out += [(start + jump, end + jump) for start, end in inside]
        return out


def fill(bits: int) -> int:
    """Set every bit below the top set bit (Xen: fill_mask)."""
    return (1 << bits.bit_length()) - 1


def no_compression(method: str, reason: str, base: int | None = None) -> Compression:
    """The identity, and why."""
    return Compression("none", method, reason, base)


def choose(
    method: str,
    base: int,
    regions: Sequence[Run] | None,
    ram: Sequence[Run],
    *,
    checks_regions: bool,
) -> Compression:
    """Choose the compression as Xen does when it meets the first RAM range at or above 4 GiB.

    Parameters
    ----------
    method : str
        ``mask``, ``offset`` or ``none``: how the profile is built.
    base : int
        Start of that RAM range, in bytes.
    regions : sequence of (start, end) or None
        The SRAT entries that count, in bytes and in the table's order; None without an SRAT.
    ram : sequence of (start, end)
        The RAM entries of the clipped e820, in bytes.
    checks_regions : bool
        The modern tree: choose, then check every RAM entry and fall back.

    Returns
    -------
    Compression
        Never raises: a refusal is a result with a reason.
    """
    if method == "none":
        return no_compression(method, "built without compression", base)
    if regions is None:
        return no_compression(method, "the machine has no SRAT", base)
    if not checks_regions:
        return _choose_mask_2009(base, regions, ram)
    chosen = setup(method, base, regions)
    for start, end in ram:
        if chosen.kind != "none" and not chosen.is_region_compressible(start, end):
            reason = f"RAM [{start:#x}, {end:#x}) is not covered by the compression that the SRAT allows"
            return replace(no_compression(method, reason, base), first=chosen)
    return chosen


def setup(method: str, base: int, regions: Sequence[Run]) -> Compression:
    """Set the modern compression up from regions alone, unchecked against RAM.

    ``base`` and ``regions`` are in bytes; regions are taken to whole frames, outward. Xen c447b7308b,
    xen/common/pdx.c, pfn_pdx_compression_setup.
    """
    ranges = [(start >> PAGE_SHIFT, -(-end >> PAGE_SHIFT)) for start, end in regions]
    if not ranges:
        return no_compression(method, "the SRAT has no memory entry that counts", base)
    if len(ranges) > RANGES_MAX:
        return no_compression(method, f"{len(ranges)} ranges are more than {RANGES_MAX}", base)
    lowest = fill(max(base, GIB) - 1) >> PAGE_SHIFT
    if method == "mask":
        return _mask(lowest, ranges, base, MAX_ORDER)
    return _offset(lowest, ranges, base)


def _choose_mask_2009(base: int, regions: Sequence[Run], ram: Sequence[Run]) -> Compression:
    # 2009 and 4.17 look at the bits that move in RAM, and not at the bits that are set in its base.
    lowest = fill(base - 1) >> PAGE_SHIFT
    ranges = [(start >> PAGE_SHIFT, -(-end >> PAGE_SHIFT)) for start, end in regions]
    used = _used_bits(lowest, ranges)
    for start, end in ram:
        if fill(start ^ (end - 1)) & ~(used << PAGE_SHIFT | (PAGE_SIZE - 1)):
            reason = f"RAM [{start:#x}, {end:#x}) has bits that move where the SRAT has none"
            return no_compression("mask", reason, base)
    return _mask(lowest, ranges, base, 0)


def _used_bits(lowest: int, ranges: Iterable[Run]) -> int:
    used = lowest
    for start, end in ranges:
        used |= start | fill(start ^ (end - 1))
    return used


def _mask(lowest: int, ranges: Sequence[Run], base: int, floor: int) -> Compression:
    used = _used_bits(lowest, ranges)
    bottom, width = _widest_hole(used, floor)
    if not width:
        return no_compression("mask", "every bit below the top one is used by some range", base)
    return Compression(
        "mask",
        "mask",
        f"frame-number bits {bottom}...{bottom + width - 1} are zero in every range",
        base,
        bottom_shift=bottom,
        hole_shift=width,
    )


def _widest_hole(used: int, floor: int) -> tuple[int, int]:
    # The longest run of zero bits at or above ``floor`` that has a set bit above it; of equals the lowest.
    best = (0, 0)
    start = None
    for bit in range(floor, used.bit_length()):
        if used >> bit & 1:
            if start is not None and bit - start > best[1]:
                best = (start, bit - start)
            start = None
        elif start is None:
            start = bit
    return best


def _offset(lowest: int, ranges: Sequence[Run], base: int) -> Compression:
    merged_ranges = _merge_overlapping(sorted(ranges, key=lambda r: r[0]))
    used = lowest
    for start, end in merged_ranges:
        used |= fill(start ^ (end - 1))
    first = merged_ranges[0][0]
    index_bits = 0
    for start, _ in merged_ranges:
        index_bits |= (start ^ first) & ~used
    shift, order = _index_shift(used, index_bits)
    regions = _merge_by_index(merged_ranges, shift)
    pages = max(r.pages for r in regions)
    size_mask = fill(max(pages << PAGE_SHIFT, GIB) - 1) >> PAGE_SHIFT
    size = size_mask + 1
    if size * (len(regions) - 1) >= regions[-1].base_pfn:
        reason = (
            f"no gain: {_regions(len(regions))} of {size:#x} frames reach as far as the last one's base,"
            f" frame {regions[-1].base_pfn:#x}"
        )
        if order:
            reason += f"; the table's {TABLE_ENTRIES} slots are too few to tell the ranges apart"
        return replace(no_compression("offset", reason, base), order_needed=order, no_gain=True)
    return Compression(
        "offset",
        "offset",
        f"{_regions(len(regions))} of {size:#x} frames, told apart by frame-number bits from {shift} up",
        base,
        pfn_index_shift=shift,
        pdx_index_shift=size_mask.bit_length(),
        pdx_region_size=size,
        regions=regions,
        order_needed=order,
    )


def _regions(count: int) -> str:
    return f"{count} region" + ("s" if count != 1 else "")


def _merge_overlapping(ranges: Sequence[Run]) -> list[Run]:
    # Bases go down to 1 GiB, so that the largest pages still fit. A range that then overlaps the one before
    # it is joined to it, and the end is the later range's, even when that is the smaller one.
    out: list[Run] = []
    for start, end in ranges:
        start = start >> MAX_ORDER << MAX_ORDER
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


def _index_shift(used: int, index_bits: int) -> tuple[int, int]:
    # The shift to a slot, and the order that the table lacks for the lowest bits that tell bases apart.
    if not index_bits:
        return used.bit_length(), 0
    lowest = (index_bits & -index_bits).bit_length() - 1
    order = index_bits.bit_length() - lowest
    if order <= TABLE_ORDER:
        return lowest, 0
    return index_bits.bit_length() - TABLE_ORDER, order


def _merge_by_index(ranges: Sequence[Run], shift: int) -> tuple[Region, ...]:
    # Neighbours with one slot become one region. No range spans two slots, for which Xen looks too: the bits
    # that move in some range all lie below the shift.
    out: list[Region] = []
    for start, end in ranges:
        index = (start >> shift) % TABLE_ENTRIES
        if out and out[-1].pfn_idx == index:
            out[-1] = replace(out[-1], pages=end - out[-1].base_pfn)
        else:
            out.append(Region(start, end - start, index))
    return tuple(out)
