"""Nothing is lost: after many boots, conversions, machines and engines a process has not grown."""

import os
import subprocess
import sys
from pathlib import Path

import leaks
import pytest


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
@pytest.mark.parametrize(
    ("what", "rounds"), [("boots", 1000), ("conversions", 250), ("machines", 200), ("engines", 500)]
)
def test_resident_memory_is_flat(what, rounds):
    # `make leaks` counts ten times as many boots, and a thousand machines and engines.
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, leaks.__file__, what, str(rounds)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 20
