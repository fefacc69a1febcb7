/* SPDX-License-Identifier: MIT */
/*
 * The loops of one target; _kernels.c includes this text once a target, with
 *   XK(name)    the name with the target's suffix
 *   XK_TARGET   the function attribute that selects the instructions
 *   XK_BYTES    width of a vector; 8 means plain uint64_t, which the compiler may vectorise
 *
 * A loop takes blocks of XK_BLOCK values. Where neighbours usually agree (in their slot of the offset
 * tables, in their validity group) a block is first compared with what the last block was like, at two
 * instructions a vector, and only blocks that differ among themselves pay for table lookups.
 */

#if XK_BYTES == 8
typedef uint64_t XK(vec);
#else
typedef uint64_t XK(vec) __attribute__((vector_size(XK_BYTES), aligned(8), may_alias));
#endif
#define XK_LANES (XK_BYTES / 8)
#define XK_UNROLL (XK_BYTES == 64 ? 4 : 16 / XK_LANES)
#define XK_BLOCK (XK_UNROLL * XK_LANES)
/* Values between a load and its prefetch where stores go past the caches. */
#define XK_AHEAD 512
#define XK_EACH for (int u = 0; u < XK_UNROLL; u++)
#define XK_AT(array, u) (*(const XK(vec) *)((array) + (u) * XK_LANES))
#define XK_INLINE XK_TARGET static inline __attribute__((always_inline))

/* Whether a vector has any of the bits of `mask` in any lane, and a store past the caches. */
#if XK_BYTES == 16
#define XK_ANY(v, mask) (!_mm_testz_si128((__m128i)((v) & (mask)), (__m128i)((v) & (mask))))
#define XK_STREAM(at, v) _mm_stream_si128((__m128i *)(at), (__m128i)(v))
#elif XK_BYTES == 32
#define XK_ANY(v, mask) (!_mm256_testz_si256((__m256i)((v) & (mask)), (__m256i)((v) & (mask))))
#define XK_STREAM(at, v) _mm256_stream_si256((__m256i *)(at), (__m256i)(v))
#elif XK_BYTES == 64
#define XK_ANY(v, mask) (_mm512_test_epi64_mask((__m512i)((v) & (mask)), (__m512i)((v) & (mask))) != 0)
#define XK_STREAM(at, v) _mm512_stream_si512((__m512i *)(at), (__m512i)(v))
#else
#define XK_ANY(v, mask) (((v) & (mask)) != 0)
#define XK_STREAM(at, v) (*(uint64_t *)(at) = (v))
#endif
#define XK_PUT(at, v)                                                                                    \
    do {                                                                                                 \
        if (stream)                                                                                      \
            XK_STREAM(at, v);                                                                            \
        else                                                                                             \
            *(XK(vec) *)(at) = (v);                                                                      \
    } while (0)

/* The parameters that the formulas below name, in registers for the whole loop. */
#define XK_PARAMETERS                                                                                    \
    const xenmm_params *const p = &plan->params;                                                         \
    const uint64_t bottom = p->pfn_pdx_bottom_mask, top = p->pfn_top_mask;                               \
    const uint64_t ma_bottom = p->ma_va_bottom_mask, ma_top = p->ma_top_mask;                            \
    const uint64_t hole_shift = p->pfn_pdx_hole_shift;                                                   \
    const uint64_t frametable = p->frametable_virt_start, directmap = p->directmap_virt_start;           \
    (void)bottom, (void)top, (void)ma_bottom, (void)ma_top, (void)hole_shift;                            \
    (void)frametable, (void)directmap

/* A loop's face: the two bodies with and without streaming stores. */
#define XK_FACE(name)                                                                                    \
    XK_TARGET static void XK(name)(const xk_plan *plan, const uint64_t *in, uint64_t *out, size_t n,     \
                                   int stream)                                                           \
    {                                                                                                    \
        if (stream)                                                                                      \
            XK(name##_body)(plan, in, out, n, 1);                                                        \
        else                                                                                             \
            XK(name##_body)(plan, in, out, n, 0);                                                        \
    }

/* Values before out is aligned, and values after the last whole block, go one by one. */
#define XK_HEAD(one)                                                                                     \
    for (; i < n && ((uintptr_t)(out + i) & (XK_BYTES - 1)) != 0; i++)                                   \
        out[i] = one
#define XK_TAIL(one)                                                                                     \
    for (; i < n; i++)                                                                                   \
        out[i] = one

/* A loop of one formula without lookups. */
#define XK_FORMULA_LOOP(name, formula)                                                                   \
    XK_INLINE void XK(name##_body)(const xk_plan *plan, const uint64_t *in, uint64_t *out, size_t n,     \
                                   const int stream)                                                     \
    {                                                                                                    \
        XK_PARAMETERS;                                                                                   \
        size_t i = 0;                                                                                    \
        XK_HEAD(formula(in[i]));                                                                         \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK) {                                                       \
            XK(vec) v[XK_UNROLL];                                                                        \
            XK_EACH v[u] = XK_AT(in + i, u);                                                             \
            XK_EACH v[u] = formula(v[u]);                                                                \
            XK_EACH XK_PUT(out + i + u * XK_LANES, v[u]);                                                \
        }                                                                                                \
        XK_TAIL(formula(in[i]));                                                                         \
    }                                                                                                    \
    XK_FACE(name)

#define XK_M_MFN_TO_PDX(x) XENMM_MASK_COMPRESS(x, bottom, top, hole_shift)
#define XK_M_PDX_TO_MFN(x) XENMM_MASK_EXPAND(x, bottom, top, hole_shift)
#define XK_M_MFN_TO_PAGE(x) XENMM_PDX_TO_PAGE(XK_M_MFN_TO_PDX(x), frametable)
#define XK_M_PAGE_TO_MFN(x) XK_M_PDX_TO_MFN(XENMM_PAGE_TO_PDX(x, frametable))
#define XK_M_MADDR_TO_VIRT(x) (XENMM_MASK_COMPRESS(x, ma_bottom, ma_top, hole_shift) + directmap)
#define XK_M_VIRT_TO_MADDR(x) XENMM_MASK_EXPAND((x) - directmap, ma_bottom, ma_top, hole_shift)
#define XK_M_MFN_TO_VIRT(x) XK_M_MADDR_TO_VIRT((x) << XENMM_PAGE_SHIFT)
#define XK_M_VIRT_TO_MFN(x) (XK_M_VIRT_TO_MADDR(x) >> XENMM_PAGE_SHIFT)
#define XK_M_PAGE_TO_MFN_TO_VIRT(x) XK_M_MFN_TO_VIRT(XK_M_PAGE_TO_MFN(x))
#define XK_PAGE_TO_VIRT_(x) XENMM_PAGE_TO_VIRT(x, frametable, directmap)
#define XK_VIRT_TO_PAGE_(x) XENMM_PDX_TO_PAGE(((x) - directmap) >> XENMM_PAGE_SHIFT, frametable)

XK_FORMULA_LOOP(mask_mfn_to_pdx, XK_M_MFN_TO_PDX)
XK_FORMULA_LOOP(mask_pdx_to_mfn, XK_M_PDX_TO_MFN)
XK_FORMULA_LOOP(mask_mfn_to_page, XK_M_MFN_TO_PAGE)
XK_FORMULA_LOOP(mask_page_to_mfn, XK_M_PAGE_TO_MFN)
XK_FORMULA_LOOP(mask_mfn_to_virt, XK_M_MFN_TO_VIRT)
XK_FORMULA_LOOP(mask_virt_to_mfn, XK_M_VIRT_TO_MFN)
XK_FORMULA_LOOP(mask_maddr_to_virt, XK_M_MADDR_TO_VIRT)
XK_FORMULA_LOOP(mask_virt_to_maddr, XK_M_VIRT_TO_MADDR)
XK_FORMULA_LOOP(mask_page_to_mfn_to_virt, XK_M_PAGE_TO_MFN_TO_VIRT)
XK_FORMULA_LOOP(page_to_virt, XK_PAGE_TO_VIRT_)
XK_FORMULA_LOOP(virt_to_page, XK_VIRT_TO_PAGE_)

/*
 * One entry of a 64-entry table for each lane. XK_KINDS(name, kinds) declares what serves several tables of the
 * same slots, and XK_TABLE(name, kinds, word, by_slot, unit) such a table, its entries shifted left by `unit`;
 * XK_KIND(kinds, f, shift, unit) is what each lane of XK_LOOKUP(name, kind) chooses by: the slot of f, which is in
 * the same unit, or the slot's kind. Where a table lies in registers the low bits alone choose.
 */
#if XK_BYTES == 64
/* The rows of eight that a table of so many entries has. */
#define XK_ROWS(entries) ((entries) <= 16 ? 2 : (entries) <= 32 ? 4 : 8)
#define XK_REGISTERS(name, from, rows, unit)                                                             \
    const uint64_t *const name##_from = (from);                                                          \
    const int name##_rows = (rows);                                                                      \
    const __m512i name[8] = {XK_ROW(name, 0, unit), XK_ROW(name, 1, unit), XK_ROW(name, 2, unit),        \
                             XK_ROW(name, 3, unit), XK_ROW(name, 4, unit), XK_ROW(name, 5, unit),        \
                             XK_ROW(name, 6, unit), XK_ROW(name, 7, unit)}
#define XK_ROW(name, row, unit)                                                                          \
    ((row) < name##_rows ? _mm512_slli_epi64(_mm512_loadu_si512(name##_from + 8 * (row)), (unit))        \
                         : _mm512_setzero_si512())
#define XK_LOOKUP(name, at) XK(lookup)(name, (at), name##_rows)

/* A permutation chooses among sixteen entries; more take several, and choices between them. */
XK_INLINE XK(vec) XK(lookup)(const __m512i *table, XK(vec) at, int rows)
{
    const __m512i s = (__m512i)at;
    const __m512i a = _mm512_permutex2var_epi64(table[0], s, table[1]);
    if (rows > 2) {
        const __mmask8 odd = _mm512_test_epi64_mask(s, _mm512_set1_epi64(16));
        const __m512i b = _mm512_permutex2var_epi64(table[2], s, table[3]);
        const __m512i ab = _mm512_mask_blend_epi64(odd, a, b);
        if (rows > 4) {
            const __mmask8 high = _mm512_test_epi64_mask(s, _mm512_set1_epi64(32));
            const __m512i c = _mm512_permutex2var_epi64(table[4], s, table[5]);
            const __m512i d = _mm512_permutex2var_epi64(table[6], s, table[7]);
            return (XK(vec))_mm512_mask_blend_epi64(high, ab, _mm512_mask_blend_epi64(odd, c, d));
        }
        return (XK(vec))ab;
    }
    return (XK(vec))a;
}

#define XK_KINDS(name, kinds)                                                                            \
    const xk_kinds *const name = (kinds);                                                                \
    const __m512i name##_low = _mm512_loadu_si512(name->of_slot);                                        \
    const __m512i name##_high = _mm512_loadu_si512(name->of_slot + 32)
#define XK_TABLE(name, kinds, word, by_slot, unit)                                                       \
    XK_REGISTERS(name, kinds->words[word], XK_ROWS(kinds->count), (unit))
/* 16-bit lanes: the lowest of each four gets the kind, and the others get what nobody looks at. */
#define XK_KIND(kinds, f, shift, unit)                                                                   \
    ((XK(vec))_mm512_permutex2var_epi16(                                                                 \
        kinds##_low,                                                                                     \
        _mm512_srl_epi64((__m512i)(f), _mm_cvtsi64_si128((long long)((shift) + (unit)))), kinds##_high))
#else
#define XK_KINDS(name, kinds) (void)0
#define XK_TABLE(name, kinds, word, by_slot, unit)                                                       \
    const uint64_t *const name = (by_slot);                                                              \
    enum { name##_unit = (unit) }
#define XK_KIND(kinds, f, shift, unit) ((((f) >> (unit)) >> (uint64_t)(shift)) & 63)
#if XK_BYTES == 32
#define XK_LOOKUP(name, at)                                                                              \
    ((XK(vec)){name[(at)[0]], name[(at)[1]], name[(at)[2]], name[(at)[3]]} << name##_unit)
#elif XK_BYTES == 16
#define XK_LOOKUP(name, at) ((XK(vec)){name[(at)[0]], name[(at)[1]]} << name##_unit)
#else
#define XK_LOOKUP(name, at) (name[at] << name##_unit)
#endif
#endif

/* Where one block's values are strangers to each other, so many blocks are not even compared. */
#define XK_STRANGERS 8

/*
 * A loop of the offset mode: f = before(x), then g = f `op` the entry of f's slot, then after(g) + origin.
 * `unit` is 12 where f is in bytes and the table in frames. Where after() is `linear`, modulo 2^64, neighbours
 * need but one addition.
 */
#define XK_OFFSET_LOOP(name, before, entries, index_shift, of_slots, unit, op, linear, after, origin)    \
    XK_INLINE uint64_t XK(name##_one)(const xenmm_params *p, uint64_t x)                                 \
    {                                                                                                    \
        const uint64_t frametable = p->frametable_virt_start, directmap = p->directmap_virt_start;       \
        const uint64_t f = before(x);                                                                    \
        const uint64_t g = f op(p->entries[XENMM_SLOT(f >> (unit), p->index_shift)] << (unit));          \
        (void)frametable, (void)directmap;                                                               \
        return after(g) + (origin);                                                                      \
    }                                                                                                    \
    XK_INLINE void XK(name##_body)(const xk_plan *plan, const uint64_t *in, uint64_t *out, size_t n,     \
                                   const int stream)                                                     \
    {                                                                                                    \
        XK_PARAMETERS;                                                                                   \
        const uint64_t shift = p->index_shift + (unit);                                                  \
        /* The bits of f that choose the slot. */                                                        \
        const uint64_t slot_bits = shift < 64 ? (uint64_t)63 << shift : 0;                               \
        uint64_t last = 0, add = 0 op(p->entries[0] << (unit));                                          \
        size_t i = 0;                                                                                    \
        XK_KINDS(kinds, &plan->of_slots);                                                                \
        XK_TABLE(table, kinds, XK_ADD, p->entries, unit);                                                \
        if (linear)                                                                                      \
            add = after(add) + (origin);                                                                 \
        XK_HEAD(XK(name##_one)(p, in[i]));                                                               \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK) {                                                       \
            XK(vec) v[XK_UNROLL], differ = {0};                                                          \
            XK_EACH v[u] = before(XK_AT(in + i, u));                                                     \
            XK_EACH differ |= v[u] ^ last;                                                               \
            if (__builtin_expect(XK_ANY(differ, slot_bits), 0)) {                                        \
                const uint64_t first = before(in[i]);                                                    \
                differ = v[0] ^ first;                                                                   \
                XK_EACH differ |= v[u] ^ first;                                                          \
                if (XK_ANY(differ, slot_bits)) {                                                         \
                    const size_t end = i + XK_BLOCK * xk_least((n - i) / XK_BLOCK, XK_STRANGERS);        \
                    for (; i < end; i += XK_BLOCK) {                                                     \
                        XK(vec) f[XK_UNROLL];                                                            \
                        /* Too much work a value for enough loads to be under way by themselves. */      \
                        if (stream)                                                                      \
                            XK_EACH __builtin_prefetch(in + i + XK_AHEAD + u * XK_LANES);                \
                        XK_EACH f[u] = before(XK_AT(in + i, u));                                         \
                        XK_EACH f[u] = f[u] op XK_LOOKUP(table, XK_KIND(kinds, f[u], p->index_shift, unit)); \
                        XK_EACH XK_PUT(out + i + u * XK_LANES, after(f[u]) + (origin));                  \
                    }                                                                                    \
                    i -= XK_BLOCK;                                                                       \
                    continue;                                                                            \
                }                                                                                        \
                last = first;                                                                            \
                add = 0 op(p->entries[XENMM_SLOT(first >> (unit), p->index_shift)] << (unit));           \
                if (linear)                                                                              \
                    add = after(add) + (origin);                                                         \
            }                                                                                            \
            if (linear)                                                                                  \
                XK_EACH XK_PUT(out + i + u * XK_LANES, after(v[u]) + add);                               \
            else                                                                                         \
                XK_EACH XK_PUT(out + i + u * XK_LANES, after(v[u] + add) + (origin));                    \
        }                                                                                                \
        XK_TAIL(XK(name##_one)(p, in[i]));                                                               \
    }                                                                                                    \
    XK_FACE(name)

#define XK_SAME(x) (x)
#define XK_TO_BYTES(x) ((x) << XENMM_PAGE_SHIFT)
#define XK_TO_FRAMES(x) ((x) >> XENMM_PAGE_SHIFT)
#define XK_FROM_PAGE(x) XENMM_PAGE_TO_PDX(x, frametable)
#define XK_FROM_VIRT(x) ((x) - directmap)

#define XK_COMPRESS pfn_pdx_lookup, pfn_index_shift, of_mfn
#define XK_EXPAND pdx_pfn_lookup, pdx_index_shift, of_pdx
#define XK_OFFSET_LOOP_(name, before, which, unit, op, linear, after, origin)                            \
    XK_OFFSET_LOOP_2(name, before, which, unit, op, linear, after, origin)
#define XK_OFFSET_LOOP_2(name, before, entries, index_shift, of_slots, unit, op, linear, after, origin)  \
    XK_OFFSET_LOOP(name, before, entries, index_shift, of_slots, unit, op, linear, after, origin)
#define XK_LEFT_5(x) ((x) << 5)

XK_OFFSET_LOOP_(offset_mfn_to_pdx, XK_SAME, XK_COMPRESS, 0, -, 1, XK_SAME, 0)
XK_OFFSET_LOOP_(offset_pdx_to_mfn, XK_SAME, XK_EXPAND, 0, +, 1, XK_SAME, 0)
XK_OFFSET_LOOP_(offset_mfn_to_page, XK_SAME, XK_COMPRESS, 0, -, 1, XK_LEFT_5, frametable)
XK_OFFSET_LOOP_(offset_page_to_mfn, XK_FROM_PAGE, XK_EXPAND, 0, +, 1, XK_SAME, 0)
XK_OFFSET_LOOP_(offset_mfn_to_virt, XK_TO_BYTES, XK_COMPRESS, XENMM_PAGE_SHIFT, -, 1, XK_SAME, directmap)
XK_OFFSET_LOOP_(offset_maddr_to_virt, XK_SAME, XK_COMPRESS, XENMM_PAGE_SHIFT, -, 1, XK_SAME, directmap)
XK_OFFSET_LOOP_(offset_virt_to_maddr, XK_FROM_VIRT, XK_EXPAND, XENMM_PAGE_SHIFT, +, 1, XK_SAME, 0)
XK_OFFSET_LOOP_(offset_virt_to_mfn, XK_FROM_VIRT, XK_EXPAND, XENMM_PAGE_SHIFT, +, 0, XK_TO_FRAMES, 0)

/* What the next block is compared with: the slots of one pdx, and of its mfn (cut to 52 bits, as a maddr). */
#define XK_REMEMBER(pdx)                                                                                 \
    do {                                                                                                 \
        last_pdx = (pdx);                                                                                \
        add = p->pdx_pfn_lookup[XENMM_SLOT(last_pdx, p->pdx_index_shift)];                               \
        last_mfn = ((last_pdx + add) << XENMM_PAGE_SHIFT) >> XENMM_PAGE_SHIFT;                           \
        sum = ((add - p->pfn_pdx_lookup[XENMM_SLOT(last_mfn, p->pfn_index_shift)]) << XENMM_PAGE_SHIFT) + \
              directmap;                                                                                 \
    } while (0)

/* page -> mfn -> virt: two lookups, both of which neighbours usually share. */
XK_INLINE void XK(offset_page_to_mfn_to_virt_body)(const xk_plan *plan, const uint64_t *in, uint64_t *out,
                                                   size_t n, const int stream)
{
    XK_PARAMETERS;
    const uint64_t pdx_bits = (uint64_t)63 << p->pdx_index_shift;
    const uint64_t mfn_bits = (uint64_t)63 << p->pfn_index_shift;
    uint64_t last_pdx = 0, last_mfn, add, sum;
    size_t i = 0;
    XK_KINDS(of_pdx, &plan->of_pdx);
    XK_KINDS(of_mfn, &plan->of_mfn);
    XK_TABLE(expand, of_pdx, XK_ADD, p->pdx_pfn_lookup, XENMM_PAGE_SHIFT);
    XK_TABLE(compress, of_mfn, XK_SUBTRACT, p->pfn_pdx_lookup, XENMM_PAGE_SHIFT);
    XK_REMEMBER(0);
    XK_HEAD(xenmm_offset_mfn_to_virt(p, xenmm_offset_page_to_mfn(p, in[i])));
    for (; n - i >= XK_BLOCK; i += XK_BLOCK) {
        XK(vec) v[XK_UNROLL], differ_pdx = {0}, differ_mfn = {0};
        XK_EACH v[u] = XK_FROM_PAGE(XK_AT(in + i, u));
        XK_EACH differ_pdx |= v[u] ^ last_pdx;
        XK_EACH differ_mfn |= (v[u] + add) ^ last_mfn;
        if (__builtin_expect(XK_ANY((differ_pdx & pdx_bits) | (differ_mfn & mfn_bits), ~(uint64_t)0), 0)) {
            const size_t end = i + XK_BLOCK * xk_least((n - i) / XK_BLOCK, XK_STRANGERS);
            XK_REMEMBER(XK_FROM_PAGE(in[end - 1]));
            for (; i < end; i += XK_LANES) {
                XK(vec) f = XK_FROM_PAGE(XK_AT(in + i, 0));
                if (stream)
                    __builtin_prefetch(in + i + XK_AHEAD);
                f = (f << XENMM_PAGE_SHIFT) + XK_LOOKUP(expand, XK_KIND(of_pdx, f, p->pdx_index_shift, 0));
                f -= XK_LOOKUP(compress, XK_KIND(of_mfn, f, p->pfn_index_shift, XENMM_PAGE_SHIFT));
                XK_PUT(out + i, f + directmap);
            }
            i -= XK_BLOCK;
            continue;
        }
        XK_EACH XK_PUT(out + i + u * XK_LANES, (v[u] << XENMM_PAGE_SHIFT) + sum);
    }
    XK_TAIL(xenmm_offset_mfn_to_virt(p, xenmm_offset_page_to_mfn(p, in[i])));
}
XK_FACE(offset_page_to_mfn_to_virt)

/*
 * Domains: each returns the index of the first value that the checked conversion refuses, or n.
 *
 * Limits are tested by sign: with d = x - start and span = size - 1, both d and span - d keep a clear top bit
 * for every d <= span < 2^63. A block in which any is set is judged again one by one, so that the test need
 * only never pass a bad value, and huge sizes cost time but no truth.
 */
#define XK_SIGN ((uint64_t)1 << 63)

#define XK_DOMAIN(name)                                                                                  \
    XK_TARGET static size_t XK(name)(const xk_plan *plan, const uint64_t *in, size_t n)

/* Judge [i, i + XK_BLOCK) one by one. */
#define XK_JUDGE_BLOCK(good)                                                                             \
    for (size_t j = i; j < i + XK_BLOCK; j++)                                                            \
        if (!(good(p, in[j])))                                                                           \
    return j
#define XK_JUDGE_TAIL(good)                                                                              \
    for (; i < n; i++)                                                                                   \
        if (!(good(p, in[i])))                                                                           \
            return i;                                                                                    \
    return n

XK_DOMAIN(domain_virt)
{
    XK_PARAMETERS;
    const uint64_t span = p->directmap_virt_end - directmap - 1;
    size_t i = 0;
    for (; n - i >= XK_BLOCK; i += XK_BLOCK) {
        XK(vec) v[XK_UNROLL], bad = {0};
        XK_EACH v[u] = XK_AT(in + i, u) - directmap;
        XK_EACH bad |= v[u] | (span - v[u]);
        if (__builtin_expect(XK_ANY(bad, XK_SIGN), 0))
            XK_JUDGE_BLOCK(xk_virt_known);
    }
    XK_JUDGE_TAIL(xk_virt_known);
}

#define XK_DOMAIN_MASK_DIRECTMAP(name, to_frames, good)                                                  \
    XK_DOMAIN(name)                                                                                      \
    {                                                                                                    \
        const xenmm_params *const p = &plan->params;                                                     \
        const uint64_t hole = p->pfn_hole_mask, span = plan->directmap_limit - 1;                        \
        size_t i = 0;                                                                                    \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK) {                                                       \
            XK(vec) v[XK_UNROLL], bad = {0}, in_hole = {0};                                              \
            XK_EACH v[u] = to_frames(XK_AT(in + i, u));                                                  \
            XK_EACH bad |= v[u] | (span - v[u]);                                                         \
            XK_EACH in_hole |= v[u];                                                                     \
            if (__builtin_expect(XK_ANY((bad & XK_SIGN) | (in_hole & hole), ~(uint64_t)0), 0))           \
                XK_JUDGE_BLOCK(good);                                                                    \
        }                                                                                                \
        XK_JUDGE_TAIL(good);                                                                             \
    }

XK_DOMAIN_MASK_DIRECTMAP(domain_mask_mfn_in_directmap, XK_SAME, xenmm_mfn_in_directmap)
XK_DOMAIN_MASK_DIRECTMAP(domain_mask_maddr_in_directmap, XK_TO_FRAMES, xenmm_maddr_in_directmap)

/* Of a slot's frames, those from its start that have their place in the direct map. */
#define XK_DOMAIN_OFFSET_DIRECTMAP(name, to_frames, good)                                                \
    XK_DOMAIN(name)                                                                                      \
    {                                                                                                    \
        const xenmm_params *const p = &plan->params;                                                     \
        const uint64_t shift = p->pfn_index_shift;                                                       \
        XK_KINDS(kinds, &plan->of_mfn);                                                                  \
        XK_TABLE(starts, kinds, XK_START, plan->slot_start, 0);                                          \
        XK_TABLE(frames, kinds, XK_DIRECTMAP_FRAMES, plan->slot_directmap_frames, 0);                    \
        size_t i = 0;                                                                                    \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK) {                                                       \
            XK(vec) bad = {0};                                                                           \
            XK_EACH                                                                                      \
            {                                                                                            \
                const XK(vec) f = to_frames(XK_AT(in + i, u)), kind = XK_KIND(kinds, f, shift, 0);       \
                const XK(vec) d = f - XK_LOOKUP(starts, kind);                                           \
                bad |= d | (XK_LOOKUP(frames, kind) - 1 - d);                                            \
            }                                                                                            \
            if (__builtin_expect(XK_ANY(bad, XK_SIGN), 0))                                               \
                XK_JUDGE_BLOCK(good);                                                                    \
        }                                                                                                \
        XK_JUDGE_TAIL(good);                                                                             \
    }

XK_DOMAIN_OFFSET_DIRECTMAP(domain_offset_mfn_in_directmap, XK_SAME, xenmm_mfn_in_directmap)
XK_DOMAIN_OFFSET_DIRECTMAP(domain_offset_maddr_in_directmap, XK_TO_FRAMES, xenmm_maddr_in_directmap)

/*
 * Validity of any frames, one bit a value: bit j of the result is the verdict on in[j]. Exact as long as
 * max_page <= 2^63; past that, frames past 2^63 are called invalid (xk_mfn_valid() and XK_JUDGE_BLOCK know).
 *
 * A verdict on a vector is a mask register where there is one, set for the good; else a vector whose signs are
 * set for the bad. XK_BOTH joins two, XK_BELOW wants x < limit, XK_CLEAR none of the bits.
 */
#if XK_BYTES == 64
#define XK_VERDICT __mmask8
#define XK_BOTH &
#define XK_BELOW(x, limit) _mm512_cmplt_epu64_mask((__m512i)(x), _mm512_set1_epi64((long long)(limit)))
#define XK_CLEAR(x, bits) _mm512_testn_epi64_mask((__m512i)(x), _mm512_set1_epi64((long long)(bits)))
#else
#define XK_VERDICT XK(vec)
#define XK_BOTH |
/* Without a sign of its own, and not past the last good one; a limit of 0 is never met. */
#define XK_BELOW(x, limit) ((x) | (((limit)-1) - (x)))
/* Of a value and its negative one has the sign, unless both are 0. */
#define XK_CLEAR(x, bits) (((x) & (bits)) | (0 - ((x) & (bits))))
#if XK_BYTES == 32
#define XK_SIGNS(v) ((uint32_t)_mm256_movemask_pd((__m256d)(v)))
#define XK_GATHER(words, at) ((XK(vec))_mm256_i64gather_epi64((const long long *)(words), (__m256i)(at), 8))
#elif XK_BYTES == 16
#define XK_SIGNS(v) ((uint32_t)_mm_movemask_pd((__m128d)(v)))
#define XK_GATHER(words, at) ((XK(vec)){(words)[(at)[0]], (words)[(at)[1]]})
#else
#define XK_SIGNS(v) ((uint32_t)((v) >> 63))
#define XK_GATHER(words, at) ((words)[at])
#endif
#endif
#define XK_ALL (XK_BLOCK == 32 ? 0xffffffffu : 0xffffu)

/*
 * Rows of the tables that a loop looks into, by slot (`slots`) and of the group bitmap (`groups`; 0: it is too long
 * for registers). The compiler makes a loop for each of the usual sizes, without tests inside, and one for all.
 */
#if XK_BYTES == 64
#define XK_GROUP_ROWS(count) ((count) <= 64 * 64 ? XK_ROWS(((count) + 63) / 64) : 0)
#define XK_BY_ROWS(body, ...)                                                                            \
    do {                                                                                                 \
        const int slots = XK_ROWS(plan->of_mfn.count);                                                   \
        const int groups = XK_GROUP_ROWS(plan->params.pdx_group_count);                                  \
        if (slots == 2 && groups == 2)                                                                   \
            return body(__VA_ARGS__, 2, 2);                                                              \
        if (slots == 2 && groups == 4)                                                                   \
            return body(__VA_ARGS__, 2, 4);                                                              \
        if (slots == 2 && groups == 8)                                                                   \
            return body(__VA_ARGS__, 2, 8);                                                              \
        return body(__VA_ARGS__, slots, groups);                                                         \
    } while (0)
#define XK_TABLE_OF(name, rows, kinds, word, by_slot) XK_REGISTERS(name, kinds->words[word], rows, 0)
#else
#define XK_BY_ROWS(body, ...) return body(__VA_ARGS__, 0, 0)
#define XK_TABLE_OF(name, rows, kinds, word, by_slot) XK_TABLE(name, kinds, word, by_slot, 0)
#endif

/* The bits of the groups of `pdx`, where the verdict is good; `pdx` of the others may be anything. */
XK_INLINE uint32_t XK(group_bits)(const xenmm_params *p, XK(vec) pdx, XK_VERDICT so_far, const int groups)
{
    XK(vec) group = pdx >> XENMM_PDX_GROUP_SHIFT;
    so_far = so_far XK_BOTH XK_BELOW(group, p->pdx_group_count);
#if XK_BYTES == 64
    const __m512i at = (__m512i)(group >> 6), one = _mm512_set1_epi64(1);
    __m512i words;
    /* Up to 64 words, which serve 1 TiB of memory, are a table like the others. */
    if (groups != 0) {
        XK_REGISTERS(table, p->pdx_group_valid, groups, 0);
        words = (__m512i)XK_LOOKUP(table, (XK(vec))at);
    } else {
        words = _mm512_mask_i64gather_epi64(at, so_far, at, (const void *)p->pdx_group_valid, 8);
    }
    return _mm512_mask_test_epi64_mask(so_far, _mm512_rorv_epi64(words, (__m512i)group), one);
#else
    (void)groups;
    /* Lanes that are bad read word 0, which always exists. */
    group &= (so_far >> 63) - 1;
    return XK_SIGNS(~so_far & (XK_GATHER(p->pdx_group_valid, group >> 6) << (63 - (group & 63))));
#endif
}

#define XK_BITS(name, verdict)                                                                           \
    XK_INLINE uint32_t XK(name)(const xk_plan *plan, const uint64_t *in, const int slots,                \
                                const int groups)                                                        \
    {                                                                                                    \
        XK_PARAMETERS;                                                                                   \
        (void)slots;                                                                                     \
        uint32_t bits = 0;                                                                               \
        XK_EACH                                                                                          \
        {                                                                                                \
            const XK(vec) x = XK_AT(in, u);                                                              \
            bits |= verdict << (u * XK_LANES);                                                           \
        }                                                                                                \
        return bits;                                                                                     \
    }

XK_BITS(bits_mask_mfn, XK(group_bits)(p, XK_M_MFN_TO_PDX(x),
                                      XK_BELOW(x, p->max_page) XK_BOTH XK_CLEAR(x, p->pfn_hole_mask), groups))
XK_BITS(bits_pdx, XK(group_bits)(p, x, XK_BELOW(x, p->max_pdx), groups))
XK_BITS(bits_page,
        XK(group_bits)(p, XK_FROM_PAGE(x),
                       XK_BELOW(XK_FROM_PAGE(x), p->max_pdx) XK_BOTH XK_CLEAR(x - frametable, 31), groups))

XK_INLINE uint32_t XK(bits_offset_mfn)(const xk_plan *plan, const uint64_t *in, const int slots,
                                       const int groups)
{
    const xenmm_params *const p = &plan->params;
    const uint64_t shift = p->pfn_index_shift;
    XK_KINDS(kinds, &plan->of_mfn);
    XK_TABLE_OF(starts, slots, kinds, XK_START, plan->slot_start);
    XK_TABLE_OF(subtract, slots, kinds, XK_SUBTRACT, p->pfn_pdx_lookup);
    uint32_t bits = 0;
    (void)slots;
    XK_EACH
    {
        const XK(vec) x = XK_AT(in, u), kind = XK_KIND(kinds, x, shift, 0);
        const XK(vec) d = x - XK_LOOKUP(starts, kind);
        const XK_VERDICT inside = XK_BELOW(x, p->max_page) XK_BOTH XK_BELOW(d, plan->region_frames);
        bits |= XK(group_bits)(p, x - XK_LOOKUP(subtract, kind), inside, groups) << (u * XK_LANES);
    }
    return bits;
}

#define XK_DOMAIN_BY_BITS(name, bits, good)                                                              \
    XK_INLINE size_t XK(name##_body)(const xk_plan *plan, const uint64_t *in, size_t n, const int slots, \
                                     const int groups)                                                   \
    {                                                                                                    \
        const xenmm_params *const p = &plan->params;                                                     \
        size_t i = 0;                                                                                    \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK)                                                         \
            if (__builtin_expect(XK(bits)(plan, in + i, slots, groups) != XK_ALL, 0))                    \
                XK_JUDGE_BLOCK(good);                                                                    \
        XK_JUDGE_TAIL(good);                                                                             \
    }                                                                                                    \
    XK_DOMAIN(name)                                                                                      \
    {                                                                                                    \
        XK_BY_ROWS(XK(name##_body), plan, in, n);                                                        \
    }

XK_DOMAIN_BY_BITS(domain_mask_mfn_valid, bits_mask_mfn, xenmm_mfn_valid)
XK_DOMAIN_BY_BITS(domain_offset_mfn_valid, bits_offset_mfn, xenmm_mfn_valid)
XK_DOMAIN_BY_BITS(domain_pdx, bits_pdx, xk_pdx_valid)
XK_DOMAIN_BY_BITS(domain_page, bits_page, xenmm_page_valid)

/*
 * Checked conversions of neighbours. In an aligned run that is all inside the domain and one line of the
 * conversion, found by find_run() and remembered, a block costs an exclusive-or and an or a vector for the
 * check, and the conversion is a shift and an addition in every mode. The loop stops before the first block
 * that lies in no such run; what is left to do there is the domain's and the plain loop's.
 *
 * f = before(x) is in units of 2^unit bytes or frames of run; `free_bits` of it may be anything;
 * `far` are the bits in which no two values of one run differ; x = f + origin.
 */
#define XK_CHECKED_LOOP(name, number, before, origin, unit, free_bits, find_run, far, shifted)           \
    XK_INLINE size_t XK(name##_body)(const xk_plan *plan, const uint64_t *in, uint64_t *out, size_t n,   \
                                     const int stream)                                                   \
    {                                                                                                    \
        XK_PARAMETERS;                                                                                   \
        uint64_t first = 0, outside = 0, add = 0;                                                        \
        int known = 0;                                                                                   \
        size_t i = 0;                                                                                    \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK) {                                                       \
            XK(vec) v[XK_UNROLL], differ = {0};                                                          \
            XK_EACH v[u] = before(XK_AT(in + i, u));                                                     \
            XK_EACH differ |= v[u] ^ first;                                                              \
            if (__builtin_expect(!known || XK_ANY(differ, outside), 0)) {                                \
                const uint64_t now = before(in[i]);                                                      \
                xk_run run;                                                                              \
                differ = v[0] ^ now;                                                                     \
                XK_EACH differ |= v[u] ^ now;                                                            \
                if (XK_ANY(differ, (far) << (unit)))                                                     \
                    return i;                                                                            \
                run = find_run(plan, now >> (unit));                                                     \
                first = run.first << (unit);                                                             \
                outside = ~((run.low << (unit)) | (free_bits));                                          \
                if (!run.verdict || XK_ANY(differ | (first ^ now), outside))                             \
                    return i;                                                                            \
                add = xk_convert_one(p, number, first + (origin)) - shifted(first);                      \
                known = 1;                                                                               \
            }                                                                                            \
            XK_EACH v[u] = shifted(v[u]) + add;                                                          \
            XK_EACH XK_PUT(out + i + u * XK_LANES, v[u]);                                                \
        }                                                                                                \
        return i;                                                                                        \
    }                                                                                                    \
    XK_TARGET static size_t XK(name)(const xk_plan *plan, const uint64_t *in, uint64_t *out, size_t n,   \
                                     int stream)                                                         \
    {                                                                                                    \
        return stream ? XK(name##_body)(plan, in, out, n, 1) : XK(name##_body)(plan, in, out, n, 0);     \
    }

#define XK_IN_GROUP ~(uint64_t)0xffff
#define XK_IN_MAP ~(((uint64_t)1 << XK_MAP_RUN_SHIFT) - 1)
#define XK_RECORD(x) ((x) - frametable)
#define XK_LEFT_7(x) ((x) << 7)
#define XK_RIGHT_5(x) ((x) >> 5)
#define XK_RIGHT_12_LEFT_5(x) (((x) >> 12) << 5)

XK_CHECKED_LOOP(checked_mfn_to_pdx, XK_MFN_TO_PDX, XK_SAME, 0, 0, 0, xk_mfn_run, XK_IN_GROUP, XK_SAME)
XK_CHECKED_LOOP(checked_pdx_to_mfn, XK_PDX_TO_MFN, XK_SAME, 0, 0, 0, xk_pdx_run, XK_IN_GROUP, XK_SAME)
XK_CHECKED_LOOP(checked_mfn_to_page, XK_MFN_TO_PAGE, XK_SAME, 0, 0, 0, xk_mfn_run, XK_IN_GROUP, XK_LEFT_5)
/* Bits inside a record are never free, so that an address between two records ends the run. */
XK_CHECKED_LOOP(checked_page_to_mfn, XK_PAGE_TO_MFN, XK_RECORD, frametable, 5, 0, xk_pdx_run, XK_IN_GROUP,
                XK_RIGHT_5)
XK_CHECKED_LOOP(checked_page_to_virt, XK_PAGE_TO_VIRT, XK_RECORD, frametable, 5, 0, xk_pdx_run, XK_IN_GROUP,
                XK_LEFT_7)
XK_CHECKED_LOOP(checked_page_to_mfn_to_virt, XK_PAGE_TO_MFN_TO_VIRT, XK_RECORD, frametable, 5, 0,
                xk_round_run, XK_IN_GROUP, XK_LEFT_7)
XK_CHECKED_LOOP(checked_mfn_to_virt, XK_MFN_TO_VIRT, XK_SAME, 0, 0, 0, xk_frame_run, XK_IN_MAP, XK_TO_BYTES)
XK_CHECKED_LOOP(checked_maddr_to_virt, XK_MADDR_TO_VIRT, XK_SAME, 0, 12, 0xfff, xk_frame_run, XK_IN_MAP,
                XK_SAME)
XK_CHECKED_LOOP(checked_virt_to_mfn, XK_VIRT_TO_MFN, XK_FROM_VIRT, directmap, 12, 0xfff, xk_directmap_run,
                XK_IN_MAP, XK_TO_FRAMES)
XK_CHECKED_LOOP(checked_virt_to_maddr, XK_VIRT_TO_MADDR, XK_FROM_VIRT, directmap, 12, 0xfff,
                xk_directmap_run, XK_IN_MAP, XK_SAME)
XK_CHECKED_LOOP(checked_virt_to_page, XK_VIRT_TO_PAGE, XK_FROM_VIRT, directmap, 12, 0xfff, xk_directmap_run,
                XK_IN_MAP, XK_RIGHT_12_LEFT_5)

/* mfn_valid into bytes. */
#if XK_BYTES == 64
#define XK_SPREAD(out, bits) _mm256_storeu_si256((__m256i *)(out), _mm256_maskz_set1_epi8((bits), 1))
#else
#define XK_SPREAD(out, bits)                                                                             \
    do {                                                                                                 \
        const uint64_t low_bytes = xk_spread((bits)&0xff), high_bytes = xk_spread((bits) >> 8);          \
        memcpy((out), &low_bytes, 8);                                                                    \
        memcpy((out) + 8, &high_bytes, 8);                                                               \
    } while (0)
#endif

/* Neighbours share one verdict: that of the run that is remembered. */
#define XK_VALID_LOOP(name, bits)                                                                        \
    XK_INLINE void XK(name##_body)(const xk_plan *plan, const uint64_t *in, uint8_t *out, size_t n,      \
                                   const int slots, const int groups)                                    \
    {                                                                                                    \
        xk_run run = xk_mfn_run(plan, 0);                                                                \
        size_t i = 0;                                                                                    \
        for (; n - i >= XK_BLOCK; i += XK_BLOCK) {                                                       \
            XK(vec) v[XK_UNROLL], differ = {0};                                                          \
            XK_EACH v[u] = XK_AT(in + i, u);                                                             \
            XK_EACH differ |= v[u] ^ run.first;                                                          \
            if (__builtin_expect(XK_ANY(differ, ~run.low), 0)) {                                         \
                const uint64_t now = in[i];                                                              \
                differ = v[0] ^ now;                                                                     \
                XK_EACH differ |= v[u] ^ now;                                                            \
                if (!XK_ANY(differ, XK_IN_GROUP))                                                        \
                    run = xk_mfn_run(plan, now);                                                         \
                if (XK_ANY(differ | (run.first ^ now), ~run.low)) {                                      \
                    /* Strangers come in numbers: the next few blocks are not even compared. */          \
                    const size_t blocks = xk_least((n - i) / XK_BLOCK, XK_STRANGERS);                    \
                    uint32_t verdicts[XK_STRANGERS];                                                     \
                    for (size_t b = 0; b < blocks; b++)                                                  \
                        verdicts[b] = XK(bits)(plan, in + i + b * XK_BLOCK, slots, groups);              \
                    for (size_t b = 0; b < blocks; b++)                                                  \
                        XK_SPREAD(out + i + b * XK_BLOCK, verdicts[b]);                                  \
                    i += (blocks - 1) * XK_BLOCK;                                                        \
                    continue;                                                                            \
                }                                                                                        \
            }                                                                                            \
            memset(out + i, run.verdict, XK_BLOCK);                                                      \
        }                                                                                                \
        for (; i < n; i++)                                                                               \
            out[i] = (uint8_t)xenmm_mfn_valid(&plan->params, in[i]);                                     \
    }                                                                                                    \
    XK_TARGET static void XK(name)(const xk_plan *plan, const uint64_t *in, uint8_t *out, size_t n)      \
    {                                                                                                    \
        XK_BY_ROWS(XK(name##_body), plan, in, out, n);                                                   \
    }

XK_VALID_LOOP(valid_mask, bits_mask_mfn)
XK_VALID_LOOP(valid_offset, bits_offset_mfn)

static const xk_loops XK(loops) = {
    {{XK(mask_mfn_to_pdx), XK(mask_pdx_to_mfn), XK(mask_mfn_to_page), XK(mask_page_to_mfn),
      XK(mask_mfn_to_virt), XK(mask_virt_to_mfn), XK(mask_maddr_to_virt), XK(mask_virt_to_maddr),
      XK(page_to_virt), XK(virt_to_page), XK(mask_page_to_mfn_to_virt)},
     {XK(offset_mfn_to_pdx), XK(offset_pdx_to_mfn), XK(offset_mfn_to_page), XK(offset_page_to_mfn),
      XK(offset_mfn_to_virt), XK(offset_virt_to_mfn), XK(offset_maddr_to_virt), XK(offset_virt_to_maddr),
      XK(page_to_virt), XK(virt_to_page), XK(offset_page_to_mfn_to_virt)}},
    {{XK(domain_mask_mfn_valid), XK(domain_pdx), XK(domain_mask_mfn_valid), XK(domain_page),
      XK(domain_mask_mfn_in_directmap), XK(domain_virt), XK(domain_mask_maddr_in_directmap),
      XK(domain_virt), XK(domain_page), XK(domain_virt), XK(domain_page)},
     {XK(domain_offset_mfn_valid), XK(domain_pdx), XK(domain_offset_mfn_valid), XK(domain_page),
      XK(domain_offset_mfn_in_directmap), XK(domain_virt), XK(domain_offset_maddr_in_directmap),
      XK(domain_virt), XK(domain_page), XK(domain_virt), XK(domain_page)}},
    {XK(checked_mfn_to_pdx), XK(checked_pdx_to_mfn), XK(checked_mfn_to_page), XK(checked_page_to_mfn),
     XK(checked_mfn_to_virt), XK(checked_virt_to_mfn), XK(checked_maddr_to_virt), XK(checked_virt_to_maddr),
     XK(checked_page_to_virt), XK(checked_virt_to_page), XK(checked_page_to_mfn_to_virt)},
    {XK(valid_mask), XK(valid_offset)},
};

#undef XK_LANES
#undef XK_UNROLL
#undef XK_BLOCK
#undef XK_EACH
#undef XK_AHEAD
#undef XK_AT
#undef XK_INLINE
#undef XK_ANY
#undef XK_STREAM
#undef XK_PUT
#undef XK_PARAMETERS
#undef XK_FACE
#undef XK_HEAD
#undef XK_TAIL
#undef XK_FORMULA_LOOP
#undef XK_M_MFN_TO_PDX
#undef XK_M_PDX_TO_MFN
#undef XK_M_MFN_TO_PAGE
#undef XK_M_PAGE_TO_MFN
#undef XK_M_MADDR_TO_VIRT
#undef XK_M_VIRT_TO_MADDR
#undef XK_M_MFN_TO_VIRT
#undef XK_M_VIRT_TO_MFN
#undef XK_M_PAGE_TO_MFN_TO_VIRT
#undef XK_PAGE_TO_VIRT_
#undef XK_VIRT_TO_PAGE_
#undef XK_ROWS
#undef XK_REGISTERS
#undef XK_KINDS
#undef XK_KIND
#undef XK_TABLE
#undef XK_ROW
#undef XK_LOOKUP
#undef XK_OFFSET_LOOP
#undef XK_SAME
#undef XK_TO_BYTES
#undef XK_TO_FRAMES
#undef XK_FROM_PAGE
#undef XK_FROM_VIRT
#undef XK_COMPRESS
#undef XK_EXPAND
#undef XK_OFFSET_LOOP_
#undef XK_OFFSET_LOOP_2
#undef XK_REMEMBER
#undef XK_SIGN
#undef XK_DOMAIN
#undef XK_JUDGE_BLOCK
#undef XK_JUDGE_TAIL
#undef XK_DOMAIN_MASK_DIRECTMAP
#undef XK_DOMAIN_OFFSET_DIRECTMAP
#undef XK_VERDICT
#undef XK_BOTH
#undef XK_BELOW
#undef XK_CLEAR
#undef XK_SIGNS
#undef XK_GATHER
#undef XK_ALL
#undef XK_GROUP_ROWS
#undef XK_BY_ROWS
#undef XK_TABLE_OF
#undef XK_BITS
#undef XK_DOMAIN_BY_BITS
#undef XK_CHECKED_LOOP
#undef XK_IN_GROUP
#undef XK_IN_MAP
#undef XK_RECORD
#undef XK_LEFT_5
#undef XK_LEFT_7
#undef XK_RIGHT_5
#undef XK_RIGHT_12_LEFT_5
#undef XK_SPREAD
#undef XK_STRANGERS
#undef XK_VALID_LOOP
