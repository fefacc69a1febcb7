/*
 * All of C that threads may run at once on one host, for gcc's ThreadSanitizer: the arrays' loops of one target,
 * the functions of a frozen header, and engines, one a thread, on one address space and one trace. Every answer is
 * also compared: with the formula of a single value, and with the first thread's counts.
 *
 *   race HOST TARGET [shared]
 *
 * HOST is offset or mask, of which offset.h and mask.h are `xenmm export c` with that prefix; TARGET is a table of
 * loops by number, and where this processor does not run it the program ends with 77. With `shared` the threads
 * convert into one array, of which the sanitizer must tell.
 */
#include "mask.h"
#include "offset.h"

#include "_kernels.c"
#include "_timing_engine.h"

#include <pthread.h>
#include <stdio.h>

enum { THREADS = 4, VALUES = 8192, ROUNDS = 3, ACCESSES = 20000, CACHES = 2, ENTRIES = 16, WAYS = 4 };

typedef struct {
    const void *params;
    const uint64_t *groups;
    size_t group_bytes;
    uint64_t (*mfn_to_page)(uint64_t), (*virt_to_mfn)(uint64_t);
    int (*mfn_valid)(uint64_t);
} frozen;

#define FROZEN(host)                                                                                     \
    {&host##_impl_machine, host##_impl_groups, sizeof host##_impl_groups, host##_mfn_to_page,            \
     host##_virt_to_mfn, host##_mfn_valid}
static const frozen hosts[] = {FROZEN(mask), FROZEN(offset)};

static const frozen *host;
static int shared;
static xk_plan plan;
static uint64_t bitmap[XK_BITMAP_WORDS_MIN + (sizeof mask_impl_groups + sizeof offset_impl_groups) / 8];
static uint64_t values[XK_CONVERSIONS][VALUES], results[XK_CONVERSIONS][VALUES];
static uint64_t trace[ACCESSES];
static uint8_t kinds[ACCESSES];
static xt_run runs[2];

typedef struct {
    pthread_t thread;
    uint64_t *out;
    uint8_t verdicts[VALUES];
    xt_engine engine;
    unsigned functions;
    int wrong;
} worker;

static worker workers[THREADS];
static uint64_t outputs[THREADS][VALUES];

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Frames of memory: neighbours in the first half, strangers in the second. */
static void fill_frames(uint64_t *frames)
{
    uint64_t state = 1, mfn = 0;
    for (int i = 0; i < VALUES; i++) {
        do
            mfn = i < VALUES / 2 ? mfn + 1 : next_random(&state) % plan.params.max_page;
        while (!xenmm_mfn_valid(&plan.params, mfn) || !xenmm_mfn_in_directmap(&plan.params, mfn));
        frames[i] = mfn;
    }
}

static void fill_values(void)
{
    static const int of_mfn[XK_CONVERSIONS] = {
        [XK_MFN_TO_PDX] = -1, [XK_PDX_TO_MFN] = XK_MFN_TO_PDX, [XK_MFN_TO_PAGE] = -1,
        [XK_PAGE_TO_MFN] = XK_MFN_TO_PAGE, [XK_MFN_TO_VIRT] = -1, [XK_VIRT_TO_MFN] = XK_MFN_TO_VIRT,
        [XK_MADDR_TO_VIRT] = -1, [XK_VIRT_TO_MADDR] = XK_MFN_TO_VIRT, [XK_PAGE_TO_VIRT] = XK_MFN_TO_PAGE,
        [XK_VIRT_TO_PAGE] = XK_MFN_TO_VIRT, [XK_PAGE_TO_MFN_TO_VIRT] = XK_MFN_TO_PAGE,
    };
    static uint64_t frames[VALUES];
    fill_frames(frames);
    for (int c = 0; c < XK_CONVERSIONS; c++)
        for (int i = 0; i < VALUES; i++) {
            uint64_t x = of_mfn[c] < 0 ? frames[i] : xk_convert_one(&plan.params, of_mfn[c], frames[i]);
            values[c][i] = c == XK_MADDR_TO_VIRT ? frames[i] << XENMM_PAGE_SHIFT : x;
            results[c][i] = xk_convert_one(&plan.params, c, values[c][i]);
        }
}

static void prepare(void)
{
    memcpy(&plan.params, host->params, sizeof plan.params);
    memcpy(bitmap, host->groups, host->group_bytes);
    plan.params.pdx_group_valid = bitmap; /* the loops read whole tables of words */
    xk_derive(&plan);
    fill_values();
    uint64_t state = 2;
    for (int i = 0; i < ACCESSES; i++) {
        trace[i] = next_random(&state) % (64 << XENMM_PAGE_SHIFT);
        kinds[i] = (uint8_t)(trace[i] & 1);
    }
    runs[0] = (xt_run){0, (32 << XENMM_PAGE_SHIFT) - 1, 1 << 20, 0};
    runs[1] = (xt_run){32 << XENMM_PAGE_SHIFT, UINT64_MAX >> 1, 1 << 21, 0};
}

/* Two caches, one below the other, and a TLB; pages of 4 KiB, no walks. */
static int make_engine(xt_engine *h, const xt_functions *functions)
{
    static const uint64_t sets[CACHES] = {16, 64};
    int made = xt_buffers_init(h);
    h->functions = functions;
    for (int i = 0; i < CACHES; i++) {
        made = made && xt_table_init(&h->table[i], sets[i], WAYS, XT_LRU);
        h->table[i].line_shift = 6;
        h->table[i].latency = 4 + 10 * (uint32_t)i;
    }
    made = made && xt_table_init(&h->table[CACHES], ENTRIES / WAYS, WAYS, XT_LRU);
    h->caches = CACHES;
    h->tables = CACHES + 1;
    h->table[0].parent = 1;
    h->chain[0] = 1;
    h->chain_length = h->tlb_levels = h->batch = h->memo_allowed = 1;
    h->special = h->walk_entry = -1;
    memset(h->walk_cache, 0xff, sizeof h->walk_cache);
    memset(h->tlb, 0xff, sizeof h->tlb);
    h->tlb[0][0][0] = h->tlb[0][1][0] = CACHES;
    h->memo.line_shift = 6;
    h->memo.latency = 4;
    h->memory_latency = 200;
    h->runs = runs;
    h->run_count = 2;
    for (int i = 0; made && i < h->tables; i++)
        xt_table_clear(&h->table[i], 1);
    return made;
}

static void convert(worker *w)
{
    for (int c = 0; c < XK_CONVERSIONS; c++)
        for (int checked = 0; checked < 2; checked++) {
            w->wrong |= xk_convert(&plan, c, values[c], w->out, VALUES, checked) != VALUES;
            w->wrong |= !shared && memcmp(w->out, results[c], sizeof results[c]) != 0;
        }
    xk_mfn_valid(&plan, values[XK_MFN_TO_PDX], w->verdicts, VALUES);
    for (int i = 0; i < VALUES; i++) {
        w->wrong |= w->verdicts[i] != 1 || !host->mfn_valid(values[XK_MFN_TO_PDX][i]);
        w->wrong |= host->mfn_to_page(values[XK_MFN_TO_PAGE][i]) != results[XK_MFN_TO_PAGE][i];
        w->wrong |= host->virt_to_mfn(values[XK_VIRT_TO_MFN][i]) != results[XK_VIRT_TO_MFN][i];
    }
}

static uint64_t access_one(void *engine, uint64_t virt, unsigned kind)
{
    xt_engine *h = engine;
    return h->functions->access(h, virt, kind, 1, 0);
}

static void simulate(worker *w)
{
    xenmm_timing_api api = {.abi_version = XENMM_TIMING_ABI, .engine = &w->engine, .access = access_one};
    if (!make_engine(&w->engine, &xt_all_functions[w->functions]))
        abort();
    w->wrong |= w->engine.functions->run(&w->engine, trace, kinds, ACCESSES) != ACCESSES;
    for (int i = 0; i < ACCESSES; i++)
        w->wrong |= xenmm_timing_access(&api, trace[i], kinds[i]) == XT_NO_COST;
}

static void *work(void *argument)
{
    worker *w = argument;
    for (int round = 0; round < ROUNDS; round++)
        convert(w);
    simulate(w);
    return NULL;
}

/* The first thread's counts are every thread's. */
static int compare(const worker *w)
{
    const xt_engine *h = &w->engine, *first = &workers[0].engine;
    int wrong = w->wrong | memcmp(&h->counts, &first->counts, sizeof h->counts);
    for (int i = 0; i < h->tables; i++) {
        wrong |= memcmp(h->table[i].hits, first->table[i].hits, sizeof h->table[i].hits);
        wrong |= memcmp(h->table[i].misses, first->table[i].misses, sizeof h->table[i].misses);
    }
    return wrong != 0;
}

int main(int count, char **arguments)
{
    const int target = count > 2 ? atoi(arguments[2]) : -1;
    int wrong = 0;
    if (xk_name(target) == NULL || !xk_runs_here(target))
        return 77;
    host = &hosts[strcmp(arguments[1], "offset") == 0];
    shared = count > 3;
    prepare();
    xk_select(target);
    for (int i = 0; i < THREADS; i++) {
        workers[i].functions = (unsigned)target % (unsigned)xt_functions_count();
        workers[i].out = outputs[shared ? 0 : i];
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        wrong |= compare(&workers[i]);
    printf("%s, engine %s: %d conversions, %d accesses\n", xk_name(target), workers[0].engine.functions->name,
           THREADS * ROUNDS * XK_CONVERSIONS * 2 * VALUES, THREADS * 2 * ACCESSES);
    for (int i = 0; i < THREADS; i++)
        xt_free(&workers[i].engine);
    return wrong;
}
