"""/proc/iomem: only the outermost System RAM counts, however the text was quoted, pasted or cut."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError
from xenmm.firmware import iomem
from xenmm.firmware.memory_map import MemoryMap

PC = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
000f0000-000fffff : System ROM
00100000-7fedffff : System RAM
  01000000-015643e4 : Kernel code
  03000000-0b0fffff : System RAM
    03000000-0b0fffff : Crash kernel
7fee0000-7fefefff : ACPI Tables
7feff000-7fefffff : ACPI Non-volatile Storage
80000000-8fffffff : PCI MMCONFIG 0000 [bus 00-ff]
  80000000-8fffffff : Reserved
100000000-23fffffff : System RAM
  23c000000-23fffffff : RAM buffer
"""
PC_RAM = ((0x1000, 0x9FC00), (0x100000, 0x7FEE0000), (0x100000000, 0x240000000))


def read(text: str) -> MemoryMap:
    return iomem.read(list(enumerate(text.splitlines(), 1)), "iomem.txt")


def warnings(memory_map: MemoryMap) -> list[str]:
    return [str(note) for note in memory_map.notes if note.level != "note"]


def test_the_outermost_ram_counts_once() -> None:
    memory_map = read(PC)
    assert memory_map.ram == PC_RAM
    assert [r.kind for r in memory_map.ranges] == [
        *(
            "reserved",
            "ram",
            "reserved",
            "device",
            "firmware",
            "ram",
            "acpi-data",
            "acpi-nvs",
            "device",
            "ram",
        )
    ]
    assert memory_map.arch == "x86"
    assert not memory_map.notes
    assert memory_map.ranges[1].source is not None
    assert memory_map.ranges[1].source.line == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: "  " + row,
        lambda row: "\t" + row,
        lambda row: "\u00a0" + row.replace("  ", "\u00a0\u00a0"),
        lambda row: row.lstrip(),
        lambda row: row.replace("  ", "   "),
        lambda row: row.replace(" : ", ": "),
        lambda row: row + "   <--- here",
        lambda row: "/proc/iomem:" + row,
        lambda row: "17:" + row,
        str.upper,
        lambda row: row + "   ",
    ],
)
def test_what_mail_and_copying_do_to_the_rows_does_not_matter(spoil) -> None:  # type: ignore[no-untyped-def]
    assert read("\n".join(spoil(row) for row in PC.splitlines())).ram == PC_RAM


def test_a_paste_that_lost_the_first_indentation_is_read_whole() -> None:
    assert read("\n".join("    " + row for row in PC.splitlines()).strip()).ram == PC_RAM


def test_only_ram_rows_of_a_grep_are_read() -> None:
    rows = [row for row in PC.splitlines() if "System RAM" in row]
    assert read("\n".join(rows)).ram == PC_RAM


def test_memory_added_by_the_kernel_is_not_the_firmwares() -> None:
    memory_map = read(
        PC + "1050000000-304fffffff : CXL Window 0\n"
        "  1050000000-304fffffff : Soft Reserved\n"
        "    1050000000-304fffffff : dax0.0\n"
        "      1050000000-304fffffff : System RAM (kmem)\n"
        "3060000000-3fffffffff : Persistent Memory\n"
        "  3060000000-30ffffffff : namespace0.0\n"
        "    3060000000-30ffffffff : System RAM\n"
    )
    assert memory_map.ram == PC_RAM
    kinds = {(r.kind, r.start) for r in memory_map.ranges}
    assert {("soft-reserved", 0x1050000000), ("persistent", 0x3060000000)} <= kinds
    assert sum(r.kind == "soft-reserved" for r in memory_map.ranges) == 1
    assert any("namespace0.0" in text for text in warnings(memory_map))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("System RAM", "ram"),
        ("System RAM (kernel)", "ram"),
        ("System RAM (kmem)", "soft-reserved"),
        ("System RAM (driver managed)", "soft-reserved"),
        ("System RAM (virtio_mem)", "soft-reserved"),
        ("System RAM (boot alias)", "unknown"),
        ("RAM buffer", "reserved"),
        ("ram@0", "device"),
        ("<address removed>", "device"),
    ],
)
def test_only_whole_names_mean_ram(name: str, kind: str) -> None:
    assert read(f"100000000-1ffffffff : {name}\n200000000-2ffffffff : PCI").ranges[0].kind == kind


def test_ram_indented_below_a_row_not_shown_is_dropped_with_its_bytes() -> None:
    memory_map = read(PC + "    400000000-4ffffffff : System RAM\n")
    assert memory_map.ram == PC_RAM
    assert [n.dropped_bytes for n in memory_map.notes if n.level == "dropped"] == [0x100000000]


def test_all_addresses_zero_is_refused_with_advice() -> None:
    zeros = "\n".join("00000000-00000000 : " + row.split(" : ")[1] for row in PC.splitlines())
    with pytest.raises(MemoryMapError, match="read it as root") as caught:
        read("\n\n" + zeros)
    assert (caught.value.file, caught.value.line) == ("iomem.txt", 3)


def test_rows_that_are_all_damaged_are_refused_by_the_first() -> None:
    with pytest.raises(MemoryMapError, match=r"no row .* can be read: the row ends before it starts"):
        read("200000000-1ffffffff : System RAM")


def test_a_hidden_table_before_a_whole_one_is_passed_over_with_a_note() -> None:
    memory_map = read("00000000-00000000 : System RAM\n\nas root:\n" + PC)
    assert memory_map.ram == PC_RAM
    assert any("without privilege" in note.text for note in memory_map.notes)


def test_single_zero_rows_do_not_hide_the_table() -> None:
    memory_map = read(PC.replace("000a0000-000bffff", "00000000-00000000"))
    assert memory_map.ram == PC_RAM
    assert not warnings(memory_map)


@pytest.mark.parametrize("between", ["", "\n", "$ cat /proc/iomem\n"])
def test_the_first_of_two_tables_is_read(between: str) -> None:
    other = "00000000-0000ffff : System RAM\n200000000-2ffffffff : System RAM\n"
    memory_map = read(PC + between + other)
    assert memory_map.ram == PC_RAM
    assert any("another /proc/iomem" in note.text for note in memory_map.notes)


def test_rows_out_of_order_are_kept_with_a_warning() -> None:
    rows = PC.splitlines()
    rows[1], rows[5] = rows[5], rows[1]
    memory_map = read("\n".join(rows))
    assert memory_map.ram == PC_RAM
    assert any("out of order" in text for text in warnings(memory_map))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("300000000-2ffffffff : System RAM", "ends before it starts"),
        ("10000000000000000-10000000000000fff : System RAM", "past 64 bits"),
        ("300000000-3ff", "cut short"),
        ("300000000-", "cut short"),
        ("....", "left out"),
        ("[...]", "left out"),
        ("<snip>", "left out"),
        ("[…]", "left out"),
    ],
)
def test_damage_is_reported_with_its_line(row: str, words: str) -> None:
    memory_map = read(PC + row + "\n")
    assert memory_map.ram == PC_RAM
    (text,) = warnings(memory_map)
    assert words in text
    assert "iomem.txt:16" in text


def test_a_range_may_end_at_two_to_the_64() -> None:
    assert read("fffffffffffff000-ffffffffffffffff : System RAM").top == 1 << 64


def test_a_name_wrapped_to_the_next_line_is_joined() -> None:
    assert (
        read("100000000-1ffffffff :\nSystem RAM\n200000000-2ffffffff : System\nRAM\n").ram_bytes
        == 0x200000000
    )


def test_no_ram_is_said() -> None:
    memory_map = read("000a0000-000bffff : PCI Bus 0000:00")
    assert memory_map.ram_bytes == 0
    assert any("no RAM is known" in text for text in warnings(memory_map))


@pytest.mark.parametrize(
    "text", ["", "hello\n", "0000-0cf7 : PCI Bus 0000:00\n", "0x0000-0x1fff : System RAM"]
)
def test_other_text_is_not_taken(text: str) -> None:
    assert not iomem.sniff(list(enumerate(text.splitlines(), 1)))
    with pytest.raises(MemoryMapError, match="no row"):
        read(text)


@given(
    st.lists(
        st.sampled_from(PC.splitlines()) | st.text(alphabet="0123456789abcdef-: SystemRA>.\t", max_size=50)
    )
)
def test_any_mixture_of_rows_is_a_map_or_an_error(rows: list[str]) -> None:
    try:
        memory_map = read("\n".join(rows))
    except MemoryMapError:
        return
    lines = len("\n".join(rows).splitlines())
    assert all(r.source is not None and 1 <= (r.source.line or 0) <= lines for r in memory_map.ranges)


def corpus() -> list[dict[str, object]]:
    folder = os.environ.get("XENMM_CORPUS")
    if not folder:
        return []
    truth = json.loads((Path(folder) / "maps" / "truth.json").read_text(encoding="utf-8"))
    return [entry for entry in truth["maps"] if entry["format"] == "/proc/iomem"]


def test_the_corpus_is_read_as_its_truth_says() -> None:
    entries = corpus()
    if not entries:
        pytest.skip("XENMM_CORPUS names no folder of logs")
    for entry in entries:
        path = Path(os.environ["XENMM_CORPUS"], "maps", str(entry["file"]))
        rows = path.read_text(encoding="utf-8").splitlines()
        lines = [(n, row.removeprefix("> ").removeprefix(">")) for n, row in enumerate(rows, 1)]
        assert [list(r) for r in iomem.read(lines, path.name).ram] == entry["ram"], entry["file"]


def test_only_a_pcs_names_are_an_x86_machines() -> None:
    rows = "09000000-09000fff : pl011@9000000\n40000000-7fffffff : System RAM\n  40080000-40ffffff : Kernel\n"
    assert iomem.read(list(enumerate(rows.splitlines(), 1)), "board").arch == ""
    assert iomem.read(list(enumerate(PC.splitlines(), 1)), "pc").arch == "x86"
