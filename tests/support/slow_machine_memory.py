"""Guest memory: P2M and M2P, populate, remove, exchange, places given and taken.

Written from xen/common/memory.c (populate_physmap, guest_remove_page, memory_exchange) and the rules of
docs/machine.md on what a gfn in use answers.
"""

from __future__ import annotations

from slow_machine_pages import (
    EBUSY,
    EEXIST,
    EINVAL,
    ENOENT,
    ENOMEM,
    ENXIO,
    EPERM,
    ESRCH,
    INVALID,
    SHARED,
)

#: Gfns that a domain may use.
GFNS = 1 << 30


class Memory:
    """Part of the slow machine; needs Pages."""

    def entry(self, mfn):
        """The M2P entry as it reads: what boot filled in until something is written."""
        found = self.m2p.get(mfn)
        return self.ram.fill(mfn) if found is None else found

    def gfn_in(self, dom, mfn):
        """Where the domain sees the frame, or None."""
        gfn = self.m2p.get(mfn)
        return gfn if gfn is not None and dom.p2m.get(gfn) == mfn else None

    def place(self, dom, gfn, mfn):
        self.n.mfn_to_page += 1
        self.n.m2p_writes += 1
        dom.p2m[gfn] = mfn
        self.m2p[mfn] = gfn

    def displace(self, dom, gfn):
        self.n.mfn_to_page += 1
        self.n.m2p_writes += 1
        self.m2p[dom.p2m.pop(gfn)] = INVALID

    def do_populate(self, number, peer, flags, ref, addr, gfn):
        dom, order = self.doms.get(number), flags & 0xFF
        if order > 18:
            return EINVAL, 0
        if dom is None:
            return ESRCH, 0
        pages = 1 << order
        rc = self.may_assign(dom, pages)
        if rc:
            return rc, 0
        if gfn % pages or gfn + pages > GFNS:
            return EINVAL, 0
        if any(gfn + i in dom.p2m for i in range(pages)):
            return EEXIST, 0
        mfn = self.domheap_alloc(flags, dom)
        if mfn is None:
            return ENOMEM, 0
        self.n.page_to_mfn += 1
        for i in range(pages):
            self.give(dom, mfn + i)
            self.place(dom, gfn + i, mfn + i)
        return 0, mfn

    def do_remove(self, number, peer, flags, ref, addr, gfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        mfn = dom.p2m.get(gfn)
        if mfn is None:
            return ENOENT, 0
        self.n.mfn_to_page += 1
        self.get_page(mfn, number)
        self.displace(dom, gfn)
        self.drop_pin(mfn)
        self.put_alloc_ref(mfn)
        self.put(mfn)
        return 0, 0

    def do_physmap_add(self, number, peer, flags, ref, gfn, mfn):
        rc, dom, old = self._placed_page(number, mfn)
        if rc:
            return rc, 0
        if old is not None or dom.dying:
            return EBUSY, 0
        if gfn >= GFNS:
            return EINVAL, 0
        if gfn in dom.p2m:
            return EEXIST, 0
        self.place(dom, gfn, mfn)
        return 0, 0

    def do_physmap_remove(self, number, peer, flags, ref, gfn, mfn):
        rc, dom, old = self._placed_page(number, mfn)
        if rc:
            return rc, 0
        if old is None or old != gfn:
            return ENOENT, 0
        self.displace(dom, gfn)
        return 0, 0

    def _placed_page(self, number, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, None, None
        dom, frame = self.doms.get(number), self.frames.get(mfn)
        if dom is None:
            return ESRCH, None, None
        self.n.mfn_to_page += 1
        self.n.m2p_reads += 1
        if frame is None or frame.owner != number or frame.xen_heap or not frame.allocated:
            return EPERM, None, None
        return 0, dom, self.gfn_in(dom, mfn)

    def do_m2p_get(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.m2p_reads += 1
        return 0, self.entry(mfn)

    def do_m2p_set(self, number, peer, flags, ref, value, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        self.n.m2p_reads += 1
        if value not in (INVALID, SHARED):
            return EINVAL, 0
        frame = self.frames.get(mfn)
        dom = self.doms.get(frame.owner) if frame else None
        if dom and self.gfn_in(dom, mfn) is not None:
            return EBUSY, 0
        self.n.m2p_writes += 1
        self.m2p[mfn] = value
        return 0, 0

    def do_p2m_get(self, number, peer, flags, ref, addr, gfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        mfn = dom.p2m.get(gfn)
        return (ENOENT, 0) if mfn is None else (0, mfn)

    # Exchange.

    def exchange(self, number, given, wanted, in_order, out_order, flags=0):
        """Extents of a domain for fresh ones; all or nothing. 0 or -errno."""
        dom = self.doms[number]
        if dom.dying or not given:
            return EINVAL
        if any(gfn % (1 << out_order) or gfn + (1 << out_order) > GFNS for gfn in wanted):
            return EINVAL
        old = [gfn + i for gfn in given for i in range(1 << in_order)]
        new = [gfn + i for gfn in wanted for i in range(1 << out_order)]
        rc = self._check_exchange(dom, old, new)
        if rc:
            return rc
        fresh = []
        for _ in wanted:
            mfn = self.domheap_alloc(flags & ~0xFF | out_order, dom)
            if mfn is None:
                for other in reversed(fresh):
                    self.heap_free(other, out_order, True)
                return ENOMEM
            fresh.append(mfn)
        for gfn in old:
            mfn = dom.p2m[gfn]
            self.n.mfn_to_page += 1
            self.steal(dom, mfn)
            self.displace(dom, gfn)
            self.heap_free(mfn, 0, True)
        for first, mfn in zip(wanted, fresh, strict=True):
            self.n.page_to_mfn += 1
            for i in range(1 << out_order):
                self.give(dom, mfn + i)
                self.place(dom, first + i, mfn + i)
        return 0

    def _check_exchange(self, dom, old, new):
        leaving = set()
        for gfn in old:
            mfn = dom.p2m.get(gfn)
            if mfn is None:
                return ENOENT
            if gfn in leaving:
                return EINVAL
            self.n.mfn_to_page += 1
            frame = self.frames[mfn]
            if frame.refs != 1 or not frame.allocated:
                return EBUSY
            leaving.add(gfn)
        targets = set()
        for gfn in new:
            if gfn in targets or (gfn in dom.p2m and gfn not in leaving):
                return EEXIST
            targets.add(gfn)
        return 0
