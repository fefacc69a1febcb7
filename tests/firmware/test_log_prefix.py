"""Whatever saved the console put something before each line; the line's own text must come out whole."""

import pytest

from xenmm.firmware.log_prefix import split_line

ROW = "BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable"
PREFIXES = [
    "",
    "[    0.000000] ",
    "[0.000000] ",
    "[    0.000000][    T0] ",
    "[    0.000000] [    T0] ",
    "[    0.000000][    C0] ",
    "[    0.000000 <    0.000000>] ",
    "[    0.000000,0] ",
    "<6>[    0.000000] ",
    "<6>",
    "<14>1 2026-11-23T15:02:14Z host kernel - - - ",
    "kern  :info  : [    0.000000] ",
    "kern  :info  : [Mon Nov 23 15:02:14 2026] ",
    "[Mon Nov 23 15:02:14 2026] ",
    "[Nov23 15:02] ",
    "2026-11-23T15:02:14,123456+00:00 ",
    "2026-11-23T15:02:14.123456+01:00 host kernel: ",
    "2026-11-23 15:02:14.123 ",
    "2026-11-23 15:02:14 host kernel: [    0.000000] ",
    "[2026-11-23 15:02:14.123456] ",
    "[2026-11-23T15:02:14] [    0.000000] ",
    "Nov 23 15:02:14 host kernel: ",
    "Nov  3 15:02:14 host.example.org kernel: [    0.000000] ",
    "Nov 23 15:02:14 host kernel[0]: ",
    "Nov 23 15:02:14.123456 host kernel: ",
    "Mär 03 15:02:14 wirt kernel: ",
    "févr. 03 15:02:14 hote kernel: ",
    "Mon 2026-11-23 15:02:14 UTC host kernel: ",
    "1795446134.123456 host kernel: ",
    "[    0.000000] host kernel: ",
    "host kernel: ",
    "kernel: ",
    "15:02:14 ",
    "15:02:14.123 > ",
    "> ",
    ">",
    "> > ",
    ">> ",
    "> >> > ",
    "JB> ",
    "| ",
    "| | ",
    "> [    0.000000] ",
    " > <6>[    0.000000] ",
    "&gt; ",
    "&gt; &lt;6&gt;[    0.000000] ",
    "\x1b[32m[    0.000000] \x1b[0m\x1b[33m",
    "\x1b[1;31m",
    "\ufeff",
    "<br>",
    "<span class='quote'>&gt; </span>",
    "[] ",
    "[    0.000000]  [0:      swapper:    0] ",
    "[    0.000000] (0)[0:swapper]",
    "MESSAGE=",
    '{"dt": "2026-11-23T15:02:14", "lvl": "target", "msg": "[    0.000000] ',
    '{"_HOSTNAME":"host","PRIORITY":"6","MESSAGE":"',
    "lab-rack7-ttyS0 >>> [    0.000000] ",
    "host01.console: Nov 23 15:02:14 host01 kernel: ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefix_is_taken_off_and_the_row_stays(prefix: str) -> None:
    (line,) = [part for part in split_line(7, prefix + ROW) if "e820" in part.text]
    assert line.text.strip().removesuffix('"}') == ROW
    assert line.number == 7


@pytest.mark.parametrize("prefix", [p for p in PREFIXES if not p or p.endswith((" ", ">"))])
def test_indentation_behind_a_prefix_stays(prefix: str) -> None:
    (line,) = [part for part in split_line(1, prefix + "  node   0: [mem 0x1-0x2]") if "node" in part.text]
    assert line.text.startswith("  node") or prefix in (">", "\x1b[1;31m")


@pytest.mark.parametrize(
    "prefix",
    [
        "(XEN) ",
        "(XEN) [2026-11-23 15:02:14] ",
        "(XEN) [2026-11-23 15:02:14.123] ",
        "(XEN) [    0.000000] ",
        "(XEN) [0000001a2b3c4d5e] ",
        "[    0.000000] (XEN) ",
        "[2026-11-23 15:02:14 UTC] (XEN) ",
        "> (XEN) ",
        "Nov 23 15:02:14 host xen: (XEN) ",
        "\x1b[0m(XEN) ",
        "(XEN)",
        "rack-7 tty0: (XEN) ",
    ],
)
@pytest.mark.parametrize(
    "row",
    [
        " [0000000000000000, 000000000009fbff] (usable)",
        " 0000000000000000 - 000000000009fc00 (usable)",
        " [0000000000000000, 0000000000099999] (usable)",
        "RAM: 0000000080000000 - 00000000bfffffff",
    ],
)
def test_xens_prefix_is_taken_off_and_known(prefix: str, row: str) -> None:
    (line,) = split_line(1, prefix + row)
    assert line.text.strip() == row.strip()
    assert line.realm == "xen"


@pytest.mark.parametrize(
    "text",
    [
        "(XEN) HVM4:   3: 0000000000100000 - 000000003f800000 = 1 RAM",
        "(XEN) [2026-11-23 15:02:14] HVM12:   0: 0000000000000000 - 00000000000a0000 = 1 RAM",
        "(XEN) d1v0   [00]: 00000000:00000000 - 00000000:0009fc00: RAM",
        "(XEN) (d3)  [01]: 00000000:00100000 - 00000000:3f800000: RAM",
        "(d1) E820 table:",
        "(d2)  [00]: 00000000:00000000 - 00000000:000a0000: RAM",
    ],
)
def test_domain_console_is_told_apart(text: str) -> None:
    (line,) = split_line(1, text)
    assert line.realm == "guest"


def test_several_messages_on_one_line_are_parted() -> None:
    stamped = f"[    0.000000] {ROW}"
    found = split_line(3, stamped + stamped + " noise")
    assert [line.number for line in found] == [3, 3]
    assert [line.text.strip().startswith("BIOS-e820: ") for line in found] == [True, True]


def test_archive_header_and_overprinting_are_cut_off() -> None:
    found = split_line(1, "logs/dmesg.txt\0\0\0000644\0root\0\0" + ROW + "\r")
    assert found[-1].text == ROW
    assert split_line(1, "\r" + ROW)[0].text == ROW
    assert split_line(1, "GRUB loading.\r" + ROW)[-1].text == ROW


def test_blanks_of_every_kind_are_blanks() -> None:
    (line,) = split_line(1, ">\xa0\xa0\xa0" + "00100000-bfffffff : System RAM")
    assert line.text == "  00100000-bfffffff : System RAM"


def test_long_line_is_bounded() -> None:
    (line,) = split_line(1, "> " + "x" * 10_000_000)
    assert len(line.text) < 5000
