"""Figures of docs/sweeps.md: from the committed record of benchmarks/bench_sweep.py."""

import json
from pathlib import Path

RECORD = Path(__file__).parents[2] / "benchmarks" / "records" / "sweep.json"


def sweep_run(*path):
    """A figure of the record by its keys; memory in MiB."""
    value = json.loads(RECORD.read_text())
    for key in path:
        value = value[key]
    return value / 1024 if path[-1].endswith("_kib") else value


NAMES = {"sweep_run": sweep_run}
