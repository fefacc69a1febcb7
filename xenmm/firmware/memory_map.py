"""The model of what a machine says about its memory: ranges of every kind, SRAT rows, provenance.

A reader makes a :class:`MemoryMap`; everything above reads it and nothing above changes it.
All ranges are half-open byte ranges ``[start, end)`` with ``0 <= start < end <= 2**64``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from .._facts import Facts, FrozenDict, derived
from ..constants import U64_END
from ..display import repr_html
from ..errors import MemoryMapError, a_kind

#: Version of the JSON that :meth:`MemoryMap.to_dict` writes.
MAP_SCHEMA: Final = "xenmm-map/1"

#: The kinds of range, one word each. Only ``ram`` is memory that the hypervisor may use.
KINDS: Final = (
    "ram",
    "reserved",
    "acpi-data",
    "acpi-nvs",
    "unusable",
    "persistent",
    "persistent-old",
    "soft-reserved",
    "disabled",
    "device",
    "firmware",
    "kernel",
    "unknown",
)

SRAT_ENABLED: Final = 1
SRAT_HOTPLUG: Final = 2
SRAT_NONVOLATILE: Final = 4
#: What a note may be, from what is merely told to what is missing from the map.
LEVELS: Final = ("note", "warning", "dropped")

#: Nodes, proximity domains and flags of an SRAT are numbers of 32 bits (ACPI 6.5, tables 5.57 and 5.61).
U32_END: Final = 1 << 32


def _need(name: str, value: object, kind: type, optional: bool = False) -> None:
    # Here for speed and for its error: a log may have a million rows.
    if type(value) is kind or (optional and value is None):
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        or_none = " or None" if optional else ""
        raise MemoryMapError(f"{name} is {a_kind(kind)}{or_none}, got {value!r}")


class Source(Facts):
    """Where a fact was read: the input's name, the line in it (from 1), and the format's name."""

    __slots__ = ()

    file: str
    line: int | None = None
    format: str = ""

    def __post_init__(self) -> None:
        _need("file", self.file, str)
        _need("line", self.line, int, optional=True)
        _need("format", self.format, str)


def _need_all(name: str, values: object, kind: type) -> None:
    _need(name, values, tuple)
    for value in values:  # type: ignore[attr-defined]
        if not isinstance(value, kind):
            raise MemoryMapError(f"{name} are each {a_kind(kind)}, got {value!r}")


def _check_range(start: int, end: int, source: Source | None) -> None:
    _need("start", start, int)
    _need("end", end, int)
    _need("source", source, Source, optional=True)
    if 0 <= start < end <= U64_END:
        return
    if start < 0 or end < 0:
        why = "has a negative number"
    else:
        why = "is empty" if start == end else "ends before it starts" if end < start else "is past 64 bits"
    raise MemoryMapError(
        f"range [{start:#x}, {end:#x}) {why}; need 0 <= start < end <= 2^64",
        file=source.file if source else None,
        line=source.line if source else None,
    )


class MemoryRange(Facts):
    """One range of the machine's address space: ``[start, end)`` in bytes, what it is, and who says so.

    ``kind`` is one of :data:`KINDS`; ``label`` is the log's own word for it.
    """

    __slots__ = ()

    start: int
    end: int
    kind: str = "ram"
    label: str = ""
    source: Source | None = None

    def __post_init__(self) -> None:
        _check_range(self.start, self.end, self.source)
        _need("label", self.label, str)
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise MemoryMapError(f"unknown kind of range {self.kind!r}; one of {', '.join(KINDS)}")

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


class SratRange(Facts):
    """One memory affinity row of the SRAT: ``[start, end)`` in bytes, node, and ACPI's flag bits.

    ``flags``: 1 enabled, 2 hot-pluggable, 4 non-volatile (ACPI 6.5, table 5.61).
    ``pxm`` is the firmware's proximity domain where the log tells it apart from the node.
    """

    __slots__ = ()

    start: int
    end: int
    node: int = 0
    flags: int = SRAT_ENABLED
    pxm: int | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        _check_range(self.start, self.end, self.source)
        for name, value in (("node", self.node), ("flags", self.flags), ("pxm", self.pxm)):
            _need(name, value, int, optional=name == "pxm")
            if value is not None and not 0 <= value < U32_END:
                raise MemoryMapError(f"{name} {value} is no number of 32 bits")


class Note(Facts):
    """Something the reader wants known: ``level`` is ``note``, ``warning`` or ``dropped``.

    ``dropped`` notes carry the number of bytes that were not read as memory, where that is certain.
    """

    __slots__ = ()

    level: str
    text: str
    source: Source | None = None
    excerpt: str = ""
    dropped_bytes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.level, str) or self.level not in LEVELS:
            raise MemoryMapError(f"unknown level {self.level!r}; one of {', '.join(LEVELS)}")
        _need("text", self.text, str)
        _need("source", self.source, Source, optional=True)
        _need("excerpt", self.excerpt, str)
        _need("dropped_bytes", self.dropped_bytes, int, optional=True)

    def __str__(self) -> str:
        place = ""
        if self.source:
            place = self.source.file + (f":{self.source.line}" if self.source.line else "") + ": "
        tail = f": {self.excerpt!r}" if self.excerpt else ""
        return f"{self.level}: {place}{self.text}{tail}"


class Stated(Facts):
    """What the log itself states beside its map; ``None`` or empty where it says nothing.

    ``ram_bytes`` and ``last_pfn`` are the log's own totals, ``command_line`` the boot options (of Xen in a
    Xen log), ``xen_version`` the banner's version text, ``pfn_compression`` Xen's own lines
    on compression without prefix, ``numa_rows`` Xen's own NUMA rows without prefix.
    """

    __slots__ = ()

    ram_bytes: int | None = None
    last_pfn: int | None = None
    command_line: str | None = None
    xen_version: str | None = None
    pfn_compression: tuple[str, ...] = ()
    numa_rows: tuple[str, ...] = ()
    details: Mapping[str, Any] = FrozenDict()

    def __post_init__(self) -> None:
        for name in ("ram_bytes", "last_pfn"):
            _need(name, getattr(self, name), int, optional=True)
        for name in ("command_line", "xen_version"):
            _need(name, getattr(self, name), str, optional=True)
        for name in ("pfn_compression", "numa_rows"):
            _need_all(name, getattr(self, name), str)
        _need("details", self.details, FrozenDict)


def merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sort half-open ranges and join those that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


class MemoryMap(Facts):
    """A machine's memory as its firmware tells it.

    Attributes
    ----------
    ranges : tuple of MemoryRange
        Every row that was read, in the order of the input, overlaps and all.
    srat : tuple of SratRange or None
        SRAT memory rows; ``None`` when the input says nothing of an SRAT, ``()`` when it has no rows.
    name : str
        The machine, where known, else the input's name.
    format : str
        Which reader read it.
    notes : tuple of Note
        What was dropped, doubted or chosen while reading.
    stated : Stated
        What the log states beside its rows.
    arch : str
        ``x86``, ``arm``, ``power``, ``mips``, ``ia64``, ``s390`` ... or ``""`` where unknown.
    """

    __slots__ = ()

    ranges: tuple[MemoryRange, ...]
    srat: tuple[SratRange, ...] | None = None
    name: str = ""
    format: str = ""
    notes: tuple[Note, ...] = ()
    stated: Stated = field(default_factory=Stated)
    arch: str = ""

    _repr_html_ = repr_html

    def __post_init__(self) -> None:
        _need_all("ranges", self.ranges, MemoryRange)
        if self.srat is not None:
            _need_all("srat", self.srat, SratRange)
        _need_all("notes", self.notes, Note)
        _need("stated", self.stated, Stated)
        for name in ("name", "format", "arch"):
            _need(name, getattr(self, name), str)

    @classmethod
    def from_ranges(
        cls,
        ram: Iterable[Sequence[int]],
        srat: Iterable[Sequence[int]] | None = None,
        *,
        name: str | None = None,
    ) -> MemoryMap:
        """Make a map from numbers.

        Parameters
        ----------
        ram : iterable of (start, end)
            RAM ranges in bytes, half-open.
        srat : iterable of (start, end[, flags[, node]]) or None
            SRAT rows; flags default to 1 (enabled), the node to the row's index.
        name : str, optional
            The machine's name.

        Raises
        ------
        MemoryMapError
            If a range is empty, reversed, negative or past 2^64, or a value is not an integer.
        """
        name = "" if name is None else name
        _need("name", name, str)
        source = Source(name or "from_ranges", None, "ranges")
        rows = tuple(MemoryRange(v[0], v[1], source=source) for v in _rows(ram, 2, 2))
        nodes = None
        if srat is not None:
            nodes = tuple(
                SratRange(
                    v[0],
                    v[1],
                    node=v[3] if len(v) > 3 else i,
                    flags=v[2] if len(v) > 2 else SRAT_ENABLED,
                    source=source,
                )
                for i, v in enumerate(_rows(srat, 2, 4))
            )
        return cls(rows, nodes, name=name, format="ranges")

    @derived
    def ram(self) -> tuple[tuple[int, int], ...]:
        """RAM as sorted, merged, disjoint half-open byte ranges."""
        return merge((r.start, r.end) for r in self.ranges if r.kind == "ram")

    @property
    def ram_bytes(self) -> int:
        """Bytes of RAM, each byte counted once."""
        return sum(end - start for start, end in self.ram)

    @property
    def top(self) -> int:
        """End of the highest RAM range in bytes (exclusive); 0 without RAM."""
        ram = self.ram
        return ram[-1][1] if ram else 0

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """What lies between the RAM ranges, as half-open byte ranges, from address 0 upward."""
        edges = [0] + [edge for r in self.ram for edge in r]
        return tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if a < b)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The NUMA nodes of the SRAT rows, ascending, each once."""
        return tuple(sorted({r.node for r in self.srat or ()}))

    @property
    def sha256(self) -> str:
        """Hash of RAM, other ranges and SRAT rows: the map's identity, whatever file it came from."""
        facts = {
            "ranges": sorted((r.start, r.end, r.kind) for r in self.ranges),
            "srat": None
            if self.srat is None
            else sorted((r.start, r.end, r.node, r.flags) for r in self.srat),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the map as a JSON object of schema :data:`MAP_SCHEMA`; :meth:`from_dict` is the way back."""
        from . import own_json

        return own_json.to_dict(self)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as text, one range a line; ``read_map`` reads it."""
        from . import own_json

        return own_json.dumps(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> MemoryMap:
        """Make a map from the object that :meth:`to_dict` returns.

        Raises
        ------
        MemoryMapError
            If a key is unknown or missing, or a value has the wrong type or is out of its domain.
        """
        from . import own_json

        return own_json.from_dict(document)


def _rows(rows: Iterable[Sequence[int]], least: int, most: int) -> list[tuple[int, ...]]:
    try:
        each = list(rows)
    except TypeError:
        raise MemoryMapError(f"ranges are a sequence of (start, end), got {rows!r}") from None
    return [_ints(row, least, most) for row in each]


def _ints(values: Sequence[int], least: int, most: int) -> tuple[int, ...]:
    try:
        numbers = tuple(v.__index__() for v in values)
    except (AttributeError, TypeError):
        raise MemoryMapError(f"a range is a sequence of integers, got {values!r}") from None
    if not least <= len(numbers) <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        raise MemoryMapError(f"a range has {count} numbers, got {values!r}")
    return numbers
