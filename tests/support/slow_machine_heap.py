"""The page allocator, slowly: ordered dictionaries of chunks by node, by address width and by order.

Written from xen/common/page_alloc.c at c447b7308b: get_free_buddy, alloc_heap_pages, free_heap_pages,
merge_and_free_buddy_chunk, scrub_free_pages.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_ORDER = 18
CLEAN = (1 << 19) - 1


class SlowHeap:
    """Free chunks, dirty pages, and the lists that they are on."""

    def __init__(self, ram):
        self.ram = ram
        self.lists = {}  # (node, zone) -> {order: chunks in order}
        self.chunk = {}  # first mfn -> [order, index of the first dirty page]
        self.dirty = set()
        self.free_pages = 0
        for first, end, _, boot in ram.runs:
            if not boot:
                self.add_range(first, end)

    def add_range(self, first, end):
        """RAM joins, in the largest aligned chunks, from the bottom up."""
        while first < end:
            order = MAX_ORDER
            while first % (1 << order) or first + (1 << order) > end:
                order -= 1
            self._merge(first, order, CLEAN)
            self.free_pages += 1 << order
            first += 1 << order

    def key(self, mfn):
        return self.ram.run_of(mfn)[2], max(mfn.bit_length(), 1)

    def _put(self, mfn, order, first_dirty):
        orders = self.lists.setdefault(self.key(mfn), {})
        chunks = orders.setdefault(order, OrderedDict())
        chunks[mfn] = None
        if first_dirty == CLEAN:
            chunks.move_to_end(mfn, last=False)
        self.chunk[mfn] = [order, first_dirty]

    def _take(self, mfn):
        order, first_dirty = self.chunk.pop(mfn)
        orders = self.lists[self.key(mfn)]
        del orders[order][mfn]
        if not orders[order]:
            del orders[order]
        return order, first_dirty

    def _merge(self, mfn, order, first_dirty):
        while order < MAX_ORDER:
            buddy = mfn ^ (1 << order)
            theirs = self.chunk.get(buddy)
            if theirs is None or theirs[0] != order or not self.ram.valid(buddy):
                break
            if self.key(buddy)[0] != self.key(mfn)[0]:
                break
            self._take(buddy)
            low, high = (theirs[1], first_dirty) if buddy < mfn else (first_dirty, theirs[1])
            first_dirty = low if low != CLEAN else CLEAN if high == CLEAN else high + (1 << order)
            mfn = min(mfn, buddy)
            order += 1
        self._put(mfn, order, first_dirty)

    def alloc(self, order, lowest, highest, node, exact=False, scrub=True):
        """First of 2**order pages, and which of them were dirty; None when there are none."""
        # A single page is taken as it comes; of larger ones a dirty chunk only when no node has a clean one.
        for any_state in (False, True) if order and scrub else (True,):
            for step in range(1 if exact else len(self.ram.nodes)):
                found = self._find(order, lowest, highest, (node + step) % len(self.ram.nodes), any_state)
                if found is not None:
                    return self._cut(found, order)
        return None

    def _find(self, order, lowest, highest, node, any_state):
        for zone in range(highest, lowest - 1, -1):
            orders = self.lists.get((node, zone))
            for have in sorted(orders) if orders else ():
                if have < order:
                    continue
                first = next(iter(orders[have]))
                if any_state or self.chunk[first][1] == CLEAN:
                    return first
                # A dirty one at the head: none behind it is clean. It goes to the end.
                orders[have].move_to_end(first)
        return None

    def _cut(self, mfn, order):
        have, first_dirty = self._take(mfn)
        while have > order:
            have -= 1
            half = 1 << have
            if first_dirty < half:
                self._put(mfn, have, first_dirty)
                first_dirty = 0
            else:
                self._put(mfn, have, CLEAN)
                first_dirty = CLEAN if first_dirty == CLEAN else first_dirty - half
            mfn += half
        self.free_pages -= 1 << order
        return mfn, self._clean(range(mfn, mfn + (1 << order)))

    def _clean(self, pages):
        dirty = [page for page in pages if page in self.dirty] if self.dirty else []
        self.dirty.difference_update(dirty)
        return dirty

    def free(self, mfn, order, dirty):
        """2**order pages come back."""
        if dirty:
            self.dirty.update(range(mfn, mfn + (1 << order)))
        self.free_pages += 1 << order
        self._merge(mfn, order, 0 if dirty else CLEAN)

    def scrub(self, node, budget):
        """Up to ``budget`` dirty pages of a node, now clean: lowest zone, largest chunks, from the tail."""
        done = []
        for zone in range(53):
            orders = self.lists.get((node, zone))
            for order in sorted(orders, reverse=True) if orders else ():
                chunks = orders[order]
                while True:
                    mfn = next(reversed(chunks))
                    first = self.chunk[mfn][1]
                    if first == CLEAN:
                        break
                    for page in range(mfn + first, mfn + (1 << order)):
                        if page in self.dirty:
                            if len(done) == budget:
                                self.chunk[mfn][1] = page - mfn
                                return done
                            self.dirty.remove(page)
                            done.append(page)
                    self.chunk[mfn][1] = CLEAN
                    chunks.move_to_end(mfn, last=False)
        return done
