"""Figures of docs/reliability.md: from the records that its commands write, and from the suite itself."""

import functools

import mutants
import sanitized
from records import ROOT, record


def fuzzed(target, name):
    """A sum over the recorded runs of a fuzzer: ``cpu_seconds``, ``executions`` or ``findings``."""
    return sum(run[name] for run in record("fuzzing")["runs"] if run["target"] == target)


def fuzzing_table():
    """What was fuzzed, for how long, and what was found."""
    runs = record("fuzzing")["runs"]
    rows = [
        "| reader | processor time | inputs | findings | dates | commits |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for target in dict.fromkeys(run["target"] for run in runs):
        mine = [run for run in runs if run["target"] == target]
        dates, commits = (", ".join(dict.fromkeys(run[k] for run in mine)) for k in ("date", "commit"))
        minutes = fuzzed(target, "cpu_seconds") / 60
        counts = f"{fuzzed(target, 'executions'):,} | {fuzzed(target, 'findings')}"
        rows.append(f"| {target} | {minutes:.1f} min | {counts} | {dates} | {commits} |")
    return "\n".join(rows) + "\n"


@functools.cache
def grown(what):
    """Bytes by which a process grew over the recorded rounds."""
    return record("leaks")["growth"][what]["grown_bytes"]


def mutation_table():
    """Each group's sample: how many changes, how many noticed, of all and of those that can be noticed."""
    rows = [
        "| group | places | tried | killed at first | killed now | in 100 | no test can notice "
        "| in 100 of the rest | date | commit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for group in record("mutation")["groups"]:
        killed, survive = group["killed"], group["survives"]
        equal = sum(mutants.reason(row) is not None for row in group["survivors"])
        shares = [f"{100 * killed / tried:.1f}" for tried in (killed + survive, killed + survive - equal)]
        rows.append(
            f"| {group['group']} | {group['places']:,} | {killed + survive} "
            f"| {group.get('killed_at_first', 'not kept')} | {killed} "
            f"| {shares[0]} | {equal} | {shares[1]} | {group['date']} | {group['commit']} |"
        )
    return "\n".join(rows) + "\n"


def survivors_table():
    """The changes that no test noticed, each with the reason where one is known."""
    rows = ["| place | line | change | why |", "| --- | --- | --- | --- |"]
    for group in record("mutation")["groups"]:
        for row in group["survivors"]:
            text, change = (row[name].replace("|", "\\|") for name in ("text", "change"))
            why = mutants.reason(row) or "not looked at"
            rows.append(f"| {row['place']} | `{text}` | `{change}` | {why} |")
    return "\n".join(rows) + "\n"


def coverage_table():
    """The modules of the lower floors, least covered first, as the last recorded run found them."""
    found = record("coverage")["modules"]
    rows = ["| module | lines | missed | branches | covered |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in sorted(found, key=lambda r: (r["covered"], r["module"])):
        if row["covered"] < 100:
            counts = f"{row['lines']} | {row['missed']} | {row['branches']}"
            rows.append(f"| `{row['module']}` | {counts} | {row['covered']:.1f} |")
    return "\n".join(rows) + "\n"


def _whole_suite(run):
    """A run, which must be of every part of the suite."""
    files = (ROOT / "tests").rglob("test_*.py")
    every = sorted({sanitized.folder(file.relative_to(ROOT).as_posix()) for file in files})
    if run["tests"] != every:
        raise ValueError(f"the record is of {run['tests']}, and the suite is {every}")
    return run


def _share(run):
    """Tests that ran, of those that would; what is skipped or left out is neither."""
    ran = run["passed"] + run["failed"]
    return f"{ran:,} of {ran + run['not_run']:,} tests"


def memory_table():
    """What ran under which tool, and what it found."""
    runs = record("memory")["runs"]
    rows = ["| make | ran | findings | processor time | date | commit |"]
    rows.append("| --- | ---: | ---: | ---: | --- | --- |")
    for name, kind in {"asan": "address", "tsan": "thread", "memcheck": "memcheck"}.items():
        if kind not in runs:
            continue
        run = _whole_suite(runs[kind]) if kind == "address" else runs[kind]
        if kind == "memcheck":
            cases, loops = sum(run["cases"].values()), ", ".join(run["loops"])
            ran = f"{cases} cases, loops {loops}, Python {run['python']}"
            found = sum(run["package"].values())
        else:
            ran, found = _share(run), run["failed"]
        minutes = run["cpu_seconds"] / 60
        rows.append(f"| {name} | {ran} | {found} | {minutes:.1f} min | {run['date']} | {run['commit']} |")
    return "\n".join(rows) + "\n"


def left_out_table():
    """Tests that the whole suite under the address sanitizer leaves out, with the reason."""
    counts = record("memory")["runs"]["address"]["left_out"]
    rows = [f"| `{name}` | {counts.get(name, 0)} | {why} |" for name, why in sanitized.LEFT_OUT.items()]
    return "\n".join(["| tests | number | why |", "| --- | ---: | --- |", *rows]) + "\n"


NAMES = {
    f.__name__: f
    for f in (
        fuzzed,
        fuzzing_table,
        grown,
        mutation_table,
        survivors_table,
        coverage_table,
        memory_table,
        left_out_table,
    )
}
