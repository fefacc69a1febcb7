# SPDX-License-Identifier: MIT
"""Pages transferred by grant. Follows xen/common/grant_table.c (gnttab_transfer)."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenmm.machine._frames cimport m2p_read, mfn_to_page, mfn_valid, page_to_mfn, page_to_pdx, record
from xenmm.machine._grant_entries cimport (
    GNTST_ADDRESS_TOO_BIG,
    GNTST_BAD_DOMAIN,
    GNTST_BAD_PAGE,
    GNTST_GENERAL_ERROR,
    GNTST_OKAY,
    GTF_ACCEPT_TRANSFER,
    GTF_TRANSFER_COMMITTED,
    GTF_TRANSFER_COMPLETED,
    entry_domid,
    entry_flags,
    entry_frame,
    frame_of,
    nr_entries,
)
from xenmm.machine._heap cimport heap_free
from xenmm.machine._pages cimport (
    MEMF_BITS_SHIFT,
    assign_page,
    domain_by_id,
    domheap_alloc,
    may_assign,
    steal_page,
)
from xenmm.machine._physmap cimport p2m_get, p2m_reserve, physmap_add, physmap_remove
from xenmm.machine._state cimport INVALID_MFN, LIST_NULL, domain, grant_v1, grant_v2, machine, op, page_info


cdef inline bint _prepare_for_transfer(domain *rd, domain *ld, uint32_t ref) noexcept nogil:
    # The entry accepts a transfer from ld; commit it, so that the guest cannot take it back.
    cdef uint16_t *flags
    if ref >= nr_entries(&rd.gt):
        return False
    flags = entry_flags(&rd.gt, ref)
    if flags[0] != GTF_ACCEPT_TRANSFER or entry_domid(&rd.gt, ref) != ld.domid:
        return False
    flags[0] |= GTF_TRANSFER_COMMITTED
    return True


cdef inline int _receive(machine *m, domain *d, domain *e, page_info *pg, uint32_t ref) noexcept nogil:
    # A stolen page comes to e, where e's grant says; it is freed when e does not take it.
    cdef uint64_t gfn, mfn = page_to_mfn(m, pg)
    cdef uint32_t fresh
    if e.gt.version == 1 and not e.translated and mfn >> 32:
        # Its entry cannot name so high a frame: the contents move to a lower one.
        fresh = domheap_alloc(m, e, 44 << MEMF_BITS_SHIFT)
        heap_free(m, <uint32_t>page_to_pdx(m, pg), 0, True)
        if fresh == LIST_NULL:
            return GNTST_ADDRESS_TOO_BIG
        pg = record(m, fresh)
        mfn = page_to_mfn(m, pg)
    if may_assign(e, 1) or not _prepare_for_transfer(e, d, ref):
        heap_free(m, <uint32_t>page_to_pdx(m, pg), 0, True)
        return GNTST_GENERAL_ERROR
    assign_page(m, e, <uint32_t>page_to_pdx(m, pg))
    gfn = entry_frame(&e.gt, ref)
    if not e.translated:
        if e.gt.version == 1:
            (<grant_v1 *>e.gt.shared)[ref].frame = <uint32_t>mfn
        else:
            (<grant_v2 *>e.gt.shared)[ref].frame = mfn
    entry_flags(&e.gt, ref)[0] |= GTF_TRANSFER_COMPLETED
    # The page is e's whatever becomes of the gfn, as in Xen: a gfn that is in use or too high stays as it is.
    if p2m_reserve(e, gfn, 1) or p2m_get(e, gfn) != INVALID_MFN:
        return GNTST_GENERAL_ERROR
    physmap_add(m, e, gfn, mfn)
    return GNTST_OKAY


cdef inline int grant_transfer(machine *m, domain *d, op *o) noexcept nogil:
    """Give page o.frame of d to domain o.peer, at its grant o.ref. Most failures cost d the page."""
    cdef domain *e = domain_by_id(m, o.peer)
    cdef page_info *pg
    cdef uint64_t mfn = frame_of(d, o.frame), gfn
    cdef int rc
    if not mfn_valid(m, mfn):
        return GNTST_BAD_PAGE
    if d.translated:
        # steal_page refuses translated guests.
        return GNTST_GENERAL_ERROR
    pg = mfn_to_page(m, mfn)
    if steal_page(m, d, pg):
        return GNTST_BAD_PAGE
    gfn = m2p_read(m, mfn)
    if p2m_get(d, gfn) == mfn:
        physmap_remove(m, d, gfn, mfn)
    if e == NULL or e == m.dom_io:
        heap_free(m, <uint32_t>page_to_pdx(m, pg), 0, True)
        return GNTST_BAD_DOMAIN
    rc = _receive(m, d, e, pg, o.ref)
    m.n.grant_transfers += rc == GNTST_OKAY
    return rc
