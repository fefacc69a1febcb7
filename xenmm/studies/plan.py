"""What-if: what a layout's tables cost, which spacing costs least, and how large a machine may become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

from ..constants import GIB
from ..errors import need, need_all
from ..firmware.memory_map import MemoryMap
from ..report.overhead import STEPS
from ..version import __version__
from .largest_machine import Largest, largest_machine
from .layout_search import BOOTS, LayoutCost, Search, layout_cost, search_layouts
from .layouts import Layout

PLAN_SCHEMA: Final = "xenmm-plan/1"


@dataclass(frozen=True)
class PlanRow:
    """One profile's answers."""

    cost: LayoutCost
    cheapest: Search | None
    largest: Largest

    @property
    def profile(self) -> str:
        """The profile's name."""
        return self.cost.profile


@dataclass(frozen=True)
class Plan:
    """A layout and every profile's answers on it."""

    layout: Layout
    granule: int
    rows: tuple[PlanRow, ...]
    options: dict[str, Any]

    @cached_property
    def memory_map(self) -> MemoryMap:
        """The layout as a map."""
        return self.layout.memory_map()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, versioned."""
        return {
            "schema": PLAN_SCHEMA,
            "xenmm": __version__,
            "layout": {**asdict(self.layout), "name": self.layout.name, "ram_bytes": self.layout.ram_bytes},
            "map_sha256": self.memory_map.sha256,
            "granule": self.granule,
            "options": self.options,
            "profiles": [
                {
                    **row.cost.to_dict(),
                    "cheapest_spacing": None if row.cheapest is None else row.cheapest.to_dict(),
                    "largest_machine": row.largest.to_dict(),
                }
                for row in self.rows
            ],
        }


def plan(
    layout: Layout,
    profiles: Iterable[str] = STEPS,
    *,
    granule: int = GIB,
    alignment: int | None = None,
    boots: int = BOOTS,
    **options: Any,
) -> Plan:
    """Answer for each profile what a layout costs, which spacing costs least, and the largest machine.

    Parameters
    ----------
    layout : Layout
        The machine.
    profiles : iterable of str
        Which to boot.
    granule : int
        Bytes by which nodes grow, for the largest machine.
    alignment, boots
        As of :func:`search_layouts`.
    **options
        Of :func:`xenmm.boot`.

    Raises
    ------
    ConfigError
        If a profile or an option is unknown.
    """
    need("layout", layout, Layout)
    need("granule", granule, int)
    need("boots", boots, int)
    if alignment is not None:
        need("alignment", alignment, int)
    rows = []
    for profile in need_all("profiles", profiles, str):
        cheapest = None
        if layout.spacing is not None and len(layout.node_bytes) > 1:
            cheapest = search_layouts(layout, profile, alignment=alignment, boots=boots, **options)
        largest = largest_machine(layout, profile, granule=granule, boots=boots, **options)
        rows.append(PlanRow(layout_cost(layout, profile, **options), cheapest, largest))
    return Plan(layout, granule, tuple(rows), {"alignment": alignment, "boots": boots, **options})
