"""Readers of the folders in which a running Linux shows what its firmware said.

``/sys/firmware/memmap`` holds a folder a range with the files ``start``, ``end`` (inclusive) and ``type``
(Linux drivers/firmware/memmap.c): the firmware's own map, which the kernel's options never change.
``/proc/device-tree``, or ``/sys/firmware/devicetree/base``, holds a folder a node and a file a property.
The output of ``grep -r . /sys/firmware/memmap``, as people send it by mail, is read alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..constants import U64_END
from ..errors import MemoryMapError
from .device_tree import LOOKED_INTO, read_tree
from .fdt import Node, Tree
from .iomem import kind_of
from .memory_map import MemoryMap, MemoryRange, Note, Source

FORMAT_MEMMAP: Final = "firmware-memmap"
FORMAT_TREE: Final = "device-tree-folder"
#: A file of these folders is small; a larger one is none of them.
_FILE_BYTES_MAX: Final = 1 << 20
_ENTRIES_MAX: Final = 100_000

_LINE = re.compile(r"\s*(?:\S*memmap/|\./)?(\d{1,99})/(start|end|type)\s*:\s*(.+?)\s*\Z")
_NUMBER = re.compile(r"0x([0-9a-fA-F]{1,17})\Z")


def read_folder(path: Path, file: str) -> MemoryMap:
    """Read a folder of firmware facts.

    Parameters
    ----------
    path : Path
        A copy of ``/sys/firmware/memmap`` or of ``/proc/device-tree``, or one of them itself.
    file : str
        The input's name, for errors and provenance.

    Raises
    ------
    MemoryMapError
        If the folder is neither, or an entry lacks a file, cannot be read or holds no number.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(path))
        if any(name.isdigit() and (path / name / "start").is_file() for name in names):
            return _memmap(_entries(path, names), file)
        if "#address-cells" in names:
            return read_tree(Tree(_node(path, "", 0)), file, FORMAT_TREE)
    except OSError as error:
        raise MemoryMapError(f"{error.filename}: {error.strerror}", file=file) from None
    raise MemoryMapError("is a folder, neither /sys/firmware/memmap nor /proc/device-tree", file=file)


def sniff(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether some line is ``N/start:0x...`` as ``grep -r`` prints the files of ``/sys/firmware/memmap``."""
    return any((found := _LINE.match(text)) and found[2] == "start" for _, text in lines)


def read(lines: Sequence[tuple[int, str]], file: str) -> MemoryMap:
    """Read the output of ``grep -r . /sys/firmware/memmap``; arguments and errors as every reader."""
    found = ((number, match) for number, text in lines if (match := _LINE.match(text)))
    return _memmap(((int(m[1]), m[2], m[3], number) for number, m in found), file)


def _entries(path: Path, names: Iterable[str]) -> Iterable[tuple[int, str, str, int | None]]:
    for name in sorted((n for n in names if n.isdecimal()), key=int)[:_ENTRIES_MAX]:
        for word in ("start", "end", "type"):
            if (path / name / word).is_file():
                yield int(name), word, _bytes(path / name / word).decode("utf-8", "replace").strip(), None


def _bytes(path: Path) -> bytes:
    with open(path, "rb") as stream:
        data = stream.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise OSError(0, f"larger than {_FILE_BYTES_MAX} bytes", str(path))
    return data


def _memmap(facts: Iterable[tuple[int, str, str, int | None]], file: str) -> MemoryMap:
    entries: dict[int, dict[str, str]] = {}
    lines: dict[int, int | None] = {}
    for number, word, value, line in facts:
        entries.setdefault(number, {}).setdefault(word, value)
        lines.setdefault(number, line)
    ranges: list[MemoryRange] = []
    notes: list[Note] = []
    for number in sorted(entries):
        entry, source = entries[number], Source(file, lines[number], FORMAT_MEMMAP)
        start, last = (_NUMBER.match(entry.get(word, "")) for word in ("start", "end"))
        if not start or not last or "type" not in entry:
            notes.append(Note("dropped", f"entry {number} lacks a start, an end or a type", source))
            continue
        begin, end = int(start[1], 16), int(last[1], 16) + 1
        if not begin < end <= U64_END:
            why = f"entry {number} ends before it starts, or past 64 bits"
            notes.append(Note("dropped", why, source, f"{begin:#x}-{end - 1:#x}"))
            continue
        ranges.append(MemoryRange(begin, end, kind_of(entry["type"]), entry["type"], source))
    return MemoryMap(tuple(ranges), name=file, format=FORMAT_MEMMAP, notes=tuple(notes), arch="x86")


def _node(path: Path, name: str, depth: int) -> Node:
    node = Node(name)
    for entry in sorted(os.scandir(path), key=lambda e: e.name):
        if entry.is_file():
            node.properties[entry.name] = _bytes(Path(entry.path))
        elif entry.is_dir() and (_is_looked_into(entry.name) if depth == 0 else depth == 1):
            node.add_child(_node(Path(entry.path), entry.name, depth + 1))
    return node


def _is_looked_into(name: str) -> bool:
    return name.partition("@")[0] in ("memory", *LOOKED_INTO)
