# SPDX-License-Identifier: MIT
"""The live machine for Cython: ``from xenmm._machine cimport MachineCore``.

``core.m`` is the plain struct of ``xenmm.machine._state``; ``core.m.frame_table[pdx]`` is a record.
Whoever writes through it keeps to the machine's lock (``acquire``, ``release``) and marks the record touched.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xenmm.machine._state cimport domain, machine


cdef class _Table:
    # Reserved address space of this process, backed piece by piece.
    cdef char *base
    cdef readonly uint64_t reserved
    cdef readonly uint64_t committed
    cdef int pattern_fd
    cdef int commit_zero(self, uint64_t offset, uint64_t size) except -1
    cdef int commit_pattern(self, uint64_t offset, uint64_t size, int value) except -1
    cdef int _make_patterns(self) except -1


cdef class _Memory:
    cdef machine *m
    cdef readonly object host
    cdef readonly _Table frame_table_memory
    cdef readonly _Table m2p_memory
    cdef readonly _Table compat_memory
    cdef void *lock
    cdef object __weakref__
    cdef int _make_tables(self, setup) except -1
    cdef int _fill_tail(self, uint64_t offset, uint64_t size, int value) except -1
    cdef int _make_room(self, uint64_t node, uint64_t runs) except -1
    cdef int _insert_run(self, uint64_t smfn, uint64_t emfn, uint64_t node, bint boot) except -1
    cdef int _back_groups(self, uint64_t first, uint64_t end) except -1
    cdef int _make_heap(self, setup) except -1
    cdef int _free_run(self, uint64_t mfn, uint64_t emfn) except -1
    cdef void acquire(self)
    cdef void release(self)
    cdef domain *_locked(self, uint32_t domid) except NULL


cdef class _Tables(_Memory):
    cdef list _held(self)
    cdef dict _written_tables(self)
    cdef uint64_t _trim_fills(self, _Table table, uint8_t *touched, list fills) except? 0
    cdef list _touched_pages(self, uint8_t *bits, uint64_t size)


cdef class _Domains(_Tables):
    cdef dict _facts(self, domain *d)
    cdef bytes _array(self, domain *d, str kind)
    cdef bytes _pairs(self, domain *d)
    cdef tuple _frames(self, domain *d)


cdef class _Saved(_Domains):
    cdef bytes _pages_bytes(self, _Table table, list pages)
    cdef dict _export_domain(self, domain *d)
    cdef int _import_pages(
        self, _Table table, uint8_t *touched, uint64_t size, list pages, bytes data
    ) except -1
    cdef int _import_tables(self, list pdxs, bytes data) except -1
    cdef int _import_domain(self, dict state) except -1


cdef class MachineCore(_Saved):
    pass
