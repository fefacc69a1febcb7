# SPDX-License-Identifier: MIT
# The second layer of MachineCore: records, tables and lists.


cdef class _Tables(_Memory):
    """Records, tables and lists, read; tables trimmed."""

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
                if page_is_free_head(fields) and fields.owner >= order:
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

    def _compat_ok(self, uint64_t mfn):
        return bool(compat_backed(self.m, mfn))

    def _compat_entry(self, uint64_t mfn):
        """The compat M2P's entry of a frame, or None where that table has no such slot."""
        return self.m.compat[mfn] if compat_backed(self.m, mfn) else None

    def _compat_view(self, uint64_t first, uint64_t end, bint writable):
        cdef uint64_t mfn
        if writable:
            for mfn in range(first & ~<uint64_t>1023, end, 1024):
                self.m.compat_touched[mfn >> 13] |= <uint8_t>(1 << ((mfn >> 10) & 7))
        return _view(self, &self.m.compat[first], (end - first) * 4, writable)

    def _compat_slots(self):
        """Backed slots of 524,288 frames of the compat M2P as a little-endian bitmap."""
        return bytes((<uint8_t *>self.m.compat_slots)[: self.m.nr_compat_slots // 8 + 1])

    def _compat_touched(self):
        """As the second of :meth:`_touched`, of the compat M2P."""
        return _view(self, self.m.compat_touched, (self.m.compat_bytes >> 15) + 1, False)

    def _tables(self):
        """{pdx: its 512 entries as bytes} of every page written as a page table, ascending."""
        self.acquire()
        try:
            return self._written_tables()
        finally:
            self.release()

    cdef dict _written_tables(self):
        cdef machine *m = self.m
        cdef uint64_t i
        cdef uint64_t *entries
        pdxs = sorted([m.tables[i].key - 1 for i in range(m.tables_size) if m.tables[i].entries != NULL])
        found = {}
        for pdx in pdxs:
            entries = table_of(m, pdx)
            found[pdx] = bytes((<char *>entries)[:4096])
        return found

    def _table(self, uint64_t pdx):
        """The 512 entries of a page as bytes; empty when all are 0."""
        cdef uint64_t *entries
        self.acquire()
        entries = table_of(self.m, pdx)
        found = bytes((<char *>entries)[:4096]) if entries != NULL else b""
        self.release()
        return found

    def _tlb(self):
        """(the TLB clock, when each TLB was flushed last)."""
        return self.m.tlb_clock, [self.m.tlb_time[i] for i in range(self.m.nr_cpus)]

    def _set_tlb_clock(self, uint32_t clock):
        """Put the clock forward: a test of its end need not flush four billion times."""
        self.m.tlb_clock = clock

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

    def _trim(self, list m2p_fills, list compat_fills):
        """Give back pages of the tables that read as when they were new; return their bytes."""
        cdef uint64_t page, given = 0, boundary = self.m.max_pdx * 32
        cdef char *at
        self.acquire()
        for page in self._touched_pages(self.m.ft_touched, self.m.ft_bytes):
            at = self.frame_table_memory.base + (page << 12)
            # The page with the end of the table has its own fill behind the last record.
            if page == boundary >> 12 or at[0] or memcmp(at, at + 1, 4095):
                continue
            madvise(at, 4096, MADV_DONTNEED)
            self.m.ft_touched[page >> 3] &= <uint8_t>~(1 << (page & 7))
            given += 4096
        given += self._trim_fills(self.m2p_memory, self.m.m2p_touched, m2p_fills)
        if compat_fills:
            given += self._trim_fills(self.compat_memory, self.m.compat_touched, compat_fills)
        self.release()
        return given

    cdef uint64_t _trim_fills(self, _Table table, uint8_t *touched, list fills) except? 0:
        # Whole 4 KiB pages whose bytes are all what the table was filled with there.
        cdef uint64_t page, given = 0, first, end
        cdef int fill
        cdef char *at
        for offset, size, value in fills:
            first, end, fill = offset >> 12, (offset + size) >> 12, value
            page = first
            while page < end:
                if not touched[page >> 3]:
                    page = (page & ~<uint64_t>7) + 8
                    continue
                at = table.base + (page << 12)
                if (touched[page >> 3] >> (page & 7)) & 1 and (
                    <uint8_t>at[0] == fill and not memcmp(at, at + 1, 4095)
                ):
                    madvise(at, 4096, MADV_DONTNEED)
                    touched[page >> 3] &= <uint8_t>~(1 << (page & 7))
                    given += 4096
                page += 1
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
        self.acquire()
        try:
            for node in range(m.nr_nodes):
                for zone in range(NR_ZONES):
                    for order in range(NR_ORDERS):
                        pages = free_list(m, node, zone, order)
                        marked = (m.free_orders[node * NR_ZONES + zone] >> order) & 1
                        if pages.head != LIST_NULL or marked:
                            found.append((node, zone, order, pages.head, pages.tail))
            return found, m.total_free, [m.node_free[n] for n in range(m.nr_nodes)], m.dirty_pages
        finally:
            self.release()

    def _free_marks(self):
        """{(node, zone, order)} of the free lists that are marked as not empty."""
        cdef machine *m = self.m
        self.acquire()
        try:
            return {
                (node, zone, order)
                for node in range(m.nr_nodes)
                for zone in range(NR_ZONES)
                for order in range(NR_ORDERS)
                if (m.free_orders[node * NR_ZONES + zone] >> order) & 1
            }
        finally:
            self.release()

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
