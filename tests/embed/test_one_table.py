"""One table: every way to ask for a conversion, on every golden case, against the slow model.

Inputs are the golden cases' own frames, the edges of every range and of everything that the parameters name
at -1, 0 and +1, and random numbers. The unchecked forms are asked, for they are defined everywhere.
"""

import random

import embeddings
import numpy as np
import page_script
import pytest
from hosts import domain_edges, golden_cases, golden_params, make_host
from oracle import Oracle

PROFILES = ("head_offset", "head_mask", "head_none")
COUNT = 160

needs_cc = pytest.mark.skipif(embeddings.CC is None, reason="no C compiler")


class Machine:
    """One golden case under one profile: its host, and for each conversion inputs and right answers."""

    def __init__(self, number, profile, params):
        case = golden_cases()[number]["input"]
        self.name = f"case {number} {profile}"
        self.params = params
        self.host = make_host(params)
        rng = random.Random(self.name)
        edges = {
            edge // 4096 + d
            for run in case["ram"] + case.get("srat", [])
            for edge in run[:2]
            for d in (-1, 0, 1)
        }
        frames = {f % (1 << 64) for f in edges | set(case["pfns"])}
        self.inputs, self.answers = {}, {}
        oracle = Oracle(params)
        for name in embeddings.ASKED:
            wanted = {self._place(name, frame) for frame in frames}
            known = domain_edges(params, name)
            wanted |= set(rng.sample(known, min(COUNT, len(known)))) | {rng.getrandbits(64) for _ in range(8)}
            some = rng.sample(sorted(wanted), min(COUNT, len(wanted)))
            self.inputs[name] = np.array(some, dtype=np.uint64)
            self.answers[name] = np.array([getattr(oracle, name)(x) for x in some], dtype=np.uint64)

    def _place(self, name, frame):
        # The frame as the conversion's input, by arithmetic that knows no compression: any value will do.
        kind = name.partition("_")[0]
        start = {"page": self.params["frametable_virt_start"], "virt": self.params["directmap_virt_start"]}
        scale = {"page": 32, "virt": 4096, "maddr": 4096}
        return (start.get(kind, 0) + scale.get(kind, 1) * frame) % (1 << 64)

    def check(self, way, ask):
        for name in embeddings.ASKED:
            got = ask(name, self.inputs[name])
            wrong = np.flatnonzero(got != self.answers[name])
            if wrong.size:
                x, y = int(self.inputs[name][wrong[0]]), int(got[wrong[0]])
                right = int(self.answers[name][wrong[0]])
                pytest.fail(f"{self.name}, {way}: {name}({x:#x}) is {right:#x}, got {y:#x}")


@pytest.fixture(scope="module")
def machines():
    """Each set of boot parameters that the golden cases have, once."""
    seen = {}
    for number, case in enumerate(golden_cases()):
        for profile in PROFILES:
            params = golden_params(case["output"][profile]["1g"])
            key = repr(sorted(params.items()))
            if key not in seen:
                seen[key] = Machine(number, profile, params)
    return list(seen.values())


def test_golden_cases_have_every_mode(machines):
    counts = {
        mode: sum(m.params["pdx_compression"] == mode for m in machines)
        for mode in ("none", "mask", "offset")
    }
    assert min(counts.values()) >= 10, counts


def test_scalar_methods_agree_with_the_slow_model(machines):
    for machine in machines:
        machine.check("scalar", embeddings.scalar(machine.host))


def test_array_methods_agree_with_the_slow_model(machines):
    for machine in machines:
        machine.check("array", embeddings.array(machine.host))


@needs_cc
def test_cython_embedder_agrees_with_the_slow_model(machines, tmp_path):
    pytest.importorskip("Cython")
    module = embeddings.cython_module(tmp_path)
    for machine in machines:
        machine.check("Cython", embeddings.cython(module, machine.host))


@needs_cc
def test_c_headers_agree_with_the_slow_model(machines, tmp_path):
    compiled = embeddings.Compiled([m.host for m in machines], tmp_path)
    for i, machine in enumerate(machines):
        machine.check("frozen C header", compiled.frozen(i))
        machine.check("generic C header", compiled.generic(machine.host))


@pytest.mark.skipif(embeddings.CXX is None, reason="no C++ compiler")
def test_frozen_header_agrees_with_the_slow_model_in_cxx(machines, tmp_path):
    some = machines[::6]
    compiled = embeddings.Compiled([m.host for m in some], tmp_path, embeddings.CXX, "-std=c++11", ".cc")
    for i, machine in enumerate(some):
        machine.check("frozen header in C++", compiled.frozen(i))


def test_numba_functions_agree_with_the_slow_model(machines, monkeypatch):
    nb = pytest.importorskip("numba")
    # Compiling takes a second a machine: a few of each mode compiled, then the same functions of every one
    # as Python runs them.
    for mode in ("none", "mask", "offset"):
        for machine in [m for m in machines if m.params["pdx_compression"] == mode][:2]:
            machine.check("numba", embeddings.numba(machine.host))
    monkeypatch.setattr(nb.config, "DISABLE_JIT", True)
    for machine in machines:
        machine.check("numba, not compiled", embeddings.numba(machine.host))


@pytest.mark.skipif(page_script.NODE is None, reason="no node")
def test_script_of_the_page_agrees_with_the_slow_model(machines):
    script = page_script.Script()
    for machine in machines:
        machine.check("page script", script.conversions(machine.host))
    script.close()


def test_unicorn_hook_agrees_with_the_slow_model(machines):
    from xenmm._embed import TlbFill

    for machine in machines:
        oracle, fill = Oracle(machine.params), TlbFill(machine.host.capsule, 0)
        for x in machine.inputs["virt_to_maddr"]:
            virt = int(x)
            pdx = (virt - oracle.direct_map) // 4096
            if oracle.direct_map <= virt < oracle.direct_map_end:
                known = pdx < oracle.max_pdx and oracle.group_valid(pdx)
                expected = (oracle.virt_to_maddr(virt) // 4096 * 4096, 3) if known else None
                assert fill.fill(virt) == expected, (machine.name, hex(virt))
