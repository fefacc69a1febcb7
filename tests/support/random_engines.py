"""Random cache hierarchies, address spaces and traces, and what the slow model counts on them."""

import array

from slow_cache import KINDS, SlowEngine

from xenmm.timing import AddressSpace, Cache, Core, Hierarchy, Mapping, Memory, PageWalk, Tlb

SIZES = ("4k", "2m", "1g")


def random_hierarchy(rng, plain=False):
    """Return a random hierarchy; a plain one takes the level-by-level loops."""
    line = rng.choice([16, 32, 64, 128])
    split = rng.random() < 0.4
    levels = rng.randrange(1, 5)
    names = [f"L{n}" for n in range(2, levels + 1)]
    policies = ("lru", "lru", "lru", "fifo", "random", "plru")
    exclusive = not plain and names and rng.random() < 0.4

    def cache(name, parent, line, scale, **more):
        replacement = rng.choice(policies)
        assoc = (
            rng.choice([1, 2, 4, 8, 16])
            if replacement == "plru"
            else rng.choice([1, 2, 3, 4, 5, 7, 8, 11, 12, 16, 20, 33, 70])
        )
        sets = rng.choice([1, 2, 3, 4, 6, 8, 16]) * scale
        prefetch = (
            "next-line" if not plain and more.get("content") != "exclusive" and rng.random() < 0.3 else "none"
        )
        return Cache(
            name,
            sets * assoc * line,
            assoc,
            line,
            latency=50 * scale + rng.randrange(50),
            parent=parent,
            replacement=replacement,
            prefetch=prefetch,
            arrival=rng.choice(("mark", "use")),
            **more,
        )

    parent = names[0] if names else None
    caches = [cache("L1", parent, line, 1, holds="data" if split else "all")]
    if split:
        caches.append(cache("L1I", parent, line, 1, holds="instruction"))
    for n, name in enumerate(names):
        last = n == len(names) - 1
        if not exclusive and rng.random() < 0.2:
            line *= 2
        caches.append(
            cache(
                name,
                None if last else names[n + 1],
                line,
                2 ** (n + 1),
                content="exclusive" if exclusive and last else "shared",
            )
        )
    tlbs, walk = random_tlbs(rng, plain)
    if tlbs and rng.random() < 0.8:
        kept = {k: rng.randrange(9) for k in ("l2e", "l3e", "l4e") if rng.random() < 0.7}
        entry = None if plain else rng.choice([None, *[c.name for c in caches if c.name != "L1I"]])
        walk = PageWalk(rng.randrange(30), 2, entry, kept)
    return Hierarchy(caches, tlbs, walk, Memory(1600 + rng.randrange(500)), Core(3.0, 2, 10))


def random_tlbs(rng, plain):
    tlbs = []
    for level in range(1, rng.randrange(0, 4) + 1):
        groups = rng.choice([[SIZES], [("4k",), ("2m",), ("1g",)], [("4k", "2m"), ("1g",)]])
        if not plain and rng.random() < 0.3:
            groups = groups[:1]
        sides = ("data", "instruction") if rng.random() < 0.4 else ("all",)
        for side in sides:
            for n, sizes in enumerate(groups):
                assoc = rng.choice([1, 2, 3, 4, 8, 12])
                splits = {"1g": "2m"} if "1g" in sizes and rng.random() < 0.3 else {}
                tlbs.append(
                    Tlb(
                        f"T{level}-{side}-{n}",
                        assoc * rng.choice([1, 2, 3, 4]),
                        assoc,
                        sizes,
                        level,
                        9 * level + rng.randrange(9),
                        rng.choice(("lru", "lru", "fifo", "random")),
                        side,
                        splits,
                    )
                )
    return tlbs, None


def random_space(rng):
    if rng.random() < 0.4:
        return AddressSpace.identity(rng.choice(SIZES))
    return AddressSpace(
        [
            Mapping(0x7F00_0000_0000, 0x1234_5000, 64 << 12, "4k"),
            Mapping(0xFFFF_8000_0000_0000, 0xF_0000_0020_0000, 5 << 21, "2m"),
            Mapping(0xFFFF_8000_4000_0000, 1 << 51, 3 << 30, "1g"),
            Mapping(0xFFFF_FFFF_FFFF_0000, 0x9000, 16 << 12, "4k"),
        ],
        tables_maddr=rng.choice([0x40_0000, 1 << 45]),
    )


def random_trace(rng, space, n):
    """Return addresses, kinds and sizes: short strides, returns to what was used, jumps, any 64-bit value."""
    if space.mappings[0].length == 1 << 64:
        bases = [0, 1 << 32, 1 << 42, (1 << 47) - 4096, 1 << 52, (1 << 63) + 12345, (1 << 64) - (1 << 16)]
        regions = [(b, 1 << 15) for b in bases]
    else:
        regions = [(m.virt_start, min(m.length, 5 << 21)) for m in space.mappings]
        regions += [(m.virt_start + m.length - 4096, 4096) for m in space.mappings]
    out, at = [], regions[0][0]
    for _ in range(n):
        what = rng.random()
        if what < 0.5:
            base, length = rng.choice(regions)
            at = base + rng.randrange(length)
        elif what < 0.8 and out:
            at = rng.choice(out[-50:])
        else:
            base, length = next((b, s) for b, s in regions if b <= at < b + s)
            at = base + (at - base + rng.choice([0, 1, 8, 64])) % length
        out.append(at)
    kinds = [rng.choice([0, 0, 0, 1, 2]) for _ in out]
    room = {b + s for b, s in regions}
    sizes = [1 if any(end - 70 <= a < end for end in room) else rng.choice([1, 4, 8, 8, 33, 64]) for a in out]
    return array.array("Q", out), array.array("B", kinds), array.array("H", sizes)


def slow_run(hierarchy, space, addresses, kinds, sizes, straddle, seed):
    slow = SlowEngine(hierarchy, space, seed)
    cycles = [
        slow.access(a, KINDS[kinds[i]] if kinds else "read", sizes[i] if sizes else 1, straddle)
        for i, a in enumerate(addresses)
    ]
    return slow.counts(), cycles
