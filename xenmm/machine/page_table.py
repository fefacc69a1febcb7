"""Page-table entries as the processor reads them: the frame in bits 51:12, flags around it.

Xen c447b7308b, xen/arch/x86/include/asm/page.h and x86_64/page.h: _PAGE_*.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from ..errors import MachineError
from .arguments import whole

_MOST_FRAMES: Final = 1 << 40


class PTE(IntFlag):
    """Flags of an entry of any level. ``pse`` is the bit of ``pat`` above the lowest level."""

    present = 1 << 0
    rw = 1 << 1
    user = 1 << 2
    pwt = 1 << 3
    pcd = 1 << 4
    accessed = 1 << 5
    dirty = 1 << 6
    pse = 1 << 7
    glob = 1 << 8
    nx = 1 << 63


@whole
def pte(mfn: int, flags: int = PTE.present) -> int:
    """An entry that names ``mfn``, 40 bits, with flags.

    Raises
    ------
    MachineError
        If the frame has more than 40 bits, or the flags reach into its place or past 64 bits.
    """
    if not 0 <= mfn < _MOST_FRAMES or flags & ~(0xFFF | 0xFFF << 52):
        raise MachineError(f"no page-table entry for mfn {mfn:#x} with flags {flags:#x}")
    return mfn << 12 | flags
