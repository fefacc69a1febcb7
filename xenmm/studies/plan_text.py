"""A plan as lines of text: the layout, its costs, the cheapest spacing, the largest machine."""

from __future__ import annotations

from collections.abc import Iterable

from ..report.layout import heading, percent, sections, size, span, table, wrap
from .layout_search import LayoutCost
from .plan import Plan, PlanRow
from .units import power_text


def lines(plan: Plan, width: int = 80) -> list[str]:
    """Set a plan in lines of at most ``width`` columns."""
    return sections(
        (
            _layout(plan, width),
            _costs(plan, width),
            _cheapest(plan, width),
            _largest(plan, width),
        )
    )


def _layout(plan: Plan, width: int) -> list[str]:
    memory_map = plan.memory_map
    out = [plan.layout.name, ""]
    out += wrap(
        f"{size(plan.layout.ram_bytes)}, top {memory_map.top:#x} ({size(memory_map.top)})", width, "  RAM  "
    )
    hot = [r for r in memory_map.srat or () if r.flags & 2]
    for row in hot:
        out += wrap(f"{span(row.start, row.end)}, {size(row.end - row.start)}", width, "  hot-pluggable  ")
    return out


def _costs(plan: Plan, width: int) -> list[str]:
    rows = [("", "tables", "of RAM", "squeezed by", "virtual space", "RAM lost")]
    rows += [
        (
            _marked(row.cost),
            size(row.cost.table_bytes),
            percent(row.cost.percent),
            row.cost.compression,
            size(row.cost.virtual_bytes),
            _lost(row.cost),
        )
        for row in plan.rows
    ]
    out = heading("What this layout costs") + table(rows, indent="  ")
    return out + _hazards(plan.rows, width)


def _marked(cost: LayoutCost) -> str:
    return cost.profile + (" !" if cost.hazards else "")


def _lost(cost: LayoutCost) -> str:
    return size(cost.lost_bytes) if cost.lost_bytes else "none"


def _hazards(rows: Iterable[PlanRow], width: int) -> list[str]:
    codes = sorted({code for row in rows for code in row.cost.hazards})
    text = f"!: a real Xen crashes or asserts ({', '.join(codes)}); xenmm report on the map (-o) says where"
    return wrap(text, width, "  ", "    ") if codes else []


def _cheapest(plan: Plan, width: int) -> list[str]:
    found = [(row.profile, row.cheapest) for row in plan.rows if row.cheapest is not None]
    if not found:
        return []
    rows = [("", "spacing", "", "tables", "of RAM", "RAM lost")]
    for profile, search in found:
        best = search.best
        spacing = best.layout.spacing or 0
        exact = "" if search.exact else " ~"
        rows.append(
            (
                profile + exact,
                power_text(spacing),
                size(spacing),
                size(best.table_bytes),
                percent(best.percent),
                _lost(best),
            )
        )
    out = heading("The cheapest spacing, of those that lose least; of equals the smallest")
    out += table(rows, indent="  ")
    return out + _methods(((s.method, s.exact) for _, s in found), width)


def _largest(plan: Plan, width: int) -> list[str]:
    rows = [("", "RAM", "a node", "tables", "of RAM", "more loses")]
    for row in plan.rows:
        found = row.largest
        mark = row.profile + ("" if found.exact else " ~")
        if found.cost is None:
            rows.append((mark, "none", "", "", "", _more(row)))
            continue
        cost = found.cost
        rows.append(
            (
                mark,
                size(found.ram_bytes),
                size(max(cost.layout.node_bytes)),
                size(cost.table_bytes),
                percent(cost.percent),
                _more(row),
            )
        )
    title = f"The largest machine of this shape that loses nothing, by {size(plan.granule)} a node"
    return (
        heading(title)
        + table(rows, indent="  ")
        + _methods(((row.largest.method, row.largest.exact) for row in plan.rows), width)
    )


def _more(row: PlanRow) -> str:
    return "no room" if row.largest.larger is None else size(row.largest.larger.lost_bytes)


def _methods(methods: Iterable[tuple[str, bool]], width: int) -> list[str]:
    out: list[str] = []
    for method, exact in sorted(set(methods), key=lambda m: (not m[1], m[0])):
        out += wrap(method, width, "  " if exact else "  ~: ", "    ")
    return out
