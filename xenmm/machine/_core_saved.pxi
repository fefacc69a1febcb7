# SPDX-License-Identifier: MIT
# The fourth layer of MachineCore: checkpoints, the state as plain bytes.


cdef int _overwrite(void *at, bytes data) except -1:
    memcpy(at, <const char *>data, len(data))
    return 0


cdef class _Saved(_Domains):
    """The whole state out and in. Structs go as they are, their pointers as zeros."""

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
            compat = self._touched_pages(m.compat_touched, m.compat_bytes)
            tables = self._written_tables()
            return {
                "numbers": [
                    m.max_page, m.max_pdx, m.total_free, m.dirty_pages, m.mapcache_epoch, m.tlb_clock
                ],
                "tlb_time": [m.tlb_time[i] for i in range(m.nr_cpus)],
                "free_lists": bytes((<char *>m.free_lists)[: lists * NR_ORDERS * sizeof(page_list)]),
                "free_orders": bytes((<char *>m.free_orders)[: lists * 4]),
                "node_free": bytes((<char *>m.node_free)[: m.nr_nodes * 8]),
                "vcpus": bytes((<char *>m.vcpus)[: m.nr_vcpus * sizeof(mapcache_vcpu)]),
                "counters": bytes((<char *>&m.n)[: sizeof(counters)]),
                "frame_table_pages": ft,
                "frame_table": self._pages_bytes(self.frame_table_memory, ft),
                "m2p_pages": m2p,
                "m2p": self._pages_bytes(self.m2p_memory, m2p),
                "compat_pages": compat,
                "compat": self._pages_bytes(self.compat_memory, compat) if compat else b"",
                "table_pdxs": list(tables),
                "tables": b"".join(tables.values()),
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
            m.max_page, m.max_pdx, m.total_free, m.dirty_pages, *clocks = state["numbers"]
            m.mapcache_epoch, m.tlb_clock = clocks
            for i, when in enumerate(state["tlb_time"]):
                m.tlb_time[i] = when
            _overwrite(m.free_lists, state["free_lists"])
            _overwrite(m.free_orders, state["free_orders"])
            _overwrite(m.node_free, state["node_free"])
            _overwrite(m.vcpus, state["vcpus"])
            _overwrite(&m.n, state["counters"])
            pages, data = state["frame_table_pages"], state["frame_table"]
            self._import_pages(self.frame_table_memory, m.ft_touched, m.ft_bytes, pages, data)
            pages, data = state["m2p_pages"], state["m2p"]
            self._import_pages(self.m2p_memory, m.m2p_touched, m.m2p_bytes, pages, data)
            pages, data = state["compat_pages"], state["compat"]
            if m.compat != NULL:
                self._import_pages(self.compat_memory, m.compat_touched, m.compat_bytes, pages, data)
            self._import_tables(state["table_pdxs"], state["tables"])
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

    cdef int _import_tables(self, list pdxs, bytes data) except -1:
        cdef const uint64_t *entries = <const uint64_t *><const char *>data
        cdef uint64_t pdx
        cdef uint32_t i
        for pdx in pdxs:
            if table_reserve(self.m, pdx):
                _alloc_failed()
            for i in range(512):
                table_set(self.m, pdx, i, entries[i])
            entries += 512
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
