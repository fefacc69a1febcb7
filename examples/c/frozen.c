/*
 * A simulator in C for one machine, whose constants stand in a header of its own:
 *
 *     xenmm export server.dmesg --format c > machine_mm.h
 *     cc -O2 -std=c99 frozen.c -o frozen && ./frozen 0x10000000
 */
#include "machine_mm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const uint64_t mfn = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
    uint64_t page;
    const machine_err error = machine_mfn_to_page_checked(mfn, &page);

    if (error != MACHINE_OK) {
        fprintf(stderr, "mfn %#" PRIx64 ": %s\n", mfn, machine_strerror(error));
        return 1;
    }
    /* The frame is known to be good from here on: the unchecked forms are the bare arithmetic. */
    printf("mfn %#" PRIx64 " page %#" PRIx64 " virt %#" PRIx64 "\n", mfn, page, machine_page_to_virt(page));
    return machine_page_to_mfn(page) == mfn && machine_virt_to_mfn(machine_mfn_to_virt(mfn)) == mfn ? 0 : 2;
}
