# SPDX-License-Identifier: MIT
"""The page allocator: one buddy heap by node, by address width and by order.

Follows xen/common/page_alloc.c (alloc_heap_pages, get_free_buddy, free_heap_pages) in what is chosen: zones
from the highest address width down, orders from the wanted one up, clean chunks before dirty ones, the lower
half of a split back to the list, buddies merged within a node, dirty chunks to the list's tail.

Differs from Xen: only the head of a free chunk is written, and its dirty pages; the records of the other
free pages are zero. So a heap of terabytes costs memory in proportion to its chunks, and emptied parts of the
frame table can be given back.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenmm.machine._frames cimport (
    frame_ok,
    list_add,
    list_add_tail,
    list_del,
    m2p_write,
    page_is_free_head,
    page_to_mfn,
    record,
    run_of,
    touch_record,
)
from xenmm.machine._map cimport scrub_one_page
from xenmm.machine._page_tables cimport table_drop
from xenmm.machine._state cimport (
    INVALID_DIRTY_IDX,
    INVALID_M2P,
    LIST_NULL,
    MAX_ORDER,
    NEED_TLBFLUSH,
    NR_ORDERS,
    NR_ZONES,
    PGC_NEED_SCRUB,
    PGC_STATE_FREE,
    heap_run,
    machine,
    page_info,
    page_list,
)
from xenmm.machine._tlb cimport all_cpus, tlb_flush_stale, tlb_stamp


cdef extern from *:
    int _clz "__builtin_clzll"(unsigned long long) noexcept nogil
    int _ctz "__builtin_ctz"(unsigned int) noexcept nogil


cdef inline uint32_t zone_of(uint64_t mfn) noexcept nogil:
    # Xen's page_to_zone: the frame number's bit length.
    return 64 - _clz(mfn) if mfn else 1


cdef inline page_list *free_list(machine *m, uint32_t node, uint32_t zone, uint32_t order) noexcept nogil:
    return &m.free_lists[(node * NR_ZONES + zone) * NR_ORDERS + order]


cdef inline void heap_insert(
    machine *m, uint32_t pdx, uint32_t node, uint32_t zone, uint32_t order, uint64_t first_dirty
) noexcept nogil:
    cdef page_info *pg = record(m, pdx)
    cdef page_list *chunks = free_list(m, node, zone, order)
    pg.count_info = PGC_STATE_FREE | (pg.count_info & PGC_NEED_SCRUB)
    pg.type_info = (pg.type_info & NEED_TLBFLUSH) | first_dirty
    pg.owner = order
    touch_record(m, pdx)
    if first_dirty == INVALID_DIRTY_IDX:
        list_add(m, chunks, pdx)
    else:
        list_add_tail(m, chunks, pdx)
    m.free_orders[node * NR_ZONES + zone] |= <uint32_t>1 << order


cdef inline uint64_t first_dirty_of(page_info *pg) noexcept nogil:
    return <uint32_t>pg.type_info


cdef inline void heap_remove(machine *m, uint32_t pdx, uint32_t node, uint32_t zone) noexcept nogil:
    # Off its list; what stays of the head is what every free page has: dirty or not, a TLB flush due or not.
    cdef page_info *pg = record(m, pdx)
    cdef uint32_t order = pg.owner
    cdef page_list *chunks = free_list(m, node, zone, order)
    list_del(m, chunks, pdx)
    if chunks.head == LIST_NULL:
        m.free_orders[node * NR_ZONES + zone] &= ~(<uint32_t>1 << order)
    pg.count_info &= PGC_NEED_SCRUB
    pg.type_info &= NEED_TLBFLUSH
    pg.owner = 0


cdef inline bint _mergeable(
    machine *m, uint64_t mfn, uint64_t pdx, uint32_t order, heap_run *run
) noexcept nogil:
    # Runs that touch may be of one node; a buddy in another run of the same node merges, as in Xen.
    cdef heap_run *other
    if not frame_ok(m, mfn):
        return False
    if not page_is_free_head(record(m, pdx)) or record(m, pdx).owner != order:
        return False
    if mfn >= run.smfn and mfn < run.emfn:
        return True
    other = run_of(m, mfn)
    return other != NULL and not other.boot and other.node == run.node


cdef inline void heap_free_chunk(
    machine *m, uint32_t pdx, uint64_t mfn, uint32_t order, uint64_t first_dirty
) noexcept nogil:
    """Put a chunk whose records are clean, or marked dirty one by one, on the free lists; merge buddies."""
    cdef heap_run *run = run_of(m, mfn)
    cdef uint32_t node = run.node, zone = zone_of(mfn), mask, buddy
    cdef uint64_t buddy_dirty
    m.node_free[node] += <uint64_t>1 << order
    m.total_free += <uint64_t>1 << order
    while order < MAX_ORDER:
        mask = <uint32_t>1 << order
        buddy = pdx ^ mask
        if not _mergeable(m, mfn ^ mask, buddy, order, run):
            break
        buddy_dirty = first_dirty_of(record(m, buddy))
        heap_remove(m, buddy, node, zone)
        if buddy < pdx:
            if buddy_dirty == INVALID_DIRTY_IDX and first_dirty != INVALID_DIRTY_IDX:
                buddy_dirty = first_dirty + mask
            first_dirty = buddy_dirty
            pdx = buddy
            mfn -= mask
        elif first_dirty == INVALID_DIRTY_IDX and buddy_dirty != INVALID_DIRTY_IDX:
            first_dirty = buddy_dirty + mask
        order += 1
    heap_insert(m, pdx, node, zone, order, first_dirty)


cdef inline uint32_t _find_chunk(
    machine *m, uint32_t zone_lo, uint32_t zone_hi, uint32_t order, uint32_t node, bint dirty
) noexcept nogil:
    # The head of the best chunk of a node, or LIST_NULL. Dirty chunks stand behind the clean ones of a list;
    # one that is passed over goes to the end.
    cdef uint32_t zone = zone_hi + 1, orders, have, pdx
    cdef page_list *chunks
    while zone > zone_lo:
        zone -= 1
        orders = m.free_orders[node * NR_ZONES + zone] >> order << order
        while orders:
            have = _ctz(orders)
            chunks = free_list(m, node, zone, have)
            pdx = chunks.head
            if dirty or first_dirty_of(record(m, pdx)) == INVALID_DIRTY_IDX:
                return pdx
            list_del(m, chunks, pdx)
            list_add_tail(m, chunks, pdx)
            orders &= orders - 1
    return LIST_NULL


cdef inline uint32_t _find_node_chunk(
    machine *m, uint32_t zone_lo, uint32_t zone_hi, uint32_t order, uint32_t *node, bint exact_node,
    bint dirty
) noexcept nogil:
    # The same, of the node and then of those after it; which it was comes back in node[0].
    cdef uint32_t pdx
    for _ in range(m.nr_nodes):
        pdx = _find_chunk(m, zone_lo, zone_hi, order, node[0], dirty)
        if pdx != LIST_NULL:
            return pdx
        if exact_node:
            break
        node[0] = node[0] + 1 if node[0] + 1 < m.nr_nodes else 0
    return LIST_NULL


cdef inline uint32_t heap_alloc(
    machine *m, uint32_t zone_lo, uint32_t zone_hi, uint32_t order, uint32_t node, bint exact_node,
    bint scrub
) noexcept nogil:
    """Take 2**order pages; return the pdx of the first, or LIST_NULL. Their records come back zeroed."""
    cdef uint32_t i, pdx, zone, have, tried = node, stamp = 0
    cdef uint64_t first_dirty, mfn
    cdef page_info *pg
    cdef bint stale = False
    # A single page is quickly scrubbed; larger chunks are taken dirty only when no node has a clean one.
    pdx = _find_node_chunk(m, zone_lo, zone_hi, order, &tried, exact_node, order == 0 or not scrub)
    if pdx == LIST_NULL and order and scrub:
        tried = node
        pdx = _find_node_chunk(m, zone_lo, zone_hi, order, &tried, exact_node, True)
    if pdx == LIST_NULL:
        return LIST_NULL
    pg = record(m, pdx)
    mfn = page_to_mfn(m, pg)
    zone = zone_of(mfn)
    have = pg.owner
    first_dirty = first_dirty_of(pg)
    heap_remove(m, pdx, tried, zone)
    while have > order:
        # The lower half goes back; the chunk is cut from the upper end. A dirty index below the half is the
        # lower one's; the upper half is then taken as dirty from its start, since nobody kept its own.
        have -= 1
        i = <uint32_t>1 << have
        if first_dirty == INVALID_DIRTY_IDX or first_dirty >= i:
            heap_insert(m, pdx, tried, zone, have, INVALID_DIRTY_IDX)
            if first_dirty != INVALID_DIRTY_IDX:
                first_dirty -= i
        else:
            heap_insert(m, pdx, tried, zone, have, first_dirty)
            first_dirty = 0
        pdx += i
    m.node_free[tried] -= <uint64_t>1 << order
    m.total_free -= <uint64_t>1 << order
    m.n.pages_allocated += <uint64_t>1 << order
    for i in range(<uint32_t>1 << order):
        pg = record(m, pdx + i)
        touch_record(m, pdx + i)
        if pg.count_info & PGC_NEED_SCRUB:
            m.dirty_pages -= 1
            if scrub:
                scrub_one_page(m, pg)
        if pg.type_info & NEED_TLBFLUSH and pg.context <= m.tlb_clock:
            # One flush does for all of them: that of the page used last.
            stamp = max(stamp, pg.context)
            stale = True
        pg.count_info = 0
        pg.type_info = 0
    if stale:
        tlb_flush_stale(m, all_cpus(m), stamp)
    return pdx


cdef inline void heap_free(machine *m, uint32_t pdx, uint32_t order, bint need_scrub) noexcept nogil:
    """Give 2**order pages back. Their frames are no guest's any more: the M2P says so."""
    cdef page_info *pg
    cdef uint32_t i
    cdef uint64_t mfn = page_to_mfn(m, record(m, pdx))
    for i in range(<uint32_t>1 << order):
        pg = record(m, pdx + i)
        pg.next = 0
        pg.prev = 0
        if need_scrub:
            touch_record(m, pdx + i)
        pg.count_info = PGC_NEED_SCRUB if need_scrub else 0
        pg.type_info = 0
        if not m.nr_cpus:
            pg.context = 0
        elif pg.owner:
            # A page that nobody owned needs no flush.
            pg.type_info = NEED_TLBFLUSH
            tlb_stamp(m, pg)
        pg.owner = 0
        table_drop(m, pdx + i)
        m2p_write(m, mfn + i, INVALID_M2P)
    if need_scrub:
        m.dirty_pages += <uint64_t>1 << order
    m.n.pages_freed += <uint64_t>1 << order
    heap_free_chunk(m, pdx, mfn, order, 0 if need_scrub else <uint64_t>INVALID_DIRTY_IDX)


cdef inline uint64_t heap_scrub_node(machine *m, uint32_t node, uint64_t budget) noexcept nogil:
    """Scrub up to ``budget`` free pages of a node, as an idle CPU does; return how many were scrubbed.

    Xen: scrub_free_pages. Dirty chunks stand at the tails of their lists; a scrubbed one moves to the head.
    """
    cdef uint32_t zone, order, pdx, i, first
    cdef uint64_t done = 0
    cdef page_list *chunks
    cdef page_info *pg
    for zone in range(NR_ZONES):
        if not m.free_orders[node * NR_ZONES + zone]:
            continue
        for order in reversed(range(NR_ORDERS)):
            chunks = free_list(m, node, zone, order)
            while chunks.tail != LIST_NULL and first_dirty_of(record(m, chunks.tail)) != INVALID_DIRTY_IDX:
                pdx = chunks.tail
                first = <uint32_t>first_dirty_of(record(m, pdx))
                for i in range(first, <uint32_t>1 << order):
                    pg = record(m, pdx + i)
                    if pg.count_info & PGC_NEED_SCRUB:
                        if done == budget:
                            record(m, pdx).type_info = (record(m, pdx).type_info & NEED_TLBFLUSH) | i
                            return done
                        pg.count_info &= ~PGC_NEED_SCRUB
                        m.dirty_pages -= 1
                        done += 1
                        if pg.type_info & NEED_TLBFLUSH and pg.context <= m.tlb_clock:
                            tlb_flush_stale(m, all_cpus(m), pg.context)
                        scrub_one_page(m, pg)
                list_del(m, chunks, pdx)
                record(m, pdx).type_info |= INVALID_DIRTY_IDX
                list_add(m, chunks, pdx)
    return done
