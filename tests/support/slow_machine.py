"""A live machine, slowly: dictionaries and plain lists, written from Xen's rules and not from the fast one.

Frames are objects, owners are domain numbers, free lists are Python lists; the rules are restated one by one.
It knows what an operation answers and what state it leaves; it counts no conversions.
"""

from dataclasses import dataclass, field

OKAY, GENERAL, BAD_DOMAIN, BAD_REF, BAD_HANDLE = 0, -1, -2, -3, -4
BAD_DEV, PERMISSION, BAD_PAGE, BAD_COPY, TOO_BIG, NO_SPACE = -6, -8, -9, -10, -11, -13
ENOENT, E2BIG, ENOMEM, EBUSY, EEXIST, EINVAL, EPERM, ENXIO, ESRCH = -2, -7, -12, -16, -17, -22, -1, -6, -3
DOM_IO = 0x7FF1


@dataclass
class Frame:
    """A page in use."""

    owner: int | None = None
    allocated: bool = False
    xen_heap: bool = False
    refs: int = 0
    type: int = 0
    type_refs: int = 0
    held_refs: int = 0
    held_types: int = 0
    held: bool = False


@dataclass
class Grant:
    """One entry of a grant table, as the guest wrote it, and who pins it."""

    kind: int = 0
    to: int = 0
    frame: int = 0
    readonly: bool = False
    flags: int = 0
    pins: list = field(default_factory=lambda: [0, 0, 0, 0])  # host w, host r, device w, device r
    mapper: int = 0
    mfn: int = 0
    reading: bool = False
    writing: bool = False


@dataclass
class Mapping:
    """One grant mapping."""

    owner: int
    ref: int
    host: bool
    device: bool
    readonly: bool
    addr: int
    io: bool = False


@dataclass
class Dom:
    """A domain."""

    number: int
    page: int
    max_pages: int
    translated: bool
    iommu: bool
    iommu_max: int
    last_node: int
    max_grant_frames: int
    max_maptrack: int
    dying: bool = False
    pages: list = field(default_factory=list)
    p2m: dict = field(default_factory=dict)
    shared: list = field(default_factory=list)
    others: list = field(default_factory=list)
    grants: dict = field(default_factory=dict)
    mappings: dict = field(default_factory=dict)
    free_handles: list = field(default_factory=list)
    handles: int = 0
    iommu_used: int = 0
    io: list = field(default_factory=list)


class SlowHeap:
    """A buddy allocator over sets of frames: nodes, zones by bit length, orders; lists in order."""

    def __init__(self, runs, nr_nodes, valid):
        self.node = {}
        self.runs = [(s, e, n) for s, e, n, boot in runs if not boot]
        self.nr_nodes = nr_nodes
        self.valid = valid
        self.lists = {}
        self.head = {}
        self.dirty = set()
        for smfn, emfn, _ in self.runs:
            at = smfn
            while at < emfn:
                order = max(o for o in range(19) if at % (1 << o) == 0 and at + (1 << o) <= emfn)
                self._merge(at, order, None)
                at += 1 << order

    def node_of(self, mfn):
        return next((n for s, e, n in self.runs if s <= mfn < e), None)

    def _key(self, mfn, order):
        return self.node_of(mfn), max(mfn.bit_length(), 1), order

    def _put(self, mfn, order, first_dirty):
        members = self.lists.setdefault(self._key(mfn, order), [])
        members.insert(0 if first_dirty is None else len(members), mfn)
        self.head[mfn] = [order, first_dirty]

    def _take(self, mfn):
        order, first_dirty = self.head.pop(mfn)
        self.lists[self._key(mfn, order)].remove(mfn)
        return order, first_dirty

    def _merge(self, mfn, order, first_dirty):
        while order < 18:
            buddy = mfn ^ (1 << order)
            if buddy not in self.head or self.head[buddy][0] != order:
                break
            if self.node_of(buddy) != self.node_of(mfn) or not self.valid(buddy):
                break
            _, theirs = self._take(buddy)
            low, high = (theirs, first_dirty) if buddy < mfn else (first_dirty, theirs)
            first_dirty = low if low is not None else None if high is None else high + (1 << order)
            mfn = min(mfn, buddy)
            order += 1
        self._put(mfn, order, first_dirty)

    def alloc(self, order, zones, node, exact=False, scrub=True):
        for any_state in (False, True) if order and scrub else (True,):
            for step in range(1 if exact else self.nr_nodes):
                for zone in reversed(range(zones[0], zones[1] + 1)):
                    for have in range(order, 19):
                        members = self.lists.get(((node + step) % self.nr_nodes, zone, have))
                        if members and (any_state or self.head[members[0]][1] is None):
                            return self._cut(members[0], order)
                        if members:
                            members.append(members.pop(0))
        return None

    def _cut(self, mfn, order):
        have, first_dirty = self._take(mfn)
        while have > order:
            have -= 1
            half = 1 << have
            if first_dirty is not None and first_dirty < half:
                self._put(mfn, have, first_dirty)
                first_dirty = 0
            else:
                self._put(mfn, have, None)
                first_dirty = None if first_dirty is None else first_dirty - half
            mfn += half
        self.dirty -= set(range(mfn, mfn + (1 << order)))
        return mfn

    def free(self, mfn, order, dirty):
        if dirty:
            self.dirty |= set(range(mfn, mfn + (1 << order)))
        self._merge(mfn, order, 0 if dirty else None)

    def free_pages(self):
        return sum(1 << order for order, _ in self.head.values())


class SlowMachine:
    """The operations of a live machine on a :class:`SlowHeap`."""

    def __init__(self, runs, nr_nodes, dma_zone, valid, naive=False):
        self.heap = SlowHeap(runs, nr_nodes, valid)
        self.ram = [(s, e) for s, e, *_ in runs]
        self.dma_zone = dma_zone
        self.valid = valid
        self.frames = {}
        self.doms = {}
        self.m2p = {}
        self.xen_alloc()  # the page of dom_io

    # Pages.

    def alloc_pages(self, order=0, dom=None, bits=0, node=None, exact=False, no_dma=False):
        top = min(52, max(1, bits - 12)) if bits else 52
        start = node if node is not None else (dom.last_node + 1) % self.heap.nr_nodes if dom else 0
        if start >= self.heap.nr_nodes:
            return None
        mfn = None
        if self.dma_zone and self.dma_zone < top:
            mfn = self.heap.alloc(order, (self.dma_zone + 1, top), start, exact)
        if mfn is None and not no_dma:
            mfn = self.heap.alloc(order, (1, top), start, exact)
        if mfn is not None:
            for i in range(1 << order):
                self.frames[mfn + i] = Frame()
            if dom:
                dom.last_node = self.heap.node_of(mfn)
        return mfn

    def free_pages(self, mfn, order=0, dirty=False):
        for i in range(1 << order):
            del self.frames[mfn + i]
            self.m2p.pop(mfn + i, None)
        self.heap.free(mfn, order, dirty)

    def xen_alloc(self):
        mfn = self.alloc_pages()
        if mfn is not None:
            self.frames[mfn].xen_heap = True
        return mfn

    def is_io(self, mfn):
        return self.valid(mfn) and not any(s <= mfn < e for s, e in self.ram)

    def frame(self, mfn):
        if self.is_io(mfn):
            return self.frames.setdefault(mfn, Frame(DOM_IO, True, True, 1))
        return self.frames.get(mfn)

    def give(self, dom, mfn):
        frame = self.frames[mfn]
        frame.owner, frame.allocated, frame.refs = dom.number, True, 1
        dom.pages.append(mfn)

    def put(self, mfn):
        frame = self.frames[mfn]
        frame.refs -= 1
        if frame.refs == 0:
            dom = self.doms[frame.owner]
            dom.pages.remove(mfn)
            self.free_pages(mfn, 0, dom.dying)

    def drop_allocation(self, mfn):
        frame = self.frames[mfn]
        if frame.allocated:
            frame.allocated = False
            self.put(mfn)

    def get_type(self, mfn, kind):
        frame = self.frames[mfn]
        if frame.type_refs and frame.type != kind:
            return False
        frame.type = kind
        frame.type_refs += 1
        return True

    def put_type(self, mfn):
        self.frames[mfn].type_refs -= 1

    def may_assign(self, dom, pages):
        if dom.dying:
            return EINVAL
        return E2BIG if len(dom.pages) + pages > dom.max_pages else 0

    # Domains.

    def create(self, number, max_pages, translated, iommu, iommu_max, grant_frames, maptrack):
        if number in self.doms:
            return EEXIST
        page = self.xen_alloc()
        if page is None:
            return ENOMEM
        dom = Dom(
            number,
            page,
            max_pages,
            translated,
            iommu,
            iommu_max,
            self.heap.nr_nodes - 1,
            grant_frames,
            maptrack,
        )
        self.doms[number] = dom
        got = []
        for _ in range(9):
            mfn = self.xen_alloc()
            if mfn is None:
                for other in got:
                    self.free_pages(other, 0, True)
                del self.doms[number]
                self.free_pages(page, 0, True)
                return ENOMEM
            got.append(mfn)
        dom.others, dom.shared = got[:8], [got[8]]
        self.frames[got[8]] = Frame(number, True, True, 1, 7, 1)
        return 0

    def destroy(self, number):
        dom = self.doms[number]
        dom.dying = True
        for handle in sorted(dom.mappings):
            self.drop_mapping(dom, handle, host=True, device=True)
        for mfn in list(dom.pages):
            gfn = self.m2p.get(mfn)
            if gfn is not None and dom.p2m.get(gfn) == mfn:
                self.displace(dom, gfn)
            self.drop_allocation(mfn)
        self.finish()

    def finish(self):
        for dom in sorted((d for d in self.doms.values() if d.dying), key=lambda d: d.number):
            pinned = any(any(g.pins) for g in dom.grants.values())
            frames_held = any(self.frames[m].refs > 1 for m in dom.shared)
            if dom.pages or pinned or dom.mappings or frames_held:
                continue
            tracks = dom.others[8:]
            for mfn in dom.shared + dom.others[:8] + tracks + [dom.page]:
                self.free_pages(mfn, 0, True)
            del self.doms[dom.number]

    # Guest memory.

    def displace(self, dom, gfn):
        self.m2p[dom.p2m.pop(gfn)] = None

    def populate(self, number, gfn, order, **where):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, None
        pages = 1 << order
        rc = self.may_assign(dom, pages)
        if rc:
            return rc, None
        if gfn % pages or gfn + pages > 1 << 30:
            return EINVAL, None
        if any(gfn + i in dom.p2m for i in range(pages)):
            return EEXIST, None
        mfn = self.alloc_pages(order, dom, **where)
        if mfn is None:
            return ENOMEM, None
        for i in range(pages):
            self.give(dom, mfn + i)
            dom.p2m[gfn + i] = mfn + i
            self.m2p[mfn + i] = gfn + i
        return 0, mfn

    def remove(self, number, gfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH
        if gfn not in dom.p2m:
            return ENOENT
        mfn = dom.p2m[gfn]
        self.displace(dom, gfn)
        self.drop_allocation(mfn)
        return 0

    def exchange(self, number, given, wanted, in_order, out_order):
        dom = self.doms[number]
        if dom.dying or not given:
            return EINVAL
        old = [g + i for g in given for i in range(1 << in_order)]
        new = [g + i for g in wanted for i in range(1 << out_order)]
        if any(g % (1 << out_order) or g >= 1 << 30 for g in wanted):
            return EINVAL
        seen = set()
        for gfn in old:
            if gfn not in dom.p2m:
                return ENOENT
            if gfn in seen:
                return EINVAL
            frame = self.frames[dom.p2m[gfn]]
            if frame.refs != 1 or not frame.allocated:
                return EBUSY
            seen.add(gfn)
        targets = set()
        for gfn in new:
            if gfn in targets or (gfn in dom.p2m and gfn not in seen):
                return EEXIST
            targets.add(gfn)
        fresh = []
        for _ in wanted:
            mfn = self.alloc_pages(out_order, dom)
            if mfn is None:
                for other in reversed(fresh):
                    self.free_pages(other, out_order, True)
                return ENOMEM
            fresh.append(mfn)
        for gfn in old:
            mfn = dom.p2m[gfn]
            dom.pages.remove(mfn)
            self.displace(dom, gfn)
            self.free_pages(mfn, 0, True)
        for first, mfn in zip(wanted, fresh, strict=True):
            for i in range(1 << out_order):
                self.give(dom, mfn + i)
                dom.p2m[first + i] = mfn + i
                self.m2p[mfn + i] = first + i
        return 0

    def get_page(self, number, mfn):
        frame = self.frame(mfn)
        if number not in self.doms or frame is None or frame.owner != number or frame.refs == 0:
            return EINVAL
        frame.refs += 1
        frame.held_refs += 1
        return 0

    def alloc(self, number, order):
        dom = self.doms.get(number)
        if number is not None and dom is None:
            return ESRCH, None
        rc = self.may_assign(dom, 1 << order) if dom else 0
        mfn = None if rc else self.alloc_pages(order, dom)
        if mfn is None:
            return rc or ENOMEM, None
        for i in range(1 << order):
            if dom:
                self.give(dom, mfn + i)
            else:
                self.frames[mfn + i].held = True
        return 0, mfn

    def free(self, mfn, order):
        frame = self.frames.get(mfn)
        if frame and frame.owner in self.doms and order == 0 and frame.allocated and not frame.xen_heap:
            gfn = self.m2p.get(mfn)
            if gfn is not None and self.doms[frame.owner].p2m.get(gfn) == mfn:
                return EBUSY
            self.drop_allocation(mfn)
            self.finish()
            return 0
        pages = [self.frames.get(mfn + i) for i in range(1 << order)]
        if mfn % (1 << order) or not all(f is not None and f.held for f in pages):
            return EINVAL
        self.free_pages(mfn, order, True)
        return 0

    def put_page(self, mfn):
        frame = self.frames.get(mfn)
        if frame is None or frame.held_refs <= frame.held_types:
            return EINVAL
        frame.held_refs -= 1
        self.put(mfn)
        self.finish()
        return 0

    def get_page_type(self, mfn, kind):
        frame = self.frames.get(mfn)
        if frame is None or frame.held_refs <= frame.held_types:
            return EINVAL
        if not self.get_type(mfn, kind):
            return EBUSY
        frame.held_types += 1
        return 0

    def put_page_type(self, mfn):
        frame = self.frames.get(mfn)
        if frame is None or not frame.held_types:
            return EINVAL
        frame.held_types -= 1
        self.put_type(mfn)
        return 0

    def steal(self, number, mfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH
        if dom.translated:
            return EPERM
        if not self.stealable(dom, mfn):
            return EINVAL
        self.take_from(dom, mfn)
        self.frames[mfn] = Frame(held=True)
        self.finish()
        return 0

    def stealable(self, dom, mfn):
        frame = self.frame(mfn)
        return (
            frame is not None
            and frame.owner == dom.number
            and not frame.xen_heap
            and frame.allocated
            and frame.refs == 1
        )

    def take_from(self, dom, mfn):
        dom.pages.remove(mfn)
        gfn = self.m2p.get(mfn)
        if gfn is not None and dom.p2m.get(gfn) == mfn:
            self.displace(dom, gfn)

    def assign(self, number, mfn):
        dom, frame = self.doms.get(number), self.frames.get(mfn)
        if dom is None:
            return ESRCH
        if frame is None or not frame.held:
            return EINVAL
        rc = self.may_assign(dom, 1)
        if rc == 0:
            frame.held = False
            self.give(dom, mfn)
        return rc

    # Grants.

    def entry(self, number, ref):
        return self.doms[number].grants.setdefault(ref, Grant())

    def entries(self, number):
        return len(self.doms[number].shared) * 512

    def grant(self, number, ref, to, frame, flags):
        if number not in self.doms:
            return ESRCH
        if ref >= self.entries(number):
            return EINVAL
        entry = self.entry(number, ref)
        if entry.reading or entry.writing:
            return EBUSY
        entry.kind, entry.to, entry.frame, entry.readonly = flags & 3, to, frame, bool(flags & 4)
        entry.flags = flags
        return 0

    def end_grant(self, number, ref):
        if number not in self.doms:
            return ESRCH
        if ref >= self.entries(number):
            return EINVAL
        entry = self.entry(number, ref)
        if entry.reading or entry.writing:
            return EBUSY
        entry.kind, entry.flags, entry.readonly = 0, 0, False
        return 0

    def take_handle(self, dom):
        if not dom.free_handles:
            if dom.handles // 512 == dom.max_maptrack:
                return None
            mfn = self.xen_alloc()
            if mfn is None:
                return None
            dom.others.append(mfn)
            dom.free_handles = list(range(dom.handles, dom.handles + 512))
            dom.handles += 512
        return dom.free_handles.pop(0)

    def map(self, number, owner, ref, host, device, readonly, addr):
        ld = self.doms.get(number)
        if ld is None or ld.dying:
            return BAD_DOMAIN, None
        if not host and not device:
            return BAD_REF, None
        if ld.translated and device:
            return GENERAL, None
        rd = self.doms.get(owner)
        if rd is None:
            return BAD_DOMAIN, None
        if host and addr % 4096:
            return GENERAL, None
        handle = self.take_handle(ld)
        if handle is None:
            return NO_SPACE, None
        if ref >= self.entries(owner):
            ld.free_handles.insert(0, handle)
            return BAD_REF, None
        entry = self.entry(owner, ref)
        slots = [h for h, on in ((readonly, host), (2 + readonly, device)) if on]
        rc = GENERAL
        if not any(entry.pins) or (entry.mapper == number and all(entry.pins[s] < 128 for s in slots)):
            rc = self.pin(rd, entry, number, slots, readonly)
        if rc == 0:
            rc, io = self.reference(ld, rd, entry, host, device, readonly)
            if rc:
                self.unpin(entry, slots)
        if rc:
            ld.free_handles.insert(0, handle)
            return rc, None
        ld.mappings[handle] = Mapping(owner, ref, host, device, readonly, addr if host else 0, io)
        return 0, handle

    def pin(self, rd, entry, number, slots, readonly):
        fresh = not any(entry.pins)
        if fresh and ((entry.kind, entry.flags & 256) != (1, 0) or entry.to != number):
            return GENERAL
        if not readonly and entry.readonly and not (entry.pins[0] or entry.pins[2]):
            return GENERAL
        if fresh:
            mfn = rd.p2m.get(entry.frame) if rd.translated else entry.frame
            if mfn is None:
                return BAD_PAGE
            entry.mapper, entry.mfn = number, mfn
        entry.reading = True
        entry.writing |= not readonly
        for slot in slots:
            entry.pins[slot] += 1
        return 0

    def unpin(self, entry, slots):
        for slot in slots:
            entry.pins[slot] -= 1
        if not any(entry.pins):
            entry.reading = False
        if not (entry.pins[0] or entry.pins[2]):
            entry.writing = False

    def reference(self, ld, rd, entry, host, device, readonly):
        mfn = entry.mfn
        frame = self.frame(mfn) if self.valid(mfn) else None
        if not self.valid(mfn) or self.is_io(mfn):
            allowed = not ld.translated and any(s <= mfn < e for s, e in rd.io)
            return (0, True) if allowed else (GENERAL, True)
        if frame is None or frame.owner != rd.number or frame.refs == 0:
            return GENERAL, False
        types = 0 if readonly else device + (host and (ld is rd or not rd.translated))
        if types and frame.type_refs and frame.type != 7:
            return GENERAL, False
        needs_iommu = ld.iommu and ld is not rd
        if needs_iommu and ld.iommu_used >= ld.iommu_max:
            # Types were taken and dropped: the page stays writable.
            if types:
                frame.type = 7
            return GENERAL, False
        ld.iommu_used += needs_iommu
        frame.refs += host + device
        for _ in range(types):
            self.get_type(mfn, 7)
        return 0, False

    def unmap(self, number, handle, addr, bus):
        ld = self.doms.get(number)
        if ld is None or ld.dying:
            return BAD_DOMAIN
        mapping = ld.mappings.get(handle)
        if mapping is None:
            return BAD_HANDLE
        entry = self.entry(mapping.owner, mapping.ref)
        if bus and mapping.device and bus != entry.mfn << 12:
            return BAD_DEV
        if addr and mapping.host and addr != mapping.addr:
            return GENERAL
        self.drop_mapping(ld, handle, host=bool(addr), device=bool(bus))
        self.finish()
        return 0

    def drop_mapping(self, ld, handle, host, device):
        mapping = ld.mappings[handle]
        rd = self.doms[mapping.owner]
        entry = self.entry(mapping.owner, mapping.ref)
        slots = []
        if device and mapping.device:
            slots.append(2 + mapping.readonly)
            if not mapping.io:
                if not mapping.readonly:
                    self.put_type(entry.mfn)
                self.put(entry.mfn)
            mapping.device = False
        if host and mapping.host:
            slots.append(0 + mapping.readonly)
            if not mapping.io:
                if not mapping.readonly and (ld is rd or not rd.translated):
                    self.put_type(entry.mfn)
                self.put(entry.mfn)
            mapping.host = False
        if slots:
            self.unpin(entry, slots)
        if slots and not mapping.host and not mapping.device:
            if ld.iommu and ld is not rd and not mapping.io:
                ld.iommu_used -= 1
            del ld.mappings[handle]
            ld.free_handles.insert(0, handle)

    def transfer(self, number, mfn, to, ref):
        dom, peer = self.doms.get(number), self.doms.get(to)
        if dom is None or dom.dying:
            return BAD_DOMAIN
        frame_no = dom.p2m.get(mfn) if dom.translated else mfn
        if frame_no is None or not self.valid(frame_no):
            return BAD_PAGE
        if dom.translated:
            return GENERAL
        if not self.stealable(dom, mfn):
            return BAD_PAGE
        self.take_from(dom, mfn)
        if peer is None:
            self.free_pages(mfn, 0, True)
            return BAD_DOMAIN
        self.frames[mfn] = Frame()
        entry = self.entry(to, ref) if ref < self.entries(to) else None
        refused = entry is None or entry.flags != 2 or entry.to != number
        if self.may_assign(peer, 1) or refused:
            self.free_pages(mfn, 0, True)
            return GENERAL
        self.give(peer, mfn)
        gfn = entry.frame
        entry.flags |= 12
        if not peer.translated:
            entry.frame = mfn
        if gfn >= 1 << 30 or gfn in peer.p2m:
            return GENERAL
        peer.p2m[gfn] = mfn
        self.m2p[mfn] = gfn
        return 0
