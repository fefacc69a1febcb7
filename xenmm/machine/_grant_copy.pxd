# SPDX-License-Identifier: MIT
"""Copies by grant: each side a grant, perhaps a sub-page or transitive one, or the caller's own frame.

Follows xen/common/grant_table.c (gnttab_copy_one, gnttab_copy_claim_buf, acquire_grant_for_copy,
release_grant_for_copy). Both flavours are one text, as in ``_grant_map.pxd``.

Differs from Xen: RAM has no contents, so bytes are only counted.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenmm.machine._frames cimport again, mfn_to_page, mfn_valid
from xenmm.machine._grant_entries cimport (
    GNTCOPY_DEST_GREF,
    GNTCOPY_SOURCE_GREF,
    GNTST_BAD_COPY_ARG,
    GNTST_BAD_DOMAIN,
    GNTST_BAD_GNTREF,
    GNTST_BAD_PAGE,
    GNTST_GENERAL_ERROR,
    GNTST_OKAY,
    GNTST_PERMISSION_DENIED,
    GTF_SUB_PAGE,
    GTF_TRANSITIVE,
    GTF_TYPE,
    PIN_HOST_READ,
    PIN_HOST_WRITE,
    PIN_WRITERS,
    entry_flags,
    entry_frame,
    frame_of,
    nr_entries,
    pin_add,
    pin_sub,
    reduce_status,
    set_status,
)
from xenmm.machine._map cimport map_frame, map_page, unmap
from xenmm.machine._pages cimport domain_by_id, get_page, put_page
from xenmm.machine._state cimport (
    DOMID_SELF,
    INVALID_MFN,
    PGT_WRITABLE,
    active_entry,
    copy_op,
    domain,
    grant_table,
    grant_v2,
    machine,
    page_info,
)
from xenmm.machine._types cimport get_page_type, put_page_type


cdef struct copy_side:
    domain *rd
    domain *trans               # the domain behind a transitive grant, or NULL
    uint32_t ref
    uint32_t trans_ref
    uint64_t mfn
    page_info *pg
    uint32_t start
    uint32_t length
    bint granted
    bint readonly


cdef inline int _acquire(
    machine *m, domain *rd, uint32_t ref, uint16_t ldomid, bint readonly, copy_side *side
) noexcept nogil:
    # Pin a grant that is no transitive one, and name its frame and its part of the page.
    cdef grant_table *gt = &rd.gt
    cdef active_entry *act = &gt.active[ref]
    cdef grant_v2 *v2
    cdef uint32_t incr = PIN_HOST_READ if readonly else PIN_HOST_WRITE
    cdef uint64_t mfn
    cdef int rc
    if act.pin == 0 or (not readonly and not act.pin & PIN_WRITERS):
        rc = set_status(gt, ref, act, ldomid, readonly, False)
        if rc != GNTST_OKAY:
            return rc
        if act.pin == 0:
            mfn = frame_of(rd, entry_frame(gt, ref))
            if mfn == INVALID_MFN or not mfn_valid(m, mfn):
                reduce_status(gt, ref, act, readonly)
                return GNTST_BAD_PAGE
            act.domid = ldomid
            act.gfn = entry_frame(gt, ref)
            act.mfn = mfn
            act.start = 0
            act.length = 4096
            act.is_sub_page = False
            act.trans_domid = rd.domid
            act.trans_gref = ref
            if gt.version == 2 and entry_flags(gt, ref)[0] & GTF_SUB_PAGE:
                v2 = &(<grant_v2 *>gt.shared)[ref]
                act.start = v2.offset
                act.length = v2.length
                act.is_sub_page = True
    elif rd.dying:
        # Xen: a pin alone says nothing of the page of an owner that is about to let go of it.
        return GNTST_BAD_DOMAIN
    pin_add(gt, act, incr)
    side.mfn = act.mfn
    side.start = act.start
    side.length = act.length
    return GNTST_OKAY


cdef inline int _pinnable(grant_table *gt, uint32_t ref, uint16_t ldomid, bint readonly) noexcept nogil:
    cdef uint32_t pin, incr = PIN_HOST_READ if readonly else PIN_HOST_WRITE
    if ref >= nr_entries(gt):
        return GNTST_BAD_GNTREF
    pin = gt.active[ref].pin
    if pin and (gt.active[ref].domid != ldomid or pin & (incr << 7)):
        return GNTST_GENERAL_ERROR
    return GNTST_OKAY


cdef inline int acquire_for_copy(machine *m, uint16_t ldomid, copy_side *side) noexcept nogil:
    """Pin the grant of one side, through one level of transitivity. Xen: acquire_grant_for_copy."""
    cdef grant_table *gt = &side.rd.gt
    cdef active_entry *act
    cdef grant_v2 *v2
    cdef int rc = _pinnable(gt, side.ref, ldomid, side.readonly)
    if rc != GNTST_OKAY:
        return rc
    if gt.version == 1 or (entry_flags(gt, side.ref)[0] & GTF_TYPE) != GTF_TRANSITIVE:
        if gt.active[side.ref].pin and gt.active[side.ref].trans_domid != side.rd.domid:
            return GNTST_GENERAL_ERROR
        return _acquire(m, side.rd, side.ref, ldomid, side.readonly, side)
    act = &gt.active[side.ref]
    v2 = &(<grant_v2 *>gt.shared)[side.ref]
    # Pinned already only where both sides of a copy name it; it leads to the same grant then.
    if act.pin == 0 or (not side.readonly and not act.pin & PIN_WRITERS):
        rc = set_status(gt, side.ref, act, ldomid, side.readonly, False)
        if rc != GNTST_OKAY:
            return rc
    if v2.offset == side.rd.domid:
        reduce_status(gt, side.ref, act, side.readonly)
        return GNTST_GENERAL_ERROR
    side.trans = domain_by_id(m, v2.offset)
    side.trans_ref = <uint32_t>v2.frame
    rc = GNTST_GENERAL_ERROR
    if side.trans != NULL and side.trans != m.dom_io:
        rc = _pinnable(&side.trans.gt, side.trans_ref, side.rd.domid, side.readonly)
        if rc == GNTST_OKAY and side.trans.gt.version == 2 and (
            entry_flags(&side.trans.gt, side.trans_ref)[0] & GTF_TYPE
        ) == GTF_TRANSITIVE:
            rc = GNTST_GENERAL_ERROR
    if rc == GNTST_OKAY:
        rc = _acquire(m, side.trans, side.trans_ref, side.rd.domid, side.readonly, side)
    if rc != GNTST_OKAY:
        side.trans = NULL
        reduce_status(gt, side.ref, act, side.readonly)
        return rc
    act.domid = ldomid
    act.mfn = side.mfn
    act.gfn = INVALID_MFN
    act.start = <uint16_t>side.start
    act.length = <uint16_t>side.length
    act.is_sub_page = True
    act.trans_domid = side.trans.domid
    act.trans_gref = side.trans_ref
    pin_add(gt, act, PIN_HOST_READ if side.readonly else PIN_HOST_WRITE)
    return GNTST_OKAY


cdef inline void release_for_copy(machine *m, copy_side *side) noexcept nogil:
    cdef uint32_t incr = PIN_HOST_READ if side.readonly else PIN_HOST_WRITE
    pin_sub(m, side.rd, &side.rd.gt.active[side.ref], incr)
    reduce_status(&side.rd.gt, side.ref, &side.rd.gt.active[side.ref], side.readonly)
    if side.trans != NULL:
        pin_sub(m, side.trans, &side.trans.gt.active[side.trans_ref], incr)
        reduce_status(&side.trans.gt, side.trans_ref, &side.trans.gt.active[side.trans_ref], side.readonly)


cdef inline int _party(machine *m, domain *d, uint16_t domid, bint by_ref, copy_side *side) noexcept nogil:
    # Whose frame or grant one side is. Without a grant it is the caller's own. Xen: gnttab_copy_lock_domain.
    if not by_ref and domid != DOMID_SELF:
        return GNTST_PERMISSION_DENIED
    side.rd = d if domid == DOMID_SELF else domain_by_id(m, domid)
    return GNTST_BAD_DOMAIN if side.rd == NULL or side.rd == m.dom_io else GNTST_OKAY


cdef inline int _claim(
    machine *m, domain *d, uint64_t frame, bint by_ref, bint readonly, copy_side *side, const bint naive
) noexcept nogil:
    # Grant, reference and (to write) type of one side; nothing stays taken on failure.
    cdef int rc
    cdef domain *owner
    side.trans = NULL
    side.granted = False
    side.readonly = readonly
    if by_ref:
        if frame >> 32:
            return GNTST_BAD_GNTREF
        side.ref = <uint32_t>frame
        rc = acquire_for_copy(m, d.domid, side)
        if rc != GNTST_OKAY:
            return rc
        side.granted = True
    else:
        side.mfn = frame_of(side.rd, frame)
        side.start = 0
        side.length = 4096
        if not mfn_valid(m, side.mfn):
            return GNTST_BAD_PAGE
    owner = side.trans if side.trans != NULL else side.rd
    side.pg = mfn_to_page(m, side.mfn)
    rc = GNTST_OKAY
    if not get_page(m, side.pg, owner):
        rc = GNTST_GENERAL_ERROR if by_ref else GNTST_BAD_PAGE
    elif not readonly and not get_page_type(m, side.pg, PGT_WRITABLE):
        put_page(m, again(m, side.pg, side.mfn, naive))
        rc = GNTST_GENERAL_ERROR
    if rc != GNTST_OKAY and by_ref:
        release_for_copy(m, side)
    return rc


cdef inline void _unclaim(machine *m, copy_side *side, const bint naive) noexcept nogil:
    cdef page_info *pg = again(m, side.pg, side.mfn, naive)
    if side.granted:
        release_for_copy(m, side)
    if not side.readonly:
        put_page_type(m, pg)
    put_page(m, pg)


cdef inline int grant_copy(machine *m, domain *d, copy_op *o, const bint naive) noexcept nogil:
    """Copy between two frames, each a grant or the caller's own. Differs from Xen: bytes are only counted."""
    cdef copy_side src, dst
    cdef uint64_t from_virt, to_virt
    cdef int rc
    cdef bint from_grant = o.flags & GNTCOPY_SOURCE_GREF, to_grant = (o.flags & GNTCOPY_DEST_GREF) != 0
    rc = _party(m, d, o.src_dom, from_grant, &src)
    if rc == GNTST_OKAY:
        rc = _party(m, d, o.dst_dom, to_grant, &dst)
    if rc == GNTST_OKAY:
        rc = _claim(m, d, o.src_frame, from_grant, True, &src, naive)
    if rc != GNTST_OKAY:
        return rc
    rc = _claim(m, d, o.dst_frame, to_grant, False, &dst, naive)
    if rc == GNTST_OKAY:
        if o.src_offset + <uint32_t>o.len > 4096 or o.dst_offset + <uint32_t>o.len > 4096:
            rc = GNTST_BAD_COPY_ARG
        elif (
            o.src_offset < src.start
            or o.src_offset + <uint32_t>o.len > src.start + src.length
            or o.dst_offset < dst.start
            or o.dst_offset + <uint32_t>o.len > dst.start + dst.length
        ):
            rc = GNTST_GENERAL_ERROR
        else:
            # Of both sides the page is at hand once conversions are kept; before, only the frame was.
            from_virt = map_frame(m, 0, src.mfn) if naive else map_page(m, 0, src.pg)
            to_virt = map_frame(m, 0, dst.mfn) if naive else map_page(m, 0, dst.pg)
            m.sink += from_virt ^ to_virt
            unmap(m, to_virt)
            unmap(m, from_virt)
            m.n.grant_copies += 1
            m.n.bytes_copied += o.len
        _unclaim(m, &dst, naive)
    _unclaim(m, &src, naive)
    return rc
