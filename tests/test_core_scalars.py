"""Conversions of one integer: equal to the slow model and to Xen's own numbers, on every 64-bit value."""

import numpy as np
import pytest
from hosts import assorted_params, domain_edges, freeze, golden_cases, golden_params, make_host, make_params
from hypothesis import given
from hypothesis import strategies as st
from oracle import CONVERSIONS, Oracle

from xenmm import _embed
from xenmm._core import FrozenParameters, _repeat, build_info
from xenmm.errors import FrameError

PARAMS = assorted_params()
HOSTS = {name: make_host(params) for name, params in PARAMS.items()}
ORACLES = {name: Oracle(params) for name, params in PARAMS.items()}
sets = pytest.mark.parametrize("name", PARAMS)
conversions = pytest.mark.parametrize("conversion", CONVERSIONS)


@sets
@conversions
def test_unchecked_equals_slow_model_at_every_edge(name, conversion):
    convert, model = getattr(HOSTS[name], f"{conversion}_unchecked"), getattr(ORACLES[name], conversion)
    for x in domain_edges(PARAMS[name], conversion):
        assert convert(x) == model(x), hex(x)


@sets
@conversions
def test_checked_converts_its_domain_and_refuses_the_rest(name, conversion):
    convert, oracle = getattr(HOSTS[name], conversion), ORACLES[name]
    refused = converted = 0
    for x in domain_edges(PARAMS[name], conversion):
        if oracle.in_domain(conversion, x):
            assert convert(x) == getattr(oracle, conversion)(x), hex(x)
            converted += 1
        else:
            with pytest.raises(FrameError, match=f"{conversion.partition('_')[0]} {x:#x} "):
                convert(x)
            refused += 1
    assert refused and converted


@sets
def test_mfn_valid_equals_slow_model_at_every_edge(name):
    for x in domain_edges(PARAMS[name], "mfn_valid"):
        assert HOSTS[name].mfn_valid(x) is ORACLES[name].mfn_valid(x), hex(x)


@given(x=st.integers(0, (1 << 64) - 1), name=st.sampled_from(list(PARAMS)), data=st.data())
def test_any_value_unchecked_is_the_formula_modulo_2_64(x, name, data):
    conversion = data.draw(st.sampled_from(CONVERSIONS))
    assert getattr(HOSTS[name], f"{conversion}_unchecked")(x) == getattr(ORACLES[name], conversion)(x)
    assert HOSTS[name].mfn_valid(x) is ORACLES[name].mfn_valid(x)


@given(name=st.sampled_from(list(PARAMS)), data=st.data())
def test_valid_frames_come_back_from_every_form(name, data):
    host, oracle = HOSTS[name], ORACLES[name]
    group = data.draw(st.sampled_from(sorted(oracle.groups)))
    mfn = oracle.pdx_to_mfn((group << 16) + data.draw(st.integers(0, 65535)))
    if not host.mfn_valid(mfn):
        return
    page, virt = host.mfn_to_page(mfn), host.mfn_to_virt(mfn)
    assert host.page_to_mfn(page) == host.virt_to_mfn(virt) == host.pdx_to_mfn(host.mfn_to_pdx(mfn)) == mfn
    assert host.page_to_virt(page) == host.page_to_mfn_to_virt(page) == virt
    assert host.virt_to_page(virt + 4095) == page
    assert host.virt_to_maddr(host.maddr_to_virt((mfn << 12) + 0x5A8)) == (mfn << 12) + 0x5A8


@pytest.mark.parametrize("profile", ["spm2p09", "spft09", "head_mask", "head_offset", "head_none"])
def test_samples_of_xens_own_functions(profile):
    for case in golden_cases():
        output = case["output"][profile]["1g"]
        host = make_host(golden_params(output))
        start = host.params.directmap_virt_start
        for sample in output["samples"]:
            mfn = sample["pfn"]
            assert host.mfn_to_pdx_unchecked(mfn) == sample["pdx"]
            assert host.pdx_to_mfn_unchecked(sample["pdx"]) == sample["back"]
            assert host.mfn_valid(mfn) is sample["valid"]
            if "maddr" in sample:
                # Addresses far past the direct map's end wrap, as Xen's unsigned long does.
                virt = (start + sample["dmapoff"]) % (1 << 64)
                assert host.maddr_to_virt_unchecked(sample["maddr"]) == virt
                assert host.virt_to_maddr_unchecked(virt) == sample["dmap_back"]


class Indexable:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


def test_integers_of_every_length_convert():
    host = make_host(make_params([], 0, 0))
    for bits in range(65):
        for x in {1 << bits, (1 << bits) - 1}:
            if x < 1 << 64:
                assert host.mfn_to_pdx_unchecked(x) == x


def test_objects_that_are_integers_convert():
    np = pytest.importorskip("numpy")
    host = HOSTS["none"]
    expected = host.mfn_to_page(1)
    for one in (True, Indexable(1), np.uint64(1), np.int8(1), np.uint16(1)):
        assert host.mfn_to_page(one) == expected
        assert type(host.mfn_to_page(one)) is int
        assert host.mfn_valid(one) is True
    high = HOSTS["none"].mfn_to_virt_unchecked(5)
    assert HOSTS["none"].virt_to_mfn(np.uint64(high)) == 5


@pytest.mark.parametrize("bad", [1.0, "1", None, [1], (1,), b"1", 1j, Indexable("1"), object()])
def test_what_is_no_integer_is_a_type_error_with_the_value(bad):
    for method in (HOSTS["none"].mfn_to_page, HOSTS["none"].mfn_to_page_unchecked, HOSTS["none"].mfn_valid):
        with pytest.raises(TypeError, match="mfn must be an integer"):
            method(bad)


@pytest.mark.parametrize(("bad", "text"), [(-1, "-1"), (1 << 64, "0x1" + "0" * 16), (-(1 << 70), "-1180")])
def test_integers_outside_64_bits_are_overflow_errors_with_the_value(bad, text):
    for value in (bad, Indexable(bad)):
        for method in (HOSTS["none"].page_to_virt, HOSTS["none"].page_to_virt_unchecked):
            with pytest.raises(OverflowError, match=f"page {text}"):
                method(value)
        with pytest.raises(OverflowError, match=f"mfn {text}"):
            HOSTS["none"].mfn_valid(value)


def test_refusals_name_the_limit_they_break():
    mask, offset = HOSTS["mask-9-bits-image"], HOSTS["offset-16-image"]
    params = mask.params
    first_unbacked = next(g for g in range(1 << 20) if not ORACLES["mask-9-bits-image"].group_valid(g << 16))
    cases = [
        (mask.mfn_to_page, params.max_page, f"is not below max_page {params.max_page:#x}"),
        (mask.mfn_to_page, params.pfn_hole_mask & -params.pfn_hole_mask, "inside the hole .pfn_hole_mask"),
        (mask.mfn_to_pdx, mask.pdx_to_mfn_unchecked(first_unbacked << 16), f"pdx group {first_unbacked:#x} "),
        (mask.pdx_to_mfn, params.max_pdx, f"is not below max_pdx {params.max_pdx:#x}"),
        (mask.page_to_virt, params.frametable_virt_start + 1, "not the start of a page_info record"),
        (mask.page_to_mfn, params.frametable_virt_start - 32, "outside the frame table"),
        (mask.virt_to_mfn, params.directmap_virt_end, "and the Xen image"),
        (mask.mfn_to_virt, 1 << 63, "past the direct map"),
        (offset.mfn_to_page, offset.params.pdx_region_size, "outside the region .0x0, "),
        (HOSTS["none"].virt_to_mfn, params.xen_virt_start, "xen_phys_start"),
    ]
    for method, value, text in cases:
        with pytest.raises(FrameError, match=f"{value:#x} .*{text}"):
            method(value)


def test_image_addresses_convert_only_when_its_place_is_known():
    virt = PARAMS["none"]["xen_virt_start"] + 0x123456
    assert HOSTS["none-image"].virt_to_maddr(virt) == 0x3C000000 + 0x123456
    assert HOSTS["offset-16-image"].virt_to_mfn(virt) == 0x3C123
    assert HOSTS["none-image"].virt_to_page(virt) == HOSTS["none-image"].mfn_to_page_unchecked(0x3C123)
    with pytest.raises(FrameError, match="Xen image"):
        HOSTS["none"].virt_to_maddr(virt)


def test_out_with_one_integer_is_a_type_error():
    with pytest.raises(TypeError, match="out= goes with an array"):
        HOSTS["none"].mfn_to_page(1, out=object())


class Indexed:
    """An integer object that is no int."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


def asked(function, value):
    try:
        return function(value)
    except FrameError as error:
        return str(error)


@pytest.mark.parametrize("mode", ["none-image", "mask-7-bits", "offset-2"])
@pytest.mark.parametrize("name", [*CONVERSIONS, "mfn_valid"])
def test_an_integer_of_another_type_is_answered_and_refused_as_an_int(mode, name):
    params = assorted_params()[mode]
    convert = getattr(make_host(params), name)
    for value in domain_edges(params, name):
        expected = asked(convert, value)
        assert asked(convert, Indexed(value)) == expected
        assert asked(convert, np.uint64(value)) == expected


def test_parameters_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        FrozenParameters(["max_page"], [], [], [])
    frozen = freeze(assorted_params()["none"])
    for ask in (frozen.writer, frozen.__getitem__):
        with pytest.raises(KeyError, match="no_such"):
            ask("no_such")
    assert repr(frozen).startswith("<BootParameters of ")


def test_what_was_built_is_told():
    told = build_info()
    assert told["array loops"] in told["runnable"].split()
    assert told["parameters ABI"] == 1
    assert isinstance(told["debug checks"], bool)


@pytest.mark.parametrize("mode", ["none", "mask-7-bits", "offset-2"])
def test_yardsticks_of_the_benchmarks_compute_what_they_time(mode):
    params = assorted_params()[mode]
    host, x = make_host(params), 0x12345
    expected = x
    for _ in range(3):
        expected = host.mfn_to_page_unchecked(expected)
    assert _embed.chained_mfn_to_page(host.capsule, x, 3) == expected
    assert _embed.returned(host) is host
    frames = np.arange(0x100, 0x200, dtype=np.uint64)
    out = np.zeros_like(frames)
    _repeat(host, "mfn_to_page", frames, out, 2)
    assert (out == host.mfn_to_page_unchecked(frames)).all()
    copied = np.zeros_like(frames)
    _embed.repeat_memcpy(frames.view(np.uint8), copied.view(np.uint8), 2)
    assert (copied == frames).all()
    with pytest.raises(ValueError, match="shorter"):
        _embed.repeat_memcpy(frames.view(np.uint8), copied.view(np.uint8)[1:], 1)
    with pytest.raises(ValueError, match="contiguous"):
        _repeat(host, "mfn_to_page", frames[::2], out[::2], 1)
