"""Mutants of the functions of a floor, made and run by mutmut: ``make mutate GROUP=boot COUNT=300``.

    python tests/support/mutate_python.py GROUP COUNT [--seed N] [--children N] [--record FILE] [--survivors]

`mutmut <https://mutmut.readthedocs.io>`_ writes every mutant of a function beside it, learns which tests
reach the function, and runs those in a fork in which the mutant is switched on. A whole group is thousands
of mutants, so a seed picks COUNT of them. It works on a copy of the tree, with the modules as built.

mutmut leaves alone what stands outside functions, and functions with a decorator: ``mutate_outside.py``.
"""

import argparse
import ast
import contextlib
import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import libcst
from mutants import key, plain, reason
from mutate import add_to_record
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import create_mutations, group_by_top_level_node
from mutmut.mutation.trampoline_templates import mangle_function_name
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import (
    get_mutant_name,
    mangled_name_from_mutant_name,
    orig_function_and_class_names_from_key,
)
from records import ROOT, commit, record

#: Tests that should notice a change of a group, and those of them left out: they take long, and look at sheer
#: size, at other programs, at threads or at the tests' own data. What they alone notice counts as a survivor.
GROUPS = {
    "boot": (
        ["tests/boot", "tests/machine/test_own_parameters.py"],
        [
            "tests/boot/test_corner_maps.py::test_every_corner_is_reached",
            "tests/boot/test_host.py::test_cost_follows_the_ranges_and_not_the_span",
        ],
    ),
    "firmware": (
        ["tests/firmware"],
        [
            "tests/firmware/test_read_map.py::test_100000_rows_are_read",
            "tests/firmware/test_damage.py::test_very_many_ranges_are_read",
        ],
    ),
    "machine": (
        ["tests/machine"],
        [
            # mutmut gives classes methods of its own.
            "tests/machine/test_any_value.py::test_every_public_method_is_here",
            "tests/machine/test_against_slow_model.py::TestStateful",
            "tests/machine/test_steps.py",
            "tests/machine/test_embedding.py",
            "tests/machine/test_threads.py",
            "tests/machine/test_benchmark.py::test_long_run_agrees_with_the_slow_model_and_brings_every_page_home",
            "tests/machine/test_checkpoint.py::test_bytes_are_the_same_in_any_process",
        ],
    ),
    "timing": (
        ["tests/timing"],
        [
            "tests/timing/test_embedding.py",
            "tests/timing/test_golden.py",
            "tests/timing/test_peers.py",
            "tests/timing/test_conclusions.py::test_the_record_is_what_its_command_makes",
            "tests/timing/test_replay.py::test_the_mixture_is_the_reference_trace",
            "tests/timing/test_result.py::test_two_threads_cannot_use_one_engine",
            "tests/timing/test_traces.py::test_lackeys_own_output",
        ],
    ),
}
#: What mutmut reads, in the copy; the tests read files of the whole tree. Its times are by the wall clock, so
#: a mutant that hangs is given up late rather than one that a busy machine slows.
CONFIGURATION = """\
[mutmut]
source_paths=xenmm
timeout_multiplier=5
timeout_constant=10
only_mutate={files}
also_copy={also}
pytest_add_cli_args_test_selection={tests}
pytest_add_cli_args={arguments}
"""
#: Prints the functions that run while the package is imported: a fork switches their mutants on too late.
RUN_ON_IMPORT = """\
import importlib, pkgutil, xenmm.{group}
from mutmut.state import state
for found in pkgutil.walk_packages(xenmm.{group}.__path__, "xenmm.{group}."):
    importlib.import_module(found.name)
print("\\n".join(state()._stats))
"""
#: A test that draws at random draws the same for every mutant.
PYTEST = ("-p", "no:cacheprovider", "--hypothesis-seed=0")
#: mutmut's words for a mutant that some test noticed, and for one that none did.
NOTICED = ("killed", "timeout", "segfault", "suspicious")
UNNOTICED = ("survived", "no tests")


def functions(module):
    """Each function of a parsed module with the name of its class, as deep as mutmut looks."""
    for statement in module.body:
        if isinstance(statement, libcst.FunctionDef):
            yield statement, None
        elif isinstance(statement, libcst.ClassDef) and isinstance(statement.body, libcst.IndentedBlock):
            for inner in statement.body.body:
                if isinstance(inner, libcst.FunctionDef):
                    yield inner, statement.name.value


def mutants_of(file):
    """The names of a file's mutants, as mutmut will give them."""
    module, mutations, *_ = create_mutations(str(file), file.read_text())
    inside = group_by_top_level_node(mutations)
    for function, of_class in functions(module):
        name = mangle_function_name(name=function.name.value, class_name=of_class) + "__mutmut"
        for number, _ in enumerate(inside.get(function, ()), 1):
            yield get_mutant_name(file, f"{name}_{number}")


def configure(files, tests, left_out):
    """Write mutmut's configuration into the copy, in which we stand."""
    mutated = {"xenmm", "tests", "mutants", "setup.cfg"}
    also = sorted(p.name for p in Path().iterdir() if p.name not in mutated)
    arguments = [*PYTEST, *(f"--deselect={test}" for test in left_out)]
    lists = {"files": files, "also": also, "tests": tests, "arguments": arguments}
    shown = {name: "".join(f"\n    {value}" for value in values) for name, values in lists.items()}
    Path("setup.cfg").write_text(CONFIGURATION.format(**shown))


def run_mutmut(names, children):
    """Run the mutants; what mutmut says is shown where it fails."""
    program = Path(sys.executable).with_name("mutmut")
    command = [program, "run", "--max-children", str(children), *names]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-5000:] + done.stderr)


def on_import(group):
    """The functions of a group that run while it is imported, by mutmut's names."""
    env = {**os.environ, "MUTANT_UNDER_TEST": "stats"}
    command = [sys.executable, "-c", RUN_ON_IMPORT.format(group=group)]
    done = subprocess.run(command, cwd="mutants", env=env, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def survives_from_the_start(name, tests):
    """Whether the tests pass in a new process in which the mutant is on before anything is imported."""
    env = {**os.environ, "MUTANT_UNDER_TEST": name, "PYTHONPATH": str(Path("mutants").resolve())}
    command = [sys.executable, "-m", "pytest", "-x", "-q", *PYTEST, *tests]
    return subprocess.run(command, cwd="mutants", env=env, capture_output=True, check=False).returncode == 0


def row_of(name, file, fate):
    """A mutant as records have it: the lines that change, before and after, and their function."""
    diff = get_diff_for_mutant(name, path=file).split("\n")[2:]
    before, after = ([line[1:] for line in diff if line[:1] == sign] for sign in "-+")
    function, of_class = orig_function_and_class_names_from_key(name)
    function = f"{of_class}.{function}" if of_class else function
    text, change = plain(" ".join(before)), plain(" ".join(after)) or "nothing"
    place = f"{file}:{line_of(file, function, before[0])}"
    return {
        "place": place,
        "function": function,
        "text": text,
        "change": change,
        "fate": fate,
        "mutant": name,
    }


def line_of(file, function, text):
    """Where a line stands in a function's file, counted from 1."""
    source = Path(file).read_text()
    node = ast.parse(source)
    for name in function.split("."):
        node = next(n for n in node.body if getattr(n, "name", None) == name)
    lines = source.split("\n")
    return next(i for i in range(node.lineno, len(lines) + 1) if lines[i - 1].strip() == text.strip())


def tried(group, files, children):
    """Make and run mutants, whose files are given by name; yield the row of each."""
    tests, left_out = GROUPS[group]
    configure(sorted(set(files.values())), tests, left_out)
    run_mutmut(files, children)
    early = on_import(group)
    for file in sorted(set(files.values())):
        data = SourceFileMutationData(path=file)
        data.load()
        for name in sorted(files.keys() & data.exit_code_by_key.keys()):
            word = status_by_exit_code[data.exit_code_by_key[name]]
            if word not in NOTICED + UNNOTICED:
                sys.exit(f"{name}: {word}")
            survives = word in UNNOTICED
            if survives and mangled_name_from_mutant_name(name) in early:
                survives = survives_from_the_start(name, tests)
            yield row_of(name, file, "survives" if survives else "killed")


def picked(names, count, seed):
    """A sample that mostly stays the same when some of the names change."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]


@contextlib.contextmanager
def copied():
    """Stand in a copy of the tree, as git knows it, with the modules that were built."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    built = [str(path.relative_to(ROOT)) for path in ROOT.glob("xenmm/*.so")]
    with tempfile.TemporaryDirectory() as copy, contextlib.chdir(copy):
        for name in [*listed.stdout.split("\0"), *built]:
            if (ROOT / name).is_file():
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, name)
        yield


def mutate(group, count, seed, children, only=None):
    """Try a sample of a group's mutants, or those named; the rows, and how many mutants there are in all."""
    with copied():
        files = sorted(Path("xenmm", group).glob("*.py"))
        configure(files, *GROUPS[group])
        every = {name: file for file in files for name in mutants_of(file)}
        chosen = picked(every, count, seed) if only is None else [name for name in only if name in every]
        return list(tried(group, {name: every[name] for name in chosen}, children)), len(every)


def again(earlier, group, seed, children):
    """Try the survivors of the record; the rows of the whole sample, those killed before without a word."""
    known = {row["mutant"]: key(row) for row in earlier["survivors"]}
    rows, every = mutate(group, 0, seed, children, known)
    if {row["mutant"]: key(row) for row in rows} != known or seed != earlier["seed"]:
        sys.exit("functions of the survivors have changed: run the whole sample")
    return [{"fate": "killed"}] * earlier["killed"] + rows, every


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--children", type=int, default=os.cpu_count())
    parser.add_argument("--record", type=Path)
    parser.add_argument("--survivors", action="store_true", help="only the survivors of the record")
    arguments = parser.parse_args()
    group, seed, children, tree = arguments.group, arguments.seed, arguments.children, commit()
    earlier = {}
    if arguments.survivors:
        earlier = next(g for g in record("mutation")["groups"] if g["group"] == group)
        rows, every = again(earlier, group, seed, children)
    else:
        rows, every = mutate(group, arguments.count, seed, children)
    put_result(group, seed, rows, every, arguments.record, tree, earlier.get("killed_at_first"))


def put_result(group, seed, rows, every, path, tree, at_first=None):
    """Say what became of a sample of a tree's mutants, and record it where a path is given.

    `at_first` is how many an earlier run of the same sample killed, before any test was made for the others.

    Ends the program with 1 where a survivor is not listed with a reason.
    """
    survivors = [row for row in rows if row["fate"] == "survives"]
    for row in survivors:
        why = reason(row) or "no reason is known"
        print(f"survives {row['place']}: {row['text']}\n      -> {row['change']}\n      {why}")
    killed = len(rows) - len(survivors)
    print(f"{group}: {killed} of {len(rows)} killed; {every} places in all")
    if path:
        facts = {"group": group, "date": datetime.date.today().isoformat(), "commit": tree,
                 "seed": seed, "places": every, "killed_at_first": killed if at_first is None else at_first,
                 "killed": killed, "survives": len(survivors), "survivors": survivors}  # fmt: skip
        add_to_record(path, facts)
    sys.exit(any(reason(row) is None for row in survivors))


if __name__ == "__main__":
    main()
