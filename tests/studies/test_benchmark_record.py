"""The committed record, and the page that takes its figures from it."""

import importlib.util
import json
from pathlib import Path

import doc_figures
import pytest
from tree import needs_source

from xenmm.studies.bench import PARTS
from xenmm.studies.bench_arrays import DATA, SIZES

TREE = Path(__file__).parents[2]
RECORD = TREE / "benchmarks" / "records" / "conversions.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_record_is_of_one_full_run_of_committed_code(record):
    assert record["commit"] and not record["commit"].endswith("+")
    # Records of before have no start-up times.
    assert all(record[part] for part in PARTS if part != "startup" or part in record)
    measured = {(row["compression"], row["data"], row["bytes"]) for row in record["arrays"]}
    assert measured == {(*data, size) for data in DATA for size in SIZES}


@pytest.fixture(scope="module")
def update_docs():
    spec = importlib.util.spec_from_file_location("update_docs", TREE / "benchmarks" / "update_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_source
def test_bytes_of_code_in_the_package_are_the_records(update_docs):
    assert update_docs.CODE_BYTES.read_text() == update_docs.code_bytes()


def test_docs_show_the_records_text():
    # Beside the general test of blocks: this page has the record, whole.
    page = (TREE / "docs" / "benchmarks.md").read_text()
    assert doc_figures.conversions_record() in page and "targets met" in page


def least(rows, **keys):
    """The one time of the record with these keys."""
    found = [row["ns"] for row in rows if all(row[k] == v for k, v in keys.items())]
    assert len(found) == 1, (keys, len(found))
    return found[0]


def test_what_the_page_says_of_shortcuts_and_identity_is_in_the_record(record):
    def chain(compression, conversion, way="frozen"):
        return least(
            record["inline"], compression=compression, conversion=conversion, way=way, kind="latency"
        )

    assert chain("mask", "page_to_virt") < chain("mask", "page_to_mfn_to_virt") / 3
    assert chain("offset", "page_to_virt") < chain("offset", "page_to_mfn_to_virt") / 5
    assert 2 < chain("mask", "mfn_to_page") / chain("none", "mfn_to_page") < 3
    assert 4 < chain("offset", "mfn_to_page") / chain("none", "mfn_to_page") < 6


def test_what_the_page_says_of_freezing_is_in_the_record(record):
    for compression in ("mask", "offset"):
        for calls in ("empty", "atomic", "cold"):
            rows = [r for r in record["freezing"] if (r["compression"], r["calls"]) == (compression, calls)]
            ways = {row["way"]: row for row in rows}
            assert ways["constants"]["code_bytes"] < 0.6 * ways["variables"]["code_bytes"]
            assert abs(ways["constants"]["code_bytes"] - ways["once"]["code_bytes"]) < 32
            if calls == "cold":
                assert ways["constants"]["of_variables"] < 0.5 < 0.8 < ways["once"]["of_variables"]
            else:
                assert 0.9 < ways["constants"]["of_variables"] < 1.02
        for conversion in ("mfn_to_page", "page_to_mfn", "mfn_to_virt"):
            found = {
                way: least(
                    record["inline"], compression=compression, conversion=conversion, way=way, kind="latency"
                )
                for way in ("constant", "variable")
            }
            assert 0.85 < found["constant"] / found["variable"] < 1.05


def test_what_the_page_says_of_pext_and_baking_is_in_the_record(record):
    for conversion in ("mfn_to_page", "page_to_mfn"):
        for kind, low, high in (("latency", 0.9, 1.1), ("throughput", 0.5, 0.85)):
            keys = {"compression": "mask", "conversion": conversion, "kind": kind}
            ratio = least(record["inline"], **keys, way="bmi2") / least(
                record["inline"], **keys, way="constant"
            )
            assert low < ratio < high
    baking = {row["way"]: row["ms"] for row in record["baking"]}
    assert baking["frozen header, written"] < 2
    assert baking["frozen header, compiled and linked"] > 10 * baking["frozen header, written"]
    fills = {row["callback"]: row["million_fills_per_s"] for row in record["unicorn"]}
    assert fills["c"] > 10 * fills["python"]


def test_what_the_page_says_of_frames_at_random_is_in_the_record(record):
    assert record["array_loops"] == "v4"
    for size in SIZES[:2]:

        def dearer(task, size=size):
            keys = {"compression": "offset", "bytes": size, "task": task}
            return least(record["arrays"], **keys, data="random") / least(
                record["arrays"], **keys, data="coherent"
            )

        assert max(dearer("mfn_to_page"), dearer("page_to_mfn"), dearer("mfn_to_virt")) < 2
        assert dearer("mfn_valid") > 3


def test_what_the_page_says_of_new_arrays_is_in_the_record(record):
    for compression in ("mask", "offset", "none"):
        keys = {"compression": compression, "data": "coherent", "bytes": SIZES[-1]}
        there = least(record["arrays"], **keys, task="mfn_to_page")
        assert least(record["arrays"], **keys, task="mfn_to_page, new array") > 1.8 * there
