"""The overhead's arithmetic, against the golden cases' own totals and against the closed formulas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xenmm
from xenmm.boot.overhead import Costs, minimum_costs

GIB = 1 << 30
TIB = 1 << 40


def test_minimum_is_52_bytes_a_page():
    costs = minimum_costs(TIB)
    assert costs.total == 52 * (TIB >> 12)
    # The quoted "minimum 1.3%" is 1.270%; no proper subset of the four tables rounds to it.
    assert f"{costs.percent_of(TIB)['total']:.3f}" == "1.270"
    parts = [32, 8, 4, 8]
    sums = {sum(p for i, p in enumerate(parts) if chosen >> i & 1) for chosen in range(15)}
    assert [s for s in sums if f"{100 * s / 4096:.1f}" == "1.3"] == []


@given(st.lists(st.integers(0, 1 << 50), min_size=5, max_size=5), st.integers(1, 1 << 60))
def test_costs_add_up(parts, ram):
    costs = Costs(*parts)
    assert costs.total == sum(parts) == costs.to_dict()["total"]
    shares = costs.percent_of(ram)
    assert shares.keys() == costs.to_dict().keys()
    assert shares["total"] == pytest.approx(sum(v for k, v in shares.items() if k != "total"))


def test_no_ram_has_no_percentages():
    assert set(minimum_costs(0).percent_of(0).values()) == {0.0}


@pytest.mark.parametrize("page_sizes", ["2m", "1g"])
@pytest.mark.parametrize("top", [64 * GIB, 777 * GIB, 2 * TIB])
def test_dense_tables_cost_what_the_span_says(top, page_sizes):
    # The closed formulas: 32 and 8 bytes a frame up to the top, compat in 2 MiB up to 1 GiB.
    memory_map = xenmm.MemoryMap.from_ranges([(1 << 20, 2 * GIB), (top - 4 * GIB, top)])
    costs = xenmm.boot(memory_map, "ext5t", page_sizes=page_sizes).overhead().costs
    assert costs.frame_table == top // 4096 * 32
    assert costs.m2p == top // 4096 * 8
    assert costs.compat_m2p == min(-(-(top // 4096 * 4) >> 21) << 21, GIB)


@pytest.mark.parametrize("profile", ["sparse-m2p", "xen-mask", "xen-offset", "xen-none"])
@pytest.mark.parametrize("banks", [1, 3, 13])
def test_sparse_tables_cost_what_the_ram_says(profile, banks):
    # Banks of whole 2 GiB, aligned to them: every piece of every table is backed for RAM alone.
    ranges = [(0, 2 * GIB)] + [(64 * GIB * (i + 1), 64 * GIB * (i + 1) + 4 * GIB) for i in range(banks)]
    memory_map = xenmm.MemoryMap.from_ranges(ranges, ranges)
    overhead = xenmm.boot(memory_map, profile, compat_m2p=True).overhead()
    least = minimum_costs(memory_map.ram_bytes)
    assert overhead.costs.frame_table == least.frame_table
    assert overhead.costs.m2p == least.m2p
    assert overhead.costs.compat_m2p == least.compat_m2p
    assert overhead.machine_ram_bytes == memory_map.ram_bytes
    # Large pages: the page tables are far below the 8 bytes a page of the quoted minimum.
    assert overhead.costs.page_tables < least.direct_map_page_tables


def test_one_lone_page_costs_a_piece_of_each_table():
    ram = [(0, 2 * GIB), (4 * GIB, 8 * GIB)]
    lone = [*ram, (32 * GIB, 32 * GIB + 4096)]
    before = xenmm.boot(xenmm.MemoryMap.from_ranges(ram), "xen-none").overhead().costs
    after = xenmm.boot(xenmm.MemoryMap.from_ranges(lone), "xen-none").overhead().costs
    assert after.m2p - before.m2p == 2 << 20
    # Its group is the last one, so its frame table ends behind its own record: one small page.
    assert after.frame_table - before.frame_table == 4096


def test_to_dict_is_plain_and_complete():
    facts = xenmm.boot(xenmm.MemoryMap.from_ranges([(0, GIB)]), "xen-none").overhead().to_dict()
    assert facts["bytes"].keys() == facts["percent"].keys() == facts["minimum_bytes"].keys()
    assert list(facts) == [
        "profile", "machine_ram_bytes", "used_ram_bytes", "bytes", "percent", "minimum_bytes",
        "minimum_percent", "virtual_bytes",
    ]  # fmt: skip
    assert list(facts["bytes"]) == [
        "frame_table", "m2p", "compat_m2p", "direct_map_page_tables", "other_page_tables", "total",
    ]  # fmt: skip
    assert (facts["profile"], facts["machine_ram_bytes"]) == ("xen-none", GIB)
    # The allocator gets neither the first MiB nor the video hole in it.
    assert facts["used_ram_bytes"] == GIB - (1 << 20)
    assert facts["percent"]["m2p"] == 100 * facts["bytes"]["m2p"] / GIB
    # 52 bytes a page, of which the frame table has 32.
    assert facts["minimum_bytes"]["total"] == 52 * (GIB >> 12)
    assert facts["minimum_percent"]["frame_table"] == 100 * 32 / 4096
    assert {"frame_table", "m2p", "ro_m2p", "direct_map"} <= set(facts["virtual_bytes"])
