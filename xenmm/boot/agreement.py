"""What a log's own Xen printed about memory, against what is computed here from the same log.

The log's text is read into numbers, and so is what Xen would print for our choice: the two are compared as
numbers, never as wording. Sources of what is printed: Xen c447b7308b, xen/common/pdx.c
(pfn_pdx_compression_setup), xen/arch/x86/setup.c (__start_xen) and xen/arch/x86/srat.c; Arm:
xen/arch/arm/setup.c, init_pdx at RELEASE-4.13.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from .._facts import Facts
from ..constants import PAGE_SHIFT
from ..errors import MemoryMapError
from ..firmware.memory_map import MemoryMap
from ._runs import Run
from .pdx import Compression, no_compression, setup
from .profiles import PROFILES, Profile
from .walk import FOUR_GIB

_MASK_LINE: Final = re.compile(r"compression on bits (\d+)\.\.\.(\d+)")
_SHIFT_LINE: Final = re.compile(r"lookup table shift (\d+) and (?:PDX )?region size (?:0x)?([0-9a-f]+)")
_RANGE_LINE: Final = re.compile(
    r"range\s+(\d+) \[(?:0x)?([0-9a-f]+), (?:0x)?([0-9a-f]+)\] PFN IDX\s+(\d+) : (?:0x)?([0-9a-f]+)"
)
_ORDER_LINE: Final = re.compile(r"truncated, requires order (\d+)")
_NODE_ROW: Final = re.compile(
    r"Node (\d+) PXM \d+ (?:\[([0-9a-f]+), ([0-9a-f]+)\]|([0-9a-f]+)-([0-9a-f]+))(.*)"
)
#: The first release whose x86 build has offset compression, as (major, minor).
_FIRST_WITH_OFFSET: Final = (4, 21)


class Agreement(Facts):
    """One statement of the log against ours.

    ``agrees`` is None where the log says too little to tell.
    """

    __slots__ = ()

    what: str
    stated: str
    computed: str
    agrees: bool | None

    def __str__(self) -> str:
        if self.agrees:
            return f"{self.what}: {self.stated}: agrees"
        verdict = "differs" if self.agrees is False else "cannot be compared"
        return f"{self.what}: the log says {self.stated}, computed here: {self.computed}: {verdict}"


def compare_with_log(memory_map: MemoryMap) -> tuple[Agreement, ...]:
    """Compare everything that a Xen log states with what is computed from its rows.

    Returns
    -------
    tuple of Agreement
        Compression, total of RAM, NUMA rows; empty for a log that is none of Xen's.
    """
    stated = memory_map.stated
    out = []
    if stated.pfn_compression or (_is_xen(memory_map) and memory_map.ram):
        row = _compare_compression(memory_map)
        if row is not None:
            out.append(row)
    if stated.ram_bytes is not None and _is_xen(memory_map):
        out.append(_compare_ram(memory_map, stated.ram_bytes))
    if stated.numa_rows and memory_map.srat is not None:
        out.append(_compare_nodes(memory_map))
    return tuple(out)


def profile_of_log(memory_map: MemoryMap) -> Profile:
    """The profile whose Xen wrote the log, as far as its lines and its version tell."""
    facts = _facts(memory_map.stated.pfn_compression)
    if any(f[0] in ("lookup", "no-gain", "order", "range") for f in facts):
        return PROFILES["xen-offset"]
    recent = _version(memory_map.stated.xen_version) >= _FIRST_WITH_OFFSET
    if any(f[0] == "mask" for f in facts):
        return PROFILES["xen-mask" if recent else "xen-4.17"]
    return PROFILES["xen-offset" if recent else "xen-4.17"]


def compression_facts(chosen: Compression) -> tuple[tuple[object, ...], ...]:
    """What Xen prints for a choice, as tuples of a word and numbers; before any fallback."""
    first = chosen.first or chosen
    if first.kind == "mask":
        return (("mask", first.bottom_shift, first.bottom_shift + first.hole_shift - 1),)
    facts: list[tuple[object, ...]] = []
    if first.order_needed:
        facts.append(("order", first.order_needed))
    if first.no_gain:
        facts.append(("no-gain",))
    if first.kind == "offset":
        facts.append(("lookup", first.pfn_index_shift, first.pdx_region_size))
        facts += (
            ("range", i, r.base_pfn, r.base_pfn + r.pages - 1, r.pfn_idx, first.pdx_pfn_lookup[i])
            for i, r in enumerate(first.regions)
        )
    return tuple(facts)


def _facts(lines: Sequence[str]) -> tuple[tuple[object, ...], ...]:
    facts: list[tuple[object, ...]] = []
    for line in lines:
        if found := _MASK_LINE.search(line):
            facts.append(("mask", int(found[1]), int(found[2])))
        elif found := _SHIFT_LINE.search(line):
            facts.append(("lookup", int(found[1]), int(found[2], 16)))
        elif found := _RANGE_LINE.search(line):
            start, last, lookup = (int(found[n], 16) for n in (2, 3, 5))
            facts.append(("range", int(found[1]), start, last, int(found[4]), lookup))
        elif found := _ORDER_LINE.search(line):
            facts.append(("order", int(found[1])))
        elif "no space gain" in line:
            facts.append(("no-gain",))
    return tuple(facts)


def _compare_compression(memory_map: MemoryMap) -> Agreement | None:
    stated = _facts(memory_map.stated.pfn_compression)
    chosen = _choose_for_log(memory_map)
    if chosen is None:
        return None
    computed = compression_facts(chosen)
    agrees: bool | None = computed == stated
    if computed and not stated:
        # The line may have been printed before the log begins, or on a level that was not logged.
        agrees = None
    return Agreement("compression", _told(stated), _told(computed), agrees)


def _told(facts: tuple[tuple[object, ...], ...]) -> str:
    words = {
        "mask": "bits {}...{}",
        "lookup": "lookup shift {}, region size {:#x}",
        "range": "range {} frames [{:#x}, {:#x}] in slot {}, offset {:#x}",
        "order": "table order {} needed",
        "no-gain": "no gain",
    }
    return "; ".join(words[str(f[0])].format(*f[1:]) for f in facts) or "none"


def _choose_for_log(memory_map: MemoryMap) -> Compression | None:
    if memory_map.arch == "arm" or "arm" in memory_map.format:
        # Xen on Arm squeezes what its banks allow, from the first one up, without an SRAT.
        ram = memory_map.ram
        return setup("mask", ram[0][0], ram) if ram else None
    profile = profile_of_log(memory_map)
    if not memory_map.ram:
        return _choose_from_srat(memory_map, profile)
    from .host import boot

    try:
        return boot(memory_map, profile).compression
    except MemoryMapError:
        return None


def _choose_from_srat(memory_map: MemoryMap, profile: Profile) -> Compression | None:
    # An excerpt without the e820 still tells what the SRAT alone leads to.
    regions: list[Run] = [(r.start, r.end) for r in memory_map.srat or () if r.flags & 1]
    # A row across 4 GiB has RAM from there on: only what lies below it is left to devices.
    base = min((max(start, FOUR_GIB) for start, end in regions if end > FOUR_GIB), default=None)
    if not regions:
        return None
    if base is None:
        return no_compression(profile.compression, "no range at or above 4 GiB")
    return setup(profile.compression, base, regions)


def _compare_ram(memory_map: MemoryMap, stated: int) -> Agreement:
    from .host import boot

    frames = boot(memory_map, profile_of_log(memory_map)).plan.e820.system_ram_frames if memory_map.ram else 0
    computed = frames << PAGE_SHIFT
    return Agreement("RAM", _kib(stated), _kib(computed), computed == stated)


def _kib(size: int) -> str:
    return f"{size >> 10} KiB"


def _compare_nodes(memory_map: MemoryMap) -> Agreement:
    stated = set()
    for row in memory_map.stated.numa_rows:
        if found := _NODE_ROW.search(row):
            # Square brackets hold the last byte, the older dash the end.
            start, end = (found[2], int(found[3], 16) + 1) if found[2] else (found[4], int(found[5], 16))
            stated.add((int(found[1]), int(start, 16), end, "hotplug" in found[6]))
    computed = {(r.node, r.start, r.end, bool(r.flags & 2)) for r in memory_map.srat or ()}
    return Agreement("NUMA rows", _nodes(stated), _nodes(computed), stated == computed)


def _nodes(rows: set[tuple[int, int, int, bool]]) -> str:
    nodes = sorted({row[0] for row in rows})
    size = sum(end - start for _, start, end, hot in rows if not hot)
    return f"{len(rows)} rows, {len(nodes)} nodes, {_kib(size)}"


def _is_xen(memory_map: MemoryMap) -> bool:
    # "xenmm-map" is our own JSON, of any machine; written from a Xen log it still states Xen's version.
    return memory_map.format.startswith("xen-") or memory_map.stated.xen_version is not None


def _version(text: str | None) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)
