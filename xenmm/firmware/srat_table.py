"""Reader and writer of the binary ACPI SRAT, as ``/sys/firmware/acpi/tables`` has it; reader of its dumps.

Layout (ACPI 6.5, section 5.2.16): 36 bytes of header, 12 reserved, then structures that begin with a
type and a length byte; type 1 is memory affinity, 40 bytes. In revision 1 a proximity domain has 8 bits,
the others are reserved (Linux drivers/acpi/numa/srat.c masks them likewise). The table tells ranges and
nodes, never whether memory is there: a map read from it has SRAT rows and no RAM.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from ..constants import U64_END
from ..errors import MemoryMapError
from .memory_map import SRAT_ENABLED, MemoryMap, Note, Source, SratRange, Stated

FORMAT: Final = "srat-table"

_HEADER: Final = struct.Struct("<4sIBB6s8sI4sI")
_HEADER_BYTES: Final = 48
_MEMORY: Final = struct.Struct("<BBIHQQIIQ")
# Offset and up to 16 bytes; the column of characters behind them is set off by more than one blank.
_DUMP = re.compile(r"\s*([0-9A-Fa-f]{2,8})h?:((?: [0-9A-Fa-f]{2}){1,16})(?![^\s])")
_MEMORY_AFFINITY: Final = 1
_MEMORY_BYTES: Final = 40
#: Only these flag bits have a meaning in ACPI 6.5, table 5.61: enabled, hot-pluggable, non-volatile.
_FLAGS: Final = 0x7
#: Affinity structures of processors and interrupt controllers that tell the architecture.
_ARCHES: Final = {0: "x86", 2: "x86", 3: "arm", 4: "arm", 7: "riscv"}

assert _HEADER.size == 36
assert _MEMORY.size == _MEMORY_BYTES


def sniff(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether the text holds a hexadecimal dump that begins as an SRAT, as acpidump and iasl -d print it."""
    return any((found := _DUMP.match(text)) and _begins(found) for _, text in lines)


def read(lines: Sequence[tuple[int, str]], file: str) -> MemoryMap:
    """Read the first SRAT of a hexadecimal dump; as :func:`read_bytes`."""
    data = bytearray()
    for _, text in lines:
        found = _DUMP.match(text)
        if found and (data or _begins(found)):
            if int(found[1], 16) != len(data):
                break
            data += bytes.fromhex(found[2])
        elif data:
            break
    return read_bytes(bytes(data), file)


def _begins(found: re.Match[str]) -> bool:
    return int(found[1], 16) == 0 and bytes.fromhex(found[2])[:4] == b"SRAT"


def sniff_bytes(data: bytes) -> bool:
    """Whether the bytes begin as a binary SRAT does, and not as a log line that begins with ``SRAT:``."""
    return data[:4] == b"SRAT" and any(byte < 9 for byte in data[4:_HEADER_BYTES])


def read_bytes(data: bytes, file: str) -> MemoryMap:
    """Read a binary SRAT.

    Parameters
    ----------
    data : bytes
        The table.
    file : str
        The input's name, for errors and provenance.

    Returns
    -------
    MemoryMap
        SRAT rows in the table's order, those that are not enabled too, and no ranges. ``node`` and ``pxm``
        are both the proximity domain.

    Raises
    ------
    MemoryMapError
        If the signature, a length or the checksum is wrong; the message names the offset.
    """
    length, revision = _check_header(data, file)
    source, arch = Source(file, None, FORMAT), ""
    rows: list[SratRange] = []
    notes: list[Note] = []
    for offset, kind, body in _structures(data[:length], file):
        arch = arch or _ARCHES.get(kind, "")
        if kind != _MEMORY_AFFINITY:
            continue
        row = _memory_row(body, offset, revision, source)
        if isinstance(row, SratRange):
            rows.append(row)
        elif row:
            notes.append(row)
    if len(data) > length:
        text = f"{len(data) - length} bytes after the end of the table are not read"
        notes.append(Note("warning", text, source))
    notes.append(Note("warning", "an SRAT tells nodes, not which memory is there: no RAM is known", source))
    stated = Stated(
        details={"revision": revision, "oem": data[10:24].decode("ascii", "replace").strip("\0 ")}
    )
    return MemoryMap((), tuple(rows), name=file, format=FORMAT, notes=tuple(notes), stated=stated, arch=arch)


def _memory_row(body: bytes, offset: int, revision: int, source: Source) -> SratRange | Note | None:
    place = f"memory affinity structure at offset {offset:#x}"
    if len(body) < _MEMORY_BYTES:
        raise MemoryMapError(f"{place} has {len(body)} bytes, needs {_MEMORY_BYTES}", file=source.file)
    _, _, pxm, _, base, length, _, flags, _ = _MEMORY.unpack(body[:_MEMORY_BYTES])
    pxm = pxm if revision > 1 else pxm & 0xFF
    if length and base + length <= U64_END:
        return SratRange(base, base + length, pxm, flags & _FLAGS, pxm, source)
    if not flags & SRAT_ENABLED:
        # What a structure that is not enabled says has no meaning; firmware keeps zeros there for later.
        return None
    if not length:
        return Note("note", f"{place}, base {base:#x}, is empty", source)
    return Note("dropped", f"{place}, base {base:#x}, length {length:#x}, ends past 2^64", source)


def _check_header(data: bytes, file: str) -> tuple[int, int]:
    if len(data) < _HEADER_BYTES or data[:4] != b"SRAT":
        why = f"{len(data)} bytes are no SRAT: it begins with 'SRAT' and has at least {_HEADER_BYTES} bytes"
        raise MemoryMapError(why, file=file)
    _, length, revision, *_ = _HEADER.unpack_from(data)
    if length < _HEADER_BYTES:
        raise MemoryMapError(f"SRAT states a length of {length} bytes; the header alone has 48", file=file)
    if length > len(data):
        raise MemoryMapError(f"SRAT is cut short: it states {length} bytes, there are {len(data)}", file=file)
    if total := sum(data[:length]) & 0xFF:
        raise MemoryMapError(f"SRAT has a wrong checksum: its bytes add up to {total:#04x}, not 0", file=file)
    return length, revision


def _structures(table: bytes, file: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, type, bytes) of every affinity structure of a table cut at its own length."""
    offset = _HEADER_BYTES
    while offset < len(table):
        length = table[offset + 1] if offset + 1 < len(table) else 0
        if length < 2 or offset + length > len(table):
            left = len(table) - offset
            why = f"structure at offset {offset:#x} states a length of {length} bytes, {left} are left"
            raise MemoryMapError(why, file=file)
        yield offset, table[offset], table[offset : offset + length]
        offset += length


def to_bytes(rows: Sequence[SratRange], *, revision: int = 3) -> bytes:
    """Return SRAT rows as a binary table with a valid checksum.

    Parameters
    ----------
    rows : sequence of SratRange
        Memory affinity rows; the proximity domain is ``pxm`` where known, else ``node``.
    revision : int
        Revision of the table; 1 has proximity domains of 8 bits.

    Raises
    ------
    MemoryMapError
        If a proximity domain or a length (2^64) has no room in the table.
    """
    body = b"".join(_memory_affinity(row, revision) for row in rows)
    length = _HEADER_BYTES + len(body)
    header = _HEADER.pack(b"SRAT", length, revision, 0, b"XENMM ", b"XENMM   ", 1, b"XNMM", 1)
    table = bytearray(header + struct.pack("<IQ", 1, 0) + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def _memory_affinity(row: SratRange, revision: int) -> bytes:
    pxm = row.node if row.pxm is None else row.pxm
    most = 0xFF if revision == 1 else 0xFFFFFFFF
    if not 0 <= pxm <= most:
        raise MemoryMapError(f"proximity domain {pxm} has no room in an SRAT of revision {revision}")
    if row.end - row.start >= U64_END:
        raise MemoryMapError("a length of 2^64 has no room in an SRAT")
    length = row.end - row.start
    return _MEMORY.pack(_MEMORY_AFFINITY, _MEMORY_BYTES, pxm, 0, row.start, length, 0, row.flags & _FLAGS, 0)
