"""numba's functions in the places that they are for: nopython loops, prange, and Python itself."""

import sys

import numpy as np
import pytest
from hosts import assorted_params, edge_values, make_host
from oracle import Oracle

import xenmm
from xenmm.errors import ConfigError

numba = pytest.importorskip("numba")
from xenmm.embed.numba import functions  # noqa: E402

GIB = 1 << 30


def test_functions_serve_prange_and_python_alike():
    params = assorted_params()["offset-16-image"]
    host, oracle = make_host(params), Oracle(params)
    mfn_to_page, mfn_valid = functions(host).mfn_to_page, functions(host).mfn_valid

    @numba.njit(parallel=True)
    def convert(mfns, pages):
        valid = 0
        for i in numba.prange(mfns.size):
            pages[i] = mfn_to_page(mfns[i])
            valid += mfn_valid(mfns[i])
        return valid

    mfns = np.array(edge_values(params), dtype=np.uint64)
    pages = np.empty_like(mfns)
    assert convert(mfns, pages) == sum(oracle.mfn_valid(int(mfn)) for mfn in mfns)
    assert [int(p) for p in pages] == [oracle.mfn_to_page(int(mfn)) for mfn in mfns]
    # A Python integer is an int64 to numba, so that large ones come as NumPy's; results are exact past 2^53.
    for mfn in (0, 71, 1 << 40, np.uint64((1 << 63) + 5)):
        assert mfn_to_page(mfn) == oracle.mfn_to_page(int(mfn))
        assert mfn_valid(mfn) is oracle.mfn_valid(int(mfn))


def test_two_machines_keep_their_own_constants():
    nodes = [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)]
    memory_map = xenmm.MemoryMap.from_ranges(nodes, nodes)
    offset, none = (xenmm.boot(memory_map, profile=p) for p in ("xen-offset", "xen-none"))
    mfn = 1024 * GIB >> 12
    assert functions(offset).mfn_to_pdx(mfn) == offset.mfn_to_pdx(mfn) != mfn
    assert functions(none).mfn_to_pdx(mfn) == mfn


def test_without_numba_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ConfigError, match=r"pip install 'xenmm\[numba\]'"):
        functions(make_host(assorted_params()["none"]))
