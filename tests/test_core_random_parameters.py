"""Any boot parameters, not only those that a boot chooses: scalars and all loops against the slow model.

Holes at any bits, regions of any base and size, limits in the middle of a group, odd virtual layouts: what
the loops remember of neighbours must hold there too.
"""

import random

import numpy as np
import pytest
from hosts import make_host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import CONVERSIONS, Oracle
from random_params import inputs, random_params

from xenmm import _core
from xenmm.errors import FrameError

KERNELS = [name for name, runs in _core._kernels().items() if runs]


@pytest.fixture(autouse=True)
def best_kernels_afterwards():
    yield
    _core._set_kernels(None)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_every_conversion_of_random_hosts(seed):
    rng = random.Random(seed)
    params = random_params(rng)
    host, oracle = make_host(params), Oracle(params)
    for conversion in CONVERSIONS:
        values = inputs(rng, params, conversion)
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
                with pytest.raises(FrameError, match=f"at index {good.index(False)} "):
                    checked(array)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_validity_on_random_hosts(seed):
    rng = random.Random(seed)
    params = random_params(rng)
    host, oracle = make_host(params), Oracle(params)
    values = inputs(rng, params, "mfn_valid")
    model = [oracle.mfn_valid(x) for x in values]
    assert [host.mfn_valid(x) for x in values] == model
    for kernels in KERNELS:
        _core._set_kernels(kernels)
        assert host.mfn_valid(np.array(values, dtype=np.uint64)).tolist() == model, kernels
