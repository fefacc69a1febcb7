/* SPDX-License-Identifier: MIT */
/* What bench_freezing.c calls and cannot look into: the least that a reference or a type costs. */

#include <stdint.h>

#include "bench_machine.h"

struct bench_parameters bench_globals = BENCH_PARAMETERS;
static uint64_t counts[8];

int get_page(uint64_t page, uint64_t domain);
int get_page_type(uint64_t page, uint64_t type);
void put_page(uint64_t page);
void put_page_type(uint64_t page);
void use_mapping(uint64_t virt);

int get_page(uint64_t page, uint64_t domain)
{
    counts[0] += page;
    return domain != UINT64_MAX;
}

int get_page_type(uint64_t page, uint64_t type)
{
    counts[1] += page;
    return type != 0;
}

void put_page(uint64_t page)
{
    counts[0] -= page;
}

void put_page_type(uint64_t page)
{
    counts[1] -= page;
}

void use_mapping(uint64_t virt)
{
    counts[2] += virt;
}
