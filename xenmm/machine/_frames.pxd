# SPDX-License-Identifier: MIT
"""Frames and their records: validity, the counted conversions, page lists, the M2P.

Every conversion that Xen's code would run goes through a function here that counts it. ``again`` is the
place where the two flavours differ: the repeated conversion of ``naive``, nothing in ``cse``.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xenmm cimport (
    XENMM_MODE_MASK,
    XENMM_MODE_NONE,
    mask_mfn_compressible,
    mfn_to_pdx,
    offset_mfn_compressible,
    pdx_to_mfn,
)
from xenmm.machine._state cimport (
    INVALID_M2P,
    LIST_NULL,
    PGC_STATE,
    PGC_STATE_FREE,
    heap_run,
    machine,
    page_info,
    page_list,
)


cdef inline bint pdx_backed(machine *m, uint64_t pdx) noexcept nogil:
    # The record exists: below the live limit, in a group that boot or hot-add backed.
    cdef uint64_t group = pdx >> 16
    return pdx < m.max_pdx and ((m.groups[group >> 3] >> (group & 7)) & 1) != 0


cdef inline bint frame_ok(machine *m, uint64_t mfn) noexcept nogil:
    # The answer of mfn_valid on the live limits and bitmap, uncounted.
    if mfn >= m.max_page:
        return False
    if m.p.mode == XENMM_MODE_MASK:
        if not mask_mfn_compressible(m.p, mfn):
            return False
    elif m.p.mode != XENMM_MODE_NONE:
        if not offset_mfn_compressible(m.p, mfn):
            return False
    return pdx_backed(m, mfn_to_pdx(m.p, mfn))


cdef inline bint mfn_valid(machine *m, uint64_t mfn) noexcept nogil:
    m.n.mfn_valid += 1
    return frame_ok(m, mfn)


cdef inline page_info *record(machine *m, uint64_t pdx) noexcept nogil:
    return &m.frame_table[pdx]


cdef inline page_info *mfn_to_page(machine *m, uint64_t mfn) noexcept nogil:
    m.n.mfn_to_page += 1
    return &m.frame_table[mfn_to_pdx(m.p, mfn)]


cdef inline page_info *again(machine *m, page_info *pg, uint64_t mfn, bint naive) noexcept nogil:
    # Before 0ed9151a5f each use converted the frame anew; since then the page is kept.
    return mfn_to_page(m, mfn) if naive else pg


cdef inline uint64_t page_to_pdx(machine *m, page_info *pg) noexcept nogil:
    return <uint64_t>(pg - m.frame_table)


cdef inline uint64_t page_to_mfn(machine *m, page_info *pg) noexcept nogil:
    m.n.page_to_mfn += 1
    return pdx_to_mfn(m.p, <uint64_t>(pg - m.frame_table))


cdef inline void touch_record(machine *m, uint64_t pdx) noexcept nogil:
    # 128 records share a 4 KiB page of the frame table.
    m.ft_touched[pdx >> 10] |= <uint8_t>(1 << ((pdx >> 7) & 7))


cdef inline bint page_is_free_head(page_info *pg) noexcept nogil:
    return (pg.count_info & PGC_STATE) == PGC_STATE_FREE


# Lists of pages. Xen: xen/include/xen/mm.h, page_list_*.

cdef inline void list_init(page_list *pages) noexcept nogil:
    pages.head = LIST_NULL
    pages.tail = LIST_NULL


cdef inline void list_add(machine *m, page_list *pages, uint32_t pdx) noexcept nogil:
    cdef page_info *pg = record(m, pdx)
    pg.prev = LIST_NULL
    pg.next = pages.head
    if pages.head == LIST_NULL:
        pages.tail = pdx
    else:
        record(m, pages.head).prev = pdx
    pages.head = pdx


cdef inline void list_add_tail(machine *m, page_list *pages, uint32_t pdx) noexcept nogil:
    cdef page_info *pg = record(m, pdx)
    pg.next = LIST_NULL
    pg.prev = pages.tail
    if pages.tail == LIST_NULL:
        pages.head = pdx
    else:
        record(m, pages.tail).next = pdx
    pages.tail = pdx


cdef inline void list_del(machine *m, page_list *pages, uint32_t pdx) noexcept nogil:
    cdef page_info *pg = record(m, pdx)
    if pg.prev == LIST_NULL:
        pages.head = pg.next
    else:
        record(m, pg.prev).next = pg.next
    if pg.next == LIST_NULL:
        pages.tail = pg.prev
    else:
        record(m, pg.next).prev = pg.prev
    pg.next = 0
    pg.prev = 0


# The machine-to-physical table, indexed by mfn. A frame below max_page may lie in a slot that is not backed
# only when its own group is not valid, so a valid mfn always has an entry.

cdef inline bint m2p_backed(machine *m, uint64_t mfn) noexcept nogil:
    cdef uint64_t slot = mfn >> 18
    return slot < m.nr_m2p_slots and ((m.m2p_slots[slot >> 3] >> (slot & 7)) & 1) != 0


cdef inline uint64_t m2p_read(machine *m, uint64_t mfn) noexcept nogil:
    m.n.m2p_reads += 1
    return m.m2p[mfn] if m2p_backed(m, mfn) else INVALID_M2P


cdef inline bint compat_backed(machine *m, uint64_t mfn) noexcept nogil:
    cdef uint64_t slot = mfn >> 19
    return slot < m.nr_compat_slots and ((m.compat_slots[slot >> 3] >> (slot & 7)) & 1) != 0


cdef inline void m2p_write(machine *m, uint64_t mfn, uint64_t gfn) noexcept nogil:
    # The compat entry, where there is one, is the low half (xen/arch/x86: set_gpfn_from_mfn). An entry that
    # already reads right is not written: it would cost a page of this process's memory.
    m.n.m2p_writes += 1
    if m2p_backed(m, mfn) and m.m2p[mfn] != gfn:
        m.m2p[mfn] = gfn
        m.m2p_touched[mfn >> 12] |= <uint8_t>(1 << ((mfn >> 9) & 7))
    if m.compat != NULL and compat_backed(m, mfn) and m.compat[mfn] != <uint32_t>gfn:
        m.compat[mfn] = <uint32_t>gfn
        m.compat_touched[mfn >> 13] |= <uint8_t>(1 << ((mfn >> 10) & 7))


cdef inline heap_run *run_of(machine *m, uint64_t mfn) noexcept nogil:
    # The run of heap frames that holds mfn, or NULL: binary search, runs ascend and are disjoint.
    cdef uint32_t lo = 0, hi = m.nr_runs, mid
    while lo < hi:
        mid = (lo + hi) >> 1
        if mfn >= m.runs[mid].emfn:
            lo = mid + 1
        elif mfn < m.runs[mid].smfn:
            hi = mid
        else:
            return &m.runs[mid]
    return NULL
