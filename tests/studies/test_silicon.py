"""The model against silicon: the measured code computes what it should, and the records say what was run.

How fast anything is depends on the machine and is asserted nowhere.
"""

from __future__ import annotations

import ctypes
import json
import platform
from pathlib import Path

import numpy as np
import pytest

import xenmm
from xenmm.cli import main
from xenmm.errors import ConfigError
from xenmm.maps import open_map
from xenmm.studies import silicon, silicon_cpu, silicon_mca
from xenmm.studies.bench_c import find_compiler
from xenmm.studies.bench_machine import subjects
from xenmm.studies.silicon_cli import render
from xenmm.studies.silicon_model import CONVERSIONS, KNOWN, MODELESS, RECORDS, Plateau, plateaus, predict
from xenmm.timing.operations import operations

RECORD_FILES = Path(__file__).parents[2] / "benchmarks" / "records"
MACHINE = "candidate-4x4g-64g"


@pytest.fixture(scope="module")
def found():
    machine = xenmm.read_map(open_map(MACHINE), name=MACHINE)
    return subjects(machine, machine)


@pytest.fixture(scope="module")
def libraries(found, tmp_path_factory):
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler is installed")
    folder = tmp_path_factory.mktemp("silicon")
    return {mode: silicon.load(compiler, s, folder) for mode, s in found.items()}


def cpuinfo(vendor, family, model):
    return f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: X\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (cpuinfo("AuthenticAMD", 23, 49), "zen2"),
        (cpuinfo("AuthenticAMD", 23, 1), None),
        (cpuinfo("AuthenticAMD", 25, 1), "zen3"),
        (cpuinfo("AuthenticAMD", 25, 17), "zen4"),
        (cpuinfo("AuthenticAMD", 25, 33), "zen3"),
        (cpuinfo("AuthenticAMD", 25, 97), "zen4"),
        (cpuinfo("AuthenticAMD", 26, 2), "zen5"),
        (cpuinfo("GenuineIntel", 6, 26), "nehalem"),
        (cpuinfo("GenuineIntel", 6, 44), "westmere"),
        (cpuinfo("GenuineIntel", 6, 85), "skylake-sp"),
        (cpuinfo("GenuineIntel", 6, 106), "icelake-sp"),
        (cpuinfo("GenuineIntel", 6, 143), "sapphire-rapids"),
        (cpuinfo("GenuineIntel", 6, 1), None),
        (cpuinfo("GenuineIntel", 15, 85), None),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "neoverse-n1"),
        ("", None),
    ],
)
def test_processors_are_known_by_their_numbers(text, name):
    assert silicon_cpu.identify(text) == name
    assert name is None or name in operations()


def test_measured_code_computes_what_the_host_computes(found, libraries):
    for mode, subject in found.items():
        host, library = subject.host, libraries[mode].library
        ends = [mfn for start, end in host.memory_map.ram for mfn in (start >> 12, (end >> 12) - 1)]
        frames = [mfn for mfn in ends if host.mfn_valid(mfn)]
        assert frames
        for way in ("variables", "constants"):
            for mfn in frames:
                page, virt = host.mfn_to_page(mfn), host.mfn_to_virt(mfn)
                inputs = {"mfn": mfn, "pdx": host.mfn_to_pdx(mfn), "page": page, "virt": virt}
                inputs["maddr"] = mfn << 12
                for primitive in (*CONVERSIONS, "page_to_virt", "virt_to_page"):
                    x = inputs[primitive.partition("_")[0]]
                    expected = virt if primitive == "page_to_mfn_to_virt" else getattr(host, primitive)(x)
                    assert code(library, f"{way}_{primitive}", x) == expected, (mode, way, primitive)
            for mfn in (*ends, host.max_page, 1 << 40):
                assert code(library, f"{way}_mfn_valid", mfn) == host.mfn_valid(mfn)


def code(library, name, x):
    function = getattr(library, f"code_{name}")
    function.argtypes, function.restype = [ctypes.c_uint64], ctypes.c_uint64
    return function(x)


def test_references_are_taken_and_dropped(libraries):
    library = libraries["none"].library
    at = library.silicon_records()
    record = (ctypes.c_uint64 * 4).from_address(at)
    for get, put, word in (("get_page", "put_page", 0), ("get_page_type", "put_page_type", 1)):
        before = list(record)
        assert code(library, f"constants_{get}", at) == 1
        assert list(record) == [b + (i == word) for i, b in enumerate(before)]
        assert code(library, f"constants_{put}", at) == 1
        assert list(record) == before


def test_every_variant_has_its_loops_and_each_runs(found, libraries):
    for primitive, mode, way in silicon.variants(found):
        for kind in ("chain", "free"):
            silicon._loop(libraries[mode], found[mode], kind, primitive, way)
            function = getattr(libraries[mode].library, f"{kind}_{way}_{primitive}")
            x = libraries[mode].library.silicon_records() if primitive in RECORDS else 5
            function(x, 8)
    measured = {p for p, _, _ in silicon.variants(found)}
    assert measured == {*CONVERSIONS, *MODELESS, *RECORDS, "mfn_valid"}


@pytest.mark.parametrize("page_size", ["4k", "2m"])
def test_grants_are_all_granted_and_leave_no_reference(found, libraries, page_size):
    subject, library = found["offset"], libraries["offset"].library
    frames = silicon.random_frames(subject.host, 512, 1)
    keep = silicon._tables(library, subject, frames, page_size)
    storm = silicon._over(library.grant_storm, frames)
    assert storm() == len(frames)
    total = silicon._over(library.convert_free, frames)()
    assert total == silicon._over(library.convert_chain, frames)()
    # The sum of the counts: 2**40 each, as before the grants.
    assert total == len(frames) << 40
    library.silicon_setup(0, 0)
    del keep


def test_a_chase_goes_through_every_line_once():
    for plateau in plateaus(quick=True):
        offsets = plateau.offsets()
        assert len(np.unique(offsets)) == plateau.count
        assert int(offsets.max()) < plateau.bytes
        if plateau.apart:
            assert len(np.unique(offsets >> np.uint64(12))) == plateau.count
    assert len(plateaus(quick=False)) > len(plateaus(quick=True))


def test_a_cycle_is_an_addition_where_no_counter_is():
    class Library:
        now = 0

        def open_cycles(self):
            return -1

        def cpu_ns(self):
            return self.now

        def chain_addition(self, x, n):
            self.now += 1000 + n // 4

        def task(self):
            self.now += 1000 + 500

    library = Library()
    clock = silicon.Clock(library)
    # A quarter of a nanosecond an addition, 500 nanoseconds the task: 2,000 cycles; reading costs 1,000.
    assert clock.measure({"task": library.task}, 3) == {"task": 2000.0}
    assert clock.describe()["ghz"] == 4.0


def test_a_counter_of_cycles_is_believed():
    class Library:
        now = 0

        def open_cycles(self):
            return 7

        def read_cycles(self, fd):
            assert fd == 7
            return self.now

        def chain_addition(self, x, n):
            self.now += 50 + n

        def task(self):
            self.now += 50 + 300

    library = Library()
    clock = silicon.Clock(library)
    assert clock.measure({"task": library.task}, 2) == {"task": 300.0}
    assert clock.describe()["addition_cycles"] == 1.0


ASSEMBLY = """\
code_straight:
.LFB1:
\t.cfi_startproc
\tmovq\t%rdi, %rax
\tshlq\t$5, %rax
\tret
\t.cfi_endproc
code_branches:
.LFB2:
\tcmpq\t$3, %rdi
\tja\t.L4
\tmovq\t%rdi, %rax
.L4:
\tret
"""


def test_llvm_mca_is_asked_about_straight_code_alone():
    assert silicon_mca.function_body(ASSEMBLY, "code_straight") == "\tmovq\t%rdi, %rax\n\tshlq\t$5, %rax\n"
    assert silicon_mca.function_body(ASSEMBLY, "code_branches") is None
    assert silicon_mca.function_body(ASSEMBLY, "code_missing") is None


def test_errors_are_summed_up_by_kind():
    rows = [
        {"primitive": "mfn_to_page", "mode": "mask", "way": "constants", "latency": 5},
        {"primitive": "mfn_valid", "mode": "mask", "way": "constants", "latency": 12},
    ]
    silicon._add(rows[0], "latency", 4.0)
    silicon._add(rows[1], "latency", 16.0)
    assert [r["latency_error"] for r in rows] == [0.25, -0.25]
    rows[1]["latency_error"] = -0.5
    found = silicon.summary({"primitives": rows, "plateaus": [], "end_to_end": []})
    assert found == {
        "latency of conversions": {"mean": 0.375, "worst": 0.5, "worst_is": "mfn_valid, mask, constants"}
    }


def test_the_same_model_says_the_same_twice(found):
    frames = silicon.machine_frames(found, quick=True)
    some = {"offset": found["offset"]}
    first = predict("zen3", some, some, frames, quick=True)
    assert first == predict("zen3", some, some, frames, quick=True)
    assert first["plateaus"][0]["cycles"] == 4.0
    assert all(r["cycles"] > 0 for r in first["end_to_end"])


def load_record(name):
    return json.loads((RECORD_FILES / name).read_text())


def key(row):
    return tuple(row.get(k) for k in ("primitive", "what", "mode", "way", "page_size"))


def test_predictions_came_first_and_both_are_kept():
    predicted, measured = load_record("silicon-predictions.json"), load_record("silicon.json")
    assert predicted["uarch"] == measured["uarch"]
    assert predicted["machines"] == measured["machines"]
    assert "--predict" in predicted["command"] and "--predict" not in measured["command"]
    for part, figures in {
        "primitives": ("latency", "throughput", "code_bytes"),
        "plateaus": ("cycles",),
        "end_to_end": ("cycles",),
    }.items():
        after = {key(r): r for r in measured[part]}
        assert list(after) == [key(r) for r in predicted[part]]
        for row in predicted[part]:
            assert not any(k.endswith("_measured") for k in row)
            for figure in figures:
                # What was predicted stands unchanged beside what was measured.
                assert after[key(row)][figure] == row[figure]
                if row[figure] is not None:
                    assert f"{figure}_measured" in after[key(row)]
    unknown = {r["primitive"] for r in predicted["primitives"] if not r["known"]}
    assert {"mfn_valid", "m2p_read", "m2p_write", *RECORDS} <= unknown
    assert not unknown & set(KNOWN)
    assert {r["what"] for r in predicted["end_to_end"]} == {
        "random frames, dependent",
        "random frames, independent",
        "grant storm",
    }


def test_errors_of_the_record_are_those_of_its_rows():
    record = load_record("silicon.json")
    assert record["errors"] == silicon.summary(record)
    for row in record["primitives"]:
        if row["latency"]:
            error = row["latency"] / row["latency_measured"] - 1
            assert row["latency_error"] == pytest.approx(error, abs=1e-3)


def test_the_record_as_text_has_every_row():
    record = load_record("silicon.json")
    text = render(record)
    assert text.count("mfn_valid") == 6 + sum("mfn_valid" in e["worst_is"] for e in record["errors"].values())
    for row in record["plateaus"]:
        assert row["what"] in text
    assert f"{record['errors']['latency of conversions']['mean']:.1%} on average" in text
    assert "model" in text and "silicon" in text and "error" in text
    assert "nothing was measured" in render(load_record("silicon-predictions.json"))


def test_command_predicts_without_measuring(capsys):
    assert (
        main(["bench", MACHINE, "--silicon", "--predict", "--quick", "--uarch", "zen3", "--json", "-"]) == 0
    )
    record = json.loads(capsys.readouterr().out)
    assert record["uarch"] == "zen3"
    assert record["command"] == f"xenmm bench {MACHINE} --silicon --uarch zen3 --predict --quick --json -"
    assert not any("latency_measured" in r for r in record["primitives"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--silicon", "--uarch", "zen9", "--predict"], "'zen9' is not one of"),
        (["--predict"], "--predict and --uarch belong to --silicon"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_place_that_cannot_be_written_is_told_first(tmp_path, capsys):
    target = tmp_path / "missing" / "record.json"
    assert main(["bench", "--silicon", "--predict", "--quick", "--json", str(target)]) == 2
    assert str(target) in capsys.readouterr().err


def test_too_little_memory_is_told_before_it_is_used(found, monkeypatch):
    monkeypatch.setattr(silicon.os, "sysconf", lambda name: 1 << 10)
    with pytest.raises(ConfigError, match=r"needs \d+ MiB of free memory, 1 MiB are; --quick needs less"):
        silicon._need_memory(found, quick=False)


def test_end_to_end_runs_are_those_of_a_known_machine():
    # A machine of any size may be given; its tables need not fit here.
    fallback = xenmm.read_map(open_map(MACHINE), name=MACHINE)
    huge = xenmm.read_map(open_map("hyperv-hotplug-16t"), name="hyperv-hotplug-16t")
    record = silicon.run(huge, fallback, uarch="zen3", quick=True, predict_only=True)
    assert record["machines"]["none"] != fallback.name
    assert record["end_to_end_machine"] == fallback.name


def test_an_unknown_processor_is_told_how_to_choose(monkeypatch):
    monkeypatch.setattr(silicon_cpu, "identify", lambda text: None)
    with pytest.raises(ConfigError, match=r"name one with --uarch: nehalem"):
        silicon_cpu.this_uarch()


def test_a_quick_run_measures_every_row(found):
    if find_compiler() is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs a C compiler on x86-64")
    machine = xenmm.read_map(open_map(MACHINE), name=MACHINE)
    record = silicon.run(machine, machine, uarch="zen3", quick=True)
    for row in record["primitives"]:
        assert row["throughput_measured"] > 0
        assert row["latency"] is None or row["latency_measured"] > 0
    assert all(r["cycles_measured"] > 0 for r in record["plateaus"] + record["end_to_end"])
    assert Plateau("one", 1, "4k", True).bytes == 2 << 20
