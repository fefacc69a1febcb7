"""Grant copies: both sides pinned, also through a transitive grant, checked, mapped, released.

Written from xen/common/grant_table.c (gnttab_copy_one, gnttab_copy_claim_buf, acquire_grant_for_copy,
release_grant_for_copy).
"""

from __future__ import annotations

from slow_machine_domains import SUB_PAGE, TRANSITIVE, TYPE
from slow_machine_grants import BAD_COPY, BAD_DOMAIN, BAD_PAGE, BAD_REF, GENERAL, OKAY, PERMISSION
from slow_machine_pages import DOM_SELF, WRITABLE

SOURCE_REF, DEST_REF = 1, 2


class Side:
    """One side of a copy: whose, which frame, which part; what is pinned."""

    def __init__(self, dom, readonly):
        self.dom, self.readonly = dom, readonly
        self.owner, self.mfn, self.start, self.length = dom, 0, 0, 4096
        self.pinned = []  # (domain, reference)


class Copies:
    """Part of the slow machine; needs Grants."""

    def copy(self, number, src_frame, dst_frame, src_dom, dst_dom, src_offset, dst_offset, length, flags):
        """A GNTST code."""
        dom = self.doms.get(number)
        if dom is None or dom.dying:
            return BAD_DOMAIN
        sides = []
        for domid, bit, readonly in ((src_dom, SOURCE_REF, True), (dst_dom, DEST_REF, False)):
            if not flags & bit and domid != DOM_SELF:
                return PERMISSION
            party = dom if domid == DOM_SELF else self.doms.get(domid)
            if party is None:
                return BAD_DOMAIN
            sides.append(Side(party, readonly))
        src, dst = sides
        rc = self._claim(dom, src, src_frame, flags & SOURCE_REF)
        if rc:
            return rc
        rc = self._claim(dom, dst, dst_frame, flags & DEST_REF)
        if rc == OKAY:
            rc = self._carry_out(src, dst, src_offset, dst_offset, length)
            self._release(dst)
        self._release(src)
        return rc

    def _carry_out(self, src, dst, src_offset, dst_offset, length):
        if src_offset + length > 4096 or dst_offset + length > 4096:
            return BAD_COPY
        for side, offset in ((src, src_offset), (dst, dst_offset)):
            if offset < side.start or offset + length > side.start + side.length:
                return GENERAL
        mapped = [(self.map_frame if self.naive else self.map_page)(0, side.mfn) for side in (src, dst)]
        for virt in reversed(mapped):
            self.unmap(virt)
        self.n.grant_copies += 1
        self.n.bytes_copied += length
        return OKAY

    def _claim(self, dom, side, frame, by_ref):
        if by_ref:
            rc = BAD_REF if frame >> 32 else self._acquire(side, side.dom, frame, dom.number, True)
            if rc:
                return rc
        else:
            mfn = self.frame_named(side.dom, frame)
            self.n.mfn_valid += 1
            if mfn is None or not self.ram.valid(mfn):
                return BAD_PAGE
            side.mfn = mfn
        self.n.mfn_to_page += 1
        rc = OKAY
        if not self.get_page(side.mfn, side.owner.number):
            rc = GENERAL if by_ref else BAD_PAGE
        elif not side.readonly and self.get_type(side.mfn, WRITABLE):
            self.again()
            self.put(side.mfn)
            rc = GENERAL
        if rc:
            self._unpin(side)
        return rc

    def _release(self, side):
        self.again()
        self._unpin(side)
        if not side.readonly:
            self.put_type(side.mfn)
        self.put(side.mfn)

    def _unpin(self, side):
        for dom, ref in reversed(side.pinned):
            dom.act(ref).pins[side.readonly] -= 1
            self.clear_status(dom, ref, side.readonly)
        side.pinned = []

    def _acquire(self, side, rd, ref, domid, transitive_allowed):
        """Pin a grant for one side; 0 or a GNTST code, and then nothing is pinned."""
        if ref >= rd.nr_entries():
            return BAD_REF
        act, entry = rd.act(ref), rd.entry(ref)
        if act.pinned() and (act.domid != domid or act.pins[side.readonly] >= 128):
            return GENERAL
        fresh = not act.pinned()
        marks = fresh or (not side.readonly and not act.writers())
        if marks:
            rc = self.set_status(rd, ref, domid, side.readonly, False)
            if rc:
                return rc
        if rd.version == 2 and entry.flags & TYPE == TRANSITIVE:
            rc = self._through(side, rd, ref, transitive_allowed)
            if rc == OKAY and fresh:
                inner = side.pinned[-1]
                act.domid, act.mfn, act.gfn = domid, side.mfn, (1 << 64) - 1
                act.start, act.length, act.sub_page = side.start, side.length, True
                act.trans = (inner[0].number, inner[1])
        elif fresh:
            rc = self._resolve(side, rd, ref, domid)
        else:
            rc = self._pinned_already(side, rd, act, marks)
        if rc:
            self.clear_status(rd, ref, side.readonly)
            return rc
        act.pins[side.readonly] += 1
        side.pinned.append((rd, ref))
        return OKAY

    def _through(self, side, rd, ref, allowed):
        entry = rd.entry(ref)
        behind = self.doms.get(entry.offset)
        if not allowed or entry.offset == rd.number or behind is None:
            return GENERAL
        inner = Side(behind, side.readonly)
        rc = self._acquire(inner, behind, entry.frame & 0xFFFFFFFF, rd.number, False)
        if rc == OKAY:
            side.owner, side.mfn, side.start, side.length = behind, inner.mfn, inner.start, inner.length
            side.pinned = inner.pinned
        return rc

    def _resolve(self, side, rd, ref, domid):
        entry = rd.entry(ref)
        mfn = self.frame_named(rd, entry.frame)
        if mfn is None or mfn == (1 << 64) - 1:
            return BAD_PAGE
        self.n.mfn_valid += 1
        if not self.ram.valid(mfn):
            return BAD_PAGE
        self.fill_active(rd, ref, domid, mfn)
        act = rd.act(ref)
        if rd.version == 2 and entry.flags & SUB_PAGE:
            act.start, act.length, act.sub_page = entry.offset, entry.length, True
        side.mfn, side.start, side.length = mfn, act.start, act.length
        return OKAY

    def _pinned_already(self, side, rd, act, marks):
        # Its frame is known. The pin says nothing of a dying owner's page: Xen refuses then.
        if not marks and rd.dying:
            return BAD_DOMAIN
        side.mfn, side.start, side.length = act.mfn, act.start, act.length
        return OKAY
