"""Whole arrays: every conversion as a multiple of memcpy of the same bytes, beside its peers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from .._core import _repeat
from .._embed import repeat_memcpy
from ..errors import XenmmError
from .bench_c import Yardstick
from .bench_machine import MEASURED, Subject, buffer, coherent_frames, random_frames
from .sampling import Task, apart, interleaved, noise_of_pair

if TYPE_CHECKING:
    from .bench import Effort

#: Sizes of the input in bytes; the last is left out when quick.
SIZES: Final = (4 << 10, 256 << 10, 8 << 20, 512 << 20)
#: What is measured: which compression, on which frames.
DATA: Final = (("mask", "coherent"), ("offset", "coherent"), ("offset", "random"), ("none", "coherent"))
_PYTHON_VALUES: Final = 512
_SAMPLED: Final = 97
_THREADS_BYTES: Final = 8 << 20
# A sample of milliseconds, so that handing the halves to the threads weighs little.
_THREADS_PASSES: Final = 32


@dataclass(frozen=True, slots=True)
class Bench:
    """One subject's arrays of one size, and the tasks over them."""

    subject: Subject
    data: str
    nbytes: int
    tasks: dict[str, Task]
    elements: dict[str, int]


def measure(
    subjects: dict[str, Subject], yardsticks: dict[str, dict[str, Yardstick]], effort: Effort
) -> Iterator[dict[str, Any]]:
    """Yield a row for each way, conversion and size: nanoseconds an element, and the multiple of memcpy."""
    for compression, data in DATA:
        subject = subjects[compression]
        for nbytes in SIZES[: effort.sizes]:
            bench = _prepare(subject, data, nbytes, yardsticks.get(compression, {}))
            large = nbytes > 64 << 20
            rounds = max(effort.rounds // 4, 5) if large else effort.rounds
            # Several passes a sample, so that what the others left in the caches weighs little.
            sample_ns = effort.sample_ns if large else max(effort.sample_ns, nbytes / 2)
            series = interleaved(bench.tasks, rounds=rounds, sample_ns=sample_ns, warm=not large)
            copied = series["memcpy"].least
            noise = max(noise_of_pair(series, "memcpy", "mfn_to_page"), series["memcpy"].noise)
            for name, found in series.items():
                count = bench.elements.get(name, nbytes // 8)
                per_element = copied / (nbytes // 8)
                yield {
                    "compression": compression,
                    "data": data,
                    "bytes": nbytes,
                    "task": name,
                    "ns": found.least / count,
                    "ns_median": found.median / count,
                    "of_memcpy": found.least / count / per_element,
                    "noise": max(noise, found.noise),
                }


def _prepare(subject: Subject, data: str, nbytes: int, yardsticks: dict[str, Yardstick]) -> Bench:
    import numpy as np

    count = nbytes // 8
    host = subject.host
    frames, pages, out = buffer(count), buffer(count), buffer(count)
    verdicts = buffer(count, np.bool_)
    frames[:] = (coherent_frames if data == "coherent" else random_frames)(host, count)
    host.mfn_to_page_unchecked(frames, out=pages)
    small, large = nbytes < 64 << 10, nbytes > 64 << 20
    raw, target = frames.view(np.uint8), out.view(np.uint8)

    def copy(n: int) -> None:
        repeat_memcpy(raw, target, n)

    tasks: dict[str, Task] = {"memcpy": copy, "memcpy again": copy}
    elements: dict[str, int] = {}
    for name in MEASURED:
        x = pages if name.startswith("page_") else frames
        _check(subject, name, x, getattr(host, f"{name}_unchecked")(x[: 1 << 16]), "xenmm")
        tasks[name] = _kernel(host, name, x, out) if small else _method(host, f"{name}_unchecked", x, out)
    tasks["mfn_to_page again"] = tasks["mfn_to_page"]
    tasks["mfn_to_page checked"] = (
        _kernel(host, "mfn_to_page", frames, out, True)
        if small
        else _method(host, "mfn_to_page", frames, out)
    )
    _check(subject, "mfn_valid", frames, host.mfn_valid(frames[: 1 << 16]), "xenmm")
    tasks["mfn_valid"] = (
        _kernel(host, "mfn_valid", frames, verdicts)
        if small
        else _method(host, "mfn_valid", frames, verdicts)
    )
    if not small:
        tasks["mfn_to_page, new array"] = _repeated(host.mfn_to_page_unchecked, frames)
    if large:
        # Its result is no frame any more, but a conversion costs the same on any value of the same run.
        place = buffer(count)
        place[:] = frames
        tasks["mfn_to_page in place"] = _method(host, "mfn_to_page_unchecked", place, place)
        yardsticks = {}
    _add_peers(tasks, elements, subject, frames, out, yardsticks)
    return Bench(subject, data, nbytes, tasks, elements)


def _method(host: Any, name: str, x: Any, out: Any) -> Task:
    method = getattr(host, name)

    def task(n: int) -> None:
        for _ in range(n):
            method(x, out=out)

    return task


def _kernel(host: Any, name: str, x: Any, out: Any, checked: bool = False) -> Task:
    def task(n: int) -> None:
        _repeat(host, name, x, out, n, checked)

    return task


def measure_threads(subject: Subject, effort: Effort) -> Iterator[dict[str, Any]]:
    """Yield how much quicker two threads convert the two halves of an array than one thread does the whole.

    By the clock on the wall, for two threads' CPU time says nothing of it: other programs count here.
    """
    from concurrent.futures import ThreadPoolExecutor

    count = _THREADS_BYTES // 8
    frames, out = buffer(count), buffer(count)
    frames[:] = coherent_frames(subject.host, count)
    method = subject.host.mfn_to_page_unchecked
    halves = [(frames[: count // 2], out[: count // 2]), (frames[count // 2 :], out[count // 2 :])]

    def passes(x: Any, y: Any) -> None:
        for _ in range(_THREADS_PASSES):
            method(x, out=y)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda half: passes(*half), halves))
        least = {"one": float("inf"), "two": float("inf"), "one again": float("inf")}
        for _ in range(effort.rounds):
            for name in least:
                started = time.perf_counter()
                if name == "two":
                    list(pool.map(lambda half: passes(*half), halves))
                else:
                    passes(frames, out)
                least[name] = min(least[name], time.perf_counter() - started)
    load = os.getloadavg()[0]
    noise = apart(least["one"], least["one again"])
    yield {"bytes": _THREADS_BYTES, "speedup": least["one"] / least["two"], "noise": noise, "load": load}


def _add_peers(
    tasks: dict[str, Task],
    elements: dict[str, int],
    subject: Subject,
    frames: Any,
    out: Any,
    yardsticks: dict[str, Yardstick],
) -> None:
    # The peers convert frames to pages; xenmm from Python stands beside those that are called from Python.
    import numpy as np

    def add(label: str, task: Task) -> None:
        out[:] = 0
        task(1)
        _check(subject, "mfn_to_page", frames, out, label)
        tasks[label] = task

    if len(frames) * 8 < 64 << 10:
        add("from Python", _method(subject.host, "mfn_to_page_unchecked", frames, out))
    for level, yardstick in yardsticks.items():
        function = yardstick.library.loop_mfn_to_page
        add(f"plain C {level}", _c_loop(function, frames, out))
    add("NumPy", _repeated(_numpy_expression(subject), frames, out))
    compiled = _numba_loop(subject)
    if compiled is not None:
        add("numba", _repeated(compiled, frames, out))
    some = [int(mfn) for mfn in frames[:_PYTHON_VALUES]]
    slow = subject.slow.mfn_to_page

    def python(n: int) -> None:
        for _ in range(n):
            [slow(mfn) for mfn in some]

    if len(frames) == _PYTHON_VALUES:
        tasks["pure Python"] = python
        elements["pure Python"] = len(some)
    assert out.dtype == np.uint64


def _repeated(function: Callable[..., object], *arguments: Any) -> Task:
    def task(n: int) -> None:
        for _ in range(n):
            function(*arguments)

    return task


def _c_loop(function: Any, x: Any, out: Any) -> Task:
    import ctypes

    source, target = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data)
    count = ctypes.c_size_t(len(x))

    def task(n: int) -> None:
        function(source, target, count, ctypes.c_size_t(n))

    return task


def _numpy_expression(subject: Subject) -> Callable[[Any, Any], object]:
    # As one would write it; the last step writes into out=.
    import numpy as np

    params = subject.host.params
    u64 = np.uint64
    start, record_shift = u64(params["frametable_virt_start"]), u64(5)
    if subject.compression == "mask":
        bottom, top = u64(params["pfn_pdx_bottom_mask"]), u64(params["pfn_top_mask"])
        shift = u64(params["pfn_pdx_hole_shift"])

        def expression(x: Any, out: Any) -> object:
            return np.add(((x & bottom) | ((x & top) >> shift)) << record_shift, start, out=out)

    elif subject.compression == "offset":
        values = [v % (1 << 64) for v in params["pfn_pdx_lookup"]]
        table = np.zeros(64, dtype=u64)
        table[: len(values)] = values
        slot_shift, slots = u64(params["pfn_index_shift"]), u64(63)

        def expression(x: Any, out: Any) -> object:
            return np.add((x - table[(x >> slot_shift) & slots]) << record_shift, start, out=out)

    else:

        def expression(x: Any, out: Any) -> object:
            return np.add(x << record_shift, start, out=out)

    return expression


@cache
def _numba_loop(subject: Subject) -> Callable[[Any, Any], object] | None:
    try:
        import numba
    except ImportError:
        return None
    from ..embed.numba import functions

    mfn_to_page = functions(subject.host).mfn_to_page

    def loop(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = mfn_to_page(x[i])

    compiled: Callable[[Any, Any], object] = numba.njit(loop)
    return compiled


def _check(subject: Subject, name: str, x: Any, got: Any, who: str) -> None:
    # A prime stride, so that lanes of any vector width are met.
    for i in range(0, len(got), max(len(got) // 2000, 1) * _SAMPLED if len(got) > _SAMPLED else 1):
        right, answer = getattr(subject.slow, name)(int(x[i])), int(got[i])
        if right != answer:
            raise XenmmError(
                f"{who}: {name}({int(x[i]):#x}) gave {answer:#x}; the slow model says {right:#x}"
            )
