"""Frame table, M2P and direct map at the limits of their rules, at -1, 0 and +1."""

from __future__ import annotations

import pytest

import xenmm
from xenmm.boot.frame_table import build_frame_table
from xenmm.boot.m2p import build_compat_m2p, build_m2p, m2p_compat_vstart
from xenmm.boot.page_tables import PageTables
from xenmm.boot.profiles import PROFILES
from xenmm.firmware.memory_map import MemoryMap

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
MODERN, OLD = PROFILES["xen-none"], PROFILES["fold"]
GROUP = 65536


def frame_table(max_pdx, groups=None, profile=MODERN, page_1g=True):
    return build_frame_table(profile, groups or [(0, -(-max_pdx // GROUP))], max_pdx, page_1g=page_1g)


@pytest.mark.parametrize(
    ("tail", "small"), [(65023, True), (65024, False), (65535, False), (1, True), (0, False)]
)
def test_a_last_partial_page_stays_whole_within_16_kib(tail, small):
    table = frame_table(3 * GROUP + tail, page_1g=False)
    assert (table.page_tables.leaf_4k > 0) == small
    if small:
        assert table.page_tables.leaf_4k == -(-tail * 32 // 4096)


@pytest.mark.parametrize("groups", [511, 512, 513])
def test_frame_table_takes_1_gib_pages_from_512_groups_on(groups):
    assert frame_table(groups * GROUP).page_tables.leaf_1g == groups // 512
    assert frame_table(groups * GROUP, page_1g=False).page_tables.leaf_1g == 0


def test_fills_are_per_run_and_the_tail_is_all_ones():
    table = frame_table(5 * GROUP - 100, [(0, 1), (4, 5)])
    end = (5 * GROUP - 100) * 32
    assert table.fills == (
        (0, 2 * MIB, 0),
        (2 * MIB, 0, 0xFF),
        (8 * MIB, end - 8 * MIB, 0),
        (end, 10 * MIB - end, 0xFF),
        (end, 0, 0xFF),
    )


@pytest.mark.parametrize("beyond", [-4, -3, 0, 1])
def test_dense_step_only_shrinks(beyond):
    # Three pages short of a GiB it is still backed by one page of a GiB, five short it is not.
    pages = (GIB >> 12) + beyond
    table = frame_table(pages * 128, profile=OLD)
    assert table.page_tables.leaf_1g == 1
    assert table.fills == ((0, pages * 4096, 0),)
    assert frame_table(((GIB >> 12) - 5) * 128, profile=OLD).page_tables.leaf_1g == 0


@pytest.mark.parametrize(
    ("mfn_groups", "slots"), [([(0, 1)], 1), ([(0, 4)], 1), ([(0, 5)], 2), ([(3, 5)], 2), ([(7, 8)], 1)]
)
def test_m2p_slot_needs_one_valid_group_of_four(mfn_groups, slots):
    table, copy = build_m2p(MODERN, mfn_groups, 8 * GROUP, page_1g=True)
    assert table.page_tables.leaf_2m == slots
    assert table.backed_bytes == slots * 2 * MIB
    assert copy.backed_bytes == 0


@pytest.mark.parametrize(("groups", "large"), [(2047, 0), (2048, 1), (2049, 1)])
def test_m2p_takes_a_1_gib_page_for_a_whole_gib_without_holes(groups, large):
    table, _ = build_m2p(MODERN, [(0, groups)], groups * GROUP, page_1g=True)
    # 2,047 groups still touch every one of the 512 slots.
    assert table.page_tables.leaf_1g == (1 if groups == 2047 else large)
    holed, _ = build_m2p(MODERN, [(0, 8), (12, groups)], groups * GROUP, page_1g=True)
    assert holed.page_tables.leaf_1g == 0


def test_guests_copy_has_a_level_2_page_for_every_started_gib_without_1_gib_pages():
    groups, top = [(0, 1), (20 * 2048, 20 * 2048 + 1)], (20 * 2048 + 1) * GROUP
    assert build_m2p(MODERN, groups, top, page_1g=False)[1].page_tables.l2_tables == 21
    assert build_m2p(MODERN, groups, top, page_1g=True)[1].page_tables.l2_tables == 2


@pytest.mark.parametrize(
    ("end", "slots"), [(TIB - 2 * GIB, 511), (TIB - 2 * GIB + 4 * KIB, 512), (TIB, 512), (TIB + 4 * KIB, 512)]
)
def test_compat_m2p_ends_at_1_gib(end, slots):
    max_page = end >> 12
    table, copy = build_compat_m2p(OLD, [(0, -(-max_page // GROUP))], max_page)
    assert (table.page_tables.leaf_2m, table.size) == (slots, slots * 2 * MIB)
    assert copy.page_tables.l2_tables == 1


@pytest.mark.parametrize(
    ("frames", "vstart"), [(1, 0xFFC00000), (524288, 0xFFC00000), (524289, 0xFFA00000), (1 << 28, 0xF5800000)]
)
def test_compat_m2p_in_the_guest(frames, vstart):
    assert m2p_compat_vstart(MODERN, frames) == vstart


def direct_map(ram, profile="xen-none", srat=None, **options):
    return xenmm.boot(MemoryMap.from_ranges(ram, srat), profile, **options)


@pytest.mark.parametrize("beyond", [-4096, 0, 4096])
def test_direct_map_is_split_where_guests_stop_seeing_it(beyond):
    end = 5 * TIB + beyond
    calls = direct_map([(MIB, 2 * GIB), (5 * TIB - GIB, end)]).plan.directmap_calls
    high = [(offset, count << 12) for offset, _, count in calls if offset >= 4 * GIB]
    assert high == (
        [(5 * TIB - GIB, GIB), (5 * TIB, 4096)] if beyond > 0 else [(5 * TIB - GIB, GIB + beyond)]
    )


def test_tail_is_mapped_before_head():
    calls = direct_map([(MIB, GIB + 4096), (3 * GIB - 4096, 3 * GIB + 3 * MIB)]).plan.directmap_calls
    assert [(offset, count << 12) for offset, _, count in calls] == [
        (3 * GIB, 2 * MIB),
        (2 * MIB, GIB - 2 * MIB),
        (GIB, 4096),
        (3 * GIB + 2 * MIB, MIB),
        (3 * GIB - 4096, 4096),
    ]


@pytest.mark.parametrize(("end", "tables"), [(512 * GIB, 1), (512 * GIB + 1, 2), (3 * TIB, 6)])
def test_hot_plug_brings_level_3_pages(end, tables):
    ram, srat = [(MIB, 2 * GIB)], [(0, 2 * GIB, 1), (4 * GIB, end, 3)]
    assert direct_map(ram, srat=srat).direct_map.page_tables.l3_tables == tables
    assert direct_map(ram, srat=srat, hotplug=False).direct_map.page_tables.l3_tables == 1
    assert direct_map(ram, "sparse-m2p", srat=srat).direct_map.page_tables.l3_tables == 1


def test_stack_guards_split_the_top_of_node_0():
    ram = [(MIB, 2 * GIB), (4 * GIB, 12 * GIB)]
    srat = [(0, 8 * GIB, 1, 0), (8 * GIB, 12 * GIB, 1, 1)]
    plain = direct_map(ram, srat=srat).direct_map.page_tables
    split = direct_map(ram, srat=srat, stack_guards=True).direct_map
    assert (plain.leaf_1g - split.page_tables.leaf_1g, split.page_tables.leaf_4k - plain.leaf_4k) == (1, 512)
    start = split.virt_start
    assert (start + 8 * GIB - 2 * MIB, start + 8 * GIB, 4096) in split.extents()


def test_page_tables_of_nothing_count_nothing():
    assert set(PageTables().to_dict().values()) == {0}


def test_stack_guards_pass_over_rows_that_are_off():
    # The firmware's row of node 0 above is not enabled: RAM there is of no node.
    ram = [(MIB, 2 * GIB), (4 * GIB, 12 * GIB)]
    srat = [(0, 8 * GIB, 1, 0), (8 * GIB, 12 * GIB, 0, 0)]
    split = direct_map(ram, srat=srat, stack_guards=True).direct_map
    assert (split.virt_start + 8 * GIB - 2 * MIB, split.virt_start + 8 * GIB, 4096) in split.extents()


def test_one_page_alone_in_its_group_costs_2_mib_of_each_table():
    base = direct_map([(MIB, 2 * GIB)], page_sizes="2m")
    more = direct_map([(MIB, 2 * GIB), (64 * GIB, 64 * GIB + 4096)], page_sizes="2m")
    assert more.m2p.backed_bytes - base.m2p.backed_bytes == 2 * MIB
    # The last page of the frame table is only as long as it needs to be.
    assert more.frame_table.backed_bytes - base.frame_table.backed_bytes == 4096
    last = direct_map(
        [(MIB, 2 * GIB), (64 * GIB, 64 * GIB + 4096), (80 * GIB, 80 * GIB + 4096)], page_sizes="2m"
    )
    assert last.frame_table.backed_bytes - more.frame_table.backed_bytes == 2 * MIB
