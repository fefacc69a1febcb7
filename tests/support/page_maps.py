"""Maps that try the page: very many ranges, and one frame far away."""

import random

import xenmm

GIB = 1 << 30


def two_thousand_ranges(count=2000, seed=1):
    """Ranges of 4 KiB to 7 GiB with holes of any size between, on eight nodes a TiB and more apart."""
    rng = random.Random(seed)
    each = count // 8
    at, ram = 0, []
    for i in range(count):
        at += rng.choice((4096, 65536, 1 << 20, 1 << 24, GIB, 3 * GIB)) * rng.randint(1, 9)
        if i % each == 0 and i:
            at = ((at >> 40) + 1) << 40
        size = rng.choice((4096, 8192, 1 << 16, 1 << 20, 1 << 24, GIB)) * rng.randint(1, 7)
        ram.append((at, at + size))
        at += size
    nodes = [(ram[i][0], ram[i + each - 1][1], 1, i // each) for i in range(0, count, each)]
    return xenmm.MemoryMap.from_ranges(ram, nodes, name="2,000 generated ranges")


def one_frame(at=1 << 20):
    """RAM of a single frame."""
    return xenmm.MemoryMap.from_ranges([(at, at + 4096)], name="one frame")
