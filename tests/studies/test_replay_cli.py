"""``xenmm replay`` at the command line: outputs, comparison, and one line for what is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from xenmm import cli
from xenmm.studies import replay_cli
from xenmm.timing import microarchitectures, replay, traces, workloads

MACHINE = "dell-r930"


def run(capsys, *arguments):
    code = cli.main(["replay", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_parsers_lists_are_the_packages():
    assert tuple(replay.RULES) == replay_cli.INTERPRETATIONS
    assert traces.FORMATS == replay_cli.FORMATS
    assert tuple(workloads.WORKLOADS) == replay_cli.WORKLOADS


@pytest.mark.parametrize("uarch", microarchitectures())
def test_every_preset_runs(capsys, uarch):
    code, out, err = run(capsys, MACHINE, "--workload", "p2m-update", "--accesses", 2000, "--uarch", uarch)
    assert (code, err) == (0, "")
    assert "2,000 accesses counted" in out
    assert "serial:" in out and "overlapped, at least:" in out


def test_json_is_the_result(capsys):
    arguments = (
        MACHINE,
        "--workload",
        "zipf:lines=500,exponent=1.2",
        "--accesses",
        3000,
        "--seed",
        3,
        "--json",
        "-",
    )
    code, out, _ = run(capsys, *arguments)
    facts = json.loads(out)
    assert code == 0
    assert facts["input"]["parameters"] == {"lines": 500, "exponent": 1.2, "span": 0}
    assert facts["options"]["seed"] == facts["input"]["seed"] == 3
    assert run(capsys, *arguments)[1] == out


def test_files_are_written_and_the_summary_too(capsys, tmp_path):
    names = [tmp_path / n for n in ("a.json", "a.csv", "a.txt", "t.json")]
    options = [
        x for pair in zip(("--json", "--csv", "--stats", "--timeline"), names, strict=True) for x in pair
    ]
    code, out, _ = run(capsys, MACHINE, "--workload", "sequential", "--accesses", 9000, *options)
    assert code == 0 and "9,000 accesses counted" in out
    assert json.loads(names[0].read_text())["accesses"]["total"] == 9000
    assert names[1].read_text().startswith("name,value,description\n")
    assert " # " in names[2].read_text()
    assert json.loads(names[3].read_text())["traceEvents"]


def test_steps_of_the_series_are_compared(capsys):
    arguments = (MACHINE, "--workload", "grant-storm", "--accesses", 4000, "--page-sizes", "2m", "--compare")
    code, out, _ = run(
        capsys, *arguments, "--profile", "pre,xen-offset", "--uarch", "nehalem,zen3", "--json", "-"
    )
    facts = json.loads(out)
    assert code == 0
    assert list(facts["runs"]) == ["pre/nehalem", "pre/zen3", "xen-offset/nehalem", "xen-offset/zen3"]
    assert any(row["figure"] == "cycles.serial.total" for row in facts["differences"])
    code, out, _ = run(capsys, *arguments, "--uarch", "zen3,zen3x")
    assert code == 2


def test_bad_lines_are_warned_of_and_counted(capsys, tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("LD 0x100000\nwhat\nST 0x100008\n")
    code, out, err = run(capsys, MACHINE, path)
    assert code == 0
    assert "not simulated: 1 bad line" in out
    assert err == f"xenmm: warning: {path}:2: no access of a ldst trace: 'what'\n"
    code, out, err = run(capsys, MACHINE, path, "--strict-trace")
    assert (code, out) == (2, "")
    assert err == f"xenmm: error: {path}:2: no access of a ldst trace: 'what'\n"


def test_without_a_machine_addresses_stay(capsys, tmp_path):
    np.array([2**64 - 1, 1 << 42], np.uint64).tofile(tmp_path / "t.bin")
    code, out, _ = run(capsys, "none", tmp_path / "t.bin", "--json", "-", "--uarch", "neoverse-n1")
    facts = json.loads(out)
    assert code == 0
    assert facts["accesses"]["read"] == 2
    assert facts["space"]["name"] == "identity, 4k pages"


def test_standard_input_is_a_trace():
    done = subprocess.run(
        [sys.executable, "-m", "xenmm", "replay", "none", "-", "--json", "-"],
        input=b"LD 0x10\nST 0x20\n", capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["accesses"]["total"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MACHINE,), "give either a TRACE or --workload"),
        ((MACHINE, "/nowhere"), "/nowhere: No such file or directory"),
        ((MACHINE, "--workload", "foo"), "workload: 'foo' is not one of"),
        ((MACHINE, "--workload", "zipf:lines"), "--workload: 'lines' is not KEY=NUMBER"),
        ((MACHINE, "--workload", "zipf", "--accesses", 0), "accesses: 0 is not an integer from 1 on"),
        ((MACHINE, "--workload", "zipf", "--seed", -1), "seed: -1"),
        ((MACHINE, "--workload", "zipf", "--uarch", "i486"), "microarchitecture: 'i486' is not one of"),
        ((MACHINE, "--workload", "zipf", "--profile", "pre,fold"), "several are for --compare"),
        ((MACHINE, "--workload", "zipf", "--profile", ","), "--profile: ',' is not a list"),
        ((MACHINE, "--workload", "zipf", "--roi", "5"), "--roi: '5' is not FIRST:STOP"),
        ((MACHINE, "--workload", "zipf", "--warmup", "-1"), "warmup: -1 is not an integer from 0 on"),
        ((MACHINE, "--workload", "zipf", "--interval", "0"), "interval: 0 is not an integer from 1 on"),
        (
            (MACHINE, "--workload", "zipf", "--json", "/nowhere/x"),
            "/nowhere/x: its folder is not there (mkdir -p /nowhere)",
        ),
        ((MACHINE, "-", "--compare"), "--compare: standard input can be read once only"),
        (("none", "--workload", "grant-storm"), "it needs page_info, so it needs a machine"),
        ((MACHINE, "--workload", "mixed"), "mixed has addresses of its own"),
        (("no-such-machine", "--workload", "zipf"), "no-such-machine"),
    ],
)
def test_one_line_for_what_is_wrong(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("xenmm: error: ") and err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("source", [["--workload", "zipf"], ["--as", "linear"], ["--as", "maddr"]])
def test_the_text_fits_a_terminal_and_ends_no_line_in_blanks(capsys, tmp_path, source):
    if source[0] == "--as":
        trace = tmp_path / "t.txt"
        trace.write_text("".join(f"LD {n << 33:#x}\n" for n in range(1, 60)) + "nothing\n")
        source = [trace, *source]
    code, out, _ = run(capsys, MACHINE, *source, "--accesses", 3000)
    assert code == 0
    beside_names = [line for line in out.splitlines() if not line.startswith("trace ")]
    assert max(map(len, beside_names)) <= 80
    assert all(line == line.rstrip() for line in beside_names)


def test_a_comparison_of_many_runs_goes_in_blocks(capsys):
    profiles = "pre,sparse-m2p,xen-offset,xen-mask"
    given = [
        "--workload",
        "p2m-update",
        "--accesses",
        3000,
        "--profile",
        profiles,
        "--uarch",
        "zen3,westmere",
    ]
    code, out, _ = run(capsys, MACHINE, *given, "--compare")
    assert code == 0
    blocks = [block.splitlines() for block in out.strip("\n").split("\n\n")]
    assert len(blocks) > 1
    assert max(len(line) for block in blocks for line in block) <= 80
    shown = [block[0].split() for block in blocks]
    assert all(names[0] == "pre/zen3" for names in shown)
    wanted = [f"{p}/{u}" for p in profiles.split(",") for u in ("zen3", "westmere")]
    assert ["pre/zen3", *(name for names in shown for name in names[1:])] == wanted
    assert len({tuple(line.split()[0] for line in block[1:]) for block in blocks}) == 1
