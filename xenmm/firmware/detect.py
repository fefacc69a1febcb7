"""Which format an input is in, and the reader for it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from ..errors import MemoryMapError
from . import console_log
from .memory_map import MemoryMap
from .source import Input, Lines

#: The largest document that is read as a whole, and the largest table or blob, in bytes.
_MOST_JSON: Final = 256 << 20
_MOST_BINARY: Final = 64 << 20
#: A format of whole texts shows itself in its first lines.
_SNIFFED_LINES: Final = 400


def _reader(name: str) -> ModuleType | None:
    try:
        return import_module("." + name, __package__)
    except ModuleNotFoundError:
        return None


def read_input(source: Input, *, boot: int | None, map: str, strict: bool) -> MemoryMap:
    """Read an input of any format; see :func:`xenmm.firmware.read_map`."""
    file = source.file
    if not source.head:
        raise MemoryMapError("the input is empty", file=file)
    lines = source.lines()
    json = _reader("own_json")
    if json is not None and json.sniff(lines[:_SNIFFED_LINES]):
        return json.read(lines, file)  # type: ignore[no-any-return]
    return _read_log(lines, file, boot, map, strict)


def _read_log(lines: Lines, file: str, boot: int | None, map: str, strict: bool) -> MemoryMap:
    iomem = _reader("iomem")
    return console_log.read(
        lines, file, boot=boot, map=map, strict=strict, read_iomem=iomem.read if iomem is not None else None
    )
