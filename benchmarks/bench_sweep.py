"""A sweep of 10,000 cells of ``report``: its time, cells a second, and the peak memory of parent and workers.

    python benchmarks/bench_sweep.py [--cells N] [--workers N] [--kills N] [--json RECORD]

Writes generated boot logs into a scratch folder, sweeps them with processes of its own, sweeps again when
nothing is left to do, and does both with a tenth of the cells, too: memory that does not grow is flat. Then
the same sweep is killed (SIGKILL) again and again at random moments and ended by the same command; every file
must be that of the sweep that nobody disturbed. Exit code 1 if it is not, or a cell failed.
"""

import argparse
import json
import multiprocessing
import os
import random
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

    peaks = WorkerPeaks()
    begun = time.perf_counter()
    result = xenmm.sweep(
        logs, out, profiles=PROFILES, page_sizes=PAGE_SIZES, workers=workers, progress=peaks.look
    )
    seconds = time.perf_counter() - begun
    return {
        "cells": result.cells,
        "done": result.done,
        "failed": result.failed,
        "seconds": round(seconds, 2),
        "cells_per_second": round(result.cells / seconds, 1),
        "parent_peak_kib": peak_kib("self"),
        "largest_worker_peak_kib": peaks.largest,
    }


class WorkerPeaks:
    """The largest peak of a worker, looked at after every hundredth cell."""

    def __init__(self) -> None:
        self.largest = 0

    def look(self, done: int, _: int) -> None:
        if done % 100 == 0:
            pids = [str(process.pid) for process in multiprocessing.active_children()]
            self.largest = max([self.largest, *map(peak_kib, pids)])


def peak_kib(pid: str) -> int:
    """A process's peak of resident memory in its program (getrusage counts what forked it, too)."""
    for line in Path("/proc", pid, "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def in_a_process(*words: str) -> dict:
    """The same, in a process of its own, so that memory is this sweep's."""
    done = subprocess.run([sys.executable, __file__, "--one", *words], check=True, capture_output=True)
    return json.loads(done.stdout)


def sweeps(cells: int, workers: int | None, kills: int = 0) -> dict:
    """A sweep of so many cells, the same again with nothing left to do, and killed so many times."""
    with tempfile.TemporaryDirectory() as scratch:
        logs, out = Path(scratch, "logs"), Path(scratch, "out")
        write_logs(logs, -(-cells // (len(PROFILES) * len(PAGE_SIZES))))
        words = (str(logs), str(out), str(workers or 0))
        found = {"first": in_a_process(*words), "again": in_a_process(*words)}
        if kills:
            found["killed"] = killed(logs, out, Path(scratch, "killed"), workers, kills)
        return found


def killed(logs: Path, whole: Path, out: Path, workers: int | None, kills: int, seed: int = 7) -> dict:
    """The same sweep killed so many times; what was there each time, and whether the end is the same."""
    rng, there = random.Random(seed), []
    words = [sys.executable, __file__, "--one", str(logs), str(out), str(workers or 0)]
    cells = len(cells_in(whole))
    for number in range(kills):
        least = cells * (number + rng.random()) / (kills + 1)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while len(cells_in(out)) < least and process.poll() is None:
            time.sleep(0.05)
        process.kill()
        process.wait()
        there.append(len(cells_in(out)))
    last = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return {
        "kills": kills,
        "cells_there": there,
        "done_at_last": last["done"],
        "same_bytes": same(whole, out),
    }


def cells_in(out: Path) -> list[Path]:
    return list((out / "cells").rglob("[!.]*.json"))


def same(a: Path, b: Path) -> bool:
    """Whether two folders hold the same files."""
    names = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (a, b)]
    return names[0] == names[1] and all((a / n).read_bytes() == (b / n).read_bytes() for n in names[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--kills", type=int, default=5)
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
        "full": sweeps(args.cells, args.workers, args.kills),
    }
    record["target_seconds"] = TARGET_SECONDS
    text = json.dumps(record, indent=2) + "\n"
    if args.json:
        Path(args.json).write_text(text)
    print(text, end="")
    good = record["full"]["first"]["failed"] == 0
    return 0 if good and record["full"].get("killed", {}).get("same_bytes", True) else 1


if __name__ == "__main__":
    sys.exit(main())
