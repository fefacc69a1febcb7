/*
 * State of the timing engine and the choice of its loops. The loops themselves stand in
 * _timing_kernels.h, which this file includes once for each instruction set.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef XENMM_TIMING_ENGINE_H
#define XENMM_TIMING_ENGINE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xenmm_timing.h"

/*
 * A table is an array of sets of tags: a cache, a TLB or a page-walk cache. A tag is the whole line or page
 * number, so nothing of a 64-bit address is lost:
 *
 *   bit 63: dirty | bits 62..0: address >> line_shift   (line_shift >= 4)   of a cache
 *                 | bits 62..0: (virt >> page_shift) << 2 | page size       of a TLB
 *
 * LRU and FIFO sets are kept in order, the newest first, so that the last way is the victim and no age is stored.
 */
#define XT_DIRTY (UINT64_C(1) << 63)
#define XT_INVALID (~XT_DIRTY)

enum xt_policy { XT_LRU, XT_FIFO, XT_PLRU, XT_RANDOM };

/* What an access is, in the low bits of a stream's items. The first three are the program's own. */
enum xt_kind { XT_READ, XT_WRITE, XT_EXECUTE, XT_WALK, XT_PREFETCH, XT_WRITEBACK, XT_VICTIM, XT_KINDS };
#define XT_KIND_MASK UINT64_C(7)

enum { XT_MAX_TABLES = 32, XT_MAX_LEVELS = 8, XT_TLB_LEVELS = 4, XT_PAGE_SIZES = 3, XT_TOP_LEVEL = 4 };
enum { XT_BLOCK = 2048, XT_PREFETCH_AHEAD = 12, XT_MAX_WAYS_VECTOR = 64 };
/* Lines of one access: XT_MAX_BYTES in lines of 16. */
enum { XT_MAX_BYTES = 4096, XT_MAX_PIECES = XT_MAX_BYTES / 16 + 1 };

static const uint8_t xt_page_shift[XT_PAGE_SIZES] = {12, 21, 30};

typedef struct {
    uint64_t *tags;      /* sets * lanes; the lanes from assoc on stay invalid and are never chosen */
    uint64_t *plru;      /* one tree of bits a set */
    uint64_t sets, set_mask, ways_mask, random;
    uint32_t assoc, lanes;
    uint32_t latency;    /* cycles: load to use of a cache, what a hit adds for a TLB */
    int32_t parent;      /* index of the next cache, -1 for memory */
    uint8_t line_shift, policy, exclusive, prefetch, power_of_two, vector;
    uint8_t arrival_is_use; /* a written-back line that is found becomes the newest of its set */
    uint8_t held[XT_PAGE_SIZES]; /* the page size under which a TLB keeps a translation of each size */
    uint8_t seen[XT_PAGE_SIZES]; /* what the earlier pages of this access did here, when it counts once */
    uint64_t hits[XT_KINDS], misses[XT_KINDS];
    uint64_t writebacks, prefetches;
} xt_table;

typedef struct { uint64_t start, last, delta; uint32_t size; } xt_run;             /* virt -> maddr = virt + delta */
typedef struct { uint64_t start, last, maddr; } xt_pt_run;                         /* tables start..last of one level */

typedef struct {
    uint64_t walks[XT_PAGE_SIZES], walk_reads, walk_reads_level[XT_TOP_LEVEL + 1];
    uint64_t accesses[3], memory_reads[XT_KINDS], memory_writes;
} xt_counts;

struct xt_engine {
    xenmm_timing_memo memo; /* first: the public fast path reads it */
    xt_table table[XT_MAX_TABLES];
    int32_t caches, tables;
    int32_t entry[2];                                       /* first cache of data, of instructions */
    int32_t chain[XT_MAX_LEVELS], chain_length;             /* the caches below the entry that go level by level */
    int32_t special;                                        /* the first that hears from below, -1 without one */
    int32_t tlb[XT_TLB_LEVELS][2][XT_PAGE_SIZES];           /* [level][side][page size], -1 where none holds it */
    int32_t tlb_levels;
    int32_t walk_enabled, walk_entry;                       /* the cache that walks read through, -1 for memory */
    int32_t walk_cache[XT_TOP_LEVEL + 1];                   /* [level] of the entries that it keeps, -1 where none */
    uint32_t walk_latency, memory_latency;
    int32_t batch;                                          /* the level-by-level loops apply */
    int32_t memo_allowed;                                   /* no prefetch can move the line of the last access */
    int32_t memo_size;                                      /* page size of the last access */
    int32_t dirty;                                          /* something was written: tags may be dirty */
    int32_t tlb_split, virtual_index;                       /* instructions have TLBs of their own; see index */
    int32_t identity;                                       /* maddr = virt, pages of 4 KiB */
    const xt_run *runs; size_t run_count, run_last;
    const xt_pt_run *pt[XT_TOP_LEVEL + 1]; size_t pt_count[XT_TOP_LEVEL + 1], pt_last[XT_TOP_LEVEL + 1];
    xt_counts counts;
    uint64_t fault;                                         /* the address that no run maps */
    uint64_t *virt, *maddr, *stream, *other, *keys, *index;         /* buffers of one block */
    uint32_t *origin, *position, *position2;
    uint8_t *kind, *size;
    const struct xt_functions *functions;
};
typedef struct xt_engine xt_engine;

enum { XT_FAULT = -1 };
#define XT_NO_COST UINT64_MAX

typedef struct xt_functions {
    const char *name;
    /* Returns how many accesses were simulated: fewer than n when one of them is not mapped. */
    size_t (*run)(xt_engine *, const uint64_t *virt, const uint8_t *kinds, size_t n);
    /* Returns the cycles of one access that touches `size` bytes, XT_NO_COST when it is not mapped. */
    uint64_t (*access)(xt_engine *, uint64_t virt, unsigned kind, uint64_t size, int once);
} xt_functions;

#define XT_INLINE static inline __attribute__((always_inline))
#define XT_COLD __attribute__((noinline))
#define XT_PREFETCH_LINE(p) __builtin_prefetch(p, 1)
#define XT_FIRST_BIT(x) ((unsigned)__builtin_ctzll(x))

#if defined(__x86_64__)
#define XT_X86 1
#include <immintrin.h>
#endif

/* ---- the plain loops, for every processor ---- */
#define XT_NAME(x) x##_plain
#define XT_ISA 0
#include "_timing_kernels.h"
#undef XT_NAME
#undef XT_ISA

#ifdef XT_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif
#define XT_NAME(x) x##_v3
#define XT_ISA 3
#include "_timing_kernels.h"
#undef XT_NAME
#undef XT_ISA
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt,avx512f,avx512vl,avx512dq")
#endif
#define XT_NAME(x) x##_v4
#define XT_ISA 4
#include "_timing_kernels.h"
#undef XT_NAME
#undef XT_ISA
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

static const xt_functions xt_all_functions[] = {
    {"plain", run_plain, access_plain},
#ifdef XT_X86
    {"x86-64-v3", run_v3, access_v3},
    {"x86-64-v4", run_v4, access_v4},
#endif
};

static inline int xt_functions_count(void)
{
#ifdef XT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("bmi2"))
        return 3;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return 2;
#endif
    return 1;
}

/* ---- what needs no speed: making, emptying and freeing ---- */

static inline void *xt_alloc(size_t bytes)
{
    void *p = NULL;
    return posix_memalign(&p, 64, bytes ? bytes : 64) ? NULL : p;
}

static inline void xt_table_clear(xt_table *t, uint64_t seed)
{
    for (size_t i = 0; i < t->sets * t->lanes; i++)
        t->tags[i] = XT_INVALID;
    if (t->plru)
        memset(t->plru, 0, t->sets * sizeof *t->plru);
    t->random = seed;
}

static inline int xt_table_init(xt_table *t, uint64_t sets, uint32_t assoc, unsigned policy)
{
    t->sets = sets;
    t->assoc = assoc;
    t->policy = (uint8_t)policy;
    t->lanes = assoc <= 4 ? 4 : (assoc + 7) & ~7u;
    t->power_of_two = (sets & (sets - 1)) == 0;
    t->set_mask = sets - 1;
    t->vector = assoc <= XT_MAX_WAYS_VECTOR;
    t->ways_mask = assoc >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << assoc) - 1;
    t->parent = -1;
    t->tags = xt_alloc(sets * t->lanes * sizeof *t->tags);
    t->plru = policy == XT_PLRU ? xt_alloc(sets * sizeof *t->plru) : NULL;
    return t->tags && (policy != XT_PLRU || t->plru);
}

static inline int xt_buffers_init(xt_engine *h)
{
    size_t reads = (size_t)XT_BLOCK * (1 + XT_TOP_LEVEL), stream = reads * (2 + XT_MAX_LEVELS);
    h->virt = xt_alloc((XT_BLOCK + 8) * sizeof *h->virt);
    h->maddr = xt_alloc(XT_BLOCK * sizeof *h->maddr);
    h->keys = xt_alloc(2 * XT_BLOCK * sizeof *h->keys);
    h->stream = xt_alloc(stream * sizeof *h->stream);
    h->other = xt_alloc(stream * sizeof *h->other);
    h->index = xt_alloc(reads * sizeof *h->index);
    h->origin = xt_alloc((XT_BLOCK + 8) * sizeof *h->origin);
    h->position = xt_alloc(reads * sizeof *h->position);
    h->position2 = xt_alloc(reads * sizeof *h->position2);
    h->kind = xt_alloc(XT_BLOCK);
    h->size = xt_alloc(XT_BLOCK);
    return h->virt && h->maddr && h->keys && h->index && h->stream && h->other && h->origin && h->position &&
           h->position2 && h->kind && h->size;
}

static inline void xt_free(xt_engine *h)
{
    for (int i = 0; i < XT_MAX_TABLES; i++) {
        free(h->table[i].tags);
        free(h->table[i].plru);
    }
    free(h->virt); free(h->maddr); free(h->keys); free(h->index); free(h->stream); free(h->other);
    free(h->origin); free(h->position); free(h->position2); free(h->kind); free(h->size);
}

#endif
