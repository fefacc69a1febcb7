"""Binary SRAT: against iasl's compiler, by round trips, and with every length and byte spoilt."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError
from xenmm.firmware import read_map, srat_table
from xenmm.firmware.memory_map import MemoryMap, SratRange

U64_END = 1 << 64
edges = st.tuples(st.integers(0, U64_END), st.integers(0, U64_END)).filter(lambda e: e[0] != e[1]).map(sorted)
pxms = st.integers(0, 2**32 - 1)
rows = st.builds(lambda e, pxm, flags: SratRange(*e, pxm, flags, pxm), edges, pxms, st.integers(0, 7))


def read(data: bytes) -> MemoryMap:
    return srat_table.read_bytes(data, "SRAT")


def facts(memory_map: MemoryMap) -> list[tuple[int, int, int, int]]:
    return [(r.start, r.end, r.node, r.flags) for r in memory_map.srat or ()]


def table(*structures: bytes, revision: int = 3, length: int | None = None, checksum: bool = True) -> bytes:
    body = b"".join(structures)
    head = struct.pack(
        "<4sIBB6s8sI4sIIQ", b"SRAT", length or 48 + len(body), revision, 0, *[b"T"] * 2, 1, b"T", 1, 1, 0
    )
    data = bytearray(head + body)
    if checksum:
        data[9] = -sum(data[: length or len(data)]) & 0xFF
    return bytes(data)


def memory(pxm: int, base: int, length: int, flags: int = 1, size: int = 40) -> bytes:
    return struct.pack("<BBIHQQIIQ", 1, size, pxm, 0xBEEF, base, length, 7, flags, 9)


@given(st.lists(rows.filter(lambda r: r.end - r.start < U64_END), max_size=20))
def test_rows_survive_the_table(srat: list[SratRange]) -> None:
    data = srat_table.to_bytes(srat)
    assert srat_table.sniff_bytes(data)
    memory_map = read(data)
    assert facts(memory_map) == [(r.start, r.end, r.node, r.flags) for r in srat]
    assert memory_map.ranges == ()


def test_a_table_has_no_ram_and_says_so() -> None:
    memory_map = read(table(memory(0, 0, 1 << 30)))
    assert memory_map.ram == ()
    assert any("no RAM is known" in note.text for note in memory_map.notes)


def test_other_structures_are_passed_over_and_tell_the_architecture() -> None:
    apic = bytes([0, 16]) + bytes(14)
    x2apic = bytes([2, 24]) + bytes(22)
    gicc = bytes([3, 18]) + bytes(16)
    initiator = bytes([5, 32]) + bytes(30)
    unknown = bytes([200, 2])
    ram = memory(1, 4 << 30, 1 << 30)
    for others, arch in (([apic, x2apic], "x86"), ([gicc, initiator], "arm"), ([unknown], "")):
        memory_map = read(table(*others, ram, *others))
        assert facts(memory_map) == [(4 << 30, 5 << 30, 1, 1)]
        assert memory_map.arch == arch


@pytest.mark.parametrize(("revision", "pxm"), [(1, 0x04), (2, 0x01020304), (3, 0x01020304)])
def test_a_proximity_domain_has_the_width_of_its_revision(revision: int, pxm: int) -> None:
    assert facts(read(table(memory(0x01020304, 0, 4096), revision=revision))) == [(0, 4096, pxm, 1)]


def test_only_known_flags_are_kept_and_rows_that_are_not_enabled_stay() -> None:
    memory_map = read(table(memory(0, 0, 4096, flags=0xFFFFFFF8), memory(0, 4096, 4096, flags=0xF3)))
    assert [r.flags for r in memory_map.srat or ()] == [0, 3]


@pytest.mark.parametrize(
    ("base", "length", "end"),
    [
        (U64_END - 4096, 4096, U64_END),
        (U64_END - 4096, 4095, U64_END - 1),
        (U64_END - 4096, 4097, None),
        (0, 0, None),
    ],
)
def test_a_row_ends_at_most_at_two_to_the_64(base: int, length: int, end: int | None) -> None:
    memory_map = read(table(memory(0, base, length)))
    assert [r.end for r in memory_map.srat or ()] == ([end] if end else [])
    assert any("offset 0x30" in note.text for note in memory_map.notes) == (end is None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no SRAT"),
        (b"SRAT", "no SRAT"),
        (table()[:47], "no SRAT"),
        (table(memory(0, 0, 1), length=47), "states a length of 47"),
        (table(memory(0, 0, 1), length=0)[:4] + bytes(84), "states a length of 0"),
        (table(memory(0, 0, 1))[:-1], "cut short: it states 88 bytes, there are 87"),
        (table(memory(0, 0, 1), checksum=False), "wrong checksum"),
        (table(memory(0, 0, 1, size=41)), "offset 0x30 states a length of 41 bytes, 40 are left"),
        (table(memory(0, 0, 1, size=0)), "offset 0x30 states a length of 0"),
        (table(memory(0, 0, 1, size=1)), "offset 0x30 states a length of 1"),
        (table(memory(0, 0, 1, size=39), b"\0"), "offset 0x30 has 39 bytes, needs 40"),
        (table(b"\1"), "offset 0x30 states a length of 0 bytes, 1 are left"),
    ],
)
def test_a_lying_table_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(MemoryMapError) as caught:
        read(data)
    assert words in str(caught.value)
    assert caught.value.file == "SRAT"


def test_bytes_after_the_table_are_a_warning() -> None:
    memory_map = read(table(memory(0, 0, 4096)) + b"more")
    assert len(memory_map.srat or ()) == 1
    assert any(note.level == "warning" and "4 bytes after" in note.text for note in memory_map.notes)


def test_every_flipped_byte_is_noticed() -> None:
    data = table(memory(0, 0, 4096), memory(1, 1 << 32, 4096))
    for at in range(len(data)):
        spoilt = bytearray(data)
        spoilt[at] ^= 0x40
        with pytest.raises(MemoryMapError):
            read(bytes(spoilt))


@pytest.mark.parametrize("text", [b"SRAT: Node 0 PXM 0 [mem 0x0-0xfff]", b"SRAT", b"", b"APIC\0\0\0\0"])
def test_a_log_line_is_no_table(text: bytes) -> None:
    assert not srat_table.sniff_bytes(text)


def test_what_has_no_room_in_the_table_is_refused() -> None:
    with pytest.raises(MemoryMapError, match="2\\^64"):
        srat_table.to_bytes([SratRange(0, U64_END)])
    with pytest.raises(MemoryMapError, match="256"):
        srat_table.to_bytes([SratRange(0, 1, 256)], revision=1)
    with pytest.raises(MemoryMapError, match="4294967296"):
        srat_table.to_bytes([SratRange(0, 1, 1 << 32)])


@given(st.binary(max_size=200) | st.binary(max_size=150).map(lambda body: table(body)))
def test_any_bytes_are_a_map_or_an_error(data: bytes) -> None:
    for candidate in (data, b"SRAT" + data):
        try:
            read(candidate)
        except MemoryMapError as error:
            assert "\n" not in str(error)


def iasl(folder: Path, *command: str) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("iasl (Debian acpica-tools) is not installed")
    subprocess.run(["iasl", *command], cwd=folder, check=True, capture_output=True)


def test_iasl_finds_our_table_valid_and_alike(tmp_path: Path) -> None:
    srat = [SratRange(0, 0xA0000, 0), SratRange(1 << 32, 5 << 32, 3, 3), SratRange(1 << 44, 1 << 45, 7, 5)]
    (tmp_path / "srat.aml").write_bytes(srat_table.to_bytes(srat))
    iasl(tmp_path, "-d", "srat.aml")
    text = (tmp_path / "srat.dsl").read_text()
    assert "Incorrect checksum" not in text
    lengths = [line.split(": ")[1] for line in text.splitlines() if "Address Length" in line]
    assert [int(length, 16) for length in lengths] == [r.end - r.start for r in srat]
    iasl(tmp_path, "srat.dsl")
    assert facts(read((tmp_path / "srat.aml").read_bytes())) == [
        (r.start, r.end, r.node, r.flags) for r in srat
    ]


def test_iasl_template_is_read(tmp_path: Path) -> None:
    iasl(tmp_path, "-T", "SRAT")
    iasl(tmp_path, "srat.asl")
    memory_map = read((tmp_path / "srat.aml").read_bytes())
    text = (tmp_path / "srat.asl").read_text()
    assert len(memory_map.srat or ()) + sum("is empty" in n.text for n in memory_map.notes) >= 1
    assert memory_map.stated.details["revision"] == int(text.split("Revision : ")[1][:2], 16)


def hexdump(data: bytes) -> str:
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    return "".join(f"    {16 * i:04X}: {row.hex(' ').upper():<48} ....\n" for i, row in enumerate(rows))


def test_a_dump_among_other_tables_is_read() -> None:
    data = table(memory(3, 1 << 40, 1 << 39, 3), bytes([0, 16]) + bytes(14))
    tables = {"FACP": b"FACP" + bytes(100), "SRAT": data, "APIC": b"APIC"}
    text = "".join(f"{name} @ 0x000000007FFE0000\n{hexdump(body)}\n" for name, body in tables.items())
    lines = list(enumerate(text.splitlines(), 1))
    assert srat_table.sniff(lines)
    assert facts(srat_table.read(lines, "acpi.txt")) == [(1 << 40, (1 << 40) + (1 << 39), 3, 3)]
    assert facts(read_map(text)) == facts(read(data))
    for cut in range(6, 11):
        with pytest.raises(MemoryMapError):
            srat_table.read(lines[: len(lines) - cut], "acpi.txt")


def test_what_iasl_disassembles_is_read(tmp_path: Path) -> None:
    (tmp_path / "srat.aml").write_bytes(srat_table.to_bytes([SratRange(1 << 32, 5 << 32, 3, 3)]))
    iasl(tmp_path, "-d", "srat.aml")
    assert facts(read_map(tmp_path / "srat.dsl")) == [(1 << 32, 5 << 32, 3, 3)]
