# SPDX-License-Identifier: MIT
"""map_domain_page: by frame, by page, and through the window of slots of machines without a direct map.

Follows xen/arch/x86/domain_page.c (map_domain_page, unmap_domain_page) and, for the page-taking variant,
84d568f5c9. On x86-64 everything is in the direct map: by frame costs one squeeze, by page none at all. The
mapcache is what a 32-bit Xen had, and a debug Xen has: a window of slots a vCPU, a hash of idle mappings with
reference counts, slots that were unmapped kept as garbage until the window wraps and the TLB is flushed once.
It is keyed by frame, so there the page-taking variant only adds a page_to_mfn.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenmm cimport mfn_to_virt, page_to_virt, pdx_to_page
from xenmm.machine._frames cimport page_to_mfn, page_to_pdx
from xenmm.machine._state cimport machine, mapcache_vcpu, page_info


cdef extern from *:
    """
    #define XENMM_MAPCACHE_VIRT_START 0xffff820040000000ull
    """
    const uint64_t MAPCACHE_VIRT_START "XENMM_MAPCACHE_VIRT_START"
    int _ctz "__builtin_ctz"(unsigned int) noexcept nogil


cdef enum:
    MAPCACHE_SLOTS = 16       # a vCPU; xen/arch/x86/include/asm/config.h, MAPCACHE_VCPU_ENTRIES
    MAPHASH_ENTRIES = 8
    MAPHASH_NOTINUSE = MAPCACHE_SLOTS


cdef inline void mapcache_init(mapcache_vcpu *v) noexcept nogil:
    cdef uint32_t i
    for i in range(MAPHASH_ENTRIES):
        v.hash_mfn[i] = ~<uint64_t>0
        v.hash_idx[i] = MAPHASH_NOTINUSE
        v.hash_refs[i] = 0
    for i in range(MAPCACHE_SLOTS):
        v.slot_mfn[i] = ~<uint64_t>0
    v.inuse = 0
    v.garbage = 0
    v.cursor = 0


cdef inline uint32_t _free_slot(machine *m, mapcache_vcpu *v, uint32_t bucket) noexcept nogil:
    # The next free slot; when the window is at its end the garbage is collected and the TLB flushed, once.
    cdef uint32_t unused = ~v.inuse & 0xffff & ~((<uint32_t>1 << (v.cursor & 31)) - 1), i, k, b
    if unused:
        return _ctz(unused)
    v.inuse &= ~v.garbage
    v.garbage = 0
    unused = ~v.inuse & 0xffff
    i = MAPCACHE_SLOTS
    if unused:
        i = _ctz(unused)
    else:
        # No garbage either: an idle mapping of the hash gives its slot up.
        for k in range(MAPHASH_ENTRIES):
            b = (bucket + k) % MAPHASH_ENTRIES
            if v.hash_idx[b] < MAPCACHE_SLOTS and v.hash_refs[b] == 0:
                i = v.hash_idx[b] & (MAPCACHE_SLOTS - 1)
                v.slot_mfn[i] = ~<uint64_t>0
                v.hash_idx[b] = MAPHASH_NOTINUSE
                v.hash_mfn[b] = ~<uint64_t>0
                break
    if i < MAPCACHE_SLOTS:
        m.n.tlb_flushes += 1
        m.mapcache_epoch += 1
    return i


cdef inline uint64_t mapcache_map(machine *m, uint32_t vcpu, uint64_t mfn) noexcept nogil:
    """The address of a slot that shows the frame; 0 when every slot is in use (there Xen stops)."""
    cdef mapcache_vcpu *v = &m.vcpus[vcpu]
    cdef uint32_t bucket = mfn % MAPHASH_ENTRIES, i
    if v.hash_mfn[bucket] == mfn and v.hash_idx[bucket] != MAPHASH_NOTINUSE:
        i = v.hash_idx[bucket]
        v.hash_refs[bucket] += 1
        m.n.mapcache_hits += 1
    else:
        i = _free_slot(m, v, bucket)
        if i == MAPCACHE_SLOTS:
            return 0
        v.inuse |= <uint32_t>1 << i
        v.cursor = i + 1
        v.slot_mfn[i] = mfn
    return MAPCACHE_VIRT_START + ((<uint64_t>vcpu * MAPCACHE_SLOTS + i) << 12)


cdef inline bint mapcache_unmap(machine *m, uint64_t virt) noexcept nogil:
    """False when no slot is mapped at that address."""
    cdef uint64_t slot = (virt - MAPCACHE_VIRT_START) >> 12
    cdef mapcache_vcpu *v
    cdef uint32_t bucket, i = slot % MAPCACHE_SLOTS
    if slot >= <uint64_t>m.nr_vcpus * MAPCACHE_SLOTS:
        return False
    v = &m.vcpus[slot // MAPCACHE_SLOTS]
    if v.slot_mfn[i] == ~<uint64_t>0 or not (v.inuse >> i) & 1:
        return False
    bucket = v.slot_mfn[i] % MAPHASH_ENTRIES
    if v.hash_idx[bucket] == i:
        if v.hash_refs[bucket] == 0:
            return False
        v.hash_refs[bucket] -= 1
    elif v.hash_refs[bucket] == 0:
        # The idle mapping in the hash makes room for this one and becomes garbage.
        if v.hash_idx[bucket] < MAPCACHE_SLOTS:
            v.slot_mfn[v.hash_idx[bucket]] = ~<uint64_t>0
            v.garbage |= <uint32_t>1 << v.hash_idx[bucket]
        v.hash_mfn[bucket] = v.slot_mfn[i]
        v.hash_idx[bucket] = i
    else:
        v.slot_mfn[i] = ~<uint64_t>0
        v.garbage |= <uint32_t>1 << i
    return True


cdef inline uint64_t map_frame(machine *m, uint32_t vcpu, uint64_t mfn) noexcept nogil:
    m.n.map_domain_page += 1
    if m.nr_vcpus:
        return mapcache_map(m, vcpu, mfn)
    m.n.mfn_to_virt += 1
    return mfn_to_virt(m.p, mfn)


cdef inline uint64_t map_page(machine *m, uint32_t vcpu, page_info *pg) noexcept nogil:
    if not m.by_page or m.nr_vcpus:
        return map_frame(m, vcpu, page_to_mfn(m, pg))
    m.n.map_domain_page += 1
    m.n.page_to_virt += 1
    return page_to_virt(m.p, pdx_to_page(m.p, page_to_pdx(m, pg)))


cdef inline bint unmap(machine *m, uint64_t virt) noexcept nogil:
    m.n.unmap_domain_page += 1
    return mapcache_unmap(m, virt) if m.nr_vcpus else True


cdef inline void scrub_one_page(machine *m, page_info *pg) noexcept nogil:
    # Xen maps the page to overwrite it. Differs from Xen: RAM has no contents here, so nothing is written.
    cdef uint64_t virt = map_page(m, 0, pg)
    m.sink += virt
    m.n.pages_scrubbed += 1
    unmap(m, virt)
