"""Change one operator or constant at a time, and see whether a test notices: ``make mutate``.

    python tests/support/mutate.py GROUP COUNT [--seed N] [--record FILE]

The places are a seeded sample of a group's files. Each change is made in a copy of the tree and undone; a
compiled module is built again, alone and with little optimisation. A mutant that no test of the group's kills
is a survivor: it stands in the record with its place, until a test kills it.
"""

import argparse
import datetime
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
from pathlib import Path

from records import ROOT, commit, write_record

#: What stands for what. Each has the same place in the grammar, so that nearly every mutant still compiles.
OPERATORS = {
    "+": "-", "-": "+", "*": "+", "//": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "<": "<=", "<=": "<",
    ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=",
    "and": "or", "or": "and", "True": "False", "False": "True", "&&": "||", "||": "&&",
    "<<=": ">>=", ">>=": "<<=",
}  # fmt: skip
#: Files that are mutated, and the tests that should notice.
GROUPS = {
    "boot": (["xenmm/boot/*.py"], ["tests/boot"]),
    "firmware": (["xenmm/firmware/*.py"], ["tests/firmware"]),
    "machine": (["xenmm/machine/*.py"], ["tests/machine"]),
    "timing": (["xenmm/timing/*.py"], ["tests/timing"]),
    "conversions": (
        ["xenmm/__init__.pxd", "xenmm/_core.pyx", "xenmm/include/xenmm.h", "xenmm/_kernels_loops.h"],
        ["tests/test_core_scalars.py", "tests/test_core_arrays.py", "tests/test_core_texts.py",
         "tests/test_core_frozen.py", "tests/embed/test_c_header.py"],
    ),
    "engine": (
        ["xenmm/_timing.pyx", "xenmm/_timing_engine.h", "xenmm/_timing_kernels.h"],
        ["tests/timing"],
    ),
    "machine-compiled": (
        ["xenmm/_machine.pyx", "xenmm/machine/*.pxd", "xenmm/machine/*.pxi"],
        ["tests/machine"],
    ),
}  # fmt: skip
#: No test of a mutant may take longer than this, in seconds: a loop that no longer ends is noticed.
TIMEOUT = 900
_C_TOKENS = re.compile(
    r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|//[^\n]*|/\*.*?\*/|#[^\n]*|0[xX][0-9a-fA-F]+|\b\d+\b|[A-Za-z_]\w*'
    r"|<<=|>>=|->|\+\+|--|&&|\|\||[<>=!+\-*/&|]=|<<|>>|[+\-*&|<>]",
    re.DOTALL,
)


#: How lines begin that say nothing at run time, or nothing of a file's own.
_DECLARES = ("cimport ", "from ", "import ", "cdef extern", "ctypedef", "#", "*", "//", "/*")


def places(path):
    """Each place of a file that can be changed: (offset, old text, new text)."""
    text = path.read_text()
    found = python_places(path, text) if path.suffix == ".py" else c_places(text)
    for offset, old in found:
        new = changed(old)
        if new is not None:
            yield offset, old, new


def changed(old):
    if old in OPERATORS:
        return OPERATORS[old]
    if re.fullmatch(r"0[xX][0-9a-fA-F_]+|[0-9][0-9_]*", old):
        return str(int(old, 0) + 1)
    return None


def python_places(path, text):
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in (tokenize.OP, tokenize.NUMBER, tokenize.NAME):
                line = token.line.strip()
                # Types and imports say nothing at run time.
                if line.startswith(("from ", "import ", "def ", "@")) or " | None" in line or "->" in line:
                    continue
                yield starts[token.start[0] - 1] + token.start[1], token.string


def c_places(text):
    """Of Cython and C: what is no text, comment, declaration of a file's own or preprocessor line."""
    docstrings = [m.span() for m in re.finditer(r'"""(?:.|\n)*?"""', text)]
    for match in _C_TOKENS.finditer(text):
        start, end = match.span()
        line = text[text.rfind("\n", 0, start) + 1 : text.find("\n", end)].strip()
        inside = any(a <= start < b for a, b in docstrings)
        # A pointer's star, a template's bracket: no operator stands without blanks around it.
        points = match[0] in "*&<>" and not (text[start - 1].isspace() and text[end : end + 1].isspace())
        if not inside and not line.startswith(_DECLARES) and not points:
            yield start, match[0]


def sample(group, count, seed):
    every = [
        (path.relative_to(ROOT), *place)
        for pattern in GROUPS[group][0]
        for path in sorted(ROOT.glob(pattern))
        for place in places(path)
    ]
    return random.Random(seed).sample(every, min(count, len(every))), len(every)


def copied():
    copy = Path(tempfile.mkdtemp())
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True
    ).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def build(copy):
    """Build what changed, quickly; False where it does not compile."""
    env = {**os.environ, "XENMM_DEBUG": "", "CFLAGS": "-O1 -w"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "-j2"]
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, check=False).returncode == 0


def tested(copy, tests):
    """Whether the tests pass in the copy."""
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def mutate(group, count, seed):
    """Try the sample; yield each mutant with what became of it."""
    tests = GROUPS[group][1]
    chosen, _ = sample(group, count, seed)
    copy = copied()
    try:
        if not build(copy) or not tested(copy, tests):
            raise SystemExit(f"{group}: the tests fail without any change")
        for path, offset, old, new in chosen:
            file = copy / path
            text = file.read_text()
            assert text[offset : offset + len(old)] == old
            line = text.count("\n", 0, offset) + 1
            file.write_text(text[:offset] + new + text[offset + len(old) :])
            compiled = path.suffix == ".py" or build(copy)
            fate = "does not compile" if not compiled else "survives" if tested(copy, tests) else "killed"
            file.write_text(text)
            if path.suffix != ".py":
                # The next build must see that it changed back.
                os.utime(file, (time.time() + 1, time.time() + 1))
            shown = text.splitlines()[line - 1].strip()
            yield {"place": f"{path}:{line}", "change": f"{old} -> {new}", "text": shown, "fate": fate}
    finally:
        shutil.rmtree(copy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    rows = []
    _, every = sample(arguments.group, 0, arguments.seed)
    for row in mutate(arguments.group, arguments.count, arguments.seed):
        rows.append(row)
        print(f"{row['fate']:16} {row['place']}: {row['change']}: {row['text']}", flush=True)
    fates = [row["fate"] for row in rows]
    counted = {fate: fates.count(fate) for fate in ("killed", "survives", "does not compile")}
    tried = counted["killed"] + counted["survives"]
    print(f"{arguments.group}: {counted['killed']} of {tried} killed; {every} places in all")
    if arguments.record:
        facts = {"group": arguments.group, "date": datetime.date.today().isoformat(), "commit": commit(),
                 "seed": arguments.seed, "places": every, **counted,
                 "survivors": [row for row in rows if row["fate"] == "survives"]}  # fmt: skip
        add_to_record(arguments.record, facts)


def add_to_record(path, facts):
    """Put a group's result in the place of its earlier one."""
    groups = json.loads(path.read_text())["groups"] if path.exists() else []
    others = [g for g in groups if g["group"] != facts["group"]]
    write_record(path, "xenmm-mutation/1", {"groups": sorted([*others, facts], key=lambda g: g["group"])})


if __name__ == "__main__":
    main()
