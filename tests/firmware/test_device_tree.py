"""Device trees: sources and blobs say the same, dtc and libfdt agree, and no blob can hurt."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError
from xenmm.firmware import device_tree, fdt
from xenmm.firmware.memory_map import MemoryMap

BOARD = """\
/dts-v1/;
/memreserve/ 0x80000000 0x10000;

/ {
	model = "A \\"board\\"";
	#address-cells = <2>; // two
	#size-cells = <0x2>;
	interrupt-parent = <&gic>;

	chosen {
		stdout-path = "serial0:115200n8";
		xen,xen-bootargs = "console=dtuart dom0_mem=1G";
	};
	mem0: memory@80000000 {
		device_type = "memory";
		/* two banks */
		reg = <0x0 0x80000000 0x0 (1 << 30)>,
			<0x8 0x80000000 0x1 0>;
	};
	memory@9000000000 {
		device_type = "memory";
		reg = /bits/ 64 <0x9000000000 (2 * 1024 * 1024 * 1024)>;
		numa-node-id = <1>;
	};
	memory@a000000000 {
		device_type = "memory";
		reg = <0xa0 0 0 0x40000000>;
		status = "disabled";
	};
	memory@b000000000 {
		device_type = "memory";
		reg = <0xb0 0 0 0x40000000>;
		linux,usable-memory = <0xb0 0 0 0x20000000>;
	};
	gic: intc@0 {
		interrupt-controller;
		bytes = [00 11 2233];
	};
	memory-controller@1000 {
		reg = <0 0x1000 0 0x1000>;
	};
	reserved-memory {
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
		linux,cma {
			compatible = "shared-dma-pool";
			size = <0 0x1000000>;
		};
		fw@90000000 {
			compatible = "shared-dma-pool";
			reg = <0 0x90000000 0 0x200000>;
			no-map;
		};
	};
};

&mem0 {
	numa-node-id = <('A' - 65 ? 7 : 0)>;
};
"""
BOARD_RAM = (
    (0x80000000, 0xC0000000),
    (0x880000000, 0x980000000),
    (0x9000000000, 0x9080000000),
    (0xB000000000, 0xB020000000),
)


def read(text: str) -> MemoryMap:
    return device_tree.read(list(enumerate(text.split("\n"), 1)), "board.dts")


def of_kind(memory_map: MemoryMap, kind: str) -> list[tuple[int, int]]:
    return [(r.start, r.end) for r in memory_map.ranges if r.kind == kind]


def compiled(text: str, folder: Path) -> bytes:
    if shutil.which("dtc") is None:
        pytest.skip("dtc (Debian device-tree-compiler) is not installed")
    (folder / "in.dts").write_text(text)
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-o", "out.dtb", "in.dts"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "out.dtb").read_bytes()


def facts(memory_map: MemoryMap) -> tuple[object, ...]:
    rows = sorted((r.start, r.end, r.kind, r.label) for r in memory_map.ranges)
    srat = None if memory_map.srat is None else [(r.start, r.end, r.node, r.flags) for r in memory_map.srat]
    return rows, srat, memory_map.name, memory_map.stated.command_line


def small(body: str, head: str = "#address-cells = <1>; #size-cells = <1>;") -> str:
    return "/dts-v1/; / { " + head + " " + body + " };"


CELLS = "#address-cells = <{}>; #size-cells = <{}>;"


def one(reg: str, more: str = "") -> str:
    return small(f'memory@0 {{ device_type = "memory"; reg = {reg}; {more} }};')


def test_memory_that_is_disabled_is_disabled_in_its_nodes_row_too() -> None:
    for status, kind, flags in (("okay", "ram", 1), ("disabled", "disabled", 0)):
        found = read(one("<0 0x10000000>", f'numa-node-id = <3>; status = "{status}";'))
        assert [(r.kind, r.start, r.end) for r in found.ranges] == [(kind, 0, 0x10000000)]
        assert [(r.node, r.flags) for r in found.srat or ()] == [(3, flags)]


def test_an_error_quotes_the_rest_of_its_line_alone() -> None:
    with pytest.raises(MemoryMapError) as error:
        read('/dts-v1/;\n/ {\n  ! what is this ;\n  model = "x";\n};\n')
    assert (error.value.line, error.value.text) == (3, "! what is this ;")


def test_a_source_tells_memory_reservations_and_nodes() -> None:
    memory_map = read(BOARD)
    assert memory_map.ram == BOARD_RAM
    assert of_kind(memory_map, "reserved") == [(0x90000000, 0x90200000), (0x80000000, 0x80010000)]
    assert [(r.start, r.end) for r in memory_map.ranges if r.kind == "disabled"] == [
        (0xA000000000, 0xA040000000)
    ]
    assert [(r.start, r.node) for r in memory_map.srat or ()] == [
        (0x80000000, 0),
        (0x880000000, 0),
        (0x9000000000, 1),
    ]
    assert memory_map.name == 'A "board"'
    assert memory_map.stated.command_line == "console=dtuart dom0_mem=1G"
    assert memory_map.ranges[0].source is not None
    assert memory_map.ranges[0].source.line == 14
    (note,) = memory_map.notes
    why = "nodes are the device tree's numa-node-id; they stand for the SRAT, which only ACPI has"
    assert (note.level, note.text) == ("note", why)


def test_dtc_reads_the_source_alike(tmp_path: Path) -> None:
    blob = device_tree.read_bytes(compiled(BOARD, tmp_path), "board.dtb")
    assert facts(blob) == facts(read(BOARD))


def test_what_dtc_decompiles_is_read_alike(tmp_path: Path) -> None:
    data = compiled(BOARD, tmp_path)
    command = ["dtc", "-q", "-I", "dtb", "-O", "dts", "out.dtb"]
    source = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert facts(read(source)) == facts(device_tree.read_bytes(data, "board.dtb"))


@pytest.mark.parametrize("version", [16, 17])
def test_versions_16_and_17_are_read(tmp_path: Path, version: int) -> None:
    compiled(BOARD, tmp_path)
    command = ["dtc", "-q", "-V", str(version), "-I", "dts", "-O", "dtb", "in.dts"]
    data = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    assert device_tree.read_bytes(data, "board.dtb").ram == BOARD_RAM


def test_libfdt_finds_our_blob_valid_and_alike() -> None:
    libfdt = pytest.importorskip("libfdt", reason="pylibfdt is not installed")
    root = fdt.Node("")
    root.properties = {"#address-cells": fdt.cells([2], 1), "#size-cells": fdt.cells([2], 1)}
    memory = fdt.Node("memory@80000000")
    memory.properties = {"device_type": b"memory\0", "reg": fdt.cells([0x80000000, 1 << 40], 2)}
    root.add_child(memory)
    data = fdt.to_bytes(fdt.Tree(root, ((0x1000, 0x2000),)))
    tree = libfdt.Fdt(data)
    assert tree.getprop(tree.path_offset("/memory@80000000"), "reg") == memory.properties["reg"]
    assert list(tree.get_mem_rsv(0)) == [0x1000, 0x2000]
    memory_map = device_tree.read_bytes(data, "x.dtb")
    assert memory_map.ram == ((0x80000000, 0x80000000 + (1 << 40)),)


@pytest.mark.parametrize(
    ("text", "ram"),
    [
        (one("<0x80000000 0x1000>"), (0x80000000, 0x80001000)),
        (one("<2147483648 4096>"), (0x80000000, 0x80001000)),
        (one("<020000000000 010000>"), (0x80000000, 0x80001000)),
        (one("<(0x40000000 * 2) (1 ? 0x1000 : 0)>"), (0x80000000, 0x80001000)),
        (one("<0x80000000>, <0x1000>"), (0x80000000, 0x80001000)),
        (one("[80 00 00 00 00001000]"), (0x80000000, 0x80001000)),
        (one("<0x80000000UL 0x1000ULL>"), (0x80000000, 0x80001000)),
        ("#define SIZE (4 * KB)\n#define KB 1024\n" + one("<0x80000000 SIZE>"), (0x80000000, 0x80001000)),
        (one("<l1: 0x80000000 l2: 0x1000 l3:>"), (0x80000000, 0x80001000)),
        (one("<(-0x80000000) (0xfff + 1)>"), (0x80000000, 0x80001000)),
        (small("memory { reg = <0x80000000 0x1000>; };"), (0x80000000, 0x80001000)),
        (small('ram { device_type = "memory"; reg = <0 1>; };'), (0, 1)),
        (
            small('memory@0 { device_type="memory"; reg=<0 0 1>; };', CELLS.format(1, 2)),
            (0, 1),
        ),
        (small("memory { reg = <1 0 1>; };", ""), (1 << 32, (1 << 32) + 1)),
        (small("memory { reg = <0 0 1 0 5>; };", CELLS.format(3, 2)), (1, 6)),
        (one("<0 1>") + "/ { memory@0 { reg = <0 2>; }; };", (0, 2)),
        (one("<0 1>") + "&{/memory@0} { reg = <0 2>; };", (0, 2)),
        (one("<0 1>", "/delete-property/ reg; reg = <0 2>;"), (0, 2)),
        (small("memory@0 { reg = <0 1>; }; memory@8 { reg = <8 1>; }; /delete-node/ memory@0;"), (8, 9)),
        (small("m: memory@0 { reg = <0 1>; }; memory@8 { reg = <8 1>; };") + " /delete-node/ &m;", (8, 9)),
        # No label begins with a digit, and none is called n: nothing is deleted.
        (small("m: memory@0 { reg = <0 1>; };") + " /delete-node/ &0m; /delete-node/ &n;", (0, 1)),
        ("#if 0\n" + one("<0 1>") + "\n#else\n" + one("<0 2>") + "\n#endif", (0, 2)),
        ("#define BIG\n#ifdef BIG\n" + one("<0 2>") + "\n#else\n" + one("<0 1>") + "\n#endif", (0, 2)),
        ("#ifndef BIG\n" + one("<0 2>") + "\n#elif 1\n" + one("<0 1>") + "\n#endif", (0, 2)),
        ("#include <dt-bindings/x.h>\n" + one("<0 1>", "x = <GIC_SPI MASK(4, (5)) 3>;"), (0, 1)),
    ],
)
def test_a_source_says_one_range(text: str, ram: tuple[int, int]) -> None:
    assert read(text).ram == (ram,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one("<0 SIZE>"), "memory@0: reg needs the macro SIZE"),
        (one("<&gic 1>"), "needs the value of &gic"),
        (one("<0 (1 / 0)>"), "division by zero"),
        (one("<0 1 2>"), "12 bytes, no multiple of 8"),
        (one("<0 0x100000000>"), "0x100000000 does not fit 32 bits"),
        (one("/bits/ 64 <0x10000000000000000>"), "does not fit 64 bits"),
        (one("<0 1"), "need a cell or '>'"),
        (one("<0 (1>"), "parenthesis is not closed"),
        (one("0 1"), "need a value"),
        (one("<0 1> <2>"), "need ',' or ';'"),
        (small("memory@0 { reg = <0 1>;"), "is not closed"),
        (small("memory@0 ! { };"), "need '{', '=' or ';' after 'memory@0'"),
        (
            small("memory { reg = <0 1>; };", CELLS.format(0, 1)),
            "#address-cells is 0",
        ),
        (
            small("memory { reg = <0 1>; };", CELLS.format(5, 1)),
            "#address-cells is 5",
        ),
        ('#include "soc.dtsi"\n' + small("memory { reg = <0 0 0 1>; };", ""), '#include "soc.dtsi"'),
        ('/dts-v1/;\n/include/ "soc.dtsi"\n/ { };', 'memory nodes come from /include/ "soc.dtsi"'),
        ("memory@0 { reg = <0 0 0 1>; };", "not in this excerpt"),
        ("/ { " + "a { " * 100, "nested deeper than 64"),
        ("/ { memory@0 { reg = <0 " + "(" * 5000 + "1>; }; };", "not closed"),
        (one("<0 " + "(" * 100 + "1" + ")" * 100 + ">"), "nested too deeply"),
        ("}", "need a node"),
    ],
)
def test_a_bad_source_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(MemoryMapError) as caught:
        read("\n\n" + text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    if "memory nodes" not in words:
        assert (caught.value.line or 0) >= 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one("<0 0>"), "is empty"),
        (one("<0 0>"), "no memory node has a size"),
        (
            small("memory { reg = <0xffffffff 0xffffffff 1>; };", CELLS.format(2, 1)),
            "",
        ),
        (
            small("memory { reg = <0xffffffff 0xffffffff 2>; };", CELLS.format(2, 1)),
            "past 2^64",
        ),
        (small("memory { reg = <1 0 1>; };", ""), "no #address-cells"),
        ('#include "board.dtsi"\n' + one("<0 1>"), "board.dtsi"),
        (one("<0 1>") + "&memory0 { reg = <0 2>; };", "&memory0 is not in this text"),
        ("/ { #address-cells = <1>; #size-cells = <1>; memory { reg = <0 1>; }; };", "no /dts-v1/"),
        (
            small('memory { reg = <0 1>; }; soc { sram { device_type = "memory"; reg = <8 1>; }; };'),
            "below soc",
        ),
        ("#if FOO(1)\n#endif\n" + one("<0 1>"), "is not understood"),
    ],
)
def test_a_doubt_is_told(text: str, words: str) -> None:
    notes = [str(note) for note in read(text).notes]
    assert any(words in note for note in notes) if words else not notes


def test_logical_memory_blocks_of_a_partition_are_read(tmp_path: Path) -> None:
    node = """ibm,dynamic-reconfiguration-memory {{
        ibm,lmb-size = <0 0x10000000>; ibm,dynamic-memory{0} = {1}; }};"""
    head = "#address-cells = <2>; #size-cells = <2>; memory@0 { reg = <0 0 0 0x10000000>; };"
    first = small(node.format("", "<3  0 0x10000000 1 0 0 8  0 0x20000000 2 0 0 8  1 0 3 0 0 0x80>"), head)
    second = small(node.format("-v2", "<2  2 0 0x10000000 1 0 8  1 1 0 3 0 0>"), head)
    for text in (first, second):
        memory_map = read(text)
        assert memory_map.ram == ((0, 0x30000000),)
        assert [(r.start, r.end) for r in memory_map.ranges if r.kind == "disabled"] == [
            (1 << 32, 0x110000000)
        ]
        assert facts(device_tree.read_bytes(compiled(text, tmp_path), "board.dts"))[0] == facts(memory_map)[0]
    with pytest.raises(MemoryMapError, match="4 entries"):
        read(first.replace("<3  0", "<4  0"))


def blob() -> bytes:
    root = fdt.Node("")
    root.properties = {"#address-cells": fdt.cells([2], 1), "#size-cells": fdt.cells([2], 1)}
    for start in (0, 1 << 32):
        memory = fdt.Node(f"memory@{start:x}")
        memory.properties = {"device_type": b"memory\0", "reg": fdt.cells([start, 1 << 31], 2)}
        root.add_child(memory)
    root.add_child(fdt.Node("soc"))
    return fdt.to_bytes(fdt.Tree(root))


def test_twins_of_one_name_are_both_read() -> None:
    data = blob().replace(b"memory@100000000\0\0\0\0", b"memory@0\0\0\0\0" + struct.pack(">II", 4, 4))
    assert device_tree.read_bytes(data, "x.dtb").ram == ((0, 1 << 31), (1 << 32, (1 << 32) + (1 << 31)))


def test_very_many_twins_are_read() -> None:
    root = fdt.Node("")
    for number in range(20_000):
        twin = fdt.Node("memory", properties={"reg": fdt.cells([2 * number, 1], 2)})
        root.add_child(twin)
    root.properties = {"#address-cells": fdt.cells([2], 1), "#size-cells": fdt.cells([2], 1)}
    assert device_tree.read_bytes(fdt.to_bytes(fdt.Tree(root)), "x.dtb").ram_bytes == 20_000


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_blob_cut_short_is_refused(cut: int) -> None:
    data = blob()
    if cut < len(data):
        with pytest.raises(MemoryMapError):
            device_tree.read_bytes(data[:cut], "x.dtb")


@pytest.mark.parametrize(
    ("word", "value", "words"),
    [
        (1, 1 << 31, "cut short"),
        (1, 0, "lies outside"),
        (2, 57, "no multiple of 4"),
        (2, 0, "lies outside"),
        (2, 1 << 31, "lies outside"),
        (3, 1 << 31, "lies outside"),
        (4, 1 << 31, "lies outside"),
        (5, 3, "version 3"),
        (6, 18, "compatible with 18"),
        (8, 1 << 31, "lies outside"),
        (8, 0, "has no end"),
        (9, 1 << 31, "lies outside"),
        (9, 8, "in the middle of a node"),
    ],
)
def test_a_lying_header_is_refused(word: int, value: int, words: str) -> None:
    data = bytearray(blob())
    struct.pack_into(">I", data, 4 * word, value)
    with pytest.raises(MemoryMapError) as caught:
        device_tree.read_bytes(bytes(data), "x.dtb")
    assert words in str(caught.value)
    assert caught.value.file == "x.dtb"


def test_a_token_that_cannot_stand_there_is_named_with_its_offset() -> None:
    data = bytearray(blob())
    (structure,) = struct.unpack_from(">I", data, 8)
    # The root's name is four zeros, behind the token that begins it.
    struct.pack_into(">I", data, structure + 8, 0x77)
    with pytest.raises(MemoryMapError, match=f"token 0x77 at offset {structure + 8:#x} cannot stand here"):
        device_tree.read_bytes(bytes(data), "x.dtb")


def test_a_blob_too_deep_or_too_large_is_refused() -> None:
    body = struct.pack(">II", 1, 0) * 70
    structure = 56
    head = struct.pack(
        ">10I", 0xD00DFEED, structure + len(body), structure, structure, 40, 17, 16, 0, 0, len(body)
    )
    with pytest.raises(MemoryMapError, match="deeper than 64"):
        device_tree.read_bytes(head + bytes(16) + body, "x.dtb")
    size = (16 << 20) + 1
    data = struct.pack(">10I", 0xD00DFEED, size, 56, 56, 40, 17, 16, 0, 0, 0).ljust(size, b"\0")
    with pytest.raises(MemoryMapError, match="at most 16777216"):
        device_tree.read_bytes(data, "x.dtb")


@given(st.data())
def test_any_damage_to_a_blob_is_a_map_or_an_error(data: st.DataObject) -> None:
    spoilt = bytearray(blob())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(spoilt) - 1))
        spoilt[at] = data.draw(st.integers(0, 255))
    try:
        device_tree.read_bytes(bytes(spoilt), "x.dtb")
    except MemoryMapError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_map_or_an_error(data: bytes) -> None:
    for candidate in (data, fdt.MAGIC + data, blob()[:40] + data):
        try:
            device_tree.read_bytes(candidate, "x.dtb")
        except MemoryMapError as error:
            assert "\n" not in str(error)


scraps = st.text(alphabet="{}<>()[];=,&/*\"'#\n 0x1f\\memory@:?-+", max_size=10)


@given(st.data())
def test_any_damage_to_a_source_is_a_map_or_an_error(data: st.DataObject) -> None:
    text = BOARD
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(scraps) + text[data.draw(st.integers(at, min(at + 30, len(text)))) :]
    try:
        read(text)
    except MemoryMapError as error:
        assert "\n" not in str(error)


def test_macros_that_double_stay_bounded() -> None:
    macros = "".join(f"#define A{i} A{i + 1} A{i + 1}\n" for i in range(60))
    assert read(macros + one("<0 1>", "x = <A0>;")).ram == ((0, 1),)


@pytest.mark.parametrize("text", ["", "hello", "memory: 4 GiB", "[mem 0x0-0xfff]", "Memory {"])
def test_other_text_is_not_taken(text: str) -> None:
    assert not device_tree.sniff([(1, text)])


def test_words_of_the_language_that_a_map_does_not_need() -> None:
    text = r"""
/dts-v1/;
/ {
	/omit-if-no-ref/
	#address-cells = <2>;
	#size-cells = <2>;
	model = "tab\t octal \101 hex \x42 quote \" end\n";
	blob = /incbin/("file.bin");
	other = &mem0, [0 1 2];
	mem0: memory@0 {
		device_type = "memory";
		reg = <0 0 0 ('A' * 0x100000)>;
	};
};
"""
    tree = read(text)
    assert tree.ram == ((0, ord("A") << 20),)
    assert tree.name.startswith("tab\t octal A hex B quote")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("&mem0 = <1>;", "need '{' after &mem0"),
        ("/ { a = <0x1ffffffff>; };", "0x1ffffffff"),
    ],
)
def test_what_is_no_device_tree_is_refused_with_its_place(line: str, why: str) -> None:
    with pytest.raises(MemoryMapError, match=why) as caught:
        read(f"/dts-v1/;\n/ {{ mem0: memory@0 {{ }}; }};\n{line}\n")
    assert caught.value.line == 3
    assert caught.value.text and line.endswith(caught.value.text)
