"""Small machines for the tests of the live machine."""

import xenmm
from xenmm.machine import Machine

MIB = 1 << 20
GIB = 1 << 30
#: Two nodes, a hole of I/O frames inside a valid group, low enough to run out of memory.
RAM = [(1 * MIB, 24 * MIB), (32 * MIB, 56 * MIB), (4 * GIB, 4 * GIB + 24 * MIB)]
SRAT = [(0, 64 * MIB, 1, 0), (4 * GIB, 5 * GIB, 1, 3)]
#: I/O frames, half-open.
IO = (24 * MIB >> 12, 32 * MIB >> 12)


def small_host(profile="xen-offset", srat=SRAT, **options):
    memory_map = xenmm.MemoryMap.from_ranges(RAM, srat, name="small")
    return xenmm.boot(memory_map, profile, **{"page_sizes": "2m", **options})


def high_host(profile="xen-offset"):
    """RAM past 16 TiB, where a grant entry of version 1 names no frame: three regions, two nodes."""
    high = 17 << 40
    ram = [(MIB, 24 * MIB), (4 * GIB, 4 * GIB + 20 * MIB), (high, high + 24 * MIB)]
    srat = [(0, 64 * MIB, 1, 0), (4 * GIB, 5 * GIB, 1, 0), (high, high + GIB, 1, 1)]
    return xenmm.boot(xenmm.MemoryMap.from_ranges(ram, srat, name="high"), profile, page_sizes="2m")


def small_machine(profile="xen-offset", **options):
    return Machine(small_host(profile), **options)


def two_domains(machine, **options):
    """An owner with one page at gfn 5 that it grants at ref 8, and a mapper."""
    owner = machine.create_domain(1, max_pages=1000)
    mapper = machine.create_domain(2, max_pages=1000, **options)
    mfn = owner.populate(5)
    owner.grant(8, mapper, mfn)
    return owner, mapper, mfn


class Counted:
    """Counters of a block: ``with Counted(machine) as n: ...; n["mfn_to_page"]``."""

    def __init__(self, machine):
        self.machine = machine
        self.counts = {}

    def __enter__(self):
        self.before = self.machine.counters()
        return self

    def __exit__(self, *_):
        after = self.machine.counters()
        self.counts = {name: after[name] - self.before[name] for name in after}

    def __getitem__(self, name):
        return self.counts[name]
