/* SPDX-License-Identifier: MIT */
#include "_kernels.h"

#include <string.h>

#if defined(__x86_64__)
#define XK_X86 1
#include <immintrin.h>
#else
#define XK_X86 0
#endif

/* Values at a time where two passes go over the same data: well inside the first cache. */
#define XK_CHUNK 512
/* Outputs from here on are stored past the caches: they would only push out what is needed. Bytes. */
#define XK_STREAM_FROM ((size_t)32 << 20)

typedef struct xk_loops {
    void (*convert[2][XK_CONVERSIONS])(const xk_plan *, const uint64_t *, uint64_t *, size_t, int stream);
    size_t (*domain[2][XK_CONVERSIONS])(const xk_plan *, const uint64_t *, size_t);
    size_t (*checked[XK_CONVERSIONS])(const xk_plan *, const uint64_t *, uint64_t *, size_t, int stream);
    void (*valid[2])(const xk_plan *, const uint64_t *, uint8_t *, size_t);
} xk_loops;

/* An aligned run of frames, or of pdx, [first, first + low], with one verdict of validity. */
typedef struct xk_run {
    uint64_t first;
    uint64_t low; /* 2^k - 1 */
    int verdict;
} xk_run;

static inline int xk_virt_known(const xenmm_params *p, uint64_t virt)
{
    return xenmm_virt_in_directmap(p, virt) || xenmm_virt_in_image(p, virt);
}

static inline int xk_pdx_valid(const xenmm_params *p, uint64_t pdx)
{
    return pdx < p->max_pdx && xenmm_group_valid(p, pdx);
}

/* Eight bits to eight bytes of 0 or 1: replicate, keep one bit a byte, and carry it to the byte's bit 0. */
static inline uint64_t xk_spread(uint32_t bits)
{
    const uint64_t kept = bits * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    return ((kept + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7) & UINT64_C(0x0101010101010101);
}

/* --- what is derived at the freeze ------------------------------------------------------------------ */

static uint64_t xk_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#define XK_TOP ((uint64_t)1 << 63)

/* Frames of the direct map. */
static uint64_t xk_directmap_pages(const xenmm_params *p)
{
    return (p->directmap_virt_end - p->directmap_virt_start) >> XENMM_PAGE_SHIFT;
}

/* bottom, hole and top, in this order, are all the bits, and the hole is as wide as the shift: then and only
 * then does compression keep the order of compressible frames. */
static int xk_masks_in_order(const xenmm_params *p)
{
    const uint64_t bottom = p->pfn_pdx_bottom_mask, hole = p->pfn_hole_mask;
    const uint64_t width = p->pfn_pdx_hole_shift;
    return (bottom & (bottom + 1)) == 0 && (bottom & hole) == 0 && p->pfn_top_mask == ~(bottom | hole) &&
           hole == (((uint64_t)1 << width) - 1) * (bottom + 1);
}

/* The kind of one more slot: that of an earlier slot with the same words, or a new one. */
static void xk_add_slot(xk_kinds *kinds, unsigned slot, uint64_t word, uint64_t start, uint64_t frames)
{
    uint32_t kind = 0;
    while (kind < kinds->count &&
           (kinds->words[XK_SUBTRACT][kind] != word || kinds->words[XK_START][kind] != start ||
            kinds->words[XK_DIRECTMAP_FRAMES][kind] != frames))
        kind++;
    if (kind == kinds->count)
        kinds->count++;
    kinds->words[XK_SUBTRACT][kind] = word;
    kinds->words[XK_START][kind] = start;
    kinds->words[XK_DIRECTMAP_FRAMES][kind] = frames;
    kinds->of_slot[slot] = (uint16_t)kind;
}

void xk_derive(xk_plan *plan)
{
    const xenmm_params *const p = &plan->params;
    const uint64_t pages = xk_directmap_pages(p);
    unsigned slot;

    plan->offset_mode = p->mode == XENMM_MODE_OFFSET;
    plan->directmap_limit = 0;
    if (pages != 0 && xk_masks_in_order(p)) {
        /* One limit judges all compressible frames. */
        const uint64_t last = xenmm_mask_pdx_to_mfn(p, pages - 1);
        if (xenmm_mask_mfn_to_pdx(p, last) == pages - 1 && last < XK_TOP)
            plan->directmap_limit = last + 1;
    }
    plan->region_frames = xk_least(p->pdx_region_size, XK_TOP);
    plan->of_mfn.count = plan->of_pdx.count = 0;
    for (slot = 0; slot < XENMM_LOOKUP_ENTRIES; slot++) {
        const uint64_t base = p->pfn_bases[slot], first_pdx = base - p->pfn_pdx_lookup[slot];
        const int used = base < XK_TOP;
        plan->slot_start[slot] = used ? base : XK_TOP;
        plan->slot_directmap_frames[slot] =
            used && first_pdx < pages ? xk_least(plan->region_frames, pages - first_pdx) : 0;
        xk_add_slot(&plan->of_mfn, slot, p->pfn_pdx_lookup[slot], plan->slot_start[slot],
                    plan->slot_directmap_frames[slot]);
        xk_add_slot(&plan->of_pdx, slot, p->pdx_pfn_lookup[slot], 0, 0);
    }
}

/* --- runs of one verdict ---------------------------------------------------------------------------- */

/* No run of frames of the direct map is longer than 2^this. */
#define XK_MAP_RUN_SHIFT 36
enum { XK_MIXED = -1 };

/*
 * The verdict functions judge [first, first + low] whole, where low is 2^k - 1 and first a multiple of 2^k:
 * 0, or 1, or XK_MIXED where the frames differ or it is not certain. 1 also promises that the conversion
 * only adds a constant all along.
 */

/* Whether masks leave the bits of low where they are, and bring no others there, in both directions. */
static int xk_mask_keeps(uint64_t bottom, uint64_t top, uint32_t shift, uint64_t low)
{
    return (bottom & low) == low && ((top | top >> shift) & low) == 0 && ((low << shift) & top) == 0;
}

/* The same of frames and of the byte addresses in them. */
static int xk_masks_keep(const xenmm_params *p, uint64_t low)
{
    return xk_mask_keeps(p->pfn_pdx_bottom_mask, p->pfn_top_mask, p->pfn_pdx_hole_shift, low) &&
           xk_mask_keeps(p->ma_va_bottom_mask, p->ma_top_mask, p->pfn_pdx_hole_shift,
                         low << XENMM_PAGE_SHIFT | (((uint64_t)1 << XENMM_PAGE_SHIFT) - 1));
}

/* Whether compression adds one constant all along, and all or none of the frames are compressible. */
static int xk_compressible_verdict(const xk_plan *plan, uint64_t first, uint64_t low)
{
    const xenmm_params *const p = &plan->params;
    if (p->mode == XENMM_MODE_OFFSET) {
        const uint64_t start = plan->slot_start[XENMM_SLOT(first, p->pfn_index_shift)];
        if ((((uint64_t)63 << p->pfn_index_shift) & low) != 0)
            return XK_MIXED;
        if (first + low < start || (first >= start && first - start >= plan->region_frames))
            return 0;
        return first >= start && first + low - start < plan->region_frames ? 1 : XK_MIXED;
    }
    if ((p->pfn_hole_mask & low) != 0 || !xk_masks_keep(p, low))
        return XK_MIXED;
    return (first & p->pfn_hole_mask) == 0;
}

static int xk_mfn_verdict(const xk_plan *plan, uint64_t first, uint64_t low)
{
    const xenmm_params *const p = &plan->params;
    uint64_t pdx;
    int compressible;

    if (first >= p->max_page)
        return 0;
    compressible = xk_compressible_verdict(plan, first, low);
    if (first + low >= p->max_page || compressible != 1)
        return first + low >= p->max_page ? XK_MIXED : compressible;
    pdx = xenmm_mfn_to_pdx(p, first);
    if ((pdx ^ (pdx + low)) >> XENMM_PDX_GROUP_SHIFT != 0)
        return XK_MIXED;
    return xenmm_group_valid(p, pdx);
}

/* Whether expansion adds one constant to all of the pdx. */
static int xk_expands_evenly(const xenmm_params *p, uint64_t low)
{
    if (p->mode == XENMM_MODE_OFFSET)
        return (((uint64_t)63 << p->pdx_index_shift) & low) == 0;
    return xk_masks_keep(p, low);
}

static int xk_pdx_verdict(const xk_plan *plan, uint64_t first, uint64_t low)
{
    const xenmm_params *const p = &plan->params;
    if (first >= p->max_pdx)
        return 0;
    if (first + low >= p->max_pdx || !xk_expands_evenly(p, low))
        return XK_MIXED;
    return xenmm_group_valid(p, first);
}

/* pdx of which the frames, too, compress evenly: what the way through the mfn needs. */
static int xk_round_verdict(const xk_plan *plan, uint64_t first, uint64_t low)
{
    const xenmm_params *const p = &plan->params;
    const int verdict = xk_pdx_verdict(plan, first, low);
    const uint64_t mfn = xenmm_pdx_to_mfn(p, first);
    /* Past 52 bits the mfn loses bits on its way through the maddr. */
    if (verdict == 1 && ((mfn & low) != 0 || (mfn + low) >> (64 - XENMM_PAGE_SHIFT) != 0 ||
                         xk_compressible_verdict(plan, mfn, low) != 1))
        return XK_MIXED;
    return verdict;
}

/* Frames that have their place in the direct map. */
static int xk_frame_verdict(const xk_plan *plan, uint64_t first, uint64_t low)
{
    const int verdict = xk_compressible_verdict(plan, first, low);
    const uint64_t pdx = xenmm_mfn_to_pdx(&plan->params, first), pages = xk_directmap_pages(&plan->params);
    /* A table may bring a frame anywhere: pdx + low may be past 2^64. */
    if (verdict == 1 && (low >= pages || pdx >= pages - low))
        return XK_MIXED;
    return verdict;
}

/* Pages of the direct map, counted from its start. */
static int xk_directmap_verdict(const xk_plan *plan, uint64_t first, uint64_t low)
{
    const xenmm_params *const p = &plan->params;
    const uint64_t virt = p->directmap_virt_start + (first << XENMM_PAGE_SHIFT);
    const uint64_t bytes = (low + 1) << XENMM_PAGE_SHIFT;
    const uint64_t maddr = xenmm_directmapoff_to_maddr(p, first << XENMM_PAGE_SHIFT);
    /* A maddr that wraps in the middle would give an mfn that does not. */
    if (first + low >= xk_directmap_pages(p) || !xk_expands_evenly(p, low) || maddr + (bytes - 1) < maddr)
        return XK_MIXED;
    /* Should the image overlap the direct map, its own rule comes first. */
    if (p->xen_virt_start - virt < bytes || virt - p->xen_virt_start < p->xen_image_bytes)
        return XK_MIXED;
    return 1;
}

/* The largest run around a value whose verdict is certain, of at most 2^top; alone, a value counts as bad. */
#define XK_FIND_RUN(name, verdict_of, top)                                                               \
    static xk_run name(const xk_plan *plan, uint64_t value)                                              \
    {                                                                                                    \
        xk_run run = {value, 0, 0};                                                                      \
        int k;                                                                                           \
        for (k = (top); k > 0; k -= 4) {                                                                 \
            const uint64_t low = ((uint64_t)1 << k) - 1;                                                 \
            const int verdict = verdict_of(plan, value & ~low, low);                                     \
            if (verdict != XK_MIXED) {                                                                   \
                run.first = value & ~low;                                                                \
                run.low = low;                                                                           \
                run.verdict = verdict;                                                                   \
                break;                                                                                   \
            }                                                                                            \
        }                                                                                                \
        return run;                                                                                      \
    }

XK_FIND_RUN(xk_mfn_run_of_many, xk_mfn_verdict, XENMM_PDX_GROUP_SHIFT)
XK_FIND_RUN(xk_pdx_run, xk_pdx_verdict, XENMM_PDX_GROUP_SHIFT)
XK_FIND_RUN(xk_round_run, xk_round_verdict, XENMM_PDX_GROUP_SHIFT)
XK_FIND_RUN(xk_frame_run, xk_frame_verdict, XK_MAP_RUN_SHIFT)
XK_FIND_RUN(xk_directmap_run, xk_directmap_verdict, XK_MAP_RUN_SHIFT)

static xk_run xk_mfn_run(const xk_plan *plan, uint64_t mfn)
{
    xk_run run = xk_mfn_run_of_many(plan, mfn);
    /* Where verdicts are written out, that of a single frame must be its own. */
    if (run.low == 0)
        run.verdict = xenmm_mfn_valid(&plan->params, mfn);
    return run;
}

/* --- the loops, once a target ----------------------------------------------------------------------- */

#define XK(name) plain_##name
#define XK_TARGET
#define XK_BYTES 8
#include "_kernels_loops.h"
#undef XK
#undef XK_TARGET
#undef XK_BYTES

#if XK_X86
#define XK(name) v2_##name
#define XK_TARGET __attribute__((target("sse4.2,popcnt")))
#define XK_BYTES 16
#include "_kernels_loops.h"
#undef XK
#undef XK_TARGET
#undef XK_BYTES

#define XK(name) v3_##name
#define XK_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define XK_BYTES 32
#include "_kernels_loops.h"
#undef XK
#undef XK_TARGET
#undef XK_BYTES

#define XK(name) v4_##name
#define XK_TARGET                                                                                        \
    __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")))
#define XK_BYTES 64
#include "_kernels_loops.h"
#undef XK
#undef XK_TARGET
#undef XK_BYTES
#endif

/* --- the tables ------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const xk_loops *loops;
} xk_targets[] = {
    {"plain", &plain_loops},
#if XK_X86
    {"v2", &v2_loops},
    {"v3", &v3_loops},
    {"v4", &v4_loops},
#endif
};
enum { XK_TARGETS = sizeof xk_targets / sizeof xk_targets[0] };

static int xk_target = 0;

const char *xk_name(int target)
{
    return target >= 0 && target < XK_TARGETS ? xk_targets[target].name : NULL;
}

int xk_runs_here(int target)
{
#if XK_X86
    __builtin_cpu_init();
    switch (target) {
    case 1:
        return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    case 2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2");
    case 3:
        return xk_runs_here(2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    default:
        break;
    }
#endif
    return target == 0;
}

void xk_select(int target)
{
    if (target < 0)
        for (target = XK_TARGETS - 1; !xk_runs_here(target); target--)
            ;
    xk_target = target;
}

int xk_selected(void)
{
    return xk_target;
}

/* --- whole arrays ----------------------------------------------------------------------------------- */

/* The conversions whose input may lie in the Xen image, which the loops know nothing of. */
static int xk_takes_virt(int conversion)
{
    return conversion == XK_VIRT_TO_MFN || conversion == XK_VIRT_TO_MADDR || conversion == XK_VIRT_TO_PAGE;
}

static int xk_any_in_image(const xenmm_params *p, const uint64_t *in, size_t n)
{
    uint64_t any = 0;
    size_t i;
    for (i = 0; i < n; i++)
        any |= (uint64_t)xenmm_virt_in_image(p, in[i]);
    return any != 0;
}

static void xk_convert_chunk(const xk_plan *plan, int conversion, const uint64_t *in, uint64_t *out, size_t n,
                             int stream)
{
    const xenmm_params *const p = &plan->params;
    size_t i;
    if (p->xen_image_bytes != 0 && xk_takes_virt(conversion) && xk_any_in_image(p, in, n)) {
        for (i = 0; i < n; i++)
            out[i] = xk_convert_one(p, conversion, in[i]);
        return;
    }
    xk_targets[xk_target].loops->convert[plan->offset_mode][conversion](plan, in, out, n, stream);
}

/* Two passes over values that are no neighbours, or that the loop of neighbours stopped at. */
static size_t xk_check_chunk(const xk_plan *plan, int conversion, const uint64_t *in, uint64_t *out, size_t n,
                             int stream)
{
    const size_t fit =
        xk_targets[xk_target].loops->domain[plan->offset_mode][conversion](plan, in, n);
    xk_convert_chunk(plan, conversion, in, out, fit, stream);
    return fit;
}

/* Values from out to its next cache line, so that chunks begin where stores are whole. */
static size_t xk_ragged(const uint64_t *out)
{
    return (64 - ((uintptr_t)out & 63)) % 64 / sizeof *out;
}

static size_t xk_convert_checked(const xk_plan *plan, int conversion, const uint64_t *in, uint64_t *out,
                                 size_t n, int stream)
{
    const xk_loops *const loops = xk_targets[xk_target].loops;
    size_t i = 0, chunk = xk_least(n, xk_ragged(out));
    for (;;) {
        if (chunk != 0) {
            const size_t fit = xk_check_chunk(plan, conversion, in + i, out + i, chunk, stream);
            i += fit;
            if (fit < chunk)
                return i;
        }
        if (i == n)
            return i;
        i += loops->checked[conversion](plan, in + i, out + i, n - i, stream);
        chunk = xk_least(n - i, XK_CHUNK);
    }
}

size_t xk_convert(const xk_plan *plan, int conversion, const uint64_t *in, uint64_t *out, size_t n,
                  int checked)
{
    const int stream = in != out && n >= XK_STREAM_FROM / sizeof *out;
    size_t i, good = n;

    if (checked) {
        good = xk_convert_checked(plan, conversion, in, out, n, stream);
    } else if (plan->params.xen_image_bytes != 0 && xk_takes_virt(conversion)) {
        size_t chunk = xk_least(n, xk_ragged(out));
        for (i = 0; i < n; i += chunk, chunk = xk_least(n - i, XK_CHUNK))
            xk_convert_chunk(plan, conversion, in + i, out + i, chunk, stream);
    } else {
        xk_targets[xk_target].loops->convert[plan->offset_mode][conversion](plan, in, out, n, stream);
    }
#if XK_X86
    if (stream)
        _mm_sfence();
#endif
    return good;
}

void xk_mfn_valid(const xk_plan *plan, const uint64_t *in, uint8_t *out, size_t n)
{
    size_t i;
    if (plan->params.max_page <= (uint64_t)1 << 63) {
        xk_targets[xk_target].loops->valid[plan->offset_mode](plan, in, out, n);
        return;
    }
    /* The loops judge by the sign; with frames past 2^63 in question only this is exact. */
    for (i = 0; i < n; i++)
        out[i] = (uint8_t)xenmm_mfn_valid(&plan->params, in[i]);
}

/* --- one value --------------------------------------------------------------------------------------- */

uint64_t xk_convert_one(const xenmm_params *p, int conversion, uint64_t x)
{
    switch (conversion) {
    case XK_MFN_TO_PDX:
        return xenmm_mfn_to_pdx(p, x);
    case XK_PDX_TO_MFN:
        return xenmm_pdx_to_mfn(p, x);
    case XK_MFN_TO_PAGE:
        return xenmm_mfn_to_page(p, x);
    case XK_PAGE_TO_MFN:
        return xenmm_page_to_mfn(p, x);
    case XK_MFN_TO_VIRT:
        return xenmm_mfn_to_virt(p, x);
    case XK_VIRT_TO_MFN:
        return xenmm_virt_to_mfn(p, x);
    case XK_MADDR_TO_VIRT:
        return xenmm_maddr_to_virt(p, x);
    case XK_VIRT_TO_MADDR:
        return xenmm_virt_to_maddr(p, x);
    case XK_PAGE_TO_VIRT:
        return xenmm_page_to_virt(p, x);
    case XK_VIRT_TO_PAGE:
        return xenmm_virt_to_page(p, x);
    case XK_PAGE_TO_MFN_TO_VIRT:
        return xenmm_mfn_to_virt(p, xenmm_page_to_mfn(p, x));
    default:
        return (uint64_t)xenmm_mfn_valid(p, x);
    }
}
