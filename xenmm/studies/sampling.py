"""Timing of alternatives side by side: interleaved samples of CPU time, compared by their minima.

Other programs on a machine slow a loop by up to two; they never make it faster. So what is compared is the
least of many short samples, taken in turn so that a busy moment meets every alternative.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: What a task does: run the thing measured that many times.
Task = Callable[[int], Any]

_FIRST_REPEATS: Final = 1
_GROWTH: Final = 4


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one task, each in nanoseconds of this thread's CPU time for one run."""

    samples: tuple[float, ...]

    @property
    def least(self) -> float:
        """The quickest sample."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The sample in the middle."""
        return statistics.median(self.samples)

    @property
    def noise(self) -> float:
        """How far apart, as a factor, the least of every second sample and the least of the others are."""
        return apart(min(self.samples[::2]), min(self.samples[1::2] or self.samples))


def apart(a: float, b: float) -> float:
    """The larger of two times over the smaller."""
    return max(a / b, b / a)


def noise_of_pair(series: Mapping[str, Series], *names: str) -> float:
    """The largest factor between tasks that were measured twice: each name, and the name with ``again``."""
    return max(apart(series[name].least, series[f"{name} again"].least) for name in names)


def interleaved(
    tasks: Mapping[str, Task], *, rounds: int, sample_ns: float, warm: bool = True
) -> dict[str, Series]:
    """Measure tasks in turn.

    Parameters
    ----------
    tasks : mapping of str to Task
        What to measure, by name.
    rounds : int
        Samples of each; a round takes one of each task, beginning with another one every time.
    sample_ns : float
        How long one sample should at least take.
    warm : bool
        Run a task once before each of its samples, so that what the others left in the caches does not count.
    """
    repeats = {name: _calibrate(task, sample_ns) for name, task in tasks.items()}
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            if warm:
                tasks[name](1)
            samples[name].append(_once(tasks[name], repeats[name]))
    return {name: Series(tuple(values)) for name, values in samples.items()}


def _once(task: Task, repeats: int) -> float:
    start = time.thread_time_ns()
    task(repeats)
    return (time.thread_time_ns() - start) / repeats


def _calibrate(task: Task, sample_ns: float) -> int:
    # The first runs also touch what the task uses and let numba compile.
    task(1)
    repeats = _FIRST_REPEATS
    while (took := _once(task, repeats) * repeats) < sample_ns / 2:
        repeats = max(repeats * _GROWTH, 1) if took < sample_ns / 8 else repeats * 2
    return repeats
