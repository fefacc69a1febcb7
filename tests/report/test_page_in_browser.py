"""The page in a real browser: what one clicks, types, hovers and prints, against the Python API."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from page_maps import one_frame, two_thousand_ranges

from xenmm.errors import MemoryMapError, XenmmError
from xenmm.maps import bundled
from xenmm.report.forms import forms_of, parse_value
from xenmm.report.html import report_page
from xenmm.report.inputs import Input, load
from xenmm.report.overhead import make_report
from xenmm.report.page.places import by_node

LOGS = sorted((Path(os.environ.get("XENMM_CORPUS", ".")) / "maps").glob("*.log"))
#: Real logs that are typed at, spread over the folder.
LOGS_TYPED = 12
MACHINES = (
    "taishan200-4node",
    "dell-r7625-bergamo-32node",
    "amd-purico-1536g",
    "hyperv-hotplug-16t",
    "b9-ldr-uneven-offset",
)


@pytest.fixture
def show(browser, tmp_path):
    """Open a report's page; what the console says at the end is a failure."""

    def open_page(report):
        path = tmp_path / "page.html"
        path.write_text(report_page(report), encoding="utf-8")
        browser.open(path)
        return browser

    browser.resize(1280, 900)
    browser.prefer("light")
    yield open_page
    assert browser.console() == []


def report_of(name, **options):
    memory_map, given = load(str(name))
    return make_report(memory_map, given, **options)


def made(memory_map):
    return make_report(memory_map, Input("made", None, None, False, {}))


def expected(host, text):
    try:
        return {"answer": forms_of(host, *parse_value(text)).to_dict()}
    except XenmmError as error:
        return {"error": str(error)}


def texts_for(host):
    """An address of every kind: in the last range, one past the end, and past the frame table."""
    first, end = (edge >> 12 for edge in host.plan.used[-1])
    p = host.params
    return (
        f"pdx:{host.mfn_to_pdx_unchecked(end - 1)}",
        f"page:{host.mfn_to_page_unchecked(first):#x}",
        f"maddr:{(end << 12) - 1:#x}",
        f"virt:{host.mfn_to_virt_unchecked(first) + 0xABC:#x}",
        f"mfn:{p['max_page']:#x}",
        f"page:{p['frametable_virt_end']:#x}",
    )


def type_at_every_profile(page, report, texts=texts_for):
    for host in report.hosts:
        page.choose("#convert-profile", host.profile.name)
        for text in texts(host):
            assert page.convert(text) == expected(host, text), (host.profile.name, text)


@pytest.mark.parametrize("name", MACHINES)
def test_typed_addresses_are_answered_as_by_the_api(show, name):
    report = report_of(name)
    type_at_every_profile(show(report), report)


def test_real_logs_are_answered_as_by_the_api(show):
    if not LOGS:
        pytest.skip("XENMM_CORPUS names no folder with maps/")
    typed = 0
    for path in LOGS[:: max(len(LOGS) // (LOGS_TYPED + 4), 1)]:
        try:
            report = report_of(path, profiles=("sparse-m2p", "xen-mask", "xen-offset"))
        except MemoryMapError:
            continue  # An excerpt without RAM.
        type_at_every_profile(show(report), report)
        typed += 1
    assert typed >= 10


def test_what_is_shown_of_an_answer(show):
    report = report_of("taishan200-4node")
    page = show(report)
    page.convert("mfn:0x202000000")
    shown = {row.find_element("css selector", "th").text: row.text for row in page.all("#convert-out tr")}
    host = report.host("xen-offset")
    for form in forms_of(host, "mfn", 0x202000000).forms:
        assert hex(form.value) in shown[form.name] and form.how in shown[form.name]
    assert page.find("#convert-out p").text.startswith("valid: mfn < max_page")
    page.find("#convert-value").clear()
    page.find("#convert-value").send_keys("mfn:0x100000000000")
    assert page.find("#convert-out p").text.startswith("not valid: ")


def test_examples_and_profile_follow_each_other(show):
    report = report_of("taishan200-4node")
    page = show(report)
    page.all("button.example")[2].click()
    text = page.find("#convert-value").get_attribute("value")
    assert text.startswith("page:")
    page.choose("#profile", "xen-mask")
    answer = json.loads(page.run("return document.getElementById('convert-out').dataset.answer"))
    assert {"answer": answer} == expected(report.host("xen-mask"), text)
    assert page.find("#convert-profile").get_attribute("value") == page.find("#profile").get_attribute(
        "value"
    )
    layout = [d.text for d in page.all("[data-profiles]") if d.is_displayed()]
    assert len(layout) == 1 and "xen-mask" in layout[0]


def panel(page):
    return page.find("#range-panel").text


def says(host, start, end):
    """What the panel must say of frames that a host uses: pdx, records and virtual addresses."""
    first, last = -(-start >> 12), (end >> 12) - 1
    for convert, unit in ((host.mfn_to_pdx, 1), (host.mfn_to_page, 32), (host.mfn_to_virt, 4096)):
        yield f"[{convert(first):#x}, {convert(last) + unit:#x})"


def test_every_range_is_reached_by_key_and_told(show):
    report = report_of("taishan200-4node")
    page = show(report)
    page.run("document.getElementById('explorer-box').focus()")
    page.keys("\ue011")  # Home: the first range or hole.
    pieces = by_node(report.memory_map)
    seen = []
    for _ in range(len(pieces) + len(report.memory_map.holes)):
        seen.append(panel(page))
        page.keys("\ue014")  # Arrow to the right.
    for i, piece in enumerate(pieces):
        (text,) = [t for t in seen if f"range {i + 1} of {len(pieces)}" in t]
        assert f"node {piece.node}" in text and f"[{piece.start:#x}, {piece.end:#x})" in text
        if piece.start >= 1 << 20:
            for host in (report.host("xen-mask"), report.host("xen-offset")):
                assert all(said in text for said in says(host, piece.start, piece.end))
    for start, end in report.memory_map.holes:
        assert any("Hole" in t and f"[{start:#x}, {end:#x})" in t for t in seen)


def test_hovering_and_clicking_tell_the_range_under_the_pointer(show):
    report = report_of("candidate-8x32g-512g")
    page = show(report)
    top = report.memory_map.top
    for piece in by_node(report.memory_map)[1:]:
        page.hover("#explorer", (piece.start + piece.end) / 2 / top, y=122)
        assert f"[{piece.start:#x}, {piece.end:#x})" in panel(page)
        # The same frames in the first pdx space, of xen-mask.
        host = report.host("xen-mask")
        middle = host.mfn_to_pdx((piece.start + piece.end) // 2 >> 12) / host.max_pdx
        page.hover("#explorer", middle, y=41)
        assert f"[{piece.start:#x}, {piece.end:#x})" in panel(page)
    rect = page.click(".folded [data-at]", 3)
    assert f"[{int(rect.get_attribute('data-at'), 16):#x}, " in panel(page)
    page.find("#range-panel button").click()
    assert page.find("#convert-value").get_attribute("value").startswith("mfn:0x")


def view(page):
    """What of the address space the figure shows, in bytes."""
    text = page.find("#scale").text.partition("[")[2].partition(")")[0]
    return tuple(int(edge, 16) for edge in text.split(", "))


def test_zoom_reaches_single_frames_and_comes_back(show):
    # One frame of RAM at the end of a 52-bit address space.
    report = made(one_frame(at=(1 << 47) - 4096))
    page = show(report)
    whole = view(page)
    assert whole[1] - whole[0] >= 1 << 46
    page.find("#range-smallest").click()
    start, end = view(page)
    assert end - start <= 16 * 4096 and start < (1 << 47) - 4096 < end
    assert page.run("return document.querySelectorAll('#explorer .thin').length") == 0
    assert page.all("#explorer .edge")
    page.hover("#explorer", ((1 << 47) - 2048 - start) / (end - start), y=122)
    assert f"convert mfn:{((1 << 47) - 4096) >> 12:#x}" in panel(page)
    page.find("#zoom-all").click()
    assert view(page) == whole
    page.run("document.getElementById('explorer-box').focus()")
    page.keys("++")
    assert view(page)[1] - view(page)[0] < (whole[1] - whole[0]) / 3
    page.keys("0")
    assert view(page) == whole


def test_small_ranges_are_marked_as_wider_than_they_are(show):
    page = show(report_of("taishan200-4node"))
    assert "narrower than 2 pixels" in page.find("#scale").text
    assert page.all("#explorer .thin")


def test_wheel_zooms_only_with_control_or_focus(show):
    page = show(report_of("taishan200-4node"))
    whole = view(page)
    wheel = (
        "document.getElementById('explorer').dispatchEvent(new WheelEvent('wheel',"
        "{deltaY: -300, ctrlKey: arguments[0], bubbles: true, cancelable: true, clientX: 300}))"
    )
    page.run(wheel, False)
    assert view(page) == whole
    page.run(wheel, True)
    assert view(page)[1] - view(page)[0] < whole[1] - whole[0]


def test_two_thousand_ranges(show):
    report = made(two_thousand_ranges())
    assert len(report.memory_map.ram) == 2000
    page = show(report)
    host = report.host("xen-offset")
    assert page.convert("mfn:0x20") == expected(host, "mfn:0x20")
    pieces = by_node(report.memory_map)
    page.click(".folded [data-at]", 1234)
    assert f"range 1235 of {len(pieces)}" in panel(page) and f"[{pieces[1234].start:#x}, " in panel(page)
    page.find("#range-after").click()
    assert f"[{pieces[1235].start:#x}, " in panel(page)
    # However many there are, a few shapes draw them.
    assert page.run("return document.querySelectorAll('#explorer *').length") < 600


def test_page_loads_nothing(show):
    page = show(report_of("dell-r930"))
    assert page.run("return performance.getEntriesByType('resource').length") == 0


def test_theme_follows_the_system_and_the_choice(show, browser):
    page = show(report_of("dell-r930"))
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    browser.prefer("dark")
    dark = page.run(ground)
    assert light == "rgb(255, 255, 255)" and dark != light
    page.find("input[value=light]").click()
    assert page.run(ground) == light
    browser.prefer("light")
    page.find("input[value=dark]").click()
    assert page.run(ground) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["taishan200-4node", "dell-r7625-bergamo-32node", "hp-rx2660-itanium"])
def test_axe_finds_no_barrier(show, browser, name, scheme):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed (make peers)")
    browser.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    try:
        page = show(report_of(name))
        browser.prefer(scheme)
        page.run((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        found = browser.driver.execute_async_script(
            "const done = arguments[0];"
            "axe.run(document).then((r) => done(r.violations), (e) => done(String(e)))"
        )
    finally:
        browser.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found] == []


def test_keyboard_reaches_every_control_and_shows_it(show):
    page = show(report_of("dell-r930"))
    wanted = page.run(
        "return [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex]')]"
        ".filter((e) => e.checkVisibility() && !(e.type === 'radio' && !e.checked)).length"
    )
    page.run("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")
    seen = 0
    for _ in range(wanted):
        page.keys("\ue004")
        where = page.run(
            "const e = document.activeElement, s = getComputedStyle(e);"
            "return [e === document.body, e.matches(':focus-visible') && s.outlineStyle !== 'none']"
        )
        assert where == [False, True], seen
        seen += 1
    assert seen == wanted > 20


def test_phone_scrolls_figures_and_not_the_page(show, browser):
    browser.resize(390, 844)
    for name in ("taishan200-4node", "dell-r7625-bergamo-32node"):
        page = show(report_of(name))
        assert page.run("return document.documentElement.scrollWidth") <= 390


def test_paper_shows_all_and_no_controls(show, browser):
    report = report_of("taishan200-4node")
    page = show(report)
    assert page.run("return document.querySelector('details').open") is False
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = page.run(
            "const visible = (e) => e.getClientRects().length > 0;"
            "return [[...document.querySelectorAll('.control, nav, form')].filter(visible).length,"
            " [...document.querySelectorAll('[data-profiles]')].filter(visible).length,"
            " document.querySelectorAll('[data-profiles]').length]"
        )
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown[0] == 0 and shown[1] == shown[2] > 1
    options = {"printBackground": True, "preferCSSPageSize": True}
    pdf = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", options)["data"])
    assert pdf.startswith(b"%PDF") and b"/Count" in pdf


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_machine_opens_without_complaint(show, name):
    page = show(report_of(name))
    assert page.find("h1").text and page.all("#explorer path")
    assert page.find("#convert-error").text == ""
