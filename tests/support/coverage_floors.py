"""Judge a coverage record: each module's share, and whether the floors up to boot reach the least one."""

import datetime
import json
import re
import sys
from pathlib import Path

from house import FLOORS
from records import write_record

LEAST = 95.0
_SIGNATURE = re.compile(r"\s*(cdef|cpdef|def)\b[^=]*[:(,]\s*$")
#: The floors that are held to it.
HIGHEST = next(height for height, names in enumerate(FLOORS) if "boot" in names)
HELD = {name for names in FLOORS[: HIGHEST + 1] for name in names}


def main(path, record_path=None, of_commit="unknown"):
    files = json.loads(Path(path).read_text())["files"]
    rows, below = [], []
    for name, found in sorted(files.items()):
        summary = found["summary"]
        unit = name.removeprefix("xenmm/").partition("/")[0].partition(".")[0]
        # The shared text of the floors' Cython stands in .pxd and .pxi of their own.
        if unit not in HELD and unit != "_arrays":
            continue
        counted, missing = summary["num_statements"], found["missing_lines"]
        share = summary["percent_covered"]
        if not name.endswith(".py"):
            # The first line of a C function is no statement: in some calls it is told, in others not.
            text = Path(name).read_text().splitlines()
            missing = [n for n in missing if not _SIGNATURE.match(text[n - 1])]
            share = 100 * (counted - len(missing)) / counted if counted else 100.0
        # Cython's plugin tells lines only.
        known = name.endswith(".py")
        branches = f"{summary['covered_branches']}/{summary['num_branches']}" if known else "-"
        rows.append((name, counted, len(missing), branches, share))
        if counted and share < LEAST:
            below.append((name, missing))
    if record_path:
        words = ("module", "lines", "missed", "branches", "covered")
        facts = {"date": datetime.date.today().isoformat(), "commit": of_commit, "least": LEAST,
                 "modules": [dict(zip(words, row, strict=True)) for row in rows]}  # fmt: skip
        write_record(record_path, "xenmm-coverage/1", facts)
    print(f"{'module':34} {'lines':>6} {'missed':>6} {'branches':>10} {'covered':>8}")
    for name, counted, missed, branches, share in rows:
        print(f"{name:34} {counted:6} {missed:6} {branches:>10} {share:7.1f}%")
    for name, missing in below:
        print(f"{name}: below {LEAST:g}%: missed lines {ranges(missing)}", file=sys.stderr)
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
    sys.exit(main(*sys.argv[1:4]))
