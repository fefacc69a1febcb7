# SPDX-License-Identifier: MIT
"""What stands in pages that were written as page tables: 512 entries a page, kept only where one is not 0.

RAM has no contents here; these are the one exception, for types and references follow from them. The entries
of a page stay until it is freed.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenmm.machine._state cimport machine, table_entries


cdef extern from *:
    """
    #define XENMM_PTE_FRAME 0x000ffffffffff000ull
    """
    const uint64_t PTE_FRAME "XENMM_PTE_FRAME"


cdef enum:
    PTE_PRESENT = 1
    PTE_RW = 2
    TABLE_ENTRIES = 512


cdef inline uint64_t pte_mfn(uint64_t pte) noexcept nogil:
    return (pte & PTE_FRAME) >> 12


cdef inline table_entries *_place(machine *m, uint64_t pdx) noexcept nogil:
    # Its place, or the empty place where it would go.
    cdef uint64_t i = (pdx * <uint64_t>0x9e3779b97f4a7c15) >> 20
    while True:
        i &= m.tables_size - 1
        if m.tables[i].key == pdx + 1 or m.tables[i].key == 0:
            return &m.tables[i]
        i += 1


cdef inline uint64_t *table_of(machine *m, uint64_t pdx) noexcept nogil:
    """The entries of a page, or NULL when all are 0."""
    return _place(m, pdx).entries if m.nr_tables else NULL


cdef inline uint64_t table_get(machine *m, uint64_t pdx, uint32_t index) noexcept nogil:
    cdef uint64_t *entries = table_of(m, pdx)
    return entries[index] if entries != NULL else 0


cdef inline int _reserve(machine *m) noexcept nogil:
    # Room for one more page; places of pages without entries are left behind.
    cdef table_entries *old = m.tables
    cdef uint64_t i, old_size = m.tables_size, size = 64
    cdef table_entries *fresh
    if (m.tables_used + 1) * 2 < m.tables_size:
        return 0
    while (m.nr_tables + 1) * 4 >= size:
        size *= 2
    fresh = <table_entries *>calloc(size, sizeof(table_entries))
    if fresh == NULL:
        return -ENOMEM
    m.tables = fresh
    m.tables_size = size
    m.tables_used = m.nr_tables
    for i in range(old_size):
        if old[i].entries != NULL:
            _place(m, old[i].key - 1)[0] = old[i]
    free(old)
    return 0


cdef inline int table_reserve(machine *m, uint64_t pdx) noexcept nogil:
    """Room for the entries of a page, so that writing one cannot fail."""
    cdef table_entries *t
    if table_of(m, pdx) != NULL:
        return 0
    if _reserve(m):
        return -ENOMEM
    t = _place(m, pdx)
    t.entries = <uint64_t *>calloc(TABLE_ENTRIES, sizeof(uint64_t))
    if t.entries == NULL:
        return -ENOMEM
    m.tables_used += t.key == 0
    t.key = pdx + 1
    t.used = 0
    m.nr_tables += 1
    return 0


cdef inline void table_drop(machine *m, uint64_t pdx) noexcept nogil:
    cdef table_entries *t
    if not m.nr_tables:
        return
    t = _place(m, pdx)
    if t.entries != NULL:
        free(t.entries)
        t.entries = NULL
        m.nr_tables -= 1


cdef inline void table_set(machine *m, uint64_t pdx, uint32_t index, uint64_t pte) noexcept nogil:
    # Room has been reserved.
    cdef table_entries *t = _place(m, pdx)
    t.used += <uint64_t>(pte != 0) - <uint64_t>(t.entries[index] != 0)
    t.entries[index] = pte


cdef inline void table_tidy(machine *m, uint64_t pdx) noexcept nogil:
    """A page whose entries are all 0 keeps none."""
    cdef table_entries *t
    if m.nr_tables:
        t = _place(m, pdx)
        if t.entries != NULL and t.used == 0:
            table_drop(m, pdx)


cdef inline void tables_release(machine *m) noexcept nogil:
    cdef uint64_t i
    for i in range(m.tables_size):
        free(m.tables[i].entries)
    free(m.tables)
