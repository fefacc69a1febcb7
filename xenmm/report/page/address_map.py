"""The machine's RAM and where it lands in pdx space, holes folded so that every range is seen at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import log2
from typing import Final, NamedTuple

from ...boot.host import Host
from ...constants import PAGE_SHIFT, PAGE_SIZE
from ...firmware.memory_map import MemoryMap, merge
from ..layout import plural, size
from .markup import Markup, element, join, number, rectangles, scrolled
from .paint import Paint
from .places import Landing, Piece, by_node, landings

WIDTH: Final = 1120
#: More ranges than this are set in rows, without ribbons.
RANGES_IN_ONE_FIGURE: Final = 120
#: More ranges than this are not set one by one at all.
RANGES_MAX: Final = 5000
_CHARACTER: Final = 6.4
_BOLD: Final = 7.2
_TRACK, _RIBBONS, _MACHINE = 20, 54, 30


class Track(NamedTuple):
    """One pdx space beside the machine's: its hosts' names, and where RAM lands in it."""

    title: str
    landings: Sequence[Landing]


class FoldedAxis:
    """A scale on which every run is wide enough to see: widths grow with the logarithm of sizes."""

    def __init__(self, runs: Sequence[tuple[int, int]], width: float, left: float = 0.0) -> None:
        self.runs = runs
        gaps = [runs[0][0], *(b[0] - a[1] for a, b in pairwise(runs))] if runs else []
        wide = [1 + log2(1 + (b - a) / PAGE_SIZE) / 3 for a, b in runs]
        between = [(0.6 + log2(1 + gap / PAGE_SIZE) / 24) if gap > 0 else 0.0 for gap in gaps]
        unit = width / (sum(wide) + sum(between)) if runs else 0.0
        self.places: list[tuple[float, float]] = []
        at = left
        for gap, own in zip(between, wide, strict=True):
            at += gap * unit
            self.places.append((at, at + own * unit))
            at += own * unit
        self._starts = [a for a, _ in runs]

    def x(self, address: int) -> float:
        """Where an address inside a run is drawn."""
        i = max(bisect_right(self._starts, address) - 1, 0)
        (start, end), (left, right) = self.runs[i], self.places[i]
        return left + (right - left) * min(max((address - start) / (end - start), 0.0), 1.0)

    def span(self, start: int, end: int) -> tuple[float, float]:
        """Where a range inside a run begins and ends; never thinner than half a unit."""
        i = max(bisect_right(self._starts, start) - 1, 0)
        left = self.x(start)
        (a, b), (_, right) = self.runs[i], self.places[i]
        stop = right if end >= b else self.places[i][0] + (right - self.places[i][0]) * (end - a) / (b - a)
        return left, max(stop, left + 0.5)


class _Labels:
    # Texts on one line that keep out of each other's way: the first placed wins.
    def __init__(self) -> None:
        self._taken: list[tuple[float, float]] = []

    def place(self, x: float, y: float, text: str, anchor: str, class_: str) -> Markup:
        width = len(text) * _CHARACTER
        left = x - (width / 2 if anchor == "middle" else width if anchor == "end" else 0)
        left = min(max(left, 0.0), WIDTH - width)
        if any(left < b + 6 and left + width + 6 > a for a, b in self._taken):
            return Markup("")
        self._taken.append((left, left + width))
        return element("text", text, x=number(left), y=number(y), class_=class_)


def address_figure(memory_map: MemoryMap, hosts: Sequence[Host], paint: Paint) -> Markup:
    """Draw the RAM of a machine, and under each host's compression where its frames land.

    Hosts whose frames land alike share a track. Beyond 120 ranges the strip is set in rows, without ribbons.
    """
    pieces = by_node(memory_map)
    if len(pieces) > RANGES_MAX:
        return too_many(len(pieces))
    if len(pieces) > RANGES_IN_ONE_FIGURE:
        return _rows(pieces, paint)
    tracks = tracks_of(hosts)
    above, below = tracks[:1], tracks[1:2]
    axis = FoldedAxis(memory_map.ram, WIDTH)
    y = (18 + _TRACK + _RIBBONS) * len(above) + 14
    parts = [
        paint.patterns(),
        *(_track(axis, t, y, up=True, paint=paint) for t in above),
        *(_track(axis, t, y, up=False, paint=paint) for t in below),
        _machine(axis, pieces, y, paint),
    ]
    height = y + _MACHINE + (_RIBBONS + _TRACK + 18 if below else 18)
    words = f"{plural(len(memory_map.ram), 'range')} of RAM on a scale with its holes folded"
    alone = element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=words + "".join(f"; {t.title}" for t in tracks),
        class_="folded",
    )
    return scrolled(alone, "RAM, holes folded")


def too_many(count: int) -> Markup:
    """What stands where so many ranges would have been set one by one."""
    return element("p", f"{count:,} ranges, too many to set one by one: to scale, or --json, has them all")


def tracks_of(hosts: Sequence[Host]) -> list[Track]:
    """The pdx spaces of the hosts; those that are alike are one."""
    found: dict[tuple[Landing, ...], dict[str, list[str]]] = {}
    for host in hosts:
        found.setdefault(tuple(landings(host)), {}).setdefault(_kind(host), []).append(host.profile.name)
    return [
        Track("pdx, " + "; ".join(f"{' and '.join(names)}: {kind}" for kind, names in kinds.items()), key)
        for key, kinds in found.items()
    ]


def _kind(host: Host) -> str:
    c = host.compression
    if c.kind == "mask":
        return f"{plural(c.hole_shift, 'bit')} squeezed out"
    if c.kind == "offset":
        return f"{plural(len(c.regions), 'region')} packed"
    return "nothing squeezed, pdx = mfn"


def _machine(axis: FoldedAxis, pieces: Sequence[Piece], y: float, paint: Paint) -> Markup:
    parts = []
    for piece in pieces:
        x0, x1 = axis.span(piece.start, piece.end)
        parts.append(_piece(piece, x0, x1, y, _MACHINE, paint))
    for piece in pieces:
        x0, x1 = axis.span(piece.start, piece.end)
        name = paint.label(piece.node)
        for text in (f"{name} {size(piece.end - piece.start)}".strip(), name):
            if x1 - x0 > len(text) * _BOLD + 2:
                halo = paint.halo(piece.node)
                middle = number((x0 + x1) / 2)
                parts.append(
                    element("text", text, x=middle, y=number(y + 19), class_=f"on mid {halo}".strip())
                )
                break
    below, above = _Labels(), _Labels()
    # The widest holes are labelled first, and the starts of the ranges behind them.
    for a, b in sorted(pairwise([(0, 0), *axis.runs]), key=lambda pair: pair[0][1] - pair[1][0]):
        hole = b[0] - a[1]
        right = axis.x(b[0])
        parts.append(below.place(right, y + _MACHINE + 12, f"{b[0]:#x}", "start", "mono halo"))
        if hole >= PAGE_SIZE:
            left = axis.places[axis.runs.index(a)][1] if a[1] else 0.0
            parts.append(above.place((left + right) / 2, y - 4, size(hole), "middle", "soft halo"))
            parts.append(_fold(left, right, y))
    return join(parts, "\n")


def _fold(left: float, right: float, y: float) -> Markup:
    # The break of a folded hole: a dashed line through its middle.
    middle = y + _MACHINE / 2
    return element("path", d=f"M{number(left)} {number(middle)}H{number(right)}", class_="fold")


def _piece(piece: Piece, x0: float, x1: float, y: float, height: float, paint: Paint) -> Markup:
    return element(
        "rect",
        x=number(x0),
        y=number(y),
        width=number(max(x1 - x0, 0.5)),
        height=height,
        data_at=f"{piece.start:#x}",
        **paint.fill(piece.node),
    )


def _track(axis: FoldedAxis, track: Track, y: float, *, up: bool, paint: Paint) -> Markup:
    shift = PAGE_SHIFT
    images = merge((each.pdx, each.pdx + each.frames) for each in track.landings)
    pdx_axis = FoldedAxis([(a << shift, b << shift) for a, b in images], WIDTH)
    near, far = (y, y - _RIBBONS) if up else (y + _MACHINE, y + _MACHINE + _RIBBONS)
    top = far - _TRACK if up else far
    boxes: dict[int | None, list[tuple[float, float, float, float]]] = {}
    ribbons: dict[int | None, list[str]] = {}
    for each in track.landings:
        a0, a1 = axis.span(each.mfn << shift, each.mfn + each.frames << shift)
        b0, b1 = pdx_axis.span(each.pdx << shift, each.pdx + each.frames << shift)
        boxes.setdefault(each.node, []).append((b0, top, b1 - b0, _TRACK))
        ribbons.setdefault(each.node, []).append(_ribbon(a0, a1, near, b0, b1, far))
    title_y = top - 6 if up else top + _TRACK + 14
    parts = [element("text", track.title, x=0, y=number(title_y), class_="title")]
    parts += [element("path", d="".join(d), opacity="0.28", **paint.fill(n)) for n, d in ribbons.items()]
    parts += [element("path", d=rectangles(b), **paint.fill(n)) for n, b in boxes.items()]
    owners = {each.pdx: each.node for each in track.landings}
    for (start, _), (left, right) in zip(images, pdx_axis.places, strict=True):
        text = f"{start:#x}"
        if right - left > len(text) * _CHARACTER + 8:
            halo = paint.halo(owners[start])
            parts.append(
                element("text", text, x=number(left + 4), y=top + 14, class_=f"on mono {halo}".strip())
            )
    return join(parts, "\n")


def _ribbon(a0: float, a1: float, near: float, b0: float, b1: float, far: float) -> str:
    middle = (near + far) / 2
    n = number
    return (
        f"M{n(a0)} {n(near)}C{n(a0)} {n(middle)} {n(b0)} {n(middle)} {n(b0)} {n(far)}H{n(b1)}"
        f"C{n(b1)} {n(middle)} {n(a1)} {n(middle)} {n(a1)} {n(near)}z"
    )


def _rows(pieces: Sequence[Piece], paint: Paint) -> Markup:
    # Many ranges: a strip of its own for each hundred, its first address in front.
    left, height, step = 120, 16, 22
    parts: list[Markup] = [paint.patterns()]
    groups = [pieces[i : i + 100] for i in range(0, len(pieces), 100)]
    for row, group in enumerate(groups):
        y = row * step + 2
        axis = FoldedAxis(_relative(group), WIDTH - left, left)
        parts.append(element("text", f"{group[0].start:#x}", x=0, y=y + 12, class_="mono soft"))
        for piece, (x0, x1) in zip(group, axis.places, strict=True):
            parts.append(_piece(piece, x0, x1, y, height, paint))
    alone = element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {len(groups) * step + 4}",
        role="img",
        aria_label=f"{plural(len(pieces), 'range')} of RAM, 100 in a row, holes folded",
        class_="folded",
    )
    return scrolled(alone, "RAM, holes folded")


def _relative(group: Iterable[Piece]) -> list[tuple[int, int]]:
    pieces = list(group)
    base = pieces[0].start
    return [(p.start - base, p.end - base) for p in pieces]
