"""The engine against other simulators, where they are installed: pycachesim exactly, cachegrind within 0.1
%."""

import itertools
import random
import re
import shutil
import subprocess

import numpy as np
import pytest

from xenmm.timing import Cache, Engine, Hierarchy, Run
from xenmm.timing.traces import open_trace


def pycachesim_counts(shapes, policy, line, addresses):
    cachesim = pytest.importorskip("cachesim", reason="pycachesim is not installed")
    levels = [cachesim.Cache(f"L{n}", sets, ways, line, policy) for n, (sets, ways) in enumerate(shapes)]
    for upper, lower in itertools.pairwise(levels):
        upper.set_load_from(lower)
        upper.set_store_to(lower)
    memory = cachesim.MainMemory()
    memory.load_to(levels[-1])
    memory.store_from(levels[-1])
    cachesim.CacheSimulator(levels[0], memory)
    levels[0].backend.iterload(addresses.tolist())
    return [(c.backend.HIT_count, c.backend.MISS_count) for c in levels]


@pytest.mark.parametrize("seed", range(25))
def test_hits_and_misses_equal_pycachesims(seed):
    rng = random.Random(seed)
    # pycachesim cuts addresses to 32 bits in single loads and has signed ones elsewhere: stay below both.
    numbers = np.random.default_rng(seed)
    span = rng.choice([1 << 14, 1 << 18, 1 << 24, 1 << 31])
    wide = numbers.integers(0, span, 6000)
    walk = np.cumsum(numbers.integers(0, 40, 6000)) % span
    addresses = np.where(numbers.random(6000) < 0.6, walk, wide).astype(np.uint64)
    line = rng.choice([16, 32, 64, 128])
    shapes = [
        (rng.choice([1, 2, 8, 16, 64]) * 2**n, rng.choice([1, 2, 3, 4, 6, 8, 12, 16, 24]))
        for n in range(rng.randrange(1, 4))
    ]
    policy = rng.choice(["LRU", "FIFO"])
    caches = [
        Cache(f"L{n}", sets * ways * line, ways, line, replacement=policy.lower(),
              parent=f"L{n + 1}" if n + 1 < len(shapes) else None)
        for n, (sets, ways) in enumerate(shapes)
    ]  # fmt: skip
    result = Engine(Hierarchy(caches)).run(addresses)
    ours = [(c.hits, c.misses) for c in result.caches.values()]
    assert ours == pycachesim_counts(shapes, policy, line, addresses)


def cachegrind_misses(program, out):
    """Return the misses of I1, D1 and LL, as cachegrind counts them."""
    options = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=262144,8,64"]
    command = ["valgrind", "--tool=cachegrind", *options, f"--cachegrind-out-file={out}", *program]
    # The program must see the same standard output in both runs: it behaves by what that is.
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(command, check=True, env={}, text=True, **streams)
    counts = {}
    for name in ("I1  misses", "D1  misses", "LL misses"):
        found = re.search(rf"{name}: +([\d,]+)", done.stderr)
        assert found is not None
        counts[name] = int(found[1].replace(",", ""))
    return counts


def test_a_real_program_within_a_thousandth_of_cachegrind(tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    (tmp_path / "numbers").write_text("".join(f"{n * 7919 % 100003}\n" for n in range(1200)))
    program = [shutil.which("sort"), "--parallel=1", "-n", str(tmp_path / "numbers")]
    theirs = cachegrind_misses(program, tmp_path / "cachegrind.out")
    log = tmp_path / "lackey.txt"
    command = ["valgrind", "--tool=lackey", "--trace-mem=yes", f"--log-file={log}", *program]
    subprocess.run(command, check=True, env={}, stdout=subprocess.DEVNULL)
    caches = [
        Cache("D1", 32768, 8, parent="LL", holds="data"),
        Cache("I1", 32768, 8, parent="LL", holds="instruction"),
        Cache("LL", 262144, 8),
    ]
    run = Run(Engine(Hierarchy(caches)), straddle="once")
    for chunk in open_trace(log):
        run.feed(chunk.addresses, chunk.kinds, chunk.sizes)
    ours = run.result().caches
    for name, counted in (("I1  misses", "I1"), ("D1  misses", "D1"), ("LL misses", "LL")):
        # A few lines more or less are the two tools' own start-up: they do not grow with the work.
        assert ours[counted].misses == pytest.approx(theirs[name], rel=1e-3, abs=16), name
