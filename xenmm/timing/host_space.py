"""The address space of a booted host: its direct map, frame table and M2P, with the pages that its boot
chose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ..constants import PAGE_SHIFT, PAGE_SIZE
from .levels import PAGE_BYTES
from .space import AddressSpace, Mapping

if TYPE_CHECKING:
    from ..boot.host import Host
    from ..boot.tables import Table

_PAGE_NAME: Final = {size >> PAGE_SHIFT: name for name, size in PAGE_BYTES.items()}
#: A contiguous piece of a table: byte offset, machine address, length.
_Piece = tuple[int, int, int]


def host_space(host: Host) -> AddressSpace:
    """Return the mappings of a host's tables.

    Parameters
    ----------
    host : Host
        Booted.

    Returns
    -------
    AddressSpace
        The direct map, the frame table, the M2P, its read-only copy and the compat M2P, in pages of the
        sizes that the host's boot chose.

    Notes
    -----
    Which machine addresses the direct map reaches is the host's own. Where the frames of the other tables
    lie is not known from a log; the rule (assumed): from the top of the highest RAM downward, first the
    frame table, then the M2P, then the compat M2P, then the page-table pages, each run of pages as high as
    its alignment and the RAM allow. The read-only copy maps the M2P's frames. Tables that RAM cannot hold
    lie behind its end: a real boot would have failed there.
    """
    frames = Frames(host.plan.used)
    mappings = list(_direct_map(host))
    for table in (host.frame_table, host.m2p, host.compat_m2p):
        if table is None:
            continue
        placed = list(_place(table, frames))
        mappings += _mappings(table, placed)
        if table is host.m2p:
            mappings += _mappings(host.ro_m2p, placed)
    space = AddressSpace(mappings, name=_name(host))
    tables = sum(last - first + 1 for level in (1, 2, 3) for first, last, _ in space.table_runs()[level]) + 1
    return AddressSpace(mappings, tables_maddr=frames.take(tables << PAGE_SHIFT, PAGE_SIZE), name=_name(host))


def _name(host: Host) -> str:
    return f"{host.memory_map.name or 'unnamed'}, {host.profile.name}"


class Frames:
    """RAM from the top downward."""

    def __init__(self, used: Iterable[tuple[int, int]]) -> None:
        self._runs = [[start, end] for start, end in used]
        self._behind = max((end for _, end in self._runs), default=0)

    def take(self, length: int, align: int) -> int:
        """Return the machine address of `length` bytes: the highest that are free together and aligned."""
        for run in reversed(self._runs):
            at = (run[1] - length) // align * align
            if at >= run[0]:
                # What alignment leaves above stays unused.
                run[1] = at
                return at
        at = -(-self._behind // align) * align
        self._behind = at + length
        return at

    def largest(self, align: int) -> int:
        """Return how many bytes a single :meth:`take` can get."""
        return max((run[1] // align * align - -(-run[0] // align) * align for run in self._runs), default=0)


def _place(table: Table, frames: Frames) -> Iterator[_Piece]:
    for at, in_page, count in table.chunks:
        page = in_page << PAGE_SHIFT
        while count:
            n = min(count, max(frames.largest(page) // page, 1))
            yield at, frames.take(n * page, page), n * page
            at += n * page
            count -= n


def _mappings(table: Table, pieces: list[_Piece]) -> Iterator[Mapping]:
    # A page of the table lies in one piece, or, where the pieces' pages are smaller, in the first of several:
    # a copy with larger pages than the original's would need their frames together, as boot made them.
    for at, in_page, count in table.chunks:
        page, end = in_page << PAGE_SHIFT, at + (in_page << PAGE_SHIFT) * count
        for start, maddr, length in pieces:
            low, high = max(at, start), min(end, start + length)
            if low >= high:
                continue
            size = page
            while (low | high | (maddr + low - start)) % size:
                size >>= 9
            yield Mapping(
                table.virt_start + low, maddr + low - start, high - low, _PAGE_NAME[size >> PAGE_SHIFT]
            )


def _direct_map(host: Host) -> Iterator[Mapping]:
    calls = sorted(
        (at, mfn << PAGE_SHIFT, frames << PAGE_SHIFT) for at, mfn, frames in host.plan.directmap_calls
    )
    for at, in_page, count in host.direct_map.chunks:
        page = in_page << PAGE_SHIFT
        for start, maddr, length in _covered(at, at + page * count, calls):
            size = page
            while (start | length | maddr) % size:
                size >>= 9
            yield Mapping(host.direct_map.virt_start + start, maddr, length, _PAGE_NAME[size >> PAGE_SHIFT])


def _covered(at: int, end: int, calls: list[tuple[int, int, int]]) -> Iterator[_Piece]:
    # The calls know the machine addresses; what Xen's image mapped before them is mapped one to one.
    for offset, maddr, length in calls:
        if at >= end or offset >= end:
            break
        if offset + length <= at:
            continue
        if at < offset:
            yield at, at, offset - at
            at = offset
        high = min(end, offset + length)
        yield at, maddr + at - offset, high - at
        at = high
    if at < end:
        yield at, at, end - at
