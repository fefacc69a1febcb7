"""Mutants of what mutmut leaves alone: tables and fields outside functions, and properties.

    python tests/support/mutate_outside.py GROUP COUNT [--seed N] [--record FILE] [--survivors]

One operator or constant is changed at a time, in a copy of the tree, and the tests run in a new process: most
of these lines run when the package is imported. A seed picks COUNT places.
"""

import argparse
import ast
import contextlib
import os
import subprocess
import sys
import tokenize
from pathlib import Path

from mutate import OPERATORS, again
from mutate_python import GROUPS, PYTEST, copied, picked, put_result
from records import commit, record

#: How lines begin that say nothing at run time.
DECLARES = ("from ", "import ", "def ", "@", "#:")


def changed(token):
    """What stands in a token's place: another operator, the next number; None for what is left alone."""
    if token.type == tokenize.NUMBER:
        value = ast.literal_eval(token.string)
        return str(value + 1) if isinstance(value, int) else None
    return OPERATORS.get(token.string) if token.type in (tokenize.OP, tokenize.NAME) else None


def functions(module):
    """The functions that mutmut mutates: without a decorator, or with one that it knows."""
    for statement in module.body:
        for node in [statement, *(statement.body if isinstance(statement, ast.ClassDef) else ())]:
            known = ([], ["staticmethod"], ["classmethod"])
            if isinstance(node, ast.FunctionDef) and [ast.unparse(d) for d in node.decorator_list] in known:
                yield node


def mutants_of(file):
    """Each mutant of a file, as a record has it, with the file's new text."""
    text = file.read_text()
    lines = text.split("\n")
    inside = {n for f in functions(ast.parse(text)) for n in range(f.lineno, f.end_lineno + 1)}
    # A type is read by people and checkers; nothing happens when it runs.
    types = [(n.annotation.lineno, n.annotation.col_offset, n.annotation.end_col_offset)
             for n in ast.walk(ast.parse(text)) if isinstance(n, ast.AnnAssign)]  # fmt: skip
    with file.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            number, column = token.start
            new = changed(token) if number not in inside else None
            line = lines[number - 1] if new else ""
            typed = any(n == number and start <= column < end for n, start, end in types)
            if new is None or typed or line.strip().startswith(DECLARES):
                continue
            edited = line[:column] + new + line[token.end[1] :]
            row = {"place": f"{file}:{number}", "text": line.strip(), "change": edited.strip()}
            yield row, "\n".join([*lines[: number - 1], edited, *lines[number:]])


def survives(file, text, group):
    """Whether the group's tests pass with another text in a file's place."""
    tests, left_out = GROUPS[group]
    clean = file.read_text()
    file.write_text(text)
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", *PYTEST, *(f"--deselect={t}" for t in left_out)]
    try:
        return subprocess.run([*command, *tests], env=env, capture_output=True, check=False).returncode == 0
    finally:
        file.write_text(clean)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("group", choices=[f"{name}-outside" for name in GROUPS])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--survivors", action="store_true", help="only the survivors of the record")
    arguments = parser.parse_args()
    group, tree, seed, rows = arguments.group.removesuffix("-outside"), commit(), arguments.seed, []
    with copied():
        files = sorted(Path("xenmm", group).glob("*.py"))
        every = {f"{n} {row['place']} {row['change']}": (row, file, text)
                 for file in files for n, (row, text) in enumerate(mutants_of(file))}  # fmt: skip
        chosen = [every[name] for name in picked(every, arguments.count, seed)]
        if arguments.survivors:
            before = next(g for g in record("mutation")["groups"] if g["group"] == arguments.group)
            seed, (rows, chosen) = before["seed"], again(before, every.values())
            rows += [{"fate": "killed"}] * before["killed"]
        if chosen and not survives(files[0], files[0].read_text(), group):
            sys.exit(f"{group}: the tests fail without any change")
        # What is done when somebody stops it is a sample, too.
        with contextlib.suppress(KeyboardInterrupt):
            for row, file, text in chosen:
                rows.append(row | {"fate": "survives" if survives(file, text, group) else "killed"})
                print(f"{rows[-1]['fate']:9} {row['place']}: {row['text']} -> {row['change']}", flush=True)
    put_result(arguments.group, seed, rows, len(every), arguments.record, tree)


if __name__ == "__main__":
    main()
