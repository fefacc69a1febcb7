"""Figures of docs/reliability.md: every Python, a long replay, every public callable."""

from pythons import MINORS
from records import record

_OUTCOMES = ("passed", "skipped", "failed")


def pythons_table():
    """What became of the suite on each Python, from the records of ``make pythons``."""
    found = record("pythons")
    rows = [
        "| Python | passed | skipped | failed | date | commit |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for row in found["pythons"].values():
        rows.append(_python_row(row["python"], row))
        if "again" in row:
            rows.append(_python_row("of it, what failed, mended", row["again"]))
    for version in (f"3.{minor}" for minor in MINORS):
        if version not in found["pythons"]:
            why = "untested: none found" if version in found["untested"] else "not run whole yet"
            rows.append(f"| {version} | {why} | | | | |")
    return "\n".join(rows) + "\n"


def _python_row(name, row):
    counts = " | ".join(f"{row[outcome]:,}" for outcome in _OUTCOMES)
    return f"| {name} | {counts} | {row['date']} | {row['commit']} |"


def replay_record():
    """The long replay, in a few sentences."""
    found = record("hostile")
    run = found["replay"]
    speed = run["accesses"] / run["cpu_seconds"] / 1e6
    return (
        f"{run['accesses']:,} accesses of `{run['workload']}` on {run['machine']}, {run['uarch']}, in "
        f"{run['cpu_seconds']:.0f} s of processor time, {speed:.0f} million a second. {run['misses']:,} "
        f"lines are missed, and not one count is off. {run['settled_bytes'] >> 20} MiB are resident, and "
        f"{run['grown_bytes']:,} bytes more at the most. {found['date']}, commit {found['commit']}.\n"
    )


def api_record():
    """How often the public callables were called, in a few sentences."""
    found = record("api")
    rows, (first, end) = found["targets"].values(), found["seeds"]
    seeds = f"Seed {first}" if end == first + 1 else f"Seeds {first} to {end - 1}"
    calls, results, refused = (sum(row[name] for row in rows) for name in ("calls", "results", "refused"))
    return (
        f"{calls:,} calls of {len(rows)} callables gave {results:,} results and {refused:,} refusals, all as "
        f"they must be, in {found['cpu_seconds']:.0f} s of processor time. {seeds}, "
        f"{found['date']}, commit {found['commit']}.\n"
    )


NAMES = {f.__name__: f for f in (pythons_table, replay_record, api_record)}
