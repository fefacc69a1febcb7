"""Which format an input is in, and the reader for it."""

from __future__ import annotations

from typing import Final

from ..errors import MemoryMapError
from . import console_log, device_tree, elf_core, folders, iomem, lsmem, own_json, srat_table
from .log_prefix import split_line
from .memory_map import MemoryMap
from .source import Input, Lines, undo_quoted_printable

#: The largest document that is read as a whole, and the largest table or blob, in bytes.
_MOST_JSON: Final = 256 << 20
_MOST_BINARY: Final = 64 << 20
#: A document shows itself in its first lines.
_SNIFFED_LINES: Final = 400
_BINARY: Final = (
    (srat_table.sniff_bytes, srat_table.read_bytes),
    (device_tree.sniff_bytes, device_tree.read_bytes),
)
#: Formats of whole texts, looked for where a text holds no map as consoles print it.
_TEXTS: Final = (
    (lsmem.sniff, lsmem.read),
    (folders.sniff, folders.read),
    (srat_table.sniff, srat_table.read),
    (device_tree.sniff, device_tree.read),
)


def read_input(source: Input, *, boot: int | None, map: str, strict: bool) -> MemoryMap:
    """Read an input of any format; see :func:`xenmm.firmware.read_map`."""
    file = source.file
    if not source.head:
        raise MemoryMapError("the input is empty", file=file)
    for is_its, read_bytes in _BINARY:
        if is_its(source.head):
            return _only(read_bytes(source.all_bytes(_MOST_BINARY), file), file, boot, map, strict)
    if elf_core.sniff_bytes(source.head):
        found = elf_core.read_bytes(source.beginning(elf_core.BEGINNING_BYTES), file)
        return _only(found, file, boot, map, strict)
    if source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        lines = source.lines(_MOST_JSON)
        if own_json.sniff(lines[:_SNIFFED_LINES]):
            return _only(own_json.read(lines, file), file, boot, map, strict)
    else:
        lines = source.lines()
    return _read_text(undo_quoted_printable(lines), file, boot, map, strict)


def _read_text(lines: Lines, file: str, boot: int | None, map: str, strict: bool) -> MemoryMap:
    found, refusal = None, None
    try:
        found = console_log.read(lines, file, boot=boot, map=map, strict=strict, read_iomem=iomem.read)
        if found.ram:
            return found
    except console_log.NoMapError as error:
        refusal = error
    stripped = [(number, line.text) for number, raw in lines for line in split_line(number, raw)]
    for is_its, read_lines in _TEXTS:
        if is_its(stripped):
            return _only(read_lines(stripped, file), file, boot, map, strict)
    if found is None:
        raise refusal or MemoryMapError("no memory map found in the text", file=file)
    return found


def _only(found: MemoryMap, file: str, boot: int | None, map: str, strict: bool) -> MemoryMap:
    """Check what was asked for against an input that holds one map of one machine."""
    if boot is not None and boot > 1:
        raise MemoryMapError(f"no boot {boot}: the input is no log of boots ({found.format})", file=file)
    if map == "user":
        raise MemoryMapError(f"no map of a kernel's own: the input is {found.format}", file=file)
    if strict:
        console_log.refuse_damage([n for n in found.notes if n.level == "dropped"], file)
    return found
