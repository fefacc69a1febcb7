"""Types and page tables, slowly: what a type excludes, what a table's entries hold, pins.

Written from xen/arch/x86/mm.c at c447b7308b: _get_page_type, _put_page_type, alloc_l1_table to free_l4_table,
get_page_from_l1e and put_page_from_l1e with their siblings, mod_l1_entry to mod_l4_entry, do_mmu_update and
do_mmuext_op (MMUEXT_PIN_L1_TABLE to MMUEXT_UNPIN_TABLE).
"""

from __future__ import annotations

from slow_machine_pages import DOM_IO, EBUSY, EINVAL, ENXIO, EPERM, ESRCH, L4, NONE, WRITABLE

ENTRIES = 512
PRESENT, RW, GLOBAL, CACHE = 1, 2, 0x100, 0x98
FRAMES = (1 << 40) - 1
#: What a guest may change in an entry without another look: NX and available bits, global, dirty, accessed,
#: user, available.
FREE_BITS = 0xFFF << 52 | 0xF64
EOPNOTSUPP = -95


def guest_slot(level, index):
    """Slots 256 to 271 of a root are Xen's own."""
    return level < 4 or not 256 <= index <= 271


def frame_in(entry):
    return entry >> 12 & FRAMES


class Tables:
    """Part of the slow machine; ``tables``: {index: entry} by mfn, entries that are 0 left out."""

    # Type references.

    def get_type(self, mfn, kind):
        """Take a type reference: 0 or -errno."""
        frame = self.frames[mfn]
        self.n.get_page_type += 1
        if frame.type_refs:
            if frame.type != kind or not frame.validated:
                return EINVAL
            frame.type_refs += 1
            return 0
        if frame.type != kind:
            dom = self.doms.get(frame.owner)
            if dom:
                self.flush_stale(dom.ran_on, self.context.get(mfn, 0))
            frame.type, frame.validated = kind, kind == WRITABLE
        frame.type_refs = 1
        if frame.validated:
            return 0
        self.n.validations += 1
        if kind > L4:
            frame.validated = True
            return 0
        return self._validate(mfn, frame, kind)

    def put_type(self, mfn):
        frame = self.frames[mfn]
        self.n.put_page_type += 1
        if frame.type_refs == 1:
            if frame.type <= L4 and frame.validated:
                self.invalidate(mfn, frame)
            self.stamp(mfn)
        frame.type_refs -= 1

    def put_page_and_type(self, mfn):
        self.put_type(mfn)
        self.put(mfn)

    def _validate(self, mfn, frame, level):
        # All its entries hold what they name, or none does and the type is not taken.
        dom, entries = self.doms.get(frame.owner), self.tables.get(mfn, {})
        for index in sorted(entries) if dom else ():
            if not entries[index] & PRESENT or not guest_slot(level, index):
                continue
            rc = self.get_entry(dom, level, entries[index])
            if rc == 0:
                continue
            self._put_entries(mfn, level, index)
            if level == 1 or index == 0:
                frame.type = NONE
            else:
                self.stamp(mfn)
            frame.type_refs = 0
            return rc
        frame.validated = True
        return 0

    def invalidate(self, mfn, frame):
        frame.validated = False
        self._put_entries(mfn, frame.type, ENTRIES)

    def _put_entries(self, mfn, level, end):
        entries = self.tables.get(mfn, {})
        for index in sorted(entries, reverse=True):
            if index < end and guest_slot(level, index):
                self.put_entry(level, entries[index])

    # Entries.

    def refused_bits(self, dom, level):
        """Bits that an entry must not have; who may map I/O chooses cache types in the lowest level."""
        if level > 1:
            return GLOBAL | CACHE
        return 0 if dom.io else CACHE

    def get_entry(self, dom, level, entry):
        """Take what an entry names: 0 or -errno."""
        mfn = frame_in(entry)
        if entry & self.refused_bits(dom, level):
            return EINVAL
        self.n.mfn_valid += 1
        valid = self.ram.valid(mfn)
        self.n.mfn_to_page += valid
        if level > 1:
            if not valid or not self.get_page(mfn, dom.number):
                return EINVAL
            rc = self.get_type(mfn, level - 1)
            if rc:
                self.put(mfn)
            return rc
        owner = self.take(mfn) if valid else None
        if not valid or owner == DOM_IO:
            if valid:
                self.put(mfn)
            if any(first <= mfn < end for first, end in dom.io):
                return 0
            return EINVAL if mfn == FRAMES else EPERM
        if owner != dom.number:
            if owner is not None:
                self.put(mfn)
            return EBUSY
        if entry & RW and self.get_type(mfn, WRITABLE):
            self.put(mfn)
            return EBUSY
        return 0

    def put_entry(self, level, entry):
        """Drop what an entry holds."""
        mfn = frame_in(entry)
        if not entry & PRESENT:
            return
        self.n.mfn_valid += 1
        if not self.ram.valid(mfn):
            return
        self.n.mfn_to_page += 1
        frame = self.frames.get(mfn)
        if frame is None or frame.owner == DOM_IO:
            return
        if level > 1 or entry & RW:
            self.put_page_and_type(mfn)
        else:
            self.put(mfn)

    def set_entry(self, mfn, index, entry):
        entries = self.tables.setdefault(mfn, {})
        entries.pop(index, None)
        if entry:
            entries[index] = entry
        if not entries:
            del self.tables[mfn]

    # What a guest asks for.

    def _own_page(self, dom, mfn):
        # A reference to one of its pages; whether it is one.
        self.n.mfn_valid += 1
        if not self.ram.valid(mfn):
            return False
        self.n.mfn_to_page += 1
        return self.get_page(mfn, dom.number)

    def do_pin_table(self, number, peer, level, ref, addr, mfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        if dom.translated or dom.dying or not 1 <= level <= 4 or not self._own_page(dom, mfn):
            return EINVAL, 0
        rc = self.get_type(mfn, level)
        if rc:
            self.put(mfn)
            return rc, 0
        frame = self.frames[mfn]
        if frame.pinned:
            self.put_page_and_type(mfn)
            return EINVAL, 0
        frame.pinned = True
        self.n.pins += 1
        return 0, 0

    def drop_pin(self, mfn):
        frame = self.frames[mfn]
        if not frame.pinned:
            return False
        frame.pinned = False
        self.put_page_and_type(mfn)
        self.n.unpins += 1
        return True

    def do_unpin_table(self, number, peer, flags, ref, addr, mfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        if dom.translated or dom.dying or not self._own_page(dom, mfn):
            return EINVAL, 0
        pinned = self.drop_pin(mfn)
        self.put(mfn)
        return (0 if pinned else EINVAL), 0

    def do_mmu_update(self, number, peer, flags, index, entry, mfn):
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        if dom.translated:
            return EOPNOTSUPP, 0
        if dom.dying or index >= ENTRIES or not self._own_page(dom, mfn):
            return EINVAL, 0
        old = self.tables.get(mfn, {}).get(index, 0)
        rc = self._write(dom, mfn, index, entry, old)
        self.n.mmu_updates += rc == 0
        self.put(mfn)
        return rc, old

    def _write(self, dom, mfn, index, entry, old):
        frame = self.frames[mfn]
        if frame.type_refs and frame.validated:
            if frame.type <= L4:
                return self._modify(dom, mfn, frame.type, index, entry, old)
            if frame.type != WRITABLE:
                return EINVAL
            self.set_entry(mfn, index, entry)
            return 0
        if self.get_type(mfn, WRITABLE):
            return EINVAL
        self.set_entry(mfn, index, entry)
        self.put_type(mfn)
        return 0

    def _modify(self, dom, mfn, level, index, entry, old):
        # Of a table in use: the new entry takes what it names before the old one lets go.
        if not guest_slot(level, index):
            return EINVAL
        same = old & PRESENT and entry & PRESENT and not (old ^ entry) & ~FREE_BITS
        if entry & PRESENT:
            if entry & self.refused_bits(dom, level):
                return EINVAL
            rc = 0 if same else self.get_entry(dom, level, entry)
            if rc:
                return rc
        self.set_entry(mfn, index, entry)
        if not same:
            self.put_entry(level, old)
        return 0

    def do_pte_get(self, number, peer, flags, index, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        if index >= ENTRIES:
            return EINVAL, 0
        return 0, self.tables.get(mfn, {}).get(index, 0)
