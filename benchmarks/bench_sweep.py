"""A sweep of 10,000 cells of ``report``: its time, cells a second, and the peak memory of parent and workers.

    python benchmarks/bench_sweep.py [--cells 10000] [--workers N] [--json benchmarks/records/sweep.json]

Writes generated boot logs into a scratch folder, sweeps them with processes of its own, sweeps again when
nothing is left to do, and does both with a tenth of the cells, too: memory that does not grow is flat.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

PROFILES = ("pre", "ext5t", "fold", "sparse-frametable", "sparse-m2p", "xen-4.17", "xen-mask", "xen-offset")
PAGE_SIZES = ("2m", "1g")
GIB = 1 << 30
#: Lines of a log that say nothing about memory, as most do not.
OTHER_LINES = 400
TARGET_SECONDS = 120


def write_logs(folder: Path, count: int, seed: int = 20261126) -> None:
    """Boot logs of ``count`` machines of 1 to 16 nodes at random places, the same for the same seed."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"machine-{number:05}.dmesg").write_text(log(rng))


def log(rng: random.Random) -> str:
    """One Linux boot log: a map, SRAT rows, and lines of other things."""
    nodes, spacing = rng.randint(1, 16), 1 << rng.randint(35, 43)
    size = min(rng.randint(1, 64) * GIB, spacing // 2)
    ram = [(0, 0xA0000, 0), (1 << 20, 2 * GIB, 0), (4 * GIB, 4 * GIB + size, 0)]
    ram += [(spacing * node, spacing * node + size, node) for node in range(1, nodes)]
    lines = ["Linux version 6.1.0 (gcc) #1 SMP", "BIOS-provided physical RAM map:"]
    lines += [f"BIOS-e820: [mem {a:#018x}-{b - 1:#018x}] usable" for a, b, _ in ram]
    lines += [
        f"pci 0000:{rng.randrange(256):02x}:{rng.randrange(32):02x}.0: reg {rng.getrandbits(40):#x}"
        for _ in range(OTHER_LINES)
    ]
    lines += [f"ACPI: SRAT: Node {n} PXM {n} [mem {a:#010x}-{b - 1:#010x}]" for a, b, n in ram]
    return "".join(f"[    0.{i:06}] {line}\n" for i, line in enumerate(lines))


def one(logs: str, out: str, workers: int | None) -> dict:
    """One sweep in this process, which does nothing else: what it did, and peak memory in KiB."""
    import xenmm

    begun = time.perf_counter()
    result = xenmm.sweep(logs, out, profiles=PROFILES, page_sizes=PAGE_SIZES, workers=workers)
    seconds = time.perf_counter() - begun
    return {
        "cells": result.cells,
        "done": result.done,
        "failed": result.failed,
        "seconds": round(seconds, 2),
        "cells_per_second": round(result.cells / seconds, 1),
        "parent_peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "largest_worker_peak_kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }


def in_a_process(*words: str) -> dict:
    """The same, in a process of its own, so that memory is this sweep's."""
    done = subprocess.run([sys.executable, __file__, "--one", *words], check=True, capture_output=True)
    return json.loads(done.stdout)


def sweeps(cells: int, workers: int | None) -> dict:
    """A sweep of so many cells, and the same again with nothing left to do."""
    with tempfile.TemporaryDirectory() as scratch:
        logs, out = Path(scratch, "logs"), Path(scratch, "out")
        write_logs(logs, -(-cells // (len(PROFILES) * len(PAGE_SIZES))))
        words = (str(logs), str(out), str(workers or 0))
        return {"first": in_a_process(*words), "again": in_a_process(*words)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", help="write the record there")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        logs, out, workers = args.one
        print(json.dumps(one(logs, out, int(workers) or None)))
        return 0
    from bench_timing import processor

    record = {
        "schema": "xenmm.bench.sweep/1",
        "command": "python benchmarks/bench_sweep.py " + " ".join(sys.argv[1:]),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "python": sys.version.split()[0],
            "load_before": list(os.getloadavg()),
        },
        "tenth": sweeps(args.cells // 10, args.workers),
        "full": sweeps(args.cells, args.workers),
    }
    record["target_seconds"] = TARGET_SECONDS
    text = json.dumps(record, indent=2) + "\n"
    if args.json:
        Path(args.json).write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
