"""From the firmware's rows to RAM entries: cutting, overlaps, clipping, and the account of every byte."""

from __future__ import annotations

import pytest

import xenmm
from xenmm.boot.e820 import setup_e820, usable_ram
from xenmm.boot.profiles import PROFILES
from xenmm.firmware.memory_map import MemoryMap, MemoryRange

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


def ram_of(ram, profile="xen-offset", **options):
    return list(setup_e820(MemoryMap.from_ranges(ram), PROFILES[profile], **options).ram)


def test_video_hole_is_cut():
    assert ram_of([(0, 2 * MIB)]) == [(0, 0xA0000), (MIB, 2 * MIB)]
    assert ram_of([(0xA0000, MIB), (MIB, 2 * MIB)]) == [(MIB, 2 * MIB)]


def test_overlapping_and_adjacent_rows_are_joined():
    assert ram_of([(3 * MIB, 5 * MIB), (MIB, 2 * MIB), (2 * MIB, 4 * MIB)]) == [(MIB, 5 * MIB)]


@pytest.mark.parametrize(
    ("profile", "limit"), [("pre", TIB), ("ext5t", 5 * TIB), ("fold", 128 * TIB), ("xen-mask", 128 * TIB)]
)
@pytest.mark.parametrize("beyond", [-4096, 0, 4096])
def test_ram_is_clipped_at_the_limit(profile, limit, beyond):
    got = ram_of([(MIB, GIB), (limit - GIB, limit + beyond)], profile)
    assert got == [(MIB, GIB), (limit - GIB, limit + min(beyond, 0))]


def test_loop_of_2009_leaves_every_second_entry_above_the_limit():
    above = [(i * 200 * TIB, i * 200 * TIB + GIB) for i in range(1, 6)]
    ram = [(MIB, GIB), *above]
    assert ram_of(ram, "fold") == [(MIB, GIB), above[1], above[3]]
    assert ram_of(ram, "xen-4.17") == [(MIB, GIB)]


def test_loop_of_2009_steps_over_other_entries_too():
    rows = [
        MemoryRange(MIB, GIB),
        MemoryRange(200 * TIB, 201 * TIB),
        MemoryRange(202 * TIB, 203 * TIB, "reserved"),
        MemoryRange(204 * TIB, 205 * TIB),
    ]
    e820 = setup_e820(MemoryMap(tuple(rows)), PROFILES["fold"])
    assert e820.ram == ((MIB, GIB),)


def test_entries_that_survive_are_a_hazard():
    ram = [(MIB, GIB), (200 * TIB, 201 * TIB), (202 * TIB, 203 * TIB)]
    codes = {
        p: [h.code for h in xenmm.boot(MemoryMap.from_ranges(ram), p).hazards] for p in ("fold", "xen-mask")
    }
    assert "clip-survivor" in codes["fold"]
    assert "clip-survivor" not in codes["xen-mask"]


def test_other_e820_entries_win_over_ram():
    rows = (MemoryRange(MIB, GIB), MemoryRange(512 * MIB, 513 * MIB, "reserved"))
    e820 = setup_e820(MemoryMap(rows, format="linux-e820"), PROFILES["xen-offset"])
    assert e820.ram == ((MIB, 512 * MIB), (513 * MIB, GIB))
    assert [(r.start, r.end) for r in e820.lost] == [(512 * MIB, 513 * MIB)]


def test_what_is_lost_says_why():
    rows = (MemoryRange(0, 3 * GIB), MemoryRange(512 * MIB, 513 * MIB, "reserved"))
    machine = MemoryMap((*rows, MemoryRange(200 * TIB, 200 * TIB + GIB)), format="linux-e820")
    lost = setup_e820(machine, PROFILES["xen-offset"], mem=2 * GIB, availmem=GIB).lost
    # 1 GiB of RAM, less the hole of 384 KiB and the reserved MiB, ends that much above 1 GiB.
    end = GIB + 0x60000 + MIB
    assert [(r.start, r.end, r.reason) for r in lost] == [
        (512 * MIB, 513 * MIB, "another e820 entry overlaps it"),
        (0xA0000, MIB, "the video hole below 1 MiB"),
        (2 * GIB, 3 * GIB, "mem= on the command line"),
        (200 * TIB, 200 * TIB + GIB, "mem= on the command line"),
        (end, 2 * GIB, "availmem= on the command line"),
    ]
    (cut,) = setup_e820(MemoryMap.from_ranges([(MIB, 2 * TIB)]), PROFILES["pre"]).lost
    assert (cut.start, cut.reason) == (TIB, "above 1 TiB, where this version's tables end")


def test_ram_that_any_kernel_may_use_is_before_limits():
    rows = (
        MemoryRange(0, GIB),
        MemoryRange(512 * MIB, 513 * MIB, "reserved"),
        MemoryRange(200 * TIB, 201 * TIB),
    )
    machine = MemoryMap(rows, format="linux-e820")
    assert usable_ram(machine) == [
        (0, 0xA0000), (MIB, 512 * MIB), (513 * MIB, GIB), (200 * TIB, 201 * TIB),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [GIB - 1, GIB, GIB + 1])
def test_mem_is_the_highest_address(limit):
    assert ram_of([(MIB, 2 * GIB), (4 * GIB, 5 * GIB)], mem=limit) == [(MIB, limit)]


def test_availmem_is_the_most_ram():
    ram = [(MIB, 2 * GIB), (4 * GIB, 5 * GIB)]
    assert ram_of(ram, availmem=2 * GIB) == [(MIB, 2 * GIB), (4 * GIB, 4 * GIB + MIB)]
    assert ram_of(ram, availmem=3 * GIB) == ram


@pytest.mark.parametrize("ram", [[], [(0, 4095)], [(1, 4097)], [(4095, 8191)]])
def test_no_whole_page_is_an_error(ram):
    with pytest.raises(xenmm.MemoryMapError, match=r"no (whole page of )?RAM"):
        xenmm.boot(MemoryMap.from_ranges(ram))


def test_counts_of_frames():
    e820 = setup_e820(
        MemoryMap.from_ranges([(MIB + 1, 2 * MIB + 4095), (4 * MIB, 5 * MIB)]), PROFILES["xen-none"]
    )
    assert e820.ram_frames == 255 + 256
    assert e820.system_ram_frames == 256 + 256
    assert e820.max_page == 5 * MIB >> 12
