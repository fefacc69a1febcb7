"""Every format that is written is read back alike, as far as it says it carries the map."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm import maps
from xenmm.errors import ConfigError, MemoryMapError
from xenmm.firmware import read_map
from xenmm.firmware.memory_map import KINDS, MemoryMap, MemoryRange, SratRange
from xenmm.firmware.writers import FORMATS, left_out, write_map

U64_END = 1 << 64
GIB, MIB = 1 << 30, 1 << 20
#: The granularity of each format's addresses, in bytes.
UNITS = {"efi": 4096, "lsmem": MIB}
Facts = list[tuple[int, int, str]]


def layouts(unit: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Disjoint ranges in rising order, dense or far apart, up to 2^64."""
    edges = st.lists(st.integers(0, U64_END // unit), min_size=2, max_size=24, unique=True).map(sorted)
    near = st.lists(st.integers(0, 64), min_size=2, max_size=24, unique=True).map(sorted)
    return (edges | near).map(
        lambda e: [(a * unit, b * unit) for a, b in zip(e[::2], e[1::2], strict=False) if b * unit != 1]
    )


def maps_of(unit: int) -> st.SearchStrategy[MemoryMap]:
    @st.composite
    def draw_map(draw: st.DrawFn) -> MemoryMap:
        rows = [MemoryRange(*e, draw(st.sampled_from(KINDS))) for e in draw(layouts(unit).filter(bool))]
        at = draw(st.integers(0, len(rows) - 1))
        rows[at] = MemoryRange(rows[at].start, rows[at].end, "ram")
        nodes = [
            SratRange(*e, node=draw(st.integers(0, 300)), flags=draw(st.integers(0, 7)))
            for e in draw(layouts(unit))
            if e != (0, U64_END)
        ]
        return MemoryMap(tuple(rows), tuple(nodes) or None, name=draw(st.text(max_size=8)))

    return draw_map()


def ranges(memory_map: MemoryMap, format: str) -> Facts:
    kinds = FORMATS[format].kinds
    return sorted((r.start, r.end, r.kind) for r in memory_map.ranges if r.kind in kinds)


def rows(memory_map: MemoryMap, format: str) -> list[tuple[int, int, int, int]]:
    """SRAT rows that the format shows; the binary table tells proximity domains in place of nodes."""
    shows = FORMATS[format].shows
    shown = [r for r in memory_map.srat or () if shows and shows(r)]
    by_pxm = format == "srat"
    return [(r.start, r.end, r.node if r.pxm is None or not by_pxm else r.pxm, r.flags) for r in shown]


@pytest.mark.parametrize("format", ["e820", "xen", "efi", "iomem", "lsmem", "json"])
@given(data=st.data())
def test_what_is_written_is_read_back(format: str, data: st.DataObject) -> None:
    memory_map = data.draw(maps_of(UNITS.get(format, 1)))
    back = read_map(write_map(memory_map, format))
    assert ranges(back, format) == ranges(memory_map, format)
    assert rows(back, format) == rows(memory_map, format)


@given(maps_of(1))
def test_an_srat_is_read_back(memory_map: MemoryMap) -> None:
    if memory_map.srat is None:
        with pytest.raises(MemoryMapError, match="no SRAT rows"):
            write_map(memory_map, "srat")
        return
    assert rows(read_map(write_map(memory_map, "srat")), "srat") == rows(memory_map, "srat")


@pytest.mark.parametrize("format", ["dts", "dtb"])
@given(data=st.data())
def test_a_device_tree_is_read_back_with_the_node_of_each_range(format: str, data: st.DataObject) -> None:
    memory_map = data.draw(maps_of(1))
    if any(r.size == U64_END for r in memory_map.ranges if r.kind in FORMATS[format].kinds):
        return
    back = read_map(write_map(memory_map, format))
    assert back.ram == memory_map.ram
    assert [r for r in ranges(back, format) if r[2] == "reserved"] == [
        r for r in ranges(memory_map, format) if r[2] == "reserved"
    ]
    # Each byte of memory is in the node that the first SRAT row over it names.
    for row in back.srat or ():
        over = next(r for r in memory_map.srat or () if r.flags & 5 == 1 and r.start <= row.start < r.end)
        assert row.end <= over.end
        assert (row.node, row.flags & 2) == (over.node, over.flags & 2)


@pytest.mark.parametrize("name", maps.bundled())
def test_every_bundled_map_survives_every_format_that_can_show_it(name: str) -> None:
    memory_map = read_map(maps.path(name))
    shown = []
    for format in FORMATS:
        try:
            written = write_map(memory_map, format)
        except MemoryMapError as error:
            assert format in ("efi", "lsmem", "srat"), error
            continue
        shown.append(format)
        back = read_map(written)
        if format != "srat":
            assert back.ram == memory_map.ram, format
        if format not in ("dts", "dtb"):
            assert rows(back, format) == rows(memory_map, format), format
            assert ranges(back, format) == ranges(memory_map, format), format
    assert {"e820", "xen", "iomem", "dts", "dtb", "json"} <= set(shown)


def test_what_a_format_leaves_out_is_said() -> None:
    memory_map = MemoryMap(
        (
            MemoryRange(0, GIB),
            MemoryRange(GIB, 2 * GIB, "soft-reserved"),
            MemoryRange(2 * GIB, 3 * GIB, "device"),
            MemoryRange(3 * GIB, 4 * GIB, "device"),
            MemoryRange(4 * GIB, 5 * GIB, "unknown", "type 20"),
            MemoryRange(5 * GIB, 6 * GIB, "unknown"),
        ),
        (SratRange(0, GIB), SratRange(GIB, 2 * GIB, 1, 0), SratRange(2 * GIB, 3 * GIB, 1, 5)),
    )
    devices, soft = "2 ranges of kind device", "1 range of kind soft-reserved"
    assert left_out(memory_map, "e820") == (devices, "1 range of kind unknown", "1 SRAT row")
    assert left_out(memory_map, "xen") == (soft, devices, "1 range of kind unknown", "2 SRAT rows")
    assert left_out(memory_map, "efi") == ("2 ranges of kind unknown", "1 SRAT row")
    assert left_out(memory_map, "iomem") == ("3 SRAT rows",)
    assert left_out(memory_map, "dts")[-1] == "SRAT windows beyond the RAM in them"
    assert left_out(memory_map, "json") == ()
    empty = MemoryMap((MemoryRange(0, GIB),), ())
    assert left_out(empty, "e820") == ("the empty SRAT",)
    assert left_out(MemoryMap((MemoryRange(0, GIB),)), "dts") == ()
    apart = MemoryMap((), (SratRange(0, GIB, node=1, pxm=2),))
    assert left_out(apart, "srat") == ("node numbers apart from proximity domains",)


@pytest.mark.parametrize(
    ("format", "ram", "words"),
    [
        ("efi", [(0, 4097)], "pages of 4 KiB"),
        ("lsmem", [(0, MIB + 4096)], "memory blocks"),
        ("iomem", [(0, 1)], "hidden"),
        ("iomem", [(0, 8192), (4096, 12288)], "overlaps the range at 0x0 in part"),
        ("dtb", [(0, U64_END)], "2^64 has no room"),
        ("dts", [(0, 4096), (0, 8192)], "one node called memory@0"),
        ("srat", [(0, 4096)], "no SRAT rows"),
    ],
)
def test_what_a_format_cannot_show_is_refused(format: str, ram: list[tuple[int, int]], words: str) -> None:
    with pytest.raises(MemoryMapError) as caught:
        write_map(MemoryMap.from_ranges(ram), format)
    assert words in str(caught.value)


def test_ram_inside_another_range_is_refused_by_iomem() -> None:
    memory_map = MemoryMap((MemoryRange(0, 2 * GIB, "reserved"), MemoryRange(GIB, 2 * GIB)))
    with pytest.raises(MemoryMapError, match="would not be the firmware's RAM"):
        write_map(memory_map, "iomem")


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    for call in (write_map, left_out):
        with pytest.raises(ConfigError, match=r"'e821'.*e820, xen"):
            call(MemoryMap.from_ranges([(0, 1)]), "e821")


def test_dtc_takes_our_source_and_makes_our_blob(tmp_path: Path) -> None:
    if shutil.which("dtc") is None:
        pytest.skip("dtc (Debian device-tree-compiler) is not installed")
    memory_map = read_map(maps.path("hyperv-hotplug-16t"))
    source = write_map(memory_map, "dts")
    assert isinstance(source, str)
    (tmp_path / "in.dts").write_text(source)
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "in.dts"]
    blob = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    ours = read_map(write_map(memory_map, "dtb"))
    theirs = read_map(blob)
    assert ours.sha256 == theirs.sha256
    assert ours.name == theirs.name == memory_map.name
