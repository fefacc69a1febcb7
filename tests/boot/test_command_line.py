"""Xen's boot options that change memory: applied, or warned of."""

from __future__ import annotations

import pytest

import xenmm
from xenmm.boot.command_line import parse_size, parse_xen
from xenmm.firmware.memory_map import MemoryMap, Stated

GIB = 1 << 30
RAM = [(0, 0x9F000), (1 << 20, 2 * GIB), (4 * GIB, 8 * GIB), (1 << 41, (1 << 41) + 4 * GIB)]
SRAT = [(0, 8 * GIB, 1, 0), (1 << 41, (1 << 41) + 4 * GIB, 1, 1), (1 << 42, (1 << 42) + GIB, 3, 1)]


def boot(line, profile="xen-mask", srat=SRAT, **kwargs):
    return xenmm.boot(MemoryMap.from_ranges(RAM, srat), profile, command_line=line, **kwargs)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4 << 20),
        ("1g", GIB),
        ("1G", GIB),
        ("0x10M", 16 << 20),
        ("010k", 8 << 10),
        ("5b", 5),
        ("2T", 2 << 40),
        ("0x10b", 0x10B << 10),
        ("", None),
        ("big", None),
        ("-1", None),
        ("0", 0),
    ],
)
def test_size_is_read_as_xen_reads_it(text, size):
    assert parse_size(text) == size


def test_mem_clips():
    host = boot("console=com1 mem=6G")
    assert host.plan.e820.ram[-1] == (4 * GIB, 6 * GIB)
    assert {r.reason for r in host.lost if r.start >= GIB} == {"mem= on the command line"}


def test_availmem_is_unknown_to_2009():
    assert boot("availmem=3G", "fold").plan.e820.ram == boot("", "fold").plan.e820.ram
    assert any("does not know" in h.text for h in boot("availmem=3G", "fold").hazards)
    assert boot("availmem=3G").used_ram_bytes < 3 * GIB


@pytest.mark.parametrize(
    "line", ["acpi=off", "acpi=ht", "numa=noacpi", "pdx-compress=off", "no-pdx-compress"]
)
def test_options_that_stop_the_compression(line):
    assert boot("").compression.kind == "mask"
    assert boot(line).compression.kind == "none"


def test_a_compression_switched_off_says_so():
    chosen = boot("pdx-compress=off").compression
    assert (chosen.method, chosen.reason) == ("mask", "switched off on the command line")
    assert chosen.base == 4 * GIB


def test_numa_off_keeps_the_compression_and_drops_hotplug():
    host = boot("numa=off")
    assert host.compression.kind == "mask"
    assert (boot("").plan.hotplug_end, host.plan.hotplug_end) == ((1 << 42) + GIB, 0)


def test_pdx_compress_is_unknown_to_4_17():
    assert boot("pdx-compress=off", "xen-4.17").compression.kind == "mask"


def test_a_xen_of_today_knows_every_option():
    assert parse_xen("pdx-compress=off").compress is False
    assert parse_xen("availmem=1G").availmem == GIB


def test_last_option_wins_and_zero_is_none():
    assert parse_xen("mem=1G mem=2G").mem == 2 * GIB
    assert parse_xen("mem=0").mem is None


@pytest.mark.parametrize("word", ["badpage=0x1234", "e820-mtrr-clip=1", "crashkernel=256M", "mem=lots"])
def test_what_is_not_applied_is_said(word):
    assert any(h.code == "option-not-applied" and word in h.text for h in boot(word).hazards)


def stated(line, form):
    machine = MemoryMap.from_ranges(RAM, SRAT)
    return MemoryMap(machine.ranges, machine.srat, format=form, stated=Stated(command_line=line))


def test_a_xen_logs_own_options_are_applied_by_default():
    assert xenmm.boot(stated("mem=6G", "xen-e820")).plan.e820.ram[-1][1] == 6 * GIB
    assert (
        xenmm.boot(stated("mem=6G", "xen-e820"), command_line="ignore").plan.e820.ram
        == xenmm.boot(stated("", "xen-e820")).plan.e820.ram
    )


def test_a_linux_logs_options_are_only_told():
    host = xenmm.boot(stated("root=/dev/sda1 mem=6G", "linux-e820"))
    assert host.plan.e820.ram[-1][1] > 6 * GIB
    told = [h.text for h in host.hazards if "not of Xen" in h.text]
    assert told == ["mem=6G: an option of the logged kernel, not of Xen; not applied"]


def test_made_up_nodes_are_told():
    notes = parse_xen("numa=fake=4 console=vga").notes
    assert notes == ("numa=fake=4: nodes are made up; tables stay as they are",)
    assert parse_xen("ept=fake numa=on").notes == ()


def test_what_rounding_to_pages_loses_at_either_end_is_part_of_a_page():
    ram = [(1 << 20, (1 << 20) + 0x1800), (2 << 20, (3 << 20) - 0x800), ((4 << 20) + 0x800, 5 << 20)]
    host = xenmm.boot(MemoryMap.from_ranges(ram))
    assert [(r.start, r.end, r.reason) for r in host.lost if r.start >= 1 << 20] == [
        ((1 << 20) + 0x1000, (1 << 20) + 0x1800, "part of a page"),
        ((3 << 20) - 0x1000, (3 << 20) - 0x800, "part of a page"),
        ((4 << 20) + 0x800, (4 << 20) + 0x1000, "part of a page"),
    ]
