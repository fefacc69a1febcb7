"""What a compression removes, drawn as the bits of an mfn; and the table of an offset compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...boot.host import Host
from ...boot.pdx import TABLE_ORDER
from ...constants import PAGE_SHIFT, PAGE_SIZE
from ..layout import plural, size, span
from ..text import compression_text
from .markup import Markup, element, join, number, scrolled, table

#: Bits of an mfn that are drawn: those of a 52-bit machine address.
BITS: Final = 40
_CELL: Final = 24
_LEFT: Final = 150
_WIDTH: Final = _LEFT + BITS * _CELL + 10
_HEIGHT: Final = 22
_KINDS: Final = ("mask", "offset", "none")


def bit_figures(hosts: Sequence[Host]) -> Markup:
    """A figure for each way in which the hosts compress, with the profiles that do, mask first."""
    found: dict[tuple[str, str], list[Host]] = {}
    for host in hosts:
        kind, method = host.compression.kind, host.profile.compression
        text = compression_text(host) if method != "none" else "nothing: the index is the mfn"
        found.setdefault((kind if kind != "none" else "none " + method, text), []).append(host)
    parts = []
    for (_, text), alike in sorted(found.items(), key=lambda item: _KINDS.index(item[1][0].compression.kind)):
        host = alike[0]
        names = join((element("b", h.profile.name) for h in alike), ", ")
        method = host.profile.compression
        title = element("h3", names, ": ", f"{method}, " if method != "none" else "", text)
        parts.append(element("div", title, _FIGURES[host.compression.kind](host), class_="bits"))
    return join(parts, "\n")


def _mask(host: Host) -> Markup:
    c = host.compression
    low, hole = c.bottom_shift, c.hole_shift

    def role(bit: int) -> str:
        return "kept" if bit < low else "hole" if bit < low + hole else "moved"

    rows = [
        _numbers("bit of maddr", 12, [bit + PAGE_SHIFT for bit in range(BITS)]),
        _numbers("bit of mfn", 26, list(range(BITS))),
        _cells("mfn", 34, role, range(BITS)),
        _arrow(BITS - 1, low + hole, hole, 34 + _HEIGHT, 34 + _HEIGHT + 30),
        _arrow(low - 1, 0, 0, 34 + _HEIGHT, 34 + _HEIGHT + 30),
        _cells("pdx", 86, lambda b: "kept" if b < low else "moved", range(BITS - hole)),
        _numbers("bit of pdx", 122, list(range(BITS - hole))),
    ]
    words = (
        f"Bits 39 to 0 of an mfn: {low + hole} and above move down by {hole}, "
        f"{_run(low, low + hole - 1)} removed, {_run(0, low - 1)} kept"
    )
    legend = _legend(
        ("moved", f"bits from {low + hole} up: shifted down by {hole}"),
        ("hole", f"{plural(hole, 'bit')} removed: zero in every frame ({_run(low, low + hole - 1)})"),
        ("kept", f"{plural(low, 'bit')} kept in place"),
    )
    return join((scrolled(_svg(rows, 128, words), f"bits of an mfn, {host.profile.name}"), legend))


def _offset(host: Host) -> Markup:
    c = host.compression
    slots = range(c.pfn_index_shift, c.pfn_index_shift + TABLE_ORDER)
    inside = c.pdx_region_size.bit_length() - 1
    slots2 = range(c.pdx_index_shift, c.pdx_index_shift + TABLE_ORDER)
    rows = [
        _numbers("bit of maddr", 12, [bit + PAGE_SHIFT for bit in range(BITS)]),
        _numbers("bit of mfn", 26, list(range(BITS))),
        _cells(
            "mfn", 34, lambda b: "index" if b in slots else "kept" if b < inside else "moved", range(BITS)
        ),
        _cells(
            "pdx", 64, lambda b: "index" if b in slots2 else "kept" if b < inside else "moved", range(BITS)
        ),
        _numbers("bit of pdx", 100, list(range(BITS))),
    ]
    words = (
        f"Bits 39 to 0 of an mfn: {_run(slots[0], slots[-1])} index the table; of a pdx "
        f"{_run(slots2[0], slots2[-1])} index it on the way back; a region is {inside} bits of frames"
    )
    legend = _legend(
        (
            "index",
            f"index of the table: {_run(slots[0], slots[-1])} of an mfn, "
            f"{_run(slots2[0], slots2[-1])} of a pdx",
        ),
        ("kept", f"{_run(0, inside - 1)}: frame inside a region of {size(c.pdx_region_size * PAGE_SIZE)}"),
        ("moved", "above: changed by the table's entry"),
    )
    facts = []
    for i, region in enumerate(c.regions):
        mfn, pdx = region.base_pfn, i * c.pdx_region_size
        at = (region.base_pfn >> c.pfn_index_shift) % (1 << TABLE_ORDER)
        there, here = (span(a, a + c.pdx_region_size) for a in (mfn, pdx))
        facts.append((i, _mono(there), _mono(here), f"{region.pfn_idx} = {at:06b}", _mono(f"{mfn - pdx:#x}")))
    lookup = table(
        ("region", "mfn", "pdx", "slot", "mfn - pdx: the entry"),
        facts,
        caption=f"{plural(len(c.regions), 'entry', 'entries')} of {1 << TABLE_ORDER} in use",
    )
    return join(
        (
            scrolled(_svg(rows, 106, words), f"bits of an mfn, {host.profile.name}"),
            legend,
            scrolled(lookup, f"offset table, {host.profile.name}"),
        )
    )


def _none(host: Host) -> Markup:
    return Markup("")


_FIGURES: Final = {"mask": _mask, "offset": _offset, "none": _none}


def _mono(text: str) -> Markup:
    return element("code", text)


def _run(low: int, high: int) -> str:
    return f"bits {high} to {low}" if high > low else f"bit {low}"


def _x(bit: int) -> int:
    return _LEFT + (BITS - 1 - bit) * _CELL


def _numbers(label: str, y: int, names: Sequence[int]) -> Markup:
    texts = [
        element("text", name, x=_x(bit) + _CELL // 2, y=y, class_="bit") for bit, name in enumerate(names)
    ]
    return join([element("text", label, x=_LEFT - 12, y=y, class_="end soft"), *texts])


def _cells(label: str, y: int, role: object, bits: range) -> Markup:
    parts = [element("text", label, x=_LEFT - 12, y=y + 16, class_="end")]
    for bit in bits:
        kind = role(bit)  # type: ignore[operator]
        x = _x(bit)
        parts.append(element("rect", x=x, y=y, width=_CELL - 2, height=_HEIGHT, class_=f"cell {kind}"))
        mark = {
            "hole": f"M{x + 4} {y + 4}l{_CELL - 10} {_HEIGHT - 8}m0 {8 - _HEIGHT}l{10 - _CELL} {_HEIGHT - 8}",
            "index": f"M{x + 4} {y + _HEIGHT - 3}h{_CELL - 10}",
        }.get(kind)
        if mark:
            parts.append(element("path", d=mark, class_="mark"))
        if kind == "moved":
            parts.append(
                element("circle", cx=x + (_CELL - 2) / 2, cy=y + _HEIGHT / 2, r=2.5, class_="dotted")
            )
    return join(parts)


def _arrow(high: int, low: int, shift: int, y: int, end: int) -> Markup:
    # A ribbon from bits of the mfn to where they stand in the pdx.
    left, right = _x(high), _x(low) + _CELL - 2
    dx = shift * _CELL
    n = number
    d = f"M{n(left)} {y}L{n(left + dx)} {end}H{n(right + dx)}L{n(right)} {y}z"
    return element("path", d=d, class_="moved" if shift else "kept", opacity="0.25")


def _legend(*rows: tuple[str, str]) -> Markup:
    items = []
    for kind, text in rows:
        box = element("rect", x=1, y=1, width=14, height=12, class_=f"cell {kind}")
        mark = {"hole": "M4 4l8 6m0 -6l-8 6", "index": "M4 10h8"}.get(kind)
        marks = element("path", d=mark, class_="mark") if mark else ""
        dot = element("circle", cx=8, cy=7, r=2.2, class_="dotted") if kind == "moved" else ""
        items.append(
            element("li", element("svg", box, marks, dot, width=16, height=14, aria_hidden="true"), " ", text)
        )
    return element("ul", *items, class_="legend")


def _svg(rows: Sequence[Markup], height: int, words: str) -> Markup:
    return element(
        "svg",
        *rows,
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_label=words,
        class_="bitrow",
    )
