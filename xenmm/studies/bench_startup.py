"""How long it takes until xenmm is there: its import and its smallest command, beside Python's own start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ..errors import XenmmError
from .sampling import apart

if TYPE_CHECKING:
    from .bench import Effort

#: The peer, an interpreter that does nothing; a second time, for the noise of the run.
PEER: Final = "python -c pass"
_AGAIN: Final = f"{PEER} again"
COMMANDS: Final = {
    PEER: ("-c", "pass"),
    "import xenmm": ("-c", "import xenmm"),
    "xenmm --version": ("-m", "xenmm", "--version"),
    _AGAIN: ("-c", "pass"),
}
_HEAVY: Final = "numpy"


def measure(effort: Effort) -> list[dict[str, Any]]:
    """Start a process for each, in turn, as often as the effort has rounds: medians of wall-clock time.

    Raises
    ------
    XenmmError
        If the import brings in NumPy, or a command fails.
    """
    loaded = _run("-c", "import sys, xenmm; print(*sys.modules)").split()
    if _HEAVY in loaded:
        raise XenmmError(f"import xenmm imports {_HEAVY}, which is for arrays only")
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    names = list(COMMANDS)
    for i in range(effort.rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter_ns()
            _run(*COMMANDS[name])
            samples[name].append((time.perf_counter_ns() - start) / 1e6)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    noise = apart(medians[PEER], medians[_AGAIN])
    return [
        {
            "what": name,
            "ms": medians[name],
            "least_ms": min(samples[name]),
            "of_python": medians[name] / medians[PEER],
            "noise": noise,
        }
        for name in names
        if name != _AGAIN
    ]


def _run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise XenmmError(f"python {' '.join(words)}: exit code {done.returncode}: {done.stderr[-200:]!r}")
    return done.stdout
