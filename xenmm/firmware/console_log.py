"""From a console log's boots and blocks to one memory map: which map is meant, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..constants import MIB
from ..errors import MemoryMapError
from .log_blocks import Block, Boot, Scanner
from .log_maps import Candidate, bytes_in, excerpt, from_block, minus, srat_of
from .log_stated import arch_of, compare_totals, read_facts
from .memory_map import MemoryMap, Note, Source, SratRange, Stated, merge

#: What each family of rows is called in ``MemoryMap.format``, and its rank: the firmware's own map first.
_FAMILIES: Final = {
    "xen": ("xen-e820", 0),
    "xen-arm": ("xen-arm", 0),
    "e820": ("linux-e820", 1),
    "smap": ("freebsd-smap", 1),
    "efi": ("efi", 2),
    "mips": ("mips-memory", 2),
    "nodes": ("linux-node-ranges", 4),
    "memblock": ("linux-memblock", 5),
    "pfn": ("linux-pfn-ranges", 5),
    "chunks": ("freebsd-chunks", 5),
    "iomem": ("iomem", 6),
}
_USER_FAMILIES: Final = {"user": ("linux-user", 0), "modified": ("linux-modified", 1)}
#: The worst rank that still is the firmware's word, not the kernel's.
_FIRMWARE: Final = 2
_MOST_NOTES: Final = 50


class NoMapError(MemoryMapError):
    """The text holds no map of a machine as consoles print one; it may hold one of another format."""


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
        Which boot to read, from 1; by default the first whose map is whole and has no less RAM than the first
        that has a map, else that one.
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
    candidates = list(_candidates(boots, file, refused))
    if read_iomem is not None:
        candidates += _iomem_candidates(scanner, boots, file, read_iomem, refused)
    candidates = [c for c in candidates if not c.boot.is_guest and not _is_fragment(c, candidates)]
    xen = [c for c in candidates if c.family in ("xen", "xen-arm")]
    if xen:
        # What a kernel prints after its hypervisor has booted is that domain's view.
        start = xen[0].boot.first_line
        firmware = [c for c in candidates if c.rank <= _FIRMWARE and c.boot.realm == "host"]
        candidates = xen + [c for c in firmware if c.first_line < start and not c.boot.under_xen]
    chosen, notes = _choose(candidates, boot, map, file)
    if chosen is None:
        refused += [
            f"line {c.first_line} starts the kernel's own corrected map, which map='user' reads"
            for c in candidates
            if c.family in _USER_FAMILIES
        ]
        return _without_map(scanner, boots, file, map, strict, refused)
    return _finish(chosen, notes, file, strict)


# ---------------------------------------------------------------- which map


def _candidates(boots: list[Boot], file: str, refused: list[str]) -> Iterable[Candidate]:
    families = {**_FAMILIES, **_USER_FAMILIES}
    for boot in boots:
        for block in boot.blocks:
            if block.family == "guest" and block.rows:
                refused.append(f"line {block.first_line} starts a domain's own map")
            known = families.get(block.family)
            if known is None or not block.rows:
                continue
            candidate = from_block(block, boot, known, file)
            if candidate.ram:
                yield candidate
            else:
                refused.append(f"the map at line {block.first_line} has no row of RAM")


def _iomem_candidates(
    scanner: Scanner, boots: list[Boot], file: str, read_iomem: IomemReader, refused: list[str]
) -> Iterable[Candidate]:
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
    yield Candidate("iomem", rank, boot, number, found.format, found.ranges, damage, notes, arch=found.arch)


def _choose(
    candidates: list[Candidate], boot: int | None, map: str, file: str
) -> tuple[Candidate | None, list[Note]]:
    """The first boot whose best map is whole, or the boot asked for; in it the firmware's map first."""
    boots: dict[int, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda c: (c.boot.first_line, c.boot.index)):
        boots.setdefault(candidate.boot.index, []).append(candidate)
    groups = list(boots.values())
    if boot is not None and not 1 <= boot <= len(groups):
        raise MemoryMapError(f"no boot {boot}: the log has {len(groups)} with a map", file=file)
    ordered = [_best(group, map) for group in groups]
    offered = [best for best in (ordered if boot is None else ordered[boot - 1 : boot]) if best is not None]
    if not offered:
        return None, []
    # A whole map with less RAM than a damaged one certainly has is another machine's, or a crash kernel's.
    least = bytes_in(offered[0][0].ram)
    chosen, notes = next((b for b in offered if b[0].whole and bytes_in(b[0].ram) >= least), offered[0])
    if len(groups) > 1:
        lines = [min(c.first_line for c in group) for group in groups]
        starts = ", ".join(str(n) for n in lines[:8]) + (", ..." if len(lines) > 8 else "")
        which = next(i for i, group in enumerate(groups, 1) if chosen in group)
        text = f"{len(groups)} boots with a map, at lines {starts}; boot {which} is read"
        notes = [Note("note", text, Source(file, chosen.first_line, chosen.format)), *notes]
    return chosen, notes


def _best(group: list[Candidate], map: str) -> tuple[Candidate, list[Note]] | None:
    """The best map of one boot, and what is to be said of the choice; ``None`` without one of the kind."""
    user = [c for c in group if c.family in _USER_FAMILIES]
    if map == "user" or len(user) == len(group):
        users = sorted(user, key=lambda c: (c.rank, not c.whole, c.first_line))
        return (users[0], []) if map == "user" and users else None
    firmware = [c for c in group if c.rank <= _FIRMWARE and c not in user]
    kernel = [c for c in group if c.rank > _FIRMWARE]
    by_rank = sorted(kernel, key=lambda c: (not c.whole, c.rank, c.first_line))
    if not firmware:
        return by_rank[0], []
    best = min(firmware, key=lambda c: (c.rank, not c.whole, c.first_line))
    if not best.whole:
        for other in by_rank:
            more = bytes_in(minus(other.ram, best.ram))
            if other.whole and more > MIB:
                text = (
                    f"the firmware's map is incomplete; the kernel's {other.format} has {more:#x} more bytes"
                    " of RAM and is read instead"
                )
                return other, [Note("warning", text, Source(best.ranges[0].source.file, best.first_line))]  # type: ignore[union-attr]
    return best, []


def _is_fragment(candidate: Candidate, others: list[Candidate]) -> bool:
    """Whether this is a MIPS list that knows only a part: some platforms tell their memory elsewhere."""
    return candidate.family == "mips" and any(
        c.boot is candidate.boot
        and c.rank > _FIRMWARE
        and c.whole
        and bytes_in(minus(c.ram, candidate.ram)) > MIB
        for c in others
    )


# ---------------------------------------------------------------- the result


def _finish(chosen: Candidate, notes: list[Note], file: str, strict: bool) -> MemoryMap:
    boot = chosen.boot
    srat, srat_damage = srat_of(boot, file)
    damage = chosen.damage + srat_damage
    if strict:
        refuse_damage(damage, file)
    xen = boot.realm == "xen"
    stated, where = read_facts(boot.facts, xen)
    notes = notes + chosen.notes + damage[:_MOST_NOTES]
    if len(damage) > _MOST_NOTES:
        lost = sum(n.dropped_bytes or 0 for n in damage[_MOST_NOTES:])
        text = f"{len(damage) - _MOST_NOTES} more of the same kinds"
        notes.append(Note("dropped", text, Source(file), dropped_bytes=lost or None))
    notes += _disagreements(chosen, srat or (), stated, where, file)
    notes += _reserved_notes(chosen, stated, where, file)
    return MemoryMap(
        chosen.ranges,
        srat,
        name=stated.details.get("machine") or os.path.basename(file),
        format=chosen.format,
        notes=tuple(notes),
        stated=stated,
        arch=_arch(chosen),
    )


def _reserved_notes(chosen: Candidate, stated: Stated, where: dict[str, int], file: str) -> Iterable[Note]:
    """What the device tree of Xen on Arm reserves: it stays RAM where it is RAM, and none of it is hidden."""
    for number, (start, end) in enumerate(stated.details.get("reserved", ())):
        inside = end - start - bytes_in(minus(((start, end),), chosen.ram)) if start < end else 0
        where_to = f"{inside:#x} bytes of it are RAM and stay so" if inside else "it is no RAM"
        text = f"[{start:#x}, {end:#x}) is reserved by the device tree; {where_to}"
        yield Note("note", text, Source(file, where[f"reserved {number}"], chosen.format))


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


def _arch(chosen: Candidate) -> str:
    if chosen.family in ("xen", "e820", "smap", "modified"):
        return "x86"
    if chosen.family == "xen-arm":
        return "arm"
    # x86 and MIPS both have a user-defined map.
    return arch_of(chosen.boot.facts) or chosen.arch or ("x86" if chosen.family == "user" else "")


def _disagreements(
    chosen: Candidate, srat: Sequence[SratRange], stated: Stated, where: dict[str, int], file: str
) -> list[Note]:
    """Compare the map with what else its boot says: SRAT, totals, EFI table, the kernel's node ranges."""
    boot = chosen.boot
    notes: list[Note] = []
    ram = chosen.ram
    corrected = [b for b in boot.blocks if b.family in _USER_FAMILIES and chosen.rank <= _FIRMWARE]
    own = [m for b in corrected if (m := merge(_ram_rows(b)))]
    if own and chosen.family not in _USER_FAMILIES:
        kept, away = bytes_in(own[0]), bytes_in(minus(ram, own[0]))
        text = f"the kernel went on with its own map of {kept:#x} bytes of RAM, {away:#x} of the firmware's"
        notes.append(
            Note("note", text + " left out; map='user' reads it", Source(file, corrected[0].first_line))
        )
    elif chosen.rank <= _FIRMWARE:
        notes += _other_maps(chosen, file)
    outside = bytes_in(minus(ram, merge((r.start, r.end) for r in srat))) if srat else 0
    if outside:
        notes.append(Note("warning", f"{outside:#x} bytes of RAM lie outside every SRAT row", srat[0].source))
    for line, text in compare_totals(stated, where, own[0] if own else ram, boot.realm == "xen"):
        notes.append(Note("warning", text, Source(file, line, chosen.format)))
    return notes


def _ram_rows(block: Block) -> Iterable[tuple[int, int]]:
    return ((p.row.start, p.row.end or 0) for p in block.rows if p.row.kind == "ram")


def _other_maps(chosen: Candidate, file: str) -> Iterable[Note]:
    for block in chosen.boot.blocks:
        other = merge(_ram_rows(block))
        if block is chosen.block or not other:
            continue
        more = bytes_in(minus(other, chosen.ram))
        if block.family == "efi" and more > MIB:
            text = f"the EFI table has {more:#x} bytes of RAM more than the {chosen.format} that is read"
            yield Note("warning", text, Source(file, block.first_line, "efi"))
        elif block.family == "nodes" and more > MIB:
            text = f"the kernel's node ranges hold {more:#x} bytes that are not RAM in the map that is read"
            yield Note("warning", text, Source(file, block.first_line, "linux-node-ranges"))


def _without_map(
    scanner: Scanner, boots: list[Boot], file: str, map: str, strict: bool, refused: list[str]
) -> MemoryMap:
    """No map of RAM: SRAT rows alone are worth reading, anything else is an error that says why."""
    if map == "user":
        raise NoMapError("the log has no user-defined or modified map", file=file)
    for candidate in boots:
        srat, damage = srat_of(candidate, file)
        if srat:
            if strict:
                refuse_damage(damage, file)
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
            "only a domain's own map, none of the machine", file=file, line=number, text=excerpt(text)
        )
    broken = [p for b in boots for block in b.blocks for p in block.broken]
    if broken and not refused:
        first_broken = min(broken, key=lambda p: p.line)
        why = f"no row of a memory map can be read; the first: {first_broken.row.why or 'it is empty'}"
        raise NoMapError(why, file=file, line=first_broken.line, text=excerpt(first_broken.text))
    if refused:
        raise NoMapError("no map of the machine: " + "; ".join(refused[:3]), file=file)
    raise NoMapError(
        "no memory map found in the text: a log from its first line has one (sudo dmesg, or "
        "journalctl -k -b), so have "
        "/proc/iomem as root sees it and lsmem",
        file=file,
    )
