"""From virtual to machine addresses: runs of equal pages, and where the page-table pages lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import Final

from ..constants import PAGE_SHIFT, U64_END
from ..errors import ConfigError, FrameError, need, need_all, need_one_of
from ._fields import check_integer
from .levels import PAGE_BYTES, PAGE_LEVEL

_ENTRY_BITS: Final = 9
_TOP_LEVEL: Final = 4
#: Where the tables of raw traces lie: beyond the 52 bits of machine addresses, so that no access shares
#: their lines.
_IDENTITY_TABLES: Final = {level: (1 << 63) + (level << 56) for level in range(1, _TOP_LEVEL + 1)}
_PLACEMENT: Final = "assumed: root first, then level by level in the order of addresses, frame after frame"
#: Where the tables of an address space lie when nothing else is said.
_TABLES_MADDR: Final = 1 << 52


@dataclass(frozen=True)
class Mapping:
    """`length` bytes from `virt_start` on, mapped in pages of one size to consecutive machine addresses."""

    virt_start: int
    maddr_start: int
    length: int
    page_size: str = "4k"

    def __post_init__(self) -> None:
        need_one_of("page_size", self.page_size, PAGE_BYTES)
        page = PAGE_BYTES[self.page_size]
        for name, value in (
            ("virt_start", self.virt_start),
            ("maddr_start", self.maddr_start),
            ("length", self.length),
        ):
            if not isinstance(value, int) or value % page or value < 0:
                raise ConfigError(f"{name}: {value!r} is not a multiple of the {self.page_size} page")
        for name, start in (("virt_start", self.virt_start), ("maddr_start", self.maddr_start)):
            if start + self.length > U64_END:
                raise ConfigError(f"{name}: {start:#x} + {self.length:#x} is past 2**64")
        if self.length == 0:
            raise ConfigError("length: a mapping of 0 bytes maps nothing")


class AddressSpace:
    """The mappings of one machine, kept as runs: memory in proportion to their number, never to the span.

    Parameters
    ----------
    mappings : iterable of Mapping
        In any order, disjoint in virt. Addresses are canonical: bits 63 to 47 are equal.
    tables_maddr : int
        Where the page-table pages lie. The rule (assumed, the walk's reads follow from it): the root first,
        then the tables of each lower level in the order of the addresses that they map, frame after frame.
    name : str
        What it is, for the result.

    Raises
    ------
    ConfigError
        Mappings overlap, or an address is not canonical.
    """

    def __init__(
        self, mappings: Iterable[Mapping], *, tables_maddr: int = _TABLES_MADDR, name: str = "custom"
    ) -> None:
        check_integer("tables_maddr", tables_maddr, 0, U64_END - 1)
        need("name", name, str)
        given = need_all("mappings", mappings, Mapping)
        self.mappings: tuple[Mapping, ...] = tuple(sorted(given, key=lambda m: m.virt_start))
        self.tables_maddr = tables_maddr
        self.name = name
        self.is_identity = False
        if not self.mappings:
            raise ConfigError("mappings: an address space needs one")
        for a, b in zip(self.mappings, self.mappings[1:], strict=False):
            if a.virt_start + a.length > b.virt_start:
                raise ConfigError(f"mappings: {a.virt_start:#x} + {a.length:#x} overlaps {b.virt_start:#x}")
        for m in self.mappings:
            last = m.virt_start + m.length - 1
            if m.virt_start >> 47 not in (0, 0x1FFFF) or last >> 47 != m.virt_start >> 47:
                raise ConfigError(f"mappings: {m.virt_start:#x} to {last:#x} is not canonical")

    @classmethod
    def identity(cls, page_size: str = "4k") -> AddressSpace:
        """Return the space of raw traces: maddr = virt on every 64-bit address, in pages of one size.

        Its tables (assumed) lie beyond 2**52, those of a level one after another in the order of the
        addresses.
        """
        self = cls.__new__(cls)
        self.mappings = (Mapping(0, 0, U64_END, page_size),)
        self.tables_maddr = _IDENTITY_TABLES[_TOP_LEVEL]
        self.name = f"identity, {page_size} pages"
        self.is_identity = page_size == "4k"
        return self

    def translate(self, virt: int) -> tuple[int, str]:
        """Return the machine address of `virt` and the size of its page.

        Raises
        ------
        FrameError
            Nothing maps it.
        TypeError
            It is no integer.
        """
        virt = index(virt)
        for m in self.mappings:
            if m.virt_start <= virt < m.virt_start + m.length:
                return m.maddr_start + virt - m.virt_start, m.page_size
        raise FrameError(f"address {virt:#x} is not mapped by the address space")

    def runs(self) -> list[tuple[int, int, int, str]]:
        """Return (first virt, last virt, maddr - virt modulo 2**64, page size) of each mapping, in order."""
        return [
            (m.virt_start, m.virt_start + m.length - 1, (m.maddr_start - m.virt_start) % U64_END, m.page_size)
            for m in self.mappings
        ]

    def table_runs(self) -> dict[int, list[tuple[int, int, int]]]:
        """Return for each level the runs of its tables: (first, last, machine address of the first).

        A table is numbered by the address bits above what it maps: ``virt >> (12 + 9 * level)``.
        """
        if self.mappings[0].length == U64_END:
            smallest = PAGE_LEVEL[self.mappings[0].page_size]
            return {
                level: [(0, (U64_END - 1) >> _table_shift(level), maddr)] if level >= smallest else []
                for level, maddr in _IDENTITY_TABLES.items()
            }
        out: dict[int, list[tuple[int, int, int]]] = {}
        # Both halves of the canonical addresses share the one root.
        roots = sorted({m.virt_start >> 48 for m in self.mappings})
        out[_TOP_LEVEL] = [(r, r, self.tables_maddr) for r in roots]
        maddr = self.tables_maddr + (1 << PAGE_SHIFT)
        for level in range(_TOP_LEVEL - 1, 0, -1):
            out[level] = []
            for first, last in self._tables(level):
                out[level].append((first, last, maddr))
                maddr += (last - first + 1) << PAGE_SHIFT
        return out

    def _tables(self, level: int) -> list[tuple[int, int]]:
        shift = _table_shift(level)
        merged: list[tuple[int, int]] = []
        for m in self.mappings:
            if PAGE_LEVEL[m.page_size] > level:
                continue
            first, last = m.virt_start >> shift, (m.virt_start + m.length - 1) >> shift
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return merged

    def to_dict(self) -> dict[str, object]:
        """Return what the result echoes."""
        return {
            "name": self.name,
            "mappings": len(self.mappings),
            "bytes": sum(m.length for m in self.mappings),
            "tables_maddr": self.tables_maddr,
            "tables_placement": _PLACEMENT,
        }


def _table_shift(level: int) -> int:
    # The address bits that a table of this level maps.
    return PAGE_SHIFT + _ENTRY_BITS * level
