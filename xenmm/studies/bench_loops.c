/* SPDX-License-Identifier: MIT */
/* Whole arrays in plain C, parameters as constants: what a compiler makes of the formulas by itself. */

#include <stddef.h>
#include <stdint.h>

#include "bench_machine.h" /* made for the machine: BENCH_MODE, K_<field> */

#define PLAIN_MODE BENCH_MODE
#define PLAIN(name) plain_##name
#define PLAIN_ARGS
#define PLAIN_PASS
#define V(field) K_##field
#include "bench_plain.h"

#define LOOP(name)                                                                                       \
    void loop_##name(const uint64_t *restrict x, uint64_t *restrict y, size_t n, size_t repeats);        \
    void loop_##name(const uint64_t *restrict x, uint64_t *restrict y, size_t n, size_t repeats)         \
    {                                                                                                    \
        for (size_t r = 0; r < repeats; r++) {                                                           \
            for (size_t i = 0; i < n; i++)                                                               \
                y[i] = plain_##name(x[i]);                                                               \
            __asm__ volatile("" ::: "memory");                                                           \
        }                                                                                                \
    }

LOOP(mfn_to_page)
LOOP(page_to_mfn)
LOOP(mfn_to_virt)
LOOP(page_to_virt)
LOOP(page_to_mfn_to_virt)
