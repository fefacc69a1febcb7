"""From what a caller hands over - a path, a text, bytes - to lines.

Small inputs are kept whole. Of large ones only the lines that could matter stay in memory, so
that a hundred megabytes of a serial console cost time, not space.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from itertools import pairwise
from typing import IO, Final

from ..errors import MemoryMapError
from . import elf_core
from .log_blocks import ANYTHING
from .log_prefix import LINE_LIMIT

Lines = list[tuple[int, str]]

#: A text up to this many bytes is kept whole.
WHOLE_BYTES: Final = 8 << 20
#: The most that is read of any input; an endless device stops here.
MOST_BYTES: Final = 1 << 30
#: The most lines that a large input may leave in memory.
MOST_LINES: Final = 400_000
_CHUNK: Final = 1 << 20
_HEAD: Final = 1 << 16
#: An input shows with so many bytes that it is a dump.
_SNIFFED: Final = 4
#: Lines kept behind a line that could matter, since rows are wrapped.
_BEHIND: Final = 3

# What is packed is refused, never guessed at: the message says how to hand over what is inside.
_REFUSED: Final = (
    (b"\x1f\x8b", "compressed with gzip; unpack it first: zcat FILE | xenmm report -"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it first: xzcat FILE | xenmm report -"),
    (b"BZh", "compressed with bzip2; unpack it first: bzcat FILE | xenmm report -"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first: zstdcat FILE | xenmm report -"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it first: lz4cat FILE | xenmm report -"),
    (b"PK\x03\x04", "a zip archive; unpack it and read the log inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and read the log inside"),
    (b"KDUMP   ", "a compressed dump of makedumpfile's; dumps are read in ELF: makedumpfile -E"),
    (b"makedumpfile\0\0\0\0", "a flattened dump of makedumpfile's; make it whole first: makedumpfile -R"),
    (b"%PDF", "a PDF, not a log; save its text"),
)


def open_source(source: object, name: str | None) -> tuple[IO[bytes], str]:
    """Open a path, or wrap bytes or text; returns the stream and the input's name.

    Raises
    ------
    MemoryMapError
        If the file cannot be opened, or the source is none of the three.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(bytes(source)), name or "<bytes>"
    if isinstance(source, str) and ("\n" in source or "\r" in source):
        return io.BytesIO(source.encode("utf-8", "surrogateescape")), name or "<text>"
    if not isinstance(source, str | os.PathLike):
        raise MemoryMapError(
            f"a memory map is read from a path, a text or bytes, not from {type(source).__name__}"
        )
    path = os.fspath(source)
    shown = os.fsdecode(path)
    if not shown:
        raise MemoryMapError("the path is empty; a text to read has at least one line end", file=name)
    try:
        return open(path, "rb"), name or shown
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MemoryMapError(f"cannot be read: {why}", file=name or shown[:200]) from None


def read_stream(stream: IO[bytes], most: int) -> bytes:
    """Read what is wanted of a stream that is read once: up to ``most`` bytes, or a dump's beginning."""
    head = stream.read(_SNIFFED)
    wanted = elf_core.BEGINNING_BYTES if elf_core.sniff_bytes(head) else most
    return head + stream.read(max(0, wanted - len(head)))


def file_hash(path: str | os.PathLike[str]) -> tuple[str, int]:
    """SHA-256 and number of the bytes that count in a file: all, or of a dump its beginning.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        # Behind its headers a dump has the memory of a whole machine.
        if elf_core.sniff_bytes(file.peek(_SNIFFED)):
            data = file.read(elf_core.BEGINNING_BYTES)
            return hashlib.sha256(data).hexdigest(), len(data)
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


class Input:
    """An opened input: its head, all its bytes, or its lines.

    Raises
    ------
    MemoryMapError
        Everywhere, if the input cannot be read or unpacked.
    """

    def __init__(self, stream: IO[bytes], file: str) -> None:
        self.file = file
        self._stream: IO[bytes] = stream
        self.head = self._read(_HEAD)
        for magic, what in _REFUSED:
            if self.head.startswith(magic):
                raise MemoryMapError(f"is {what}", file=file)
        if self.head.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = self.all_bytes(MOST_BYTES >> 4).decode("utf-16", "replace")
            self._stream = io.BytesIO(text.encode("utf-8", "replace"))
            self.head = self._read(_HEAD)

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise MemoryMapError(f"cannot be read: {error.strerror or error}", file=self.file) from None

    def beginning(self, most: int) -> bytes:
        """The input's first ``most`` bytes, however long it is."""
        return self.head + self._read(max(0, most - len(self.head)))

    def all_bytes(self, most: int) -> bytes:
        """The whole input, refused above ``most`` bytes."""
        rest = self._read(most + 1 - len(self.head)) if len(self.head) <= most else b"x"
        if len(self.head) + len(rest) > most:
            raise MemoryMapError(f"larger than {most} bytes, too large for its format", file=self.file)
        return self.head + rest

    def lines(self, keep: int = WHOLE_BYTES) -> Lines:
        """The lines with their numbers: all up to ``keep`` bytes, else those that could matter."""
        kept: Lines = []
        number = 1
        carry = b""
        total = 0
        whole = True
        # Lines that end in a carriage return alone.
        bare_returns = b"\n" not in self.head and b"\r" in self.head
        chunk = self.head
        while chunk:
            chunk = chunk.replace(b"\r", b"\n") if bare_returns else chunk
            total += len(chunk)
            if total > MOST_BYTES:
                raise MemoryMapError(f"larger than {MOST_BYTES >> 20} MiB; cut out one boot", file=self.file)
            if whole and (total > keep or len(kept) > MOST_LINES):
                whole = False
                kept = _that_matter(kept)
            text, newline, carry = (carry + chunk).rpartition(b"\n")
            if newline:
                kept += _split(text, number, whole)
                number += text.count(b"\n") + 1
            if not whole:
                carry = carry[:LINE_LIMIT]
            if not whole and len(kept) > MOST_LINES:
                raise MemoryMapError(
                    f"more than {MOST_LINES} lines of it could matter; cut out one boot", file=self.file
                )
            chunk = self._read(_CHUNK)
        if carry:
            kept += _split(carry, number, whole)
        return kept


#: A stretch of a large input without any of these has no row, no heading and no stated fact in it.
_STRONG: Final = (
    b"e820", b"usable", b"RAM", b"SRAT", b"PXM", b"node", b"range=[", b"SMAP", b"emory", b"version", b"PFN",
    b"ommand line", b"efi: ", b"last_pfn", b"DMI:", b"odel:", b"odified",
)  # fmt: skip


# A non-breaking blank of Latin-1, and no part of a longer character of UTF-8.
_LATIN1_BLANK: Final = re.compile(rb"(?<![\x80-\x9f\xa1-\xf4])\xa0")


def _decode(data: bytes) -> str:
    """Text of bytes that mean UTF-8, or an 8-bit code of a mail, whose blanks still part the words."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _LATIN1_BLANK.sub(b" ", data).decode("utf-8", "replace")


def _split(data: bytes, number: int, whole: bool) -> Lines:
    if not whole:
        return _matching_lines(data, number) if any(mark in data for mark in _STRONG) else []
    lines = list(enumerate(_decode(data).split("\n"), number))
    # Of many empty lines in a row one is enough to part what stands around them.
    return [a for a, b in pairwise((*lines, (0, "x"))) if a[1] or b[1]] if b"\n\n\n" in data else lines


def _matching_lines(data: bytes, number: int) -> Lines:
    """The lines of a large text that could matter, found without cutting it into lines first."""
    text = _decode(data)
    found: Lines = []
    at = counted = 0
    while match := ANYTHING.search(text, at):
        start = text.rfind("\n", 0, match.start()) + 1
        number += text.count("\n", counted, start)
        counted = start
        end = start
        for step in range(1 + _BEHIND):
            stop = text.find("\n", end)
            stop = len(text) if stop < 0 else stop
            found.append((number + step, text[end : min(stop, end + LINE_LIMIT)]))
            end = stop + 1
            if end >= len(text):
                break
        # Lines behind this one may matter themselves: they are looked at again, and kept once.
        at = text.find("\n", match.end())
        if at < 0:
            break
        at += 1
    return list(dict(found).items())


_ESCAPE: Final = re.compile(r"(?:=[0-9A-F]{2})+")
#: So many lines that end in "=", or hold an encoded "=", make a text quoted-printable.
_SOFT_ENDS: Final = 3


def undo_quoted_printable(lines: Lines) -> Lines:
    """Undo a mail's quoted-printable encoding (RFC 2045, 6.7) where a text shows it, else return it as it is.

    A joined line keeps the number of its first part.
    """
    escaped = [text for _, text in lines if "=" in text and _ESCAPE.search(text)]
    soft = sum(text.rstrip("\r").endswith("=") for _, text in lines)
    if not escaped or (soft < _SOFT_ENDS and sum("=3D" in text for text in escaped) < _SOFT_ENDS):
        return lines
    joined: Lines = []
    open_line = False
    for number, raw in lines:
        text = raw.rstrip("\r")
        soft_end = text.endswith("=")
        text = text[:-1] if soft_end else text
        if open_line and len(joined[-1][1]) < LINE_LIMIT:
            joined[-1] = (joined[-1][0], joined[-1][1] + text)
        else:
            joined.append((number, text))
        open_line = soft_end
    return [(number, _ESCAPE.sub(_unescape, text)) for number, text in joined]


def _unescape(found: re.Match[str]) -> str:
    return _decode(bytes.fromhex(found[0].replace("=", "")))


def _that_matter(lines: Lines) -> Lines:
    wanted: set[int] = set()
    for i, (_, text) in enumerate(lines):
        if ANYTHING.search(text):
            wanted.update(range(i, i + 1 + _BEHIND))
    return [line for i, line in enumerate(lines) if i in wanted]
