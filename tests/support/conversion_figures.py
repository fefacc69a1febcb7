"""The README's figures on speed, taken from the committed record of ``xenmm bench``."""

import functools
import json
from pathlib import Path

RECORD = Path(__file__).parents[2] / "benchmarks" / "records" / "conversions.json"


@functools.cache
def _record():
    return json.loads(RECORD.read_text())


def of_memcpy(compression, task, size, data="coherent"):
    """An array loop's time as a multiple of memcpy of the same bytes."""
    key = (compression, data, size, task)
    return next(
        r["of_memcpy"]
        for r in _record()["arrays"]
        if (r["compression"], r["data"], r["bytes"], r["task"]) == key
    )


def of_floor(compression, call):
    """One call's time as a multiple of a C function that returns its argument."""
    return next(
        r["of_floor"] for r in _record()["calls"] if (r["compression"], r["call"]) == (compression, call)
    )


def code_bytes(compression, way):
    """Bytes of code of the grant-table function, with its parameters as told."""
    return next(
        r["code_bytes"] for r in _record()["freezing"] if (r["compression"], r["way"]) == (compression, way)
    )


NAMES = {f.__name__: f for f in (of_memcpy, of_floor, code_bytes)}
