"""The JSON of a host, word by word: other programs read these names. Its figures are worked out by hand."""

from __future__ import annotations

import pytest

import xenmm
from xenmm.boot.frozen import value_text
from xenmm.firmware.memory_map import MemoryMap

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
RAM = [[0, 0x9F000], [MIB, 2 * GIB], [4 * GIB, 8 * GIB], [TIB, TIB + 4 * GIB + 4096]]
SRAT = [(0, 8 * GIB, 1, 0), (TIB, TIB + 8 * GIB, 1, 1)]
MACHINE = MemoryMap.from_ranges([tuple(r) for r in RAM], SRAT, name="two nodes")

# 8 GiB below, 4 GiB and a page above: 2 MiB of the compat table hold 2 GiB of frames.
COMPAT_M2P = {
    "name": "compat_m2p",
    "virt_start": 0xFFFF82D000000000,
    "virt_size_reserved": GIB,
    "size": GIB,
    "backed_bytes": 6 * MIB,
    "mapped_bytes": 6 * MIB,
    "chunks": [[0, 512, 1], [4 * MIB, 512, 2]],
    "fills": [[0, 2 * MIB, 0xFF], [4 * MIB, 4 * MIB, 0xFF]],
    "page_tables": {
        "leaf_1g": 0, "leaf_2m": 3, "leaf_4k": 0,
        "l3_tables": 1, "l2_tables": 1, "l1_tables": 0,
        "l3_static": 1, "l2_static": 0, "l1_static": 0,
    },
    "pt_allocated": 1,
}  # fmt: skip


def host(profile="xen-offset", **options):
    return xenmm.boot(MACHINE, profile, **options)


def test_every_name_and_figure():
    told = host(
        page_sizes="2m", compat_m2p=True, stack_guards=True, xen_phys_start=GIB,
        command_line="numa=off badpage=0x5",
    ).to_dict()  # fmt: skip
    tables, params = told.pop("tables"), told.pop("params")
    page_tables = sum(table["pt_allocated"] for table in tables.values()) * 4096
    assert told == {
        "schema": "xenmm-host/1",
        "machine": {
            "name": "two nodes",
            "format": "ranges",
            "sha256": MACHINE.sha256,
            "ram_bytes": 0x9F000 + 2047 * MIB + 8 * GIB + 4096,
            "top": TIB + 4 * GIB + 4096,
            "nodes": [0, 1],
        },
        "profile": {
            "name": "xen-offset",
            "source": "c447b7308b",
            "summary": "the 2026-08 tree with offset compression, x86's default",
        },
        "options": {
            "page_sizes": "2m",
            "compat_m2p": True,
            "hotplug": None,
            "hotplug_end": 0,
            "stack_guards": True,
            "xen_phys_start": GIB,
            "command_line": {
                "applied": ["numa=off"],
                "notes": ["badpage=0x5: takes single pages from the allocator; not applied"],
            },
        },
        "e820": {
            "ram": RAM,
            "ram_bytes": 0x9F000 + 2047 * MIB + 8 * GIB + 4096,
            "raw_max_page": (TIB + 4 * GIB >> 12) + 1,
        },
        # Regions of 8 GiB, the first at frame 0: 1 TiB is bit 28 of a frame number.
        "compression": {
            "kind": "offset",
            "method": "offset",
            "reason": "2 regions of 0x200000 frames, told apart by frame-number bits from 28 up",
            "base": 4 * GIB,
            "pfn_index_shift": 28,
            "pdx_index_shift": 21,
            "pdx_region_size": 1 << 21,
            "regions": [
                {"base_pfn": 0, "pages": 1 << 21, "pfn_idx": 0},
                {"base_pfn": 1 << 28, "pages": 1 << 21, "pfn_idx": 1},
            ],
        },
        "max_page": (TIB + 4 * GIB >> 12) + 1,
        "max_pdx": (12 * GIB >> 12) + 1,
        # Groups of 256 MiB: 2 GiB, then 4 GiB to 12 GiB and the group of one page.
        "groups_valid": [[0, 8], [16, 49]],
        "used": {"ranges": RAM[1:], "bytes": 2047 * MIB + 8 * GIB + 4096},
        "lost": {
            "ranges": [
                {"start": 0, "end": 0x9F000, "reason": "below 1 MiB: not given to the allocator"},
            ],
            "bytes": 0x9F000,
        },
        # What lies below 4 GiB first; the first 2 MiB come with Xen's image.
        "directmap_calls": [
            [2 * MIB, 2 * MIB >> 12, 2046 * MIB >> 12],
            [4 * GIB, 4 * GIB >> 12, 4 * GIB >> 12],
            [8 * GIB, TIB >> 12, (4 * GIB >> 12) + 1],
        ],
        "page_table_bytes": page_tables,
        "hazards": [
            {
                "code": "option-not-applied",
                "severity": "note",
                "text": "badpage=0x5: takes single pages from the allocator; not applied",
                "ranges": [],
                "bytes": 0,
            },
            {
                "code": "option-applied",
                "severity": "note",
                "text": "numa=off: a boot option that changes memory; applied",
                "ranges": [],
                "bytes": 0,
            },
        ],
    }  # fmt: skip
    assert list(tables) == ["frame_table", "m2p", "ro_m2p", "compat_m2p", "ro_compat_m2p", "direct_map"]
    assert tables["compat_m2p"] == COMPAT_M2P
    assert params["max_pdx"] == (12 * GIB >> 12) + 1
    assert params["pdx_group_valid"] == "ff00ffffffff01"
    assert params["pfn_bases"] == [0, 1 << 28, *[(1 << 64) - 1] * 62]


def test_a_mask_tells_its_bits():
    assert host("xen-mask").to_dict()["compression"] == {
        "kind": "mask",
        "method": "mask",
        "reason": "frame-number bits 21...27 are zero in every range",
        "base": 4 * GIB,
        "bits": [21, 27],
        "hole_shift": 7,
    }


def test_without_compression_only_the_reason_is_told():
    assert host("xen-none").to_dict()["compression"] == {
        "kind": "none",
        "method": "none",
        "reason": "built without compression",
        "base": 4 * GIB,
    }


def test_ranges_of_hazards_are_pairs_in_bytes():
    (hazard,) = host("pre").to_dict()["hazards"]
    assert hazard["ranges"] == [[TIB, TIB + 4 * GIB + 4096]]
    assert (hazard["code"], hazard["bytes"]) == ("ram-clipped", 4 * GIB + 4096)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_page", 0x1234, "0x1234"),
        ("pdx_index_shift", 21, "21"),
        ("pfn_pdx_hole_shift", 0, "0"),
        ("pdx_compression", "mask", "mask"),
        ("xen_phys_start", None, "not given"),
        ("pdx_group_valid", b"\xff\x81\x00", "10 of 24 bits set"),
        ("pfn_pdx_lookup", (0, 0x30, 0), "[1] 0x30"),
        ("pfn_bases", (16, (1 << 64) - 1, 17), "[0] 0x10, [2] 0x11"),
        ("pfn_bases", ((1 << 64) - 1,) * 2, "unused"),
    ],
)
def test_values_are_shown_as_people_read_them(name, value, text):
    assert value_text(name, value) == text


def test_parameters_print_as_columns_that_fit():
    lines = str(host().params).splitlines()
    assert lines[0].split() == ["parameter", "value", "unit", "rule", "written", "by"]
    starts = [lines[0].index(word) for word in ("value", "unit", "rule", "written by")]
    # Every column begins two blanks behind the longest cell of the one before it.
    for start in starts:
        assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines)
        assert any(line[start - 3] != " " for line in lines)
    assert not any(line.endswith(" ") for line in lines)
