"""The engine from C and Cython: one call an access, arrays, and the same counts as from Python."""

import ctypes
import random
import subprocess

import numpy as np
import pytest
from embeddings import CC, CXX, QUIET, build_cython

import xenmm
from xenmm.timing import AddressSpace, Cache, Engine, Hierarchy, Mapping, Memory, Tlb
from xenmm.timing.workloads import mixed_trace

H = Hierarchy(
    [Cache("L1", 4096, 4, latency=4, parent="L2"), Cache("L2", 32768, 8, latency=14)],
    [Tlb("T1", 16, 4), Tlb("T2", 64, 4, level=2, latency=7)],
    None,
    Memory(200),
)
TRACE = [int(a) + 8 * (i % 3) for i, a in enumerate(mixed_trace(3000)) for _ in range(2)]
KINDS = [random.Random(i).randrange(3) for i in range(len(TRACE))]

CYTHON = """
# cython: language_level=3
from libc.stdint cimport uint64_t
from xenmm.timing cimport access, timing_of, xenmm_timing_api

def walk(engine, addresses, kinds):
    cdef const xenmm_timing_api *api = timing_of(engine)
    cdef uint64_t total = 0, address
    cdef unsigned kind
    for address, kind in zip(addresses, kinds):
        total += access(api, address, kind)
    return total
"""
C = """
#include <xenmm_timing.h>

#ifdef __cplusplus
extern "C"
#endif
uint64_t walk(const xenmm_timing_api *api, const uint64_t *addresses, const uint8_t *kinds, size_t n);

uint64_t walk(const xenmm_timing_api *api, const uint64_t *addresses, const uint8_t *kinds, size_t n)
{
    uint64_t total = 0;
    if (api->abi_version != XENMM_TIMING_ABI)
        return 0;
    for (size_t i = 0; i < n / 2; i++)
        total += xenmm_timing_access(api, addresses[i], kinds[i]);
    if (api->run(api->engine, addresses + n / 2, kinds + n / 2, n - n / 2) != n - n / 2)
        return 0;
    return total;
}
"""


@pytest.fixture(scope="module")
def expected():
    engine = Engine(H)
    engine.run(np.array(TRACE, np.uint64), np.array(KINDS, np.uint8))
    return engine.result()


def test_from_cython(tmp_path, expected):
    pytest.importorskip("Cython")
    (tmp_path / "walker.pyx").write_text(CYTHON)
    module = build_cython(tmp_path / "walker.pyx", tmp_path)
    engine = Engine(H)
    assert module.walk(engine, TRACE, KINDS) == expected.cycles["total"]
    assert engine.counts() == expected.counts


@pytest.mark.parametrize("compiler", [CC, CXX], ids=["c", "c++"])
def test_from_c(tmp_path, expected, compiler):
    if compiler is None:
        pytest.skip("no compiler")
    language = "c++" if compiler is CXX else "c"
    standard = "-std=c++11" if language == "c++" else "-std=c99"
    source, library = tmp_path / "walk.c", tmp_path / "walk.so"
    source.write_text(C)
    flags = [*QUIET, standard, "-O2", "-shared", "-fPIC", f"-I{xenmm.get_include()}"]
    subprocess.run([compiler, *flags, "-x", language, str(source), "-o", str(library)], check=True)
    walk = ctypes.CDLL(str(library)).walk
    walk.restype = ctypes.c_uint64
    walk.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    engine, addresses, kinds = Engine(H), np.array(TRACE, np.uint64), np.array(KINDS, np.uint8)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api = pointer(engine.capsule, b"xenmm.timing.api")
    total = walk(api, addresses.ctypes.data, kinds.ctypes.data, len(addresses))
    first = Engine(H)
    half = len(TRACE) // 2
    assert total == first.run(addresses[:half], kinds[:half]).cycles["total"]
    assert engine.counts() == expected.counts


def test_what_is_not_mapped_is_told_apart(tmp_path):
    pytest.importorskip("Cython")
    (tmp_path / "walker2.pyx").write_text(CYTHON)
    module = build_cython(tmp_path / "walker2.pyx", tmp_path)
    engine = Engine(H, AddressSpace([Mapping(0, 0, 4096)]))
    assert module.walk(engine, [4096], [0]) == 2**64 - 1
    assert engine.counts()["accesses"] == [0, 0, 0]
