"""The TLB clock, slowly: whose old translations may stand where when a page comes into use again.

Written from xen/arch/x86/flushtlb.c (pre_flush, post_flush, new_tlbflush_clock_period) and
xen/arch/x86/include/asm/flushtlb.h (NEED_FLUSH, tlbflush_filter). Without TLBs nothing here does anything.
"""

from __future__ import annotations

from slow_machine_pages import EINVAL, ESRCH


class Tlbs:
    """Part of the slow machine; ``clock``, ``flushed`` by TLB, ``context`` by mfn, ``need_flush`` mfns."""

    def flush(self, cpu):
        self.n.tlb_flushes += 1
        self.clock = (self.clock + 1) % (1 << 32)
        self.flushed[cpu] = self.clock
        if self.clock == 0:
            # The clock begins again: every TLB is flushed.
            self.n.tlb_flushes += len(self.flushed) - 1
            self.flushed = [0] * len(self.flushed)
            self.clock = 1

    def flush_stale(self, cpus, stamp):
        """Flush those of some TLBs that were not flushed since a stamp; one of the future is from before."""
        now = self.clock
        stale = [cpu for cpu in sorted(cpus) if self.flushed[cpu] <= stamp <= now]
        for cpu in stale:
            self.flush(cpu)
        self.n.need_flush_tlb_flush += bool(stale)

    def stamp(self, mfn):
        if self.flushed:
            self.context[mfn] = self.clock

    def page_freed(self, mfn, owned):
        """A page goes back to the heap: one that nobody owned needs no flush."""
        if not self.flushed:
            self.context.pop(mfn, None)
        elif owned:
            self.need_flush.add(mfn)
            self.stamp(mfn)

    def pages_taken(self, mfns):
        """Pages come from the heap: one flush does for all, that of the page used last."""
        stale = [mfn for mfn in mfns if mfn in self.need_flush] if self.need_flush else []
        self.need_flush.difference_update(stale)
        stamps = [self.context[mfn] for mfn in stale if self.context[mfn] <= self.clock]
        if stamps:
            self.flush_stale(range(len(self.flushed)), max(stamps))

    def pages_scrubbed(self, mfns):
        """Free pages are overwritten, one by one: none may be seen by a guest any more. Their stamps stay."""
        for mfn in mfns:
            if mfn in self.need_flush and self.context[mfn] <= self.clock:
                self.flush_stale(range(len(self.flushed)), self.context[mfn])

    def do_flush_tlb(self, number, peer, flags, cpu, addr, frame):
        if cpu == 0xFFFFFFFF and self.flushed:
            for each in range(len(self.flushed)):
                self.flush(each)
            return 0, 0
        if cpu >= len(self.flushed):
            return EINVAL, 0
        self.flush(cpu)
        return 0, 0

    def do_run_on(self, number, peer, flags, cpu, addr, frame):
        if cpu >= len(self.flushed):
            return EINVAL, 0
        dom = self.doms.get(number)
        if dom is None:
            return ESRCH, 0
        dom.ran_on.add(cpu)
        return 0, 0
