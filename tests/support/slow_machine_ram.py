"""What RAM a live machine has, frame by frame: who keeps it, which node it is of, which frames are valid.

Written from Xen's boot allocator and NUMA setup (xen/common/page_alloc.c, xen/arch/x86/setup.c), and from
what a booted host says of its tables. Nothing of ``xenmm.machine`` is used.
"""

from __future__ import annotations

from bisect import bisect_right

from oracle import Oracle

GROUP = 65536


class Ram:
    """Frames of RAM by range, sorted: ``runs`` of (first, end, node index, kept by boot)."""

    def __init__(self, host, reserve=()):
        self.oracle = Oracle(host.params)
        self.max_page, self.max_pdx = host.max_page, host.max_pdx
        self.groups = set(self.oracle.groups)
        self.valid_cache = {}
        self.pdx_cache, self.virt_cache = {}, {}
        self.srat = rows = [r for r in host.memory_map.srat or () if r.flags & 1]
        self.nodes = sorted({r.node for r in rows}) or [0]
        self.rows = [(r.start // 4096, -(-r.end // 4096), self.nodes.index(r.node)) for r in rows]
        free = [(-(-s // 4096), e // 4096) for s, e in host.plan.used]
        for lo, hi in [(0, 1), *((s // 4096, -(-e // 4096)) for s, e in reserve)]:
            free = [r for s, e in free for r in ((s, min(e, lo)), (max(s, hi), e)) if r[0] < r[1]]
        self.runs = []
        for part in self._after_boot(host, free):
            self.add(*part)
        self.fills = [(at // 8, (at + size) // 8, value) for at, size, value in host.m2p.fills]
        self.slots = {slot for s, e, _ in self.fills for slot in range(s >> 18, -(-e >> 18))}
        self.fill_value, compat = host.profile.m2p_fill, host.compat_m2p
        self.compat_fills = [
            (at // 4, (at + size) // 4, v) for at, size, v in (compat.fills if compat else ())
        ]
        self.compat_slots = {slot for s, e, _ in self.compat_fills for slot in range(s >> 19, -(-e >> 19))}
        self.compat_most = compat.virt_size_reserved >> 21 if compat else 0
        self.frame_table_bytes = host.frame_table.virt_size_reserved
        self.m2p_bytes = host.m2p.virt_size_reserved
        self.direct_map_frames = host.direct_map.virt_size_reserved // 4096
        self.dma_zone = self._dma_zone()

    def _after_boot(self, host, free):
        # The boot allocator gives from the top of the highest range that has room; what it gave stays boot's.
        taken = []

        def take(frames):
            for i in reversed(range(len(free))):
                start, end = free[i]
                first = (end - frames) // frames * frames
                if first >= start:
                    free[i : i + 1] = [r for r in ((start, first), (first + frames, end)) if r[0] < r[1]]
                    taken.append((first, first + frames))
                    return

        free.sort()
        for table in (host.frame_table, host.m2p, host.compat_m2p):
            for _, frames, count in table.chunks if table else ():
                for _ in range(count):
                    take(frames)
        for _ in range(host.page_table_bytes // 4096):
            take(1)
        return [(s, e, False) for s, e in free] + [(s, e, True) for s, e in taken]

    def add(self, first, end, boot, node=None):
        """Frames [first, end) join, cut where the SRAT changes node; what no row covers is node 0's."""
        at = first
        while at < end:
            stop, which = end, 0
            for start, last, row_node in self.rows:
                if start <= at < last:
                    stop, which = min(stop, last), row_node
                    break
                if at < start < stop:
                    stop = start
            self.runs.append((at, stop, which if node is None else node, boot))
            at = stop
        self.runs.sort()
        joined = []
        for s, e, n, kept in self.runs:
            if joined and joined[-1][1:] == (s, n, kept):
                joined[-1] = (joined[-1][0], e, n, kept)
            else:
                joined.append((s, e, n, kept))
        self.runs = joined
        self.starts = [r[0] for r in joined]

    def grow(self, groups, slots, compat_slots, max_page, max_pdx):
        """More groups, and slots of the M2P and the compat M2P are backed, up to new limits."""
        self.groups |= set(groups)
        self.slots |= set(slots)
        self.compat_slots |= set(compat_slots)
        self.fills += [(slot << 18, slot + 1 << 18, self.fill_value) for slot in slots]
        self.compat_fills += [(slot << 19, slot + 1 << 19, self.fill_value) for slot in compat_slots]
        self.max_page, self.max_pdx = max(self.max_page, max_page), max(self.max_pdx, max_pdx)
        self.valid_cache.clear()

    def fill(self, mfn):
        """The M2P entry that nothing was written to."""
        for first, end, value in self.fills:
            if first <= mfn < end:
                return int.from_bytes(bytes([value]) * 8, "little")
        return (1 << 64) - 1

    def run_of(self, mfn):
        """The run that holds a frame, or None: I/O, or nothing at all."""
        i = bisect_right(self.starts, mfn) - 1
        return self.runs[i] if i >= 0 and mfn < self.runs[i][1] else None

    def valid(self, mfn):
        """Xen's mfn_valid on the limits and groups as they are now."""
        known = self.valid_cache.get(mfn)
        if known is None:
            known = mfn < self.max_page and self.oracle.compressible(mfn)
            known = known and self.oracle.mfn_to_pdx(mfn) // GROUP in self.groups
            known = known and self.oracle.mfn_to_pdx(mfn) < self.max_pdx
            self.valid_cache[mfn] = known
        return known

    def pdx(self, mfn):
        """Index of a frame's record."""
        known = self.pdx_cache.get(mfn)
        if known is None:
            known = self.pdx_cache[mfn] = self.oracle.mfn_to_pdx(mfn)
        return known

    def virt(self, mfn):
        """Where the direct map shows a frame: the same by frame and by page."""
        known = self.virt_cache.get(mfn)
        if known is None:
            known = self.oracle.mfn_to_virt(mfn)
            if known != self.oracle.page_to_virt(self.oracle.mfn_to_page(mfn)):
                raise AssertionError(f"mfn {mfn:#x} is at two addresses")
            self.virt_cache[mfn] = known
        return known

    def _dma_zone(self):
        # With several nodes, pages below a width are kept for who asks for them: of the first node that
        # begins below 4 GiB, as the SRAT has it up to the last frame, a quarter; at most 32 bits.
        if len(self.nodes) < 2:
            return 0
        for node in range(len(self.nodes)):
            own = [(s, min(e, self.max_page)) for s, e, n in self.rows if n == node and s < self.max_page]
            if own and own[0][0] < 1 << 20:
                first, last = min(s for s, _ in own), max(e for _, e in own)
                return min((first + (last - first) // 4 - 1).bit_length() + 12, 32) - 12
        return 0
