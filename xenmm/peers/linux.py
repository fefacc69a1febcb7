"""Linux's memory models on the same map: what describes memory, what that costs, and the conversions.

>>> import xenmm
>>> from xenmm.peers.linux import memory_model
>>> nodes = xenmm.MemoryMap.from_ranges([(0, 2 << 30), (1 << 40, (1 << 40) + (2 << 30))])
>>> linux = memory_model(nodes, "vmemmap")
>>> hex(linux.pfn_to_page(0x10000000)), linux.costs.struct_pages >> 20
('0xffffea0400000000', 64)
>>> linux.pfn_valid(0x90000)
False

Linux has one memory model for each kernel: FLATMEM, SPARSEMEM (classic), SPARSEMEM_VMEMMAP. x86-64 kernels of
distributions are the last. FLATMEM is not offered to x86-64 by its configuration (arch/x86/Kconfig,
ARCH_FLATMEM_ENABLE): it stands here as the yardstick that a table without a lookup sets.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload

from ..boot._runs import Run, coarse, merged, total
from ..constants import PAGE_SHIFT, PAGE_SIZE, U64_END
from ..errors import ConfigError, FrameError, MemoryMapError
from ..firmware.memory_map import MemoryMap
from . import linux_sections as rules
from ._words import is_array, minus, plus, word, words
from .linux_mem_map import SECTION_MAP_BYTES, Piece, mem_maps, top_down
from .linux_sections import LinuxCosts, Vmemmap

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]

#: The memory models, in the order of their age.
MODELS: Final = ("flatmem", "sparsemem", "vmemmap")
#: Linux's kernel whose rules these are; docs/linux.md says which facts were compared with one that ran.
LINUX_VERSION: Final = "6.1.192"

#: mmzone.h: marked present, has a mem_map, is online, is there since boot.
_SECTION_FLAGS: Final = 0b1111


@dataclass(frozen=True)
class MemoryModel:
    """One memory model of Linux on one machine.

    Attributes
    ----------
    model : str
        One of :data:`MODELS`.
    levels : int
        Of page tables: 4, or 5.
    page_ext : bool
        Whether the kernel has CONFIG_PAGE_EXTENSION, which doubles the record of a section.
    memory_map : MemoryMap
        The machine.
    frames : tuple of (start, end)
        Frames that Linux takes for memory at boot, as runs.
    sections : tuple of (start, end)
        Present sections of 128 MiB, as runs of their numbers, hot-added ones included; empty for FLATMEM.
    valid : tuple of (start, end)
        Frames for which pfn_valid holds, as runs.
    vmemmap : Vmemmap or None
        The pages behind the vmemmap; None for the other models.
    costs : LinuxCosts
        What it takes from RAM. Exact by the rules, save that small allocations are counted by the bytes
        asked for.
    lost_bytes : int
        RAM past the end of what the kernel can address.
    """

    model: str
    levels: int
    page_ext: bool
    memory_map: MemoryMap
    frames: tuple[Run, ...]
    sections: tuple[Run, ...]
    valid: tuple[Run, ...]
    vmemmap: Vmemmap | None
    costs: LinuxCosts
    lost_bytes: int
    _pieces: tuple[Piece, ...]

    @property
    def described_bytes(self) -> int:
        """Bytes of the addresses that have a struct page, holes among them included."""
        return total(self.valid) << PAGE_SHIFT

    def pfn_valid(self, pfn: Any) -> Any:
        """Whether a frame has a struct page: ``bool``, or an array of them; any 64-bit value may be asked.

        A section that was there at boot is valid as a whole, holes included; of one that was hot-added only
        the subsections that were. FLATMEM calls everything below its last frame valid. Linux: mmzone.h,
        pfn_valid; memory_model.h for FLATMEM.
        """
        starts, ends = self._edges
        if is_array(pfn):
            import numpy as np

            values = words("pfn", pfn)
            if not starts:
                return np.zeros(values.shape, bool)
            behind = np.searchsorted(np.array(starts, np.uint64), values, side="right")
            stop = np.concatenate([np.zeros(1, np.uint64), np.array(ends, np.uint64)])
            return values < stop[behind]
        number = word("pfn", pfn)
        at = bisect_right(starts, number) - 1
        return at >= 0 and number < ends[at]

    @overload
    def pfn_to_page(self, pfn: Words) -> Words: ...
    @overload
    def pfn_to_page(self, pfn: int) -> int: ...
    def pfn_to_page(self, pfn: Any) -> Any:
        """Return the virtual address of a frame's struct page.

        Parameters
        ----------
        pfn : int, or ndarray of uint64
            Frames for which :meth:`pfn_valid` holds.

        Raises
        ------
        FrameError
            A frame has no struct page.
        """
        self._need_valid("pfn", pfn, pfn)
        return self.pfn_to_page_unchecked(pfn)

    @overload
    def page_to_pfn(self, page: Words) -> Words: ...
    @overload
    def page_to_pfn(self, page: int) -> int: ...
    def page_to_pfn(self, page: Any) -> Any:
        """Return the frame whose struct page begins at a virtual address.

        Parameters
        ----------
        page : int, or ndarray of uint64
            As :meth:`pfn_to_page` returns it.

        Raises
        ------
        FrameError
            No struct page begins there, or its frame is not valid.
        """
        pfn = self.page_to_pfn_unchecked(page)
        back = self.pfn_to_page_unchecked(pfn)
        if is_array(page):
            wrong = (back != page).nonzero()[0]
            if wrong.size:
                at = int(wrong[0])
                raise FrameError(f"page {int(page[at]):#x} at index {at} is no beginning of a struct page")
        elif back != operator.index(page):
            raise FrameError(f"page {operator.index(page):#x} is no beginning of a struct page")
        self._need_valid("page", page, pfn)
        return pfn

    def pfn_to_page_unchecked(self, pfn: Any) -> Any:
        """Return what Linux's bare pfn_to_page computes, modulo 2^64.

        Without a section table nothing is looked at. With one (``sparsemem``), a frame of a section that is
        not present has a zero in its place, and one below a root that is not there makes Linux fault.

        Raises
        ------
        FrameError
            Where Linux would fault: no root of sections is there. For a value that is no 64-bit word,
            ``OverflowError`` or ``TypeError``.
        """
        if self.model != "sparsemem":
            return plus(self._pieces[0].base, pfn, rules.STRUCT_PAGE_SHIFT)
        if is_array(pfn):
            import numpy as np

            values = words("pfn", pfn)
            return (values << np.uint64(rules.STRUCT_PAGE_SHIFT)) + self._coded(values)
        number = word("pfn", pfn)
        return ((number << rules.STRUCT_PAGE_SHIFT) + self._coded_one(number)) % U64_END

    def page_to_pfn_unchecked(self, page: Any) -> Any:
        """Return what Linux's bare page_to_pfn computes; a difference of addresses divided by 64.

        Raises
        ------
        FrameError
            ``sparsemem``: the section's number stands in the struct page, and there is none at this address.
        """
        if self.model != "sparsemem":
            return minus(page, self._pieces[0].base, rules.STRUCT_PAGE_SHIFT)
        if is_array(page):
            import numpy as np

            values = words("page", page)
            found, known = np.zeros_like(values), np.zeros(values.shape, bool)
            for piece in self._pieces:
                pfns = (values - np.uint64(piece.base)) >> np.uint64(rules.STRUCT_PAGE_SHIFT)
                here = (pfns >= piece.start) & (pfns < piece.end)
                found[here], known = pfns[here], known | here
            if not known.all():
                self._page_to_pfn_one(int(values[~known][0]))
            return found
        return self._page_to_pfn_one(word("page", page))

    def section_mem_map(self, section: int) -> int:
        """Return the word that Linux keeps for a section: where its struct pages would begin if the first
        were frame 0's, with flags in the lowest bits; 0 for a section that is not present.

        Linux: mm/sparse.c, sparse_encode_mem_map.
        """
        if self.model == "flatmem":
            raise ConfigError("flatmem has no sections")
        pfn = section << rules.PFN_SECTION_SHIFT
        present = any(start <= section < end for start, end in self.sections)
        if not present:
            return 0
        early = any(s <= section < e for s, e in rules.sections_of(self.frames))
        flags = _SECTION_FLAGS if early else _SECTION_FLAGS & 0b0111
        base = next(p.base for p in self._pieces if p.start <= pfn < p.end)
        return base | flags

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, versioned: ``schema`` is ``xenmm-linux/1``."""
        ram = self.memory_map.ram_bytes
        return {
            "schema": "xenmm-linux/1",
            "linux": LINUX_VERSION,
            "model": self.model,
            "levels": self.levels,
            "page_ext": self.page_ext,
            "bytes": self.costs.to_dict(),
            "percent": self.costs.percent_of(ram),
            "described_bytes": self.described_bytes,
            "lost_bytes": self.lost_bytes,
            "sections": [list(run) for run in self.sections],
            "vmemmap": rules.vmemmap_facts(self.vmemmap) if self.vmemmap else None,
        }

    @property
    def _edges(self) -> tuple[list[int], list[int]]:
        return [s for s, _ in self.valid], [e for _, e in self.valid]

    def _need_valid(self, name: str, given: Any, pfn: Any) -> None:
        valid = self.pfn_valid(pfn)
        if is_array(given):
            wrong = (~valid).nonzero()
            if wrong[0].size:
                at = wrong[0][0] if given.ndim == 1 else tuple(int(w[0]) for w in wrong)
                value, frame = int(given[at]), int(pfn[at])
                raise FrameError(f"{name} {value:#x} at index {at}: {self._why(frame)}")
        elif not valid:
            raise FrameError(f"{name} {operator.index(given):#x}: {self._why(operator.index(pfn))}")

    def _why(self, pfn: int) -> str:
        if self.model == "flatmem":
            return f"pfn {pfn:#x} is not below max_mapnr {self.valid[-1][1] if self.valid else 0:#x}"
        return f"pfn {pfn:#x} has no struct page: no memory in section {pfn >> rules.PFN_SECTION_SHIFT:#x}"

    # SPARSEMEM's lookups.

    def _coded_one(self, pfn: int) -> int:
        at = bisect_right([p.start for p in self._pieces], pfn) - 1
        if at >= 0 and pfn < self._pieces[at].end:
            return self._pieces[at].base
        per_root = PAGE_SIZE // rules.MEM_SECTION_BYTES[self.page_ext]
        root = (pfn >> rules.PFN_SECTION_SHIFT) // per_root
        if not any(start <= root < end for start, end in coarse(self.sections, per_root)):
            raise FrameError(f"pfn {pfn:#x}: no root of sections is there; Linux would fault")
        return 0

    def _coded(self, values: Words) -> Words:
        import numpy as np

        starts = np.array([p.start for p in self._pieces], np.uint64)
        ends = np.array([0, *(p.end for p in self._pieces)], np.uint64)
        bases = np.array([0, *(p.base for p in self._pieces)], np.uint64)
        at = np.searchsorted(starts, values, side="right")
        inside = values < ends[at]
        for value in values[~inside].ravel():
            self._coded_one(int(value))
        coded: Words = np.where(inside, bases[at], np.uint64(0))
        return coded

    def _page_to_pfn_one(self, page: int) -> int:
        for piece in self._pieces:
            pfn = (page - piece.base) % U64_END >> rules.STRUCT_PAGE_SHIFT
            if piece.start <= pfn < piece.end:
                return pfn
        raise FrameError(f"page {page:#x} lies in no section's mem_map: no struct page to read")


def memory_model(
    memory_map: MemoryMap,
    model: str = "vmemmap",
    *,
    levels: int = 4,
    page_ext: bool = False,
    added: Sequence[Sequence[int]] = (),
) -> MemoryModel:
    """Return what a Linux of one memory model makes of a machine's memory.

    Parameters
    ----------
    memory_map : MemoryMap
        The machine; its RAM is read as :func:`xenmm.boot` reads it, by the rules of x86.
    model : str
        One of :data:`MODELS`.
    levels : int
        Levels of page tables, 4 or 5: they decide how far physical addresses reach, 2^46 or 2^52, and where
        the vmemmap is. Five need ``vmemmap`` (arch/x86/Kconfig, X86_5LEVEL selects it).
    page_ext : bool
        Whether CONFIG_PAGE_EXTENSION is set, as distributions do.
    added : sequence of (start, end)
        Ranges in bytes that are hot-added after boot, one call each: multiples of 2 MiB with a vmemmap, of
        128 MiB without; none for FLATMEM.

    Raises
    ------
    ConfigError
        If an option is unknown, or an added range is not what Linux would take.
    MemoryMapError
        If the map holds no whole page that Linux could use.

    Notes
    -----
    Where the struct pages of ``flatmem`` and ``sparsemem`` lie is the boot allocator's affair and in no log.
    The rule (assumed): in the direct map, at the highest RAM that has room. Kernels randomize the bases of
    direct map and vmemmap; the values here are those of ``nokaslr``.
    """
    if model not in MODELS:
        raise ConfigError(f"unknown memory model {model!r}; one of {', '.join(MODELS)}")
    if levels not in rules.PHYSMEM_BITS:
        raise ConfigError(f"levels of page tables are 4 or 5, got {levels!r}")
    if levels == 5 and model != "vmemmap":
        raise ConfigError(f"{model} has 4 levels of page tables: 5 come with vmemmap alone")
    if page_ext not in (True, False):
        raise ConfigError(f"page_ext is True or False, got {page_ext!r}")
    frames, lost = rules.memblock(memory_map, levels)
    if not frames:
        raise MemoryMapError("the memory map holds no whole page that Linux can use", file=memory_map.name)
    made = _flatmem if model == "flatmem" else _sparsemem
    sections, valid, vmemmap, costs, pieces = made(model, frames, levels, bool(page_ext), added)
    return MemoryModel(
        model,
        levels,
        bool(page_ext),
        memory_map,
        tuple(frames),
        tuple(sections),
        tuple(valid),
        vmemmap,
        costs,
        total(lost) << PAGE_SHIFT,
        tuple(pieces),
    )


_Made = tuple[list[Run], list[Run], Vmemmap | None, LinuxCosts, list[Piece]]


def _flatmem(model: str, frames: list[Run], levels: int, page_ext: bool, added: Sequence[Any]) -> _Made:
    if added:
        raise ConfigError("flatmem cannot hot-add memory: its mem_map is one array")
    first, end = rules.flat_frames(frames)
    size = (end - first) << rules.STRUCT_PAGE_SHIFT
    base = top_down(frames, size, rules.STRUCT_PAGE_BYTES) + rules.PAGE_OFFSET[levels]
    piece = Piece(0, U64_END, (base - (first << rules.STRUCT_PAGE_SHIFT)) % U64_END)
    costs = LinuxCosts(size, rules.flat_pageblock_bytes(frames), 0)
    # memory_model.h: all below max_mapnr, which is the last frame's.
    return [], [(0, frames[-1][1])], None, costs, [piece]


def _sparsemem(model: str, frames: list[Run], levels: int, page_ext: bool, added: Sequence[Any]) -> _Made:
    has_vmemmap = model == "vmemmap"
    early = rules.sections_of(frames)
    grain = rules.SUBSECTION_BYTES if has_vmemmap else 1 << rules.SECTION_SHIFT
    later = rules.check_added(added, frames, grain, levels)
    sections = merged([*early, *coarse(sorted(later), rules.PAGES_PER_SECTION)])
    tables = rules.section_table_bytes(sections, levels, page_ext=page_ext, vmemmap=has_vmemmap)
    whole = [(s << rules.PFN_SECTION_SHIFT, e << rules.PFN_SECTION_SHIFT) for s, e in early]
    valid = merged([*whole, *later])
    if has_vmemmap:
        backed = rules.vmemmap_of(early, later, levels)
        page_tables = sum(backed.tables.values()) * PAGE_SIZE
        costs = LinuxCosts(backed.backed_bytes, tables, page_tables)
        return sections, valid, backed, costs, [Piece(0, U64_END, rules.VMEMMAP_BASE[levels])]
    costs = LinuxCosts(total(sections) * SECTION_MAP_BYTES, tables, 0)
    return sections, valid, None, costs, mem_maps(sections, frames, levels)
