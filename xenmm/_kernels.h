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
 * The 64 slots of a table by kind: slots that agree in all words are of one kind. A machine has a slot for each
 * region of its memory, and one kind for all that are unused, so a table by kind fits in a register or two where
 * one by slot takes eight.
 */
enum { XK_SUBTRACT, XK_START, XK_DIRECTMAP_FRAMES, XK_WORDS, XK_ADD = XK_SUBTRACT };
typedef struct xk_kinds {
    uint16_t of_slot[XENMM_LOOKUP_ENTRIES];
    uint64_t words[XK_WORDS][XENMM_LOOKUP_ENTRIES];
    uint32_t count;
} xk_kinds;

/*
 * The frozen struct, and behind it what the loops derive from it once, at the freeze. Of offset: a slot's frames
 * are [start, start + region_frames), of which the first directmap_frames have their place inside the direct map.
 * Everything is kept below 2^63, so that the loops may test limits by the sign: what lies above is left to the
 * scalar text.
 */
typedef struct xk_plan {
    xenmm_params params;
    uint32_t offset_mode;      /* 0: the mask loops (identity is a mask with nothing removed), 1: offset */
    uint64_t directmap_limit;  /* mask: one past the last mfn inside the direct map; 0 when not certain */
    uint64_t region_frames;
    uint64_t slot_start[XENMM_LOOKUP_ENTRIES]; /* 2^63 where the slot is unused */
    uint64_t slot_directmap_frames[XENMM_LOOKUP_ENTRIES];
    xk_kinds of_mfn; /* words: pfn_pdx_lookup, slot_start, slot_directmap_frames */
    xk_kinds of_pdx; /* words: pdx_pfn_lookup, 0, 0 */
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
