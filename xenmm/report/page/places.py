"""Where RAM lies and where it lands: pieces by node and their images in pdx space."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ...boot.host import Host
from ...constants import PAGE_SHIFT
from ...firmware.memory_map import SRAT_ENABLED, MemoryMap

#: Pieces of one range; only a range that aliases is in more than a few.
_PIECES_MAX: Final = 1024


class Piece(NamedTuple):
    """RAM of one node: ``[start, end)`` in bytes; ``node`` is None where no SRAT row covers it."""

    start: int
    end: int
    node: int | None


class Landing(NamedTuple):
    """Frames that a host uses, contiguous in both spaces: first mfn, first pdx, how many, and their node."""

    mfn: int
    pdx: int
    frames: int
    node: int | None


def by_node(memory_map: MemoryMap, runs: Sequence[tuple[int, int]] | None = None) -> list[Piece]:
    """RAM (or the runs given) cut where the SRAT's node changes, ascending.

    Where enabled rows overlap, the one that begins lower counts.
    """
    owners = _owners(memory_map)
    starts = [start for start, _, _ in owners]
    pieces: list[Piece] = []
    for start, end in memory_map.ram if runs is None else runs:
        at = start
        i = max(bisect_right(starts, start) - 1, 0)
        while at < end:
            while i < len(owners) and owners[i][1] <= at:
                i += 1
            if i < len(owners) and owners[i][0] <= at:
                stop, node = min(end, owners[i][1]), owners[i][2]
            else:
                stop, node = min(end, owners[i][0]) if i < len(owners) else end, None
            if pieces and pieces[-1].end == at and pieces[-1].node == node and pieces[-1].start >= start:
                pieces[-1] = Piece(pieces[-1].start, stop, node)
            else:
                pieces.append(Piece(at, stop, node))
            at = stop
    return pieces


def _owners(memory_map: MemoryMap) -> list[tuple[int, int, int | None]]:
    owners: list[tuple[int, int, int | None]] = []
    at = 0
    for row in sorted((r for r in memory_map.srat or () if r.flags & SRAT_ENABLED), key=lambda r: r.start):
        if max(row.start, at) < row.end:
            owners.append((max(row.start, at), row.end, row.node))
            at = row.end
    return owners


def landings(host: Host) -> list[Landing]:
    """Where the RAM that a host uses lands in pdx space, ascending by mfn."""
    out = []
    for piece in by_node(host.memory_map, host.plan.used):
        first, end = -(-piece.start >> PAGE_SHIFT), piece.end >> PAGE_SHIFT
        for mfn, stop in _unbroken(host, first, end):
            out.append(Landing(mfn, host.mfn_to_pdx_unchecked(mfn), stop - mfn, piece.node))
    return out


def within(all_of_them: Sequence[Landing], first: int, end: int) -> list[Landing]:
    """What of the landings, which ascend by mfn, lies in the frames [first, end)."""
    at = max(bisect_right(all_of_them, first, key=lambda each: each.mfn) - 1, 0)
    out = []
    while at < len(all_of_them) and all_of_them[at].mfn < end:
        each = all_of_them[at]
        start, stop = max(each.mfn, first), min(each.mfn + each.frames, end)
        if start < stop:
            out.append(Landing(start, each.pdx + start - each.mfn, stop - start, each.node))
        at += 1
    return out


def _unbroken(host: Host, first: int, end: int) -> Iterator[tuple[int, int]]:
    # Within a block the difference of mfn and pdx is constant: below the hole of a mask, or one table slot.
    c = host.compression
    shift = {"mask": c.bottom_shift, "offset": c.pfn_index_shift}.get(c.kind)
    if shift is None:
        yield first, end
        return
    at = first
    for _ in range(_PIECES_MAX):
        if at >= end:
            return
        delta = host.mfn_to_pdx_unchecked(at) - at
        stop = ((at >> shift) + 1) << shift
        while stop < end and host.mfn_to_pdx_unchecked(stop) - stop == delta:
            stop += 1 << shift
        yield at, min(stop, end)
        at = min(stop, end)
