# SPDX-License-Identifier: MIT
"""What the user of the machine holds.

Each reference taken by name is written down, so that no reference of a grant or of the allocation can be
dropped by mistake, and the audit knows whom every count belongs to.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from xenmm.machine._state cimport hold, machine


cdef inline hold *hold_find(machine *m, uint64_t pdx) noexcept nogil:
    # Its place in the table, or the empty place where it would go.
    cdef uint64_t i = (pdx * <uint64_t>0x9e3779b97f4a7c15) >> 20
    while True:
        i &= m.holds_size - 1
        if m.holds[i].key == pdx + 1 or m.holds[i].key == 0:
            return &m.holds[i]
        i += 1


cdef inline int hold_reserve(machine *m, uint64_t more) noexcept nogil:
    """Room for ``more`` further entries, so that none can fail; what is held no more is left behind."""
    cdef hold *old = m.holds
    cdef uint64_t i, old_size = m.holds_size, size = 64, live = more
    cdef hold *fresh
    if (m.holds_used + more) * 2 < m.holds_size:
        return 0
    for i in range(old_size):
        live += old[i].refs or old[i].types or old[i].page
    while live * 4 >= size:
        size *= 2
    fresh = <hold *>calloc(size, sizeof(hold))
    if fresh == NULL:
        return -ENOMEM
    m.holds = fresh
    m.holds_size = size
    m.holds_used = 0
    for i in range(old_size):
        if old[i].refs or old[i].types or old[i].page:
            hold_find(m, old[i].key - 1)[0] = old[i]
            m.holds_used += 1
    free(old)
    return 0


cdef inline hold *hold_of(machine *m, uint64_t pdx) noexcept nogil:
    """The entry of a page, made when it has none; NULL without memory."""
    cdef hold *h
    if hold_reserve(m, 1):
        return NULL
    h = hold_find(m, pdx)
    if h.key == 0:
        h.key = pdx + 1
        m.holds_used += 1
    return h
