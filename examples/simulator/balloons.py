"""A study with the machine inside: what ballooning does to the locality of domains on four nodes.

Six domains live on a machine of four nodes. Each breathes: it gives a third of its memory back (its balloon
inflates), and takes as much again later. What it takes, others gave back meanwhile. The two policies differ
in what they ask Xen for: any memory, or the home node's first. How many pages end up on another node? What
did the hypervisor convert on the way, and what does that cost under each compression?

The events are a heap of (time, number, domain, what it gave back); the randomness has a seed, so that every
run says the same. xenmm is the machine: its allocator, its tables, its conversions, its cycles.
"""

import heapq
import random

import numpy as np

import xenmm
from xenmm.machine import Op
from xenmm.timing.on_host import run_primitive

GIB = 1 << 30
# The first node's memory has the usual gap below 4 GiB.
NODES = [(0, 5 * GIB), (64 * GIB, 65 * GIB), (128 * GIB, 129 * GIB), (192 * GIB, 193 * GIB)]
MAP = xenmm.MemoryMap.from_ranges([(0, GIB), (4 * GIB, 5 * GIB), *NODES[1:]], NODES, name="four nodes")
DOMAINS, EXTENTS = 6, 400  # extents of 2 MiB, 512 pages each
BREATHS, SEED = 8, 2009


def node_of(mfns):
    """The node of each frame."""
    starts = np.array([start >> 12 for start, _ in NODES], np.uint64)
    return np.searchsorted(starts, mfns, side="right") - 1


def breathe(host, local):
    """Let the domains breathe on a live machine; return it with the share of pages away from home."""
    machine = host.machine()
    chance, events = random.Random(SEED), []
    ask = (lambda home: {"node": home}) if local else (lambda home: {})
    for domid in range(1, DOMAINS + 1):
        domain = machine.create_domain(domid, max_pages=EXTENTS * 512)
        for gfn in range(0, EXTENTS * 512, 512):
            domain.populate(gfn, order=9, **ask(domid % len(NODES)))
        for _ in range(BREATHS):
            heapq.heappush(events, (chance.expovariate(1.0), len(events), domid, None))
    number = len(events)
    while events:
        time, _, domid, taken = heapq.heappop(events)
        domain = machine.domain(domid)
        if taken is None:
            # Inflate: pages leave, one by one as a balloon driver gives them, in one batch in C.
            at_home = [e for e in range(EXTENTS) if domain.mfn(e * 512) is not None]
            taken = sorted(chance.sample(at_home, len(at_home) // 3))
            ops = machine.ops(512 * len(taken))
            ops["code"], ops["dom"] = Op.REMOVE, domid
            ops["frame"] = (np.array(taken)[:, None] * 512 + np.arange(512)).ravel()
            assert machine.run(ops) == 0
            machine.scrub()
            heapq.heappush(events, (time + chance.expovariate(4.0), number, domid, taken))
            number += 1
        else:
            # Deflate: as much comes back, from whatever is free by now.
            for extent in taken:
                domain.populate(extent * 512, order=9, **ask(domid % len(NODES)))
    # The first frame of each extent: the others follow it.
    mfns = {d.domid: np.array([d.mfn(e * 512) for e in range(EXTENTS)], np.uint64) for d in machine.domains}
    away = {domid: float(np.mean(node_of(found) != domid % len(NODES))) for domid, found in mfns.items()}
    return machine, np.concatenate(list(mfns.values())), away


def main():
    print("pages on another node than the domain's own, and conversions on the way")
    for name, local in (("anywhere", False), ("home first", True)):
        machine, extents, away = breathe(xenmm.boot(MAP, "xen-offset"), local)
        counts = machine.counters()
        shares = " ".join(f"{100 * share:5.1f}%" for share in away.values())
        print(
            f"  {name:<11} {shares}   {counts['mfn_to_page']:,} mfn -> page, {counts['page_to_mfn']:,} back"
        )

    rng = np.random.default_rng(SEED)
    sample = rng.choice(extents, 4096) + rng.integers(0, 512, 4096, dtype=np.uint64)
    print("cycles a conversion of frames at random on zen3, each call waiting for the last")
    for profile in ("xen-none", "xen-mask", "xen-offset"):
        host = xenmm.boot(MAP, profile)
        there, back = (run_primitive(host, p, sample).dependent for p in ("mfn_to_page", "page_to_mfn"))
        print(f"  {host.compression.kind:<11} {there:5.1f} mfn -> page, {back:5.1f} back")


if __name__ == "__main__":
    main()
