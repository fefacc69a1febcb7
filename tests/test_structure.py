"""The house: imports run one way down the floors, and the first import is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from house import FLOORS, PURPOSES

import xenmm

PACKAGE = Path(xenmm.__file__).parent

FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}


def modules():
    return sorted(p for suffix in ("*.py", "*.pyx", "*.pxd") for p in PACKAGE.rglob(suffix))


def unit(path):
    """The floor's name of a file: its top folder, or its own name at the top."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imported_units(path):
    """Top-level names inside xenmm that a module imports, wherever in its text the import stands."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (n.name.split(".")[1] for n in node.names if n.name.startswith("xenmm."))
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            if node.level == 0:
                if module[0] == "xenmm":
                    yield from module[1:2] or (n.name for n in node.names)
            elif node.level == depth:
                yield from module[:1] if node.module else (n.name for n in node.names)


def is_type_checking_only(path):
    return path.name == "__init__.py" and path.parent == PACKAGE


def test_every_module_stands_on_a_floor():
    assert sorted({unit(p) for p in modules()} - set(FLOOR)) == []
    assert set(PURPOSES) == {names[0] for names in FLOORS}


@pytest.mark.parametrize(
    "path", [p for p in modules() if p.suffix == ".py"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_run_down_the_floors(path):
    here = unit(path)
    upward = [
        name
        for name in imported_units(path)
        if name in FLOOR
        and name != here
        and (FLOOR[name] > FLOOR[here] or (FLOOR[name] == FLOOR[here] and name not in FLOORS[0] + FLOORS[-1]))
    ]
    assert upward == [], f"{path.name} of {here} imports from its own height or above"


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_brings_in_nothing_heavy():
    loaded = run("import sys, xenmm; print(' '.join(sorted(sys.modules)))").split()
    assert {"numpy", "argparse", "json", "xenmm.boot", "xenmm.firmware"} & set(loaded) == set()


def test_version_brings_in_nothing_of_what_commands_need():
    code = "import sys; from xenmm.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    loaded = run(code + "print(*sys.modules)").splitlines()[-1].split()
    heavy = {"numpy", "json", "dataclasses", "subprocess", "xenmm.boot", "xenmm.firmware", "xenmm.maps"}
    assert heavy & set(loaded) == set()


def test_report_needs_no_numpy():
    # Half of a report's time would be the import.
    code = (
        "import sys; from xenmm.cli import main; main(['report', 'dell-r930']); print('numpy' in sys.modules)"
    )
    assert run(code).splitlines()[-1] == "False"


def test_boot_is_a_function_and_a_package_in_either_order():
    assert run("import xenmm; import xenmm.boot.frozen as f; print(callable(xenmm.boot), f.__name__)") == (
        "True xenmm.boot.frozen"
    )
    assert run("import xenmm; a = xenmm.boot; import xenmm.boot.frozen; print(a is xenmm.boot)") == "True"


def test_every_public_name_resolves():
    for name in xenmm.__all__:
        assert getattr(xenmm, name) is not None
    assert set(xenmm.__all__) <= set(dir(xenmm))
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(xenmm, "no_such_name")  # noqa: B009


def test_package_reads_no_environment_variables():
    for path in [*modules(), *PACKAGE.rglob("*.pxi")]:
        text = path.read_text()
        assert "environ" not in text and "getenv" not in text, path
