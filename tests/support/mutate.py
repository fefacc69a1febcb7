"""Change one operator or constant of compiled text at a time; see whether a test notices: ``make mutate``.

    python tests/support/mutate.py GROUP COUNT [--seed N] [--jobs N] [--record FILE] [--survivors]

The places are a seeded sample of a group's files; one that does not compile makes room for the next. Each
change is made in a copy of the tree, the objects that read the file are compiled without optimisation, and
the tests of the group run, those first that usually notice soonest. A crash counts as noticed, and so does a
loop without end. What no test notices is a survivor. ``--survivors`` tries those of the record again, but for
those that no test can notice (``mutants_equal.toml``). In the end the tests that noticed something are run
without any change, and must pass.
"""

import argparse
import datetime
import itertools
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants import key, reason
from records import ROOT, commit, record, write_record
from tree import copy_tree

#: What stands for what. Each has the same place in the grammar, so that nearly every mutant still compiles.
OPERATORS = {
    "+": "-", "-": "+", "*": "+", "/": "*", "//": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&",
    "^": "|", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+=": "-=", "-=": "+=",
    "|=": "&=", "&=": "|=", "^=": "|=", "<<=": ">>=", ">>=": "<<=", "&&": "||", "||": "&&",
    "and": "or", "or": "and", "True": "False", "False": "True",
}  # fmt: skip
_ONE = ["tests/test_core_scalars.py", "tests/test_core_random_parameters.py"]
_MANY = ["tests/test_core_random_parameters.py", "tests/test_core_edges.py", "tests/test_core_arrays.py"]
_TEXTS = ["tests/test_core_texts.py", "tests/embed/test_c_header.py"]
_TIMING = [f"tests/timing/test_{name}.py" for name in
           ("engine", "result", "space", "golden", "curves", "on_host", "replay", "embedding")]  # fmt: skip
_MACHINE = [f"tests/machine/test_{name}.py" for name in
            ("pages", "page_tables", "grants", "state", "checkpoint", "audit", "tlb", "any_value", "hot_add",
             "mapcache", "conversions", "own_parameters", "compat_m2p", "embedding", "threads")]  # fmt: skip
#: By group: files, the objects that are compiled from them, and the tests that should notice, in stages.
GROUPS = {
    "conversions": [
        (["xenmm/__init__.pxd"], ["_core", "_embed"], [_ONE, _TEXTS]),
        (["xenmm/_core.pyx", "xenmm/_arrays.pxi", "xenmm/_integers.h"], ["_core"],
         [["tests/test_core_parameters.py", "tests/test_core_edges.py", *_ONE],
          [*_TEXTS, "tests/test_core_arrays.py", "tests/test_core_frozen.py"]]),
        (["xenmm/include/xenmm.h"], ["_kernels", "_core"], [_TEXTS, [*_MANY, "tests/test_core_scalars.py"]]),
        (["xenmm/_kernels.c", "xenmm/_kernels_loops.h"], ["_kernels"], [_MANY, [*_ONE[:1], *_TEXTS[:1]]]),
    ],
    "engine": [
        (["xenmm/_timing.pyx", "xenmm/_timing_engine.h", "xenmm/_timing_kernels.h",
          "xenmm/include/xenmm_timing.h"], ["_timing"], [_TIMING[:2], [*_TIMING[2:], "tests/test_leaks.py"]]),
    ],
    "machine-compiled": [
        (["xenmm/_machine.pyx", "xenmm/machine/*.pxd", "xenmm/machine/*.pxi"], ["_machine"],
         [["tests/machine/test_against_slow_model.py"], _MACHINE]),
        (["xenmm/_embed.pyx"], ["_embed"], [["tests/embed", "tests/test_core_scalars.py"]]),
        (["xenmm/_facts.pyx"], ["_facts"], [["tests/test_facts.py", "tests/boot"]]),
    ],
}  # fmt: skip
#: As setup.py has them.
DIRECTIVES = "binding=False,boundscheck=False,wraparound=False,initializedcheck=False,cdivision=True"
CC, SUFFIX = os.environ.get("CC", "cc"), sysconfig.get_config_var("EXT_SUFFIX")
#: Seconds of processor time for each process of the first stage and of the others; of the clock for any.
CPU_LIMITS, TIMEOUT = (40, 120), 3600

_WORDS = r"|0[xX][0-9a-fA-F]+[uUlL]*\b|(?<![\w.])[0-9]+[uUlL]*\b|[A-Za-z_]\w*"
_SIGNS = r"|<<=|>>=|->|\+\+|--|&&|\|\||[<>=!+\-*/&|^]=|<<|>>|[+\-*/%&|^<>]"
_TEXT = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
#: A token, or something that is passed over as one: a text, a comment, and what `except` tells of a function.
_CYTHON = re.compile(rf'"""(?:.|\n)*?"""|{_TEXT}|#[^\n]*|\bexcept[?+ ]+[^:\n]*|//{_WORDS}{_SIGNS}')
#: The same of C: of a macro its name and parameters, of other lines of the preprocessor all.
_C = re.compile(
    rf"{_TEXT}|//[^\n]*|/\*(?:.|\n)*?\*/|^[ \t]*#\s*define\s+\w+(?:\([^)]*\))?|^[ \t]*#[^\n]*"
    rf"{_WORDS}{_SIGNS}",
    re.MULTILINE,
)
#: How lines of Cython begin that say nothing at run time.
_DECLARES = ("cimport ", "from ", "import ", "cdef extern", "ctypedef")


def places(text, cython):
    """Each place that can be changed: (offset, old text, new text)."""
    for match in (_CYTHON if cython else _C).finditer(text):
        start, end = match.span()
        line = text[text.rfind("\n", 0, start) + 1 : end].lstrip()
        # A pointer's star, a template's bracket: no operator stands without blanks around it.
        points = match[0] in "*&<>/" and not (text[start - 1].isspace() and text[end : end + 1].isspace())
        new = changed(match[0])
        if new is not None and not points and not (cython and line.startswith(_DECLARES)):
            yield start, match[0], new


def changed(old):
    number = old.rstrip("uUlL")
    if re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", number):
        return str(int(number, 0) + 1) + old[len(number) :]
    return OPERATORS.get(old)


def mutants(group):
    """Every mutant of a group: what a record says of it, and what it takes to try it."""
    for patterns, objects, stages in GROUPS[group]:
        for path in (path for pattern in patterns for path in sorted(ROOT.glob(pattern))):
            text, seen = path.read_text(), {}
            lines = text.splitlines()
            for offset, old, new in places(text, path.suffix in (".pyx", ".pxd", ".pxi")):
                line = text.count("\n", 0, offset)
                nth = seen[line, old] = seen.get((line, old), 0) + 1
                row = {"place": f"{path.relative_to(ROOT)}:{line + 1}",
                       "change": f"{old} -> {new}" + (f" (number {nth} of the line)" if nth > 1 else ""),
                       "text": lines[line].rstrip("\\").strip()}  # fmt: skip
                edited = text[:offset] + new + text[offset + len(old) :]
                yield row, path.relative_to(ROOT), (text, edited), objects, stages


class Copy:
    """A copy of the tree and of what is built, in which one mutant after another is made and undone."""

    def __init__(self, root, objects):
        self.root = root
        root.mkdir()
        copy_tree(root)
        for path in ROOT.glob(f"xenmm/*{SUFFIX}"):
            shutil.copy2(path, self.root / "xenmm")
        if not self.build(objects):
            raise SystemExit("xenmm does not compile without any change")
        self.clean = {path: path.read_bytes() for path in self.root.glob("xenmm/*.*o")}

    def run(self, command, **more):
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False,
                              start_new_session=True, **more)  # fmt: skip

    def compiles(self, name):
        """Whether an object's source compiles."""
        import numpy

        source = f"xenmm/{name}.c"
        cython = [sys.executable, "-m", "cython", "-3", "-X", DIRECTIVES, f"xenmm/{name}.pyx", "-o", source]
        folders = ["xenmm", "xenmm/include", numpy.get_include(), sysconfig.get_paths()["include"]]
        flags = ["-O0", "-w", "-fPIC", "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION"]
        compiler = [CC, *flags, *(f"-I{folder}" for folder in folders), "-c", source, "-o", f"xenmm/{name}.o"]
        commands = [compiler] if name == "_kernels" else [cython, compiler]
        return all(self.run(command).returncode == 0 for command in commands)

    def build(self, objects):
        """Compile objects, and link the modules that have one; whether that went well."""
        if not all(self.compiles(name) for name in objects):
            return False
        for module in {"_core" if name == "_kernels" else name for name in objects}:
            parts = [f"xenmm/{part}.o" for part in {"_core": ["_core", "_kernels"]}.get(module, [module])]
            self.run([CC, "-shared", *parts, "-o", f"xenmm/{module}{SUFFIX}"]).check_returncode()
        return True

    def noticed(self, tests, seconds):
        """The first test that fails, or how they ended, and what to run to see it; None where all pass."""
        env = {**os.environ, "PYTHONPATH": str(self.root)}
        limited = ["sh", "-c", f'ulimit -t {seconds} && exec "$0" "$@"', sys.executable, "-m", "pytest"]
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--tb=no"]
        try:
            done = self.run([*limited, *options, *tests], env=env, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return "no end", tests
        if done.returncode == 0:
            return None
        failed = re.search(r"^(?:FAILED|ERROR) ([^\s\[]+)", done.stdout, re.MULTILINE)
        return (failed[1], [failed[1]]) if failed else (f"status {done.returncode}", tests)

    def fate(self, path, texts, objects, stages):
        """What becomes of one mutant, and what noticed it."""
        (self.root / path).write_text(texts[1])
        try:
            if not self.build(objects):
                return "does not compile", None
            for stage, tests in enumerate(stages):
                if killer := self.noticed(tests, CPU_LIMITS[stage > 0]):
                    return "killed", killer
            return "survives", None
        finally:
            (self.root / path).write_text(texts[0])
            for built, content in self.clean.items():
                built.write_bytes(content)


def objects_of(group):
    return {name for _, objects, _ in GROUPS[group] for name in objects}


def tried(group, chosen, count, jobs):
    """Try mutants of a group in their order until ``count`` have compiled; what a record says of each."""
    copies, killers, rows = queue.SimpleQueue(), {}, []
    with ThreadPoolExecutor(jobs) as pool, tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, str(job)) for job in range(jobs)]
        for copy in pool.map(Copy, folders, itertools.repeat(objects_of(group))):
            copies.put(copy)

        def judge(row, *mutant):
            copy = copies.get()
            row["fate"], killer = copy.fate(*mutant)
            copies.put(copy)
            if killer:
                killers[killer[0]] = killer[1]
            shown = f"{row['fate']:16} {row['place']}: {row['change']}: {row['text']}"
            print(f"{shown} ({killer[0]})" if killer else shown, flush=True)
            return row

        chosen = iter(chosen)
        while missing := count - sum(row["fate"] != "does not compile" for row in rows):
            more = list(itertools.islice(chosen, missing))
            rows += pool.map(judge, *zip(*more, strict=True))
            if len(more) < missing:
                break
        tests = sorted({test for tests in killers.values() for test in tests})
        if tests and (failed := copies.get().noticed(tests, CPU_LIMITS[1])):
            raise SystemExit(f"{failed[0]} fails without any change: it noticed nothing")
    return rows


def again(earlier, every):
    """Of all mutants an earlier result's survivors that still stand in the source; those that no test can
    notice, which need no trial, and the others. Of lines that say the same, the nearest is taken."""
    left, standing = {}, []
    for mutant in every:
        left.setdefault(key(mutant[0]), []).append(mutant)
    for survivor in earlier["survivors"]:
        same = left.get(key(survivor))
        if same:
            nearest = min(same, key=lambda mutant: abs(line_of(mutant[0]) - line_of(survivor)))
            same.remove(nearest)
            standing.append(nearest)
    equal = [{**row, "fate": "survives"} for row, *_ in standing if reason(row)]
    return equal, [mutant for mutant in standing if not reason(mutant[0])]


def line_of(row):
    return int(row["place"].rpartition(":")[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=1, help="so many mutants at a time")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--survivors", action="store_true", help="only the survivors of the record")
    arguments = parser.parse_args()
    group, seed, tree = arguments.group, arguments.seed, commit()
    every = list(mutants(group))
    chosen, before, rows = random.Random(seed).sample(every, len(every)), {"killed": 0}, []
    if arguments.survivors:
        before = next(g for g in record("mutation")["groups"] if g["group"] == group)
        seed, (rows, chosen) = before["seed"], again(before, every)
    rows += tried(group, chosen, min(arguments.count, len(chosen)), arguments.jobs)
    survivors = [row for row in rows if row["fate"] == "survives"]
    killed = before["killed"] + sum(row["fate"] == "killed" for row in rows)
    print(f"{group}: {killed} of {killed + len(survivors)} killed; {len(every)} places in all")
    if arguments.record:
        facts = {"group": group, "date": datetime.date.today().isoformat(), "commit": tree, "seed": seed,
                 "places": len(every), "killed_at_first": before.get("killed_at_first", killed),
                 "killed": killed, "survives": len(survivors), "survivors": survivors}  # fmt: skip
        add_to_record(arguments.record, facts)
    sys.exit(any(reason(row) is None for row in survivors))


def add_to_record(path, facts):
    """Put a group's result in the place of its earlier one."""
    groups = json.loads(path.read_text())["groups"] if path.exists() else []
    others = [g for g in groups if g["group"] != facts["group"]]
    write_record(path, "xenmm-mutation/1", {"groups": sorted([*others, facts], key=lambda g: g["group"])})


if __name__ == "__main__":
    main()
