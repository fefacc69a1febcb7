"""``xenmm bench --silicon``: the same primitives on this machine, as compiled code, beside the model.

What a cycle is: the processor's own counter in user mode where perf events are allowed; elsewhere the time of
one addition in a chain of additions, measured between the samples. Each figure is the least of many samples
of CPU time, taken in turn, since neighbours can only add.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..timing.config import load_microarchitecture
from ..version import __version__
from .bench_c import Compiler, Yardstick, find_compiler
from .bench_machine import Subject, random_frames, subjects
from .silicon_cpu import cpu_name, this_uarch
from .silicon_mca import FLAGS, llvm_mca
from .silicon_model import (
    RECORDS,
    SEED,
    Plateau,
    plateaus,
    predict,
    variants,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..firmware.memory_map import MemoryMap

    U64Array = NDArray[np.uint64]

RECORD_SCHEMA: Final = "xenmm-silicon/1"
_CALLS: Final = 1 << 18
_ADDITIONS: Final = 1 << 19
_HUGE: Final = 1 << 21


class Clock:
    """Cycles of a task: counted, or its CPU time in units of one addition."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._fd = library.open_cycles()
        self.counted = self._fd >= 0
        self._addition = 0.0

    def measure(self, tasks: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
        """Return the least cycles of each task, of `rounds` samples taken in turn."""
        least = dict.fromkeys(tasks, float("inf"))
        addition = nothing = float("inf")
        add = self._library.chain_addition
        for _ in range(rounds):
            # What reading the clock itself takes, and the call, is taken off every sample.
            nothing = min(nothing, self._once(lambda: add(1, 0)))
            addition = min(addition, self._once(lambda: add(1, _ADDITIONS)))
            for name, task in tasks.items():
                least[name] = min(least[name], self._once(task))
        self._addition = (addition - nothing) / _ADDITIONS
        # A counter of cycles should say that an addition takes one.
        cycle = 1.0 if self.counted else self._addition
        return {name: (value - nothing) / cycle for name, value in least.items()}

    def describe(self) -> dict[str, Any]:
        """What a cycle was, for the record."""
        if self.counted:
            return {"cycle": "user-mode cycle counter", "addition_cycles": round(self._addition, 3)}
        return {
            "cycle": "CPU time of one addition in a chain; no cycle counter may be read here",
            "ghz": round(1 / self._addition, 3),
        }

    def _once(self, task: Callable[[], Any]) -> float:
        read = (lambda: self._library.read_cycles(self._fd)) if self.counted else self._library.cpu_ns
        start = read()
        task()
        return float(read() - start)


def load(compiler: Compiler, subject: Subject, folder: Path) -> Yardstick:
    """Compile the primitives with the machine's constants."""
    flags = [*FLAGS, f"-DMODE={subject.compression}"]
    made = Yardstick(compiler, subject, folder / subject.compression, "silicon.c", flags=flags)
    library = made.library
    word = ctypes.c_uint64
    for name in ("cpu_ns", "silicon_records", "convert_free", "convert_chain", "grant_storm", "chase"):
        getattr(library, name).restype = word
    library.read_cycles.restype = word
    library.chase.argtypes = [word, word]
    library.chain_addition.argtypes = [word, word]
    library.silicon_setup.argtypes = [word, word]
    library.silicon_setup(0, 0)
    return made


def machine_frames(found: dict[str, Subject], quick: bool) -> dict[str, U64Array]:
    """Return the frames of the end-to-end runs: so many that their records fill no cache."""
    n = 1 << 14 if quick else 1 << 20
    return {mode: random_frames(s.host, n, SEED) for mode, s in found.items()}


def run(
    memory_map: MemoryMap,
    fallback: MemoryMap,
    *,
    uarch: str | None = None,
    quick: bool = False,
    predict_only: bool = False,
    progress: Callable[[str], None] = lambda part: None,
) -> dict[str, Any]:
    """Predict, and unless `predict_only` measure too; return the record.

    Raises
    ------
    ConfigError
        There is no preset for this processor, or no C compiler.
    """
    uarch = uarch or this_uarch()
    load_microarchitecture(uarch)
    found = subjects(memory_map, fallback)
    large = found if memory_map is fallback else subjects(fallback, fallback)
    frames = machine_frames(large, quick)
    progress("predicting")
    record = predict(uarch, found, large, frames, quick=quick)
    record["machines"] = {mode: s.machine for mode, s in found.items()}
    if large is not found:
        record["end_to_end_machine"] = fallback.name
    record["quick"] = quick
    if predict_only:
        return record
    compiler = find_compiler()
    if compiler is None:
        raise ConfigError("silicon: needs a C compiler (cc, gcc or clang); none is installed")
    _need_memory(large, quick)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xenmm-silicon-") as folder:
        made = {mode: load(compiler, s, Path(folder)) for mode, s in found.items()}
        clock = Clock(next(iter(made.values())).library)
        rounds = 5 if quick else 40
        progress("primitives")
        _primitives(record, made, found, clock, rounds)
        record["clock"] = clock.describe()
        record["llvm_mca"] = llvm_mca(record, compiler, found, Path(folder), uarch)
        progress("plateaus")
        for row, plateau in zip(record["plateaus"], plateaus(quick), strict=True):
            _add(row, "cycles", _chase(plateau, clock, made, rounds))
        progress("end to end")
        if large is not found:
            made = {mode: load(compiler, s, Path(folder) / "large") for mode, s in large.items()}
        _end_to_end(record["end_to_end"], made, large, frames, clock, 2 if quick else 5)
    record["schema"] = RECORD_SCHEMA
    record["xenmm"] = __version__
    record["cpu"] = cpu_name()
    record["compiler"] = compiler.version
    record["seconds"] = round(time.monotonic() - started, 1)
    record["errors"] = summary(record)
    return record


def _need_memory(large: dict[str, Subject], quick: bool) -> None:
    # The whole frame table and M2P of the machine's RAM, and the largest chase.
    needed = max(s.host.ram_bytes // 4096 * (32 + 8) for s in large.values())
    needed += max(p.bytes for p in plateaus(quick))
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return
    if free < needed:
        less = "" if quick else "; --quick needs less"
        raise ConfigError(f"silicon: needs {needed >> 20} MiB of free memory, {free >> 20} MiB are{less}")


def _add(row: dict[str, Any], figure: str, measured: float) -> None:
    row[f"{figure}_measured"] = round(measured, 3)
    if row[figure]:
        row[f"{figure}_error"] = round(row[figure] / measured - 1, 4)


def _primitives(
    record: dict[str, Any],
    made: dict[str, Yardstick],
    found: dict[str, Subject],
    clock: Clock,
    rounds: int,
) -> None:
    tasks: dict[str, Callable[[], Any]] = {}
    for i, (primitive, mode, way) in enumerate(variants(found)):
        for kind in ("chain", "free"):
            tasks[f"{kind} {i}"] = _loop(made[mode], found[mode], kind, primitive, way)
    least = clock.measure(tasks, rounds)
    sizes = {mode: y.symbol_bytes("silicon.c") for mode, y in made.items()}
    for i, row in enumerate(record["primitives"]):
        if row["latency"] is not None:
            _add(row, "latency", least[f"chain {i}"] / _CALLS)
        _add(row, "throughput", least[f"free {i}"] / _CALLS)
        size = sizes[row["mode"]].get(f"code_{row['way']}_{row['primitive']}", 0)
        if size > 1:
            # Without the return.
            _add(row, "code_bytes", size - 1)


def _loop(made: Yardstick, subject: Subject, kind: str, primitive: str, way: str) -> Callable[[], Any]:
    function = getattr(made.library, f"{kind}_{way}_{primitive}")
    function.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
    function.restype = ctypes.c_uint64
    mfn = int(random_frames(subject.host, 1, SEED)[0])
    start = {"mfn": mfn, "m2p": 5, "page": subject.host.mfn_to_page(mfn), "pdx": subject.host.mfn_to_pdx(mfn)}
    x = start.get(primitive.partition("_")[0], mfn)
    if primitive in RECORDS:
        x = made.library.silicon_records()
    elif primitive.startswith("virt"):
        x = subject.host.mfn_to_virt(mfn)
    elif primitive.startswith("maddr"):
        x = mfn << 12
    return lambda: function(x, _CALLS)


def _chase(plateau: Plateau, clock: Clock, made: dict[str, Yardstick], rounds: int) -> float:
    import numpy as np

    memory, base = pages(plateau.bytes, plateau.page_size)
    offsets = plateau.offsets()
    words = np.frombuffer(memory, np.uint64, plateau.bytes // 8, base)
    at = words.ctypes.data
    words[offsets >> np.uint64(3)] = np.roll(offsets, -1) + np.uint64(at)
    count = -(-max(len(offsets), _CALLS) // 8) * 8
    chase = next(iter(made.values())).library.chase
    first = at + int(offsets[0])
    chase(first, count)
    least = clock.measure({"chase": lambda: chase(first, count)}, max(2, rounds // (1 + count // (1 << 18))))
    return least["chase"] / count


def pages(length: int, page_size: str) -> tuple[mmap.mmap, int]:
    """Return private memory and where in it `length` bytes begin, aligned to 2 MiB.

    Its pages are of 2 MiB where the system gives them, or of 4 KiB.
    """
    import numpy as np

    memory = mmap.mmap(-1, length + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    if hasattr(memory, "madvise"):
        huge, small = getattr(mmap, "MADV_HUGEPAGE", None), getattr(mmap, "MADV_NOHUGEPAGE", None)
        advice = huge if page_size == "2m" else small
        if advice is not None:
            memory.madvise(advice)
    return memory, -np.frombuffer(memory, np.uint8, 1).ctypes.data % _HUGE


def _end_to_end(
    rows: list[dict[str, Any]],
    made: dict[str, Yardstick],
    found: dict[str, Subject],
    frames: dict[str, U64Array],
    clock: Clock,
    rounds: int,
) -> None:
    functions = {
        "random frames, dependent": "convert_chain",
        "random frames, independent": "convert_free",
        "grant storm": "grant_storm",
    }
    for mode, page_size in dict.fromkeys((r["mode"], r["page_size"]) for r in rows):
        keep = _tables(made[mode].library, found[mode], frames[mode], page_size)
        some = [r for r in rows if (r["mode"], r["page_size"]) == (mode, page_size)]
        tasks = {}
        for row in some:
            function = getattr(made[mode].library, functions[row["what"]])
            tasks[row["what"]] = _over(function, frames[mode])
            answer = tasks[row["what"]]()
            if row["what"] == "grant storm" and answer != len(frames[mode]):
                raise ConfigError(f"silicon: {len(frames[mode]) - answer} grants were refused")
        least = clock.measure(tasks, rounds)
        for row in some:
            _add(row, "cycles", least[row["what"]] / len(frames[mode]))
        made[mode].library.silicon_setup(0, 0)
        del keep


def _over(function: Any, frames: U64Array) -> Callable[[], int]:
    pointer, count = ctypes.c_void_p(frames.ctypes.data), ctypes.c_uint64(len(frames))
    return lambda: int(function(pointer, count))


def _tables(library: Any, subject: Subject, frames: U64Array, page_size: str) -> Any:
    # Address space for the whole tables, memory for the records and entries of the frames.
    import numpy as np

    host = subject.host
    memory, table = pages(host.max_pdx * 32, page_size)
    other, m2p = pages(host.max_page * 8, page_size)
    records = np.frombuffer(memory, np.uint64, host.max_pdx * 4, table).reshape(-1, 4)
    entries = np.frombuffer(other, np.uint64, host.max_page, m2p)
    pdx = host.mfn_to_pdx(frames)
    records[pdx, 0] = 1 << 40
    records[pdx, 1] = 0xE800000000000000 | 1 << 40
    records[pdx, 2] = 1
    entries[frames] = frames + np.uint64(1)
    library.silicon_setup(records.ctypes.data, entries.ctypes.data)
    return memory, other


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Return mean and worst absolute errors by kind of figure."""
    conversions = [r for r in record["primitives"] if r["primitive"] not in RECORDS]
    groups = {
        "latency of conversions": [(r, "latency") for r in conversions],
        "throughput of conversions": [(r, "throughput") for r in conversions],
        "code bytes": [(r, "code_bytes") for r in record["primitives"]],
        "latency of reference counts": [(r, "latency") for r in record["primitives"] if r not in conversions],
        "plateaus": [(r, "cycles") for r in record["plateaus"]],
        "end to end": [(r, "cycles") for r in record["end_to_end"]],
    }
    out = {}
    for name, rows in groups.items():
        errors = {_name(r): abs(r[f"{f}_error"]) for r, f in rows if f"{f}_error" in r}
        if errors:
            worst = max(errors, key=lambda k: errors[k])
            mean = sum(errors.values()) / len(errors)
            out[name] = {"mean": round(mean, 4), "worst": round(errors[worst], 4), "worst_is": worst}
    return out


def _name(row: dict[str, Any]) -> str:
    keys = ("primitive", "what", "mode", "way", "page_size")
    return ", ".join(str(row[k]) for k in keys if k in row)
