"""Trace readers: every format, compressed too, in pieces; damage is told by file and line, and counted."""

import bz2
import gzip
import io
import lzma
import random
import shutil
import struct
import subprocess

import numpy as np
import pytest

from xenmm.errors import ConfigError, TraceError
from xenmm.timing import traces
from xenmm.timing.traces import open_trace

R, W, X = 0, 1, 2


def write(tmp_path, data, name="t.txt"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def accesses(trace):
    out = []
    for c in trace:
        kinds = c.kinds if c.kinds is not None else np.zeros(len(c.addresses), np.uint8)
        sizes = c.sizes if c.sizes is not None else np.ones(len(c.addresses), np.uint16)
        out += zip(c.addresses.tolist(), kinds.tolist(), sizes.tolist(), strict=True)
    return out


LACKEY = """==12== Lackey, an example Valgrind tool
I  0401ec60,3
 L 1ffefffe78,8
 S ffffffffffffffff,4
 M 0421c7cc,4
==12==
I  0401ec63,5
"""
LACKEY_ACCESSES = [
    (0x401EC60, X, 3),
    (0x1FFEFFFE78, R, 8),
    (2**64 - 1, W, 4),
    (0x421C7CC, R, 4),
    (0x421C7CC, W, 4),
    (0x401EC63, X, 5),
]
PERF = """# comment
 bash  1234 [000] 12345.678901:     30  cpu/mem-loads,ldlat=30/P:  7f0012345678  68100142 |OP LOAD|LVL L1 hit
 ffff810 bash  1234 [000] 12345.678999:      1  cpu/mem-stores/P:  ffff88810a3b5c00  5080144 |OP STORE|
"""


@pytest.mark.parametrize(
    ("text", "format", "expected"),
    [
        (LACKEY, "lackey", LACKEY_ACCESSES),
        ("0 1000\n1 0x1008 4\n2 ff\n3 0\n\nr 7 8\nw 8\ni 9\n", "din",
         [(0x1000, R, 1), (0x1008, W, 4), (0xFF, X, 1), (7, R, 8), (8, W, 1), (9, X, 1)]),
        ("LD 0xffff830000000000\r\nST 0x10\r\nR 1\nW 2", "ldst",
         [(0xFFFF830000000000, R, 1), (16, W, 1), (1, R, 1), (2, W, 1)]),
        (PERF, "perf", [(0x7F0012345678, R, 1), (0xFFFF88810A3B5C00, W, 1)]),
    ],
)  # fmt: skip
def test_text_formats_are_detected_and_read(tmp_path, text, format, expected):
    trace = open_trace(write(tmp_path, text))
    assert trace.format == format
    assert accesses(trace) == expected
    assert trace.bad == 0


def test_a_bad_line_is_told_by_file_and_line_and_counted(tmp_path):
    path = write(tmp_path, "LD 0x1\nLD 0xzz\n# remark\nST 0x2\nLD 0x12345678123456789\nJUNK\nST 0x3\n")
    trace = open_trace(path)
    assert accesses(trace) == [(1, R, 1), (2, W, 1), (3, W, 1)]
    assert (trace.bad, trace.remarks) == (3, 1)
    assert [p.split(":")[1] for p in trace.problems] == ["2", "5", "6"]
    assert trace.problems[0] == f"{path}:2: no access of a ldst trace: 'LD 0xzz'"


def test_sizes_end_where_the_engines_do(tmp_path):
    trace = open_trace(write(tmp_path, " L 10,4096\n L 20,4097\n L 30,999\n L 40,0\n L 50,10000\n"))
    assert accesses(trace) == [(16, R, 4096), (48, R, 999)]
    assert trace.problems[0] == f"{trace.file}:2: an access of more than 4096 bytes: 'L 20,4097'"
    assert trace.bad == 3


def test_line_numbers_hold_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "_BLOCK_BYTES", 64)
    lines = [f"LD {n:#x}" for n in range(500)]
    lines[333] = "oops"
    trace = open_trace(write(tmp_path, "\n".join(lines)))
    trace_accesses = [a for c in iter(trace) for a in c.addresses.tolist()]
    assert trace_accesses == [n for n in range(500) if n != 333]
    assert trace.problems == [f"{trace.file}:334: no access of a ldst trace: 'oops'"]


def test_strict_stops_at_the_first_bad_line(tmp_path):
    trace = open_trace(write(tmp_path, "LD 1\nx\ny\n"), strict=True)
    with pytest.raises(TraceError, match=r"t.txt:2: no access"):
        accesses(trace)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_compressed_traces(tmp_path, compress):
    assert accesses(open_trace(write(tmp_path, compress(LACKEY.encode())))) == LACKEY_ACCESSES


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_compressed_trace_that_ends_early_is_a_problem(tmp_path, compress):
    text = "".join(f"LD {n * 7919:#x}\n" for n in range(20_000)).encode()
    data = compress(text)
    trace = open_trace(write(tmp_path, data[: len(data) // 2]))
    got = accesses(trace)
    assert 0 < len(got) < 20_000
    assert sum("ends early" in p or "damaged" in p for p in trace.problems) == 1
    # The line that the end cut may be a second problem, or may still read as an access.
    assert trace.bad == len(trace.problems) <= 2


def test_raw_and_npy(tmp_path):
    values = np.array([0, 1 << 42, 2**64 - 1], np.uint64)
    raw = open_trace(write(tmp_path, values.tobytes() + b"abc", "t.bin"))
    assert [a for a, _, _ in accesses(raw)] == values.tolist()
    assert raw.problems == [f"{raw.file}: the last 3 bytes are no whole record of 8"]
    np.save(tmp_path / "t.npy", values)
    assert [a for a, _, _ in accesses(open_trace(tmp_path / "t.npy"))] == values.tolist()
    short = (tmp_path / "t.npy").read_bytes()[:-8]
    cut = open_trace(write(tmp_path, short, "cut.npy"))
    assert len(accesses(cut)) == 2
    assert cut.bad == 1


def test_champsim_records(tmp_path):
    record = struct.pack("<QBB2B4B2Q4Q", 0x401000, 0, 0, 1, 0, 2, 0, 0, 0, 0x9000, 0, 0x7000, 0, 0x7008, 0)
    branch = struct.pack("<QBB2B4B2Q4Q", 0x401004, 1, 1, 26, 0, 26, 25, 0, 0, 0, 0, 0, 0, 0, 0)
    trace = open_trace(write(tmp_path, lzma.compress(record + branch), "a.champsimtrace.xz"))
    assert trace.format == "champsim"
    assert accesses(trace) == [
        (0x401000, X, 1),
        (0x7000, R, 1),
        (0x7008, R, 1),
        (0x9000, W, 1),
        (0x401004, X, 1),
    ]


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "t", "the trace is empty"),
        (b"hello world\n", "t", "format is not known"),
        (b"\x00\xff" * 50, "t", "format is not known"),
        (b"\x1f\x8bgarbage", "t.gz", "damaged"),
        (b"\x93NUMPY\x01\x00\x10\x00garbage", "t.npy", "header is damaged"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, data, name, message):
    with pytest.raises(TraceError, match=message):
        accesses(open_trace(write(tmp_path, data, name)))


def test_other_arrays_are_refused(tmp_path):
    np.save(tmp_path / "f.npy", np.zeros(4))
    with pytest.raises(TraceError, match="array of uint64 and one dimension"):
        accesses(open_trace(tmp_path / "f.npy"))


def test_what_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        open_trace(tmp_path / "none")
    with pytest.raises(TraceError, match="directory"):
        open_trace(tmp_path)
    with pytest.raises(ConfigError, match="format: 'elf'"):
        open_trace(tmp_path, "elf")


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "_BLOCK_BYTES", 1024)
    with pytest.raises(TraceError, match="has no end"):
        accesses(open_trace(write(tmp_path, "LD 1\n" + "x" * 10_000), "ldst"))


def test_lackeys_own_output(tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    out = tmp_path / "lackey.txt"
    command = ["valgrind", "--tool=lackey", "--trace-mem=yes", f"--log-file={out}", "/bin/true"]
    subprocess.run(command, check=True, env={})
    trace = open_trace(out)
    kinds = np.concatenate([c.kinds for c in trace])
    assert trace.format == "lackey"
    assert trace.bad == 0
    assert all((kinds == k).sum() > 1000 for k in (R, W, X))


def damaged(rng):
    """Return a trace with some bytes changed, cut, inserted or doubled."""
    array = io.BytesIO()
    np.save(array, np.arange(50, dtype=np.uint64))
    plain = [LACKEY.encode(), PERF.encode(), b"LD 0x12\nST 0xff\n" * 9, rng.randbytes(640), array.getvalue()]
    data = rng.choice(
        [*plain, *map(gzip.compress, plain[:2]), lzma.compress(plain[0]), bz2.compress(plain[2])]
    )
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(data) + 1)
        data = rng.choice([data[:at], data[:at] + rng.randbytes(5) + data[at:], data + data[:at]])
        data = data[: at - 1] + rng.randbytes(1) + data[at:]
    return data


def test_damage_never_ends_in_anything_but_an_error(tmp_path):
    rng, read = random.Random(11), 0
    for _ in range(400):
        path = write(tmp_path, damaged(rng))
        try:
            trace = open_trace(path, rng.choice([None, *traces.FORMATS]))
            for _, kind, size in accesses(trace):
                assert kind in (R, W, X)
                assert 1 <= size <= 4096
            read += 1
        except TraceError as e:
            assert "\n" not in str(e)
    assert 50 < read < 350
