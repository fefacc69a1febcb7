"""What the page allocator gets: RAM by node, less what boot took for its tables.

Xen c447b7308b, xen/common/page_alloc.c (alloc_boot_pages, end_boot_allocator), xen/arch/x86/numa.c
(arch_get_dma_bitsize).

Differs from Xen: boot's tables come off the top of RAM whatever their node, and neither Xen's image nor the
initial domain's modules are in memory; ``reserve`` leaves room for those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from ..boot._runs import merged
from ..constants import PAGE_SHIFT
from ..errors import MachineError
from ..firmware.memory_map import SRAT_ENABLED

if TYPE_CHECKING:
    from ..boot.host import Host

Run = tuple[int, int]

_FRAMES_2M: Final = 512


class HeapRun(NamedTuple):
    """RAM frames ``[smfn, emfn)`` of one node; ``boot``: kept by boot, not in the heap."""

    smfn: int
    emfn: int
    node: int
    boot: bool


class BootAllocator:
    """Hands out frames from the top of the highest range that has room, as Xen's alloc_boot_mfns does."""

    def __init__(self, ranges: Iterable[Run]) -> None:
        self.ranges = sorted(ranges)
        self.taken: list[Run] = []

    def take(self, frames: int, align: int) -> int:
        """Return the first mfn of ``frames`` aligned frames; raises MachineError when none are left."""
        for i in reversed(range(len(self.ranges))):
            start, end = self.ranges[i]
            mfn = (end - frames) // align * align
            if mfn < start:
                continue
            self.ranges[i : i + 1] = [r for r in ((start, mfn), (mfn + frames, end)) if r[0] < r[1]]
            self.taken.append((mfn, mfn + frames))
            return mfn
        raise MachineError(
            f"boot's tables do not fit into RAM: no {frames} free frames aligned to {align:#x} are left; "
            f"choose a profile with smaller tables"
        )


def usable_frames(host: Host, reserve: Iterable[Run]) -> list[Run]:
    """Frames that boot walked, less those of the byte ranges in ``reserve``; frame 0 is never used."""
    runs = [(-(-s >> PAGE_SHIFT), e >> PAGE_SHIFT) for s, e in host.plan.used]
    holes = [(0, 1), *((s >> PAGE_SHIFT, -(-e >> PAGE_SHIFT)) for s, e in reserve)]
    for lo, hi in holes:
        runs = [r for s, e in runs for r in ((s, min(e, lo)), (max(s, hi), e)) if r[0] < r[1]]
    return runs


class M2pBacking(NamedTuple):
    """First mfn behind each backed 2 MiB of the M2P and of the compat M2P."""

    m2p: dict[int, int]
    compat: dict[int, int]


def take_boot_tables(host: Host, ranges: Iterable[Run]) -> tuple[BootAllocator, M2pBacking]:
    """Take what boot's tables occupy; also return what is behind the M2Ps."""
    memory = BootAllocator(ranges)
    backing = M2pBacking({}, {})
    for table in (host.frame_table, host.m2p, host.compat_m2p):
        if table is None:
            continue
        for offset, frames, count in table.chunks:
            for i in range(count):
                mfn = memory.take(frames, frames)
                if table is host.frame_table:
                    continue
                slots = backing.m2p if table is host.m2p else backing.compat
                first = (offset >> 21) + i * frames // _FRAMES_2M
                for k in range(max(1, frames // _FRAMES_2M)):
                    slots[first + k] = mfn + k * _FRAMES_2M
    for _ in range(host.page_table_bytes >> PAGE_SHIFT):
        memory.take(1, 1)
    return memory, backing


def node_ranges(host: Host) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
    """The node ids, ascending, and ``(smfn, emfn, index into them)`` of enabled SRAT rows, ascending."""
    rows = [r for r in host.memory_map.srat or () if r.flags & SRAT_ENABLED]
    ids = tuple(sorted({r.node for r in rows})) or (0,)
    spans = sorted((r.start >> PAGE_SHIFT, -(-r.end >> PAGE_SHIFT), ids.index(r.node)) for r in rows)
    return ids, spans


def _by_node(run: Run, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    # A run cut at node boundaries; what no row covers counts as the first node's, as in Xen's memnode map.
    at, end = run
    for start, stop, node in spans:
        if stop <= at or start >= end:
            continue
        if at < start:
            yield at, start, 0
            at = start
        yield at, min(stop, end), node
        at = min(stop, end)
        if at == end:
            return
    if at < end:
        yield at, end, 0


def heap_runs(host: Host, reserve: Iterable[Run] = ()) -> tuple[list[HeapRun], tuple[int, ...], M2pBacking]:
    """Lay the heap out.

    Returns
    -------
    runs : list of HeapRun
        All RAM in use, ascending, heap and boot's.
    nodes : tuple of int
        Node ids; a run's ``node`` is an index into them.
    backing : M2pBacking
        What is behind the M2Ps.
    """
    nodes, spans = node_ranges(host)
    memory, backing = take_boot_tables(host, usable_frames(host, reserve))
    runs: list[HeapRun] = []
    pieces = [(*r, False) for r in memory.ranges] + [(*r, True) for r in merged(memory.taken)]
    for start, end, boot in sorted(pieces):
        for smfn, emfn, node in _by_node((start, end), spans):
            last = runs[-1] if runs else None
            if last and last.emfn == smfn and (last.node, last.boot) == (node, boot):
                runs[-1] = last._replace(emfn=emfn)
            else:
                runs.append(HeapRun(smfn, emfn, node, boot))
    if not any(not r.boot for r in runs):
        raise MachineError("boot's tables take all of RAM: no page is left for a machine")
    return runs, nodes, backing


def dma_bits(host: Host) -> int:
    """Address width kept for who asks for it, 0 with one node; at most 32.

    A quarter of the first node that begins below 4 GiB, where the SRAT has it up to the last frame: holes and
    memory that is yet to come count. Differs from Xen: without such a node nothing is kept, where Xen stops.
    Xen c447b7308b, xen/arch/x86/numa.c, arch_get_dma_bitsize; xen/common/numa.c, setup_node_bootmem.
    """
    nodes, spans = node_ranges(host)
    if len(nodes) < 2:
        return 0
    for node in range(len(nodes)):
        own = [(s, min(e, host.max_page)) for s, e, n in spans if n == node and s < host.max_page]
        if own and own[0][0] < 1 << (32 - PAGE_SHIFT):
            start, end = own[0][0], max(e for _, e in own)
            return min((start + (end - start) // 4 - 1).bit_length() + PAGE_SHIFT, 32)
    return 0
