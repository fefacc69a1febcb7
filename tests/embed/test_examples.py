"""Every example is built and run as its text says, with xenmm as it is installed, and the docs quote it."""

import random
import re
import subprocess
from pathlib import Path

import pytest
from embeddings import CC, CXX, QUIET, run
from installed import Installed

import xenmm
from xenmm import FrameError

TREE = Path(__file__).parents[2]
EXAMPLES = TREE / "examples"
MIB, GIB = 1 << 20, 1 << 30
NODES = [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)]

needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def host():
    return xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES, name="two nodes"))


@pytest.fixture
def machine(host, tmp_path):
    """The machine as a file that the command reads."""
    path = tmp_path / "machine-map.json"
    path.write_text(host.memory_map.to_json())
    return path


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
def test_cython_example_builds_as_its_setup_says_and_counts_what_the_methods_do(
    installed, host, machine, tmp_path
):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    for name in ("frames.pyx", "setup.py"):
        (tmp_path / name).write_bytes((EXAMPLES / "cython" / name).read_bytes())
    installed.run("setup.py", "-q", "build_ext", "--inplace", cwd=tmp_path)
    # What it needs of xenmm is in its code: importing it imports nothing.
    program = "import sys, frames; print('xenmm' in sys.modules, frames.__name__)"
    assert installed.run("-c", program, cwd=tmp_path) == "False frames\n"
    first, count = 0x7FF00, 0x200
    valid = [mfn for mfn in range(first, first + count) if host.mfn_valid(mfn)]
    assert 0 < len(valid) < count
    total = sum(host.mfn_to_virt(mfn) for mfn in valid) % (1 << 64)
    program = (
        f"import frames, xenmm; print(frames.touched_bytes(xenmm.boot({str(machine)!r}), {first}, {count}))"
    )
    assert installed.run("-c", program, cwd=tmp_path) == f"({len(valid)}, {total})\n"


@needs_cc
@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_frozen_c_example_converts_as_the_methods_do(installed, host, machine, tmp_path, optimise):
    installed.run("-m", "xenmm", "export", machine, "--format", "c", "-o", tmp_path / "machine_mm.h")
    flags = ["-std=c99", optimise, *QUIET, f"-I{tmp_path}"]
    run(CC, *flags, EXAMPLES / "c" / "frozen.c", "-o", tmp_path / "frozen")
    check_program([tmp_path / "frozen", []], host)


@needs_cc
@pytest.mark.parametrize("profile", ["xen-offset", "xen-none", "fold"])
def test_generic_c_example_loads_any_machine(installed, machine, tmp_path, profile):
    params = tmp_path / "machine.json"
    installed.run("-m", "xenmm", "export", machine, "--format", "json", "--profile", profile, "-o", params)
    include = installed.run("-c", "import xenmm; print(xenmm.get_include())").strip()
    assert Path(include).is_relative_to(installed.package)
    flags = ["-std=c99", "-O2", *QUIET, f"-I{include}"]
    run(CC, *flags, EXAMPLES / "c" / "many_machines.c", "-o", tmp_path / "many")
    check_program([tmp_path / "many", [params]], xenmm.boot(str(machine), profile=profile))


@pytest.mark.skipif(CXX is None, reason="no C++ compiler")
def test_cpp_example_holds_two_machines(installed, machine, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(xenmm.MemoryMap.from_ranges([(0, 8 * GIB)], None).to_json())
    for file, prefix in ((machine, "source"), (other, "target")):
        out = tmp_path / f"{prefix}_mm.h"
        installed.run("-m", "xenmm", "export", file, "--format", "c", "--prefix", prefix, "-o", out)
    flags = ["-std=c++11", "-O2", *QUIET, f"-I{tmp_path}"]
    run(CXX, *flags, EXAMPLES / "cpp" / "two_machines.cc", "-o", tmp_path / "two")
    assert run(tmp_path / "two") == "16 groups placed\n"


@pytest.mark.parametrize(
    "name, package", [("numba/count_pages.py", "numba"), ("unicorn/across_a_hole.py", "unicorn")]
)
def test_embedded_python_example_runs(installed, name, package):
    pytest.importorskip(package)
    assert installed.run(EXAMPLES / name)


def test_python_example_tells_of_a_log(installed, tmp_path, host, machine):
    shown = installed.run(EXAMPLES / "python" / "where_memory_goes.py", machine)
    last = NODES[-1][1] - 4096 >> 12
    assert f"mfn {last:#x}: page {host.mfn_to_page(last):#x}, virt {host.mfn_to_virt(last):#x}\n" in shown
    assert f"as it should be: mfn {host.max_page:#x} is not below max_page" in shown
    for profile in ("ext5t", "sparse-m2p", "xen-offset"):
        percent = xenmm.boot(host.memory_map, profile).overhead().percent["total"]
        assert re.search(rf"^{profile} .* {percent:.3f}% of RAM; ", shown, re.MULTILINE)


def test_simulator_example_says_the_same_every_time(installed):
    shown = installed.run(EXAMPLES / "simulator" / "balloons.py")
    away = {
        name: [float(share) for share in re.findall(r"([\d.]+)%", line)]
        for name, line in re.findall(r"^  (anywhere|home first) +(.*)$", shown, re.MULTILINE)
    }
    assert [len(shares) for shares in away.values()] == [6, 6]
    # Asking for the home node helps, and cannot help all while the machine is nearly full.
    assert sum(away["home first"]) < sum(away["anywhere"])
    cycles = re.findall(r"^  (none|mask|offset) +([\d.]+) mfn -> page, +([\d.]+) back$", shown, re.MULTILINE)
    assert [name for name, *_ in cycles] == ["none", "mask", "offset"]
    assert float(cycles[0][1]) < float(cycles[1][1]) < float(cycles[2][1])
    assert installed.run(EXAMPLES / "simulator" / "balloons.py") == shown


@pytest.mark.parametrize("how", ["drgn", "no drgn here"])
def test_drgn_example_reads_an_image_through_the_direct_map(installed, tmp_path, how):
    if how == "drgn":
        pytest.importorskip("drgn")
    ram = [(0, 6 * MIB), (1 << 40, (1 << 40) + 4 * MIB)]
    memory_map = xenmm.MemoryMap.from_ranges(ram, ram)
    (tmp_path / "machine.json").write_text(memory_map.to_json())
    image = random.Random(7).randbytes(10 * MIB)
    (tmp_path / "memory.img").write_bytes(image)
    host = xenmm.boot(memory_map)
    script = EXAMPLES / "drgn" / "direct_map.py"
    if how != "drgn":
        # As on a machine without drgn.
        (tmp_path / "drgn.py").write_text("raise ImportError('no drgn')\n")
        (tmp_path / "direct_map.py").write_bytes(script.read_bytes())
        script = tmp_path / "direct_map.py"

    def at(virt):
        done = installed.start(script, tmp_path / "machine.json", tmp_path / "memory.img", hex(virt), 16)
        rows = re.findall(r"^0x(\w+) is 0x(\w+) in the machine: (\w+) \((.*)\)$", done.stdout, re.MULTILINE)
        return done, rows

    # Across a page: two pieces. The first node's bytes lie where they lie, the second's after its 6 MiB.
    for maddr, place in ((0x100FF8, 0x100FF8), ((1 << 40) + 0x2FFF8, 6 * MIB + 0x2FFF8)):
        done, rows = at(host.maddr_to_virt(maddr))
        assert done.returncode == 0, done.stderr
        assert [int(row[1], 16) for row in rows] == [maddr, maddr + 8]
        assert "".join(row[2] for row in rows) == image[place : place + 16].hex()
        assert {row[3] for row in rows} == {how}
    done, rows = at(host.maddr_to_virt(1 << 40) - (1 << 28))
    assert done.returncode == 1 and not rows and "FrameError" in done.stderr


def test_docs_quote_every_example():
    text = (TREE / "docs" / "embedding.md").read_text()
    quoted = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)
    for path in sorted(p for p in EXAMPLES.rglob("*") if p.suffix in (".py", ".pyx", ".c", ".cc")):
        assert path.read_text() in quoted, (
            f"docs/embedding.md does not quote {path.relative_to(TREE)} as it is"
        )
        assert f"`{path.relative_to(TREE)}`" in text
