"""What the tables cost, step by step: a table whose bars are the waterfall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...boot.host import Host
from ...boot.overhead import Costs
from ..layout import percent, size
from ..overhead import limit_losses
from .markup import Markup, element, join, number, scrolled, table

_BAR: Final = 300
_HEIGHT: Final = 20
#: The parts of a bar: the figures' names, the class in style.css, the column's head.
PARTS: Final = (
    (("frame_table",), "c0", "frame table"),
    (("m2p",), "c1", "M2P"),
    (("compat_m2p",), "c2", "compat M2P"),
    (("direct_map_page_tables", "other_page_tables"), "c3", "page tables"),
)


def waterfall(hosts: Sequence[Host], minimum: Costs, ram_bytes: int) -> Markup:
    """A row a profile: its costs as a bar to scale, what changed against the step before, and the figures.

    Each step of 2009 is set against the row above; each Xen of today, which are alternatives, against the
    last step of 2009 there is.
    """
    totals = [h.overhead().costs.total for h in hosts]
    scale = _BAR / max([minimum.total, *totals, 1])
    rows: list[Sequence[object]] = []
    series: Costs | None = None
    for host in hosts:
        costs = host.overhead().costs
        rows.append(_row(host, costs, series, minimum, ram_bytes, scale))
        if not host.profile.modern or series is None:
            series = costs
    rows.append(_minimum(minimum, ram_bytes, scale))
    heads = [
        "step",
        element("span", "tables; ", element("span", "saved", class_="ghostword"), " against the step before"),
        *(element("span", element("i", class_=f"key {cls}"), " ", head) for _, cls, head in PARTS),
        "sum",
        "of RAM",
        "change",
    ]
    return scrolled(table(heads, rows, left=2, name="steps"), "cost of the tables, step by step")


def _row(
    host: Host, costs: Costs, before: Costs | None, minimum: Costs, ram: int, scale: float
) -> Sequence[object]:
    figures = costs.to_dict()
    parts = [sum(figures[name] for name in names) for names, _, _ in PARTS]
    change = "" if before is None else _change(100 * (costs.total - before.total) / ram)
    lost = limit_losses(host)
    less = element("small", f"cannot use {size(lost)}", class_="lost") if lost else ""
    return (
        join((host.profile.name, element("small", host.profile.summary), less)),
        _bar(parts, before.total if before else costs.total, minimum.total, scale),
        *(_amount(part) for part in parts),
        _amount(costs.total),
        percent(100 * costs.total / ram),
        change,
    )


def _minimum(minimum: Costs, ram: int, scale: float) -> Sequence[object]:
    figures = minimum.to_dict()
    parts = [sum(figures[name] for name in names) for names, _, _ in PARTS]
    words = element("small", "52 bytes a 4 KiB page; larger pages, or no compat M2P, go below it")
    return (
        join(("minimum", words)),
        _bar(parts, minimum.total, minimum.total, scale),
        *(_amount(part) for part in parts),
        _amount(minimum.total),
        percent(100 * minimum.total / ram),
        "",
    )


def _amount(count: int) -> str:
    return size(count) if count else "–"


def _change(points: float) -> Markup:
    if abs(points) < 0.0005:
        return element("span", "=", class_="same", title="no change")
    sign, kind = ("−", "less") if points < 0 else ("+", "more")
    return element("span", f"{sign}{percent(abs(points))}", class_=kind)


def cost_bar(costs: Costs, minimum: Costs) -> Markup:
    """One bar of costs to a scale of its own, the minimum as a dotted line, and what its colours mean."""
    figures = costs.to_dict()
    parts = [sum(figures[name] for name in names) for names, _, _ in PARTS]
    scale = _BAR / max(costs.total, minimum.total, 1)
    keys = [element("li", element("i", class_=f"key {cls}"), " ", head) for _, cls, head in PARTS]
    bar = _bar(parts, costs.total, minimum.total, scale)
    return join((bar, element("ul", *keys, class_="legend")))


def _bar(parts: Sequence[int], before: int, minimum: int, scale: float) -> Markup:
    shapes = []
    at = 0.0
    for part, (_, cls, _) in zip(parts, PARTS, strict=True):
        width = part * scale
        if part:
            shapes.append(element("rect", x=number(at), width=number(width), height=_HEIGHT, class_=cls))
        at += width
    if before * scale > at + 0.5:
        ghost = element(
            "rect", x=number(at), width=number(before * scale - at), height=_HEIGHT, class_="ghost"
        )
        shapes.append(ghost)
    line = minimum * scale
    shapes.append(element("path", d=f"M{number(line)} 0v{_HEIGHT}", class_="least"))
    names = ", ".join(f"{head} {size(p)}" for p, (_, _, head) in zip(parts, PARTS, strict=True) if p)
    return element(
        "svg",
        *shapes,
        viewBox=f"0 0 {_BAR + 1} {_HEIGHT}",
        class_="fall",
        role="img",
        aria_label=f"{names}; before: {size(before)}",
    )
