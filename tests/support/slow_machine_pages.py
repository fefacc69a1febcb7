"""Pages in use: owners, references, what the machine's user holds; allocation for domains and Xen.

Written from xen/arch/x86/mm.c (get_page, put_page, steal_page,
share_xen_page_with_guest) and xen/common/page_alloc.c (alloc_domheap_pages, free_domheap_pages,
assign_pages).
"""

from __future__ import annotations

E2BIG, ENOMEM, EBUSY, EEXIST, EINVAL, EPERM, ENOENT, ENXIO, ESRCH, ERANGE = (
    -7, -12, -16, -17, -22, -1, -2, -6, -3, -34,
)  # fmt: skip
DOM_SELF, DOM_IO, DOM_INVALID = 0x7FF0, 0x7FF1, 0x7FF4
INVALID, SHARED = (1 << 64) - 1, (1 << 64) - 2
NONE, L1, L4, SEG_DESC, WRITABLE = 0, 1, 4, 5, 7
#: How often each thing happened, by Xen's function names.
COUNTED = [
    "mfn_valid",
    "mfn_to_page",
    "page_to_mfn",
    "mfn_to_virt",
    "page_to_virt",
    "m2p_reads",
    "m2p_writes",
    "get_page",
    "put_page",
    "get_page_type",
    "put_page_type",
    "validations",
    "pages_allocated",
    "pages_freed",
    "pages_scrubbed",
    "map_domain_page",
    "unmap_domain_page",
    "mapcache_hits",
    "tlb_flushes",
    "need_flush_tlb_flush",
    "mmu_updates",
    "pins",
    "unpins",
    "grant_maps",
    "grant_unmaps",
    "grant_releases",
    "grant_transfers",
    "grant_copies",
    "bytes_copied",
]


class Counts:
    """One number by name for each thing counted."""

    __slots__ = COUNTED

    def __init__(self):
        for name in COUNTED:
            setattr(self, name, 0)

    def to_dict(self):
        return {name: getattr(self, name) for name in COUNTED}


class Frame:
    """A page in use. ``held``: by the machine's user, who also has references and types of his own."""

    __slots__ = (
        "allocated", "held", "held_refs", "held_types", "owner", "pinned", "refs", "type", "type_refs",
        "validated", "xen_heap",
    )  # fmt: skip

    def __init__(self, xen_heap=False):
        self.owner = None
        self.allocated = self.validated = self.held = self.pinned = False
        self.xen_heap = xen_heap
        self.refs = self.type = self.type_refs = self.held_refs = self.held_types = 0

    def count_info(self):
        return self.allocated << 63 | self.xen_heap << 62 | self.refs

    def type_info(self):
        return self.type << 61 | self.pinned << 59 | self.validated << 58 | self.type_refs


class Pages:
    """Part of the slow machine: ``heap``, ``frames`` by mfn, ``doms`` by number, ``m2p`` by mfn, ``n``."""

    # Allocation.

    def domheap_alloc(self, flags, dom):
        """2**order pages as ``memflags`` asks; None when there are none. Their frames are new."""
        order, bits, node = flags & 0xFF, flags >> 8 & 0xFF, flags >> 16 & 0xFFF
        exact, no_dma, no_scrub = flags >> 28 & 1, flags >> 29 & 1, flags >> 30 & 1
        highest = min(52, max(1, bits - 12)) if bits else 52
        nodes = len(self.ram.nodes)
        start = node - 1 if node else (dom.last_node + 1) % nodes if dom else 0
        if start >= nodes:
            return None
        got, dma = None, self.ram.dma_zone
        if dma and dma < highest:
            got = self.heap.alloc(order, dma + 1, highest, start, exact, not no_scrub)
        if got is None and not no_dma:
            got = self.heap.alloc(order, 1, highest, start, exact, not no_scrub)
        if got is None:
            return None
        mfn, dirty = got
        self.n.page_to_mfn += 1
        self.n.pages_allocated += 1 << order
        if not no_scrub:
            self.scrub_pages(dirty)
        pages = range(mfn, mfn + (1 << order))
        self.pages_taken(pages)
        for page in pages:
            self.frames[page] = Frame()
        if dom:
            dom.last_node = self.heap.key(mfn)[0]
        return mfn

    def heap_free(self, mfn, order, dirty):
        for page in range(mfn, mfn + (1 << order)):
            self.page_freed(page, self.frames.pop(page).owner is not None)
            self.tables.pop(page, None)
            self.m2p[page] = INVALID
        self.n.page_to_mfn += 1
        self.n.m2p_writes += 1 << order
        self.n.pages_freed += 1 << order
        self.heap.free(mfn, order, dirty)

    def xenheap_alloc(self):
        mfn = self.domheap_alloc(1 << 30, None)
        if mfn is not None:
            self.frames[mfn].xen_heap = True
        return mfn

    def xenheap_free(self, mfn):
        frame = self.frames[mfn]
        frame.type = frame.type_refs = 0
        frame.validated = False
        self.put_alloc_ref(mfn)
        self.heap_free(mfn, 0, True)

    def share_with_guest(self, mfn, dom):
        """A page of Xen's that the guest may write."""
        frame = self.frames[mfn]
        self.n.page_to_mfn += 1
        self.n.m2p_writes += 1
        self.m2p[mfn] = INVALID
        frame.owner, frame.allocated, frame.refs = dom.number, True, 1
        frame.type, frame.validated, frame.type_refs = WRITABLE, True, 1
        dom.xen_pages[mfn] = None

    def may_assign(self, dom, pages):
        if dom.dying:
            return EINVAL
        return E2BIG if len(dom.pages) + pages > dom.max_pages else 0

    def give(self, dom, mfn):
        frame = self.frames[mfn]
        frame.owner, frame.allocated, frame.refs = dom.number, True, 1
        dom.pages[mfn] = None

    # References.

    def frame_of_mfn(self, mfn):
        """The frame of a valid mfn as a reference is taken; I/O frames come to dom_io then."""
        frame = self.frames.get(mfn)
        if frame is None and self.ram.run_of(mfn) is None:
            frame = self.frames[mfn] = Frame(xen_heap=True)
            frame.owner, frame.allocated, frame.refs = DOM_IO, True, 1
        return frame

    def take(self, mfn):
        """A reference to whatever is there: its owner's number, or None when nobody owns it."""
        self.n.get_page += 1
        frame = self.frame_of_mfn(mfn)
        if frame is None or frame.refs == 0:
            return None
        frame.refs += 1
        return frame.owner

    def get_page(self, mfn, number):
        owner = self.take(mfn)
        if owner == number and owner is not None:
            return True
        if owner is not None:
            self.put(mfn)
        return False

    def put(self, mfn):
        """Drop a reference; with the last the page leaves its owner, and is freed unless it is Xen's."""
        frame = self.frames[mfn]
        self.n.put_page += 1
        frame.refs -= 1
        if frame.refs:
            return
        dom = self.doms.get(frame.owner)
        if frame.xen_heap:
            del dom.xen_pages[mfn]
            frame.owner = None
        else:
            del dom.pages[mfn]
            # Who dies leaves secrets behind; a live guest scrubs what it gives back itself.
            self.heap_free(mfn, 0, dom.dying)

    def put_alloc_ref(self, mfn):
        frame = self.frames[mfn]
        if frame.allocated:
            frame.allocated = False
            self.put(mfn)

    def steal(self, dom, mfn):
        """Take a page that has the allocation's reference alone; whether it had. Its frame is as new."""
        owner = self.take(mfn)
        if owner is None:
            return False
        frame = self.frames[mfn]
        if owner != dom.number or frame.xen_heap or not frame.allocated or frame.refs != 2:
            self.put(mfn)
            return False
        del dom.pages[mfn]
        self.frames[mfn] = Frame()
        return True

    # What the user of the machine does by name. Each answers (status, out).

    def do_alloc(self, number, peer, flags, ref, addr, frame):
        dom, order = self.doms.get(number), flags & 0xFF
        if order > 18:
            return EINVAL, 0
        if dom is None and number != DOM_INVALID:
            return ESRCH, 0
        rc = self.may_assign(dom, 1 << order) if dom else 0
        if rc:
            return rc, 0
        mfn = self.domheap_alloc(flags, dom)
        if mfn is None:
            return ENOMEM, 0
        self.n.page_to_mfn += 1
        for page in range(mfn, mfn + (1 << order)):
            if dom:
                self.give(dom, page)
            else:
                self.frames[page].held = True
                self.frames[page].xen_heap = bool(addr)
        return 0, mfn

    def do_assign(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        dom, frame = self.doms.get(number), self.frames.get(mfn)
        if dom is None:
            return ESRCH, 0
        if frame is None or not frame.held or frame.xen_heap:
            return EINVAL, 0
        rc = self.may_assign(dom, 1)
        if rc == 0:
            frame.held = False
            self.give(dom, mfn)
        return rc, 0

    def do_steal(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        self.n.m2p_reads += 1
        if dom.translated:
            return EPERM, 0
        gfn = self.gfn_in(dom, mfn)
        if not self.steal(dom, mfn):
            return EINVAL, 0
        if gfn is not None:
            self.displace(dom, gfn)
        self.frames[mfn].held = True
        return 0, 0

    def do_free(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        order, frame = flags & 0xFF, self.frames.get(mfn)
        dom = self.doms.get(frame.owner) if frame else None
        if dom and order == 0 and frame.allocated and not frame.xen_heap:
            self.n.m2p_reads += 1
            if self.gfn_in(dom, mfn) is not None:
                return EBUSY, 0
            self.put_alloc_ref(mfn)
            return 0, 0
        if order > 18 or mfn % (1 << order):
            return EINVAL, 0
        pages = [self.frames.get(page) for page in range(mfn, mfn + (1 << order))]
        if not all(page is not None and page.held for page in pages):
            return EINVAL, 0
        self.heap_free(mfn, order, True)
        return 0, 0

    def do_get_page(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        if number not in self.doms and number != DOM_IO:
            return EINVAL, 0
        if not self.get_page(mfn, number):
            return EINVAL, 0
        self.frames[mfn].held_refs += 1
        return 0, 0

    def do_put_page(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        frame = self.frames.get(mfn)
        if frame is None or frame.held_refs <= frame.held_types:
            return EINVAL, 0
        frame.held_refs -= 1
        self.put(mfn)
        return 0, 0

    def do_get_page_type(self, number, peer, kind, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        frame = self.frames.get(mfn)
        if frame is None or frame.held_refs <= frame.held_types or kind not in (1, 2, 3, 4, 5, 7):
            return EINVAL, 0
        if self.get_type(mfn, kind):
            return EBUSY, 0
        frame.held_types += 1
        return 0, 0

    def do_put_page_type(self, number, peer, flags, ref, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        self.n.mfn_to_page += 1
        frame = self.frames.get(mfn)
        if frame is None or not frame.held_types:
            return EINVAL, 0
        frame.held_types -= 1
        self.put_type(mfn)
        return 0, 0

    def do_scrub(self, number, peer, flags, node, addr, budget):
        if node >= len(self.ram.nodes):
            return EINVAL, 0
        scrubbed = self.heap.scrub(node, budget)
        self.pages_scrubbed(scrubbed)
        self.scrub_pages(scrubbed)
        return 0, len(scrubbed)
