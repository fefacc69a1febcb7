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


def test_silence_of_the_log_is_no_difference():
    rows = compare_with_log(changed(pfn_compression=()))
    assert [row.agrees for row in rows if row.what == "compression"] == [None]


def test_logs_of_others_are_not_compared():
    machine = MemoryMap.from_ranges([(1 << 20, 1 << 31)])
    assert compare_with_log(replace(machine, format="linux-e820", stated=Stated(ram_bytes=5))) == ()


def test_banks_of_arm_are_squeezed_from_the_first_one_up():
    banks = MemoryMap.from_ranges([(0x80000000, 0xFF000000), (0xF900000000, 0xF980000000)])
    stated = Stated(pfn_compression=("PFN compression on bits 21...22",))
    (row,) = compare_with_log(replace(banks, format="xen-arm", arch="arm", stated=stated))
    assert row.agrees


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
