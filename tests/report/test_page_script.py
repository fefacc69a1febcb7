"""The page's arithmetic and its reading of what one types: the same as the Python API's, word for word."""

from __future__ import annotations

import json
import random
from pathlib import Path

import page_script
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xenmm
from xenmm.errors import XenmmError
from xenmm.maps import bundled
from xenmm.report.forms import KINDS, forms_of, parse_value
from xenmm.report.inputs import load
from xenmm.report.overhead import STEPS

VECTORS = Path(__file__).parent.parent / "data" / "vectors.json"

pytestmark = pytest.mark.skipif(page_script.NODE is None, reason="no node: the page's script cannot run")


@pytest.fixture(scope="module")
def script():
    started = page_script.Script()
    yield started
    started.close()


def python_answer(text, host=None):
    """What the Python API says to the text: an answer, or its error's text."""
    try:
        kind, value = parse_value(text)
        return {"answer": [kind, hex(value)] if host is None else forms_of(host, kind, value).to_dict()}
    except XenmmError as error:
        return {"error": str(error)}


def test_one_file_of_vectors(script):
    from hosts import make_host

    for name, case in json.loads(VECTORS.read_text()).items():
        params = {**case["params"], "pdx_group_valid": bytes.fromhex(case["params"]["pdx_group_valid"])}
        for key in ("pfn_pdx_lookup", "pdx_pfn_lookup", "pfn_bases"):
            params[key] = tuple(params[key])
        ask = script.conversions(make_host(params))
        for conversion, vectors in case["conversions"].items():
            got = [hex(int(y)) for y in ask(conversion, [int(x, 16) for x in vectors["x"]])]
            assert got == vectors["y"], (name, conversion)


def interesting(host, rng):
    """Texts to type: edges of everything the host has, at -1, 0 and +1, random ones, and nonsense."""
    p = host.params
    frames = {edge >> 12 for run in host.memory_map.ram for edge in run} | {
        p["max_page"],
        1 << 52,
        (1 << 64) - 1,
    }
    pdxs = {
        p["max_pdx"],
        (1 << 52) - 1,
        (1 << 64) - 1,
        *(edge << 16 for run in host.groups_valid for edge in run),
    }
    known = {
        "mfn": frames,
        "pdx": pdxs | {host.mfn_to_pdx_unchecked(f) for f in frames if f < 1 << 52},
        "page": {
            p["frametable_virt_start"],
            p["frametable_virt_end"],
            *(p["frametable_virt_start"] + 32 * x for x in pdxs),
        },
        "maddr": {f << 12 for f in frames},
        "virt": {
            p["directmap_virt_start"],
            p["directmap_virt_end"],
            p["xen_virt_start"],
            p["xen_virt_end"],
            *(p["directmap_virt_start"] + (x << 12) for x in pdxs),
        },
    }
    for kind in KINDS:
        values = {(v + d) % (1 << 64) for v in known[kind] for d in (-1, 0, 1)}
        values |= {rng.getrandbits(rng.randint(1, 64)) for _ in range(20)}
        for value in rng.sample(sorted(values), min(40, len(values))):
            yield rng.choice((f"{kind}:{value:#x}", f"{kind}:{value}", f"{kind}:{value:_}"))


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_machine_converts_alike(script, name):
    memory_map, _ = load(name)
    rng = random.Random(name)
    for profile in STEPS:
        host = xenmm.boot(memory_map, profile)
        texts = list(interesting(host, rng))
        for text, got in zip(texts, script.forms(texts, host), strict=True):
            assert got == python_answer(text, host), (profile, text)


def test_addresses_inside_the_xen_image(script):
    memory_map, _ = load("taishan200-4node")
    for profile in ("xen-mask", "xen-offset", "xen-none"):
        host = xenmm.boot(memory_map, profile, xen_phys_start=0x60000000)
        start, end = host.params["xen_virt_start"], host.params["xen_virt_end"]
        texts = [f"virt:{v:#x}" for v in (start - 1, start, start + 0x1234, end - 1, end)]
        assert script.forms(texts, host) == [python_answer(text, host) for text in texts]


TYPED = (
    "",
    ":",
    "mfn",
    "mfn:",
    "mfn:0x",
    "mfn:010",
    "mfn:0_0",
    "mfn:0b1_01",
    "mfn:0o17",
    "MFN:1",
    "mfn :1",
    " mfn:1",
    "mfn: 12 ",
    "mfn:1__2",
    "mfn:_1",
    "mfn:1_",
    "mfn:+5",
    "mfn:-0",
    "mfn:-1",
    "mfn:- 1",
    "mfn:0x1_0",
    "mfn:0X1F",
    "pdx:18446744073709551615",
    "pdx:18446744073709551616",
    "pdx:-18446744073709551616",
    "virt:'quoted'",
    "mfn:\"both'",
    "page:1e3",
    "page:١٢",
    "page:\U0001d7d8\U0001d7f6",
    "page:０x１f",
    "maddr:\t7\n",
    "maddr:\x1c7",
    "maddr:\xa07\u2003",
    "maddr:\ufeff7",
    "mfn:\x00",
    "mfn:\u200b1",
    "mfn:" + "9" * 90,
    "mfn:0x" + "0" * 5000 + "1",
    "mfn:" + "0" * 4300,
    "mfn:" + "0" * 4301,
    "kind:" + "x" * 100,
    "mfn:🙂",
    "mfn:\\n",
    "é:1",
    "mfn:1:2",
    "pfn:1",
    "mfm:0x10",
    "virtual:1",
    "madr:1",
    "pagee",
    "Page:1",
    "xmfnx:2",
    "mfn:4G",
    "maddr:512MiB",
    "maddr:1t",
    "mfn:1234567890123G",
    "mfn:1\u212a",
    "mfn:4 G",
    "mfn:٤G",
)


def test_typing_is_read_as_python_reads_it(script):
    for text, got in zip(TYPED, script.forms(TYPED), strict=True):
        assert got == python_answer(text), ascii(text)


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.text("mfnpdxagervitMFN:", max_size=9),
            st.builds("{}:{}".format, st.sampled_from(KINDS), st.text(max_size=10)),
            st.builds(
                "{}:{}".format, st.sampled_from(KINDS), st.text("0123456789xXabobO_+- \t١０kMGiB", max_size=8)
            ),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_text_is_read_as_python_reads_it(script, texts):
    # Of characters that a newer Unicode assigns, node and Python may think otherwise.
    texts = [t for t in texts if t.isascii() or all(c.isprintable() or ord(c) < 0x3000 for c in t)]
    for text, got in zip(texts, script.forms(texts), strict=True):
        assert got == python_answer(text), ascii(text)
