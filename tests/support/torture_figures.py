"""The committed record of ``make torture``, as the documentation shows it."""

from records import record

WHAT = {
    "boot": "boots at the corners, every figure",
    "conversions": "conversions of one host: numbers, arrays in every loop, C",
    "timing": "traces through caches, TLBs and page walks",
    "machine": "sequences of operations on a live machine",
}


def torture_record():
    """What the run compared, how fast, and what it found."""
    run = record("torture")
    rows = [f"| {WHAT[name]} | {count:,} |" for name, count in run["cases"].items()]
    found = f"{len(run['failures'])} disagreements" if run["failures"] else "no disagreement"
    return "\n".join(
        [
            "| compared | cases |",
            "|---|---|",
            *rows,
            "",
            f"{run['total']:,} cases in {run['seconds']} s, {run['cases_per_second']} a second, {found}: "
            f"`{run['command']}`,",
            f"{run['date']}, commit {run['commit']}, {run['processor']}, Python {run['python']}.",
            "",
        ]
    )


NAMES = {"torture_record": torture_record}
