"""The virtual layout of a host: each table's place, what of it is backed, and by which size of page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from ...boot.host import Host
from ...boot.tables import Table
from ..layout import percent, size
from .markup import Markup, element, join, rectangles, scrolled, table

#: Steps of a bar: what is finer is drawn as one step.
STEPS: Final = 600
_HEIGHT: Final = 18
_NAMES: Final = {
    "ro_m2p": "M2P, guests' read-only copy",
    "m2p": "M2P",
    "frame_table": "frame table",
    "compat_m2p": "compat M2P",
    "ro_compat_m2p": "compat M2P, 32-bit guests' copy",
    "direct_map": "direct map",
}
#: Bytes of a page, its class in style.css, and the share of a bar's height that stands for it.
_PAGES: Final = ((1 << 30, "p1g", 1.0), (2 << 20, "p2m", 0.65), (4 << 10, "p4k", 0.35))


def virtual_layout(host: Host) -> Markup:
    """Every table of a host by virtual address, with a bar to scale from its start to its end."""
    ram = host.memory_map.ram_bytes
    rows: list[tuple[int, Sequence[object]]] = []
    for t in host.plan.tables:
        p = t.page_tables
        backed = (size(t.backed_bytes), percent(100 * t.backed_bytes / ram)) if t.backed_bytes else ("–", "–")
        leaves = (f"{n:,}" if n else "–" for n in (p.leaf_1g, p.leaf_2m, p.leaf_4k, t.pt_allocated))
        # The 32-bit guests' copy is of a table that may be larger than what such a guest can see.
        share = "–" if t.name == "ro_compat_m2p" else percent(100 * t.size / t.virt_size_reserved)
        span = (size(t.size), share)
        name = element("span", _NAMES[t.name], title=t.name)
        rows.append(
            (t.virt_start, (name, element("code", f"{t.virt_start:#x}"), bar(t), *span, *backed, *leaves))
        )
    layout = host.profile.layout
    image = ("Xen image", element("code", f"{layout.xen_virt_start:#x}"), "reserved", size(layout.xen_bytes))
    rows.append((layout.xen_virt_start, (*image, *["–"] * 7)))
    heads = (
        "table",
        "virtual address",
        "start to end, to scale",
        "spans",
        "of reserve",
        "backed by",
        "of RAM",
        "1 GiB",
        "2 MiB",
        "4 KiB",
        "PT pages",
    )
    body = table(heads, [row for _, row in sorted(rows, key=lambda r: r[0])], left=3, name="layout")
    return scrolled(body, f"virtual layout under {host.profile.name}")


def pages_legend() -> Markup:
    """Which height of a bar stands for which size of page."""
    items = []
    for page, name, share in _PAGES:
        high = 12 * share
        box = element("rect", y=12 - high, width=12, height=high, class_=name)
        items.append(
            element(
                "li", element("svg", box, width=12, height=12, aria_hidden="true"), f" {size(page)} pages"
            )
        )
    return element("ul", *items, class_="legend")


def bar(t: Table) -> Markup:
    """What of a table is mapped, in ``STEPS`` steps from its start to its end; higher is a larger page."""
    paths = []
    shares = []
    for page, name, share in _PAGES:
        runs = _steps([(a - t.virt_start, b - t.virt_start) for a, b, p in t.extents() if p == page], t.size)
        if not runs:
            continue
        high = _HEIGHT * share
        boxes = [(a, _HEIGHT - high, b - a, high) for a, b in runs]
        paths.append(element("path", d=rectangles(boxes), class_=name))
        mapped = sum(b - a for a, b, p in t.extents() if p == page)
        shares.append(f"{size(mapped)} in {size(page)} pages")
    words = f"{_NAMES[t.name]}: {'; '.join(shares) or 'nothing mapped'}, of {size(t.size)}"
    ground = element("rect", width=STEPS, height=_HEIGHT, class_="ground")
    return element(
        "svg",
        ground,
        join(paths),
        viewBox=f"0 0 {STEPS} {_HEIGHT}",
        preserveAspectRatio="none",
        class_="bar",
        role="img",
        aria_label=words,
        data_table=t.name,
        data_name=_NAMES[t.name],
        data_start=f"{t.virt_start:#x}",
        data_size=f"{t.size:#x}",
    )


def _steps(runs: Sequence[tuple[int, int]], whole: int) -> list[tuple[int, int]]:
    # Runs of bytes as runs of steps, joined where they touch; what is there is at least one step.
    out: list[tuple[int, int]] = []
    for start, end in runs:
        a = start * STEPS // whole
        b = min(max(-(-end * STEPS // whole), a + 1), STEPS)
        a = min(a, b - 1)
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    assert all(a[1] < b[0] for a, b in pairwise(out))
    return out
