"""The plan of a host: every decision and table of a boot, in its one order, before anything is frozen.

Order: e820, early map, walk and compression, limits, tables, hazards; each parameter goes into its write-once
slot as soon as it is known. Xen c447b7308b, xen/arch/x86/setup.c, __start_xen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .._core import PdxTranslation
from .._facts import Facts
from ..constants import PAGE_SHIFT, PDX_GROUP_COUNT
from ..firmware.memory_map import SRAT_ENABLED, SRAT_HOTPLUG, SRAT_NONVOLATILE, MemoryMap
from ._runs import Run, merged, round_down, subtracted, total
from .command_line import MemoryOptions, foreign_notes, parse_xen
from .direct_map import build_direct_map
from .e820 import E820, Lost, setup_e820
from .frame_table import build_frame_table
from .frozen import BootSlots
from .hazards import Hazard, find_hazards
from .m2p import build_compat_m2p, build_m2p
from .page_tables import PAGE_2M
from .pdx import Compression, Translation, choose, no_compression
from .profiles import PROFILES, Profile
from .tables import Table
from .walk import Call, Chooser, Walk, usable_below_limits, walk_ram

#: One CPU's stack, guards included (Xen: STACK_ORDER 3).
STACK_BYTES: Final = 8 << PAGE_SHIFT


class BootOptions(Facts):
    """The options of a boot, as they took effect.

    Attributes
    ----------
    page_sizes : str
        The CPU's largest page: ``2m`` or ``1g``.
    compat_m2p : bool
        There is an M2P for 32-bit PV guests.
    hotplug : bool or None
        None: what the SRAT says; False: SRAT entries that can be hot-plugged are left out.
    stack_guards : bool
        Node 0's topmost whole 2 MiB page is split for the guard pages of CPU stacks.
    xen_phys_start : int or None
        Where Xen's image lies, in bytes.
    command_line : str or None
        Xen's options; None: those that a Xen log states; ``"ignore"``: none.
    """

    __slots__ = ()

    page_sizes: str = "1g"
    compat_m2p: bool = True
    hotplug: bool | None = None
    stack_guards: bool = False
    xen_phys_start: int | None = None
    command_line: str | None = None


class HostPlan(Facts):
    """Everything that boot found out and decided: the Python-level facts of a host.

    Ranges are half-open, in bytes unless named otherwise; ``groups_valid`` are runs of groups of 65,536 pdx.
    """

    __slots__ = ()

    memory_map: MemoryMap
    profile: Profile
    options: BootOptions
    memory_options: MemoryOptions
    e820: E820
    compression: Compression
    raw_max_page: int
    max_page: int
    max_pdx: int
    groups_valid: tuple[Run, ...]
    mfn_groups_valid: tuple[Run, ...]
    used: tuple[Run, ...]
    lost: tuple[Lost, ...]
    directmap_calls: tuple[Call, ...]
    hotplug_end: int
    frame_table: Table
    m2p: Table
    ro_m2p: Table
    compat_m2p: Table | None
    ro_compat_m2p: Table | None
    direct_map: Table
    hazards: tuple[Hazard, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table there is, in the order of boot."""
        every = (
            self.frame_table,
            self.m2p,
            self.ro_m2p,
            self.compat_m2p,
            self.ro_compat_m2p,
            self.direct_map,
        )
        return tuple(t for t in every if t is not None)

    @property
    def page_table_bytes(self) -> int:
        """Bytes of page-table pages that all tables take from RAM."""
        return sum(t.page_tables.allocated_bytes for t in self.tables)

    @property
    def used_ram_bytes(self) -> int:
        """Bytes of RAM that the allocator gets."""
        return total(self.used)

    @property
    def lost_bytes(self) -> int:
        """Bytes of RAM that this profile cannot use: what is used and what is lost is the machine's RAM."""
        return sum(r.size for r in self.lost)


def plan_boot(memory_map: MemoryMap, profile: Profile, options: BootOptions, slots: BootSlots) -> HostPlan:
    """Boot as far as Python goes: every decision and table, each parameter written once into ``slots``."""
    asked = memory_options(memory_map, profile, options.command_line)
    e820 = setup_e820(memory_map, profile, mem=asked.mem, availmem=asked.availmem)
    _write_layout(slots, profile, options)
    regions = counted_regions(memory_map, asked, options.hotplug)
    walk = _walk(e820, profile, asked, regions)
    _write_walk(slots, profile, walk)
    return _build(memory_map, profile, options, asked, e820, walk)


def counted_regions(memory_map: MemoryMap, asked: MemoryOptions, hotplug: bool | None) -> list[Run] | None:
    """The SRAT entries that steer the compression, in the table's order; None when Xen finds no SRAT."""
    if memory_map.srat is None or not asked.acpi:
        return None
    skipped = SRAT_NONVOLATILE | (SRAT_HOTPLUG if hotplug is False else 0)
    return [(r.start, r.end) for r in memory_map.srat if r.flags & SRAT_ENABLED and not r.flags & skipped]


def _walk(e820: E820, profile: Profile, asked: MemoryOptions, regions: Sequence[Run] | None) -> Walk:
    chooser = _chooser(e820, profile, asked, regions)
    return walk_ram(e820.ram, profile, e820.max_page, identity(), chooser)


def identity() -> Translation:
    """How frames translate before anything is squeezed: not at all."""
    return PdxTranslation(no_compression("none", "before the walk").parameters())


def _chooser(e820: E820, profile: Profile, asked: MemoryOptions, regions: Sequence[Run] | None) -> Chooser:
    def chooser(base: int) -> tuple[Compression, Translation]:
        if asked.compress:
            checks = profile.checks_regions
            chosen = choose(profile.compression, base, regions, e820.ram, checks_regions=checks)
        else:
            chosen = no_compression(profile.compression, "switched off on the command line", base)
        return chosen, PdxTranslation(chosen.parameters())

    return chooser


def _write_layout(slots: BootSlots, profile: Profile, options: BootOptions) -> None:
    layout = profile.layout
    for name, value in (
        ("directmap_virt_start", layout.directmap_virt_start),
        ("directmap_virt_end", layout.directmap_virt_start + layout.directmap_bytes),
        ("frametable_virt_start", layout.frametable_virt_start),
        ("frametable_virt_end", layout.frametable_virt_start + layout.frametable_bytes),
        ("rdwr_mpt_virt_start", layout.rdwr_mpt_virt_start),
        ("rdwr_mpt_virt_end", layout.rdwr_mpt_virt_start + layout.rdwr_mpt_bytes),
        ("ro_mpt_virt_start", layout.ro_mpt_virt_start),
        ("rdwr_compat_mpt_virt_start", layout.compat_mpt_virt_start),
        ("xen_virt_start", layout.xen_virt_start),
        ("xen_virt_end", layout.xen_virt_start + layout.xen_bytes),
    ):
        slots.write(name, value, writer=f"the {layout.name} virtual layout")
    slots.write("xen_phys_start", options.xen_phys_start, writer="the boot options")


def _write_walk(slots: BootSlots, profile: Profile, walk: Walk) -> None:
    for name, value in walk.compression.parameters().items():
        slots.write(name, value, writer="the choice of compression")
    slots.write("max_page", walk.max_page, writer="the walk over RAM")
    slots.write("max_pdx", walk.max_pdx, writer="the walk over RAM")
    groups = _tested_groups(profile, walk)
    slots.write("pdx_group_valid", _bitmap(groups), writer="the walk over RAM")


def _tested_groups(profile: Profile, walk: Walk) -> tuple[Run, ...]:
    # A dense frame table has every group, and mfn_valid tests none.
    if profile.sparse_frame_table:
        return walk.groups_valid()
    return ((0, max(1, -(-walk.max_pdx // PDX_GROUP_COUNT))),)


def _bitmap(groups: Sequence[Run]) -> bytes:
    bits = bytearray(-(-groups[-1][1] // 8))
    for start, end in groups:
        first, last = start // 8, end // 8
        if first == last:
            bits[first] |= (1 << end % 8) - (1 << start % 8)
            continue
        bits[first] |= 0x100 - (1 << start % 8)
        bits[first + 1 : last] = b"\xff" * (last - first - 1)
        if end % 8:
            bits[last] |= (1 << end % 8) - 1
    return bytes(bits)


def _build(
    memory_map: MemoryMap,
    profile: Profile,
    options: BootOptions,
    asked: MemoryOptions,
    e820: E820,
    walk: Walk,
) -> HostPlan:
    page_1g = options.page_sizes == "1g"
    groups = _tested_groups(profile, walk)
    mfn_groups = walk.compression.valid_group_runs(groups, walk.max_page)
    m2p, ro_m2p = build_m2p(profile, mfn_groups, walk.max_page, page_1g=page_1g)
    compat, ro_compat = None, None
    if options.compat_m2p:
        compat, ro_compat = build_compat_m2p(profile, mfn_groups, walk.max_page)
    hotplug_end = _hotplug_end(memory_map, asked, options.hotplug)
    guard = _guarded_mfn(memory_map, walk) if options.stack_guards else None
    direct_map = build_direct_map(
        profile,
        walk.calls,
        walk.translation,
        page_1g=page_1g,
        hotplug_end=hotplug_end,
        guard_mfn=guard,
    )
    plan = HostPlan(
        memory_map=memory_map,
        profile=profile,
        options=options,
        memory_options=asked,
        e820=e820,
        compression=walk.compression,
        raw_max_page=e820.max_page,
        max_page=walk.max_page,
        max_pdx=walk.max_pdx,
        groups_valid=groups,
        mfn_groups_valid=tuple(mfn_groups),
        used=tuple(walk.used),
        lost=tuple(sorted((*e820.lost, *walk.lost), key=lambda r: r.start)),
        directmap_calls=tuple(walk.calls),
        hotplug_end=hotplug_end,
        frame_table=build_frame_table(profile, groups, walk.max_pdx, page_1g=page_1g),
        m2p=m2p,
        ro_m2p=ro_m2p,
        compat_m2p=compat,
        ro_compat_m2p=ro_compat,
        direct_map=direct_map,
        hazards=(),
    )
    return replace(plan, hazards=find_hazards(plan, walk))


def usable_bytes(plan: HostPlan) -> dict[str, int]:
    """Bytes of RAM that each modern profile could use on a plan's map, by the profile's name.

    Only modern ones, since every limit of theirs is at least as wide. Quicker than to boot them: a valid
    compression keeps the order of frames, so that what lies below max_page is used.
    """
    out: dict[str, int] = {}
    e820 = plan.e820
    for name, profile in PROFILES.items():
        if not profile.modern:
            continue
        asked = memory_options(plan.memory_map, profile, plan.options.command_line)
        if not out and not plan.profile.modern:
            e820 = setup_e820(plan.memory_map, profile, mem=asked.mem, availmem=asked.availmem)
        regions = counted_regions(plan.memory_map, asked, plan.options.hotplug)
        out[name] = usable_below_limits(
            e820.ram, profile, e820.max_page, _chooser(e820, profile, asked, regions)
        )
    return out


def _hotplug_end(memory_map: MemoryMap, asked: MemoryOptions, hotplug: bool | None) -> int:
    # Xen: mem_hotplug. Without NUMA nobody reads the entries' flags.
    if hotplug is False or not (asked.numa and asked.acpi):
        return 0
    wanted = SRAT_ENABLED | SRAT_HOTPLUG
    return max((r.end for r in memory_map.srat or () if r.flags & wanted == wanted), default=0)


def _guarded_mfn(memory_map: MemoryMap, walk: Walk) -> int | None:
    # CPU 0's stack comes from the top of node 0 (without an SRAT, of RAM), in one aligned block. Page by page
    # allocations of boot eat the odd tail of the highest RAM; the tail of a lower node 0 is still whole, is
    # mapped in small pages already, and takes the stack when it holds such a block.
    used: Sequence[Run] = walk.used
    rows = [r for r in memory_map.srat or () if r.flags & SRAT_ENABLED]
    if rows:
        node = min(r.node for r in rows)
        inside = merged((r.start, r.end) for r in rows if r.node == node)
        used = subtracted(used, subtracted(used, inside))
    for start, end in reversed(used):
        top = round_down(end, PAGE_2M)
        tail_is_whole = end != walk.used[-1][1]
        if tail_is_whole and round_down(end, STACK_BYTES) - STACK_BYTES >= max(top, start):
            return None
        if top - PAGE_2M >= start:
            return top - PAGE_2M >> PAGE_SHIFT
    return None


def memory_options(memory_map: MemoryMap, profile: Profile, command_line: str | None) -> MemoryOptions:
    """What Xen's command line asks for: the caller's, or the one that a Xen log states."""
    if command_line == "ignore":
        return MemoryOptions()
    text = command_line
    if text is None:
        text = memory_map.stated.command_line or ""
        if not memory_map.format.startswith("xen-") and memory_map.stated.xen_version is None:
            return MemoryOptions(notes=foreign_notes(text))
    return parse_xen(text, availmem=profile.modern, pdx_compress=profile.checks_regions)
