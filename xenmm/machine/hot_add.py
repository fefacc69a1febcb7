"""Memory added after boot: what is taken, and how the tables grow.

Rules: Xen c447b7308b, xen/arch/x86/x86_64/mm.c (mem_hotadd_check, memory_add, extend_frame_table,
setup_m2p_table, transfer_pages_to_heap). The range is aligned to 2 MiB; the compression that boot chose can
express all of it; at least one whole group of 65,536 pages is new; frame table, M2P and direct map have room;
the new parts of the tables take the start of the added memory, and the rest goes to the heap. They fit
always: a range with a whole group in it has many times the pages that its tables take.

Differs from Xen: a range that overlaps RAM is refused, where Xen looks at whole groups inside it only; the
page tables that map the new parts are not taken from the heap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..constants import PAGE_INFO_BYTES, PAGE_SHIFT, PDX_GROUP_COUNT
from ..errors import MachineError
from ..firmware.memory_map import SRAT_ENABLED

if TYPE_CHECKING:
    from .machine import Machine

_ALIGN: Final = 2 << 20
_FRAMES_2M: Final = 512
#: Frames whose M2P entries fill 2 MiB.
_M2P_SLOT: Final = 1 << 18
#: Frames whose compat entries fill 2 MiB.
_COMPAT_SLOT: Final = 1 << 19
_GROUP_BYTES: Final = PDX_GROUP_COUNT * PAGE_INFO_BYTES
_MOST_RECORDS: Final = (1 << 32) - 2


@dataclass(frozen=True)
class AddPlan:
    """What the core does: frames, bytes of tables, the node's index; all ranges half-open."""

    smfn: int
    heap_mfn: int
    emfn: int
    end_pdx: int
    node: int
    groups: tuple[int, int]
    frame_table_pages: list[tuple[int, int]]
    cleared: tuple[int, int]
    tail: tuple[int, int]
    m2p_fills: list[tuple[int, int, int]]
    compat_fills: list[tuple[int, int, int]]


def add_memory(machine: Machine, start: int, end: int, node: int | None) -> None:
    """See :meth:`xenmm.machine.Machine.add_memory`."""
    _check_range(machine, start, end)
    node = _node_of(machine, start, end) if node is None else node
    if not 0 <= node < 1 << 32:
        raise _refusal(start, end, f"{node} is no node")
    nodes = machine.nodes if node in machine.nodes else (*machine.nodes, node)
    plan = _plan(machine, start, end, nodes.index(node))
    machine._add_memory(plan)
    machine.nodes = nodes
    machine.added = [*machine.added, (start, end, node)]
    machine.m2p_fills += plan.m2p_fills
    machine.compat_fills += plan.compat_fills
    # The frame table's new pages come first, then the M2P's, then the compat M2P's.
    first = plan.smfn + _FRAMES_2M * len(plan.frame_table_pages)
    for backing, fills in (
        (machine.m2p_backing, plan.m2p_fills),
        (machine.compat_m2p_backing, plan.compat_fills),
    ):
        for offset, *_ in fills:
            backing[offset >> 21] = first
            first += _FRAMES_2M


def _refusal(start: int, end: int, why: str) -> MachineError:
    return MachineError(f"memory [{start:#x}, {end:#x}) is not added: {why}")


def _check_range(machine: Machine, start: int, end: int) -> None:
    # Mem_hotadd_check, rule by rule.
    host, spfn, epfn = machine.host, start >> PAGE_SHIFT, end >> PAGE_SHIFT
    if not 0 <= start < end <= 1 << 64:
        raise _refusal(start, end, "it is no range")
    if start % _ALIGN or end % _ALIGN:
        raise _refusal(start, end, "it is not aligned to 2 MiB")
    if not host.compression.is_region_compressible(start, end):
        raise _refusal(
            start, end, f"the {host.compression.kind} compression frozen at boot cannot express it"
        )
    first, last = host.mfn_to_pdx_unchecked(spfn), host.mfn_to_pdx_unchecked(epfn - 1)
    if last + 1 > min(host.frame_table.virt_size_reserved // PAGE_INFO_BYTES, _MOST_RECORDS):
        raise _refusal(start, end, "it is past the end of the frame table's address space")
    if last >= host.direct_map.virt_size_reserved >> PAGE_SHIFT:
        raise _refusal(start, end, "it is past the end of the direct map")
    if epfn * 8 > host.m2p.virt_size_reserved:
        raise _refusal(start, end, "it is past the end of the M2P")
    for smfn, emfn, *_ in machine._runs():
        if smfn < epfn and spfn < emfn:
            raise _refusal(start, end, f"RAM is there already, at mfn {max(smfn, spfn):#x}")
    whole = range(-(-first // PDX_GROUP_COUNT), last // PDX_GROUP_COUNT)
    if not whole:
        raise _refusal(start, end, "it holds no whole group of 65,536 pages before its last")
    for group in whole:
        if machine._pdx_ok(group * PDX_GROUP_COUNT):
            raise _refusal(start, end, f"group {group} of 65,536 pages in it is valid already")


def _node_of(machine: Machine, start: int, end: int) -> int:
    rows = [r for r in machine.host.memory_map.srat or () if r.flags & SRAT_ENABLED]
    covering = [r.node for r in rows if r.start <= start and end <= r.end]
    if covering:
        return int(covering[0])
    if rows:
        raise _refusal(start, end, "no SRAT row covers it: name its node")
    return machine.nodes[0]


def _plan(machine: Machine, start: int, end: int, node: int) -> AddPlan:
    host, spfn, epfn = machine.host, start >> PAGE_SHIFT, end >> PAGE_SHIFT
    end_pdx = host.mfn_to_pdx_unchecked(epfn - 1) + 1
    groups = range(host.mfn_to_pdx_unchecked(spfn) // PDX_GROUP_COUNT, (end_pdx - 1) // PDX_GROUP_COUNT + 1)
    fresh = [g for g in groups if not _group_ok(machine, g)]
    slots = [s for s in range(spfn // _M2P_SLOT, -(-epfn // _M2P_SLOT)) if not machine._m2p_ok(s * _M2P_SLOT)]
    compat = _compat_slots(machine, spfn, epfn)
    tables = _FRAMES_2M * (len(fresh) + len(slots) + len(compat))
    pages = [(g * _GROUP_BYTES, _GROUP_BYTES) for g in fresh]
    rest, cleared = _last_group(machine, end_pdx)
    last = (end_pdx - 1) // PDX_GROUP_COUNT
    tail = (0, 0)
    if end_pdx > machine.max_pdx and last in fresh:
        tail = (end_pdx * PAGE_INFO_BYTES, (last + 1) * _GROUP_BYTES - end_pdx * PAGE_INFO_BYTES)
    return AddPlan(
        smfn=spfn,
        heap_mfn=spfn + tables,
        emfn=epfn,
        end_pdx=end_pdx,
        node=node,
        groups=(groups.start, groups.stop),
        frame_table_pages=pages + rest,
        cleared=cleared,
        tail=tail,
        m2p_fills=[(s << 21, 1 << 21, host.profile.m2p_fill) for s in slots],
        compat_fills=[(s << 21, 1 << 21, host.profile.m2p_fill) for s in compat],
    )


def _compat_slots(machine: Machine, spfn: int, epfn: int) -> list[int]:
    # New 2 MiB of the compat M2P, which ends at what the layout reserves.
    table = machine.host.compat_m2p
    if table is None:
        return []
    end = min(-(-epfn // _COMPAT_SLOT), table.virt_size_reserved >> 21)
    return [s for s in range(spfn // _COMPAT_SLOT, end) if not machine._compat_ok(s * _COMPAT_SLOT)]


def _group_ok(machine: Machine, group: int) -> bool:
    return any(first <= group < end for first, end in machine.groups())


def _last_group(machine: Machine, end_pdx: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    # Records between the old end and the end of its group come into reach: boot filled them with 0xff, or
    # did not back them at all.
    old_end = machine.max_pdx * PAGE_INFO_BYTES
    group_end = -(-old_end // _GROUP_BYTES) * _GROUP_BYTES
    if end_pdx <= machine.max_pdx or old_end == group_end:
        return [], (0, 0)
    mapped = max(at + size for at, size in machine.setup.frame_table_pages)
    if machine.added or mapped >= group_end:
        return [], (old_end, group_end - old_end)
    return [(mapped, group_end - mapped)], (old_end, mapped - old_end)
