"""Sweeps: every combination once, resumable, the same bytes however they are done, and failures kept."""

import csv
import hashlib
import json
import random
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sweep_work import POISON, impossible, modules_loaded, poisoned

import xenmm
from xenmm.errors import ConfigError, XenmmError
from xenmm.studies import sweep_cells, sweep_run, sweep_store
from xenmm.studies.sweep import collect, sweep
from xenmm.studies.sweep_axes import make_settings

GIB = 1 << 30
PROFILES = ["pre", "fold", "xen-offset"]


def log(nodes=4, spacing=1 << 38, size=8 * GIB):
    rows = [(0, 0xA0000, 0), (1 << 20, 2 * GIB, 0), (4 * GIB, 4 * GIB + size, 0)]
    rows += [(i * spacing, i * spacing + size, i) for i in range(1, nodes)]
    text = "BIOS-provided physical RAM map:\n"
    text += "".join(f"BIOS-e820: [mem {a:#018x}-{b - 1:#018x}] usable\n" for a, b, _ in rows)
    return text + "".join(f"ACPI: SRAT: Node {n} PXM {n} [mem {a:#x}-{b - 1:#x}]\n" for a, b, n in rows)


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for n in range(1, 6):
        (folder / f"m{n}.log").write_text(log(nodes=n))
    return folder


def tree(folder):
    """Every file of a folder by its relative name, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def table(result):
    with open(result.table, newline="") as file:
        return list(csv.DictReader(file))


class TestCells:
    def test_every_combination_is_a_cell_and_says_what_boot_says(self, logs, tmp_path):
        result = sweep(logs, tmp_path / "out", profiles=PROFILES, page_sizes=["2m", "1g"], workers=0)
        rows = table(result)
        assert (result.cells, result.done, result.kept, result.failed) == (30, 30, 0, 0)
        assert len(rows) == len(list(result.documents())) == 30
        assert len({(r["input"], r["profile"], r["page_sizes"]) for r in rows}) == 30
        for row in rows:
            host = xenmm.boot(row["input"], row["profile"], page_sizes=row["page_sizes"])
            overhead = host.overhead()
            assert int(row["total_bytes"]) == overhead.costs.total
            assert float(row["total_percent"]) == overhead.percent["total"]
            assert int(row["lost_bytes"]) == host.ram_bytes - host.used_ram_bytes
            assert row["compression"] == host.compression.kind
            assert row["hazards"].split() == sorted({h.code for h in host.hazards})

    def test_a_document_carries_version_hash_and_every_option(self, logs, tmp_path):
        result = sweep(logs / "m2.log", tmp_path / "out", profiles="fold", compat_m2p=False, workers=0)
        (document,) = result.documents()
        assert document["xenmm"] == xenmm.__version__
        assert document["input"]["sha256"] == hashlib.sha256((logs / "m2.log").read_bytes()).hexdigest()
        boot = {"page_sizes", "compat_m2p", "hotplug", "stack_guards", "command_line"}
        assert set(document["settings"]) == {"kind", "profile", "boot", "map", "strict"} | boot
        # Those asked for, and those that took effect.
        assert document["settings"]["compat_m2p"] is document["result"]["options"]["compat_m2p"] is False
        (row,) = table(result)
        assert row["input_sha256"] == document["input"]["sha256"] and row["xenmm"] == xenmm.__version__

    def test_options_are_axes(self, logs, tmp_path):
        result = sweep(
            logs / "m3.log",
            tmp_path / "out",
            profiles="xen-offset",
            hotplug=[None, False],
            stack_guards=[False, True],
            command_line=[None, "mem=6G"],
            workers=0,
        )
        rows = table(result)
        assert len(rows) == 8
        used = {(r["command_line"], r["used_ram_bytes"]) for r in rows}
        assert {len({u for line, u in used if line == c}) for c in ("", "mem=6G")} == {1} and len(used) == 2

    def test_replay_cells_are_replays(self, tmp_path):
        from xenmm.timing.replay import Input, replay

        result = sweep(
            ["dell-r930"],
            tmp_path / "out",
            profiles=["pre", "xen-offset"],
            uarchs=["zen3", "westmere"],
            workloads=["grant-storm", "zipf:lines=500,exponent=1.5"],
            accesses=2000,
            workers=0,
        )
        assert result.cells == 8
        for document in result.documents():
            given = document["settings"]
            host = xenmm.boot(xenmm.read_map(xenmm.maps.path("dell-r930")), given["profile"])
            workload = given["workload"]
            source = Input(workload=workload["name"], parameters=workload["parameters"], accesses=2000)
            expected = replay(host, source, given["uarch"], seed=1).to_dict()
            got = {k: v for k, v in document["result"].items() if k != "machine"}
            assert got == json.loads(json.dumps(expected))
        totals = {(r["profile"], r["uarch"], r["workload"]): int(r["total_cycles"]) for r in table(result)}
        assert len(totals) == 8 and all(totals.values())

    def test_steps_cells_are_steps(self, tmp_path):
        result = sweep("dell-r930", tmp_path / "out", kind="steps", workloads="balloon", size=64, workers=0)
        (row,) = table(result)
        expected = xenmm.steps(xenmm.maps.path("dell-r930"), "balloon", size=64).to_dict()["steps"]
        assert int(row["pre.bytes"]) == expected[0]["memory_bytes"]["total"]
        assert int(row["cse.conversions"]) == expected[6]["work"]["conversions"]

    def test_a_uarch_of_ones_own_is_part_of_what_a_cell_is_made_from(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        own, text = (
            tmp_path / "mine.toml",
            'name = "mine"\n[cache.L1]\nsize = "32KiB"\nassoc = 8\nlatency = {}\n',
        )

        def again():
            return sweep(
                "dell-r930",
                "out",
                profiles="pre",
                uarchs="mine.toml",
                workloads="sequential",
                accesses=100,
                workers=0,
            )

        own.write_text(text.format(4))
        first = again()
        assert (first.done, first.failed) == (1, 0)
        assert again().kept == 1
        own.write_text(text.format(5))
        assert again().done == 1

    def test_maps_are_inputs(self, tmp_path):
        maps = [
            xenmm.MemoryMap.from_ranges([(1 << 20, n * GIB)], [(0, n * GIB)], name=f"{n} GiB") for n in (1, 2)
        ]
        result = sweep(maps, tmp_path / "out", profiles=PROFILES, workers=0)
        assert result.cells == 6 and {r["ram_bytes"] for r in table(result)} == {
            str(m.ram_bytes) for m in maps
        }
        with pytest.raises(ConfigError, match="without a name"):
            sweep(xenmm.MemoryMap.from_ranges([(0, GIB)]), tmp_path / "out")
        with pytest.raises(ConfigError, match="two inputs are called 'x'"):
            sweep([xenmm.MemoryMap.from_ranges([(0, n * GIB)], name="x") for n in (1, 2)], tmp_path / "out")


class TestResume:
    def test_nothing_is_done_twice(self, logs, tmp_path, monkeypatch):
        first = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        before = tree(tmp_path / "out")

        def never(*_, **__):
            raise AssertionError("a cell is done again")

        monkeypatch.setattr(sweep_run, "do_cells", never)
        monkeypatch.setattr("xenmm.studies.sweep.run_chunks", never)
        again = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (first.done, again.done, again.kept) == (15, 0, 15)
        assert tree(tmp_path / "out") == before

    def test_progress_counts_every_cell_there_or_done(self, logs, tmp_path):
        sweep(sorted(logs.iterdir())[:2], tmp_path / "out", profiles=PROFILES, workers=0)
        told = []
        sweep(
            logs,
            tmp_path / "out",
            profiles=PROFILES,
            workers=0,
            progress=lambda done, of: told.append((done, of)),
        )
        assert told == [(n, 15) for n in range(1, 16)]

    def test_a_changed_input_is_done_again_and_no_other(self, logs, tmp_path):
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        (logs / "m3.log").write_text(log(nodes=7))
        again = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (again.done, again.kept) == (3, 12)
        # What was replaced is gone: the folder is that of a sweep of the new inputs.
        fresh = sweep(logs, tmp_path / "fresh", profiles=PROFILES, workers=0)
        assert tree(tmp_path / "out") == tree(tmp_path / "fresh") and fresh.done == 15

    def test_another_version_does_everything_again(self, logs, tmp_path, monkeypatch):
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        monkeypatch.setattr(sweep_cells, "__version__", "99.0")
        monkeypatch.setattr(sweep_run, "__version__", "99.0")
        assert sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0).done == 15

    def test_another_option_adds_cells_and_keeps_the_others(self, logs, tmp_path):
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        more = sweep(logs, tmp_path / "out", profiles=PROFILES, page_sizes=["1g", "2m"], workers=0)
        assert (more.done, more.kept, len(table(more))) == (15, 15, 30)
        # The table is of the sweep that was asked for; --collect takes all.
        assert len(table(sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0))) == 15
        assert len(table(collect(tmp_path / "out"))) == 30

    @pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"schema": "xenmm-sweep-cell/1"}', b"\xff\xfe"])
    def test_a_damaged_cell_is_done_again(self, logs, tmp_path, damage):
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        whole = tree(tmp_path / "out")
        victim = sorted((tmp_path / "out" / "cells").rglob("*.json"))[4]
        victim.write_bytes(damage)
        assert sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0).done == 1
        assert tree(tmp_path / "out") == whole

    def test_what_a_killed_writer_left_goes_when_its_cell_is_written(self, logs, tmp_path):
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        whole = tree(tmp_path / "out")
        victim = sorted((tmp_path / "out" / "cells").rglob("*.json"))[7]
        victim.rename(victim.with_name(f".{victim.name}.4711.part"))
        (tmp_path / "out" / ".table.csv.4711.part").write_text("half")
        (tmp_path / "out" / ".xenmm-sweep.json.4711.part").write_text("")
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert tree(tmp_path / "out") == whole

    def test_a_folder_of_something_else_is_left_alone(self, logs, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "table.csv").write_text("precious")
        with pytest.raises(ConfigError, match="not the folder of a sweep"):
            sweep(logs, tmp_path / "mine")
        assert tree(tmp_path / "mine") == {"table.csv": b"precious"}
        with pytest.raises(ConfigError, match="not the folder of a sweep"):
            collect(tmp_path / "mine")
        with pytest.raises(ConfigError, match="no such folder"):
            collect(tmp_path / "nowhere")
        sweep(logs, tmp_path / "later", profiles="pre", workers=0)
        (tmp_path / "later" / "xenmm-sweep.json").write_text('{"schema": "xenmm-sweep/9"}')
        with pytest.raises(ConfigError, match="xenmm-sweep/9"):
            sweep(logs, tmp_path / "later", profiles="pre")


class Shuffled(ThreadPoolExecutor):
    """Threads that begin each piece of work at a random time."""

    def submit(self, work, /, *args):
        import time

        def late():
            time.sleep(random.random() / 50)
            return work(*args)

        return super().submit(late)


class TestSameBytes:
    @pytest.fixture
    def whole(self, logs, tmp_path):
        sweep(logs, tmp_path / "whole", profiles=PROFILES, workers=0)
        return tree(tmp_path / "whole")

    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_any_number_of_processes(self, logs, tmp_path, whole, workers):
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=workers)
        assert tree(tmp_path / "out") == whole

    def test_any_executor_in_any_order(self, logs, tmp_path, whole, monkeypatch):
        monkeypatch.setitem(__import__("xenmm.studies.sweep").studies.sweep._CHUNK, "report", 2)
        with Shuffled(4) as executor:
            sweep(logs, tmp_path / "out", profiles=PROFILES, executor=executor)
            # It is the caller's, and stays open.
            assert executor.submit(int).result() == 0
        assert tree(tmp_path / "out") == whole

    def test_inputs_and_profiles_in_any_order(self, logs, tmp_path, whole):
        inputs = sorted(logs.iterdir(), reverse=True)
        sweep(inputs, tmp_path / "out", profiles=PROFILES[::-1], workers=0)
        assert tree(tmp_path / "out") == whole

    @pytest.mark.parametrize("count", [2, 5])
    def test_shards_are_disjoint_and_complete(self, logs, tmp_path, whole, count):
        for k in range(count, 0, -1):
            part = sweep(logs, tmp_path / "out", profiles=PROFILES, shard=f"{k}/{count}", workers=0)
            # Disjoint: no shard finds a cell of its own done.
            assert part.kept == 0 and part.table is None
        last = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (last.done, last.kept) == (0, 15)
        assert tree(tmp_path / "out") == whole
        collect(tmp_path / "out")
        assert tree(tmp_path / "out") == whole

    def test_shards_do_not_move_when_inputs_are_added(self, logs, tmp_path):
        def names(folder, shard):
            out = tmp_path / f"{folder}{shard}"
            inputs = logs if folder == "all" else sorted(logs.iterdir())[:3]
            sweep(inputs, out, profiles=PROFILES, shard=(shard, 3), workers=0)
            return {p.name for p in (out / "cells").rglob("*.json")}

        few = [names("few", shard) for shard in (1, 2, 3)]
        assert sum(map(len, few)) == 3 * len(PROFILES)
        assert all(cells <= names("all", shard) for shard, cells in enumerate(few, 1))


class TestFailures:
    def test_they_are_results_with_their_reason(self, logs, tmp_path):
        (logs / "README").write_text("nothing of memory\n")
        (logs / "empty.log").write_bytes(b"")
        result = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (result.cells, result.done, result.failed) == (21, 21, 6)
        assert {d["input"]["name"] for d in result.failures()} == {
            str(logs / "README"),
            str(logs / "empty.log"),
        }
        reasons = {r["reason"] for r in table(result) if r["status"] == "failed"}
        assert any("no memory map found" in r for r in reasons) and len(reasons) == 2
        assert dict(result.reasons) == dict.fromkeys(reasons, 3)

    def test_they_are_tried_again_when_asked_or_when_the_input_changed(self, logs, tmp_path):
        bad = logs / "bad.log"
        bad.write_text("nothing\n")
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        again = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (again.done, again.failed) == (0, 3)
        asked = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0, retry=True)
        assert (asked.done, asked.failed) == (3, 3)
        bad.write_text(log())
        mended = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (mended.done, mended.failed) == (3, 0)

    def test_an_input_that_vanishes_or_changes_meanwhile(self, logs, tmp_path):
        class Meddling(ThreadPoolExecutor):
            def submit(self, work, /, cells, version):
                if (logs / "m2.log").exists():
                    (logs / "m2.log").unlink()
                    (logs / "m4.log").write_text(log(nodes=9))
                return super().submit(work, cells, version)

        with Meddling(1) as executor:
            result = sweep(logs, tmp_path / "out", profiles=PROFILES, executor=executor)
        assert result.failed == 6
        assert sorted(result.reasons) == [
            f"{logs / 'm2.log'}: cannot be read: No such file or directory",
            f"{logs / 'm4.log'}: changed while the sweep ran; run the sweep again",
        ]
        assert sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0).failed == 0

    def test_a_fault_of_ours_is_a_failed_cell_and_not_the_end(self, logs, tmp_path, monkeypatch):
        from xenmm.report import json as report_json

        def faulty(host):
            if host.profile.name == "fold":
                raise ZeroDivisionError("oops")
            return {"bytes": {}}

        monkeypatch.setattr(report_json, "step_to_dict", faulty)
        result = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        assert (result.done, result.failed) == (15, 5)
        assert set(result.reasons) == {"ZeroDivisionError: oops"}


def cells_of(logs, tmp_path, profiles=PROFILES):
    from xenmm.studies.sweep import Grid
    from xenmm.studies.sweep_inputs import find_inputs

    axes = {
        "page_sizes": "1g",
        "compat_m2p": None,
        "hotplug": None,
        "stack_guards": False,
        "command_line": None,
    }
    read = {"boot": None, "map": "firmware", "strict": False}
    settings = make_settings("report", profiles, axes, None, None, 1, 1, 1, read)
    return list(Grid(find_inputs(logs), settings, {}).cells())


class TestWorkers:
    def test_a_cell_that_kills_its_worker_fails_alone(self, logs, tmp_path):
        cells = cells_of(logs, tmp_path)
        found = {}
        chunks = [cells[i : i + 3] for i in range(0, len(cells), 3)]
        sweep_run.run_chunks(
            chunks, lambda cell, document: found.update({cell.id: document}), workers=2, work=poisoned
        )
        assert len(found) == len(cells)
        for cell in cells:
            document = json.loads(found[cell.id])
            if cell.settings["profile"] == POISON:
                assert (
                    document["error"]["type"] == "WorkerDied"
                    and "killed by SIGKILL" in document["error"]["message"]
                )
            else:
                assert [found[cell.id]] == sweep_cells.do_cells([cell], xenmm.__version__)

    def test_what_a_worker_cannot_do_ends_the_sweep(self, logs, tmp_path):
        with pytest.raises(XenmmError, match="a worker cannot do a cell: TypeError: no such thing"):
            sweep_run.run_chunks([cells_of(logs, tmp_path)], lambda *_: None, workers=2, work=impossible)

    def test_a_script_without_a_guard_is_told_so(self, logs, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(f"import xenmm\nxenmm.sweep({str(logs)!r}, {str(tmp_path / 'out')!r}, workers=2)\n")
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert "a script that calls sweep needs" in done.stderr.splitlines()[-1]
        assert not list((tmp_path / "out" / "cells").rglob("*.json"))

    def test_report_cells_bring_no_numpy(self, logs, tmp_path):
        loaded = []
        cells = cells_of(logs, tmp_path)[:3]
        sweep_run.run_chunks([cells], lambda _, names: loaded.append(names), workers=1, work=modules_loaded)
        names = loaded[0].decode().split("\n")
        assert "xenmm.boot.host" in names and "numpy" not in names

    def test_an_executor_that_cannot_do_it_ends_the_sweep(self, logs, tmp_path):
        with ThreadPoolExecutor(1) as executor, pytest.raises(XenmmError, match="TypeError: no such thing"):
            sweep_run.run_chunks(
                [cells_of(logs, tmp_path)], lambda *_: None, executor=executor, work=impossible
            )
        with pytest.raises(XenmmError, match="takes no more work"):
            sweep(logs, tmp_path / "out", executor=executor)

    def test_no_more_is_in_flight_than_keeps_workers_busy(self, logs, tmp_path):
        class Slow(ThreadPoolExecutor):
            most = flying = 0

            def submit(self, work, /, *args):
                self.flying += 1
                self.most = max(self.most, self.flying)
                future = super().submit(work, *args)
                future.add_done_callback(self._landed)
                return future

            def _landed(self, _: Future):
                self.flying -= 1

        with Slow(2) as executor:
            chunks = ([cell] for cell in cells_of(logs, tmp_path) * 20)
            sweep_run.run_chunks(chunks, lambda *_: None, executor=executor)
        assert executor.most <= 4

    def test_another_version_at_work_is_refused(self, logs, tmp_path):
        with pytest.raises(XenmmError, match="a worker runs xenmm"):
            sweep_cells.do_cells(cells_of(logs, tmp_path), "0.0")


class TestOutput:
    def test_a_full_disk_keeps_what_is_finished(self, logs, tmp_path, monkeypatch):
        written = 0

        def full(path, data):
            nonlocal written
            written += 1
            if written > 8:
                raise OSError(28, "No space left on device", str(path))
            whole(path, data)

        whole = sweep_store.write_whole
        monkeypatch.setattr(sweep_store, "write_whole", full)
        with pytest.raises(OSError, match="No space left"):
            sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        monkeypatch.setattr(sweep_store, "write_whole", whole)
        again = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0)
        # The eighth but for the marker.
        assert (again.kept, again.done) == (7, 8)

    def test_a_file_in_the_folders_place(self, logs, tmp_path):
        (tmp_path / "out").write_text("")
        with pytest.raises(ConfigError, match="out: a file, and no folder of a sweep"):
            sweep(logs, tmp_path / "out")

    def test_parquet_has_the_tables_content(self, logs, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (make peers)")
        (logs / "bad.log").write_text("nothing\n")
        result = sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0, parquet=True)
        found = parquet.read_table(tmp_path / "out" / "table.parquet")
        rows = table(result)
        assert found.column_names == list(rows[0])

        def text(value):
            return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

        assert [{k: text(v) for k, v in row.items()} for row in found.to_pylist()] == rows
        first = (tmp_path / "out" / "table.parquet").read_bytes()
        sweep(logs, tmp_path / "out", profiles=PROFILES, workers=0, parquet=True)
        assert (tmp_path / "out" / "table.parquet").read_bytes() == first

    def test_parquet_without_pyarrow_says_what_to_install(self, logs, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(ConfigError, match=r"xenmm\[arrow\]"):
            sweep(logs, tmp_path / "out", parquet=True)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profiles": "nope"}, "unknown profile 'nope'"),
        ({"profiles": []}, "profile: no value given"),
        ({"profiles": ["pre", "pre"]}, "profile: 'pre' is given twice"),
        ({"page_sizes": "4k"}, "page_sizes is '2m' or '1g', got '4k'"),
        ({"compat_m2p": 3}, "compat_m2p is None or True or False, got 3"),
        ({"compat_m2p": 1}, "compat_m2p is None or True or False, got 1"),
        ({"command_line": 5}, "command_line is a string or None"),
        ({"kind": "boot"}, "kind: 'boot' is not one of report, replay, steps"),
        ({"kind": "report", "uarchs": "zen3"}, "report replays nothing"),
        ({"uarchs": "i486"}, "'i486' is not one of"),
        ({"workloads": "nope"}, "workload: 'nope' is not one of"),
        ({"workloads": "zipf:color=3"}, "zipf.color: unknown"),
        ({"workloads": "zipf", "accesses": 0}, "accesses is a number from 1 on, got 0"),
        ({"kind": "steps", "profiles": "pre"}, "steps boots profiles of its own"),
        ({"kind": "steps", "stack_guards": True}, "stack_guards has no effect"),
        ({"shard": "0/4"}, "shard is K/N with K from 1 to N, got '0/4'"),
        ({"shard": "5/4"}, "shard is K/N"),
        ({"shard": "x"}, "shard is K/N"),
        ({"shard": "1/" + "9" * 5000}, "shard is K/N"),
        ({"workers": -1}, "workers is a number from 0 on"),
        ({"boot": 0}, "boot is a number from 1 on"),
        ({"map": "own"}, "map is 'firmware' or 'user'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(logs, tmp_path, options, message):
    with pytest.raises(ConfigError) as error:
        sweep(logs, tmp_path / "out", **options)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()
