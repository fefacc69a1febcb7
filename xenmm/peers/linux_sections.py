"""Which frames Linux describes, and with what: sections of 128 MiB, the tables that find them, the pages that
map the vmemmap. Pure arithmetic on runs of frames.

Source of every rule here, read and restated: Linux 6.1.192, x86-64, and the file and symbol named beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..boot._runs import Run, clipped, coarse, merged, round_down, round_up, subtracted, total
from ..boot.e820 import usable_ram
from ..constants import L1_PAGETABLE_ENTRIES, L2_PAGETABLE_SHIFT, PAGE_SHIFT, PAGE_SIZE
from ..errors import ConfigError
from ..firmware.memory_map import MemoryMap

#: ``sizeof(struct page)`` on x86-64, as distributions configure it: include/linux/mm_types.h.
STRUCT_PAGE_BYTES: Final = 64
STRUCT_PAGE_SHIFT: Final = 6
#: arch/x86/include/asm/sparsemem.h, SECTION_SIZE_BITS; mmzone.h, PFN_SECTION_SHIFT.
SECTION_SHIFT: Final = 27
PFN_SECTION_SHIFT: Final = SECTION_SHIFT - PAGE_SHIFT
PAGES_PER_SECTION: Final = 1 << PFN_SECTION_SHIFT
#: mmzone.h, SUBSECTION_SHIFT: what hot-adding counts in, with a vmemmap.
SUBSECTION_BYTES: Final = 1 << 21
PAGES_PER_SUBSECTION: Final = SUBSECTION_BYTES >> PAGE_SHIFT
#: arch/x86/include/asm/sparsemem.h, MAX_PHYSMEM_BITS, by levels of page tables.
PHYSMEM_BITS: Final = {4: 46, 5: 52}
#: arch/x86/include/asm/pgtable_64_types.h, __VMEMMAP_BASE_L4 and _L5: where it is without randomization.
VMEMMAP_BASE: Final = {4: 0xFFFFEA0000000000, 5: 0xFFD4000000000000}
#: arch/x86/include/asm/page_64_types.h, __PAGE_OFFSET_BASE_L4 and _L5.
PAGE_OFFSET: Final = {4: 0xFFFF888000000000, 5: 0xFF11000000000000}
#: mmzone.h, struct mem_section: two words; two more with CONFIG_PAGE_EXTENSION.
MEM_SECTION_BYTES: Final = {False: 16, True: 32}
#: mmzone.h, MAX_ORDER_NR_PAGES: what the ends of a flat mem_map are rounded to.
MAX_ORDER_NR_PAGES: Final = 1 << 10
#: mmzone.h, struct mem_section_usage: an rcu_head (not in older kernels), the bitmap of subsections (with a
#: vmemmap), and four bits for each of the section's 64 blocks of 2 MiB.
_RCU_HEAD_BYTES: Final = 16
_SUBSECTION_MAP_BYTES: Final = 8
_PAGEBLOCK_BITS: Final = 4
_PAGEBLOCK_PAGES: Final = 512
#: Where zones end, in frames: 16 MiB and 4 GiB (arch/x86/mm/init.c, zone_sizes_init).
_ZONE_ENDS: Final = (0x1000, 0x100000)
_POINTER_BYTES: Final = 8

assert 1 << STRUCT_PAGE_SHIFT == STRUCT_PAGE_BYTES
# A section's struct pages fill one 2 MiB page exactly: what makes counting them simple.
assert PAGES_PER_SECTION * STRUCT_PAGE_BYTES == 1 << L2_PAGETABLE_SHIFT


@dataclass(frozen=True, slots=True)
class LinuxCosts:
    """Bytes that a memory model of Linux takes from RAM.

    Attributes
    ----------
    struct_pages : int
        What backs the struct pages.
    section_tables : int
        SPARSEMEM: the array of roots, the roots in use, and each section's usage record. FLATMEM: the flags
        of the zones' pageblocks, which stand in the usage record elsewhere.
    page_tables : int
        Page-table pages that map the vmemmap; the other models live in the direct map.
    """

    struct_pages: int
    section_tables: int
    page_tables: int

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self.struct_pages + self.section_tables + self.page_tables

    def to_dict(self) -> dict[str, int]:
        """Every figure by name, in bytes, the total last."""
        return {
            "struct_pages": self.struct_pages,
            "section_tables": self.section_tables,
            "page_tables": self.page_tables,
            "total": self.total,
        }

    def percent_of(self, ram_bytes: int) -> dict[str, float]:
        """Every figure of :meth:`to_dict` as a percentage of ``ram_bytes``; zeros where that is 0."""
        return {name: 100 * v / ram_bytes if ram_bytes else 0.0 for name, v in self.to_dict().items()}


@dataclass(frozen=True, slots=True)
class Vmemmap:
    """The pages behind the vmemmap.

    Attributes
    ----------
    large : tuple of (start, end)
        Sections whose struct pages are one 2 MiB page each, as runs of section numbers.
    small : tuple of (start, end)
        Frames whose struct pages are 4 KiB pages: hot-added parts of sections, as runs of frames.
    tables : dict of int to int
        Pages of page tables by level, from the lowest: 1 maps 4 KiB pages.
    """

    large: tuple[Run, ...]
    small: tuple[Run, ...]
    tables: dict[int, int]

    @property
    def backed_bytes(self) -> int:
        """Bytes of memory behind it."""
        small = total(self.small) * STRUCT_PAGE_BYTES
        return (total(self.large) << L2_PAGETABLE_SHIFT) + small


def memblock(memory_map: MemoryMap, levels: int) -> tuple[list[Run], list[Run]]:
    """Return the frames that Linux takes for memory, and those past what it can address, as runs.

    The first page and the video hole are firmware's (arch/x86/kernel/setup.c, trim_bios_range); edges are
    rounded inward (mm/memblock.c, memblock_trim_memory).
    """
    ram = subtracted(usable_ram(memory_map), [(0, PAGE_SIZE)])
    whole = merged((round_up(s, PAGE_SIZE) >> PAGE_SHIFT, e >> PAGE_SHIFT) for s, e in ram)
    limit = 1 << PHYSMEM_BITS[levels] - PAGE_SHIFT
    return clipped(whole, 0, limit), clipped(whole, limit, 1 << 64)


def sections_of(frames: Sequence[Run]) -> list[Run]:
    """Return the present sections: all that hold a frame of memory (mm/sparse.c, memory_present)."""
    return coarse(frames, PAGES_PER_SECTION)


def check_added(added: Sequence[Sequence[int]], frames: Sequence[Run], grain: int, levels: int) -> list[Run]:
    """Return hot-added ranges in frames, one run for each call, checked as Linux checks them.

    mm/memory_hotplug.c, check_pfn_span: whole subsections with a vmemmap, whole sections without;
    mm/sparse.c, fill_subsection_map: none that is there already.
    """
    out: list[Run] = []
    taken = merged(
        (round_down(s, PAGES_PER_SUBSECTION), round_up(e, PAGES_PER_SUBSECTION)) for s, e in frames
    )
    end_of_all = 1 << PHYSMEM_BITS[levels]
    for start, end in added:
        said = f"added range [{start:#x}, {end:#x})"
        if start % grain or end % grain or not 0 <= start < end:
            raise ConfigError(f"{said} is no range of whole multiples of {grain >> 20} MiB")
        if end > end_of_all:
            raise ConfigError(f"{said} ends past {end_of_all:#x}, where physical addresses end")
        run = (start >> PAGE_SHIFT, end >> PAGE_SHIFT)
        if clipped(taken, *run):
            raise ConfigError(f"{said} overlaps memory that is there already")
        taken = merged([*taken, run])
        out.append(run)
    return out


def vmemmap_of(sections: Sequence[Run], added: Sequence[Run], levels: int) -> Vmemmap:
    """Return what backs the vmemmap of present sections and of what is hot-added later, call after call.

    A whole section takes one 2 MiB page, what is less 4 KiB pages, nothing where the section was there at
    boot (mm/sparse.c, section_activate; arch/x86/mm/init_64.c, vmemmap_populate). Each table of page tables
    is there when anything below it is (mm/sparse-vmemmap.c).
    """
    large, small = list(sections), []
    for start, end in added:
        first, last = -(-start // PAGES_PER_SECTION), end // PAGES_PER_SECTION
        whole = [(first, last)] if first < last else []
        early = [(s << PFN_SECTION_SHIFT, e << PFN_SECTION_SHIFT) for s, e in sections]
        inside = [(s << PFN_SECTION_SHIFT, e << PFN_SECTION_SHIFT) for s, e in whole]
        small += subtracted(subtracted([(start, end)], inside), early)
        large += whole
    large, small = merged(large), merged(small)
    # By section number: a table of level 1 maps one section's struct pages, one of level 2 those of 512.
    touched = merged([*large, *coarse(small, PAGES_PER_SECTION)])
    tables = {1: total(coarse(small, PAGES_PER_SECTION))}
    for level in range(2, levels):
        tables[level] = total(coarse(touched, L1_PAGETABLE_ENTRIES ** (level - 1)))
    return Vmemmap(tuple(large), tuple(small), tables)


def section_table_bytes(sections: Sequence[Run], levels: int, *, page_ext: bool, vmemmap: bool) -> int:
    """Return the bytes of the two-level table of sections, and of the sections' usage records.

    SPARSEMEM_EXTREME: an array of pointers, as long as physical addresses may reach, and a page of records
    for every root that has a section (mm/sparse.c, memory_present, sparse_index_alloc).
    """
    per_root = PAGE_SIZE // MEM_SECTION_BYTES[page_ext]
    pointers = (1 << PHYSMEM_BITS[levels] - SECTION_SHIFT) // per_root * _POINTER_BYTES
    roots = total(coarse(sections, per_root))
    usage = _RCU_HEAD_BYTES + PAGES_PER_SECTION // _PAGEBLOCK_PAGES * _PAGEBLOCK_BITS // 8
    usage += _SUBSECTION_MAP_BYTES if vmemmap else 0
    return pointers + roots * PAGE_SIZE + total(sections) * usage


def flat_frames(frames: Sequence[Run]) -> Run:
    """Return the frames that a flat mem_map describes (mm/page_alloc.c, alloc_node_mem_map)."""
    if not frames:
        return (0, 0)
    return round_down(frames[0][0], MAX_ORDER_NR_PAGES), round_up(frames[-1][1], MAX_ORDER_NR_PAGES)


def flat_pageblock_bytes(frames: Sequence[Run]) -> int:
    """Return the bytes of the zones' pageblock flags (mm/page_alloc.c, usemap_size)."""
    if not frames:
        return 0
    first, end = frames[0][0], frames[-1][1]
    count = 0
    for low, high in zip((0, *_ZONE_ENDS), (*_ZONE_ENDS, end), strict=True):
        start, stop = max(first, low), min(end, high)
        if start < stop:
            blocks = -(-(stop - start + start % _PAGEBLOCK_PAGES) // _PAGEBLOCK_PAGES)
            count += -(-blocks * _PAGEBLOCK_BITS // 64) * 8
    return count


def vmemmap_facts(vmemmap: Vmemmap) -> dict[str, Any]:
    """The pages behind a vmemmap as plain values."""
    return {
        "sections_2m": [list(run) for run in vmemmap.large],
        "frames_4k": [list(run) for run in vmemmap.small],
        "page_tables": {str(level): n for level, n in vmemmap.tables.items() if n},
    }
