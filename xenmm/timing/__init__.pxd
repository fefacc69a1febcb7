# SPDX-License-Identifier: MIT
"""One access at a time from Cython: ``from xenmm.timing cimport access, timing_of``.

The Cython text of ``include/xenmm_timing.h``. Nothing to link and nothing imported: the capsule holds
pointers. One thread at a time may use an engine; hold it while the pointer is in use. Append-only.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    XENMM_TIMING_ABI = 1
    XENMM_TIMING_READ = 0
    XENMM_TIMING_WRITE = 1
    XENMM_TIMING_EXECUTE = 2


# The last access: see include/xenmm_timing.h.
cdef struct xenmm_timing_memo:
    uint64_t line
    uint64_t[2] repeats
    uint32_t line_shift
    uint32_t latency
    uint8_t valid
    uint8_t dirty


cdef struct xenmm_timing_api:
    uint32_t abi_version
    void *engine                   # begins with the memo
    uint64_t (*access)(void *engine, uint64_t virt, unsigned kind) noexcept nogil
    size_t (*run)(void *engine, const uint64_t *virt, const uint8_t *kinds, size_t n) noexcept nogil


cdef inline const xenmm_timing_api *timing_of(object engine) except NULL:
    """The pointers of an ``xenmm.timing.Engine``."""
    cdef const xenmm_timing_api *api = <const xenmm_timing_api *>PyCapsule_GetPointer(
        engine.capsule, "xenmm.timing.api")
    if api.abi_version < XENMM_TIMING_ABI:
        raise ImportError(f"xenmm.timing's ABI is {api.abi_version}, this was built for {XENMM_TIMING_ABI}")
    return api


cdef inline uint64_t access(const xenmm_timing_api *api, uint64_t virt, unsigned kind) noexcept nogil:
    """Cycles of one access of one byte; 2**64 - 1 when the engine's address space does not map it."""
    cdef xenmm_timing_memo *memo = <xenmm_timing_memo *>api.engine
    if kind < 2 and memo.valid and virt >> memo.line_shift == memo.line and (kind == 0 or memo.dirty):
        memo.repeats[kind] += 1
        return memo.latency
    return api.access(api.engine, virt, kind)
