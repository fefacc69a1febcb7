"""The host itself: what it takes, what it tells, that it never changes, that cost follows the ranges."""

from __future__ import annotations

import copy
import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import xenmm
from xenmm.boot.frozen import PARAMETERS
from xenmm.boot.plan import BootOptions
from xenmm.boot.profiles import PROFILES, get_profile
from xenmm.firmware.memory_map import MemoryMap

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
RAM = [(0, 0x9F000), (MIB, 2 * GIB), (4 * GIB, 8 * GIB), (TIB, TIB + 4 * GIB + 4096)]
SRAT = [(0, 8 * GIB, 1, 0), (TIB, TIB + 8 * GIB, 1, 1)]
MACHINE = MemoryMap.from_ranges(RAM, SRAT, name="two nodes")
LOG = Path(xenmm.__file__).parent / "maps" / "b2-ldr-4nodes-1t-417.log"


def test_a_path_a_text_and_bytes_boot_alike():
    hosts = [xenmm.boot(s) for s in (LOG, str(LOG), LOG.read_text(), LOG.read_bytes(), xenmm.read_map(LOG))]
    assert len({(h.max_page, h.max_pdx, h.groups_valid, h.memory_map.sha256) for h in hosts}) == 1


@pytest.mark.parametrize("profile", PROFILES)
def test_json_is_versioned_and_plain(profile):
    told = xenmm.boot(MACHINE, profile).to_dict()
    assert told["schema"] == "xenmm-host/1"
    assert json.loads(json.dumps(told)) == told
    assert set(told["params"]) == {p.name for p in PARAMETERS}
    assert told["used"]["bytes"] + told["lost"]["bytes"] == told["machine"]["ram_bytes"]


@pytest.mark.parametrize("profile", PROFILES)
def test_pickle_is_map_and_options_booted_again(profile):
    host = xenmm.boot(MACHINE, profile, page_sizes="2m", stack_guards=True, xen_phys_start=GIB)
    again = pickle.loads(pickle.dumps(host))
    assert type(again) is xenmm.Host
    assert again.to_dict() == host.to_dict()
    assert len(pickle.dumps(host)) < 4096
    assert copy.copy(host) is host


@pytest.mark.parametrize("name", ["max_pdx", "plan", "params", "anything", "hazards"])
def test_nothing_can_be_set(name):
    host = xenmm.boot(MACHINE)
    with pytest.raises(AttributeError):
        setattr(host, name, 1)
    assert not hasattr(host, "__dict__")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "xen-5"}, "unknown profile 'xen-5'; one of pre, ext5t, fold, .*, xen-none"),
        ({"profile": None}, "unknown profile None"),
        ({"page_sizes": "4k"}, "'2m' or '1g'"),
        ({"hotplug": "yes"}, "hotplug is None, True or False, got 'yes'"),
        ({"compat_m2p": "no"}, "compat_m2p is None, True or False, got 'no'"),
        ({"stack_guards": "no"}, "stack_guards is True or False, got 'no'"),
        ({"command_line": 5}, "command_line"),
        ({"xen_phys_start": 4096}, "2 MiB-aligned"),
        ({"xen_phys_start": -1}, "2 MiB-aligned"),
        ({"xen_phys_start": "high"}, "machine address"),
    ],
)
def test_a_wrong_option_is_named(options, words):
    with pytest.raises(xenmm.ConfigError, match=words):
        xenmm.boot(MACHINE, **options)


def test_profiles_of_time_share_the_memory_of_sparse_m2p():
    same = [xenmm.boot(MACHINE, p).to_dict() for p in ("sparse-m2p", "map-page", "cse", "write-once")]
    for told in same:
        told["profile"] = None
    assert all(told == same[0] for told in same)


def test_exports_and_machines_take_their_options():
    host = xenmm.boot(MACHINE)
    header = host.export("c", prefix="server")
    assert isinstance(header, str)
    assert "server_mfn_to_pdx" in header
    assert "server_" not in host.export("c")
    machine = host.machine(flavour="naive", cpus=3)
    assert machine.host is host
    assert (machine.options["flavour"], machine.options["cpus"]) == ("naive", 3)


def test_options_of_nothing_said_are_those_of_2009():
    assert xenmm.boot(MACHINE, "pre").options == BootOptions()


#: Starts and ends in Xen's virtual address space: its config.h before the series of 2009, of it, and today.
VIRTUAL = {
    "pre": (
        (0xFFFF830000000000, 0xFFFF840000000000), (0xFFFF828400000000, 0xFFFF828800000000),
        (0xFFFF828000000000, 0xFFFF828400000000), (0xFFFF828C80000000, 0xFFFF828CC0000000),
        0xFFFF828C00000000,
    ),
    "fold": (
        (0xFFFF830000000000, 0xFFFF880000000000), (0xFFFF82F600000000, 0xFFFF830000000000),
        (0xFFFF828000000000, 0xFFFF82C000000000), (0xFFFF82C480000000, 0xFFFF82C4C0000000),
        0xFFFF82C400000000,
    ),
    "xen-mask": (
        (0xFFFF830000000000, 0xFFFFFF8000000000), (0xFFFF82E000000000, 0xFFFF830000000000),
        (0xFFFF828000000000, 0xFFFF82C000000000), (0xFFFF82D040000000, 0xFFFF82D080000000),
        0xFFFF82D000000000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("profile", VIRTUAL)
def test_virtual_layouts(profile):
    params = xenmm.boot(MACHINE, profile).params
    *spans, compat = VIRTUAL[profile]
    for name, span in zip(("directmap", "frametable", "rdwr_mpt", "xen"), spans, strict=True):
        assert (params[f"{name}_virt_start"], params[f"{name}_virt_end"]) == span
    assert params["rdwr_compat_mpt_virt_start"] == compat
    assert params["ro_mpt_virt_start"] == 0xFFFF800000000000


def test_a_profile_can_be_given_itself():
    assert xenmm.boot(MACHINE, get_profile("pre")).profile is PROFILES["pre"]


def test_every_parameter_names_its_writer():
    params = xenmm.boot(MACHINE).params
    assert params.writer("pfn_hole_mask") == "the choice of compression"
    assert params.writer("max_pdx") == "the walk over RAM"
    assert params.writer("directmap_virt_start") == "the modern virtual layout"
    assert all(params.writer(p.name) for p in PARAMETERS)


@pytest.mark.parametrize("profile", PROFILES)
def test_tables_lie_apart_in_virtual_space(profile):
    tables = [
        t for t in xenmm.boot(MACHINE, profile, compat_m2p=True).plan.tables if t.name != "ro_compat_m2p"
    ]
    spans = sorted((t.virt_start, t.virt_start + t.virt_size_reserved) for t in tables)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert all(t.size <= t.virt_size_reserved for t in tables)


@pytest.mark.parametrize("profile", PROFILES)
def test_conversions_agree_with_the_direct_maps_calls(profile):
    host = xenmm.boot(MACHINE, profile)
    for offset, mfn, count in host.plan.directmap_calls:
        start = host.params["directmap_virt_start"]
        assert host.mfn_to_virt(mfn) == start + offset
        frames = np.arange(mfn, mfn + min(count, 1000), dtype=np.uint64)
        assert (
            host.mfn_to_virt(frames) == start + offset + 4096 * np.arange(len(frames), dtype=np.uint64)
        ).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_group_bitmap_is_the_runs(profile):
    host = xenmm.boot(MACHINE, profile)
    bits = int.from_bytes(host.params["pdx_group_valid"], "little")
    assert bits == sum((1 << end) - (1 << start) for start, end in host.groups_valid)


@pytest.mark.parametrize("profile", PROFILES)
def test_cost_follows_the_ranges_and_not_the_span(profile):
    # 2,000 ranges up to 2^52: no table of the plan is longer than a few entries a range.
    step = (1 << 52) // 2000 & ~0xFFFF
    ram = [(MIB, 2 * GIB), *((i * step, i * step + 24 * MIB + 4096) for i in range(1, 2001))]
    host = xenmm.boot(MemoryMap.from_ranges(ram, ram[:900]), profile)
    lengths = [len(t.chunks) + len(t.fills) for t in host.plan.tables]
    assert max(lengths) <= 10 * len(ram)
    assert len(host.params["pdx_group_valid"]) <= 8192


def test_a_machine_that_a_profile_cannot_use_still_boots_to_nothing():
    host = xenmm.boot(MemoryMap.from_ranges([(2 * TIB, 2 * TIB + GIB)]), "pre")
    assert (host.max_page, host.max_pdx, host.used_ram_bytes) == (0, 0, 0)
    assert not host.mfn_valid(0)
    assert [h.code for h in host.hazards][:1] == ["no-usable-ram"]
    assert host.overhead().costs.frame_table == 0


@pytest.mark.parametrize("profile", PROFILES)
def test_ram_without_a_whole_page_makes_no_group_valid(profile):
    # It lies across a boundary of 2 MiB, where the early pass begins to map, in a group of its own.
    edge = GIB + 2 * MIB
    host = xenmm.boot(MemoryMap.from_ranges([(MIB, 256 * MIB), (edge - 100, edge + 100)]), profile)
    assert host.groups_valid == ((0, 1),)
    assert {count for _, _, count in host.plan.directmap_calls} & {0} == set()


def test_srat_alone_is_told_apart_from_no_map():
    machine = MemoryMap.from_ranges([], [(0, GIB)])
    with pytest.raises(xenmm.MemoryMapError, match="only 1 SRAT rows"):
        xenmm.boot(machine)


def test_a_host_prints_what_it_is():
    ram = [(1 << 20, 4 << 30), (1 << 40, (1 << 40) + (1 << 30))]
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram, name="two"), "xen-none")
    assert repr(host) == "<xenmm.Host 'two' xen-none none max_page=0x10040000 max_pdx=0x10040000>"
    assert "'unnamed'" in repr(xenmm.boot(xenmm.MemoryMap.from_ranges(ram)))
