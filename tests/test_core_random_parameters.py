"""Any boot parameters, not only those that a boot chooses: scalars and all loops against the slow model.

Holes at any bits, regions of any base and size, limits in the middle of a group, odd virtual layouts: what
the loops remember of neighbours must hold there too.
"""

import random

import numpy as np
import pytest
from hosts import LAYOUT, U64_MAX, make_host, make_params
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import CONVERSIONS, Oracle
from random_params import inputs, mask_changes, offset_changes, random_params

from xenmm import _core
from xenmm.errors import FrameError

KERNELS = [name for name, runs in _core._kernels().items() if runs]


@pytest.fixture(autouse=True)
def best_kernels_afterwards():
    yield
    _core._set_kernels(None)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
@example(seed=293686)
def test_every_conversion_of_random_hosts(seed):
    rng = random.Random(seed)
    params = random_params(rng)
    agree(params, lambda conversion: inputs(rng, params, conversion))


def agree(params, values_of):
    """Every conversion, scalar and in each loop, and validity give and refuse what the slow model does."""
    host, oracle = make_host(params), Oracle(params)
    agree_on_validity(host, oracle, values_of("mfn_valid"))
    for conversion in CONVERSIONS:
        values = values_of(conversion)
        array = np.array(values, dtype=np.uint64)
        model = [getattr(oracle, conversion)(x) for x in values]
        good = [oracle.in_domain(conversion, x) for x in values]
        checked, bare = getattr(host, conversion), getattr(host, f"{conversion}_unchecked")
        assert [bare(x) for x in values] == model, conversion
        for kernels in KERNELS:
            _core._set_kernels(kernels)
            assert bare(array).tolist() == model, (conversion, kernels)
            inside = array[good]
            assert checked(inside).tolist() == [y for y, fits in zip(model, good, strict=True) if fits]
            if not all(good):
                for out in (None, of_whole_lines(len(array))):
                    with pytest.raises(FrameError, match=f"at index {good.index(False)} "):
                        checked(array, out=out)


def of_whole_lines(count):
    """Room that begins with a cache line, so that no value is judged on the way to one."""
    room = np.empty(count + 8, dtype=np.uint64)
    return room[-(room.ctypes.data // 8) % 8 :][:count]


def agree_on_validity(host, oracle, values):
    model = [oracle.mfn_valid(x) for x in values]
    assert [host.mfn_valid(x) for x in values] == model
    for kernels in KERNELS:
        _core._set_kernels(kernels)
        assert host.mfn_valid(np.array(values, dtype=np.uint64)).tolist() == model, kernels


@pytest.mark.parametrize("groups", [4000, 5000])
@pytest.mark.parametrize("count", [8, 9, 16, 17, 24, 32, 33, 40, 41, 48, 49, 56, 57, 64])
def test_every_region_of_as_many_as_the_tables_hold(count, groups):
    """Loops hold the tables in as many registers as there are regions, eight entries in each."""
    rng = random.Random(count)
    params = make_params([(0, groups)], 1 << 60, groups << 16, **offset_changes(rng, count))
    bases = [base for base in params["pfn_bases"] if base != U64_MAX]
    frames = [base + i for base in bases for i in (0, 1, params["pdx_region_size"] - 1)]
    pdxs = [(i << params["pdx_index_shift"]) + 1 for i in range(count)]
    values = [*frames, *(x << 12 & U64_MAX for x in frames), *pdxs]
    values += [params["frametable_virt_start"] + 32 * x & U64_MAX for x in pdxs]
    values += [params["directmap_virt_start"] + 4096 * x & U64_MAX for x in pdxs]
    agree(params, lambda c: [*inputs(rng, params, c), *values])


@pytest.mark.parametrize("step", [1, 2, 3, 4, 8, 32, 1 << 15])
@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_neighbours_some_frames_apart_are_judged_by_their_own_group(step, bad):
    groups = [(group, group + 1) for group in range(4) if group != bad]
    params = make_params(groups, 4 << 16, 4 << 16)
    for start in (0, 1 << 15, 1 << 16, 3 << 15, 1 << 17, 3 << 16):
        frames = [start + step * i for i in range(70)]
        of_kind = {
            "maddr": [4096 * x for x in frames],
            "page": [params["frametable_virt_start"] + 32 * x for x in frames],
            "virt": [params["directmap_virt_start"] + 4096 * x for x in frames],
        }
        agree(params, lambda c, of=of_kind, frames=frames: of.get(c.partition("_")[0], frames))


@pytest.mark.parametrize("words", [15, 16, 17, 32, 33, 64, 65, 80])
def test_group_bitmaps_of_any_length(words):
    """Up to 64 words of it lie in registers; each word is unlike the others."""
    rng = random.Random(words)
    groups = [(64 * i + i % 60, 64 * i + i % 60 + 3) for i in range(words - 1)] + [
        (64 * words - 1, 64 * words)
    ]
    for changes in ({}, mask_changes(rng), offset_changes(rng, 3)):
        params = make_params(groups, 1 << 60, words << 22, **changes)
        agree(params, lambda c, params=params: inputs(rng, params, c))
        host, oracle = make_host(params), Oracle(params)
        frames = [oracle.pdx_to_mfn(group << 16) for group in rng.choices(range(64 * words), k=640)]
        agree_on_validity(host, oracle, frames)


@pytest.mark.parametrize("words", [65, 80, 128])
@pytest.mark.parametrize("compression", ["none", "offset"])
def test_a_group_past_the_words_in_registers_is_no_other_one(words, compression):
    rng = random.Random(words)
    groups = [(64 * i + i % 60, 64 * i + i % 60 + 3) for i in range(words)]
    changes = offset_changes(rng, 1) if compression == "offset" else {}
    if changes:
        # One region that holds them all.
        tables = {"pfn_pdx_lookup": [0] * 64, "pdx_pfn_lookup": [0] * 64, "pfn_bases": [0] + [U64_MAX] * 63}
        changes = {
            **changes,
            **tables,
            "pfn_index_shift": 40,
            "pdx_index_shift": 40,
            "pdx_region_size": 1 << 40,
        }
    params = make_params(groups, 1 << 60, words << 22, **changes)
    host, oracle = make_host(params), Oracle(params)
    valid = [group << 16 for start, end in groups[:64] for group in range(start, end)]
    for word in range(64, words):
        stranger = (64 * word + (word - 64) % 60) << 16
        assert not oracle.mfn_valid(stranger)
        crowd = rng.choices(valid, k=70)
        crowd[40] = stranger
        for kernels in KERNELS:
            _core._set_kernels(kernels)
            assert host.mfn_valid(np.array(crowd, dtype=np.uint64)).tolist() == [i != 40 for i in range(70)]
            for convert in (host.mfn_to_pdx, host.pdx_to_mfn):
                with pytest.raises(FrameError, match=" at index 40 "):
                    convert(np.array(crowd, dtype=np.uint64))


def test_a_run_of_frames_whose_pdx_wraps_is_not_all_in_the_direct_map():
    """The compressed numbers of one region go from just below 2^64 past 0."""
    offset = {
        "pdx_compression": "offset",
        "pfn_index_shift": 40,
        "pdx_index_shift": 40,
        "pdx_region_size": 1 << 39,
    }
    for below in (1, 8, 16, 40):
        tables = {"pfn_pdx_lookup": [below] + [0] * 63, "pfn_bases": [0] + [U64_MAX] * 63}
        params = make_params([(0, 64)], 1 << 60, 64 << 16, **offset, **tables, pdx_pfn_lookup=[below])
        for first in (0, below - 1, below, below + 1, 64):
            frames = range(first, first + 64)
            agree(params, lambda c, f=frames: [4096 * x for x in f] if c.startswith("maddr") else list(f))


@pytest.mark.parametrize("seed", range(6))
def test_a_direct_map_that_ends_inside_a_region(seed):
    rng = random.Random(seed)
    changes = offset_changes(rng, 7)
    size = 1 << changes["pdx_index_shift"]
    for pages in (1, size - 1, 3 * size, 3 * size + 1, 4 * size - 1, 5 * size + size // 2):
        end = LAYOUT["directmap_virt_start"] + 4096 * pages
        params = make_params([(0, 1 << 14)], U64_MAX, 1 << 30, **changes, directmap_virt_end=end)
        bases = [base for base in params["pfn_bases"] if base != U64_MAX]
        frames = [base + (pages + d) % size for base in bases for d in range(-20, 20)]
        values = [
            *frames,
            *(x << 12 & U64_MAX for x in frames),
            *range(end - 40 * 4096, end + 40 * 4096, 4096),
        ]
        agree(params, lambda c, params=params, values=values: [*inputs(rng, params, c), *values])


@pytest.mark.parametrize("bit", [20, 29, 30, 35, 41, 51])
def test_a_bit_that_no_mask_or_more_than_one_has(bit):
    """Frames then keep no order in compression, and no one limit judges them all."""
    rng = random.Random(bit)
    low, width = 30, 5
    bottom, hole = (1 << low) - 1, (1 << width) - 1 << low
    top = (U64_MAX & ~(bottom | hole)) ^ (1 << bit)
    masks = {"pfn_pdx_bottom_mask": bottom, "pfn_hole_mask": hole, "pfn_top_mask": top}
    virt = {"ma_va_bottom_mask": bottom << 12 | 0xFFF, "ma_top_mask": top << 12 & U64_MAX}
    params = make_params(
        [(0, 64)], U64_MAX, 64 << 16, pdx_compression="mask", pfn_pdx_hole_shift=width, **masks, **virt
    )
    frames = [x | high for high in (0, 1 << bit, 3 << bit) for x in range(1000, 1100)]
    agree(params, lambda c: [*inputs(rng, params, c), *frames, *(x << 12 & U64_MAX for x in frames)])


@pytest.mark.parametrize("shift", [51, 52, 53, 57])
def test_frames_past_52_bits_lose_some_on_their_way_through_an_address(shift):
    rng = random.Random(shift)
    compress, bases = [0] * 64, [U64_MAX] * 64
    bases[1] = 1 << shift
    compress[1] = 1 << shift
    params = make_params(
        [(0, 64)],
        U64_MAX,
        64 << 16,
        pdx_compression="offset",
        pfn_index_shift=shift,
        pdx_index_shift=22,
        pdx_region_size=1 << 22,
        pfn_pdx_lookup=compress,
        pdx_pfn_lookup=[1 << shift],
        pfn_bases=bases,
    )
    agree(params, lambda c: [*inputs(rng, params, c), *neighbours(params, c)])


def neighbours(params, conversion):
    """Runs of good inputs, long enough for a verdict on many at once."""
    first, step = {
        "page": (params["frametable_virt_start"], 32),
        "virt": (params["directmap_virt_start"], 4096),
        "maddr": (params["pfn_bases"][1] << 12 & U64_MAX, 4096),
        "pdx": (0, 1),
    }.get(conversion.partition("_")[0], (params["pfn_bases"][1], 1))
    return [first + step * i for i in range(300)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_validity_on_random_hosts(seed):
    rng = random.Random(seed)
    params = random_params(rng)
    agree_on_validity(make_host(params), Oracle(params), inputs(rng, params, "mfn_valid"))
