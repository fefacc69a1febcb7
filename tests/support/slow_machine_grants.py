"""Grants: written, mapped, unmapped, transferred; conversions counted as rule book part 10 says.

Written from xen/common/grant_table.c (map_grant_ref, unmap_common, unmap_common_complete, gnttab_transfer,
gnttab_release_mappings) and, for the order of references and what is converted how often, from 0ed9151a5f:
before it a frame is converted at each reference and type taken or dropped (``naive``), since then once.
"""

from __future__ import annotations

from slow_machine_domains import PERMIT, READING, READONLY, SUB_PAGE, TRANSFER, TRANSITIVE, TYPE, WRITING
from slow_machine_memory import GFNS
from slow_machine_pages import DOM_IO, EBUSY, EINVAL, ESRCH, WRITABLE

OKAY, GENERAL, BAD_DOMAIN, BAD_REF, BAD_HANDLE, BAD_DEV = 0, -1, -2, -3, -4, -6
PERMISSION, BAD_PAGE, BAD_COPY, TOO_BIG, NO_SPACE = -8, -9, -10, -11, -13
DEVICE, HOST, MAP_READONLY = 1, 2, 4
COMMITTED, COMPLETED = 4, 8


class Track:
    """One mapping that a domain holds."""

    __slots__ = ("addr", "device", "host", "io", "owner", "readonly", "ref")

    def __init__(self, owner, ref, flags, addr, io):
        self.owner, self.ref, self.io = owner, ref, io
        self.host, self.device = bool(flags & HOST), bool(flags & DEVICE)
        self.readonly = bool(flags & MAP_READONLY)
        self.addr = addr if self.host else 0


class Grants:
    """Part of the slow machine; needs Pages, Memory and Domains."""

    def again(self):
        """A frame that was converted before is needed once more."""
        if self.naive:
            self.n.mfn_to_page += 1

    # The guest's own entries.

    def do_grant(self, number, to, flags, ref, addr, frame):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        if ref >= dom.nr_entries():
            return EINVAL, 0
        entry = dom.entry(ref)
        if entry.flags & TYPE != TRANSFER and dom.used_marks(ref):
            return EBUSY, 0
        flags &= 0xFFFF
        if flags & TYPE != TRANSFER and flags & (READING | WRITING):
            return EINVAL, 0
        if dom.version == 1:
            if frame >> 32 or flags & SUB_PAGE or flags & TYPE == TRANSITIVE:
                return EINVAL, 0
        else:
            entry.offset, entry.length = addr & 0xFFFF, addr >> 16 & 0xFFFF
        entry.flags, entry.to, entry.frame = flags, to, frame
        return 0, 0

    def do_grant_end(self, number, peer, flags, ref, addr, frame):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        if ref >= dom.nr_entries():
            return EINVAL, 0
        entry = dom.entry(ref)
        if entry.flags & TYPE != TRANSFER and dom.used_marks(ref):
            return EBUSY, 0
        entry.flags = 0
        return 0, 0

    # What every use of a grant shares.

    def frame_named(self, dom, frame):
        """A guest with a P2M of Xen's names its own frames, the others the machine's; None: no such frame."""
        return dom.p2m.get(frame) if dom.translated else frame

    def set_status(self, dom, ref, domid, readonly, mapping):
        entry, act = dom.entry(ref), dom.act(ref)
        mask = TYPE | (SUB_PAGE if mapping else 0)
        permits = entry.flags & mask == PERMIT
        if dom.version == 2 and not mapping:
            permits = permits or entry.flags & mask == TRANSITIVE
        if not act.pinned() and (not permits or entry.to != domid):
            return GENERAL
        if not readonly and entry.flags & READONLY:
            return GENERAL
        dom.mark(ref, READING if readonly else READING | WRITING)
        return OKAY

    def clear_status(self, dom, ref, readonly):
        act = dom.act(ref)
        if not readonly and not act.writers():
            dom.unmark(ref, WRITING)
        if not act.pinned():
            dom.unmark(ref, READING)

    def fill_active(self, dom, ref, domid, mfn):
        entry, act = dom.entry(ref), dom.act(ref)
        act.domid, act.mfn, act.gfn = domid, mfn, entry.frame
        act.start, act.length, act.sub_page, act.trans = 0, 4096, False, (dom.number, ref)

    # Map.

    def take_handle(self, dom):
        if not dom.free_handles:
            handles = len(dom.track_frames) * 512
            if len(dom.track_frames) == dom.max_maptrack_frames:
                return None
            mfn = self.xenheap_alloc()
            if mfn is None:
                return None
            dom.track_frames.append(mfn)
            dom.free_handles = list(range(handles + 511, handles - 1, -1))
        return dom.free_handles.pop()

    def do_map(self, number, owner, flags, ref, addr, frame):
        ld = self.doms.get(number)
        if ld is None or ld.dying:
            return BAD_DOMAIN, 0
        if not flags & (HOST | DEVICE):
            return BAD_REF, 0
        if ld.translated and flags & DEVICE:
            return GENERAL, 0
        rd = self.doms.get(owner)
        if rd is None:
            return BAD_DOMAIN, 0
        if flags & HOST and addr % 4096:
            return GENERAL, 0
        handle = self.take_handle(ld)
        if handle is None:
            return NO_SPACE, 0
        rc, io = self._pin_and_take(ld, rd, ref, flags)
        if rc:
            ld.free_handles.append(handle)
            return rc, 0
        ld.mappings[handle] = Track(owner, ref, flags, addr, io)
        self.n.grant_maps += 1
        return OKAY, handle, rd.act(ref).mfn << 12 & (1 << 64) - 1

    def _pin_and_take(self, ld, rd, ref, flags):
        if ref >= rd.nr_entries():
            return BAD_REF, False
        act, readonly = rd.act(ref), bool(flags & MAP_READONLY)
        slots = [slot + readonly for slot, bit in ((0, HOST), (2, DEVICE)) if flags & bit]
        if act.pinned() and (
            act.domid != ld.number or act.sub_page or any(act.pins[s] >= 128 for s in slots)
        ):
            return GENERAL, False
        if not act.pinned() or (not readonly and not act.writers()):
            rc = self.set_status(rd, ref, ld.number, readonly, True)
            if rc:
                return rc, False
            if not act.pinned():
                mfn = self.frame_named(rd, rd.entry(ref).frame)
                if mfn is None or mfn == (1 << 64) - 1:
                    self.clear_status(rd, ref, readonly)
                    return BAD_PAGE, False
                self.fill_active(rd, ref, ld.number, mfn)
        for slot in slots:
            act.pins[slot] += 1
        rc, io = self._take_references(ld, rd, act.mfn, flags)
        if rc:
            for slot in slots:
                act.pins[slot] -= 1
            self.clear_status(rd, ref, readonly)
        return rc, io

    def _take_references(self, ld, rd, mfn, flags):
        owner, valid = None, self.ram.valid(mfn)
        self.n.mfn_valid += 1
        if valid:
            self.n.mfn_to_page += 1
            owner = self.take(mfn)
        if not valid or owner == DOM_IO:
            # I/O: the reference served to see whose it is. Before, all of that was asked twice.
            self.n.mfn_valid += self.naive
            if valid:
                self.again()
                self.put(mfn)
            allowed = not ld.translated and any(first <= mfn < end for first, end in rd.io)
            return (OKAY if allowed else GENERAL), True
        if owner != rd.number:
            if owner is not None:
                self.again()
                self.put(mfn)
            return GENERAL, False
        return self._take_more(ld, rd, mfn, flags), False

    def _take_more(self, ld, rd, mfn, flags):
        # In the order of 2009: the host's type, the device's reference, the device's type, the IOMMU entry.
        writable = not flags & MAP_READONLY
        taken = [self.put]
        steps = []
        if flags & HOST:
            if writable and self.host_takes_type(ld, rd):
                steps.append("type")
            if flags & DEVICE:
                steps += ["page", "type"] if writable else ["page"]
        elif writable:
            steps.append("type")
        for step in steps:
            self.again()
            if step == "page":
                self.get_page(mfn, rd.number)
                taken.append(self.put)
            elif self.get_type(mfn, WRITABLE) == 0:
                taken.append(self.put_type)
            else:
                return self._undo(mfn, taken)
        if ld.iommu and ld is not rd:
            if ld.iommu_used >= ld.iommu_max:
                return self._undo(mfn, taken)
            ld.iommu_used += 1
        return OKAY

    def host_takes_type(self, ld, rd):
        return ld is rd or not rd.translated

    def _undo(self, mfn, taken):
        for drop in reversed(taken):
            self.again()
            drop(mfn)
        return GENERAL

    # Unmap.

    def do_unmap(self, number, peer, flags, handle, addr, bus):
        ld = self.doms.get(number)
        if ld is None or ld.dying:
            return BAD_DOMAIN, 0
        track = ld.mappings.get(handle)
        if track is None:
            return BAD_HANDLE, 0
        act = self.doms[track.owner].act(track.ref)
        if bus and track.device and bus != act.mfn << 12:
            return BAD_DEV, 0
        if addr and track.host and addr != track.addr:
            return GENERAL, 0
        if self._drop(ld, handle, host=bool(addr), device=bool(bus)):
            self.n.grant_unmaps += 1
        return OKAY, 0

    def _drop(self, ld, handle, host, device):
        """Drop these parts of a mapping; whether it is gone."""
        track = ld.mappings[handle]
        rd = self.doms[track.owner]
        act = rd.act(track.ref)
        host, device = host and track.host, device and track.device
        if not host and not device:
            return False
        if not track.io and not self.naive:
            self.n.mfn_to_page += 1
        if device:
            self._drop_part(act.mfn, track, 2, typed=not track.readonly, together=True)
            track.device = False
        if host:
            typed = not track.readonly and self.host_takes_type(ld, rd)
            self._drop_part(act.mfn, track, 0, typed=typed, together=False)
            track.host = False
        for slot, part in ((0, host), (2, device)):
            act.pins[slot + track.readonly] -= part
        self.clear_status(rd, track.ref, track.readonly)
        if track.host or track.device:
            return False
        if ld.iommu and ld is not rd and not track.io:
            ld.iommu_used -= 1
        del ld.mappings[handle]
        ld.free_handles.append(handle)
        return True

    def _drop_part(self, mfn, track, slot, typed, together):
        # A device mapping's reference and type go in one call, a host mapping's in two.
        if track.io:
            return
        if typed:
            self.again()
            self.put_type(mfn)
        if not (typed and together):
            self.again()
        self.put(mfn)

    def release_mappings(self, dom):
        """A dying domain lets go of all it maps, by handle."""
        for handle in sorted(dom.mappings):
            self._drop(dom, handle, host=True, device=True)
            self.n.grant_releases += 1

    # Transfer.

    def do_transfer(self, number, to, flags, ref, addr, frame):
        dom = self.doms.get(number)
        if dom is None or dom.dying:
            return BAD_DOMAIN, 0
        mfn = self.frame_named(dom, frame)
        self.n.mfn_valid += 1
        if mfn is None or not self.ram.valid(mfn):
            return BAD_PAGE, 0
        if dom.translated:
            return GENERAL, 0
        self.n.mfn_to_page += 1
        gfn = self.gfn_in(dom, mfn)
        if not self.steal(dom, mfn):
            return BAD_PAGE, 0
        self.n.m2p_reads += 1
        if gfn is not None:
            self.displace(dom, gfn)
        peer = self.doms.get(to)
        if peer is None:
            self.heap_free(mfn, 0, True)
            return BAD_DOMAIN, 0
        rc = self._receive(dom, peer, mfn, ref)
        self.n.grant_transfers += rc == OKAY
        return rc, 0

    def _receive(self, dom, peer, mfn, ref):
        self.n.page_to_mfn += 1
        if peer.version == 1 and not peer.translated and mfn >> 32:
            # The entry cannot name so high a frame: the contents move to a lower one.
            fresh = self.domheap_alloc(44 << 8, peer)
            self.heap_free(mfn, 0, True)
            if fresh is None:
                return TOO_BIG
            self.n.page_to_mfn += 1
            mfn = fresh
        entry = peer.entry(ref) if ref < peer.nr_entries() else None
        refused = entry is None or entry.flags != TRANSFER or entry.to != dom.number
        if self.may_assign(peer, 1) or refused:
            self.heap_free(mfn, 0, True)
            return GENERAL
        self.give(peer, mfn)
        gfn = entry.frame
        entry.flags |= COMMITTED | COMPLETED
        if not peer.translated:
            entry.frame = mfn
        if gfn >= GFNS or gfn in peer.p2m:
            return GENERAL
        self.place(peer, gfn, mfn)
        return OKAY
