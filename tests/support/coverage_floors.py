"""Judge a coverage record: each module's share, and whether the floors up to boot reach the least one."""

import datetime
import json
import sys
from pathlib import Path

from house import FLOORS
from records import commit, write_record

LEAST = 95.0
#: The floors that are held to it.
HIGHEST = next(height for height, names in enumerate(FLOORS) if "boot" in names)
HELD = {name for names in FLOORS[: HIGHEST + 1] for name in names}


def main(path, record_path=None):
    files = json.loads(Path(path).read_text())["files"]
    rows, below = [], []
    for name, found in sorted(files.items()):
        summary = found["summary"]
        unit = name.removeprefix("xenmm/").partition("/")[0].partition(".")[0]
        # The shared text of the floors' Cython stands in .pxd and .pxi of their own.
        if unit not in HELD and unit != "_arrays":
            continue
        counted = summary["num_statements"]
        share = summary["percent_covered"]
        # Cython's plugin tells lines only.
        known = name.endswith(".py")
        branches = f"{summary['covered_branches']}/{summary['num_branches']}" if known else "-"
        rows.append((name, counted, summary["missing_lines"], branches, share))
        if counted and share < LEAST:
            below.append((name, found))
    if record_path:
        words = ("module", "lines", "missed", "branches", "covered")
        facts = {"date": datetime.date.today().isoformat(), "commit": commit(), "least": LEAST,
                 "modules": [dict(zip(words, row, strict=True)) for row in rows]}  # fmt: skip
        write_record(record_path, "xenmm-coverage/1", facts)
    print(f"{'module':34} {'lines':>6} {'missed':>6} {'branches':>10} {'covered':>8}")
    for name, counted, missed, branches, share in rows:
        print(f"{name:34} {counted:6} {missed:6} {branches:>10} {share:7.1f}%")
    for name, found in below:
        print(f"{name}: below {LEAST:g}%: missed lines {ranges(found['missing_lines'])}", file=sys.stderr)
    return 1 if below or not rows else 0


def ranges(lines):
    """Line numbers as people write them."""
    out = []
    for line in lines:
        if out and line == out[-1][1] + 1:
            out[-1][1] = line
        else:
            out.append([line, line])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in out)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
