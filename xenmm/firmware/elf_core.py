"""Reader of memory dumps in ELF: crash dumps by kexec, ``virsh dump --memory-only``, ``/proc/kcore``.

Only the headers are read, never the memory. Each PT_LOAD segment is a stretch of physical memory, ``p_paddr``
and ``p_memsz`` (ELF-64 object file format, version 1.5; the gABI's PN_XNUM has 2^16 - 1 segments and more).
They are written by kexec-tools, from the RAM of /proc/iomem or, under Xen, of the machine's own map; by QEMU
(dump/dump.c) from a guest's RAM and ROM; by Linux (fs/proc/kcore.c) with all ones where an address is not
physical. Needs pyelftools (extra ``elf``).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from ..constants import U64_END
from ..errors import ConfigError, MemoryMapError
from .memory_map import MemoryMap, MemoryRange, Note, Source, Stated

FORMAT: Final = "elf-core"
#: So much of a dump is looked at: who writes one puts all headers and notes before the memory.
BEGINNING_BYTES: Final = 16 << 20
#: More segments than any machine has ranges; each takes some memory here.
MOST_SEGMENTS: Final = 100_000
_LABEL: Final = "PT_LOAD"
_PN_XNUM: Final = 0xFFFF
#: Number, p_paddr and p_memsz of a segment.
_Load = tuple[int, int, int]

_ARCHES: Final = {
    **dict.fromkeys(("EM_386", "EM_X86_64"), "x86"),
    **dict.fromkeys(("EM_ARM", "EM_AARCH64"), "arm"),
    **dict.fromkeys(("EM_PPC", "EM_PPC64"), "power"),
    "EM_MIPS": "mips",
    "EM_IA_64": "ia64",
    "EM_S390": "s390",
    "EM_RISCV": "riscv",
    "EM_LOONGARCH": "loongarch",
}
#: Xen's note in a crash dump (xen/include/public/elfnote.h, XEN_ELFNOTE_CRASH_INFO); its first two words are
#: the version (xen/include/xen/elfcore.h, crash_xen_info_t).
_XEN_CRASH_INFO: Final = 0x1000001
_RELEASE: Final = re.compile(rb"^OSRELEASE=([ -~]{1,100})$", re.M)
#: Here ends the firmware's ROM of QEMU's PCs (hw/i386/x86.c, x86_bios_rom_init), and RAM never does.
_ROM_END: Final = 1 << 32


def sniff_bytes(data: bytes) -> bool:
    """Whether the bytes begin as an ELF file does."""
    return data[:4] == b"\x7fELF"


def read_bytes(data: bytes, file: str) -> MemoryMap:
    """Read the headers of a dump.

    Parameters
    ----------
    data : bytes
        The dump, or its first :data:`BEGINNING_BYTES`.
    file : str
        The input's name, for errors and provenance.

    Returns
    -------
    MemoryMap
        A row for each segment in the file's order, and no SRAT. A dump tells what was dumped: what its maker
        leaves out is missing, and a note says what that is known to be.

    Raises
    ------
    MemoryMapError
        If it is no dump of a machine's memory, or its headers are cut or contradict themselves.
    ConfigError
        If pyelftools is not installed.
    """
    core = _Core(data, file)
    source = Source(file, None, FORMAT)
    notes: list[Note] = []
    placed, unplaced = _loads(core)
    ranges = tuple(_ranges(placed, source, notes))
    if not ranges:
        raise MemoryMapError("no segment of it is physical memory: no dump of a machine", file=file)
    said: dict[str, bytes] = {}
    for name, text in core.notes():
        said.setdefault(name, text)
    if "QEMU" in said and core.arch == "x86":
        ranges = tuple(map(_firmware_at_4g, ranges))
    notes += _remarks(said, ranges, unplaced, source)
    stated = Stated(xen_version=_xen_version(said, core.word), details=_details(said, len(ranges)))
    return MemoryMap(ranges, name=file, format=FORMAT, notes=tuple(notes), stated=stated, arch=core.arch)


class _Core:
    """The headers of a dump: each is held against the file's length before it is looked at."""

    def __init__(self, data: bytes, file: str) -> None:
        try:
            from elftools.common.exceptions import ELFError
            from elftools.elf.elffile import ELFFile
        except ImportError as error:
            raise ConfigError(f"a dump in ELF needs pyelftools: pip install 'xenmm[elf]' ({error})") from None
        self.data, self.file = data, file
        try:
            self.elf = ELFFile(io.BytesIO(data))
        except ELFError as error:
            raise MemoryMapError(f"is no whole ELF file: {error}", file=file) from None
        kind = self.elf["e_type"]
        if kind != "ET_CORE":
            raise MemoryMapError(f"is an ELF file of type {kind}, not a dump of memory (ET_CORE)", file=file)
        self.address_end = 1 << self.elf.elfclass
        self.word = self.elf.elfclass // 8
        self.arch = _ARCHES.get(self.elf["e_machine"], "")
        self.segments = self._segments()

    def _segments(self) -> list[Any]:
        form = self.elf.structs.Elf_Phdr
        start, size, count = self.elf["e_phoff"], self.elf["e_phentsize"], self._count()
        if size < form.sizeof():
            why = f"states {size} bytes for a program header, which has {form.sizeof()}"
            raise MemoryMapError(why, file=self.file)
        self._need(start, start + count * size, f"{count} program headers")
        if count > MOST_SEGMENTS:
            raise MemoryMapError(f"has {count} segments; at most {MOST_SEGMENTS} are read", file=self.file)
        return [self._parse(form, start + n * size) for n in range(count)]

    def _count(self) -> int:
        count = int(self.elf["e_phnum"])
        if count == _PN_XNUM:
            # Not by ELFFile.num_segments(), which looks for the names of sections: a dump need not have any.
            form, start = self.elf.structs.Elf_Shdr, self.elf["e_shoff"]
            self._need(start, start + form.sizeof(), "the number of segments")
            count = self._parse(form, start)["sh_info"]
        return count

    def _parse(self, form: Any, at: int) -> Any:
        from elftools.common.utils import struct_parse

        return struct_parse(form, self.elf.stream, at)

    def _need(self, start: int, end: int, what: str) -> None:
        if end <= len(self.data):
            return
        why = f"{what} stand at [{start:#x}, {end:#x})"
        if len(self.data) < BEGINNING_BYTES:
            raise MemoryMapError(f"is cut short: {why}, it has {len(self.data)} bytes", file=self.file)
        raise MemoryMapError(f"{why}, past the {BEGINNING_BYTES >> 20} MiB that are read", file=self.file)

    def notes(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the notes, as far as they are whole; of Xen's only the one of a crash."""
        from elftools.common.exceptions import ELFError
        from elftools.construct import ConstructError
        from elftools.elf.notes import iter_notes

        for segment in self.segments:
            start, size = segment["p_offset"], segment["p_filesz"]
            if segment["p_type"] != "PT_NOTE" or start + size > len(self.data):
                continue
            note: Any
            with suppress(ELFError, ConstructError):
                for note in iter_notes(self.elf, start, size):
                    if note["n_name"] != "Xen" or note["n_type"] == _XEN_CRASH_INFO:
                        yield note["n_name"] or "", note["n_descdata"]


def _loads(core: _Core) -> tuple[list[_Load], list[_Load]]:
    """Return the segments that hold memory: those at physical addresses, and those at none."""
    loads = [
        (number, s["p_paddr"], s["p_memsz"])
        for number, s in enumerate(core.segments)
        if s["p_type"] == _LABEL and s["p_memsz"]
    ]
    none = core.address_end - 1
    return [load for load in loads if load[1] != none], [load for load in loads if load[1] == none]


def _ranges(placed: Sequence[_Load], source: Source, notes: list[Note]) -> Iterator[MemoryRange]:
    if len(placed) > 1 and not any(start for _, start, _ in placed):
        why = f"its {len(placed)} segments have no physical addresses: a process's dump, not a machine's"
        raise MemoryMapError(why, file=source.file)
    for number, start, size in placed:
        if start + size > U64_END:
            text = f"segment {number}, at {start:#x}, of {size:#x} bytes, ends past 2^64"
            notes.append(Note("dropped", text, source))
        else:
            yield MemoryRange(start, start + size, label=_LABEL, source=source)


def _firmware_at_4g(row: MemoryRange) -> MemoryRange:
    return row if row.end != _ROM_END else MemoryRange(row.start, row.end, "firmware", row.label, row.source)


def _remarks(
    said: dict[str, bytes], ranges: Sequence[MemoryRange], unplaced: Sequence[_Load], source: Source
) -> Iterator[Note]:
    yield Note("note", "a dump tells what was dumped, not what firmware reserves or a node has", source)
    if unplaced:
        size = sum(size for _, _, size in unplaced)
        text = f"segments without a physical address, as vmalloc space is: {len(unplaced)}, of {size} bytes"
        yield Note("note", text, source)
    elif "VMCOREINFO" in said and "QEMU" not in said:
        # /proc/kcore has that note as well, and lacks nothing; it alone has segments without an address.
        yield Note("warning", "a crash dump lacks what was kept for the crash kernel (crashkernel=)", source)
    rows = sorted((r.start, r.end) for r in ranges)
    highest, twice = 0, 0
    for start, end in rows:
        twice += max(0, min(end, highest) - start)
        highest = max(highest, end)
    if twice:
        yield Note("note", f"{twice} bytes stand in several segments, as a kernel's text does", source)


def _xen_version(said: dict[str, bytes], word: int) -> str | None:
    info = said.get("Xen", b"")
    if len(info) < 2 * word:
        return None
    # Xen's words are as long as its addresses, and it runs on little-endian machines alone.
    major, minor = (int.from_bytes(info[n * word : (n + 1) * word], "little") for n in range(2))
    return f"{major}.{minor}" if major < 100 and minor < 100 else None


def _details(said: dict[str, bytes], segments: int) -> dict[str, Any]:
    release = _RELEASE.search(said.get("VMCOREINFO", b""))
    return {"segments": segments, **({"kernel": release[1].decode("ascii")} if release else {})}
