/* SPDX-License-Identifier: MIT */
/*
 * The primitives as compiled code, for `xenmm bench --silicon`: each as a chain of calls that wait for one
 * another, and as independent calls, eight to a turn of the loop. Compiled once for each compression (MODE), with
 * the frozen header of one machine; `variables` reads the same values from memory, anew for each call.
 */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "machine_mm.h"

#define PASTE_(a, b, c) a##b##c
#define PASTE(a, b, c) PASTE_(a, b, c)
/* The value may have changed, and so may memory, as far as the compiler can tell. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x) : : "memory")
#define USED(x) __asm__ volatile("" : : "r"(x))

struct record {
    uint64_t count_info;
    uint64_t type_info;
    uint64_t owner;
    uint64_t list;
};

enum { RECORDS = 64, FRAMES = 512 };
#define COUNT_MASK UINT64_C(0x3ffffffffffffff)
#define TYPE_MASK UINT64_C(0xe000000000000000)
#define VALIDATED UINT64_C(0x0800000000000000)

/* Not static, so that no compiler takes them for constants; hidden, so that each is one address away. */
#define HERE __attribute__((visibility("hidden")))
HERE machine_impl_params silicon_parameters;
HERE uint64_t *silicon_m2p;
static uint64_t frozen_m2p[FRAMES];
static struct record records[RECORDS] __attribute__((aligned(64)));

/* ---- The primitives ---- */

#define CONVERSION(name, of_mode)                                                                        \
    static inline uint64_t variables_##name(uint64_t x)                                                  \
    {                                                                                                    \
        return (uint64_t)of_mode(&silicon_parameters, x);                                                \
    }                                                                                                    \
    static inline uint64_t constants_##name(uint64_t x)                                                  \
    {                                                                                                    \
        return (uint64_t)machine_##name(x);                                                              \
    }
#define OF_MODE(name) PASTE(machine_impl_, MODE, _##name)

CONVERSION(mfn_to_pdx, OF_MODE(mfn_to_pdx))
CONVERSION(pdx_to_mfn, OF_MODE(pdx_to_mfn))
CONVERSION(mfn_to_page, OF_MODE(mfn_to_page))
CONVERSION(page_to_mfn, OF_MODE(page_to_mfn))
CONVERSION(mfn_to_virt, OF_MODE(mfn_to_virt))
CONVERSION(virt_to_mfn, OF_MODE(virt_to_mfn))
CONVERSION(maddr_to_virt, OF_MODE(maddr_to_virt))
CONVERSION(virt_to_maddr, OF_MODE(virt_to_maddr))
CONVERSION(virt_to_page, OF_MODE(virt_to_page))
CONVERSION(page_to_virt, machine_impl_page_to_virt)
CONVERSION(mfn_valid, OF_MODE(mfn_valid))

static inline uint64_t variables_page_to_mfn_to_virt(uint64_t page)
{
    return variables_mfn_to_virt(variables_page_to_mfn(page));
}

static inline uint64_t constants_page_to_mfn_to_virt(uint64_t page)
{
    return machine_page_to_mfn_to_virt(page);
}

static inline uint64_t variables_m2p_read(uint64_t mfn)
{
    return silicon_m2p[mfn];
}

static inline uint64_t constants_m2p_read(uint64_t mfn)
{
    return frozen_m2p[mfn];
}

static inline uint64_t variables_m2p_write(uint64_t mfn)
{
    silicon_m2p[mfn] = mfn;
    return mfn;
}

static inline uint64_t constants_m2p_write(uint64_t mfn)
{
    frozen_m2p[mfn] = mfn;
    return mfn;
}

/* The common case of Xen's reference counts: looked at, then changed by one compare-and-exchange. */

static inline int exchange(uint64_t *at, uint64_t old, uint64_t new)
{
    return __atomic_compare_exchange_n(at, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t constants_get_page(uint64_t page)
{
    struct record *pg = (struct record *)page;
    uint64_t count;
    do {
        count = *(volatile uint64_t *)&pg->count_info;
        if (((count + 2) & COUNT_MASK) <= 2)
            return 0;
    } while (!exchange(&pg->count_info, count, count + 1));
    return pg->owner == 1;
}

static inline uint64_t constants_put_page(uint64_t page)
{
    struct record *pg = (struct record *)page;
    uint64_t count;
    do {
        count = *(volatile uint64_t *)&pg->count_info;
    } while (!exchange(&pg->count_info, count, count - 1));
    return ((count - 1) & COUNT_MASK) != 0;
}

static inline uint64_t constants_get_page_type(uint64_t page)
{
    struct record *pg = (struct record *)page;
    uint64_t type;
    do {
        type = *(volatile uint64_t *)&pg->type_info;
        if (((type + 1) & COUNT_MASK) == 0 || (type & TYPE_MASK) != TYPE_MASK || !(type & VALIDATED))
            return 0;
    } while (!exchange(&pg->type_info, type, type + 1));
    return 1;
}

static inline uint64_t constants_put_page_type(uint64_t page)
{
    struct record *pg = (struct record *)page;
    uint64_t type;
    do {
        type = *(volatile uint64_t *)&pg->type_info;
        if (((type - 1) & COUNT_MASK) == 0)
            return 0;
    } while (!exchange(&pg->type_info, type, type - 1));
    return 1;
}

/* ---- The loops ---- */

#define EIGHT(DO, name) DO(name, 0) DO(name, 1) DO(name, 2) DO(name, 3) DO(name, 4) DO(name, 5) DO(name, 6) DO(name, 7)

/* The result is the next input. */
#define FEED(name, k)                                                                                    \
    x = name(x);                                                                                         \
    OPAQUE(x);
/* The result is a verdict: the next input waits for it, by an and with zero and an addition. */
#define WAIT(name, k)                                                                                    \
    t = name(x);                                                                                         \
    OPAQUE(t);                                                                                           \
    x += t & zero;                                                                                       \
    OPAQUE(x);
#define ALONE(name, k)                                                                                   \
    t = x;                                                                                               \
    OPAQUE(t);                                                                                           \
    t = name(t);                                                                                         \
    USED(t);
/* Records in eight lines. */
#define APART(name, k)                                                                                   \
    t = x + 64 * k;                                                                                      \
    OPAQUE(t);                                                                                           \
    t = name(t);                                                                                         \
    USED(t);

#define LOOP(kind, name, DO)                                                                             \
    __attribute__((noinline, aligned(64))) uint64_t kind##_##name(uint64_t x, uint64_t n);               \
    uint64_t kind##_##name(uint64_t x, uint64_t n)                                                       \
    {                                                                                                    \
        uint64_t t = 0, zero = 0;                                                                        \
        OPAQUE(zero);                                                                                    \
        for (n /= 8; n != 0; n--) {                                                                      \
            EIGHT(DO, name)                                                                              \
        }                                                                                                \
        return x + t;                                                                                    \
    }
/* The code by itself, for its size and for llvm-mca. */
#define CODE(name)                                                                                       \
    uint64_t code_##name(uint64_t x);                                                                    \
    uint64_t code_##name(uint64_t x)                                                                     \
    {                                                                                                    \
        return name(x);                                                                                  \
    }

#define ONE(name, CHAIN, FREE) LOOP(chain, name, CHAIN) LOOP(free, name, FREE) CODE(name)
#define BOTH(name, CHAIN, FREE) ONE(variables_##name, CHAIN, FREE) ONE(constants_##name, CHAIN, FREE)

BOTH(mfn_to_pdx, FEED, ALONE)
BOTH(pdx_to_mfn, FEED, ALONE)
BOTH(mfn_to_page, FEED, ALONE)
BOTH(page_to_mfn, FEED, ALONE)
BOTH(mfn_to_virt, FEED, ALONE)
BOTH(virt_to_mfn, FEED, ALONE)
BOTH(maddr_to_virt, FEED, ALONE)
BOTH(virt_to_maddr, FEED, ALONE)
BOTH(virt_to_page, FEED, ALONE)
BOTH(page_to_virt, FEED, ALONE)
BOTH(page_to_mfn_to_virt, FEED, ALONE)
BOTH(m2p_read, FEED, ALONE)
BOTH(m2p_write, FEED, ALONE)
BOTH(mfn_valid, WAIT, ALONE)
ONE(constants_get_page, WAIT, APART)
ONE(constants_put_page, WAIT, APART)
ONE(constants_get_page_type, WAIT, APART)
ONE(constants_put_page_type, WAIT, APART)

/* One addition after another: a cycle each, which is what a cycle is where no counter may be read. */
static inline uint64_t addition(uint64_t x)
{
    return x + (uint64_t)silicon_m2p;
}
LOOP(chain, addition, FEED)

/* ---- Memory ---- */

__attribute__((noinline, aligned(64))) uint64_t chase(uint64_t x, uint64_t n);
uint64_t chase(uint64_t x, uint64_t n)
{
    for (n /= 8; n != 0; n--) {
#define FOLLOW(name, k) x = *(const volatile uint64_t *)x;
        EIGHT(FOLLOW, )
    }
    return x;
}

/* Frames converted and their records read: each for itself, or each after the one before. */
uint64_t convert_free(const uint64_t *mfns, uint64_t n);
uint64_t convert_free(const uint64_t *mfns, uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        __asm__ volatile("" : : : "memory");
        sum += ((const struct record *)variables_mfn_to_page(mfns[i]))->count_info;
    }
    return sum;
}

uint64_t convert_chain(const uint64_t *mfns, uint64_t n);
uint64_t convert_chain(const uint64_t *mfns, uint64_t n)
{
    uint64_t sum = 0, zero = 0;
    OPAQUE(zero);
    for (uint64_t i = 0; i < n; i++) {
        OPAQUE(sum);
        sum += ((const struct record *)variables_mfn_to_page(mfns[i] + (sum & zero)))->count_info;
    }
    return sum;
}

/* Grants: each frame is judged, found, referred to with its type, looked up in the M2P, and let go. */
uint64_t grant_storm(const uint64_t *mfns, uint64_t n);
uint64_t grant_storm(const uint64_t *mfns, uint64_t n)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t mfn = mfns[i];
        __asm__ volatile("" : : : "memory");
        if (!variables_mfn_valid(mfn))
            continue;
        const uint64_t page = variables_mfn_to_page(mfn);
        if (!constants_get_page(page) || !constants_get_page_type(page))
            continue;
        done += variables_m2p_read(mfn) != 0;
        constants_put_page_type(page);
        constants_put_page(page);
    }
    return done;
}

/* ---- Set-up and clocks ---- */

/* What the loops begin with: a frame, or a record. */
uint64_t silicon_records(void);
uint64_t silicon_records(void)
{
    return (uint64_t)records;
}

static void fill(struct record *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        r[i].count_info = UINT64_C(1) << 40;
        r[i].type_info = TYPE_MASK | VALIDATED | UINT64_C(1) << 40;
        r[i].owner = 1;
    }
}

void silicon_fill(struct record *r, uint64_t n);
void silicon_fill(struct record *r, uint64_t n)
{
    fill(r, n);
}

void silicon_setup(uint64_t frame_table, uint64_t *m2p);
void silicon_setup(uint64_t frame_table, uint64_t *m2p)
{
    memcpy(&silicon_parameters, &machine_impl_machine, sizeof silicon_parameters);
    if (frame_table != 0)
        silicon_parameters.frametable_virt_start = frame_table;
    silicon_m2p = m2p != NULL ? m2p : frozen_m2p;
    for (uint64_t i = 0; i < FRAMES; i++)
        frozen_m2p[i] = (i + 89) % FRAMES;
    fill(records, RECORDS);
}

uint64_t cpu_ns(void);
uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#if defined __linux__
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

/* User-mode cycles of this thread; negative where that is not allowed, or there is no such counter. */
int open_cycles(void);
int open_cycles(void)
{
    struct perf_event_attr a;
    memset(&a, 0, sizeof a);
    a.type = PERF_TYPE_HARDWARE;
    a.size = sizeof a;
    a.config = PERF_COUNT_HW_CPU_CYCLES;
    a.exclude_kernel = 1;
    a.exclude_hv = 1;
    const long fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
    return fd < 0 ? -errno : (int)fd;
}

uint64_t read_cycles(int fd);
uint64_t read_cycles(int fd)
{
    uint64_t cycles = 0;
    return read(fd, &cycles, sizeof cycles) == (ssize_t)sizeof cycles ? cycles : 0;
}
#else
int open_cycles(void);
int open_cycles(void)
{
    return -ENOSYS;
}

uint64_t read_cycles(int fd);
uint64_t read_cycles(int fd)
{
    (void)fd;
    return 0;
}
#endif
