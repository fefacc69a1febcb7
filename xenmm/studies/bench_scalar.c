/* SPDX-License-Identifier: MIT */
/*
 * One conversion at a time, inline: each as a chain (a result is the next argument) and as independent calls,
 * written by hand and by way of the headers, with parameters as constants and behind a pointer.
 */

#include <stddef.h>
#include <stdint.h>

#include "xenmm.h"

#include "bench_machine.h" /* made for the machine: BENCH_MODE, K_<field>, GENERIC(name) */
#include "machine_mm.h"    /* the frozen header */

#define PLAIN_MODE BENCH_MODE
#define PLAIN(name) constant_##name
#define PLAIN_ARGS
#define PLAIN_PASS
#define V(field) K_##field
#include "bench_plain.h"

#define PLAIN_MODE BENCH_MODE
#define PLAIN(name) variable_##name
#define PLAIN_ARGS const struct bench_parameters *p,
#define PLAIN_PASS p,
#define V(field) p->field
#include "bench_plain.h"

#define PLAIN_MODE 0
#define PLAIN(name) identity_##name
#define PLAIN_ARGS
#define PLAIN_PASS
#define V(field) K_##field
#include "bench_plain.h"

static struct bench_parameters parameters = BENCH_PARAMETERS;

/*
 * The empty asm keeps the compiler from seeing through a step, at no cost in instructions. Eight steps a round,
 * so that the loop itself and its place in the cache lines weigh little.
 */
#define EIGHT(step) step step step step step step step step
#define CHAINED(call) x = call; __asm__ volatile("" : "+r"(x));
#define APART(call)                                                                                      \
    {                                                                                                    \
        uint64_t x = first++;                                                                            \
        __asm__ volatile("" : "+r"(x));                                                                  \
        x = call;                                                                                        \
        __asm__ volatile("" ::"r"(x));                                                                   \
    }

#define LOOPS(name, type, argument, call)                                                                \
    uint64_t one_##name(const type *argument, uint64_t x, size_t n);                                     \
    uint64_t one_##name(const type *argument, uint64_t x, size_t n)                                      \
    {                                                                                                    \
        (void)argument;                                                                                  \
        (void)n;                                                                                         \
        return call;                                                                                     \
    }                                                                                                    \
    uint64_t chain_##name(const type *argument, uint64_t x, size_t n);                                   \
    uint64_t chain_##name(const type *argument, uint64_t x, size_t n)                                    \
    {                                                                                                    \
        (void)argument;                                                                                  \
        for (size_t i = 0; i < n; i++) {                                                                 \
            EIGHT(CHAINED(call))                                                                         \
        }                                                                                                \
        return x;                                                                                        \
    }                                                                                                    \
    uint64_t apart_##name(const type *argument, uint64_t first, size_t n);                               \
    uint64_t apart_##name(const type *argument, uint64_t first, size_t n)                                \
    {                                                                                                    \
        (void)argument;                                                                                  \
        for (size_t i = 0; i < n; i++) {                                                                 \
            EIGHT(APART(call))                                                                           \
        }                                                                                                \
        return first;                                                                                    \
    }

#define WAYS(name)                                                                                       \
    LOOPS(constant_##name, void, p, constant_##name(x))                                                  \
    LOOPS(variable_##name, struct bench_parameters, p, variable_##name(p, x))                            \
    LOOPS(frozen_##name, void, p, machine_##name(x))                                                     \
    LOOPS(identity_##name, void, p, identity_##name(x))

LOOPS(empty, void, p, x)
WAYS(mfn_to_page)
WAYS(page_to_mfn)
WAYS(mfn_to_virt)
WAYS(page_to_virt)
WAYS(page_to_mfn_to_virt)
LOOPS(generic_mfn_to_page, xenmm_params, p, GENERIC(mfn_to_page)(p, x))
LOOPS(generic_page_to_mfn, xenmm_params, p, GENERIC(page_to_mfn)(p, x))
LOOPS(generic_mfn_to_virt, xenmm_params, p, GENERIC(mfn_to_virt)(p, x))
LOOPS(generic_page_to_virt, xenmm_params, p, xenmm_page_to_virt(p, x))
LOOPS(generic_page_to_mfn_to_virt, xenmm_params, p, GENERIC(mfn_to_virt)(p, GENERIC(page_to_mfn)(p, x)))

#if BENCH_MODE == 1 && defined __BMI2__
#include <immintrin.h>
/* The instructions that gather and scatter bits do what the masks do, for any number of holes. */
LOOPS(bmi2_mfn_to_page, void, p, (_pext_u64(x, K_bottom | K_top) << 5) + K_frame_table)
LOOPS(bmi2_page_to_mfn, void, p, _pdep_u64((x - K_frame_table) >> 5, K_bottom | K_top))
#endif

/* The parameters as this text holds them, for the callers of the functions that want a pointer. */
const struct bench_parameters *bench_parameters(void);
const struct bench_parameters *bench_parameters(void)
{
    return &parameters;
}
