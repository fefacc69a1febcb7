"""The command itself, run as a person runs it: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys

import pytest

import xenmm
from xenmm.firmware.writers import FORMATS
from xenmm.maps import DEFAULT_MAP, bundled
from xenmm.studies import export_cli

# No terminal, no inherited options; the source tree under test is the one pytest imported.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(xenmm.__file__)), "COLUMNS": "80"}
E820 = """\
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable
"""


#: Seconds after which a program counts as hung: on a busy computer, under a sanitizer, some take minutes.
PATIENCE = 900


def xenmm_run(*words, stdin=b"", **more):
    return subprocess.run(
        [sys.executable, "-m", "xenmm", *map(str, words)],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        env=ENVIRONMENT,
        **more,
    )


def refused(*words, stdin=b"", says=()):
    """Run, and check that it ends as bad input ends: nothing printed, one line, exit code 2."""
    run = xenmm_run(*words, stdin=stdin)
    error = run.stderr.decode()
    assert run.returncode == 2, (run.returncode, error, run.stdout[:500])
    assert run.stdout == b""
    assert error.startswith("xenmm: error: ") and error.count("\n") == 1, error
    assert "Traceback" not in error
    for text in (says,) if isinstance(says, str) else says:
        assert text in error
    return error


def log(tmp_path, text, name="machine.log"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(ranges):
    return "BIOS-provided physical RAM map:\n" + "".join(
        f"BIOS-e820: [mem {start:#018x}-{end - 1:#018x}] usable\n" for start, end in ranges
    )


class TestBadInput:
    @pytest.mark.parametrize("command", ["report", "boot"])
    def test_empty_file(self, tmp_path, command):
        refused(command, log(tmp_path, b""), says="machine.log")

    def test_empty_standard_input(self):
        refused("report", "-", says="<stdin>")

    @pytest.mark.parametrize("seed", range(3))
    def test_binary(self, tmp_path, seed):
        refused("report", log(tmp_path, random.Random(seed).randbytes(50_000)), says="machine.log")

    def test_a_real_binary(self):
        refused("report", sys.executable)

    def test_100_mb_of_noise(self, tmp_path):
        block = random.Random(5).randbytes(1 << 20)
        refused("report", log(tmp_path, block * 100), says="machine.log")

    def test_a_long_log_of_something_else(self, tmp_path):
        line = b"[    0.000000] usb 1-1: new high-speed USB device number 4 using xhci_hcd [mem 0x] usable?\n"
        refused("report", log(tmp_path, line * (10_000_000 // len(line))), says="machine.log")

    def test_gzip_of_a_log(self, tmp_path):
        refused("report", log(tmp_path, gzip.compress(E820.encode())), says=("gzip", "zcat FILE"))

    def test_directory(self, tmp_path):
        refused("report", tmp_path, says=("directory", str(tmp_path)))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path):
        path = log(tmp_path, E820)
        path.chmod(0)
        refused("report", path, says="ermission")

    def test_nowhere_to_write_the_answer(self, tmp_path):
        nowhere = tmp_path / "no" / "such" / "folder"
        refused("export", log(tmp_path, E820), "--format", "json", "-o", nowhere, says=str(nowhere))

    def test_missing_file_names_it_and_points_to_the_bundled_machines(self):
        refused("report", "no-such.log", says=("no-such.log", "bundled"))

    def test_file_name_with_newline_stays_one_line(self):
        refused("report", "no\nsuch.log")

    @pytest.mark.parametrize(
        "row",
        [
            "BIOS-e820: [mem 0x0000000100000000-0x1ffffffffffffffffffff] usable",
            "BIOS-e820: [mem -0x100000-0x000000007fffffff] usable",
            "BIOS-e820: [mem 0x0000000200000000-0x00000001ffffff00] usable",
        ],
        ids=["past 2^64", "negative", "reversed"],
    )
    def test_impossible_numbers_are_refused_when_strict_and_told_otherwise(self, tmp_path, row):
        path = log(tmp_path, E820 + row + "\n")
        refused("report", path, "--strict", says="machine.log:4")
        run = xenmm_run("report", path)
        assert run.returncode == 0
        assert b"line 4" in run.stdout

    def test_impossible_numbers_alone(self, tmp_path):
        text = "BIOS-e820: [mem 0x0000000100000000-0x1ffffffffffffffffffff] usable\n"
        refused("report", log(tmp_path, text), says="machine.log")

    def test_no_ranges(self, tmp_path):
        refused("report", log(tmp_path, "BIOS-provided physical RAM map:\n"))
        refused("report", log(tmp_path, "BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] reserved\n"))

    def test_ram_at_0_only(self, tmp_path):
        # Nothing above 1 MiB: no Xen boots on it; no table may be made up.
        refused("report", log(tmp_path, rows([(0, 0x9FC00)])), says="machine.log")
        refused("boot", log(tmp_path, rows([(0, 0x9FC00)])), says="machine.log")

    def test_ram_above_4_gib_only(self, tmp_path):
        run = xenmm_run("report", log(tmp_path, rows([(1 << 33, 1 << 34)])), "--json", "-")
        assert run.returncode in (0, 2)
        if run.returncode == 0:
            assert json.loads(run.stdout)["machine"]["ram_bytes"] == 1 << 33

    def test_overlapping_srat_is_told(self, tmp_path):
        text = rows([(1 << 20, 1 << 31), (1 << 32, 1 << 34)]) + (
            "ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x1ffffffff]\n"
            "ACPI: SRAT: Node 1 PXM 1 [mem 0x100000000-0x3ffffffff]\n"
        )
        run = xenmm_run("report", log(tmp_path, text))
        assert run.returncode == 0, run.stderr
        assert b"overlap" in run.stdout

    def test_100_000_ranges(self, tmp_path):
        many = [((1 << 32) + (i << 21), (1 << 32) + (i << 21) + (1 << 20)) for i in range(100_000)]
        path = log(tmp_path, rows([(1 << 20, 1 << 31), *many]))
        run = xenmm_run("report", path, "--profile", "xen-offset", "--json", "-")
        assert run.returncode in (0, 2) and b"Traceback" not in run.stderr
        if run.returncode == 0:
            assert json.loads(run.stdout)["machine"]["ram_bytes"] == (1 << 31) - (1 << 20) + (100_000 << 20)
        else:
            assert run.stderr.count(b"\n") == 1

    def test_unknown_profile_lists_those_there_are(self):
        refused("report", DEFAULT_MAP, "--profile", "xen-5", says=("xen-5", "xen-offset"))
        refused("boot", DEFAULT_MAP, "--profile", "", says="xen-offset")

    @pytest.mark.parametrize("number", ["0", "-1", "99", "x"])
    def test_boot_that_is_not_there(self, tmp_path, number):
        refused("report", log(tmp_path, E820), f"--boot={number}", says=number)


class TestBadUsage:
    @pytest.mark.parametrize(
        "words",
        [
            ("no-such-command",),
            ("report",),
            ("report", DEFAULT_MAP, "extra"),
            ("report", DEFAULT_MAP, "--no-such-option"),
            ("report", DEFAULT_MAP, "--page-sizes", "4k"),
            ("report", DEFAULT_MAP, "--width", "wide"),
            ("boot", DEFAULT_MAP, "--compat-m2p", "perhaps"),
            ("convert", DEFAULT_MAP),
            ("export", DEFAULT_MAP),
            ("export", DEFAULT_MAP, "--format", "docx"),
            ("--no-such-option",),
        ],
        ids=" ".join,
    )
    def test_is_told_in_one_line(self, words):
        assert "--help" in refused(*words)

    @pytest.mark.parametrize(
        "value",
        [
            "mfn", "mfn:", "mfn:zz", "mfn:-1", "mfn:1.5", "mfn:0x1_0000_0000_0000_0000", "frame:1",
            "0x1000", "mfn:010", "mfn:" + "9" * 5000, "MFN:1", "mfn:0x10000000000000", "page:0", ":1", "",
            "page:0xffff82e000000001", "virt:0x1000", "virt:0xffffffffffffffff",
        ],
    )  # fmt: skip
    def test_value_that_is_none(self, value):
        refused("convert", DEFAULT_MAP, value)


class TestEnding:
    def test_reader_of_the_output_goes_away(self):
        process = subprocess.Popen(
            [sys.executable, "-m", "xenmm", "report", DEFAULT_MAP, "--json", "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        process.stdout.close()
        error = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 141
        assert error == b""

    def test_closed_output(self):
        words = "[sys.executable, '-m', 'xenmm', 'report', sys.argv[1]]"
        code = f"import os, sys; os.close(1); os.execv(sys.executable, {words})"
        run = subprocess.run(
            [sys.executable, "-c", code, DEFAULT_MAP],
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            timeout=PATIENCE,
        )
        assert run.returncode == 2
        assert run.stderr.count(b"\n") == 1

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            run = subprocess.run(
                [sys.executable, "-m", "xenmm", "report", DEFAULT_MAP],
                stdout=full,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                timeout=PATIENCE,
            )
        assert run.returncode == 2
        assert run.stderr.count(b"\n") == 1 and b"No space" in run.stderr

    def test_interrupt(self):
        process = subprocess.Popen(
            [sys.executable, "-m", "xenmm", "report", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            # A suite that a script runs in the background has it ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        # More than a pipe holds: all of it is written only when the program is up and reads its input.
        process.stdin.write(b"x" * (1 << 20))
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert out == b"" and error == b"xenmm: interrupted\n"


class TestAnswers:
    def test_version(self):
        assert xenmm_run("--version").stdout.decode() == f"xenmm {xenmm.__version__}\n"

    @pytest.mark.parametrize("command", ["report", "boot", "convert", "export", "doctor"])
    def test_help_has_two_examples(self, command):
        text = xenmm_run(command, "--help").stdout.decode()
        assert text.count(f"  xenmm {command}") >= 2
        assert max(map(len, text.splitlines())) <= 100

    def test_doctor_is_well_here(self):
        run = xenmm_run("doctor")
        assert run.returncode == 0, run.stdout
        assert b"BROKEN" not in run.stdout and b"_core" in run.stdout
        facts = json.loads(xenmm_run("doctor", "--json", "-").stdout)
        assert facts["xenmm"] == xenmm.__version__

    def test_file_stdin_and_bundled_name_give_the_same_figures(self, tmp_path):
        data = bundled()[DEFAULT_MAP].read_bytes()
        path = log(tmp_path, data, bundled()[DEFAULT_MAP].name)
        answers = [
            json.loads(xenmm_run("report", source, "--json", "-", stdin=given).stdout)
            for source, given in ((path, b""), ("-", data), (DEFAULT_MAP, b""))
        ]
        assert answers[0]["steps"] == answers[1]["steps"] == answers[2]["steps"]
        assert len({a["input"]["sha256"] for a in answers}) == 1

    def test_boot_and_map_choose_among_those_in_a_log(self, tmp_path):
        first, second = (
            f"[    0.000000] Linux version 6.1.0\n[    0.000000] BIOS-provided physical RAM map:\n"
            f"[    0.000000] BIOS-e820: [mem 0x0000000000100000-{last:#018x}] usable\n"
            for last in (0x7FFFFFFF, 0x3FFFFFFF)
        )
        user = (
            "[    0.000000] e820: user-defined physical RAM map:\n"
            "[    0.000000] user: [mem 0x0000000000100000-0x000000001fffffff] usable\n"
        )
        path = log(tmp_path, first + user + second)
        for words, top in (((), 1 << 31), (("--boot", "2"), 1 << 30), (("--map", "user"), 1 << 29)):
            run = xenmm_run("report", path, *words, "--profile", "xen-none", "--json", "-")
            assert json.loads(run.stdout)["machine"]["top"] == top, (words, run.stderr)

    def test_boot_options_reach_the_host(self):
        words = (
            "--page-sizes",
            "2m",
            "--compat-m2p",
            "on",
            "--stack-guards",
            "--no-hotplug",
            "--command-line",
            "mem=8G",
        )
        facts = json.loads(xenmm_run("boot", "dell-r930", *words, "--json", "-").stdout)
        given = {
            "page_sizes": "2m",
            "compat_m2p": True,
            "stack_guards": True,
            "hotplug": False,
            "command_line": "mem=8G",
        }
        assert {k: facts["options"][k] for k in given} == given
        assert facts["host"]["tables"]["frame_table"]["page_tables"]["leaf_1g"] == 0
        assert facts["host"]["max_page"] == (8 << 30) >> 12

    def test_json_to_a_file_beside_the_text(self, tmp_path):
        run = xenmm_run("report", DEFAULT_MAP, "--json", tmp_path / "out.json")
        assert run.returncode == 0
        assert run.stdout.startswith(b"") and b"sparse-m2p" in run.stdout
        assert json.loads((tmp_path / "out.json").read_text())["schema"] == "xenmm-report/1"

    def test_convert_round_trips_through_every_form(self):
        first = json.loads(xenmm_run("convert", DEFAULT_MAP, "mfn:0x100000", "--json", "-").stdout)
        forms = first["frames"][0]["forms"]
        words = [f"{name}:{form['value']}" for name, form in forms.items()]
        again = json.loads(xenmm_run("convert", DEFAULT_MAP, *words, "--json", "-").stdout)
        for frame in again["frames"]:
            assert {n: f["value"] for n, f in frame["forms"].items()} == {
                n: f["value"] for n, f in forms.items()
            }

    def test_export_of_a_booted_machine_is_the_hosts_own(self):
        for profile, size in (("xen-offset", "1g"), ("fold", "2m")):
            words = ("--profile", profile, "--page-sizes", size)
            host = xenmm.boot(bundled()[DEFAULT_MAP], profile, page_sizes=size)
            run = xenmm_run("export", DEFAULT_MAP, "--format", "c", "--prefix", "one", *words)
            assert run.stdout.decode() == host.export("c", prefix="one") and run.stderr == b""
            run = xenmm_run("export", DEFAULT_MAP, "--format", "json", *words)
            assert json.loads(run.stdout)["frozen"] == json.loads(host.export("json"))["frozen"]
        refused("export", DEFAULT_MAP, "--format", "c", "--prefix", "a-b", says="'a-b'")

    def test_export_reads_back_and_says_what_it_left_out(self, tmp_path):
        memory_map = xenmm.read_map(bundled()[DEFAULT_MAP])
        for name in export_cli.FORMATS:
            run = xenmm_run("export", DEFAULT_MAP, "--format", name)
            if run.returncode:
                assert run.returncode == 2 and run.stderr.count(b"\n") == 1
                continue
            again = xenmm.read_map(run.stdout)
            if name != "srat":
                assert again.ram == memory_map.ram
            if name in ("iomem", "lsmem"):
                assert b"5 SRAT rows" in run.stderr
            if name == "json":
                assert run.stderr == b"" and again.sha256 == memory_map.sha256
        assert set(export_cli.FORMATS) == set(FORMATS)

    def test_invalid_frame_is_a_negative_answer(self):
        run = xenmm_run("convert", DEFAULT_MAP, "mfn:0xffffffff")
        assert run.returncode == 1
        assert b"not valid" in run.stdout and run.stderr == b""

    def test_numbers_may_be_decimal_hex_or_grouped(self):
        run = xenmm_run(
            "convert",
            DEFAULT_MAP,
            "mfn:1048576",
            "mfn:0x100000",
            "mfn:1_048_576",
            "mfn:0x10_0000",
            "--json",
            "-",
        )
        frames = json.loads(run.stdout)["frames"]
        assert len(frames) == 4 and all(f == frames[0] for f in frames)
