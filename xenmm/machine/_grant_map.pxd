# SPDX-License-Identifier: MIT
"""Grants mapped and unmapped, and the release of a dying domain's mappings.

Follows xen/common/grant_table.c (map_grant_ref, unmap_common, unmap_common_complete,
gnttab_release_mappings), in the order of references of 0ed9151a5f. Each path is one text for both flavours:
with ``naive`` true, ``again`` converts the frame at every use, as before that commit; callers pass it as a
constant, so that the compiler makes two functions of each.

Differs from Xen: whether a mapping is of an I/O frame is kept in its maptrack flags, not found out again; a
mapping's host address is kept there too, as a stand-in for the guest's page table; each mapping takes an
IOMMU entry of its own.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenmm.machine._frames cimport again, mfn_to_page, mfn_valid
from xenmm.machine._grant_entries cimport (
    GNTMAP_DEVICE,
    GNTMAP_HOST,
    GNTMAP_IO_FRAME,
    GNTMAP_READONLY,
    GNTST_BAD_DEV_ADDR,
    GNTST_BAD_DOMAIN,
    GNTST_BAD_GNTREF,
    GNTST_BAD_HANDLE,
    GNTST_BAD_PAGE,
    GNTST_GENERAL_ERROR,
    GNTST_NO_SPACE,
    GNTST_OKAY,
    PIN_WRITERS,
    entry_frame,
    frame_of,
    host_takes_type,
    maptrack_get,
    maptrack_put,
    nr_entries,
    pin_add,
    pin_of,
    pin_sub,
    reduce_status,
    set_status,
)
from xenmm.machine._pages cimport domain_by_id, get_page, io_permitted, page_get_owner_and_reference, put_page
from xenmm.machine._state cimport (
    INVALID_MFN,
    NO_HANDLE,
    PGT_WRITABLE,
    active_entry,
    domain,
    grant_table,
    machine,
    maptrack,
    op,
    page_info,
)
from xenmm.machine._types cimport get_page_type, put_page_and_type, put_page_type


cdef inline int _take_references(
    machine *m, domain *ld, domain *rd, uint64_t mfn, uint32_t flags, bint *is_io, const bint naive
) noexcept nogil:
    # The references and types of one mapping, and its host mapping. On failure nothing stays taken.
    cdef page_info *pg = NULL
    cdef domain *owner = NULL
    cdef uint32_t gets = 0
    cdef bint host_type = flags & GNTMAP_HOST and host_takes_type(flags, ld, rd)
    cdef bint typed = False
    if mfn_valid(m, mfn):
        pg = mfn_to_page(m, mfn)
        owner = page_get_owner_and_reference(m, pg)
    if pg == NULL or owner == m.dom_io:
        # The reference only served to see that dom_io owns it.
        is_io[0] = True
        if naive and not mfn_valid(m, mfn):
            pg = NULL
        if pg != NULL:
            put_page(m, again(m, pg, mfn, naive))
        if ld.translated or not io_permitted(rd, mfn):
            return GNTST_GENERAL_ERROR
        return GNTST_OKAY
    is_io[0] = False
    if owner != rd:
        if owner != NULL:
            put_page(m, again(m, pg, mfn, naive))
        return GNTST_GENERAL_ERROR
    gets = 1
    if flags & GNTMAP_HOST:
        if host_type:
            typed = get_page_type(m, again(m, pg, mfn, naive), PGT_WRITABLE)
            if not typed:
                put_page(m, again(m, pg, mfn, naive))
                return GNTST_GENERAL_ERROR
        if flags & GNTMAP_DEVICE:
            if not get_page(m, again(m, pg, mfn, naive), rd):
                gets = 0
            elif not flags & GNTMAP_READONLY and not get_page_type(
                m, again(m, pg, mfn, naive), PGT_WRITABLE
            ):
                put_page(m, again(m, pg, mfn, naive))
                gets = 0
            if gets == 0:
                if typed:
                    put_page_type(m, again(m, pg, mfn, naive))
                put_page(m, again(m, pg, mfn, naive))
                return GNTST_GENERAL_ERROR
            gets = 2
    elif not flags & GNTMAP_READONLY and not get_page_type(m, again(m, pg, mfn, naive), PGT_WRITABLE):
        put_page(m, again(m, pg, mfn, naive))
        return GNTST_GENERAL_ERROR
    if ld.need_iommu and ld != rd:
        if ld.iommu_used < ld.iommu_max:
            ld.iommu_used += 1
            return GNTST_OKAY
        # No room in the IOMMU's tables: the one failure that comes after both references.
        if gets == 2:
            if not flags & GNTMAP_READONLY:
                put_page_type(m, again(m, pg, mfn, naive))
            put_page(m, again(m, pg, mfn, naive))
        if typed or (not flags & GNTMAP_HOST and not flags & GNTMAP_READONLY):
            put_page_type(m, again(m, pg, mfn, naive))
        put_page(m, again(m, pg, mfn, naive))
        return GNTST_GENERAL_ERROR
    return GNTST_OKAY


cdef inline int grant_map(machine *m, domain *ld, op *o, const bint naive) noexcept nogil:
    """Map one grant; o.out receives the handle, o.frame the bus address."""
    cdef domain *rd = domain_by_id(m, o.peer)
    cdef grant_table *gt
    cdef active_entry *act
    cdef maptrack *mt
    cdef uint32_t incr = pin_of(o.flags), handle, ref = o.ref
    cdef uint64_t frame, mfn
    cdef bint readonly = (o.flags & GNTMAP_READONLY) != 0, is_io = False
    cdef int rc
    if incr == 0:
        return GNTST_BAD_GNTREF
    if ld.translated and o.flags & GNTMAP_DEVICE:
        return GNTST_GENERAL_ERROR
    if rd == NULL or rd == m.dom_io:
        return GNTST_BAD_DOMAIN
    if o.flags & GNTMAP_HOST and o.addr & 0xfff:
        return GNTST_GENERAL_ERROR
    # The handle comes before a look at the grant, as in Xen: who has none left hears of that first.
    handle = maptrack_get(m, &ld.gt)
    if handle == NO_HANDLE:
        return GNTST_NO_SPACE
    gt = &rd.gt
    if ref >= nr_entries(gt):
        maptrack_put(&ld.gt, handle)
        return GNTST_BAD_GNTREF
    act = &gt.active[ref]
    if act.pin and (act.domid != ld.domid or act.pin & (incr << 7) or act.is_sub_page):
        maptrack_put(&ld.gt, handle)
        return GNTST_GENERAL_ERROR
    if act.pin == 0 or (not readonly and not act.pin & PIN_WRITERS):
        rc = set_status(gt, ref, act, ld.domid, readonly, True)
        if rc != GNTST_OKAY:
            maptrack_put(&ld.gt, handle)
            return rc
        if act.pin == 0:
            frame = entry_frame(gt, ref)
            mfn = frame_of(rd, frame)
            if mfn == INVALID_MFN:
                reduce_status(gt, ref, act, readonly)
                maptrack_put(&ld.gt, handle)
                return GNTST_BAD_PAGE
            act.domid = ld.domid
            act.gfn = frame
            act.mfn = mfn
            act.start = 0
            act.length = 4096
            act.is_sub_page = False
            act.trans_domid = rd.domid
            act.trans_gref = ref
    pin_add(gt, act, incr)
    rc = _take_references(m, ld, rd, act.mfn, o.flags, &is_io, naive)
    if rc != GNTST_OKAY:
        pin_sub(m, rd, act, incr)
        reduce_status(gt, ref, act, readonly)
        maptrack_put(&ld.gt, handle)
        return rc
    mt = &ld.gt.tracks[handle]
    mt.domid = rd.domid
    mt.ref = ref
    mt.flags = <uint16_t>(o.flags & (GNTMAP_DEVICE | GNTMAP_HOST | GNTMAP_READONLY))
    if is_io:
        mt.flags |= GNTMAP_IO_FRAME
    mt.host_addr = o.addr if o.flags & GNTMAP_HOST else 0
    o.out = handle
    o.frame = act.mfn << 12
    m.n.grant_maps += 1
    return GNTST_OKAY


# Unmap.

cdef inline void _drop_references(
    machine *m, domain *ld, domain *rd, active_entry *act, uint32_t done, bint is_io, const bint naive
) noexcept nogil:
    # What unmap_common_complete does for the parts of a mapping named in done: pins, references, types.
    cdef page_info *pg = NULL
    cdef uint64_t mfn = act.mfn
    if not is_io and not naive:
        pg = mfn_to_page(m, mfn)
    if done & GNTMAP_DEVICE:
        if not is_io:
            if done & GNTMAP_READONLY:
                put_page(m, again(m, pg, mfn, naive))
            else:
                put_page_and_type(m, again(m, pg, mfn, naive))
    if done & GNTMAP_HOST:
        if not is_io:
            if host_takes_type(done, ld, rd):
                put_page_type(m, again(m, pg, mfn, naive))
            put_page(m, again(m, pg, mfn, naive))
    pin_sub(m, rd, act, pin_of(done))


cdef inline int grant_unmap(machine *m, domain *ld, op *o, const bint naive) noexcept nogil:
    """Unmap the host part (o.addr), the device part (o.frame, a bus address), or both, of handle o.ref."""
    cdef grant_table *lgt = &ld.gt
    cdef maptrack *mt
    cdef domain *rd
    cdef active_entry *act
    cdef uint32_t flags, done = 0, ref
    if o.ref >= lgt.nr_maptrack_frames * 512 or not lgt.tracks[o.ref].flags:
        return GNTST_BAD_HANDLE
    mt = &lgt.tracks[o.ref]
    flags = mt.flags
    ref = mt.ref
    rd = domain_by_id(m, mt.domid)
    act = &rd.gt.active[ref]
    if o.frame and flags & GNTMAP_DEVICE and o.frame != act.mfn << 12:
        return GNTST_BAD_DEV_ADDR
    if o.addr and flags & GNTMAP_HOST:
        if o.addr != mt.host_addr:
            return GNTST_GENERAL_ERROR
        done |= GNTMAP_HOST
    if o.frame and flags & GNTMAP_DEVICE:
        done |= GNTMAP_DEVICE
    if not done:
        return GNTST_OKAY
    mt.flags &= <uint16_t>~done
    done |= flags & GNTMAP_READONLY
    _drop_references(m, ld, rd, act, done, (flags & GNTMAP_IO_FRAME) != 0, naive)
    reduce_status(&rd.gt, ref, act, (done & GNTMAP_READONLY) != 0)
    if not mt.flags & (GNTMAP_DEVICE | GNTMAP_HOST):
        if ld.need_iommu and ld != rd and not flags & GNTMAP_IO_FRAME:
            ld.iommu_used -= 1
        maptrack_put(lgt, o.ref)
        m.n.grant_unmaps += 1
    return GNTST_OKAY


cdef inline void release_mappings(machine *m, domain *ld, const bint naive) noexcept nogil:
    """Drop every mapping that a dying domain still holds. Xen: gnttab_release_mappings."""
    cdef grant_table *lgt = &ld.gt
    cdef uint32_t handle = 0
    cdef uint32_t flags
    cdef domain *rd
    cdef active_entry *act
    while lgt.maptrack_used:
        flags = lgt.tracks[handle].flags
        if flags:
            rd = domain_by_id(m, lgt.tracks[handle].domid)
            act = &rd.gt.active[lgt.tracks[handle].ref]
            _drop_references(m, ld, rd, act, flags, (flags & GNTMAP_IO_FRAME) != 0, naive)
            reduce_status(&rd.gt, lgt.tracks[handle].ref, act, (flags & GNTMAP_READONLY) != 0)
            if ld.need_iommu and ld != rd and not flags & GNTMAP_IO_FRAME:
                ld.iommu_used -= 1
            maptrack_put(lgt, handle)
            m.n.grant_releases += 1
        handle += 1
