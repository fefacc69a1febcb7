/* SPDX-License-Identifier: MIT */
/*
 * What bench_freezing.c calls and cannot look into. By default each does nothing, which shows the conversions
 * at their largest; with BENCH_ATOMIC a reference or a type is counted by one atomic addition, as a hypervisor's is;
 * with BENCH_COLD the parameters are out of every cache when the next grant begins.
 */

#include <stdint.h>

#include "bench_machine.h"

struct bench_parameters bench_globals = BENCH_PARAMETERS;
static uint64_t counts[2][8];

int get_page(uint64_t page, uint64_t domain);
int get_page_type(uint64_t page, uint64_t type);
void put_page(uint64_t page);
void put_page_type(uint64_t page);
void use_mapping(uint64_t mfn);

static void add(uint64_t *count, uint64_t by)
{
#ifdef BENCH_ATOMIC
    __atomic_fetch_add(count, by, __ATOMIC_SEQ_CST);
#else
    (void)count;
    (void)by;
#endif
}

int get_page(uint64_t page, uint64_t domain)
{
    (void)page;
    add(counts[0], 1);
    return domain != UINT64_MAX;
}

int get_page_type(uint64_t page, uint64_t type)
{
    (void)page;
    add(counts[1], 1);
    return type != 0;
}

void put_page(uint64_t page)
{
    (void)page;
    add(counts[0], UINT64_MAX);
}

void put_page_type(uint64_t page)
{
    (void)page;
    add(counts[1], UINT64_MAX);
}

void use_mapping(uint64_t mfn)
{
    (void)mfn;
#if defined BENCH_COLD && defined __x86_64__
    for (const char *line = (const char *)&bench_globals; line < (const char *)(&bench_globals + 1); line += 64)
        __builtin_ia32_clflush(line);
#endif
}
