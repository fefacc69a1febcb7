"""What notebooks show: fragments that stand in any page, with the figures of the objects themselves."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import pytest
from html_page import Page

import xenmm
from xenmm.maps import bundled
from xenmm.report.inputs import load
from xenmm.report.layout import size
from xenmm.report.notebook import fragment
from xenmm.report.overhead import make_report
from xenmm.timing.replay import Input


@pytest.mark.parametrize("name", bundled())
def test_maps_hosts_and_reports_of_every_machine(name):
    memory_map, given = load(name)
    report = make_report(memory_map, given)
    for value in (memory_map, report, *report.hosts, report.hosts[0].overhead()):
        text = value._repr_html_()
        assert text == fragment(value) and Page(text).elements
        assert (
            text.startswith('<div class="xenmm">')
            and "<script" not in text
            and " id=" not in _without_patterns(text)
        )


def _without_patterns(text):
    return re.sub(r"<defs>.*?</defs>", "", text, flags=re.S)


def test_style_reaches_no_further_than_the_fragment():
    style = re.search(
        r"<style>(.*?)</style>", xenmm.MemoryMap.from_ranges([(0, 1 << 32)])._repr_html_(), re.S
    )[1]
    style = re.sub(r"/\*.*?\*/|:is\([^)]*\)|@media[^{]*\{", "", style, flags=re.S)
    heads = re.sub(r"\{[^{}]*\}|\}", ";", style).split(";")
    selectors = [s.strip() for head in heads for s in head.split(",") if s.strip()]
    assert len(selectors) > 50
    assert [s for s in selectors if ".xenmm" not in s.split()] == []


def test_map_without_ram_and_without_anything():
    assert "no RAM in 0 ranges" in xenmm.MemoryMap.from_ranges([])._repr_html_()
    assert "1 SRAT row" in xenmm.MemoryMap.from_ranges([], [(0, 4096)])._repr_html_()


def test_overhead_shows_its_figures():
    overhead = xenmm.boot(load("dell-r930")[0], "sparse-m2p").overhead()
    text = overhead._repr_html_()
    for value in overhead.costs.to_dict().values():
        assert size(value) in text or value == 0


def test_replay_shows_cycles_by_cause_and_misses():
    host = xenmm.boot(load("dell-r930")[0])
    result = xenmm.replay(host, Input(workload="grant-storm", accesses=5000))
    text = result._repr_html_()
    assert Page(text).elements
    for cause, cycles in result.cycles.items():
        assert cycles == 0 or f"{cycles:,}" in text, cause
    for name, counts in {**result.caches, **result.tlbs}.items():
        assert name in text and f"{counts.misses:,}" in text


def test_steps_show_what_each_changed():
    table = xenmm.steps(load("candidate-4x4g-64g")[0], "grant-storm", size=64)
    text = table._repr_html_()
    assert Page(text).elements
    for step in table.steps:
        assert step.profile in text and size(step.overhead["bytes"]["total"]) in text
        assert all(html.escape(change) in text for change in step.changes)


def test_two_maps_in_one_notebook_keep_their_patterns_apart():
    texts = [load(name)[0]._repr_html_() for name in ("dell-r7625-bergamo-32node", "sgi-origin-ip27")]
    first, second = (set(re.findall(r'id="([^"]+)"', text)) for text in texts)
    assert first and not first & second
    assert set(re.findall(r"url\(#([^)]+)\)", texts[0])) <= first


def test_nothing_else_is_shown():
    with pytest.raises(TypeError, match="no HTML for int"):
        fragment(1)


def test_renderer_is_imported_when_it_is_asked_for():
    code = (
        "import sys, xenmm; h = xenmm.boot(xenmm.MemoryMap.from_ranges([(0, 1 << 30)]));"
        "before = 'xenmm.report.notebook' in sys.modules; h._repr_html_();"
        "print(before, 'xenmm.report.notebook' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
