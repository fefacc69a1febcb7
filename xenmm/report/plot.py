"""Pictures for papers: the address map and the waterfall of overhead, drawn by matplotlib (extra ``plot``).

Every picture is a matplotlib ``Figure``, drawn without pyplot and without a window, as wide as one or two
columns of a paper, in colours that the colour-blind and a grey printer tell apart. The same figures give the
same bytes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..constants import GIB, MIB, PAGE_SHIFT
from ..errors import ConfigError
from ..files import write_whole
from .layout import percent, printable, size, wrap
from .overhead import limit_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..boot.host import Host
    from ..firmware.memory_map import MemoryMap
    from .overhead import Report

#: What :func:`save` writes, by the end of the file's name.
SUFFIXES: Final = (".png", ".svg", ".pdf")
#: Inches: one and two columns of a paper.
WIDTHS: Final = {"single": 3.4, "double": 7.0}
#: Okabe and Ito's colours (jfly.uni-koeln.de/color, 2008), dark and light by turns: grey tells them apart.
COLOURS: Final = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#F0E442", "#009E73", "#CC79A7")
#: Nodes: Tol's muted colours (personal.sron.nl/~pault, 2021), by turns too, and not those of the tables.
NODE_COLOURS: Final = ("#332288", "#88CCEE", "#882255", "#DDCC77", "#117733", "#44AA99", "#AA4499", "#999933")
HATCHES: Final = ("", "////", "", "\\\\\\\\", "xxxx", "", "----", "||||")

_DPI: Final = 300
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.1,
    # Text stays text, and nothing of the moment gets into the file.
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "xenmm",
    "path.simplify": False,
}
#: The parts of the overhead, in the order in which they are stacked.
PARTS: Final = {
    "frame_table": "frame table",
    "m2p": "M2P",
    "compat_m2p": "compat M2P",
    "direct_map_page_tables": "direct-map page tables",
    "other_page_tables": "other page tables",
}


def check_destination(path: str | os.PathLike[str]) -> str:
    """Return the path's suffix, if a picture can be written under such a name.

    Raises
    ------
    ConfigError
        If the name ends in none of :data:`SUFFIXES`.
    ImportError
        If matplotlib is not installed; the message names the extra.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"{os.fspath(path)}: a picture's name ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"pictures need matplotlib, which is not installed: pip install 'xenmm[plot]' ({error})"
        ) from None
    return suffix


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, whole or not at all; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What a function of this module returned.
    path : path
        Ends in one of :data:`SUFFIXES`.

    Raises
    ------
    ConfigError, ImportError
        As :func:`check_destination`.
    OSError
        If the file cannot be written.
    """
    suffix = check_destination(path)
    metadata: dict[str, Any] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }[suffix]
    out = io.BytesIO()
    with style():
        figure.savefig(out, format=suffix[1:], dpi=_DPI, metadata=metadata)
    write_whole(path, out.getvalue())


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for a paper, for the time of a ``with`` block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: str, height: float) -> Figure:
    """An empty figure of one or two columns' width; the height is in inches.

    Raises
    ------
    ConfigError
        If the width is no name of :data:`WIDTHS`.
    """
    from matplotlib.figure import Figure

    if width not in WIDTHS:
        raise ConfigError(f"the width of a picture is {' or '.join(WIDTHS)}, not {width!r}")
    return Figure(figsize=(WIDTHS[width], height), layout=_layout())


def _layout() -> Any:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class Layout(ConstrainedLayoutEngine):
        """Positions without their last bits, which change from run to run: an SVG names its clips by them."""

        def execute(self, fig: Figure) -> Any:
            done = super().execute(fig)
            for axes in fig.axes:
                left, bottom, width, height = (round(edge, 6) for edge in axes.get_position().bounds)
                axes.set_position((left, bottom, width, height))
                # What has a position of its own would be left out of the next layout.
                axes.set_in_layout(True)
            return done

    return Layout()


def report_figure(report: Report, width: str = "double") -> Figure:
    """Draw the machine's address map, and under it the waterfall of overhead.

    Parameters
    ----------
    report : Report
        A machine and its hosts.
    width : {"single", "double"}
        Columns of a paper: 3.4 or 7 inches.

    Raises
    ------
    ConfigError
        If the width is another.
    """
    strips = 1 + len(_squeezed(report.hosts))
    rows = len(report.hosts)
    with style():
        figure = new_figure(width, 1.3 + 0.42 * strips + 0.24 * rows)
        ratios = [0.42 + 0.5, 0.42 * max(strips - 1, 1) + 0.4, 0.24 * rows + 0.4]
        above, squeezed, below = figure.subplots(3, 1, height_ratios=ratios)
        draw_address_map(above, report.memory_map)
        draw_squeezed(squeezed, report)
        draw_waterfall(below, report)
        # The labels behind the bars are as long in a narrow picture as in a wide one.
        below.set_xlim(0, below.get_xlim()[1] * (1 + 1.1 / (WIDTHS[width] - 1.4)))
        columns = 2 if width == "single" else 5
        figure.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
        name = printable(report.memory_map.name or report.input.name)
        above.set_title(_wrapped(f"{name}: {above.get_title()}", width))
    return figure


def _wrapped(text: str, width: str) -> str:
    return "\n".join(wrap(text, {"single": 44, "double": 110}[width]))


def draw_address_map(axes: Axes, memory_map: MemoryMap) -> None:
    """Draw RAM over machine addresses, to scale, a colour for each node; the thinnest is still a line."""
    unit, name = _unit(memory_map.top)
    pieces = _pieces(memory_map)
    _strip(axes, 0, [(a / unit, (b - a) / unit, node) for a, b, node in pieces], memory_map.nodes)
    axes.set_yticks([0], ["RAM"])
    axes.set_xlim(0, memory_map.top / unit)
    axes.set_xlabel(f"machine address ({name})")
    share = memory_map.top / memory_map.ram_bytes
    axes.set_title(
        f"{size(memory_map.ram_bytes)} of RAM in a span of {size(memory_map.top)}, {share:,.2f} times the RAM"
    )


def draw_squeezed(axes: Axes, report: Report) -> None:
    """Draw the same RAM over the index of each kind of compression, on one scale of its own."""
    squeezed = _squeezed(report.hosts)
    most = max(host.max_pdx << PAGE_SHIFT for _, host in squeezed)
    unit, name = _unit(most)
    nodes = report.memory_map.nodes
    numbered = False
    for row, (_, host) in enumerate(squeezed):
        bars = []
        for start, end, node in _used_pieces(report.memory_map, host):
            first = int(host.mfn_to_pdx_unchecked(start >> PAGE_SHIFT)) << PAGE_SHIFT
            bars.append((first / unit, (end - start) / unit, node))
        _strip(axes, -row, bars, nodes)
        numbered |= _number_nodes(axes, -row, bars, nodes, most / unit)
    axes.set_yticks([-i for i in range(len(squeezed))], [label for label, _ in squeezed])
    axes.set_xlim(0, most / unit)
    axes.set_xlabel(f"pdx × 4 KiB ({name})" + ("; numbers: nodes" if numbered else ""))


def draw_waterfall(axes: Axes, report: Report) -> None:
    """Draw the bytes of each table, a bar for each profile, and the least that the design of 2009 needs."""
    rows = [(_row_name(h), h.overhead().costs.to_dict()) for h in report.hosts]
    rows.append(("minimum", report.minimum.to_dict()))
    unit, name = _unit(max(costs["total"] for _, costs in rows))
    left = [0.0] * len(rows)
    places = [-i for i in range(len(rows))]
    for i, (part, label) in enumerate(PARTS.items()):
        values = [costs[part] / unit for _, costs in rows]
        axes.barh(places, values, 0.7, left=left, label=label, **bar_style(i))
        left = [a + b for a, b in zip(left, values, strict=True)]
    for place, end, (_, costs) in zip(places, left, rows, strict=True):
        share = percent(100 * costs["total"] / report.memory_map.ram_bytes)
        axes.annotate(
            f"{size(costs['total'])}, {share}",
            (end, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
        )
    axes.set_yticks(places, [label for label, _ in rows])
    axes.set_xlim(0, max(left))
    lost = any(limit_losses(h) for h in report.hosts)
    axes.set_xlabel(
        f"tables that describe memory ({name})" + ("\n*: cannot use all of the RAM" if lost else "")
    )


def bar_style(i: int) -> dict[str, Any]:
    """Colour and hatch of the i-th part of a bar."""
    colours = {"color": COLOURS[i % len(COLOURS)], "edgecolor": "white"}
    return colours | {"hatch": HATCHES[i % len(HATCHES)], "linewidth": 0.3}


def _row_name(host: Host) -> str:
    return host.profile.name + (" *" if limit_losses(host) else "")


def _squeezed(hosts: Sequence[Host]) -> list[tuple[str, Host]]:
    # One host for each way in which the index differs: the last of its kind, which is the newest.
    found: dict[tuple[Any, ...], tuple[str, Host]] = {}
    for host in hosts:
        kind = host.profile.compression
        label = kind if host.compression.kind != "none" or kind == "none" else f"{kind}: nothing"
        found[(kind,)] = (label, host)
    return list(found.values())


def _pieces(memory_map: MemoryMap) -> list[tuple[int, int, int | None]]:
    # RAM cut at the edges of the SRAT's rows: start, end, node.
    rows = sorted((r.start, r.end, r.node) for r in memory_map.srat or () if r.end > r.start)
    pieces: list[tuple[int, int, int | None]] = []
    for start, end in memory_map.ram:
        at = start
        for first, last, node in rows:
            if last <= at or first >= end:
                continue
            if first > at:
                pieces.append((at, first, None))
            pieces.append((max(first, at), min(last, end), node))
            at = min(last, end)
        if at < end:
            pieces.append((at, end, None))
    return pieces


def _used_pieces(memory_map: MemoryMap, host: Host) -> Iterator[tuple[int, int, int | None]]:
    for start, end, node in _pieces(memory_map):
        at = start
        for part in host.lost:
            if part.end <= at or part.start >= end:
                continue
            if part.start > at:
                yield at, part.start, node
            at = part.end
        if at < end:
            yield at, end, node


def _strip(
    axes: Axes, row: float, bars: Iterable[tuple[float, float, int | None]], nodes: Sequence[int]
) -> None:
    for node in (None, *nodes):
        spans = [(start, width) for start, width, owner in bars if owner == node]
        if spans:
            i = 0 if node is None else nodes.index(node) % len(NODE_COLOURS)
            colour = "#777777" if node is None and nodes else NODE_COLOURS[i]
            axes.broken_barh(spans, (row - 0.35, 0.7), facecolor=colour, edgecolor=colour, linewidth=0.5)
    axes.set_ylim(row - 0.6, 0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _number_nodes(
    axes: Axes,
    row: float,
    bars: Iterable[tuple[float, float, int | None]],
    nodes: Sequence[int],
    span: float,
) -> bool:
    # A node's number in its bar, where there is more than one node, and room for two digits.
    done = False
    if len(nodes) < 2:
        return done
    inches = axes.bbox.width / axes.figure.dpi
    for start, length, node in bars:
        if node is not None and length / span * inches > 0.13:
            i = nodes.index(node) % len(NODE_COLOURS)
            colour = "white" if i % 2 == 0 else "black"
            axes.text(start + length / 2, row, str(node), color=colour, ha="center", va="center", fontsize=6)
            done = True
    return done


def _unit(count: int) -> tuple[float, str]:
    for unit, name in ((GIB << 10, "TiB"), (GIB, "GiB"), (MIB, "MiB")):
        if count >= 2 * unit:
            return float(unit), name
    return 1024.0, "KiB"
