"""Whatever is handed to read_map gives a map or one clear line; nothing hangs, nothing is guessed."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import re
import stat

import log_samples as s
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError, XenmmError
from xenmm.firmware import read_map, source
from xenmm.firmware.log_maps import minus
from xenmm.firmware.memory_map import MemoryMap, merge

LOG = s.text("Linux version 6.1", s.linux_new(), s.srat_linux())


def refusal(*args, **kwargs):
    with pytest.raises(MemoryMapError) as error:
        read_map(*args, **kwargs)
    text = str(error.value)
    assert text and "\n" not in text and len(text) < 600
    return text


# ---------------------------------------------------------------- what is handed over


def test_path_text_and_bytes_read_alike(tmp_path):
    file = tmp_path / "box.log"
    file.write_text(LOG)
    found = [
        read_map(file),
        read_map(str(file)),
        read_map(LOG),
        read_map(LOG.encode()),
        read_map(bytearray(LOG.encode())),
    ]
    assert {m.sha256 for m in found} == {found[0].sha256}
    assert found[0].ranges[0].source.file == str(file)
    assert found[0].name == "box.log"
    assert found[2].ranges[0].source.file == "<text>"


def test_name_replaces_the_path(tmp_path):
    (tmp_path / "x").write_text(LOG)
    assert read_map(tmp_path / "x", name="box").ranges[0].source.file == "box"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_packed_log_is_refused_with_the_way_to_unpack_it(tmp_path, pack):
    (tmp_path / "x").write_bytes(pack(LOG.encode()))
    message = refusal(tmp_path / "x")
    assert "compressed with" in message and "cat FILE | xenmm report -" in message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_text_in_other_encodings_is_read(encoding):
    log = ("\ufeff" if encoding == "utf-16-le" else "") + LOG
    if encoding == "latin-1":
        log = "M\xe4r 3\n" + log
    assert read_map(log.encode(encoding)).ram == s.RAM


def test_last_line_needs_no_end():
    assert read_map(LOG.rstrip("\n")).ram == s.RAM
    assert read_map(LOG.encode().rstrip()).ram == s.RAM


# ---------------------------------------------------------------- bad input


def test_missing_file(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.log")


def test_directory(tmp_path):
    assert "directory" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    (tmp_path / "x").write_text(LOG)
    (tmp_path / "x").chmod(0)
    assert "ermission" in refusal(tmp_path / "x")


def test_no_permission_as_any_user(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert "Permission denied" in refusal(tmp_path / "x")


@pytest.mark.parametrize("path", ["", "\0", "a" * 5000, "no such file"])
def test_path_that_cannot_be(path):
    refusal(path)


@pytest.mark.parametrize("source", [None, 7, 1.5, ["x"], object()])
def test_source_of_another_type(source):
    refusal(source)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"\0", b" \n" * 1000, b"\0" * 100_000, b"\xff" * 1000, b"\x7fELF" + b"\0" * 100,
        b"%PDF-1.4 x", b"PK\x03\x04" + b"x" * 100, b"\x28\xb5\x2f\xfd" + b"x" * 100, b"hello\nworld\n",
        b"{}\n", b"[]\n", b"<html>\n", b"\xff\xfe", b"\xfe\xff\x00", b"SRAT", b"SRAT" + b"\0" * 40,
        b"\xd0\x0d\xfe\xed", b"\xd0\x0d\xfe\xed" + b"\xff" * 60, b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00",
        b"/dts-v1/;\n", b'{"schema": "xenmm-map/1"}\n', b"RANGE SIZE STATE\n",
        random.Random(5).randbytes(1 << 20),
    ],
)  # fmt: skip
def test_bad_bytes_are_refused_in_one_line(data, tmp_path):
    refusal(data)
    (tmp_path / "x").write_bytes(data)
    assert refusal(tmp_path / "x").startswith(str(tmp_path / "x"))


def test_numbers_past_64_bits_negative_and_empty():
    for row in (
        "BIOS-e820: [mem 0x0000000000100000-0x10000000000000000] usable",
        "BIOS-e820: [mem 0x100000000000000000-0x200000000000000000] usable",
        "BIOS-e820: [mem -0x100000-0x200000] usable",
        "BIOS-e820: [mem 0x200000-0x100000] usable",
        "BIOS-e820: [mem 0x200000-0x1fffff] usable",
        "SMAP type=01 base=ffffffffffffffff len=0000000000000002",
        "memory: ffffffffffffffff @ ffffffffffffffff (usable)",
    ):
        refusal(row + "\n")


def test_100000_rows_are_read():
    # Every other row is of another type, so that each row of RAM is compared with its neighbours.
    rows = [(i << 20, (i + 1) << 20, "reserved" if i % 2 else "usable") for i in range(100_000)]
    found = read_map(s.text(s.linux_new(rows)))
    assert len(found.ram) == 50_000


def test_many_overlapping_rows_do_not_take_forever():
    rows = [(i << 20, (i << 20) + (1 << 40), "usable" if i % 2 else "reserved") for i in range(20_000)]
    found = read_map(s.text(s.linux_new(rows)))
    assert found.ram_bytes == 0 or found.notes


# ---------------------------------------------------------------- large input


@pytest.mark.parametrize("junk", [b"x" * 63 + b"\n", b"\n", b"x", b"\0\1\2\3", b"0123456789abcdef"])
@pytest.mark.parametrize("where", ["before", "behind", "none"])
def test_much_noise_is_read_past_in_bounded_memory(junk, where, monkeypatch):
    monkeypatch.setattr(source, "WHOLE_BYTES", 1 << 16)
    monkeypatch.setattr(source, "MOST_LINES", 5000)
    monkeypatch.setattr(source.Input.lines, "__defaults__", (1 << 16,))
    noise = junk * ((3 << 20) // len(junk)) + b"\n"
    if where == "none":
        refusal(noise)
        return
    data = LOG.encode() + noise if where == "behind" else noise + LOG.encode()
    found = read_map(data)
    assert found.ram == s.RAM and len(found.srat) == 3
    first = found.ranges[0].source.line
    assert data.split(b"\n")[first - 1].startswith(b"BIOS-e820: [mem 0x0000000000000000")


def test_wrapped_rows_of_a_large_log_are_joined(monkeypatch):
    monkeypatch.setattr(source.Input.lines, "__defaults__", (1 << 12,))
    lines = [part for line in s.linux_new() for part in line.replace(" usable", "\nusable").split("\n")]
    assert read_map("x\n" * 10_000 + s.text(lines) + "x\n" * 10_000).ram == s.RAM


def test_endless_input_stops(monkeypatch):
    monkeypatch.setattr(source, "MOST_BYTES", 1 << 20)
    assert "larger than" in refusal(b"\n" + b"x" * (3 << 20))


def test_fifo_is_read(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    if os.fork() == 0:  # pragma: no cover
        with open(path, "w") as out:
            out.write(LOG)
        os._exit(0)
    assert read_map(path).ram == s.RAM
    os.wait()


# ---------------------------------------------------------------- any bytes at all

MAPS = [s.linux_new, s.linux_old, s.xen_new, s.xen_old, s.xen_arm, s.efi, s.smap, s.node_ranges]
PIECES = st.sampled_from(
    [line + "\n" for style in (*MAPS, s.srat_linux, s.srat_xen_new, s.srat_old) for line in style()]
    + [
        "(XEN) ",
        "> ",
        "[    0.000000] ",
        "Linux version 6.1\n",
        "Xen version 4.17\n",
        "...\n",
        "\n",
        "\r",
        "\0",
    ]
    + [
        "00100000-bfffffff : System RAM\n",
        "memory: 100 @ 0 (usable)\n",
        " 0: 0x00000000 -> 0x00001000\n",
        "<6>",
    ]
    + [
        "early_node_map[1] active PFN ranges\n",
        "Dom0 memory map:\n",
        "hotplug\n",
        "user: [mem 0x0-0xfff] usable\n",
    ]
    + [
        "RANGE SIZE STATE\n",
        "0x0000000000000000-0x000000003fffffff 1G online\n",
        "last_pfn = 0x1\n",
        "{",
        "}",
    ]
    + [
        "memory@0 { reg = <0 1>; };\n",
        "Memory: 1K/2K available\n",
        "System RAM: 1MB (1kB)\n",
        "schema: xenmm-map/1",
    ]
)
mixed = st.lists(
    PIECES | st.text(max_size=12) | st.text("0123456789abcdef-x[]() ,:@", max_size=20), max_size=40
)


def check(data):
    try:
        found = read_map(data)
    except MemoryMapError as error:
        assert "\n" not in str(error)
        return None
    assert isinstance(found, MemoryMap)
    assert found.ram == merge(found.ram)
    assert all(0 <= r.start < r.end <= 1 << 64 for r in found.ranges)
    assert found.ram or found.srat or found.notes
    try:
        strict = read_map(data, strict=True)
    except MemoryMapError:
        return found
    assert strict.ranges == found.ranges
    return found


@given(st.binary(max_size=400))
@example(b"\x1f\x8b\x08")
def test_any_bytes_give_a_map_or_an_error(data):
    check(data)


@settings(max_examples=300)
@given(mixed.map("".join).map(lambda t: t + "\n"))
def test_any_mix_of_lines_gives_a_map_or_an_error(text):
    check(text)
    for wish in ({"map": "user"}, {"boot": 2}, {"strict": True}):
        with contextlib.suppress(XenmmError):
            read_map(text, **wish)


@settings(max_examples=200)
@given(st.data())
def test_damaged_log_never_has_more_ram_than_the_whole(data):
    lines = s.linux_new()
    text = s.text("Linux version 6.1", lines, s.srat_linux())
    start = data.draw(st.integers(0, len(text)))
    cut = text[:start] + text[start + data.draw(st.integers(0, 20)) :]
    found = check(cut + "\n")
    if found is not None and minus(found.ram, s.RAM):
        assert found.notes, "a row that a cut made larger is not read without a word"


ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).filter(lambda r: r[0] < r[1]), max_size=8
).map(merge)


@given(ranges, ranges)
def test_minus_is_the_difference_of_sets(a, b):
    def points(rows):
        return {x for start, end in rows for x in range(start, end)}

    assert points(minus(a, b)) == points(a) - points(b)


def typed(edges):
    types = ["usable", "reserved", "ACPI data", "usable"] * 9
    return [(a, b, t) for a, b, t in zip(edges[::2], edges[1::2], types, strict=False)]


rows = st.lists(st.integers(0, 1 << 52), min_size=2, max_size=24, unique=True).map(sorted).map(typed)


@given(rows, st.sampled_from([s.linux_new, s.linux_old, s.linux_oldest, s.xen_new, s.xen_old, s.smap, s.efi]))
def test_what_is_printed_is_read_back(machine, style):
    text = s.text(style(machine))
    ram = merge((a, b) for a, b, t in machine if t == "usable")
    found = read_map(text, strict=True)
    assert found.ram == ram
    assert {(r.start, r.end) for r in found.ranges} == {(a, b) for a, b, _ in machine}


def test_patterns_do_not_backtrack():
    # A line that almost matches, of the greatest length that is looked at, for every mark there is.
    heads = [
        line[:at]
        for style in (*MAPS, s.srat_linux, s.srat_old)
        for line in style()[:2]
        for at in (12, 24, 40)
    ]
    heads += [
        "> " * 500,
        "[" * 500,
        "Node 0 Memory:" + " 0x0-0x1" * 300,
        "SRAT Memory (0x",
        "host " * 400,
        "1" * 2000,
    ]
    heads += [
        "Memory: 1K/2K available " + "1k" * 900,
        '"msg": "' * 300,
        "kern :" * 300,
        "\x1b[" * 500,
        "Command line: ",
    ]
    for head in heads:
        for fill in ("0", "a", " ", "|", "0 ", "[0", ". ", ": "):
            with contextlib.suppress(MemoryMapError):
                read_map((head + fill * 4000)[:4096] + "x\n" * 3)


def test_errors_place_the_damage(tmp_path):
    (tmp_path / "x.log").write_text(s.text(s.linux_new(), "BIOS-e820: [mem 0x00"))
    text = refusal(tmp_path / "x.log", strict=True)
    assert re.match(rf"{re.escape(str(tmp_path))}/x.log:11: .*: 'BIOS-e820: \[mem 0x00'$", text)


def test_non_breaking_blanks_of_latin_1_part_words() -> None:
    text = s.text(s.linux_new()).replace(" ", "\xa0")
    assert read_map(text.encode("latin-1")).ram == read_map(text).ram == s.RAM


@pytest.mark.parametrize(
    "error, why", [(OSError(5, "Input/output error"), "Input/output error"), (OSError("torn"), "torn")]
)
def test_a_file_that_fails_while_it_is_read_is_refused(error, why):
    class Torn(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise error
            return super().read(size)

    opened = source.Input(Torn(LOG.encode() * 9000), "box.log")
    with pytest.raises(MemoryMapError, match=f"^box.log: cannot be read: {why}$"):
        opened.lines()


def test_a_binary_input_past_its_limit_is_named():
    with pytest.raises(MemoryMapError, match=r"^blob: larger than 67108864 bytes, too large for its format$"):
        read_map(b"SRAT" + b"\x08" * (64 << 20), name="blob")
