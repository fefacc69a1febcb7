"""The record behind the conclusions of docs/timing.md: made anew, it is the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "timing_conclusions.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("timing_conclusions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(study):
    return json.loads(study.RECORD.read_text())


def test_the_record_is_what_its_command_makes(study, record):
    assert json.loads(json.dumps(study.record())) == record


def test_what_freezing_saves(record):
    # With the parameters in the first cache hardly any latency; without, the whole fetch.
    for core, modes in record["primitives"].items():
        for mode in ("mask", "offset"):
            variables, constants = (modes[mode][way] for way in ("variables", "constants"))
            saved = variables["round_trip"]["latency"] - constants["round_trip"]["latency"]
            assert 0 < saved <= 2, (core, mode)
            assert variables["convert"]["latency"] == constants["convert"]["latency"]
    for modes in record["cold_parameters"].values():
        for levels in modes.values():
            assert levels["constants"] == levels["L1D"] < levels["L2"] < levels["L3"] < levels["DRAM"]


def test_what_the_shortcut_saves(record):
    for modes in record["primitives"].values():
        for mode, ways in modes.items():
            for found in ways.values():
                assert found["shortcut"]["latency"] == 3
                assert found["round_trip"]["latency"] >= (4 if mode == "none" else 9)


def test_sparse_tables_cost_time_only_where_dense_ones_had_larger_pages(record):
    tables = record["tables"]

    def cycles(name):
        return tables[name]["zen3"]["tlb_and_walk_cycles_per_access"]

    assert cycles("sparse-m2p 2m") == pytest.approx(cycles("fold 2m"), rel=0.01)
    assert cycles("sparse-m2p 1g") > 2 * cycles("fold 1g")
    assert tables["sparse-m2p 1g"]["bytes"] < tables["fold 1g"]["bytes"] / 4
