"""What people get wrong, and the next step that the error names: one line, exit code 2."""

from __future__ import annotations

import gzip
import io
import re
import sys

import pytest

from xenmm import cli

FILES = {
    "server.dmesg": "BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable\n",
    "nothing.txt": "hello\n",
    "empty": "",
    "srat.txt": "ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x27fffffff]\n",
    "reserved.txt": "BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] reserved\n",
    "zeros": "00000000-00000000 : System RAM\n" * 2,
    "packed.gz": gzip.compress(b"hello\n"),
}
MISTAKES = {
    # What is typed, and what the line must say, in this order.
    "reprot dell-r930": "invalid choice: 'reprot'.*did you mean 'report'",
    "help report": "did you mean --help",
    "report": "required: FILE.*this-machine.*xenmm machines",
    "report dell-r93": "no bundled machine.*did you mean 'dell-r930'",
    "report DELL-R930": "did you mean 'dell-r930'",
    "report thismachine": "did you mean 'this-machine'",
    "report sever.dmesg": "no such file.*did you mean 'server.dmesg'",
    "report qqqqq": r"no such file.*\(xenmm machines lists those\)",
    "report no/such/file": "no folder 'no/such'",
    "report empty": "empty: the input is empty",
    "report -": r"<stdin>.*empty.*sudo dmesg",
    "report nothing.txt": "no memory map found.*sudo dmesg",
    "report srat.txt": "no RAM in it: only 1 SRAT row.*memory map is needed too",
    "report reserved.txt": "no row of RAM",
    "report zeros": "read it as root",
    "report packed.gz": r"gzip.*zcat FILE \| xenmm report -",
    "report .": "folder.*/sys/firmware/memmap",
    "report dell-r930 --profle pre": "arguments: --profle.*did you mean '--profile'.*xenmm report --help",
    "report dell-r930 --profile xen-msk": "unknown profile 'xen-msk'.*pre.*did you mean 'xen-mask'",
    "report dell-r930 --profile=zzz": "unknown profile 'zzz'; one of pre",
    "report dell-r930 --page-sizes 2mb": "'2mb'.*'?2m'?, '?1g'?.*did you mean '2m'",
    "report dell-r930 --width 1e3": "whole number without a unit",
    "report dell-r930 --json no/such/out.json": "out.json: its folder is not there.*mkdir -p",
    "report dell-r930 --boot 0": "--boot counts from 1",
    "report this-machine --boot 1": r"--boot 1: this-machine is no log; try: sudo dmesg \| xenmm .* --boot 1",
    "report this-machine --map user": "--map user: this-machine is no log; try: .*report - --map user",
    "report dell-r930 --color allways": "did you mean 'always'",
    "--versoin": "did you mean '--version'",
    "boot dell-r930 --profile xen_offset": "did you mean 'xen-offset'",
    "convert dell-r930 0x1000": "need a kind and a number, as mfn:0x100000",
    "convert dell-r930 mnf:0x1000": "did you mean 'mfn'",
    "convert dell-r930 MFN:1": "did you mean 'mfn'",
    "convert dell-r930 pgae:0x1000": "did you mean 'page'",
    "convert dell-r930 mfn:zz": "'zz' is no number; write 4096, 4_096 or 0x1000",
    "convert dell-r930 maddr:4G": r"units are not read: 4G of bytes are maddr:0x100000000",
    "convert dell-r930 page:0x1000": r"outside the frame table \[0xffff82e000000000, ",
    "convert dell-r930": "required: KIND:NUMBER",
    "export dell-r930 --format jsn": "did you mean 'json'",
    "export dell-r930 --format json -o no/out": "its folder is not there.*mkdir -p",
    "export dell-r930": "required: --format",
    "steps dell-r930 --workload grnt-storm": "did you mean 'grant-storm'",
    "steps dell-r930 --size 10k": "whole number without a unit, as 1000000 or 1_000_000",
    "steps dell-r930 --uarch zen33": "did you mean 'zen3'",
    "replay dell-r930": "either a TRACE or --workload, as --workload zipf",
    "replay dell-r930 nothing.txt": "say which with --format",
    "replay dell-r930 --workload zpf": "not one of sequential.*did you mean 'zipf'",
    "replay dell-r930 --workload zipf:lnes=5": "known here are.*did you mean 'lines'",
    "replay dell-r930 --workload mixed": "takes no machine: FILE none",
    "replay dell-r930 --workload zipf --accesses 1M": "whole number without a unit",
    "replay dell-r930 --workload zipf --uarch skylake": "not one of.*did you mean 'skylake-sp'",
    "replay dell-r930 --workload zipf --profile pre,fold": "--compare; add it",
    "replay dell-r930 --workload zipf --roi 5-6": "FIRST:STOP, as 1000:2000",
    "bench --only arays": "one of arrays.*did you mean 'arrays'",
    "bench --predict": "belong to --silicon",
    "completion tcsh": "bash.*zsh.*fish",
    "doctor --jsn -": "did you mean '--json'.*xenmm doctor --help",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_mistake_is_told_with_the_next_step(typed, tmp_path, monkeypatch, capsys):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    try:
        code = cli.main(typed.split())
    except SystemExit as left:
        code = left.code
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert error.startswith("xenmm: error: ") and error.count("\n") == 1
    assert re.search(MISTAKES[typed], error), error
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
