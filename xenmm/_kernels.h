/* SPDX-License-Identifier: MIT */
/*
 * Conversions of whole arrays. The arithmetic is the text of xenmm.h; here it is applied to vectors.
 *
 * Each target (plain C, and x86-64-v2, -v3, -v4) has one table of loops; the processor's best is chosen
 * when the module loads, and xk_select() forces another, so that tests reach all of them.
 */
#ifndef XENMM_KERNELS_H
#define XENMM_KERNELS_H

#include "xenmm.h"

/* Words of the group bitmap that may be read, at the least. */
#define XK_BITMAP_WORDS_MIN 64

/* Each conversion by number: the row of its loops. */
enum {
    XK_MFN_TO_PDX,
    XK_PDX_TO_MFN,
    XK_MFN_TO_PAGE,
    XK_PAGE_TO_MFN,
    XK_MFN_TO_VIRT,
    XK_VIRT_TO_MFN,
    XK_MADDR_TO_VIRT,
    XK_VIRT_TO_MADDR,
    XK_PAGE_TO_VIRT,
    XK_VIRT_TO_PAGE,
    XK_PAGE_TO_MFN_TO_VIRT,
    XK_CONVERSIONS,
    XK_MFN_VALID = XK_CONVERSIONS
};

/*
 * The frozen struct, and behind it what the loops derive from it once, at the freeze. Of offset: a slot's frames
 * are [slot_start, slot_start + region_frames), of which the first slot_directmap_frames have their place
 * inside the direct map. Everything is kept below 2^63, so that the loops may test limits by the sign: what lies
 * above is left to the scalar text.
 */
typedef struct xk_plan {
    xenmm_params params;
    uint32_t offset_mode;      /* 0: the mask loops (identity is a mask with nothing removed), 1: offset */
    uint32_t few_slots;        /* offset: no slot of an mfn from 16 on is in use */
    uint32_t few_pdx_slots;    /* offset: no slot of a pdx from 16 on is in use */
    uint64_t directmap_limit;  /* mask: one past the last mfn inside the direct map; 0 when not certain */
    uint64_t region_frames;
    uint64_t slot_start[XENMM_LOOKUP_ENTRIES]; /* with the top bit inverted, so that 0 is an unused slot */
    uint64_t slot_directmap_frames[XENMM_LOOKUP_ENTRIES];
} xk_plan;

/* Fill what follows params. */
void xk_derive(xk_plan *plan);

/*
 * Convert n values; out may be in itself, and otherwise must not overlap it. Returns n, or with `checked`
 * the index of the first value outside the domain: out holds the results before it and nothing after.
 */
size_t xk_convert(const xk_plan *plan, int conversion, const uint64_t *in, uint64_t *out, size_t n,
                  int checked);

/* out[i] = mfn_valid(in[i]), one byte each. */
void xk_mfn_valid(const xk_plan *plan, const uint64_t *in, uint8_t *out, size_t n);

/* One value. */
uint64_t xk_convert_one(const xenmm_params *p, int conversion, uint64_t x);


/* The tables by number from the plainest: the name (NULL past the last), and whether this CPU runs it. */
const char *xk_name(int target);
int xk_runs_here(int target);
/* Choose a table; -1: the best that runs here. */
void xk_select(int target);
int xk_selected(void);

#endif /* XENMM_KERNELS_H */
