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
        self.count["accesses", kind] += 1
        seen, walk_cycles, pages = {}, 0, set()
        for at in pieces:
            maddr, size = self.space.translate(at)
            if self.h.tlbs and at >> 12 not in pages:
                pages.add(at >> 12)
                walk_cycles += self.translate(at, size, kind, seen)
            self.read(self.first(kind), maddr, at, kind, seen, dirty=kind == "write")
        cache_cycles, tlb_cycles = 0, 0
        for (name, label), hit in seen.items():
            self.count[name, label, "hit" if hit else "miss"] += 1
            if hit and name.startswith("cache."):
                cache_cycles += self.cache[name.removeprefix("cache.")].latency
            elif hit and name.startswith("tlb."):
                tlb_cycles += next(t.latency for t in self.h.tlbs if "tlb." + t.name == name)
            elif name == "memory":
                cache_cycles += self.h.memory.latency
        return walk_cycles + cache_cycles + tlb_cycles

    def see(self, seen, name, label, hit):
        # An access that counts once is a miss where any of its pieces missed.
        seen[name, label] = seen.get((name, label), True) and hit

    # ---- caches ----

    def read(self, name, maddr, index, kind, seen, dirty=False):
        """Read a line; return (cycles, whether the line that moved up was dirty)."""
        if name is None:
            if seen is None:
                self.count["memory", kind, "miss"] += 1
            else:
                self.see(seen, "memory", kind, False)
            return self.h.memory.latency, False
        c, table = self.cache[name], self.tables["cache." + name]
        line = maddr // c.line
        if c.content == "exclusive":
            way = table.find(line, line)
            self.look("cache." + name, kind, way is not None, seen)
            if way is None:
                return self.read(c.parent, maddr, maddr, kind, seen)
            was, way.tag = way.dirty, None
            way.dirty = False
            self.close_gap(table, line)
            return c.latency, was
        hit, way, left = table.use(index // c.line, line)
        way.dirty |= dirty
        self.look("cache." + name, kind, hit, seen)
        if hit:
            return c.latency, False
        cycles, up = self.read(c.parent, maddr, maddr, kind, seen)
        way.dirty |= up
        self.leave(c, left)
        if c.prefetch == "next-line" and kind in ("read", "write", "execute"):
            self.next_line(c, table, line, index // c.line + 1)
        return cycles, False

    def close_gap(self, table, line):
        """Nothing to do: an empty way is always taken first, whatever its place."""

    def look(self, name, kind, hit, seen):
        if seen is None:
            self.count[name, kind, "hit" if hit else "miss"] += 1
        else:
            self.see(seen, name, kind, hit)

    def next_line(self, c, table, line, index):
        new = line + 1
        if new * c.line >> 12 != line * c.line >> 12 or table.find(index, new) is not None:
            return
        self.count["cache." + c.name, "prefetches"] += 1
        _, up = self.read(c.parent, new * c.line, new * c.line, "prefetch", None)
        _, way, left = table.use(index, new)
        way.dirty |= up
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
        hit, way, left = self.tables["cache." + name].use(line, line)
        way.dirty |= dirty
        self.count["cache." + name, "writeback" if dirty else "victim", "hit" if hit else "miss"] += 1
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
                    self.see(seen, "tlb." + t.name, size, hit)
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
            cycles += self.read(entry, maddr, maddr, "walk", None)[0]
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
