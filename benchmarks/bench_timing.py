#!/usr/bin/env python3
"""Measure the timing engine against a plain C simulator, pycachesim and a naive Cython loop.

    python benchmarks/bench_timing.py [--samples 10] [--json benchmarks/records/timing.json]

All sides run in this process on one thread, in turns; the figure is CPU time, and each ratio is the least
time of one side over the least of the other, since neighbours on the machine can only add. Counts are
compared before anything is reported.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xenmm._timing import instruction_sets
from xenmm.timing import Cache, Engine, Hierarchy, Memory, PageWalk, Tlb
from xenmm.timing.workloads import mixed_trace

HERE = Path(__file__).parent
#: (sets, ways) of L1, L2, L3 and of the two TLBs.
SHAPE = [(64, 8), (1024, 8), (32768, 16), (16, 4), (128, 12)]
#: The same with a first TLB of one set, as Zen has it.
ZEN_SHAPE = [*SHAPE[:3], (1, 64), (256, 8)]
#: What is asked of the engine: (what, engine's measurement, peer's, at least so many times as fast).
TARGETS = [
    ("three caches against pycachesim's array call", "caches", "pycachesim", 5.0),
    ("two TLBs and latencies too, against pycachesim's caches alone", "caches+tlbs", "pycachesim", 3.0),
    ("three caches against plain C", "caches", "C caches", 1 / 1.5),
    ("two TLBs too, against plain C with them", "caches+tlbs", "C caches+tlbs", 1 / 1.5),
    ("sequential 8-byte accesses against Cython with age counters", "sequential", "naive sequential", 20.0),
    ("zipf against Cython with age counters", "zipf", "naive zipf", 5.0),
    ("sequential 8-byte accesses against Cython with time stamps", "sequential", "stamps sequential", 0.0),
    ("zipf against Cython with time stamps", "zipf", "stamps zipf", 0.0),
    ("one access from Python against pycachesim's", "one", "pycachesim one", 3.0),
]


def hierarchy(tlbs: bool, walk: bool = False, zen: bool = False) -> Hierarchy:
    """Return the reference caches, with latencies, and the two TLBs when asked."""
    caches = [
        Cache("L1", 32 << 10, 8, latency=4, parent="L2"),
        Cache("L2", 512 << 10, 8, latency=12, parent="L3"),
        Cache("L3", 32 << 20, 16, latency=46),
    ]
    two: list[Tlb] = []
    if tlbs:
        two = [
            Tlb("T1", 64, 64 if zen else 4),
            Tlb("T2", 2048 if zen else 1536, 8 if zen else 12, level=2, latency=7),
        ]
    return Hierarchy(caches, two, PageWalk(caches={"l2e": 32, "l3e": 4}) if walk else None, Memory(400))


def build_c(folder: Path) -> Any:
    """Build the C yardstick; return its function."""
    out = folder / "cache_lru.so"
    flags = ["-O3", "-march=native", "-shared", "-fPIC", "-std=c11"]
    subprocess.run(["cc", *flags, "-o", str(out), str(HERE / "cache_lru.c")], check=True)
    function = ctypes.CDLL(str(out)).simulate
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    return function


def build_naive(folder: Path) -> Any:
    """Build the naive Cython loops with -O3; return their module."""
    shutil.copy(HERE / "naive_cache.pyx", folder)
    setup = (
        "from setuptools import Extension, setup\nfrom Cython.Build import cythonize\n"
        "setup(name='naive', ext_modules=cythonize([Extension('naive_cache', ['naive_cache.pyx'],"
        " extra_compile_args=['-O3'])], quiet=True))\n"
    )
    (folder / "setup.py").write_text(setup)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sys.path.insert(0, str(folder))
    import naive_cache  # type: ignore[import-not-found]

    return naive_cache


def pycachesim() -> Any:
    """Return a maker of pycachesim's simulator of the same caches, None without it."""
    try:
        import cachesim  # type: ignore[import-not-found]
    except ImportError:
        return None

    def make() -> Any:
        levels = [
            cachesim.Cache(n, s, w, 64, "LRU") for n, (s, w) in zip(("L1", "L2", "L3"), SHAPE, strict=False)
        ]
        for upper, lower in itertools.pairwise(levels):
            upper.set_load_from(lower)
            upper.set_store_to(lower)
        memory = cachesim.MainMemory()
        memory.load_to(levels[2])
        memory.store_from(levels[2])
        return cachesim.CacheSimulator(levels[0], memory)

    return make


def c_side(function: Any, trace: np.ndarray, tlbs: bool) -> Callable[[], tuple[float, list[int]]]:
    """Return a measurement of plain C."""
    shape = np.array(SHAPE, np.uint64).ravel()

    def run() -> tuple[float, list[int]]:
        counts = np.zeros(10, np.uint64)
        start = time.process_time()
        function(trace.ctypes.data, len(trace), shape.ctypes.data, int(tlbs), counts.ctypes.data)
        return time.process_time() - start, [int(n) for n in counts]

    return run


def engine_side(
    trace: np.ndarray, tlbs: bool, walk: bool = False, zen: bool = False, loops: str | None = None
) -> Callable[[], tuple[float, list[int]]]:
    """Return a measurement of the engine: an empty one, made before the clock starts, as results with
    cycles."""

    def run() -> tuple[float, list[int]]:
        engine = Engine(hierarchy(tlbs, walk, zen), instruction_set=loops)
        start = time.process_time()
        result = engine.run(trace)
        assert result.cycles["total"] > 0
        seconds = time.process_time() - start
        counts = [n for c in result.caches.values() for n in (c.hits, c.misses)]
        return seconds, counts + [n for t in result.tlbs.values() for n in (t.hits, t.misses)]

    return run


def pycachesim_side(make: Any, trace: np.ndarray) -> Callable[[], tuple[float, list[int]]]:
    """Return a measurement of pycachesim's array call."""

    def run() -> tuple[float, list[int]]:
        simulator = make()
        start = time.process_time()
        simulator.first_level.backend.iterload(trace)
        seconds = time.process_time() - start
        levels = list(simulator.levels(with_mem=False))
        return seconds, [n for c in levels for n in (c.backend.HIT_count, c.backend.MISS_count)]

    return run


def naive_side(function: Any, trace: np.ndarray) -> Callable[[], tuple[float, list[int]]]:
    """Return a measurement of the naive Cython loop."""

    def run() -> tuple[float, list[int]]:
        start = time.process_time()
        counts = function(trace, ZEN_SHAPE)
        return time.process_time() - start, [int(n) for n in counts]

    return run


def one_by_one(load: Callable[[int], Any], addresses: list[int]) -> Callable[[], tuple[float, list[int]]]:
    """Return a measurement of one call an access."""

    def run() -> tuple[float, list[int]]:
        start = time.process_time()
        for address in addresses:
            load(address)
        return time.process_time() - start, []

    return run


def measurements(folder: Path, n: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Return every side by name, and how many accesses each simulates."""
    trace = mixed_trace()[:n]
    sequential = np.arange(n, dtype=np.uint64) * 8
    rng = np.random.default_rng(7)
    weights = np.cumsum(np.arange(1, (1 << 20) + 1) ** -0.99)
    zipf = (
        rng.permutation(1 << 24)[np.searchsorted(weights / weights[-1], rng.random(n))].astype(np.uint64) * 64
    )
    few = [int(a) & 0xFFFFFFFF for a in trace[:100_000]]
    plain, naive, peer = build_c(folder), build_naive(folder), pycachesim()
    sides: dict[str, Any] = {
        "caches": engine_side(trace, False),
        "C caches": c_side(plain, trace, False),
        "caches+tlbs": engine_side(trace, True),
        "C caches+tlbs": c_side(plain, trace, True),
        "caches+tlbs+walks": engine_side(trace, True, True),
        "sequential": engine_side(sequential, True, zen=True),
        "naive sequential": naive_side(naive.simulate, sequential[: n // 10]),
        "stamps sequential": naive_side(naive.simulate_stamps, sequential[: n // 10]),
        "zipf": engine_side(zipf, True, zen=True),
        "naive zipf": naive_side(naive.simulate, zipf[: n // 2]),
        "stamps zipf": naive_side(naive.simulate_stamps, zipf[: n // 2]),
        "one": one_by_one(Engine(hierarchy(False)).load, few),
    }
    for loops in instruction_sets():
        sides[f"caches+tlbs, {loops} loops"] = engine_side(trace, True, loops=loops)
    if peer is not None:
        sides["pycachesim"] = pycachesim_side(peer, trace)
        sides["pycachesim one"] = one_by_one(peer().load, few)
    sizes = dict.fromkeys(sides, n) | {"one": len(few), "pycachesim one": len(few)}
    parts = {"sequential": n // 10, "zipf": n // 2}
    return sides, sizes | {
        f"{side} {what}": part for what, part in parts.items() for side in ("naive", "stamps")
    }


def check_counts(counts: dict[str, list[int]]) -> None:
    """Stop when two sides that simulated the same disagree."""
    groups = [("caches", "C caches", 6), ("caches+tlbs", "C caches+tlbs", 10), ("caches", "pycachesim", 6)]
    groups += [("caches+tlbs", name, 10) for name in counts if name.startswith("caches+tlbs, ")]
    for a, b, n in groups:
        if a in counts and b in counts and counts[a][:n] != counts[b][:n]:
            raise SystemExit(f"bench_timing: {a} counts {counts[a][:n]}, {b} counts {counts[b][:n]}")


def start_up() -> dict[str, float]:
    """Return what an engine costs before its first access."""
    times = []
    for _ in range(20):
        start = time.process_time()
        engine = Engine(hierarchy(True, True))
        times.append(time.process_time() - start)
    return {"ready_ms": min(times) * 1e3, "tag_bytes": engine.tag_bytes}


def main() -> int:
    """Run, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--accesses", type=int, default=10_000_000)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sides, sizes = measurements(Path(name), args.accesses)
        best: dict[str, float] = {}
        counts: dict[str, list[int]] = {}
        for sample in range(args.samples):
            for side, run in sides.items():
                if side.startswith(("naive", "stamps", "pycachesim")) and sample >= max(3, args.samples // 3):
                    continue
                seconds, counts[side] = run()
                best[side] = min(seconds, best.get(side, seconds))
    check_counts(counts)
    rates = {side: sizes[side] / best[side] / 1e6 for side in best}
    for side, rate in sorted(rates.items(), key=lambda item: -item[1]):
        print(f"{rate:9.2f} M/s  {side}")
    ratios = []
    for what, ours, theirs, least in TARGETS:
        if theirs in rates:
            ratio = rates[ours] / rates[theirs]
            ratios.append({"what": what, "ratio": round(ratio, 2), "target": round(least, 2)})
            print(f"{ratio:9.2f} x (target {least:.2f})  {what}")
    ready = start_up()
    print(f"{ready['ready_ms']:9.2f} ms to make an engine, {ready['tag_bytes']} bytes of tags")
    if args.json:
        record = {
            "schema": "xenmm.bench.timing/1",
            "command": "python benchmarks/bench_timing.py",
            "samples": args.samples,
            "accesses": args.accesses,
            "machine": {
                "processor": processor(),
                "python": platform.python_version(),
                "loops": instruction_sets()[-1],
            },
            "million_accesses_per_second": {k: round(v, 3) for k, v in rates.items()},
            "ratios": ratios,
            "start_up": ready,
        }
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(record, indent=2) + "\n")
    return 0 if all(r["ratio"] >= r["target"] for r in ratios) else 1


def processor() -> str:
    """Return the processor's name, family and model as Linux tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    return f"{fields.get('model name', '?')} (family {fields.get('cpu family')}, model {fields.get('model')})"


if __name__ == "__main__":
    raise SystemExit(main())
