"""What the measurements are held to, and which of them miss it by more than their own noise.

The targets are the project's for its development machine (docs/benchmarks.md); elsewhere they compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from .bench_arrays import SIZES
from .bench_scalar import HELD_TO

_Row = dict[str, Any]

#: Multiples of memcpy for each of the four sizes, by compression, data and task.
ARRAYS: Final[dict[tuple[str, str, str], tuple[float, float, float, float]]] = {
    **{
        ("mask", "coherent", name): (1.6, 1.15, 1.15, 1.25)
        for name in ("mfn_to_page", "page_to_mfn", "mfn_to_virt", "page_to_virt")
    },
    **{
        ("offset", "coherent", name): (2.0, 1.15, 1.2, 1.3)
        for name in ("mfn_to_page", "page_to_mfn", "mfn_to_virt")
    },
    **{
        ("offset", "random", name): (6.4, 2.9, 2.3, 2.3)
        for name in ("mfn_to_page", "page_to_mfn", "mfn_to_virt")
    },
    **{(c, "coherent", "mfn_valid"): (2.5, 1.2, 1.3, 1.4) for c in ("mask", "offset")},
    ("offset", "random", "mfn_valid"): (14.0, 6.0, 4.3, 2.9),
    **{(c, "coherent", "page_to_mfn_to_virt"): (4.0, 1.6, 1.3, 1.4) for c in ("mask", "offset")},
}
_IN_PLACE: Final = 1.2
_CHECKED_OF_UNCHECKED: Final = 1.5
_NUMPY_OF_XENMM: Final = 5.0
#: Multiples of the floor for one call from Python.
CALLS: Final = {"unchecked": 3.0, "checked": 3.5}
_PYTHON_OF_CALL: Final = 4.0
_ARRAY_OF_ONE_NS: Final = 250.0
_INLINE_OF_PLAIN: Final = 1.05
_TWO_THREADS: Final = 1.7
_QUIET_LOAD: Final = 1.3
#: Milliseconds of a whole process.
STARTUP: Final = {"import xenmm": 60.0, "xenmm --version": 150.0}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target: what was measured, the limit, the run's own noise as a factor, and whether it is met."""

    name: str
    measured: float
    limit: float
    noise: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Not missed by more than the noise."""
        if self.at_least:
            return self.measured * self.noise >= self.limit
        return self.measured <= self.limit * self.noise

    def to_dict(self) -> dict[str, Any]:
        """The fields and the verdict."""
        return {**asdict(self), "met": self.met}


def verdicts(record: dict[str, Any]) -> list[Verdict]:
    """Every target that the record has measurements for."""
    return [
        *_of_arrays(record.get("arrays", ())),
        *_of_threads(record.get("threads", ())),
        *_of_calls(record.get("calls", ())),
        *_of_inline(record.get("inline", ())),
        *_of_startup(record.get("startup", ())),
    ]


def size_name(nbytes: int) -> str:
    """``4 KiB`` for 4096."""
    return f"{nbytes >> 20} MiB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KiB"


def _of_arrays(rows: Iterable[_Row]) -> Iterator[Verdict]:
    groups: dict[tuple[str, str, int], dict[str, _Row]] = {}
    for row in rows:
        groups.setdefault((row["compression"], row["data"], row["bytes"]), {})[row["task"]] = row
    for (compression, data, nbytes), tasks in groups.items():
        where = f"{compression}, {data} frames, {size_name(nbytes)}"
        for task, row in tasks.items():
            limits = ARRAYS.get((compression, data, task))
            if limits is not None:
                limit = limits[SIZES.index(nbytes)]
                yield Verdict(f"{task} of memcpy ({where})", row["of_memcpy"], limit, row["noise"])
        yield from _beside_peers(where, nbytes, data, tasks)


def _beside_peers(where: str, nbytes: int, data: str, tasks: dict[str, _Row]) -> Iterator[Verdict]:
    ours = tasks["mfn_to_page"]

    def noise(*names: str) -> float:
        return float(max(row["noise"] for row in (ours, *(tasks[name] for name in names))))

    if data == "coherent":
        ratio = tasks["mfn_to_page checked"]["ns"] / ours["ns"]
        name = f"checked of unchecked mfn_to_page ({where})"
        yield Verdict(name, ratio, _CHECKED_OF_UNCHECKED, noise("mfn_to_page checked"))
    if "mfn_to_page in place" in tasks and where.startswith("mask"):
        ratio = tasks["mfn_to_page in place"]["of_memcpy"]
        name = f"mfn_to_page in place of memcpy ({where})"
        yield Verdict(name, ratio, _IN_PLACE, noise("mfn_to_page in place"))
    if "numba" in tasks:
        called = tasks.get("from Python", ours)
        ratio = called["ns"] / tasks["numba"]["ns"]
        yield Verdict(f"mfn_to_page of numba ({where})", ratio, 1.0, noise("numba"))
    if "NumPy" in tasks and nbytes >= 256 << 10 and not where.startswith("none"):
        ratio = tasks["NumPy"]["ns"] / ours["ns"]
        yield Verdict(
            f"NumPy of mfn_to_page ({where})", ratio, _NUMPY_OF_XENMM, noise("NumPy"), at_least=True
        )


def _of_threads(rows: Iterable[_Row]) -> Iterator[Verdict]:
    for row in rows:
        # This run is a load of nearly one itself; with more, there is no second processor to be had.
        if row["load"] < _QUIET_LOAD:
            name = "two threads on two halves, times as fast as one"
            yield Verdict(name, row["speedup"], _TWO_THREADS, row["noise"], at_least=True)


def _of_calls(rows: Iterable[_Row]) -> Iterator[Verdict]:
    groups: dict[str, dict[str, _Row]] = {}
    for row in rows:
        groups.setdefault(row["compression"], {})[row["call"]] = row
    for compression, calls in groups.items():
        for call, row in calls.items():
            kind, _, digits = call.partition(", ")
            if kind in CALLS:
                yield Verdict(
                    f"{kind} call of the floor ({compression}, {digits})",
                    row["of_floor"],
                    CALLS[kind],
                    row["noise"],
                )
            if kind == "Python method" and compression != "none":
                ratio = row["ns"] / calls[f"unchecked, {digits}"]["ns"]
                name = f"Python method of the unchecked call ({compression}, {digits})"
                yield Verdict(name, ratio, _PYTHON_OF_CALL, row["noise"], at_least=True)
        one = calls["array of one"]
        yield Verdict(f"ns for an array of one ({compression})", one["ns"], _ARRAY_OF_ONE_NS, one["noise"])


def _of_inline(rows: Iterable[_Row]) -> Iterator[Verdict]:
    groups: dict[tuple[str, str, str], dict[str, _Row]] = {}
    for row in rows:
        groups.setdefault((row["compression"], row["conversion"], row["kind"]), {})[row["way"]] = row
    for where, ways in groups.items():
        for way, by_hand in HELD_TO.items():
            if way in ways:
                ratio = ways[way]["ns"] / ways[by_hand]["ns"]
                name = f"inline {way} of plain C ({', '.join(where)})"
                noise = max(ways[way]["noise"], ways[by_hand]["noise"])
                yield Verdict(name, ratio, _INLINE_OF_PLAIN, noise)


def _of_startup(rows: Iterable[_Row]) -> Iterator[Verdict]:
    for row in rows:
        if row["what"] in STARTUP:
            yield Verdict(f"ms for {row['what']}", row["ms"], STARTUP[row["what"]], row["noise"])
