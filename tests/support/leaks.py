"""How much larger a process is after many boots, conversions, machines and engines: ``make leaks``.

``python tests/support/leaks.py WHAT ROUNDS`` prints bytes; otherwise all of it in whole, into
the record that is named.
"""

import datetime
import gc
import subprocess
import sys

import numpy as np
from machines import small_host
from records import commit, write_record

import xenmm
from xenmm import timing

#: Rounds of the whole count; one round of conversions is 4,096 scalars, an array and a refusal.
WHOLE = {"boots": 10_000, "conversions": 250, "machines": 1_000, "engines": 1_000}
FRAMES = range(0x100, 0x1100)


def resident():
    """Resident bytes of this process, as Linux tells them."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) << 12


def boots():
    memory_map = small_host().memory_map
    while True:
        xenmm.boot(memory_map, "xen-offset", page_sizes="2m").overhead().to_dict()
        yield


def conversions():
    host, frames = small_host(), np.array(FRAMES, dtype=np.uint64)
    while True:
        for frame in FRAMES:
            host.mfn_to_page(frame)
        host.mfn_to_virt(frames)
        try:
            host.mfn_to_virt(1 << 50)
        except xenmm.FrameError:
            yield


def machines():
    host = small_host()
    while True:
        machine = host.machine()
        domain = machine.create_domain(1, max_pages=50)
        machine.page(domain.populate(4))
        yield


def engines():
    caches = timing.Cache("L1", 32 << 10, 8, replacement="plru", parent="L2"), timing.Cache("L2", 1 << 20, 16)
    hierarchy = timing.Hierarchy(caches, (timing.Tlb("T", 64, 4),), timing.PageWalk(caches={"l2e": 16}))
    space = timing.AddressSpace([timing.Mapping(0, 0, 1 << 30, "2m")])
    addresses = np.arange(0, 1 << 24, 4096, dtype=np.uint64)
    while True:
        timing.Engine(hierarchy, space).run(addresses).to_dict()
        try:
            timing.Engine(hierarchy, space, instruction_set="none")
        except xenmm.ConfigError:
            yield


def growth(what, rounds):
    """Bytes by which the process grows over the rounds, after a tenth as many to settle."""
    work = {"boots": boots, "conversions": conversions, "machines": machines, "engines": engines}[what]()
    for _ in range(rounds // 10):
        next(work)
    first = resident()
    for _ in range(rounds):
        next(work)
    return resident() - first


def main(arguments):
    if arguments and arguments[0] in WHOLE:
        print(growth(arguments[0], int(arguments[1])))
        return
    rows = {}
    for what, rounds in WHOLE.items():
        command = [sys.executable, __file__, what, str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        count = rounds * len(FRAMES) if what == "conversions" else rounds
        rows[what] = {"count": count, "grown_bytes": int(done.stdout)}
        print(f"{count:9,} {what}: {int(done.stdout):,} bytes more")
    record = {"date": datetime.date.today().isoformat(), "commit": commit(), "growth": rows}
    if arguments:
        write_record(arguments[0], "xenmm-leaks/1", record)


if __name__ == "__main__":
    main(sys.argv[1:])
