"""Primitives on a host: accesses where its boot put them, and their time."""

from __future__ import annotations

import doctest
import shutil
import subprocess

import numpy as np
import pytest

import xenmm
from xenmm._embed import struct_values
from xenmm.errors import ConfigError, FrameError
from xenmm.maps import open_map
from xenmm.timing import on_host
from xenmm.timing.host_space import host_space
from xenmm.timing.on_host import accesses, offsets, run_primitive
from xenmm.timing.primitives import primitives, program

MACHINE = "candidate-4x4g-64g"
PROFILES = {"none": "xen-none", "mask": "xen-mask", "offset": "xen-offset"}


@pytest.fixture(scope="module", params=PROFILES)
def host(request):
    booted = xenmm.boot(xenmm.read_map(open_map(MACHINE), name=MACHINE), PROFILES[request.param])
    assert booted.compression.kind == request.param
    return booted


def frames_of(host, n=200):
    rng = np.random.default_rng(5)
    runs = host.memory_map.ram
    picked = [runs[i] for i in rng.integers(0, len(runs), n)]
    return np.array([int(rng.integers(a, b)) >> 12 for a, b in picked], np.uint64)


def test_example():
    assert doctest.testmod(on_host).failed == 0


def test_every_access_is_mapped_and_is_where_the_tables_are(host):
    frames = frames_of(host)
    space = host_space(host)
    for primitive in primitives():
        for way in ("variables", "constants"):
            made = program(primitive, host.compression.kind, way).accesses
            addresses, kinds = accesses(host, primitive, frames, way=way)
            assert len(addresses) == len(kinds) == len(made) * len(frames)
            for i, mfn in enumerate(frames[:20]):
                for access, at in zip(made, addresses[i * len(made) :][: len(made)], strict=True):
                    space.translate(int(at))
                    if access.what == "page_info":
                        assert 0 <= int(at) - host.mfn_to_page(int(mfn)) < 32
                    elif access.what == "m2p":
                        assert int(at) == host.m2p.virt_start + 8 * int(mfn)


def test_offsets_are_the_compilers(host, tmp_path):
    struct = struct_values(host.capsule)
    found = offsets(struct)
    gcc = shutil.which("gcc") or shutil.which("cc")
    if gcc is None:
        pytest.skip("no C compiler is installed")
    prints = "".join(f'printf("%zu\\n", offsetof(xenmm_params, {name}));' for name in found)
    source = f'#include <stdio.h>\n#include "xenmm.h"\nint main(void) {{ {prints} return 0; }}\n'
    (tmp_path / "t.c").write_text(source)
    target = tmp_path / "t"
    subprocess.run(
        [gcc, f"-I{xenmm.get_include()}", str(tmp_path / "t.c"), "-o", str(target)],
        check=True,
        capture_output=True,
    )
    out = subprocess.run([str(target)], check=True, capture_output=True, text=True).stdout
    assert [int(line) for line in out.split()] == list(found.values())


def test_one_frame_again_and_again_costs_what_the_table_says(host):
    frames = [int(frames_of(host, 1)[0])] * 500
    for primitive in primitives():
        run = run_primitive(host, primitive, frames, uarch="zen3")
        assert run.dependent == run.cost.latency
        if run.memory is not None:
            assert run.memory.caches["L1D"].misses == 0
            assert run.memory.walks.walks == 0


def test_frames_apart_cost_what_their_records_and_pages_cost(host):
    frames = frames_of(host, 20_000)
    near = run_primitive(host, "get_page", np.sort(frames)[:64], uarch="zen3")
    far = run_primitive(host, "get_page", frames, uarch="zen3")
    assert far.dependent > near.dependent
    assert far.memory.caches["L1D"].misses > 0
    # A conversion reads no record, so apart costs it nothing more than its table.
    assert run_primitive(host, "mfn_to_page", frames, uarch="zen3").dependent == pytest.approx(
        run_primitive(host, "mfn_to_page", frames[:64], uarch="zen3").dependent, abs=0.5
    )


def test_cold_parameters_cost_their_fetch_and_constants_none(host):
    frame = [int(frames_of(host, 1)[0])]
    cold = run_primitive(host, "mfn_to_page", frame, uarch="zen3", warm=False)
    constants = run_primitive(host, "mfn_to_page", frame, way="constants", uarch="zen3", warm=False)
    assert cold.dependent > cold.cost.latency + 300
    if host.compression.kind != "offset":
        assert constants.memory is None
        assert constants.dependent == constants.cost.latency


def test_wrong_frames_are_named(host):
    with pytest.raises(ConfigError, match=r"^mfns: a primitive runs on one frame or more$"):
        run_primitive(host, "mfn_valid", [])
    with pytest.raises(FrameError, match=hex(host.max_page)):
        run_primitive(host, "mfn_valid", [host.max_page])
    with pytest.raises(ConfigError, match="primitive: 'mfn' is not one of"):
        run_primitive(host, "mfn", [0x100])
