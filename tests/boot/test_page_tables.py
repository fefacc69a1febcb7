"""Runs of leaves against page-by-page sets: greedy calls, overriding, splitting, counting."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_boot import Pages

from xenmm.boot.page_tables import PAGE_1G, PAGE_2M, PAGE_4K, LeafMap, count_tables, greedy

SPAN = PAGE_1G >> 12


def leaves_of(runs):
    """Every leaf of runs, one by one, as sets of numbers by size."""
    out = {PAGE_1G: set(), PAGE_2M: set(), PAGE_4K: set()}
    for start, end, size in runs:
        assert start % size == end % size == 0
        out[size] |= set(range(start // size, end // size))
    return out


frames = st.builds(
    lambda g, m, k: g * SPAN + m * 512 + k,
    st.integers(0, 3),
    st.sampled_from([0, 1, 2, 510, 511]),
    st.sampled_from([0, 1, 511]),
)
calls = st.tuples(frames, st.sampled_from([1, 2, 511, 512, 513, 1024, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN]))


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, min_size=1, max_size=5), st.booleans(), st.sampled_from([0, 1, 512, SPAN]))
def test_calls_leave_what_page_by_page_mapping_leaves(made, page_1g, skew):
    # The frame differs from the virtual page by ``skew``, which is what spoils large pages.
    leaves, pages = LeafMap(), Pages(page_1g)
    for at, count in made:
        for run in greedy(at << 12, at + skew, count, page_1g=page_1g):
            leaves.paint(*run)
        pages.map(at << 12, at + skew, count)
    got = leaves_of(leaves.runs)
    assert (got[PAGE_1G], got[PAGE_2M], got[PAGE_4K]) == (pages.g, pages.m, pages.k)
    assert leaves.runs == sorted(leaves.runs)
    t = count_tables(leaves, 0, l3_static=True)
    assert (t.leaf_1g, t.leaf_2m, t.leaf_4k, t.l3_tables, t.l2_tables, t.l1_tables) == pages.counts()
    assert leaves.mapped_bytes() == sum(f * n for _, f, n in leaves.chunks()) << 12


@pytest.mark.parametrize("frames_past", [-1, 0, 1])
def test_largest_leaf_needs_its_whole_length(frames_past):
    sizes = {size for _, _, size in greedy(0, 0, SPAN + frames_past, page_1g=True)}
    assert (PAGE_1G in sizes) == (frames_past >= 0)
    assert PAGE_1G not in {size for _, _, size in greedy(0, 0, SPAN + frames_past, page_1g=False)}


def test_a_small_leaf_splits_a_large_one_all_the_way():
    leaves = LeafMap()
    leaves.paint(0, 2 * PAGE_1G, PAGE_1G)
    leaves.paint(PAGE_1G + PAGE_2M, PAGE_1G + PAGE_2M + PAGE_4K, PAGE_4K)
    counted = count_tables(leaves, 0)
    assert (counted.leaf_1g, counted.leaf_2m, counted.leaf_4k) == (1, 511, 512)
    assert (counted.l3_tables, counted.l2_tables, counted.l1_tables) == (1, 1, 1)
