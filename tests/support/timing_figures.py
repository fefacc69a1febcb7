"""The figures of docs/timing.md, taken from the committed records or computed by today's model."""

import functools
import json
from pathlib import Path

from xenmm.timing.cost import cost

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
REFERENCES = ("get_page", "put_page", "get_page_type", "put_page_type")


@functools.cache
def record(name):
    return json.loads((RECORDS / f"{name}.json").read_text())


def cycles(core, mode, what, figure="latency", way="variables"):
    """The model's cost of a conversion, the round trip or the shortcut, parameters in the first cache."""
    return record("timing-conclusions")["primitives"][core][mode][way][what][figure]


def cold(core, mode, level):
    """The model's latency of a conversion whose parameters come from a level."""
    return record("timing-conclusions")["cold_parameters"][core][mode][level]


def tables(step, core, figure="tlb_and_walk_cycles_per_access"):
    """Updates of random frames on a step's tables."""
    return record("timing-conclusions")["tables"][step][core][figure]


def gib(step):
    """What a step's tables take."""
    return record("timing-conclusions")["tables"][step]["bytes"] / (1 << 30)


def silicon(primitive, mode, way="variables", figure="latency_measured"):
    """A figure of one primitive's row of the silicon record."""
    rows = record("silicon")["primitives"]
    return next(r[figure] for r in rows if (r["primitive"], r["mode"], r["way"]) == (primitive, mode, way))


def end_to_end(what, mode, page_size, figure="cycles_measured"):
    """A figure of a run, or of a plateau when mode is None."""
    if mode is None:
        return next(r[figure] for r in record("silicon")["plateaus"] if r["what"] == what)
    rows = record("silicon")["end_to_end"]
    return next(r[figure] for r in rows if (r["what"], r["mode"], r["page_size"]) == (what, mode, page_size))


def predicted_error(figure, which="mean", conversions=True):
    """Percent: the committed predictions against what was measured after them."""
    errors = _errors(figure, conversions, lambda row: row[figure])
    return 100 * (max(errors) if which == "worst" else sum(errors) / len(errors))


def error_now(figure, which="mean", conversions=True):
    """Percent: today's model against the same measurements."""

    def model(row):
        c = cost(row["primitive"], row["mode"], row["way"], "zen5", around=1 / 8, copies=1)
        if figure == "throughput":
            return c.throughput
        return c.latency + (2 if row["primitive"] in ("mfn_valid", *REFERENCES) else 0)

    errors = _errors(figure, conversions, model)
    return 100 * (max(errors) if which == "worst" else sum(errors) / len(errors))


def mca_error(figure, way):
    """Percent: llvm-mca against what was measured, where it has a figure."""
    rows = [r for r in record("silicon")["primitives"] if r.get(f"{figure}_mca") and r["way"] == way]
    rows = [r for r in rows if r["primitive"] not in (*REFERENCES, "m2p_read")]
    errors = [abs(r[f"{figure}_mca"] / r[f"{figure}_measured"] - 1) for r in rows]
    return 100 * sum(errors) / len(errors)


def freezing(compression, calls, way, figure="of_variables"):
    """A figure of the grant path in the record of `xenmm bench`."""
    rows = record("conversions")["freezing"]
    return next(
        r[figure] for r in rows if (r["compression"], r["calls"], r["way"]) == (compression, calls, way)
    )


def machine_bench(*keys):
    """A figure of the record of benchmarks/bench_machine.py."""
    value = record("machine")
    for key in keys:
        value = value[key]
    return value


def _errors(figure, conversions, value):
    return [
        abs(value(r) / r[f"{figure}_measured"] - 1)
        for r in record("silicon")["primitives"]
        if (r["primitive"] not in REFERENCES) == conversions and r[figure] is not None
    ]


NAMES = {
    f.__name__: f
    for f in (
        *(cycles, cold, tables, gib, silicon, end_to_end),
        *(predicted_error, error_now, mca_error, freezing, machine_bench),
    )
}
