"""Conversions of arrays: every table of loops gives what the scalar methods give, on any layout of memory.

The scalar methods are held to the slow model in test_core_scalars.py and test_core_texts.py.
"""

import functools
import itertools
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
from hosts import assorted_params, domain_edges, make_host
from oracle import CONVERSIONS, Oracle

from xenmm import _core
from xenmm.errors import ConfigError, FrameError

PARAMS = assorted_params()
HOSTS = {name: make_host(params) for name, params in PARAMS.items()}
KERNELS = [name for name, runs in _core._kernels().items() if runs]
sets = pytest.mark.parametrize("name", PARAMS)
conversions = pytest.mark.parametrize("conversion", CONVERSIONS)


@pytest.fixture(autouse=True)
def best_kernels_afterwards():
    yield
    _core._set_kernels(None)


@pytest.fixture(params=KERNELS)
def kernels(request):
    _core._set_kernels(request.param)
    return request.param


def u64(values):
    return np.array(values, dtype=np.uint64)


def one_by_one(method, array):
    return [method(x) for x in array.ravel().tolist()]


@functools.cache
def limits(name, conversion):
    """Values at which the domain begins or ends, and the step to the value before."""
    edges, oracle = domain_edges(PARAMS[name], conversion), Oracle(PARAMS[name])
    judge = oracle.mfn_valid if conversion == "mfn_valid" else functools.partial(oracle.in_domain, conversion)
    step = 32 if conversion.startswith("page") else 1
    return [edge for edge in edges if judge(edge) != judge((edge - step) % (1 << 64))], step


@functools.cache
def assorted_values(name, conversion):
    """Neighbours across every limit, long runs broken by strangers, then all edges, then noise."""
    rng = random.Random(f"{name} {conversion}")
    edges, (crossings, step) = domain_edges(PARAMS[name], conversion), limits(name, conversion)
    values = []
    for limit in rng.sample(crossings, min(30, len(crossings))):
        values += [(limit + step * i) % (1 << 64) for i in range(-70, 70)]
        # One value many times, where nothing around it is of one kind.
        values += [limit] * 40 + [(limit - step) % (1 << 64)] * 40
    for _ in range(20):
        start, step = rng.choice(edges), rng.choice([0, 1, 1, 32, 4096, 1 << 16])
        run = [(start + step * i) % (1 << 64) for i in range(rng.randrange(1, 140))]
        if rng.random() < 0.5:
            run[rng.randrange(len(run))] = rng.choice(edges)
        values += run
    return values + edges + [rng.getrandbits(64) for _ in range(100)]


@sets
@conversions
def test_unchecked_equals_scalar(name, conversion, kernels):
    method = getattr(HOSTS[name], f"{conversion}_unchecked")
    values = u64(assorted_values(name, conversion))
    expected = one_by_one(method, values)
    assert method(values).tolist() == expected
    assert method(values, out=values) is values
    assert values.tolist() == expected


@sets
def test_mfn_valid_equals_scalar(name, kernels):
    method = HOSTS[name].mfn_valid
    values = u64(assorted_values(name, "mfn_valid"))
    verdicts = method(values)
    assert verdicts.dtype == np.bool_
    assert verdicts.tolist() == one_by_one(method, values)
    # Bytes of a bool are 0 or 1, never another truth.
    assert set(verdicts.view(np.uint8).tolist()) <= {0, 1}


@sets
@conversions
def test_checked_converts_a_domain_and_stops_at_the_first_stranger(name, conversion, kernels):
    host, oracle = HOSTS[name], Oracle(PARAMS[name])
    method, bare = getattr(host, conversion), getattr(host, f"{conversion}_unchecked")
    values = assorted_values(name, conversion)
    good = [x for x in values if oracle.in_domain(conversion, x)]
    bad = [x for x in values if not oracle.in_domain(conversion, x)]
    rng = random.Random(conversion)
    assert method(u64(good)).tolist() == [bare(x) for x in good]
    for at in {0, 1, 15, 16, 31, 32, 33, len(good) // 2, len(good) - 1}:
        if at >= len(good):
            continue
        stranger = rng.choice(bad)
        array = u64([*good[:at], stranger, *good[at + 1 :]])
        out = np.full(len(array), 0xABCD, dtype=np.uint64)
        with pytest.raises(FrameError, match=f"{conversion.partition('_')[0]} {stranger:#x} at index {at} "):
            method(array, out=out)
        assert out.tolist() == [bare(x) for x in good[:at]] + [0xABCD] * (len(array) - at)


@sets
@conversions
def test_the_first_value_past_each_limit_is_refused_among_strangers(name, conversion, kernels):
    oracle, method = Oracle(PARAMS[name]), getattr(HOSTS[name], conversion)
    good = [x for x in assorted_values(name, conversion) if oracle.in_domain(conversion, x)]
    rng = random.Random(name)
    crossings, step = limits(name, conversion)
    for limit in rng.sample(crossings, min(15, len(crossings))):
        inside, outside = limit, (limit - step) % (1 << 64)
        if not oracle.in_domain(conversion, inside):
            inside, outside = outside, inside
        crowd = rng.choices(good, k=70)
        crowd[40] = inside
        method(u64(crowd))
        crowd[40] = outside
        with pytest.raises(FrameError, match=f" {outside:#x} at index 40 "):
            method(u64(crowd))


@sets
@conversions
def test_a_block_that_is_good_up_to_its_middle_is_not_good(name, conversion, kernels):
    oracle, method = Oracle(PARAMS[name]), getattr(HOSTS[name], conversion)
    values = assorted_values(name, conversion)
    good = [x for x in values if oracle.in_domain(conversion, x)]
    bad = [x for x in values if not oracle.in_domain(conversion, x)]
    rng = random.Random(name)
    for at in (1, 2, 4, 8, 12, 16, 20, 24, 28, 30, 31, 48):
        crowd = rng.choices(good, k=at) + rng.choices(bad, k=64 - at)
        with pytest.raises(FrameError, match=f" {crowd[at]:#x} at index {at} "):
            method(u64(crowd))


@conversions
def test_a_stranger_far_into_a_long_array_is_found_in_its_chunk(conversion):
    host = HOSTS["mask-7-bits"]
    method, bare = getattr(host, conversion), getattr(host, f"{conversion}_unchecked")
    start = {"mfn": 0, "pdx": 0, "maddr": 0, "virt": host.params.directmap_virt_start}.get(
        conversion.partition("_")[0], host.params.frametable_virt_start
    )
    step = 32 if conversion.startswith("page") else 1
    good = np.arange(10_000, dtype=np.uint64) * np.uint64(step) + np.uint64(start)
    expected = bare(good)
    for at in (1023, 1024, 1025, 4095, 4096, 9999):
        array, out = good.copy(), np.zeros_like(good)
        array[at] = (1 << 64) - 1
        with pytest.raises(FrameError, match=f"0xffffffffffffffff at index {at} "):
            method(array, out=out)
        assert np.array_equal(out[:at], expected[:at])
        assert not out[at:].any()


@pytest.mark.parametrize("name", ["mask-7-bits", "offset-16-image", "none"])
def test_every_length_and_alignment(name, kernels):
    host = HOSTS[name]
    source = np.arange(300, dtype=np.uint64)
    expected = u64(one_by_one(host.mfn_to_page_unchecked, source))
    valid = one_by_one(host.mfn_valid, source)
    target = np.empty(300, dtype=np.uint64)
    for length, a, b in itertools.product([*range(70), 200], (0, 1, 3), (0, 1, 2, 7)):
        x, out = source[a : a + length], target[b : b + length]
        target[:] = 7
        host.mfn_to_page_unchecked(x, out=out)
        assert np.array_equal(out, expected[a : a + length])
        assert (target[:b] == 7).all()
        assert (target[b + length :] == 7).all()
        assert host.mfn_valid(x).tolist() == valid[a : a + length]


def test_results_past_the_streaming_size_are_the_same(kernels):
    host = HOSTS["mask-7-bits"]
    count = (40 << 20) // 8
    x = np.arange(count + 3, dtype=np.uint64)[3:]
    for method in (host.mfn_to_page_unchecked, HOSTS["offset-16-image"].mfn_to_page_unchecked):
        got = method(x)
        in_place = x.copy()
        method(in_place, out=in_place)
        assert np.array_equal(got, in_place)
        for i in (0, 1, 12345, count // 2, count - 1):
            assert int(got[i]) == method(int(x[i]))


def layouts():
    base = np.arange(7 * 10 * 12, dtype=np.uint64) % np.uint64(4000)
    cube = base.reshape(7, 10, 12)
    raw = np.zeros(8 * 101 + 1, dtype=np.uint8)
    unaligned = raw[1:].view(np.uint64)
    unaligned[:] = np.arange(101)
    read_only = base.copy()
    read_only.setflags(write=False)
    return {
        "1-D": base,
        "cube": cube,
        "Fortran": np.asfortranarray(cube),
        "transposed": cube.transpose(1, 2, 0),
        "every other": base[::2],
        "reversed": base[::-1],
        "window": cube[1:5, ::3, 2:11:2],
        "unaligned": unaligned,
        "byte-swapped": base.astype(base.dtype.newbyteorder()),
        "byte-swapped window": cube.astype(base.dtype.newbyteorder())[:, 1::2],
        "read-only": read_only,
        "empty": base[:0],
        "empty cube": cube[:, :0],
        "0-d": base[5:6].reshape(()),
        "broadcast": np.broadcast_to(base[:12], (50, 12)),
        "record field": np.zeros(50, dtype=[("a", "u1"), ("mfn", "<u8")])["mfn"],
    }


@pytest.mark.parametrize("layout", layouts())
def test_any_layout_of_the_input(layout):
    x = layouts()[layout]
    host = HOSTS["mask-7-bits"]
    before = x.copy()
    for checked in ("mfn_to_virt", "mfn_to_virt_unchecked"):
        got = getattr(host, checked)(x)
        assert type(got) is np.ndarray
        assert got.shape == x.shape
        assert got.dtype == np.uint64
        assert got.dtype.isnative
        assert one_by_one(host.mfn_to_virt, x) == got.ravel().tolist()
        out = np.empty_like(x, subok=False) if x.dtype.isnative else np.empty(x.shape, dtype=np.uint64)
        assert getattr(host, checked)(x, out=out) is out
        assert np.array_equal(out, got)
    assert np.array_equal(x, before)
    verdicts = host.mfn_valid(x)
    assert verdicts.shape == x.shape
    assert verdicts.all()


@pytest.mark.parametrize(
    "layout", ["every other", "window", "unaligned", "byte-swapped window", "Fortran", "0-d"]
)
def test_any_layout_of_out_and_in_place(layout):
    host = HOSTS["offset-2"]
    x = layouts()[layout]
    expected = host.mfn_to_page(x)
    plain = np.ascontiguousarray(x).astype(np.uint64)
    out = layouts()[layout]
    host.mfn_to_page(plain.reshape(x.shape), out=out)
    assert np.array_equal(out, expected)
    assert host.mfn_to_page(x, out=x) is x
    assert np.array_equal(x, expected)


def test_a_stranger_in_a_strided_array_leaves_the_rest_of_out():
    host = HOSTS["mask-7-bits"]
    cube = np.zeros((30, 40, 3), dtype=np.uint64)
    x = cube[:, ::2, 1]
    x[17, 5] = (1 << 64) - 1
    store = np.full((30, 60), 9, dtype=np.uint64)
    out = store[:, 1::3]
    with pytest.raises(FrameError, match=r"mfn 0xffffffffffffffff at index \(17, 5\) "):
        host.mfn_to_page(x, out=out)
    flat = out.ravel()
    assert (flat[: 17 * 20 + 5] == host.mfn_to_page(0)).all()
    assert (flat[17 * 20 + 5 :] == 9).all()
    assert (store[:, ::3] == 9).all()
    fortran = np.asfortranarray(x)
    with pytest.raises(FrameError, match=r"at index \(17, 5\) "):
        host.mfn_to_page(fortran)


def test_2_31_elements_in_a_strided_view():
    # One frame seen two billion times: the input takes 8 bytes, the verdicts would take 2 GiB.
    host = HOSTS["mask-7-bits"]
    frame = np.zeros(1, dtype=np.uint64)
    many = np.lib.stride_tricks.as_strided(frame, shape=(1 << 31,), strides=(0,), writeable=True)
    with pytest.raises(ValueError, match="overlap each other"):
        host.mfn_to_page(many, out=many)
    frame[0] = (1 << 64) - 1
    wide = np.lib.stride_tricks.as_strided(frame, shape=(1 << 31, 0), strides=(0, 8))
    assert host.mfn_to_page(wide).shape == (1 << 31, 0)


def test_partial_overlap_is_refused_and_the_same_memory_is_not():
    host = HOSTS["none"]
    base = np.arange(100, dtype=np.uint64)
    expected = host.mfn_to_pdx_unchecked(base).copy()
    for x, out in (
        (base[:-1], base[1:]),
        (base[1:], base[:-1]),
        (base, base[::-1]),
        (base[:50], base[::2]),
        (base.reshape(10, 10), base.reshape(10, 10).T),
        (base[:10], base.view(np.uint8)[4:84].view(np.uint64)),
    ):
        with pytest.raises(ValueError, match="overlaps mfn in part"):
            host.mfn_to_pdx_unchecked(x, out=out)
    assert np.array_equal(base, expected)
    # Interleaved, but without a byte in common; and another view of the very same elements.
    host.mfn_to_pdx_unchecked(base[::2], out=base[1::2])
    host.mfn_to_pdx_unchecked(base[:], out=base[:])
    with pytest.raises(ValueError, match="overlaps"):
        host.mfn_valid(base, out=base.view(np.bool_)[:100])
    with pytest.raises(ValueError, match="overlap each other"):
        windows = np.lib.stride_tricks.sliding_window_view(base, 5, writeable=True)
        host.mfn_to_pdx_unchecked(np.zeros(windows.shape, np.uint64), out=windows)


@pytest.mark.parametrize("dtype", ["i8", "u4", "f8", "?", "c16", "O", "S8", "M8[s]", "V8"])
def test_wrong_dtypes_are_refused_with_the_remedy(dtype):
    host = HOSTS["none"]
    array = np.zeros(3, dtype=dtype)
    for method in (host.mfn_to_page, host.mfn_to_page_unchecked, host.mfn_valid):
        with pytest.raises(TypeError, match=r"mfn has dtype .*astype\('uint64'\)"):
            method(array)
    with pytest.raises(TypeError, match="out has dtype"):
        host.mfn_to_page(np.zeros(3, np.uint64), out=array)
    if dtype != "?":
        with pytest.raises(TypeError, match="verdicts are bool"):
            host.mfn_valid(np.zeros(3, np.uint64), out=array)


def test_what_is_no_plain_array_is_refused():
    host = HOSTS["none"]
    x = np.zeros(3, np.uint64)
    masked = np.ma.masked_array(x, mask=[1, 0, 0])
    for bad in ([1, 2], (1, 2), memoryview(x), bytearray(8), masked, x.view(np.recarray)):
        with pytest.raises(TypeError, match="mfn "):
            host.mfn_to_page(bad)
    with pytest.raises(TypeError, match="out is a MaskedArray"):
        host.mfn_to_page(x, out=masked)
    with pytest.raises(TypeError, match="out must be a NumPy array, got list"):
        host.mfn_to_page(x, out=[0, 0, 0])
    with pytest.raises(TypeError, match="goes with an array"):
        host.mfn_to_page(1, out=x)


def test_out_of_another_shape_or_read_only_is_refused():
    host = HOSTS["none"]
    x = np.zeros((3, 4), np.uint64)
    for shape in ((4, 3), (12,), (3, 1), (1, 3, 4), ()):
        with pytest.raises(ValueError, match=r"out has shape .*, mfn has \(3, 4\)"):
            host.mfn_to_page(x, out=np.zeros(shape, np.uint64))
    out = np.zeros((3, 4), np.uint64)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        host.mfn_to_page(x, out=out)
    with pytest.raises(ValueError, match="read-only"):
        host.mfn_to_page(out, out=out)


def test_a_memmap_is_a_plain_array(tmp_path):
    path = tmp_path / "frames"
    np.arange(1000, dtype=np.uint64).tofile(path)
    x = np.memmap(path, dtype=np.uint64, mode="r+")
    got = HOSTS["none"].mfn_to_page(x)
    assert type(got) is np.ndarray
    HOSTS["none"].mfn_to_page(x, out=x)
    assert np.array_equal(got, x)


def test_threads_on_parts_of_one_array():
    host = HOSTS["offset-16-image"]
    x = np.arange(1 << 18, dtype=np.uint64)
    expected, out = host.mfn_to_virt(x), np.zeros_like(x)
    parts = np.array_split(np.arange(len(x)), 64)

    def work(part):
        for _ in range(5):
            host.mfn_to_virt(x[part[0] : part[-1] + 1], out=out[part[0] : part[-1] + 1])

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(out, expected)


def test_kernels_are_named_and_chosen():
    assert KERNELS[0] == "plain"
    info = _core.build_info()
    assert info["array loops"] == KERNELS[-1]
    assert info["runnable"].split() == KERNELS
    for name in KERNELS:
        _core._set_kernels(name)
        assert _core.build_info()["array loops"] == name
        assert _core._set_kernels(None) == name
    with pytest.raises(ConfigError, match="'v9' do not run here"):
        _core._set_kernels("v9")


def test_importing_xenmm_does_not_import_numpy():
    program = (
        "import sys, xenmm, xenmm._core, xenmm.boot.frozen\n"
        "from hosts import assorted_params, make_host\n"
        "host = make_host(assorted_params()['none'])\n"
        "host.mfn_to_page(5), host.mfn_valid(True)\n"
        "assert 'numpy' not in sys.modules\n"
        "import numpy\n"
        "assert host.mfn_to_page(numpy.array([5], dtype='u8'))[0] == host.mfn_to_page(5)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 0, result.stderr
