"""The report as plain text: readable at 80 columns, one table fewer where there is room for it."""

from __future__ import annotations

from typing import Final

from ..boot.host import Host
from ..boot.overhead import Costs
from ..constants import KIB, MIB, PAGE_SIZE
from ..firmware.memory_map import SRAT_HOTPLUG, SRAT_NONVOLATILE, MemoryMap, Note
from ..peers.linux import LINUX_VERSION
from .beside import UARCH, Beside, beside_linux
from .layout import (
    cells,
    heading,
    joined,
    labelled,
    percent,
    plural,
    printable,
    sections,
    size,
    span,
    table,
    titled,
    wrap,
)
from .overhead import TIME_ONLY_STEPS, Report, limit_losses

#: Notes of the reader beyond this many are counted, not shown.
NOTES_MAX: Final = 12

# The columns of costs: the figure, and bytes in the unit that it is shown in.
_COLUMNS: Final = (
    ("frame_table", MIB),
    ("m2p", MIB),
    ("compat_m2p", MIB),
    ("direct_map_page_tables", KIB),
    ("other_page_tables", KIB),
    ("total", MIB),
)
_UNITS: Final = ("", "MiB", "MiB", "MiB", "KiB", "KiB", "MiB")
_HEADS: Final = (
    ("", "frame", "", "compat", "direct", "other", ""),
    ("", "table", "M2P", "M2P", "map PTs", "PTs", "sum"),
)


def render_report(report: Report, width: int = 80) -> str:
    """Set a report as text of at most ``width`` columns (hexadecimal ranges are never broken)."""
    return joined(report_lines(report, width))


def report_lines(report: Report, width: int = 80) -> list[str]:
    """The lines of :func:`render_report`, their parts marked."""
    parts = (
        _machine(report, width),
        _notes(report.memory_map, width),
        _agreement(report, width),
        _squeezed(report, width),
        _costs(report, width),
        _reach(report, width),
        _beside(report, width),
        _hazards(report, width),
    )
    return sections(parts)


def machine_facts(report: Report) -> list[tuple[str, str]]:
    """What the machine is, as words and a line of text each."""
    m = report.memory_map
    name = printable(report.input.name)
    format_and_arch = ", ".join(filter(None, (m.format, m.arch)))
    return [
        ("input", f"{name} ({format_and_arch})" if format_and_arch else name),
        *map_facts(m),
        *_table_facts(report),
    ]


def map_facts(m: MemoryMap) -> list[tuple[str, str]]:
    """What a map with RAM says, as words and a line of text each."""
    return [
        ("RAM", f"{size(m.ram_bytes)} ({m.ram_bytes:,} bytes) in {plural(len(m.ram), 'range')}"),
        ("span", f"[0, {m.top:#x}), {size(m.top)}: {m.top / m.ram_bytes:,.2f} times the RAM"),
        *_hole_facts(m),
        ("NUMA", _numa(m)),
    ]


def _machine(report: Report, width: int) -> list[str]:
    title = printable(report.memory_map.name) or printable(report.input.name)
    return [titled(title), "", *labelled(machine_facts(report), width)]


def _hole_facts(m: MemoryMap) -> list[tuple[str, str]]:
    holes = m.holes
    if not holes:
        return []
    sizes = [end - start for start, end in holes]
    start, end = holes[sizes.index(max(sizes))]
    text = f"{size(sum(sizes))} in all"
    text += (
        f"; the largest is {span(start, end)}, {size(end - start)}"
        if len(holes) > 1
        else f": {span(start, end)}"
    )
    return [(plural(len(holes), "hole"), text)]


def _table_facts(report: Report) -> list[tuple[str, str]]:
    today, dense = report.host("xen-offset"), report.host("ext5t")
    if today is None:
        return []
    text = f"{_cost_text(today)} with xen-offset, the default on x86 today"
    if limit_losses(today):
        text += f", which cannot use {_lost_text(today)} of it"
    if dense is not None and not limit_losses(dense):
        text += f"; {_cost_text(dense)} if dense, as in ext5t"
    return [("tables", text)]


def _cost_text(host: Host) -> str:
    o = host.overhead()
    return f"{size(o.costs.total)}, {percent(o.percent['total'])} of RAM,"


def _numa(m: MemoryMap) -> str:
    if m.srat is None:
        return "no SRAT in the input: nothing is squeezed without one"
    if not m.srat:
        return "an SRAT without memory rows"
    text = f"{plural(len(m.nodes), 'node')} in {plural(len(m.srat), 'SRAT row')}"
    for flag, word in ((SRAT_HOTPLUG, "hot-pluggable"), (SRAT_NONVOLATILE, "non-volatile")):
        count = sum(bool(r.flags & flag) for r in m.srat)
        text += f", {count} {word}" if count else ""
    return text


def _notes(m: MemoryMap, width: int) -> list[str]:
    if not m.notes:
        return []
    lines = heading("From reading the input")
    for note in m.notes[:NOTES_MAX]:
        lines += wrap(printable(note_text(note)), width, "  ", "    ", mark=note.level)
    if len(m.notes) > NOTES_MAX:
        lines += [f"  and {len(m.notes) - NOTES_MAX:,} more (--json has them all)"]
    return lines


def note_text(note: Note) -> str:
    """A note of the reader with its line; the input's name stands elsewhere."""
    line = f"line {note.source.line}: " if note.source and note.source.line else ""
    bytes_lost = f" ({size(note.dropped_bytes)} not read as memory)" if note.dropped_bytes else ""
    return f"{note.level}: {line}{note.text}{bytes_lost}" + (f": {note.excerpt!r}" if note.excerpt else "")


def _agreement(report: Report, width: int) -> list[str]:
    lines = []
    for row in report.agreement:
        verdict = {True: "agrees", False: "differs", None: ""}[row.agrees]
        lines += wrap(printable(str(row)), width, "  ", "    ", mark=verdict)
    return heading("Against what this log's own Xen printed") + lines if lines else []


def _squeezed(report: Report, width: int) -> list[str]:
    lines = heading("What is squeezed out of the address")
    found: dict[tuple[str, str], list[str]] = {}
    for host in report.hosts:
        method = host.profile.compression
        text = compression_text(host) if method != "none" else "nothing: the index is the mfn"
        found.setdefault((method, text), []).append(host.profile.name)
    for (method, text), names in sorted(found.items(), key=lambda item: _METHODS.index(item[0][0])):
        lines += wrap(f"{text} ({', '.join(names)})", width, f"  {method:<6}  ", " " * 10)
    mask, offset = report.host("xen-mask"), report.host("xen-offset")
    if mask is None or offset is None:
        return lines
    rows = [("side by side", "mask (xen-mask)", "offset (xen-offset)")]
    rows += [(name, figure(mask), figure(offset)) for name, figure in _SIDE_BY_SIDE]
    return [*lines, "", *cells(rows, width, 14, indent="  ")]


_METHODS: Final = ("mask", "offset", "none")


def compression_text(host: Host, reason: bool = True) -> str:
    """What a host squeezed, with its numbers, or why it squeezed nothing."""
    c = host.compression
    if c.kind == "mask":
        last = c.bottom_shift + c.hole_shift - 1
        bits = f"mfn bits {c.bottom_shift} to {last}" if c.hole_shift > 1 else f"mfn bit {last}"
        return f"{bits}: {1 << c.hole_shift:,}-fold"
    if c.kind == "offset":
        region = size(c.pdx_region_size * PAGE_SIZE)
        return f"{plural(len(c.regions), 'region')}, packed one every {region}"
    return f"nothing: {c.reason}" if reason else "nothing"


def _frame_table_text(host: Host) -> str:
    o = host.overhead()
    return f"spans {size(o.virtual['frame_table'])}, backed {size(o.costs.frame_table)}"


_SIDE_BY_SIDE: Final = (
    ("squeezed", lambda h: compression_text(h, reason=False)),
    ("max_page", lambda h: f"{h.max_page:#x} ({size(h.max_page * PAGE_SIZE)})"),
    ("max_pdx", lambda h: f"{h.max_pdx:#x} ({size(h.max_pdx * PAGE_SIZE)})"),
    ("direct map", lambda h: f"spans {size(h.overhead().virtual['direct_map'])}"),
    ("frame table", _frame_table_text),
    ("RAM lost", lambda h: _lost_text(h)),
)


def _lost_text(host: Host) -> str:
    return size(limit_losses(host)) if limit_losses(host) else "none"


def _costs(report: Report, width: int) -> list[str]:
    pages = {"2m": "2 MiB", "1g": "1 GiB"}[report.options["page_sizes"]]
    ram = report.memory_map.ram_bytes
    rows = [(_marked(h), h.overhead().costs) for h in report.hosts]
    rows.append(("minimum", report.minimum))
    title = f"What the tables cost, step by step; pages up to {pages}"
    # As many decimals as there is room for, in the larger figures one at most; in one table if both fit.
    most = max(costs.total for _, costs in rows)
    for decimals in range(2 if most < 1000 * MIB else 1, -1, -1):
        amounts = [(name, _amounts(costs, decimals)) for name, costs in rows]
        lines = _cost_table(amounts, _UNITS)
        if max(map(len, lines)) <= width:
            break
    shares = [(name, [percent(v) for v in costs.percent_of(ram).values()]) for name, costs in rows]
    both = [
        (name, [f"{amount} {share:>7}" for amount, share in zip(cells, of_ram, strict=True)])
        for (name, cells), (_, of_ram) in zip(amounts, shares, strict=True)
    ]
    joined = _cost_table(both, _UNITS)
    if max(map(len, joined)) <= width:
        lines = [*heading(title + "; percent of RAM"), *joined]
    else:
        lines = [*heading(title), *lines, ""]
        lines += [*heading("The same in percent of RAM"), *_cost_table(shares, None)]
    return [*lines, *_footnotes(report, width)]


def _amounts(costs: Costs, decimals: int) -> list[str]:
    # Page tables are whole KiB anyway.
    digits = {MIB: decimals, KIB: 0}
    return [f"{costs.to_dict()[part] / unit:,.{digits[unit]}f}" for part, unit in _COLUMNS]


def _cost_table(rows: list[tuple[str, list[str]]], units: tuple[str, ...] | None) -> list[str]:
    heads = [*_HEADS, units] if units else [*_HEADS]
    rows_of_all = [*heads, *((name, *figures) for name, figures in rows)]
    return table(rows_of_all, indent="  ", heads=len(heads))


def _marked(host: Host) -> str:
    marks = ("*" if limit_losses(host) else "") + ("!" if _crashes(host) else "")
    return f"{host.profile.name} {marks}".rstrip()


def _crashes(host: Host) -> bool:
    return any(hazard.severity == "crash" for hazard in host.hazards)


def _footnotes(report: Report, width: int) -> list[str]:
    notes = [
        "minimum: 52 bytes for each 4 KiB page: 32 of frame table, 8 of M2P, 4 of compat M2P, 8 of page "
        "table. Larger pages, or no compat M2P, go below it.",
        "PTs: page-table pages, for the direct map and for the other tables.",
    ]
    if any(limit_losses(h) for h in report.hosts):
        notes.append("*: cannot use all of the RAM (last table), so its tables are for less of it.")
    if any(_crashes(h) for h in report.hosts):
        notes.append("!: a real Xen of this kind does not survive its boot here (see hazards).")
    if len(report.hosts) > 1:
        notes.append(f"{', '.join(TIME_ONLY_STEPS)}: these steps of 2009 save time and change no memory.")
    return [line for note in notes for line in wrap(note, width, "  ", "    ")]


def _reach(report: Report, width: int) -> list[str]:
    figures = {h.profile.name: _reach_figures(h) for h in report.hosts}
    if len(figures) > 1 and len(set(figures.values())) == 1:
        figures = {"every profile": next(iter(figures.values()))}
    heads = [
        ("", "direct", "frame", "", "RAM", ""),
        ("", "map", "table", "M2P", "lost", "hazards"),
    ]
    title = "Virtual space from each table's start to its end, and what goes wrong"
    return [
        *heading(title),
        *table([*heads, *((name, *row) for name, row in figures.items())], indent="  ", heads=2),
    ]


def _reach_figures(host: Host) -> tuple[str, ...]:
    o = host.overhead()
    spans = (size(o.virtual[name]) for name in ("direct_map", "frame_table", "m2p"))
    hazards = sum(h.severity != "note" for h in host.hazards)
    return (*spans, _lost_text(host), str(hazards) if hazards else "none")


def _beside(report: Report, width: int) -> list[str]:
    rows, notes = beside_rows(report)
    if not rows:
        return []
    heads = [
        ("", "describes", "records", "other", "of RAM", "record", "frame", "valid"),
        ("", "", "", "", "", "cycles", "cycles", "cycles"),
    ]
    lines = [*heads, *((name, *figures) for name, figures in rows.items())]
    set_wide = table(lines, indent="  ", heads=2)
    return [
        *heading("Beside Linux: what describes the same RAM, and how fast"),
        *(set_wide if max(map(len, set_wide)) <= width else table(lines, gap=1, indent="  ", heads=2)),
        *(line for note in notes for line in wrap(note, width, "  ", "    ")),
    ]


def beside_rows(report: Report) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """What describes the RAM under Linux and Xen: figures by name, and what is to be said of them.

    The figures: bytes described, bytes of records, of what finds them, percent of RAM, and cycles from frame
    to record, back, and to know whether there is one. Empty where Linux could not boot.
    """
    found = beside_linux(report.memory_map, report.hosts)
    if not found:
        return {}, []
    rows = {row.name: _beside_figures(row, report.memory_map.ram_bytes) for row in found}
    xen = {row.name: rows[row.name] for row in found if row.system == "xen"}
    if len(xen) > 1 and len(set(xen.values())) == 1:
        rows = {name: figures for name, figures in rows.items() if name not in xen}
        rows["Xen, any"] = next(iter(xen.values()))
    notes = [
        "flatmem, sparsemem and vmemmap are Linux's memory models: 64 bytes a frame, in sections of 128 MiB "
        f"where there are any (Linux {LINUX_VERSION}). Of Xen this is the frame table alone: 32 bytes a "
        "frame, in groups of 256 MiB. Other: what finds and maps the records.",
        f"Cycles on {UARCH} from frame to record, from record to frame, and to know whether there is one; "
        "all that is read is in the first cache.",
    ]
    if any(row.lost_bytes for row in found):
        notes.append("*: cannot use all of the RAM.")
    return rows, notes


def _beside_figures(row: Beside, ram: int) -> tuple[str, ...]:
    return (
        size(row.described_bytes) + (" *" if row.lost_bytes else ""),
        size(row.record_bytes),
        size(row.other_bytes),
        percent(100 * row.total_bytes / ram),
        *(str(c.latency) for c in (row.conversion, row.back, row.validity)),
    )


def _hazards(report: Report, width: int) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for host in report.hosts:
        for hazard in host.hazards:
            found.setdefault((hazard.severity, hazard.text), []).append(host.profile.name)
    lines = []
    for (severity, text), names in found.items():
        who = "every profile" if len(names) == len(report.hosts) > 1 else ", ".join(names)
        lines += wrap(f"{who}: {severity}: {printable(text)}", width, "  ", "    ", mark=f"{severity}:")
    return heading("Hazards: what a real Xen would do here") + lines if lines else []
