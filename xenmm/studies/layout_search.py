"""What layouts cost under a profile, and the spacing that costs least.

Everything is found by booting: nothing is estimated. Where there are more candidates than boots allowed, the
method is stated in the result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ..boot.host import boot
from ..constants import PAGE_SIZE
from ..errors import ConfigError, need, need_one_of, need_range
from ..report.overhead import limit_losses
from .layouts import Layout

#: What a search makes small. What loses memory has small tables: so what loses less comes first in each.
OBJECTIVES: Final = ("overhead", "virtual", "loss")
#: Layouts that a search may boot one by one.
BOOTS: Final = 600
_VIRTUAL: Final = ("frame_table", "m2p", "direct_map")


@dataclass(frozen=True)
class LayoutCost:
    """What one layout costs under one profile.

    Attributes
    ----------
    layout : Layout
        The layout.
    profile : str
        What was booted.
    compression : str
        ``none``, ``mask`` or ``offset``.
    table_bytes : int
        All tables, page tables included.
    virtual_bytes : int
        Virtual space of frame table, M2P and direct map, from start to end.
    lost_bytes : int
        RAM that this profile cannot use, past the first MiB.
    hazards : tuple of str
        Codes of what a real Xen would not survive: crashes and assertions.
    """

    layout: Layout
    profile: str
    compression: str
    table_bytes: int
    virtual_bytes: int
    lost_bytes: int
    hazards: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Tables in percent of RAM."""
        return 100 * self.table_bytes / self.layout.ram_bytes

    @property
    def fits(self) -> bool:
        """Whether the profile uses all of the layout's RAM."""
        return not self.lost_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "profile": self.profile,
            "layout": asdict(self.layout),
            "compression": self.compression,
            "table_bytes": self.table_bytes,
            "table_percent": self.percent,
            "virtual_bytes": self.virtual_bytes,
            "lost_bytes": self.lost_bytes,
            "hazards": list(self.hazards),
        }


@dataclass(frozen=True)
class Search:
    """The best layout of a search.

    Attributes
    ----------
    best : LayoutCost
        The first of the best; of equals the one with the smallest spacing.
    exact : bool
        Every candidate was booted.
    method : str
        What was done, in words.
    boots : int
        How many layouts were booted.
    """

    best: LayoutCost
    exact: bool
    method: str
    boots: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "best": self.best.to_dict(),
            "exact": self.exact,
            "method": self.method,
            "boots": self.boots,
        }


def layout_cost(layout: Layout, profile: str, **options: Any) -> LayoutCost:
    """Boot a layout and say what it costs; options are those of :func:`xenmm.boot`."""
    host = boot(layout.memory_map(), profile, **options)
    overhead = host.overhead()
    worst = sorted({h.code for h in host.hazards if h.severity in ("crash", "assert")})
    return LayoutCost(
        layout,
        host.profile.name,
        host.compression.kind,
        overhead.costs.total,
        sum(overhead.virtual[name] for name in _VIRTUAL),
        limit_losses(host),
        tuple(worst),
    )


def search_layouts(
    layout: Layout,
    profile: str,
    objective: str = "overhead",
    *,
    alignment: int | None = None,
    window: tuple[int, int] | None = None,
    boots: int = BOOTS,
    **options: Any,
) -> Search:
    """Find the spacing of a layout's nodes that is best under a profile.

    Parameters
    ----------
    layout : Layout
        Everything but the spacing, ``max_address`` included.
    profile : str
        What to boot.
    objective : str
        ``overhead``: bytes of tables; ``virtual``: virtual space; ``loss``: RAM that cannot be used. What
        loses less comes first in each.
    alignment : int, optional
        Spacings are its multiples; by default powers of two.
    window : (int, int), optional
        Smallest and largest spacing, both included.
    boots : int
        So many candidates are booted one by one.
    **options
        Of :func:`xenmm.boot`.

    Returns
    -------
    Search
        Exact when all candidates were booted. Otherwise the multiples next to small odd numbers times powers
        of two were, and between the best and the one below it the smallest that is as good is bisected.

    Raises
    ------
    ConfigError
        If no spacing fits, or a parameter is out of its domain.
    """
    need_one_of("objective", objective, OBJECTIVES)
    need("layout", layout, Layout)
    need("boots", boots, int)
    if alignment is not None:
        need("alignment", alignment, int)
    if alignment is not None and (alignment < PAGE_SIZE or alignment % PAGE_SIZE):
        raise ConfigError(f"alignment: {alignment:#x} is no multiple of a page, {PAGE_SIZE:#x}")
    if boots < 1:
        raise ConfigError(f"boots is a number from 1 on, got {boots}")
    tried = _Tried(layout, profile, objective, options)
    low, high = _spacings(layout, alignment or PAGE_SIZE, window)
    if alignment is None:
        points = [1 << n for n in range(64) if low <= 1 << n <= high]
        text = "all {} powers of two that fit booted"
    elif (high - low) // alignment < boots:
        points = list(range(low, high + 1, alignment))
        text = "all {} multiples that fit booted"
    else:
        points = _coarse(low, high, alignment, boots)
        text = ""
    fitting = [point for point in points if tried.fits(point)]
    if not fitting:
        raise ConfigError(
            f"no spacing {'that is a power of two ' if alignment is None else ''}fits this layout"
        )
    best = min(fitting, key=tried.key)
    exact, text = bool(text), text.format(len(fitting))
    if alignment is not None and not exact:
        best = tried.smallest_as_good(max((p for p in points if p < best), default=best), best, alignment)
        count = (high - low) // alignment + 1
        text = f"{len(points)} of {count:,} multiples booted, then bisected below the best"
    return Search(tried.cost(best), exact, text, tried.boots)


class _Tried:
    """Costs by spacing, each booted once."""

    def __init__(self, layout: Layout, profile: str, objective: str, options: dict[str, Any]) -> None:
        self._layout, self._profile, self._objective, self._options = layout, profile, objective, options
        self._costs: dict[int, LayoutCost | None] = {}

    @property
    def boots(self) -> int:
        return sum(cost is not None for cost in self._costs.values())

    def _found(self, spacing: int) -> LayoutCost | None:
        if spacing not in self._costs:
            layout = _spaced(self._layout, spacing)
            cost = None if layout is None else layout_cost(layout, self._profile, **self._options)
            self._costs[spacing] = cost
        return self._costs[spacing]

    def fits(self, spacing: int) -> bool:
        return self._found(spacing) is not None

    def cost(self, spacing: int) -> LayoutCost:
        found = self._found(spacing)
        assert found is not None
        return found

    def value(self, spacing: int) -> tuple[int, ...]:
        cost = self.cost(spacing)
        by = {
            "overhead": (cost.table_bytes, cost.virtual_bytes),
            "virtual": (cost.virtual_bytes, cost.table_bytes),
        }
        return (cost.lost_bytes, *by.get(self._objective, ()))

    def key(self, spacing: int) -> tuple[int, ...]:
        return (*self.value(spacing), spacing)

    def smallest_as_good(self, worse: int, good: int, step: int) -> int:
        """Bisect for the smallest spacing that is as good, as if everything between were in order."""
        wanted = self.value(good)
        while good - worse > step:
            middle = worse + (good - worse) // step // 2 * step
            if self.fits(middle) and self.value(middle) <= wanted:
                good = middle
            else:
                worse = middle
        return good


def _spaced(layout: Layout, spacing: int) -> Layout | None:
    # None where nodes would meet, or lie too high.
    try:
        return replace(layout, spacing=spacing)
    except ConfigError:
        return None


def _spacings(layout: Layout, step: int, window: tuple[int, int] | None) -> tuple[int, int]:
    # The smallest and the largest spacing to look at, multiples of ``step``; not all of them need fit.
    steps = max(len(layout.node_bytes) - 1, 1)
    low = min(layout.node_bytes)
    high = (layout.max_address - layout.base) // steps
    if window is not None:
        first, last = need_range("window", window)
        low, high = max(low, first), min(high, last)
    low, high = -(-low // step) * step, high // step * step
    if low > high:
        raise ConfigError("no spacing is in the window")
    return low, high


def _coarse(low: int, high: int, alignment: int, most: int) -> list[int]:
    # Odd numbers times powers of two, as many as boots allow: compressions change at such spacings.
    points = {low, high}
    for odd in range(1, 64, 2):
        more = {-(-(odd << n) // alignment) * alignment for n in range(64)}
        more = {p for p in more if low <= p <= high} | points
        if len(more) > max(most * 3 // 4, 2):
            break
        points = more
    return sorted(points)
