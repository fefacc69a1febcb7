# SPDX-License-Identifier: MIT
"""Grant tables, versions 1 and 2: map, unmap, transfer, copy, and the release of a dying domain's mappings.

Follows xen/common/grant_table.c (map_grant_ref, unmap_common, unmap_common_complete, gnttab_transfer,
acquire_grant_for_copy, gnttab_release_mappings), in the order of references of 0ed9151a5f. Each path is one
text for both flavours: with ``naive`` true, ``again`` converts the frame at every use, as before that commit;
the callers pass it as a constant, so that the compiler makes two functions of each.

Status codes are the GNTST numbers of xen/include/public/grant_table.h.

Differs from Xen: whether a mapping is of an I/O frame is kept in its maptrack flags, not found out again; a
mapping's host address is kept there too, as a stand-in for the guest's page table; each mapping takes an
IOMMU entry of its own.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenmm.machine._frames cimport (
    again,
    m2p_read,
    m2p_write,
    mfn_to_page,
    mfn_valid,
    page_to_mfn,
    page_to_pdx,
    record,
)
from xenmm.machine._heap cimport heap_free
from xenmm.machine._map cimport map_frame, map_page, unmap
from xenmm.machine._pages cimport (
    MEMF_BITS_SHIFT,
    assign_page,
    domain_by_id,
    domheap_alloc,
    get_page,
    get_page_type,
    look_at_end,
    may_assign,
    page_get_owner_and_reference,
    put_page,
    put_page_and_type,
    put_page_type,
    steal_page,
    xenheap_alloc,
)
from xenmm.machine._physmap cimport p2m_get, p2m_reserve, physmap_add, physmap_remove
from xenmm.machine._state cimport (
    DOMID_SELF,
    INVALID_M2P,
    INVALID_MFN,
    LIST_NULL,
    NO_HANDLE,
    P2M_LIMIT,
    PGT_WRITABLE,
    active_entry,
    copy_op,
    domain,
    grant_table,
    grant_v1,
    grant_v2,
    machine,
    maptrack,
    op,
    page_info,
)


cdef enum:
    GNTST_OKAY = 0
    GNTST_GENERAL_ERROR = -1
    GNTST_BAD_DOMAIN = -2
    GNTST_BAD_GNTREF = -3
    GNTST_BAD_HANDLE = -4
    GNTST_BAD_VIRT_ADDR = -5
    GNTST_BAD_DEV_ADDR = -6
    GNTST_PERMISSION_DENIED = -8
    GNTST_BAD_PAGE = -9
    GNTST_BAD_COPY_ARG = -10
    GNTST_ADDRESS_TOO_BIG = -11
    GNTST_NO_SPACE = -13
    GNTMAP_DEVICE = 1
    GNTMAP_HOST = 2
    GNTMAP_READONLY = 4
    GNTMAP_IO_FRAME = 0x8000        # ours: see the module's text
    GNTCOPY_SOURCE_GREF = 1
    GNTCOPY_DEST_GREF = 2
    GTF_PERMIT_ACCESS = 1
    GTF_ACCEPT_TRANSFER = 2
    GTF_TRANSITIVE = 3
    GTF_TYPE = 3
    GTF_READONLY = 4
    GTF_READING = 8
    GTF_WRITING = 16
    GTF_TRANSFER_COMMITTED = 4
    GTF_TRANSFER_COMPLETED = 8
    GTF_SUB_PAGE = 256
    PIN_HOST_WRITE = 1
    PIN_HOST_READ = 1 << 8
    PIN_DEVICE_WRITE = 1 << 16
    PIN_DEVICE_READ = 1 << 24
    PIN_WRITERS = 0x00ff00ff


# Entries.

cdef inline uint32_t nr_entries(grant_table *gt) noexcept nogil:
    return gt.nr_frames * (512 if gt.version == 1 else 256)


cdef inline uint16_t *entry_flags(grant_table *gt, uint32_t ref) noexcept nogil:
    return &(<grant_v1 *>gt.shared)[ref].flags if gt.version == 1 else &(<grant_v2 *>gt.shared)[ref].flags


cdef inline uint16_t entry_domid(grant_table *gt, uint32_t ref) noexcept nogil:
    return (<grant_v1 *>gt.shared)[ref].domid if gt.version == 1 else (<grant_v2 *>gt.shared)[ref].domid


cdef inline uint64_t entry_frame(grant_table *gt, uint32_t ref) noexcept nogil:
    return (<grant_v1 *>gt.shared)[ref].frame if gt.version == 1 else (<grant_v2 *>gt.shared)[ref].frame


cdef inline uint16_t *entry_status(grant_table *gt, uint32_t ref) noexcept nogil:
    # Version 1 tells the guest what is in use in the flags themselves; version 2 in frames of its own.
    return &(<grant_v1 *>gt.shared)[ref].flags if gt.version == 1 else &gt.status[ref]


cdef inline int set_status(
    grant_table *gt, uint32_t ref, active_entry *act, uint16_t ldomid, bint readonly, bint mapping
) noexcept nogil:
    # The grant is what the caller may use; then mark it used. Xen: _set_status_v1, _set_status_v2.
    cdef uint16_t flags = entry_flags(gt, ref)[0]
    cdef uint16_t mask = GTF_TYPE | GTF_SUB_PAGE if mapping else GTF_TYPE
    cdef bint permits = (flags & mask) == GTF_PERMIT_ACCESS
    if gt.version == 2 and not mapping and (flags & mask) == GTF_TRANSITIVE:
        permits = True
    if act.pin == 0 and (not permits or entry_domid(gt, ref) != ldomid):
        return GNTST_GENERAL_ERROR
    if not readonly and flags & GTF_READONLY:
        return GNTST_GENERAL_ERROR
    entry_status(gt, ref)[0] |= GTF_READING if readonly else GTF_READING | GTF_WRITING
    return GNTST_OKAY


cdef inline void reduce_status(
    grant_table *gt, uint32_t ref, active_entry *act, bint readonly
) noexcept nogil:
    if act.pin == 0:
        entry_status(gt, ref)[0] &= <uint16_t>~GTF_READING
    if not readonly and not act.pin & PIN_WRITERS:
        entry_status(gt, ref)[0] &= <uint16_t>~GTF_WRITING


cdef inline void pin_add(grant_table *gt, active_entry *act, uint32_t incr) noexcept nogil:
    gt.nr_pinned += act.pin == 0 and incr != 0
    act.pin += incr


cdef inline void pin_sub(machine *m, domain *rd, active_entry *act, uint32_t incr) noexcept nogil:
    act.pin -= incr
    if act.pin == 0 and incr:
        rd.gt.nr_pinned -= 1
        if rd.dying:
            look_at_end(m, rd)


cdef inline uint32_t pin_of(uint32_t flags) noexcept nogil:
    cdef uint32_t incr = 0
    if flags & GNTMAP_DEVICE:
        incr += PIN_DEVICE_READ if flags & GNTMAP_READONLY else PIN_DEVICE_WRITE
    if flags & GNTMAP_HOST:
        incr += PIN_HOST_READ if flags & GNTMAP_READONLY else PIN_HOST_WRITE
    return incr


cdef inline bint host_takes_type(uint32_t flags, domain *ld, domain *rd) noexcept nogil:
    # gnttab_host_mapping_get_page_type on x86.
    return not flags & GNTMAP_READONLY and (ld == rd or not rd.translated)


cdef inline uint64_t frame_of(domain *d, uint64_t frame) noexcept nogil:
    # A PV guest names machine frames, a translated one its own.
    return p2m_get(d, frame) if d.translated else frame


# Mapping tracks.

cdef inline void _maptrack_grow(machine *m, grant_table *gt) noexcept nogil:
    # One more page of 512 handles, linked in ascending order.
    cdef uint32_t first = gt.nr_maptrack_frames * 512, i, pdx
    if gt.nr_maptrack_frames == gt.max_maptrack_frames:
        return
    pdx = xenheap_alloc(m)
    if pdx == LIST_NULL:
        return
    gt.maptrack_pdx[gt.nr_maptrack_frames] = pdx
    gt.nr_maptrack_frames += 1
    for i in range(511):
        gt.tracks[first + i].ref = first + i + 1
    gt.tracks[first + 511].ref = gt.maptrack_free
    gt.maptrack_free = first


cdef inline uint32_t maptrack_get(machine *m, grant_table *gt) noexcept nogil:
    cdef uint32_t handle
    if gt.maptrack_free == NO_HANDLE:
        _maptrack_grow(m, gt)
    handle = gt.maptrack_free
    if handle != NO_HANDLE:
        gt.maptrack_free = gt.tracks[handle].ref
        gt.maptrack_used += 1
    return handle


cdef inline void maptrack_put(grant_table *gt, uint32_t handle) noexcept nogil:
    gt.tracks[handle].flags = 0
    gt.tracks[handle].domid = 0
    gt.tracks[handle].host_addr = 0
    gt.tracks[handle].ref = gt.maptrack_free
    gt.maptrack_free = handle
    gt.maptrack_used -= 1


# Map.

cdef inline bint io_permitted(domain *d, uint64_t mfn) noexcept nogil:
    cdef uint64_t i
    for i in range(d.nr_iomem):
        if d.iomem[2 * i] <= mfn < d.iomem[2 * i + 1]:
            return True
    return False


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


# Transfer.

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
    if gfn != INVALID_M2P:
        physmap_remove(m, d, gfn, mfn)
    if e == NULL or e == m.dom_io:
        heap_free(m, <uint32_t>page_to_pdx(m, pg), 0, True)
        return GNTST_BAD_DOMAIN
    rc = _receive(m, d, e, pg, o.ref)
    m.n.grant_transfers += rc == GNTST_OKAY
    return rc


# Copy.

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
