"""Writers: a memory map in each format that the readers read, byte for byte in the style of its tool.

Every format carries RAM exactly or the writer refuses. Of the rest each carries what it can:
:func:`left_out` says in words what a format has no place for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from ..constants import MIB, PAGE_SIZE, U64_END
from ..errors import ConfigError, MemoryMapError
from . import fdt, own_json, srat_table
from .iomem import kind_of
from .memory_map import (
    KINDS,
    SRAT_ENABLED,
    SRAT_HOTPLUG,
    SRAT_NONVOLATILE,
    MemoryMap,
    MemoryRange,
    SratRange,
)

_E820_LABELS: Final = {
    "ram": "usable",
    "reserved": "reserved",
    "acpi-data": "ACPI data",
    "acpi-nvs": "ACPI NVS",
    "unusable": "unusable",
    "persistent": "persistent (type 7)",
    "persistent-old": "persistent (type 12)",
    "soft-reserved": "soft reserved",
}
_XEN_LABELS: Final = {k: v for k, v in _E820_LABELS.items() if "persistent" not in k and k != "soft-reserved"}
_NUMBERED_TYPE = re.compile(r"type [0-9]+\Z")
_PLAIN_NAME = re.compile(r"[\w.:@(),+-]+(?: [\w.:@(),+-]+)*\Z", re.ASCII)
_EFI_TYPES: Final = {
    "ram": "Conventional Memory",
    "soft-reserved": "Conventional Memory",
    "reserved": "Reserved",
    "acpi-data": "ACPI Reclaim Memory",
    "acpi-nvs": "ACPI Memory NVS",
    "unusable": "Unusable Memory",
    "persistent": "Persistent Memory",
    "device": "Memory Mapped I/O",
    "firmware": "Runtime Data",
}
_IOMEM_NAMES: Final = {
    "ram": "System RAM",
    "reserved": "Reserved",
    "acpi-data": "ACPI Tables",
    "acpi-nvs": "ACPI Non-volatile Storage",
    "unusable": "Unusable memory",
    "persistent": "Persistent Memory",
    "persistent-old": "Persistent Memory (legacy)",
    "soft-reserved": "Soft Reserved",
    "unknown": "Unknown E820 type",
    "firmware": "System ROM",
    "device": "device",
    "kernel": "Kernel code",
}


@dataclass(frozen=True, slots=True)
class _Format:
    """A writer, the kinds of range that it has words for, and which SRAT rows it can show."""

    write: Callable[[MemoryMap], str | bytes]
    kinds: frozenset[str]
    shows: Callable[[SratRange], bool] | None = None
    lacks: tuple[str, ...] = field(default=())


def write_map(memory_map: MemoryMap, format: str) -> str | bytes:
    """Return a map in a format; ``read_map`` reads it back.

    Parameters
    ----------
    memory_map : MemoryMap
        The map.
    format : str
        One of :data:`FORMATS`: ``e820`` (Linux), ``xen``, ``efi`` (Linux), ``iomem``, ``lsmem``, ``srat``
        (binary), ``dts``, ``dtb`` (binary), ``json``.

    Returns
    -------
    str or bytes
        Text ended by a newline, or the binary table.

    Raises
    ------
    ConfigError
        If there is no such format.
    MemoryMapError
        If the format cannot show this RAM or these SRAT rows exactly; the message says which and why.
    """
    return _format(format).write(memory_map)


def left_out(memory_map: MemoryMap, format: str) -> tuple[str, ...]:
    """Return, in words, what of this map the format has no place for; empty when nothing is lost."""
    found = _format(format)
    if format == "json":
        return ()
    lost = []
    for kind in KINDS:
        rows = [row for row in memory_map.ranges if row.kind == kind and not _carries(found, row)]
        if rows:
            lost.append(f"{_count(len(rows), 'range')} of kind {kind}")
    if memory_map.srat is not None:
        hidden = [row for row in memory_map.srat if found.shows is None or not found.shows(row)]
        if hidden or not memory_map.srat:
            lost.append(_count(len(hidden), "SRAT row") if hidden else "the empty SRAT")
        if format == "srat" and any(_pxm(row) != row.node for row in memory_map.srat):
            lost.append("node numbers apart from proximity domains")
    return (*lost, *found.lacks) if memory_map.srat else tuple(lost)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _format(name: str) -> _Format:
    if name not in FORMATS:
        raise ConfigError(f"no format is called {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def _carries(found: _Format, row: MemoryRange) -> bool:
    if row.kind == "unknown" and found.write in (_e820, _xen):
        return _NUMBERED_TYPE.match(row.label) is not None
    return row.kind in found.kinds


def _kept(memory_map: MemoryMap, name: str) -> list[MemoryRange]:
    return [row for row in memory_map.ranges if _carries(FORMATS[name], row)]


def _shown(memory_map: MemoryMap, name: str) -> list[SratRange]:
    shows = FORMATS[name].shows
    return [row for row in memory_map.srat or () if shows and shows(row)]


def _pxm(row: SratRange) -> int:
    return row.node if row.pxm is None else row.pxm


def _text(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


# ---------------------------------------------------------------- console logs


def _e820(memory_map: MemoryMap) -> str:
    # Linux arch/x86/kernel/e820.c e820__print_table.
    lines = ["BIOS-provided physical RAM map:"]
    for row in _kept(memory_map, "e820"):
        label = _E820_LABELS.get(row.kind, row.label)
        lines.append(f"BIOS-e820: [mem {row.start:#018x}-{row.end - 1:#018x}] {label}")
    return _text(lines + _linux_srat(memory_map, "e820"))


def _linux_srat(memory_map: MemoryMap, name: str) -> list[str]:
    # Linux drivers/acpi/numa/srat.c acpi_numa_memory_affinity_init.
    return [
        f"ACPI: SRAT: Node {row.node} PXM {_pxm(row)} [mem {row.start:#010x}-{row.end - 1:#010x}]"
        + (" hotplug" if row.flags & SRAT_HOTPLUG else "")
        + (" non-volatile" if row.flags & SRAT_NONVOLATILE else "")
        for row in _shown(memory_map, name)
    ]


def _xen(memory_map: MemoryMap) -> str:
    # Xen c447b7308b, xen/arch/x86/e820.c print_e820_memory_map and xen/common/numa.c.
    lines = ["(XEN) Xen-e820 RAM map:"]
    for row in _kept(memory_map, "xen"):
        label = _XEN_LABELS.get(row.kind, row.label)
        lines.append(f"(XEN)  [{row.start:016x}, {row.end - 1:016x}] ({label})")
    for node in _shown(memory_map, "xen"):
        hotplug = " (hotplug)" if node.flags & SRAT_HOTPLUG else ""
        span = f"[{node.start:016x}, {node.end - 1:016x}]"
        lines.append(f"(XEN) SRAT: Node {node.node} PXM {_pxm(node)} {span}{hotplug}")
    return _text(lines)


def _efi(memory_map: MemoryMap) -> str:
    # Linux drivers/firmware/efi/memattr.c and efi.c, efi_md_typeattr_format.
    lines = []
    for number, row in enumerate(_kept(memory_map, "efi")):
        if row.start % PAGE_SIZE or row.end % PAGE_SIZE:
            raise _refused(row, "an EFI table counts in pages of 4 KiB")
        specific = "SP" if row.kind == "soft-reserved" else "  "
        attributes = f"|   |  |  |  |{specific}|  |  |  |  |  |  |WB|WT|WC|UC]"
        span = f"range=[{row.start:#018x}-{row.end - 1:#018x}] ({row.size // MIB}MB)"
        lines.append(f"efi: mem{number:02}: [{_EFI_TYPES[row.kind]:<19}{attributes} {span}")
    return _text(lines + _linux_srat(memory_map, "efi"))


# ---------------------------------------------------------------- /proc/iomem and lsmem


def _refused(row: MemoryRange | SratRange, why: str) -> MemoryMapError:
    return MemoryMapError(f"range [{row.start:#x}, {row.end:#x}) cannot be written: {why}")


def _iomem(memory_map: MemoryMap) -> str:
    rows = sorted(_kept(memory_map, "iomem"), key=lambda r: (r.start, -r.end, r.kind != "ram"))
    lines: list[str] = []
    enclosing: list[MemoryRange] = []
    for row in rows:
        while enclosing and enclosing[-1].end <= row.start:
            enclosing.pop()
        if enclosing and row.end > enclosing[-1].end:
            raise _refused(row, f"it overlaps the range at {enclosing[-1].start:#x} in part")
        if enclosing and row.kind == "ram" and all(outer.kind != "ram" for outer in enclosing):
            raise _refused(row, "inside another range it would not be the firmware's RAM")
        if row.end == 1:
            raise _refused(row, "the addresses 0 to 0 stand for hidden ones")
        enclosing.append(row)
        blanks = "  " * (len(enclosing) - 1)
        lines.append(f"{blanks}{row.start:08x}-{row.end - 1:08x} : {_iomem_name(row)}")
    return _text(lines)


def _iomem_name(row: MemoryRange) -> str:
    # A device keeps its name, unless that would not be read back as a device's name.
    if row.kind == "device" and _PLAIN_NAME.match(row.label) and kind_of(row.label) == "device":
        return row.label
    return _IOMEM_NAMES[row.kind]


def _lsmem(memory_map: MemoryMap) -> str:
    rows = _kept(memory_map, "lsmem")
    for row in rows:
        if row.start % MIB or row.end % MIB:
            raise _refused(row, "lsmem counts in memory blocks, of 1 MiB at least")
    lines = ["RANGE                                          SIZE   STATE"]
    totals = {"online": 0, "offline": 0}
    for row in sorted(rows, key=lambda r: r.start):
        state = "online" if row.kind == "ram" else "offline"
        totals[state] += row.size
        lines.append(f"0x{row.start:016x}-0x{row.end - 1:016x} {row.size:>13} {state:>7}")
    totals["online"] = memory_map.ram_bytes
    lines += ["", *(f"Total {state} memory: {size:>16}" for state, size in totals.items())]
    return _text(lines)


# ---------------------------------------------------------------- SRAT and device trees


def _srat(memory_map: MemoryMap) -> bytes:
    if memory_map.srat is None:
        raise MemoryMapError("the map has no SRAT rows to write")
    return srat_table.to_bytes(memory_map.srat)


def _dtb(memory_map: MemoryMap) -> bytes:
    return fdt.to_bytes(fdt.Tree(_device_tree(memory_map)))


def _dts(memory_map: MemoryMap) -> str:
    lines = ["/dts-v1/;", ""]

    def write(node: fdt.Node, depth: int) -> None:
        tabs = "\t" * depth
        lines.append(f"{tabs}{node.name or '/'} {{")
        lines.extend(f"{tabs}\t{_dts_property(*item)}" for item in node.properties.items())
        for child in node.children.values():
            write(child, depth + 1)
        lines.append(f"{tabs}}};")

    write(_device_tree(memory_map), 0)
    return _text(lines)


def _dts_property(name: str, value: bytes | fdt.Unresolved) -> str:
    if isinstance(value, fdt.Unresolved) or not value:
        return f"{name};"
    if name in ("model", "device_type", "status"):
        text = value[:-1].decode("utf-8").replace("\\", "\\\\").replace('"', '\\"')
        return f'{name} = "{text}";'
    words = (value[at : at + 4].hex() for at in range(0, len(value), 4))
    return f"{name} = <{' '.join('0x' + word for word in words)}>;"


def _device_tree(memory_map: MemoryMap) -> fdt.Node:
    root = fdt.Node("")
    if memory_map.name:
        # A property is text up to its first zero byte; what cannot stand in one line has no place here.
        name = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", "?", memory_map.name)
        root.properties["model"] = name.encode("utf-8") + b"\0"
    cells = {"#address-cells": fdt.cells([2], 1), "#size-cells": fdt.cells([2], 1)}
    root.properties |= cells
    reserved = fdt.Node("reserved-memory", properties={**cells, "ranges": b""})
    for row in _kept(memory_map, "dtb"):
        if row.kind == "reserved":
            _add(reserved, row, fdt.Node(f"reserved@{row.start:x}"))
            continue
        for piece, node in _by_node(row, _shown(memory_map, "dtb")):
            memory = fdt.Node(f"memory@{piece.start:x}", properties={"device_type": b"memory\0"})
            _add(root, piece, memory)
            if node:
                memory.properties["numa-node-id"] = fdt.cells([node.node], 1)
            if node and node.flags & SRAT_HOTPLUG:
                memory.properties["hotpluggable"] = b""
            if row.kind == "disabled":
                memory.properties["status"] = b"disabled\0"
    if reserved.children:
        root.add_child(reserved)
    return root


def _add(parent: fdt.Node, row: MemoryRange, node: fdt.Node) -> None:
    if row.size >= U64_END:
        raise _refused(row, "a length of 2^64 has no room in two cells")
    if node.name in parent.children:
        raise _refused(row, f"a device tree has one node called {node.name}")
    node.properties["reg"] = fdt.cells([row.start, row.size], 2)
    parent.add_child(node)


def _by_node(row: MemoryRange, srat: list[SratRange]) -> list[tuple[MemoryRange, SratRange | None]]:
    """Cut a range where SRAT rows begin and end; each piece with the first row that holds it."""
    edges = {row.start, row.end}
    edges |= {e for node in srat for e in (node.start, node.end) if row.start < e < row.end}
    cuts = sorted(edges)
    pieces = []
    for start, end in pairwise(cuts):
        node = next((n for n in srat if n.start <= start and end <= n.end), None)
        if node and node.node > 0xFFFFFFFF:
            raise _refused(node, f"node {node.node} has no room in a cell")
        pieces.append((MemoryRange(start, end, row.kind), node))
    return pieces


def _is_enabled(row: SratRange) -> bool:
    return bool(row.flags & SRAT_ENABLED)


def _is_volatile(row: SratRange) -> bool:
    return _is_enabled(row) and not row.flags & SRAT_NONVOLATILE


_DEVICE_TREE_KINDS: Final = frozenset({"ram", "reserved", "disabled"})
_NODES_ONLY: Final = ("SRAT windows beyond the RAM in them",)
#: Every format by its name.
FORMATS: Final[dict[str, _Format]] = {
    "e820": _Format(_e820, frozenset(_E820_LABELS), _is_enabled),
    "xen": _Format(_xen, frozenset(_XEN_LABELS), _is_volatile),
    "efi": _Format(_efi, frozenset(_EFI_TYPES), _is_enabled),
    "iomem": _Format(_iomem, frozenset(_IOMEM_NAMES)),
    "lsmem": _Format(_lsmem, frozenset({"ram", "disabled"})),
    "srat": _Format(_srat, frozenset(), lambda row: True),
    "dts": _Format(_dts, _DEVICE_TREE_KINDS, _is_volatile, _NODES_ONLY),
    "dtb": _Format(_dtb, _DEVICE_TREE_KINDS, _is_volatile, _NODES_ONLY),
    "json": _Format(own_json.dumps, frozenset(KINDS), lambda row: True),
}
