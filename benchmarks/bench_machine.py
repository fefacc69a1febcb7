"""The live machine's speed: batches of grant maps and unmaps, against the slow model, and a long random run.

    python benchmarks/bench_machine.py [--operations 10000000] [--json benchmarks/records/machine.json]

Prints pairs of map and unmap a second for both flavours from one batch on one core (CPU time, the best of
several), the slow Python model on the same operations, their ratio, and the time of a random run of many
operations in batches. The slow model (tests/support/slow_machine.py) carries out the same run: every status
and every output is compared, and the whole state with an audit after each tenth; at the end everything is
destroyed, and every page must be home.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

from bench_timing import processor  # noqa: E402
from machine_pair import NAMES  # noqa: E402
from machine_state import compare_state  # noqa: E402
from machines import small_host, small_machine  # noqa: E402
from slow_machine import SlowMachine  # noqa: E402

import xenmm  # noqa: E402
from xenmm.machine import GNTMAP, Domain, Machine, Op  # noqa: E402

GRANTS = 512
DOMAINS = 8
#: Guest frames that a domain of the random run fills and gives up again.
GFNS = 8192
GIB = 1 << 30
#: What is asked for without a look at what stands.
BLIND = (
    Op.POPULATE,
    Op.REMOVE,
    Op.MAP,
    Op.UNMAP,
    Op.GET_PAGE,
    Op.PUT_PAGE,
    Op.TRANSFER,
    Op.FREE,
    Op.GRANT_END,
)


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
    slow = SlowMachine(small_host())
    for number in (1, 2):
        slow.create(number, 5000, 4, 4)
    for gfn in range(GRANTS):
        _, mfn = slow.do("populate", 1, frame=gfn)
        slow.do("grant", 1, 2, flags=1, ref=gfn, frame=mfn)
    started = time.process_time()
    for i in range(pairs):
        status, handle, *_ = slow.do("map", 2, 1, flags=int(GNTMAP.host_map), ref=i % GRANTS, addr=0x1000)
        if status or slow.do("unmap", 2, ref=handle, addr=0x1000)[0]:
            raise SystemExit("the slow model refuses")
    return pairs / (time.process_time() - started)


class Workload:
    """Random batches that know what stands: most operations are possible, and one in ten is blind."""

    def __init__(self, machine: Machine, slow: SlowMachine, rng: np.random.Generator) -> None:
        self.machine, self.slow, self.rng = machine, slow, rng
        self.seconds = self.slow_seconds = 0.0
        self.granted = np.zeros((0, 3), dtype=np.uint64)  # owner, reference, mapper
        self.mapped = np.zeros((0, 2), dtype=np.uint64)  # mapper, handle
        self.held = np.zeros(0, dtype=np.uint64)  # frames with a reference of ours

    def run(self, count: int) -> tuple[int, int]:
        """Carry out about as many, on both; return how many failed, and how many there were."""
        each = count // (10 * len(self.machine.domains))
        parts = [part for domain in self.machine.domains for part in self._of(domain, each)]
        ops = self.rng.permutation(np.concatenate([*parts, *self._of_all(count // 10)]))
        records = ops.tolist()
        started = time.process_time()
        failed = self.machine.run(ops)
        finished = time.process_time()
        answers = self.slow.run(NAMES, records)
        self.seconds += finished - started
        self.slow_seconds += time.process_time() - finished
        self._compare(ops, answers)
        self._learn(ops[ops["status"] == 0])
        return failed, len(ops)

    def _compare(self, ops: np.ndarray, answers: list[tuple[int, ...]]) -> None:
        """Every status, and of what succeeded the outputs."""
        statuses = np.array([answer[0] for answer in answers])
        done = statuses == 0
        outs = np.array([answer[1] for answer in answers], dtype=np.uint64)
        wrong = (ops["status"] != statuses) | (done & (ops["out"] != outs))
        mapped = np.flatnonzero(done & (ops["code"] == Op.MAP))
        buses = np.array([answers[i][2] for i in mapped.tolist()], dtype=np.uint64)
        wrong[mapped] |= ops["frame"][mapped] != buses
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise SystemExit(f"{ops[at]}: the slow model answers {answers[at]}")

    def _make(self, code: Op, count: int, **fields: object) -> np.ndarray:
        ops = self.machine.ops(count)
        ops["code"] = code
        for name, value in fields.items():
            ops[name] = value
        return ops

    def _some(self, things: np.ndarray, count: int) -> np.ndarray:
        return self.rng.permutation(things)[:count]

    def _of(self, domain: Domain, each: int) -> list[np.ndarray]:
        """What one domain does: memory comes and goes, pages are granted, looked up and referred to."""
        number = domain.domid
        used, pages = np.array(list(domain.p2m()), dtype=np.uint64), np.array(domain.pages, dtype=np.uint64)
        fill = self._some(np.setdiff1d(np.arange(GFNS, dtype=np.uint64), used), each)
        leave = self._some(used, min(each, len(used) // 3))
        refs = np.setdiff1d(
            np.arange(GRANTS, dtype=np.uint64), self.granted[self.granted[:, 0] == number][:, 1]
        )
        refs = self._some(refs, min(each, len(pages)))
        seen, taken = self._some(np.setdiff1d(used, leave), each), self._some(pages, each)
        peers = self.rng.integers(1, DOMAINS + 1, len(refs))
        return [
            self._make(Op.POPULATE, len(fill), dom=number, frame=fill),
            self._make(Op.REMOVE, len(leave), dom=number, frame=leave),
            self._make(Op.P2M_GET, len(seen), dom=number, frame=seen),
            self._make(
                Op.GRANT,
                len(refs),
                dom=number,
                peer=peers,
                ref=refs,
                frame=self._some(pages, len(refs)),
                flags=1,
            ),
            self._make(Op.GET_PAGE, len(taken), dom=number, frame=taken),
            self._make(Op.MAP_PAGE, len(taken), frame=taken),
        ]

    def _of_all(self, each: int) -> list[np.ndarray]:
        """Grants mapped and ended, mappings undone, references dropped, pages scrubbed, and blind ones."""
        rng = self.rng
        grants = rng.permutation(self.granted)
        ended, used = grants[: len(grants) // 8], grants[len(grants) // 8 :][: 2 * each]
        undone, put = self._some(self.mapped, 2 * each), self._some(self.held, each)
        flags = rng.choice([int(GNTMAP.host_map), int(GNTMAP.host_map | GNTMAP.readonly)], len(used))
        blind = self._make(Op.SCRUB, each)
        blind["code"] = rng.choice([int(k) for k in BLIND], each)
        for name, top in (("dom", DOMAINS + 2), ("peer", DOMAINS + 2), ("ref", 600), ("frame", 4096)):
            blind[name] = rng.integers(0, top, each)
        return [
            self._make(
                Op.MAP, len(used), dom=used[:, 2], peer=used[:, 0], ref=used[:, 1], flags=flags, addr=0x1000
            ),
            self._make(Op.GRANT_END, len(ended), dom=ended[:, 0], ref=ended[:, 1]),
            self._make(Op.UNMAP, len(undone), dom=undone[:, 0], ref=undone[:, 1], addr=0x1000),
            self._make(Op.PUT_PAGE, len(put), frame=put),
            self._make(Op.SCRUB, 1, frame=each),
            blind,
        ]

    def _learn(self, ops: np.ndarray) -> None:
        """Bring what stands up to date with the operations that succeeded."""

        def fields(code: Op, *names: str) -> np.ndarray:
            of_code = ops[ops["code"] == code]
            return np.stack([of_code[name].astype(np.uint64) for name in names], axis=1)

        def without(pairs: np.ndarray, gone: np.ndarray) -> np.ndarray:
            return pairs[~np.isin(pairs[:, 0] << 32 | pairs[:, 1], gone[:, 0] << 32 | gone[:, 1])]

        granted = fields(Op.GRANT, "dom", "ref", "peer")
        self.granted = without(
            self.granted, np.concatenate([granted[:, :2], fields(Op.GRANT_END, "dom", "ref")])
        )
        self.granted = np.concatenate([self.granted, granted])
        self.mapped = without(self.mapped, fields(Op.UNMAP, "dom", "ref"))
        self.mapped = np.concatenate([self.mapped, fields(Op.MAP, "dom", "out")])
        put = fields(Op.PUT_PAGE, "frame")[:, 0]
        self.held = np.setdiff1d(np.union1d(self.held, fields(Op.GET_PAGE, "frame")[:, 0]), put)


def long_run(operations: int, flavour: str = "cse") -> dict[str, float]:
    """A random run, compared with the slow model and audited; every page comes home. What it did, by name."""
    memory_map = xenmm.MemoryMap.from_ranges([(1 << 20, 2 * GIB), (4 * GIB, 6 * GIB)])
    host = xenmm.boot(memory_map)
    machine, slow = Machine(host, flavour=flavour), SlowMachine(host, naive=flavour == "naive")
    free = machine.free_pages
    for number in range(1, DOMAINS + 1):
        machine.create_domain(number, max_pages=2 * GFNS)
        slow.create(number, 2 * GFNS, 64, 1024)
    workload = Workload(machine, slow, np.random.default_rng(1))
    failed, done, phases = 0, 0, 0
    while done < operations:
        refused, count = workload.run(min(operations // 10, 50_000))
        failed, done = failed + refused, done + count
        if done * 10 // operations > phases:
            phases += 1
            compare_state(machine, slow)
            machine.audit().check()
    _let_go(machine, slow)
    if machine.domains or machine.free_pages != free:
        raise SystemExit(f"{free - machine.free_pages} pages did not come home")
    return {
        "operations": done,
        "refused": failed,
        "states_compared": phases + 1,
        "cpu_seconds": round(workload.seconds, 3),
        "model_cpu_seconds": round(workload.slow_seconds, 1),
    }


def _let_go(machine: Machine, slow: SlowMachine) -> None:
    """Everything held is given up and every domain destroyed, on both; then the states are compared again."""
    for pdx, references, _, page in machine._holds():
        mfn = machine.host.pdx_to_mfn(pdx)
        for _ in range(references):
            machine.put_page(mfn)
            slow.do("put_page", frame=mfn)
        if page:
            machine.free(mfn)
            slow.do("free", frame=mfn)
    for domain in machine.domains:
        domain.destroy()
        slow.destroy(domain.domid)
    compare_state(machine, slow)
    machine.audit().check()


def measure(operations: int) -> dict[str, object]:
    """The record: where it was made, how busy that was, and the figures."""
    load = os.getloadavg()
    slow = slow_pairs_per_second()
    pairs = {flavour: pairs_per_second(flavour) for flavour in ("naive", "cse")}
    runs = {flavour: long_run(operations, flavour) for flavour in ("naive", "cse")}
    return {
        "schema": "xenmm.bench.machine/2",
        "command": f"python benchmarks/bench_machine.py --operations {operations}",
        "machine": {
            "processor": processor(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": [round(x, 2) for x in load],
        },
        "pairs_per_second": {flavour: round(value) for flavour, value in pairs.items()},
        "slow_pairs_per_second": round(slow),
        "random_run": runs["cse"],
        "random_run_naive": runs["naive"],
    }


def main() -> None:
    """Measure, print, and write the record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=10_000_000)
    parser.add_argument("--json", metavar="FILE", help="write the record to this file")
    arguments = parser.parse_args()
    record = measure(arguments.operations)
    slow = record["slow_pairs_per_second"]
    for flavour, pairs in record["pairs_per_second"].items():
        print(
            f"{flavour}: {pairs / 1e6:.1f} million map+unmap pairs/s, {pairs / slow:.0f} times the slow model"
        )
    print(f"slow model: {slow / 1e3:.1f} thousand pairs/s")
    for name in ("random_run_naive", "random_run"):
        run = record[name]
        print(
            f"{name}: {run['operations']:,} operations in {run['cpu_seconds']:.2f} s of CPU time, "
            f"{run['refused']:,} of them refused; each answered as the slow model answers it in "
            f"{run['model_cpu_seconds']:.0f} s; state compared {run['states_compared']} times"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
