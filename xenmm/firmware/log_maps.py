"""From one printing of a map to ranges: what is kept, what is dropped, and why, each with its place.

Every rule on damage has its home here; which printing is meant is decided in :mod:`.console_log`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from ..constants import PAGE_SIZE
from .log_blocks import Block, Boot, Placed
from .log_stated import arch_of, read_facts
from .memory_map import MemoryRange, Note, Source, SratRange, merge

#: Maps that are printed sorted, so that a row out of order is a sign of damage.
_SORTED: Final = frozenset({"xen", "e820", "user", "modified"})
#: Maps that have rows of other kinds than RAM, which win where they overlap it.
_WITH_OTHERS: Final = _SORTED | {"smap", "efi"}
#: The sizes of page that Linux is built with, in bytes: 64 KiB on POWER and arm64, 16 KiB on ia64 and arm64.
_PAGE_SIZES: Final = (PAGE_SIZE, 16 << 10, 64 << 10, 8 << 10)
#: Where a log does not tell: what distributions built for that architecture.
_USUAL_PAGE: Final = {"ia64": 16 << 10}
_EXCERPT: Final = 120
_WINDOW = r"\[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]"
_NUMA_JOINED: Final = re.compile(rf"NUMA: Node (\d{{1,9}}) {_WINDOW} \+ {_WINDOW}")


@dataclass(slots=True)
class Candidate:
    """One map that the log offers, with what is wrong with it."""

    family: str
    rank: int
    boot: Boot
    first_line: int
    format: str
    ranges: tuple[MemoryRange, ...]
    damage: list[Note]
    notes: list[Note] = field(default_factory=list)
    block: Block | None = None
    arch: str = ""

    @property
    def ram(self) -> tuple[tuple[int, int], ...]:
        return merge((r.start, r.end) for r in self.ranges if r.kind == "ram")

    @property
    def whole(self) -> bool:
        return not any(n.level == "dropped" for n in self.damage)


def from_block(block: Block, boot: Boot, known: tuple[str, int], file: str) -> Candidate:
    """Make ranges of a printing's rows; ``known`` is the format's name and its rank among maps."""
    name, rank = known
    damage = [*_cut_notes(block, file, name)]
    rows = [p for p in block.rows if p.row.kind]
    unit, doubt = _page_size(rows, boot) if block.family == "pfn" else (1, "")
    ranges = tuple(
        MemoryRange(
            p.row.start * unit, (p.row.end or 0) * unit, p.row.kind, p.row.label, Source(file, p.line, name)
        )
        for p in rows
    )
    if block.family in _SORTED:
        damage += _order_notes(rows, file, name)
    if block.family in _WITH_OTHERS:
        ranges, overlaps = _without_overlaps(ranges)
        damage += overlaps
    damage += _double_notes(ranges)
    notes = []
    if doubt:
        notes.append(Note("warning", doubt, Source(file, block.first_line, name)))
    if block.repeats:
        text = f"{block.repeats} rows stand twice in a row and count once"
        notes.append(Note("note", text, Source(file, block.first_line, name)))
    damage.sort(key=lambda n: (n.source.line or 0) if n.source else 0)
    return Candidate(block.family, rank, boot, block.first_line, name, ranges, damage, notes, block)


def _page_size(rows: Sequence[Placed], boot: Boot) -> tuple[int, str]:
    """The size of the pages that a map counts in: by the total that its boot states, else the usual."""
    pages = sum((p.row.end or 0) - p.row.start for p in rows)
    stated, _ = read_facts(boot.facts, False)
    total = stated.details.get("present_bytes") or stated.details.get("memory_end_bytes")
    if total is not None:
        return min(_PAGE_SIZES, key=lambda size: abs(pages * size - total)), ""
    arch = arch_of(boot.facts)
    size = _USUAL_PAGE.get(arch, PAGE_SIZE)
    doubt = "" if arch == "x86" else f"the map counts pages; {size} bytes a page are assumed"
    return size, doubt


def excerpt(text: str) -> str:
    """A line as a note quotes it: blanks closed up, not long."""
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


def _cut_notes(block: Block, file: str, name: str) -> Iterable[Note]:
    """Rows that cannot be read, marks of omission, a beginning that is missing."""
    for placed in block.broken:
        row = placed.row
        if row.label == "gap":
            continue
        source = Source(file, placed.line, name)
        lost = None
        level = "dropped"
        why = row.why
        if row.end is not None and row.end <= row.start:
            why = "the row is empty" if row.end == row.start else "the row ends before it starts"
            level = "note" if row.end == row.start else "dropped"
        elif row.end is not None and row.kind:
            level = "warning"
        elif row.end is not None:
            lost = row.end - row.start
        yield Note(level, why, source, excerpt(placed.text), lost)
    for number, text in block.gaps:
        yield Note("dropped", "rows are left out here", Source(file, number, name), excerpt(text))
    if block.family in _SORTED and block.heading is None and block.rows:
        first = block.rows[0]
        if first.row.start > 0:
            why = f"the heading of the map is missing, and with it any rows below {first.row.start:#x}"
            yield Note("dropped", why, Source(file, first.line, name), excerpt(first.text))
    if block.family == "efi":
        yield from _efi_number_notes(block, file, name)


def _efi_number_notes(block: Block, file: str, name: str) -> Iterable[Note]:
    indices = [(p.row.nr, p) for p in block.rows if p.row.nr is not None]
    expected = 0
    for index, placed in indices:
        if index > expected:
            why = f"rows mem{expected:02d} to mem{index - 1:02d} of the table are missing"
            yield Note("dropped", why, Source(file, placed.line, name), excerpt(placed.text))
        expected = index + 1


def _order_notes(rows: Sequence[Placed], file: str, name: str) -> list[Note]:
    return [
        Note("warning", "the row is out of order", Source(file, b.line, name), excerpt(b.text))
        for a, b in pairwise(rows)
        if b.row.start < a.row.start
    ]


def minus(ram: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What of the disjoint sorted ranges lies outside the other disjoint sorted ranges."""
    starts = [start for start, _ in others]
    return tuple(part for start, end in ram for part in _outside(start, end, others, starts))


def _outside(
    start: int, end: int, others: Sequence[tuple[int, int]], starts: Sequence[int]
) -> Iterable[tuple[int, int]]:
    """What of one range lies outside the others, whose starts are given for the search."""
    for at in range(max(0, bisect_right(starts, start) - 1), len(others)):
        a, b = others[at]
        if a >= end:
            break
        if start < a:
            yield start, a
        start = max(start, b)
    if start < end:
        yield start, end


def bytes_in(ranges: Iterable[tuple[int, int]]) -> int:
    """Bytes in disjoint ranges."""
    return sum(end - start for start, end in ranges)


def _without_overlaps(ranges: tuple[MemoryRange, ...]) -> tuple[tuple[MemoryRange, ...], list[Note]]:
    """Take out of the RAM rows what another row claims too: Linux and Xen give such bytes to the other."""
    others = merge((r.start, r.end) for r in ranges if r.kind != "ram")
    if not others:
        return ranges, []
    starts = [start for start, _ in others]
    kept: list[MemoryRange] = []
    notes: list[Note] = []
    for row in ranges:
        left = [(row.start, row.end)]
        if row.kind == "ram":
            left = list(_outside(row.start, row.end, others, starts))
        lost = row.size - bytes_in(left)
        if not lost:
            kept.append(row)
            continue
        where = f"[{row.start:#x}, {row.end:#x})"
        text = f"{lost:#x} bytes of RAM {where} lie in rows of another type, and count as those"
        notes.append(Note("dropped", text, row.source, dropped_bytes=lost))
        kept += [replace(row, start=a, end=b) for a, b in left]
    return tuple(kept), notes


def _double_notes(ranges: Sequence[MemoryRange]) -> list[Note]:
    notes: list[Note] = []
    end = 0
    for row in sorted((r for r in ranges if r.kind == "ram"), key=lambda r: (r.start, r.end)):
        if row.start < end:
            twice = min(end, row.end) - row.start
            text = (
                f"RAM [{row.start:#x}, {row.end:#x}) overlaps another row of RAM; {twice:#x} bytes count once"
            )
            notes.append(Note("warning", text, row.source))
        end = max(end, row.end)
    return notes


def srat_of(boot: Boot, file: str) -> tuple[tuple[SratRange, ...] | None, list[Note]]:
    """The SRAT rows of one boot, each once, and what is wrong with them; ``None`` where it printed none."""
    rows: dict[tuple[int, ...], SratRange] = {}
    damage: list[Note] = []
    seen = False
    for block in boot.blocks:
        if block.family != "srat":
            continue
        seen = True
        damage += _cut_notes(block, file, "srat")
        for placed in block.rows:
            row = placed.row
            made = SratRange(
                row.start, row.end or 0, row.node or 0, row.flags, row.pxm, Source(file, placed.line, "srat")
            )
            rows.setdefault((made.start, made.end, made.node, made.flags), made)
    srat = tuple(rows.values())
    ordered = sorted(srat, key=lambda r: r.start)
    for a, b in pairwise(ordered):
        if b.start < a.end and a.node != b.node:
            text = (
                f"SRAT rows of nodes {a.node} and {b.node} overlap in [{b.start:#x}, {min(a.end, b.end):#x})"
            )
            damage.append(Note("warning", text, b.source))
    if srat:
        damage += _missing_srat_notes(boot, srat, file)
    return (srat if seen else None), damage


def _missing_srat_notes(boot: Boot, srat: Sequence[SratRange], file: str) -> Iterable[Note]:
    """Whether Linux says that it took a range from an SRAT which no row in the log holds."""
    for number, text in boot.facts:
        joined = _NUMA_JOINED.search(text) if " + " in text else None
        if joined is None:
            continue
        windows = [(r.start, r.end) for r in srat if r.node == int(joined[1])]
        # What was joined before may span holes: only its two ends are those of rows.
        for edge in (int(digits, 16) for digits in joined.groups()[1:]):
            if not any(start <= edge < end for start, end in windows):
                why = f"an SRAT row that holds {edge:#x} is missing: this line has it of one"
                yield Note("dropped", why, Source(file, number, "srat"), excerpt(text))
                return
