"""``xenmm sweep`` as a person runs it: what it prints, how it refuses, and what is left when it is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import xenmm
from xenmm import cli
from xenmm.studies import sweep_cells, sweep_cli

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(xenmm.__file__)), "COLUMNS": "80"}
E820 = """\
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable
BIOS-e820: [mem 0x0000000100000000-{:#018x}] usable
"""
#: Enough cells that a signal after the first of them comes in the middle.
MACHINES = 60
CELLS = MACHINES * 12


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for n in range(MACHINES):
        (folder / f"m{n:02}.log").write_text(E820.format((5 + n << 30) - 1))
    return folder


def run(capsys, *arguments):
    code = cli.main(["sweep", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def start(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "xenmm", "sweep", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A group of its own: a signal to it is what Ctrl-C at a terminal is.
        start_new_session=True,
        # A suite that a script runs in the background ignores interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **more,
    )


def finished(*words):
    process = start(*words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def cells_in(out):
    return list((out / "cells").rglob("[!.]*.json")) if out.exists() else []


def wait_for_cells(process, out, count, seconds=120):
    end = time.monotonic() + seconds
    while len(cells_in(out)) < count:
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end
        time.sleep(0.005)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def descendants(pid):
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found += [int(each.name), *descendants(int(each.name))]
    return found


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, seconds=20):
    end = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(is_alive(pid) for pid in pids)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The results of a sweep that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "logs").mkdir()
    for n in range(MACHINES):
        (folder / "logs" / f"m{n:02}.log").write_text(E820.format((5 + n << 30) - 1))
    process = start("logs", "-o", "out", cwd=folder)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"{CELLS} cells: {CELLS} done now, 0 there already\n")
    return tree(folder / "out")


class TestKilled:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_kill_at_any_moment_and_the_same_command_ends_with_the_same_bytes(
        self, logs, tmp_path, whole, seed
    ):
        rng, out, kills = random.Random(seed), tmp_path / "out", 0
        while kills < 3:
            process = start("logs", "-o", "out", cwd=tmp_path)
            least = len(cells_in(out)) + rng.randrange(1, CELLS // 6)
            wait_for_cells(process, out, least)
            workers = descendants(process.pid)
            before = len(cells_in(out))
            process.kill()
            # Its workers end without a word.
            assert process.communicate() == ("", "")
            kills += 1
            assert workers and gone(workers), "workers outlive their parent"
            # Whole or not at all: every cell that is there is a document.
            for path in cells_in(out):
                assert json.loads(path.read_bytes())["status"] == "done"
            assert len(cells_in(out)) >= before
        process = start("logs", "-o", "out", cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
        assert tree(out) == whole

    def test_interrupt_leaves_whole_cells_and_one_line_that_says_how_to_go_on(self, logs, tmp_path, whole):
        out = tmp_path / "out"
        process = start("logs", "-o", "out", cwd=tmp_path)
        wait_for_cells(process, out, 20)
        workers = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        text, err = process.communicate(timeout=900)
        assert (process.returncode, text) == (130, "")
        assert err.count("\n") == 1 and err.startswith("xenmm: interrupted: ")
        assert f"of {CELLS} cells are in out; the same command goes on from there" in err
        assert gone(workers)
        kept = len(cells_in(out))
        assert not list((out / "cells").rglob(".*"))
        process = start("logs", "-o", "out", cwd=tmp_path)
        text, err = process.communicate(timeout=300)
        assert text.startswith(f"{CELLS} cells: {CELLS - kept} done now, {kept} there already\n")
        assert tree(out) == whole

    def test_a_worker_killed_from_outside_costs_nothing(self, logs, tmp_path, whole):
        process = start("logs", "-o", "out", "--workers", 2, cwd=tmp_path)
        wait_for_cells(process, tmp_path / "out", 10)
        os.kill(max(descendants(process.pid)), signal.SIGKILL)
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
        assert tree(tmp_path / "out") == whole


def test_shards_at_the_same_time_and_then_the_table(logs, tmp_path, whole):
    shards = [
        start("logs", "-o", "out", "--shard", f"{k}/3", "--workers", 1, cwd=tmp_path) for k in (1, 2, 3)
    ]
    done = [shard.communicate(timeout=300) for shard in shards]
    assert [err for _, err in done] == ["", "", ""]
    cells = [int(out.split()[0]) for out, _ in done]
    assert sum(cells) == CELLS and min(cells) > CELLS // 6
    assert not (tmp_path / "out" / "table.csv").exists()
    process = start("logs", "-o", "out", cwd=tmp_path)
    text, err = process.communicate(timeout=300)
    assert text.startswith(f"{CELLS} cells: 0 done now, {CELLS} there already\n") and err == ""
    assert tree(tmp_path / "out") == whole


class TestFullDisk:
    @pytest.fixture
    def small(self, tmp_path):
        """A file system with room for a few cells."""
        folder = tmp_path / "small"
        folder.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
        )
        if made.returncode:
            pytest.skip("needs the right to mount a small tmpfs")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_one_line_every_cell_whole_and_the_rest_done_when_there_is_room(
        self, logs, tmp_path, small, whole
    ):
        process = start("logs", "-o", small / "out", cwd=tmp_path)
        text, err = process.communicate(timeout=300)
        assert (process.returncode, text) == (2, "")
        assert err.startswith("xenmm: error: ") and err.count("\n") == 1 and "No space left" in err
        kept = cells_in(small / "out")
        assert kept and all(json.loads(p.read_bytes())["status"] == "done" for p in kept)
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        process = start("logs", "-o", small / "out", cwd=tmp_path)
        text, err = process.communicate(timeout=300)
        assert process.returncode == 0 and f"{len(kept)} there already" in text
        assert tree(small / "out") == whole

    def test_a_read_only_folder(self, logs, tmp_path, small):
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        process = start("logs", "-o", small / "out", cwd=tmp_path)
        text, err = process.communicate(timeout=900)
        assert (process.returncode, text) == (2, "")
        assert err.startswith(f"xenmm: error: {small / 'out'}: ") and err.count("\n") == 1


class TestDask:
    def test_a_cluster_gives_the_same_bytes(self, logs, tmp_path, whole):
        distributed = pytest.importorskip("distributed", reason="needs dask.distributed (make peers)")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster:
            process = start("logs", "-o", "out", "--dask", cluster.scheduler_address, cwd=tmp_path)
            _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
        assert tree(tmp_path / "out") == whole

    def test_a_scheduler_that_is_not_there(self, logs, tmp_path, capsys):
        pytest.importorskip("distributed", reason="needs dask.distributed (make peers)")
        code, out, err = finished(logs, "-o", tmp_path / "out", "--dask", "tcp://127.0.0.1:1")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1 and "no scheduler answers at 'tcp://127.0.0.1:1'" in err

    def test_without_dask_it_says_what_to_install(self, logs, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        code, out, err = run(capsys, logs, "-o", tmp_path / "out", "--dask", "tcp://127.0.0.1:1")
        assert (code, out) == (2, "") and "pip install 'xenmm[dask]'" in err


def test_lists_are_the_packages():
    assert sweep_cli.KINDS == sweep_cells.KINDS


def test_lists_go_by_commas_and_workloads_keep_their_parameters(capsys, tmp_path):
    code, out, _ = run(
        capsys, "dell-r930", "-o", tmp_path / "out", "--workers", 0, "--profiles", "pre,xen-offset",
        "--uarch", "zen3,nehalem", "--workloads", "zipf:lines=50,exponent=1.5,sequential", "--accesses", 500,
    )  # fmt: skip
    assert code == 0 and out.startswith("8 cells: 8 done now")
    lines = (tmp_path / "out" / "table.csv").read_text()
    assert '"zipf:lines=50,exponent=1.5"' in lines and ",sequential," in lines


def test_failures_are_shown_and_the_exit_code_says_so(capsys, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "README").write_text("nothing\n")
    (tmp_path / "in" / "a.log").write_text(E820.format((5 << 30) - 1))
    given = (tmp_path / "in", "-o", tmp_path / "out", "--workers", 0)
    code, out, err = run(capsys, *given)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "24 cells: 24 done now, 0 there already, 12 of them failed"
    assert lines[1].startswith("  12 cells: ") and "README" in lines[1]
    code, out, _ = run(capsys, "--collect", tmp_path / "out")
    assert code == 1 and out.splitlines()[0] == "24 cells: 0 done now, 24 there already, 12 of them failed"


def test_json_says_the_same(capsys, tmp_path):
    code, out, _ = run(capsys, "dell-r930", "-o", tmp_path / "out", "--workers", 0, "--json", "-")
    facts = json.loads(out)
    assert code == 0 and facts["schema"] == "xenmm-sweep-summary/1"
    assert (facts["cells"], facts["done"], facts["kept"], facts["failed"]) == (12, 12, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "sweep needs INPUTS"),
        (("bundled",), "sweep needs -o OUT"),
        (("nowhere.log", "-o", "OUT"), "no such file, and no bundled machine of that name: 'nowhere.log'"),
        (("bundled", "-o", "OUT", "--profiles", "pre,,fold"), "--profiles: 'pre,,fold' is no list"),
        (("bundled", "-o", "OUT", "--hotplug", "maybe"), "--hotplug: 'maybe' is not one of on, off"),
        (("bundled", "-o", "OUT", "--shard", "4/3"), "shard is K/N"),
        (("--collect", "OUT"), "no such folder"),
        (("--collect", "OUT", "-o", "OUT"), "--collect OUT stands alone"),
        (
            ("bundled", "-o", "OUT", "--json", "/nowhere/x"),
            "/nowhere/x: its folder is not there (mkdir -p /nowhere)",
        ),
    ],
)
def test_one_line_for_what_is_wrong(capsys, tmp_path, arguments, message):
    code, out, err = run(capsys, *(tmp_path / "out" if a == "OUT" else a for a in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("xenmm: error: ") and err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()
