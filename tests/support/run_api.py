"""Every public callable with hostile arguments, for as long as asked: ``make api SECONDS=600``.

python tests/support/run_api.py [--seconds N] [--seed N] [--record FILE] [TARGET ...]

Seconds are of processor time. A call that breaks what must hold ends the run, with the arguments made small.
"""

from __future__ import annotations

import argparse
import datetime
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from public_api import outcome
from public_targets import TARGETS
from records import commit, write_record

#: A call that would fill memory ends with MemoryError, which is no kind that is allowed. Of address space
#: live machines reserve far more than they use.
BYTES_MAX = 8 << 30
_EXAMPLES = 200


def run_round(name: str, number: int) -> tuple[int, int]:
    """Make some calls of a target; return how many gave a result and how many were refused."""
    target, counts = TARGETS[name], {True: 0, False: 0}

    @seed(number)
    @settings(max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(target.arguments())
    def calls(arguments: dict[str, Any]) -> None:
        counts[outcome(target, arguments) == "result"] += 1

    calls()
    return counts[True], counts[False]


def run_for(seconds: float, names: list[str], first: int = 0) -> dict[str, Any]:
    """Run round after round over the targets, each round with a seed of its own; at least one."""
    begun, number = time.process_time(), first
    counts = {name: {"calls": 0, "results": 0, "refused": 0} for name in names}
    while number == first or time.process_time() - begun < seconds:
        for name in names:
            results, refused = run_round(name, number)
            for key, more in (("calls", results + refused), ("results", results), ("refused", refused)):
                counts[name][key] += more
        number += 1
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "cpu_seconds": round(time.process_time() - begun, 1),
        "seeds": [first, number],
        "targets": counts,
    }


def main() -> None:
    """Run, and tell what was called how often."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES_MAX, BYTES_MAX))
    # As the tests have it; what hypothesis says of its own strategies is no one's fault.
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", module="hypothesis")
    record = run_for(args.seconds, args.targets or list(TARGETS), args.seed)
    for name, row in record["targets"].items():
        print(f"{name:24} {row['calls']:9,} calls, {row['results']:9,} results, {row['refused']:9,} refused")
    idle = [name for name, row in record["targets"].items() if not row["results"]]
    if idle:
        sys.exit(f"no call gave a result: {', '.join(idle)}")
    if args.record:
        write_record(args.record, "xenmm-api/1", record)


if __name__ == "__main__":
    main()
