"""A replay of a thousand million accesses, in memory that does not grow: ``make long-replay``.

python tests/support/long_replay.py [ACCESSES] [RECORD]

The workload is ``sequential``, whose figures follow from its length: each line is missed once by every cache
of data, for the RAM that it runs through is larger than what it reads.
"""

from __future__ import annotations

import datetime
import sys
import time
from typing import Any

from records import commit, write_record

import xenmm
from xenmm import maps
from xenmm.constants import PAGE_SHIFT
from xenmm.timing.replay import Input
from xenmm.timing.result import Result

MACHINE, UARCH = "dell-r930", "zen3"
STRIDE, LINE = 8, 64
#: Accesses after which everything has its size.
SETTLED = 1 << 22


class Memory:
    """Told of progress: resident bytes once all has its size, and the most since."""

    def __init__(self) -> None:
        self.settled = self.most = 0

    def __call__(self, done: int) -> None:
        if done >= SETTLED:
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[1]) << PAGE_SHIFT
            self.settled = self.settled or now
            self.most = max(self.most, now)


def expected_misses(accesses: int) -> int:
    """Lines that so many accesses touch, each once and for all."""
    return -(-accesses * STRIDE // LINE)


def check(result: Result, accesses: int) -> None:
    """The counts are those that follow from the length, to the last one."""
    misses = expected_misses(accesses)
    assert result.to_dict()["accesses"]["total"] == accesses
    for name, arrive in (("L1D", accesses), ("L2", misses), ("L3", misses)):
        counts = result.caches[name]
        assert (counts.hits, counts.misses) == (arrive - misses, misses), (name, counts)
    tlb = result.tlbs["DTLB"]
    assert tlb.hits + tlb.misses == accesses and tlb.misses == result.walks.walks, (tlb, result.walks)


def run(accesses: int) -> dict[str, Any]:
    """Replay, check, and tell what it took."""
    host = xenmm.boot(xenmm.read_map(maps.path(MACHINE), name=MACHINE))
    assert accesses * STRIDE <= host.used_ram_bytes
    memory, begun = Memory(), time.process_time()
    source = Input(workload="sequential", parameters={"stride": STRIDE}, accesses=accesses)
    result = xenmm.replay(host, source, UARCH, progress=memory)
    seconds = time.process_time() - begun
    check(result, accesses)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "replay": {
            "machine": MACHINE,
            "uarch": UARCH,
            "workload": f"sequential:stride={STRIDE}",
            "accesses": accesses,
            "misses": expected_misses(accesses),
            "cpu_seconds": round(seconds, 1),
            "settled_bytes": memory.settled,
            "grown_bytes": memory.most - memory.settled,
        },
    }


def main(arguments: list[str]) -> None:
    """Replay so many accesses; write the record that is named."""
    record = run(int(arguments[0]) if arguments else 10**9)
    print(*(f"{name}: {value}" for name, value in record["replay"].items()), sep="\n")
    if len(arguments) > 1:
        write_record(arguments[1], "xenmm-hostile/1", record)


if __name__ == "__main__":
    main(sys.argv[1:])
