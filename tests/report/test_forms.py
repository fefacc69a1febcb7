"""``xenmm convert``: the formula that is shown, worked by hand, gives the value that is shown."""

from __future__ import annotations

import re

import pytest

import xenmm
from xenmm.errors import ConfigError, FrameError
from xenmm.report.forms import forms_of, parse_value

GIB = 1 << 30
ROWS = [(1 << 20, 2 * GIB), (4 * GIB, 8 * GIB), (1024 * GIB, 1028 * GIB), (2048 * GIB, 2052 * GIB)]
PROFILES = ("pre", "fold", "sparse-m2p", "xen-4.17", "xen-mask", "xen-offset", "xen-none")


@pytest.fixture(scope="module", params=PROFILES)
def host(request):
    return xenmm.boot(xenmm.MemoryMap.from_ranges(ROWS, ROWS, name="four nodes"), request.param)


def usable(host):
    """Frames at the edges of every range that the profile can use."""
    for start, end in ROWS:
        yield from (m for m in (start >> 12, (start >> 12) + 1, (end >> 12) - 1) if host.mfn_valid(m))


def worked_by_hand(form, values):
    """The value that the formula's text gives, read as arithmetic."""
    text = form.how.partition(" = ")[0]
    if text.endswith("no compression"):
        text = text.partition(":")[0]
    text = re.sub(r"(direct map|frame table|Xen image) ", "", text)
    text = re.sub(r", \+", " +", text).removesuffix(" in the page")
    text = (
        re.sub(r"\bp[fd][nx]_p[fd][nx]_lookup\[.*\]", lambda m: form.how.rpartition(" ")[2], form.how)
        if "lookup" in text
        else text
    )
    text = text.rpartition(" = ")[2] if "lookup" in form.how else text
    return eval(text.replace("/", "//"), {"__builtins__": {}}, values)


@pytest.mark.parametrize("kind", ["mfn", "pdx", "page", "maddr", "virt"])
def test_every_form_leads_to_the_same_frame(host, kind):
    for mfn in usable(host):
        values = {f.name: f.value for f in forms_of(host, "mfn", mfn).forms}
        found = forms_of(host, kind, values[kind])
        assert {f.name: f.value for f in found.forms} == values
        assert found.valid
        assert values["page"] == host.mfn_to_page(mfn)
        assert values["virt"] == host.mfn_to_virt(mfn)


@pytest.mark.parametrize("kind", ["mfn", "pdx", "page", "maddr", "virt"])
def test_formulas_worked_by_hand_give_the_values(host, kind):
    for mfn in usable(host):
        values = {f.name: f.value for f in forms_of(host, "mfn", mfn).forms}
        for form in forms_of(host, kind, values[kind]).forms:
            if form.how != "given":
                assert worked_by_hand(form, values) == form.value, form


def test_offset_in_the_page_is_kept(host):
    mfn = next(usable(host))
    found = forms_of(host, "maddr", (mfn << 12) + 0x5A8)
    virt = next(f.value for f in found.forms if f.name == "virt")
    assert virt == host.maddr_to_virt((mfn << 12) + 0x5A8)
    assert {f.value for f in forms_of(host, "virt", virt).forms} == {f.value for f in found.forms}


def test_validity_is_mfn_valid_with_a_reason(host):
    for mfn in (0, 0x9FFFF, 0x100000, (16 * GIB) >> 12, (512 * GIB) >> 12, (3000 * GIB) >> 12, (1 << 52) - 1):
        found = forms_of(host, "mfn", mfn)
        assert found.valid == host.mfn_valid(mfn)
        assert found.why


def test_squeezed_image_of_another_frame_is_not_valid():
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ROWS, ROWS), "xen-offset")
    past = host.max_pdx + 5
    found = forms_of(host, "pdx", past)
    assert not found.valid


def test_frames_beyond_64_bit_addresses_are_refused(host):
    # A pdx can be any 64-bit number; the frame that the bare formula makes of it may have no address.
    for pdx in (1 << 52, (1 << 64) - 1):
        if host.pdx_to_mfn_unchecked(pdx) >= 1 << 52:
            with pytest.raises(FrameError, match="has no 64-bit machine address"):
                forms_of(host, "pdx", pdx)


def test_outside_every_table_is_refused(host):
    start = host.params["frametable_virt_start"]
    for kind, value in (
        ("page", start - 32),
        ("page", start + 1),
        ("page", host.params["frametable_virt_end"]),
        ("virt", host.params["directmap_virt_start"] - 1),
        ("virt", host.params["directmap_virt_end"]),
        ("mfn", 1 << 52),
    ):
        with pytest.raises(FrameError, match=hex(value)):
            forms_of(host, kind, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mfn:0", ("mfn", 0)),
        ("virt:0xFFFF_8300_0000_0000", ("virt", 0xFFFF830000000000)),
        ("pdx:1_000", ("pdx", 1000)),
    ],
)
def test_parse_value(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "mfn", "mfn:", "x:1", "mfn:1.0", "mfn:-1", "mfn:0x10000000000000000", "mfn:1__0", "mfn:1\u212a"],
)
def test_parse_value_refuses(text):
    with pytest.raises(ConfigError):
        parse_value(text)
