"""Which format an input is in, and the reader for it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from ..errors import MemoryMapError
from . import console_log
from .log_prefix import split_line
from .memory_map import MemoryMap
from .source import Input, Lines, undo_quoted_printable

#: The largest document that is read as a whole, and the largest table or blob, in bytes.
_MOST_JSON: Final = 256 << 20
_MOST_BINARY: Final = 64 << 20
#: A document shows itself in its first lines.
_SNIFFED_LINES: Final = 400
_BINARY: Final = ("srat_table", "device_tree")
#: Formats of whole texts, looked for where a text holds no map as consoles print it.
_TEXTS: Final = ("lsmem", "folders", "srat_table", "device_tree")


def _reader(name: str) -> Any:
    try:
        return import_module("." + name, __package__)
    except ModuleNotFoundError:
        return None


def read_input(source: Input, *, boot: int | None, map: str, strict: bool) -> MemoryMap:
    """Read an input of any format; see :func:`xenmm.firmware.read_map`."""
    file = source.file
    if not source.head:
        raise MemoryMapError("the input is empty", file=file)
    for name in _BINARY:
        reader = _reader(name)
        if reader is not None and reader.sniff_bytes(source.head):
            return _only(reader.read_bytes(source.all_bytes(_MOST_BINARY), file), file, boot, map, strict)
    if source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        lines = source.lines(_MOST_JSON)
        own_json = _reader("own_json")
        if own_json.sniff(lines[:_SNIFFED_LINES]):
            return _only(own_json.read(lines, file), file, boot, map, strict)
    else:
        lines = source.lines()
    return _read_text(lines, file, boot, map, strict)


def _read_text(lines: Lines, file: str, boot: int | None, map: str, strict: bool) -> MemoryMap:
    lines = undo_quoted_printable(lines)
    iomem = _reader("iomem")
    found, refusal = None, None
    try:
        found = console_log.read(
            lines, file, boot=boot, map=map, strict=strict, read_iomem=iomem.read if iomem else None
        )
    except console_log.NoMapError as error:
        refusal = error
    if found is not None and found.ram:
        return found
    stripped = [(number, line.text) for number, raw in lines for line in split_line(number, raw)]
    for name in _TEXTS:
        reader = _reader(name)
        if reader is not None and reader.sniff(stripped):
            return _only(reader.read(stripped, file), file, boot, map, strict)
    if refusal is not None:
        raise refusal
    assert found is not None
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
