"""A short run of all that is compiled under valgrind's memcheck: ``make memcheck``.

No error, and no block lost for good, may have one of the package's modules on its stack; the interpreter's
and NumPy's alone are counted and let pass, so that no file of suppressions is needed. First the search must
find what is known to be there: the conversion of an array that nobody filled.

Valgrind knows no AVX-512, and its processor says so: the loops that are left all run, and are named. It takes
Python 3.12 or newer, one that is found here if need be: before, CPython multiplies the first digit of a zero,
which it never wrote, by the size of nothing, and valgrind holds the zero for unknown wherever it goes.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pythons
import torture_cases
from machines import small_host, small_machine, two_domains
from records import put_run
from run_pythons import install_wheel
from tree import copy_tree

import xenmm
from xenmm import _core
from xenmm._timing import instruction_sets
from xenmm.machine import machine
from xenmm.timing.replay import Input, replay

#: Cases of each comparison with a slow model: one takes a tenth of a second to a few seconds here.
CASES = {"boot": 2, "conversions": 12, "timing": 4, "machine": 1}
SEED = 1
#: Bytes that each table of a live machine may reserve here.
SPACE = 4 << 30
VALGRIND = (
    "valgrind",
    "--quiet",
    "--xml=yes",
    "--num-callers=25",
    "--leak-check=full",
    "--show-leak-kinds=definite",
)


def in_little_space():
    """Let live machines reserve what valgrind can give; a real one reserves Xen's whole windows, 256 GiB."""
    plan = machine.plan_machine

    def plan_small(*args, **named):
        setup = plan(*args, **named)
        least = {name: min(getattr(setup, name), SPACE) for name in ("frame_table_reserved", "m2p_reserved")}
        return dataclasses.replace(setup, **least)

    machine.plan_machine = plan_small


def work():
    """Boots, conversions, engines and live machines against slow models, then what these leave out."""
    in_little_space()
    torture_cases.CC = None  # A compiler's time here is not ours.
    for name, count in CASES.items():
        rng = random.Random(f"{SEED} {name}")
        for _ in range(count):
            torture_cases.COMPARISONS[name].check(torture_cases.COMPARISONS[name].draw(rng))
    come_back()
    host = small_host()
    for form in xenmm.embed.FORMATS:
        host.export(form)
    replay(host, Input(workload="zipf", accesses=3000))
    loops = [name for name, runs in _core._kernels().items() if runs]
    return {
        "python": platform.python_version(),
        "loops": loops,
        "engines": instruction_sets(),
        "cases": CASES,
    }


def come_back():
    """Save a live machine with a mapped grant, load it, and end the grant there."""
    live = small_machine()
    owner, mapper, mfn = two_domains(live)
    handle = mapper.map_grant(owner, 8).handle
    with tempfile.NamedTemporaryFile() as file:
        live.save(file.name)
        again = machine.Machine.load(file.name)
    assert again.page(mfn).references == live.page(mfn).references == 2
    again.domain(2).unmap_grant(handle)
    again.audit().check()


def control():
    """Convert an array that nobody filled: whether its frames are in range depends on nothing."""
    host = small_host()
    with contextlib.suppress(xenmm.FrameError):
        host.mfn_to_virt(np.empty(5000, np.uint64))
    return {}


def errors(report, package, show):
    """Errors of a report by kind: those with one of the package's modules on the stack, and the others."""
    ours, others = collections.Counter(), collections.Counter()
    for error in ElementTree.parse(report).getroot().iter("error"):
        kind = error.findtext("kind")
        frames = [(f.findtext("obj", ""), f.findtext("fn", "?")) for f in error.iter("frame")]
        found = any(obj.startswith(package) for obj, _ in frames)
        (ours if found else others)[kind] += 1
        if found and show:
            print(kind, *(f"    {fn} in {Path(obj).name}" for obj, fn in frames), sep="\n")
    return dict(ours), dict(others)


def ready(folder):
    """An interpreter that has the package and is new enough: this one, or the newest here with the wheel."""
    if sys.version_info >= (3, 12):
        return Path(sys.executable)
    newest = [python for version, python in pythons.found().items() if version != "3.11"]
    if not newest:
        sys.exit("memcheck needs Python 3.12 or newer, and finds none here")
    copy_tree(folder)
    return install_wheel(newest[-1], folder)


def run(python, what):
    """Run a part of this file under valgrind: what it printed, and its errors."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [*VALGRIND, f"--xml-file={report}", python, Path(__file__).resolve(), "--only", what]
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        # Not where the source stands: the package is to be the one that this Python has.
        done = subprocess.run(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        )
        said = json.loads(done.stdout)
        return said, *errors(report, said.pop("package"), what == "work")


def seconds():
    """Processor time of the processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["work", "control"], help="what to run here, without valgrind")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    if arguments.only:
        facts = {"work": work, "control": control}[arguments.only]()
        return print(json.dumps({**facts, "package": str(Path(xenmm.__file__).parent)}))
    with tempfile.TemporaryDirectory() as folder:
        python = ready(Path(folder))
        before = seconds()
        _, known, _ = run(python, "control")
        if not known:
            return "memcheck does not see what is known to be there"
        said, ours, others = run(python, "work")
    facts = {**said, "known": known, "package": ours, "others": others,
             "cpu_seconds": round(seconds() - before)}  # fmt: skip
    print(json.dumps(facts, indent=1))
    if arguments.record:
        put_run(arguments.record, "memcheck", facts)
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
