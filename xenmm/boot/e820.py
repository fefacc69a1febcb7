"""From the firmware's rows to the RAM entries that Xen boots with: merging, cutting, clipping.

Rule book: part 2, rule 1. Xen c447b7308b, xen/arch/x86/e820.c: sanitize_e820_map, copy_e820_map,
machine_specific_memory_setup, clip_to_limit (the loop of 2009: the same file at 78e09264ad).
"""

from __future__ import annotations

from typing import Final

from .._facts import Facts
from ..constants import MIB, PAGE_SHIFT, PAGE_SIZE
from ..errors import MemoryMapError
from ..firmware.memory_map import MemoryMap
from ._runs import Run, merged, round_down, round_up, subtracted, total
from .profiles import Profile

#: RAM below this address is left to firmware and trampolines: the allocator never gets it.
FIRST_RAM: Final = MIB
#: Firmware claims RAM where the video memory and the option ROMs are; Xen does not believe it.
VIDEO_HOLE: Final = (0xA0000, MIB)

#: Kinds of range that are entries of an e820 map beside RAM; an entry of theirs wins over RAM below it.
_OTHER_ENTRIES: Final = frozenset(
    ("reserved", "acpi-data", "acpi-nvs", "unusable", "persistent", "persistent-old", "disabled", "unknown")
)


class Lost(Facts):
    """RAM in [start, end), in bytes, that this profile cannot use, and why."""

    __slots__ = ()

    start: int
    end: int
    reason: str

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


class E820(Facts):
    """The RAM entries after clipping, ascending and disjoint, and what was cut.

    ``survivors`` are the entries above the clip limit that the loop of 2009 left in.
    """

    __slots__ = ()

    ram: tuple[Run, ...]
    lost: tuple[Lost, ...]
    survivors: tuple[Run, ...]

    @property
    def ram_bytes(self) -> int:
        """Bytes of the RAM entries, edges not rounded."""
        return total(self.ram)

    @property
    def ram_frames(self) -> int:
        """Whole pages of the RAM entries, edges rounded inward."""
        whole = ((round_up(start, PAGE_SIZE), round_down(end, PAGE_SIZE)) for start, end in self.ram)
        return sum(end - start for start, end in whole if start < end) >> PAGE_SHIFT

    @property
    def system_ram_frames(self) -> int:
        """What Xen prints as its total of RAM: whole pages by length, wherever they begin."""
        return sum((end - start) >> PAGE_SHIFT for start, end in self.ram)

    @property
    def max_page(self) -> int:
        """One past the last whole page of RAM; 0 when no entry holds one (Xen: find_max_pfn)."""
        ends = (
            round_down(end, PAGE_SIZE)
            for start, end in self.ram
            if round_up(start, PAGE_SIZE) < round_down(end, PAGE_SIZE)
        )
        return max(ends, default=0) >> PAGE_SHIFT


def setup_e820(
    memory_map: MemoryMap,
    profile: Profile,
    *,
    mem: int | None = None,
    availmem: int | None = None,
) -> E820:
    """Return the RAM entries that the profile boots with.

    Parameters
    ----------
    memory_map : MemoryMap
        What the firmware says.
    profile : Profile
        Whose limits and whose clipping loop.
    mem, availmem : int, optional
        Xen's options of these names, in bytes: the highest address, and the most RAM, to use.

    Raises
    ------
    MemoryMapError
        If the map holds no whole page of RAM. That the clipping leaves none is a result: a machine that this
        version cannot use.
    """
    if not any(round_up(start, PAGE_SIZE) < round_down(end, PAGE_SIZE) for start, end in memory_map.ram):
        what = "holds no whole page of RAM" if memory_map.ram else "holds no RAM"
        if not memory_map.ram and memory_map.srat:
            what += f", only {len(memory_map.srat)} SRAT rows: give a log that has the RAM map too"
        raise MemoryMapError(f"the memory map {what}", file=memory_map.name or None)
    entries, lost = _entries(memory_map)
    if mem:
        entries = _clip(entries, mem, profile.clip_skips, lost, "mem= on the command line")
    if availmem:
        limit = _availmem_limit(entries, availmem)
        if limit is not None:
            entries = _clip(entries, limit, profile.clip_skips, lost, "availmem= on the command line")
    above = f"above {profile.clip_bytes >> 40} TiB, where this version's tables end"
    entries = _clip(entries, profile.clip_bytes, profile.clip_skips, lost, above)
    ram = [(start, end) for start, end, is_ram in entries if is_ram]
    survivors = tuple(run for run in ram if run[1] > profile.clip_bytes)
    if survivors and profile.pdx_limit is None:
        # Nothing bounds the tables of such a profile: a debug Xen stops here. What is booted instead is the
        # machine without these entries; they are lost, and a hazard says so.
        lost += (Lost(*run, above + "; the clipping loop left the entry in") for run in survivors)
        ram = [run for run in ram if run[1] <= profile.clip_bytes]
    return E820(tuple(ram), tuple(lost), survivors)


def usable_ram(memory_map: MemoryMap) -> list[Run]:
    """Return the RAM that any kernel on the machine may use, before limits: what no other entry of an e820
    map overlaps, without the video hole."""
    return [(start, end) for start, end, is_ram in _entries(memory_map)[0] if is_ram]


def _entries(memory_map: MemoryMap) -> tuple[list[tuple[int, int, bool]], list[Lost]]:
    # The sorted entries of the e820 map, RAM and others, for the loop of 2009 steps over either.
    ram = list(memory_map.ram)
    others = merged((r.start, r.end) for r in memory_map.ranges if r.kind in _OTHER_ENTRIES)
    lost: list[Lost] = []
    usable = ram
    if _is_e820(memory_map):
        usable = subtracted(ram, others)
        lost += (Lost(*r, "another e820 entry overlaps it") for r in subtracted(ram, usable))
    cut = subtracted(usable, [VIDEO_HOLE])
    lost += (Lost(*r, "the video hole below 1 MiB") for r in subtracted(usable, cut))
    entries = [(*r, True) for r in cut] + [(*r, False) for r in subtracted(others, ram)]
    return sorted(entries), lost


def _is_e820(memory_map: MemoryMap) -> bool:
    return "e820" in memory_map.format


def _clip(
    entries: list[tuple[int, int, bool]], limit: int, skips: bool, lost: list[Lost], reason: str
) -> list[tuple[int, int, bool]]:
    # Cut RAM above the limit. The loop of 2009 removes an entry in place and then steps on, past the one
    # that has just moved up: of neighbours above the limit every second one stays.
    kept: list[tuple[int, int, bool]] = []
    step_over = False
    for start, end, is_ram in entries:
        if step_over or not is_ram or end <= limit:
            kept.append((start, end, is_ram))
            step_over = False
        elif start < limit:
            kept.append((start, limit, True))
            lost.append(Lost(limit, end, reason))
        else:
            lost.append(Lost(start, end, reason))
            step_over = skips
    return kept


def _availmem_limit(entries: list[tuple[int, int, bool]], availmem: int) -> int | None:
    # The address below which there is that much RAM; None when there is no more than that.
    size = 0
    for start, end, is_ram in entries:
        if is_ram:
            size += end - start
            if size > availmem:
                return end - (size - availmem)
    return None
