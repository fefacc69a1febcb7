"""The reference trace: counts that an independent C program, drcachesim and cachegrind agree on."""

import hashlib

import pytest

from xenmm._timing import instruction_sets
from xenmm.timing import AddressSpace, Cache, Engine, Hierarchy, Tlb
from xenmm.timing.workloads import mixed_trace

CACHES = (
    Cache("L1", 32 << 10, 8, parent="L2"),
    Cache("L2", 512 << 10, 8, parent="L3"),
    Cache("L3", 32 << 20, 16),
)
CACHE_COUNTS = {"L1": (4_627_871, 5_372_129), "L2": (807_586, 4_564_543), "L3": (1_266_072, 3_298_471)}
TLB_COUNTS = {
    (64, 4, 1536, 12): {"T1": (4_552_912, 5_447_088), "T2": (933_690, 4_513_398)},
    (64, 8, 2048, 8): {"T1": (4_571_188, 5_428_812), "T2": (996_859, 4_431_953)},
}


@pytest.fixture(scope="module")
def trace():
    trace = mixed_trace()
    assert (
        hashlib.sha256(trace.tobytes()).hexdigest()
        == "0577f490025cf2c12978d7bef34ddbe0aa41e27a6b1b9eef66c90206644bb97d"
    )
    return trace


@pytest.mark.parametrize("loops", instruction_sets())
@pytest.mark.parametrize("shape", TLB_COUNTS, ids=str)
def test_reference_trace_gives_the_golden_counts(trace, shape, loops):
    tlbs = (Tlb("T1", shape[0], shape[1]), Tlb("T2", shape[2], shape[3], level=2))
    engine = Engine(Hierarchy(CACHES, tlbs), instruction_set=loops)
    assert engine.level_by_level
    result = engine.run(trace)
    assert {n: (c.hits, c.misses) for n, c in result.caches.items()} == CACHE_COUNTS
    assert {n: (t.hits, t.misses) for n, t in result.tlbs.items()} == TLB_COUNTS[shape]
    assert result.walks.walks == 0


@pytest.mark.parametrize("base", [1 << 32, 1 << 42, 1 << 47, 1 << 52, (1 << 64) - (16 << 30)])
def test_counts_do_not_change_when_the_trace_moves_up(trace, base):
    short = trace[:300_000]
    tlbs = (Tlb("T1", 64, 4), Tlb("T2", 1536, 12, level=2))
    here = Engine(Hierarchy(CACHES, tlbs)).run(short)
    there = Engine(Hierarchy(CACHES, tlbs)).run(short + base)
    assert there.counts == here.counts


def test_addresses_that_agree_in_their_low_bits_are_different_lines():
    engine = Engine(Hierarchy([Cache("L1", 64 * 64, 64)], [Tlb("T1", 64, 64)]))
    for bit in range(6, 64):
        engine.load(1 << bit)
    for bit in range(6, 64):
        engine.load(1 << bit)
    result = engine.result()
    assert (result.caches["L1"].hits, result.caches["L1"].misses) == (58, 58)
    # Bits 6 to 11 lie in page 0.
    assert result.tlbs["T1"].misses == 53


def test_a_mapping_that_moves_nothing_changes_no_count(trace):
    short = trace[:200_000]
    plain = Engine(Hierarchy(CACHES, [Tlb("T1", 64, 4, ("2m",))]), AddressSpace.identity("2m")).run(short)
    assert {n: c.hits for n, c in plain.caches.items()} == {
        n: c.hits for n, c in Engine(Hierarchy(CACHES)).run(short).caches.items()
    }
    assert plain.tlbs["T1"].by_page_size["4k"] == (0, 0)
