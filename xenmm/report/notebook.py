"""What a notebook shows for an object: a fragment of HTML without script, drawn by the page's renderer.

Each fragment brings its own style, which reaches no further than the fragment, and follows the notebook's
theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Final

from ..boot.host import Host
from ..boot.overhead import Overhead, minimum_costs
from ..firmware.memory_map import MemoryMap
from ..timing.result import Result
from .assets import asset
from .layout import percent, plural, size
from .overhead import Report, limit_losses
from .page import sections
from .page.address_map import address_figure
from .page.bits import bit_figures
from .page.costs import cost_bar, waterfall
from .page.markup import Markup, element, join, number, scrolled, table
from .page.paint import Paint
from .page.places import by_node
from .page.virtual import pages_legend, virtual_layout
from .text import compression_text, machine_facts, map_facts

_BAR: Final = 240
_COSTS: Final = {
    "frame_table": "frame table",
    "m2p": "M2P",
    "compat_m2p": "compat M2P",
    "direct_map_page_tables": "page tables of the direct map",
    "other_page_tables": "page tables of the tables",
    "total": "sum",
}


@singledispatch
def fragment(value: object) -> str:
    """The HTML of an object, to stand inside another page.

    Raises
    ------
    TypeError
        For an object of no kind that is shown so.
    """
    raise TypeError(f"no HTML for {type(value).__name__}")


def framed(title: object, *parts: object) -> str:
    """A fragment: its style, its title, its parts."""
    style = element("style", Markup(asset("style.css")))
    return str(element("div", style, element("h3", element("b", title)), *parts, class_="xenmm"))


@fragment.register
def _(value: MemoryMap) -> str:
    title = value.name or "memory map"
    if not value.ram:
        rows = f"; {plural(len(value.srat), 'SRAT row')}" if value.srat else ""
        return framed(title, element("p", f"no RAM in {plural(len(value.ranges), 'range')}{rows}"))
    return framed(title, sections.fact_list(map_facts(value)), _drawn(value, ()))


@fragment.register
def _(value: Host) -> str:
    memory_map = value.memory_map
    ram = memory_map.ram_bytes
    facts = [
        ("profile", f"{value.profile.name}: {value.profile.summary}"),
        ("squeezed", compression_text(value)),
        ("max_page", f"{value.max_page:#x}"),
        ("max_pdx", f"{value.max_pdx:#x}"),
        ("RAM lost", size(limit_losses(value)) if limit_losses(value) else "none"),
    ]
    return framed(
        memory_map.name or "host",
        sections.fact_list(facts),
        sections.hazard_list([value]),
        _drawn(memory_map, [value]),
        bit_figures([value]) if value.compression.kind != "none" else "",
        pages_legend(),
        virtual_layout(value),
        waterfall([value], minimum_costs(ram), ram),
    )


@fragment.register
def _(value: Overhead) -> str:
    costs, least = value.costs.to_dict(), value.minimum.to_dict()
    shares = value.percent
    rows = [
        (_COSTS[name], *(size(n) if n else "–" for n in (costs[name], least[name])), percent(shares[name]))
        for name in costs
    ]
    of = f"{value.profile}, {size(value.machine_ram_bytes)} of RAM"
    body = table(("part", "cost", "minimum", "of RAM"), rows)
    return framed(f"Overhead under {of}", cost_bar(value.costs, value.minimum), scrolled(body, "overhead"))


@fragment.register
def _(value: Report) -> str:
    return framed(
        value.memory_map.name or value.input.name,
        sections.fact_list(machine_facts(value)),
        sections.hazard_list(value.hosts),
        _drawn(value.memory_map, sections.track_hosts(value)),
        waterfall(value.hosts, value.minimum, value.memory_map.ram_bytes),
    )


@fragment.register
def _(value: Result) -> str:
    cycles = value.cycles
    bound = value.overlapped
    total = cycles["total"]
    rows: list[tuple[object, ...]] = [
        (cause, _share_bar(n, total), f"{n:,}", percent(100 * n / total) if total else "–")
        for cause, n in cycles.items()
        if n and cause != "total"
    ]
    rows.append(("total", "", f"{total:,}", ""))
    serial = table(("cause", "cycles, one access after another", "cycles", "share"), rows, left=2)
    accesses = sum(value.accesses.values())
    facts = [
        ("accesses", f"{accesses:,}"),
        ("serial", f"{total:,} cycles" + (f", {total / accesses:.2f} an access" if accesses else "")),
        ("overlapped", f"at least {bound['total']:,} cycles, bound by {bound['bound_by']}"),
        ("page walks", f"{value.walks.walks:,}, {plural(value.walks.reads, 'entry', 'entries')} read"),
    ]
    found = [(name, t.hits, t.misses) for name, t in value.caches.items()]
    found += [(name, t.hits, t.misses) for name, t in value.tlbs.items()]
    counts = [(name, f"{hits:,}", f"{misses:,}", _rate(misses, hits)) for name, hits, misses in found]
    missed = table(("table", "hits", "misses", "misses of all"), counts)
    name = value.hierarchy.name
    return framed(
        f"Replay on {name}", sections.fact_list(facts), scrolled(serial, "cycles"), scrolled(missed, "misses")
    )


def _rate(part: int, rest: int) -> str:
    return percent(100 * part / (part + rest)) if part + rest else "–"


def _share_bar(part: int, whole: int) -> Markup:
    box = element("rect", width=number(_BAR * part / whole), height=14, class_="c0")
    return element("svg", box, width=_BAR, height=14, aria_hidden="true")


def _drawn(memory_map: MemoryMap, hosts: Sequence[Host]) -> Markup:
    # The patterns' names are the map's own: two maps in one notebook keep apart.
    paint = Paint(memory_map, f"x{memory_map.sha256[:10]}")
    nodes = sorted({p.node for p in by_node(memory_map)}, key=lambda n: -1 if n is None else n)
    return join((address_figure(memory_map, hosts, paint), paint.legend(nodes)))
