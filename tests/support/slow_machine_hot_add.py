"""Memory added to a live machine.

Written from xen/arch/x86/x86_64/mm.c (mem_hotadd_check, memory_add, extend_frame_table, setup_m2p_table)
and from docs/machine.md on what differs: RAM that is there already is refused, page tables cost nothing.
"""

from __future__ import annotations

from slow_machine_ram import GROUP

#: Frames of 2 MiB; frames whose M2P entries, and whose compat entries, fill 2 MiB.
STEP, SLOT, COMPAT_SLOT = 512, 1 << 18, 1 << 19


class HotAdd:
    """Part of the slow machine; needs Ram and SlowHeap."""

    def add_memory(self, start, end, node=None):
        """Take RAM at [start, end) bytes; whether it is taken."""
        if not 0 <= start < end <= 1 << 64 or start % (2 << 20) or end % (2 << 20):
            return False
        first, last, ram = start // 4096, end // 4096, self.ram
        if not self._fits(first, last):
            return False
        if node is None:
            node = self._node_of(start, end)
            if node is None:
                return False
        low, top = ram.pdx(first), ram.pdx(last - 1)
        groups = range(low // GROUP, top // GROUP + 1)
        slots = [s for s in range(first // SLOT, -(-last // SLOT)) if s not in ram.slots]
        end = min(-(-last // COMPAT_SLOT), ram.compat_most)
        compat = [s for s in range(first // COMPAT_SLOT, end) if s not in ram.compat_slots]
        fresh = sum(g not in ram.groups for g in groups) + len(slots) + len(compat)
        ram.grow(groups, slots, compat, last, top + 1)
        if node not in ram.nodes:
            ram.nodes.append(node)
        index, heap = ram.nodes.index(node), first + fresh * STEP
        if heap > first:
            ram.add(first, heap, True, index)
        if last > heap:
            ram.add(heap, last, False, index)
            self.heap.add_range(heap, last)
        return True

    def _fits(self, first, last):
        ram = self.ram
        # 2 MiB never straddle what a compression tells apart.
        for mfn in (*range(first, last, STEP), last - 1):
            if not ram.oracle.compressible(mfn) or ram.pdx(mfn) - ram.pdx(first) != mfn - first:
                return False
        low, top = ram.pdx(first), ram.pdx(last - 1)
        if top + 1 > min(ram.frame_table_bytes // 32, (1 << 32) - 2) or top >= ram.direct_map_frames:
            return False
        if last * 8 > ram.m2p_bytes or any(s < last and first < e for s, e, *_ in ram.runs):
            return False
        # Some whole group before the last one, and none of those may be there already.
        whole = range(-(-low // GROUP), top // GROUP)
        return bool(whole) and not any(g in ram.groups and g * GROUP < ram.max_pdx for g in whole)

    def _node_of(self, start, end):
        rows = self.ram.srat
        for row in rows:
            if row.start <= start and end <= row.end:
                return row.node
        return None if rows else self.ram.nodes[0]
