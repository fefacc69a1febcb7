"""``xenmm`` alone: one screen of 80 columns and 24 rows, true about this machine or plain that it is not."""

from __future__ import annotations

import subprocess
import sys

import fake_root
import pytest
from fake_root import KMSG, ZEROS, write

from xenmm.firmware.this_machine import read_this_machine
from xenmm.maps import DEFAULT_MAP, bundled
from xenmm.studies import guide, machines_cli


def screen(root, width=80):
    lines = guide.lines(read_this_machine(root), width)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80, "\n".join(lines)
    return "\n".join(lines)


def test_a_machine_that_tells_its_memory(tmp_path):
    fake_root.memmap(tmp_path)
    write(tmp_path / "dev/kmsg", KMSG)
    write(tmp_path / "proc/cpuinfo", "flags\t\t: hypervisor\n")
    write(tmp_path / "proc/meminfo", "MemTotal: 99999999 kB\n")
    text = screen(tmp_path)
    assert "16.00 GiB (17,179,474,944 bytes) in 3 ranges" in text
    assert "/sys/firmware/memmap: RAM, /dev/kmsg: SRAT" in " ".join(text.split())
    assert "Try: xenmm report this-machine" in text and "virtual machine" in text and "warning" in text
    assert "2 nodes" in text and "xen-offset" in text and "hazards" in text


def test_the_longest_refusals_fit_the_screen(tmp_path):
    (tmp_path / "sys/firmware/memmap").mkdir(parents=True)
    write(tmp_path / "proc/iomem", ZEROS)
    write(tmp_path / "dev/kmsg", "6,1,1,-;" + "no map in it " * 50)
    write(tmp_path / "sys/devices/system/memory/block_size_bytes", "x" * 500)
    screen(tmp_path)


def test_a_machine_that_does_not_shows_how_and_a_bundled_one(tmp_path):
    write(tmp_path / "proc/iomem", ZEROS)
    text = screen(tmp_path)
    assert "does not tell its memory to this user" in " ".join(text.split())
    assert "/proc/iomem" in text and "sudo dmesg | xenmm report -" in text and "sudo" in text
    assert "addresses are zeros" in " ".join(text.split())
    assert f"the bundled machine {DEFAULT_MAP}:" in text and f"Try: xenmm report {DEFAULT_MAP}" in text


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("/usr/bin/xenmm", "sudo xenmm"),
        ("{folder}/xenmm", "sudo {folder}/xenmm"),
        ("-c", "sudo {python} -m xenmm"),
    ],
)
def test_how_it_runs_as_root(tmp_path, monkeypatch, program, says):
    (tmp_path / "xenmm").write_text("#!/bin/sh\n")
    (tmp_path / "xenmm").chmod(0o755)
    monkeypatch.setattr(sys, "argv", [program.format(folder=tmp_path)])
    if program.startswith("/usr"):
        monkeypatch.setattr(guide.shutil, "which", lambda name: name)
    assert guide.as_root() == says.format(folder=tmp_path, python=sys.executable)


def test_command_runs_on_whatever_this_machine_is():
    run = subprocess.run([sys.executable, "-m", "xenmm"], capture_output=True, text=True)
    assert run.returncode == 0 and "xenmm report FILE" in run.stdout and run.stderr == ""
    assert len(run.stdout.splitlines()) <= 24


def test_machines_are_listed_with_what_they_are(capsys):
    from xenmm import cli

    assert cli.main(["machines"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in bundled())
    assert "TaiShan" in text and max(map(len, text.splitlines())) <= 80
    assert cli.main(["machines", "--json", "-"]) == 0
    assert machines_cli.SCHEMA in capsys.readouterr().out
