# SPDX-License-Identifier: MIT
"""Pages in use: owners, reference counts, allocation for domains and for Xen.

Follows xen/arch/x86/mm.c (page_get_owner_and_reference, get_page, put_page, steal_page,
share_xen_page_with_guest) and xen/common/page_alloc.c (alloc_domheap_pages, free_domheap_pages,
assign_pages).

Differs from Xen: one lock guards the machine, so no compare-and-exchange.
"""

from libc.errno cimport E2BIG, EBUSY, EINVAL, ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenmm.machine._frames cimport (
    list_add_tail,
    list_del,
    m2p_write,
    page_to_mfn,
    page_to_pdx,
    record,
    run_of,
    touch_record,
)
from xenmm.machine._heap cimport heap_alloc, heap_free
from xenmm.machine._state cimport (
    INVALID_M2P,
    LIST_NULL,
    NR_ZONES,
    PGC_ALLOCATED,
    PGC_COUNT,
    PGC_STATE,
    PGC_XEN_HEAP,
    PGT_VALIDATED,
    PGT_WRITABLE,
    domain,
    machine,
    page_info,
)


# Allocation flags, one 32-bit word.
cdef enum:
    MEMF_ORDER = 0xff              # bits 7:0 order
    MEMF_BITS_SHIFT = 8            # bits 15:8 address width, 0: any
    MEMF_NODE_SHIFT = 16           # bits 27:16 node index + 1, 0: any
    MEMF_EXACT_NODE = 1 << 28
    MEMF_NO_DMA = 1 << 29
    MEMF_NO_SCRUB = 1 << 30


# Owners.

cdef inline domain *owner_of(machine *m, page_info *pg) noexcept nogil:
    # The stand-in for pdx_to_virt(owner): the record of the domain's own page holds its domid + 1. Of the
    # head of a free chunk the word is the order.
    if pg.owner == 0 or pg.count_info & PGC_STATE:
        return NULL
    return m.domains[(record(m, pg.owner).context - 1) & 0x7fff]


cdef inline domain *domain_by_id(machine *m, uint32_t domid) noexcept nogil:
    return m.domains[domid] if domid < 0x8000 else NULL


cdef inline void look_at_end(machine *m, domain *d) noexcept nogil:
    # A dying domain may have lost its last page or pin: to be looked at when the operation is over.
    # Kept by number, so that several ends in one operation come in one order.
    cdef domain **at = &m.finish
    if d.dying > 1:
        return
    while at[0] != NULL and at[0].domid < d.domid:
        at = &at[0].next_finish
    if at[0] != d:
        d.next_finish = at[0]
        at[0] = d


cdef inline bint io_permitted(domain *d, uint64_t mfn) noexcept nogil:
    cdef uint64_t i
    for i in range(d.nr_iomem):
        if d.iomem[2 * i] <= mfn < d.iomem[2 * i + 1]:
            return True
    return False


# Reference counts.

cdef inline void _adopt_io(machine *m, page_info *pg) noexcept nogil:
    # Differs from Xen, which gives every I/O frame to dom_io at boot: its record is written at first use.
    cdef uint64_t mfn
    if pg.count_info == 0 and pg.owner == 0:
        mfn = page_to_mfn(m, pg)
        m.n.page_to_mfn -= 1
        if run_of(m, mfn) == NULL:
            pg.count_info = PGC_XEN_HEAP | PGC_ALLOCATED | 1
            pg.owner = m.dom_io.pdx
            touch_record(m, page_to_pdx(m, pg))


cdef inline domain *page_get_owner_and_reference(machine *m, page_info *pg) noexcept nogil:
    # Count 0: not allocated. The two highest counts: it would wrap, or use the one kept for get_page_light.
    m.n.get_page += 1
    if pg.count_info == 0:
        _adopt_io(m, pg)
    if ((pg.count_info + 2) & PGC_COUNT) <= 2:
        return NULL
    pg.count_info += 1
    return owner_of(m, pg)


cdef inline void _last_reference_gone(machine *m, page_info *pg) noexcept nogil:
    # Xen: free_domheap_pages. A Xen-heap page only leaves its domain; who allocated it frees it.
    cdef domain *d = owner_of(m, pg)
    cdef uint32_t pdx = <uint32_t>page_to_pdx(m, pg)
    if d != NULL and d != m.dom_io:
        if pg.count_info & PGC_XEN_HEAP:
            list_del(m, &d.xenheap_list, pdx)
            d.xenheap_pages -= 1
            pg.owner = 0
        else:
            list_del(m, &d.pages, pdx)
            d.tot_pages -= 1
            # Whoever dies leaves secrets behind, and so does a page without an owner below; a live guest
            # scrubs what it gives back itself.
            heap_free(m, pdx, 0, d.dying)
        if d.dying:
            look_at_end(m, d)
    elif d == NULL and not pg.count_info & PGC_XEN_HEAP:
        heap_free(m, pdx, 0, True)


cdef inline bint put_page(machine *m, page_info *pg) noexcept nogil:
    # False: there was no reference to drop; nothing changed.
    m.n.put_page += 1
    if (pg.count_info & PGC_COUNT) == 0 or (pg.count_info & PGC_STATE) != 0:
        return False
    pg.count_info -= 1
    if (pg.count_info & PGC_COUNT) == 0:
        _last_reference_gone(m, pg)
    return True


cdef inline bint get_page(machine *m, page_info *pg, domain *d) noexcept nogil:
    cdef domain *owner = page_get_owner_and_reference(m, pg)
    if owner == d and owner != NULL:
        return True
    if owner != NULL:
        put_page(m, pg)
    return False


cdef inline void put_page_alloc_ref(machine *m, page_info *pg) noexcept nogil:
    if pg.count_info & PGC_ALLOCATED:
        pg.count_info &= ~PGC_ALLOCATED
        put_page(m, pg)


# Allocation.

cdef inline uint32_t domheap_alloc(machine *m, domain *d, uint32_t flags) noexcept nogil:
    """2**order pages for a domain (or nobody, d NULL), as alloc_domheap_pages chooses; not yet assigned."""
    cdef uint32_t order = flags & MEMF_ORDER, bits = (flags >> MEMF_BITS_SHIFT) & 0xff
    cdef uint32_t node = (flags >> MEMF_NODE_SHIFT) & 0xfff, zone_hi = NR_ZONES - 1, pdx = LIST_NULL
    cdef bint scrub = not flags & MEMF_NO_SCRUB, exact = (flags & MEMF_EXACT_NODE) != 0
    if bits:
        zone_hi = min(zone_hi, bits - 12 if bits >= 13 else 1)
    if node:
        node -= 1
    elif d != NULL:
        node = d.last_node + 1 if d.last_node + 1 < m.nr_nodes else 0
    if node >= m.nr_nodes:
        return LIST_NULL
    if m.dma_zone and m.dma_zone < zone_hi:
        pdx = heap_alloc(m, m.dma_zone + 1, zone_hi, order, node, exact, scrub)
    if pdx == LIST_NULL and not flags & MEMF_NO_DMA:
        pdx = heap_alloc(m, 1, zone_hi, order, node, exact, scrub)
    if pdx != LIST_NULL and d != NULL:
        d.last_node = run_of(m, page_to_mfn(m, record(m, pdx))).node
        m.n.page_to_mfn -= 1
    return pdx


cdef inline int may_assign(domain *d, uint64_t pages) noexcept nogil:
    if d.dying:
        return -EINVAL
    if pages > d.max_pages or d.tot_pages > d.max_pages - pages:
        return -E2BIG
    return 0


cdef inline void assign_page(machine *m, domain *d, uint32_t pdx) noexcept nogil:
    cdef page_info *pg = record(m, pdx)
    pg.owner = d.pdx
    pg.count_info = PGC_ALLOCATED | 1
    # The caller's own page may have been all zero, and its part of the table given back.
    touch_record(m, pdx)
    list_add_tail(m, &d.pages, pdx)
    d.tot_pages += 1


cdef inline int steal_page(machine *m, domain *d, page_info *pg) noexcept nogil:
    # Exactly two references: the caller's own here and the allocation's; so nobody uses any type either.
    cdef domain *owner = page_get_owner_and_reference(m, pg)
    if owner == NULL:
        return -EINVAL
    if (
        owner != d
        or pg.count_info & PGC_XEN_HEAP
        or (pg.count_info & (PGC_COUNT | PGC_ALLOCATED)) != (2 | PGC_ALLOCATED)
    ):
        put_page(m, pg)
        return -EINVAL
    pg.count_info = 0
    pg.owner = 0
    pg.type_info = 0
    list_del(m, &d.pages, <uint32_t>page_to_pdx(m, pg))
    d.tot_pages -= 1
    if d.dying:
        look_at_end(m, d)
    return 0


cdef inline uint32_t xenheap_alloc(machine *m) noexcept nogil:
    # One page for Xen itself; x86-64 has no separate Xen heap, the page is only marked.
    cdef uint32_t pdx = domheap_alloc(m, NULL, MEMF_NO_SCRUB)
    if pdx != LIST_NULL:
        record(m, pdx).count_info = PGC_XEN_HEAP
    return pdx


cdef inline void share_xen_page_with_guest(machine *m, uint32_t pdx, domain *d) noexcept nogil:
    cdef page_info *pg = record(m, pdx)
    m2p_write(m, page_to_mfn(m, pg), INVALID_M2P)
    pg.owner = d.pdx
    pg.type_info = PGT_WRITABLE | PGT_VALIDATED | 1
    pg.count_info |= PGC_ALLOCATED | 1
    list_add_tail(m, &d.xenheap_list, pdx)
    d.xenheap_pages += 1


cdef inline bint xenheap_free(machine *m, uint32_t pdx) noexcept nogil:
    # False: someone still refers to it; nothing changed.
    cdef page_info *pg = record(m, pdx)
    if (pg.count_info & PGC_COUNT) > (1 if pg.count_info & PGC_ALLOCATED else 0):
        return False
    pg.type_info = 0
    put_page_alloc_ref(m, pg)
    pg.count_info = 0
    heap_free(m, pdx, 0, True)
    return True
