"""The largest machine of a shape that a profile takes, found by booting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from ..constants import GIB, PAGE_SIZE
from ..errors import ConfigError, need
from .layout_search import BOOTS, LayoutCost, layout_cost
from .layouts import Layout


@dataclass(frozen=True)
class Largest:
    """The largest machine of a shape that a profile takes without losing memory.

    Attributes
    ----------
    cost : LayoutCost or None
        That machine; None when even the smallest loses memory.
    larger : LayoutCost or None
        The machine one granule a node larger, which loses memory; None when there is none: see ``limit``.
    limit : str
        What stops it: ``profile``, or ``layout`` when nodes would meet or lie too high.
    exact, method, boots
        As of :class:`Search`.
    """

    cost: LayoutCost | None
    larger: LayoutCost | None
    limit: str
    exact: bool
    method: str
    boots: int

    @property
    def ram_bytes(self) -> int:
        """RAM of that machine."""
        return 0 if self.cost is None else self.cost.layout.ram_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ram_bytes": self.ram_bytes,
            "cost": None if self.cost is None else self.cost.to_dict(),
            "larger": None if self.larger is None else self.larger.to_dict(),
            "limit": self.limit,
            "exact": self.exact,
            "method": self.method,
            "boots": self.boots,
        }


def largest_machine(
    layout: Layout, profile: str, *, granule: int = GIB, boots: int = BOOTS, **options: Any
) -> Largest:
    """Find the largest machine of a layout's shape that a profile takes without losing memory.

    Nodes keep their proportions, and grow by a granule each when they are of one size.

    Parameters
    ----------
    layout : Layout
        The shape: everything but the sizes.
    profile : str
        What to boot.
    granule : int
        Bytes.
    boots : int
        At most so many machines are booted one by one; beyond, the method is bisection.
    **options
        Of :func:`xenmm.boot`.

    Returns
    -------
    Largest
        Exact when every size was booted. Otherwise sizes are doubled up to the layout's limit, and the step
        above the largest that fits is bisected; the sizes a granule below and above the answer are booted.
    """
    need("boots", boots, int)
    shape = _Shape(layout, profile, granule, options)
    top = shape.largest_that_fits_the_layout()
    if top == 0:
        raise ConfigError("not even a granule a node fits this layout")
    if top <= boots:
        good = next((k for k in range(top, 0, -1) if shape.takes(k)), 0)
        exact, method = True, "sizes booted one by one from the largest down"
    else:
        good = _bisected(shape.takes, top)
        below = good <= 1 or shape.takes(good - 1)
        exact = False
        method = "doubled, then bisected; the sizes a granule below and above booted"
        method += "" if below else ": a granule less loses memory, so sizes are not in order"
    larger = shape.cost(good + 1) if good < top else None
    found = shape.cost(good) if good else None
    return Largest(found, larger, "layout" if good == top else "profile", exact, method, shape.boots)


def _bisected(takes: Callable[[int], bool], top: int) -> int:
    # The largest number up to ``top`` that is taken, as if from some number on none were.
    if takes(top):
        return top
    points = [1 << n for n in range(top.bit_length()) if 1 << n < top]
    good = next((p for p in reversed(points) if takes(p)), 0)
    bad = next((p for p in points if p > good), top)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if takes(middle) else (good, middle)
    return good


class _Shape:
    """Machines of one shape by their number of granules, each booted once."""

    def __init__(self, layout: Layout, profile: str, granule: int, options: dict[str, Any]) -> None:
        need("layout", layout, Layout)
        need("granule", granule, int)
        if granule < PAGE_SIZE or granule % PAGE_SIZE:
            raise ConfigError(f"granule: {granule:#x} is no multiple of a page, {PAGE_SIZE:#x}")
        sizes = layout.node_bytes
        self._layout, self._profile, self._options = layout, profile, options
        # Nodes that differ by what could not be shared out are of one size.
        unit = gcd(*sizes)
        even = max(sizes) - min(sizes) <= granule
        self._units: Sequence[int] = [granule if even else count // unit * granule for count in sizes]
        if max(self._units) > 64 * min(self._units):
            # Sizes without a common measure: a step would be larger than the machine.
            raise ConfigError("node sizes have no common measure: give them as multiples of one size")
        self._costs: dict[int, LayoutCost] = {}

    @property
    def boots(self) -> int:
        return len(self._costs)

    def layout(self, k: int) -> Layout | None:
        try:
            return self._layout.resized([k * unit for unit in self._units])
        except ConfigError:
            return None

    def largest_that_fits_the_layout(self) -> int:
        # That nodes meet, or lie too high, only comes with size.
        high = 1
        while self.layout(high) is not None:
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.layout(middle) is not None else (low, middle)
        return low

    def cost(self, k: int) -> LayoutCost:
        if k not in self._costs:
            layout = self.layout(k)
            assert layout is not None
            self._costs[k] = layout_cost(layout, self._profile, **self._options)
        return self._costs[k]

    def takes(self, k: int) -> bool:
        return self.cost(k).fits
