/* SPDX-License-Identifier: MIT */
/*
 * What write-once parameters are worth in code like a hypervisor's: mapping a grant for the host and a device,
 * writable, and undoing it. Xen before 0ed9151a5f converted the frame to its page before each of the
 * references and types it takes and drops; in between are calls that the compiler cannot look into, so that it
 * must read variables again. The opaque functions stand in a file of their own.
 */

#include <stddef.h>
#include <stdint.h>

#include "bench_machine.h"

extern struct bench_parameters bench_globals;
int get_page(uint64_t page, uint64_t domain);
int get_page_type(uint64_t page, uint64_t type);
void put_page(uint64_t page);
void put_page_type(uint64_t page);
void use_mapping(uint64_t mfn);

#define PLAIN_MODE BENCH_MODE
#define PLAIN(name) variable_##name
#define PLAIN_ARGS
#define PLAIN_PASS
#define V(field) bench_globals.field
#include "bench_plain.h"

#define PLAIN_MODE BENCH_MODE
#define PLAIN(name) constant_##name
#define PLAIN_ARGS
#define PLAIN_PASS
#define V(field) K_##field
#include "bench_plain.h"

#define PLAIN_MODE 0
#define PLAIN(name) none_##name
#define PLAIN_ARGS
#define PLAIN_PASS
#define V(field) K_##field
#include "bench_plain.h"

/* `each` is what stands wherever the page is wanted; `first` runs once before. */
#define GRANT(name, first, each)                                                                         \
    __attribute__((noinline, aligned(64))) int grant_##name(uint64_t mfn, uint64_t domain);              \
    int grant_##name(uint64_t mfn, uint64_t domain)                                                      \
    {                                                                                                    \
        first;                                                                                           \
        if (!get_page(each, domain))                                                                     \
            return -1;                                                                                   \
        if (!get_page_type(each, 1)) {                                                                   \
            put_page(each);                                                                              \
            return -1;                                                                                   \
        }                                                                                                \
        if (!get_page(each, domain) || !get_page_type(each, 1))                                          \
            return -1;                                                                                   \
        use_mapping(mfn);                                                                                \
        put_page_type(each);                                                                             \
        put_page(each);                                                                                  \
        return 0;                                                                                        \
    }                                                                                                    \
    void grants_##name(const uint64_t *mfns, size_t n, size_t repeats);                                  \
    void grants_##name(const uint64_t *mfns, size_t n, size_t repeats)                                   \
    {                                                                                                    \
        for (size_t r = 0; r < repeats; r++)                                                             \
            for (size_t i = 0; i < n; i++)                                                               \
                (void)grant_##name(mfns[i], i);                                                          \
    }

GRANT(variables, (void)0, variable_mfn_to_page(mfn))
GRANT(constants, (void)0, constant_mfn_to_page(mfn))
GRANT(once, const uint64_t page = variable_mfn_to_page(mfn), page)
GRANT(both, const uint64_t page = constant_mfn_to_page(mfn), page)
GRANT(none, (void)0, none_mfn_to_page(mfn))
