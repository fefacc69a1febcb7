"""xenmm bench: what it measures is right, and what it says follows from that. No time is asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest
from embeddings import environment
from hosts import edge_values
from oracle import Oracle

import xenmm
from xenmm.errors import ConfigError, XenmmError
from xenmm.maps import DEFAULT_MAP, bundled
from xenmm.studies import bench_arrays, bench_c, bench_machine, bench_startup, bench_targets
from xenmm.studies.bench import PARTS, Effort, run
from xenmm.studies.bench_cli import render
from xenmm.studies.sampling import Series, interleaved, noise_of_pair

COMPILER = bench_c.find_compiler()
TINY = Effort(rounds=2, sample_ns=1e3, sizes=1, unicorn_pages=64)

needs_cc = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.fixture(scope="module")
def memory_map():
    return xenmm.read_map(bundled()[DEFAULT_MAP])


@pytest.fixture(scope="module")
def found(memory_map):
    return bench_machine.subjects(memory_map, memory_map)


@pytest.fixture(scope="module")
def record(memory_map):
    return run(memory_map, memory_map, TINY)


@pytest.mark.parametrize("compression", ["mask", "offset", "none"])
def test_slow_model_agrees_with_the_tests_own(found, compression):
    subject = found[compression]
    params = dict(subject.host.params)
    oracle = Oracle(params)
    # Frames of 52-bit addresses: it is there to check a machine's own.
    for x in (v for v in edge_values(params) if v < 1 << 40):
        for name in bench_machine.MEASURED:
            page = (params["frametable_virt_start"] + 32 * x) % (1 << 64) if name.startswith("page") else x
            assert getattr(subject.slow, name)(page) == getattr(oracle, name)(page), (name, hex(page))
        assert subject.slow.mfn_valid(x) == oracle.mfn_valid(x)


def test_frames_measured_are_the_machines(found):
    host = found["offset"].host
    for frames in (bench_machine.coherent_frames(host, 5000), bench_machine.random_frames(host, 5000)):
        assert host.mfn_valid(frames).all()
    coherent = bench_machine.coherent_frames(host, 5000)
    assert np.count_nonzero(np.diff(coherent) != 1) < 10
    runs = bench_machine.valid_runs(host)
    small = xenmm.boot(xenmm.MemoryMap.from_ranges([(4 << 20, 5 << 20), (8 << 20, 9 << 20)]))
    around = bench_machine.coherent_frames(small, 515)
    assert list(around) == [*range(1024, 1280), *range(2048, 2304), 1024, 1025, 1026]
    # Every run of RAM is drawn from, in proportion.
    drawn = bench_machine.random_frames(host, 1 << 16)
    for start, end in runs:
        share = np.count_nonzero((drawn >= start) & (drawn < end)) / len(drawn)
        assert share == pytest.approx((end - start) / sum(e - s for s, e in runs), abs=0.02)


def test_wrong_answer_stops_the_run_before_it_is_timed(found):
    subject = found["mask"]
    x = bench_machine.coherent_frames(subject.host, 64)
    y = subject.host.mfn_to_page(x)
    bench_arrays._check(subject, "mfn_to_page", x, y, "somebody")
    y[13] += 32
    with pytest.raises(XenmmError, match=rf"somebody: mfn_to_page\({int(x[13]):#x}\)"):
        bench_arrays._check(subject, "mfn_to_page", x, y, "somebody")


@needs_cc
def test_record_has_every_part_and_names_its_surroundings(record):
    assert record["schema"] == "xenmm-bench/1" and record["compiler"] == COMPILER.version
    assert record["cpu"] and record["xenmm"] == xenmm.__version__ and record["seconds"] >= 0
    for part in PARTS:
        if part != "unicorn" or record["packages"]["unicorn"]:
            assert record[part], part
            assert json.loads(json.dumps(record[part])) == record[part]
    peers = {row["task"] for row in record["arrays"]}
    assert {"memcpy", "memcpy again", "plain C -O2", "plain C -O3 native", "NumPy", "pure Python"} <= peers
    assert {row["way"] for row in record["freezing"]} >= {"variables", "constants", "once", "both", "none"}
    assert {row["way"] for row in record["inline"]} >= {"constant", "variable", "frozen", "generic", "Cython"}
    for part in ("arrays", "calls", "inline", "freezing"):
        assert all(row["noise"] >= 1 and 0 < row["ns"] <= row["ns_median"] for row in record[part])


@needs_cc
def test_constants_make_less_code_than_variables(record):
    sizes = {(r["compression"], r["way"]): r["code_bytes"] for r in record["freezing"]}
    for compression in ("mask", "offset"):
        assert 0 < sizes[compression, "none"] <= sizes[compression, "constants"]
        assert sizes[compression, "constants"] < sizes[compression, "variables"]
        assert sizes[compression, "once"] < sizes[compression, "variables"]


def test_text_has_every_figure_of_the_record(record):
    text = render(record)
    assert f"{record['cpu']}" in text and DEFAULT_MAP not in text
    for row in record["calls"]:
        assert f"{row['ns']:.1f}" in text
    for target in record["targets"]:
        assert target["met"] or target["name"] in text
    assert max(map(len, text.splitlines())) <= 110


@needs_cc
def test_code_sizes_are_those_that_the_assembler_wrote(tmp_path):
    source = tmp_path / "two.c"
    source.write_text("int one(void) { return 1; } long two(long x) { return x * x * x - 3; }")
    made = tmp_path / "two.o"
    subprocess.run([COMPILER.path, "-O1", "-c", str(source), "-o", str(made)], check=True)
    sizes = bench_c.function_sizes(made.read_bytes())
    assert set(sizes) == {"one", "two"} and all(0 < size < 64 for size in sizes.values())
    assert bench_c.function_sizes(b"no object") == {}


def test_samples_are_taken_in_turn_and_the_first_changes():
    order = []

    def task(name):
        return lambda n: order.append(name)

    found = interleaved({"a": task("a"), "b": task("b")}, rounds=2, sample_ns=0, warm=False)
    assert order[-4:] == ["a", "b", "b", "a"]
    assert all(len(series.samples) == 2 and series.least <= series.median for series in found.values())


def test_noise_is_what_equal_tasks_differ_by():
    series = {"a": Series((3.0, 2.0, 4.0, 5.0)), "a again": Series((2.5,)), "b": Series((1.0, 1.0))}
    assert series["a"].noise == 1.5 and series["b"].noise == 1 and series["a again"].noise == 1
    assert noise_of_pair(series, "a") == 1.25


def verdict(measured, limit, noise=1.0, **options):
    return bench_targets.Verdict("x", measured, limit, noise, **options).met


def test_target_is_missed_only_past_the_noise():
    assert verdict(1.15, 1.15) and not verdict(1.16, 1.15)
    assert verdict(1.20, 1.15, 1.05) and not verdict(1.21, 1.15, 1.05)
    assert verdict(4.0, 4.0, at_least=True) and not verdict(3.99, 4.0, at_least=True)
    assert verdict(3.9, 4.0, 1.05, at_least=True)


def test_every_array_target_is_judged(record):
    names = {t["name"] for t in record["targets"]}
    for compression, data, task in bench_targets.ARRAYS:
        assert f"{task} of memcpy ({compression}, {data} frames, 4 KiB)" in names
    assert any("checked of unchecked" in n for n in names) and any("call of the floor" in n for n in names)


def test_without_compiler_the_rest_is_measured_and_the_text_says_so(monkeypatch, memory_map):
    from xenmm.studies import bench

    monkeypatch.setattr(bench, "find_compiler", lambda: None)
    parts = ("arrays", "inline", "freezing", "threads")
    made = run(memory_map, memory_map, TINY, parts=parts)
    assert made["arrays"] and made["threads"] and made["inline"] == made["freezing"] == []
    assert "no C compiler" in render(made)


def test_threads_are_judged_only_on_a_quiet_machine():
    row = {"bytes": 8 << 20, "speedup": 1.0, "noise": 1.0, "load": 1.0}
    assert [v.met for v in bench_targets.verdicts({"threads": [row]})] == [False]
    assert bench_targets.verdicts({"threads": [row | {"load": 5.0}]}) == []


def test_machine_of_some_megabytes_is_measured(memory_map):
    small = xenmm.MemoryMap.from_ranges([(0, 640 << 10), (1 << 20, 9 << 20)], None, name="small")
    made = run(small, memory_map, TINY, parts=("arrays", "unicorn"))
    assert made["machines"]["none"]["machine"] == "small"


def test_unknown_part_is_refused_by_name(memory_map):
    with pytest.raises(ConfigError, match="'everything'"):
        run(memory_map, memory_map, TINY, parts=("everything",))


def test_machine_without_compression_is_measured_on_the_bundled_one(memory_map):
    flat = xenmm.MemoryMap.from_ranges([(0, 8 << 30)], None, name="flat")
    found = bench_machine.subjects(flat, memory_map)
    assert found["none"].machine == "flat"
    assert found["offset"].machine == found["mask"].machine == memory_map.name
    with pytest.raises(XenmmError, match="flat has no offset compression"):
        bench_machine.subjects(flat, flat)


def test_command_writes_the_record_and_its_exit_code_is_the_checks(tmp_path):
    target = tmp_path / "record.json"
    words = ["bench", "--quick", "--only", "baking", "--check", "--json", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "xenmm", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(target.read_text())
    assert record["targets"] == [] and record["baking"] and "Baking constants" in done.stdout


def test_check_exits_1_and_names_what_is_missed(monkeypatch, capsys, memory_map):
    from xenmm.cli import main
    from xenmm.studies import bench

    missed = {
        "name": "speed of light",
        "measured": 2.0,
        "limit": 1.0,
        "noise": 1.0,
        "at_least": False,
        "met": False,
    }
    made = run(memory_map, memory_map, TINY, parts=("baking",)) | {"targets": [missed]}
    monkeypatch.setattr(bench, "run", lambda *args, **options: made)
    assert main(["bench", "--quick", "--check"]) == 1
    assert "speed of light: 2.00 (at most 1, noise 0%)" in capsys.readouterr().out
    assert main(["bench", "--quick"]) == 0
    assert main(["bench", "--quick", "--check", "--json", "-"]) == 1
    assert "speed of light" in capsys.readouterr().err


class TestStartup:
    def test_rows_are_of_the_peer_and_of_both_targets(self, record):
        rows = {row["what"]: row for row in record["startup"]}
        assert set(rows) == {"python -c pass", *bench_targets.STARTUP}
        peer = rows["python -c pass"]["ms"]
        for row in rows.values():
            assert 0 < row["least_ms"] <= row["ms"] and row["noise"] >= 1
            assert row["of_python"] == row["ms"] / peer
        named = {t["name"] for t in record["targets"]}
        assert {f"ms for {what}" for what in bench_targets.STARTUP} <= named

    @pytest.mark.parametrize(
        ("ms", "noise", "met"), [(60.0, 1.0, True), (60.1, 1.0, False), (65.9, 1.1, True)]
    )
    def test_target_is_held_to_the_noise_of_the_run(self, ms, noise, met):
        rows = [{"what": "import xenmm", "ms": ms, "least_ms": ms, "of_python": 1.0, "noise": noise}]
        assert [v.met for v in bench_targets.verdicts({"startup": rows})] == [met]

    def test_numpy_imported_or_a_failing_command_stops_the_run(self, monkeypatch):
        monkeypatch.setattr(bench_startup, "_HEAVY", "xenmm")
        with pytest.raises(XenmmError, match="imports xenmm"):
            bench_startup.measure(TINY)
        with pytest.raises(XenmmError, match="exit code 3"):
            bench_startup._run("-c", "raise SystemExit(3)")
