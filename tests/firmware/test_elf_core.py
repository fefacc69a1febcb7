"""Dumps of memory in ELF: headers as three writers make them, and every way to be no dump of a machine."""

import io
import struct
import sys
from pathlib import Path

import pytest
from elf_samples import (
    EM_AARCH64,
    EM_S390,
    ET_EXEC,
    NO_ADDRESS,
    core,
    kexec_notes,
    note,
)
from hypothesis import given
from hypothesis import strategies as st

from xenmm import ConfigError, MemoryMapError, cli, read_map
from xenmm.constants import GIB, KIB, MIB
from xenmm.firmware import elf_core
from xenmm.firmware.memory_map import Source

pytest.importorskip("elftools", reason="pyelftools is not installed")

DATA = Path(__file__).parents[1] / "data" / "elf-cores"
LOW = (0x1000, 0x9EC00)
HIGH = (4 * GIB, 12 * GIB)


def facts(found):
    return [(r.start, r.end, r.kind) for r in found.ranges]


def texts(found):
    return [f"{n.level}: {n.text}" for n in found.notes]


# ---- real dumps: the first 1,400 bytes of QEMU 7.2's dump-guest-memory, of machines not yet started


@pytest.mark.parametrize(
    ("name", "ram"),
    [
        # -M pc -m 6G
        ("qemu-pc6g", [(0, 3 * GIB), (4 * GIB, 7 * GIB)]),
        # -M q35 -m 3G,slots=2,maxmem=64G, with a DIMM of 4 GiB
        ("qemu-dimm", [(0, 2 * GIB), (4 * GIB, 9 * GIB)]),
        # -M pc-q35-7.2 -cpu EPYC -m 1100G: no RAM from AMD's HyperTransport hole up to 1 TiB
        ("qemu-amd1t", [(0, 2 * GIB), (1024 * GIB, (1024 + 1098) * GIB)]),
    ],
)
def test_qemus_dumps(name, ram):
    found = read_map(DATA / f"{name}.core")
    assert list(found.ram) == ram
    assert [(r.start, r.end) for r in found.ranges if r.kind == "firmware"] == [
        (4 * GIB - 256 * KIB, 4 * GIB)
    ]
    assert {r.label for r in found.ranges} == {"PT_LOAD"}
    assert (found.format, found.arch, found.srat) == ("elf-core", "x86", None)
    assert found.stated.details["segments"] == len(found.ranges)
    assert [n.level for n in found.notes] == ["note"]


def test_a_report_of_a_dump(capsys):
    assert cli.main(["report", str(DATA / "qemu-amd1t.core")]) == 0
    assert "1.074 TiB" in capsys.readouterr().out


# ---- what others write


def test_a_crash_dump_of_a_host_that_ran_xen():
    text = (16 * MIB, 32 * MIB, 0xFFFFFFFF81000000)
    data = core([text, LOW, (MIB, 2 * GIB), HIGH], kexec_notes(xen=(4, 17)))
    found = read_map(data)
    assert facts(found)[0] == (16 * MIB, 48 * MIB, "ram")
    assert found.ram == ((0x1000, 0x9FC00), (MIB, 2 * GIB + MIB), (4 * GIB, 16 * GIB))
    assert found.stated.xen_version == "4.17"
    assert found.stated.details == {"segments": 4, "kernel": "6.1.0-31-amd64"}
    assert texts(found) == [
        "note: a dump tells what was dumped, not what firmware reserves or a node has",
        "warning: a crash dump lacks what was kept for the crash kernel (crashkernel=)",
        f"note: {32 * MIB} bytes stand in several segments, as a kernel's text does",
    ]


def test_proc_kcore_has_segments_that_are_not_physical():
    vmalloc = (NO_ADDRESS, 32 << 40, 0xFFFFC90000000000)
    direct = [(start, size, 0xFFFF888000000000 + start) for start, size in (LOW, HIGH)]
    # Linux puts VMCOREINFO there, too; nothing is missing for that.
    found = read_map(core([vmalloc, *direct], kexec_notes()))
    assert found.ram == ((0x1000, 0x9FC00), (4 * GIB, 16 * GIB))
    assert found.stated.details == {"segments": 2, "kernel": "6.1.0-31-amd64"}
    assert texts(found)[1:] == [
        f"note: segments without a physical address, as vmalloc space is: 1, of {32 << 40} bytes"
    ]
    assert found.notes[1].source == found.ranges[0].source
    short = core([((1 << 32) - 1, MIB), (MIB, GIB)], bits=32)
    assert read_map(short).ram == ((MIB, GIB + MIB),)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("many", [False, True])
def test_every_form(bits, order, many):
    loads = [(0, MIB), (2 * MIB, GIB), (3 * GIB, GIB - MIB)]
    data = core(loads, note("CORE", 1, bytes(20), order), bits=bits, order=order, many=many, machine=EM_S390)
    found = read_map(data)
    # Such as need it say in a section header how many segments there are.
    assert [(r.start, r.end - r.start) for r in found.ranges] == loads
    assert found.arch == "s390"


@pytest.mark.parametrize(
    ("machine", "arch"),
    [(62, "x86"), (3, "x86"), (EM_AARCH64, "arm"), (21, "power"), (243, "riscv"), (9999, "")],
)
def test_architectures(machine, arch):
    assert read_map(core([(GIB, GIB)], machine=machine)).arch == arch


def test_every_fact_names_the_dump():
    loads = [LOW, (0x2000, MIB), ((1 << 64) - 1 - MIB, GIB)]
    found = read_map(core(loads, kexec_notes()), name="vmcore")
    source = Source("vmcore", None, "elf-core")
    assert [(r.label, r.source) for r in found.ranges] == [("PT_LOAD", source)] * 2
    assert [(n.level, n.source) for n in found.notes] == [
        ("dropped", source),
        ("note", source),
        ("warning", source),
        ("note", source),
    ]
    assert found.name == "vmcore"


def test_one_segment_from_address_0():
    assert read_map(core([(0, GIB)])).ram == ((0, GIB),)


def test_memory_that_was_left_out_of_the_file_counts():
    # A dump without zero pages: no byte of it in the file.
    assert read_map(core([(GIB, GIB, 0, 0), (4 * GIB, 0)])).ram == ((GIB, 2 * GIB),)


@pytest.mark.parametrize(
    ("end", "kept"), [((1 << 64) - 1, True), (1 << 64, True), ((1 << 64) + 1, False), ((1 << 65) - 3, False)]
)
def test_the_end_of_64_bits(end, kept):
    start = max(1 << 63, end - (1 << 64) + 1)
    found = read_map(core([(0, MIB), (start, end - start)]))
    assert (len(found.ranges) == 2) == kept
    assert any(n.level == "dropped" and f"at {start:#x}" in n.text for n in found.notes) != kept
    if not kept:
        with pytest.raises(MemoryMapError, match=r"ends past 2\^64"):
            read_map(core([(0, MIB), (start, end - start)]), strict=True)


def test_the_rom_of_a_pc_only_where_qemu_dumped_it():
    loads = [(0, GIB), (4 * GIB - MIB, MIB), (4 * GIB, GIB)]
    qemu = note("QEMU", 0, bytes(440))
    rows = read_map(core(loads, qemu)).ranges
    assert [r.kind for r in rows] == ["ram", "firmware", "ram"]
    assert len({(r.label, r.source) for r in rows}) == 1
    assert [r.kind for r in read_map(core(loads)).ranges] == ["ram"] * 3
    assert [r.kind for r in read_map(core(loads, qemu, machine=EM_AARCH64)).ranges] == ["ram"] * 3
    # A guest's VMCOREINFO does not make QEMU's dump one by kexec.
    both = qemu + kexec_notes()
    assert not any("crashkernel" in n.text for n in read_map(core(loads, both)).notes)


# ---- what is no dump of a machine, and what is cut


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (core([(GIB, GIB)], type=ET_EXEC), "an ELF file of type ET_EXEC, not a dump of memory"),
        (core([(0, GIB, 0x400000), (0, MIB, 0x7FFF0000)]), "2 segments have no physical addresses"),
        (core([]), "no segment of it is physical memory"),
        (core([(NO_ADDRESS, GIB)]), "no segment of it is physical memory"),
        (core([(GIB, 0)]), "no segment of it is physical memory"),
        (core([((1 << 64) - 1 - GIB, 2 * GIB)]), "no segment of it is physical memory"),
        (core([(GIB, GIB)], phentsize=0), "0 bytes for a program header, which has 56"),
        (core([(GIB, GIB)], phentsize=55), "55 bytes for a program header, which has 56"),
        (core([(GIB, GIB)], phoff=NO_ADDRESS), "1 program headers stand at"),
        (core([(GIB, GIB)], phoff=65), r"cut short: 1 program headers stand at \[0x41, 0x79\), it has 120"),
        (core([(GIB, GIB)], phnum=2), r"cut short: 2 program headers stand at \[0x40, 0xb0\)"),
        (core([(GIB, GIB)], many=True, shoff=NO_ADDRESS), "cut short: the number of segments stand"),
        (core([(GIB, GIB)], many=True, shoff=184 - 63), "cut short: the number of segments stand"),
        (core([(GIB, GIB)], ident=b"\x7fELF\x03\x01\x01" + bytes(9)), "is no whole ELF file"),
        (core([(GIB, GIB)], ident=b"\x7fELF\x02\x03\x01" + bytes(9)), "is no whole ELF file"),
        (b"\x7fELF", "is no whole ELF file"),
        (b"KDUMP   " + bytes(100), "makedumpfile -E"),
        (b"makedumpfile\0\0\0\0" + bytes(100), "makedumpfile -R"),
    ],
)
def test_no_dump_of_a_machine(data, why):
    with pytest.raises(MemoryMapError, match=why) as refused:
        read_map(data, name="vmcore")
    assert str(refused.value).startswith("vmcore: ") and "\n" not in str(refused.value)


def test_cut_anywhere_it_is_the_same_map_or_refused():
    data = core([LOW, HIGH], kexec_notes(xen=(4, 20)))
    whole = read_map(data)
    headers = 64 + 3 * 56
    for length in range(len(data)):
        if length < headers:
            with pytest.raises(MemoryMapError):
                read_map(data[:length] or b"\x7f")
        else:
            assert facts(read_map(data[:length])) == facts(whole)
    # Behind the headers all that a dump loses are its notes.
    assert read_map(data[:-1]).stated.xen_version is None


def test_only_the_beginning_is_read(tmp_path):
    path = tmp_path / "vmcore"
    with path.open("wb") as file:
        file.write(core([(GIB, GIB)]))
        file.truncate(8 * GIB)
    assert read_map(path).ram_bytes == GIB
    far = core([(GIB, GIB)], phoff=elf_core.BEGINNING_BYTES)
    with pytest.raises(MemoryMapError, match=r"^vmcore: .* past the 16 MiB that are read"):
        read_map(far.ljust(elf_core.BEGINNING_BYTES + 56, b"\0"), name="vmcore")


def test_too_many_segments(monkeypatch):
    monkeypatch.setattr(elf_core, "MOST_SEGMENTS", 100)
    assert len(read_map(core([(GIB, GIB)] * 100)).ranges) == 100
    with pytest.raises(MemoryMapError, match=r"^vmcore: has 101 segments; at most 100 are read"):
        read_map(core([(GIB, GIB)] * 101), name="vmcore")


def test_options_of_logs_are_refused():
    data = core([(GIB, GIB)])
    assert read_map(data, boot=1, strict=True).ram_bytes == GIB
    with pytest.raises(MemoryMapError, match="no boot 2"):
        read_map(data, boot=2)
    with pytest.raises(MemoryMapError, match="no map of a kernel's own: the input is elf-core"):
        read_map(data, map="user")


def test_from_a_pipe(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(core([(0, GIB), HIGH], kexec_notes()))))
    assert cli.main(["report", "-"]) == 0
    assert "13 GiB (13,958,643,712 bytes)" in capsys.readouterr().out


def test_without_the_extra_the_error_names_it(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "elftools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "elftools", None)
    with pytest.raises(ConfigError, match=r"needs pyelftools: pip install 'xenmm\[elf\]'"):
        read_map(core([(GIB, GIB)]))


@pytest.mark.parametrize(
    ("content", "version"),
    [
        *((b"", None), (bytes(15), None), (bytes(16), "0.0"), (b"\xff" * 16, None)),
        *((struct.pack("<2Q", *words), None) for words in ((100, 4), (4, 100), (100, 100))),
        (struct.pack("<2Q", 99, 99), "99.99"),
    ],
)
def test_odd_notes_of_xen(content, version):
    found = read_map(core([(GIB, GIB)], note("Xen", 0x1000001, content)))
    assert found.stated.xen_version == version


def test_what_xen_and_linux_say_is_found_among_other_segments_and_notes():
    notes = note("", 3, b"") + kexec_notes(xen=(4, 17))
    found = read_map(core([LOW, HIGH], notes, cut_note=1 << 40))
    assert (found.stated.xen_version, found.stated.details["kernel"]) == ("4.17", "6.1.0-31-amd64")
    # Of two notes of a name the first counts, and a release is one line.
    twice = read_map(core([LOW, HIGH], kexec_notes("6.1") + kexec_notes("6.2")))
    assert twice.stated.details["kernel"] == "6.1"
    assert "kernel" not in read_map(core([LOW], note("VMCOREINFO", 0, b"OSRELEASE=\n"))).stated.details


@given(st.binary(max_size=200), st.integers(0, 300))
def test_notes_that_are_noise_cost_no_segment(noise, size):
    data = core([LOW, HIGH], b"\0" * size + noise)
    assert facts(read_map(data)) == [(0x1000, 0x9FC00, "ram"), (4 * GIB, 16 * GIB, "ram")]
