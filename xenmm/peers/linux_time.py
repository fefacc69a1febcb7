"""What Linux's conversions cost, in the same terms as Xen's primitives: operations, and accesses.

>>> from xenmm.peers.linux_time import cost
>>> cost("pfn_to_page", "vmemmap", uarch="zen3").latency
2
>>> cost("pfn_to_page", "sparsemem", uarch="zen3").latency > 10
True

The programs are in the language of :mod:`xenmm.timing.primitives`, restated from the macros of Linux
6.1.192 (include/asm-generic/memory_model.h, include/linux/mmzone.h) as compilers emit them at -O2. As there,
``variables`` reads what boot wrote once from memory, which is what a kernel with a randomized layout does,
and ``constants`` has it in the code. Preemption counts, which some configurations keep around pfn_valid, are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ..boot._runs import coarse, total
from ..constants import GIB, MIB, PAGE_SHIFT, PAGE_SIZE
from ..errors import ConfigError, need_one_of
from ..timing.cost import Cost, cost_of
from ..timing.operations import Operations
from ..timing.primitives import WAYS, Access, Program, parse_program
from . import linux_sections as rules
from .linux import MODELS, MemoryModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..timing.on_host import PrimitiveRun
    from ..timing.space import AddressSpace, Mapping

    Words = npt.NDArray[np.uint64]

#: The conversions that have a program; page_to_virt is Linux's page_address of a page in the direct map.
PRIMITIVES: Final = ("pfn_to_page", "page_to_pfn", "pfn_valid", "page_to_virt")
#: Xen's conversion that does the same work, for tables that show both.
XEN_PRIMITIVES: Final = {
    "pfn_to_page": "mfn_to_page",
    "page_to_pfn": "page_to_mfn",
    "pfn_valid": "mfn_valid",
    "page_to_virt": "page_to_virt",
}

#: mm.h, page_to_section: the section's number is in the topmost bits of a struct page's flags.
_SECTIONS_PGSHIFT: Final = 64 - (rules.PHYSMEM_BITS[4] - rules.SECTION_SHIFT)
_SECTIONS: Final = 1 << rules.PHYSMEM_BITS[4] - rules.SECTION_SHIFT
_MAP_MASK: Final = 0xFFFFFFFFFFFFFFE0
_BASE: Final = {"flatmem": "$mem_map", "vmemmap": "$vmemmap_base"}


def _lookup(source: str, shift: int, page_ext: bool) -> str:
    # From what holds the number of a section, above so many bits, to the section's word: two tables, each
    # tested for being there. Compilers shift to the root and to the number separately.
    record = rules.MEM_SECTION_BYTES[page_ext].bit_length() - 1
    in_root = PAGE_SHIFT - record
    return f"""
        nr = shr {source} {shift}
        root = shr {source} {shift + in_root}
        br $mem_section 0
        table = index mem_section root
        br table 0
        at = and nr {(1 << in_root) - 1}
        at = shl at {record}
        section = add table at
        coded = load section_mem_map section"""


def _programs(model: str, page_ext: bool) -> dict[str, str]:
    lookup = _lookup("x", rules.PFN_SECTION_SHIFT, page_ext)
    if model == "sparsemem":
        pfn_to_page = f"""{lookup}
        br nr {_SECTIONS}
        coded = and coded {_MAP_MASK:#x}
        x = shl x {rules.STRUCT_PAGE_SHIFT}
        x = add x coded"""
        page_to_pfn = f"""
        flags = load flags x{_lookup("flags", _SECTIONS_PGSHIFT, page_ext)}
        coded = and coded {_MAP_MASK:#x}
        x = sub x coded
        x = shr x {rules.STRUCT_PAGE_SHIFT}"""
    else:
        pfn_to_page = f"""
        x = shl x {rules.STRUCT_PAGE_SHIFT}
        x = add x {_BASE[model]}"""
        page_to_pfn = f"""
        x = sub x {_BASE[model]}
        x = shr x {rules.STRUCT_PAGE_SHIFT}"""
    # A comparison and the byte that it sets. The others know the answer when they know the bit that says the
    # section is of boot; the bitmap of subsections is read for hot-added memory alone.
    pfn_valid = (
        """
        x = sub x $max_mapnr
        x = and x 1"""
        if model == "flatmem"
        else f"""
        top = shr x {64 - PAGE_SHIFT}
        br top 0{lookup}
        br nr {_SECTIONS}
        there = and coded 2
        br there 0
        x = and coded 8
        br x 0"""
    )
    return {
        "pfn_to_page": pfn_to_page,
        "page_to_pfn": page_to_pfn,
        "pfn_valid": pfn_valid,
        "page_to_virt": f"""{page_to_pfn}
        x = shl x {PAGE_SHIFT}
        x = add x $page_offset_base""",
    }


@cache
def program(primitive: str, model: str, way: str = "variables", *, page_ext: bool = False) -> Program:
    """Return the steps of a conversion.

    Parameters
    ----------
    primitive : str
        One of :data:`PRIMITIVES`.
    model : str
        One of :data:`xenmm.peers.linux.MODELS`.
    way : {"variables", "constants"}
        Whether what boot wrote once is read from memory or is in the code.
    page_ext : bool
        See :func:`xenmm.peers.linux.memory_model`.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    need_one_of("primitive", primitive, PRIMITIVES)
    need_one_of("model", model, MODELS)
    need_one_of("way", way, WAYS)
    return parse_program(primitive, model, way, _programs(model, page_ext)[primitive])


def cost(
    primitive: str,
    model: str,
    way: str = "variables",
    uarch: str | Operations = "zen3",
    *,
    page_ext: bool = False,
) -> Cost:
    """Return what a conversion costs when all that it reads is in the first cache.

    Parameters are those of :func:`program` and of :func:`xenmm.timing.cost.cost`, whose results stand beside.
    """
    return cost_of(program(primitive, model, way, page_ext=page_ext), uarch)


def run_primitive(
    linux: MemoryModel,
    primitive: str,
    pfns: Sequence[int] | Words,
    *,
    way: str = "variables",
    uarch: str = "zen3",
    warm: bool = True,
) -> PrimitiveRun:
    """Run a conversion on frames, one call for each, through caches, TLBs and page walks.

    Parameters
    ----------
    linux : MemoryModel
        On 4 levels of page tables, which is what the engine walks.
    primitive, way : str
        See :func:`program`.
    pfns : sequence of int
        Valid frames; conversions from a page begin with the one that the frame has.
    uarch : str
        A preset or a TOML file.
    warm : bool
        Run the accesses once before they are counted.

    Raises
    ------
    ConfigError
        A name is unknown, there are no frames, or the model has 5 levels.
    FrameError
        A frame is not valid.
    """
    import numpy as np

    from ..timing.on_host import run_accesses

    frames = np.asarray(pfns, np.uint64)
    if frames.ndim != 1 or not len(frames):
        raise ConfigError("pfns: a primitive runs on one frame or more")
    pages = linux.pfn_to_page(frames)
    made = program(primitive, linux.model, way, page_ext=linux.page_ext)
    places = _Places(linux)
    columns = [places.where(a, frames, pages) for a in made.accesses]
    addresses = np.stack(columns, axis=1).ravel() if columns else np.empty(0, np.uint64)
    kinds = np.tile(np.array([a.writes for a in made.accesses], np.uint8), len(frames))
    found = cost_of(made, uarch)
    return run_accesses(found, addresses, kinds, len(frames), uarch, places.space, warm=warm)


#: Where the kernel's variables are seen, and where its image lies in memory (assumed: as linked, at 16 MiB).
_IMAGE_VIRT: Final = 0xFFFFFFFF81000000
_IMAGE_MADDR: Final = 16 * MIB
_VARIABLES: Final = ("vmemmap_base", "page_offset_base", "mem_map", "max_mapnr", "mem_section")
#: Tables that boot allocates come after the image (assumed).
_TABLES_FROM: Final = 64 * MIB


class _Places:
    # Where what the conversions read is: virtual addresses, and the space that maps them. What a log does
    # not tell is assumed: the variables lie together; the roots follow their array; the pages of the vmemmap
    # are taken from the top of RAM downward.

    def __init__(self, linux: MemoryModel) -> None:
        if linux.levels != 4:
            raise ConfigError("the engine walks 4 levels of page tables: make the model with levels=4")
        self._linux = linux
        self._per_root = PAGE_SIZE // rules.MEM_SECTION_BYTES[linux.page_ext]
        self._roots = coarse(linux.sections, self._per_root)
        self._array = _SECTIONS // self._per_root * 8
        size = self._array + total(self._roots) * PAGE_SIZE
        self._tables = _first_room(linux, size) + rules.PAGE_OFFSET[4]

    def where(self, access: Access, pfns: Words, pages: Words) -> Words:
        import numpy as np

        if access.what == "variable":
            return np.full(len(pfns), np.uint64(_IMAGE_VIRT + 8 * _VARIABLES.index(access.name)))
        if access.name == "flags":
            return pages
        sections = pfns >> np.uint64(rules.PFN_SECTION_SHIFT)
        roots = sections // np.uint64(self._per_root)
        if access.name == "mem_section":
            array: Words = np.uint64(self._tables) + roots * np.uint64(8)
            return array
        # Roots are allocated in the order of their sections.
        order = np.array([r for s, e in self._roots for r in range(s, e)], np.uint64)
        nth = np.searchsorted(order, roots).astype(np.uint64)
        record = np.uint64(rules.MEM_SECTION_BYTES[self._linux.page_ext])
        base = np.uint64(self._tables + self._array)
        found: Words = base + nth * np.uint64(PAGE_SIZE) + sections % np.uint64(self._per_root) * record
        return found

    def space(self) -> AddressSpace:
        from ..timing.host_space import Frames
        from ..timing.space import AddressSpace, Mapping

        linux = self._linux
        frames = Frames([(s << PAGE_SHIFT, e << PAGE_SHIFT) for s, e in linux.frames])
        mappings = list(_direct_map(linux))
        mappings.append(Mapping(_IMAGE_VIRT, _IMAGE_MADDR, 32 * MIB, "2m"))
        if linux.vmemmap is not None:
            base = rules.VMEMMAP_BASE[4]
            small = [(64 * s, 64 * e) for s, e in linux.vmemmap.small]
            pieces = [(s << 21, e << 21, "2m", 2 * MIB) for s, e in linux.vmemmap.large]
            pieces += [(s, e, "4k", PAGE_SIZE) for s, e in small]
            for start, end, name, page in pieces:
                while start < end:
                    length = min(end - start, max(frames.largest(page) // page, 1) * page)
                    mappings.append(Mapping(base + start, frames.take(length, page), length, name))
                    start += length
        name = f"{linux.memory_map.name or 'unnamed'}, Linux {linux.model}"
        return AddressSpace(mappings, tables_maddr=frames.take(MIB, PAGE_SIZE), name=name)


def _first_room(linux: MemoryModel, size: int) -> int:
    for start, end in linux.frames:
        at = max(start << PAGE_SHIFT, _TABLES_FROM)
        if at + size <= end << PAGE_SHIFT:
            return at
    raise ConfigError(f"machine: no RAM from {_TABLES_FROM >> 20} MiB up has room for the tables of sections")


def _direct_map(linux: MemoryModel) -> Iterator[Mapping]:
    # arch/x86/mm/init.c, split_mem_range: the largest page that fits, small ones at both ends. Where the
    # mem_map lies behind RAM, on a machine that would not boot, it is mapped too.
    from ..timing.space import Mapping

    base = rules.PAGE_OFFSET[4]
    for start, end in ((s << PAGE_SHIFT, e << PAGE_SHIFT) for s, e in linux.frames):
        at = start
        while at < end:
            for name, page in (("1g", GIB), ("2m", 2 * MIB), ("4k", PAGE_SIZE)):
                if at % page == 0 and at + page <= end:
                    larger = {"1g": 1 << 60, "2m": GIB, "4k": 2 * MIB}[name]
                    # Up to where a larger page would begin.
                    stop = min(end // page * page, (at // larger + 1) * larger)
                    yield Mapping(base + at, at, stop - at, name)
                    at = stop
                    break


def beside_xen(uarch: str = "zen3", way: str = "variables") -> list[dict[str, Any]]:
    """Return the cost of each conversion under every memory model and every compression of Xen's.

    One dictionary for each: ``system`` (``linux`` or ``xen``), ``model``, and for each of :data:`PRIMITIVES`
    what :meth:`xenmm.timing.cost.Cost.to_dict` tells, all that is read being in the first cache.
    """
    from ..timing.cost import cost as xen_cost
    from ..timing.primitives import MODES

    rows: list[dict[str, Any]] = [
        {"system": "linux", "model": m, **{p: cost(p, m, way, uarch).to_dict() for p in PRIMITIVES}}
        for m in MODELS
    ]
    rows += [
        {
            "system": "xen",
            "model": m,
            **{p: xen_cost(x, m, way, uarch).to_dict() for p, x in XEN_PRIMITIVES.items()},
        }
        for m in MODES
    ]
    return rows
