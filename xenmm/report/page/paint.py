"""Colours of nodes: eight, told apart by lightness too, then the same under hatching; and their legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...firmware.memory_map import MemoryMap
from .markup import Markup, element, join

#: Colours before patterns begin: ``.n0`` to ``.n7`` of style.css.
COLOURS: Final = 8


class Paint:
    """How the nodes of one machine are painted; ``prefix`` keeps the patterns of a document apart."""

    def __init__(self, memory_map: MemoryMap, prefix: str) -> None:
        self.nodes = memory_map.nodes
        self.prefix = prefix
        self._index = {node: i for i, node in enumerate(self.nodes)}

    def fill(self, node: int | None) -> dict[str, str]:
        """Attributes that fill a shape in the node's colour."""
        if node is None:
            return {"class_": "nx"}
        index = self._index[node]
        if index < COLOURS:
            return {"class_": f"n{index}"}
        return {"fill": f"url(#{self.prefix}-n{index})"}

    def label(self, node: int | None) -> str:
        """``N3``, or nothing for RAM of no node."""
        return "" if node is None else f"N{node}"

    def halo(self, node: int | None) -> str:
        """Class that sets a text off from the pattern it stands on; nothing on a plain colour."""
        index = -1 if node is None else self._index[node]
        return f"h{index % COLOURS}" if index >= COLOURS else ""

    def patterns(self) -> Markup:
        """Definitions that the fills of the ninth and later nodes refer to."""
        found = [_pattern(f"{self.prefix}-n{i}", i) for i in range(COLOURS, len(self.nodes))]
        return element("defs", join(found)) if found else Markup("")

    def legend(self, nodes: Sequence[int | None]) -> Markup:
        """The nodes given, each beside a swatch."""
        items = []
        for node in nodes:
            box = element("rect", width=12, height=12, **self.fill(node))
            swatch = element("svg", box, width=12, height=12, aria_hidden="true")
            unknown = "RAM of no node" if self.nodes else "RAM"
            text = unknown if node is None else f"node {node}"
            items.append(element("li", swatch, " ", text))
        return element("ul", *items, class_="legend")


def _pattern(name: str, index: int) -> Markup:
    variant = index // COLOURS - 1
    side = 6 + 3 * (variant // 4)
    half = side / 2
    marks = (
        element("path", d=f"M0 {side}L{side} 0", class_="hatch"),
        element("path", d=f"M0 0L{side} {side}", class_="hatch"),
        element("circle", cx=half, cy=half, r=1.5, class_="dot"),
        element("path", d=f"M{half} 0v{side}M0 {half}h{side}", class_="hatch"),
    )
    ground = element("rect", width=side, height=side, class_=f"n{index % COLOURS}")
    return element(
        "pattern",
        ground,
        marks[variant % 4],
        id=name,
        width=side,
        height=side,
        patternUnits="userSpaceOnUse",
    )
