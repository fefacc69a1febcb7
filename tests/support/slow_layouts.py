"""A slow model of what-if: layouts written out by hand, and what a profile uses of them by the slow boot."""

from itertools import pairwise

import slow_boot

GIB = 1 << 30
MIB = 1 << 20


def spaced(sizes, spacing, low=2 * GIB):
    """RAM of a PC's nodes, one every ``spacing``, as (start, end, node)."""
    rows = [(0, 0xA0000, 0), (MIB, min(sizes[0], low), 0)]
    if sizes[0] > low:
        rows.append((4 * GIB, 4 * GIB + sizes[0] - low, 0))
    return rows + [(i * spacing, i * spacing + size, i) for i, size in enumerate(sizes) if i]


def overlaps(rows):
    rows = sorted(rows)
    return any(a[1] > b[0] for a, b in pairwise(rows))


def srat(rows):
    """Rows as firmware would give them: the low memory in one."""
    return [(0 if start == MIB else start, end) for start, end, _ in rows if end != 0xA0000]


def lost(rows, profile):
    """Bytes of RAM from 1 MiB on that a profile does not use, by the slow boot without its tables."""
    found = slow_boot.boot([r[:2] for r in rows], srat(rows), profile, True, tables=False)
    ram = sum(end - start for start, end, _ in rows if start >= MIB)
    return ram - sum(end - start for start, end in found["used"])


def largest(nodes, spacing, granule, profile, max_address):
    """Granules a node of the largest machine that loses nothing, and of the largest there is room for."""
    best, k = 0, 1
    while True:
        machine = spaced([k * granule] * nodes, spacing)
        if overlaps(machine) or machine[-1][1] > max_address:
            return best, k - 1
        if lost(machine, profile) == 0:
            best = k
        k += 1
