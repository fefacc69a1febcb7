/* SPDX-License-Identifier: MIT */
/*
 * xenmm.h: frames, pages and addresses of a booted host, converted inline.
 *
 * The C and C++ text of the arithmetic whose Cython text is xenmm/__init__.pxd; a test holds both to
 * one file of vectors. C99 or C++11, self-contained, nothing to link.
 *
 * Words (all uint64_t):
 *   mfn    machine frame number: maddr >> 12
 *   pdx    index into the frame table: the mfn with the compressible part taken out
 *   page   address of a page_info record, 32 bytes each, in the frame table
 *   maddr  machine address, bytes
 *   virt   hypervisor virtual address in the direct map
 *   off    byte offset into the direct map
 *
 * Every conversion is the bare formula modulo 2^64 and judges nothing; only xenmm_mfn_valid() and the
 * xenmm_*_in_directmap() and xenmm_page_valid() predicates judge, and take any 64-bit value.
 * Functions named xenmm_none_*, xenmm_mask_* and xenmm_offset_* serve one mode of compression and do
 * not look at `mode`; those without a mode's name choose by it.
 *
 * Sources of the rules: Xen c447b7308b, xen/include/xen/pdx.h (pfn_to_pdx_xlate and its kin, both modes),
 * xen/arch/x86/include/asm/x86_64/page.h (the direct map and the frame table), xen/common/pdx.c (mfn_valid).
 */
#ifndef XENMM_H
#define XENMM_H

#include <stddef.h>
#include <stdint.h>

/* Raised when the meaning of a field changes. Fields are only ever appended, which `size` tells. */
#define XENMM_ABI_VERSION 1u
/* Name of the PyCapsule that carries a `const xenmm_params *`. */
#define XENMM_CAPSULE_NAME "xenmm.xenmm_params"

#define XENMM_MODE_NONE 0u
#define XENMM_MODE_MASK 1u
#define XENMM_MODE_OFFSET 2u

#define XENMM_PAGE_SHIFT 12
#define XENMM_PAGE_INFO_SHIFT 5 /* log2 of sizeof(struct page_info) on x86-64 */
#define XENMM_PDX_GROUP_SHIFT 16
#define XENMM_LOOKUP_ENTRIES 64

/* The boot parameters of one host. Write-once: const wherever a host hands it out. */
typedef struct xenmm_params {
    uint32_t abi_version;
    uint32_t size; /* of the struct as its writer knew it, bytes */
    uint32_t mode; /* XENMM_MODE_* */
    uint32_t pfn_pdx_hole_shift;   /* mask: bits in the hole */
    uint64_t pfn_pdx_bottom_mask;  /* mask: mfn bits below the hole */
    uint64_t pfn_top_mask;         /* mask: mfn bits above the hole */
    uint64_t pfn_hole_mask;        /* mask: mfn bits of the hole */
    uint64_t ma_va_bottom_mask;    /* mask: maddr bits below the hole */
    uint64_t ma_top_mask;          /* mask: maddr bits above the hole */
    uint32_t pfn_index_shift;      /* offset: bits from an mfn to its slot */
    uint32_t pdx_index_shift;      /* offset: bits from a pdx to its slot */
    uint64_t pdx_region_size;      /* offset: frames */
    uint64_t pfn_pdx_lookup[XENMM_LOOKUP_ENTRIES]; /* offset: subtracted from an mfn, modulo 2^64 */
    uint64_t pdx_pfn_lookup[XENMM_LOOKUP_ENTRIES]; /* offset: added to a pdx, modulo 2^64 */
    uint64_t pfn_bases[XENMM_LOOKUP_ENTRIES];      /* offset: first mfn of the slot's region; ~0 unused */
    uint64_t max_page;             /* one past the last mfn */
    uint64_t max_pdx;              /* one past the last pdx */
    uint64_t pdx_group_count;      /* bits that pdx_group_valid holds */
    const uint64_t *pdx_group_valid; /* bit g % 64 of word g / 64: group g of 65,536 pdx is backed */
    uint64_t directmap_virt_start;
    uint64_t directmap_virt_end;
    uint64_t frametable_virt_start;
    uint64_t frametable_virt_end;
    uint64_t rdwr_mpt_virt_start;
    uint64_t rdwr_mpt_virt_end;
    uint64_t ro_mpt_virt_start;
    uint64_t rdwr_compat_mpt_virt_start;
    uint64_t xen_virt_start;
    uint64_t xen_virt_end;
    uint64_t xen_phys_start;
    uint64_t xen_image_bytes;      /* of the image's range; 0 when xen_phys_start is unknown */
} xenmm_params;

/*
 * The formulas themselves, once for uint64_t and for vectors of it (arguments are used more than once
 * and must have no effects). `shift` and the masks are those of mfns, or of maddrs, or swapped:
 *
 *    mfn  | top     | hole    | bottom |        compress:  keep bottom, move top down over the hole
 *    pdx  |   0   | top     | bottom   |        expand:    keep bottom, move top up again
 */
#define XENMM_MASK_COMPRESS(x, bottom, top, shift) (((x) & (bottom)) | (((x) & (top)) >> (shift)))
#define XENMM_MASK_EXPAND(x, bottom, top, shift) (((x) & (bottom)) | (((x) << (shift)) & (top)))
#define XENMM_PDX_TO_PAGE(pdx, frametable) (((pdx) << XENMM_PAGE_INFO_SHIFT) + (frametable))
#define XENMM_PAGE_TO_PDX(page, frametable) (((page) - (frametable)) >> XENMM_PAGE_INFO_SHIFT)
/* 32 bytes a record and 4,096 a page: one multiplication, as Xen's __page_to_virt() does it. */
#define XENMM_PAGE_TO_VIRT(page, frametable, directmap) (((page) - (frametable)) * 128 + (directmap))
#define XENMM_SLOT(frame, shift) (((frame) >> (shift)) & (XENMM_LOOKUP_ENTRIES - 1))

/* Four primitives a mode. */

static inline uint64_t xenmm_none_mfn_to_pdx(const xenmm_params *p, uint64_t mfn)
{
    (void)p;
    return mfn;
}

static inline uint64_t xenmm_none_pdx_to_mfn(const xenmm_params *p, uint64_t pdx)
{
    (void)p;
    return pdx;
}

static inline uint64_t xenmm_none_maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr)
{
    (void)p;
    return maddr;
}

static inline uint64_t xenmm_none_directmapoff_to_maddr(const xenmm_params *p, uint64_t off)
{
    (void)p;
    return off;
}

static inline uint64_t xenmm_mask_mfn_to_pdx(const xenmm_params *p, uint64_t mfn)
{
    return XENMM_MASK_COMPRESS(mfn, p->pfn_pdx_bottom_mask, p->pfn_top_mask, p->pfn_pdx_hole_shift);
}

static inline uint64_t xenmm_mask_pdx_to_mfn(const xenmm_params *p, uint64_t pdx)
{
    return XENMM_MASK_EXPAND(pdx, p->pfn_pdx_bottom_mask, p->pfn_top_mask, p->pfn_pdx_hole_shift);
}

static inline uint64_t xenmm_mask_maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr)
{
    return XENMM_MASK_COMPRESS(maddr, p->ma_va_bottom_mask, p->ma_top_mask, p->pfn_pdx_hole_shift);
}

static inline uint64_t xenmm_mask_directmapoff_to_maddr(const xenmm_params *p, uint64_t off)
{
    return XENMM_MASK_EXPAND(off, p->ma_va_bottom_mask, p->ma_top_mask, p->pfn_pdx_hole_shift);
}

static inline uint64_t xenmm_offset_mfn_to_pdx(const xenmm_params *p, uint64_t mfn)
{
    return mfn - p->pfn_pdx_lookup[XENMM_SLOT(mfn, p->pfn_index_shift)];
}

static inline uint64_t xenmm_offset_pdx_to_mfn(const xenmm_params *p, uint64_t pdx)
{
    return pdx + p->pdx_pfn_lookup[XENMM_SLOT(pdx, p->pdx_index_shift)];
}

static inline uint64_t xenmm_offset_maddr_to_directmapoff(const xenmm_params *p, uint64_t maddr)
{
    const uint64_t mfn = maddr >> XENMM_PAGE_SHIFT;
    return maddr - (p->pfn_pdx_lookup[XENMM_SLOT(mfn, p->pfn_index_shift)] << XENMM_PAGE_SHIFT);
}

static inline uint64_t xenmm_offset_directmapoff_to_maddr(const xenmm_params *p, uint64_t off)
{
    const uint64_t pdx = off >> XENMM_PAGE_SHIFT;
    return off + (p->pdx_pfn_lookup[XENMM_SLOT(pdx, p->pdx_index_shift)] << XENMM_PAGE_SHIFT);
}

/* The frame can be compressed without loss: no bit in the hole; inside the region of its slot. */

static inline int xenmm_none_mfn_compressible(const xenmm_params *p, uint64_t mfn)
{
    (void)p;
    (void)mfn;
    return 1;
}

static inline int xenmm_mask_mfn_compressible(const xenmm_params *p, uint64_t mfn)
{
    return (mfn & p->pfn_hole_mask) == 0;
}

static inline int xenmm_offset_mfn_compressible(const xenmm_params *p, uint64_t mfn)
{
    const uint64_t base = p->pfn_bases[XENMM_SLOT(mfn, p->pfn_index_shift)];
    /* Unused slots have base ~0, from which every smaller mfn is "past" by a wrapped distance. */
    return mfn >= base && mfn - base < p->pdx_region_size;
}

/* The group's bit; groups past the bitmap are not backed. */
static inline int xenmm_group_valid(const xenmm_params *p, uint64_t pdx)
{
    const uint64_t group = pdx >> XENMM_PDX_GROUP_SHIFT;
    return group < p->pdx_group_count && ((p->pdx_group_valid[group >> 6] >> (group & 63)) & 1) != 0;
}

/* page -> virt without any mfn: what map_domain_page(page) does. The same in every mode. */
static inline uint64_t xenmm_page_to_virt(const xenmm_params *p, uint64_t page)
{
    return XENMM_PAGE_TO_VIRT(page, p->frametable_virt_start, p->directmap_virt_start);
}

static inline uint64_t xenmm_pdx_to_page(const xenmm_params *p, uint64_t pdx)
{
    return XENMM_PDX_TO_PAGE(pdx, p->frametable_virt_start);
}

static inline uint64_t xenmm_page_to_pdx(const xenmm_params *p, uint64_t page)
{
    return XENMM_PAGE_TO_PDX(page, p->frametable_virt_start);
}

/* A record of the frame table, at its start, below max_pdx, in a backed group. */
static inline int xenmm_page_valid(const xenmm_params *p, uint64_t page)
{
    const uint64_t pdx = xenmm_page_to_pdx(p, page);
    return ((page - p->frametable_virt_start) & 31) == 0 && pdx < p->max_pdx && xenmm_group_valid(p, pdx);
}

/* In the Xen image, when the boot was told where it lies: then virt -> maddr is linear there. */
static inline int xenmm_virt_in_image(const xenmm_params *p, uint64_t virt)
{
    return virt - p->xen_virt_start < p->xen_image_bytes;
}

static inline int xenmm_virt_in_directmap(const xenmm_params *p, uint64_t virt)
{
    return virt - p->directmap_virt_start < p->directmap_virt_end - p->directmap_virt_start;
}

/*
 * XENMM_DEFINE_MODE(mode) defines, for none, mask and offset:
 *   xenmm_<mode>_mfn_to_page, xenmm_<mode>_page_to_mfn, xenmm_<mode>_maddr_to_virt,
 *   xenmm_<mode>_virt_to_maddr, xenmm_<mode>_mfn_to_virt, xenmm_<mode>_virt_to_mfn,
 *   xenmm_<mode>_virt_to_page, xenmm_<mode>_mfn_valid, xenmm_<mode>_mfn_in_directmap
 */
#define XENMM_DEFINE_MODE(mode)                                                                          \
    static inline uint64_t xenmm_##mode##_mfn_to_page(const xenmm_params *p, uint64_t mfn)               \
    {                                                                                                    \
        return xenmm_pdx_to_page(p, xenmm_##mode##_mfn_to_pdx(p, mfn));                                  \
    }                                                                                                    \
                                                                                                         \
    static inline uint64_t xenmm_##mode##_page_to_mfn(const xenmm_params *p, uint64_t page)              \
    {                                                                                                    \
        return xenmm_##mode##_pdx_to_mfn(p, xenmm_page_to_pdx(p, page));                                 \
    }                                                                                                    \
                                                                                                         \
    static inline uint64_t xenmm_##mode##_maddr_to_virt(const xenmm_params *p, uint64_t maddr)           \
    {                                                                                                    \
        return xenmm_##mode##_maddr_to_directmapoff(p, maddr) + p->directmap_virt_start;                 \
    }                                                                                                    \
                                                                                                         \
    static inline uint64_t xenmm_##mode##_virt_to_maddr(const xenmm_params *p, uint64_t virt)            \
    {                                                                                                    \
        if (xenmm_virt_in_image(p, virt))                                                                \
            return virt - p->xen_virt_start + p->xen_phys_start;                                         \
        return xenmm_##mode##_directmapoff_to_maddr(p, virt - p->directmap_virt_start);                  \
    }                                                                                                    \
                                                                                                         \
    static inline uint64_t xenmm_##mode##_mfn_to_virt(const xenmm_params *p, uint64_t mfn)               \
    {                                                                                                    \
        return xenmm_##mode##_maddr_to_virt(p, mfn << XENMM_PAGE_SHIFT);                                 \
    }                                                                                                    \
                                                                                                         \
    static inline uint64_t xenmm_##mode##_virt_to_mfn(const xenmm_params *p, uint64_t virt)              \
    {                                                                                                    \
        return xenmm_##mode##_virt_to_maddr(p, virt) >> XENMM_PAGE_SHIFT;                                \
    }                                                                                                    \
                                                                                                         \
    static inline uint64_t xenmm_##mode##_virt_to_page(const xenmm_params *p, uint64_t virt)             \
    {                                                                                                    \
        if (xenmm_virt_in_image(p, virt))                                                                \
            return xenmm_##mode##_mfn_to_page(p, xenmm_##mode##_virt_to_mfn(p, virt));                   \
        return xenmm_pdx_to_page(p, (virt - p->directmap_virt_start) >> XENMM_PAGE_SHIFT);               \
    }                                                                                                    \
                                                                                                         \
    static inline int xenmm_##mode##_mfn_valid(const xenmm_params *p, uint64_t mfn)                      \
    {                                                                                                    \
        return mfn < p->max_page && xenmm_##mode##_mfn_compressible(p, mfn) &&                           \
               xenmm_group_valid(p, xenmm_##mode##_mfn_to_pdx(p, mfn));                                  \
    }                                                                                                    \
                                                                                                         \
    /* The frame has an address of its own inside the direct map's reserved range. */                    \
    static inline int xenmm_##mode##_mfn_in_directmap(const xenmm_params *p, uint64_t mfn)               \
    {                                                                                                    \
        return xenmm_##mode##_mfn_compressible(p, mfn) &&                                                \
               xenmm_##mode##_mfn_to_pdx(p, mfn) <                                                       \
                   (p->directmap_virt_end - p->directmap_virt_start) >> XENMM_PAGE_SHIFT;                \
    }

XENMM_DEFINE_MODE(none)
XENMM_DEFINE_MODE(mask)
XENMM_DEFINE_MODE(offset)

/*
 * XENMM_DEFINE_GENERIC(type, name) defines xenmm_<name>, which chooses by the mode. Masks come last:
 * with nothing removed they are the identity, and an unknown mode gives no wild read.
 */
#define XENMM_DEFINE_GENERIC(type, name)                                                                 \
    static inline type xenmm_##name(const xenmm_params *p, uint64_t x)                                   \
    {                                                                                                    \
        if (p->mode == XENMM_MODE_OFFSET)                                                                \
            return xenmm_offset_##name(p, x);                                                            \
        if (p->mode == XENMM_MODE_NONE)                                                                  \
            return xenmm_none_##name(p, x);                                                              \
        return xenmm_mask_##name(p, x);                                                                  \
    }

XENMM_DEFINE_GENERIC(uint64_t, mfn_to_pdx)
XENMM_DEFINE_GENERIC(uint64_t, pdx_to_mfn)
XENMM_DEFINE_GENERIC(uint64_t, maddr_to_directmapoff)
XENMM_DEFINE_GENERIC(uint64_t, directmapoff_to_maddr)
XENMM_DEFINE_GENERIC(uint64_t, mfn_to_page)
XENMM_DEFINE_GENERIC(uint64_t, page_to_mfn)
XENMM_DEFINE_GENERIC(uint64_t, maddr_to_virt)
XENMM_DEFINE_GENERIC(uint64_t, virt_to_maddr)
XENMM_DEFINE_GENERIC(uint64_t, mfn_to_virt)
XENMM_DEFINE_GENERIC(uint64_t, virt_to_mfn)
XENMM_DEFINE_GENERIC(uint64_t, virt_to_page)
XENMM_DEFINE_GENERIC(int, mfn_compressible)
XENMM_DEFINE_GENERIC(int, mfn_valid)
XENMM_DEFINE_GENERIC(int, mfn_in_directmap)

static inline int xenmm_maddr_in_directmap(const xenmm_params *p, uint64_t maddr)
{
    return xenmm_mfn_in_directmap(p, maddr >> XENMM_PAGE_SHIFT);
}

/*
 * Why a checked conversion refuses. Each names the limit that was broken, as the Python methods' messages do,
 * and which conversions return it.
 */
typedef enum xenmm_err {
    XENMM_OK = 0,
    XENMM_ERR_MAX_PAGE,   /* mfn not below max_page: mfn_to_pdx, mfn_to_page */
    XENMM_ERR_HOLE,       /* in the hole, or outside its region: mfn_to_* and maddr_to_virt */
    XENMM_ERR_GROUP,      /* group not backed: mfn_to_pdx, mfn_to_page, pdx_to_mfn, page_to_* */
    XENMM_ERR_MAX_PDX,    /* pdx not below max_pdx: pdx_to_mfn */
    XENMM_ERR_FRAMETABLE, /* page outside the frame table: page_to_mfn, page_to_virt */
    XENMM_ERR_RECORD,     /* page not at the start of a record: page_to_mfn, page_to_virt */
    XENMM_ERR_DIRECTMAP   /* past the direct map, or not in it: mfn_to_virt, maddr_to_virt, virt_to_* */
} xenmm_err;

static inline const char *xenmm_strerror(xenmm_err error)
{
    switch (error) {
    case XENMM_OK:
        return "no error";
    case XENMM_ERR_MAX_PAGE:
        return "the frame is not below max_page";
    case XENMM_ERR_HOLE:
        return "the frame is in the hole that compression takes out, or outside its region";
    case XENMM_ERR_GROUP:
        return "the frame's group of 65,536 pages is not backed";
    case XENMM_ERR_MAX_PDX:
        return "the pdx is not below max_pdx";
    case XENMM_ERR_FRAMETABLE:
        return "the page is outside the frame table";
    case XENMM_ERR_RECORD:
        return "the page is not the start of a page_info record";
    case XENMM_ERR_DIRECTMAP:
        return "the address is outside the direct map";
    }
    return "unknown error";
}

/* What the checked conversions ask, by what they take. */

static inline xenmm_err xenmm_mfn_error(const xenmm_params *p, uint64_t mfn)
{
    if (mfn >= p->max_page)
        return XENMM_ERR_MAX_PAGE;
    if (!xenmm_mfn_compressible(p, mfn))
        return XENMM_ERR_HOLE;
    return xenmm_group_valid(p, xenmm_mfn_to_pdx(p, mfn)) ? XENMM_OK : XENMM_ERR_GROUP;
}

static inline xenmm_err xenmm_pdx_error(const xenmm_params *p, uint64_t pdx)
{
    if (pdx >= p->max_pdx)
        return XENMM_ERR_MAX_PDX;
    return xenmm_group_valid(p, pdx) ? XENMM_OK : XENMM_ERR_GROUP;
}

static inline xenmm_err xenmm_page_error(const xenmm_params *p, uint64_t page)
{
    if (xenmm_page_to_pdx(p, page) >= p->max_pdx)
        return XENMM_ERR_FRAMETABLE;
    if (((page - p->frametable_virt_start) & 31) != 0)
        return XENMM_ERR_RECORD;
    return xenmm_page_valid(p, page) ? XENMM_OK : XENMM_ERR_GROUP;
}

static inline xenmm_err xenmm_directmap_error(const xenmm_params *p, uint64_t mfn)
{
    if (!xenmm_mfn_compressible(p, mfn))
        return XENMM_ERR_HOLE;
    return xenmm_mfn_in_directmap(p, mfn) ? XENMM_OK : XENMM_ERR_DIRECTMAP;
}

static inline xenmm_err xenmm_virt_error(const xenmm_params *p, uint64_t virt)
{
    const int known = xenmm_virt_in_directmap(p, virt) || xenmm_virt_in_image(p, virt);
    return known ? XENMM_OK : XENMM_ERR_DIRECTMAP;
}

/*
 * XENMM_DEFINE_CHECKED(name, why) defines xenmm_<name>_checked(p, x, out): XENMM_OK and *out written when the
 * conversion is defined, else the limit that x breaks and *out left alone. The domains are those of the
 * Python methods of the same names.
 */
#define XENMM_DEFINE_CHECKED(name, why)                                                                  \
    static inline xenmm_err xenmm_##name##_checked(const xenmm_params *p, uint64_t x, uint64_t *out)     \
    {                                                                                                    \
        const xenmm_err error = (why);                                                                   \
        if (error == XENMM_OK)                                                                           \
            *out = xenmm_##name(p, x);                                                                   \
        return error;                                                                                    \
    }

XENMM_DEFINE_CHECKED(mfn_to_pdx, xenmm_mfn_error(p, x))
XENMM_DEFINE_CHECKED(pdx_to_mfn, xenmm_pdx_error(p, x))
XENMM_DEFINE_CHECKED(mfn_to_page, xenmm_mfn_error(p, x))
XENMM_DEFINE_CHECKED(page_to_mfn, xenmm_page_error(p, x))
XENMM_DEFINE_CHECKED(page_to_virt, xenmm_page_error(p, x))
XENMM_DEFINE_CHECKED(mfn_to_virt, xenmm_directmap_error(p, x))
XENMM_DEFINE_CHECKED(maddr_to_virt, xenmm_directmap_error(p, x >> XENMM_PAGE_SHIFT))
XENMM_DEFINE_CHECKED(virt_to_mfn, xenmm_virt_error(p, x))
XENMM_DEFINE_CHECKED(virt_to_maddr, xenmm_virt_error(p, x))
XENMM_DEFINE_CHECKED(virt_to_page, xenmm_virt_error(p, x))

#endif /* XENMM_H */
