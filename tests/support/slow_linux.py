"""Linux's memory models once more, slowly: every frame, section, page and call of its own, in sets.

Written from the rules of Linux 6.1 and not from xenmm's text; it knows nothing of runs. For small maps.
"""

SECTION = 1 << 15
BASES = {4: 0xFFFFEA0000000000, 5: 0xFFD4000000000000}
BITS = {4: 46, 5: 52}


def memory_frames(ram, levels=4):
    """Whole frames of RAM outside the first page and the video hole, each by itself."""
    out = set()
    for start, end in ram:
        for pfn in range(-(-start // 4096), end // 4096):
            at = pfn * 4096
            if pfn and not 0xA0000 <= at < 0x100000 and at < 1 << BITS[levels]:
                out.add(pfn)
    return out


def pages_of(virt, size, page):
    """The numbers of the pages that a range touches."""
    return set(range(virt // page, (virt + size - 1) // page + 1))


class SlowVmemmap:
    """The vmemmap page by page: what vmemmap_populate is called with, one call after another."""

    def __init__(self, frames, levels=4, added=()):
        self.levels, self.base = levels, BASES[levels]
        self.frames = frames
        self.early = {pfn // SECTION for pfn in frames}
        self.sections = set(self.early)
        self.large, self.small = set(), set()
        for section in sorted(self.early):
            self._populate(section * SECTION, SECTION)
        self.extra = set()
        for start, end in added:
            pfn, stop = start // 4096, end // 4096
            while pfn < stop:
                # __add_pages goes section by section.
                count = min(stop - pfn, (pfn // SECTION + 1) * SECTION - pfn)
                section = pfn // SECTION
                self.sections.add(section)
                self.extra.update(range(pfn, pfn + count))
                if not (count < SECTION and section in self.early):
                    self._populate(pfn, count)
                pfn += count

    def _populate(self, pfn, count):
        virt, size = self.base + 64 * pfn, 64 * count
        if count < SECTION:
            self.small |= pages_of(virt, size, 4096)
        else:
            self.large |= pages_of(virt, size, 2 << 20)

    @property
    def bytes(self):
        return len(self.large) * (2 << 20) + len(self.small) * 4096

    @property
    def table_pages(self):
        """Pages of page tables: every table on the way down to every page, once."""
        tables = set()
        for page, size_bits, lowest in [(p, 21, 2) for p in self.large] + [(p, 12, 1) for p in self.small]:
            virt = page << size_bits
            for level in range(lowest, self.levels):
                tables.add((level, virt >> (12 + 9 * level)))
        return len(tables)

    def pfn_valid(self, pfn):
        return pfn // SECTION in self.early or pfn in self.extra


def section_bytes(sections, levels, record, usage):
    """The array of roots, one page for each root in use, one usage record for each section."""
    per_root = 4096 // record
    roots = {s // per_root for s in sections}
    count = 0
    for _ in range(0, 1 << (BITS[levels] - 27), per_root):
        count += 8
    return count + 4096 * len(roots) + usage * len(sections)


def flat_bytes(frames):
    """A flat mem_map: from the first frame down to a multiple of 1,024, to the last up to one."""
    first, last = min(frames), max(frames)
    while first % 1024:
        first -= 1
    end = last + 1
    while end % 1024:
        end += 1
    return 64 * (end - first)
