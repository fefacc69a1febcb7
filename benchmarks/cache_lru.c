/*
 * The yardstick of the timing engine: a straightforward set-associative LRU simulator in plain C.
 *
 * One access at a time through two TLBs (optional) and three caches; every set keeps its tags in recency order and is
 * searched and shifted by plain loops. bench_timing.py builds it with -O3 -march=native and calls simulate().
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct table {
    uint64_t sets;
    unsigned ways;
    uint64_t *tags; /* [set][way], the newest way first */
    uint64_t hits, misses;
};

static int table_init(struct table *t, uint64_t sets, unsigned ways)
{
    t->sets = sets;
    t->ways = ways;
    t->hits = t->misses = 0;
    t->tags = malloc(sets * ways * sizeof *t->tags);
    if (t->tags)
        memset(t->tags, 0xff, sets * ways * sizeof *t->tags);
    return t->tags != NULL;
}

static inline int lookup(struct table *t, uint64_t number)
{
    uint64_t *set = t->tags + (number & (t->sets - 1)) * t->ways;
    unsigned way = 0;
    while (way < t->ways && set[way] != number)
        way++;
    int hit = way < t->ways;
    for (unsigned w = hit ? way : t->ways - 1; w > 0; w--)
        set[w] = set[w - 1];
    set[0] = number;
    t->hits += hit;
    t->misses += !hit;
    return hit;
}

/*
 * shape: {sets, ways} of L1, L2, L3 and, when with_tlbs, of the two TLBs (4 KiB pages); sets are powers of two.
 * counts: hits and misses of each. Returns 0, or -1 without memory.
 */
int simulate(const uint64_t *addresses, size_t n, const uint64_t *shape, int with_tlbs, uint64_t *counts)
{
    struct table t[5] = {{0}};
    int tables = with_tlbs ? 5 : 3, failed = 0;
    for (int i = 0; i < tables; i++)
        failed |= !table_init(&t[i], shape[2 * i], (unsigned)shape[2 * i + 1]);
    for (size_t i = 0; i < n && !failed; i++) {
        uint64_t line = addresses[i] >> 6, page = addresses[i] >> 12;
        if (with_tlbs && !lookup(&t[3], page))
            lookup(&t[4], page);
        if (!lookup(&t[0], line) && !lookup(&t[1], line))
            lookup(&t[2], line);
    }
    for (int i = 0; i < tables; i++) {
        counts[2 * i] = t[i].hits;
        counts[2 * i + 1] = t[i].misses;
        free(t[i].tags);
    }
    return failed ? -1 : 0;
}
