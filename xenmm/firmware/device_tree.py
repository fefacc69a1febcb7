"""Reader of device trees, as blobs (``.dtb``) and as sources (``.dts``): memory nodes and reservations.

What counts as memory follows the Devicetree Specification 0.4 (3.4, 3.5) and Linux drivers/of/fdt.c: the
root's children with ``device_type = "memory"`` (or called ``memory``), of status ``okay``; ranges from
``linux,usable-memory`` or ``reg`` in the root's ``#address-cells`` and ``#size-cells``; the node from
``numa-node-id``. Logical memory blocks of IBM's partitions (``ibm,dynamic-memory``) count where they are
assigned. ``/memreserve/`` and the children of ``/reserved-memory`` are reserved ranges; they lie inside
RAM and do not shrink it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..constants import U64_END
from ..errors import MemoryMapError
from . import dts, fdt
from .fdt import Node, Tree, Unresolved
from .memory_map import SRAT_ENABLED, SRAT_HOTPLUG, MemoryMap, MemoryRange, Note, Source, SratRange, Stated

FORMAT_BLOB: Final = "dtb"
FORMAT_SOURCE: Final = "dts"

_DYNAMIC: Final = "ibm,dynamic-reconfiguration-memory"
#: The root's children that this reader looks into, besides memory nodes.
LOOKED_INTO: Final = ("reserved-memory", "chosen", _DYNAMIC)
_SOURCE_LINE = re.compile(r"\s*(?:/dts-v1/|/\s*\{|(?:\w+\s*:\s*)?memory(?:@[0-9a-fA-F,]+)?\s*\{)")
#: Flag of a logical memory block that belongs to this partition (Linux asm/drmem.h, DRCONF_MEM_ASSIGNED).
_BLOCK_ASSIGNED: Final = 0x8


def sniff_bytes(data: bytes) -> bool:
    """Whether the bytes begin as a device-tree blob."""
    return data[:4] == fdt.MAGIC


def read_bytes(data: bytes, file: str) -> MemoryMap:
    """Read a device-tree blob.

    Parameters
    ----------
    data : bytes
        The blob, of version 16 or 17.
    file : str
        The input's name, for errors and provenance.

    Returns
    -------
    MemoryMap
        RAM and reserved ranges; SRAT rows from ``numa-node-id``, ``None`` where no memory has one.

    Raises
    ------
    MemoryMapError
        If the blob is cut or contradicts itself, or a memory node cannot be read.
    """
    return read_tree(fdt.parse(data, file, _wanted), file, FORMAT_BLOB)


def sniff(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether some line begins a device-tree source, its root or a memory node."""
    return any(_SOURCE_LINE.match(text) for _, text in lines)


def read(lines: Sequence[tuple[int, str]], file: str) -> MemoryMap:
    """Read a device-tree source; as :func:`read_bytes`, with the line of each memory node.

    Raises
    ------
    MemoryMapError
        If the text is no source, a memory node needs what the text does not hold (an include, a macro), or
        a value is out of its domain; the message names the line.
    """
    source = dts.parse(lines, file)
    root = source.tree.root
    notes = [Note("warning", text, Source(file, line, FORMAT_SOURCE)) for line, text in source.doubts]
    # Headers hold macros; only other sources can hold nodes.
    includes = [name for name in source.includes if not name.rstrip('">').endswith(".h")]
    memory = [node for node in root.children.values() if _is_memory(node)]
    has_cells = all(name in root.properties for name in ("#address-cells", "#size-cells"))
    if (includes and not (memory and has_cells)) or not (source.has_root or has_cells):
        what = "#address-cells and #size-cells" if memory else "memory nodes"
        whose = f"come from {includes[0]}" if includes else "are not in this excerpt"
        why = f"the root's {what} {whose}: give the .dtb, or the whole source after the C preprocessor"
        raise MemoryMapError(why, file=file, line=memory[0].line if memory else None)
    if includes:
        text = f"{', '.join(includes)} is not read: memory that it adds or changes is not known"
        notes.append(Note("warning", text, Source(file, None, FORMAT_SOURCE)))
    return read_tree(source.tree, file, FORMAT_SOURCE, notes)


def _wanted(node: Node, ancestors: Sequence[Node]) -> bool:
    # Memory below other nodes is kept to be spoken of.
    if _text(node, "device_type") == "memory":
        return True
    if len(ancestors) == 1:
        return node.base_name in ("memory", *LOOKED_INTO)
    return len(ancestors) == 2 and ancestors[1].base_name == "reserved-memory"


def _text(node: Node, name: str) -> str:
    value = node.properties.get(name, b"")
    if isinstance(value, Unresolved):
        return ""
    return value.partition(b"\0")[0].decode("utf-8", "replace")


def _is_memory(node: Node) -> bool:
    return _text(node, "device_type") == "memory" or node.base_name == "memory"


def read_tree(tree: Tree, file: str, form: str, notes: list[Note] | None = None) -> MemoryMap:
    """Read the memory of a tree; ``form`` is the format it came in, ``notes`` what is known of it before."""
    notes = [] if notes is None else notes
    reader = _Reader(tree.root, file, form, notes)
    for node in tree.root.children.values():
        if _is_memory(node):
            reader.memory(node)
        elif node.base_name == _DYNAMIC:
            reader.dynamic_memory(node)
        elif node.base_name == "reserved-memory":
            for child in node.children.values():
                reader.reserved(child)
        else:
            reader.speak_of_deeper_memory(node)
    for start, length in tree.reservations:
        reader.add(start, length, "reserved", "/memreserve/", Source(file, None, form))
    if not any(row.kind == "ram" for row in reader.ranges):
        why = "no memory node has a size: a boot loader may fill it in"
        notes.append(Note("warning", why, Source(file, None, form)))
    if reader.nodes:
        why = "nodes are the device tree's numa-node-id; they stand for the SRAT, which only ACPI has"
        notes.append(Note("note", why, Source(file, None, form)))
    return MemoryMap(
        tuple(reader.ranges),
        tuple(reader.nodes) if reader.nodes else None,
        name=_text(tree.root, "model") or file,
        format=form,
        notes=tuple(notes),
        stated=_stated(tree.root.children.get("chosen"), file, form, notes),
    )


def _stated(chosen: Node | None, file: str, form: str, notes: list[Note]) -> Stated:
    if chosen is None:
        return Stated()
    if "linux,usable-memory-range" in chosen.properties:
        why = "/chosen limits Linux to linux,usable-memory-range (a crash kernel); the whole memory is read"
        notes.append(Note("note", why, Source(file, chosen.line, form)))
    return Stated(command_line=_text(chosen, "xen,xen-bootargs") or None)


class _Reader:
    """Collects the ranges of one tree, in its cell sizes."""

    def __init__(self, root: Node, file: str, form: str, notes: list[Note]) -> None:
        self.file, self.form, self.notes = file, form, notes
        self.ranges: list[MemoryRange] = []
        self.nodes: list[SratRange] = []
        self.address_cells = self.cells_of(root, "#address-cells", 2)
        self.size_cells = self.cells_of(root, "#size-cells", 1)

    def source(self, node: Node) -> Source:
        return Source(self.file, node.line, self.form)

    def cells_of(self, node: Node, name: str, default: int) -> int:
        if name not in node.properties:
            why = f"the root has no {name}: the specification's default, {default}, is taken"
            self.notes.append(Note("warning", why, self.source(node)))
            return default
        count = int.from_bytes(self.value(node, name), "big")
        if len(self.value(node, name)) != 4 or not 1 <= count <= 4:
            raise MemoryMapError(f"{name} is {count}; need 1 to 4", file=self.file, line=node.line)
        return count

    def value(self, node: Node, name: str) -> bytes:
        value = node.properties.get(name, b"")
        if isinstance(value, Unresolved):
            raise MemoryMapError(f"{node.name}: {name} {value.why}", file=self.file, line=node.line)
        return value

    def memory(self, node: Node) -> None:
        name = "linux,usable-memory" if "linux,usable-memory" in node.properties else "reg"
        available = _text(node, "status") in ("", "ok", "okay")
        numa = self.value(node, "numa-node-id")
        for start, length in self.pairs(node, name):
            row = self.add(start, length, "ram" if available else "disabled", node.name, self.source(node))
            if row and len(numa) == 4:
                pxm = int.from_bytes(numa, "big")
                flags = SRAT_ENABLED if available else 0
                flags |= SRAT_HOTPLUG if "hotpluggable" in node.properties else 0
                self.nodes.append(SratRange(row.start, row.end, pxm, flags, source=row.source))

    def reserved(self, node: Node) -> None:
        if "reg" in node.properties and _text(node, "status") in ("", "ok", "okay"):
            for start, length in self.pairs(node, "reg"):
                self.add(start, length, "reserved", node.name, self.source(node))

    def pairs(self, node: Node, name: str) -> list[tuple[int, int]]:
        value, a, s = self.value(node, name), 4 * self.address_cells, 4 * self.size_cells
        if len(value) % (a + s):
            why = (
                f"{name} has {len(value)} bytes, no multiple of {a + s} "
                f"({self.address_cells} address and {self.size_cells} size cells)"
            )
            raise MemoryMapError(f"{node.name}: {why}", file=self.file, line=node.line)
        return [
            (int.from_bytes(value[i : i + a], "big"), int.from_bytes(value[i + a : i + a + s], "big"))
            for i in range(0, len(value), a + s)
        ]

    def add(self, start: int, length: int, kind: str, label: str, source: Source) -> MemoryRange | None:
        if length and start + length <= U64_END:
            row = MemoryRange(start, start + length, kind, label, source)
            self.ranges.append(row)
            return row
        why = "is empty" if not length else "ends past 2^64"
        text = f"{label}: the range at {start:#x} of {length:#x} bytes {why}"
        self.notes.append(Note("dropped" if length else "note", text, source))
        return None

    def speak_of_deeper_memory(self, node: Node) -> None:
        stack = [node]
        while stack:
            found = stack.pop()
            stack.extend(found.children.values())
            if found is not node and _text(found, "device_type") == "memory":
                why = f"{found.name} is memory below {node.name}, not below the root: not read"
                self.notes.append(Note("warning", why, self.source(found)))

    def dynamic_memory(self, node: Node) -> None:
        """Read the logical memory blocks of a partition (PAPR; Linux arch/powerpc/mm/drmem.c)."""
        size = int.from_bytes(self.value(node, "ibm,lmb-size"), "big")
        second = "ibm,dynamic-memory-v2" in node.properties
        value = self.value(node, "ibm,dynamic-memory-v2" if second else "ibm,dynamic-memory")
        count = int.from_bytes(value[:4], "big")
        if not size or len(value) != 4 + 24 * count:
            why = f"{node.name}: {count} entries and a block size of {size:#x} do not fit {len(value)} bytes"
            raise MemoryMapError(why, file=self.file, line=node.line)
        for at in range(4, len(value), 24):
            entry, flags = value[at : at + 20], int.from_bytes(value[at + 20 : at + 24], "big")
            blocks = int.from_bytes(entry[:4], "big") if second else 1
            start = int.from_bytes(entry[4:12] if second else entry[:8], "big")
            kind = "ram" if flags & _BLOCK_ASSIGNED else "disabled"
            self.add(start, blocks * size, kind, node.name, self.source(node))
