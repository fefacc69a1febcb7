"""One pass over a console log: its maps, block by block, and the boots that they belong to.

A log can hold several boots, and a boot several maps: the firmware's, the kernel's corrected ones, a
domain's under the hypervisor. A block is one printing of one map; a boot is a run of blocks
in which no map is printed twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from . import log_rows as rows
from .log_prefix import LogLine, split_line
from .log_rows import Row


@dataclass(slots=True)
class Placed:
    """A row, the line that it stands on, and that line's text."""

    row: Row
    line: int
    text: str


@dataclass(slots=True)
class Block:
    """One printing of one map.

    ``heading`` is the line that announced it, or ``None``. ``gaps`` are lines between two rows that say or
    show that something was left out.
    """

    family: str
    boot: int
    heading: int | None = None
    title: str = ""
    rows: list[Placed] = field(default_factory=list)
    broken: list[Placed] = field(default_factory=list)
    gaps: list[tuple[int, str]] = field(default_factory=list)
    pending_gap: tuple[int, str] | None = None
    repeats: int = 0

    @property
    def first_line(self) -> int:
        lines = [p.line for p in (*self.rows[:1], *self.broken[:1])]
        return self.heading if self.heading is not None else min(lines, default=0)


@dataclass(slots=True)
class Boot:
    """What one boot printed: its blocks in order, its SRAT rows, and the lines that state facts."""

    realm: str
    index: int
    first_line: int
    version: bool = False
    blocks: list[Block] = field(default_factory=list)
    facts: list[tuple[int, str]] = field(default_factory=list)
    is_guest: bool = False
    under_xen: bool = False


#: Headings: (pattern, family of the rows below it). First match counts.
_HEADINGS: Final = (
    (re.compile(r"\b(?:Dom0|DomU|d\d+|HVM\d+)[ :].{0,20}(?:RAM|memory) map:", re.I), "guest"),
    (re.compile(r"\bextended physical RAM map:"), "setup"),
    (re.compile(r"\bmodified physical RAM map:"), "modified"),
    (re.compile(r"\bDetermined physical RAM map:"), "mips"),
    (re.compile(r"\buser-defined physical RAM map:", re.I), "user"),
    (re.compile(r"\b(?:BIOS-provided |)physical RAM map:"), "e820"),
    (re.compile(r"\b(?:[\w-]+ )?RAM map:"), "xen"),
    (re.compile(r"^\s*EFI memory map:"), "efi"),
    (re.compile(r"\bEFI runtime memory map:"), "efi-runtime"),
    (re.compile(r"\bEarly memory node ranges"), "nodes"),
    (re.compile(r"\b(?:early_node_map\[\d+\] active|Early memory) PFN ranges"), "pfn"),
    (re.compile(r"\bMEMBLOCK configuration:"), "memblock"),
    (re.compile(r"\bPhysical memory chunk\(s\):"), "chunks"),
    (re.compile(r"\bExcluded memory regions:"), "excluded"),
    (re.compile(r"^\s*Memory Ranges:"), "nodes"),
)
_HEADING_WORD = re.compile(r"[Mm]ap:|ranges|PFN ranges|MEMBLOCK|Memory Ranges:|chunk\(s\)|Excluded mem")
_GAP = re.compile(
    r"[\s\[(<]*(?:\.{2,}|[…\ufffd]+\.?|-* ?8< ?-*|snip(?:ped)?|cut|skipped|etc\.?)[.\s\w]{0,20}[\s\])>]*$"
    r"|.*\b\d+ (?:printk |kernel )?messages? (?:were )?(?:dropped|suppressed|lost|missed|skipped)"
    r"|.*\bMissed \d+ kernel messages",
    re.I,
)
_IOMEM = re.compile(r"(?:\S*iomem:)?(?:\d+[:-])?\s*[0-9a-fA-F]{8,16}-[0-9a-fA-F]{8,16} :(?: |$)")
# Banners, and not a sentence that begins with the same words; a guest's kernel prints "Xen version 4.2.".
_VERSION = re.compile(
    r"\s*(?:Linux version \d\S*\s*(?:$|[(<#\[])|Xen version \d(?!\S*\.\s*$)|Xen \d+\.\d\S*\s*$)"
)
_GUEST_ROW = re.compile(r"[0-9a-f]{8} - [0-9a-f:]{8}|\[mem 0x|[0-9a-f]{8}, ")
_GUEST_KERNEL = re.compile(r"Hypervisor detected: Xen PV\b|paravirtualized kernel on Xen(?: PV)?\s*$")
_UNDER_XEN = re.compile(r"Hypervisor detected: Xen\b|paravirtualized kernel on Xen\b")
#: Lines that state something about the machine beside its map; read later, by their own module.
_FACT = re.compile(
    r"last_pfn = |Memory: \d|System RAM|Linux version|Xen version|ommand line:|PFN compression|PFN IDX"
    r"|PXM|Total RAM|DMI:|Machine model:|Platform:|Hardware name:|PDX|NUMA|SRAT|Booting Linux on physical CPU"
    r"|RESVD\[|SALsystab"
)
#: What a line that is no row may be; a line without a match is at most a row or a gap.
_ASIDE = re.compile("|".join((_HEADING_WORD.pattern, _UNDER_XEN.pattern, _FACT.pattern, r"Xen \d")))
_MARKS: Final = (
    "e820", "BIOS-", "user: ", "odified", "setup_data", "Xen", "AM map", "emory map", "RAM:", "PXM", "SRAT",
    "node ", "node_map", "efi: ", "EFI: mem", "range=[", "SMAP", "emory[0x", "emory: ", "Memory:", "NUMA",
    "MEMBLOCK", "inux version", "ommand line", "last_pfn", "PFN", "PDX", "System RAM", "DMI:", "odel:", "HVM",
    "latform", "ardware name", "ooting Linux", "..", "…", "8<", "snip", "skipped", " cut", "dropped", " lost",
    "uppressed", "issed ", "otplug", "ot-plug", "volatile", "usable", "eserved", "(ACPI", "(type ", "] type",
    "type=", " : ", "emory ranges", "emory Ranges", "Start 0x", " -> ", "oximity", "hunk(s)", " pages)", "(d",
    "RESVD", "SALsystab", "Code 0", "Data 0", "Memory 0", "NVS 0", "IO 0", "Space 0", "Reserved 0",
)  # fmt: skip
#: A line without a match of this, and not right behind one with a match, holds nothing that is looked for.
ANYTHING: Final = re.compile("|".join(map(re.escape, _MARKS)))
#: A row of these maps printed again belongs to another boot; the other maps may be printed again at will.
_ONCE_A_BOOT: Final = frozenset({"xen", "xen-arm", "e820", "nodes", "pfn", "mips", "smap"})
#: Maps that the kernel or Xen sorts before it prints them.
_SORTED: Final = frozenset({"xen", "e820", "nodes", "pfn"})
#: Maps whose rows do not name them: the heading does.
_BARE: Final = frozenset({"xen", "guest", "e820", "user", "modified", "setup", "pfn", "efi", "chunks"})
_XEN_FAMILIES: Final = frozenset({"xen", "xen-arm"})
_MAX_CONTINUATIONS: Final = 2
_OWN_PREFIX = re.compile(r"\(XEN\)|\[ *\d+\.\d+|kernel:|<\d>")
_MAX_OPTION_LINES: Final = 8
#: No mailer wraps a line shorter than this.
_WRAP_LEAST: Final = 50
#: A row that is cut can lack every mark; it stands at most this many lines behind one that has its marks.
_NEAR: Final = 2
_CONTINUED = re.compile(r"\s*\(?(?:hot-?plug|non-?volatile)\)?[\s,]*(?:\(?non-?volatile\)?\s*)?$", re.I)


class Scanner:
    """Reads the lines of a console log into boots.

    Parameters
    ----------
    raw : sequence of (line number, text as it stands in the file)
    """

    def __init__(self, raw: Sequence[tuple[int, str]]) -> None:
        self.boots: list[Boot] = []
        #: The first row of a domain's own map that was passed over.
        self.guest_row: tuple[int, str] | None = None
        self._raw = raw
        self._boot: dict[str, Boot] = {}
        self._open: dict[tuple[str, str], Block] = {}
        self._bare = ""
        # Whether Xen's lines have lost their "(XEN)".
        self._plain_xen = False
        self._last: Block | None = None
        # The first and last place of a row of /proc/iomem.
        self._iomem: list[int] = []
        self._skip_to = -1
        # The place of the present line.
        self._at = 0

    def run(self) -> list[Boot]:
        near = -1
        for at, (number, raw) in enumerate(self._raw):
            # Some marks hold a blank, which web pages make a non-breaking one.
            if ANYTHING.search(raw) is not None or "\xa0" in raw:
                near = at + _NEAR
            elif at > near:
                continue
            self._at = at
            for line in split_line(number, raw):
                if line.realm != "guest":
                    self._line(at, line)
                elif self.guest_row is None and _GUEST_ROW.search(line.text):
                    self.guest_row = (number, line.text.strip())
        return self.boots

    def iomem_lines(self) -> list[tuple[int, str]]:
        """The lines from the first row of ``/proc/iomem`` to behind the last; empty without one."""
        if not self._iomem:
            return []
        first, last = self._iomem
        stretch = self._raw[first : last + 2]
        return [(number, line.text) for number, raw in stretch for line in split_line(number, raw)]

    # ------------------------------------------------------------ one line

    def _line(self, at: int, line: LogLine) -> None:
        text = line.text
        if " :" in text and _IOMEM.match(text):
            self._iomem = [self._iomem[0] if self._iomem else at, at]
            return
        aside = _ASIDE.search(text) is not None
        if aside and self._aside(line):
            return
        if at >= self._skip_to and (found := self._rows(at, line)):
            for row in found:
                self._place(row, line)
        elif _GAP.match(text):
            self._gap(line)
        elif _CONTINUED.match(text):
            self._continue_flags(line)
        if aside and _FACT.search(text):
            if "ommand line:" in text:
                text = self._unwrapped(at, text)
            self._boot_of(line).facts.append((line.number, text))

    def _aside(self, line: LogLine) -> bool:
        """Take note of a banner or of who runs below; whether the line is a heading."""
        text = line.text
        if _VERSION.match(text):
            self._version(line)
        if _UNDER_XEN.search(text):
            self._boot_of(line).under_xen = True
            self._boot_of(line).is_guest |= _GUEST_KERNEL.search(text) is not None
        return _HEADING_WORD.search(text) is not None and self._heading(line)

    def _unwrapped(self, at: int, text: str) -> str:
        """A long line of options, with what a mailer put on the lines after it."""
        before = self._raw[at][1]
        if not _OWN_PREFIX.search(before):
            return text
        # What was wrapped off lacks the prefix that the line has.
        for _, raw in self._raw[at + 1 : at + 1 + _MAX_OPTION_LINES]:
            if len(before) < _WRAP_LEAST or _OWN_PREFIX.search(raw) or not raw.strip(" >|\r"):
                break
            text = f"{text.rstrip()} {split_line(0, raw)[0].text.strip()}"
            before = raw
        return text

    def _rows(self, at: int, line: LogLine) -> Iterable[Row]:
        text = line.text
        row = _read_row(text, self._bare)
        if row is None:
            if many := rows.power_rows(text):
                return many
            if not self._in_bare_map(line) or not rows.bare_row_is_cut(text):
                return ()
            row = Row("bare", kind="", why="the row is cut")
        if row.why:
            row = self._rejoin(at, line, row)
        return (row,)

    def _in_bare_map(self, line: LogLine) -> bool:
        """Whether the line follows right on a heading or row of a map whose rows have no name."""
        last = self._last
        if last is None or last.family not in ("xen", "guest"):
            return False
        above = max([p.line for p in (*last.rows[-1:], *last.broken[-1:])], default=last.heading or 0)
        return line.number - above <= _NEAR

    def _rejoin(self, at: int, line: LogLine, cut: Row) -> Row:
        """Join a row that a mailer or a terminal wrapped with the one or two lines after it."""
        best = cut
        for joint in (" ", ""):
            text = line.text.rstrip()
            for step in range(1, _MAX_CONTINUATIONS + 1):
                if at + step >= len(self._raw):
                    break
                following = split_line(*self._raw[at + step])
                rest = following[0].text.strip()
                if len(following) > 1 or not rest or _read_row(rest, "") or _GAP.match(rest):
                    break
                text = text.removesuffix("=") + joint + rest
                row = _read_row(text, self._bare)
                if row is not None and not row.why:
                    self._skip_to = at + step + 1
                    return row
                if row is not None and best.end is None and row.end is not None:
                    best = row
        return best

    # ------------------------------------------------------------ boots and blocks

    def _boot_of(self, line: LogLine) -> Boot:
        realm = self._realm("", line)
        boot = self._boot.get(realm)
        return boot if boot is not None else self._new_boot(realm, line.number)

    def _new_boot(self, realm: str, number: int) -> Boot:
        boot = Boot(realm, len(self.boots), number)
        self.boots.append(boot)
        self._boot[realm] = boot
        for key in [k for k in self._open if k[0] == realm]:
            del self._open[key]
        return boot

    def _version(self, line: LogLine) -> None:
        banner = line.text.lstrip().startswith("Xen version")
        if not line.realm:
            self._plain_xen = banner or (self._plain_xen and "Linux" not in line.text)
        realm = "xen" if line.text.lstrip().startswith("Xen") else "host"
        boot = self._boot.get(realm)
        if boot is None or (realm == "host" and (boot.blocks or boot.version)):
            boot = self._new_boot(realm, line.number)
        elif realm == "xen" and boot.blocks:
            # Xen on Arm prints its banner after the banks: only a second banner opens a new boot there.
            arm = all(b.family == "xen-arm" for b in boot.blocks)
            if (boot.version and banner) or not arm:
                boot = self._new_boot(realm, line.number)
            elif banner:
                # Banks behind the banner are another boot's, whose own banner is still to come.
                self._open.pop((realm, "xen-arm"), None)
        if realm == "host" or banner:
            boot.version = True
        if realm == "host":
            self._bare = ""

    def _heading(self, line: LogLine) -> bool:
        family = next((family for pattern, family in _HEADINGS if pattern.search(line.text)), None)
        if family is None:
            return False
        realm = self._realm(family, line)
        self._bare = family if family in _BARE else ""
        old = self._open.get((realm, family))
        # With e820-verbose Xen prints the map as it was given, then as it keeps it.
        again = old is not None and bool(old.rows or old.broken) and not old.title.startswith("Initial ")
        if again and family in _ONCE_A_BOOT:
            self._new_boot(realm, line.number)
        self._block(realm, family, line, heading=True)
        if family == "efi-runtime":
            self._open[realm, "efi"] = self._open[realm, family]
        return True

    def _realm(self, family: str, line: LogLine) -> str:
        if family in _XEN_FAMILIES:
            self._plain_xen |= not line.realm
            return "xen"
        return "xen" if line.realm == "xen" or self._plain_xen else "host"

    def _block(self, realm: str, family: str, line: LogLine, heading: bool = False) -> Block:
        boot = self._boot.get(realm) or self._new_boot(realm, line.number)
        block = Block(
            family, boot.index, line.number if heading else None, line.text.strip() if heading else ""
        )
        boot.blocks.append(block)
        self._open[realm, family] = block
        self._last = block
        return block

    def _place(self, row: Row, line: LogLine) -> None:
        if row.family == "bare":
            row = row._replace(family=self._bare or "xen")
        if row.family == "bare-linux":
            row = row._replace(family=self._bare or "e820")
        if row.family == "mips" and self._bare == "user":
            row = row._replace(family="user")
        family = row.family
        realm = self._realm(family, line)
        block = self._open.get((realm, family))
        placed = Placed(row, line.number, line.text)
        if block is None:
            if family == "xen-arm" and any(b.family == family for b in self._boot_of(line).blocks):
                self._new_boot(realm, line.number)
            block = self._block(realm, family, line)
        elif block.rows and row.end is not None:
            block = self._again(block, realm, placed, line) or block
            if block.rows and _same(block.rows[-1].row, row):
                block.repeats += 1
                return
        if block.pending_gap is not None and (block.rows or block.heading is not None):
            block.gaps.append(block.pending_gap)
        block.pending_gap = None
        (block.broken if row.end is None or row.kind == "" or row.end <= row.start else block.rows).append(
            placed
        )
        if row.why and row.end is not None and row.kind and row.end > row.start:
            block.broken.append(placed)
        if family == "guest" and realm == "host":
            self.boots[block.boot].is_guest = True
        self._last = block

    def _again(self, block: Block, realm: str, placed: Placed, line: LogLine) -> Block | None:
        """Whether this row starts the map over; then a new block, in a new boot where that is meant."""
        row, first, last = placed.row, block.rows[0], block.rows[-1]
        family = block.family
        if family == "efi":
            if row.nr is None or last.row.nr is None or row.nr > last.row.nr:
                return None
            # The numbering starts again: the table of the run-time services follows the machine's.
            runtime = self._block(realm, "efi-runtime", line)
            self._open[realm, "efi"] = runtime
            return runtime
        if family == "efi-runtime" or family == "srat" or _same(last.row, row):
            return None
        same_as_first = _same(first.row, row) and len(block.rows) > 1
        # Lists that are printed sorted do not fall back; where one does behind other text, it is another.
        apart = placed.line - last.line > 1 and row.start <= first.row.start
        if family in _SORTED and row.start < last.row.start:
            apart = apart or self._text_since(last.line)
        if not (same_as_first or apart):
            return None
        if family in _ONCE_A_BOOT:
            self._new_boot(realm, line.number)
        return self._block(realm, family, line)

    def _text_since(self, number: int) -> bool:
        """Whether more than blanks and quote marks stands between a line and the present one."""
        for at in range(self._at - 1, -1, -1):
            before, raw = self._raw[at]
            if before <= number:
                return False
            if raw.strip(" \t\r>|"):
                return True
        return False

    def _gap(self, line: LogLine) -> None:
        for block in self._open.values():
            if block.pending_gap is None and block is self._last:
                block.pending_gap = (line.number, line.text.strip())

    def _continue_flags(self, line: LogLine) -> None:
        """The flags of the SRAT row on the line before, wrapped."""
        last = self._last
        if last is None or last.family != "srat" or not last.rows:
            return
        placed = last.rows[-1]
        if line.number - placed.line <= _NEAR:
            placed.row = placed.row._replace(flags=placed.row.flags | rows.srat_flags(line.text))


def _same(a: Row, b: Row) -> bool:
    return (a.start, a.end, a.label, a.node) == (b.start, b.end, b.label, b.node)


_UNDER_HEADING: Final = {"pfn": rows.pfn_row, "chunks": rows.chunk_row}


def _read_row(text: str, under: str) -> Row | None:
    for mark, read in rows.MARKED:
        if mark.search(text) and (row := read(text)) is not None:
            return row
    if under in _UNDER_HEADING:
        return _UNDER_HEADING[under](text)
    return rows.bare_row(text)
