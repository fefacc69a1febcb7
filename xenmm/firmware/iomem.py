"""Reader of Linux ``/proc/iomem``: the tree of physical address ranges, printed depth first.

A row is ``START-LAST : NAME`` in hexadecimal, ``LAST`` inclusive, indented by its depth (Linux
kernel/resource.c, r_show). RAM are the outermost rows called ``System RAM``: what lies inside them
(kernel code, crash kernel, arm64's boot-time reservations) stays RAM, and ``System RAM (kmem)`` inside
a soft reserved or persistent range was added by the kernel later and is none of the firmware's RAM.
Since the tree is printed depth first, a row lies inside the last row that holds its addresses;
indentation, which mail and copying destroy, is asked only where the enclosing row is not shown.
Without privilege Linux prints every address as zero; such a table is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..constants import U64_END
from ..errors import MemoryMapError
from .memory_map import MemoryMap, MemoryRange, Note, Source

FORMAT: Final = "iomem"

# At least 8 digits a side: /proc/ioports has the same shape with 4. grep's file and line number may precede.
_ROW = re.compile(
    r"(?:[^\s:]*iomem:)?(?:\d+[:-])?(?P<blanks>\s*)(?P<start>[0-9a-fA-F]{8,})-(?P<last>[0-9a-fA-F]{8,})"
    r"\s*:(?:\s+(?P<name>.*)|\s*)\Z"
)
_BROKEN_ROW = re.compile(r"\s*[0-9a-fA-F]{8,}-?[0-9a-fA-F]*\s*\Z")
_ELISION = re.compile(r"\s*[<\[(]?\s*(?:\.{3,}|…+|snip\w*|cut|skipped)\s*[>\])]?\s*\Z", re.IGNORECASE)
# What a person adds after a name: an arrow or a remark, set off by blanks.
_REMARK = re.compile(r"\s{2,}|\s*(?:<[-=<]|#|//)")

_KINDS: Final = {
    "system ram": "ram",
    "reserved": "reserved",
    "ram buffer": "reserved",
    "acpi tables": "acpi-data",
    "acpi non-volatile storage": "acpi-nvs",
    "unusable memory": "unusable",
    "persistent memory": "persistent",
    "persistent memory (legacy)": "persistent-old",
    "soft reserved": "soft-reserved",
    # Setup data of the boot loader: RAM that the kernel keeps (proposed in 2025).
    "system ram (kernel)": "ram",
    # Brought on line by a driver: not the firmware's RAM.
    "system ram (kmem)": "soft-reserved",
    "system ram (driver managed)": "soft-reserved",
    "system ram (virtio_mem)": "soft-reserved",
    "unknown e820 type": "unknown",
    "kernel code": "kernel",
    "kernel rodata": "kernel",
    "kernel data": "kernel",
    "kernel bss": "kernel",
    "crash kernel": "kernel",
    "system rom": "firmware",
}
_X86_NAMES: Final = ("local apic", "ioapic", "acpi tables", "video rom", "ram buffer", "system rom")
#: Kinds of memory that are listed even where the row that encloses them is something else.
_LISTED_INSIDE: Final = ("soft-reserved", "persistent", "persistent-old")


def kind_of(name: str) -> str:
    """Return the kind of range that a row's name means; what is not known is a device."""
    name = name.casefold()
    # Other words behind it have meant an alias of RAM that is listed elsewhere ("boot alias" of 32-bit Arm).
    return _KINDS.get(name, "unknown" if name.startswith("system ram (") else "device")


@dataclass(slots=True)
class _Row:
    line: int
    depth: int
    start: int
    end: int
    name: str
    text: str
    parent: _Row | None = None

    @property
    def kind(self) -> str:
        return kind_of(self.name)

    def holds(self, other: _Row) -> bool:
        return self.start <= other.start and other.end <= self.end

    def ancestors(self) -> Iterator[_Row]:
        row = self.parent
        while row is not None:
            yield row
            row = row.parent


@dataclass(slots=True)
class _Table:
    """One printing of /proc/iomem: its rows with real addresses, and how many were hidden behind zeros."""

    rows: list[_Row] = field(default_factory=list)
    hidden: list[_Row] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def has_ram(self) -> bool:
        return any(row.kind == "ram" for row in self.rows)


def sniff(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether some line is a row of ``/proc/iomem``."""
    return any(_ROW.match(text) for _, text in lines)


def read(lines: Sequence[tuple[int, str]], file: str) -> MemoryMap:
    """Read ``/proc/iomem``.

    Parameters
    ----------
    lines : sequence of (line number from 1, text)
        The input without log prefixes and mail quotes, with the blanks after them.
    file : str
        The input's name, for errors and provenance.

    Returns
    -------
    MemoryMap
        Outermost rows, and soft reserved or persistent memory inside rows of another kind. Of several
        tables in one input the first that shows RAM; the others are named in a note.

    Raises
    ------
    MemoryMapError
        If no row is found, or every address is zero because the file was read without privilege.
    """
    tables = _tables(lines, file)
    if not tables:
        raise MemoryMapError("no row of /proc/iomem", file=file)
    shown = [table for table in tables if table.rows]
    if not shown:
        raise _nothing_shown(tables, file)
    chosen = next((table for table in shown if table.has_ram), shown[0])
    notes = _notes_on_choice(tables, chosen, file) + chosen.notes
    ranges = _ranges(chosen, file, notes)
    if not any(row.kind == "ram" for row in ranges):
        notes.append(Note("warning", "no outermost row is called System RAM: no RAM is known", _source(file)))
    x86 = any(row.name.casefold().startswith(_X86_NAMES) for row in chosen.rows)
    return MemoryMap(tuple(ranges), name=file, format=FORMAT, notes=tuple(notes), arch="x86" if x86 else "")


def _nothing_shown(tables: list[_Table], file: str) -> MemoryMapError:
    hidden = [row for table in tables for row in table.hidden]
    if not hidden:
        first = next(note for table in tables for note in table.notes)
        why = f"no row of /proc/iomem can be read: {first.text}"
        return MemoryMapError(
            why, file=file, line=first.source.line if first.source else None, text=first.excerpt
        )
    return MemoryMapError(
        "every address of /proc/iomem is zero, as Linux shows it without privilege: read it as root",
        file=file,
        line=hidden[0].line,
        text=hidden[0].text.strip(),
    )


def _source(file: str, row: _Row | None = None) -> Source:
    return Source(file, row.line if row else None, FORMAT)


def _tables(lines: Sequence[tuple[int, str]], file: str) -> list[_Table]:
    tables: list[_Table] = []
    top: _Row | None = None
    gap = False
    for at, (number, text) in enumerate(lines):
        found = _ROW.match(text)
        if not found:
            gap = gap or bool(tables)
            if tables and (note := _damage(number, text, file)):
                tables[-1].notes.append(note)
            continue
        row = _row(number, text, found, lines[at + 1][1] if at + 1 < len(lines) else "")
        is_hidden = row.start == 0 and row.end == 1
        if not tables or _begins_anew(row, is_hidden, top, tables[-1], gap):
            tables.append(_Table())
            top = None
        gap = False
        table = tables[-1]
        if is_hidden:
            table.hidden.append(row)
        elif bad := _bad_row(row, at == len(lines) - 1, file):
            table.notes.append(bad)
        else:
            table.rows.append(row)
            if top is None or not top.holds(row):
                top = row
    return tables


def _row(number: int, text: str, found: re.Match[str], following: str) -> _Row:
    name = _REMARK.split((found["name"] or "").strip())[0]
    if not _ROW.match(following):
        # A mailer has put the name, or its second word, on the next line.
        joined = f"{name} {following.strip()}".strip()
        if joined.casefold() in _KINDS:
            name = joined
    depth = len(found["blanks"].expandtabs(8))
    return _Row(number, depth, int(found["start"], 16), int(found["last"], 16) + 1, name, text)


def _begins_anew(row: _Row, is_hidden: bool, top: _Row | None, table: _Table, gap: bool) -> bool:
    if is_hidden:
        return gap and bool(table.rows)
    if top is None:
        return bool(table.hidden)
    # Addresses only rise along the outermost rows. One that falls back begins another table when
    # something stands between, or when it falls to the table's first address; else it is out of order.
    return row.start < top.start and (gap or row.start <= table.rows[0].start)


def _bad_row(row: _Row, is_last: bool, file: str) -> Note | None:
    if row.start < row.end <= U64_END:
        if is_last and row.name != "System RAM" and "System RAM".startswith(row.name):
            why = "the input ends in the row's name: it may be System RAM"
            return Note("dropped", why, _source(file, row), row.text.strip(), row.end - row.start)
        return None
    why = "ends before it starts" if row.end <= row.start else "is past 64 bits"
    return Note("dropped", f"the row {why}", _source(file, row), row.text.strip())


def _damage(number: int, text: str, file: str) -> Note | None:
    source = Source(file, number, FORMAT)
    if _BROKEN_ROW.match(text):
        return Note("dropped", "the row is cut short", source, text.strip())
    if _ELISION.match(text):
        return Note("warning", "rows are left out here", source, text.strip())
    return None


def _notes_on_choice(tables: list[_Table], chosen: _Table, file: str) -> list[Note]:
    notes = []
    for table in tables:
        if table is chosen:
            continue
        first = (table.rows or table.hidden)[:1]
        why = "another /proc/iomem begins here and is not read"
        if not table.rows:
            why = "this /proc/iomem shows every address as zero (read without privilege) and is not read"
        if first:
            notes.append(Note("note", why, _source(file, first[0]), first[0].text.strip()))
    if chosen.hidden:
        count, row = len(chosen.hidden), chosen.hidden[0]
        level = "warning" if any(r.kind == "ram" for r in chosen.hidden) else "note"
        notes.append(Note(level, f"{count} rows show the address zero and are not read", _source(file, row)))
    return notes


def _ranges(table: _Table, file: str, notes: list[Note]) -> list[MemoryRange]:
    _find_parents(table.rows)
    # The first row of a paste often lost its indentation, so the others say what the outermost depth is.
    outermost = min((row.depth for row in table.rows[1:]), default=0)
    ranges: list[MemoryRange] = []
    last: _Row | None = None
    for row in table.rows:
        if row.parent is None and last is not None and row.start < last.end:
            level = "warning" if "ram" in (row.kind, last.kind) else "note"
            why = (
                f"the row overlaps that of line {last.line}"
                if row.end > last.start
                else "the row is out of order"
            )
            notes.append(Note(level, why, _source(file, row), row.text.strip()))
        if row.parent is None and (last is None or row.end > last.end):
            last = row
        if row.kind == "ram" and not _is_outermost_ram(row, outermost, file, notes):
            continue
        inside = row.parent is not None and row.kind != "ram"
        if inside and (row.kind not in _LISTED_INSIDE or any(a.kind == row.kind for a in row.ancestors())):
            continue
        ranges.append(MemoryRange(row.start, row.end, row.kind, row.name, _source(file, row)))
    return ranges


def _find_parents(rows: list[_Row]) -> None:
    enclosing: list[_Row] = []
    for row in rows:
        while enclosing and not enclosing[-1].holds(row):
            enclosing.pop()
        row.parent = enclosing[-1] if enclosing else None
        enclosing.append(row)


def _is_outermost_ram(row: _Row, outermost: int, file: str, notes: list[Note]) -> bool:
    if row.parent is None:
        if row.depth <= outermost:
            return True
        why = "the row is indented below one that is not shown: not taken for the firmware's RAM"
        notes.append(Note("dropped", why, _source(file, row), row.text.strip(), row.end - row.start))
        return False
    if any(a.kind == "ram" for a in row.ancestors()):
        return False
    parent = row.parent.name or "a row without name"
    why = f"System RAM inside {parent!r} was added by the kernel and is not the firmware's"
    notes.append(Note("warning", why, _source(file, row), row.text.strip(), row.end - row.start))
    return False
