"""From a console log's boots and blocks to one memory map: which map is meant, and what is wrong with it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from ..constants import MIB, PAGE_SIZE
from ..errors import MemoryMapError
from .log_blocks import Block, Boot, Placed, Scanner
from .log_stated import arch_of, compare_totals, read_facts
from .memory_map import MemoryMap, MemoryRange, Note, Source, SratRange, Stated, merge

#: What each family of rows is called in ``MemoryMap.format``, and its rank: the firmware's own map first.
_FAMILIES: Final = {
    "xen": ("xen-e820", 0),
    "xen-arm": ("xen-arm", 0),
    "e820": ("linux-e820", 1),
    "smap": ("freebsd-smap", 1),
    "efi": ("efi", 2),
    "nodes": ("linux-node-ranges", 4),
    "memblock": ("linux-memblock", 5),
    "pfn": ("linux-pfn-ranges", 5),
    "chunks": ("freebsd-chunks", 5),
    "iomem": ("iomem", 6),
    "mips": ("mips-memory", 7),
}
_USER_FAMILIES: Final = {"user": ("linux-user", 0), "modified": ("linux-modified", 1)}
#: The worst rank that still is the firmware's word, not the kernel's.
_FIRMWARE: Final = 2
#: Maps that are printed sorted, so that a row out of order is a sign of damage.
_SORTED: Final = frozenset({"xen", "e820", "user", "modified"})
#: Maps that have rows of other kinds than RAM, which win where they overlap it.
_WITH_OTHERS: Final = _SORTED | {"smap", "efi"}
#: The sizes of page that Linux is built with, in bytes: 64 KiB on POWER and arm64, 16 KiB on ia64 and arm64.
_PAGE_SIZES: Final = (PAGE_SIZE, 16 << 10, 64 << 10, 8 << 10)
_EXCERPT: Final = 120
_MOST_NOTES: Final = 50


class NoMapError(MemoryMapError):
    """The text holds no map of a machine as consoles print one; it may hold one of another format."""


@dataclass(slots=True)
class _Candidate:
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


IomemReader = Callable[[Sequence[tuple[int, str]], str], MemoryMap]


def read(
    lines: Sequence[tuple[int, str]],
    file: str,
    *,
    boot: int | None = None,
    map: str = "firmware",
    strict: bool = False,
    read_iomem: IomemReader | None = None,
) -> MemoryMap:
    """Read a console log, a journal or a mail that quotes one.

    Parameters
    ----------
    lines : sequence of (line number from 1, text as it stands in the file)
    file : str
        The input's name, for errors and provenance.
    boot : int, optional
        Which boot to read, from 1; by default the first whose map is whole, else the first with a map.
    map : str
        ``firmware``, or ``user`` for the kernel's own corrected map.
    strict : bool
        Refuse a damaged map instead of keeping what is certain.
    read_iomem : callable, optional
        Reads the rows of a printing of ``/proc/iomem``; such printings are passed over without it.

    Raises
    ------
    MemoryMapError
        If the log has no map of the machine, has no such boot, or is damaged and ``strict`` is set.
    """
    scanner = Scanner(lines)
    boots = scanner.run()
    refused: list[str] = []
    candidates = list(_candidates(boots, file, map, refused))
    if map == "firmware" and read_iomem is not None:
        candidates += _iomem_candidates(scanner, boots, file, read_iomem, refused)
    candidates = [c for c in candidates if not c.boot.is_guest]
    xen = [c for c in candidates if c.family in ("xen", "xen-arm")]
    if xen:
        # What a kernel prints after its hypervisor has booted is that domain's view.
        start = xen[0].boot.first_line
        candidates = [c for c in candidates if c in xen or (c.first_line < start and c.boot.realm == "host")]
    chosen, notes = _choose(candidates, boot, file)
    if chosen is None:
        return _without_map(scanner, boots, file, map, boot, refused)
    return _finish(chosen, notes, file, strict)


# ---------------------------------------------------------------- which map


def _candidates(boots: list[Boot], file: str, map: str, refused: list[str]) -> Iterable[_Candidate]:
    families = _USER_FAMILIES if map == "user" else _FAMILIES
    for boot in boots:
        for block in boot.blocks:
            if block.family == "guest" and block.rows:
                refused.append(f"line {block.first_line} starts a domain's own map")
            known = families.get(block.family)
            if known is None or not block.rows:
                continue
            candidate = _from_block(block, boot, known, file)
            if candidate.ram:
                yield candidate
            else:
                refused.append(f"the map at line {block.first_line} has no row of RAM")


def _iomem_candidates(
    scanner: Scanner, boots: list[Boot], file: str, read_iomem: IomemReader, refused: list[str]
) -> Iterable[_Candidate]:
    rows = scanner.iomem_lines()
    if not rows:
        return
    try:
        found = read_iomem(rows, file)
    except MemoryMapError as error:
        refused.append(f"the /proc/iomem at line {rows[0][0]}: {error.message}")
        return
    if not found.ram:
        refused.append(f"the /proc/iomem at line {rows[0][0]} has no outermost System RAM")
        return
    first = found.ranges[0].source
    number = rows[0][0] if first is None or first.line is None else first.line
    earlier = [b for b in boots if b.realm == "host" and b.first_line <= number]
    boot = earlier[-1] if earlier else (boots[0] if boots else Boot("host", 0, number))
    damage = [n for n in found.notes if n.level == "dropped"]
    notes = [n for n in found.notes if n.level != "dropped"]
    rank = _FAMILIES["iomem"][1]
    yield _Candidate("iomem", rank, boot, number, found.format, found.ranges, damage, notes, arch=found.arch)


def _choose(
    candidates: list[_Candidate], boot: int | None, file: str
) -> tuple[_Candidate | None, list[Note]]:
    """The first boot whose best map is whole, or the boot asked for; in it the firmware's map first."""
    boots: dict[int, list[_Candidate]] = {}
    for candidate in sorted(candidates, key=lambda c: (c.boot.first_line, c.boot.index)):
        boots.setdefault(candidate.boot.index, []).append(candidate)
    ordered = [_best(group) for group in boots.values()]
    if boot is not None and not 1 <= boot <= len(ordered):
        raise MemoryMapError(f"no boot {boot}: the log has {len(ordered)} with a map", file=file)
    if not ordered:
        return None, []
    if boot is not None:
        chosen, notes = ordered[boot - 1]
    else:
        chosen, notes = next((b for b in ordered if b[0].whole), ordered[0])
    if len(ordered) > 1:
        starts = ", ".join(str(c.first_line) for c, _ in ordered[:8]) + (", ..." if len(ordered) > 8 else "")
        which = [c for c, _ in ordered].index(chosen) + 1
        text = f"{len(ordered)} boots with a map, at lines {starts}; boot {which} is read"
        notes = [Note("note", text, Source(file, chosen.first_line, chosen.format)), *notes]
    return chosen, notes


def _best(group: list[_Candidate]) -> tuple[_Candidate, list[Note]]:
    """The best map of one boot, and what is to be said of the choice."""
    firmware = [c for c in group if c.rank <= _FIRMWARE]
    kernel = [c for c in group if c.rank > _FIRMWARE]
    by_rank = sorted(kernel, key=lambda c: (not c.whole, c.rank, c.first_line))
    if not firmware:
        return by_rank[0], []
    best = min(firmware, key=lambda c: (c.rank, not c.whole, c.first_line))
    if not best.whole:
        for other in by_rank:
            more = _bytes(_minus(other.ram, best.ram))
            if other.whole and more > MIB:
                text = (
                    f"the firmware's map is incomplete; the kernel's {other.format} has {more:#x} more bytes"
                    " of RAM and is read instead"
                )
                return other, [Note("warning", text, Source(best.ranges[0].source.file, best.first_line))]  # type: ignore[union-attr]
    return best, []


# ---------------------------------------------------------------- one block


def _from_block(block: Block, boot: Boot, known: tuple[str, int], file: str) -> _Candidate:
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
    return _Candidate(block.family, rank, boot, block.first_line, name, ranges, damage, notes, block)


def _page_size(rows: Sequence[Placed], boot: Boot) -> tuple[int, str]:
    """The size of the pages that a map counts in: by the total that its boot states, else the usual."""
    pages = sum((p.row.end or 0) - p.row.start for p in rows)
    stated, _ = read_facts(boot.facts, False)
    total = stated.details.get("present_bytes") or stated.details.get("memory_end_bytes")
    if total is not None:
        return min(_PAGE_SIZES, key=lambda size: abs(pages * size - total)), ""
    arch = arch_of(boot.facts)
    doubt = "" if arch == "x86" else f"the map counts pages; {PAGE_SIZE} bytes a page are assumed"
    return PAGE_SIZE, doubt


def _excerpt(text: str) -> str:
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
        yield Note(level, why, source, _excerpt(placed.text), lost)
    for number, text in block.gaps:
        yield Note("dropped", "rows are left out here", Source(file, number, name), _excerpt(text))
    if block.family in _SORTED and block.heading is None and block.rows:
        first = block.rows[0]
        if first.row.start > 0:
            why = f"the heading of the map is missing, and with it any rows below {first.row.start:#x}"
            yield Note("dropped", why, Source(file, first.line, name), _excerpt(first.text))
    if block.family == "efi":
        yield from _efi_number_notes(block, file, name)


def _efi_number_notes(block: Block, file: str, name: str) -> Iterable[Note]:
    indices = [(p.row.nr, p) for p in block.rows if p.row.nr is not None]
    expected = 0
    for index, placed in indices:
        if index > expected:
            why = f"rows mem{expected:02d} to mem{index - 1:02d} of the table are missing"
            yield Note("dropped", why, Source(file, placed.line, name), _excerpt(placed.text))
        expected = index + 1


def _order_notes(rows: Sequence[Placed], file: str, name: str) -> list[Note]:
    return [
        Note("warning", "the row is out of order", Source(file, b.line, name), _excerpt(b.text))
        for a, b in pairwise(rows)
        if b.row.start < a.row.start
    ]


def _minus(ram: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What of the disjoint sorted ranges lies outside the other disjoint sorted ranges."""
    starts = [start for start, _ in others]
    left: list[tuple[int, int]] = []
    for start, end in ram:
        at = max(0, bisect_right(starts, start) - 1)
        for a, b in others[at:]:
            if a >= end:
                break
            if start < a:
                left.append((start, a))
            start = max(start, b)
        if start < end:
            left.append((start, end))
    return tuple(left)


def _bytes(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges)


def _without_overlaps(ranges: tuple[MemoryRange, ...]) -> tuple[tuple[MemoryRange, ...], list[Note]]:
    """Take out of the RAM rows what another row claims too: Linux and Xen give such bytes to the other."""
    others = merge((r.start, r.end) for r in ranges if r.kind != "ram")
    if not others:
        return ranges, []
    kept: list[MemoryRange] = []
    notes: list[Note] = []
    for row in ranges:
        if row.kind != "ram":
            kept.append(row)
            continue
        left = _minus(((row.start, row.end),), others)
        lost = row.size - _bytes(left)
        if lost:
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


# ---------------------------------------------------------------- the result


def _srat_of(boot: Boot, file: str) -> tuple[tuple[SratRange, ...] | None, list[Note]]:
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
    return (srat if seen else None), damage


def _finish(chosen: _Candidate, notes: list[Note], file: str, strict: bool) -> MemoryMap:
    boot = chosen.boot
    srat, srat_damage = _srat_of(boot, file)
    damage = chosen.damage + srat_damage
    if strict:
        refuse_damage(damage, file)
    xen = boot.realm == "xen"
    stated, where = read_facts(boot.facts, xen)
    arch = _arch(chosen)
    notes = notes + chosen.notes + damage[:_MOST_NOTES]
    if len(damage) > _MOST_NOTES:
        lost = sum(n.dropped_bytes or 0 for n in damage[_MOST_NOTES:])
        text = f"{len(damage) - _MOST_NOTES} more of the same kinds"
        notes.append(Note("dropped", text, Source(file), dropped_bytes=lost or None))
    notes += _disagreements(chosen, stated, where, arch, file)
    return MemoryMap(
        chosen.ranges,
        srat,
        name=stated.details.get("machine") or os.path.basename(file),
        format=chosen.format,
        notes=tuple(notes),
        stated=stated,
        arch=arch,
    )


def refuse_damage(damage: Sequence[Note], file: str) -> None:
    """Raise for the first damage in the file; a mere note is none."""
    real = [n for n in damage if n.level != "note"]
    if real:
        first = min(real, key=lambda n: (n.source.line or 0) if n.source else 0)
        raise MemoryMapError(
            first.text,
            file=file,
            line=first.source.line if first.source else None,
            text=first.excerpt or None,
        )


def _arch(chosen: _Candidate) -> str:
    if chosen.family in ("xen", "e820", "smap", "user", "modified"):
        return "x86"
    if chosen.family == "xen-arm":
        return "arm"
    return arch_of(chosen.boot.facts) or chosen.arch


def _disagreements(
    chosen: _Candidate, stated: Stated, where: dict[str, int], arch: str, file: str
) -> list[Note]:
    """Compare the map with what else its boot says: totals, the EFI table, the kernel's node ranges."""
    boot = chosen.boot
    notes: list[Note] = []
    ram = chosen.ram
    corrected = [b for b in boot.blocks if b.family in _USER_FAMILIES and chosen.rank <= _FIRMWARE]
    own = [m for b in corrected if (m := merge(_ram_rows(b)))]
    if own and chosen.family not in _USER_FAMILIES:
        kept, away = _bytes(own[0]), _bytes(_minus(ram, own[0]))
        text = f"the kernel went on with its own map of {kept:#x} bytes of RAM, {away:#x} of the firmware's"
        notes.append(
            Note("note", text + " left out; map='user' reads it", Source(file, corrected[0].first_line))
        )
    elif chosen.rank <= _FIRMWARE:
        notes += _other_maps(chosen, file)
    for line, text in compare_totals(stated, where, own[0] if own else ram, arch, boot.realm == "xen"):
        notes.append(Note("warning", text, Source(file, line, chosen.format)))
    return notes


def _ram_rows(block: Block) -> Iterable[tuple[int, int]]:
    return ((p.row.start, p.row.end or 0) for p in block.rows if p.row.kind == "ram")


def _other_maps(chosen: _Candidate, file: str) -> Iterable[Note]:
    for block in chosen.boot.blocks:
        other = merge(_ram_rows(block))
        if block is chosen.block or not other:
            continue
        more = _bytes(_minus(other, chosen.ram))
        if block.family == "efi" and more > MIB:
            text = f"the EFI table has {more:#x} bytes of RAM more than the {chosen.format} that is read"
            yield Note("warning", text, Source(file, block.first_line, "efi"))
        elif block.family == "nodes" and more > MIB:
            text = f"the kernel's node ranges hold {more:#x} bytes that are not RAM in the map that is read"
            yield Note("warning", text, Source(file, block.first_line, "linux-node-ranges"))


def _without_map(
    scanner: Scanner, boots: list[Boot], file: str, map: str, boot: int | None, refused: list[str]
) -> MemoryMap:
    """No map of RAM: SRAT rows alone are worth reading, anything else is an error that says why."""
    if map == "user":
        raise NoMapError("the log has no user-defined or modified map", file=file)
    for candidate in boots:
        srat, damage = _srat_of(candidate, file)
        if srat:
            stated, _ = read_facts(candidate.facts, candidate.realm == "xen")
            first = srat[0].source
            text = "SRAT rows only: the log does not say which of this memory is present"
            return MemoryMap(
                (),
                srat,
                name=stated.details.get("machine") or os.path.basename(file),
                format="srat",
                notes=(Note("warning", text, first), *damage),
                stated=stated,
                arch=arch_of(candidate.facts),
            )
    if scanner.guest_row is not None:
        number, text = scanner.guest_row
        raise NoMapError(
            "only a domain's own map, none of the machine", file=file, line=number, text=_excerpt(text)
        )
    broken = [p for b in boots for block in b.blocks for p in block.broken]
    if broken and not refused:
        first_broken = min(broken, key=lambda p: p.line)
        why = f"no row of a memory map can be read; the first: {first_broken.row.why or 'it is empty'}"
        raise NoMapError(why, file=file, line=first_broken.line, text=_excerpt(first_broken.text))
    if refused:
        raise NoMapError("no map of the machine: " + "; ".join(refused[:3]), file=file)
    raise NoMapError("no memory map found in the text", file=file)
