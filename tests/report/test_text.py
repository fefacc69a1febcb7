"""The report as people see it: widths, what is always there, and no figure that the JSON does not have."""

from __future__ import annotations

import itertools
import json

import pytest

import xenmm
from xenmm.maps import bundled
from xenmm.report.host_text import render_host
from xenmm.report.inputs import load
from xenmm.report.json import host_to_dict, report_to_dict
from xenmm.report.overhead import STEPS, make_report
from xenmm.report.text import limit_losses, render_report

GIB = 1 << 30


def reported(name, **options):
    memory_map, given = load(name)
    return make_report(memory_map, given, **options)


@pytest.mark.parametrize("name", bundled())
@pytest.mark.parametrize("width", [80, 120])
def test_every_bundled_machine_fits_the_width(name, width):
    for page_sizes in ("2m", "1g"):
        report = reported(name, page_sizes=page_sizes, compat_m2p=True)
        text = render_report(report, width)
        assert [line for line in text.splitlines() if len(line) > width] == []
        assert not any(line != line.rstrip() for line in text.splitlines())
        assert all(step in text for step in STEPS)
    host = xenmm.boot(report.memory_map)
    assert [line for line in render_host(host, report.input, width).splitlines() if len(line) > width] == []


def test_the_widest_machine_fits_too():
    # 15 TiB of RAM in 16 nodes up to the end of 52-bit addresses.
    ram = [(0, 2 * GIB), *((i << 48, (i << 48) + 1000 * GIB) for i in range(1, 16))]
    report = make_report(xenmm.MemoryMap.from_ranges(ram, ram, name="wide"), reported("dell-r930").input)
    for width in (80, 120):
        assert max(map(len, render_report(report, width).splitlines())) <= width


@pytest.mark.parametrize(
    "name", ["dell-r930", "taishan200-4node", "b7-ldr-hotplug-mask", "candidate-13x576m-8g"]
)
def test_json_holds_what_the_text_shows(name):
    report = reported(name)
    facts = json.loads(json.dumps(report_to_dict(report)))
    assert facts["schema"] == "xenmm-report/1"
    assert facts["xenmm"] == xenmm.__version__
    assert len(facts["input"]["sha256"]) == 64
    assert facts["options"] == {"page_sizes": "1g"}
    assert [s["profile"] for s in facts["steps"]] == list(STEPS)
    assert facts["machine"]["ram_bytes"] == report.memory_map.ram_bytes
    assert len(facts["machine"]["notes"]) == len(report.memory_map.notes)
    text = render_report(report, 80)
    for step in facts["steps"]:
        assert step["bytes"]["total"] == sum(v for k, v in step["bytes"].items() if k != "total")
        share = 100 * step["bytes"]["total"] / facts["machine"]["ram_bytes"]
        assert f"{share:,.3f}%" in text
        assert step["used_ram_bytes"] + step["lost"]["bytes"] == facts["machine"]["ram_bytes"]


def test_profiles_that_lose_ram_are_marked():
    ram = [(0, 2 * GIB), (4 * GIB, 8 * GIB), (1500 * GIB, 1600 * GIB)]
    report = make_report(xenmm.MemoryMap.from_ranges(ram, ram), reported("dell-r930").input)
    text = render_report(report, 80)
    for host in report.hosts:
        starred = f"  {host.profile.name} *" in text
        assert starred == (limit_losses(host) > 0) == (host.profile.name == "pre")
    assert "100 GiB" in text
    assert "cannot use all of the RAM" in text


def test_mask_and_offset_stand_side_by_side_with_their_own_figures():
    lines = render_report(reported("taishan200-4node"), 80).splitlines()
    start = next(i for i, line in enumerate(lines) if "side by side" in line)
    block = list(itertools.takewhile(str.strip, lines[start:]))
    assert "mfn bits 27 to 32" in block[1] and "2 regions" in block[1]
    assert "0xe000000" in "".join(block) and "0xc000000" in "".join(block)


def test_options_reach_every_boot():
    report = reported("dell-r930", page_sizes="2m", compat_m2p=False, profiles=["fold", "xen-none", "fold"])
    assert [h.profile.name for h in report.hosts] == ["fold", "xen-none"]
    assert all(h.options.page_sizes == "2m" and h.compat_m2p is None for h in report.hosts)
    assert "pages up to 2 MiB" in render_report(report, 80)


def test_host_document_is_plain_json():
    memory_map, given = load("b2-ldr-4nodes-1t-offset")
    facts = json.loads(json.dumps(host_to_dict(xenmm.boot(memory_map), given)))
    assert facts["schema"] == "xenmm-boot/1"
    assert facts["host"]["schema"] == "xenmm-host/1"


def test_profiles_that_would_not_survive_are_marked():
    # RAM at 64 GiB that no SRAT entry covers lies inside the hole: frames alias, and old versions crash.
    srat = [(0, 2 * GIB), (4 * GIB, 8 * GIB), (1024 * GIB, 1028 * GIB)]
    report = make_report(
        xenmm.MemoryMap.from_ranges([*srat, (64 * GIB, 65 * GIB)], srat), reported("dell-r930").input
    )
    text = render_report(report, 80)
    for host in report.hosts:
        crashes = any(h.severity == "crash" for h in host.hazards)
        assert (f"  {host.profile.name} !" in text or f"  {host.profile.name} *!" in text) == crashes
    assert any(h.severity == "crash" for h in report.host("xen-4.17").hazards)
    assert "does not survive" in text
