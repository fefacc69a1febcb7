"""``xenmm bench``: the conversions beside their peers, side by side, in one run and one record.

Answers are checked against a slow model before anything is timed. Every comparison is of least samples, taken
in turn; each group of measurements times one of its tasks twice, and the difference is its noise.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .. import _core
from ..errors import ConfigError, did_you_mean
from ..firmware.memory_map import MemoryMap
from ..version import __version__
from . import bench_arrays, bench_freezing, bench_scalar, bench_startup
from .bench_c import Compiler, Yardstick, find_compiler
from .bench_machine import Subject, subjects
from .bench_targets import verdicts

RECORD_SCHEMA: Final = "xenmm-bench/1"
#: Parts of a run, in their order.
PARTS: Final = ("arrays", "threads", "calls", "inline", "freezing", "baking", "unicorn", "startup")

_ALIGNED: Final = ["-falign-loops=64", "-falign-functions=64"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    sample_ns: float
    sizes: int
    unicorn_pages: int

    @classmethod
    def quick(cls) -> Effort:
        """Some ten seconds; no array is larger than 8 MiB."""
        return cls(rounds=10, sample_ns=50e3, sizes=3, unicorn_pages=1 << 14)

    @classmethod
    def full(cls) -> Effort:
        """Minutes, with the largest arrays."""
        return cls(rounds=30, sample_ns=400e3, sizes=4, unicorn_pages=1 << 17)


def run(
    memory_map: MemoryMap,
    fallback: MemoryMap,
    effort: Effort,
    *,
    parts: tuple[str, ...] = PARTS,
    progress: Callable[[str], None] = lambda part: None,
) -> dict[str, Any]:
    """Measure, and return the record.

    Parameters
    ----------
    memory_map : MemoryMap
        The machine.
    fallback : MemoryMap
        A machine whose frames both compressions squeeze, for those that do nothing on the first.
    effort : Effort
        How long to measure.
    parts : tuple of str
        Which of :data:`PARTS`.
    progress : callable
        Told the name of each part as it begins.

    Raises
    ------
    XenmmError
        If an answer of any peer or of xenmm differs from the slow model's.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        near = did_you_mean(unknown[0], PARTS)
        raise ConfigError(f"unknown part {unknown[0]!r}; one of {', '.join(PARTS)}{near}")
    found = subjects(memory_map, fallback)
    compiler = find_compiler()
    started = time.monotonic()
    record: dict[str, Any] = {"schema": RECORD_SCHEMA, **_surroundings(compiler, found)}
    with tempfile.TemporaryDirectory(prefix="xenmm-bench-") as folder:
        made = _Yardsticks(compiler, found, Path(folder))
        for part in PARTS:
            if part in parts:
                progress(part)
                record[part] = list(_measure(part, found, made, effort))
    record["seconds"] = round(time.monotonic() - started, 1)
    record["targets"] = [verdict.to_dict() for verdict in verdicts(record)]
    return record


def _measure(part: str, found: dict[str, Subject], made: _Yardsticks, effort: Effort) -> Any:
    if part == "arrays":
        return bench_arrays.measure(found, made.loops(), effort)
    if part == "threads":
        return bench_arrays.measure_threads(found["mask"], effort) if (os.cpu_count() or 1) > 1 else ()
    if part == "calls":
        return bench_scalar.measure_calls(found, effort)
    if part == "inline":
        return bench_scalar.measure_inline(found, made.scalars(), effort)
    if part == "freezing":
        return bench_freezing.measure(found, made.freezing(), effort)
    if part == "baking":
        return bench_freezing.measure_baking(found["offset"], made.one_function())
    if part == "startup":
        return bench_startup.measure(effort)
    return bench_freezing.measure_unicorn(found["offset"], effort.unicorn_pages)


class _Yardsticks:
    """What is compiled for the peers; empty without a compiler."""

    def __init__(self, compiler: Compiler | None, found: dict[str, Subject], folder: Path) -> None:
        self._compiler, self._found, self._folder = compiler, found, folder

    def loops(self) -> dict[str, dict[str, Yardstick]]:
        """Loops over arrays by compression and level."""
        levels = {"-O2": ["-O2"], "-O3 native": ["-O3", "-march=native"]}
        return {
            c: {
                level: self._build(c, f"loops{i}", ["bench_loops.c"], flags)
                for i, (level, flags) in enumerate(levels.items())
            }
            for c in self._compressions()
        }

    def scalars(self) -> dict[str, Yardstick]:
        """Inline conversions at -O2."""
        flags = ["-O2", *_ALIGNED, *(["-mbmi2"] if "bmi2" in _cpu_flags() else [])]
        return {c: self._build(c, "scalar", ["bench_scalar.c"], flags) for c in self._compressions()}

    def freezing(self) -> dict[tuple[str, str], Yardstick]:
        """The grant-table code by compression and by what its calls do."""
        sources = ["bench_freezing.c", "bench_opaque.c"]
        squeezed = [c for c in self._compressions() if c != "none"]
        calls: dict[str, list[str]] = {"empty": [], "atomic": ["-DBENCH_ATOMIC"], "cold": ["-DBENCH_COLD"]}
        return {
            (c, name): self._build(c, f"freezing-{name}", sources, ["-O2", *flags])
            for c in squeezed
            for name, flags in calls.items()
        }

    def one_function(self) -> Yardstick | None:
        """The least that a compiler can be asked for with the frozen header."""
        return self._build("offset", "least", ["bench_least.c"], ["-O2"]) if self._compiler else None

    def _compressions(self) -> list[str]:
        return list(self._found) if self._compiler else []

    def _build(self, compression: str, name: str, sources: list[str], flags: list[str]) -> Yardstick:
        assert self._compiler is not None
        place = self._folder / f"{compression}-{name}"
        return Yardstick(self._compiler, self._found[compression], place, *sources, flags=flags)


def _surroundings(compiler: Compiler | None, found: dict[str, Subject]) -> dict[str, Any]:
    build = _core.build_info()
    return {
        "xenmm": __version__,
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": compiler.version if compiler else None,
        "array_loops": build["array loops"],
        "packages": {name: _version(name) for name in ("numpy", "numba", "unicorn")},
        "machines": {c: {"machine": s.machine, "profile": s.host.profile.name} for c, s in found.items()},
    }


def _cpuinfo(key: str) -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    except OSError:
        pass
    return ""


def _cpu_name() -> str:
    # A hypervisor may hide the model's name: its numbers tell it still.
    numbers = [
        f"{word} {_cpuinfo(key)}"
        for word, key in (("family", "cpu family"), ("model", "model"))
        if _cpuinfo(key)
    ]
    return ", ".join(filter(None, [_cpuinfo("model name") or platform.processor(), *numbers]))


def _cpu_flags() -> list[str]:
    return _cpuinfo("flags").split()


def _commit() -> str | None:
    """The commit of a source tree, with + when it has changes; None for an installed package."""
    tree = Path(__file__).parents[2]
    if not (tree / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(tree)]
        head = subprocess.run(
            [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
