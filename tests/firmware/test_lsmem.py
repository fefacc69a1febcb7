"""lsmem: every output form tells the same on-line memory, and no rounded size is taken for a range."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError
from xenmm.firmware import lsmem
from xenmm.firmware.memory_map import MemoryMap

MIB = 1 << 20
ONLINE = ((0, 0xE0000000), (0xF0000000, 0x140000000))
OFFLINE = [(0xE0000000, 0xF0000000), (0x140000000, 0x180000000)]

TABLE = """\
RANGE                                 SIZE   STATE REMOVABLE BLOCK
0x0000000000000000-0x00000000dfffffff 3.5G  online       yes  0-13
0x00000000e0000000-0x00000000efffffff 256M offline              14
0x00000000f0000000-0x000000013fffffff 1.3G  online        no 15-19
0x0000000140000000-0x000000017fffffff   1G offline           20-23

Memory block size:                256M
Total online memory:              4.8G
Total offline memory:             1.3G
"""
RAW = """\
RANGE SIZE STATE REMOVABLE BLOCK
0x0000000000000000-0x00000000dfffffff 3758096384 online yes 0-13
0x00000000e0000000-0x00000000efffffff 268435456 offline  14
0x00000000f0000000-0x000000013fffffff 1342177280 online no 15-19
0x0000000140000000-0x000000017fffffff 1073741824 offline  20-23
"""
PAIRS = """\
RANGE="0x0000000000000000-0x00000000dfffffff" SIZE="3.5G" STATE="online" REMOVABLE="yes" BLOCK="0-13"
RANGE="0x00000000e0000000-0x00000000efffffff" SIZE="256M" STATE="offline" REMOVABLE="" BLOCK="14"
RANGE="0x00000000f0000000-0x000000013fffffff" SIZE="1.3G" STATE="online" REMOVABLE="no" BLOCK="15-19"
RANGE="0x0000000140000000-0x000000017fffffff" SIZE="1G" STATE="offline" REMOVABLE="" BLOCK="20-23"
"""
JSON = """\
{
   "memory": [
      {
         "range": "0x0000000000000000-0x00000000dfffffff",
         "size": "3.5G",
         "state": "online",
         "removable": true,
         "block": "0-13"
      },{
         "range": "0x00000000e0000000-0x00000000efffffff",
         "size": "256M",
         "state": "offline",
         "removable": null,
         "block": "14"
      },{
         "range": "0x00000000f0000000-0x000000013fffffff",
         "size": "1.3G",
         "state": "online",
         "removable": false,
         "block": "15-19"
      },{
         "range": "0x0000000140000000-0x000000017fffffff",
         "size": "1G",
         "state": "offline",
         "removable": null,
         "block": "20-23"
      }
   ]
}
"""
S390 = """\
Address range                          Size (MB)  State    Removable  Device
===============================================================================
0x0000000000000000-0x00000000dfffffff       3584  online   yes        0-13
0x00000000e0000000-0x00000000efffffff        256  offline  -          14
0x00000000f0000000-0x000000013fffffff       1280  online   no         15-19
0x0000000140000000-0x000000017fffffff       1024  offline  -          20-23

Memory device size  : 256 MB
Memory block size   : 256 MB
Total online memory : 4864 MB
Total offline memory: 1280 MB
"""
FORMS = {"table": TABLE, "raw": RAW, "pairs": PAIRS, "json": JSON, "s390": S390}


def numbered(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.splitlines(), 1))


def read(text: str) -> MemoryMap:
    return lsmem.read(numbered(text), "lsmem.txt")


def warnings(memory_map: MemoryMap) -> list[str]:
    return [str(note) for note in memory_map.notes if note.level != "note"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", ["", "$ lsmem\n", "\n---\n\n"])
def test_every_form_tells_the_same(form: str, before: str) -> None:
    text = before + FORMS[form]
    assert lsmem.sniff(numbered(text))
    memory_map = read(text)
    assert memory_map.ram == ONLINE
    assert [(r.start, r.end) for r in memory_map.ranges if r.kind == "disabled"] == OFFLINE
    assert not memory_map.notes
    for row in memory_map.ranges:
        assert row.source is not None
        assert row.source.line is not None


@pytest.mark.parametrize("form", ["table", "raw", "pairs"])
def test_rows_without_a_heading_are_read(form: str) -> None:
    rows = "\n".join(row for row in FORMS[form].splitlines() if "0x" in row)
    assert lsmem.sniff(numbered(rows))
    assert read(rows).ram == ONLINE


def test_json_on_one_line_is_read() -> None:
    assert read(json.dumps(json.loads(JSON))).ram == ONLINE


def test_columns_in_another_order_are_read() -> None:
    rows = [row.split(maxsplit=1) for row in RAW.splitlines()]
    assert read("\n".join(f"{rest} {first}" for first, rest in rows)).ram == ONLINE


@pytest.mark.parametrize("second", FORMS)
def test_of_several_listings_the_first_is_read(second: str) -> None:
    other = FORMS[second].replace("0x00000000f0000000", "0x00000000f8000000")
    for form in FORMS.values():
        memory_map = read(form + "\n---\n\n$ lsmem again\n" + other)
        assert memory_map.ram == ONLINE
        assert any("2 listings" in note.text for note in memory_map.notes)


def test_the_printed_total_is_compared() -> None:
    (text,) = warnings(read(TABLE.replace("4.8G", "4.9G")))
    assert "4.9G" in text
    assert read(TABLE.replace("4.8G", "5100273664")).stated.ram_bytes == 5100273664
    assert warnings(read(TABLE.replace("4.8G", "5100273665")))


def test_a_total_that_is_not_the_rows_is_told() -> None:
    assert warnings(read(TABLE.replace("4.8G", "4.9G"))) == [
        f"warning: lsmem.txt:1: lsmem states 4.9G on line; the rows hold {0x130000000} bytes"
    ]
    assert read(TABLE).stated.details == {"online": "4.8G"}


def test_without_states_all_is_on_line_only_where_lsmem_says_so() -> None:
    rows = "RANGE SIZE\n0x0000000000000000-0x000000017fffffff 6G\n"
    total = "Total online memory: 6G\nTotal offline memory: "
    assert read(rows + total + "0B").ram == ((0, 0x180000000),)
    assert not warnings(read(rows + total + "0B"))
    assert warnings(read(rows)) == [
        "warning: lsmem.txt:1: no STATE column: every row is taken for on-line memory"
    ]
    with pytest.raises(MemoryMapError, match=r"1\.3G of this memory is off line"):
        read(rows + total + "1.3G")


@pytest.mark.parametrize(
    ("form", "cut", "lost"),
    [
        ("raw", " online no 15-19\n", "no state"),
        ("raw", "13fffffff 1342177280 online no 15-19\n", "cut short"),
        ("raw", "0x000000013fffffff 1342177280 online no 15-19\n", "cut short"),
        ("raw", "-0x000000013fffffff 1342177280 online no 15-19\n", "cut short"),
        ("pairs", ' STATE="online" REMOVABLE="no" BLOCK="15-19"\n', "no state"),
        ("json", '"online",\n         "removable": false,\n', "no state"),
    ],
)
def test_a_listing_cut_off_keeps_what_is_whole(form: str, cut: str, lost: str) -> None:
    text = FORMS[form]
    memory_map = read(text[: text.index(cut)])
    assert memory_map.ram == ((0, 0xE0000000),)
    (note,) = warnings(memory_map)
    assert lost in note


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0x0000000200000000-0x00000001ffffffff 0 online yes 1", "ends before it starts"),
        ("0x0000000200000000-0x1ffffffffffffffff 0 online yes 1", "past 64 bits"),
        ("0x0000000200000000-0x00000002ffffffff 4G ? yes 1", "no state"),
    ],
)
def test_a_bad_row_is_dropped_with_its_line(row: str, words: str) -> None:
    memory_map = read(RAW + row)
    assert memory_map.ram == ONLINE
    (note,) = warnings(memory_map)
    assert words in note
    assert "lsmem.txt:6" in note


def test_memory_going_off_line_is_no_ram() -> None:
    assert read(TABLE.replace(" online        no", "on->off        no")).ram == (ONLINE[0],)


@pytest.mark.parametrize(
    "text", ["", "RANGE SIZE STATE\n", "SIZE NODE\n3G 0\n", '{"memory": []}', "[mem 0x0-0xf]"]
)
def test_no_range_is_refused(text: str) -> None:
    with pytest.raises(MemoryMapError, match=r"RANGE column|no row of lsmem"):
        read(text)


scraps = st.text(alphabet='0123456789abcdefx-"{}[]:,\n onlifS', max_size=8)


@given(st.data())
def test_any_damage_is_a_map_or_an_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(list(FORMS.values())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 60)))
        text = (
            text[:at]
            + data.draw(st.text(alphabet='0123456789abcdefx-"{}[]:,\n onlifS', max_size=8))
            + text[until:]
        )
    try:
        memory_map = read(text)
    except MemoryMapError:
        return
    assert all(r.kind in ("ram", "disabled") for r in memory_map.ranges)


@pytest.fixture(scope="module")
def sysroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up machine for lsmem itself: 24 blocks of 256 MiB on two nodes, some off line."""
    root = tmp_path_factory.mktemp("sysroot")
    memory = root / "sys/devices/system/memory"
    for block in range(24):
        folder = memory / f"memory{block}"
        folder.mkdir(parents=True)
        offline = block == 14 or block >= 20
        (folder / "state").write_text("offline\n" if offline else "online\n")
        (folder / "removable").write_text("0\n" if block % 5 else "1\n")
        (folder / "phys_index").write_text(f"{block:08x}\n")
        (folder / "valid_zones").write_text("none\n" if offline else "Normal\n")
        (folder / f"node{block // 12}").mkdir()
    (memory / "block_size_bytes").write_text("10000000\n")
    return root


@pytest.mark.parametrize(
    "options",
    [
        *(
            "",
            "-a",
            "-b",
            "-n",
            "-r",
            "-P",
            "-J",
            "-a -J",
            "-b -r",
            "-n -r",
            "-a -P",
            "-b -J",
            "--output-all",
        ),
        *("-o STATE,RANGE", "-o NODE,ZONES,RANGE,STATE -r", "-S STATE -o RANGE,STATE", "--summary=never"),
    ],
)
def test_what_lsmem_prints_is_read(sysroot: Path, options: str) -> None:
    if shutil.which("lsmem") is None:
        pytest.skip("lsmem (util-linux) is not installed")
    command = ["lsmem", "--sysroot", str(sysroot), *options.split()]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    if printed.returncode:
        pytest.skip(f"this lsmem refuses {options}: {printed.stderr.strip()}")
    assert lsmem.sniff(numbered(printed.stdout))
    memory_map = read(printed.stdout)
    assert memory_map.ram == ONLINE
    assert not memory_map.notes


def test_the_corpus_is_read_as_its_truth_says() -> None:
    folder = os.environ.get("XENMM_CORPUS")
    if not folder:
        pytest.skip("XENMM_CORPUS names no folder of logs")
    truth = json.loads(Path(folder, "maps", "truth.json").read_text(encoding="utf-8"))
    entries = [entry for entry in truth["maps"] if entry["format"] == "lsmem"]
    assert entries
    for entry in entries:
        memory_map = read(Path(folder, "maps", entry["file"]).read_text(encoding="utf-8"))
        assert [list(r) for r in memory_map.ram] == entry["ram"], entry["file"]
