"""What a booted host's tables cost: bytes, shares of RAM, and the least that they could cost.

Pure arithmetic on figures that boot has already counted; how it is shown is the report's business.
Rule book: part 9, and the totals of Xen's own boot-time allocations (frame table, M2P, compat M2P, and
the page-table pages that map them and RAM).
"""

from __future__ import annotations

from typing import Any, Final

from .._facts import Facts
from ..constants import (
    COMPAT_M2P_ENTRY_BYTES,
    M2P_ENTRY_BYTES,
    PAGE_INFO_BYTES,
    PAGE_SHIFT,
)
from ..display import repr_html

#: One entry of a page table on x86-64, in bytes; a direct map of 4 KiB pages has one for each page of RAM.
PAGE_TABLE_ENTRY_BYTES: Final = 8


class Costs(Facts):
    """Bytes of each table that describes memory.

    Attributes
    ----------
    frame_table, m2p, compat_m2p : int
        Bytes of memory that back the table.
    direct_map_page_tables : int
        Bytes of page-table pages allocated for the direct map.
    other_page_tables : int
        Bytes of page-table pages allocated to map the tables themselves, guests' read-only copies included.
    """

    __slots__ = ()

    frame_table: int
    m2p: int
    compat_m2p: int
    direct_map_page_tables: int
    other_page_tables: int

    @property
    def page_tables(self) -> int:
        """Bytes of all page-table pages."""
        return self.direct_map_page_tables + self.other_page_tables

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self.frame_table + self.m2p + self.compat_m2p + self.page_tables

    def to_dict(self) -> dict[str, int]:
        """Every figure by name, in bytes, the total last."""
        return {
            "frame_table": self.frame_table,
            "m2p": self.m2p,
            "compat_m2p": self.compat_m2p,
            "direct_map_page_tables": self.direct_map_page_tables,
            "other_page_tables": self.other_page_tables,
            "total": self.total,
        }

    def percent_of(self, ram_bytes: int) -> dict[str, float]:
        """Every figure of :meth:`to_dict` as a percentage of ``ram_bytes``; zeros where that is 0."""
        return {name: 100 * value / ram_bytes if ram_bytes else 0.0 for name, value in self.to_dict().items()}


def minimum_costs(ram_bytes: int) -> Costs:
    """Return the least that the 2009 design needs for this much RAM: 52 bytes for each 4 KiB page.

    One frame-table record, one M2P entry, one compat entry, and one 8-byte page-table entry as if the
    direct map used 4 KiB pages: 1.270% of RAM, the quoted "minimum 1.3%". Real tables can be below it in
    the last two columns, for Xen maps with large pages and may leave the compat M2P out.
    """
    pages = ram_bytes >> PAGE_SHIFT
    return Costs(
        frame_table=pages * PAGE_INFO_BYTES,
        m2p=pages * M2P_ENTRY_BYTES,
        compat_m2p=pages * COMPAT_M2P_ENTRY_BYTES,
        direct_map_page_tables=pages * PAGE_TABLE_ENTRY_BYTES,
        other_page_tables=0,
    )


class Overhead(Facts):
    """What one profile's tables cost on one machine.

    Attributes
    ----------
    profile : str
        The profile booted.
    machine_ram_bytes : int
        RAM that the firmware reports, each byte once: what percentages are of.
    used_ram_bytes : int
        RAM that this profile can use, after its limits.
    costs : Costs
        Bytes by table.
    virtual : dict of str to int
        Bytes of virtual address space from each table's start to its end, holes included.
    """

    __slots__ = ()

    profile: str
    machine_ram_bytes: int
    used_ram_bytes: int
    costs: Costs
    virtual: dict[str, int]

    _repr_html_ = repr_html

    @property
    def minimum(self) -> Costs:
        """The least that the machine's RAM needs; see :func:`minimum_costs`."""
        return minimum_costs(self.machine_ram_bytes)

    @property
    def percent(self) -> dict[str, float]:
        """Costs in percent of the machine's RAM."""
        return self.costs.percent_of(self.machine_ram_bytes)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain numbers: bytes, and percent of the machine's RAM."""
        return {
            "profile": self.profile,
            "machine_ram_bytes": self.machine_ram_bytes,
            "used_ram_bytes": self.used_ram_bytes,
            "bytes": self.costs.to_dict(),
            "percent": self.percent,
            "minimum_bytes": self.minimum.to_dict(),
            "minimum_percent": self.minimum.percent_of(self.machine_ram_bytes),
            "virtual_bytes": dict(self.virtual),
        }
