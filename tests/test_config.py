"""The doctor: what it finds well here, and that it notices and names what is broken."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import xenmm
from xenmm import config
from xenmm.config import checks, configuration, render, show_config
from xenmm.errors import ConfigError


def test_everything_needed_is_well_here():
    assert [c for c in checks() if c.needed and not c.ok] == []


def test_every_extension_with_a_stub_is_looked_at():
    stubs = {p.stem for p in Path(xenmm.__file__).parent.glob("_[a-z]*.pyi")}
    assert stubs and stubs <= {c.name for c in checks()}


def test_include_folder_holds_the_header():
    assert (Path(xenmm.get_include()) / "xenmm.h").is_file()


def test_show_config_prints_or_returns(capsys):
    assert show_config() is None
    printed = capsys.readouterr().out
    facts = show_config("dicts")
    assert facts["xenmm"] == xenmm.__version__
    assert all(name in printed for name in facts["checks"])
    with pytest.raises(ConfigError, match="sideways"):
        show_config("sideways")


def test_extras_are_looked_at_without_importing_them():
    code = "import sys, xenmm.config as c; c.checks(); print([m for m in c.EXTRAS if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("broken", ["numpy", "xenmm._core"])
def test_what_is_broken_is_named_and_fails(broken):
    # None in sys.modules makes the import fail as a missing module does.
    code = (
        f"import sys; sys.modules[{broken!r}] = None; import xenmm.cli; sys.exit(xenmm.cli.main(['doctor']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    lines = [line for line in run.stdout.splitlines() if line.startswith("BROKEN")]
    assert any(broken.rpartition(".")[2] in line for line in lines)
    assert "Traceback" not in run.stderr


def test_broken_build_is_one_line_for_every_command():
    call = "import xenmm.cli; sys.exit(xenmm.cli.main(['report', 'dell-r930']))"
    code = f"import sys; sys.modules['xenmm._core'] = None; {call}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode not in (0, 1)
    assert run.stderr.count("\n") == 1 and "_core" in run.stderr and "doctor" in run.stderr


def test_marks_line_up():
    lines = render(checks()).splitlines()
    assert {line[:8].strip() for line in lines} <= {"ok", "absent", "BROKEN"}
    assert configuration()["checks"].keys() == {c.name for c in checks()}


def test_extras_are_those_of_the_package():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["optional-dependencies"]
    assert {extra for extra, _ in config.EXTRAS.values()} == set(declared)
    for name, (extra, _) in config.EXTRAS.items():
        assert [re.match(r"[\w-]+", need)[0] for need in declared[extra]] == [name]
