"""The live machine's speed: batches of grant maps and unmaps, against the slow model, and a long random run.

    python benchmarks/bench_machine.py [--operations 10000000]

Prints pairs of map and unmap a second for both flavours from one batch on one core (CPU time, the best of
several), the slow Python model on the same operations, their ratio, and the time of a random run of many
operations in batches, audited after each tenth and destroyed at the end, when every page must be home.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from machine_pair import Pair  # noqa: E402
from machines import small_machine  # noqa: E402

import xenmm  # noqa: E402
from xenmm.machine import GNTMAP, Machine, Op  # noqa: E402

GRANTS = 512
GIB = 1 << 30


def pairs_per_second(flavour: str, rounds: int = 200, samples: int = 10) -> float:
    """Map and unmap 512 writable host grants, round after round in one batch; the best of several."""
    machine = small_machine(flavour=flavour)
    owner, mapper = machine.create_domain(1), machine.create_domain(2)
    for gfn in range(GRANTS):
        owner.grant(gfn, mapper, owner.populate(gfn))
    ops = machine.ops(2 * GRANTS * rounds)
    turns = ops.reshape(rounds, 2, GRANTS)
    turns["dom"], turns["peer"], turns["addr"] = 2, 1, 0x1000
    turns["ref"] = np.arange(GRANTS)
    turns["flags"] = int(GNTMAP.host_map)
    turns[:, 0]["code"], turns[:, 1]["code"] = Op.MAP, Op.UNMAP
    best = float("inf")
    for _ in range(samples):
        # Handles come back in another order each round, but always as the same 512.
        started = time.process_time()
        failed = machine.run(ops)
        best = min(best, time.process_time() - started)
        if failed:
            raise SystemExit(f"{failed} operations failed")
    machine.audit().check()
    return GRANTS * rounds / best


def slow_pairs_per_second(pairs: int = 20_000) -> float:
    """The same with the slow model."""
    slow = Pair().slow
    for number in (1, 2):
        slow.create(number, 5000, False, False, 0, 4, 4)
    for gfn in range(GRANTS):
        _, mfn = slow.populate(1, gfn, 0)
        slow.grant(1, gfn, 2, mfn, 1)
    started = time.process_time()
    for i in range(pairs):
        status, handle = slow.map(2, 1, i % GRANTS, True, False, 0, 0x1000)
        if status or slow.unmap(2, handle, 0x1000, 0):
            raise SystemExit("the slow model refuses")
    return pairs / (time.process_time() - started)


def random_batch(machine: Machine, rng: np.random.Generator, count: int, domains: int) -> np.ndarray:
    """Operations on a few domains, most of them possible, every kind among them."""
    ops = machine.ops(count)
    kinds = [Op.POPULATE, Op.REMOVE, Op.GRANT, Op.GRANT_END, Op.MAP, Op.UNMAP, Op.GET_PAGE, Op.PUT_PAGE]
    kinds += [Op.MAP, Op.UNMAP, Op.TRANSFER, Op.MAP_PAGE, Op.P2M_GET, Op.SCRUB, Op.FREE]
    ops["code"] = rng.choice([int(k) for k in kinds], count)
    ops["dom"] = rng.integers(1, domains + 1, count)
    ops["peer"] = rng.integers(1, domains + 1, count)
    ops["ref"] = rng.integers(0, 512, count)
    ops["addr"] = 0x1000
    frame = rng.integers(0, 4096, count).astype(np.uint64)
    by_mfn = np.isin(
        ops["code"], [int(k) for k in (Op.GRANT, Op.GET_PAGE, Op.PUT_PAGE, Op.MAP_PAGE, Op.FREE)]
    )
    mfns = np.array([m for d in machine.domains for m in d.pages] or [1], dtype=np.uint64)
    ops["frame"] = np.where(by_mfn, rng.choice(mfns, count), frame)
    ops["flags"] = np.where(ops["code"] == Op.GRANT, rng.choice([1, 1, 5, 2], count), 0)
    is_map = ops["code"] == Op.MAP
    ops["flags"] = np.where(is_map, rng.choice([2, 3, 6, 7], count), ops["flags"])
    ops["ref"] = np.where(ops["code"] == Op.SCRUB, 0, ops["ref"])
    return ops


def long_run(operations: int, domains: int = 8) -> tuple[float, int]:
    """Seconds and failures of a random run; it is audited after each tenth, and everything comes home."""
    memory_map = xenmm.MemoryMap.from_ranges([(1 << 20, 2 * GIB), (4 * GIB, 6 * GIB)])
    machine = Machine(xenmm.boot(memory_map))
    free = machine.free_pages
    for number in range(1, domains + 1):
        machine.create_domain(number, max_pages=5000)
    rng = np.random.default_rng(1)
    seconds, failed, done = 0.0, 0, 0
    while done < operations:
        ops = random_batch(machine, rng, min(operations // 10, 100_000), domains)
        started = time.process_time()
        failed += machine.run(ops)
        seconds += time.process_time() - started
        done += len(ops)
        if done % max(operations // 10, 1) < len(ops):
            machine.audit().check()
    for pdx, references, _, page in machine._holds():
        mfn = machine.host.pdx_to_mfn(pdx)
        for _ in range(references):
            machine.put_page(mfn)
        if page:
            machine.free(mfn)
    for domain in machine.domains:
        domain.destroy()
    machine.audit().check()
    if machine.domains or machine.free_pages != free:
        raise SystemExit(f"{free - machine.free_pages} pages did not come home")
    return seconds, failed


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=10_000_000)
    operations = parser.parse_args().operations
    slow = slow_pairs_per_second()
    for flavour in ("naive", "cse"):
        fast = pairs_per_second(flavour)
        print(
            f"{flavour}: {fast / 1e6:.1f} million map+unmap pairs/s, {fast / slow:.0f} times the slow model"
        )
    print(f"slow model: {slow / 1e3:.1f} thousand pairs/s")
    seconds, failed = long_run(operations)
    print(
        f"random run: {operations:,} operations in {seconds:.2f} s of CPU time, {failed:,} of them refused; "
        f"audited, and every page home"
    )


if __name__ == "__main__":
    main()
