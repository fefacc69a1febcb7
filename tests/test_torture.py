"""The torture itself: an injected fault is found, made small and written as a test."""

import subprocess
import sys
import textwrap
from pathlib import Path

import oracle
import pytest
import slow_boot
import slow_cache
import slow_machine_pages
from shrink import shrink
from torture import Elsewhere, Here, Torture
from torture_cases import COMPARISONS

ROOT = Path(__file__).parents[1]


def quiet(*_, **__):
    pass


def wrong_valid(self, mfn):
    return mfn < self.max_page and self.compressible(mfn)


def wrong_assign(self, dom, pages):
    return 0


#: A rule of each slow model, and what a slip would make of it.
FAULTS = {
    "boot": (slow_boot, "up", lambda x, step: (x + step) // step * step),
    "conversions": (oracle.Oracle, "mfn_valid", wrong_valid),
    "timing": (slow_cache.SlowEngine, "next_line", quiet),
    "machine": (slow_machine_pages.Pages, "may_assign", wrong_assign),
}
ENOUGH = {"boot": 5, "conversions": 400, "timing": 100, "machine": 10}


@pytest.mark.parametrize("name", list(COMPARISONS))
def test_a_fault_is_found_made_small_and_written(name, tmp_path, monkeypatch):
    with monkeypatch.context() as fault:
        fault.setattr(*FAULTS[name])
        torture = Torture(3, [name], Here(), tmp_path)
        torture.run(cases=ENOUGH[name], most_failures=1, shrink_seconds=20, tell=quiet)
        assert len(torture.failures) == 1
        (path,) = tmp_path.glob("test_torture_*.py")
        found = {}
        exec(compile(path.read_text(), path, "exec"), found)
        (test,) = [f for n, f in found.items() if n.startswith("test_")]
        _, drawn = torture.case(torture.number - 1)
        assert len(repr(found["CASE"])) < len(repr(drawn))
        with pytest.raises(AssertionError):
            test()
    test()


def test_every_comparison_agrees_for_a_few_cases(tmp_path):
    torture = Torture(1, list(COMPARISONS), Here(), tmp_path)
    torture.run(cases=20, tell=quiet)
    assert (torture.failures, sum(torture.counts.values())) == ([], 20)


def test_a_case_is_its_seed_and_number(tmp_path):
    one, other = (Torture(9, list(COMPARISONS), Here(), tmp_path) for _ in range(2))
    assert [one.case(n) for n in range(8)] == [other.case(n) for n in range(8)]
    assert one.case(4) != Torture(10, list(COMPARISONS), Here(), tmp_path).case(4)
    other.run(first=5, cases=3, tell=quiet)
    assert other.number == 8


@pytest.fixture
def dangerous(tmp_path, monkeypatch):
    """A module of comparisons that kill their process, or never end."""
    (tmp_path / "dangerous.py").write_text(
        textwrap.dedent(
            """
            import os, signal, time

            class Kills:
                def draw(self, rng):
                    return [rng.randrange(100) for _ in range(20)]
                def check(self, case):
                    if any(n > 50 for n in case):
                        os.kill(os.getpid(), signal.SIGKILL)

            class Hangs(Kills):
                def check(self, case):
                    while sum(case) > 100:
                        pass

            COMPARISONS = {"kills": Kills(), "hangs": Hangs()}
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "dangerous"


@pytest.mark.parametrize(("name", "kind"), [("kills", "ended with -9"), ("hangs", "no answer")])
def test_crashes_and_hangs_are_failures_too(name, kind, dangerous, tmp_path):
    checker = Elsewhere(dangerous, patience=1.0)
    torture = Torture(1, [name], checker, tmp_path / "found", dangerous)
    try:
        torture.run(cases=1, shrink_seconds=15, tell=quiet)
    finally:
        checker.close()
    (failure,) = torture.failures
    assert kind in failure["message"]
    if name == "kills":
        assert "CASE = [64]\n" in (tmp_path / "found" / failure["test"]).read_text()


def test_a_worker_that_cannot_start_is_a_failure_not_an_error(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise SystemExit(7)")
    monkeypatch.syspath_prepend(tmp_path)
    checker = Elsewhere("broken")
    try:
        answers = [checker.check("kills", ["x" * 100_000]) for _ in range(2)]
    finally:
        checker.close()
    assert answers == [("Crash", "the process ended with 7")] * 2


def test_shrinking_keeps_what_fails():
    case = {"list": [5, 1 << 40 | 3, True, "x"], "other": None, "n": 0x1234000}

    def fails(c):
        return any(isinstance(n, int) and n >= 1 << 40 for n in c.get("list", ())) and c.get("n", 0) >= 4096

    assert shrink(case, fails) == {"list": [1 << 40], "n": 4096}


def test_from_the_command_line(tmp_path):
    record = tmp_path / "record.json"
    command = [sys.executable, ROOT / "tests/support/torture.py", "--seconds", "3", "--seed", "4"]
    done = subprocess.run(
        [*command, "--only", "boot", "conversions", "--json", record],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "goes on with --seed 4 --first" in done.stdout
    assert " 0 failures" in done.stdout
    assert '"schema": "xenmm.torture/1"' in record.read_text()
    refused = subprocess.run([*command, "--only", "nonsense"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "no comparison nonsense" in refused.stderr
