"""Each style of each generation gives the same machine; look-alikes, boots and damage are told apart."""

import quopri

import log_samples as s
import pytest

from xenmm.errors import ConfigError, MemoryMapError
from xenmm.firmware import read_map
from xenmm.firmware.console_log import NoMapError

RAM, ROWS = s.RAM, s.ROWS
OTHER = tuple(sorted((a, b, t) for a, b, t in ROWS if t != "usable"))
CUT_TO_RAM = tuple((a, b, "usable") for a, b in RAM)


def dropped(found):
    return [n for n in found.notes if n.level == "dropped"]


def warnings(found):
    return [n for n in found.notes if n.level == "warning"]


# ---------------------------------------------------------------- styles

STYLES = {
    "linux": s.text(s.linux_new()),
    "linux-e820-heading": s.text(s.linux_new(heading="e820: BIOS-provided physical RAM map:")),
    "linux-2.6": s.text(s.linux_old()),
    "linux-2.2": s.text(s.linux_oldest()),
    "linux-e801": s.text(s.linux_old(who="BIOS-e801")),
    "linux-88": s.text(s.linux_new(who="BIOS-88")),
    "linux-narrow": s.text(
        ["BIOS-provided physical RAM map:"],
        [f"BIOS-e820: [mem 0x{a:08x}-0x{b - 1:08x}] {t}" for a, b, t in ROWS],
    ),
    "linux-upper": s.text(
        ["BIOS-provided physical RAM map:"],
        [f"BIOS-e820: [mem 0x{a:016X}-0x{b - 1:016X}] {t}" for a, b, t in ROWS],
    ),
    "linux-bare": s.text(
        ["BIOS-provided physical RAM map:"], [f"[mem 0x{a:016x}-0x{b - 1:016x}] {t}" for a, b, t in ROWS]
    ),
    "linux-bare-old": s.text(
        ["BIOS-provided physical RAM map:"], [f" {a:016x} - {b:016x} ({t})" for a, b, t in ROWS]
    ),
    "xen": s.xen(s.xen_new()),
    "xen-3": s.xen(s.xen_old(heading="Physical RAM map:")),
    "xen-4.14": s.xen(s.xen_old()),
    "xen-efi": s.xen(s.xen_new(heading="EFI RAM map:")),
    "xen-tboot": s.xen(s.xen_old(heading="TBOOT RAM map:")),
    "xen-multiboot": s.xen(s.xen_new(heading="Multiboot-e820 RAM map:")),
    "xen-e801": s.xen(s.xen_new(heading="Multiboot-e801 RAM map:")),
    "xen-pvh": s.xen(s.xen_new(heading="PVH-e820 RAM map:")),
    "xen-plain": s.text(s.xen_new()),
    "efi-type": s.text(s.efi(style="type")),
    "efi-half-open": s.text(s.efi(style="half-open")),
    "efi-inclusive": s.text(s.efi(style="bracket")),
    "efi-ia64": s.text(s.efi(style="type")).replace("efi: ", ""),
    "efi-i386": s.text(s.efi(style="type")).replace("efi: ", "EFI: "),
    "smap": s.text(s.smap()),
    "smap-verbose": s.text(s.smap()).replace(" base", ", xattr=01, base").replace(" len", ", len"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", " \n"])
def test_every_style_reads_as_the_same_ram(style, end):
    found = read_map(STYLES[style].replace("\n", end))
    assert found.ram == RAM
    assert found.ram_bytes == s.RAM_BYTES
    assert len(found.ranges) == len(ROWS)
    kinds = {"reserved": "reserved", "ACPI data": "acpi-data", "ACPI NVS": "acpi-nvs", "usable": "ram"}
    assert {(r.start, r.end, r.kind) for r in found.ranges} == {(a, b, kinds[t]) for a, b, t in ROWS}
    assert not dropped(found) and not warnings(found)
    assert read_map(STYLES[style], strict=True).ram == RAM


RAM_ONLY = {
    "xen-arm": s.xen(s.xen_arm()),
    "xen-arm-plain": s.text(s.xen_arm()),
    "nodes": s.text(s.node_ranges()),
    "pfn-2.6.30": s.text(
        ["early_node_map[4] active PFN ranges"],
        [f"    {i}: 0x{a >> 12:08x} -> 0x{b >> 12:08x}" for i, (a, b) in enumerate(((0, 0x9F000), *RAM[1:]))],
    ),
    "pfn-2.6.24": s.text(
        ["early_node_map[4] active PFN ranges"],
        [f"    {i}: {a >> 12:8d} -> {b >> 12:8d}" for i, (a, b) in enumerate(((0, 0x9F000), *RAM[1:]))],
    ),
    "freebsd-chunks": s.text(
        ["Physical memory chunk(s):"],
        [f"0x{a:016x} - 0x{b - 1:016x}, {b - a} bytes ({(b - a) >> 12} pages)" for a, b in RAM],
        ["Excluded memory regions:", "  0x00200000 - 0x002fffff,     1 MB (    256 pages) NoAlloc"],
    ),
    "memblock": s.text(
        ["MEMBLOCK configuration:"],
        [
            f" memory[{i:#x}]\t[{a:#018x}-{b - 1:#018x}], {b - a:#x} bytes flags: 0x0"
            for i, (a, b) in enumerate(RAM)
        ],
    ),
    "memblock-old": s.text(
        ["MEMBLOCK configuration:"],
        [f" memory[{i:#x}]\t{a:#018x} - {b - 1:#018x}, {b - a:#x} bytes" for i, (a, b) in enumerate(RAM)],
    ),
    "mips": s.text(
        ["Determined physical RAM map:"], [f" memory: {b - a:08x} @ {a:08x} (usable)" for a, b in RAM]
    ),
    "power": "Node 0 Memory: 0x0-0x9fc00 0x100000-0xbff00000\nNode 1 Memory: 0x100000000-0x2040000000\n",
    "parisc": s.text(
        ["Memory Ranges:"],
        [
            f" {i}) Start 0x{a:016x} End 0x{b - 1:016x} Size {(b - a) >> 20:6d} MB"
            for i, (a, b) in enumerate(RAM)
        ],
    ),
}


@pytest.mark.parametrize("style", RAM_ONLY)
def test_every_style_of_ram_alone_reads_as_the_same_ram(style):
    found = read_map(RAM_ONLY[style])
    low = (0, 0x9F000) if "pfn" in style else RAM[0]
    assert found.ram == (low, *RAM[1:])


@pytest.mark.parametrize(
    "word, kind",
    [
        ("usable", "ram"),
        ("reserved", "reserved"),
        ("ACPI data", "acpi-data"),
        ("ACPI NVS", "acpi-nvs"),
        ("unusable", "unusable"),
        ("persistent (type 7)", "persistent"),
        ("persistent (type 12)", "persistent-old"),
        ("soft reserved", "soft-reserved"),
        ("Soft Reserved", "soft-reserved"),
        ("type 9", "unknown"),
        ("type 20", "unknown"),
        ("kernel usable RAM", "ram"),
        ("device reserved", "reserved"),
        ("disabled", "disabled"),
    ],
)
def test_type_word_gives_the_kind(word, kind):
    for lines in (
        s.linux_new(((0, 0x1000, "usable"), (0x200000, 0x400000, word))),
        s.xen_new(((0, 0x1000, "usable"), (0x200000, 0x400000, word))),
    ):
        row = read_map(s.text(lines)).ranges[1]
        assert (row.kind, row.label) == (kind, word)


def test_size_column_and_gap_rows_of_the_proposed_form_are_passed_over():
    lines = [
        "BIOS-provided physical RAM map:",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009efff]  636   KB kernel usable RAM",
        "BIOS-e820: [gap 0x000000000009f000-0x00000000000fffff]  388   KB ...",
        "BIOS-e820: [mem 0x0000000000100000-0x000000007fefffff]    1.9 GB kernel usable RAM",
        "BIOS-e820: [mem 0x000000007ff00000-0x000000007fffffff] 1024   KB device reserved",
    ]
    found = read_map(s.text(lines), strict=True)
    assert found.ram == ((0, 0x9F000), (0x100000, 0x7FF00000))
    assert len(found.ranges) == 3


def test_end_of_two_to_the_64_is_an_end():
    rows = ((0, 0x1000, "usable"), (0xFFFFFFFF00000000, 1 << 64, "reserved"))
    for lines in (s.linux_new(rows), s.xen_new(rows), s.smap(rows)):
        assert read_map(s.text(lines)).ranges[-1].end == 1 << 64
    assert (
        read_map(s.text(s.xen_old(rows[:1]), " ffffffff00000000 - 10000000000000000 (reserved)"))
        .ranges[-1]
        .end
        == 1 << 64
    )


def test_specific_purpose_memory_of_an_efi_table_is_not_ram():
    flags = "|   |  |SP|  |  |  |  |  |  |   |WB|WT|WC|UC"
    plain = flags.replace("SP", "  ")
    lines = [
        f"efi: mem00: [Conventional{plain}] range=[0x0000000000000000-0x000000003fffffff] (1G)",
        f"efi: mem01: [Conventional{flags}] range=[0x0000000040000000-0x000000007fffffff] (1G)",
        "efi: mem02: type=7, attr=0x4000f, range=[0x0000000080000000-0x00000000c0000000) (1G)",
    ]
    found = read_map(s.text(lines))
    assert found.ram == ((0, 0x40000000),)
    assert [r.kind for r in found.ranges] == ["ram", "soft-reserved", "soft-reserved"]


def test_efi_types_that_are_ram():
    rows = [(n, n << 20) for n in range(16)]
    lines = [f"efi: mem{n:02d}: type={n}, attr=0xf, range=[{a:#x}-{a + 0x100000:#x}) (1MB)" for n, a in rows]
    assert read_map(s.text(lines)).ram == ((1 << 20, 5 << 20), (7 << 20, 8 << 20))


# ---------------------------------------------------------------- SRAT


@pytest.mark.parametrize(
    "rows",
    [
        s.srat_linux(),
        s.srat_xen_new(),
        s.srat_xen_new(mark="NUMA"),
        s.srat_old(),
        [r.replace("ACPI: ", "") for r in s.srat_linux()],
        [r.replace("ACPI: ", "ACPI: NUMA: ") for r in s.srat_linux()],
    ],
)
def test_every_style_of_srat_rows_reads_the_same(rows):
    found = read_map(s.text(s.linux_new(), rows))
    assert [(r.start, r.end, r.node) for r in found.srat] == list(s.SRAT)
    assert all(r.flags == 1 and r.pxm == r.node for r in found.srat)
    assert found.nodes == (0, 1)


def test_half_open_srat_beside_an_inclusive_map():
    found = read_map(s.xen(s.xen_new(), s.srat_old()))
    assert found.ram == RAM
    assert [(r.start, r.end) for r in found.srat] == [(a, b) for a, b, _ in s.SRAT]


@pytest.mark.parametrize(
    "flags, bits",
    [
        (" hotplug", 3),
        (" non-volatile", 5),
        (" hotplug non-volatile", 7),
        (" (hotplug)", 3),
        ("\nhotplug", 3),
        ("\n> hotplug", 3),
        (" (non-volatile)", 5),
    ],
)
def test_flags_behind_a_srat_row(flags, bits):
    found = read_map(s.text(s.linux_new(), s.srat_linux(s.SRAT[:1]), s.srat_linux(s.SRAT[1:], flags)))
    assert [r.flags for r in found.srat] == [1, bits, bits]


def test_word_on_a_later_line_is_no_flag():
    found = read_map(s.text(s.linux_new(), s.srat_linux(), "hotplugable memory is what I want"))
    assert [r.flags for r in found.srat] == [1, 1, 1]


def test_pxm_and_node_are_kept_apart():
    found = read_map("ACPI: SRAT: Node 2 PXM 6 [mem 0x2040000000-0x303fffffff] hotplug\n")
    assert (found.srat[0].node, found.srat[0].pxm) == (2, 6)


def test_srat_in_other_words():
    lines = [
        "ACPI: SRAT Memory (0x0 length 0x80000000) in proximity domain 0 enabled",
        "ACPI: SRAT Memory (0x100000000 length 0x80000000) in proximity domain 1 enabled hot-pluggable",
        "ACPI: SRAT Memory (0x180000000 length 0x80000000) in proximity domain 1 disabled",
        "SRAT: Found memory domain 2 addr 0x200000000 len 0x80000000: enabled, non-volatile",
        "Memory range 0x280000 to 0x300000 (type 0x1) in proximity domain 0x03 enabled and removable",
    ]
    rows = read_map(s.text(s.linux_new(), lines)).srat
    assert [(r.start, r.end, r.node, r.flags) for r in rows] == [
        (0, 0x80000000, 0, 1),
        (0x100000000, 0x180000000, 1, 3),
        (0x180000000, 0x200000000, 1, 0),
        (0x200000000, 0x280000000, 2, 5),
        (0x280000000, 0x300000000, 3, 3),
    ]


def test_repeated_srat_rows_count_once():
    found = read_map(s.text(s.linux_new(), s.srat_linux(), s.srat_linux()))
    assert len(found.srat) == 3


def test_lines_near_srat_rows_are_no_rows():
    lines = [
        "NUMA: Node 0 [mem 0x00000000-0x0009ffff] + [mem 0x00100000-0x1fffff] -> [mem 0x00000000-0x1fffff]",
        "NUMA: No node for RAM range [100000000, 1ffffffff]",
        "SRAT: PXM 0 -> APIC 00 -> Node 0",
        "NUMA: Using 19 for the hash shift.",
        "NUMA: Allocated memnodemap from 203ffde000 - 203ffdf000",
        "ACPI: SRAT BFF01000, 0130 (r3 XENMM  SAMPLE          2 INTL 20200101)",
    ]
    assert read_map(s.xen(s.xen_new(), lines)).srat is None


def test_srat_rows_alone_are_a_map_without_ram():
    found = read_map(s.text(s.srat_linux()))
    assert found.ram == () and found.format == "srat" and len(found.srat) == 3
    assert warnings(found)


def test_srat_of_another_boot_is_left_there():
    found = read_map(
        s.text("Linux version 6.1", s.linux_new(), "Linux version 6.1", s.linux_new(), s.srat_linux())
    )
    assert found.srat is None
    assert (
        len(
            read_map(
                s.text(
                    "Linux version 6.1", s.linux_new(), "Linux version 6.1", s.linux_new(), s.srat_linux()
                ),
                boot=2,
            ).srat
        )
        == 3
    )


def test_overlapping_srat_rows_of_two_nodes_are_a_warning():
    rows = s.srat_linux(((0, 0xC0000000, 0), (0x80000000, 0x100000000, 1)))
    assert any("overlap" in n.text for n in warnings(read_map(s.text(s.linux_new(), rows))))


# ---------------------------------------------------------------- look-alikes

LOOK_ALIKES = {
    "dom0 under Xen": s.linux_new(who="Xen"),
    "old dom0 under Xen": s.linux_old(who="Xen"),
    "dom0 under Xen, with node ranges": [*s.linux_new(who="Xen"), *s.node_ranges()],
    "hvmloader": [
        "(XEN) HVM4: e820 map has 2 items:",
        "(XEN) HVM4:   0: 0000000000000000 - 00000000000a0000 = 1 RAM",
    ],
    "new hvmloader": ["(d1) E820 table:", "(d1)  [00]: 00000000:00000000 - 00000000:000a0000: RAM"],
    "PVH dom0's map": [f"(XEN) {row}" for row in s.xen_new(heading="Dom0 memory map:")],
    "banks given to dom0": [
        "(XEN) BANK[0] 0x00000090000000-0x00000098000000 (128MB)",
        "(XEN) BANK[1] 0x00000890000000-0x00000898000000 (128MB)",
    ],
    "modules": [
        "(XEN) MODULE[0]: 0000000084400000 - 0000000084546400 Xen",
        "(XEN)  RESVD[0]: 0000000080400000 - 0000000080410000",
    ],
    "setup_data alone": s.linux_new(who="reserve setup_data", heading="extended physical RAM map:"),
    "corrections": [
        "e820: update [mem 0x00000000-0x00001fff] usable ==> reserved",
        "e820: remove [mem 0x000a0000-0x000bffff] usable",
    ],
    "old corrections": [
        "e820 update range: 0000000000000000 - 0000000000002000 (usable) ==> (reserved)",
        "e820 remove range: 00000000000a0000 - 00000000000c0000 (usable)",
    ],
    "spans": [
        "Initmem setup node 0 [mem 0x0000000000001000-0x000000203fffffff]",
        "NODE_DATA(0) allocated [mem 0x203ffd5000-0x203fffffff]",
    ],
    "zones": [
        "Zone ranges:",
        "  DMA      [mem 0x0000000000001000-0x0000000000ffffff]",
        "  Normal   [mem 0x0000000100000000-0x000000203fffffff]",
    ],
    "no-save memory": [
        "PM: Registered nosave memory: [mem 0x00000000-0x00001fff]",
        "PM: hibernation: Registered nosave memory: [mem 0x000a0000-0x000dffff]",
    ],
    "run-time services": ["efi: EFI runtime memory map:", *s.efi()],
    "removed windows": ["efi: Remove mem07: MMIO range=[0xe0000000-0xefffffff] (256MB) from e820 map"],
    "device memory": [
        "pci 0000:00:02.0: reg 0x10: [mem 0xe4000000-0xe4ffffff 64bit]",
        "ACPI: Reserving MCFG table memory at [mem 0xbff01000-0xbff0103b]",
        "pci_bus 0000:00: root bus resource [mem 0x000a0000-0x000bffff window]",
    ],
    "page numbers of a compression table": [
        " range 0 [0000000000000, 0x000020fffff] PFN IDX  0 : 0000000000000"
    ],
    "northbridge": [
        "Node 0 MemBase 0000000000000000 Limit 000000103fffffff",
        "Bootmem setup node 0 0000000000000000-000000103fffffff",
    ],
    "soft reserved alone": s.linux_new(((0x4000000000, 0x4400000000, "soft reserved"),)),
    "a stack dump": [
        "(XEN) Xen stack trace from rsp=ffff82d080370008:",
        "(XEN)    0000000000000000 ffff82d080370fff 0000000000000001",
        "(XEN)    0000000000000000",
    ],
    "unprivileged iomem": ["00000000-00000000 : System RAM", "00000000-00000000 : PCI Bus 0000:00"],
    "a buffer": ["e820: reserve RAM buffer [mem 0x0009fc00-0x0009ffff]"],
    "prose": [
        "The BIOS-e820 map says all of it is usable, and the user: nothing.",
        "Modified: yes",
        "RAM: 16 GiB",
    ],
}
LOOK_ALIKES = {what: s.text(lines) for what, lines in LOOK_ALIKES.items()}


@pytest.mark.parametrize("what", LOOK_ALIKES)
def test_look_alike_alone_is_refused(what):
    with pytest.raises(MemoryMapError) as error:
        read_map(LOOK_ALIKES[what])
    assert "\n" not in str(error.value)


# A kernel that runs under Xen has no map of the machine of its own.
BESIDE = [(what, xen) for what in LOOK_ALIKES for xen in (False, True) if xen or "dom0 under" not in what]


@pytest.mark.parametrize("what, xen", BESIDE)
def test_look_alike_beside_a_map_changes_nothing(what, xen):
    own = s.xen(s.xen_new()) if xen else s.text("Linux version 6.1", s.linux_new())
    for log in (own + LOOK_ALIKES[what], LOOK_ALIKES[what] + own):
        found = read_map(log)
        assert found.ram == RAM
        assert tuple(sorted((r.start, r.end, r.label) for r in found.ranges if r.kind != "ram")) == OTHER


def test_hypervisors_map_is_read_and_not_its_dom0s():
    dom0 = s.text(
        "Linux version 6.1", s.linux_new(((0, 0x10000000, "usable"),)), s.node_ranges(ram=((0, 0x10000000),))
    )
    assert read_map(s.xen("Xen version 4.17", s.xen_new()) + dom0).ram == RAM
    with pytest.raises(MemoryMapError, match="no boot 2"):
        read_map(s.xen("Xen version 4.17", s.xen_new()) + dom0, boot=2)


# ---------------------------------------------------------------- several maps, several boots

SMALL = ((0x0, 0x10000000, "usable"),)
USER = ((0x0, 0x9FC00, "usable"), (0x100000, 0x40000000, "usable"))


def test_firmwares_map_comes_before_the_kernels_own():
    log = s.text(s.linux_new(), s.linux_new(USER, "user", "user-defined physical RAM map:"), s.node_ranges())
    assert read_map(log).ram == RAM
    assert read_map(log, map="user").ram == ((0, 0x9FC00), (0x100000, 0x40000000))
    assert any("map='user'" in n.text for n in read_map(log).notes)


@pytest.mark.parametrize(
    "who, heading", [("user", "user-defined physical RAM map:"), ("modified", "modified physical RAM map:")]
)
@pytest.mark.parametrize("style", [s.linux_new, s.linux_old])
def test_kernels_own_map_in_both_styles(who, heading, style):
    log = s.text(style(), style(USER, who, heading))
    assert read_map(log).ram == RAM
    assert read_map(log, map="user").ram == ((0, 0x9FC00), (0x100000, 0x40000000))
    assert read_map(log, map="user").arch == "x86"


def test_user_map_that_is_not_there_is_an_error():
    with pytest.raises(MemoryMapError, match="user-defined"):
        read_map(s.text(s.linux_new()), map="user")


def test_extended_map_is_not_counted_twice():
    log = s.text(s.linux_new(), s.linux_new(ROWS, "reserve setup_data", "extended physical RAM map:"))
    assert len(read_map(log).ranges) == len(ROWS)


def test_efi_table_beside_e820_is_a_check_and_not_a_map():
    assert read_map(s.text(s.linux_new(), s.efi())).format == "linux-e820"
    assert not warnings(read_map(s.text(s.linux_new(), s.efi())))
    short = read_map(s.text(s.linux_new(ROWS[:4]), s.efi()))
    assert short.top == 0xBFF00000
    assert any("EFI table" in n.text for n in warnings(short))


def test_run_time_table_behind_an_efi_table_is_not_merged():
    more = s.efi(((0x3000000000, 0x3100000000, "usable"),))
    assert read_map(s.text(s.efi(), "efi: EFI runtime memory map:", more)).ram == RAM
    assert read_map(s.text(s.efi(), more)).ram == RAM


@pytest.mark.parametrize("between", ["", "Linux version 6.1.0 (gcc)", "some line"])
def test_first_boot_is_read_and_the_other_can_be_chosen(between):
    log = s.text("Linux version 6.1.0 (gcc)", s.linux_new(), between, s.linux_new(SMALL))
    found = read_map(log)
    assert found.ram == RAM
    assert any("2 boots" in n.text for n in found.notes)
    assert read_map(log, boot=1).ram == RAM
    assert read_map(log, boot=2).ram == ((0, 0x10000000),)
    with pytest.raises(MemoryMapError, match="no boot 3"):
        read_map(log, boot=3)


@pytest.mark.parametrize("boot", [0, -1, True, 1.0, "1"])
def test_boot_out_of_its_domain_is_a_usage_error(boot):
    with pytest.raises(ConfigError):
        read_map(s.text(s.linux_new()), boot=boot)


def test_unknown_map_is_a_usage_error():
    with pytest.raises(ConfigError):
        read_map(s.text(s.linux_new()), map="best")


def test_first_whole_boot_is_preferred_to_one_that_lost_its_beginning():
    log = s.text(s.linux_new()[4:], "Linux version 6.1.0", s.linux_new())
    assert read_map(log).ram == RAM
    assert not dropped(read_map(log))
    assert read_map(log, boot=1).ram == RAM[1:]


def test_boots_of_xen_are_told_apart_by_their_banner():
    log = s.xen("Xen version 4.17.1", s.xen_new(), s.srat_xen_new(), "Xen version 4.17.1", s.xen_new(SMALL))
    assert read_map(log).ram == RAM
    assert read_map(log, boot=2).ram == ((0, 0x10000000),)
    assert read_map(log, boot=2).srat is None


def test_banner_behind_the_banks_of_xen_on_arm_is_the_same_boot():
    log = s.xen(s.xen_arm(), "Xen version 4.17.1 (gcc) debug=n", "Command line: dom0_mem=1G")
    found = read_map(log * 2)
    assert found.ram == RAM
    assert found.stated.xen_version == "4.17.1"
    assert found.stated.command_line == "dom0_mem=1G"
    assert any("2 boots" in n.text for n in found.notes)


def test_log_printed_twice_line_by_line_counts_once():
    lines = [line for line in s.linux_new() for _ in (0, 1)]
    found = read_map(s.text(lines))
    assert found.ram == RAM and len(found.ranges) == len(ROWS)


def test_kernels_maps_rank_behind_the_firmwares():
    nodes = s.node_ranges(ram=((0x1000, 0x9F000), *RAM[1:]))
    mips = [" memory: 00001000 @ 00000000 (usable)"]
    assert read_map(s.text(nodes, mips)).format == "linux-node-ranges"
    assert read_map(s.text(nodes, s.linux_new())).format == "linux-e820"
    assert read_map(s.text(nodes, "00100000-bfffffff : System RAM")).format == "linux-node-ranges"


def test_iomem_above_a_log_goes_with_its_boot():
    iomem = ["$ sudo cat /proc/iomem", *(f"{a:08x}-{b - 1:08x} : System RAM" for a, b in RAM)]
    found = read_map(s.text(iomem, "$ dmesg", "Linux version 6.1.0 (gcc)", s.srat_linux()))
    assert found.format == "iomem" and found.ram == RAM
    assert len(found.srat) == 3


def test_an_empty_row_is_no_damage():
    rows = [*s.xen_new(), " [0000010000000000, 000000ffffffffff] (usable)"]
    found = read_map(s.xen(rows), strict=True)
    assert [n.text for n in found.notes if n.level == "note"] == ["the row is empty"]


def test_iomem_inside_a_log_is_read_when_the_node_ranges_are_damaged():
    nodes = s.node_ranges()
    nodes[-1] = nodes[-1].replace("fff]", "ffff]").replace("0x0000", "0x00000")
    iomem = [
        "00000000-0009fbff : System RAM",
        "00100000-bfefffff : System RAM",
        "  01000000-01ffffff : Kernel code",
        "100000000-203fffffff : System RAM",
    ]
    found = read_map(s.text(iomem, nodes))
    assert found.format == "iomem" and found.ram == RAM


def test_order_of_node_ranges_is_free():
    ram = ((0x4000000, 0x8000000), (0, 0x4000000))
    assert read_map(s.text(s.node_ranges(ram=ram)), strict=True).ram == ((0, 0x8000000),)


# ---------------------------------------------------------------- what the log states

TOTALS = [
    (f"Memory: 100K/{(s.RAM_BYTES - 0x1C00) >> 10}K available (16384K kernel code)", True),
    (f"Memory: 100K/{(s.RAM_BYTES >> 10) + 4096}K available (16384K kernel code)", False),
    ("last_pfn = 0x2040000 max_arch_pfn = 0x400000000", True),
    ("last_pfn = 0x2040001 max_arch_pfn = 0x400000000", False),
    (f"Reserving 160MB of memory at 2864MB for crashkernel (System RAM: {s.RAM_BYTES >> 20}MB)", True),
    (
        f"Reserving 160MB of memory at 2864MB for crashkernel (System RAM: {(s.RAM_BYTES >> 20) + 64}MB)",
        False,
    ),
]


@pytest.mark.parametrize("line, agrees", TOTALS)
def test_stated_total_of_linux_is_compared(line, agrees):
    found = read_map(s.text("Linux version 6.1", s.linux_new(), line))
    assert bool(warnings(found)) != agrees


def test_stated_total_of_xen_is_compared_to_the_page():
    whole = s.RAM_BYTES - 0xC00
    for more, agrees in ((0, True), (4, False), (-4, False)):
        line = f"System RAM: {whole >> 20}MB ({(whole >> 10) + more}kB)"
        found = read_map(s.xen(s.xen_new(), line))
        assert found.stated.ram_bytes == whole + more * 1024
        assert bool(warnings(found)) != agrees


def test_total_is_compared_with_the_kernels_own_map_when_it_has_one():
    user = s.linux_new(USER, "user", "user-defined physical RAM map:")
    assert not warnings(
        read_map(s.text(s.linux_new(), user, "last_pfn = 0x40000 max_arch_pfn = 0x400000000"))
    )
    assert warnings(read_map(s.text(s.linux_new(), user, "last_pfn = 0x2040000 max_arch_pfn = 0x400000000")))


def test_second_last_pfn_is_about_the_memory_below_4_gib():
    found = read_map(s.text(s.linux_new(), "last_pfn = 0x2040000 max", "last_pfn = 0xbff00 max"))
    assert found.stated.last_pfn == 0x2040000 and not warnings(found)


def test_what_xen_states_is_kept_without_prefix():
    lines = [
        "Xen version 4.19.0 (gcc 13) debug=y",
        "Command line: console=com1 mem=64G numa=off",
        *s.xen_new(),
        "PFN compression using lookup table shift 28 and region size 0x800000",
        " range   0 [0000000000000, 000000047ffff] PFN IDX   0 : 0000000000000",
        *s.srat_xen_new(mark="NUMA"),
    ]
    stated = read_map(s.xen(lines)).stated
    assert stated.xen_version == "4.19.0"
    assert stated.command_line == "console=com1 mem=64G numa=off"
    assert stated.pfn_compression[0].startswith("PFN compression using lookup table")
    assert len(stated.pfn_compression) == 2
    assert stated.numa_rows == tuple(s.srat_xen_new(mark="NUMA"))


def test_machine_and_architecture_are_named():
    found = read_map(
        s.text("Linux version 6.1", s.linux_new(), "DMI: Example Corp. Box 7/X1, BIOS 1.0 01/02/2020")
    )
    assert found.name == "Example Corp. Box 7/X1" and found.arch == "x86"
    arm = s.text("Booting Linux on physical CPU 0x0", "Machine model: Example board", s.node_ranges())
    assert (read_map(arm).name, read_map(arm).arch) == ("Example board", "arm")
    assert read_map(s.text(s.linux_new()), name="box.log").name == "box.log"


# ---------------------------------------------------------------- damage


def test_provenance_names_file_line_and_format():
    found = read_map(s.text("x", "y", s.linux_new(), s.srat_linux()), name="box.log")
    assert [(r.source.file, r.source.line, r.source.format) for r in found.ranges[:2]] == [
        ("box.log", 4, "linux-e820"), ("box.log", 5, "linux-e820")]  # fmt: skip
    assert found.srat[0].source.line == 4 + len(ROWS)


CUTS = [
    "BIOS-e820: [mem 0x0000003000000000-0x00000",
    "BIOS-e820: [mem 0x0000003000000000-0x0000003fffffffff",
    "BIOS-e820: [mem 0x0000003000000000-0x0000003fffffffff]",
    "BIOS-e820: [mem 0x0000003000000000",
    "BIOS-e820: [mem 0x",
    "BIOS-e820: [mem",
    "BIOS-e820: [",
    "BIOS-e820:",
    "BIOS-e820: [mem 0x0000003000000000-0x0000003fffffffff] u",
    "BIOS-e820: [mem 0x0000003000000000-0x0000003fffffffff] something",
    "BIOS-e820: [mem 0x0000003000000000-0x0000002fffffff00] usable",
    "BIOS-e820: [mem 0x0000003000000000-0x00000003fffffffff] usable",
    "BIOS-e820: [mem 0x0000003000000000-0x1000000000000ffff] usable",
]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("at", ["end", "middle"])
def test_damaged_row_is_reported_and_refused_when_strict(cut, at):
    lines = s.linux_new()
    lines.insert(len(lines) if at == "end" else 5, cut)
    log = s.text(lines)
    found = read_map(log, name="box.log")
    assert found.ram == RAM
    (note,) = dropped(found)
    assert note.source.line == lines.index(cut) + 1
    assert note.excerpt.startswith(cut.split(" [")[0])
    with pytest.raises(MemoryMapError) as error:
        read_map(log, name="box.log", strict=True)
    assert str(error.value).startswith(f"box.log:{lines.index(cut) + 1}: ")


def test_the_first_of_rows_that_are_all_damaged_is_named_with_its_line():
    log = s.text("Linux version 6.1", "BIOS-e820: [mem 0x1000-0x20", "BIOS-e820: [mem")
    with pytest.raises(
        NoMapError, match="no row of a memory map can be read; the first: the row is cut"
    ) as error:
        read_map(log, name="box.log")
    assert str(error.value).startswith("box.log:2: ")
    assert (error.value.line, error.value.text) == (2, "BIOS-e820: [mem 0x1000-0x20")


@pytest.mark.parametrize("digits", [9, 10, 5000])
def test_a_node_of_too_many_digits_is_no_other_node(digits):
    node = "1" * digits
    found = read_map(s.text(s.linux_new(), f"SRAT: Node {node} PXM 3 [mem 0x00000000-0x7fffffff]"))
    assert [r.node for r in found.srat or ()] == ([int(node)] if digits == 9 else [])
    assert len(dropped(found)) == (digits > 9)


@pytest.mark.parametrize("row", [
    "ACPI: SRAT Memory (0x0 length 0x80000000) in proximity domain {} enabled",
    "SRAT: Found memory domain {} addr 0x0 len 0x80000000: enabled",
    "Memory range 0x0 to 0x80000 (type 0x1) in proximity domain 0x{:x} enabled",
])  # fmt: skip
def test_a_proximity_domain_past_32_bits_is_no_other_one(row):
    for domain in ((1 << 32) - 1, 1 << 32, 10**30):
        found = read_map(s.text(s.linux_new(), row.format(domain)))
        assert [r.node for r in found.srat or ()] == ([domain] if domain < 1 << 32 else [])
        assert [n.text for n in dropped(found)] == (
            ["the row's node is a number of more than 32 bits"] * (domain >= 1 << 32)
        )


@pytest.mark.parametrize("lines", [
    ["Early memory node ranges", "  node {}: [mem 0x0-0x7fffffff]"],
    ["Early memory PFN ranges", "    {}: 0x00000000 -> 0x00080000"],
    ["Node {} Memory: 0x0-0x80000000"],
    ["MEMBLOCK configuration:", " memory[0x0]\t[0x0-0x7fffffff], 0x80000000 bytes on node {} flags: 0x0"],
])  # fmt: skip
def test_ram_of_a_node_past_32_bits_is_told_and_not_another_nodes(lines):
    for node in ((1 << 32) - 1, 1 << 32, 10**30):
        text = s.text("Linux version 6.1", [line.format(node) for line in lines])
        if node < 1 << 32:
            found = read_map(text)
            assert found.ram == ((0, 0x80000000),) and not dropped(found)
        else:
            with pytest.raises(NoMapError, match="the row's node is a number of more than 32 bits"):
                read_map(text)


XEN_CUTS = [
    " [0000003000000000, 00000",
    " [0000003000000000, 0000003fffffffff",
    " [0000003000000000,",
    " [0000003000000000, 0000003fffffffff] (someth",
    " 0000003000000000 - 00000",
    " 0000003000000000 -",
]


@pytest.mark.parametrize("cut", XEN_CUTS)
def test_damaged_row_of_xen_is_reported(cut):
    for lines in (s.xen_new(), s.xen_old()):
        found = read_map(s.xen([*lines, cut]))
        assert found.ram == RAM
        assert len(dropped(found)) == 1
        with pytest.raises(MemoryMapError):
            read_map(s.xen([*lines, cut]), strict=True)


def test_bytes_of_a_dropped_row_are_told_where_they_are_certain():
    found = read_map(
        s.text(s.linux_new(), "BIOS-e820: [mem 0x0000003000000000-0x0000003fffffffff] something")
    )
    assert [n.dropped_bytes for n in dropped(found)] == [0x1000000000]


def test_type_cut_so_that_it_is_still_certain_is_kept_with_a_warning():
    lines = s.linux_new(ROWS[:8])
    lines[-1] = lines[-1][:-2]
    found = read_map(s.text(lines))
    assert found.ram == RAM and len(warnings(found)) == 1
    with pytest.raises(MemoryMapError):
        read_map(s.text(lines), strict=True)


@pytest.mark.parametrize(
    "mark",
    [
        "....",
        "...",
        "[...]",
        "…",
        "….",
        "<snip>",
        "[snip]",
        "--8<--",
        "(...)",
        "[ ... ]",
        "> ...",
        "** 23 printk messages dropped **",
        "host systemd-journald[1]: Missed 12 kernel messages",
    ],
)
def test_elided_middle_is_reported(mark):
    lines = s.linux_new()
    lines[5:7] = [mark]
    found = read_map(s.text(lines))
    assert len(dropped(found)) == 1
    assert dropped(found)[0].source.line == 6
    with pytest.raises(MemoryMapError):
        read_map(s.text(lines), strict=True)


def test_elision_around_a_map_is_no_damage():
    assert read_map(s.text("[...]", s.linux_new(), "[...]", s.node_ranges(), "..."), strict=True).ram == RAM


def test_row_out_of_order_is_reported():
    lines = s.linux_new()
    lines[4], lines[8] = lines[8], lines[4]
    found = read_map(s.text(lines))
    assert found.ram == RAM
    assert [(n.text, n.source.line) for n in warnings(found)] == [
        ("the row is out of order", 6),
        ("the row is out of order", 9),
    ]
    with pytest.raises(MemoryMapError, match="order"):
        read_map(s.text(lines), strict=True)


def test_overlapping_ram_counts_once_and_is_reported():
    rows = (*ROWS[:7], (0xBF000000, 0xBFF00000, "usable"), *ROWS[7:])
    found = read_map(s.text(s.linux_new(rows)))
    assert found.ram == RAM
    assert any("overlaps" in n.text for n in warnings(found))
    with pytest.raises(MemoryMapError):
        read_map(s.text(s.linux_new(rows)), strict=True)


def test_ram_that_another_row_claims_is_dropped_with_its_bytes():
    rows = (*ROWS[:4], (0x50000000, 0x60000000, "reserved"), *ROWS[4:])
    found = read_map(s.text(s.linux_new(rows)))
    assert found.ram == (RAM[0], (0x100000, 0x50000000), (0x60000000, 0xBFF00000), RAM[2])
    assert [n.dropped_bytes for n in dropped(found)] == [0x10000000]


def test_missing_beginning_is_reported():
    found = read_map(s.text(s.linux_new()[4:]))
    assert found.ram == RAM[1:]
    assert "heading" in dropped(found)[0].text


def test_missing_heading_alone_is_no_damage():
    assert not dropped(read_map(s.text(s.linux_new()[1:])))
    assert not dropped(read_map(s.xen(s.xen_new()[1:])))


def test_missing_rows_of_an_efi_table_show_in_its_numbers():
    lines = s.efi()
    del lines[3:5]
    found = read_map(s.text(lines))
    assert "mem03 to mem04" in dropped(found)[0].text


def test_incomplete_firmware_map_gives_way_to_whole_node_ranges_that_have_more():
    log = s.text(
        s.linux_new()[7:8], "...", s.linux_new()[8:9], s.node_ranges(ram=((0x1000, 0x9F000), *RAM[1:]))
    )
    found = read_map(log)
    assert found.format == "linux-node-ranges"
    assert any("incomplete" in n.text for n in warnings(found))


def test_many_damaged_rows_are_summed_up():
    lines = s.linux_new() + [f"BIOS-e820: [mem {0x3000000000 + (i << 12):#018x}-0x00000" for i in range(500)]
    assert len(read_map(s.text(lines)).notes) < 100


# ---------------------------------------------------------------- wrapping and noise


def wrap(lines, width, quote=""):
    out = []
    for line in lines:
        words, current = line.split(" "), ""
        for word in words:
            if current.strip() and len(current) + 1 + len(word) > width:
                out.append(quote + current)
                current = word
            else:
                current = f"{current} {word}" if current or word == "" else word
        out.append(quote + current)
    return out


@pytest.mark.parametrize("width", [50, 58, 66, 72, 78])
@pytest.mark.parametrize("quote", ["", "> "])
def test_rows_that_a_mailer_wrapped_are_joined(width, quote):
    stamped = ["[    0.000000] " + line for line in s.linux_new() + s.srat_linux() + s.node_ranges()]
    found = read_map(s.text(wrap(stamped, width, quote)))
    assert found.ram == RAM and len(found.ranges) == len(ROWS)
    assert [(r.start, r.end, r.node) for r in found.srat] == list(s.SRAT)


@pytest.mark.parametrize("width", [36, 44, 60, 68, 79])
def test_rows_that_a_terminal_wrapped_inside_a_word_are_joined(width):
    stamped = ["[    0.000000] " + line for line in s.linux_new()]
    cut = [line[i : i + width] for line in stamped for i in range(0, len(line), width)]
    assert read_map(s.text(cut)).ram == RAM


@pytest.mark.parametrize("width", [30, 40, 46, 52])
def test_rows_of_xen_that_were_wrapped_are_joined(width):
    found = read_map(s.text(wrap(s.xen(s.xen_new(), s.srat_xen_new()).split("\n"), width)))
    assert found.ram == RAM and len(found.srat) == 3


@pytest.mark.parametrize(
    "noise",
    [
        "   ",
        "  to enter a   ",
        " GRUB menu entry",
        "\t\t",
        "\x1b[K",
        " [    0.000000] NX (Execute",
        " usable",
    ],
)
def test_noise_behind_a_row_is_passed_over(noise):
    assert read_map(s.text([line + noise for line in s.linux_new()])).ram == RAM
    assert read_map(s.xen([line + noise for line in s.xen_new()])).ram == RAM
    assert read_map(s.xen([line + noise for line in s.xen_old()])).ram == RAM


def test_lost_line_end_between_two_rows():
    lines = s.linux_new()
    stamped = ["[    0.000000] " + line for line in lines]
    stamped[3:5] = [stamped[3] + stamped[4]]
    assert read_map(s.text(stamped)).ram == RAM


def test_lines_of_others_between_the_rows():
    lines = [
        x for line in s.linux_new() for x in (line, "[    0.000000] NX (Execute Disable) protection: active")
    ]
    assert read_map(s.text(lines)).ram == RAM
    lines = [x for line in s.xen_new() for x in ("(XEN) " + line, "[    1.000000] usb 1-1: new device", "")]
    assert read_map(s.text(lines)).ram == RAM


def test_wrapped_command_line_is_joined():
    first, second = (
        "root=/dev/mapper/vg-root console=ttyS0,115200n8",
        "crashkernel=252M dom0_mem=4096M,max:4096M",
    )
    lines = ["Xen version 4.17.1", "Command line: " + first, second, *s.xen_new()]
    quoted = "".join(("> (XEN) " if i != 2 else "> ") + line + "\n" for i, line in enumerate(lines))
    assert read_map(quoted).stated.command_line == f"{first} {second}"


def test_quoted_printable_mail_is_undone():
    lines = [
        "Command line: console=ttyS0 root=/dev/sda1",
        *s.linux_new(),
        *s.srat_linux(),
        "Memory: 1K/2K = x",
    ]
    body = quopri.encodestring(s.text(["\u00a0[    0.000000] " + line for line in lines]).encode())
    assert body.count(b"=\n") > 3
    found = read_map(body)
    assert found.ram == RAM and len(found.srat) == 3
    assert found.stated.command_line == "console=ttyS0 root=/dev/sda1"
    assert body.split(b"\n")[found.ranges[3].source.line - 1].find(b"BIOS-e820") > 0


@pytest.mark.parametrize("size", [4, 16, 64])
def test_page_numbers_are_scaled_by_the_total_that_the_boot_states(size):
    rows = [
        "early_node_map[2] active PFN ranges",
        "    0: 0x00000000 -> 0x00008000",
        "    0: 0x00010000 -> 0x00020000",
    ]
    total = (0x8000 + 0x10000) * size
    for line in (
        f"Memory: 1k/{total}k available (4k kernel code, 9k reserved)",
        f"Memory: 1K/{total}K available",
    ):
        found = read_map(s.text("Linux version 2.6.32", rows, line))
        assert found.ram == ((0, 0x8000 * size << 10), (0x10000 * size << 10, 0x20000 * size << 10))


def test_page_size_that_is_assumed_is_said():
    rows = ["early_node_map[1] active PFN ranges", "    0: 0x00000000 -> 0x00008000"]
    assert any("assumed" in n.text for n in warnings(read_map(s.text(rows))))
    assert not warnings(read_map(s.text("Linux version 2.6.32 (x86_64-linux-gnu-gcc)", rows)))


def test_srat_row_of_a_device_tree_has_no_domain():
    found = read_map(s.xen(s.xen_arm(), "SRAT: Node 1 0000000100000000-0000002040000000"))
    assert [(r.start, r.end, r.node, r.pxm) for r in found.srat] == [(1 << 32, 0x2040000000, 1, None)]


def test_kernel_under_xen_that_prints_a_bios_map_is_still_a_domain():
    dom0 = s.text(
        "Linux version 6.1 (gcc)", s.linux_new(((0, 0x10000000, "usable"),)), "Hypervisor detected: Xen HVM"
    )
    assert read_map(dom0 + s.xen(s.xen_new())).ram == RAM
    assert read_map(s.xen(s.xen_new()) + dom0).ram == RAM


def test_virtual_machine_of_xen_has_the_map_that_its_firmware_gives():
    log = s.text(s.linux_new(), "Hypervisor detected: Xen HVM", "Booting paravirtualized kernel on Xen HVM")
    assert read_map(log).ram == RAM


@pytest.mark.parametrize("line", ["Hypervisor detected: Xen PV", "Booting paravirtualized kernel on Xen"])
def test_paravirtual_guest_alone_is_refused(line):
    with pytest.raises(MemoryMapError):
        read_map(s.text(s.node_ranges(), line))


@pytest.mark.parametrize(
    "line",
    ["Xen 4.17 is what I run here", "Linux version 5.4 works fine", "Linux version 6.1 and later hang"],
)
def test_sentence_that_begins_like_a_banner_begins_no_boot(line):
    for log in (
        s.text(s.linux_new(), line, s.srat_linux()),
        s.xen(s.xen_new()) + line + "\n" + s.xen(s.srat_old()),
    ):
        found = read_map(log)
        assert found.ram == RAM and len(found.srat) == 3


def test_efi_table_as_other_kernels_list_it():
    names = {"usable": "Conventional Memory", "reserved": "Reserved", "ACPI data": "ACPI Reclaim Memory"}
    lines = [
        f"efi:   0x{a:012x}-0x{b - 1:012x} [{names.get(t, 'ACPI Memory NVS'):19s}|   |  |  |  |WB|WT|WC|UC]*"
        for a, b, t in ROWS
    ]
    found = read_map(s.text("efi: Processing EFI memory map:", lines, s.node_ranges()))
    assert found.format == "efi" and found.ram == RAM


def test_row_of_an_srat_that_the_log_shows_to_have_existed():
    joined = "NUMA: Node 0 [mem 0x00000000-0xbfffffff] + [mem 0x100000000-0x103fffffff] -> [...]"
    assert not dropped(read_map(s.text(s.linux_new(), s.srat_linux(), joined)))
    log = s.text(s.linux_new(), s.srat_linux(s.SRAT[1:]), joined)
    assert "an SRAT row" in dropped(read_map(log))[0].text
    assert any("outside every SRAT row" in n.text for n in warnings(read_map(log)))


def test_damaged_srat_alone_is_refused_when_strict():
    log = s.text(s.srat_linux(), "ACPI: SRAT: Node 1 PXM")
    assert len(read_map(log).srat) == 3
    with pytest.raises(MemoryMapError, match="cut"):
        read_map(log, strict=True)


def test_dashes_and_blanks_of_a_word_processor():
    text = (
        s.text(s.linux_old())
        .replace(" - ", "\u2009\u2013\u2009")
        .replace("BIOS-e820: ", "BIOS\u2011e820:\u200b\xa0")
    )
    assert read_map(text).ram == RAM


def test_total_of_power_is_compared():
    total = s.RAM_BYTES
    nodes = s.node_ranges(ram=RAM)
    assert not warnings(read_map(s.text(nodes, f"Top of RAM: 0x2040000000, Total RAM: {total:#x}")))
    assert warnings(read_map(s.text(nodes, f"Top of RAM: 0x2040000000, Total RAM: {total + (1 << 24):#x}")))


def test_rows_inside_a_programs_quotes():
    lines = [f'  "{line}",' for line in [*s.linux_new(), *s.srat_linux()]]
    assert read_map(s.text(lines)).ram == RAM
    assert read_map(s.text([f'  "{line}",' for line in s.efi()])).ram == RAM


def test_rows_inside_a_forums_tags():
    lines = [f"[COLOR=#000000][FONT=arial][    0.000000] {line}[/FONT][/COLOR]" for line in s.efi()]
    assert read_map(s.text(lines)).ram == RAM
    assert read_map(s.text([f"[B]{line}[/B]" for line in s.xen_new()])).ram == RAM


def test_new_words_of_linux_and_gap_rows_without_a_word():
    words = {"usable": "System RAM", "reserved": "device reserved"}
    lines = [
        line
        for a, b, t in ROWS
        for line in (
            f"BIOS-e820: [mem {a:#018x}-{b - 1:#018x}]  {words.get(t, t)}",
            f"BIOS-e820: [gap {b:#018x}-{b + 4095:#018x}]",
        )
    ]
    found = read_map(s.text("BIOS-provided physical RAM map:", lines), strict=True)
    assert found.ram == RAM and len(found.ranges) == len(ROWS)


def test_escapes_alone_show_a_quoted_printable_mail():
    rows = [
        f" {a:013x}-{b - 1:013x} type=3D{7 if t == 'usable' else 0} attr=3D000000000000000f"
        for a, b, t in ROWS
    ]
    assert read_map(s.xen("EFI memory map:", rows)).ram == RAM


def test_table_of_other_kernels_that_was_wrapped_or_cut_short():
    lines = ["efi:   0x000080000000-0x00008003ffff [Reserved", " |   |  |  |UC]",
             "efi:   0x000080040000-0x0000bfffffff [Conventional", "Memory|   |  |WB]",
             "efi:   0x0000c0000000-0x0000cfffffff [Boot Data          |"]  # fmt: skip
    assert read_map(s.text(lines)).ram == ((0x80040000, 0xD0000000),)


def test_stamp_with_tabs():
    assert read_map(s.text(s.node_ranges(), prefix="[\t0.000000][\tT0] ")).ram == RAM


def test_lines_that_end_in_a_carriage_return_alone():
    assert read_map(s.text(s.linux_new(), s.srat_linux()).replace("\n", "\r")).ram == RAM


def test_rows_of_xen_that_lost_their_line_ends():
    assert read_map(s.xen(s.xen_new()).replace("\n(XEN)", "(XEN)")).ram == RAM
    assert read_map(s.text(s.linux_new(), prefix="[    0.000000] ").replace("\n[", " [")).ram == RAM


def test_what_dom0_shows_of_itself_before_its_hypervisors_log_is_not_the_machine():
    iomem = ["00000000-0009ffff : System RAM", "00100000-3fffffff : System RAM"]
    small = ((0, 0x40000000),)
    for dom0 in (iomem, s.node_ranges(ram=small)):
        assert read_map(s.text(dom0) + s.xen("Xen version 4.17", s.xen_new())).ram == RAM


def test_log_packed_into_one_string():
    packed = '{"body": "' + s.text(s.linux_new(), s.srat_linux()).replace("\n", "\\n") + '"}\n'
    found = read_map(packed)
    assert found.ram == RAM and len(found.srat) == 3


def test_tabs_where_blanks_were():
    assert read_map(s.text(s.linux_old()).replace(" - ", "\t-\t")).ram == RAM
    assert read_map(s.text(s.node_ranges()).replace(": [", ":\t[")).ram == RAM


def test_boots_are_counted_alike_for_both_kinds_of_map():
    user = s.linux_new(USER, "user", "user-defined physical RAM map:")
    log = s.text("Linux version 6.1 (x)", s.linux_new(), "Linux version 6.1 (x)", s.linux_new(), user)
    assert read_map(log, map="user").ram == ((0, 0x9FC00), (0x100000, 0x40000000))
    assert read_map(log, map="user", boot=2).ram == ((0, 0x9FC00), (0x100000, 0x40000000))
    with pytest.raises(MemoryMapError, match="user-defined"):
        read_map(log, map="user", boot=1)
    with pytest.raises(MemoryMapError, match="no boot 3"):
        read_map(log, map="user", boot=3)


def test_kernels_own_map_without_the_firmwares_is_no_firmware_map():
    with pytest.raises(MemoryMapError):
        read_map(s.text(s.linux_new(USER, "user", "user-defined physical RAM map:")))


def test_crash_kernels_small_whole_map_is_not_preferred_to_a_damaged_one():
    damaged = [*s.linux_new()[:6], "** 3 printk messages dropped **", *s.linux_new()[6:]]
    log = s.text("Linux version 6.1 (x)", damaged, "Linux version 6.1 (x)", s.linux_new(SMALL))
    assert read_map(log).ram == RAM
    assert dropped(read_map(log))
    assert read_map(log, boot=2).ram == ((0, 0x10000000),)


# ---------------------------------------------------------------- what the device tree reserves


def test_reserved_regions_of_xen_on_arm_are_listed_and_stay_ram() -> None:
    (start, _), *_ = s.RAM
    inside = f" RESVD[0]: {start + 0x10000:016x} - {start + 0x1FFFF:016x}"
    outside = f" RESVD[1]: {1 << 50:016x} - {(1 << 50) + 0x2000:016x}"
    found = read_map(s.xen(s.xen_arm(), inside, outside))
    assert found.ram == read_map(s.xen(s.xen_arm())).ram
    assert all(r.kind == "ram" for r in found.ranges)
    assert found.stated.details["reserved"] == (
        (start + 0x10000, start + 0x20000),
        (1 << 50, (1 << 50) + 0x2000),
    )
    notes = [n for n in found.notes if "reserved by the device tree" in n.text]
    assert [n.source.line for n in notes] == [len(s.xen_arm()) + 1, len(s.xen_arm()) + 2]
    assert "0x10000 bytes of it are RAM" in notes[0].text and "no RAM" in notes[1].text
    assert read_map(found.to_json()).stated.details == found.stated.details


@pytest.mark.parametrize("shown", ["all", "the kernel's part"])
def test_a_mips_list_counts_unless_the_kernel_knows_more(shown: str) -> None:
    whole = ["Determined physical RAM map:", " memory: 10000000 @ 00000000 (usable)"]
    part = ["Determined physical RAM map:", " memory: 00700000 @ 00100000 (usable)"]
    kernel = ["Early memory node ranges", "  node   0: [mem 0x0000000000000000-0x0000000003ffffff]"]
    found = read_map(s.text((whole if shown == "all" else part) + kernel))
    assert found.ram == ((0, 0x10000000 if shown == "all" else 0x4000000),)


@pytest.mark.parametrize(
    "version, arch", [("Linux version 4.4.14 (mips-openwrt-gcc)", "mips"), ("Linux version 6.1", "x86")]
)
def test_a_user_defined_map_is_of_the_machine_whose_log_it_is_in(version: str, arch: str) -> None:
    maps = {
        "mips": ["User-defined physical RAM map:", " memory: 02000000 @ 00000000 (usable)"],
        "x86": s.linux_new([(0, 0x2000000, "usable")], "user", "user-defined physical RAM map:"),
    }
    found = read_map(s.text(version, maps[arch]), map="user")
    assert (found.arch, found.ram) == (arch, ((0, 0x2000000),))


def test_a_guests_line_on_its_hypervisor_opens_no_boot() -> None:
    log = s.text(s.linux_new(), "Xen version 4.2.", "SRAT: Node 0 PXM 0 [mem 0x00000000-0x7fffffff]")
    assert len(read_map(log).srat or ()) == 1


def test_a_mips_fragment_is_none_before_another_machines_log_either() -> None:
    part = ["Determined physical RAM map:", " memory: 00700000 @ 00100000 (usable)"]
    kernel = ["Early memory node ranges", "  node   0: [mem 0x0000000000000000-0x0000000003ffffff]"]
    found = read_map(s.text([*part, *kernel, "", ""], s.xen(s.xen_new())))
    assert found.format != "mips-memory"


def test_a_log_with_the_kernels_map_alone_says_how_to_read_it() -> None:
    log = s.text(s.linux_new(who="user", heading="user-defined physical RAM map:"))
    with pytest.raises(
        MemoryMapError, match="line 1 starts the kernel's own corrected map, which map='user' reads"
    ):
        read_map(log)
    assert read_map(log, map="user").ram == s.RAM


@pytest.mark.parametrize("between", ["", ">", "The other one has:"])
def test_a_row_that_falls_back_opens_another_map_behind_text_alone(between: str) -> None:
    rows = s.linux_new()
    fallen = "BIOS-e820: [mem 0x0000000000200000-0x00000000002fffff] usable"
    found = read_map(s.text(rows, [between, fallen]))
    assert found.ram == s.RAM
    assert any("boots with a map" in n.text for n in found.notes) == bool(between.strip(">"))
