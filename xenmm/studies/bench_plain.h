/* SPDX-License-Identifier: MIT */
/*
 * The formulas as one would write them by hand for one machine, independent of xenmm.h: the yardstick.
 *
 * Included once for each way of holding the parameters. Before each: PLAIN_MODE (0 none, 1 mask, 2 offset),
 * PLAIN(name) the functions' names, V(field) how a parameter is read, PLAIN_ARGS the arguments before the value,
 * PLAIN_PASS the same when calling.
 */

static inline uint64_t PLAIN(mfn_to_pdx)(PLAIN_ARGS uint64_t mfn)
{
#if PLAIN_MODE == 1
    return (mfn & V(bottom)) | ((mfn & V(top)) >> V(hole_shift));
#elif PLAIN_MODE == 2
    return mfn - V(subtracted)[(mfn >> V(mfn_shift)) & 63];
#else
    return mfn;
#endif
}

static inline uint64_t PLAIN(pdx_to_mfn)(PLAIN_ARGS uint64_t pdx)
{
#if PLAIN_MODE == 1
    return (pdx & V(bottom)) | ((pdx << V(hole_shift)) & V(top));
#elif PLAIN_MODE == 2
    return pdx + V(added)[(pdx >> V(pdx_shift)) & 63];
#else
    return pdx;
#endif
}

static inline uint64_t PLAIN(mfn_to_page)(PLAIN_ARGS uint64_t mfn)
{
    return (PLAIN(mfn_to_pdx)(PLAIN_PASS mfn) << 5) + V(frame_table);
}

static inline uint64_t PLAIN(page_to_mfn)(PLAIN_ARGS uint64_t page)
{
    return PLAIN(pdx_to_mfn)(PLAIN_PASS (page - V(frame_table)) >> 5);
}

static inline uint64_t PLAIN(mfn_to_virt)(PLAIN_ARGS uint64_t mfn)
{
    const uint64_t maddr = mfn << 12;
#if PLAIN_MODE == 1
    return ((maddr & V(maddr_bottom)) | ((maddr & V(maddr_top)) >> V(hole_shift))) + V(direct_map);
#elif PLAIN_MODE == 2
    return maddr - (V(subtracted)[((maddr >> 12) >> V(mfn_shift)) & 63] << 12) + V(direct_map);
#else
    return maddr + V(direct_map);
#endif
}

static inline uint64_t PLAIN(page_to_virt)(PLAIN_ARGS uint64_t page)
{
    return (page - V(frame_table)) * 128 + V(direct_map);
}

static inline uint64_t PLAIN(page_to_mfn_to_virt)(PLAIN_ARGS uint64_t page)
{
    return PLAIN(mfn_to_virt)(PLAIN_PASS PLAIN(page_to_mfn)(PLAIN_PASS page));
}

#undef PLAIN_MODE
#undef PLAIN
#undef PLAIN_ARGS
#undef PLAIN_PASS
#undef V
