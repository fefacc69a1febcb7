/*
 * The timing engine for embedders in C and Cython: one access, and many.
 *
 * An embedder links with nothing: it asks the Python object for its capsule,
 *
 *     xenmm_timing_api *t = PyCapsule_GetPointer(capsule, XENMM_TIMING_CAPSULE);
 *
 * which keeps the engine alive, and calls through it. One thread at a time may use an engine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef XENMM_TIMING_H
#define XENMM_TIMING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define XENMM_TIMING_ABI 1
#define XENMM_TIMING_CAPSULE "xenmm.timing.api"

/* Kinds of access. */
enum { XENMM_TIMING_READ = 0, XENMM_TIMING_WRITE = 1, XENMM_TIMING_EXECUTE = 2 };

/*
 * The last access. Another access to the same line finds the line and its page already newest in their sets, so it
 * hits and changes no state: it is only counted.
 */
typedef struct {
    uint64_t line;       /* virt >> line_shift of the last access */
    uint64_t repeats[2]; /* how many accesses this fast path took, reads [0] and writes [1], not yet in the counts */
    uint32_t line_shift;
    uint32_t latency;    /* cycles of such a hit */
    uint8_t valid;       /* a read may repeat: the last access was data, and no prefetch can have moved its line */
    uint8_t dirty;       /* a write may repeat too: the line is dirty already */
} xenmm_timing_memo;

typedef struct {
    uint32_t abi_version; /* XENMM_TIMING_ABI; later versions only add fields at the end */
    void *engine;         /* begins with the memo */
    /* Cycles of one access of one byte, UINT64_MAX when virt is not mapped or kind is none of the three. */
    uint64_t (*access)(void *engine, uint64_t virt, unsigned kind);
    /*
     * Simulates n accesses; kinds may be NULL for reads, and are not checked. Returns how many were done: fewer when
     * one is not mapped.
     */
    size_t (*run)(void *engine, const uint64_t *virt, const uint8_t *kinds, size_t n);
} xenmm_timing_api;

static inline uint64_t xenmm_timing_access(const xenmm_timing_api *api, uint64_t virt, unsigned kind)
{
    xenmm_timing_memo *memo = (xenmm_timing_memo *)api->engine;
    if (kind < 2 && memo->valid && (virt >> memo->line_shift) == memo->line && (kind == 0 || memo->dirty)) {
        memo->repeats[kind]++;
        return memo->latency;
    }
    return api->access(api->engine, virt, kind);
}

#ifdef __cplusplus
}
#endif
#endif
