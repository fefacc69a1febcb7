"""map_domain_page: through the direct map, by frame or by page, or through a window of slots for each vCPU.

Written from xen/include/xen/domain_page.h, 84d568f5c9, and xen/arch/x86/domain_page.c.
"""

from __future__ import annotations

from slow_machine_pages import EINVAL, ENOMEM, ENXIO

SLOTS, BUCKETS = 16, 8
WINDOW = 0xFFFF820040000000


class Window:
    """One vCPU's slots: a frame or None each, which are in use, which wait for a flush; and its hash."""

    def __init__(self):
        self.shows = [None] * SLOTS
        self.in_use, self.garbage = set(), set()
        self.cursor = 0
        self.hash = [[None, None, 0] for _ in range(BUCKETS)]  # frame, slot, references

    def free_slot(self, mfn):
        """(slot or None, whether the TLB was flushed for it)."""
        for slot in range(self.cursor, SLOTS):
            if slot not in self.in_use:
                return slot, False
        self.in_use -= self.garbage
        self.garbage.clear()
        for slot in range(SLOTS):
            if slot not in self.in_use:
                return slot, True
        for i in range(BUCKETS):
            idle = self.hash[(mfn + i) % BUCKETS]
            if idle[1] is not None and idle[2] == 0:
                slot = idle[1]
                self.shows[slot] = None
                idle[0] = idle[1] = None
                return slot, True
        return None, False


class Mapping:
    """Part of the slow machine: ``by_page`` and ``windows``."""

    def map_frame(self, vcpu, mfn):
        """The address that shows a frame; 0 when no slot is left."""
        self.n.map_domain_page += 1
        if not self.windows:
            self.n.mfn_to_virt += 1
            return self.ram.virt(mfn)
        window = self.windows[vcpu]
        entry = window.hash[mfn % BUCKETS]
        if entry[0] == mfn and entry[1] is not None:
            entry[2] += 1
            self.n.mapcache_hits += 1
            slot = entry[1]
        else:
            slot, flushed = window.free_slot(mfn)
            self.n.tlb_flushes += flushed
            if slot is None:
                return 0
            window.in_use.add(slot)
            window.cursor = slot + 1
            window.shows[slot] = mfn
        return WINDOW + (vcpu * SLOTS + slot) * 4096

    def map_page(self, vcpu, mfn):
        """The same when the page is at hand: no conversion to a frame where all is in the direct map."""
        if not self.by_page or self.windows:
            self.n.page_to_mfn += 1
            return self.map_frame(vcpu, mfn)
        self.n.map_domain_page += 1
        self.n.page_to_virt += 1
        return self.ram.virt(mfn)

    def unmap(self, virt):
        """Whether something was mapped there."""
        self.n.unmap_domain_page += 1
        if not self.windows:
            return True
        number, slot = divmod((virt - WINDOW) // 4096, SLOTS)
        if not 0 <= number < len(self.windows):
            return False
        window = self.windows[number]
        mfn = window.shows[slot]
        if mfn is None or slot not in window.in_use:
            return False
        entry = window.hash[mfn % BUCKETS]
        if entry[1] == slot:
            if entry[2] == 0:
                return False
            entry[2] -= 1
        elif entry[2] == 0:
            if entry[1] is not None:
                window.shows[entry[1]] = None
                window.garbage.add(entry[1])
            entry[0], entry[1] = mfn, slot
        else:
            window.shows[slot] = None
            window.garbage.add(slot)
        return True

    def scrub_pages(self, mfns):
        """Each is mapped, overwritten and unmapped."""
        self.n.pages_scrubbed += len(mfns)
        for mfn in mfns:  # in their order: it shows in a window's slots
            self.unmap(self.map_page(0, mfn))

    def do_map_frame(self, number, peer, flags, vcpu, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        if self.windows and vcpu >= len(self.windows):
            return EINVAL, 0
        virt = self.map_frame(vcpu, mfn)
        return (0, virt) if virt else (ENOMEM, 0)

    def do_map_page(self, number, peer, flags, vcpu, addr, mfn):
        if not self.ram.valid(mfn):
            return ENXIO, 0
        if self.windows and vcpu >= len(self.windows):
            return EINVAL, 0
        virt = self.map_page(vcpu, mfn)
        return (0, virt) if virt else (ENOMEM, 0)

    def do_unmap_page(self, number, peer, flags, ref, virt, frame):
        return (0 if self.unmap(virt) else EINVAL), 0
