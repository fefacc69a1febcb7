"""What threads run at once without the interpreter's lock: no data race that gcc's ThreadSanitizer sees.

The C parts stand alone in race.c, since a sanitizer sees all of a program that it built. ``make tsan`` also
runs the modules themselves under it.
"""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from embeddings import run
from tree import SOURCE, needs_source

import xenmm

PROGRAM = Path(__file__).parent / "support" / "race.c"
GIB = 1 << 30
RAM = {
    "mask": [(0, 2 * GIB), (4 * GIB, 8 * GIB), (1024 * GIB, 1028 * GIB)],
    "offset": [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)],
}
TARGETS = ("plain", "v2", "v3", "v4")


def library():
    """gcc's ThreadSanitizer, or None."""
    if shutil.which("gcc") is None or platform.machine() != "x86_64":
        return None
    found = run("gcc", "-print-file-name=libtsan.so").strip()
    return found if Path(found).is_absolute() else None


pytestmark = [
    needs_source,
    pytest.mark.skipif(library() is None, reason="no gcc for x86-64 with libtsan here"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("race")
    for kind, ram in RAM.items():
        host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram, ram), f"xen-{kind}")
        assert host.compression.kind == kind
        (folder / f"{kind}.h").write_text(host.export("c", prefix=kind))
    includes = [f"-I{at}" for at in (folder, SOURCE, SOURCE / "include")]
    run("gcc", "-O1", "-g", "-fsanitize=thread", "-pthread", *includes, PROGRAM, "-o", folder / "race")
    return folder / "race"


def raced(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this processor does not run these loops")
    return done


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", RAM)
def test_threads_on_one_host_do_not_race(program, kind, target):
    done = raced(program, kind, str(TARGETS.index(target)))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith(f"{target}, engine ")


@pytest.mark.parametrize("target", TARGETS)
def test_a_race_that_is_there_is_seen(program, target):
    # Else the test before would pass where the sanitizer sees nothing.
    done = raced(program, "offset", str(TARGETS.index(target)), "shared")
    assert done.returncode == 66
    assert "WARNING: ThreadSanitizer: data race" in done.stderr
    assert "race.c" in done.stderr or "_kernels" in done.stderr
