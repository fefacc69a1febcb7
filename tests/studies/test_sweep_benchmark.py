"""The sweep's benchmark, smaller: what it measures failed nowhere, and kills change nothing."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_sweep.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_sweep", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_sweeps_resumes_and_survives_kills(bench):
    found = bench.sweeps(320, workers=2, kills=2)
    assert found["first"]["cells"] == found["first"]["done"] == 320
    assert found["first"]["failed"] == found["again"]["done"] == 0
    killed = found["killed"]
    assert killed["same_bytes"] and killed["done_at_last"] + killed["cells_there"][-1] >= 320


def test_logs_are_the_same_every_time(bench, tmp_path):
    for name in ("a", "b"):
        bench.write_logs(tmp_path / name, 3)
    assert bench.same(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "machine-00001.dmesg").write_text("")
    assert not bench.same(tmp_path / "a", tmp_path / "b")
