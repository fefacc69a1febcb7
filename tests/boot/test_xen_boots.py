"""Twelve real boots of Xen under an emulator: what its page tables held, against what is booted here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import xenmm
from xenmm.firmware.memory_map import MemoryMap

FOLDER = Path(__file__).parent.parent / "data" / "xen-boots"
BOOTS = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
PROFILES = {"4.17": "xen-4.17", "mask": "xen-mask", "offset": "xen-offset"}
MASKS = (
    "pfn_pdx_hole_shift",
    "pfn_pdx_bottom_mask",
    "ma_va_bottom_mask",
    "pfn_top_mask",
    "ma_top_mask",
    "pfn_hole_mask",
)
OFFSETS = (
    "pfn_index_shift",
    "pdx_index_shift",
    "pdx_region_size",
    "pfn_pdx_lookup",
    "pdx_pfn_lookup",
    "pfn_bases",
)


def boot(facts):
    """Boot the facts' machine as its Xen was built: the offset build alone had the compat M2P."""
    ram = [(start, end) for start, end, kind in facts["e820"] if kind == 1]
    srat = [(start, end, flags, node) for start, end, node, flags in facts["srat"]] or None
    return xenmm.boot(
        MemoryMap.from_ranges(ram, srat, name=facts["name"]),
        PROFILES[facts["xen"]],
        page_sizes="1g" if facts["cpu_page1gb"] else "2m",
        compat_m2p=facts["xen"] == "offset",
        stack_guards=True,
    )


def joined(extents):
    """Extents that touch and have the same page size, as one."""
    out = []
    for start, end, size in extents:
        if out and out[-1][1:] == (start, size):
            out[-1] = (out[-1][0], end, size)
        else:
            out.append((start, end, size))
    return out


@pytest.fixture(params=BOOTS, ids=lambda facts: facts["name"])
def facts(request):
    return request.param


@pytest.fixture
def host(facts):
    return boot(facts)


def test_there_are_twelve_boots():
    assert len(BOOTS) == 12


def test_limits_and_groups(facts, host):
    assert (host.max_page, host.max_pdx) == (facts["max_page"], facts["max_pdx"])
    assert [list(run) for run in host.groups_valid] == facts["pdx_group_valid"]
    assert host.plan.e820.system_ram_frames == facts["total_pages"]


def test_compression(facts, host):
    bits = facts["pfn_compression_effective"]
    if isinstance(bits, list):
        assert bits == [
            host.compression.bottom_shift,
            host.compression.bottom_shift + host.compression.hole_shift - 1,
        ]
    assert (host.compression.kind != "none") == (bits is not None)
    for name in MASKS + OFFSETS:
        if name in facts:
            wanted = facts[name]
            assert host.params[name] == (tuple(wanted) if isinstance(wanted, list) else wanted), name


@pytest.mark.parametrize("name", ["frametable", "m2p", "ro_m2p", "compat_m2p"])
def test_table_is_mapped_where_xen_mapped_it(facts, host, name):
    table = getattr(host, {"frametable": "frame_table"}.get(name, name))
    assert joined(table.extents() if table else ()) == joined(map(tuple, facts[name]))


def test_direct_map_above_4_gib(facts, host):
    above = host.params["directmap_virt_start"] + (4 << 30)
    wanted = [extent for extent in facts["directmap"] if extent[0] >= above]
    assert joined(e for e in host.direct_map.extents() if e[0] >= above) == joined(map(tuple, wanted))
