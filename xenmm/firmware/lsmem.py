"""Reader of what ``lsmem`` prints: table, raw (``-r``), pairs (``-P``), JSON (``-J``), s390-tools' table.

A row names an inclusive range of whole memory blocks and whether they are on line (util-linux
sys-utils/lsmem.c). On-line blocks are RAM; off-line ones are listed as ``disabled``. Holes smaller than
a memory block (128 MiB to 2 GiB) do not show. Sizes are rounded unless ``-b`` was given; RANGE is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..constants import U64_END
from ..errors import MemoryMapError
from .memory_map import MemoryMap, MemoryRange, Note, Source, Stated

FORMAT: Final = "lsmem"

#: The columns of util-linux 2.41, in no fixed order; RANGE may be any of them.
_COLUMNS: Final = frozenset(
    {"RANGE", "SIZE", "STATE", "REMOVABLE", "BLOCK", "NODE", "ZONES", "CONFIGURED", "MEMMAP-ON-MEMORY"}
)
_S390_HEADER = re.compile(r"\s*Address range\s+Size", re.IGNORECASE)
_JSON_HEADER = re.compile(r'\s*(?:\{\s*)?"memory"\s*:\s*\[')
_RANGE = re.compile(r"(?<![^\s\"])0x([0-9a-f]{1,17})-(?:0x?([0-9a-f]{0,17}))?(?![^\s\"])", re.IGNORECASE)
_CUT_RANGE = re.compile(r"\s*0x[0-9a-f]{8,16}\s*\Z", re.IGNORECASE)
# The state stands alone in a table, in quotes in pairs and JSON.
_STATE = re.compile(
    r"(?:\"state\"\s*:\s*\"|\bSTATE=\"|(?<!\S))(online|offline|going-offline|on->off|\?)(?=[\s\"]|\Z)"
)
_SUMMARY = re.compile(
    r"\s*(Memory block size|Total online memory|Total offline memory)\s*:\s*(\d\S*(?: [KMGT]B)?)"
)
_SIZE = re.compile(r"(\d+)(?:[.,](\d+))?\s*([KMGTPE]?)(?:i?B)?\Z")
_POWER: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
#: lsmem prints addresses in 16 digits; fewer in one row alone is a cut.
_DIGITS: Final = 16


@dataclass(slots=True)
class _Row:
    line: int
    text: str
    start: int
    end: int | None
    state: str | None


@dataclass(slots=True)
class _Listing:
    """What one run of lsmem printed. ``has_state`` is whether its columns tell the state."""

    line: int
    has_state: bool
    rows: list[_Row] = field(default_factory=list)
    summary: dict[str, str] = field(default_factory=dict)


def sniff(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether the text holds a heading of ``lsmem`` with a row below it, or a row that needs none."""
    heading_age = 99
    for _, text in lines:
        if _header(text) or _S390_HEADER.match(text) or _JSON_HEADER.match(text):
            heading_age = 0
        found = _RANGE.search(text)
        if 'RANGE="0x' in text or (found and (heading_age < 8 or _alone(text, found))):
            return True
        heading_age += 1
    return False


def read(lines: Sequence[tuple[int, str]], file: str) -> MemoryMap:
    """Read the output of ``lsmem``.

    Parameters
    ----------
    lines : sequence of (line number from 1, text)
        The input without log prefixes and mail quotes.
    file : str
        The input's name, for errors and provenance.

    Returns
    -------
    MemoryMap
        One range a row, ``ram`` or ``disabled``; of several runs in one input the first that tells ranges.

    Raises
    ------
    MemoryMapError
        If no row tells a range, or the rows tell no state although some memory is off line.
    """
    listings = list(_listings(lines))
    chosen = next((listing for listing in listings if listing.rows), None)
    if chosen is None:
        why = "lsmem was run without its RANGE column" if listings else "no row of lsmem"
        raise MemoryMapError(why, file=file, line=listings[0].line if listings else None)
    notes: list[Note] = []
    if len(listings) > 1:
        text = f"{len(listings)} listings of lsmem; the one that begins here is read"
        notes.append(Note("note", text, Source(file, chosen.line, FORMAT)))
    if not chosen.has_state:
        _judge_without_state(chosen, file, notes)
    ranges = tuple(r for row in chosen.rows if (r := _range(row, chosen, file, notes)))
    ram_bytes = MemoryMap(ranges).ram_bytes
    stated = _stated(chosen, ram_bytes, file, notes)
    return MemoryMap(ranges, name=file, format=FORMAT, notes=tuple(notes), stated=stated)


def _header(text: str) -> list[str] | None:
    words = text.split()
    return words if words and all(word in _COLUMNS for word in words) else None


def _alone(text: str, found: re.Match[str]) -> bool:
    # A row without a heading (-n, or cut off): a range of full length and a state in one line.
    full = all(len(found[i] or "") == _DIGITS for i in (1, 2))
    return full and _STATE.search(text) is not None


def _objects_as_lines(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Give every JSON object of a listing as one line, and every other line as it is."""
    in_json, begin, parts = False, 0, [""]
    for number, text in lines:
        if not in_json and not (heading := _JSON_HEADER.match(text)):
            yield number, text
            continue
        if not in_json and heading:
            yield number, heading[0]
            in_json, begin, parts, text = True, number, [], text[heading.end() :]
        for part in re.split(r"([{}\]])", text):
            if part == "{":
                begin, parts = number, []
            elif part in ("}", "]"):
                if parts:
                    yield begin, " ".join(parts)
                parts, in_json = [], part == "}"
                if not in_json:
                    break
            else:
                parts.append(part)
    if in_json and parts:
        yield begin, " ".join(parts)


def _listings(lines: Sequence[tuple[int, str]]) -> Iterator[_Listing]:
    listing: _Listing | None = None
    for number, text in _objects_as_lines(lines):
        header, is_json = _header(text), _JSON_HEADER.match(text)
        if header or is_json or _S390_HEADER.match(text):
            if listing:
                yield listing
            listing = _Listing(number, has_state=not header or "STATE" in header)
        elif listing and (summary := _SUMMARY.match(text)):
            listing.summary.setdefault(summary[1], summary[2])
        elif row := _row(number, text):
            if listing is None or (listing.rows and row.start <= listing.rows[0].start):
                if listing:
                    yield listing
                listing = _Listing(number, has_state=row.state is not None)
            listing.rows.append(row)
    if listing:
        yield listing


def _row(number: int, text: str) -> _Row | None:
    found = _RANGE.search(text)
    if not found:
        cut = _CUT_RANGE.match(text)
        return _Row(number, text.strip(), int(text, 16), None, None) if cut else None
    start, last = found[1], found[2]
    state = _STATE.search(text)
    whole = bool(last) and len(last) >= min(len(start), _DIGITS)
    end = int(last, 16) + 1 if whole else None
    return _Row(number, text.strip(), int(start, 16), end, state[1] if state else None)


def _range(row: _Row, listing: _Listing, file: str, notes: list[Note]) -> MemoryRange | None:
    source = Source(file, row.line, FORMAT)
    why = ""
    if row.end is None:
        why = "the row is cut short"
    elif row.end <= row.start:
        why = "the row ends before it starts"
    elif row.end > U64_END:
        why = "the row is past 64 bits"
    elif listing.has_state and row.state in (None, "?"):
        why = "the row tells no state: not taken for RAM"
    if why or row.end is None:
        size = row.end - row.start if row.end and row.end > row.start else None
        notes.append(Note("dropped", why, source, row.text, size))
        return None
    state = row.state or "online"
    return MemoryRange(row.start, row.end, "ram" if state == "online" else "disabled", state, source)


def _judge_without_state(listing: _Listing, file: str, notes: list[Note]) -> None:
    source = Source(file, listing.line, FORMAT)
    offline = _size(listing.summary.get("Total offline memory", ""))
    if offline and offline[0]:
        text = listing.summary["Total offline memory"]
        raise MemoryMapError(
            f"{text} of this memory is off line and no STATE column tells which: run lsmem -o +STATE",
            file=file,
            line=listing.line,
        )
    if offline is None:
        why = "no STATE column: every row is taken for on-line memory"
        notes.append(Note("warning", why, source))


def _size(text: str) -> tuple[int, int] | None:
    """Return a printed size in bytes, and by how many bytes lsmem may have rounded it."""
    found = _SIZE.match(text)
    if not found:
        return None
    tenths, power = found[2] or "", _POWER[found[3]]
    # A whole number of units prints without its tenth, so it too stands for a tenth on either side.
    return (int(found[1] + tenths) << power) // 10 ** len(tenths), (1 << power) // 10


def _stated(listing: _Listing, ram_bytes: int, file: str, notes: list[Note]) -> Stated:
    printed = listing.summary.get("Total online memory")
    size = _size(printed) if printed else None
    if size is None:
        return Stated()
    if abs(size[0] - ram_bytes) > size[1]:
        why = f"lsmem states {printed} on line; the rows hold {ram_bytes} bytes"
        notes.append(Note("warning", why, Source(file, listing.line, FORMAT)))
    return Stated(ram_bytes=size[0] if size[1] == 0 else None, details={"online": printed})
