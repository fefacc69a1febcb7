"""What the fuzzers start from and what they found worth keeping: each input is read or refused in one line.

`make fuzz TARGET=...` looks for more; tests/support/fuzz_targets.py says what must hold.
"""

import sys

import pytest
from fuzz_targets import TARGETS, FindingError, kept, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_are_read_within_bounds(target):
    seeds = list(TARGETS[target][1]())
    assert seeds
    for data in seeds:
        run(target, data, memory=True)


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs_are_read_or_refused_within_bounds(target):
    inputs = kept(target)
    assert inputs, f"tests/data/fuzz/{target}.zip holds none"
    for data in inputs.values():
        run(target, data, memory=True)


def test_a_broken_promise_is_a_finding(monkeypatch):
    def greedy(data):
        return bytearray(64 << 20)

    def wordy(data):
        raise ValueError("not ours")

    monkeypatch.setitem(TARGETS, "text", (greedy, None, 0))
    with pytest.raises(FindingError, match="bytes of memory"):
        run("text", b"x", memory=True)
    monkeypatch.setitem(TARGETS, "text", (wordy, None, 0))
    with pytest.raises(ValueError, match="not ours"):
        run("text", b"x")
