"""Miss curves: each size is a run of its own, and what is known of LRU holds."""

import pytest

from xenmm.errors import ConfigError
from xenmm.timing import Cache, Hierarchy, Tlb
from xenmm.timing.curves import FACTORS, miss_curve
from xenmm.timing.replay import Input, replay

SOURCE = Input(workload="zipf", accesses=20_000)


@pytest.fixture(scope="module")
def host():
    import xenmm
    from xenmm.maps import open_map

    return xenmm.boot(open_map("candidate-8x32g-512g"))


def small(sets=64):
    return Hierarchy(
        [Cache("L1", sets * 4 * 64, 4, latency=4, parent="L2"), Cache("L2", 1 << 20, 16, latency=12)],
        [Tlb("T", 64, 4, page_sizes=("4k", "2m", "1g"))],
    )


def test_the_configured_size_is_the_plain_replay(host):
    points = miss_curve(host, SOURCE, small(), "L1")
    at = next(p for p in points if p.size == 64 * 4 * 64)
    plain = replay(host, SOURCE, small())
    assert (at.hits, at.misses) == (plain.caches["L1"].hits, plain.caches["L1"].misses)
    assert at.cycles == plain.cycles["total"]
    assert [p.size for p in points] == [int(64 * 4 * 64 * f) for f in FACTORS]


def test_each_size_is_a_run_of_a_cache_of_that_size(host):
    points = miss_curve(host, SOURCE, small(), "L1", factors=(1 / 2, 2))
    assert points[0].misses == replay(host, SOURCE, small(32)).caches["L1"].misses
    assert points[1].misses == replay(host, SOURCE, small(128)).caches["L1"].misses


def test_a_fully_associative_lru_never_misses_more_when_it_grows(host):
    misses = [
        replay(host, SOURCE, Hierarchy([Cache("L1", ways * 64, ways)])).caches["L1"].misses
        for ways in (16, 32, 64, 128)
    ]
    assert misses == sorted(misses, reverse=True)


def test_a_tlb_has_a_curve_too_and_parts_of_a_set_are_left_out(host):
    points = miss_curve(host, SOURCE, small(), "T")
    assert [p.size for p in points] == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert [p.size for p in miss_curve(host, SOURCE, small(4), "L1")] == [
        256 * n for n in (1, 2, 4, 8, 16, 32, 64)
    ]


def test_miss_rate_of_no_look_up_is_zero():
    from xenmm.timing.curves import Point

    assert Point(64, 0, 0, 0).miss_rate == 0.0
    assert Point(64, 3, 1, 0).to_dict()["miss_rate"] == 0.25


def test_progress_counts_sizes(host):
    seen = []
    miss_curve(host, SOURCE, small(), "L1", factors=(1, 2), progress=seen.append)
    assert seen == [1, 2]


def test_an_unknown_table_is_refused_with_those_there_are(host):
    with pytest.raises(ConfigError, match="no cache or TLB is called 'L9'; there are L1, L2, T"):
        miss_curve(host, SOURCE, small(), "L9")
