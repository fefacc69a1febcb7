# SPDX-License-Identifier: MIT
"""Guest frames: the P2M of each domain, kept the inverse of the M2P; populate, remove, exchange.

Follows xen/common/memory.c (populate_physmap, guest_remove_page, memory_exchange). ``p2m`` holds ~mfn, so
that its untouched memory reads as invalid.

Differs from Xen: a gfn that is in use is not populated again (-EEXIST), which a PV guest may do in Xen at
the price of a stale M2P entry.
"""

from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenmm.machine._frames cimport m2p_write, mfn_to_page, page_to_mfn, page_to_pdx, record
from xenmm.machine._heap cimport heap_free
from xenmm.machine._pages cimport (
    MEMF_ORDER,
    assign_page,
    domheap_alloc,
    get_page,
    may_assign,
    put_page,
    put_page_alloc_ref,
    steal_page,
)
from xenmm.machine._state cimport (
    INVALID_M2P,
    INVALID_MFN,
    LIST_NULL,
    P2M_LIMIT,
    PGC_ALLOCATED,
    PGC_COUNT,
    domain,
    machine,
    page_info,
)
from xenmm.machine._types cimport drop_pin


cdef inline uint64_t *p2m_entry(domain *d, uint64_t gfn) noexcept nogil:
    # Where the entry of a gfn is, or NULL while its leaf does not exist.
    cdef uint64_t *leaf
    if gfn >> 9 >= d.p2m_end:
        return NULL
    leaf = d.p2m[gfn >> 9]
    return &leaf[gfn & 511] if leaf != NULL else NULL


cdef inline uint64_t p2m_get(domain *d, uint64_t gfn) noexcept nogil:
    cdef uint64_t *entry = p2m_entry(d, gfn)
    return ~entry[0] if entry != NULL else INVALID_MFN


cdef inline int p2m_reserve(domain *d, uint64_t gfn, uint64_t pages) noexcept nogil:
    # Leaves for [gfn, gfn + pages): afterwards each has an entry, empty or not.
    cdef uint64_t at
    if gfn >= P2M_LIMIT or pages > P2M_LIMIT - gfn:
        return -EINVAL
    if d.p2m == NULL:
        # The directory's untouched memory stays with the system.
        d.p2m = <uint64_t **>calloc(P2M_LIMIT >> 9, sizeof(void *))
        if d.p2m == NULL:
            return -ENOMEM
    for at in range(gfn >> 9, ((gfn + pages - 1) >> 9) + 1):
        if d.p2m[at] == NULL:
            d.p2m[at] = <uint64_t *>calloc(512, sizeof(uint64_t))
            if d.p2m[at] == NULL:
                return -ENOMEM
            d.p2m_end = max(d.p2m_end, at + 1)
    return 0


cdef inline void p2m_release(domain *d) noexcept nogil:
    cdef uint64_t i
    for i in range(d.p2m_end):
        free(d.p2m[i])
    free(d.p2m)


cdef inline void physmap_add(machine *m, domain *d, uint64_t gfn, uint64_t mfn) noexcept nogil:
    # The caller has reserved the room. Xen's set_gpfn_from_mfn looks at the page's owner: one conversion.
    m.n.mfn_to_page += 1
    p2m_entry(d, gfn)[0] = ~mfn
    d.p2m_count += 1
    m2p_write(m, mfn, gfn)


cdef inline void physmap_remove(machine *m, domain *d, uint64_t gfn, uint64_t mfn) noexcept nogil:
    m.n.mfn_to_page += 1
    p2m_entry(d, gfn)[0] = 0
    d.p2m_count -= 1
    m2p_write(m, mfn, INVALID_M2P)


cdef inline int populate(machine *m, domain *d, uint64_t gfn, uint32_t flags, uint64_t *out) noexcept nogil:
    """2**order fresh pages at gfn; ``out`` receives the first mfn."""
    cdef uint64_t i, pages = <uint64_t>1 << (flags & MEMF_ORDER), mfn
    cdef uint32_t pdx
    cdef int rc = may_assign(d, pages)
    if rc:
        return rc
    if gfn & (pages - 1) or gfn >= P2M_LIMIT:
        return -EINVAL
    rc = p2m_reserve(d, gfn, pages)
    if rc:
        return rc
    for i in range(pages):
        if p2m_entry(d, gfn + i)[0]:
            return -EEXIST
    pdx = domheap_alloc(m, d, flags)
    if pdx == LIST_NULL:
        return -ENOMEM
    mfn = page_to_mfn(m, record(m, pdx))
    for i in range(pages):
        assign_page(m, d, pdx + <uint32_t>i)
        physmap_add(m, d, gfn + i, mfn + i)
    out[0] = mfn
    return 0


cdef inline int remove_page(machine *m, domain *d, uint64_t gfn) noexcept nogil:
    """Take one page out of the guest (balloon); a pin goes with it, and what nobody refers to is freed."""
    cdef uint64_t mfn = p2m_get(d, gfn)
    cdef page_info *pg
    if mfn == INVALID_MFN:
        return -ENOENT
    pg = mfn_to_page(m, mfn)
    if not get_page(m, pg, d):
        return -EINVAL
    physmap_remove(m, d, gfn, mfn)
    drop_pin(m, pg)
    put_page_alloc_ref(m, pg)
    put_page(m, pg)
    return 0


cdef inline int exchange(
    machine *m, domain *d, const uint64_t *in_gfns, const uint64_t *out_gfns, uint32_t in_order,
    uint32_t out_order, uint64_t nr_in, uint32_t flags
) noexcept nogil:
    """Give ``nr_in`` extents of 2**in_order pages for as many pages in extents of 2**out_order.

    All or nothing: extents are checked and the new pages taken before any old page leaves the guest.
    """
    cdef uint64_t pages = nr_in << in_order, nr_out = pages >> out_order, i, k, mfn
    cdef uint64_t in_size = <uint64_t>1 << in_order, out_size = <uint64_t>1 << out_order
    cdef page_info *pg
    cdef uint32_t *fresh
    cdef int rc = -EINVAL
    if d.dying or pages == 0 or nr_out << out_order != pages:
        return -EINVAL
    fresh = <uint32_t *>calloc(nr_out, sizeof(uint32_t))
    if fresh == NULL:
        return -ENOMEM
    for i in range(nr_out):
        if out_gfns[i] & (out_size - 1) or out_gfns[i] >= P2M_LIMIT:
            free(fresh)
            return -EINVAL
        rc = p2m_reserve(d, out_gfns[i], out_size)
        if rc:
            free(fresh)
            return rc
    rc = _exchange_takes(m, d, in_gfns, in_size, nr_in)
    if rc == 0:
        rc = _exchange_targets(d, out_gfns, out_size, nr_out)
    _exchange_unmark(d, in_gfns, in_size, nr_in)
    _exchange_unmark(d, out_gfns, out_size, nr_out)
    if rc == 0:
        for i in range(nr_out):
            fresh[i] = domheap_alloc(m, d, (flags & ~<uint32_t>MEMF_ORDER) | out_order)
            if fresh[i] == LIST_NULL:
                while i > 0:
                    i -= 1
                    heap_free(m, fresh[i], out_order, True)
                rc = -ENOMEM
                break
    # The old pages are stolen with the room that they leave kept for the new ones.
    if rc == 0:
        for i in range(nr_in):
            for k in range(in_size):
                mfn = p2m_get(d, in_gfns[i] + k)
                pg = mfn_to_page(m, mfn)
                steal_page(m, d, pg)
                physmap_remove(m, d, in_gfns[i] + k, mfn)
                heap_free(m, <uint32_t>page_to_pdx(m, pg), 0, True)
        for i in range(nr_out):
            mfn = page_to_mfn(m, record(m, fresh[i]))
            for k in range(out_size):
                assign_page(m, d, fresh[i] + <uint32_t>k)
                physmap_add(m, d, out_gfns[i] + k, mfn + k)
    free(fresh)
    return rc


# Marks of an exchange that is being checked, in p2m values, whose top bits are set for every frame: an entry
# that leaves loses bit 63, a target loses bit 62 besides, and an empty target is 1.

cdef inline int _exchange_takes(
    machine *m, domain *d, const uint64_t *gfns, uint64_t size, uint64_t count
) noexcept nogil:
    # Every page may be stolen, and none is named twice.
    cdef uint64_t i
    cdef uint64_t *entry
    cdef page_info *pg
    for i in range(count * size):
        entry = p2m_entry(d, gfns[i // size] + i % size)
        if entry == NULL or entry[0] == 0:
            return -ENOENT
        if not entry[0] >> 63:
            return -EINVAL
        pg = mfn_to_page(m, ~entry[0])
        if (pg.count_info & (PGC_COUNT | PGC_ALLOCATED)) != (1 | PGC_ALLOCATED):
            return -EBUSY
        entry[0] ^= <uint64_t>1 << 63
    return 0


cdef inline int _exchange_targets(
    domain *d, const uint64_t *gfns, uint64_t size, uint64_t count
) noexcept nogil:
    # Every target is empty, or leaves by this very call, and is named once.
    cdef uint64_t i
    cdef uint64_t *entry
    for i in range(count * size):
        entry = p2m_entry(d, gfns[i // size] + i % size)
        if entry[0] == 0:
            entry[0] = 1
        elif entry[0] >> 62 == 1:
            entry[0] ^= <uint64_t>1 << 62
        else:
            return -EEXIST
    return 0


cdef inline void _exchange_unmark(
    domain *d, const uint64_t *gfns, uint64_t size, uint64_t count
) noexcept nogil:
    cdef uint64_t i
    cdef uint64_t *entry
    for i in range(count * size):
        entry = p2m_entry(d, gfns[i // size] + i % size)
        if entry != NULL and entry[0]:
            entry[0] = 0 if entry[0] == 1 else entry[0] | <uint64_t>3 << 62
