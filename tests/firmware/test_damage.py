"""Formats cut off at every byte: what is read is part of the truth, and what is lost is told or refused."""

import pytest

from xenmm.errors import MemoryMapError
from xenmm.firmware import read_map
from xenmm.firmware.memory_map import MemoryMap, MemoryRange, SratRange
from xenmm.firmware.writers import write_map

GIB, MIB = 1 << 30, 1 << 20
MACHINE = MemoryMap(
    (
        MemoryRange(0, 640 * MIB),
        MemoryRange(640 * MIB, GIB, "reserved"),
        MemoryRange(GIB, 3 * GIB),
        MemoryRange(4 * GIB, 64 * GIB),
        MemoryRange(1024 * GIB, 1088 * GIB),
    ),
    (SratRange(0, 64 * GIB, 0), SratRange(1024 * GIB, 1088 * GIB, 1)),
    name="a machine",
)


def is_part(inner: MemoryMap, outer: MemoryMap) -> bool:
    return all(any(a <= start and end <= b for a, b in outer.ram) for start, end in inner.ram)


@pytest.mark.parametrize("format", ["iomem", "lsmem"])
def test_a_text_cut_anywhere_never_invents_memory(format: str) -> None:
    text = write_map(MACHINE, format)
    assert isinstance(text, str)
    whole = read_map(text)
    for cut in range(1, len(text)):
        try:
            found = read_map((text[:cut] + "\n").encode())
        except MemoryMapError:
            continue
        assert is_part(found, whole), text[:cut]


@pytest.mark.parametrize("format", ["json", "dts"])
def test_a_document_cut_anywhere_is_refused(format: str) -> None:
    text = write_map(MACHINE, format)
    assert isinstance(text, str)
    for cut in range(1, len(text.rstrip()) - 1):
        with pytest.raises(MemoryMapError):
            read_map(text[:cut].encode())


@pytest.mark.parametrize("format", ["srat", "dtb"])
def test_a_table_cut_anywhere_is_refused(format: str) -> None:
    data = write_map(MACHINE, format)
    assert isinstance(data, bytes)
    for cut in range(len(data)):
        with pytest.raises(MemoryMapError):
            read_map(data[:cut])


def test_a_last_row_whose_name_is_cut_is_told() -> None:
    text = write_map(MACHINE, "iomem")
    assert isinstance(text, str)
    text = text.rstrip()
    for cut in range(1, len("System RAM")):
        found = read_map(text[:-cut].encode())
        assert any(n.level == "dropped" and n.dropped_bytes == 64 * GIB for n in found.notes), text[:-cut]


@pytest.mark.parametrize("format", ["iomem", "lsmem", "json", "dts", "dtb", "srat"])
def test_very_many_ranges_are_read(format: str) -> None:
    count = 100_000 if format == "iomem" else 20_000 if format in ("json", "srat") else 5_000
    step = 4 * MIB
    ram = [(i * step, i * step + 2 * MIB) for i in range(count)]
    memory_map = MemoryMap.from_ranges(ram, ram[:count] if format == "srat" else None)
    found = read_map(write_map(memory_map, format))
    if format == "srat":
        assert len(found.srat or ()) == count
    else:
        assert found.ram == tuple(ram)


@pytest.mark.parametrize(
    ("whole", "last"),
    [
        (" 0000000000100000 - 00000000c0000000 (usable)", " 0000000100000000 - 0000000430000000 (usable)"),
        (" [0000000000100000, 00000000bfffffff] (usable)", " [0000000100000000, 000000042fffffff] (usable)"),
    ],
)
def test_a_last_row_of_xen_that_is_cut_anywhere_is_told(whole: str, last: str) -> None:
    head = f"(XEN) Xen-e820 RAM map:\n(XEN) {whole}\n(XEN) "
    for end in range(2, len(last)):
        found = read_map((head + last[:end]).encode())
        assert found.ram[0] == (MIB, 3 * GIB)
        assert found.notes or found.ram[1:] == ((4 * GIB, 0x430000000),), last[:end]
