"""The page as a text: self-contained, the same each time, safe whatever a log holds, within its size."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from itertools import pairwise
from pathlib import Path

import colours
import pytest
from html_page import Page
from page_maps import one_frame, two_thousand_ranges

import xenmm
from xenmm.cli import main
from xenmm.firmware.memory_map import MemoryRange, Note, Source, SratRange
from xenmm.maps import bundled
from xenmm.report.assets import asset
from xenmm.report.html import report_page
from xenmm.report.inputs import Input, load
from xenmm.report.overhead import make_report
from xenmm.report.page.places import by_node, landings, within
from xenmm.report.page.virtual import STEPS as BAR_STEPS
from xenmm.report.page.virtual import bar
from xenmm.report.text import beside_rows

GIB = 1 << 30
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "<!--<script>",
    "&lt;b&gt;\x1b]0;title\x07\u2028\x00",
    "]]>{{7*7}}${1}",
)


def page_of(memory_map, name="made", **options):
    return report_page(make_report(memory_map, Input(name, None, None, False, {}), **options))


def bundled_page(name, **options):
    return report_page(make_report(*load(name), **options))


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_machine_has_a_sound_page(name):
    page = Page(bundled_page(name))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    assert linked - set(ids) == set() and {"linux", "hazards", "cost"} <= linked
    for tag, attributes in page.elements:
        for refers in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(refers, "").split()) <= set(ids), (tag, attributes)
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label"), attributes


def test_page_refers_to_nothing_outside_itself():
    text = bundled_page("taishan200-4node")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
        assert "src" not in attributes and not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert attributes["href"].startswith("#")
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", text)
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]


def test_policy_allows_the_one_script_and_nothing_else():
    page = Page(bundled_page("dell-r930"))
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    _, script = page.text_of("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_same_report_same_bytes():
    pages = {bundled_page("dell-r7625-bergamo-32node") for _ in range(2)}
    assert len(pages) == 1
    assert not re.search(r"20\d\d-\d\d-\d\dT", pages.pop())


def test_what_a_log_said_is_text_wherever_it_stands():
    for hostile in HOSTILE:
        source = Source(hostile, 3, hostile)
        memory_map = xenmm.MemoryMap(
            ranges=(
                MemoryRange(1 << 20, 2 * GIB, source=source),
                MemoryRange(3 * GIB, 4 * GIB, "reserved", hostile, source),
                MemoryRange(64 * GIB, 66 * GIB, source=source),
            ),
            srat=(SratRange(0, 2 * GIB, 0, source=source), SratRange(64 * GIB, 66 * GIB, 1, source=source)),
            name=hostile,
            format=hostile,
            arch=hostile,
            notes=(Note("warning", hostile, source, hostile, 4096),),
        )
        given = Input(hostile, 1, hostile, False, {"map": hostile})
        text = report_page(make_report(memory_map, given))
        page = Page(text)
        tags = {tag for tag, _ in page.elements}
        assert tags == {tag for tag, _ in Page(bundled_page("taishan200-4node")).elements} - {"mark"}
        assert sum(tag == "script" for tag, _ in page.elements) == 2
        facts = json.loads(page.text_of("script")[0])
        assert facts["other"][0][2] == hostile
        assert "\x1b" not in text and "\x00" not in text
        assert hostile.isprintable() is (hostile in page.text_of("h1")[0])
        for fragment in (memory_map, xenmm.boot(memory_map), make_report(memory_map, given)):
            assert not {"img", "script"} & {tag for tag, _ in Page(fragment._repr_html_()).elements}


def test_two_thousand_ranges_stay_under_two_megabytes():
    memory_map = two_thousand_ranges()
    assert len(memory_map.ram) == 2000
    text = page_of(memory_map)
    assert len(text.encode()) < 2_000_000
    starts = {a["data-at"] for _, a in Page(text).elements if "data-at" in a}
    assert starts == {f"{start:#x}" for start, _ in memory_map.ram}


def test_a_hundred_thousand_ranges_are_told_and_not_set_one_by_one():
    rows = [(at, at + 4096) for at in range(1 << 20, (1 << 20) + (100_000 << 16), 1 << 16)]
    text = page_of(xenmm.MemoryMap.from_ranges(rows), profiles=["xen-offset"])
    assert "100,000 ranges, too many to set one by one" in text
    assert len(text.encode()) < 10_000_000


@pytest.mark.parametrize("at", [1 << 20, (1 << 47) - 4096, (1 << 44) - 4096])
def test_one_frame(at):
    text = page_of(one_frame(at))
    assert f"{at:#x}" in text
    Page(text)


def test_any_choice_of_profiles_has_a_page():
    memory_map, given = load("taishan200-4node")
    for profiles in (["pre"], ["xen-none", "pre"], ["fold", "xen-offset"], ["xen-mask"], ["write-once"]):
        page = Page(report_page(make_report(memory_map, given, profiles=profiles)))
        options = [text for tag, text in page.texts if tag == "option"]
        assert options == profiles * 3


def test_facts_are_the_hosts_own():
    memory_map, given = load("taishan200-4node")
    report = make_report(memory_map, given)
    facts = json.loads(Page(report_page(report)).text_of("script")[0])
    for host, told in zip(report.hosts, facts["profiles"], strict=True):
        runs = facts["pool"][told["params"]["groups"]]
        assert list(zip(runs[::2], runs[1::2], strict=True)) == list(host.groups_valid)
        for row in facts["pool"][told["landings"]].split(";"):
            mfn, pdx, frames, _ = (int(word, 16) for word in row.split())
            for at in (0, frames - 1):
                assert host.mfn_to_pdx(mfn + at) == pdx + at and host.pdx_to_mfn(pdx + at) == mfn + at
        used = sum(int(row.split()[2], 16) << 12 for row in facts["pool"][told["landings"]].split(";"))
        assert used == host.used_ram_bytes


def test_pieces_cover_ram_once_and_know_their_node():
    for name in bundled():
        memory_map, _ = load(name)
        pieces = by_node(memory_map)
        assert sum(p.end - p.start for p in pieces) == memory_map.ram_bytes
        for a, b in pairwise(pieces):
            assert a.end <= b.start
        for piece in pieces:
            rows = [
                r
                for r in memory_map.srat or ()
                if r.flags & 1 and r.start < piece.end and r.end > piece.start
            ]
            covering = {r.node for r in rows if r.start <= piece.start and piece.end <= r.end}
            assert piece.node in covering if rows else piece.node is None


def test_landings_within():
    host = xenmm.boot(load("taishan200-4node")[0], "xen-mask")
    every = landings(host)
    assert within(every, 0, 1 << 52) == every
    one = every[2]
    (cut,) = within(every, one.mfn + 5, one.mfn + 8)
    assert cut == (one.mfn + 5, one.pdx + 5, 3, one.node)
    assert within(every, one.mfn + one.frames, one.mfn + one.frames) == []


def test_aliasing_ram_is_drawn_where_it_lands():
    # RAM whose base lies inside the squeezed hole, outside every SRAT entry: frames share pdx with others.
    rows = [(1 << 20, 2 * GIB), (4 * GIB, 6 * GIB), (1 << 40, (1 << 40) + 2 * GIB)]
    stray = (1 << 38, (1 << 38) + GIB)
    memory_map = xenmm.MemoryMap.from_ranges([*rows, stray], rows)
    host = xenmm.boot(memory_map, "sparse-m2p")
    assert any(h.code == "alias" for h in host.hazards)
    for each in landings(host):
        assert host.mfn_to_pdx_unchecked(each.mfn + each.frames - 1) == each.pdx + each.frames - 1
    Page(page_of(memory_map))


@pytest.mark.parametrize("profile", ["pre", "fold", "sparse-m2p", "xen-mask", "xen-offset"])
@pytest.mark.parametrize("page_sizes", ["2m", "1g"])
def test_bars_show_every_page_that_maps_a_table(profile, page_sizes):
    host = xenmm.boot(load("taishan200-4node")[0], profile, page_sizes=page_sizes)
    for table in host.plan.tables:
        text = bar(table)
        for page, name in ((GIB, "p1g"), (2 << 20, "p2m"), (4096, "p4k")):
            extents = [(a, b) for a, b, p in table.extents() if p == page]
            drawn = re.findall(rf'd="([^"]*)" class="{name}"', text)
            assert len(drawn) == bool(extents)
            boxes = re.findall(r"M(\d+) [\d.]+h(\d+)v", drawn[0]) if drawn else []
            steps = {s for x, w in boxes for s in range(int(x), int(x) + int(w))}
            middles = {(a + b) // 2 - table.virt_start for a, b in extents}
            assert all(min(m * BAR_STEPS // table.size, BAR_STEPS - 1) in steps for m in middles)


def test_waterfall_has_the_report_s_figures():
    report = make_report(*load("candidate-8x32g-512g"))
    rows = re.findall(r"<tr><th scope=\"row\">([\w.-]+)<small>.*?</tr>", report_page(report), re.S)
    assert [r for r in rows if r != "minimum"] == [h.profile.name for h in report.hosts]
    text = report_page(report)
    for share in ("14.185%", "4.614%", "3.931%", "1.001%", "−9.570%"):
        assert share in text


def test_linux_stands_beside_as_in_the_text():
    report = make_report(*load("taishan200-4node"))
    rows, notes = beside_rows(report)
    text = report_page(report)
    assert "vmemmap" in rows and all(note in html.unescape(text) for note in notes)
    for name, figures in rows.items():
        cells = "".join(f'<td class="n">{figure}</td>' for figure in figures)
        assert f'<th scope="row">{name}</th>{cells}' in text


def test_nothing_leads_to_linux_where_it_could_not_boot():
    only_high = xenmm.MemoryMap.from_ranges([(1 << 55, (1 << 55) + GIB)])
    page = page_of(only_high)
    assert 'id="linux"' not in page and "#linux" not in page and 'href="#cost"' in page


# Colours.


def variables():
    """Every colour of the style sheet by name: (light, dark)."""
    return {
        name: (light, dark)
        for name, light, dark in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\);", asset("style.css"))
    }


def test_every_colour_is_a_variable_with_two_values():
    text = asset("style.css") + asset("page.css")
    text = re.sub(r"--\w+: light-dark\([^)]*\);", "", text)
    text = text.replace("background: light-dark(#ffffff, #15181c)", "")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsl", text) == []
    named = set(re.findall(r"var\(--(\w+)\)", text))
    assert named <= set(variables())


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast(theme):
    c = {name: both[theme] for name, both in variables().items()}
    for name in ("ink", "soft", "link", "crash", "assert", "lost", "good"):
        for ground in ("bg", "panel"):
            assert colours.contrast(c[name], c[ground]) >= 4.5, (name, ground)
    # Labels stand on the nodes' colours in the colour of the ground; parts of figures need 3 to 1.
    for name in [n for n in c if re.fullmatch(r"n\d|nx", n)]:
        assert colours.contrast(c[name], c["bg"]) >= 4.5, name
    for name in ("c0", "c1", "c2", "c3"):
        assert colours.contrast(c[name], c["bg"]) >= 3 and colours.contrast(c[name], c["panel"]) >= 3, name


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("blindness", colours.BLINDNESS)
def test_colours_are_told_apart(theme, blindness):
    c = {name: both[theme] for name, both in variables().items()}
    # A just noticeable difference is about 2.3 on this scale.
    assert colours.nearest([c[f"n{i}"] for i in range(8)], blindness)[0] > 15
    assert colours.nearest([c[f"c{i}"] for i in range(4)], blindness)[0] > 15


# The command.


def test_command_writes_the_page_and_the_text(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", "dell-r930", "--html", str(out)]) == 0
    said = capsys.readouterr()
    assert "sparse-m2p" in said.out and said.err == ""
    assert out.read_text(encoding="utf-8") == bundled_page("dell-r930", **_options())
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def _options():
    return {"compat_m2p": None, "hotplug": None, "stack_guards": False, "command_line": None}


def test_command_writes_the_page_to_standard_output(tmp_path, capfdbinary):
    facts = tmp_path / "facts.json"
    assert main(["report", "dell-r930", "--html", "-", "--json", str(facts), "--profile", "fold"]) == 0
    out = capfdbinary.readouterr().out.decode()
    assert out == bundled_page("dell-r930", profiles=["fold"], **_options())
    assert json.loads(facts.read_text())["steps"][0]["profile"] == "fold"


def test_command_refuses_two_things_on_standard_output(capsys):
    assert main(["report", "dell-r930", "--html", "-", "--json", "-"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_command_says_where_it_could_not_write(tmp_path, capsys):
    missing = Path(tmp_path) / "no" / "page.html"
    assert main(["report", "dell-r930", "--html", str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err
