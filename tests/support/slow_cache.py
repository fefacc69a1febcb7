"""A slow model of caches, TLBs and page walks, written from the rules alone: ages, dicts and loops, one
access at a time.

It shares nothing with the engine but the configuration's objects. Every way keeps its number, its tag, its
dirty bit and two stamps (last use, fill); a policy looks at those.
"""

from __future__ import annotations

from collections import Counter

PAGE_SHIFT = {"4k": 12, "2m": 21, "1g": 30}
SIZES = ("4k", "2m", "1g")
KINDS = ("read", "write", "execute", "walk", "prefetch", "writeback", "victim")


class Way:
    def __init__(self):
        self.tag = None
        self.dirty = False
        self.used = self.filled = 0


class Table:
    """Sets of ways under one replacement policy."""

    def __init__(self, sets, assoc, replacement, seed):
        self.sets = [[Way() for _ in range(assoc)] for _ in range(sets)]
        self.assoc = assoc
        self.replacement = replacement
        self.clock = 0
        self.random = seed
        # older[set][(low, high)]: of the ways [low, high), whether the upper half was used longer ago.
        self.older = [{} for _ in range(sets)]

    def find(self, index, tag):
        for way in self.sets[index % len(self.sets)]:
            if way.tag == tag:
                return way
        return None

    def use(self, index, tag):
        """Return (hit, way, what left as (tag, dirty) or None)."""
        self.clock += 1
        number = index % len(self.sets)
        way, left = self.find(index, tag), None
        hit = way is not None
        if way is None:
            way = self.victim(number)
            if way.tag is not None:
                left = (way.tag, way.dirty)
            way.tag, way.dirty, way.filled = tag, False, self.clock
        way.used = self.clock
        if self.replacement == "plru":
            self.point_away(number, self.sets[number].index(way))
        return hit, way, left

    def victim(self, number):
        ways = self.sets[number]
        for way in ways:
            if way.tag is None:
                return way
        if self.replacement == "lru":
            return min(ways, key=lambda w: w.used)
        if self.replacement == "fifo":
            return min(ways, key=lambda w: w.filled)
        if self.replacement == "random":
            return ways[(self.next_random() >> 32) * self.assoc >> 32]
        low, high = 0, self.assoc
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.older[number].get((low, high), False) else (low, middle)
        return ways[low]

    def point_away(self, number, way):
        low, high = 0, self.assoc
        while high - low > 1:
            middle = (low + high) // 2
            self.older[number][low, high] = way < middle
            low, high = (low, middle) if way < middle else (middle, high)

    def next_random(self):
        x = self.random
        x ^= x >> 12
        x = (x ^ (x << 25)) % 2**64
        x ^= x >> 27
        self.random = x
        return x * 0x2545F4914F6CDD1D % 2**64


def seed_of(seed, number):
    x = (seed + number * 0x10001 + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return (x ^ (x >> 31)) or 1


class SlowEngine:
    """The same questions as xenmm.timing.Engine, answered slowly."""

    def __init__(self, hierarchy, space, seed=0):
        self.h = hierarchy
        self.space = space
        self.tables = {}
        for c in hierarchy.caches:
            self.add("cache." + c.name, c.size // c.line // c.assoc, c.assoc, c.replacement, seed)
        for t in hierarchy.tlbs:
            self.add("tlb." + t.name, t.entries // t.assoc, t.assoc, t.replacement, seed)
        if hierarchy.walk is not None:
            for level, entries, assoc in hierarchy.walk.tables():
                self.add(f"walk.level{level}", entries // assoc, assoc, "lru", seed)
        self.cache = {c.name: c for c in hierarchy.caches}
        self.count = Counter()
        self.table_runs = space.table_runs()

    def add(self, name, sets, assoc, replacement, seed):
        self.tables[name] = Table(sets, assoc, replacement, seed_of(seed, len(self.tables)))

    def first(self, kind):
        side = "instruction" if kind == "execute" else "data"
        parents = {c.parent for c in self.h.caches}
        first = [c for c in self.h.caches if c.name not in parents]
        for c in first:
            if c.holds in ("all", side):
                return c.name
        return next((c.name for c in first if c.holds in ("all", "data")), None)

    # ---- one access ----

    def access(self, virt, kind="read", size=1, straddle="both"):
        """Simulate one access; return its cycles."""
        first = self.first(kind)
        line = self.cache[first].line if first else 64
        last = min(virt + size - 1, 2**64 - 1)
        pieces = [virt] + [a * line for a in range(virt // line + 1, last // line + 1)]
        if straddle == "both":
            return sum(self.pieces([p], kind) for p in pieces)
        return self.pieces(pieces, kind)

    def pieces(self, pieces, kind):
        """Simulate lines that count as one access."""
        self.count["accesses", kind] += 1
        seen, walk_cycles, pages, lines = {}, 0, set(), []
        for at in pieces:
            maddr, size = self.space.translate(at)
            if self.h.tlbs and at >> 12 not in pages:
                pages.add(at >> 12)
                walk_cycles += self.translate(at, size, kind, seen)
            lines.append((maddr, at))
        tlb_cycles = 0
        for (name, size), hit in seen.items():
            self.count[name, size, "hit" if hit else "miss"] += 1
            if hit:
                tlb_cycles += next(t.latency for t in self.h.tlbs if "tlb." + t.name == name)
        cache_cycles, _ = self.read(self.first(kind), lines, kind, dirty=kind == "write")
        return walk_cycles + cache_cycles + tlb_cycles

    # ---- caches ----

    def read(self, name, lines, kind, dirty=False):
        """Read lines, as (maddr, address that chooses the set); return (cycles, which moved up dirty)."""
        if name is None:
            self.count["memory", kind, "miss"] += 1
            return self.h.memory.latency, [False] * len(lines)
        c, table = self.cache[name], self.tables["cache." + name]
        if c.content == "exclusive":
            return self.read_exclusive(c, table, lines, kind)
        looked = []
        for maddr, index in lines:
            hit, way, left = table.use(index // c.line, maddr // c.line)
            way.dirty |= dirty
            looked.append((hit, left))
        hit = all(hit for hit, _ in looked)
        self.count["cache." + name, kind, "hit" if hit else "miss"] += 1
        if hit:
            return c.latency, [False] * len(lines)
        cycles, ups = self.read(c.parent, [(m, m) for m, _ in lines], kind)
        gone = [list(left) if left else None for _, left in looked]
        for (maddr, index), up in zip(lines, ups, strict=True):
            # A later line of the access may have taken the way of an earlier one: the bit goes where the
            # line is.
            way = table.find(index // c.line, maddr // c.line)
            if way is not None:
                way.dirty |= up
            for left in gone:
                if way is None and left is not None and left[0] == maddr // c.line:
                    left[1] |= up
        for (maddr, index), (hit, _), left in zip(lines, looked, gone, strict=True):
            if hit:
                continue
            self.leave(c, left)
            if c.prefetch == "next-line" and kind in ("read", "write", "execute"):
                self.next_line(c, table, maddr // c.line, index // c.line + 1)
        return cycles, [False] * len(lines)

    def read_exclusive(self, c, table, lines, kind):
        ways = [table.find(maddr // c.line, maddr // c.line) for maddr, _ in lines]
        ups = [way is not None and way.dirty for way in ways]
        for way in ways:
            if way is not None:
                way.tag, way.dirty = None, False
        hit = None not in ways
        self.count["cache." + c.name, kind, "hit" if hit else "miss"] += 1
        if hit:
            return c.latency, ups
        cycles, below = self.read(c.parent, [(m, m) for m, _ in lines], kind)
        return cycles, [a or b for a, b in zip(ups, below, strict=True)]

    def next_line(self, c, table, line, index):
        new = line + 1
        if new * c.line >> 12 != line * c.line >> 12 or table.find(index, new) is not None:
            return
        self.count["cache." + c.name, "prefetches"] += 1
        _, ups = self.read(c.parent, [(new * c.line, new * c.line)], "prefetch")
        _, way, left = table.use(index, new)
        way.dirty |= ups[0]
        self.leave(c, left)

    def leave(self, c, left):
        if left is None:
            return
        tag, dirty = left
        self.count["cache." + c.name, "writebacks"] += dirty
        if dirty or (c.parent is not None and self.cache[c.parent].content == "exclusive"):
            self.arrive(c.parent, tag * c.line, dirty)

    def arrive(self, name, maddr, dirty):
        if name is None:
            self.count["memory", "writes"] += 1
            return
        c = self.cache[name]
        line = maddr // c.line
        table, kind = self.tables["cache." + name], "writeback" if dirty else "victim"
        # A line that comes back is not used, unless the cache says so: only its dirty bit changes.
        way = table.find(line, line)
        self.count["cache." + name, kind, "miss" if way is None else "hit"] += 1
        left = None
        if way is None:
            _, way, left = table.use(line, line)
        elif c.arrival == "use":
            table.use(line, line)
        way.dirty |= dirty
        self.leave(c, left)

    # ---- TLBs and walks ----

    def translate(self, virt, size, kind, seen):
        side = "instruction" if kind == "execute" else "data"
        for level in sorted({t.level for t in self.h.tlbs}):
            for t in self.h.tlbs:
                if t.level == level and t.holds in ("all", side) and size in t.page_sizes:
                    held = t.splits.get(size, size)
                    page = virt >> PAGE_SHIFT[held]
                    hit, _, _ = self.tables["tlb." + t.name].use(page, (held, page))
                    seen["tlb." + t.name, size] = seen.get(("tlb." + t.name, size), True) and hit
                    if hit:
                        return 0
        return self.walk(virt, size) if self.h.walk is not None else 0

    def walk(self, virt, size):
        leaf = SIZES.index(size) + 1
        self.count["walks", size] += 1
        start = 4
        for level in range(leaf + 1, 5):
            table = self.tables.get(f"walk.level{level}")
            if table is None:
                continue
            number = virt >> (12 + 9 * (level - 1))
            found = table.find(number, number) is not None
            self.count[f"walk.level{level}", "read", "hit" if found else "miss"] += 1
            if found:
                table.use(number, number)
                start = level - 1
                break
        cycles = self.h.walk.latency
        entry = self.h.walk.entry or self.first("read")
        # The engine looks entries up in the page-walk caches before it reads them; the two do not meet.
        for level in range(start, leaf - 1, -1):
            number = virt >> (12 + 9 * (level - 1))
            self.count["walk_reads", level] += 1
            maddr = self.entry_maddr(level, number)
            cycles += self.read(entry, [(maddr, maddr)], "walk")[0]
            if level > leaf and f"walk.level{level}" in self.tables:
                self.tables[f"walk.level{level}"].use(number, number)
        return cycles

    def entry_maddr(self, level, number):
        for first, last, maddr in self.table_runs[level]:
            if first <= number // 512 <= last:
                return maddr + (number // 512 - first) * 4096 + number % 512 * 8
        raise AssertionError("a walk left the page tables")

    # ---- counts, in the engine's own form ----

    def counts(self):
        """Return what EngineCore.counts() returns."""
        n = self.count
        tables = {}
        for name in self.tables:
            labels = SIZES if name.startswith("tlb.") else KINDS
            hits = [n[name, label, "hit"] for label in labels]
            misses = [n[name, label, "miss"] for label in labels]
            tables[name] = {
                "hits": hits + [0] * (len(KINDS) - len(hits)),
                "misses": misses + [0] * (len(KINDS) - len(misses)),
                "writebacks": n[name, "writebacks"],
                "prefetches": n[name, "prefetches"],
            }
        return {
            "accesses": [n["accesses", k] for k in KINDS[:3]],
            "tables": tables,
            "walks": [n["walks", s] for s in SIZES],
            "walk_reads": sum(n["walk_reads", level] for level in range(5)),
            "walk_reads_level": [n["walk_reads", level] for level in range(5)],
            "memory_reads": [n["memory", k, "miss"] for k in KINDS],
            "memory_writes": n["memory", "writes"],
        }
