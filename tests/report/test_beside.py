"""Linux's memory models in the report: text, JSON, and the sums behind them."""

from __future__ import annotations

import json

import pytest

import xenmm
from xenmm.cli import main
from xenmm.peers.linux import MODELS
from xenmm.report.beside import beside_linux
from xenmm.timing.cost import cost

GIB = 1 << 30
NODES = xenmm.MemoryMap.from_ranges(
    [(0, 2 * GIB), (1 << 40, (1 << 40) + 2 * GIB)], [(0, 2 * GIB), (1 << 40, (1 << 40) + 2 * GIB)]
)


def rows_of(memory_map, *profiles):
    hosts = [xenmm.boot(memory_map, profile) for profile in profiles or ("sparse-m2p", "xen-offset")]
    return {row.name: row for row in beside_linux(memory_map, hosts)}


def section(text):
    return text.partition("Beside Linux")[2].partition("\n\n")[0]


def test_rows_are_the_models_and_the_xens_of_today():
    assert list(rows_of(NODES)) == [*MODELS, "xen-offset"]
    assert list(rows_of(NODES, "pre", "fold")) == [*MODELS, "pre", "fold"]


def test_a_record_of_linux_is_twice_one_of_xen_s_where_both_are_sparse():
    rows = rows_of(NODES)
    assert rows["vmemmap"].record_bytes == 2 * rows["xen-offset"].record_bytes == 64 << 20
    assert rows["vmemmap"].described_bytes == rows["xen-offset"].described_bytes == 4 * GIB
    assert rows["flatmem"].described_bytes == (1 << 40) + 2 * GIB


def test_cycles_are_the_engine_s():
    rows = rows_of(NODES)
    assert rows["xen-offset"].conversion.latency == cost("mfn_to_page", "offset").latency
    assert rows["xen-offset"].validity.latency == cost("mfn_valid", "offset").latency
    assert rows["vmemmap"].conversion.latency < rows["xen-offset"].conversion.latency


def test_ram_past_46_bits_has_the_fifth_level_and_only_with_a_vmemmap():
    far = xenmm.MemoryMap.from_ranges([(0, GIB), (1 << 50, (1 << 50) + GIB)])
    rows = rows_of(far)
    assert (rows["vmemmap"].lost_bytes, rows["sparsemem"].lost_bytes) == (0, GIB)
    assert rows["vmemmap"].record_bytes == 32 << 20


def test_a_machine_that_linux_cannot_boot_has_no_rows():
    only_high = xenmm.MemoryMap.from_ranges([(0, 4096)])
    assert beside_linux(only_high, ()) == ()


@pytest.mark.parametrize("name", ["dell-r930", "taishan200-4node", "hyperv-hotplug-16t"])
def test_text_and_json_hold_the_same_figures(name, capsys):
    assert main(["report", name, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    facts, ram = report["beside_linux"], report["machine"]["ram_bytes"]
    assert [row["name"] for row in facts["rows"]][:3] == list(MODELS)
    assert main(["report", name, "--width", "80"]) == 0
    shown = section(capsys.readouterr().out)
    assert all(len(line) <= 80 for line in shown.splitlines())
    for row in facts["rows"][:3]:
        share = 100 * row["total_bytes"] / ram
        line = next(line for line in shown.splitlines() if line.split()[:1] == [row["name"]])
        assert f"{share:,.3f}%" in line or f"{share:,.1f}%" in line
        assert line.split()[-3:] == [str(c["latency"]) for c in row["cycles"].values()]


def test_equal_rows_of_xen_are_one(capsys):
    main(["report", "dell-r930", "--width", "80"])
    assert "Xen, any" in section(capsys.readouterr().out)
    main(["report", "taishan200-4node", "--width", "80"])
    shown = section(capsys.readouterr().out)
    assert "xen-mask" in shown and "*: cannot use all of the RAM." in shown
