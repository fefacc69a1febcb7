/*
 * The loops of the timing engine, for one instruction set: XT_ISA is 0 (plain C), 3 (x86-64-v3, AVX2) or
 * 4 (x86-64-v4, AVX-512), and XT_NAME puts the set's name behind a function's. Included by _timing_engine.h only.
 *
 * Two ways lead to the same state and the same counts: `access` takes one access through everything (any
 * configuration), and `run` takes a block of them level by level, which is exact because no level of an ordinary
 * hierarchy learns anything from the levels below it.
 *
 * SPDX-License-Identifier: MIT
 */

/* ---- one set kept in order, the newest way first ---- */

/*
 * Look `key` up in a set, and make it the newest way; on a miss the oldest way leaves, as `*victim`.
 * `lanes` is a constant of 4, 8 or 16. With `dirty_bits` 0 the caller promises that no tag is dirty.
 */
XT_INLINE unsigned XT_NAME(touch)(uint64_t *set, unsigned lanes, unsigned assoc, uint64_t ways_mask, uint64_t key,
                                  uint64_t dirty, int dirty_bits, uint64_t *victim)
{
#if XT_ISA == 4
    *victim = set[assoc - 1];
    if (lanes == 4) {
        __m256i s = _mm256_load_si256((const __m256i *)set), wanted = _mm256_set1_epi64x((long long)key);
        __m256i tags = dirty_bits ? _mm256_and_si256(s, _mm256_set1_epi64x((long long)~XT_DIRTY)) : s;
        unsigned match = _mm256_cmpeq_epi64_mask(tags, wanted);
        unsigned moved = (match ^ (match - 1)) & (unsigned)ways_mask;
        uint64_t was = dirty_bits ? (uint64_t)((match & (unsigned)_mm256_movepi64_mask(s)) != 0) << 63 : 0;
        __m256i first = _mm256_set1_epi64x((long long)(key | dirty | was));
        s = _mm256_mask_mov_epi64(s, (__mmask8)moved, _mm256_alignr_epi64(s, first, 3));
        _mm256_store_si256((__m256i *)set, s);
        return match != 0;
    }
    __m512i s[2], wanted = _mm512_set1_epi64((long long)key), previous;
    unsigned match = 0, sign = 0;
    for (unsigned v = 0; v < lanes / 8; v++) {
        s[v] = _mm512_load_si512(set + 8 * v);
        __m512i tags = dirty_bits ? _mm512_and_si512(s[v], _mm512_set1_epi64((long long)~XT_DIRTY)) : s[v];
        match |= (unsigned)_mm512_cmpeq_epi64_mask(tags, wanted) << (8 * v);
        if (dirty_bits)
            sign |= (unsigned)_mm512_movepi64_mask(s[v]) << (8 * v);
    }
    /* Every lane up to the match, or every way on a miss, takes its neighbour's tag. */
    unsigned moved = (match ^ (match - 1)) & (unsigned)ways_mask;
    previous = _mm512_set1_epi64((long long)(key | dirty | (uint64_t)((match & sign) != 0) << 63));
    for (unsigned v = 0; v < lanes / 8; v++) {
        __m512i shifted = _mm512_alignr_epi64(s[v], previous, 7);
        previous = s[v];
        _mm512_store_si512(set + 8 * v, _mm512_mask_mov_epi64(s[v], (__mmask8)(moved >> (8 * v)), shifted));
    }
    return match != 0;
#elif XT_ISA == 3
    static const uint64_t lane_mask[16][4] __attribute__((aligned(32))) = {
#define XT_L(n) {(n) & 1 ? ~UINT64_C(0) : 0, (n) & 2 ? ~UINT64_C(0) : 0, (n) & 4 ? ~UINT64_C(0) : 0, (n) & 8 ? ~UINT64_C(0) : 0}
        XT_L(0), XT_L(1), XT_L(2), XT_L(3), XT_L(4), XT_L(5), XT_L(6), XT_L(7),
        XT_L(8), XT_L(9), XT_L(10), XT_L(11), XT_L(12), XT_L(13), XT_L(14), XT_L(15)};
#undef XT_L
    __m256i s[4], wanted = _mm256_set1_epi64x((long long)key), previous;
    unsigned match = 0, sign = 0;
    *victim = set[assoc - 1];
    for (unsigned v = 0; v < lanes / 4; v++) {
        s[v] = _mm256_load_si256((const __m256i *)(set + 4 * v));
        __m256i tags = dirty_bits ? _mm256_and_si256(s[v], _mm256_set1_epi64x((long long)~XT_DIRTY)) : s[v];
        match |= (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(tags, wanted))) << (4 * v);
        if (dirty_bits)
            sign |= (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(s[v])) << (4 * v);
    }
    unsigned moved = (match ^ (match - 1)) & (unsigned)ways_mask;
    previous = _mm256_set1_epi64x((long long)(key | dirty | (uint64_t)((match & sign) != 0) << 63));
    for (unsigned v = 0; v < lanes / 4; v++) {
        /* [previous's last lane, s[v]'s first three] */
        __m256i high = _mm256_permute2x128_si256(previous, s[v], 0x21);
        __m256i shifted = _mm256_alignr_epi8(s[v], high, 8);
        __m256i chosen = _mm256_load_si256((const __m256i *)lane_mask[(moved >> (4 * v)) & 15]);
        previous = s[v];
        _mm256_store_si256((__m256i *)(set + 4 * v), _mm256_blendv_epi8(s[v], shifted, chosen));
    }
    return match != 0;
#else
    uint64_t carried = key | dirty;
    (void)lanes; (void)ways_mask; (void)dirty_bits;
    for (unsigned way = 0; way < assoc; way++) {
        uint64_t tag = set[way];
        set[way] = carried;
        if ((tag & ~XT_DIRTY) == key) {
            set[0] |= tag & XT_DIRTY;
            *victim = XT_INVALID;
            return 1;
        }
        carried = tag;
    }
    *victim = carried;
    return 0;
#endif
}

/* The same for a set of any length, one vector after another until the key is found. */
XT_INLINE unsigned XT_NAME(touch_long)(uint64_t *set, unsigned assoc, uint64_t key, uint64_t dirty, uint64_t *victim)
{
#if XT_ISA >= 3
    if (assoc <= 4)
        return XT_NAME(touch)(set, 4, assoc, (UINT64_C(1) << assoc) - 1, key, dirty, 1, victim);
    uint64_t was = 0;
    unsigned at = 0;
    *victim = set[assoc - 1];
#if XT_ISA == 4
    __m512i wanted = _mm512_set1_epi64((long long)key), previous = _mm512_set1_epi64((long long)(key | dirty));
    for (; at < assoc; at += 8) {
        __m512i s = _mm512_load_si512(set + at), shifted = _mm512_alignr_epi64(s, previous, 7);
        unsigned match = _mm512_cmpeq_epi64_mask(_mm512_and_si512(s, _mm512_set1_epi64((long long)~XT_DIRTY)), wanted);
        unsigned moved = (match ^ (match - 1)) & 255;
        if (match || at + 8 > assoc) {
            if (match)
                was = set[at + XT_FIRST_BIT(match)] & XT_DIRTY;
            else
                moved = (1u << (assoc - at)) - 1;
            _mm512_store_si512(set + at, _mm512_mask_mov_epi64(s, (__mmask8)moved, shifted));
            set[0] |= was;
            return match != 0;
        }
        _mm512_store_si512(set + at, shifted);
        previous = s;
    }
#else
    static const uint64_t lanes_up_to[5][4] __attribute__((aligned(32))) = {
        {0}, {~UINT64_C(0)}, {~UINT64_C(0), ~UINT64_C(0)}, {~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0)},
        {~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0)}};
    __m256i wanted = _mm256_set1_epi64x((long long)key), previous = _mm256_set1_epi64x((long long)(key | dirty));
    for (; at < assoc; at += 4) {
        __m256i s = _mm256_load_si256((const __m256i *)(set + at));
        __m256i shifted = _mm256_alignr_epi8(s, _mm256_permute2x128_si256(previous, s, 0x21), 8);
        __m256i tags = _mm256_and_si256(s, _mm256_set1_epi64x((long long)~XT_DIRTY));
        unsigned match = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(tags, wanted)));
        if (match || at + 4 > assoc) {
            unsigned moved = match ? XT_FIRST_BIT(match) + 1 : assoc - at;
            if (match)
                was = set[at + moved - 1] & XT_DIRTY;
            __m256i chosen = _mm256_load_si256((const __m256i *)lanes_up_to[moved]);
            _mm256_store_si256((__m256i *)(set + at), _mm256_blendv_epi8(s, shifted, chosen));
            set[0] |= was;
            return match != 0;
        }
        _mm256_store_si256((__m256i *)(set + at), shifted);
        previous = s;
    }
#endif
    return 0;
#else
    return XT_NAME(touch)(set, assoc, assoc, 0, key, dirty, 1, victim);
#endif
}

XT_INLINE uint64_t *XT_NAME(set_of)(const xt_table *t, uint64_t key)
{
    uint64_t index = t->power_of_two ? key & t->set_mask : key % t->sets;
    return t->tags + index * t->lanes;
}

/* The way that holds `key`, or `assoc`. */
XT_INLINE unsigned XT_NAME(find)(const xt_table *t, const uint64_t *set, uint64_t key)
{
    unsigned way = 0;
#if XT_ISA == 4
    for (; way < t->lanes; way += 4) {
        __m256i s = _mm256_load_si256((const __m256i *)(set + way));
        s = _mm256_and_si256(s, _mm256_set1_epi64x((long long)~XT_DIRTY));
        unsigned match = _mm256_cmpeq_epi64_mask(s, _mm256_set1_epi64x((long long)key));
        if (match)
            return way + XT_FIRST_BIT(match);
    }
    return t->assoc;
#elif XT_ISA == 3
    for (; way < t->lanes; way += 4) {
        __m256i s = _mm256_load_si256((const __m256i *)(set + way));
        s = _mm256_and_si256(s, _mm256_set1_epi64x((long long)~XT_DIRTY));
        s = _mm256_cmpeq_epi64(s, _mm256_set1_epi64x((long long)key));
        unsigned match = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(s));
        if (match)
            return way + XT_FIRST_BIT(match);
    }
    return t->assoc;
#else
    while (way < t->assoc && (set[way] & ~XT_DIRTY) != key)
        way++;
    return way;
#endif
}

/* ---- the replacement policies, for a table of any shape ---- */

XT_INLINE void XT_NAME(move_to_front)(uint64_t *set, unsigned way, uint64_t tag)
{
    for (; way; way--)
        set[way] = set[way - 1];
    set[0] = tag;
}

/* Tree-PLRU: node n has the children 2n and 2n + 1, and its bit names the half that was used longer ago. */
XT_INLINE void XT_NAME(plru_use)(const xt_table *t, uint64_t *tree, unsigned way)
{
    for (unsigned node = 1, half = t->assoc / 2; half; half /= 2) {
        unsigned right = (way & half) != 0;
        *tree = (*tree & ~(UINT64_C(1) << node)) | (uint64_t)!right << node;
        node = 2 * node + right;
    }
}

XT_INLINE unsigned XT_NAME(plru_victim)(const xt_table *t, uint64_t tree)
{
    unsigned node = 1, way = 0;
    for (unsigned half = t->assoc / 2; half; half /= 2) {
        unsigned right = (tree >> node) & 1;
        way += right * half;
        node = 2 * node + right;
    }
    return way;
}

XT_INLINE unsigned XT_NAME(random_way)(xt_table *t)
{
    t->random ^= t->random >> 12;                                   /* xorshift64*, Vigna 2016 */
    t->random ^= t->random << 25;
    t->random ^= t->random >> 27;
    return (unsigned)(((t->random * UINT64_C(0x2545F4914F6CDD1D)) >> 32) * t->assoc >> 32);
}

/*
 * Look `key` up in the set of `index` and fill it on a miss. Returns whether it hit; `*way` is where the key is now.
 * After a miss, `*victim` is the tag that left (XT_INVALID: none).
 */
static XT_COLD unsigned XT_NAME(use)(xt_table *t, uint64_t index, uint64_t key, uint64_t dirty, unsigned *way,
                                     uint64_t *victim)
{
    uint64_t *set = XT_NAME(set_of)(t, index);
    unsigned w;
    *victim = XT_INVALID;
    if (t->policy == XT_LRU && (key | dirty) == (set[0] | dirty)) {
        set[0] |= dirty;
        *way = 0;
        return 1;
    }
    if (t->policy == XT_LRU) {
        *way = 0;
        return XT_NAME(touch_long)(set, t->assoc, key, dirty, victim);
    }
    w = XT_NAME(find)(t, set, key);
    unsigned hit = w < t->assoc;
    if (t->policy == XT_FIFO) {
        if (!hit) {
            *victim = set[t->assoc - 1];
            XT_NAME(move_to_front)(set, t->assoc - 1, key);
            w = 0;
        }
        set[w] |= dirty;
        *way = w;
        return hit;
    }
    if (!hit) {
        w = XT_NAME(find)(t, set, XT_INVALID);
        if (w >= t->assoc)
            w = t->policy == XT_PLRU ? XT_NAME(plru_victim)(t, t->plru[(set - t->tags) / t->lanes])
                                     : XT_NAME(random_way)(t);
        *victim = set[w];
        set[w] = key;
    }
    set[w] |= dirty;
    if (t->policy == XT_PLRU)
        XT_NAME(plru_use)(t, &t->plru[(set - t->tags) / t->lanes], w);
    *way = w;
    return hit;
}

/* Take a line out of an exclusive cache. */
static void XT_NAME(take)(xt_table *t, uint64_t *set, unsigned way)
{
    if (t->policy <= XT_FIFO)
        for (; way + 1 < t->assoc; way++)
            set[way] = set[way + 1];
    set[way] = XT_INVALID;
}

/* ---- one access through everything ---- */

static void XT_NAME(put)(xt_engine *h, int cache, uint64_t maddr, uint64_t dirty);
static uint32_t XT_NAME(fetch)(xt_engine *h, int cache, uint64_t maddr, uint64_t index, unsigned kind, uint64_t dirty,
                               uint64_t *dirty_up);

XT_INLINE void XT_NAME(evict)(xt_engine *h, xt_table *t, uint64_t victim)
{
    if (victim == XT_INVALID)
        return;
    uint64_t dirty = victim & XT_DIRTY;
    t->writebacks += dirty != 0;
    if (dirty || (t->parent >= 0 && h->table[t->parent].exclusive))
        XT_NAME(put)(h, t->parent, (victim & ~XT_DIRTY) << t->line_shift, dirty);
}

/*
 * A line that leaves a cache arrives at the next one: a whole line, so nothing is fetched for it. Where it is found,
 * only its dirty bit changes, unless the cache takes an arrival for a use.
 */
static void XT_NAME(put)(xt_engine *h, int cache, uint64_t maddr, uint64_t dirty)
{
    if (cache < 0) {
        h->counts.memory_writes++;
        return;
    }
    xt_table *t = &h->table[cache];
    unsigned way, kind = dirty ? XT_WRITEBACK : XT_VICTIM;
    uint64_t victim, line = maddr >> t->line_shift, *set = XT_NAME(set_of)(t, line);
    way = XT_NAME(find)(t, set, line);
    if (way < t->assoc) {
        t->hits[kind]++;
        set[way] |= dirty;
        if (t->arrival_is_use)
            XT_NAME(use)(t, line, line, dirty, &way, &victim);
        return;
    }
    t->misses[kind]++;
    XT_NAME(use)(t, line, line, dirty, &way, &victim);
    XT_NAME(evict)(h, t, victim);
}

/* After a miss of the program: the next line of the same 4 KiB page only, the one after may be anybody's. */
static XT_COLD void XT_NAME(next_line)(xt_engine *h, xt_table *t, uint64_t maddr, uint64_t index)
{
    uint64_t line = (maddr >> t->line_shift) + 1, next = line << t->line_shift, up = 0, victim;
    uint64_t at = (index >> t->line_shift) + 1;
    unsigned way;
    if (next >> 12 != maddr >> 12 || XT_NAME(find)(t, XT_NAME(set_of)(t, at), line) < t->assoc)
        return;
    t->prefetches++;
    XT_NAME(fetch)(h, t->parent, next, next, XT_PREFETCH, 0, &up);
    XT_NAME(use)(t, at, line, up, &way, &victim);
    XT_NAME(evict)(h, t, victim);
}

/*
 * Read a line through `cache` and what lies below; returns the cycles of the level that had it. `index` is the
 * address that chooses the set; `*dirty_up` gets the dirty bit of a line that moved up from an exclusive cache.
 */
static uint32_t XT_NAME(fetch)(xt_engine *h, int cache, uint64_t maddr, uint64_t index, unsigned kind, uint64_t dirty,
                               uint64_t *dirty_up)
{
    if (cache < 0) {
        h->counts.memory_reads[kind]++;
        return h->memory_latency;
    }
    xt_table *t = &h->table[cache];
    uint64_t victim, line = maddr >> t->line_shift, up = 0;
    unsigned way;
    if (t->exclusive) {
        uint64_t *set = XT_NAME(set_of)(t, line);
        way = XT_NAME(find)(t, set, line);
        if (way >= t->assoc) {
            t->misses[kind]++;
            return XT_NAME(fetch)(h, t->parent, maddr, maddr, kind, 0, dirty_up);
        }
        t->hits[kind]++;
        *dirty_up = set[way] & XT_DIRTY;
        XT_NAME(take)(t, set, way);
        return t->latency;
    }
    if (XT_NAME(use)(t, index >> t->line_shift, line, dirty, &way, &victim)) {
        t->hits[kind]++;
        return t->latency;
    }
    t->misses[kind]++;
    uint32_t cycles = XT_NAME(fetch)(h, t->parent, maddr, maddr, kind, 0, &up);
    XT_NAME(set_of)(t, index >> t->line_shift)[way] |= up;
    XT_NAME(evict)(h, t, victim);
    if (t->prefetch && kind <= XT_EXECUTE)
        XT_NAME(next_line)(h, t, maddr, index);
    return cycles;
}

/*
 * The same for an access that counts once though it touches n lines: a level that has them all ends it; where one is
 * missing, the whole access goes on.
 */
static uint32_t XT_NAME(fetch_whole)(xt_engine *h, int cache, unsigned n, const uint64_t *maddr, const uint64_t *index,
                                     unsigned kind, uint64_t dirty, uint64_t *dirty_up)
{
    uint64_t victim[XT_MAX_PIECES], up[XT_MAX_PIECES] = {0};
    unsigned way, missing = 0;
    uint8_t missed[XT_MAX_PIECES];
    if (cache < 0) {
        h->counts.memory_reads[kind]++;
        return h->memory_latency;
    }
    xt_table *t = &h->table[cache];
    for (unsigned i = 0; i < n; i++) {
        uint64_t line = maddr[i] >> t->line_shift;
        if (t->exclusive) {
            uint64_t *set = XT_NAME(set_of)(t, line);
            way = XT_NAME(find)(t, set, line);
            missed[i] = way >= t->assoc;
            if (!missed[i]) {
                dirty_up[i] |= set[way] & XT_DIRTY;
                XT_NAME(take)(t, set, way);
            }
        } else {
            missed[i] = !XT_NAME(use)(t, index[i] >> t->line_shift, line, dirty, &way, &victim[i]);
        }
        missing += missed[i];
    }
    if (!missing) {
        t->hits[kind]++;
        return t->latency;
    }
    t->misses[kind]++;
    uint32_t cycles = XT_NAME(fetch_whole)(h, t->parent, n, maddr, maddr, kind, 0, t->exclusive ? dirty_up : up);
    if (t->exclusive)
        return cycles;
    for (unsigned i = 0; i < n; i++) {
        uint64_t line = maddr[i] >> t->line_shift, *set = XT_NAME(set_of)(t, index[i] >> t->line_shift);
        way = XT_NAME(find)(t, set, line);
        if (way < t->assoc)
            set[way] |= up[i];
        for (unsigned j = i + 1; j < n && up[i]; j++)
            if (missed[j] && victim[j] == line)
                victim[j] |= up[i]; /* a later line of the same access drove it out already */
    }
    for (unsigned i = 0; i < n; i++) {
        if (!missed[i])
            continue;
        XT_NAME(evict)(h, t, victim[i]);
        if (t->prefetch && kind <= XT_EXECUTE)
            XT_NAME(next_line)(h, t, maddr[i], index[i]);
    }
    return cycles;
}

XT_INLINE int XT_NAME(pt_entry)(xt_engine *h, unsigned level, uint64_t virt, uint64_t *maddr)
{
    uint64_t entry = virt >> (12 + 9 * (level - 1)), prefix = entry >> 9;
    const xt_pt_run *runs = h->pt[level], *r = &runs[h->pt_last[level]];
    if (prefix < r->start || prefix > r->last) {
        size_t low = 0, high = h->pt_count[level];
        while (low < high) {
            size_t mid = (low + high) / 2;
            if (runs[mid].last < prefix)
                low = mid + 1;
            else
                high = mid;
        }
        if (low == h->pt_count[level] || prefix < runs[low].start)
            return 0;
        h->pt_last[level] = low;
        r = &runs[low];
    }
    *maddr = r->maddr + ((prefix - r->start) << 12) + ((entry & 511) << 3);
    return 1;
}

/*
 * The page-table entries that a walk reads, from the top: after the deepest page-walk cache that has the way, or all.
 * The entries that point to tables are kept by the page-walk caches of their levels.
 */
static XT_COLD unsigned XT_NAME(walk)(xt_engine *h, uint64_t virt, unsigned size, uint64_t *reads)
{
    unsigned leaf = size + 1, level, n = 0, way;
    uint64_t victim;
    for (level = leaf + 1; level <= XT_TOP_LEVEL; level++) {
        int cache = h->walk_cache[level];
        if (cache < 0)
            continue;
        xt_table *t = &h->table[cache];
        uint64_t key = virt >> (12 + 9 * (level - 1));
        if (XT_NAME(find)(t, XT_NAME(set_of)(t, key), key) < t->assoc) {
            XT_NAME(use)(t, key, key, 0, &way, &victim);
            t->hits[XT_READ]++;
            break;
        }
        t->misses[XT_READ]++;
    }
    while (--level >= leaf) {
        if (XT_NAME(pt_entry)(h, level, virt, &reads[n])) {
            n++;
            h->counts.walk_reads_level[level]++;
        }
        if (level > leaf && h->walk_cache[level] >= 0) {
            uint64_t key = virt >> (12 + 9 * (level - 1));
            XT_NAME(use)(&h->table[h->walk_cache[level]], key, key, 0, &way, &victim);
        }
    }
    h->counts.walks[size]++;
    h->counts.walk_reads += n;
    return n;
}

/*
 * Count a look-up of a TLB. `*seen` is what the earlier pages of an access that counts once did here (0 none, 1 hit,
 * 2 miss): a later one only changes a hit into a miss.
 */
XT_INLINE void XT_NAME(count)(xt_table *t, unsigned hit, unsigned size, int later)
{
    uint8_t *seen = &t->seen[size];
    if (!later || !*seen) {
        *(hit ? &t->hits[size] : &t->misses[size]) += 1;
        *seen = hit ? 1 : 2;
    } else if (!hit && *seen == 1) {
        t->hits[size]--;
        t->misses[size]++;
        *seen = 2;
    }
}

/* Look a page up in the TLBs of one side, from `level` on; returns the level that had it, or tlb_levels. */
XT_INLINE int XT_NAME(tlb_use)(xt_engine *h, int level, unsigned side, uint64_t virt, unsigned size, int later)
{
    uint64_t victim;
    unsigned way;
    for (; level < h->tlb_levels; level++) {
        int32_t index = h->tlb[level][side][size];
        if (index < 0)
            continue;
        xt_table *t = &h->table[index];
        unsigned held = t->held[size];
        uint64_t page = virt >> xt_page_shift[held];
        unsigned hit = XT_NAME(use)(t, page, page << 2 | held, 0, &way, &victim);
        XT_NAME(count)(t, hit, size, later);
        if (hit)
            break;
    }
    return level;
}

/* Translate one page. Adds the cycles of a walk to `*walk`, and sets `*tlb` to those of the slowest TLB. */
static void XT_NAME(translate)(xt_engine *h, unsigned side, uint64_t virt, unsigned size, int later, uint64_t *walk,
                               uint64_t *tlb, int *missed)
{
    int level = XT_NAME(tlb_use)(h, 0, side, virt, size, later);
    if (level < h->tlb_levels) {
        uint64_t latency = h->table[h->tlb[level][side][size]].latency;
        *tlb = latency > *tlb ? latency : *tlb;
        return;
    }
    *missed = 1;
    if (!h->walk_enabled)
        return;
    uint64_t reads[XT_TOP_LEVEL], cycles = h->walk_latency, up = 0;
    unsigned n = XT_NAME(walk)(h, virt, size, reads);
    for (unsigned i = 0; i < n; i++)
        cycles += XT_NAME(fetch)(h, h->walk_entry, reads[i], reads[i], XT_WALK, 0, &up);
    *walk += cycles;
}

XT_INLINE int XT_NAME(map)(xt_engine *h, uint64_t virt, uint64_t *maddr, unsigned *size)
{
    const xt_run *r = &h->runs[h->run_last];
    if (virt < r->start || virt > r->last) {
        size_t low = 0, high = h->run_count;
        while (low < high) {
            size_t mid = (low + high) / 2;
            if (h->runs[mid].last < virt)
                low = mid + 1;
            else
                high = mid;
        }
        if (low == h->run_count || virt < h->runs[low].start) {
            h->fault = virt;
            return 0;
        }
        h->run_last = low;
        r = &h->runs[low];
    }
    *maddr = virt + r->delta;
    *size = r->size;
    return 1;
}

/* Put the hits that the fast path took into the counts. */
XT_INLINE void XT_NAME(drain)(xt_engine *h)
{
    xenmm_timing_memo *memo = &h->memo;
    uint64_t both = memo->repeats[0] + memo->repeats[1];
    if (!both)
        return;
    int32_t cache = h->entry[0];
    h->table[cache].hits[XT_READ] += memo->repeats[0];
    h->table[cache].hits[XT_WRITE] += memo->repeats[1];
    h->counts.accesses[XT_READ] += memo->repeats[0];
    h->counts.accesses[XT_WRITE] += memo->repeats[1];
    if (h->tlb_levels)
        h->table[h->tlb[0][0][h->memo_size]].hits[h->memo_size] += both;
    memo->repeats[0] = memo->repeats[1] = 0;
}

/* One access inside one line. */
static uint64_t XT_NAME(access_line)(xt_engine *h, uint64_t virt, unsigned kind)
{
    unsigned side = kind == XT_EXECUTE, size = 0;
    uint64_t maddr = virt, cycles = 0, tlb = 0, up = 0;
    int missed = 0;
    if (!h->identity)
        XT_NAME(map)(h, virt, &maddr, &size);
    if (h->tlb_levels)
        XT_NAME(translate)(h, side, virt, size, 0, &cycles, &tlb, &missed);
    cycles += XT_NAME(fetch)(h, h->entry[side], maddr, virt, kind, kind == XT_WRITE ? XT_DIRTY : 0, &up);
    h->counts.accesses[kind]++;
    h->memo_size = (int32_t)size;
    return cycles + (missed ? 0 : tlb);
}

/* One access to several lines that counts once: its pages are translated, then all its lines go level by level. */
static XT_COLD uint64_t XT_NAME(access_whole)(xt_engine *h, uint64_t virt, uint64_t last, unsigned kind, unsigned shift)
{
    uint64_t maddr[XT_MAX_PIECES], index[XT_MAX_PIECES], up[XT_MAX_PIECES] = {0}, cycles = 0, tlb = 0;
    unsigned side = kind == XT_EXECUTE, size = 0, n = 0;
    int missed = 0;
    for (int i = h->caches; i < h->tables; i++)
        memset(h->table[i].seen, 0, sizeof h->table[i].seen);
    for (uint64_t line = virt >> shift; n < XT_MAX_PIECES; line++, n++) {
        index[n] = maddr[n] = n ? line << shift : virt;
        if (!h->identity)
            XT_NAME(map)(h, index[n], &maddr[n], &size);
        if (h->tlb_levels && (n == 0 || index[n] >> 12 != index[n - 1] >> 12))
            XT_NAME(translate)(h, side, index[n], size, n != 0, &cycles, &tlb, &missed);
        if (line == last >> shift) {
            n++;
            break;
        }
    }
    cycles += XT_NAME(fetch_whole)(h, h->entry[side], n, maddr, index, kind, kind == XT_WRITE ? XT_DIRTY : 0, up);
    h->counts.accesses[kind]++;
    h->memo_size = (int32_t)size;
    /* A TLB that missed for one page counts a miss, so its latency counts no more. */
    return cycles + (missed ? 0 : tlb);
}

static uint64_t XT_NAME(access)(xt_engine *h, uint64_t virt, unsigned kind, uint64_t bytes, int once)
{
    unsigned side = kind == XT_EXECUTE, size;
    int32_t entry = h->entry[side];
    unsigned shift = entry < 0 ? 6 : h->table[entry].line_shift;
    uint64_t last = virt + (bytes ? bytes - 1 : 0), cost = 0, maddr;
    if (last < virt)
        last = UINT64_MAX;
    XT_NAME(drain)(h);
    h->memo.valid = 0;
    if (!h->identity)
        for (uint64_t page = virt >> 12; page <= last >> 12; page++)
            if (!XT_NAME(map)(h, page == virt >> 12 ? virt : page << 12, &maddr, &size))
                return XT_NO_COST;
    if (once && virt >> shift != last >> shift) {
        cost = XT_NAME(access_whole)(h, virt, last, kind, shift);
    } else {
        cost = XT_NAME(access_line)(h, virt, kind);
        for (uint64_t line = virt >> shift; line != last >> shift; line++)
            cost += XT_NAME(access_line)(h, (line + 1) << shift, kind);
    }
    h->dirty |= kind == XT_WRITE;
    h->memo.line = last >> h->memo.line_shift;
    h->memo.valid = side == 0 && h->memo_allowed && (h->tlb_levels == 0 || h->tlb[0][0][h->memo_size] >= 0);
    h->memo.dirty = kind == XT_WRITE;
    return cost;
}

/* ---- a block, level by level ---- */

/* Every access that repeats the line of the one before hits: only the others go on. */
XT_INLINE size_t XT_NAME(lines)(xt_engine *h, const uint64_t *virt, const uint8_t *kinds, size_t n)
{
    unsigned shift = h->memo.line_shift;
    size_t m = 0;
    /* No line has this number: line_shift is at least 4. */
    uint64_t previous = h->memo.valid ? h->memo.line : UINT64_MAX;
    if (!kinds) {
        size_t i = 0;
#if XT_ISA == 4
        /* The last lane of `before` is the line before; storing whole vectors may write past m, into the slack. */
        __m512i before = _mm512_set1_epi64((long long)previous);
        __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for (; i + 8 <= n; i += 8) {
            __m512i a = _mm512_loadu_si512(virt + i), line = _mm512_srl_epi64(a, _mm_cvtsi32_si128((int)shift));
            __mmask8 fresh = _mm512_cmpneq_epi64_mask(line, _mm512_alignr_epi64(line, before, 7));
            _mm512_storeu_si512(h->virt + m, _mm512_maskz_compress_epi64(fresh, a));
            _mm256_storeu_si256((__m256i *)(h->origin + m), _mm256_maskz_compress_epi32(fresh, number));
            m += (size_t)_mm_popcnt_u32(fresh);
            number = _mm256_add_epi32(number, _mm256_set1_epi32(8));
            before = line;
        }
        if (i)
            previous = virt[i - 1] >> shift;
#endif
        for (; i < n; i++) {
            uint64_t line = virt[i] >> shift;
            h->virt[m] = virt[i];
            h->origin[m] = (uint32_t)i;
            m += line != previous;
            previous = line;
        }
        return m;
    }
    unsigned writable = h->memo.dirty, side = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t line = virt[i] >> shift;
        unsigned write = kinds[i] == XT_WRITE, execute = kinds[i] == XT_EXECUTE;
        unsigned repeat = (line == previous) & (execute == side) & (writable | !write);
        h->virt[m] = virt[i];
        h->kind[m] = kinds[i];
        h->origin[m] = (uint32_t)i;
        m += !repeat;
        writable = repeat ? writable : write;
        previous = line;
        side = execute;
    }
    return m;
}

/* One level of TLBs over pages in `keys` (page << 2 | size), all in one table; what missed goes on, in order. */
XT_INLINE size_t XT_NAME(tlb_level)(xt_table *t, unsigned lanes, const uint64_t *keys, const uint32_t *position, size_t n,
                                    uint64_t *out, uint32_t *out_position)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = keys[i], victim;
        uint64_t *set = XT_NAME(set_of)(t, key >> 2);
        unsigned hit = XT_NAME(touch)(set, lanes, t->assoc, t->ways_mask, key, 0, 0, &victim);
        out[m] = key;
        out_position[m] = position[i];
        m += !hit;
    }
    return m;
}

static size_t XT_NAME(tlb_level_any)(xt_table *t, const uint64_t *keys, const uint32_t *position, size_t n,
                                     uint64_t *out, uint32_t *out_position)
{
    if (t->policy == XT_LRU && t->lanes == 4)
        return XT_NAME(tlb_level)(t, 4, keys, position, n, out, out_position);
    if (t->policy == XT_LRU && t->lanes == 8)
        return XT_NAME(tlb_level)(t, 8, keys, position, n, out, out_position);
    if (t->policy == XT_LRU && t->lanes == 16)
        return XT_NAME(tlb_level)(t, 16, keys, position, n, out, out_position);
    size_t m = 0;
    if (t->policy == XT_LRU) {
        for (size_t i = 0; i < n; i++) {
            uint64_t key = keys[i], victim;
            out[m] = key;
            out_position[m] = position[i];
            m += !XT_NAME(touch_long)(XT_NAME(set_of)(t, key >> 2), t->assoc, key, 0, &victim);
        }
        return m;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t victim;
        unsigned way, hit = XT_NAME(use)(t, keys[i] >> 2, keys[i], 0, &way, &victim);
        out[m] = keys[i];
        out_position[m] = position[i];
        m += !hit;
    }
    return m;
}

/* The translations of a block whose pages all have `size` and go to one table a level. Returns how many walk. */
static size_t XT_NAME(tlbs_uniform)(xt_engine *h, size_t m, size_t accesses, unsigned size, uint32_t **walks)
{
    uint64_t *keys = h->keys, *next = h->keys + XT_BLOCK;
    uint32_t *position = h->position, *next_position = h->position2;
    xt_table *t = &h->table[h->tlb[0][0][size]];
    unsigned shift = xt_page_shift[t->held[size]];
    uint64_t previous = UINT64_MAX;
    size_t n = 0;
    for (size_t i = 0; i < m; i++) {
        uint64_t key = h->virt[i] >> shift << 2 | t->held[size];
        keys[n] = key;
        position[n] = (uint32_t)i;
        n += key != previous;
        previous = key;
    }
    size_t arrived = accesses;
    for (int level = 0; level < h->tlb_levels && n; level++) {
        int32_t index = h->tlb[level][0][size];
        if (index < 0)
            continue;
        t = &h->table[index];
        if (xt_page_shift[t->held[size]] != shift) {
            shift = xt_page_shift[t->held[size]];
            for (size_t i = 0; i < n; i++)
                keys[i] = h->virt[position[i]] >> shift << 2 | t->held[size];
        }
        n = XT_NAME(tlb_level_any)(t, keys, position, n, next, next_position);
        t->hits[size] += arrived - n;
        t->misses[size] += n;
        arrived = n;
        uint64_t *k = keys; keys = next; next = k;
        uint32_t *p = position; position = next_position; next_position = p;
    }
    *walks = position;
    return n;
}

/* The same when pages of several sizes, or instructions, are in the block. */
static size_t XT_NAME(tlbs_mixed)(xt_engine *h, size_t m, size_t accesses, const uint8_t *kinds, uint32_t *position)
{
    size_t n = 0;
    for (size_t i = 0; i < m; i++) {
        unsigned side = kinds && h->kind[i] == XT_EXECUTE, size = h->identity ? 0 : h->size[i];
        uint64_t repeats = (i + 1 < m ? h->origin[i + 1] : accesses) - h->origin[i] - 1;
        h->table[h->tlb[0][side][size]].hits[size] += repeats;
        position[n] = (uint32_t)i;
        n += XT_NAME(tlb_use)(h, 0, side, h->virt[i], size, 0) == h->tlb_levels;
    }
    return n;
}

XT_INLINE void XT_NAME(tally)(const uint64_t *items, size_t n, uint64_t *by_kind)
{
    uint64_t low = 0, high = 0;
    for (int k = 0; k < XT_KINDS; k++)
        by_kind[k] = 0;
    while (n) {
        /* Eight counters of 16 bits each hold a part of 60,000 items. */
        size_t part = n < 60000 ? n : 60000;
        low = high = 0;
        for (size_t i = 0; i < part; i++) {
            unsigned kind = items[i] & XT_KIND_MASK;
            low += (uint64_t)(kind < 4) << (16 * (kind & 3));
            high += (uint64_t)(kind >= 4) << (16 * (kind & 3));
        }
        for (int k = 0; k < XT_KINDS; k++)
            by_kind[k] += ((k < 4 ? low : high) >> (16 * (k & 3))) & 0xffff;
        items += part;
        n -= part;
    }
}

/*
 * One cache over a stream of lines. What missed goes on in order, each followed by the dirty line that it drove out.
 * `index` gives the addresses that choose the sets, NULL for the stream's own.
 */
XT_INLINE size_t XT_NAME(cache_level)(xt_table *t, unsigned lanes, int dirty_bits, int entry, const uint64_t *in,
                                      const uint64_t *index, size_t n, uint64_t *out)
{
    size_t m = 0;
    unsigned shift = t->line_shift;
    int power_of_two = t->power_of_two;
    uint64_t mask = t->set_mask, sets = t->sets, ways_mask = t->ways_mask, *tags = t->tags;
    unsigned assoc = t->assoc;
    int far = t->sets * t->lanes > 4096;
    uint64_t written_back = 0, written_back_hits = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t item = in[i], victim, dirty = 0, line = item >> shift, at = (index ? index[i] : item) >> shift;
        if (far && i + XT_PREFETCH_AHEAD < n) {
            uint64_t ahead = (index ? index[i + XT_PREFETCH_AHEAD] : in[i + XT_PREFETCH_AHEAD]) >> shift;
            uint64_t *set = tags + (power_of_two ? ahead & mask : ahead % sets) * lanes;
            XT_PREFETCH_LINE(set);
            if (lanes > 8)
                XT_PREFETCH_LINE(set + 8);
        }
        uint64_t *set = tags + (power_of_two ? at & mask : at % sets) * lanes;
        unsigned kind = item & XT_KIND_MASK;
        if (dirty_bits && !entry && kind == XT_WRITEBACK) {
            /* Where the line is found, only its dirty bit changes, unless an arrival is a use. */
            unsigned way = XT_NAME(find)(t, set, line);
            written_back++;
            if (way < assoc) {
                written_back_hits++;
                set[way] |= XT_DIRTY;
                if (!t->arrival_is_use)
                    continue;
            }
        }
        if (dirty_bits)
            dirty = (uint64_t)(kind == (entry ? XT_WRITE : XT_WRITEBACK)) << 63;
        unsigned hit = XT_NAME(touch)(set, lanes, assoc, ways_mask, line, dirty, dirty_bits, &victim);
        out[m] = item;
        if (dirty_bits) {
            m += (hit == 0) & (kind != XT_WRITEBACK);
            out[m] = victim << shift | XT_WRITEBACK; /* the shift drops the dirty bit */
            m += (hit == 0) & (victim >> 63);
        } else {
            m += !hit;
        }
    }
    t->hits[XT_WRITEBACK] += written_back_hits;
    t->misses[XT_WRITEBACK] += written_back - written_back_hits;
    return m;
}

static XT_COLD size_t XT_NAME(cache_level_slow)(xt_engine *h, int32_t cache, int entry, const uint64_t *in,
                                                const uint64_t *index, size_t n, uint64_t *out)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned kind = in[i] & XT_KIND_MASK, way;
        xt_table *t = &h->table[entry ? h->entry[kind == XT_EXECUTE] : cache];
        uint64_t victim, line = in[i] >> t->line_shift, at = (index ? index[i] : in[i]) >> t->line_shift;
        uint64_t dirty = kind == (entry ? XT_WRITE : XT_WRITEBACK) ? XT_DIRTY : 0, *set = XT_NAME(set_of)(t, at);
        if (kind == XT_WRITEBACK) {
            way = XT_NAME(find)(t, set, line);
            *(way < t->assoc ? &t->hits[kind] : &t->misses[kind]) += 1;
            if (way < t->assoc) {
                set[way] |= XT_DIRTY;
                if (!t->arrival_is_use)
                    continue;
            }
        }
        if (XT_NAME(use)(t, at, line, dirty, &way, &victim))
            continue;
        if (kind != XT_WRITEBACK)
            out[m++] = in[i];
        if (victim & XT_DIRTY)
            out[m++] = (victim & ~XT_DIRTY) << t->line_shift | XT_WRITEBACK;
    }
    return m;
}

static size_t XT_NAME(cache_level_any)(xt_engine *h, int32_t cache, int entry, int split, int dirty_bits,
                                       const uint64_t *in, const uint64_t *index, size_t n, uint64_t *out)
{
    xt_table *t = &h->table[cache];
    if (t->policy != XT_LRU || split)
        return XT_NAME(cache_level_slow)(h, cache, entry, in, index, n, out);
#define XT_LEVEL(n_lanes) \
    if (t->lanes == n_lanes) { \
        if (index) \
            return XT_NAME(cache_level)(t, n_lanes, 1, entry, in, index, n, out); \
        return dirty_bits ? XT_NAME(cache_level)(t, n_lanes, 1, entry, in, NULL, n, out) \
                          : XT_NAME(cache_level)(t, n_lanes, 0, entry, in, NULL, n, out); \
    }
    XT_LEVEL(8)
    XT_LEVEL(16)
    XT_LEVEL(4)
#undef XT_LEVEL
    return XT_NAME(cache_level_slow)(h, cache, entry, in, index, n, out);
}

/* The first cache's stream: each access after the page-table reads of its walk. Returns its length. */
static size_t XT_NAME(merge)(xt_engine *h, size_t m, int kinds, const uint32_t *walks, size_t walk_count, int indexed)
{
    const uint64_t *maddr = h->identity ? h->virt : h->maddr;
    size_t n = 0, k = 0;
    for (size_t w = 0; w <= walk_count; w++) {
        size_t end = w < walk_count ? walks[w] : m;
        for (; k < end; k++, n++) {
            h->stream[n] = (maddr[k] & ~XT_KIND_MASK) | (kinds ? h->kind[k] : XT_READ);
            if (indexed)
                h->index[n] = h->virt[k];
        }
        if (w == walk_count)
            break;
        uint64_t reads[XT_TOP_LEVEL];
        unsigned count = XT_NAME(walk)(h, h->virt[end], h->identity ? 0 : h->size[end], reads);
        for (unsigned i = 0; i < count; i++, n++) {
            h->stream[n] = (reads[i] & ~XT_KIND_MASK) | XT_WALK;
            if (indexed)
                h->index[n] = reads[i];
        }
    }
    return n;
}

/* Add a level's hits and misses, from what came in and what went on. */
XT_INLINE void XT_NAME(add)(xt_table *t, const uint64_t *in, const uint64_t *out, int from, int to)
{
    for (int k = from; k < to; k++) {
        t->hits[k] += in[k] - out[k];
        t->misses[k] += out[k];
    }
}

/* What goes to the levels that hear from below: a cache that prefetches, or stands above an exclusive one. */
static void XT_NAME(one_by_one)(xt_engine *h, int32_t cache, const uint64_t *in, size_t n)
{
    const xt_table *t = &h->table[cache], *below = t->parent < 0 ? t : &h->table[t->parent];
    for (size_t i = 0; i < n; i++) {
        uint64_t maddr = in[i] & ~XT_KIND_MASK, up = 0;
        unsigned kind = in[i] & XT_KIND_MASK;
        if (i + XT_PREFETCH_AHEAD < n) {
            uint64_t ahead = in[i + XT_PREFETCH_AHEAD], *set = XT_NAME(set_of)(below, ahead >> below->line_shift);
            XT_PREFETCH_LINE(XT_NAME(set_of)(t, ahead >> t->line_shift));
            XT_PREFETCH_LINE(set);
            XT_PREFETCH_LINE(set + 8);
        }
        if (kind == XT_WRITEBACK)
            XT_NAME(put)(h, cache, maddr, XT_DIRTY);
        else
            XT_NAME(fetch)(h, cache, maddr, maddr, kind, 0, &up);
    }
}

static void XT_NAME(caches)(xt_engine *h, size_t n, int plain, int indexed)
{
    uint64_t in[XT_KINDS] = {0}, out[XT_KINDS] = {0};
    uint64_t *stream = h->stream, *next = h->other;
    if (plain)
        in[XT_READ] = n;
    else
        XT_NAME(tally)(stream, n, in);
    for (int level = -1; level < h->chain_length; level++) {
        int32_t cache = level < 0 ? h->entry[0] : h->chain[level];
        xt_table *t = &h->table[cache];
        int split = level < 0 && h->entry[0] != h->entry[1] && in[XT_EXECUTE];
        n = XT_NAME(cache_level_any)(h, cache, level < 0, split, h->dirty, stream,
                                     level < 0 && indexed ? h->index : NULL, n, next);
        if (plain && !h->dirty)
            out[XT_READ] = n;
        else
            XT_NAME(tally)(next, n, out);
        if (level < 0 && h->entry[1] != h->entry[0]) {
            XT_NAME(add)(&h->table[h->entry[1]], in, out, XT_EXECUTE, XT_EXECUTE + 1);
            XT_NAME(add)(t, in, out, XT_READ, XT_WRITE + 1);
            XT_NAME(add)(t, in, out, XT_WALK, XT_WALK + 1);
        } else {
            XT_NAME(add)(t, in, out, XT_READ, XT_WALK + 1);
        }
        t->writebacks += out[XT_WRITEBACK];
        memcpy(in, out, sizeof in);
        uint64_t *s = stream; stream = next; next = s;
    }
    if (h->special >= 0) {
        XT_NAME(one_by_one)(h, h->special, stream, n);
        return;
    }
    for (int k = XT_READ; k <= XT_WALK; k++)
        h->counts.memory_reads[k] += in[k];
    h->counts.memory_writes += in[XT_WRITEBACK];
}

static size_t XT_NAME(block)(xt_engine *h, const uint64_t *virt, const uint8_t *kinds, size_t n)
{
    size_t m = XT_NAME(lines)(h, virt, kinds, n), walk_count = 0, done = n;
    uint32_t *walks = h->position;
    unsigned size = 0, execute = 0, repeated_size = h->memo_size;
    int mixed = 0;
    if (!h->identity)
        for (size_t i = 0; i < m; i++) {
            if (!XT_NAME(map)(h, h->virt[i], &h->maddr[i], &size)) {
                done = h->origin[i];
                m = i;
                break;
            }
            h->size[i] = (uint8_t)size;
            mixed |= size != h->size[0];
        }
    uint64_t total[3] = {done, 0, 0}, first[3] = {m, 0, 0};
    if (kinds) {
        for (size_t i = 0; i < done; i++) {
            total[1] += kinds[i] == XT_WRITE;
            total[2] += kinds[i] == XT_EXECUTE;
        }
        for (size_t i = 0; i < m; i++) {
            first[1] += h->kind[i] == XT_WRITE;
            first[2] += h->kind[i] == XT_EXECUTE;
        }
        total[0] -= total[1] + total[2];
        first[0] -= first[1] + first[2];
        h->dirty |= total[1] != 0;
        execute = first[2] != 0;
    }
    for (int k = XT_READ; k <= XT_EXECUTE; k++) {
        h->counts.accesses[k] += total[k];
        h->table[h->entry[k == XT_EXECUTE]].hits[k] += total[k] - first[k];
    }
    if (h->tlb_levels) {
        size_t repeats = m ? h->origin[0] : done;
        if (repeats)
            h->table[h->tlb[0][0][repeated_size]].hits[repeated_size] += repeats;
        if (mixed || (execute && h->tlb_split)) {
            walk_count = XT_NAME(tlbs_mixed)(h, m, done, kinds, h->position);
        } else if (m) {
            walk_count = XT_NAME(tlbs_uniform)(h, m, done - repeats, h->identity ? 0 : h->size[0], &walks);
        }
    }
    if (m) {
        int indexed = !h->identity && h->virtual_index;
        if (!h->walk_enabled)
            walk_count = 0;
        size_t length = XT_NAME(merge)(h, m, kinds != NULL, walks, walk_count, indexed);
        XT_NAME(caches)(h, length, !kinds && !walk_count, indexed);
        h->memo_size = h->identity ? 0 : h->size[m - 1];
        h->memo.dirty = kinds && h->kind[m - 1] == XT_WRITE;
        h->memo.line = h->virt[m - 1] >> h->memo.line_shift;
        h->memo.valid = h->memo_allowed && !(kinds && h->kind[m - 1] == XT_EXECUTE);
    }
    return done;
}

static size_t XT_NAME(run)(xt_engine *h, const uint64_t *virt, const uint8_t *kinds, size_t n)
{
    XT_NAME(drain)(h);
    for (size_t i = 0; i < n;) {
        if (!h->batch) {
            if (XT_NAME(access)(h, virt[i], kinds ? kinds[i] : XT_READ, 1, 0) == XT_NO_COST)
                return i;
            i++;
            continue;
        }
        size_t part = n - i < XT_BLOCK ? n - i : XT_BLOCK;
        size_t done = XT_NAME(block)(h, virt + i, kinds ? kinds + i : NULL, part);
        i += done;
        if (done < part)
            return i;
    }
    return n;
}
