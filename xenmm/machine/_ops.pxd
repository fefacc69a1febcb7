# SPDX-License-Identifier: MIT
"""One operation of a batch: looked at, carried out, its status written back. Names: xenmm/machine/ops.py."""

from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENXIO, EPERM, ESRCH
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t

from xenmm cimport mfn_to_pdx
from xenmm.machine._domains cimport finish_dying
from xenmm.machine._frames cimport (
    frame_ok,
    m2p_read,
    m2p_write,
    mfn_to_page,
    page_to_mfn,
    page_to_pdx,
    record,
    run_of,
)
from xenmm.machine._grant_entries cimport (
    GNTST_BAD_DOMAIN,
    GTF_ACCEPT_TRANSFER,
    GTF_READING,
    GTF_SUB_PAGE,
    GTF_TRANSITIVE,
    GTF_TYPE,
    GTF_WRITING,
    entry_flags,
    entry_status,
    nr_entries,
)
from xenmm.machine._grant_map cimport grant_map, grant_unmap
from xenmm.machine._grant_transfer cimport grant_transfer
from xenmm.machine._heap cimport heap_free, heap_scrub_node
from xenmm.machine._holds cimport hold_find, hold_of, hold_reserve
from xenmm.machine._map cimport map_frame, map_page, unmap
from xenmm.machine._page_tables cimport TABLE_ENTRIES, table_get
from xenmm.machine._pages cimport (
    MEMF_ORDER,
    assign_page,
    domheap_alloc,
    get_page,
    look_at_end,
    may_assign,
    owner_of,
    put_page,
    put_page_alloc_ref,
    steal_page,
)
from xenmm.machine._physmap cimport p2m_get, p2m_reserve, physmap_add, physmap_remove, populate, remove_page
from xenmm.machine._state cimport (
    DOMID_INVALID,
    INVALID_M2P,
    INVALID_MFN,
    LIST_NULL,
    MAX_ORDER,
    NR_DOMIDS,
    PGC_ALLOCATED,
    PGC_XEN_HEAP,
    SHARED_M2P,
    domain,
    grant_v1,
    grant_v2,
    hold,
    machine,
    op,
    page_info,
)
from xenmm.machine._tlb cimport tlb_flush
from xenmm.machine._types cimport get_page_type, mmu_update, pin_table, put_page_type, unpin_table


cdef enum:
    OP_GRANT = 1
    OP_GRANT_END = 2
    OP_MAP = 3
    OP_UNMAP = 4
    OP_TRANSFER = 5
    OP_POPULATE = 10
    OP_REMOVE = 11
    OP_ALLOC = 12
    OP_ASSIGN = 13
    OP_STEAL = 14
    OP_FREE = 15
    OP_PHYSMAP_ADD = 16
    OP_PHYSMAP_REMOVE = 17
    OP_GET_PAGE = 20
    OP_PUT_PAGE = 21
    OP_GET_PAGE_TYPE = 22
    OP_PUT_PAGE_TYPE = 23
    OP_M2P_GET = 30
    OP_M2P_SET = 31
    OP_P2M_GET = 32
    OP_MAP_FRAME = 40
    OP_MAP_PAGE = 41
    OP_UNMAP_PAGE = 42
    OP_SCRUB = 50
    OP_PIN_TABLE = 60
    OP_UNPIN_TABLE = 61
    OP_MMU_UPDATE = 62
    OP_PTE_GET = 63
    OP_FLUSH_TLB = 64
    OP_RUN_ON = 65


cdef inline bint _in_use(domain *d, uint32_t ref) noexcept nogil:
    # An entry that accepts a transfer has other flags there, and nobody but the guest holds it.
    if (entry_flags(&d.gt, ref)[0] & GTF_TYPE) == GTF_ACCEPT_TRANSFER:
        return False
    return (entry_status(&d.gt, ref)[0] & (GTF_READING | GTF_WRITING)) != 0


cdef inline int _grant(domain *d, op *o) noexcept nogil:
    # The guest writes its own entry: flags last, as guests must.
    cdef grant_v1 *v1
    cdef grant_v2 *v2
    if o.ref >= nr_entries(&d.gt):
        return -EINVAL
    if _in_use(d, o.ref):
        return -EBUSY
    if (o.flags & GTF_TYPE) != GTF_ACCEPT_TRANSFER and o.flags & (GTF_READING | GTF_WRITING):
        return -EINVAL
    if d.gt.version == 1:
        v1 = &(<grant_v1 *>d.gt.shared)[o.ref]
        if o.frame >> 32 or o.flags & GTF_SUB_PAGE or (o.flags & GTF_TYPE) == GTF_TRANSITIVE:
            return -EINVAL
        v1.frame = <uint32_t>o.frame
        v1.domid = o.peer
        v1.flags = <uint16_t>o.flags
        return 0
    v2 = &(<grant_v2 *>d.gt.shared)[o.ref]
    v2.frame = o.frame
    v2.offset = <uint16_t>o.addr
    v2.length = <uint16_t>(o.addr >> 16)
    v2.domid = o.peer
    v2.flags = <uint16_t>o.flags
    return 0


cdef inline int _grant_end(domain *d, op *o) noexcept nogil:
    cdef grant_v2 *v2
    if o.ref >= nr_entries(&d.gt):
        return -EINVAL
    if _in_use(d, o.ref):
        return -EBUSY
    if d.gt.version == 1:
        (<grant_v1 *>d.gt.shared)[o.ref].flags = 0
    else:
        v2 = &(<grant_v2 *>d.gt.shared)[o.ref]
        v2.flags = 0
    return 0


cdef inline int _alloc(machine *m, domain *d, op *o) noexcept nogil:
    # For a domain, or (d NULL) for the caller itself, who then holds them; addr 1 asks for Xen-heap pages.
    cdef uint64_t i, pages = <uint64_t>1 << (o.flags & MEMF_ORDER)
    cdef uint32_t pdx
    cdef int rc
    rc = may_assign(d, pages) if d != NULL else hold_reserve(m, pages)
    if rc:
        return rc
    pdx = domheap_alloc(m, d, o.flags)
    if pdx == LIST_NULL:
        return -ENOMEM
    o.out = page_to_mfn(m, record(m, pdx))
    for i in range(pages):
        if d != NULL:
            assign_page(m, d, pdx + <uint32_t>i)
            continue
        hold_of(m, pdx + i).page = 1
        if o.addr:
            record(m, pdx + i).count_info = PGC_XEN_HEAP
    return 0


cdef inline int _assign(machine *m, domain *d, page_info *pg) noexcept nogil:
    cdef hold *h = hold_find(m, page_to_pdx(m, pg))
    cdef int rc
    if not h.key or not h.page or pg.count_info & PGC_XEN_HEAP:
        return -EINVAL
    rc = may_assign(d, 1)
    if rc == 0:
        h.page = 0
        assign_page(m, d, <uint32_t>page_to_pdx(m, pg))
    return rc


cdef inline int _steal(machine *m, domain *d, page_info *pg, uint64_t mfn) noexcept nogil:
    # The page leaves the domain and its P2M, and is the caller's.
    cdef uint64_t gfn = m2p_read(m, mfn)
    cdef hold *h
    cdef int rc
    if d.translated:
        return -EPERM
    h = hold_of(m, page_to_pdx(m, pg))
    if h == NULL:
        return -ENOMEM
    rc = steal_page(m, d, pg)
    if rc:
        return rc
    if p2m_get(d, gfn) == mfn:
        physmap_remove(m, d, gfn, mfn)
    h.page = 1
    return 0


cdef inline int _free(machine *m, op *o, uint64_t mfn) noexcept nogil:
    # What the caller holds itself, 2**order pages; or one page of a domain that is at no gfn.
    cdef uint32_t order = o.flags & MEMF_ORDER
    cdef uint64_t i, pages, gfn
    cdef page_info *pg = mfn_to_page(m, mfn)
    cdef uint64_t pdx = page_to_pdx(m, pg)
    cdef domain *d = owner_of(m, pg)
    if order > MAX_ORDER:
        return -EINVAL
    pages = <uint64_t>1 << order
    if d != NULL and order == 0 and pg.count_info & PGC_ALLOCATED and not pg.count_info & PGC_XEN_HEAP:
        gfn = m2p_read(m, mfn)
        if p2m_get(d, gfn) == mfn:
            return -EBUSY
        put_page_alloc_ref(m, pg)
        return 0
    if mfn & (pages - 1):
        return -EINVAL
    for i in range(pages):
        # A chunk that was allocated whole lies in one run, but the caller may name any other frame.
        if run_of(m, mfn + i) == NULL or not frame_ok(m, mfn + i) or not hold_find(m, pdx + i).page:
            return -EINVAL
    for i in range(pages):
        hold_find(m, pdx + i).page = 0
    heap_free(m, <uint32_t>pdx, order, True)
    return 0


cdef inline int _get(machine *m, domain *d, op *o, page_info *pg) noexcept nogil:
    cdef hold *h = hold_of(m, page_to_pdx(m, pg))
    if h == NULL:
        return -ENOMEM
    if o.code == OP_GET_PAGE:
        if d == NULL or not get_page(m, pg, d):
            return -EINVAL
        h.refs += 1
        return 0
    # A type reference needs a reference under it.
    if h.refs <= h.types or o.flags == 0 or o.flags > 7 or o.flags == 6:
        return -EINVAL
    if not get_page_type(m, pg, <uint64_t>o.flags << 61):
        return -EBUSY
    h.types += 1
    return 0


cdef inline int _put(machine *m, op *o, page_info *pg) noexcept nogil:
    cdef hold *h = hold_find(m, page_to_pdx(m, pg))
    cdef domain *owner = owner_of(m, pg)
    if not h.key:
        return -EINVAL
    if o.code == OP_PUT_PAGE_TYPE:
        if not h.types or not put_page_type(m, pg):
            return -EINVAL
        h.types -= 1
        return 0
    if h.refs <= h.types or not put_page(m, pg):
        return -EINVAL
    h.refs -= 1
    if owner != NULL and owner.dying:
        look_at_end(m, owner)
    return 0


cdef inline int _physmap(machine *m, domain *d, op *o, uint64_t mfn) noexcept nogil:
    # A page of the domain gets, or loses, its place in the guest. o.addr is the gfn.
    cdef page_info *pg = record(m, page_to_pdx(m, mfn_to_page(m, mfn)))
    cdef uint64_t gfn = m2p_read(m, mfn)
    cdef bint placed = p2m_get(d, gfn) == mfn
    cdef int rc
    if owner_of(m, pg) != d or pg.count_info & PGC_XEN_HEAP or not pg.count_info & PGC_ALLOCATED:
        return -EPERM
    if o.code == OP_PHYSMAP_REMOVE:
        if not placed or gfn != o.addr:
            return -ENOENT
        physmap_remove(m, d, gfn, mfn)
        return 0
    if placed or d.dying:
        return -EBUSY
    rc = p2m_reserve(d, o.addr, 1)
    if rc:
        return rc
    if p2m_get(d, o.addr) != INVALID_MFN:
        return -EEXIST
    physmap_add(m, d, o.addr, mfn)
    return 0


cdef inline int _m2p_set(machine *m, op *o, uint64_t mfn) noexcept nogil:
    # Only the two special entries: a frame gets its gfn with its place in a guest.
    cdef domain *d = owner_of(m, mfn_to_page(m, mfn))
    cdef uint64_t gfn = m2p_read(m, mfn)
    if o.addr != INVALID_M2P and o.addr != SHARED_M2P:
        return -EINVAL
    if d != NULL and p2m_get(d, gfn) == mfn:
        return -EBUSY
    m2p_write(m, mfn, o.addr)
    return 0


cdef inline int _on_frame(machine *m, domain *d, op *o) noexcept nogil:
    # Operations on one frame, which must be valid and (those that change it) not on a free list.
    cdef page_info *pg
    if not frame_ok(m, o.frame):
        return -ENXIO
    if o.code == OP_M2P_GET:
        o.out = m2p_read(m, o.frame)
        return 0
    if o.code == OP_MAP_FRAME:
        if m.nr_vcpus and o.ref >= m.nr_vcpus:
            return -EINVAL
        o.out = map_frame(m, o.ref, o.frame)
        return 0 if o.out else -ENOMEM
    if o.code == OP_M2P_SET:
        return _m2p_set(m, o, o.frame)
    if o.code == OP_FREE:
        return _free(m, o, o.frame)
    if o.code == OP_PHYSMAP_ADD or o.code == OP_PHYSMAP_REMOVE:
        return _physmap(m, d, o, o.frame) if d != NULL else -ESRCH
    pg = mfn_to_page(m, o.frame)
    if o.code == OP_MAP_PAGE:
        # The caller has the page; that it names it by frame here is the batch's way, and not counted.
        m.n.mfn_to_page -= 1
        if m.nr_vcpus and o.ref >= m.nr_vcpus:
            return -EINVAL
        o.out = map_page(m, o.ref, pg)
        return 0 if o.out else -ENOMEM
    if o.code == OP_GET_PAGE or o.code == OP_GET_PAGE_TYPE:
        return _get(m, d, o, pg)
    if o.code == OP_PUT_PAGE or o.code == OP_PUT_PAGE_TYPE:
        return _put(m, o, pg)
    if d == NULL:
        return -ESRCH
    if o.code == OP_ASSIGN:
        return _assign(m, d, pg)
    return _steal(m, d, pg, o.frame) if o.code == OP_STEAL else -EINVAL


cdef inline int _on_table(machine *m, domain *d, op *o) noexcept nogil:
    if o.code == OP_PIN_TABLE:
        return pin_table(m, d, o.frame, o.flags)
    if o.code == OP_UNPIN_TABLE:
        return unpin_table(m, d, o.frame)
    return mmu_update(m, d, o.frame, o.ref, o.addr, &o.out)


cdef inline int _pte_get(machine *m, op *o) noexcept nogil:
    if not frame_ok(m, o.frame):
        return -ENXIO
    if o.ref >= TABLE_ENTRIES:
        return -EINVAL
    o.out = table_get(m, mfn_to_pdx(m.p, o.frame), o.ref)
    return 0


cdef inline int _on_tlb(machine *m, domain *d, op *o) noexcept nogil:
    # ref: a TLB; to flush: ~0 for every one.
    cdef uint32_t cpu
    if o.code == OP_FLUSH_TLB and o.ref == <uint32_t>~0 and m.nr_cpus:
        for cpu in range(m.nr_cpus):
            tlb_flush(m, cpu)
        return 0
    if o.ref >= m.nr_cpus:
        return -EINVAL
    if o.code == OP_FLUSH_TLB:
        tlb_flush(m, o.ref)
        return 0
    if d == NULL:
        return -ESRCH
    d.dirty_cpus |= <uint64_t>1 << o.ref
    return 0


cdef inline int run_op(machine *m, op *o) noexcept nogil:
    """Carry one operation out; its status is a GNTST code for grant operations, else 0 or -errno."""
    cdef domain *d = m.domains[o.dom] if o.dom < NR_DOMIDS else NULL
    if d == m.dom_io and o.code != OP_GET_PAGE:
        d = NULL
    if o.code == OP_MAP or o.code == OP_UNMAP or o.code == OP_TRANSFER:
        if d == NULL or d.dying:
            return GNTST_BAD_DOMAIN
        if o.code == OP_TRANSFER:
            return grant_transfer(m, d, o)
        if o.code == OP_MAP:
            return grant_map(m, d, o, True) if m.naive else grant_map(m, d, o, False)
        return grant_unmap(m, d, o, True) if m.naive else grant_unmap(m, d, o, False)
    if o.code == OP_UNMAP_PAGE:
        return 0 if unmap(m, o.addr) else -EINVAL
    if o.code == OP_SCRUB:
        if o.ref >= m.nr_nodes:
            return -EINVAL
        o.out = heap_scrub_node(m, o.ref, o.frame)
        return 0
    if o.code >= OP_ASSIGN and o.code <= OP_MAP_PAGE and o.code != OP_P2M_GET:
        return _on_frame(m, d, o)
    if o.code == OP_ALLOC or o.code == OP_POPULATE:
        if (o.flags & MEMF_ORDER) > MAX_ORDER:
            return -EINVAL
        if o.code == OP_ALLOC and (d != NULL or o.dom == DOMID_INVALID):
            return _alloc(m, d, o)
    if o.code == OP_PTE_GET:
        return _pte_get(m, o)
    if o.code == OP_FLUSH_TLB or o.code == OP_RUN_ON:
        return _on_tlb(m, d, o)
    if d == NULL:
        return -ESRCH
    if o.code >= OP_PIN_TABLE and o.code <= OP_MMU_UPDATE:
        return _on_table(m, d, o)
    if o.code == OP_GRANT:
        return _grant(d, o)
    if o.code == OP_GRANT_END:
        return _grant_end(d, o)
    if o.code == OP_POPULATE:
        return populate(m, d, o.frame, o.flags, &o.out)
    if o.code == OP_REMOVE:
        return remove_page(m, d, o.frame)
    if o.code == OP_P2M_GET:
        o.out = p2m_get(d, o.frame)
        return 0 if o.out != INVALID_MFN else -ENOENT
    return -EINVAL


cdef inline uint64_t run_ops(machine *m, op *ops, uint64_t count) noexcept nogil:
    """Carry ``count`` operations out in order; return how many failed."""
    cdef uint64_t i, failed = 0
    for i in range(count):
        ops[i].status = <int16_t>run_op(m, &ops[i])
        failed += ops[i].status != 0
        if m.finish != NULL:
            finish_dying(m)
    return failed
