"""Each hazard where it is due, and nowhere else."""

from __future__ import annotations

import pytest

import xenmm
from xenmm.boot.plan import usable_bytes
from xenmm.boot.profiles import PROFILES
from xenmm.firmware.memory_map import MemoryMap

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
LOW = [(0, 0x9F000), (MIB, 2 * GIB)]


def hazards(ram, srat=None, profile="xen-offset", **options):
    host = xenmm.boot(MemoryMap.from_ranges(ram, srat), profile, **options)
    return {h.code: h for h in host.hazards}


def test_a_plain_machine_has_none():
    ram = [*LOW, (4 * GIB, 20 * GIB)]
    for profile in PROFILES:
        assert hazards(ram, [(0, 20 * GIB)], profile) == {}


@pytest.mark.parametrize("profile", ["fold", "sparse-m2p", "xen-4.17"])
def test_base_inside_the_hole_aliases(profile):
    found = hazards([*LOW, (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB), (256 * GIB, 257 * GIB)],
                    [(0, 8 * GIB), (TIB, TIB + 4 * GIB)], profile)  # fmt: skip
    assert found["alias"].severity == "crash"
    assert found["alias"].ranges == ((256 * GIB, 257 * GIB),)
    assert found["alias"].bytes == GIB


@pytest.mark.parametrize(("low", "moved"), [(GIB, True), (GIB - MIB, False), (0, False)])
def test_low_ram_that_the_offset_tables_move(low, moved):
    # The lowest region's base is taken down to a whole GiB: only from 1 GiB on is it above 0.
    srat = [(low, 8 * GIB), (TIB, TIB + 4 * GIB)]
    found = hazards([(max(low, MIB), 2 * GIB), (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB)], srat)
    assert ("mapped-elsewhere" in found) is moved
    if moved:
        assert found["mapped-elsewhere"].severity == "crash"
        assert found["mapped-elsewhere"].ranges == ((GIB, 2 * GIB),)


def test_modern_mask_says_it_falls_back():
    found = hazards([*LOW, (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB), (256 * GIB, 257 * GIB)],
                    [(0, 8 * GIB), (TIB, TIB + 4 * GIB)], "xen-mask")  # fmt: skip
    assert "alias" not in found
    assert "0x4000000000" in found["compression-fallback"].text
    assert found["ram-outside-srat"].bytes == GIB


@pytest.mark.parametrize(
    ("end", "crosses"), [(16 * TIB - 8192, False), (16 * TIB - 4096, True), (17 * TIB, True)]
)
def test_range_across_16_tib_without_compression(end, crosses):
    # The limit is 2^32 - 2 frames: 16 TiB less two pages.
    ram = [*LOW, (15 * TIB, end)]
    assert ("allocator-bug" in hazards(ram, None, "xen-4.17")) == crosses
    modern = hazards(ram, None, "xen-none")
    assert "allocator-bug" not in modern
    assert ("ram-beyond-max-pdx" in modern) == crosses
    if crosses:
        assert modern["ram-beyond-max-pdx"].bytes == end - (16 * TIB - 8192)


@pytest.mark.parametrize(
    ("offset", "orphan"),
    [(0, False), (4096, True), (MIB, True), (128 * MIB, True), (256 * MIB - 4096, True), (256 * MIB, False)],
)
def test_node_that_begins_in_the_middle_of_a_group(offset, orphan):
    start = 8 * GIB + offset
    ram = [*LOW, (4 * GIB, 6 * GIB), (start, 12 * GIB)]
    # A row may end where the group begins.
    assert ("node-mid-group" in hazards(ram, [(0, 8 * GIB), (start, 12 * GIB)], "xen-none")) == orphan
    srat = [(0, 6 * GIB, 1, 0), (start, 12 * GIB, 1, 1)]
    found = hazards(ram, srat, "xen-none")
    assert ("node-mid-group" in found) == orphan
    if orphan:
        assert found["node-mid-group"].ranges == ((start & ~(256 * MIB - 1), start),)
    assert "node-mid-group" not in hazards(ram, srat, "xen-4.17")
    assert "node-mid-group" not in hazards(ram, srat, "xen-none", command_line="numa=off")


@pytest.mark.parametrize(("size", "told"), [(4095, False), (4096, True), (8191, True)])
def test_a_single_page_outside_the_srat_gives_the_nodes_up(size, told):
    end = 4 * GIB + MIB + size
    found = hazards([*LOW, (4 * GIB, end)], [(0, 2 * GIB), (4 * GIB, 4 * GIB + MIB)])
    assert ("ram-outside-srat" in found) == told
    if told:
        assert found["ram-outside-srat"].ranges == ((4 * GIB + MIB, end),)


def test_page_tables_count_among_the_tables_that_outgrow_ram():
    def booted(size):
        return xenmm.boot(MemoryMap.from_ranges([(MIB, MIB + size), (TIB - GIB, TIB)]), "ext5t").plan

    def needed(plan):
        return sum(table.backed_bytes for table in plan.tables) + plan.page_table_bytes

    size = 2 * MIB
    for _ in range(4):
        # RAM of one page more needs a few tables more: this settles.
        size = needed(booted(size)) - GIB
    seen = set()
    for more in range(-5, 6):
        plan = booted(size + more * 4096)
        too_little = plan.used_ram_bytes < needed(plan)
        assert ("tables-outgrow-ram" in {h.code for h in plan.hazards}) == too_little
        assert abs(plan.used_ram_bytes - needed(plan)) < plan.page_table_bytes
        seen.add(too_little)
    assert seen == {True, False}


def test_first_frame_of_the_group_in_another_node_is_fine():
    split = 6 * GIB + 5 * MIB
    found = hazards([*LOW, (4 * GIB, 8 * GIB)], [(0, split, 1, 0), (split, 8 * GIB, 1, 1)], "xen-none")
    assert "node-mid-group" not in found


def test_rows_of_one_node_and_rows_left_out_make_no_second_one():
    # Xen counts nodes, and looks for the group's node only when there are two.
    ram, start = [*LOW, (4 * GIB, 6 * GIB), (8 * GIB + 4096, 12 * GIB)], 8 * GIB + 4096
    below = (0, 6 * GIB, 1, 0)
    assert "node-mid-group" in hazards(ram, [below, (start, 12 * GIB, 1, 1)], "xen-none")
    assert "node-mid-group" not in hazards(ram, [below, (start, 12 * GIB, 1, 0)], "xen-none")
    hot = [(0, 6 * GIB, 1, 0), (start, 12 * GIB, 3, 1)]
    assert "node-mid-group" in hazards(ram, hot, "xen-none")
    assert "node-mid-group" not in hazards(ram, hot, "xen-none", hotplug=False)


def test_ram_past_the_limit_names_who_would_use_it():
    ram = [*LOW, (4 * GIB, 8 * GIB), (20 * TIB, 20 * TIB + 4 * GIB)]
    srat = [(0, 8 * GIB), (20 * TIB, 20 * TIB + 4 * GIB)]
    found = hazards(ram, srat, "xen-none")
    lost = found["ram-beyond-max-pdx"]
    assert lost.ranges == ((20 * TIB, 20 * TIB + 4 * GIB),)
    assert lost.text.endswith("xen-4.17, xen-mask, xen-offset")
    assert "ram-beyond-max-pdx" not in hazards(ram, srat, "xen-offset")


def test_clipped_ram_that_nobody_uses():
    found = hazards([*LOW, (4 * GIB, 8 * GIB), (200 * TIB, 200 * TIB + GIB)])
    assert found["ram-clipped"].bytes == GIB
    assert "no other profile" in found["ram-clipped"].text


def test_first_range_past_the_limit():
    found = hazards([(20 * TIB, 20 * TIB + GIB)], None, "xen-none")
    assert found["no-ram-below-limit"].severity == "crash"


def test_no_ram_above_1_mib():
    assert hazards([(0, 0x9F000)])["no-usable-ram"].severity == "crash"


def test_window_for_hot_plug_that_defeats_the_compression():
    ram = [*LOW, (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB)]
    srat = [(0, 8 * GIB, 1, 0), (TIB, TIB + 4 * GIB, 1, 1), (8 * GIB, TIB, 3, 0)]
    found = hazards(ram, srat, "xen-mask")
    assert found["hotplug-window"].ranges == ((8 * GIB, TIB),)
    assert "hotplug-window" not in hazards(ram, srat, "xen-mask", hotplug=False)
    assert xenmm.boot(MemoryMap.from_ranges(ram, srat), "xen-mask", hotplug=False).compression.kind == "mask"


def test_map_of_another_architecture():
    machine = MemoryMap.from_ranges([(0x80000000, 0x100000000)])
    arm = MemoryMap(machine.ranges, None, arch="arm")
    assert [h.code for h in xenmm.boot(arm).hazards] == ["other-arch"]


def test_worst_come_first():
    ram = [*LOW, (4 * GIB, 8 * GIB), (256 * GIB, 257 * GIB), (TIB, TIB + 4 * GIB), (200 * TIB, 201 * TIB)]
    host = xenmm.boot(MemoryMap.from_ranges(ram, [(0, 8 * GIB), (TIB, TIB + 4 * GIB)]), "xen-4.17")
    order = ("crash", "assert", "lost", "note")
    ranks = [order.index(h.severity) for h in host.hazards]
    assert len(ranks) >= 3
    assert ranks == sorted(ranks)


def test_dense_tables_over_a_wide_span_outgrow_the_ram():
    # 4 GiB of RAM with a span of 1 TiB: dense tables take more than 11 GiB, sparse ones a few MiB.
    ram = [*LOW, (TIB - 2 * GIB, TIB)]
    for profile in PROFILES:
        host = xenmm.boot(MemoryMap.from_ranges(ram), profile)
        too_much = host.overhead().costs.total > host.used_ram_bytes
        assert ("tables-outgrow-ram" in {h.code for h in host.hazards}) == too_much
        assert too_much == (not host.profile.sparse_frame_table)
    assert hazards(ram, None, "ext5t")["tables-outgrow-ram"].severity == "crash"


@pytest.mark.parametrize("switched_off", ["acpi=off", "pdx-compress=off"])
def test_no_window_defeats_a_compression_that_is_switched_off(switched_off):
    ram = [*LOW, (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB)]
    srat = [(0, 8 * GIB, 1, 0), (TIB, TIB + 4 * GIB, 1, 1), (8 * GIB, TIB, 3, 0)]
    assert "hotplug-window" in hazards(ram, srat, "xen-mask", command_line="ignore")
    assert "hotplug-window" not in hazards(ram, srat, "xen-mask", command_line=switched_off)


def test_a_top_region_that_fills_its_bits_is_used_whole():
    # The frame behind the last one would have a bit in the squeezed hole: the bound is the last frame itself.
    ram = [*LOW, (4 * GIB, 8 * GIB), (20 * TIB, 20 * TIB + 8 * GIB)]
    memory_map = MemoryMap.from_ranges(ram, [(0, 8 * GIB), (20 * TIB, 20 * TIB + 8 * GIB)])
    told = usable_bytes(xenmm.boot(memory_map, "xen-none").plan)
    assert told == {name: xenmm.boot(memory_map, name).used_ram_bytes for name in told}
    assert told["xen-mask"] == told["xen-none"] + 8 * GIB


@pytest.mark.parametrize("end", [TIB, 20 * TIB, 20 * TIB + 4096, 200 * TIB])
def test_what_another_profile_would_use_is_what_it_uses_when_booted(end):
    ram = [*LOW, (4 * GIB, 8 * GIB), (end - GIB, end), (end + GIB, end + GIB + 65536 * 4096)]
    memory_map = MemoryMap.from_ranges(ram, [(0, 8 * GIB), (end - GIB, end + 2 * GIB)])
    for profile in ("pre", "fold", "xen-none"):
        told = usable_bytes(xenmm.boot(memory_map, profile).plan)
        assert told == {name: xenmm.boot(memory_map, name).used_ram_bytes for name in told}
