# SPDX-License-Identifier: MIT
# The third layer of MachineCore: domains.


cdef class _Domains(_Tables):
    """Domains: what changes them, and what they are, as plain values."""

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
            "dirty_cpus": d.dirty_cpus,
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
