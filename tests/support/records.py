"""Dated records of what was run to trust the package: benchmarks/records/reliability."""

import datetime
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records" / "reliability"


def commit():
    """The commit of the tree that runs, ``+`` behind it when the package differs from it."""
    git = ["git", "-C", str(ROOT)]
    said = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "xenmm", "setup.py"], check=False)
    return (said.stdout.strip() or "unknown") + ("+" if changed.returncode == 1 else "")


def write_record(path, schema, facts):
    """Write a record: the schema first, one fact a line, the same facts the same bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": schema, **facts}, indent=1) + "\n")


def record(name):
    """A committed record by its name."""
    return json.loads((RECORDS / f"{name}.json").read_text())


def put_run(path, name, facts):
    """Put what a run found, with date and commit, in the place of an earlier run of that name in a record."""
    path = Path(path)
    runs = json.loads(path.read_text())["runs"] if path.exists() else {}
    runs[name] = {"date": datetime.date.today().isoformat(), "commit": commit(), **facts}
    write_record(path, f"xenmm-{path.stem}/1", {"runs": dict(sorted(runs.items()))})
