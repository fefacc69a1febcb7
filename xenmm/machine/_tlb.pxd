# SPDX-License-Identifier: MIT
"""The TLB clock: whether a page's old translations may still stand in some TLB when it is used anew.

Follows xen/arch/x86/flushtlb.c (pre_flush, post_flush, new_tlbflush_clock_period) and
xen/arch/x86/include/asm/flushtlb.h (NEED_FLUSH, tlbflush_filter): a flush of a TLB ticks the clock and is
stamped with it; a page is stamped when its last type reference goes or when its owner's page is freed; a TLB
that was flushed after that holds nothing of it. When the clock wraps every TLB is flushed.

With no TLBs (``nr_cpus`` 0) nothing here does anything.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenmm.machine._state cimport machine, page_info


cdef extern from *:
    int _ctzll "__builtin_ctzll"(unsigned long long) noexcept nogil


cdef inline void tlb_flush(machine *m, uint32_t cpu) noexcept nogil:
    """Flush one TLB."""
    cdef uint32_t i
    m.n.tlb_flushes += 1
    m.tlb_clock += 1
    m.tlb_time[cpu] = m.tlb_clock
    if m.tlb_clock == 0:
        m.n.tlb_flushes += m.nr_cpus - 1
        for i in range(m.nr_cpus):
            m.tlb_time[i] = 0
        m.tlb_clock = 1


cdef inline uint64_t all_cpus(machine *m) noexcept nogil:
    return ~<uint64_t>0 >> (64 - m.nr_cpus) if m.nr_cpus else 0


cdef inline void tlb_flush_stale(machine *m, uint64_t cpus, uint32_t stamp) noexcept nogil:
    # Those of ``cpus`` that were not flushed since the stamp. A stamp after the present time is one from
    # before the clock wrapped.
    cdef bint flushed = False
    cdef uint32_t cpu, now = m.tlb_clock
    cpus &= all_cpus(m)
    while cpus:
        cpu = _ctzll(cpus)
        cpus &= cpus - 1
        if m.tlb_time[cpu] <= stamp and stamp <= now:
            tlb_flush(m, cpu)
            flushed = True
    m.n.need_flush_tlb_flush += flushed


cdef inline void tlb_stamp(machine *m, page_info *pg) noexcept nogil:
    if m.nr_cpus:
        pg.context = m.tlb_clock
