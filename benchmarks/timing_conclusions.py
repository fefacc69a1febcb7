#!/usr/bin/env python3
"""What the model says of the series' steps in time: the record behind docs/timing.md.

    python benchmarks/timing_conclusions.py [--json benchmarks/records/timing-conclusions.json]

Nothing is measured: the same code gives the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import xenmm
from xenmm._embed import struct_values
from xenmm.maps import open_map
from xenmm.timing.config import load_microarchitecture
from xenmm.timing.cost import cost
from xenmm.timing.primitives import MODES, WAYS
from xenmm.timing.replay import Input, replay

COMMAND = "python benchmarks/timing_conclusions.py --json benchmarks/records/timing-conclusions.json"
RECORD = Path(__file__).parent / "records" / "timing-conclusions.json"
#: 256 GiB of RAM in eight nodes over half a TiB: both compressions squeeze it.
MACHINE = "candidate-8x32g-512g"
PROFILES = {"none": "xen-none", "mask": "xen-mask", "offset": "xen-offset"}
ROUND_TRIP, SHORTCUT = "map_domain_page(page_to_mfn(page))", "map_domain_page(page)"
#: Dense tables before, sparse ones after, and today's.
STEPS = ("fold", "sparse-frametable", "sparse-m2p", "xen-none", "xen-mask", "xen-offset")
CORES = ("westmere", "skylake-sp", "zen3")
ACCESSES = 400_000
PAGE_SIZES = ("2m", "1g")


def host(profile: str, page_sizes: str = "1g") -> xenmm.Host:
    """Boot the machine."""
    return xenmm.boot(xenmm.read_map(open_map(MACHINE), name=MACHINE), profile, page_sizes=page_sizes)


def primitives() -> dict[str, Any]:
    """What the round trip and the shortcut cost by mode, way and core, parameters in the first cache."""
    out: dict[str, Any] = {}
    values = {mode: struct_values(host(profile).capsule) for mode, profile in PROFILES.items()}
    for core in (*CORES, "zen5"):
        out[core] = {}
        for mode in MODES:
            out[core][mode] = {}
            for way in WAYS:
                found = {}
                for name, primitive in (
                    ("convert", "mfn_to_page"),
                    ("valid", "mfn_valid"),
                    ("round_trip", ROUND_TRIP),
                    ("shortcut", SHORTCUT),
                ):
                    c = cost(primitive, mode, way, core, values=values[mode])
                    found[name] = {
                        "latency": c.latency,
                        "throughput": round(c.throughput, 3),
                        "code_bytes": c.code_bytes,
                    }
                out[core][mode][way] = found
    return out


def cold_parameters() -> dict[str, Any]:
    """Cycles of one conversion whose parameters must be fetched first, from each level.

    The chain cannot begin before the first parameter comes; the others are fetched beside it (assumed).
    """
    out: dict[str, Any] = {}
    for core in CORES:
        h = load_microarchitecture(core)
        levels = {c.name: c.latency for c in h.caches if c.holds != "instruction"}
        levels["DRAM"] = h.memory.latency
        out[core] = {
            mode: {
                level: latency - cost_load(core) + (cost("mfn_to_page", mode, "variables", core).latency or 0)
                for level, latency in levels.items()
            }
            | {"constants": cost("mfn_to_page", mode, "constants", core).latency}
            for mode in ("mask", "offset")
        }
    return out


def cost_load(core: str) -> int:
    """The first cache's latency, which a conversion hides when the parameters are there."""
    first, _ = load_microarchitecture(core).entries()
    return first.latency if first is not None else 0


def tables() -> dict[str, Any]:
    """What updates of random frames' page_info, M2P and P2M cost by step, page size and core."""
    out: dict[str, Any] = {}
    for sizes in PAGE_SIZES:
        for profile in STEPS:
            booted = host(profile, sizes)
            row: dict[str, Any] = {
                "compression": booted.compression.kind,
                "bytes": booted.overhead().costs.to_dict()["total"],
                "largest_page": {
                    "frame_table": max(n for _, n, _ in booted.frame_table.chunks) << 12,
                    "m2p": max(n for _, n, _ in booted.m2p.chunks) << 12,
                },
            }
            for core in CORES:
                r = replay(
                    booted,
                    Input(workload="p2m-update", accesses=ACCESSES, seed=1),
                    core,
                    warmup=ACCESSES // 4,
                )
                n = sum(r.accesses.values())
                row[core] = {
                    "walks_per_access": round(r.walks.walks / n, 4),
                    "tlb_and_walk_cycles_per_access": round((r.cycles["tlb"] + r.cycles["walk"]) / n, 2),
                    "cycles_per_access": round(r.cycles["total"] / n, 2),
                }
            out[f"{profile} {sizes}"] = row
    return out


def record() -> dict[str, Any]:
    """The whole record."""
    return {
        "schema": "xenmm-timing-conclusions/1",
        "command": COMMAND,
        "machine": MACHINE,
        "workload": f"p2m-update, {ACCESSES} accesses, the first quarter not counted",
        "primitives": primitives(),
        "cold_parameters": cold_parameters(),
        "tables": tables(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", default=str(RECORD))
    arguments = parser.parse_args()
    Path(arguments.json).write_text(json.dumps(record(), indent=1) + "\n")
