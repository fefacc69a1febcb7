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
from xenmm.machine._frames cimport frame_ok, list_init, m2p_backed, pdx_backed, record, run_of, touch_record
from xenmm.machine._grants cimport grant_copy, nr_entries
from xenmm.machine._heap cimport free_list, heap_free_chunk
from xenmm.machine._map cimport mapcache_init
from xenmm.machine._ops cimport run_ops
from xenmm.machine._pages cimport hold_of, hold_reserve
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


cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock() nogil
    void PyThread_free_lock(PyThread_type_lock) nogil
    int PyThread_acquire_lock(PyThread_type_lock, int) nogil
    void PyThread_release_lock(PyThread_type_lock) nogil


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/mman.h>
    #include <unistd.h>
    """
    void *mmap(void *, size_t, int, int, int, long) nogil
    int munmap(void *, size_t) nogil
    int madvise(void *, size_t, int) nogil
    int memfd_create(const char *, unsigned int) nogil
    int ftruncate(int, long) nogil
    int close(int) nogil
    const int PROT_NONE
    const int PROT_READ
    const int PROT_WRITE
    const int MAP_PRIVATE
    const int MAP_SHARED
    const int MAP_ANONYMOUS
    const int MAP_NORESERVE
    const int MAP_FIXED
    const int MADV_DONTNEED
    const int MFD_CLOEXEC
    void *MAP_FAILED


cdef uint64_t _PATTERN_BYTES = 2 << 20


cdef object _no_memory(str what, uint64_t size):
    return MachineError(
        f"this system gives no {size:#x} bytes of address space for {what}; a live machine needs memory "
        f"overcommit (vm.overcommit_memory 0 or 1) and no limit on address space (ulimit -v)"
    )


cdef class _Table:
    """Reserved address space, backed in whole pages where :meth:`commit` was called."""

    def __cinit__(self, uint64_t reserved, str what):
        self.pattern_fd = -1
        self.reserved = reserved
        cdef void *base = mmap(
            NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
        )
        if base == MAP_FAILED:
            raise _no_memory(what, reserved)
        self.base = <char *>base

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.reserved)
        if self.pattern_fd >= 0:
            close(self.pattern_fd)

    cdef int commit_zero(self, uint64_t offset, uint64_t size) except -1:
        cdef void *at = mmap(
            self.base + offset, size, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0
        )
        if at == MAP_FAILED:
            raise _no_memory("a table", size)
        self.committed += size
        return 0

    cdef int commit_pattern(self, uint64_t offset, uint64_t size, int value) except -1:
        # One file of a few chunks, one for each value, mapped again and again; a write makes a private copy.
        cdef uint64_t done = 0, step
        cdef void *at
        if self.pattern_fd < 0:
            self._make_patterns()
        while done < size:
            step = min(size - done, _PATTERN_BYTES)
            at = mmap(
                self.base + offset + done, step, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, self.pattern_fd,
                _PATTERN_BYTES * {0x55: 0, 0x77: 1, 0xff: 2}[value]
            )
            if at == MAP_FAILED:
                raise _no_memory("a table", size)
            done += step
        self.committed += size
        return 0

    cdef int _make_patterns(self) except -1:
        cdef int fd = memfd_create(b"xenmm-patterns", MFD_CLOEXEC)
        if fd < 0:
            raise MachineError(f"no memory file for the tables' patterns: {os.strerror(errno.ENOSYS)}")
        self.pattern_fd = fd
        with open(fd, "wb", closefd=False) as file:
            for value in (0x55, 0x77, 0xff):
                file.write(bytes([value]) * _PATTERN_BYTES)
        return 0


cdef class TableView:
    """The buffer of one run of a table: zero copy, and the machine lives as long as it does."""

    cdef object owner
    cdef void *at
    cdef Py_ssize_t size
    cdef bint writable

    def __init__(self):
        raise TypeError("views come from a machine")

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.at, self.size, not self.writable, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        pass


cdef TableView _view(object owner, void *at, Py_ssize_t size, bint writable):
    cdef TableView view = TableView.__new__(TableView)
    view.owner = owner
    view.at = at
    view.size = size
    view.writable = writable
    return view


cdef int _alloc_failed() except -1:
    raise MemoryError("no memory for a live machine's own books")


cdef class MachineCore:
    """State and lock of a live machine; see :class:`xenmm.machine.Machine` for its public face.

    Parameters
    ----------
    host : HostCore
        The booted host, kept alive.
    setup : MachineSetup
        Where memory lies and what backs the tables: see ``xenmm/machine/setup.py``.
    """

    def __cinit__(self, host, setup):
        self.host = host
        self.lock = PyThread_allocate_lock()
        self.m = <machine *>calloc(1, sizeof(machine))
        if self.m == NULL or self.lock == NULL:
            _alloc_failed()
        cdef machine *m = self.m
        m.p = xenmm_params_of(host.capsule)
        m.max_page = setup.max_page
        m.max_pdx = setup.max_pdx
        m.naive = setup.naive
        m.by_page = setup.by_page
        m.nr_nodes = setup.nr_nodes
        m.dma_zone = setup.dma_zone
        self._make_tables(setup)
        self._make_heap(setup)
        m.domains = <domain **>calloc(NR_DOMIDS, sizeof(void *))
        m.nr_vcpus = setup.vcpus
        m.vcpus = <mapcache_vcpu *>calloc(m.nr_vcpus + 1, sizeof(mapcache_vcpu))
        if m.domains == NULL or m.vcpus == NULL or hold_reserve(m, 1):
            _alloc_failed()
        for i in range(m.nr_vcpus):
            mapcache_init(&m.vcpus[i])
        if domain_create(m, DOMID_IO, 0, 0, 0):
            raise MachineError("no free page for the hypervisor's own domains")
        m.dom_io = m.domains[DOMID_IO]
        memset(&m.n, 0, sizeof(counters))

    cdef int _make_tables(self, setup) except -1:
        cdef machine *m = self.m
        self.frame_table_memory = _Table(setup.frame_table_reserved, "the frame table")
        self.m2p_memory = _Table(setup.m2p_reserved, "the M2P")
        m.frame_table = <page_info *>self.frame_table_memory.base
        m.m2p = <uint64_t *>self.m2p_memory.base
        m.ft_bytes = setup.frame_table_reserved
        m.m2p_bytes = setup.m2p_reserved
        m.nr_groups = m.ft_bytes >> 21
        m.nr_m2p_slots = m.m2p_bytes >> 21
        m.groups = <uint8_t *>calloc(m.nr_groups // 8 + 1, 1)
        m.m2p_slots = <uint8_t *>calloc(m.nr_m2p_slots // 8 + 1, 1)
        m.ft_touched = <uint8_t *>calloc((m.ft_bytes >> 15) + 1, 1)
        m.m2p_touched = <uint8_t *>calloc((m.m2p_bytes >> 15) + 1, 1)
        if m.groups == NULL or m.m2p_slots == NULL or m.ft_touched == NULL or m.m2p_touched == NULL:
            _alloc_failed()
        for offset, size in setup.frame_table_pages:
            self.frame_table_memory.commit_zero(offset, size)
        for offset, size, value in setup.frame_table_fills:
            self._fill_tail(offset, size, value)
        for offset, size, value in setup.m2p_fills:
            self.m2p_memory.commit_pattern(offset, size, value)
            self._mark_m2p(offset, size)
        for first, end in setup.groups:
            self._back_groups(first, end)
        return 0

    cdef int _fill_tail(self, uint64_t offset, uint64_t size, int value) except -1:
        # What boot fills with other than zeros: behind the last record of a run.
        cdef uint64_t whole = min((offset + 0xfff) & ~<uint64_t>0xfff, offset + size)
        if value == 0:
            return 0
        memset(self.frame_table_memory.base + offset, value, whole - offset)
        if whole < offset + size:
            self.frame_table_memory.commit_pattern(whole, offset + size - whole, value)
        return 0

    cdef int _mark_m2p(self, uint64_t offset, uint64_t size) except -1:
        cdef uint64_t slot
        for slot in range(offset >> 21, (offset + size + (1 << 21) - 1) >> 21):
            self.m.m2p_slots[slot >> 3] |= <uint8_t>(1 << (slot & 7))
        return 0

    cdef int _back_groups(self, uint64_t first, uint64_t end) except -1:
        cdef uint64_t group
        for group in range(first, end):
            self.m.groups[group >> 3] |= <uint8_t>(1 << (group & 7))
        return 0

    cdef int _make_heap(self, setup) except -1:
        cdef machine *m = self.m
        cdef uint64_t i, lists = <uint64_t>m.nr_nodes * NR_ZONES
        cdef size_t count = len(setup.runs)
        m.runs = <heap_run *>calloc(count + 1, sizeof(heap_run))
        m.free_lists = <page_list *>calloc(lists * NR_ORDERS, sizeof(page_list))
        m.free_orders = <uint32_t *>calloc(lists, sizeof(uint32_t))
        m.node_free = <uint64_t *>calloc(m.nr_nodes, sizeof(uint64_t))
        if m.runs == NULL or m.free_lists == NULL or m.free_orders == NULL or m.node_free == NULL:
            _alloc_failed()
        for i in range(lists * NR_ORDERS):
            list_init(&m.free_lists[i])
        m.nr_runs = <uint32_t>count
        for i, (smfn, emfn, node, boot) in enumerate(setup.runs):
            m.runs[i].smfn = smfn
            m.runs[i].emfn = emfn
            m.runs[i].node = node
            m.runs[i].boot = boot
        for i in range(count):
            if not m.runs[i].boot:
                self._free_run(m.runs[i].smfn, m.runs[i].emfn)
        return 0

    cdef int _free_run(self, uint64_t mfn, uint64_t emfn) except -1:
        # The largest aligned chunks that fit, from the bottom up.
        cdef uint32_t order
        while mfn < emfn:
            order = MAX_ORDER
            while order and (mfn & ((<uint64_t>1 << order) - 1) or mfn + (<uint64_t>1 << order) > emfn):
                order -= 1
            if not frame_ok(self.m, mfn) or not frame_ok(self.m, mfn + (<uint64_t>1 << order) - 1):
                raise MachineError(
                    f"RAM at mfn {mfn:#x} cannot be told from other memory by this boot's compression: see "
                    f"the host's hazards"
                )
            heap_free_chunk(
                self.m, <uint32_t>mfn_to_pdx(self.m.p, mfn), mfn, order, <uint64_t>INVALID_DIRTY_IDX
            )
            mfn += <uint64_t>1 << order
        return 0

    def _add_memory(self, plan):
        """Back the tables for more memory and hand it to the heap; hot_add.py has checked the plan."""
        cdef machine *m = self.m
        self.acquire()
        try:
            # Everything that can fail comes first: until the groups are marked nobody sees any of it.
            for offset, size in plan.frame_table_pages:
                self.frame_table_memory.commit_zero(offset, size)
            for offset, size, value in plan.m2p_fills:
                self.m2p_memory.commit_pattern(offset, size, value)
            self._make_room(plan.node, 2)
            if plan.cleared[1]:
                memset(self.frame_table_memory.base + <uint64_t>plan.cleared[0], 0, <uint64_t>plan.cleared[1])
            self._fill_tail(plan.tail[0], plan.tail[1], 0xff)
            for offset, size, _ in plan.m2p_fills:
                self._mark_m2p(offset, size)
            self._back_groups(plan.groups[0], plan.groups[1])
            m.max_page = max(m.max_page, <uint64_t>plan.emfn)
            m.max_pdx = max(m.max_pdx, <uint64_t>plan.end_pdx)
            self._insert_run(plan.smfn, plan.heap_mfn, plan.node, True)
            self._insert_run(plan.heap_mfn, plan.emfn, plan.node, False)
            self._free_run(plan.heap_mfn, plan.emfn)
        finally:
            self.release()

    cdef int _make_room(self, uint64_t node, uint64_t runs) except -1:
        # For as many more runs, and for a node that is new.
        cdef machine *m = self.m
        cdef uint64_t i, lists
        cdef void *grown = realloc(m.runs, (m.nr_runs + runs + 1) * sizeof(heap_run))
        if grown == NULL:
            _alloc_failed()
        m.runs = <heap_run *>grown
        if node < m.nr_nodes:
            return 0
        lists = (node + 1) * NR_ZONES
        grown = realloc(m.free_lists, lists * NR_ORDERS * sizeof(page_list))
        if grown == NULL:
            _alloc_failed()
        m.free_lists = <page_list *>grown
        grown = realloc(m.free_orders, lists * sizeof(uint32_t))
        if grown == NULL:
            _alloc_failed()
        m.free_orders = <uint32_t *>grown
        grown = realloc(m.node_free, (node + 1) * sizeof(uint64_t))
        if grown == NULL:
            _alloc_failed()
        m.node_free = <uint64_t *>grown
        for i in range(<uint64_t>m.nr_nodes * NR_ZONES * NR_ORDERS, lists * NR_ORDERS):
            list_init(&m.free_lists[i])
        memset(&m.free_orders[m.nr_nodes * NR_ZONES], 0, (lists - m.nr_nodes * NR_ZONES) * sizeof(uint32_t))
        m.node_free[node] = 0
        m.nr_nodes = <uint32_t>(node + 1)
        return 0

    cdef int _insert_run(self, uint64_t smfn, uint64_t emfn, uint64_t node, bint boot) except -1:
        cdef machine *m = self.m
        cdef uint32_t at = m.nr_runs
        if smfn == emfn:
            return 0
        while at > 0 and m.runs[at - 1].smfn > smfn:
            m.runs[at] = m.runs[at - 1]
            at -= 1
        m.runs[at].smfn = smfn
        m.runs[at].emfn = emfn
        m.runs[at].node = <uint32_t>node
        m.runs[at].boot = boot
        m.nr_runs += 1
        return 0

    def __dealloc__(self):
        cdef machine *m = self.m
        cdef uint64_t i
        if m != NULL:
            if m.domains != NULL:
                for i in range(NR_DOMIDS):
                    if m.domains[i] != NULL:
                        domain_release(m.domains[i])
            free(m.domains)
            free(m.vcpus)
            free(m.runs)
            free(m.free_lists)
            free(m.free_orders)
            free(m.node_free)
            free(m.groups)
            free(m.m2p_slots)
            free(m.ft_touched)
            free(m.m2p_touched)
            free(m.holds)
            free(m)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    # The lock. Held by one thread at a time; a waiting thread lets others run Python.

    cdef void acquire(self):
        if not PyThread_acquire_lock(self.lock, 0):
            with nogil:
                PyThread_acquire_lock(self.lock, 1)

    cdef void release(self):
        PyThread_release_lock(self.lock)

    cdef domain *_locked(self, uint32_t domid) except NULL:
        """A domain by number, with the lock taken; raises, with the lock free, when there is none."""
        self.acquire()
        cdef domain *d = self.m.domains[domid] if domid < NR_DOMIDS else NULL
        if d == NULL:
            self.release()
            raise MachineError(f"there is no domain {domid}")
        return d

    # Operations.

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

    # Domains.

    def _create_domain(self, uint32_t domid, uint64_t max_pages, uint32_t grant_frames,
                       uint32_t maptrack_frames):
        self.acquire()
        rc = domain_create(self.m, domid, max_pages, grant_frames, maptrack_frames)
        self.release()
        return rc

    def _configure_domain(self, uint16_t domid, bint translated, bint need_iommu, uint64_t iommu_max):
        cdef domain *d = self._locked(domid)
        d.translated = translated
        d.need_iommu = need_iommu
        d.iommu_max = iommu_max
        self.release()

    def _set_max_pages(self, uint16_t domid, uint64_t max_pages):
        cdef domain *d = self._locked(domid)
        d.max_pages = max_pages
        self.release()

    def _permit_iomem(self, uint16_t domid, uint64_t smfn, uint64_t emfn):
        cdef domain *d = self._locked(domid)
        cdef uint64_t *grown = <uint64_t *>realloc(d.iomem, (d.nr_iomem + 1) * 16)
        if grown != NULL:
            d.iomem = grown
            grown[2 * d.nr_iomem] = smfn
            grown[2 * d.nr_iomem + 1] = emfn
            d.nr_iomem += 1
        self.release()
        if grown == NULL:
            _alloc_failed()

    def _kill_domain(self, uint16_t domid):
        """Begin the end of a domain; True when it is over."""
        cdef domain *d = self._locked(domid)
        with nogil:
            domain_kill(self.m, d)
            finish_dying(self.m)
        gone = self.m.domains[domid] == NULL
        self.release()
        return gone

    def _grow_grants(self, uint16_t domid, uint32_t frames):
        cdef domain *d = self._locked(domid)
        rc = gt_grow(self.m, d, frames)
        self.release()
        return rc

    def _set_grant_version(self, uint16_t domid, uint32_t version):
        cdef domain *d = self._locked(domid)
        rc = gt_set_version(self.m, d, version)
        self.release()
        return rc

    def _domids(self):
        """Domids in use, ascending, dom_io among them."""
        return [i for i in range(NR_DOMIDS) if self.m.domains[i] != NULL]

    def _domain(self, uint16_t domid):
        """The plain fields of a domain as a dict, or None."""
        self.acquire()
        cdef domain *d = self.m.domains[domid] if domid < NR_DOMIDS else NULL
        facts = self._facts(d) if d != NULL else None
        self.release()
        return facts

    cdef dict _facts(self, domain *d):
        return {
            "domid": d.domid,
            "dying": bool(d.dying),
            "translated": bool(d.translated),
            "need_iommu": bool(d.need_iommu),
            "pdx": d.pdx,
            "last_node": d.last_node,
            "tot_pages": d.tot_pages,
            "max_pages": d.max_pages,
            "xenheap_pages": d.xenheap_pages,
            "p2m_count": d.p2m_count,
            "iommu_used": d.iommu_used,
            "iommu_max": d.iommu_max,
            "iomem": [(d.iomem[2 * i], d.iomem[2 * i + 1]) for i in range(d.nr_iomem)],
            "grant_version": d.gt.version,
            "max_grant_frames": d.gt.max_frames,
            "nr_grant_frames": d.gt.nr_frames,
            "nr_grant_entries": nr_entries(&d.gt),
            "nr_status_frames": d.gt.nr_status_frames,
            "nr_active_frames": d.gt.nr_active_frames,
            "nr_maptrack_frames": d.gt.nr_maptrack_frames,
            "max_maptrack_frames": d.gt.max_maptrack_frames,
            "maptrack_used": d.gt.maptrack_used,
            "maptrack_free": d.gt.maptrack_free,
            "nr_pinned": d.gt.nr_pinned,
        }

    # Arrays of a domain, copied: the domain may end while the caller still looks at them.

    def _domain_array(self, uint16_t domid, str kind):
        cdef domain *d = self._locked(domid)
        try:
            return self._array(d, kind)
        finally:
            self.release()

    cdef bytes _array(self, domain *d, str kind):
        cdef uint64_t size
        if kind == "shared":
            return bytes((<char *>d.gt.shared)[: <size_t>d.gt.nr_frames * 4096])
        if kind == "status":
            return bytes((<char *>d.gt.status)[: <size_t>d.gt.nr_frames * 512])
        if kind == "active":
            size = nr_entries(&d.gt) * sizeof(active_entry)
            return bytes((<char *>d.gt.active)[:size])
        size = <uint64_t>d.gt.nr_maptrack_frames * 512 * sizeof(maptrack)
        return bytes((<char *>d.gt.tracks)[:size])

    def _p2m(self, uint16_t domid):
        """The P2M of a domain as bytes of pairs of uint64, gfn and mfn, ascending by gfn."""
        cdef domain *d = self._locked(domid)
        try:
            return self._pairs(d)
        finally:
            self.release()

    cdef bytes _pairs(self, domain *d):
        cdef bytearray pairs = bytearray(d.p2m_count * 16)
        cdef uint64_t *at = <uint64_t *><char *>pairs
        cdef uint64_t leaf, i
        for leaf in range(d.p2m_end):
            if d.p2m[leaf] == NULL:
                continue
            for i in range(512):
                if d.p2m[leaf][i]:
                    at[0] = leaf * 512 + i
                    at[1] = ~d.p2m[leaf][i]
                    at += 2
        return bytes(pairs)

    def _grant_frames(self, uint16_t domid):
        """The pdx of a domain's shared, status, active and maptrack frames."""
        cdef domain *d = self._locked(domid)
        try:
            return self._frames(d)
        finally:
            self.release()

    cdef tuple _frames(self, domain *d):
        return (
            [d.gt.shared_pdx[i] for i in range(d.gt.nr_frames)],
            [d.gt.status_pdx[i] for i in range(d.gt.nr_status_frames)],
            [d.gt.active_pdx[i] for i in range(d.gt.nr_active_frames)],
            [d.gt.maptrack_pdx[i] for i in range(d.gt.nr_maptrack_frames)],
        )

    # Records and tables.

    def _frame_ok(self, uint64_t mfn):
        return bool(frame_ok(self.m, mfn))

    def _pdx_ok(self, uint64_t pdx):
        return bool(pdx_backed(self.m, pdx))

    def _free_chunk_of(self, uint64_t pdx):
        """(pdx of the head, order) of the free chunk that holds a pdx, or None."""
        cdef uint32_t order
        cdef uint64_t head
        for order in range(NR_ORDERS):
            head = pdx & ~((<uint64_t>1 << order) - 1)
            if pdx_backed(self.m, head):
                fields = record(self.m, head)
                if (fields.count_info >> 55) & 3 == 3 and fields.owner >= order:
                    return head, fields.owner
        return None

    def _m2p_ok(self, uint64_t mfn):
        return bool(m2p_backed(self.m, mfn))

    def _record(self, uint64_t pdx):
        """(next, prev, count_info, type_info, owner, context) of a backed pdx."""
        cdef page_info *pg = record(self.m, pdx)
        return pg.next, pg.prev, pg.count_info, pg.type_info, pg.owner, pg.context

    def _set_context(self, uint64_t pdx, uint32_t value):
        self.acquire()
        record(self.m, pdx).context = value
        touch_record(self.m, pdx)
        self.release()

    def _is_heap(self, uint64_t mfn):
        """(node index, kept by boot) of a RAM frame, or None for I/O."""
        cdef heap_run *run = run_of(self.m, mfn)
        return (run.node, bool(run.boot)) if run != NULL else None

    def _frame_table_view(self, uint64_t first, uint64_t end, bint writable):
        cdef uint64_t pdx
        if writable:
            for pdx in range(first & ~<uint64_t>127, end, 128):
                touch_record(self.m, pdx)
        return _view(self, record(self.m, first), (end - first) * sizeof(page_info), writable)

    def _m2p_view(self, uint64_t first, uint64_t end, bint writable):
        cdef uint64_t mfn
        if writable:
            for mfn in range(first & ~<uint64_t>511, end, 512):
                self.m.m2p_touched[mfn >> 12] |= <uint8_t>(1 << ((mfn >> 9) & 7))
        return _view(self, &self.m.m2p[first], (end - first) * 8, writable)

    def _groups(self):
        """Backed groups as a little-endian bitmap."""
        return bytes((<uint8_t *>self.m.groups)[: self.m.nr_groups // 8 + 1])

    def _m2p_slots(self):
        """Backed M2P slots of 262,144 frames as a little-endian bitmap."""
        return bytes((<uint8_t *>self.m.m2p_slots)[: self.m.nr_m2p_slots // 8 + 1])

    def _touched(self):
        """Bitmaps over 4 KiB pages of the frame table and of the M2P: written since they were backed."""
        cdef uint64_t ft = (self.m.ft_bytes >> 15) + 1, m2p = (self.m.m2p_bytes >> 15) + 1
        return (
            _view(self, self.m.ft_touched, ft, False),
            _view(self, self.m.m2p_touched, m2p, False),
        )

    def _trim(self, list fills):
        """Give back pages of the tables that read as when they were new; return their bytes."""
        cdef uint64_t page, given = 0, boundary = self.m.max_pdx * 32
        cdef char *at
        cdef int value
        self.acquire()
        for page in self._touched_pages(self.m.ft_touched, self.m.ft_bytes):
            at = self.frame_table_memory.base + (page << 12)
            # The page with the end of the table has its own fill behind the last record.
            if page == boundary >> 12 or at[0] or memcmp(at, at + 1, 4095):
                continue
            madvise(at, 4096, MADV_DONTNEED)
            self.m.ft_touched[page >> 3] &= <uint8_t>~(1 << (page & 7))
            given += 4096
        for offset, size, value in fills:
            for page in range(offset >> 12, (offset + size) >> 12, 8):
                if self.m.m2p_touched[page >> 3]:
                    given += self._trim_m2p(page >> 3, value)
        self.release()
        return given

    cdef uint64_t _trim_m2p(self, uint64_t byte, int value):
        cdef uint64_t page, given = 0
        cdef char *at
        for page in range(byte * 8, byte * 8 + 8):
            at = self.m2p_memory.base + (page << 12)
            if not (self.m.m2p_touched[byte] >> (page & 7)) & 1:
                continue
            if <uint8_t>at[0] == value and not memcmp(at, at + 1, 4095):
                madvise(at, 4096, MADV_DONTNEED)
                self.m.m2p_touched[byte] &= <uint8_t>~(1 << (page & 7))
                given += 4096
        return given

    cdef list _touched_pages(self, uint8_t *bits, uint64_t size):
        cdef uint64_t byte, bit
        cdef list pages = []
        for byte in range((size >> 15) + 1):
            if bits[byte]:
                for bit in range(8):
                    if (bits[byte] >> bit) & 1:
                        pages.append(byte * 8 + bit)
        return pages

    # Lists.

    def _walk(self, uint32_t head, uint64_t limit):
        """The pdx of a list from its head on, at most ``limit`` of them, as bytes of uint32."""
        cdef uint64_t count = 0, room = 1024
        cdef uint32_t *found = <uint32_t *>realloc(NULL, room * 4)
        cdef uint32_t *grown
        self.acquire()
        while head != LIST_NULL and count < limit and found != NULL and pdx_backed(self.m, head):
            if count == room:
                room *= 2
                grown = <uint32_t *>realloc(found, room * 4)
                if grown == NULL:
                    break
                found = grown
            found[count] = head
            count += 1
            head = record(self.m, head).next
        self.release()
        if found == NULL:
            _alloc_failed()
        result = bytes((<char *>found)[: count * 4])
        free(found)
        return result

    def _domain_lists(self, uint16_t domid):
        cdef domain *d = self._locked(domid)
        lists = (d.pages.head, d.pages.tail), (d.xenheap_list.head, d.xenheap_list.tail)
        self.release()
        return lists

    def _free_lists(self):
        """[(node, zone, order, head, tail)] of every free list that is not empty, and the books' totals."""
        cdef machine *m = self.m
        cdef uint32_t node, zone, order
        cdef page_list *pages
        found = []
        for node in range(m.nr_nodes):
            for zone in range(NR_ZONES):
                for order in range(NR_ORDERS):
                    pages = free_list(m, node, zone, order)
                    marked = (m.free_orders[node * NR_ZONES + zone] >> order) & 1
                    if pages.head != LIST_NULL or marked:
                        found.append((node, zone, order, pages.head, pages.tail))
        return found, m.total_free, [m.node_free[n] for n in range(m.nr_nodes)], m.dirty_pages

    def _runs(self):
        """RAM as [(smfn, emfn, node, kept by boot)]."""
        return [
            (self.m.runs[i].smfn, self.m.runs[i].emfn, self.m.runs[i].node, bool(self.m.runs[i].boot))
            for i in range(self.m.nr_runs)
        ]

    def _holds(self):
        """[(pdx, references, types, page)] that the machine's user holds, ascending."""
        self.acquire()
        try:
            return self._held()
        finally:
            self.release()

    cdef list _held(self):
        cdef machine *m = self.m
        cdef uint64_t i
        found = []
        for i in range(m.holds_size):
            if m.holds[i].refs or m.holds[i].types or m.holds[i].page:
                found.append((m.holds[i].key - 1, m.holds[i].refs, m.holds[i].types, m.holds[i].page))
        found.sort()
        return found

    # Facts.

    def _counters(self):
        return dict(self.m.n)

    def _reset_counters(self):
        self.acquire()
        memset(&self.m.n, 0, sizeof(counters))
        self.release()

    @property
    def max_page(self):
        """One past the last mfn; grows when memory is added."""
        return self.m.max_page

    @property
    def max_pdx(self):
        """One past the last pdx; grows when memory is added."""
        return self.m.max_pdx

    @property
    def nr_nodes(self):
        """How many NUMA nodes the heap has."""
        return self.m.nr_nodes

    @property
    def free_pages(self):
        """Pages on the free lists."""
        return self.m.total_free

    @property
    def dirty_pages(self):
        """Free pages that wait to be scrubbed."""
        return self.m.dirty_pages

    @property
    def frame_table_address(self):
        """Address in this process of the record of pdx 0. Records of groups never backed cannot be read."""
        return <size_t>self.m.frame_table

    @property
    def m2p_address(self):
        """Address in this process of the M2P entry of mfn 0. Slots never backed cannot be read."""
        return <size_t>self.m.m2p

    # Checkpoints: the state as plain bytes. Structs go as they are, their pointers as zeros.

    def _struct_sizes(self):
        """Sizes of the structs that a checkpoint holds as they are: the machine's binary layout."""
        return [
            sizeof(page_info), sizeof(domain), sizeof(active_entry), sizeof(maptrack), sizeof(page_list),
            sizeof(mapcache_vcpu), sizeof(counters),
        ]

    def _export(self):
        """The whole state: a dict of bytes, integers and lists. See checkpoint.py for what each is."""
        cdef machine *m = self.m
        cdef uint64_t lists = <uint64_t>m.nr_nodes * NR_ZONES
        self.acquire()
        try:
            ft = self._touched_pages(m.ft_touched, m.ft_bytes)
            m2p = self._touched_pages(m.m2p_touched, m.m2p_bytes)
            return {
                "numbers": [m.max_page, m.max_pdx, m.total_free, m.dirty_pages, m.mapcache_epoch],
                "free_lists": bytes((<char *>m.free_lists)[: lists * NR_ORDERS * sizeof(page_list)]),
                "free_orders": bytes((<char *>m.free_orders)[: lists * 4]),
                "node_free": bytes((<char *>m.node_free)[: m.nr_nodes * 8]),
                "vcpus": bytes((<char *>m.vcpus)[: m.nr_vcpus * sizeof(mapcache_vcpu)]),
                "counters": bytes((<char *>&m.n)[: sizeof(counters)]),
                "frame_table_pages": ft,
                "frame_table": self._pages_bytes(self.frame_table_memory, ft),
                "m2p_pages": m2p,
                "m2p": self._pages_bytes(self.m2p_memory, m2p),
                "holds": self._held(),
                "domains": [self._export_domain(m.domains[i]) for i in self._domids()],
            }
        finally:
            self.release()

    cdef bytes _pages_bytes(self, _Table table, list pages):
        return b"".join([bytes((table.base + (<uint64_t>page << 12))[:4096]) for page in pages])

    cdef dict _export_domain(self, domain *d):
        cdef domain copy = d[0]
        cdef uint64_t entries = <uint64_t>d.gt.nr_frames * 512
        cdef uint64_t handles = <uint64_t>d.gt.nr_maptrack_frames * 512
        copy.next_finish = NULL
        copy.iomem = NULL
        copy.p2m = NULL
        copy.p2m_end = 0
        copy.gt.shared_pdx = copy.gt.status_pdx = copy.gt.active_pdx = copy.gt.maptrack_pdx = NULL
        copy.gt.shared = NULL
        copy.gt.status = NULL
        copy.gt.active = NULL
        copy.gt.tracks = NULL
        return {
            "struct": bytes((<char *>&copy)[: sizeof(domain)]),
            "p2m": self._pairs(d),
            "iomem": bytes((<char *>d.iomem)[: d.nr_iomem * 16]) if d.nr_iomem else b"",
            "frames": self._frames(d),
            "shared": bytes((<char *>d.gt.shared)[: <size_t>d.gt.nr_frames * 4096]),
            "status": bytes((<char *>d.gt.status)[: <size_t>d.gt.nr_frames * 512]),
            "active": bytes((<char *>d.gt.active)[: entries * sizeof(active_entry)]),
            "tracks": bytes((<char *>d.gt.tracks)[: handles * sizeof(maptrack)]),
        }

    def _peek_domain(self, bytes data):
        """What an exported struct domain says, before it is trusted."""
        cdef domain d
        memcpy(&d, <const char *>data, sizeof(domain))
        return {
            "domid": d.domid,
            "pdx": d.pdx,
            "p2m_count": d.p2m_count,
            "nr_iomem": d.nr_iomem,
            "maptrack_free": d.gt.maptrack_free,
            "version": d.gt.version,
            "max_frames": d.gt.max_frames,
            "nr_frames": d.gt.nr_frames,
            "nr_status_frames": d.gt.nr_status_frames,
            "nr_active_frames": d.gt.nr_active_frames,
            "nr_maptrack_frames": d.gt.nr_maptrack_frames,
            "max_maptrack_frames": d.gt.max_maptrack_frames,
            "lists": [d.pages.head, d.pages.tail, d.xenheap_list.head, d.xenheap_list.tail],
        }

    def _import(self, state):
        """Replace a fresh machine's whole state by an exported one; sizes have been checked."""
        cdef machine *m = self.m
        cdef uint64_t i
        self.acquire()
        try:
            for i in range(NR_DOMIDS):
                if m.domains[i] != NULL:
                    domain_release(m.domains[i])
                    m.domains[i] = NULL
            m.dom_io = NULL
            m.max_page, m.max_pdx, m.total_free, m.dirty_pages, m.mapcache_epoch = state["numbers"]
            _overwrite(m.free_lists, state["free_lists"])
            _overwrite(m.free_orders, state["free_orders"])
            _overwrite(m.node_free, state["node_free"])
            _overwrite(m.vcpus, state["vcpus"])
            _overwrite(&m.n, state["counters"])
            pages, data = state["frame_table_pages"], state["frame_table"]
            self._import_pages(self.frame_table_memory, m.ft_touched, m.ft_bytes, pages, data)
            pages, data = state["m2p_pages"], state["m2p"]
            self._import_pages(self.m2p_memory, m.m2p_touched, m.m2p_bytes, pages, data)
            if hold_reserve(m, len(state["holds"])):
                _alloc_failed()
            for pdx, refs, types, page in state["holds"]:
                h = hold_of(m, pdx)
                h.refs = refs
                h.types = types
                h.page = page
            for exported in state["domains"]:
                self._import_domain(exported)
            m.dom_io = m.domains[DOMID_IO]
        finally:
            self.release()

    cdef int _import_pages(
        self, _Table table, uint8_t *touched, uint64_t size, list pages, bytes data
    ) except -1:
        cdef uint64_t page, at = 0
        cdef const char *source = data
        # What the fresh machine wrote and the saved one had given back reads as new again.
        for page in self._touched_pages(touched, size):
            madvise(table.base + (page << 12), 4096, MADV_DONTNEED)
            touched[page >> 3] &= <uint8_t>~(1 << (page & 7))
        for page in pages:
            memcpy(table.base + (page << 12), source + at, 4096)
            touched[page >> 3] |= <uint8_t>(1 << (page & 7))
            at += 4096
        return 0

    cdef int _import_domain(self, dict state) except -1:
        cdef domain *d = <domain *>calloc(1, sizeof(domain))
        cdef grant_table fresh
        cdef const uint64_t *pairs
        cdef bytes p2m = state["p2m"]
        cdef uint64_t i
        if d == NULL:
            _alloc_failed()
        _overwrite(d, state["struct"])
        fresh = d.gt
        # Registered at once, so that it is freed with the machine whatever fails below.
        self.m.domains[d.domid] = d
        if not gt_init(&d.gt, fresh.max_frames, fresh.max_maptrack_frames):
            _alloc_failed()
        d.gt.version = fresh.version
        d.gt.nr_frames = fresh.nr_frames
        d.gt.nr_status_frames = fresh.nr_status_frames
        d.gt.nr_active_frames = fresh.nr_active_frames
        d.gt.nr_maptrack_frames = fresh.nr_maptrack_frames
        d.gt.maptrack_free = fresh.maptrack_free
        d.gt.maptrack_used = fresh.maptrack_used
        d.gt.nr_pinned = fresh.nr_pinned
        shared, status, active, tracks = state["frames"]
        for i, pdx in enumerate(shared):
            d.gt.shared_pdx[i] = pdx
        for i, pdx in enumerate(status):
            d.gt.status_pdx[i] = pdx
        for i, pdx in enumerate(active):
            d.gt.active_pdx[i] = pdx
        for i, pdx in enumerate(tracks):
            d.gt.maptrack_pdx[i] = pdx
        _overwrite(d.gt.shared, state["shared"])
        _overwrite(d.gt.status, state["status"])
        _overwrite(d.gt.active, state["active"])
        _overwrite(d.gt.tracks, state["tracks"])
        d.p2m_end = 0
        pairs = <const uint64_t *><const char *>p2m
        for i in range(len(p2m) // 16):
            if p2m_reserve(d, pairs[2 * i], 1):
                _alloc_failed()
            p2m_entry(d, pairs[2 * i])[0] = ~pairs[2 * i + 1]
        if d.nr_iomem:
            d.iomem = <uint64_t *>calloc(d.nr_iomem, 16)
            if d.iomem == NULL:
                _alloc_failed()
            _overwrite(d.iomem, state["iomem"])
        return 0


cdef int _overwrite(void *at, bytes data) except -1:
    memcpy(at, <const char *>data, len(data))
    return 0
