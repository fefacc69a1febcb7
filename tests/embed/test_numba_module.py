"""The exported module for numba: answers as the host's, runs without xenmm, says where it comes from."""

import re
import subprocess
import sys
import types

import numpy as np
import pytest
from hosts import assorted_params, edge_values, make_host
from oracle import CONVERSIONS, Oracle

import xenmm
from xenmm.embed import export
from xenmm.embed.provenance import provenance

GIB = 1 << 30
NODES = xenmm.MemoryMap.from_ranges(
    [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)], [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)], name="two nodes"
)
ASKED = (*CONVERSIONS, "mfn_valid")


def plain_jit(*args, **options):
    """A decorator that compiles nothing, called as numba's is."""
    return lambda function: function


@pytest.fixture
def as_python(monkeypatch):
    """Run an exported module with a stand-in for numba, and return its names."""
    stand_in = types.ModuleType("numba")
    stand_in.njit = plain_jit
    monkeypatch.setitem(sys.modules, "numba", stand_in)

    def run(text):
        names = {}
        exec(compile(text, "machine_nb.py", "exec"), names)
        return types.SimpleNamespace(**names)

    return run


@pytest.mark.parametrize("name", assorted_params())
def test_every_function_answers_as_the_oracle(name, as_python):
    params = assorted_params()[name]
    module, oracle = as_python(export(make_host(params), "numba")), Oracle(params)
    with np.errstate(over="ignore"):
        for value in edge_values(params):
            for function in ASKED:
                found = getattr(module, function)(np.uint64(value))
                assert int(found) == int(getattr(oracle, function)(value)), (function, hex(value))


def test_numba_compiles_it_without_xenmm(tmp_path):
    pytest.importorskip("numba")
    host = xenmm.boot(NODES)
    (tmp_path / "machine_nb.py").write_text(host.export("numba"))
    program = """
import sys
sys.modules["xenmm"] = None
import numba, numpy as np
from machine_nb import MAX_PAGE, mfn_to_page, mfn_valid
@numba.njit
def pages(mfns):
    total = np.uint64(0)
    for i in range(mfns.size):
        if mfn_valid(mfns[i]):
            total += mfn_to_page(mfns[i])
    return total
print(int(MAX_PAGE), int(pages(np.arange(0, 1026 << 18, 1021, dtype=np.uint64))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    mfns = np.arange(0, 1026 << 18, 1021, dtype=np.uint64)
    total = int(host.mfn_to_page(mfns[host.mfn_valid(mfns)]).sum(dtype=np.uint64))
    assert done.stdout == f"{host.max_page} {total}\n"


def test_it_says_where_it_comes_from():
    host = xenmm.boot(NODES)
    text = host.export("numba")
    for name, value in provenance(host).items():
        assert re.search(rf"^  {name}: +{re.escape(value)}$", text, re.MULTILINE)
    assert "xenmm" not in re.sub(r'""".*?"""|#.*', "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", ['a """ b', "ends \\", "two\nlines", "ünïcode", "{braces} %s"])
def test_a_machine_s_name_is_only_text(name, as_python):
    memory_map = xenmm.MemoryMap.from_ranges([(0, GIB)], name=name)
    assert int(as_python(xenmm.boot(memory_map).export("numba")).mfn_to_pdx(np.uint64(7))) == 7


def test_own_parameters_are_constants(as_python):
    own = xenmm.OwnParameter("rob_entries", "entries", 'the "core"', 224)
    module = as_python(xenmm.boot(NODES, parameters=[own]).export("numba"))
    assert int(module.OWN_ROB_ENTRIES) == 224
