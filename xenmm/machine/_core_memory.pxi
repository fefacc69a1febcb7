# SPDX-License-Identifier: MIT
# The first layer of MachineCore: its life, its lock, its tables backed and its heap filled.

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock() nogil
    void PyThread_free_lock(PyThread_type_lock) nogil
    int PyThread_acquire_lock(PyThread_type_lock, int) nogil
    void PyThread_release_lock(PyThread_type_lock) nogil


cdef int _alloc_failed() except -1:
    raise MemoryError("no memory for a live machine's own books")


cdef uint8_t *_bitmap(uint64_t bits) except NULL:
    cdef uint8_t *made = <uint8_t *>calloc((bits >> 3) + 1, 1)
    if made == NULL:
        _alloc_failed()
    return made


cdef int _mark(uint8_t *slots, uint64_t offset, uint64_t size) except -1:
    # The 2 MiB of a table that are backed.
    cdef uint64_t slot
    for slot in range(offset >> 21, (offset + size + (1 << 21) - 1) >> 21):
        slots[slot >> 3] |= <uint8_t>(1 << (slot & 7))
    return 0


cdef class _Memory:
    """What a machine is made of: tables, heap, lock; at boot, and when memory is added."""

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
        m.nr_cpus = setup.cpus
        m.tlb_clock = 1
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
            free(m.compat_slots)
            free(m.ft_touched)
            free(m.m2p_touched)
            free(m.compat_touched)
            free(m.holds)
            tables_release(m)
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

    # Tables and heap.

    cdef int _make_tables(self, setup) except -1:
        cdef machine *m = self.m
        self.frame_table_memory = _Table(setup.frame_table_reserved, "the frame table")
        self.m2p_memory = _Table(setup.m2p_reserved, "the M2P")
        m.frame_table = <page_info *>self.frame_table_memory.base
        m.m2p = <uint64_t *>self.m2p_memory.base
        m.ft_bytes = setup.frame_table_reserved
        m.m2p_bytes = setup.m2p_reserved
        m.compat_bytes = setup.compat_reserved
        m.nr_groups = m.ft_bytes >> 21
        m.nr_m2p_slots = m.m2p_bytes >> 21
        m.nr_compat_slots = m.compat_bytes >> 21
        m.groups = _bitmap(m.nr_groups)
        m.m2p_slots = _bitmap(m.nr_m2p_slots)
        m.compat_slots = _bitmap(m.nr_compat_slots)
        m.ft_touched = _bitmap(m.ft_bytes >> 12)
        m.m2p_touched = _bitmap(m.m2p_bytes >> 12)
        m.compat_touched = _bitmap(m.compat_bytes >> 12)
        for offset, size in setup.frame_table_pages:
            self.frame_table_memory.commit_zero(offset, size)
        for offset, size, value in setup.frame_table_fills:
            self._fill_tail(offset, size, value)
        for offset, size, value in setup.m2p_fills:
            self.m2p_memory.commit_pattern(offset, size, value)
            _mark(m.m2p_slots, offset, size)
        if m.compat_bytes:
            self.compat_memory = _Table(m.compat_bytes, "the compat M2P")
            m.compat = <uint32_t *>self.compat_memory.base
        for offset, size, value in setup.compat_fills:
            self.compat_memory.commit_pattern(offset, size, value)
            _mark(m.compat_slots, offset, size)
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
            for offset, size, value in plan.compat_fills:
                self.compat_memory.commit_pattern(offset, size, value)
            self._make_room(plan.node, 2)
            if plan.cleared[1]:
                memset(self.frame_table_memory.base + <uint64_t>plan.cleared[0], 0, <uint64_t>plan.cleared[1])
            self._fill_tail(plan.tail[0], plan.tail[1], 0xff)
            for offset, size, _ in plan.m2p_fills:
                _mark(m.m2p_slots, offset, size)
            for offset, size, _ in plan.compat_fills:
                _mark(m.compat_slots, offset, size)
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
