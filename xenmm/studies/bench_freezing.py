"""What write-once parameters are worth in time and bytes of code, and what baking them in costs."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .bench_c import Yardstick
from .bench_machine import Subject, random_frames
from .sampling import Task, interleaved, noise_of_pair

if TYPE_CHECKING:
    from .bench import Effort

#: The ways of bench_freezing.c: parameters read each time; known to the compiler; the frame converted once;
#: both of these; no compression at all.
WAYS: Final = ("variables", "constants", "once", "both", "none")
_FRAMES: Final = 512


def measure(
    subjects: dict[str, Subject], yardsticks: dict[tuple[str, str], Yardstick], effort: Effort
) -> Iterator[dict[str, Any]]:
    """Yield nanoseconds for one grant's map and undo, and its bytes of code, for each way."""
    for (compression, calls), yardstick in yardsticks.items():
        frames = random_frames(subjects[compression].host, _FRAMES)
        sizes = yardstick.symbol_bytes("bench_freezing.c")
        tasks = {way: _task(yardstick, way, frames) for way in WAYS}
        tasks["variables again"] = _task(yardstick, "variables", frames)
        series = interleaved(tasks, rounds=effort.rounds, sample_ns=effort.sample_ns)
        noise = noise_of_pair(series, "variables")
        for way, found in series.items():
            yield {
                "compression": compression,
                "calls": calls,
                "way": way,
                "ns": found.least / _FRAMES,
                "ns_median": found.median / _FRAMES,
                "of_variables": found.least / series["variables"].least,
                "code_bytes": sizes.get(f"grant_{way.removesuffix(' again')}"),
                "noise": max(noise, found.noise),
            }


def _task(yardstick: Yardstick, way: str, frames: Any) -> Task:
    function = getattr(yardstick.library, f"grants_{way}")
    pointer, count = ctypes.c_void_p(frames.ctypes.data), ctypes.c_size_t(len(frames))

    def run(n: int) -> None:
        function(pointer, count, ctypes.c_size_t(n))

    return run


def measure_baking(subject: Subject, yardstick: Yardstick | None) -> Iterator[dict[str, Any]]:
    """Yield the milliseconds that each way of baking a machine's constants into code takes, once."""
    started = time.perf_counter()
    subject.host.export("c")
    yield {"way": "frozen header, written", "ms": 1e3 * (time.perf_counter() - started)}
    if yardstick is not None:
        yield {"way": "frozen header, compiled and linked", "ms": 1e3 * yardstick.seconds}
    try:
        import numba  # noqa: F401
    except ImportError:
        return
    from ..embed.numba import functions

    started = time.perf_counter()
    functions(subject.host).mfn_to_page(0)
    yield {"way": "numba, one function compiled", "ms": 1e3 * (time.perf_counter() - started)}


def measure_unicorn(subject: Subject, pages: int) -> Iterator[dict[str, Any]]:
    """Yield how many TLB fills a second guest code gets, by the C callback and by the Python one."""
    try:
        # By name: the binding's types are not for a type checker.
        unicorn: Any = import_module("unicorn")
        x86: Any = import_module("unicorn.x86_const")
    except ImportError:
        return
    from ..embed.unicorn import CALLBACKS, attach

    host, code_at = subject.host, 1 << 20
    # L: mov rax,[rsi]; add rsi,4096; dec rcx; jnz L
    code = bytes.fromhex("488b064881c60010000048ffc975f1")
    start, end = max(host.memory_map.ram, key=lambda run: run[1] - run[0])
    first = -(-start // 4096) * 4096
    pages = min(pages, (end - first) >> 12)
    for callback in CALLBACKS:
        uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        uc.mem_map(first, pages << 12)
        if not first <= code_at < first + (pages << 12):
            uc.mem_map(code_at, 4096)
        attachment = attach(uc, host, callback=callback)
        uc.mem_write(code_at, code)
        best = 0.0
        for _ in range(3):
            uc.reg_write(x86.UC_X86_REG_RSI, host.maddr_to_virt(first))
            uc.reg_write(x86.UC_X86_REG_RCX, pages)
            before, started = attachment.fills, time.thread_time_ns()
            uc.emu_start(code_at, code_at + len(code))
            took = time.thread_time_ns() - started
            best = max(best, 1e3 * (attachment.fills - before) / took)
        yield {"callback": callback, "million_fills_per_s": best}
