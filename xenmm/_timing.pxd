# cython: language_level=3
"""The timing engine's state, as C has it. Private: embedders cimport xenmm.timing."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef extern from "xenmm_timing.h":
    const char *XENMM_TIMING_CAPSULE
    const uint32_t XENMM_TIMING_ABI

    ctypedef struct xenmm_timing_memo:
        uint64_t line
        uint64_t repeats[2]
        uint32_t line_shift
        uint32_t latency
        uint8_t valid
        uint8_t dirty

    ctypedef struct xenmm_timing_api:
        uint32_t abi_version
        void *engine
        uint64_t (*access)(void *engine, uint64_t virt, unsigned kind) noexcept nogil
        size_t (*run)(void *engine, const uint64_t *virt, const uint8_t *kinds, size_t n) noexcept nogil

    uint64_t xenmm_timing_access(const xenmm_timing_api *api, uint64_t virt, unsigned kind) noexcept nogil


cdef extern from "_timing_engine.h":
    const uint64_t XT_NO_COST
    enum:
        XT_MAX_TABLES
        XT_MAX_LEVELS
        XT_TLB_LEVELS
        XT_KINDS
        XT_MAX_BYTES

    ctypedef struct xt_table:
        uint64_t sets
        uint64_t random
        uint32_t assoc
        uint32_t lanes
        uint32_t latency
        int32_t parent
        uint8_t line_shift
        uint8_t exclusive
        uint8_t prefetch
        uint8_t power_of_two
        uint8_t arrival_is_use
        uint8_t held[3]
        uint64_t hits[7]
        uint64_t misses[7]
        uint64_t writebacks
        uint64_t prefetches

    ctypedef struct xt_run:
        uint64_t start
        uint64_t last
        uint64_t delta
        uint32_t size

    ctypedef struct xt_pt_run:
        uint64_t start
        uint64_t last
        uint64_t maddr

    ctypedef struct xt_counts:
        uint64_t walks[3]
        uint64_t walk_reads
        uint64_t walk_reads_level[5]
        uint64_t accesses[3]
        uint64_t memory_reads[7]
        uint64_t memory_writes

    ctypedef struct xt_functions:
        const char *name
        size_t (*run)(xt_engine *, const uint64_t *, const uint8_t *, size_t) noexcept nogil
        uint64_t (*access)(xt_engine *, uint64_t, unsigned, uint64_t, int) noexcept nogil

    ctypedef struct xt_engine:
        xenmm_timing_memo memo
        xt_table table[32]
        int32_t caches
        int32_t tables
        int32_t entry[2]
        int32_t chain[8]
        int32_t chain_length
        int32_t special
        int32_t tlb[4][2][3]
        int32_t tlb_levels
        int32_t walk_enabled
        int32_t walk_entry
        int32_t walk_cache[5]
        uint32_t walk_latency
        uint32_t memory_latency
        int32_t batch
        int32_t memo_allowed
        int32_t memo_size
        int32_t dirty
        int32_t tlb_split
        int32_t virtual_index
        int32_t identity
        const xt_run *runs
        size_t run_count
        const xt_pt_run *pt[5]
        size_t pt_count[5]
        xt_counts counts
        uint64_t fault
        const xt_functions *functions

    const xt_functions xt_all_functions[3]
    int xt_functions_count() noexcept nogil
    void *xt_alloc(size_t) noexcept nogil
    void xt_free(xt_engine *) noexcept nogil
    void xt_table_clear(xt_table *, uint64_t) noexcept nogil
    int xt_table_init(xt_table *, uint64_t, uint32_t, unsigned) noexcept nogil
    int xt_buffers_init(xt_engine *) noexcept nogil


cdef class EngineCore:
    cdef xt_engine *state
    cdef xenmm_timing_api api
    cdef readonly object hierarchy
    cdef readonly object space
    cdef readonly object seed
    cdef dict _table_of
    cdef bint _busy
    cdef xt_run *_runs
    cdef xt_pt_run *_pt[5]
    cdef _choose_functions(self, name)
    cdef int _table(self, str name, uint64_t sets, uint32_t assoc, str replacement) except -1
    cdef _build_caches(self)
    cdef _build_tlbs(self)
    cdef _build_walk(self)
    cdef _build_space(self)
    cdef bint _hears(self, int cache)
    cdef _choose_loops(self)
    cdef uint64_t _address(self, virt) except? 0
    cdef _one(self, virt, unsigned kind)
    cdef _cost(self, uint64_t cycles)
    cdef _unmapped(self)
    cdef _refuse(self)
    cdef size_t _sized(self, const uint64_t *virt, const uint8_t *kinds, const uint8_t *sizes, int width,
                       bint once, size_t first, size_t last) except? 0
    cdef _drain(self)
