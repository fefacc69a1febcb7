"""Where a real Xen would crash, alias, assert or lose memory: said, where and why, in plain words.

Rule book: part 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hazard:
    """One thing that a real Xen would not survive, or not do as one expects.

    Attributes
    ----------
    code : str
        A word for programs.
    severity : str
        ``crash``: any build; ``assert``: a debug build stops; ``lost``: memory is not used; ``note``.
    text : str
        Which, where and why, in plain words.
    ranges : tuple of (start, end)
        Where, in bytes; empty when it is not about a place.
    """

    code: str
    severity: str
    text: str
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes that the ranges hold."""
        return sum(end - start for start, end in self.ranges)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON has them."""
        return {
            "code": self.code,
            "severity": self.severity,
            "text": self.text,
            "ranges": [list(r) for r in self.ranges],
            "bytes": self.bytes,
        }
