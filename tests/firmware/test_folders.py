"""The folders of a running Linux, and what grep prints of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from xenmm.errors import MemoryMapError
from xenmm.firmware import folders, read_map
from xenmm.firmware.memory_map import MemoryMap

ROWS = [
    (0x0, 0x9FBFF, "System RAM"),
    (0x9FC00, 0x9FFFF, "Reserved"),
    (0x100000, 0x7FFDFFFF, "System RAM"),
    (0x7FFE0000, 0x7FFFFFFF, "ACPI Tables"),
    (0x100000000, 0x27FFFFFFF, "System RAM"),
    (0x280000000, 0x2FFFFFFFF, "Soft Reserved"),
    (0x300000000, 0x3FFFFFFFF, "Persistent Memory (legacy)"),
]
RAM = ((0, 0x9FC00), (0x100000, 0x7FFE0000), (0x100000000, 0x280000000))


@pytest.fixture
def memmap(tmp_path: Path) -> Path:
    for number, (start, end, kind) in enumerate(ROWS):
        folder = tmp_path / "memmap" / str(number)
        folder.mkdir(parents=True)
        for name, value in (("start", hex(start)), ("end", hex(end)), ("type", kind)):
            (folder / name).write_text(value + "\n")
    return tmp_path / "memmap"


def dropped(memory_map: MemoryMap) -> list[str]:
    return [str(note) for note in memory_map.notes if note.level == "dropped"]


def test_a_folder_of_firmware_ranges_is_read(memmap: Path) -> None:
    for memory_map in (read_map(memmap), read_map(str(memmap))):
        assert memory_map.ram == RAM
        assert [r.kind for r in memory_map.ranges] == [
            *("ram", "reserved", "ram", "acpi-data", "ram", "soft-reserved", "persistent-old")
        ]
        assert memory_map.format == "firmware-memmap"
        assert not memory_map.notes


@pytest.mark.parametrize("prefix", ["/sys/firmware/memmap/", "memmap/", "./", ""])
@pytest.mark.parametrize("blank", ["", " "])
def test_what_grep_prints_of_it_is_read(prefix: str, blank: str) -> None:
    rows = [
        f"{prefix}{number}/{name}:{blank}{value}"
        for number, (start, end, kind) in enumerate(ROWS)
        for name, value in (("end", hex(end)), ("start", hex(start)), ("type", kind))
    ]
    memory_map = read_map("\n".join(["$ grep -r . /sys/firmware/memmap", *sorted(rows)]))
    assert memory_map.ram == RAM
    assert memory_map.ranges[0].source is not None
    assert memory_map.ranges[0].source.line == 2


def test_entries_that_lack_something_are_dropped_with_their_number(memmap: Path) -> None:
    (memmap / "0" / "type").unlink()
    (memmap / "2" / "start").write_text("garbage\n")
    (memmap / "4" / "end").write_text("0x1\n")
    memory_map = read_map(memmap)
    assert memory_map.ram == ()
    assert ["entry 0" in dropped(memory_map)[0], "entry 2" in dropped(memory_map)[1]] == [True, True]
    assert "ends before it starts" in dropped(memory_map)[2]
    (memmap / "4" / "end").write_text(hex(ROWS[4][0] - 1))
    assert "ends before it starts" in dropped(read_map(memmap))[2]


def test_numbers_of_entries_are_told_apart_to_the_last_digit(tmp_path: Path) -> None:
    names, lines = ("1111111110", "1111111111", "\N{SUPERSCRIPT TWO}"), []
    for i, name in enumerate(names):
        (tmp_path / "memmap" / name).mkdir(parents=True)
        for word, value in (("start", hex(i << 20)), ("end", hex((i << 20) + 0xFFF)), ("type", "System RAM")):
            (tmp_path / "memmap" / name / word).write_text(value)
            lines.append(f"{name}/{word}:{value}")
    for found in (read_map(tmp_path / "memmap"), read_map("\n".join(lines))):
        assert found.ram == ((0, 0x1000), (0x100000, 0x101000))


def test_a_folder_of_a_device_tree_is_read(tmp_path: Path) -> None:
    if shutil.which("dtc") is None:
        pytest.skip("dtc (Debian device-tree-compiler) is not installed")
    memory_map = MemoryMap.from_ranges(
        [(0x80000000, 0xC0000000), (1 << 35, 1 << 36)], [(0, 1 << 32), (1 << 35, 1 << 36)]
    )
    from xenmm.firmware.writers import write_map

    blob = write_map(memory_map, "dtb")
    assert isinstance(blob, bytes)
    _unpack(blob, tmp_path / "base")
    assert read_map(tmp_path / "base").sha256 == read_map(blob).sha256


def _unpack(blob: bytes, folder: Path) -> None:
    """Lay a blob out as Linux does below /proc/device-tree, by dtc's own reading of it."""
    folder.mkdir()
    source = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dts", "-"], input=blob, check=True, capture_output=True
    ).stdout.decode()
    at = folder
    for line in source.splitlines()[2:]:
        text = line.strip().rstrip(";")
        if text.endswith("{") and text != "/ {":
            at = at / text.split()[0]
            at.mkdir()
        elif text == "}":
            at = at.parent
        elif text and text != "/ {":
            name, _, value = text.partition(" = ")
            if value.startswith("<"):
                data = b"".join(int(word, 0).to_bytes(4, "big") for word in value.strip("<>").split())
            else:
                data = value.strip('"').encode() + b"\0" if value else b""
            (at / name).write_bytes(data)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemoryMapError, match="is a folder, neither"):
        read_map(tmp_path)


def test_an_oversized_file_is_refused(memmap: Path) -> None:
    (memmap / "1" / "type").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(MemoryMapError, match="larger than 1048576 bytes"):
        read_map(memmap)


@pytest.mark.parametrize("text", ["", "0/size:0x0", "a/start:0x0", "start: 0x0"])
def test_other_text_is_not_taken(text: str) -> None:
    assert not folders.sniff([(1, text)])


def test_an_entry_that_cannot_be_read_is_named(memmap: Path) -> None:
    (memmap / "2" / "end").unlink()
    (memmap / "2" / "end").mkdir()
    assert "entry 2 lacks a start, an end or a type" in dropped(read_map(memmap))[0]


def test_only_what_tells_of_memory_is_looked_into(tmp_path: Path) -> None:
    tree = tmp_path / "device-tree"
    for name, files in {
        "": {"#address-cells": b"\0\0\0\2", "#size-cells": b"\0\0\0\2"},
        "memory@0": {"device_type": b"memory\0", "reg": bytes(8) + (1 << 32).to_bytes(8, "big")},
        "cpus": {"reg": b"never read"},
        "reserved-memory/fw@1000": {"reg": (0x1000).to_bytes(8, "big") + (0x1000).to_bytes(8, "big")},
        "reserved-memory/fw@1000/deeper": {"reg": b"never read"},
    }.items():
        (tree / name).mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (tree / name / file).write_bytes(data)
    for file in (tree / "cpus" / "reg", tree / "reserved-memory/fw@1000/deeper/reg"):
        file.write_bytes(bytes(1 << 21))
    assert read_map(tree).top == 1 << 32
