"""The engine against the slow model: every count, on random configurations, by every way in and every
loop."""

import array
import math
import random

import numpy as np
import pytest
from random_engines import random_hierarchy, random_space, random_trace, slow_run

from xenmm._timing import instruction_sets
from xenmm.errors import ConfigError, FrameError
from xenmm.timing import (
    AddressSpace,
    Cache,
    Engine,
    Hierarchy,
    Mapping,
    load_microarchitecture,
    microarchitectures,
)


def arrays(trace, with_kinds, with_sizes):
    return trace[0], trace[1] if with_kinds else None, trace[2] if with_sizes else None


@pytest.mark.parametrize("seed", range(60))
def test_every_count_equals_the_slow_models(seed):
    rng = random.Random(seed)
    hierarchy, space = random_hierarchy(rng, plain=seed % 2 == 0), random_space(rng)
    addresses, kinds, sizes = arrays(random_trace(rng, space, 1500), rng.random() < 0.7, rng.random() < 0.5)
    straddle = rng.choice(["both", "once"])
    expected, cycles = slow_run(hierarchy, space, addresses, kinds, sizes, straddle, seed)
    for name in instruction_sets():
        engine = Engine(hierarchy, space, seed, name)
        result = engine.run(addresses, kinds, sizes, straddle=straddle)
        assert result.counts == expected, name
        assert result.cycles["total"] == sum(cycles)


@pytest.mark.parametrize("seed", range(20))
def test_one_by_one_equals_an_array(seed):
    rng = random.Random(1000 + seed)
    hierarchy, space = random_hierarchy(rng, plain=seed % 2 == 0), random_space(rng)
    addresses, kinds, sizes = random_trace(rng, space, 800)
    whole = Engine(hierarchy, space, seed)
    whole.run(addresses, kinds, sizes, straddle="once")
    single = Engine(hierarchy, space, seed)
    cycles = [single.access(a, k, s, "once") for a, k, s in zip(addresses, kinds, sizes, strict=True)]
    assert single.counts() == whole.counts()
    assert sum(cycles) == single.result().cycles["total"]
    _, slow_cycles = slow_run(hierarchy, space, addresses, kinds, sizes, "once", seed)
    assert cycles == slow_cycles


@pytest.mark.parametrize("seed", range(20))
def test_blocks_and_single_calls_mix(seed):
    rng = random.Random(2000 + seed)
    hierarchy, space = random_hierarchy(rng, plain=True), random_space(rng)
    addresses, kinds, _ = random_trace(rng, space, 3000)
    expected, _ = slow_run(hierarchy, space, addresses, kinds, None, "both", seed)
    engine, at = Engine(hierarchy, space, seed), 0
    calls = (engine.load, engine.store, engine.fetch)
    while at < len(addresses):
        n = rng.choice([1, 2, 5, 700])
        if rng.random() < 0.5:
            engine.run(addresses[at : at + n], kinds[at : at + n])
        else:
            for a, k in zip(addresses[at : at + n], kinds[at : at + n], strict=True):
                calls[k](a)
        at += n
    assert engine.counts() == expected


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_instructions_go_to_memory_where_only_data_is_cached(levels):
    parents = [f"L{n + 1}" if n < levels else None for n in range(1, levels + 1)]
    caches = [
        Cache(f"L{n}", 64 * 8 << n, 4, parent=parent, latency=4 * n, holds="data" if n == 1 else "all")
        for n, parent in enumerate(parents, 1)
    ]
    hierarchy, space = Hierarchy(caches), AddressSpace([Mapping(0, 0, 1 << 20, "4k")])
    rng = random.Random(levels)
    addresses, kinds, sizes = random_trace(rng, space, 600)
    expected, cycles = slow_run(hierarchy, space, addresses, kinds, sizes, "once", 0)
    for name in instruction_sets():
        result = Engine(hierarchy, space, 0, name).run(addresses, kinds, sizes, straddle="once")
        assert result.counts == expected
        assert result.cycles["total"] == sum(cycles)
    assert {0, 1, 2} == set(kinds)


def test_both_ways_are_tested():
    fast = {False: 0, True: 0}
    for seed in range(60):
        rng = random.Random(seed)
        engine = Engine(random_hierarchy(rng, plain=seed % 2 == 0), random_space(rng))
        fast[engine.level_by_level] += 1
    assert min(fast.values()) >= 10


def test_presets_take_the_fast_loops():
    assert all(Engine(load_microarchitecture(name)).level_by_level for name in microarchitectures())


@pytest.mark.parametrize("loops", instruction_sets())
@pytest.mark.parametrize(("arrival", "hits"), [("mark", 0), ("use", 1)])
def test_a_written_back_line_is_a_use_where_the_cache_says_so(loops, arrival, hits):
    # L2 has the lines 1 (older, dirty above) and 2; 1 comes back, then 3 drives one of them out.
    caches = [Cache("L1", 64, 1, parent="L2"), Cache("L2", 128, 2, arrival=arrival)]
    result = Engine(Hierarchy(caches), instruction_set=loops).run(
        array.array("Q", [64, 128, 192, 64]), array.array("B", [1, 0, 0, 0])
    )
    assert result.caches["L1"].writebacks == 1
    assert result.caches["L2"].by_kind["writeback"] == (1, 0)
    assert result.caches["L2"].hits == hits


def test_arguments_out_of_their_domain_are_refused_by_name():
    hierarchy = load_microarchitecture("zen3")
    engine = Engine(hierarchy, AddressSpace([Mapping(0, 0, 1 << 30, "4k")]))
    for arguments, name in (
        ({"kind": 3}, "kind"),
        ({"size": 0}, "size"),
        ({"size": 4097}, "size"),
        ({"straddle": "twice"}, "straddle"),
    ):
        with pytest.raises(ConfigError, match=name):
            engine.access(64, **arguments)
    addresses = array.array("Q", [0, 64, 128])
    for start, stop in ((0, 4), (3, 2)):
        with pytest.raises(ConfigError, match="not inside the 3 accesses"):
            engine.simulate(addresses, start=start, stop=stop)
    assert engine.instruction_set in instruction_sets()


@pytest.mark.parametrize("way", ["load", "store", "fetch", "access"])
def test_one_access_takes_whole_numbers_only(way):
    engine = Engine(load_microarchitecture("zen3"), AddressSpace([Mapping(0, 0, 1 << 30, "4k")]))
    access = getattr(engine, way)
    for wrong in (64.0, np.float64(64), math.nan, "64", None, b"@", 64j):
        with pytest.raises(TypeError, match="integer"):
            access(wrong)
    assert access(64) > access(np.uint64(64)) == access(np.int8(65)) > 0
    for wrong in (-1, 1 << 64, 1 << 500, np.int64(-1)):
        with pytest.raises(FrameError, match=r"outside \[0, 2\*\*64\)"):
            access(wrong)
