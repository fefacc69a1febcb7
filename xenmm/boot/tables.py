"""What every table of a booted host has: where it lies, what backs it, and what maps it."""

from __future__ import annotations

from typing import Any

from .._facts import Facts
from .page_tables import PageTables

#: A run of equal pages: byte offset in the table, 4 KiB frames in a page, how many in a row.
Chunk = tuple[int, int, int]
#: One memset: byte offset, length in bytes, byte value.
Fill = tuple[int, int, int]


class Table(Facts):
    """One table.

    Attributes
    ----------
    name : str
        ``frame_table``, ``m2p``, ``ro_m2p``, ``compat_m2p``, ``ro_compat_m2p`` or ``direct_map``.
    virt_start : int
        Hypervisor virtual address of the first byte.
    virt_size_reserved : int
        Bytes of virtual address space that the layout sets aside.
    size : int
        Bytes from the first to the end of the last entry in use, holes included.
    backed_bytes : int
        Bytes of RAM taken to back it; 0 for a second mapping of the same memory, and for the direct map.
    chunks : tuple of (byte offset, frames in a page, count)
        The pages that map it, ascending.
    fills : tuple of (byte offset, bytes, value)
        How fresh memory is filled at boot, in the order of boot.
    page_tables : PageTables
        Leaves and page-table pages.
    """

    __slots__ = ()

    name: str
    virt_start: int
    virt_size_reserved: int
    size: int
    backed_bytes: int
    chunks: tuple[Chunk, ...]
    fills: tuple[Fill, ...]
    page_tables: PageTables

    @property
    def pt_allocated(self) -> int:
        """Page-table pages taken from RAM to map the table."""
        return self.page_tables.allocated

    @property
    def mapped_bytes(self) -> int:
        """Bytes that the pages map."""
        return sum(frames * count for _, frames, count in self.chunks) << 12

    def extents(self) -> list[tuple[int, int, int]]:
        """The mappings as (virtual start, virtual end, bytes in a page)."""
        return [
            (self.virt_start + at, self.virt_start + at + (frames << 12) * count, frames << 12)
            for at, frames, count in self.chunks
        ]

    def to_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        return {
            "name": self.name,
            "virt_start": self.virt_start,
            "virt_size_reserved": self.virt_size_reserved,
            "size": self.size,
            "backed_bytes": self.backed_bytes,
            "mapped_bytes": self.mapped_bytes,
            "chunks": [list(c) for c in self.chunks],
            "fills": [list(f) for f in self.fills],
            "page_tables": self.page_tables.to_dict(),
            "pt_allocated": self.pt_allocated,
        }
