"""One conversion at a time: inline in compiled code as embedders have it, and as one call from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from .._embed import chained_mfn_to_page, returned
from ..errors import XenmmError
from .bench_c import Yardstick
from .bench_machine import MEASURED, Subject, valid_runs
from .sampling import Task, interleaved, noise_of_pair

if TYPE_CHECKING:
    from .bench import Effort

#: Ways of having a conversion inline, and whether each wants a pointer.
WAYS: Final = ("constant", "variable", "frozen", "generic", "identity")
#: Which way is held to which: the header's text to the same formula by hand.
HELD_TO: Final = {"frozen": "constant", "generic": "variable", "Cython": "variable"}
_FIRST: Final = 0x12345
#: Conversions that one round of the C and Cython loops does.
_STEPS: Final = 8
_U64_MAX: Final = (1 << 64) - 1


def measure_inline(
    subjects: dict[str, Subject], yardsticks: dict[str, Yardstick], effort: Effort
) -> Iterator[dict[str, Any]]:
    """Yield nanoseconds for one conversion: in a chain (latency) and apart (throughput), for each way."""
    for compression, yardstick in yardsticks.items():
        subject = subjects[compression]
        c = _Functions(yardstick, subject)
        for conversion in MEASURED:
            for kind in ("chain", "apart"):
                tasks = {"empty loop": c.task(kind, "empty", None)}
                for way in (*WAYS, "bmi2"):
                    if c.has(kind, way, conversion):
                        c.check(way, conversion)
                        tasks[way] = c.task(kind, way, conversion)
                tasks["constant again"] = c.task(kind, "constant", conversion)
                if conversion == "mfn_to_page" and kind == "chain":
                    tasks["Cython"] = _cython(subject)
                series = interleaved(tasks, rounds=effort.rounds, sample_ns=effort.sample_ns)
                noise = noise_of_pair(series, "constant")
                for way, found in series.items():
                    yield {
                        "compression": compression,
                        "conversion": conversion,
                        "kind": {"chain": "latency", "apart": "throughput"}[kind],
                        "way": way,
                        "ns": found.least / _STEPS,
                        "ns_median": found.median / _STEPS,
                        "noise": max(noise, found.noise),
                    }


class _Functions:
    """The functions of bench_scalar.c for one subject."""

    def __init__(self, yardstick: Yardstick, subject: Subject) -> None:
        self._library = yardstick.library
        self._subject = subject
        self._library.bench_parameters.restype = ctypes.c_void_p
        pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
        pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self._capsule = subject.host.capsule
        self._pointers = {
            "variable": self._library.bench_parameters(),
            "generic": pointer_of(self._capsule, b"xenmm.xenmm_params"),
        }

    def has(self, kind: str, way: str, conversion: str) -> bool:
        return hasattr(self._library, f"{kind}_{way}_{conversion}")

    def _call(self, kind: str, way: str, conversion: str | None) -> Any:
        function = getattr(self._library, f"{kind}_{way}" + (f"_{conversion}" if conversion else ""))
        function.restype = ctypes.c_uint64
        function.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t]
        return function

    def task(self, kind: str, way: str, conversion: str | None) -> Task:
        function, pointer = self._call(kind, way, conversion), self._pointers.get(way)

        def run(n: int) -> None:
            function(pointer, _FIRST, n)

        return run

    def check(self, way: str, conversion: str) -> None:
        """Compare the way's answers on frames of every run of RAM with the slow model's."""
        if way == "identity":
            return
        function, pointer = self._call("one", way, conversion), self._pointers.get(way)
        slow = self._subject.slow
        for first, last in valid_runs(self._subject.host):
            for mfn in (first, (first + last) // 2, last - 1):
                x = slow.mfn_to_page(mfn) if conversion.startswith("page_") else mfn
                right, got = getattr(slow, conversion)(x), function(pointer, x, 1)
                if got != right:
                    raise XenmmError(
                        f"{way}: {conversion}({x:#x}) gave {got:#x}; the slow model says {right:#x}"
                    )


def _cython(subject: Subject) -> Task:
    capsule = subject.host.capsule

    def run(n: int) -> None:
        chained_mfn_to_page(capsule, _FIRST, _STEPS * n)

    for first, last in valid_runs(subject.host):
        for mfn in (first, last - 1):
            if chained_mfn_to_page(capsule, mfn, 1) != subject.slow.mfn_to_page(mfn):
                raise XenmmError(f"Cython: mfn_to_page({mfn:#x}) differs from the slow model")
    return run


def measure_calls(subjects: dict[str, Subject], effort: Effort) -> Iterator[dict[str, Any]]:
    """Yield nanoseconds for one call from Python, for integers of one, two and three digits of 30 bits."""
    for compression, subject in subjects.items():
        host, python = subject.host, PythonMethods(subject)
        mfn = valid_runs(host)[-1][1] - 1
        page = host.mfn_to_page(mfn)
        tasks = {}
        for label, function, x in (
            ("floor, 1 digit", returned, mfn & 0xFFFFF),
            ("floor, 2 digits", returned, 1 << 40),
            ("floor, 3 digits", returned, page),
            ("floor, 3 digits again", returned, page),
            ("unchecked, 1 digit", host.mfn_to_page_unchecked, mfn & 0xFFFFF),
            ("unchecked, 2 digits", host.mfn_to_page_unchecked, 1 << 40),
            ("unchecked, 3 digits", host.page_to_mfn_unchecked, page),
            ("checked, 1 digit", host.mfn_to_page, mfn),
            ("checked, 3 digits", host.page_to_mfn, page),
            ("Python method, 1 digit", python.mfn_to_page, mfn & 0xFFFFF),
            ("Python method, 3 digits", python.page_to_mfn, page),
        ):
            tasks[label] = _calls(function, x)
        tasks["array of one"] = _array_of_one(host, mfn)
        series = interleaved(tasks, rounds=effort.rounds, sample_ns=effort.sample_ns)
        noise = noise_of_pair(series, "floor, 3 digits")
        for label, found in series.items():
            digits = label.partition(", ")[2].removesuffix(" again")
            floor = series.get(f"floor, {digits}")
            yield {
                "compression": compression,
                "call": label,
                "ns": found.least,
                "ns_median": found.median,
                "of_floor": found.least / floor.least if floor else None,
                "noise": max(noise, found.noise),
            }


class PythonMethods:
    """The two conversions modulo 2^64 as quick as Python has them: one expression each, over slots."""

    __slots__ = ("_a", "_b", "_frame_table", "_shift_a", "_shift_b", "mfn_to_page", "page_to_mfn")

    def __init__(self, subject: Subject) -> None:
        params = subject.host.params
        self._frame_table = params["frametable_virt_start"]
        if subject.compression == "mask":
            self._a, self._b = params["pfn_pdx_bottom_mask"], params["pfn_top_mask"]
            self._shift_a = self._shift_b = params["pfn_pdx_hole_shift"]
            self.mfn_to_page, self.page_to_mfn = self._mask_mfn_to_page, self._mask_page_to_mfn
        elif subject.compression == "offset":
            unused = (0,) * 64
            self._a = (*params["pfn_pdx_lookup"], *unused)[:64]
            self._b = (*params["pdx_pfn_lookup"], *unused)[:64]
            self._shift_a, self._shift_b = params["pfn_index_shift"], params["pdx_index_shift"]
            self.mfn_to_page, self.page_to_mfn = self._offset_mfn_to_page, self._offset_page_to_mfn
        else:
            self.mfn_to_page, self.page_to_mfn = self._none_mfn_to_page, self._none_page_to_mfn

    def _mask_mfn_to_page(self, mfn: int) -> Any:
        return (((mfn & self._a) | ((mfn & self._b) >> self._shift_a)) * 32 + self._frame_table) & _U64_MAX

    def _mask_page_to_mfn(self, page: int) -> Any:
        pdx = ((page - self._frame_table) & _U64_MAX) >> 5
        return (pdx & self._a) | ((pdx << self._shift_a) & self._b)

    def _offset_mfn_to_page(self, mfn: int) -> Any:
        return ((mfn - self._a[mfn >> self._shift_a & 63]) * 32 + self._frame_table) & _U64_MAX

    def _offset_page_to_mfn(self, page: int) -> Any:
        pdx = ((page - self._frame_table) & _U64_MAX) >> 5
        return (pdx + self._b[pdx >> self._shift_b & 63]) & _U64_MAX

    def _none_mfn_to_page(self, mfn: int) -> Any:
        return (mfn * 32 + self._frame_table) & _U64_MAX

    def _none_page_to_mfn(self, page: int) -> Any:
        return ((page - self._frame_table) & _U64_MAX) >> 5


def _calls(function: Any, x: int) -> Task:
    def run(n: int) -> None:
        for _ in repeat(None, n):
            function(x)

    return run


def _array_of_one(host: Any, mfn: int) -> Task:
    import numpy as np

    x = np.array([mfn], dtype=np.uint64)
    out = np.empty_like(x)

    def run(n: int) -> None:
        for _ in repeat(None, n):
            host.mfn_to_page_unchecked(x, out=out)

    return run
