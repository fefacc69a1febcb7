"""Readers of access traces: one a format, each streaming in constant memory, none skipping anything in
silence.

========= ==============================================================================================
lackey    ``valgrind --tool=lackey --trace-mem=yes``: ``I  04001234,3``, `` L 1ffe,8``, `` S ..``, `` M ..``
din       Dinero: ``0 7fff1234`` read, ``1 ..`` write, ``2 ..`` fetch, or ``r``, ``w``, ``i``; then a size or
          none
ldst      ``LD 0x1234`` and ``ST 0x1234`` (``R`` and ``W`` too)
perf      the text of ``perf script`` with a data address: ``... cpu/mem-loads/P:  7f0012345678 ...``
champsim  ChampSim's 64-byte instruction records
raw       little-endian uint64, reads
npy       NumPy's file of uint64 or int64, one dimension, reads
========= ==============================================================================================

Each may be compressed by gzip, xz or bzip2. A lackey ``M`` is a read and then a write. A ChampSim
instruction is its fetch, then its reads, then its writes; its records have no sizes.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from ..errors import TraceError, need_one_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Formats of traces; gzip, xz and bzip2 of each are read too.
FORMATS: Final = ("lackey", "din", "ldst", "perf", "champsim", "raw", "npy")
_BLOCK_BYTES: Final = 1 << 20
_SHOWN_PROBLEMS: Final = 20
#: What the engine takes as one access, in bytes.
_SIZE_MAX: Final = 4096
_READ, _WRITE, _EXECUTE, _MODIFY = 0, 1, 2, 3

_HEX: Final = rb"(?:0[xX])?([0-9a-fA-F]{1,16})"
_LACKEY: Final = re.compile(rb"^(I | [LSM]) +([0-9a-fA-F]{1,16}),([1-9]\d{0,3})[ \t\r]*$", re.M)
_DIN: Final = re.compile(rb"^[ \t]*([012rwiRWI])[ \t]+" + _HEX + rb"(?:[ \t]+([1-9]\d{0,3}))?[ \t\r]*$", re.M)
_LDST: Final = re.compile(rb"^[ \t]*(LD|ST|R|W|ld|st|r|w)[ \t]+" + _HEX + rb"()[ \t\r]*$", re.M)
_PERF: Final = re.compile(
    rb"^[^\n#]*?([\w./,=-]*(?:mem|load|store)[\w./,=:-]*):[ \t]+" + _HEX + rb"\b()[^\n]*$", re.M
)
_NOTHING: Final = re.compile(rb"^[ \t\r]*(?:#[^\n]*)?$")
#: Lines of a format that say something else than an access, and are no fault of the trace.
_REMARKS: Final = {
    "lackey": re.compile(rb"^(?:==|--)\d+(?:==|--)|^[ \t\r]*$"),
    "din": re.compile(rb"^[ \t]*[34][ \t]|^[ \t\r]*(?:#.*)?$"),
}
#: Where a text fits two formats equally well, the first is taken.
_TEXT: Final = {"lackey": _LACKEY, "ldst": _LDST, "din": _DIN, "perf": _PERF}
_KIND: Final = {
    **dict.fromkeys((b" L", b"0", b"r", b"R", b"LD", b"ld"), _READ),
    **dict.fromkeys((b" S", b"1", b"w", b"W", b"ST", b"st"), _WRITE),
    **dict.fromkeys((b"I ", b"2", b"i", b"I"), _EXECUTE),
    b" M": _MODIFY,
}


@dataclass
class Chunk:
    """Some accesses in order: addresses (uint64), kinds (uint8), sizes (uint16), each of shape (n,)."""

    addresses: npt.NDArray[np.uint64]
    kinds: npt.NDArray[np.uint8] | None = None
    sizes: npt.NDArray[np.uint16] | None = None


@dataclass
class Trace:
    """A trace that is read once, from its beginning.

    Attributes
    ----------
    file, format : str
        Its name as given, and its format.
    remarks : int
        Lines that are no accesses and are known to be none: valgrind's messages, comments, blanks, cache
        flushes.
    bad : int
        Lines (or parts of records) that could not be read; none of them is simulated.
    bytes_read : int
        What was read so far, unpacked; its SHA-256 stands in the result beside it.
    problems : list of str
        What was wrong with the first of them: file, line, reason and text.
    """

    file: str
    format: str
    strict: bool = False
    remarks: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)
    bytes_read: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    _file: IO[bytes] | None = None
    _stream: IO[bytes] | None = None
    _head: bytes = b""
    _ended: bool = False

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the accesses in pieces.

        Raises
        ------
        TraceError
            The trace cannot be read on; or, when strict, has a bad line.
        """
        reader = {"champsim": _champsim, "raw": _raw, "npy": _npy}.get(self.format, _text)
        try:
            yield from reader(self)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; reading to the end does it too."""
        for f in (self._stream, self._file):
            if f is not None and f is not sys.stdin.buffer:
                f.close()

    def read(self, n: int = 0) -> bytes:
        """Return the next `n` bytes (0: a block), fewer only at the end."""
        assert self._stream is not None
        n = n or _BLOCK_BYTES
        parts = [self._head[:n]]
        self._head = self._head[n:]
        missing = n - len(parts[0])
        while missing and not self._ended:
            try:
                part = self._stream.read(missing)
            except (EOFError, OSError, ValueError) as e:
                self.problem(None, f"the compressed data is damaged or ends early ({e})")
                # The next read would only find the same damage again.
                self._ended = True
                break
            except Exception as e:
                # lzma and zlib raise types of their own, and name them only when imported.
                if type(e).__module__ not in ("_lzma", "lzma", "zlib"):
                    raise
                self.problem(None, f"the compressed data is damaged ({e})")
                self._ended = True
                break
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self.bytes_read += len(data)
        self._hash.update(data)
        return data

    def problem(self, line: int | None, what: str, text: bytes = b"") -> None:
        """Count one bad line, and keep the first few."""
        place = f"{self.file}:{line}" if line is not None else self.file
        shown = f": {text[:80].decode('ascii', 'backslashreplace')!r}" if text else ""
        message = f"{place}: {what}{shown}"
        if self.strict:
            raise TraceError(message)
        self.bad += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(message)

    def to_dict(self) -> dict[str, Any]:
        """Return what the result says of its input."""
        return {
            "file": self.file,
            "format": self.format,
            "bytes": self.bytes_read,
            "sha256": self._hash.hexdigest(),
            "remarks": self.remarks,
            "bad": self.bad,
            "problems": list(self.problems),
        }


def open_trace(path: str | os.PathLike[str], format: str | None = None, *, strict: bool = False) -> Trace:
    """Open a trace; ``-`` is standard input.

    Parameters
    ----------
    path : path
    format : str, optional
        One of :data:`FORMATS`; found from the name and the first bytes when not given.
    strict : bool
        Raise at the first bad line, instead of counting it.

    Raises
    ------
    TraceError
        The file cannot be opened, is empty, or has no format that is known.
    ConfigError
        `format` is unknown.
    """
    name = os.fspath(path)
    if format is not None:
        need_one_of("format", format, FORMATS)
    try:
        file = sys.stdin.buffer if name == "-" else open(name, "rb")  # noqa: SIM115
    except OSError as e:
        raise TraceError(f"{name}: {e.strerror or e}") from None
    trace = Trace(name, format or "", strict, _file=file)
    try:
        trace._stream, trace._head = _decompress(file)
        beginning = trace.read(4096)
        if not beginning:
            raise TraceError(trace.problems[0] if trace.problems else f"{name}: the trace is empty")
        trace.format = format or _detect(name, beginning)
    except OSError as e:
        trace.close()
        raise TraceError(f"{name}: {e.strerror or e}") from None
    except TraceError:
        trace.close()
        raise
    trace._head, trace.bytes_read, trace._hash = beginning + trace._head, 0, hashlib.sha256()
    return trace


def _decompress(file: IO[bytes]) -> tuple[IO[bytes], bytes]:
    head = file.read(6)
    magic = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "lzma", b"BZh": "bz2"}
    for start, module in magic.items():
        if head.startswith(start):
            from importlib import import_module

            opened: IO[bytes] = import_module(module).open(_Rest(head, file))
            return opened, b""
    return file, head


class _Rest:
    """A file that was read from a little: its beginning again, then the rest."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file

    def read(self, n: int = -1) -> bytes:
        if not self._head:
            return self._file.read(n)
        head = self._head if n < 0 else self._head[:n]
        self._head = self._head[len(head) :]
        return head if 0 <= n == len(head) else head + self._file.read(n - len(head) if n >= 0 else -1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()


def _detect(name: str, head: bytes) -> str:
    stem = re.sub(r"\.(gz|xz|bz2)$", "", name)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    for suffix, format in (
        (".champsimtrace", "champsim"),
        (".champsim", "champsim"),
        (".bin", "raw"),
        (".din", "din"),
    ):
        if stem.endswith(suffix):
            return format
    if re.search(rb"[^\t\n\r\x20-\x7e]", head) is None:
        lines = head.split(b"\n")
        whole = lines[:-1] or lines
        fits = {format: sum(map(bool, map(pattern.match, whole))) for format, pattern in _TEXT.items()}
        best = max(fits, key=lambda format: fits[format])
        if fits[best]:
            return best
    elif stem.endswith((".trace", ".u64", ".raw")):
        return "raw"
    known = ", ".join(FORMATS)
    raise TraceError(f"{name}: the trace's format is not known; say which with --format ({known})")


# ---- text ----


def _text(trace: Trace) -> Iterator[Chunk]:
    pattern = _TEXT[trace.format]
    line, carried = 1, b""
    while True:
        block = trace.read()
        data = carried + block
        end = data.rfind(b"\n") + 1 if block else len(data)
        if block and end == 0 and len(data) > 4 * _BLOCK_BYTES:
            raise TraceError(f"{trace.file}:{line}: the line has no end: this is no {trace.format} trace")
        whole, carried = data[:end], data[end:]
        if whole:
            if not whole.endswith(b"\n"):
                whole += b"\n"
            found = pattern.findall(whole)
            lines = whole.count(b"\n")
            if len(found) != lines or any(len(f[2]) > 3 for f in found):
                found = _sift(trace, pattern, whole, line)
            if found:
                yield _records(found)
            line += lines
        if not block:
            return


def _sift(
    trace: Trace, pattern: re.Pattern[bytes], whole: bytes, line: int
) -> list[tuple[bytes, bytes, bytes]]:
    # Something in these lines is no access: take them one by one.
    remarks, good = _REMARKS.get(trace.format, _NOTHING), []
    for number, text in enumerate(whole.split(b"\n")[:-1], line):
        m = pattern.match(text)
        if m is None:
            if remarks.match(text):
                trace.remarks += 1
            else:
                trace.problem(number, f"no access of a {trace.format} trace", text.strip())
        elif m[3] and int(m[3]) > _SIZE_MAX:
            trace.problem(number, f"an access of more than {_SIZE_MAX} bytes", text.strip())
        else:
            good.append((m[1], m[2], m[3]))
    return good


def _records(found: list[tuple[bytes, bytes, bytes]]) -> Chunk:
    import numpy as np

    addresses = np.array([int(f[1], 16) for f in found], np.uint64)
    kinds = np.array([_kind(f[0]) for f in found], np.uint8)
    sizes = np.array([int(f[2] or 1) for f in found], np.uint16)
    modify = kinds == _MODIFY
    if modify.any():
        times = 1 + modify.astype(np.intp)
        second = np.zeros(int(times.sum()), bool)
        second[np.cumsum(times)[modify] - 1] = True
        addresses, kinds, sizes = (
            np.repeat(addresses, times),
            np.repeat(kinds, times),
            np.repeat(sizes, times),
        )
        kinds[kinds == _MODIFY] = _READ
        kinds[second] = _WRITE
    return Chunk(addresses, kinds, sizes)


def _kind(word: bytes) -> int:
    kind = _KIND.get(word)
    return kind if kind is not None else _WRITE if b"store" in word else _READ


# ---- binary ----


def _champsim(trace: Trace) -> Iterator[Chunk]:
    import numpy as np

    record = np.dtype(
        [
            ("ip", "<u8"),
            ("is_branch", "u1"),
            ("branch_taken", "u1"),
            ("destination_registers", "u1", 2),
            ("source_registers", "u1", 4),
            ("destination_memory", "<u8", 2),
            ("source_memory", "<u8", 4),
        ]
    )
    assert record.itemsize == 64
    kinds = np.array([_EXECUTE] + [_READ] * 4 + [_WRITE] * 2, np.uint8)
    for data in _whole_records(trace, record.itemsize):
        r = np.frombuffer(data, record)
        table = np.concatenate([r["ip"][:, None], r["source_memory"], r["destination_memory"]], axis=1)
        used = table != 0
        # A fetch at 0 is an address like any other; a memory operand of 0 is none.
        used[:, 0] = True
        yield Chunk(np.ascontiguousarray(table[used]), np.broadcast_to(kinds, table.shape)[used])


def _raw(trace: Trace) -> Iterator[Chunk]:
    import numpy as np

    for data in _whole_records(trace, 8):
        yield Chunk(np.frombuffer(data, "<u8").astype(np.uint64, copy=False))


def _npy(trace: Trace) -> Iterator[Chunk]:
    import numpy as np

    dtype, shape = _npy_header(trace)
    if len(shape) != 1 or dtype not in ("<u8", ">u8", "<i8", ">i8"):
        what = f"{dtype} of shape {shape}"
        raise TraceError(f"{trace.file}: an array of uint64 and one dimension is needed, not {what}")
    missing = shape[0]
    for data in _whole_records(trace, 8):
        values = np.frombuffer(data, dtype)[:missing]
        missing -= len(values)
        yield Chunk(values.astype(np.uint64))
    if missing:
        trace.problem(None, f"{missing} of the array's {shape[0]} addresses are missing")


def _npy_header(trace: Trace) -> tuple[str, tuple[int, ...]]:
    # NumPy's own reader raises and warns of much else when the header is damaged.
    import ast

    start = trace.read(8)
    wide = start[6:7] != b"\1"
    length = int.from_bytes(trace.read(4 if wide else 2), "little")
    text = trace.read(length) if 0 < length <= 1 << 16 else b""
    try:
        header = ast.literal_eval(text.decode("ascii").strip())
        descr, shape = header["descr"], header["shape"]
        if not isinstance(descr, str) or not all(isinstance(n, int) and n >= 0 for n in tuple(shape)):
            raise ValueError
        return descr, tuple(shape)
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise TraceError(f"{trace.file}: the .npy header is damaged") from None


def _whole_records(trace: Trace, size: int) -> Iterator[bytes]:
    while data := trace.read(_BLOCK_BYTES):
        rest = len(data) % size
        if rest:
            trace.problem(None, f"the last {rest} bytes are no whole record of {size}")
            data = data[:-rest]
        if data:
            yield data
