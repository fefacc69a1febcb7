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


def test_long_run_brings_every_page_home(bench):
    _, failed, done = bench.long_run(200_000)
    # Most of what is asked for can be done; the blind part keeps refusals among it.
    assert done >= 200_000 and done / 50 < failed < done / 4


def test_both_machines_do_the_pairs(bench):
    assert bench.pairs_per_second("cse", rounds=2, samples=1) > 0
    assert bench.slow_pairs_per_second(pairs=1000) > 0
