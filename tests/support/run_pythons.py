"""The wheel of every Python that is found here, each with the tests: ``make pythons``.

python tests/support/run_pythons.py [--record FILE] [--only VERSION] [--again] [PYTEST_ARGUMENT ...]

Each gets an environment and a copy of the tree of its own, in which the package is the installed wheel and
nothing else. A Python that is supported and not found here is named as untested. Tests of a recorded run that
failed, and were mended, are run ``--again``: that is recorded beside the run, not in place of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from pythons import found, untested
from records import commit, write_record
from tree import copy_tree

_OUTCOMES = ("passed", "skipped", "failed")


def install_wheel(python: Path, folder: Path) -> Path:
    """Build the wheel, install it with what the tests need, take the source away; return the interpreter."""
    subprocess.run([python, "-m", "venv", folder / ".venv"], check=True)
    own = folder / ".venv" / "bin" / "python"
    pip = [own, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for words in (
        ["install", "--upgrade", "pip>=25.1"],
        ["install", "--group", "test"],
        ["wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."],
    ):
        subprocess.run([*pip, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run([*pip, "install", wheel], check=True)
    shutil.rmtree(folder / "build", ignore_errors=True)
    (folder / "xenmm").rename(folder / "xenmm-source")
    return own


def run_tests(python: Path, folder: Path, arguments: list[str]) -> dict[str, int]:
    """Run the tests, and count what became of them; the end of their output is shown where one failed."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "tests.xml", *arguments]
    with (folder / "log").open("w") as log:
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(*(folder / "log").read_text(errors="replace").splitlines()[-200:], sep="\n")
    if done.returncode not in (0, 1):
        sys.exit(f"run_pythons: pytest ended with {done.returncode}")
    return counted(folder / "tests.xml")


def counted(report: Path) -> dict[str, int]:
    """Count the tests of a report in JUnit's XML by what became of them."""
    counts = dict.fromkeys(_OUTCOMES, 0)
    for case in ElementTree.parse(report).iter("testcase"):
        inside = {child.tag for child in case}
        failed = bool(inside & {"failure", "error"})
        counts["failed" if failed else "skipped" if "skipped" in inside else "passed"] += 1
    return counts


def tested(python: Path, arguments: list[str]) -> dict[str, str | int]:
    """What became of the tests on one Python, with its version."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copy_tree(folder)
        counts = run_tests(install_wheel(python, folder), folder, arguments)
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    print(f"Python {version}: " + ", ".join(f"{counts[name]} {name}" for name in _OUTCOMES), flush=True)
    return {"python": version, **counts}


def add_to_record(path: Path, rows: dict[str, dict[str, str | int]], again: bool = False) -> None:
    """Write the rows into the record, in place of older ones of the same versions, or beside them."""
    old = json.loads(path.read_text())["pythons"] if path.exists() else {}
    if again:
        rows = {version: {**old[version], "again": row} for version, row in rows.items()}
    kept = {version: row for version, row in old.items() if version not in untested()}
    pythons = dict(sorted({**kept, **rows}.items()))
    write_record(path, "xenmm-pythons/1", {"pythons": pythons, "untested": untested()})


def main() -> None:
    """Run the tests on each Python; exit 1 if a test failed."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--only", choices=found())
    parser.add_argument("--again", action="store_true")
    args, for_pytest = parser.parse_known_args()
    stamp = {"date": datetime.date.today().isoformat(), "commit": commit()}
    rows = {}
    for version, python in found().items():
        if args.only in (None, version):
            rows[version] = {**tested(python, for_pytest or ["tests"]), **stamp}
    for version in untested():
        print(f"Python {version}: untested, since there is none here")
    if args.record:
        add_to_record(args.record, rows, args.again)
    sys.exit(any(row["failed"] for row in rows.values()))


if __name__ == "__main__":
    main()
