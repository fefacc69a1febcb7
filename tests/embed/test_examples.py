"""Every example is built and run as its text says, and the docs quote it letter for letter."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from embeddings import CC, CXX, QUIET, ROOT, build_cython, environment, run

import xenmm
from xenmm import FrameError

TREE = Path(__file__).parents[2]
EXAMPLES = TREE / "examples"
GIB = 1 << 30
NODES = [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)]

needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")


@pytest.fixture(scope="module")
def host():
    return xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES, name="two nodes"))


def form(host, mfn):
    return f"mfn {mfn:#x} page {host.mfn_to_page(mfn):#x} virt {host.mfn_to_virt(mfn):#x}\n".replace(
        "0x0 ", "0 "
    )


def check_program(program, host):
    """Run a program on frames of every kind; compare what it prints with the Python methods."""
    *command, last = program
    for mfn in (1, 0x7FFFF, 0x80000, 0x10000000, 0x1007FFFF, 0x10080000, (1 << 64) - 1):
        done = subprocess.run([*command, *last, hex(mfn)], capture_output=True, text=True, check=False)
        try:
            expected = form(host, mfn)
        except FrameError:
            assert (done.returncode, done.stdout) == (1, "")
            assert re.match(rf"mfn {mfn:#x}: the frame", done.stderr), done.stderr
        else:
            assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


@needs_cc
def test_cython_example_counts_what_the_methods_do(host, tmp_path):
    pytest.importorskip("Cython")
    before = set(sys.modules)
    frames = build_cython(EXAMPLES / "cython" / "frames.pyx", tmp_path)
    assert not {name for name in set(sys.modules) - before if name.startswith("xenmm")}
    first, count = 0x7FF00, 0x200
    valid = [mfn for mfn in range(first, first + count) if host.mfn_valid(mfn)]
    assert 0 < len(valid) < count
    total = sum(host.mfn_to_virt(mfn) for mfn in valid) % (1 << 64)
    assert frames.touched_bytes(host, first, count) == (len(valid), total)


def test_cython_example_builds_as_its_setup_says(host, tmp_path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    if CC is None:
        pytest.skip("no C compiler")
    for name in ("frames.pyx", "setup.py"):
        (tmp_path / name).write_bytes((EXAMPLES / "cython" / name).read_bytes())
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=tmp_path, env=environment())
    program = "import sys, frames; print('xenmm' in sys.modules, frames.__name__)"
    assert run(sys.executable, "-c", program, cwd=tmp_path, env=environment()) == "False frames\n"


@needs_cc
@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_frozen_c_example_converts_as_the_methods_do(host, tmp_path, optimise):
    (tmp_path / "machine_mm.h").write_text(host.export("c"))
    flags = ["-std=c99", optimise, *QUIET, f"-I{tmp_path}"]
    run(CC, *flags, EXAMPLES / "c" / "frozen.c", "-o", tmp_path / "frozen")
    check_program([tmp_path / "frozen", []], host)


@needs_cc
@pytest.mark.parametrize("profile", ["xen-offset", "xen-none", "fold"])
def test_generic_c_example_loads_any_machine(tmp_path, profile):
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES, name='a "name"'), profile=profile)
    (tmp_path / "machine.json").write_text(host.export("json"))
    flags = ["-std=c99", "-O2", *QUIET, f"-I{ROOT / 'include'}"]
    run(CC, *flags, EXAMPLES / "c" / "many_machines.c", "-o", tmp_path / "many")
    check_program([tmp_path / "many", [tmp_path / "machine.json"]], host)


@pytest.mark.skipif(CXX is None, reason="no C++ compiler")
def test_cpp_example_holds_two_machines(host, tmp_path):
    other = xenmm.boot(xenmm.MemoryMap.from_ranges([(0, 8 * GIB)], None))
    (tmp_path / "source_mm.h").write_text(host.export("c", prefix="source"))
    (tmp_path / "target_mm.h").write_text(other.export("c", prefix="target"))
    flags = ["-std=c++11", "-O2", *QUIET, f"-I{tmp_path}"]
    run(CXX, *flags, EXAMPLES / "cpp" / "two_machines.cc", "-o", tmp_path / "two")
    assert run(tmp_path / "two") == "16 groups placed\n"


@pytest.mark.parametrize(
    "name, package", [("numba/count_pages.py", "numba"), ("unicorn/across_a_hole.py", "unicorn")]
)
def test_python_example_runs(name, package):
    pytest.importorskip(package)
    assert run(sys.executable, EXAMPLES / name, env=environment())


def test_docs_quote_every_example():
    text = (TREE / "docs" / "embedding.md").read_text()
    quoted = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)
    for path in sorted(p for p in EXAMPLES.rglob("*") if p.suffix in (".py", ".pyx", ".c", ".cc")):
        if path.parent.name == "python":
            continue
        assert path.read_text() in quoted, (
            f"docs/embedding.md does not quote {path.relative_to(TREE)} as it is"
        )
        assert f"`{path.relative_to(TREE)}`" in text
