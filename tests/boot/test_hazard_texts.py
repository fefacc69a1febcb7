"""What each hazard says, whole: the words and figures that people act on."""

from __future__ import annotations

import pytest

import xenmm
from xenmm.boot.hazards import size_text
from xenmm.firmware.memory_map import MemoryMap

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
LOW = [(0, 0x9F000), (MIB, 2 * GIB)]
STRAY = ([*LOW, (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB), (256 * GIB, 257 * GIB)],
         [(0, 8 * GIB), (TIB, TIB + 4 * GIB)])  # fmt: skip
#: Nine ranges of 1 GiB, every 200 TiB.
FAR = [(i * 200 * TIB, i * 200 * TIB + GIB) for i in range(1, 10)]

SAID = [
    (
        *STRAY, "fold", "alias",
        "RAM [0x4000000000, 0x4040000000) has its base inside the squeezed hole, outside every SRAT entry: "
        "its frames share page_info records and direct-map addresses with lower memory. This version prints "
        "its compression line and dies of a page fault while it sets up its tables",
    ),
    (
        [(GIB, 2 * GIB), (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB)], [(GIB, 8 * GIB), (TIB, TIB + 4 * GIB)],
        "xen-offset", "mapped-elsewhere",
        "RAM [0x40000000, 0x80000000) is mapped at its own address early in boot, and the compression chosen "
        "later moves it: no SRAT entry begins near 0, as they do on x86. Its direct-map addresses lead "
        "elsewhere or nowhere, and the boot faults",
    ),
    (
        *STRAY, "xen-mask", "compression-fallback",
        "Xen prints that it compresses (frame-number bits 21...27 are zero in every range), then finds that "
        "RAM [0x4000000000, 0x4040000000) is not covered by the compression that the SRAT allows, and goes "
        "on without compression",
    ),
    (
        *STRAY, "xen-mask", "ram-outside-srat",
        "1 GiB of RAM [0x4000000000, 0x4040000000) is in no SRAT entry: Xen gives the nodes up and takes the "
        "machine for one node",
    ),
    (
        [*LOW, (15 * TIB, 17 * TIB)], None, "xen-4.17", "allocator-bug",
        "RAM [0xf0000000000, 0x110000000000) crosses 16 TiB without compression: this version stops at a BUG "
        "in the page allocator; the modern tree truncates the range",
    ),
    (
        [*LOW, (4 * GIB, 6 * GIB), (8 * GIB + 4096, 12 * GIB)],
        [(0, 6 * GIB, 1, 0), (8 * GIB + 4096, 12 * GIB, 1, 1)], "xen-none", "node-mid-group",
        "a NUMA node begins in the middle of a group of 65536 frames, at [0x200000000, 0x200001000): the "
        "group's first frame belongs to no node, and a debug build stops while it sets up the M2P",
    ),
    (
        [*LOW, (4 * GIB, 8 * GIB), (20 * TIB, 20 * TIB + 4 * GIB)],
        [(0, 8 * GIB), (20 * TIB, 20 * TIB + 4 * GIB)], "xen-none", "ram-beyond-max-pdx",
        "4 GiB of RAM [0x140000000000, 0x140100000000) has no place in the frame table and is not used; of "
        "it, more is used by xen-4.17, xen-mask, xen-offset",
    ),
    (
        [*LOW, (200 * TIB, 200 * TIB + GIB)], None, "xen-offset", "ram-clipped",
        "1 GiB of RAM [0xc80000000000, 0xc80040000000) is cut from the e820 and not used; no other profile "
        "here uses more",
    ),
    (
        [*LOW, *FAR], None, "fold", "clip-survivor",
        "RAM [0x1900000000000, 0x1900040000000), [0x3200000000000, 0x3200040000000), [0x4b00000000000, "
        "0x4b00040000000) and 1 more lies above 128 TiB, yet the clipping loop of this version steps over "
        "every second entry there and leaves it in: a debug build stops",
    ),
    (
        [*LOW, *FAR[:6]], None, "fold", "clip-survivor",
        "RAM [0x1900000000000, 0x1900040000000), [0x3200000000000, 0x3200040000000), [0x4b00000000000, "
        "0x4b00040000000) lies above 128 TiB, yet the clipping loop of this version steps over every second "
        "entry there and leaves it in: a debug build stops",
    ),
    (
        [(20 * TIB, 20 * TIB + GIB)], None, "xen-none", "no-ram-below-limit",
        "the first RAM entry is past max_pdx: Xen looks for the entry before it, which is not there: RAM "
        "[0x140000000000, 0x140040000000)",
    ),
    (
        [(0, 0x9F000)], None, "xen-offset", "no-usable-ram",
        "no whole page of RAM lies at or above 0x100000 within the limits: there is no heap",
    ),
    (
        [*LOW, (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB)],
        [(0, 8 * GIB, 1, 0), (TIB, TIB + 4 * GIB, 1, 1), (8 * GIB, TIB, 3, 0)], "xen-mask", "hotplug-window",
        "SRAT entries that can be hot-plugged, [0x200000000, 0x10000000000), defeat the compression, though "
        "no memory is there; without them: frame-number bits 21...27 are zero in every range",
    ),
    (
        [*LOW, (TIB - 2 * GIB, TIB)], None, "ext5t", "tables-outgrow-ram",
        "the tables need 11 GiB, more than the 3.999 GiB of RAM that can be used: the boot allocator runs "
        "dry and Xen stops",
    ),
]  # fmt: skip
SEVERITY = {
    "alias": "crash",
    "mapped-elsewhere": "crash",
    "compression-fallback": "note",
    "ram-outside-srat": "note",
    "allocator-bug": "crash",
    "node-mid-group": "assert",
    "ram-beyond-max-pdx": "lost",
    "ram-clipped": "lost",
    "clip-survivor": "assert",
    "no-ram-below-limit": "crash",
    "no-usable-ram": "crash",
    "hotplug-window": "note",
    "tables-outgrow-ram": "crash",
}


@pytest.mark.parametrize(("ram", "srat", "profile", "code", "text"), SAID, ids=[s[3] for s in SAID])
def test_words(ram, srat, profile, code, text):
    found = {h.code: h for h in xenmm.boot(MemoryMap.from_ranges(ram, srat), profile).hazards}
    assert found[code].text == text
    assert found[code].severity == SEVERITY[code]
    # Where a text names its places in full, these are the ranges.
    named = ", ".join(f"[{start:#x}, {end:#x})" for start, end in found[code].ranges[:3])
    assert named in text or code == "no-usable-ram"
    assert found[code].ranges or "[0x" not in text or code == "compression-fallback"


def test_without_usable_ram_the_ranges_are_what_the_firmware_has():
    found = {h.code: h for h in xenmm.boot(MemoryMap.from_ranges([(0, 0x9F000)])).hazards}
    assert found["no-usable-ram"].ranges == ((0, 0x9F000),)


def test_another_architecture_is_named():
    machine = MemoryMap.from_ranges([(0x80000000, 0x100000000)])
    (hazard,) = xenmm.boot(MemoryMap(machine.ranges, None, arch="arm")).hazards
    assert (hazard.code, hazard.severity, hazard.ranges) == ("other-arch", "note", ())
    assert hazard.text == (
        "the map is of a machine of another architecture (arm): it is booted as if an x86 machine had this"
        " memory"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (MIB - 1, "1024 KiB"),
        (MIB, "1 MiB"),
        (1536 * MIB, "1.5 GiB"),
        (TIB - GIB, "1023 GiB"),
        (TIB, "1 TiB"),
        (5 * TIB + TIB // 3, "5.333 TiB"),
    ],
)
def test_sizes(size, text):
    assert size_text(size) == text
