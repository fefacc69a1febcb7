# SPDX-License-Identifier: MIT
"""Grant entries, shared and active, and mapping tracks: what mapping, transfer and copy all stand on.

Follows xen/common/grant_table.c (_set_status_v1, _set_status_v2, reduce_status_for_pin, get_maptrack_handle)
and xen/include/public/grant_table.h, whose GNTST numbers are the status codes.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenmm.machine._pages cimport look_at_end, xenheap_alloc
from xenmm.machine._physmap cimport p2m_get
from xenmm.machine._state cimport (
    LIST_NULL,
    NO_HANDLE,
    active_entry,
    domain,
    grant_table,
    grant_v1,
    grant_v2,
    machine,
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
