"""What a console log states beside its rows: totals, versions, options, Xen's own answers.

Such facts are kept in :class:`~xenmm.firmware.memory_map.Stated` and compared with the map.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..constants import KIB, MIB, PAGE_SHIFT, PAGE_SIZE
from .memory_map import Stated

_XEN_TOTAL = re.compile(r"\bSystem RAM: \d+MB \((\d{1,15})kB\)")
_CRASHKERNEL = re.compile(r"crashkernel \(System RAM: (\d{1,12})MB\)")
_LAST_PFN = re.compile(r"\blast_pfn = (0x[0-9a-f]{1,16}|\d{1,18})\b")
_MEMORY = re.compile(r"\bMemory: (\d{1,15})([kK])/(\d{1,15})[kK] available(?:.{0,200}?(\d{1,15})k absent)?")
_POWER_TOTAL = re.compile(r"\bTotal RAM: 0x([0-9a-f]{1,16})\b")
_COMMAND = re.compile(r"^\s*(?:Kernel command line|Command line|Bootdata ok \(command line is):? ?(.*)")
_XEN_VERSION = re.compile(r"\s*Xen version (\S+)")
_COMPRESSION = re.compile(r"\s*(?:PFN compression|PDX compression|range +\d+ \[.*PFN IDX)")
_NUMA_ROW = re.compile(r"\s*(?:ACPI: )?(?:NUMA: )?(?:SRAT|NUMA): *Node +\d+ +[A-Z]+ +\d+ ")
_RESERVED = re.compile(r"\s*RESVD\[\d+\]: ([0-9a-f]{1,16}) - ([0-9a-f]{1,16})\b")
_DMI = re.compile(r"\bDMI: ([^\n]*?)(?:, BIOS\b|$)")
_MODEL = re.compile(r"\b(?:Machine model|Platform|Hardware name): (.+)")
_ARCHES = (
    ("arm", re.compile(r"aarch64|arm-linux|armv\d|Booting Linux on physical CPU|gnueabi", re.I)),
    ("power", re.compile(r"powerpc|ppc64|OPAL|pSeries|PowerNV", re.I)),
    ("ia64", re.compile(r"\bia64\b|Itanium|SALsystab", re.I)),
    ("mips", re.compile(r"\bmips", re.I)),
    ("riscv", re.compile(r"\briscv", re.I)),
    ("loongarch", re.compile(r"loongarch", re.I)),
    ("s390", re.compile(r"\bs390", re.I)),
    ("x86", re.compile(r"x86[_-]64|i[3-6]86|\bamd64\b|max_arch_pfn", re.I)),
)


def read_facts(lines: Iterable[tuple[int, str]], xen: bool) -> tuple[Stated, dict[str, int]]:
    """Read what the lines of one boot state.

    Returns
    -------
    (Stated, dict)
        The facts, and the line that each was read from, by field name or ``details`` key.
    """
    facts: dict[str, Any] = {}
    details: dict[str, Any] = {}
    where: dict[str, int] = {}
    compression: list[str] = []
    numa: list[str] = []

    def first(into: dict[str, Any], key: str, value: Any, number: int) -> None:
        if key not in into:
            into[key] = value
            where[key] = number

    for number, text in lines:
        if _NUMA_ROW.match(text):
            if xen:
                numa.append(text.strip())
            continue
        if found := _XEN_TOTAL.search(text):
            first(facts, "ram_bytes", int(found[1]) * KIB, number)
        if found := _CRASHKERNEL.search(text):
            first(details, "crashkernel_total_mib", int(found[1]), number)
        if found := _LAST_PFN.search(text):
            # A second line of this name is about the memory below 4 GiB.
            first(facts, "last_pfn", int(found[1], 0), number)
        if found := _MEMORY.search(text):
            _memory_line(found, number, first, facts, details)
        if found := _POWER_TOTAL.search(text):
            first(details, "present_bytes", int(found[1], 16), number)
        if found := _COMMAND.match(text):
            first(facts, "command_line", found[1].rstrip(" )"), number)
        if xen and (found := _RESERVED.match(text)):
            reserved = details.setdefault("reserved", [])
            where[f"reserved {len(reserved)}"] = number
            reserved.append(_reserved(found))
        if xen and (found := _XEN_VERSION.match(text)):
            first(facts, "xen_version", found[1], number)
        if _COMPRESSION.match(text):
            compression.append(text.strip())
        if found := _DMI.search(text):
            first(details, "machine", found[1].split(", BIOS")[0].strip(), number)
        elif found := _MODEL.search(text):
            first(details, "machine", found[1].strip(), number)
    stated = Stated(
        **facts, pfn_compression=tuple(compression), numa_rows=tuple(dict.fromkeys(numa)), details=details
    )
    return stated, where


def _reserved(found: re.Match[str]) -> list[int]:
    """A region that the device tree reserves, half-open.

    Xen on Arm prints those of the reserved-memory node with their last byte and those of the blob's header
    with their end (xen/arch/arm/setup.c, early_print_info). Where they are whole pages the last digits tell;
    an end inside a page, as of a ramdisk, is taken as printed.
    """
    start, end = int(found[1], 16), int(found[2], 16)
    return [start, end + 1 if end % PAGE_SIZE == PAGE_SIZE - 1 else end]


def _memory_line(found: re.Match[str], number: int, first: Any, facts: Any, details: Any) -> None:
    total = int(found[3]) * KIB
    if found[2] == "K":
        # Linux since 3.10 prints the pages present.
        first(details, "present_bytes", total, number)
    elif found[4]:
        # Before, x86-64 printed the pages up to the last one, and those absent.
        first(details, "present_bytes", total - int(found[4]) * KIB, number)
    else:
        first(details, "memory_end_bytes", total, number)


def arch_of(lines: Iterable[tuple[int, str]]) -> str:
    """Guess the processor's architecture from the lines of one boot; ``""`` where nothing tells."""
    for _, text in lines:
        if _NUMA_ROW.match(text):
            continue
        for arch, pattern in _ARCHES:
            if pattern.search(text):
                return arch
    return ""


def compare_totals(
    stated: Stated, where: dict[str, int], ram: Sequence[tuple[int, int]], xen: bool
) -> list[tuple[int, str]]:
    """Compare the totals that a log states with its map.

    Returns
    -------
    list of (line, sentence)
        One for each disagreement.
    """
    pages = [(-(-start // PAGE_SIZE), end // PAGE_SIZE) for start, end in ram]
    whole = sum(max(0, end - start) for start, end in pages) * PAGE_SIZE
    wrong: list[tuple[int, str]] = []

    def check(key: str, name: str, said: int, found: int, slack: int) -> None:
        if abs(said - found) > slack:
            more = "more" if said > found else "less"
            wrong.append(
                (
                    where[key],
                    f"the log states {name} {said:#x} bytes, {abs(said - found):#x} {more} than its rows",
                )
            )

    if xen and stated.ram_bytes is not None:
        check("ram_bytes", "System RAM of", stated.ram_bytes, whole, 0)
    if stated.last_pfn is not None and pages:
        check("last_pfn", "an end of RAM of", stated.last_pfn << PAGE_SHIFT, pages[-1][1] << PAGE_SHIFT, 0)
    # The kernel keeps a few pages below 1 MiB and some tables of the firmware out of its total.
    present = stated.details.get("present_bytes")
    if present is not None and not xen:
        check("present_bytes", "memory of", present, whole, MIB)
    crash = stated.details.get("crashkernel_total_mib")
    if crash is not None and not xen:
        check("crashkernel_total_mib", "System RAM of", crash * MIB, whole, 2 * MIB)
    return wrong
