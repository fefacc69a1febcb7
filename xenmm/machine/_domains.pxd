# SPDX-License-Identifier: MIT
"""Domains: made, given grant frames, and destroyed so that every page comes home.

Follows xen/common/domain.c (domain_create, domain_kill), xen/arch/x86/domain.c (relinquish_memory) and
xen/common/grant_table.c (grant_table_init, gnttab_grow_table, gnttab_set_version, grant_table_destroy).

Differs from Xen: a dying domain also stays while grants of its I/O frames are mapped, so that no mapping can
outlive the table that it is pinned in.
"""

from libc.errno cimport EBUSY, EEXIST, EINVAL, ENOMEM, ERANGE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from xenmm.machine._frames cimport list_init, m2p_read, page_to_mfn, record
from xenmm.machine._grant_entries cimport (
    GTF_PERMIT_ACCESS,
    GTF_READING,
    GTF_TRANSITIVE,
    GTF_TYPE,
    GTF_WRITING,
    nr_entries,
)
from xenmm.machine._grant_map cimport release_mappings
from xenmm.machine._pages cimport (
    look_at_end,
    put_page,
    put_page_alloc_ref,
    share_xen_page_with_guest,
    xenheap_alloc,
    xenheap_free,
)
from xenmm.machine._physmap cimport p2m_get, p2m_release, physmap_remove
from xenmm.machine._state cimport (
    LIST_NULL,
    NO_HANDLE,
    PGC_ALLOCATED,
    PGC_COUNT,
    PGT_L2,
    PGT_L3,
    PGT_L4,
    PGT_TYPE,
    PGT_VALIDATED,
    active_entry,
    domain,
    grant_table,
    grant_v1,
    grant_v2,
    machine,
    maptrack,
    page_info,
)
from xenmm.machine._types cimport drop_pin, invalidate


cdef enum:
    # 512 entries of version 1 a frame; an active entry takes 64 bytes (assumed: it differs between versions).
    ACTIVE_FRAMES_PER_SHARED = 8
    STATUS_PER_FRAME = 2048
    RESERVED_ENTRIES = 8       # xen/include/public/grant_table.h, GNTTAB_NR_RESERVED_ENTRIES


cdef inline void _gt_release_arrays(grant_table *gt) noexcept nogil:
    free(gt.shared_pdx)
    free(gt.status_pdx)
    free(gt.active_pdx)
    free(gt.maptrack_pdx)
    free(gt.shared)
    free(gt.status)
    free(gt.active)
    free(gt.tracks)


cdef inline bint gt_init(grant_table *gt, uint32_t max_frames, uint32_t max_maptrack_frames) noexcept nogil:
    # Room for all that it may ever grow to: calloc leaves what is not touched to the system.
    gt.version = 1
    gt.max_frames = max_frames
    gt.max_maptrack_frames = max_maptrack_frames
    gt.maptrack_free = NO_HANDLE
    gt.shared_pdx = <uint32_t *>calloc(max_frames, 4)
    gt.status_pdx = <uint32_t *>calloc(max_frames, 4)
    gt.active_pdx = <uint32_t *>calloc(max_frames * ACTIVE_FRAMES_PER_SHARED, 4)
    gt.maptrack_pdx = <uint32_t *>calloc(max_maptrack_frames + 1, 4)
    gt.shared = calloc(max_frames, 4096)
    gt.status = <uint16_t *>calloc(max_frames * 256 + STATUS_PER_FRAME, 2)
    gt.active = <active_entry *>calloc(max_frames * 512, sizeof(active_entry))
    gt.tracks = <maptrack *>calloc(max_maptrack_frames * 512 + 1, sizeof(maptrack))
    return (
        gt.shared_pdx != NULL and gt.status_pdx != NULL and gt.active_pdx != NULL and gt.maptrack_pdx != NULL
        and gt.shared != NULL and gt.status != NULL and gt.active != NULL and gt.tracks != NULL
    )


cdef inline bint _take_frames(machine *m, uint32_t *pdxs, uint32_t have, uint32_t want) noexcept nogil:
    # Fill pdxs[have:want] with Xen-heap pages, all or none.
    cdef uint32_t i, k
    for i in range(have, want):
        pdxs[i] = xenheap_alloc(m)
        if pdxs[i] == LIST_NULL:
            for k in range(have, i):
                xenheap_free(m, pdxs[k])
            return False
    return True


cdef inline void _drop_frames(machine *m, uint32_t *pdxs, uint32_t have, uint32_t want) noexcept nogil:
    cdef uint32_t i
    for i in range(have, want):
        xenheap_free(m, pdxs[i])


cdef inline uint32_t _status_frames(uint32_t frames) noexcept nogil:
    return (frames * 256 + STATUS_PER_FRAME - 1) // STATUS_PER_FRAME


cdef inline int _populate_status(machine *m, domain *d, uint32_t frames) noexcept nogil:
    cdef grant_table *gt = &d.gt
    cdef uint32_t i, want = _status_frames(frames)
    if not _take_frames(m, gt.status_pdx, gt.nr_status_frames, want):
        return -ENOMEM
    for i in range(gt.nr_status_frames, want):
        share_xen_page_with_guest(m, gt.status_pdx[i], d)
    gt.nr_status_frames = want
    return 0


cdef inline int gt_grow(machine *m, domain *d, uint32_t frames) noexcept nogil:
    """Grow the shared table to ``frames`` frames; nothing changes on failure."""
    cdef grant_table *gt = &d.gt
    cdef uint32_t i, active = frames * ACTIVE_FRAMES_PER_SHARED
    if frames > gt.max_frames:
        return -EINVAL
    if frames <= gt.nr_frames:
        return 0
    if not _take_frames(m, gt.active_pdx, gt.nr_active_frames, active):
        return -ENOMEM
    if not _take_frames(m, gt.shared_pdx, gt.nr_frames, frames):
        _drop_frames(m, gt.active_pdx, gt.nr_active_frames, active)
        return -ENOMEM
    if gt.version == 2 and _populate_status(m, d, frames):
        _drop_frames(m, gt.shared_pdx, gt.nr_frames, frames)
        _drop_frames(m, gt.active_pdx, gt.nr_active_frames, active)
        return -ENOMEM
    for i in range(gt.nr_frames, frames):
        share_xen_page_with_guest(m, gt.shared_pdx[i], d)
    gt.nr_frames = frames
    gt.nr_active_frames = active
    return 0


cdef inline int gt_set_version(machine *m, domain *d, uint32_t version) noexcept nogil:
    """Change between versions 1 and 2 while no grant is in use; the first eight entries are carried over."""
    cdef grant_table *gt = &d.gt
    cdef grant_v1[RESERVED_ENTRIES] kept
    cdef grant_v2 *v2 = <grant_v2 *>gt.shared
    cdef uint32_t i, type
    if version != 1 and version != 2:
        return -EINVAL
    if version == gt.version:
        return 0
    for i in range(RESERVED_ENTRIES, nr_entries(gt)):
        if gt.active[i].pin:
            return -EBUSY
    memset(kept, 0, sizeof(kept))
    if version == 2:
        if _populate_status(m, d, gt.nr_frames):
            return -ENOMEM
        memcpy(kept, gt.shared, sizeof(kept))
    else:
        for i in range(RESERVED_ENTRIES):
            type = v2[i].flags & GTF_TYPE
            if type == GTF_TRANSITIVE or (type == GTF_PERMIT_ACCESS and v2[i].frame >> 32):
                return -ERANGE
        for i in range(gt.nr_status_frames):
            if (record(m, gt.status_pdx[i]).count_info & PGC_COUNT) > 1:
                return -EBUSY
        for i in range(RESERVED_ENTRIES):
            if (v2[i].flags & GTF_TYPE) == GTF_PERMIT_ACCESS:
                kept[i].flags = v2[i].flags | gt.status[i]
                kept[i].domid = v2[i].domid
                kept[i].frame = <uint32_t>v2[i].frame
        _drop_frames(m, gt.status_pdx, 0, gt.nr_status_frames)
        gt.nr_status_frames = 0
    memset(gt.shared, 0, <size_t>gt.nr_frames * 4096)
    memset(gt.status, 0, (<size_t>gt.max_frames * 256 + STATUS_PER_FRAME) * 2)
    gt.version = version
    if version == 1:
        memcpy(gt.shared, kept, sizeof(kept))
        return 0
    for i in range(RESERVED_ENTRIES):
        # Differs from Xen: of an entry that took a transfer that bit says "completed", and is left out.
        if (kept[i].flags & GTF_TYPE) == GTF_PERMIT_ACCESS:
            gt.status[i] = kept[i].flags & (GTF_READING | GTF_WRITING)
        v2[i].flags = kept[i].flags & <uint16_t>~(GTF_READING | GTF_WRITING)
        v2[i].domid = kept[i].domid
        v2[i].frame = kept[i].frame
    return 0


cdef inline void domain_release(domain *d) noexcept nogil:
    # This process's memory of a domain; its pages are another matter.
    _gt_release_arrays(&d.gt)
    p2m_release(d)
    free(d.iomem)
    free(d)


cdef inline int domain_create(
    machine *m, uint32_t domid, uint64_t max_pages, uint32_t grant_frames, uint32_t maptrack_frames
) noexcept nogil:
    cdef domain *d
    cdef int rc = 0
    if domid >= 0x8000:
        return -EINVAL
    if m.domains[domid] != NULL:
        return -EEXIST
    d = <domain *>calloc(1, sizeof(domain))
    if d == NULL:
        return -ENOMEM
    d.domid = <uint16_t>domid
    d.max_pages = max_pages
    d.last_node = m.nr_nodes - 1
    d.iommu_max = ~<uint64_t>0
    list_init(&d.pages)
    list_init(&d.xenheap_list)
    d.pdx = LIST_NULL
    if not gt_init(&d.gt, grant_frames, maptrack_frames):
        domain_release(d)
        return -ENOMEM
    d.pdx = xenheap_alloc(m)
    if d.pdx == LIST_NULL:
        domain_release(d)
        return -ENOMEM
    record(m, d.pdx).context = domid + 1
    m.domains[domid] = d
    rc = gt_grow(m, d, 1 if grant_frames else 0)
    if rc:
        m.domains[domid] = NULL
        xenheap_free(m, d.pdx)
        domain_release(d)
    return rc


cdef inline void _relinquish(machine *m, domain *d, uint64_t table) noexcept nogil:
    # Every page loses its pin, its place and its allocation's reference; tables of one level their validity.
    cdef uint32_t pdx = d.pages.head
    cdef page_info *pg
    cdef uint64_t mfn, gfn
    if pdx != LIST_NULL:
        record(m, pdx).count_info += 1
    while pdx != LIST_NULL:
        pg = record(m, pdx)
        # One page's end may be that of others: this one and the next are kept by a reference.
        pdx = pg.next
        if pdx != LIST_NULL:
            record(m, pdx).count_info += 1
        drop_pin(m, pg)
        if pg.count_info & PGC_ALLOCATED:
            mfn = page_to_mfn(m, pg)
            gfn = m2p_read(m, mfn)
            if p2m_get(d, gfn) == mfn:
                physmap_remove(m, d, gfn, mfn)
            put_page_alloc_ref(m, pg)
        if (pg.type_info & (PGT_TYPE | PGT_VALIDATED)) == table | PGT_VALIDATED:
            invalidate(m, pg)
        put_page(m, pg)
        m.n.put_page -= 1


cdef inline void domain_kill(machine *m, domain *d) noexcept nogil:
    """Begin, or go on with, the end of a domain: drop its mappings, its P2M and its allocation references."""
    d.dying = 1
    if m.naive:
        release_mappings(m, d, True)
    else:
        release_mappings(m, d, False)
    # Only now: a mapping of its own pages may have held the first of them. Then, from the root down, tables
    # that are still in use hold nothing any more.
    _relinquish(m, d, PGT_L4)
    _relinquish(m, d, PGT_L3)
    _relinquish(m, d, PGT_L2)
    look_at_end(m, d)


cdef inline bint _all_home(machine *m, domain *d) noexcept nogil:
    # Nobody refers to its pages, its grants or its frames any more.
    cdef uint32_t pdx = d.xenheap_list.head
    if d.tot_pages or d.gt.nr_pinned or d.gt.maptrack_used:
        return False
    while pdx != LIST_NULL:
        if (record(m, pdx).count_info & PGC_COUNT) > 1:
            return False
        pdx = record(m, pdx).next
    return True


cdef inline void finish_dying(machine *m) noexcept nogil:
    """End the dying domains that nothing holds any more; runs after each operation that may free one."""
    cdef domain *d
    while m.finish != NULL:
        d = m.finish
        m.finish = d.next_finish
        d.next_finish = NULL
        if not d.dying or not _all_home(m, d):
            continue
        d.dying = 2
        _drop_frames(m, d.gt.status_pdx, 0, d.gt.nr_status_frames)
        _drop_frames(m, d.gt.shared_pdx, 0, d.gt.nr_frames)
        _drop_frames(m, d.gt.active_pdx, 0, d.gt.nr_active_frames)
        _drop_frames(m, d.gt.maptrack_pdx, 0, d.gt.nr_maptrack_frames)
        m.domains[d.domid] = NULL
        record(m, d.pdx).context = 0
        xenheap_free(m, d.pdx)
        domain_release(d)
