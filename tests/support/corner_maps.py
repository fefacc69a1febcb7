"""Machines that reach for the corners of boot's rules, and the test of whether one is reached.

``draw`` makes a machine from a random generator: a low part, one or two corners, an SRAT of some kind. What
it aimed at counts for nothing: ``reached`` looks at the finished machine, and at what boot chose for it,
and names the corners that are really there.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import NamedTuple

K4, M2, G1, T1 = 1 << 12, 1 << 21, 1 << 30, 1 << 40
GROUP = 65536 * K4
#: Frames into a group at which RAM ends: the last 2 MiB of the frame table stay one page from 65,024 on.
TAILS = (65023, 65024, 65025)
#: Tops of address space: what 32-bit list links reach, the processors' physical addresses, the
#: architecture's.
TOPS = (44, 46, 52)
#: Edges of rules, in bytes: the look at SRAT, the clips and direct maps of each profile.
LIMITS = {"1m": 1 << 20, "4g": 4 * G1, "1t": T1, "5t": 5 * T1, "16t": 16 * T1, "128t": 128 * T1}
LOW = ((), ((0, 0x9FC00), (1 << 20, 2 * G1)), ((0, 3 * G1 + K4),), ((1 << 20, 4 * G1),), ((M2, 3 * M2),))


class Machine(NamedTuple):
    """RAM in bytes, sorted and merged; SRAT rows (start, end, flags, node) or None."""

    ram: list
    srat: list | None


def merge(ranges):
    """Sorted, with what overlaps or touches joined."""
    out = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def whole_frames(ram):
    """RAM in whole frames above 1 MiB, as boot walks it."""
    rounded = [(max(-(-s // K4), 256), e // K4) for s, e in ram]
    return [(s, e) for s, e in rounded if s < e]


# Each corner: RAM, and SRAT rows of its own beside those that cover the RAM.


def _some_size(rng):
    return rng.choice([K4, 2 * K4, M2, M2 + K4, GROUP - K4, GROUP, GROUP + 3 * K4, G1, 2 * G1 - 65536])


def one_frame(rng):
    at = rng.choice([1 << 20, M2, 3 * GROUP, 4 * G1, 4 * G1 + 17 * K4, T1, 5 * T1 - K4, 1 << 46])
    return [(at, at + K4)], []


def tail(rng, frames=None):
    at = rng.choice([4 * G1, 8 * G1, 64 * G1, T1, 3 * T1]) + rng.choice([0, GROUP, 3 * GROUP])
    return [(at, at + rng.choice([0, 0, GROUP]) + (frames or rng.choice(TAILS)) * K4)], []


def regions(rng, count=None):
    step, count = rng.choice([1 << 38, 1 << 40]), count or rng.choice([64, 65])
    size = rng.choice([K4, M2, G1, 2 * G1])
    ram = [
        (i * step + (4 * G1 if i == 0 else 0), i * step + (4 * G1 if i == 0 else 0) + size)
        for i in range(count)
    ]
    return ram, [(0, 4 * G1 + size, 1, 0)]


def one_bit(rng):
    # Every bit of a frame is in use but one: the moving bits of low RAM below it, RAM at each bit above it.
    bit, size = rng.randrange(33, 39), rng.choice([K4, M2, GROUP])
    top = bit + rng.randrange(1, 4)
    return [
        (4 * G1, 1 << bit - 1),
        ((1 << bit - 1), (1 << bit)),
        *((1 << b, (1 << b) + size) for b in range(bit + 1, top + 1)),
    ], []


def equal_holes(rng):
    # Bits [a, a+w) and [a+w+1, a+2w+1) are free, the bit between and the one above are not.
    a, width, size = rng.randrange(33, 36), rng.randrange(2, 5), rng.choice([K4, M2, GROUP])
    first, second = a + width, a + 2 * width + 1
    return [(4 * G1, 1 << a), (1 << first, (1 << first) + size), (1 << second, (1 << second) + size)], []


def mid_group_node(rng):
    at = rng.choice([4 * G1, 64 * G1, T1])
    cut = at + rng.choice([1, 255, 32768, 65535]) * K4
    end = at + rng.choice([GROUP, 2 * GROUP])
    return [(at, end)], [("cut", at, cut, end)]


def hot_plug_all(rng):
    at = rng.choice([4 * G1, 64 * G1, T1])
    top = rng.choice([1 << 44, 1 << 46, 1 << 47])
    return [(at, at + _some_size(rng))], [(0, top, 3, 0)]


def uncovered(rng):
    at = rng.choice([8 * G1, 64 * G1, T1, (1 << 42) + GROUP])
    high = rng.choice([1 << 43, 1 << 45])
    ram = [(4 * G1, 4 * G1 + _some_size(rng)), (at, at + _some_size(rng)), (high, high + G1)]
    return ram, [("bare", at)]


def top(rng, bits=None):
    end = (1 << (bits or rng.choice(TOPS))) + rng.choice([-1, 0, 1]) * K4
    return [(end - rng.choice([K4, 2 * K4, M2, GROUP, G1]), end)], []


def limit(rng, name=None, off=None):
    at = LIMITS[name or rng.choice(list(LIMITS))] + (rng.choice([-1, 0, 1]) if off is None else off) * K4
    before = (max(at - _some_size(rng), 0), at)
    after = (at, at + _some_size(rng))
    return rng.choice([[before], [after], [before], [(before[0], after[1])]]), []


CORNERS = (
    one_frame,
    tail,
    regions,
    one_bit,
    equal_holes,
    mid_group_node,
    hot_plug_all,
    uncovered,
    top,
    limit,
)


def draw(rng: random.Random) -> Machine:
    """One machine; it has at least one whole frame above 1 MiB."""
    corner = rng.choice(CORNERS)
    ram, extra = corner(rng)
    if corner is not one_frame or rng.random() < 0.3:
        ram = [*ram, *rng.choice(LOW)]
        if rng.random() < 0.25:
            more, rows = rng.choice(CORNERS[1:])(rng)
            ram, extra = [*ram, *more], [*extra, *rows]
    ram = merge(ram)
    if not whole_frames(ram):
        ram = merge([*ram, (M2, 2 * M2)])
    return Machine(ram, _srat(rng, ram, extra))


def _srat(rng, ram, extra):
    # None, each RAM range as it is or rounded to 1 GiB; nodes one by one; a corner's own rows at the end.
    how = rng.choice(["exact", "exact", "exact", "rounded", "none"])
    if how == "none" and not extra:
        return None
    bare = {item[1] for item in extra if item[0] == "bare"}
    cuts = [item[1:] for item in extra if item[0] == "cut"]
    rows = []
    for n, (start, end) in enumerate(ram):
        if start in bare:
            continue
        inside = [cut for first, cut, last in cuts if start < cut < end]
        for piece, (a, b) in enumerate(pairwise([start, *sorted(set(inside)), end])):
            if how == "rounded" and not inside:
                a, b = a // G1 * G1, -(-b // G1) * G1
            rows.append((a, b, 1, (n + piece) % 4))
    rows += [item for item in extra if item[0] not in ("bare", "cut")]
    if rng.random() < 0.2:
        rows.append((0, 1 << 46, rng.choice([0, 2, 4, 5]), 0))
    rng.shuffle(rows)
    return rows


# What is really there.


def reached(machine, mask_host, offset_host):
    """Names of the corners that a machine is in, given the hosts of ``xen-mask`` and ``xen-offset``."""
    found = set()
    frames = whole_frames(machine.ram)
    if sum(e - s for s, e in frames) == 1:
        found.add("one-frame RAM")
    for host in (mask_host, offset_host):
        found |= {f"RAM ends {n} frames into a group" for n in TAILS if host.max_pdx % 65536 == n}
    found |= _of_choice(machine, mask_host, offset_host)
    for bits in TOPS:
        for off in (-1, 0, 1):
            if machine.ram[-1][1] == (1 << bits) + off * K4:
                found.add(f"top at 2^{bits} {off:+d} frames")
    edges = {edge for r in machine.ram for edge in r}
    for name, at in LIMITS.items():
        found |= {f"edge at {name} {off:+d} frames" for off in (-1, 0, 1) if at + off * K4 in edges}
    return found | _of_srat(machine, frames)


def _of_choice(machine, mask_host, offset_host):
    found = set()
    if offset_host.compression.kind == "offset" and len(offset_host.compression.regions) == 64:
        found.add("64 offset regions")
    rows = [r for r in machine.srat or () if r[2] & 1 and not r[2] & 4]
    gigabytes = merge((s // G1 * G1, e) for s, e, *_ in rows)
    if len(gigabytes) == 65 and offset_host.compression.base is not None:
        found.add("65 offset regions")
    if mask_host.compression.kind == "mask":
        used = free_runs(machine, mask_host)
        widest = max(width for _, width in used)
        if widest == 1:
            found.add("hole of one bit")
        if sum(width == widest for _, width in used) >= 2:
            found.add("two equal holes")
    return found


def free_runs(machine, host):
    """Runs (first bit, width) of bits that no frame of an SRAT region that counts has, with one above."""
    used = set(range((max(host.compression.base, G1) - 1).bit_length() - 12))
    for start, end, flags, *_ in machine.srat:
        if flags & 1 and not flags & 4:
            first, last = start // K4, (end - 1) // K4
            used |= {b for b in range(52) if first >> b & 1}
            used |= set(range((first ^ last).bit_length()))
    runs, at = [], None
    for bit in range(max(used, default=-1) + 1):
        if bit not in used and at is None:
            at = bit
        if bit in used and at is not None:
            runs.append((at, bit - at))
            at = None
    return runs


def _of_srat(machine, frames):
    found, rows = set(), [r for r in machine.srat or () if r[2] & 1]
    for start, _, _, node in rows:
        inside = start // K4 % 65536 and any(s < start // K4 < e for s, e in frames)
        if inside and any(end == start and other != node for _, end, _, other in rows):
            found.add("node begins in the middle of a group")
    ends = machine.ram[0][0], machine.ram[-1][1]
    if any(r[2] & 3 == 3 and r[0] <= ends[0] and ends[1] <= r[1] for r in rows):
        found.add("hot-plug window over everything")
    covered = merge(r[:2] for r in rows)
    if rows and any(not any(a <= s and e <= b for a, b in covered) for s, e in machine.ram if s >= 4 * G1):
        found.add("RAM outside SRAT")
    return found


def names():
    """Every corner by name."""
    return {
        "one-frame RAM",
        "64 offset regions",
        "65 offset regions",
        "hole of one bit",
        "two equal holes",
        "node begins in the middle of a group",
        "hot-plug window over everything",
        "RAM outside SRAT",
        *(f"RAM ends {n} frames into a group" for n in TAILS),
        *(f"top at 2^{bits} {off:+d} frames" for bits in TOPS for off in (-1, 0, 1)),
        *(f"edge at {name} {off:+d} frames" for name in LIMITS for off in (-1, 0, 1)),
    }
