"""What a log's own Xen printed, against what is computed from its rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import xenmm
from xenmm.boot.agreement import compare_with_log, profile_of_log
from xenmm.firmware.memory_map import MemoryMap, Stated

MAPS = Path(xenmm.__file__).parent / "maps"
LOGS = sorted(MAPS.glob("*.log"))


@pytest.mark.parametrize("log", LOGS, ids=lambda p: p.stem)
def test_every_bundled_console_agrees(log):
    machine = xenmm.read_map(log)
    assert profile_of_log(machine).name.endswith(log.stem.rsplit("-")[-1].replace("417", "4.17"))
    rows = compare_with_log(machine)
    assert {"compression", "RAM"} <= {row.what for row in rows}
    assert [str(row) for row in rows if row.agrees is not True] == []


def changed(**stated):
    machine = xenmm.read_map(MAPS / "b2-ldr-4nodes-1t-417.log")
    return replace(machine, stated=replace(machine.stated, **stated))


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ({"pfn_compression": ("PFN compression on bits 23...28",)}, "compression"),
        ({"ram_bytes": 4096}, "RAM"),
        ({"numa_rows": ("SRAT: Node 0 PXM 0 0-80000000",)}, "NUMA rows"),
    ],
)
def test_a_difference_is_told(stated, what):
    wrong = [row for row in compare_with_log(changed(**stated)) if row.agrees is False]
    assert [row.what for row in wrong] == [what]
    assert "differs" in str(wrong[0])


#: What a Xen with offsets chooses for four nodes of 16 GiB, 1 TiB apart, the first with 2 GiB below 4 GiB:
#: the size is a power of two, and what is subtracted is the base less that many sizes.
OFFSET = (
    "lookup shift 28, region size 0x800000; range 0 frames [0x0, 0x47ffff] in slot 0, offset 0x0; range 1 "
    "frames [0x10000000, 0x103fffff] in slot 1, offset 0xf800000; range 2 frames [0x20000000, 0x203fffff] in "
    "slot 2, offset 0x1f000000; range 3 frames [0x30000000, 0x303fffff] in slot 3, offset 0x2e800000"
)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (
            {"pfn_compression": ("PFN compression on bits 23...28",)},
            "compression: the log says bits 23...28, computed here: bits 23...27: differs",
        ),
        (
            {"pfn_compression": ("PFN compression using lookup table shift 29 and region size 0x800000",
                                 "range   3 [000012be80000, 000012c27ffff] PFN IDX   9 : 000012a680000")},
            "compression: the log says lookup shift 29, region size 0x800000; range 3 frames [0x12be80000, "
            "0x12c27ffff] in slot 9, offset 0x12a680000, computed here: " + OFFSET + ": differs",
        ),
        (
            {"pfn_compression": ("PFN compression table truncated, requires order 7",)},
            "compression: the log says table order 7 needed, computed here: " + OFFSET + ": differs",
        ),
        (
            {"pfn_compression": ("PFN compression yields no space gain, disabling",)},
            "compression: the log says no gain, computed here: " + OFFSET + ": differs",
        ),
        (
            {"pfn_compression": ()},
            "compression: the log says none, computed here: bits 23...27: cannot be compared",
        ),
        ({"ram_bytes": 4096}, "RAM: the log says 4 KiB, computed here: 67107452 KiB: differs"),
        (
            # An older row with its end, two of today with their last byte; what can be hot-plugged is no RAM.
            {"numa_rows": ("SRAT: Node 0 PXM 0 0-80000000",
                           "SRAT: Node 1 PXM 1 [0000000080000000, 00000000ffffffff]",
                           "SRAT: Node 2 PXM 2 [0000000100000000, 000000010fffffff] (hotplug)")},
            "NUMA rows: the log says 3 rows, 3 nodes, 4194304 KiB, computed here: 4 rows, 4 nodes, 69206016 "
            "KiB: differs",
        ),
    ],
)  # fmt: skip
def test_both_sides_are_told(stated, said):
    assert said in [str(row) for row in compare_with_log(changed(**stated))]


def test_silence_of_the_log_is_no_difference():
    rows = compare_with_log(changed(pfn_compression=()))
    assert [row.agrees for row in rows if row.what == "compression"] == [None]


def test_logs_of_others_are_not_compared():
    machine = MemoryMap.from_ranges([(1 << 20, 1 << 31)])
    assert compare_with_log(replace(machine, format="linux-e820", stated=Stated(ram_bytes=5))) == ()


def test_banks_of_arm_are_squeezed_from_the_first_one_up():
    banks = MemoryMap.from_ranges([(0x80000000, 0xFF000000), (0xF900000000, 0xF980000000)])
    stated = Stated(pfn_compression=("PFN compression on bits 21...22",))
    # Either tells that the log is of Arm: the architecture, or the format of an older reading.
    for of_arm in ({"format": "xen-arm"}, {"format": "xen-boot", "arch": "arm"}):
        (row,) = compare_with_log(replace(banks, stated=stated, **of_arm))
        assert str(row) == "compression: bits 21...22: agrees"
    (row,) = compare_with_log(replace(banks, stated=stated, format="xen-e820", arch="x86"))
    assert row.agrees is False


@pytest.mark.parametrize(
    ("version", "profile"),
    [
        (None, "xen-4.17"),
        ("4.9", "xen-4.17"),
        ("4.20.1", "xen-4.17"),
        ("4.21", "xen-offset"),
        ("5.0", "xen-offset"),
    ],
)
def test_version_without_a_line_tells_the_profile(version, profile):
    machine = MemoryMap.from_ranges([(1 << 20, 1 << 31)])
    stated = Stated(xen_version=version)
    assert profile_of_log(replace(machine, format="xen-e820", stated=stated)).name == profile


@pytest.mark.parametrize(
    ("form", "version", "is_xen"),
    [("xen-e820", None, True), ("xenmm-map", "4.17", True), ("xenmm-map", None, False), ("efi", None, False)],
)
def test_totals_are_compared_where_xen_stated_them(form, version, is_xen):
    machine = MemoryMap.from_ranges([(1 << 20, 1 << 31)])
    stated = Stated(ram_bytes=(1 << 31) - (1 << 20), xen_version=version)
    rows = compare_with_log(replace(machine, format=form, stated=stated))
    assert ("RAM: 2096128 KiB: agrees" in [str(row) for row in rows]) == is_xen


@pytest.mark.parametrize("log", LOGS, ids=lambda p: p.stem)
def test_an_srat_without_an_e820_still_tells_what_it_leads_to(log):
    machine = xenmm.read_map(log)
    alone = replace(machine, ranges=())
    if not machine.srat:
        assert [row.what for row in compare_with_log(alone)] == ["RAM"]
        return
    compressions = [row for row in compare_with_log(alone) if row.what == "compression"]
    whole = [row for row in compare_with_log(machine) if row.what == "compression"]
    # Without RAM there is no frame to reach, so nothing to compare where Xen found no hole.
    assert compressions in (whole, [])
    low = replace(alone, srat=tuple(r for r in machine.srat if r.end <= 1 << 32))
    off = replace(alone, srat=tuple(replace(r, flags=0) for r in machine.srat))
    assert all("none" in str(row) for row in compare_with_log(low) if row.what == "compression")
    assert [row for row in compare_with_log(off) if row.what == "compression"] == []


def test_a_row_across_4_gib_has_ram_from_there_on():
    # Nodes from 0 across 4 GiB: squeezing must leave [4 GiB, 18 GiB) whole, as the log's own Xen did.
    machine = xenmm.read_map(MAPS / "b2-ldr-4nodes-1t-417.log")
    alone = replace(machine, ranges=())
    (row,) = (row for row in compare_with_log(alone) if row.what == "compression")
    assert str(row) == "compression: bits 23...27: agrees"
