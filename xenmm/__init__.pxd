# SPDX-License-Identifier: MIT
"""Frames, pages and addresses of a booted host, converted inline: ``from xenmm cimport mfn_to_page``.

The Cython text of the arithmetic whose C text is ``include/xenmm.h``; a test holds both to one file of
vectors. Nothing to link and nothing imported: a plain struct and inline functions.

Every conversion is the bare formula modulo 2^64 and judges nothing; only ``mfn_valid``, ``page_valid``
and the ``*_in_directmap`` predicates judge, and take any 64-bit value. Functions named ``none_*``,
``mask_*`` and ``offset_*`` serve one mode of compression and do not look at ``mode``; those without a mode's
name choose by it. Append-only: fields and functions are added, never changed (``abi_version``, ``size``).

Sources: Xen c447b7308b, xen/include/xen/pdx.h (pfn_to_pdx_xlate and its kin),
xen/arch/x86/include/asm/x86_64/page.h, xen/common/pdx.c (mfn_valid).
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    XENMM_ABI_VERSION = 1
    XENMM_MODE_NONE = 0
    XENMM_MODE_MASK = 1
    XENMM_MODE_OFFSET = 2
    XENMM_PAGE_SHIFT = 12
    XENMM_PAGE_INFO_SHIFT = 5    # log2 of sizeof(struct page_info) on x86-64
    XENMM_PDX_GROUP_SHIFT = 16
    XENMM_LOOKUP_ENTRIES = 64


# The boot parameters of one host. Write-once: const wherever a host hands it out. All counts are frames,
# all virtual limits half-open.
cdef struct xenmm_params:
    uint32_t abi_version
    uint32_t size                  # of the struct as its writer knew it, bytes
    uint32_t mode                  # XENMM_MODE_*
    uint32_t pfn_pdx_hole_shift    # mask: bits in the hole
    uint64_t pfn_pdx_bottom_mask   # mask: mfn bits below the hole
    uint64_t pfn_top_mask          # mask: mfn bits above the hole
    uint64_t pfn_hole_mask         # mask: mfn bits of the hole
    uint64_t ma_va_bottom_mask     # mask: maddr bits below the hole
    uint64_t ma_top_mask           # mask: maddr bits above the hole
    uint32_t pfn_index_shift       # offset: bits from an mfn to its slot
    uint32_t pdx_index_shift       # offset: bits from a pdx to its slot
    uint64_t pdx_region_size       # offset: frames
    uint64_t[64] pfn_pdx_lookup    # offset: subtracted from an mfn, modulo 2^64
    uint64_t[64] pdx_pfn_lookup    # offset: added to a pdx, modulo 2^64
    uint64_t[64] pfn_bases         # offset: first mfn of the slot's region; ~0 unused
    uint64_t max_page              # one past the last mfn
    uint64_t max_pdx               # one past the last pdx
    uint64_t pdx_group_count       # bits that pdx_group_valid holds
    const uint64_t *pdx_group_valid  # bit g % 64 of word g / 64: group g of 65,536 pdx is backed
    uint64_t directmap_virt_start
    uint64_t directmap_virt_end
    uint64_t frametable_virt_start
    uint64_t frametable_virt_end
    uint64_t rdwr_mpt_virt_start
    uint64_t rdwr_mpt_virt_end
    uint64_t ro_mpt_virt_start
    uint64_t rdwr_compat_mpt_virt_start
    uint64_t xen_virt_start
    uint64_t xen_virt_end
    uint64_t xen_phys_start
    uint64_t xen_image_bytes       # of the image's range; 0 when xen_phys_start is unknown


cdef inline const xenmm_params *xenmm_params_of(object capsule) except NULL:
    """The struct behind ``host.capsule``; hold the capsule (or the host) while it is in use."""
    cdef const xenmm_params *p = <const xenmm_params *>PyCapsule_GetPointer(capsule, "xenmm.xenmm_params")
    if p.abi_version != XENMM_ABI_VERSION or p.size < sizeof(xenmm_params):
        raise RuntimeError(
            f"the host's parameters have ABI {p.abi_version} and {p.size} bytes; "
            f"this module was built for ABI {<int>XENMM_ABI_VERSION} and {sizeof(xenmm_params)} bytes"
        )
    return p


# The primitives of each mode.

cdef inline uint64_t none_mfn_to_pdx(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return mfn


cdef inline uint64_t none_pdx_to_mfn(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    return pdx


cdef inline uint64_t none_maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    return maddr


cdef inline uint64_t none_directmapoff_to_maddr(const xenmm_params *p, uint64_t off) noexcept nogil:
    return off


cdef inline uint64_t mask_mfn_to_pdx(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return (mfn & p.pfn_pdx_bottom_mask) | ((mfn & p.pfn_top_mask) >> p.pfn_pdx_hole_shift)


cdef inline uint64_t mask_pdx_to_mfn(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    return (pdx & p.pfn_pdx_bottom_mask) | ((pdx << p.pfn_pdx_hole_shift) & p.pfn_top_mask)


cdef inline uint64_t mask_maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    return (maddr & p.ma_va_bottom_mask) | ((maddr & p.ma_top_mask) >> p.pfn_pdx_hole_shift)


cdef inline uint64_t mask_directmapoff_to_maddr(const xenmm_params *p, uint64_t off) noexcept nogil:
    return (off & p.ma_va_bottom_mask) | ((off << p.pfn_pdx_hole_shift) & p.ma_top_mask)


cdef inline uint64_t offset_mfn_to_pdx(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return mfn - p.pfn_pdx_lookup[(mfn >> p.pfn_index_shift) & 63]


cdef inline uint64_t offset_pdx_to_mfn(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    return pdx + p.pdx_pfn_lookup[(pdx >> p.pdx_index_shift) & 63]


cdef inline uint64_t offset_maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    cdef uint64_t mfn = maddr >> XENMM_PAGE_SHIFT
    return maddr - (p.pfn_pdx_lookup[(mfn >> p.pfn_index_shift) & 63] << XENMM_PAGE_SHIFT)


cdef inline uint64_t offset_directmapoff_to_maddr(const xenmm_params *p, uint64_t off) noexcept nogil:
    cdef uint64_t pdx = off >> XENMM_PAGE_SHIFT
    return off + (p.pdx_pfn_lookup[(pdx >> p.pdx_index_shift) & 63] << XENMM_PAGE_SHIFT)


# The frame can be compressed without loss: no bit in the hole; inside the region of its slot.

cdef inline bint none_mfn_compressible(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return True


cdef inline bint mask_mfn_compressible(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return (mfn & p.pfn_hole_mask) == 0


cdef inline bint offset_mfn_compressible(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    cdef uint64_t base = p.pfn_bases[(mfn >> p.pfn_index_shift) & 63]
    # Unused slots have base ~0, from which every smaller mfn is "past" by a wrapped distance.
    return mfn >= base and mfn - base < p.pdx_region_size


# What is the same in every mode.

cdef inline bint group_valid(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    cdef uint64_t group = pdx >> XENMM_PDX_GROUP_SHIFT
    # Groups past the bitmap are not backed.
    return group < p.pdx_group_count and ((p.pdx_group_valid[group >> 6] >> (group & 63)) & 1) != 0


cdef inline uint64_t page_to_virt(const xenmm_params *p, uint64_t page) noexcept nogil:
    # Without any mfn, as map_domain_page(page): 32 bytes a record and 4,096 a page, one multiplication.
    return (page - p.frametable_virt_start) * 128 + p.directmap_virt_start


cdef inline uint64_t pdx_to_page(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    return (pdx << XENMM_PAGE_INFO_SHIFT) + p.frametable_virt_start


cdef inline uint64_t page_to_pdx(const xenmm_params *p, uint64_t page) noexcept nogil:
    return (page - p.frametable_virt_start) >> XENMM_PAGE_INFO_SHIFT


cdef inline bint page_valid(const xenmm_params *p, uint64_t page) noexcept nogil:
    # A record of the frame table, at its start, below max_pdx, in a backed group.
    cdef uint64_t pdx = page_to_pdx(p, page)
    return ((page - p.frametable_virt_start) & 31) == 0 and pdx < p.max_pdx and group_valid(p, pdx)


cdef inline bint virt_in_image(const xenmm_params *p, uint64_t virt) noexcept nogil:
    # In the Xen image, when the boot was told where it lies: virt -> maddr is linear there.
    return virt - p.xen_virt_start < p.xen_image_bytes


cdef inline bint virt_in_directmap(const xenmm_params *p, uint64_t virt) noexcept nogil:
    return virt - p.directmap_virt_start < p.directmap_virt_end - p.directmap_virt_start


# Mode none.

cdef inline uint64_t none_mfn_to_page(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return pdx_to_page(p, none_mfn_to_pdx(p, mfn))


cdef inline uint64_t none_page_to_mfn(const xenmm_params *p, uint64_t page) noexcept nogil:
    return none_pdx_to_mfn(p, page_to_pdx(p, page))


cdef inline uint64_t none_maddr_to_virt(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    return none_maddr_to_directmapoff(p, maddr) + p.directmap_virt_start


cdef inline uint64_t none_virt_to_maddr(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if virt_in_image(p, virt):
        return virt - p.xen_virt_start + p.xen_phys_start
    return none_directmapoff_to_maddr(p, virt - p.directmap_virt_start)


cdef inline uint64_t none_mfn_to_virt(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return none_maddr_to_virt(p, mfn << XENMM_PAGE_SHIFT)


cdef inline uint64_t none_virt_to_mfn(const xenmm_params *p, uint64_t virt) noexcept nogil:
    return none_virt_to_maddr(p, virt) >> XENMM_PAGE_SHIFT


cdef inline uint64_t none_virt_to_page(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if virt_in_image(p, virt):
        return none_mfn_to_page(p, none_virt_to_mfn(p, virt))
    return pdx_to_page(p, (virt - p.directmap_virt_start) >> XENMM_PAGE_SHIFT)


cdef inline bint none_mfn_valid(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return mfn < p.max_page and none_mfn_compressible(p, mfn) and group_valid(p, none_mfn_to_pdx(p, mfn))


cdef inline bint none_mfn_in_directmap(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    # The frame has an address of its own inside the direct map's reserved range.
    return (none_mfn_compressible(p, mfn) and
            none_mfn_to_pdx(p, mfn) < (p.directmap_virt_end - p.directmap_virt_start) >> XENMM_PAGE_SHIFT)


# Mode mask.

cdef inline uint64_t mask_mfn_to_page(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return pdx_to_page(p, mask_mfn_to_pdx(p, mfn))


cdef inline uint64_t mask_page_to_mfn(const xenmm_params *p, uint64_t page) noexcept nogil:
    return mask_pdx_to_mfn(p, page_to_pdx(p, page))


cdef inline uint64_t mask_maddr_to_virt(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    return mask_maddr_to_directmapoff(p, maddr) + p.directmap_virt_start


cdef inline uint64_t mask_virt_to_maddr(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if virt_in_image(p, virt):
        return virt - p.xen_virt_start + p.xen_phys_start
    return mask_directmapoff_to_maddr(p, virt - p.directmap_virt_start)


cdef inline uint64_t mask_mfn_to_virt(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return mask_maddr_to_virt(p, mfn << XENMM_PAGE_SHIFT)


cdef inline uint64_t mask_virt_to_mfn(const xenmm_params *p, uint64_t virt) noexcept nogil:
    return mask_virt_to_maddr(p, virt) >> XENMM_PAGE_SHIFT


cdef inline uint64_t mask_virt_to_page(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if virt_in_image(p, virt):
        return mask_mfn_to_page(p, mask_virt_to_mfn(p, virt))
    return pdx_to_page(p, (virt - p.directmap_virt_start) >> XENMM_PAGE_SHIFT)


cdef inline bint mask_mfn_valid(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return mfn < p.max_page and mask_mfn_compressible(p, mfn) and group_valid(p, mask_mfn_to_pdx(p, mfn))


cdef inline bint mask_mfn_in_directmap(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    # The frame has an address of its own inside the direct map's reserved range.
    return (mask_mfn_compressible(p, mfn) and
            mask_mfn_to_pdx(p, mfn) < (p.directmap_virt_end - p.directmap_virt_start) >> XENMM_PAGE_SHIFT)


# Mode offset.

cdef inline uint64_t offset_mfn_to_page(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return pdx_to_page(p, offset_mfn_to_pdx(p, mfn))


cdef inline uint64_t offset_page_to_mfn(const xenmm_params *p, uint64_t page) noexcept nogil:
    return offset_pdx_to_mfn(p, page_to_pdx(p, page))


cdef inline uint64_t offset_maddr_to_virt(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    return offset_maddr_to_directmapoff(p, maddr) + p.directmap_virt_start


cdef inline uint64_t offset_virt_to_maddr(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if virt_in_image(p, virt):
        return virt - p.xen_virt_start + p.xen_phys_start
    return offset_directmapoff_to_maddr(p, virt - p.directmap_virt_start)


cdef inline uint64_t offset_mfn_to_virt(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return offset_maddr_to_virt(p, mfn << XENMM_PAGE_SHIFT)


cdef inline uint64_t offset_virt_to_mfn(const xenmm_params *p, uint64_t virt) noexcept nogil:
    return offset_virt_to_maddr(p, virt) >> XENMM_PAGE_SHIFT


cdef inline uint64_t offset_virt_to_page(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if virt_in_image(p, virt):
        return offset_mfn_to_page(p, offset_virt_to_mfn(p, virt))
    return pdx_to_page(p, (virt - p.directmap_virt_start) >> XENMM_PAGE_SHIFT)


cdef inline bint offset_mfn_valid(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    return mfn < p.max_page and offset_mfn_compressible(p, mfn) and group_valid(p, offset_mfn_to_pdx(p, mfn))


cdef inline bint offset_mfn_in_directmap(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    # The frame has an address of its own inside the direct map's reserved range.
    return (offset_mfn_compressible(p, mfn) and
            offset_mfn_to_pdx(p, mfn) < (p.directmap_virt_end - p.directmap_virt_start) >> XENMM_PAGE_SHIFT)


# Any mode: chosen by p.mode. Masks come last: with nothing removed they are the identity.

cdef inline uint64_t mfn_to_pdx(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_mfn_to_pdx(p, mfn)
    if p.mode == XENMM_MODE_NONE:
        return none_mfn_to_pdx(p, mfn)
    return mask_mfn_to_pdx(p, mfn)


cdef inline uint64_t pdx_to_mfn(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_pdx_to_mfn(p, pdx)
    if p.mode == XENMM_MODE_NONE:
        return none_pdx_to_mfn(p, pdx)
    return mask_pdx_to_mfn(p, pdx)


cdef inline uint64_t maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_maddr_to_directmapoff(p, maddr)
    if p.mode == XENMM_MODE_NONE:
        return none_maddr_to_directmapoff(p, maddr)
    return mask_maddr_to_directmapoff(p, maddr)


cdef inline uint64_t directmapoff_to_maddr(const xenmm_params *p, uint64_t off) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_directmapoff_to_maddr(p, off)
    if p.mode == XENMM_MODE_NONE:
        return none_directmapoff_to_maddr(p, off)
    return mask_directmapoff_to_maddr(p, off)


cdef inline uint64_t mfn_to_page(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_mfn_to_page(p, mfn)
    if p.mode == XENMM_MODE_NONE:
        return none_mfn_to_page(p, mfn)
    return mask_mfn_to_page(p, mfn)


cdef inline uint64_t page_to_mfn(const xenmm_params *p, uint64_t page) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_page_to_mfn(p, page)
    if p.mode == XENMM_MODE_NONE:
        return none_page_to_mfn(p, page)
    return mask_page_to_mfn(p, page)


cdef inline uint64_t maddr_to_virt(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_maddr_to_virt(p, maddr)
    if p.mode == XENMM_MODE_NONE:
        return none_maddr_to_virt(p, maddr)
    return mask_maddr_to_virt(p, maddr)


cdef inline uint64_t virt_to_maddr(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_virt_to_maddr(p, virt)
    if p.mode == XENMM_MODE_NONE:
        return none_virt_to_maddr(p, virt)
    return mask_virt_to_maddr(p, virt)


cdef inline uint64_t mfn_to_virt(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_mfn_to_virt(p, mfn)
    if p.mode == XENMM_MODE_NONE:
        return none_mfn_to_virt(p, mfn)
    return mask_mfn_to_virt(p, mfn)


cdef inline uint64_t virt_to_mfn(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_virt_to_mfn(p, virt)
    if p.mode == XENMM_MODE_NONE:
        return none_virt_to_mfn(p, virt)
    return mask_virt_to_mfn(p, virt)


cdef inline uint64_t virt_to_page(const xenmm_params *p, uint64_t virt) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_virt_to_page(p, virt)
    if p.mode == XENMM_MODE_NONE:
        return none_virt_to_page(p, virt)
    return mask_virt_to_page(p, virt)


cdef inline bint mfn_compressible(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_mfn_compressible(p, mfn)
    if p.mode == XENMM_MODE_NONE:
        return none_mfn_compressible(p, mfn)
    return mask_mfn_compressible(p, mfn)


cdef inline bint mfn_valid(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_mfn_valid(p, mfn)
    if p.mode == XENMM_MODE_NONE:
        return none_mfn_valid(p, mfn)
    return mask_mfn_valid(p, mfn)


cdef inline bint mfn_in_directmap(const xenmm_params *p, uint64_t mfn) noexcept nogil:
    if p.mode == XENMM_MODE_OFFSET:
        return offset_mfn_in_directmap(p, mfn)
    if p.mode == XENMM_MODE_NONE:
        return none_mfn_in_directmap(p, mfn)
    return mask_mfn_in_directmap(p, mfn)


cdef inline bint maddr_in_directmap(const xenmm_params *p, uint64_t maddr) noexcept nogil:
    return mfn_in_directmap(p, maddr >> XENMM_PAGE_SHIFT)
