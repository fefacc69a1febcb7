"""Xen's boot options that change how memory is laid out: applied where that is exact, else warned of.

Xen c447b7308b, docs/misc/xen-command-line.pandoc, and xen/common/kernel.c and lib.c (parse_size_and_unit).
"""

from __future__ import annotations

from typing import Final

from .._facts import Facts

#: Options that take RAM away, or change a table, in ways that the log does not tell enough about.
_WARNED: Final = {
    "e820-mtrr-clip": "cuts RAM at the top of what the MTRRs cover, which the map does not tell",
    "badpage": "takes single pages from the allocator",
    "crashkernel": "sets RAM aside for a crash kernel",
    "highmem-start": "moves the boundary of the Xen heap",
    "cpuid": "can hide 1 GiB pages: choose page_sizes to match",
    "tboot": "keeps RAM for the measured launch",
}
#: The same for Linux, whose options change Linux's map and never Xen's.
_LINUX: Final = ("mem", "memmap", "numa", "acpi", "movable_node", "efi_fake_mem", "crashkernel")
_SHIFTS: Final = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class MemoryOptions(Facts):
    """What a command line changes.

    Attributes
    ----------
    mem, availmem : int or None
        Highest address to use, and most RAM to use, in bytes.
    numa, acpi, compress : bool
        False: ``numa=off`` (no nodes, yet the SRAT still steers the compression), no SRAT at all
        (``acpi=off``, ``numa=noacpi``), and ``pdx-compress=off``.
    notes : tuple of str
        Options that change memory and are not applied, and why.
    applied : tuple of str
        Options that are applied, as they were written.
    """

    __slots__ = ()

    mem: int | None = None
    availmem: int | None = None
    numa: bool = True
    acpi: bool = True
    compress: bool = True
    notes: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()


def parse_size(text: str) -> int | None:
    """Read a size as Xen does: decimal, 0x or leading-0 octal, a unit of one letter, KiB without one."""
    body, shift = text, 10
    if text and text[-1].lower() in _SHIFTS and not (text[:2].lower() == "0x" and text[-1] in "bB"):
        body, shift = text[:-1], _SHIFTS[text[-1].lower()]
    try:
        base = 16 if body[:2].lower() == "0x" else 8 if body.startswith("0") else 10
        value = int(body, base)
    except ValueError:
        return None
    return value << shift if value >= 0 else None


def parse_xen(text: str, *, availmem: bool = True, pdx_compress: bool = True) -> MemoryOptions:
    """Read Xen's command line.

    ``availmem`` and ``pdx_compress`` tell whether this version of Xen knows those options.
    """
    found: dict[str, int | bool] = {}
    notes: list[str] = []
    applied: list[str] = []
    known = {"mem", *(("availmem",) if availmem else ())}
    for word in text.split():
        name, _, value = word.partition("=")
        if name in known:
            size = parse_size(value)
            if size:
                found[name] = size
                applied.append(word)
            else:
                notes.append(f"{word}: not a size; Xen ignores it")
        elif name == "availmem":
            notes.append(f"{word}: this version does not know it")
        elif flag := _flag(name, value, pdx_compress):
            found[flag] = False
            applied.append(word)
        elif name in _WARNED:
            notes.append(f"{word}: {_WARNED[name]}; not applied")
        elif name == "numa" and value.startswith("fake"):
            notes.append(f"{word}: nodes are made up; tables stay as they are")
    return MemoryOptions(
        mem=found.get("mem"),
        availmem=found.get("availmem"),
        numa=bool(found.get("numa", True)),
        acpi=bool(found.get("acpi", True)),
        compress=bool(found.get("compress", True)),
        notes=tuple(notes),
        applied=tuple(applied),
    )


def _flag(name: str, value: str, pdx_compress: bool) -> str:
    off = value.lower() in ("off", "no", "false", "disable", "0")
    if name == "numa" and value == "noacpi":
        return "acpi"
    if name == "numa" and off:
        return "numa"
    if name == "acpi" and (off or value == "ht"):
        return "acpi"
    if pdx_compress and (name == "no-pdx-compress" or (name == "pdx-compress" and off)):
        return "compress"
    return ""


def foreign_notes(text: str) -> tuple[str, ...]:
    """Notes on options of another kernel's command line, which change its memory and not Xen's."""
    return tuple(
        f"{word}: an option of the logged kernel, not of Xen; not applied"
        for word in text.split()
        if word.partition("=")[0] in _LINUX
    )
