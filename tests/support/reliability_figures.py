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
        "| group | places | tried | killed | survive | in 100 | no test can notice | in 100 of the rest "
        "| date | commit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for group in record("mutation")["groups"]:
        killed, survive = group["killed"], group["survives"]
        equal = sum(mutants.reason(row) is not None for row in group["survivors"])
        shares = [f"{100 * killed / tried:.1f}" for tried in (killed + survive, killed + survive - equal)]
        rows.append(
            f"| {group['group']} | {group['places']:,} | {killed + survive} | {killed} | {survive} "
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


def _runs(kind):
    return [run for name, run in record("memory")["runs"].items() if name.partition(":")[0] == kind]


def suite_under_asan(outcome):
    """Tests of the whole suite that ``passed`` or ``failed``, run in one part or in several."""
    runs = _runs("address")
    parts = [part for run in runs for part in run["tests"]]
    files = (ROOT / "tests").rglob("test_*.py")
    every = {sanitized.folder(file.relative_to(ROOT).as_posix()) for file in files}
    if sorted(parts) != sorted(every):
        raise ValueError(f"the record is of {parts}, and the suite is {sorted(every)}")
    return sum(run[outcome] for run in runs)


def memory_table():
    """What ran under which tool, and what it found."""
    (threads,), (memcheck,) = _runs("thread"), _runs("memcheck")
    cases = f"{sum(memcheck['cases'].values())} cases, loops {', '.join(memcheck['loops'])}"
    rows = {
        "address": ("asan", f"{suite_under_asan('passed'):,} tests", suite_under_asan("failed")),
        "thread": ("tsan", f"{threads['passed']} tests", threads["failed"]),
        "memcheck": ("memcheck", cases, sum(memcheck["package"].values())),
    }
    lines = ["| make | ran | findings | processor time | dates | commits |"]
    lines.append("| --- | ---: | ---: | ---: | --- | --- |")
    for kind, (name, ran, found) in rows.items():
        runs = _runs(kind)
        minutes = sum(run["cpu_seconds"] for run in runs) / 60
        dates, commits = (", ".join(dict.fromkeys(run[k] for run in runs)) for k in ("date", "commit"))
        lines.append(f"| {name} | {ran} | {found} | {minutes:.1f} min | {dates} | {commits} |")
    return "\n".join(lines) + "\n"


def left_out_table():
    """Tests that the whole suite under the address sanitizer leaves out, with the reason."""
    counts = {
        name: sum(run["left_out"].get(name, 0) for run in _runs("address")) for name in sanitized.LEFT_OUT
    }
    rows = [f"| `{name}` | {counts[name]} | {why} |" for name, why in sanitized.LEFT_OUT.items()]
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
