"""Where the loops over arrays end: at the last byte of memory that is theirs, and at the end of a slot.

An array that ends where the process may read no further shows a loop that looks past it: the process dies.
"""

import ctypes
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
from hosts import U64_MAX, assorted_params, make_host, make_params
from oracle import CONVERSIONS, Oracle

from xenmm import _core
from xenmm.errors import FrameError

KERNELS = [name for name, runs in _core._kernels().items() if runs]
LENGTHS = (*range(36), 63, 64, 65)


def between_closed_pages():
    """A page of memory, as uint64, that neither side may be read of."""
    size = mmap.PAGESIZE
    whole = mmap.mmap(-1, 3 * size)
    start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in (0, 2):
        assert protect(start + page * size, size, 0) == 0
    return np.frombuffer(whole, np.uint64, size // 8, size)


def convert_at_both_ends(name):
    """Every conversion of arrays of many lengths that begin, or end, beside a closed page."""
    host, model = make_host(assorted_params()[name]), Oracle(assorted_params()[name])
    given, results = between_closed_pages(), between_closed_pages()
    verdicts = results.view(np.bool_)
    frames = {
        "page": host.mfn_to_page_unchecked,
        "virt": host.mfn_to_virt_unchecked,
        "maddr": lambda mfn: mfn << 12,
    }
    for conversion in CONVERSIONS:
        first = frames.get(conversion.partition("_")[0], int)(0)
        assert model.in_domain(conversion, first)
        given[:] = first
        for kernels in KERNELS:
            _core._set_kernels(kernels)
            for n in LENGTHS:
                for part in (slice(0, n), slice(len(given) - n, len(given))):
                    getattr(host, conversion)(given[part], out=results[part])
                    getattr(host, f"{conversion}_unchecked")(given[part], out=results[part])
                    if conversion == "mfn_to_pdx":
                        ends = slice(0, n) if part.start == 0 else slice(len(verdicts) - n, len(verdicts))
                        assert host.mfn_valid(given[part], out=verdicts[ends]).all()


@pytest.mark.parametrize("name", ["mask-7-bits", "offset-16-image"])
def test_no_loop_looks_past_its_arrays(name):
    program = f"import test_core_edges; test_core_edges.convert_at_both_ends({name!r}); print('all')"
    path = os.pathsep.join([os.path.dirname(__file__), *(p for p in sys.path if p)])
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr


def test_the_page_beside_is_closed():
    program = (
        "import ctypes, test_core_edges\n"
        "page = test_core_edges.between_closed_pages()\n"
        "ctypes.c_uint64.from_address(page.ctypes.data + 8 * len(page)).value\n"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *(p for p in sys.path if p)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    # A sanitizer tells of the signal, and exits.
    assert done.returncode < 0 or "AddressSanitizer: SEGV" in done.stderr


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_region_serves_no_frame_of_another_slot(kernels):
    # No boot makes a region longer than its slot; the rule looks the slot up first all the same.
    slots = {"pfn_bases": [0] + [U64_MAX] * 63, "pfn_pdx_lookup": [0] * 64, "pdx_pfn_lookup": [0] * 64}
    params = make_params([(0, 4)], 1 << 18, 1 << 18, pdx_compression="offset", pfn_index_shift=10,
                         pdx_index_shift=10, pdx_region_size=1 << 20, **slots)  # fmt: skip
    host, model = make_host(params), Oracle(params)
    _core._set_kernels(kernels)
    try:
        for step in (1, 7):
            frames = np.arange(0, 4096, step, dtype=np.uint64)
            assert host.mfn_valid(frames).tolist() == [model.mfn_valid(mfn) for mfn in frames.tolist()]
            for convert, values in (
                (host.mfn_to_pdx, frames),
                (host.mfn_to_page, frames),
                (host.mfn_to_virt, frames),
                (host.maddr_to_virt, frames << np.uint64(12)),
            ):
                with pytest.raises(FrameError, match=f" at index {-(-1024 // step)} "):
                    convert(values)
                # The same among values that are no neighbours.
                crowd = np.concatenate([values[:140].reshape(2, -1).T.ravel(), values[-40:]])
                with pytest.raises(FrameError, match=" at index 140 "):
                    convert(crowd)
    finally:
        _core._set_kernels(None)


def test_two_elements_of_out_that_share_bytes_are_refused():
    convert, room = make_host(assorted_params()["none"]).mfn_to_pdx, np.zeros(16, np.uint64)
    # Two of the last: a row of four elements is longer than the step to the next row, or as long.
    for shape, strides, fits in (((2,), (0,), False), ((2, 4), (24, 8), False), ((2, 4), (32, 8), True)):
        frames = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape)
        out = np.lib.stride_tricks.as_strided(room, shape, strides)
        if fits:
            assert convert(frames, out=out).tolist() == frames.tolist()
        else:
            with pytest.raises(ValueError, match="overlap each other"):
                convert(frames, out=out)
