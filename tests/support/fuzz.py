"""Fuzz a reader: ``make fuzz TARGET=text SECONDS=600``; docs/reliability.md says what was found.

The seconds are of processor time. What is found stands in ``build/fuzz/TARGET/findings``, each with the
input; a finding ends the command with status 1. ``--record FILE`` adds the run to a record, ``--keep`` the
inputs that reach something new to tests/data/fuzz.
"""

import argparse
import datetime
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import traceback
import zipfile
from pathlib import Path

from records import commit, write_record

ROOT = Path(__file__).parent.parent.parent
#: The most that is kept of one target, in bytes of its inputs.
KEPT_BYTES = 256 << 10
#: Every so manieth input has its memory measured too.
MEASURED = 64
#: Resident memory of the whole process, in MiB, above which the fuzzer calls it a finding.
RESIDENT_MIB = 2048


def main():
    arguments = parse()
    if arguments.child:
        return child(arguments)
    if arguments.list:
        print(*targets().TARGETS)
        return 0
    return parent(arguments)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="?", default="text")
    parser.add_argument("--seconds", type=float, default=60, help="processor time (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="the fuzzer's seed (0: another each time)")
    parser.add_argument("--record", type=Path, help="add this run to a record of runs")
    parser.add_argument("--keep", action="store_true", help="keep the inputs that reach something new")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def targets():
    import fuzz_targets

    return fuzz_targets


def folder(target):
    return ROOT / "build" / "fuzz" / target


# ---- the process that fuzzes: it ends by itself when its time is used ----


def child(arguments):
    import atheris

    read = ["xenmm.firmware", "xenmm.timing.traces", "xenmm.machine", "elftools"]
    with atheris.instrument_imports(include=read):
        import elftools.elf.notes  # noqa: F401

        import xenmm.firmware.detect
        import xenmm.machine
        import xenmm.timing.traces  # noqa: F401
    t = targets()
    work = folder(arguments.target)
    began = resource.getrusage(resource.RUSAGE_SELF)
    state = {"executions": 0, "findings": 0}
    seen = set()

    def one(data):
        state["executions"] += 1
        try:
            t.run(arguments.target, data, memory=state["executions"] % MEASURED == 0)
        except Exception as error:
            found = place(error)
            if found not in seen:
                seen.add(found)
                state["findings"] += 1
                keep_finding(work, data, error)
        if state["executions"] % 32 == 0 and used(began) > arguments.seconds:
            (work / "state.json").write_text(
                json.dumps({**state, "seconds": used(began), "resident": resident()})
            )
            os._exit(0)

    longest = t.TARGETS[arguments.target][2]
    options = [sys.argv[0], str(work / "corpus"), f"-max_len={longest}", f"-seed={arguments.seed}",
               "-timeout=120", "-report_slow_units=3600", "-len_control=20", f"-rss_limit_mb={RESIDENT_MIB}",
               f"-artifact_prefix={work / 'findings'}/"]  # fmt: skip
    atheris.Setup(options, one)
    atheris.Fuzz()


def used(began):
    now = resource.getrusage(resource.RUSAGE_SELF)
    return now.ru_utime + now.ru_stime - began.ru_utime - began.ru_stime


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def place(error):
    """Where an exception came from: what tells one finding from another."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return type(error).__name__, str(error)[:10], *((f.filename, f.lineno) for f in frames)


def keep_finding(work, data, error):
    path = work / "findings" / hashlib.sha1(data).hexdigest()
    path.write_bytes(data)
    path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))


# ---- the process that starts it, counts and keeps ----


def parent(arguments):
    t = targets()
    if arguments.target not in t.TARGETS:
        print(f"no target {arguments.target!r}; there are {', '.join(t.TARGETS)}", file=sys.stderr)
        return 2
    work = folder(arguments.target)
    for name in ("corpus", "findings"):
        (work / name).mkdir(parents=True, exist_ok=True)
    for data in [*t.TARGETS[arguments.target][1](), *t.kept(arguments.target).values()]:
        (work / "corpus" / hashlib.sha1(data).hexdigest()).write_bytes(data)
    (work / "state.json").unlink(missing_ok=True)
    before = {p.name for p in (work / "findings").iterdir()}
    done = subprocess.run(
        [sys.executable, __file__, arguments.target, "--child", f"--seconds={arguments.seconds}",
         f"--seed={arguments.seed}"],
        stdout=subprocess.DEVNULL, stderr=(work / "log").open("w"), check=False,
    )  # fmt: skip
    new = sorted({p.name for p in (work / "findings").iterdir()} - before)
    return told(arguments, work, done.returncode, new)


def told(arguments, work, status, new):
    path = work / "state.json"
    if not path.exists():
        print((work / "log").read_text()[-3000:], file=sys.stderr)
        print(
            f"{arguments.target}: the fuzzer ended with {status} before its time; findings: {new}",
            file=sys.stderr,
        )
        return 1
    state = json.loads(path.read_text())
    corpus = sorted((work / "corpus").iterdir())
    run = {
        "target": arguments.target,
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "cpu_seconds": round(state["seconds"], 1),
        "executions": state["executions"],
        "findings": len([n for n in new if not n.endswith(".txt")]),
        "resident_bytes": state["resident"],
        "corpus_inputs": len(corpus),
    }
    print(json.dumps(run))
    if arguments.keep:
        keep(arguments.target, [p.read_bytes() for p in corpus])
    if arguments.record:
        add_to_record(arguments.record, run)
    for name in new:
        print(work / "findings" / name, file=sys.stderr)
    return 1 if new else 0


def add_to_record(path, run):
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    write_record(path, "xenmm-fuzz/1", {"runs": [*runs, run]})


def keep(target, inputs):
    """Keep, shortest first, each input that goes from a line to a line as none before it did."""
    t = targets()
    known, chosen, size = set(), {}, 0
    for data in sorted(inputs, key=lambda d: (len(d), d)):
        new = arcs(t, target, data) - known
        if new and size + len(data) <= KEPT_BYTES:
            known |= new
            size += len(data)
            chosen[hashlib.sha1(data).hexdigest()[:12]] = data
    t.CORPUS.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(chosen):
            archive.writestr(zipfile.ZipInfo(name), chosen[name], zipfile.ZIP_DEFLATED)
    (t.CORPUS / f"{target}.zip").write_bytes(packed.getvalue())
    print(f"kept {len(chosen)} inputs, {size} bytes, in {len(packed.getvalue())}", file=sys.stderr)


def arcs(t, target, data):
    """The package's pairs of lines that follow each other on this input."""
    found = set()

    def of_frame(frame, event, _):
        code = frame.f_code
        if "/xenmm/" not in code.co_filename:
            return None
        last = [0]

        def step(frame, event, _):
            if event == "line":
                found.add((code.co_filename, last[0], frame.f_lineno))
                last[0] = frame.f_lineno
            return step

        return step

    sys.settrace(of_frame)
    try:
        t.run(target, data)
    except Exception as error:
        found.add(place(error))
    finally:
        sys.settrace(None)
    return found


if __name__ == "__main__":
    sys.exit(main())
