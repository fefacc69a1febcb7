/*
 * A simulator in C that loads any machine at run time, through the generic header:
 *
 *     xenmm export server.dmesg --format json > server.json
 *     cc -O2 -std=c99 -I"$(python -c 'import xenmm; print(xenmm.get_include())')" many_machines.c -o many
 *     ./many server.json 0x10000000
 *
 * The JSON's "frozen" member has the struct's fields as keys and hexadecimal strings as numbers, each value on
 * a line of its own, so that a few lines read it; a simulator with a JSON library will use that.
 */
#include "xenmm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read up to `room` numbers of the field into `values`; return how many it has. */
static size_t field(const char *json, const char *name, uint64_t *values, size_t room)
{
    char key[64];
    const char *at;
    size_t count = 0;

    snprintf(key, sizeof key, "\n  \"%s\": ", name); /* the keys of "frozen" stand two spaces in */
    at = strstr(json, key);
    if (at == NULL) {
        fprintf(stderr, "no field %s\n", name);
        exit(1);
    }
    at += strlen(key);
    do {
        at += strspn(at, "[ \n,");
        if (*at != '"')
            break;
        if (count < room)
            values[count] = strtoull(at + 1, NULL, 16);
        count++;
        at = strchr(at + 1, '"') + 1;
    } while (strncmp(at, ",\n   \"", 6) == 0);
    return count;
}

static uint64_t number(const char *json, const char *name)
{
    uint64_t value = 0;
    field(json, name, &value, 1);
    return value;
}

static int load(xenmm_params *p, const char *json)
{
    uint64_t *groups;

    if (number(json, "abi_version") != XENMM_ABI_VERSION || number(json, "size") != sizeof *p)
        return 0;
    memset(p, 0, sizeof *p);
    p->abi_version = XENMM_ABI_VERSION;
    p->size = (uint32_t)sizeof *p;
#define LOAD(type, name) p->name = (type)number(json, #name)
    LOAD(uint32_t, mode);
    LOAD(uint32_t, pfn_pdx_hole_shift);
    LOAD(uint64_t, pfn_pdx_bottom_mask);
    LOAD(uint64_t, pfn_top_mask);
    LOAD(uint64_t, pfn_hole_mask);
    LOAD(uint64_t, ma_va_bottom_mask);
    LOAD(uint64_t, ma_top_mask);
    LOAD(uint32_t, pfn_index_shift);
    LOAD(uint32_t, pdx_index_shift);
    LOAD(uint64_t, pdx_region_size);
    field(json, "pfn_pdx_lookup", p->pfn_pdx_lookup, XENMM_LOOKUP_ENTRIES);
    field(json, "pdx_pfn_lookup", p->pdx_pfn_lookup, XENMM_LOOKUP_ENTRIES);
    field(json, "pfn_bases", p->pfn_bases, XENMM_LOOKUP_ENTRIES);
    LOAD(uint64_t, max_page);
    LOAD(uint64_t, max_pdx);
    LOAD(uint64_t, directmap_virt_start);
    LOAD(uint64_t, directmap_virt_end);
    LOAD(uint64_t, frametable_virt_start);
    LOAD(uint64_t, frametable_virt_end);
    LOAD(uint64_t, xen_virt_start);
    LOAD(uint64_t, xen_virt_end);
    LOAD(uint64_t, xen_phys_start);
    LOAD(uint64_t, xen_image_bytes);
    LOAD(uint64_t, pdx_group_count);
    groups = calloc((size_t)(p->pdx_group_count / 64 + 1), sizeof *groups);
    if (groups == NULL)
        return 0;
    field(json, "pdx_group_valid", groups, (size_t)(p->pdx_group_count / 64 + 1));
    p->pdx_group_valid = groups; /* lives as long as the program */
    return 1;
}

int main(int argc, char **argv)
{
    static char json[1 << 22];
    xenmm_params params;
    uint64_t mfn, page;
    xenmm_err error;
    FILE *file = argc == 3 ? fopen(argv[1], "r") : NULL;

    if (file == NULL || fread(json, 1, sizeof json - 1, file) == 0 || !load(&params, json)) {
        fprintf(stderr, "usage: %s PARAMS.json MFN\n", argv[0]);
        return 2;
    }
    fclose(file);
    mfn = strtoull(argv[2], NULL, 0);
    error = xenmm_mfn_to_page_checked(&params, mfn, &page);
    if (error != XENMM_OK) {
        fprintf(stderr, "mfn %#" PRIx64 ": %s\n", mfn, xenmm_strerror(error));
        return 1;
    }
    printf("mfn %#" PRIx64 " page %#" PRIx64 " virt %#" PRIx64 "\n", mfn, page, xenmm_page_to_virt(&params, page));
    return 0;
}
