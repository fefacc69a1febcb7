"""Where the struct pages of FLATMEM and of classic SPARSEMEM lie: in RAM, seen in the direct map.

No log tells it; what is assumed here is what Linux's boot allocator tends to: from the top of RAM downward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..boot._runs import Run
from ..constants import L2_PAGETABLE_SHIFT, PAGE_SHIFT, U64_END
from . import linux_sections as rules

#: The struct pages of a section.
SECTION_MAP_BYTES: Final = 1 << L2_PAGETABLE_SHIFT


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames whose struct pages follow one another: page = base + 64 * pfn, modulo 2^64."""

    start: int
    end: int
    base: int


def mem_maps(sections: list[Run], frames: list[Run], levels: int) -> list[Piece]:
    # Each section's struct pages are 2 MiB of RAM: the last section's highest, then the one before.
    room = [[s << PAGE_SHIFT, e << PAGE_SHIFT] for s, e in frames]
    behind = frames[-1][1] << PAGE_SHIFT
    pieces: list[Piece] = []
    for start, end in reversed(sections):
        while start < end:
            count, at = 0, 0
            for run in reversed(room):
                top = run[1] // SECTION_MAP_BYTES * SECTION_MAP_BYTES
                count = min((top - run[0]) // SECTION_MAP_BYTES, end - start)
                if count > 0:
                    at = run[1] = top - count * SECTION_MAP_BYTES
                    break
            else:
                # No such machine would boot; the arithmetic is the same behind its RAM.
                count, at = end - start, -(-behind // SECTION_MAP_BYTES) * SECTION_MAP_BYTES
                behind = at + count * SECTION_MAP_BYTES
            base = rules.PAGE_OFFSET[levels] + at - (end - count) * SECTION_MAP_BYTES
            shift = rules.PFN_SECTION_SHIFT
            pieces.append(Piece((end - count) << shift, end << shift, base % U64_END))
            end -= count
    return sorted(pieces, key=lambda p: p.start)


def top_down(frames: list[Run], size: int, align: int) -> int:
    # The highest RAM that holds `size` bytes together; behind its end where none does.
    for start, end in reversed(frames):
        at = ((end << PAGE_SHIFT) - size) // align * align
        if at >= start << PAGE_SHIFT:
            return at
    return -(-(frames[-1][1] << PAGE_SHIFT) // align) * align
