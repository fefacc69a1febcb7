"""Pictures of time for papers: the roofline of the conversions, cycles by cause, and miss curves.

Drawn as :mod:`xenmm.report.plot` draws, and saved by its ``save``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..constants import KIB, MIB
from ..errors import ConfigError
from ..timing.curves import Point
from ..timing.primitives import ALU, SHIFTS, program
from ..timing.result import Result
from .layout import size
from .plot import COLOURS, bar_style, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Conversions of a record that have a primitive whose operations can be counted.
CONVERSIONS: Final = ("mfn_to_page", "page_to_mfn", "mfn_to_virt", "page_to_virt", "page_to_mfn_to_virt")
#: An array's element goes in and another comes out, 8 bytes each.
BYTES_EACH: Final = 16

_MARKERS: Final = ("o", "s", "^", "D", "v")
_LINES: Final = ("-", "--", "-.", ":")
_ELEMENT: Final = 8


def operations(conversion: str, compression: str) -> int:
    """Integer operations of one conversion: the adds, logic and shifts of its primitive."""
    steps = program(conversion, compression).steps
    return sum(s.kind in (*ALU, *SHIFTS) for s in steps)


def roofline_points(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversions of arrays of a record of ``xenmm bench``, as points of a roofline.

    Parameters
    ----------
    record : mapping
        A record of ``xenmm bench`` with the part ``arrays``.

    Returns
    -------
    list of dict
        ``compression``, ``conversion``, ``bytes`` (of each array); ``intensity`` in integer operations for
        each byte that goes in or out, and ``rate`` in billions of operations a second.

    Raises
    ------
    ConfigError
        If the record has no such part.
    """
    points = []
    for row in _arrays(record):
        if row["task"] in CONVERSIONS:
            count = operations(row["task"], row["compression"])
            points.append(
                {
                    "compression": row["compression"],
                    "conversion": row["task"],
                    "bytes": row["bytes"],
                    "intensity": count / BYTES_EACH,
                    # ns a byte of the input: an element is 8 of them.
                    "rate": count / (_ELEMENT * row["ns"]),
                }
            )
    return points


def roofs(record: Mapping[str, Any]) -> dict[int, float]:
    """Bytes a nanosecond, read and written, of memcpy in arrays of each size: the slanted roofs."""
    found: dict[int, float] = {}
    for row in _arrays(record):
        if row["task"] == "memcpy":
            found[row["bytes"]] = max(found.get(row["bytes"], 0.0), 2 / row["ns"])
    return found


def roofline_figure(record: Mapping[str, Any], width: str = "single") -> Figure:
    """Draw the conversions of arrays under the roofs that memcpy of the same record sets.

    A point on the slanted roof of its size converts as fast as memcpy copies, one above it faster (memcpy
    chooses other stores). The level line is the highest rate in the record: no claim of what the processor
    could reach.

    Parameters
    ----------
    record : mapping
        A record of ``xenmm bench``.
    width : {"single", "double"}
        Columns of a paper: 3.4 or 7 inches.

    Raises
    ------
    ConfigError
        If the record has no part ``arrays``, or the width is another.
    """
    points, bandwidths = roofline_points(record), roofs(record)
    sizes = sorted(bandwidths)
    with style():
        figure = new_figure(width, 4.0 if width == "single" else 3.4)
        axes = figure.subplots()
        low = min(p["intensity"] for p in points) / 2
        high = max(p["intensity"] for p in points) * 2
        top = max(p["rate"] for p in points)
        for i, amount in enumerate(sizes):
            axes.plot(
                [low, high],
                [low * bandwidths[amount], high * bandwidths[amount]],
                linestyle=_LINES[i % len(_LINES)],
                color="#777777",
                label=f"memcpy, {size(amount)}",
                zorder=1,
            )
        axes.axhline(top, color="black", linewidth=0.7, zorder=1)
        axes.annotate("fastest measured", (low, top), (2, 2), textcoords="offset points", fontsize=6)
        _scatter(axes, points, sizes)
        axes.set(xscale="log", yscale="log", xlim=(low, high))
        axes.set_ylim(min(p["rate"] for p in points) / 1.6, top * 1.8)
        axes.set_xlabel("integer operations a byte, in and out")
        axes.set_ylabel("10⁹ integer operations a second")
        axes.set_title(str(record.get("cpu", "")))
        figure.legend(loc="outside lower center", ncols=2 if width == "single" else 4)
    return figure


def _scatter(axes: Axes, points: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> None:
    # A colour for each compression, a marker for each size of array.
    kinds = list(dict.fromkeys(p["compression"] for p in points))
    for i, kind in enumerate(kinds):
        for j, amount in enumerate(sizes):
            some = [p for p in points if (p["compression"], p["bytes"]) == (kind, amount)]
            axes.plot(
                [p["intensity"] for p in some],
                [p["rate"] for p in some],
                linestyle="none",
                marker=_MARKERS[j % len(_MARKERS)],
                markersize=4,
                markerfacecolor=COLOURS[i],
                markeredgecolor="white",
                markeredgewidth=0.3,
                label=f"{kind}, {size(amount)}",
            )


def _arrays(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = [r for r in record.get("arrays") or () if r["data"] == "coherent"]
    if not any(r["task"] == "memcpy" for r in rows):
        raise ConfigError("the record has no arrays: measure with xenmm bench, its part arrays included")
    return rows


def replay_figure(
    results: Mapping[str, Result],
    curves: Mapping[str, Sequence[Point]] | None = None,
    table: str = "",
    width: str = "single",
) -> Figure:
    """Draw the serial cycles of each run by cause, and under them miss curves where there are any.

    Parameters
    ----------
    results : mapping of str to Result
        Runs by name.
    curves : mapping of str to sequence of Point, optional
        Miss curves by run.
    table : str
        The cache or TLB that the curves are of.
    width : {"single", "double"}
        Columns of a paper: 3.4 or 7 inches.

    Raises
    ------
    ConfigError
        If the width is another.
    """
    with style():
        height = 0.9 + 0.28 * len(results)
        figure = new_figure(width, height + 0.5 + (2.2 if curves else 0))
        if curves:
            above, below = figure.subplots(2, 1, height_ratios=[height, 2.2])
            draw_miss_curves(below, curves, table)
        else:
            above = figure.subplots()
        draw_cycles(above, results)
        handles = above.get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=3 if width == "single" else 6)
    return figure


def draw_cycles(axes: Axes, results: Mapping[str, Result]) -> None:
    """Draw serial cycles an access, a bar for each run, a part for each cause that took any."""
    counts = {name: max(sum(r.accesses.values()), 1) for name, r in results.items()}
    causes = dict.fromkeys(c for r in results.values() for c, n in r.cycles.items() if n and c != "total")
    left = [0.0] * len(results)
    places = [-i for i in range(len(results))]
    for i, cause in enumerate(causes):
        values = [r.cycles.get(cause, 0) / counts[name] for name, r in results.items()]
        axes.barh(places, values, 0.7, left=left, label=cause.removeprefix("cache."), **bar_style(i))
        left = [a + b for a, b in zip(left, values, strict=True)]
    for place, end in zip(places, left, strict=True):
        axes.annotate(
            f"{end:,.1f}", (end, place), (3, 0), textcoords="offset points", va="center", fontsize=6
        )
    axes.set_yticks(places, list(results))
    axes.set_xlim(0, max(left) * 1.15 or 1)
    axes.set_xlabel("cycles an access, one access after another")


def draw_miss_curves(axes: Axes, curves: Mapping[str, Sequence[Point]], table: str) -> None:
    """Draw the miss rate of one cache or TLB against its size, a line for each run."""
    in_bytes = any(p.size >= KIB for points in curves.values() for p in points)
    scale, unit = (KIB, "KiB") if in_bytes else (1, "entries")
    if in_bytes and min(p.size for points in curves.values() for p in points) >= MIB:
        scale, unit = MIB, "MiB"
    for i, (name, points) in enumerate(curves.items()):
        axes.plot(
            [p.size / scale for p in points],
            [100 * p.miss_rate for p in points],
            linestyle=_LINES[i % len(_LINES)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=3,
            color=COLOURS[i % len(COLOURS)],
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"size of {table} ({unit}), all else as configured")
    axes.set_ylabel(f"misses of {table} (%)")
    if len(curves) > 1:
        axes.legend()
