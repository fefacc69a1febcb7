"""The benchmark's long run, shorter: random batches, audited, and every page home at the end."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_machine.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_machine", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("flavour", ["naive", "cse"])
def test_long_run_agrees_with_the_slow_model_and_brings_every_page_home(bench, flavour):
    run = bench.long_run(100_000, flavour)
    # Most of what is asked for can be done; the blind part keeps refusals among it.
    assert run["operations"] >= 100_000 and run["operations"] / 50 < run["refused"] < run["operations"] / 4
    assert run["states_compared"] >= 10


def test_long_run_notices_a_model_that_differs(bench, monkeypatch):
    monkeypatch.setattr(bench.SlowMachine, "host_takes_type", lambda self, ld, rd: False)
    with pytest.raises((SystemExit, AssertionError)):
        bench.long_run(20_000)


def test_both_machines_do_the_pairs(bench):
    assert bench.pairs_per_second("cse", rounds=2, samples=1) > 0
    assert bench.slow_pairs_per_second(pairs=1000) > 0
