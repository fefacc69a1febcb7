"""Figures of small committed records, by their keys: benchmarks/records/page.json and startup.json."""

import json
from pathlib import Path

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"


def page_bench(page, *path):
    """A figure of benchmarks/bench_page.py for one of its pages."""
    value = json.loads((RECORDS / "page.json").read_text())["pages"][page]
    for key in path:
        value = value[key]
    return value


def startup_ms(what):
    """Milliseconds of CPU time from the start of a process, by ``xenmm bench --only startup``."""
    rows = json.loads((RECORDS / "startup.json").read_text())["startup"]
    return next(row["ms"] for row in rows if row["what"] == what)


NAMES = {"page_bench": page_bench, "startup_ms": startup_ms}
