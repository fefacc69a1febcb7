# SPDX-License-Identifier: MIT
"""The live machine's state and its one lock; the operations themselves stand in ``xenmm/machine/_*.pxd``.

The frame table and the M2P are reserved address space, laid out as Xen lays its own:
a record's emulated address minus FRAMETABLE_VIRT_START is its offset here. What boot would back is backed, by
memory that costs nothing until it is touched: zeros for records, a pattern for M2P entries, mapped
copy-on-write from one chunk.

Every public entry takes the machine's lock; a batch holds it with the GIL released.
"""

import errno
import os

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from xenmm cimport mfn_to_pdx, xenmm_params_of
from xenmm.machine._domains cimport (
    domain_create,
    domain_kill,
    domain_release,
    finish_dying,
    gt_grow,
    gt_init,
    gt_set_version,
)
from xenmm.machine._frames cimport (
    compat_backed,
    frame_ok,
    list_init,
    m2p_backed,
    page_is_free_head,
    pdx_backed,
    record,
    run_of,
    touch_record,
)
from xenmm.machine._grant_copy cimport grant_copy
from xenmm.machine._grant_entries cimport nr_entries
from xenmm.machine._heap cimport free_list, heap_free_chunk
from xenmm.machine._holds cimport hold_of, hold_reserve
from xenmm.machine._map cimport mapcache_init
from xenmm.machine._ops cimport run_ops
from xenmm.machine._page_tables cimport table_of, table_reserve, table_set, tables_release
from xenmm.machine._physmap cimport exchange, p2m_entry, p2m_reserve
from xenmm.machine._state cimport (
    DOMID_IO,
    INVALID_DIRTY_IDX,
    LIST_NULL,
    MAX_ORDER,
    NR_DOMIDS,
    NR_ORDERS,
    NR_ZONES,
    active_entry,
    copy_op,
    counters,
    domain,
    grant_table,
    heap_run,
    machine,
    mapcache_vcpu,
    maptrack,
    op,
    page_info,
    page_list,
)

from .errors import MachineError


# One class in layers, one file each; all are one compiled unit.
include "machine/_tables.pxi"
include "machine/_core_memory.pxi"
include "machine/_core_tables.pxi"
include "machine/_core_domains.pxi"
include "machine/_core_saved.pxi"


cdef class MachineCore(_Saved):
    """State and lock of a live machine; see :class:`xenmm.machine.Machine` for its public face.

    Parameters
    ----------
    host : HostCore
        The booted host, kept alive.
    setup : MachineSetup
        Where memory lies and what backs the tables: see ``xenmm/machine/setup.py``.
    """

    def _do(self, uint16_t code, uint16_t dom=0, uint16_t peer=0, uint32_t flags=0, uint32_t ref=0,
            uint64_t addr=0, uint64_t frame=0):
        """One operation; return (status, out, frame)."""
        cdef op o
        o.code = code
        o.dom = dom
        o.peer = peer
        o.flags = flags
        o.ref = ref
        o.addr = addr
        o.frame = frame
        o.out = 0
        self.acquire()
        run_ops(self.m, &o, 1)
        self.release()
        return o.status, o.out, o.frame

    def _run(self, uint64_t address, uint64_t count):
        """Operations at an address of this process; return how many failed."""
        cdef uint64_t failed
        self.acquire()
        with nogil:
            failed = run_ops(self.m, <op *>address, count)
        self.release()
        return failed

    def _copy(self, uint16_t domid, uint64_t address, uint64_t count):
        """Grant copies by a domain; return how many failed."""
        cdef copy_op *ops = <copy_op *>address
        cdef domain *d
        cdef uint64_t i, failed = 0
        self.acquire()
        d = self.m.domains[domid] if domid < NR_DOMIDS else NULL
        with nogil:
            for i in range(count):
                if d == NULL or d.dying or d == self.m.dom_io:
                    ops[i].status = -2
                elif self.m.naive:
                    ops[i].status = <int16_t>grant_copy(self.m, d, &ops[i], True)
                else:
                    ops[i].status = <int16_t>grant_copy(self.m, d, &ops[i], False)
                failed += ops[i].status != 0
        self.release()
        return failed

    def _exchange(self, uint16_t domid, uint64_t in_gfns, uint64_t out_gfns, uint32_t in_order,
                  uint32_t out_order, uint64_t nr_in, uint32_t flags):
        """See Domain.exchange; arrays of uint64 at addresses of this process. Return 0 or -errno."""
        cdef domain *d = self._locked(domid)
        cdef int rc
        with nogil:
            rc = exchange(
                self.m, d, <const uint64_t *>in_gfns, <const uint64_t *>out_gfns, in_order, out_order, nr_in,
                flags
            )
            if self.m.finish != NULL:
                finish_dying(self.m)
        self.release()
        return rc
