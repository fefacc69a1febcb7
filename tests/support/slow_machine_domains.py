"""Domains and their grant tables: made, grown, switched between versions, destroyed.

Written from xen/common/domain.c (domain_create, domain_kill), xen/arch/x86/domain.c (relinquish_memory) and
xen/common/grant_table.c (gnttab_grow_table, gnttab_set_version, grant_table_destroy).
"""

from __future__ import annotations

from slow_machine_pages import EBUSY, EEXIST, EINVAL, ENOMEM, ERANGE, INVALID

#: Reserved entries, which survive a change of version.
RESERVED = 8
#: Frames of active entries for each shared frame; status words that a frame holds.
ACTIVE_FRAMES, STATUS_WORDS = 8, 2048
PERMIT, TRANSFER, TRANSITIVE, TYPE, READONLY, READING, WRITING, SUB_PAGE = 1, 2, 3, 3, 4, 8, 16, 256


class Entry:
    """What the guest wrote, and of version 2 the status word beside it."""

    __slots__ = ("flags", "frame", "length", "offset", "status", "to")

    def __init__(self, flags=0, to=0, frame=0):
        self.flags, self.to, self.frame = flags, to, frame
        self.offset = self.length = self.status = 0


class Active:
    """What Xen knows of a grant in use. Pins: host and device, each for writing and for reading."""

    __slots__ = ("domid", "gfn", "length", "mfn", "pins", "start", "sub_page", "trans")

    def __init__(self):
        self.pins = [0, 0, 0, 0]  # host write, host read, device write, device read
        self.domid = self.mfn = self.gfn = self.start = self.length = 0
        self.sub_page = False
        self.trans = None  # (domid, ref) behind a transitive grant; of others, itself

    def pinned(self):
        return any(self.pins)

    def writers(self):
        return self.pins[0] or self.pins[2]


class Dom:
    """A domain: ordered pages, P2M, grant table, the mappings that it holds."""

    def __init__(self, number, page, max_pages, last_node, max_grant_frames, max_maptrack_frames):
        self.number, self.page, self.max_pages, self.last_node = number, page, max_pages, last_node
        self.max_grant_frames, self.max_maptrack_frames = max_grant_frames, max_maptrack_frames
        self.dying = self.translated = self.iommu = False
        self.iommu_max, self.iommu_used = INVALID, 0
        self.pages, self.xen_pages, self.p2m, self.io, self.ran_on = {}, {}, {}, [], set()
        self.version = 1
        self.shared, self.status, self.active_frames, self.track_frames = [], [], [], []
        self.entries, self.active = {}, {}
        self.mappings, self.free_handles = {}, []

    def nr_entries(self):
        return len(self.shared) * (512 if self.version == 1 else 256)

    def entry(self, ref):
        found = self.entries.get(ref)
        if found is None:
            found = self.entries[ref] = Entry()
        return found

    def act(self, ref):
        found = self.active.get(ref)
        if found is None:
            found = self.active[ref] = Active()
        return found

    def used_marks(self, ref):
        """The marks of reading and writing, where the version keeps them."""
        entry = self.entry(ref)
        return (entry.flags if self.version == 1 else entry.status) & (READING | WRITING)

    def mark(self, ref, bits):
        entry = self.entry(ref)
        if self.version == 1:
            entry.flags |= bits
        else:
            entry.status |= bits

    def unmark(self, ref, bits):
        entry = self.entry(ref)
        if self.version == 1:
            entry.flags &= ~bits
        else:
            entry.status &= ~bits


class Domains:
    """Part of the slow machine; needs Pages, Memory and Grants."""

    def create(self, number, max_pages, grant_frames, maptrack_frames):
        """0 or -errno."""
        if number in self.doms:
            return EEXIST
        page = self.xenheap_alloc()
        if page is None:
            return ENOMEM
        self.context[page] = number + 1
        last_node = len(self.ram.nodes) - 1
        self.doms[number] = Dom(number, page, max_pages, last_node, grant_frames, maptrack_frames)
        rc = self.grow_grants(number, 1)
        if rc:
            del self.doms[number]
            self.xenheap_free(page)
        return rc

    def configure(self, number, translated, iommu, iommu_max):
        dom = self.doms[number]
        dom.translated, dom.iommu, dom.iommu_max = translated, iommu, iommu_max

    def permit_io(self, number, first, end):
        self.doms[number].io.append((first, end))

    def set_max_pages(self, number, pages):
        self.doms[number].max_pages = pages

    def _xen_pages(self, count):
        # All or none.
        got = []
        for _ in range(count):
            mfn = self.xenheap_alloc()
            if mfn is None:
                self._give_back(got)
                return None
            got.append(mfn)
        return got

    def _give_back(self, mfns):
        for mfn in mfns:
            self.xenheap_free(mfn)

    def _status_frames(self, dom, frames):
        """Grow the status frames for so many shared ones; whether there was memory."""
        want = -(-frames * 256 // STATUS_WORDS)
        got = self._xen_pages(want - len(dom.status))
        if got is None:
            return False
        for mfn in got:
            self.share_with_guest(mfn, dom)
        dom.status += got
        return True

    def grow_grants(self, number, frames):
        dom = self.doms[number]
        if frames > dom.max_grant_frames:
            return EINVAL
        if frames <= len(dom.shared):
            return 0
        active = self._xen_pages(frames * ACTIVE_FRAMES - len(dom.active_frames))
        if active is None:
            return ENOMEM
        shared = self._xen_pages(frames - len(dom.shared))
        if shared is None:
            self._give_back(active)
            return ENOMEM
        if dom.version == 2 and not self._status_frames(dom, frames):
            self._give_back(shared)
            self._give_back(active)
            return ENOMEM
        for mfn in shared:
            self.share_with_guest(mfn, dom)
        dom.shared += shared
        dom.active_frames += active
        return 0

    def set_version(self, number, version):
        dom = self.doms[number]
        if version not in (1, 2):
            return EINVAL
        if version == dom.version:
            return 0
        if any(ref >= RESERVED and act.pinned() for ref, act in dom.active.items()):
            return EBUSY
        old = [dom.entry(ref) for ref in range(RESERVED)]
        if version == 2:
            if not self._status_frames(dom, len(dom.shared)):
                return ENOMEM
            kept = [Entry(e.flags, e.to, e.frame) for e in old]
        else:
            for e in old:
                kind = e.flags & TYPE
                if kind == TRANSITIVE or (kind == PERMIT and e.frame >> 32):
                    return ERANGE
            if any(self.frames[mfn].refs > 1 for mfn in dom.status):
                return EBUSY
            kept = [
                Entry(e.flags | e.status, e.to, e.frame) if e.flags & TYPE == PERMIT else Entry() for e in old
            ]
            self._give_back(dom.status)
            dom.status = []
        dom.version = version
        dom.entries = dict(enumerate(kept))
        for e in kept if version == 2 else ():
            e.status = e.flags & (READING | WRITING) if e.flags & TYPE == PERMIT else 0
            e.flags &= ~(READING | WRITING)
        return 0

    # The end.

    def destroy(self, number):
        """Its mappings, places and allocations go; whether it is gone altogether."""
        dom = self.doms[number]
        dom.dying = True
        self.release_mappings(dom)
        # From the root down: tables that are still in use hold nothing any more.
        for level in (4, 3, 2):
            self._relinquish(dom, level)
        self.dying.add(number)
        self.finish_dying()
        return number not in self.doms

    def _relinquish(self, dom, level):
        # Every page loses its pin, its place and its allocation; tables of one level their validity. The page
        # at hand and the next are held meanwhile, for one page's end may be that of others.
        pages = list(dom.pages)
        if pages:
            self.frames[pages[0]].refs += 1
        following = iter(pages[1:])
        mfn = pages[0] if pages else None
        while mfn is not None:
            frame, after = self.frames[mfn], next((m for m in following if m in dom.pages), None)
            if after is not None:
                self.frames[after].refs += 1
            self.drop_pin(mfn)
            if frame.allocated:
                self.n.page_to_mfn += 1
                self.n.m2p_reads += 1
                gfn = self.gfn_in(dom, mfn)
                if gfn is not None:
                    self.displace(dom, gfn)
                self.put_alloc_ref(mfn)
            if frame.type == level and frame.validated:
                self.invalidate(mfn, frame)
            self.put(mfn)
            self.n.put_page -= 1
            mfn = after

    def finish_dying(self):
        """Dying domains that nothing holds any more end; by number."""
        for number in sorted(self.dying):
            dom = self.doms[number]
            if dom.pages or dom.mappings or any(act.pinned() for act in dom.active.values()):
                continue
            if any(self.frames[mfn].refs > 1 for mfn in dom.xen_pages):
                continue
            for mfns in (dom.status, dom.shared, dom.active_frames, dom.track_frames):
                self._give_back(mfns)
            self.dying.remove(number)
            del self.doms[number]
            self.context[dom.page] = 0
            self.xenheap_free(dom.page)
