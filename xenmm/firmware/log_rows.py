"""The styles in which consoles print a row of a memory map, and the end convention of each.

========================  =============================================  ==========
style                     looks like                                     end
========================  =============================================  ==========
Linux e820, since 3.5     ``BIOS-e820: [mem 0xA-0xB] usable``            inclusive
Linux e820, before        ``BIOS-e820: A - B (usable)``                  exclusive
Linux e820, 2.2           ``BIOS-e820: SIZE @ A (usable)``               a size
Xen e820, since 4.14      ``[A, B] (usable)``                            inclusive
Xen e820, before          ``A - B (usable)``                             exclusive
Xen on Arm                ``RAM: A - B``                                 inclusive
EFI table                 ``mem01: type=7, ... range=[0xA-0xB)``         as its bracket
EFI table, other kernels  ``efi: 0xA-0xB [Conventional Memory| ...]``     inclusive
EFI table by Xen          ``A-B type=7 attr=f``                          inclusive
EFI table by FreeBSD      ``ConventionalMemory A VIRTUAL N``             N pages
node ranges               ``node 0: [mem 0xA-0xB]``                      inclusive
node ranges, before 3.5   ``0: 0xA -> 0xB``, ``0: A -> B``, pages        exclusive
memblock                  ``memory[0x0] [0xA-0xB], 0xN bytes``           by its size
MIPS                      ``memory: SIZE @ A (usable)``                  a size
FreeBSD                   ``SMAP type=01 base=A len=N``                  a size
FreeBSD, its own          ``0xA - 0xB, N bytes (M pages)``               inclusive
SRAT by Linux             ``Node 0 PXM 0 [mem 0xA-0xB]``                 inclusive
SRAT by Xen, after 4.14   ``Node 0 PXM 0 [A, B]``                        inclusive
SRAT by both, before      ``Node 0 PXM 0 A-B``                           exclusive
========================  =============================================  ==========

Sources of the styles: Linux arch/x86/kernel/e820.c ``e820__print_table``, mm/mm_init.c ``free_area_init``,
mm/memblock.c ``memblock_dump``, drivers/acpi/numa/srat.c, drivers/firmware/efi/efi.c
``efi_md_typeattr_format``; Xen xen/arch/x86/e820.c ``print_e820_memory_map``, xen/arch/arm/setup.c,
xen/common/numa.c, and their history.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from .memory_map import SRAT_ENABLED, SRAT_HOTPLUG, SRAT_NONVOLATILE, U32_END

#: A printed 64-bit number has at most this many hexadecimal digits: more is a slip of somebody's pen.
MAX_DIGITS: Final = 16


class Row(NamedTuple):
    """One row as read: bytes ``[start, end)``, or page numbers when ``unit`` says so.

    ``family`` names the map that it belongs to. ``why`` is not empty when the row is damaged:
    then only what is certain is filled in (``end`` is ``None`` where it is not).
    """

    family: str
    start: int = 0
    end: int | None = None
    kind: str = "ram"
    label: str = ""
    node: int | None = None
    pxm: int | None = None
    flags: int = SRAT_ENABLED
    why: str = ""
    nr: int | None = None


_LABELS: Final = (
    ("kernel usable ram", "ram"),
    ("usable after init", "ram"),
    ("usable ram", "ram"),
    ("system ram", "ram"),
    ("usable", "ram"),
    ("device reserved", "reserved"),
    ("reserved", "reserved"),
    ("acpi data", "acpi-data"),
    ("acpi tables", "acpi-data"),
    ("acpi nvs", "acpi-nvs"),
    ("unusable", "unusable"),
    ("persistent (type 7)", "persistent"),
    ("persistent (type 12)", "persistent-old"),
    ("persistent memory", "persistent"),
    ("persistent", "persistent"),
    ("soft reserved", "soft-reserved"),
    ("soft-reserved", "soft-reserved"),
    ("disabled", "disabled"),
    ("rom data", "firmware"),
    ("...", "unknown"),
)
_TYPE_LABEL = re.compile(r"(?:unknown )?type:? ?\d+", re.I)
_SIZE_COLUMN = re.compile(r"[\d.]+ *[KMGTP]?B +")
_WORD = re.compile(r"[A-Za-z]")


@lru_cache(maxsize=256)
def read_label(text: str) -> tuple[str, str, str]:
    """Read the word for a row's type at the start of ``text``: (label, kind, what is wrong with it)."""
    text = text.strip()
    if text.startswith("("):
        text = text[1:]
    if column := _SIZE_COLUMN.match(text):
        text = text[column.end() :]
    lower = text[:40].lower()
    for label, kind in _LABELS:
        if lower.startswith(label) and not _WORD.match(text[len(label) : len(label) + 1]):
            return text[: len(label)], kind, ""
    if found := _TYPE_LABEL.match(text):
        return found.group(), "unknown", ""
    if not lower:
        return "", "", "the row has no type"
    cut = [(label, kind) for label, kind in _LABELS if len(lower) > 1 and label.startswith(lower)]
    if cut and len({kind for _, kind in cut}) == 1:
        return text, cut[0][1], f"the row's type is cut; read as {cut[-1][0]!r}"
    return text[:40].split("  ")[0], "", "the row's type is not one that is known"


_H = r"[0-9a-fA-F]"
# Runs are bounded, so that no line costs more than its length.
_N = rf"{_H}{{1,24}}"
# A number that the line's end may have cut; blanks around marks vary with whoever retyped the line.
_MEM = rf"\[ ?(mem|gap) ?0x({_N}) ?- ?0x({_N}) ?\](.*)"

_E820 = re.compile(
    r"(?<![\w-])(BIOS-[A-Za-z0-9]+|EFI-e820|e820|user|modified|reserve setup_data|Xen) ?: *(?=[\[\d]|0x|$)"
)
_E820_MEM = re.compile(_MEM)
_E820_OLD = re.compile(rf"({_H}{{8,24}}) ?- ?({_H}{{8,24}}) *(.*)")
_E820_SIZE = re.compile(rf"({_H}{{8,24}}) ?@ ?({_H}{{8,24}}) *(.*)")
_E820_START = re.compile(rf"\[ ?(?:m|g|$)|0x|{_H}{{4}}|$")
_FAMILY: Final = {"user": "user", "modified": "modified", "reserve setup_data": "setup", "Xen": "guest"}

_BARE_MEM = re.compile(rf"\s*{_MEM}")
_BARE_NEW = re.compile(rf"\s*\[({_H}{{8,24}}), ?({_H}{{8,24}})\] +(\(.*|type \d.*)")
_BARE_OLD = re.compile(rf"\s*({_H}{{8,24}}) - ({_H}{{8,24}}) +(\(.*|type \d.*)")
_BARE_CUT = re.compile(rf"\s*(?:\[(?:{_H}{{8,24}},|{_H}{{0,24}}$)|{_H}{{16}} -|{_H}{{1,16}}\s*$)")
_XEN_EFI = re.compile(rf"\s*({_H}{{9,24}})-({_H}{{9,24}}) type=(\d+) attr=({_N})")

_ARM = re.compile(rf"\s*RAM: *(?:({_N}) ?- ?({_N})\b)?(.*)")

_NODE = re.compile(r"(?<![\w-])node +(\d+) ?: *(?=\[|$)")
_PFN = re.compile(rf"\s*(?:node +)?(\d+): +(?:0x({_N}) -> +0x({_N})|(\d{{1,15}}) -> +(\d{{1,15}}))\s*$")
_CHUNK = re.compile(rf"\s*0x({_N}) - 0x({_N}), +\d+ (?:bytes|[KMG]B) \( *\d+ pages\)")
_MEMBLOCK = re.compile(
    rf"\bmemory\[0x({_N})\]\s*\[?0x({_N}) ?- ?0x({_N})\]?, 0x({_N}) bytes(?: on node (\d+))?"
)
_MIPS = re.compile(rf"\s*memory: ({_N}) @ ({_N}) *(.*)")
_PPC_NODE = re.compile(rf"\s*Node (\d+) Memory:((?: 0x{_N}-0x{_N}){{1,1000}})\s*$")
_PARISC = re.compile(rf"\s*(\d+)\) Start 0x({_N}) End 0x({_N}) Size +\d+ MB")

# "Remove mem72: MMIO range=" is about a row, and none.
_EFI = re.compile(r"(?<!emove )(?<!emoving )\bmem(\d{1,6}): *(?=\[|type *=|$)", re.I)
_EFI_BODY = re.compile(
    rf"(?:\[([^|\]]{{0,40}})\|?([^\]]{{0,90}})\]|type= *(\d+), *attr=0x({_N}),?)"
    rf" *range=\[ ?0x({_N}) ?- ?0x({_N}) ?([)\]])"
)
# How Linux lists the table on arm64 and RISC-V.
_EFI_PLAIN = re.compile(rf"efi: +0x({_N})-0x({_N}) +\[([^|\]]{{1,40}})(?:\|([^\]]{{0,90}}))?")
# How FreeBSD lists the table: type, physical, virtual, pages.
_EFI_FREEBSD = re.compile(
    rf"\s*(Reserved|[A-Za-z]{{3,20}}(?:Code|Data|Memory|NVS|IO|Space)) +({_H}{{12,16}})"
    rf" +(?:0x)?{_N} +({_H}{{8,16}})\b(.*)"
)
_SMAP = re.compile(rf"\bSMAP type=(\d+),?(?: x?attr=\w+,?)? base=(?:0x)?({_N}),? len=(?:0x)?({_N})")

_SRAT = re.compile(
    r"(?:SRAT|NUMA): *Node +(\d{1,9}) +(?:PXM|[A-Z]{2,12}) *(?=\d|$)|\bSRAT: *Node\b(?! \d+ \[)"
)
_SRAT_BODY = re.compile(
    rf"(\d{{1,9}})(?:[ ,:]{{1,3}}|(?=\[))"
    rf"(?:\[ ?mem ?0x({_N}) ?- ?0x({_N}) ?\]|\[(?:0x)?({_N})[,-] ?(?:0x)?({_N})\]"
    rf"|({_N})-({_N})(?![\w-]))(.*)"
)
_SRAT_PLAIN = re.compile(rf"\b(?:SRAT|NUMA): *Node (\d{{1,9}}) ({_H}{{8,24}})-({_H}{{8,24}})(.*)")
_SRAT_LENGTH = re.compile(
    rf"SRAT Memory \(0x({_N}) length 0x({_N})(?: type 0x\w+)?\) in proximity domain (\d+)(.*)"
    rf"|SRAT: Found memory domain (\d+) addr (?:0x)?({_N}) len (?:0x)?({_N}):(.*)"
)
_SRAT_PAGES = re.compile(
    rf"Memory range 0x({_N}) to 0x({_N}) \(type 0x\w+\) in proximity domain 0x({_N})(.*)"
)

_EFI_RAM: Final = frozenset({1, 2, 3, 4, 7})
_EFI_KINDS: Final = {
    0: "reserved", 5: "firmware", 6: "firmware", 8: "unusable", 9: "acpi-data", 10: "acpi-nvs",
    11: "device", 12: "device", 13: "firmware", 14: "persistent",
}  # fmt: skip
_EFI_NAMES: Final = (
    ("reserved", 0), ("loader code", 1), ("loader data", 2), ("boot code", 3), ("boot data", 4),
    ("boot services code", 3), ("boot services data", 4), ("runtime code", 5), ("runtime data", 6),
    ("runtime services code", 5), ("runtime services data", 6), ("conventional", 7), ("unusable", 8),
    ("acpi reclaim", 9), ("acpi mem nvs", 10), ("acpi memory nvs", 10), ("memory mapped i/o port", 12),
    ("memory mapped i/o", 11), ("mmio port", 12), ("mmio", 11), ("pal code", 13), ("persistent", 14),
)  # fmt: skip
# "BootServicesData" is "Boot Services Data", "ACPIMemoryNVS" is "ACPI Memory NVS".
_JOINED_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
#: The attribute bit EFI_MEMORY_SP, "specific purpose": such memory is soft-reserved (UEFI 2.10, 7.2).
_EFI_MEMORY_SP: Final = 1 << 18


def _number(digits: str) -> int | None:
    return int(digits, 16) if len(digits) <= MAX_DIGITS else None


_TOO_LONG: Final = "the row has a number of more than 16 hexadecimal digits"
_NO_NODE: Final = "the row's node is a number of more than 32 bits"
_LOST_DIGIT: Final = "one of the row's numbers has lost a digit"


def _lost_digit(a: str, b: str) -> bool:
    """Whether of two numbers padded alike the longer one shows that the shorter one should be as long."""
    return len(a) != len(b) and max(a, b, key=len).startswith("0")


def _of_node(row: Row, digits: str, base: int = 10) -> Row:
    """Fill in the node; a number that is too large for one has no other node's row."""
    node = int(digits, base) if len(digits) <= MAX_DIGITS else U32_END
    return row._replace(node=node) if node < U32_END else row._replace(kind="", why=_NO_NODE)


def _closed(row: Row, start: str, last: str) -> Row:
    """Fill in a range that was printed with its last byte."""
    a, b = _number(start), _number(last)
    if a is None or b is None:
        return row._replace(why=_TOO_LONG)
    if _lost_digit(start, last):
        return row._replace(start=a, why=_LOST_DIGIT)
    return row._replace(start=a, end=b + 1)


def _half_open(row: Row, start: str, end: str) -> Row:
    a, b = _number(start), _number(end)
    if a is None or b is None:
        # The one 17-digit number that is right: an end of 2^64.
        if a is None or end.lstrip("0") != "1" + "0" * MAX_DIGITS:
            return row._replace(why=_TOO_LONG)
        b = 1 << 64
    elif _lost_digit(start, end):
        return row._replace(start=a, why=_LOST_DIGIT)
    return row._replace(start=a, end=b)


def _sized(row: Row, start: str, size: str, padded: bool = True) -> Row:
    a, n = _number(start), _number(size)
    if a is None or n is None:
        return row._replace(why=_TOO_LONG)
    if padded and _lost_digit(start, size):
        return row._replace(start=a, why=_LOST_DIGIT)
    if a + n > 1 << 64:
        return row._replace(start=a, why="the row ends past 2^64")
    return row._replace(start=a, end=a + n)


def _labelled(row: Row, text: str) -> Row:
    label, kind, why = read_label(text)
    return row._replace(label=label, kind=kind, why=row.why or why)


def _e820_body(family: str, text: str) -> Row:
    row = Row(family)
    if found := _E820_MEM.match(text):
        if found[1] == "gap":
            return _closed(row._replace(kind="", label="gap"), found[2], found[3])
        return _labelled(_closed(row, found[2], found[3]), found[4])
    if found := _E820_OLD.match(text):
        return _labelled(_half_open(row, found[1], found[2]), found[3])
    if found := _E820_SIZE.match(text):
        return _labelled(_sized(row, found[2], found[1]), found[3])
    return row._replace(kind="", why="the row is cut")


def e820_row(text: str) -> Row | None:
    """A row that says who gave it: ``BIOS-e820:``, ``user:``, ``Xen:`` and the like."""
    mark = _E820.search(text)
    if mark is None or not _E820_START.match(text, mark.end()):
        return None
    who = mark[1]
    if who == "e820":
        return None
    return _e820_body(_FAMILY.get(who, "e820"), text[mark.end() :])


def bare_row(text: str) -> Row | None:
    """A row without a name before it: Xen's, or Linux's when somebody cut the name."""
    for pattern, make in ((_BARE_NEW, _closed), (_BARE_OLD, _half_open)):
        if found := pattern.match(text):
            return _labelled(make(Row("bare"), found[1], found[2]), found[3])
    if found := _BARE_MEM.match(text):
        row = _labelled(_closed(Row("bare-linux"), found[2], found[3]), found[4])
        return row if row.kind and found[1] == "mem" else None
    if found := _XEN_EFI.match(text):
        row = _closed(Row("efi"), found[1], found[2])
        return _efi_typed(row, int(found[3][:4]), int(found[4], 16))
    return None


def bare_row_is_cut(text: str) -> bool:
    """Whether the line begins as a row of Xen's map begins, whatever becomes of it."""
    return _BARE_CUT.match(text) is not None


def arm_row(text: str) -> Row | None:
    found = _ARM.match(text)
    if found is None:
        return None
    if found[1] is None or found[3].strip().startswith("-"):
        return Row("xen-arm", kind="", why="the row is cut")
    return _closed(Row("xen-arm", label="RAM"), found[1], found[2])


def node_row(text: str) -> Row | None:
    mark = _NODE.search(text)
    if mark is None:
        return None
    row = _of_node(Row("nodes", label="node"), mark[1])
    found = _E820_MEM.match(text, mark.end())
    if found is None or found[1] != "mem":
        return row._replace(kind="", why="the row is cut")
    return _closed(row, found[2], found[3])


def pfn_row(text: str) -> Row | None:
    """A node range in page numbers; valid only under its heading."""
    found = _PFN.match(text)
    if found is None:
        return None
    row = _of_node(Row("pfn", label="node"), found[1])
    # Before 2.6.30 the numbers are decimal.
    return (
        _half_open(row, found[2], found[3])
        if found[2]
        else row._replace(start=int(found[4]), end=int(found[5]))
    )


def chunk_row(text: str) -> Row | None:
    """A stretch of FreeBSD's physical memory; valid only under its heading."""
    found = _CHUNK.match(text)
    return _closed(Row("chunks", label="chunk"), found[1], found[2]) if found else None


def memblock_row(text: str) -> Row | None:
    found = _MEMBLOCK.search(text)
    if found is None:
        return None
    row = Row("memblock", label="memory", nr=int(found[1][:8], 16))
    return _sized(_of_node(row, found[5]) if found[5] else row, found[2], found[4], False)


def mips_row(text: str) -> Row | None:
    found = _MIPS.match(text)
    return _labelled(_sized(Row("mips"), found[2], found[1]), found[3]) if found else None


def power_rows(text: str) -> list[Row]:
    """Old 64-bit POWER: all ranges of a node on one line."""
    found = _PPC_NODE.match(text)
    if found is None:
        return []
    row = _of_node(Row("nodes", label="node"), found[1])
    return [_half_open(row, *(p[2:] for p in pair.split("-"))) for pair in found[2].split()]


def parisc_row(text: str) -> Row | None:
    found = _PARISC.match(text)
    return _closed(Row("nodes", label="memory", nr=int(found[1][:8])), found[2], found[3]) if found else None


def _efi_typed(row: Row, number: int, attributes: int, name: str = "") -> Row:
    kind = "ram" if number in _EFI_RAM else _EFI_KINDS.get(number, "unknown")
    if kind == "ram" and attributes & _EFI_MEMORY_SP:
        kind = "soft-reserved"
    return row._replace(kind=kind, label=name or f"type {number}")


def efi_row(text: str) -> Row | None:
    if found := _EFI_PLAIN.search(text):
        return _efi_named(_closed(Row("efi"), found[1], found[2]), found[3], found[4] or "")
    if found := _EFI_FREEBSD.match(text):
        pages = int(found[3], 16) << 12
        row = _sized(Row("efi"), found[2], f"{pages:x}", False)
        return _efi_named(row, _JOINED_WORDS.sub(" ", found[1]).replace("IO", "I/O"), found[4])
    mark = _EFI.search(text)
    if mark is None:
        return None
    row = Row("efi", nr=int(mark[1][:8]))
    body = _EFI_BODY.match(text, mark.end())
    if body is None:
        return row._replace(kind="", why="the row is cut")
    name, columns, number, attributes, start, end, bracket = body.groups()
    row = (_closed if bracket == "]" else _half_open)(row, start, end)
    if number is not None:
        return _efi_typed(row, int(number[:4]), int(attributes[:16], 16))
    return _efi_named(row, name, columns)


def _efi_named(row: Row, name: str, columns: str) -> Row:
    name = name.strip()
    known = [n for word, n in _EFI_NAMES if name.lower().startswith(word)]
    specific = re.search(r"\bSP\b", columns) is not None
    return _efi_typed(row, known[0] if known else 99, _EFI_MEMORY_SP if specific else 0, name)


def smap_row(text: str) -> Row | None:
    found = _SMAP.search(text)
    if found is None:
        return Row("smap", kind="", why="the row is cut") if "SMAP type=" in text else None
    kinds = {
        1: "ram",
        2: "reserved",
        3: "acpi-data",
        4: "acpi-nvs",
        5: "unusable",
        6: "disabled",
        7: "persistent",
    }
    number = int(found[1][:4])
    return _sized(Row("smap", kind=kinds.get(number, "unknown"), label=f"type {number}"), found[2], found[3])


@lru_cache(maxsize=256)
def srat_flags(text: str) -> int:
    """The flag bits of ACPI that the words behind an SRAT row mean."""
    flags = 0 if re.search(r"\bdisabled\b", text) else SRAT_ENABLED
    if re.search(r"hot-?plug|removable", text, re.I):
        flags |= SRAT_HOTPLUG
    if re.search(r"non-?volatile", text, re.I):
        flags |= SRAT_NONVOLATILE
    return flags


def srat_row(text: str) -> Row | None:
    if found := _SRAT_LENGTH.search(text):
        start, size, domain, rest = found.groups()[:4]
        if start is None:
            domain, start, size, rest = found.groups()[4:]
        row = _of_node(Row("srat", flags=srat_flags(rest), label="SRAT"), domain)
        return _sized(row._replace(pxm=row.node), start, size)
    if found := _SRAT_PAGES.search(text):
        row = _of_node(Row("srat", flags=srat_flags(found[4])), found[3], 16)
        row = _half_open(row._replace(pxm=row.node), found[1], found[2])
        return row._replace(start=row.start << 12, end=row.end << 12 if row.end is not None else None)
    if found := _SRAT_PLAIN.search(text):
        # Xen on Arm, from a device tree: no proximity domain.
        row = Row("srat", node=int(found[1]), flags=srat_flags(found[4]), label="SRAT")
        return _half_open(row, found[2], found[3])
    mark = _SRAT.search(text)
    if mark is None:
        return None
    cut = Row("srat", kind="", why="the row is cut")
    body = _SRAT_BODY.match(text, mark.end()) if mark[1] else None
    if body is None:
        return cut
    row = Row("srat", node=int(mark[1]), pxm=int(body[1]), flags=srat_flags(body[8]), label="SRAT")
    for at, make in ((2, _closed), (4, _closed), (6, _half_open)):
        if body[at] is not None:
            return make(row, body[at], body[at + 1])
    return cut


#: The readers that recognise their rows by a mark of their own, anywhere; tried in this order.
MARKED: Final[tuple[tuple[re.Pattern[str], Callable[[str], Row | None]], ...]] = (
    (re.compile(r"SRAT|PXM|proximity domain"), srat_row),
    (re.compile(r"BIOS-|user|modified|setup_data|Xen|e820"), e820_row),
    (re.compile(r"node +\d"), node_row),
    (re.compile(r"mem\d|efi: +0x|(?:Code|Data|Memory|NVS|IO|Space|Reserved) +[0-9a-f]{12}", re.I), efi_row),
    (re.compile(r"SMAP"), smap_row),
    (re.compile(r"memory\[0x"), memblock_row),
    (re.compile(r"memory: "), mips_row),
    (re.compile(r"RAM:"), arm_row),
    (re.compile(r"\) Start 0x"), parisc_row),
)
