"""The sections of the page, each with its heading, from a report; and what a machine is in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...boot.hazards import SEVERITIES
from ...boot.host import Host
from ...constants import PAGE_SHIFT
from ...firmware.memory_map import SRAT_ENABLED, SRAT_HOTPLUG, SRAT_NONVOLATILE, MemoryMap
from ...version import __version__
from ..layout import plural, size, span
from ..overhead import TIME_ONLY_STEPS, Report
from ..text import beside_rows, machine_facts, note_text
from .address_map import RANGES_IN_ONE_FIGURE, RANGES_MAX, address_figure, too_many
from .bits import bit_figures
from .costs import waterfall
from .markup import Markup, element, join, scrolled, table
from .paint import Paint
from .places import by_node, landings, within
from .virtual import pages_legend, virtual_layout


def section(name: str, title: str, *content: object, lead: object = "") -> Markup:
    """A section of the page that a link can reach."""
    said = element("p", lead) if lead else ""
    head = element("h2", title, id=f"{name}-title")
    return element("section", head, said, *content, id=name, aria_labelledby=f"{name}-title")


def fact_list(facts: Sequence[tuple[str, str]]) -> Markup:
    """Words and what they are, in two columns."""
    return element(
        "dl", *(join((element("dt", word), element("dd", text))) for word, text in facts), class_="facts"
    )


def head(report: Report) -> Markup:
    """The machine's name, what it is, and the choice of theme."""
    name = report.memory_map.name or report.input.name
    choices = [
        element(
            "label",
            element("input", type="radio", name="theme", value=value, checked="" if not value else None),
            word,
        )
        for value, word in (("", "as the system"), ("light", "light"), ("dark", "dark"))
    ]
    theme = element("fieldset", element("legend", "theme", class_="said"), *choices, class_="theme control")
    return element("header", element("div", element("h1", name), fact_list(machine_facts(report))), theme)


def hazards(report: Report) -> Markup:
    """What a real Xen would do, the worst first, each with the profiles that it concerns."""
    found = hazard_list(report.hosts)
    if not found:
        return section("hazards", "Hazards", lead="None under any profile here.")
    lead = (
        "What a real Xen would do on this machine. Crash: any build goes astray; assert: a debug build "
        "stops; lost: memory is not used; note: good to know."
    )
    return section("hazards", "Hazards", found, lead=lead)


def hazard_list(hosts: Sequence[Host]) -> Markup:
    """Every hazard of the hosts once, with the profiles that it concerns; empty without any."""
    found: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        for hazard in host.hazards:
            found.setdefault((hazard.severity, hazard.text), []).append(host.profile.name)
    if not found:
        return Markup("")
    rows = []
    for (severity, text), names in sorted(found.items(), key=lambda item: SEVERITIES.index(item[0][0])):
        who = "every profile" if len(names) == len(hosts) > 1 else ", ".join(names)
        mark = element("span", severity, class_=f"severity {severity}")
        rows.append(element("li", mark, element("span", who, class_="who"), text))
    return element("ul", *rows, class_="hazards")


def track_hosts(report: Report) -> list[Host]:
    """The two hosts whose pdx spaces stand beside the machine's: mask and offset where they were booted."""
    wanted = [report.host("xen-mask"), report.host("xen-offset")]
    if None not in wanted:
        return [host for host in wanted if host is not None]
    by_method: dict[str, Host] = {}
    for host in report.hosts:
        by_method[host.profile.compression] = host
    chosen = [by_method[method] for method in ("mask", "offset") if method in by_method]
    return chosen or list(report.hosts[-1:])


def space(report: Report, paint: Paint, tracks: Sequence[Host]) -> Markup:
    """The address space with holes folded and to scale with a zoom; between them, what a range is."""
    m = report.memory_map
    nodes = sorted({p.node for p in by_node(m)}, key=lambda n: -1 if n is None else n)
    buttons = [
        element("button", face, type="button", id=name, aria_label=words, title=words)
        for name, face, words in (
            ("zoom-in", "+", "zoom in"),
            ("zoom-out", "−", "zoom out"),
            ("zoom-all", "all", "show the whole address space"),
            ("pan-left", "◂", "move left"),
            ("pan-right", "▸", "move right"),
            ("range-before", "previous range", "zoom to the previous range"),
            ("range-after", "next range", "zoom to the next range"),
            ("range-smallest", "smallest range", "zoom to the smallest range"),
            ("hole-largest", "largest hole", "zoom to the largest hole"),
        )
    ]
    keys = (
        "Arrow keys step through ranges and holes (with Shift: move), + and − zoom, 0 shows all, Enter zooms "
        "to the range. The wheel zooms with Ctrl, or once the figure has the focus; dragging moves. Lines "
        "above the machine are SRAT rows, dashed where memory can be plugged in; lines below it are what is "
        "not RAM."
    )
    figure = element(
        "div",
        element("svg", id="explorer", role="img", aria_label="address space to scale"),
        id="explorer-box",
        tabindex="0",
        role="group",
        aria_label="The machine's address space to scale, between its pdx spaces",
        aria_describedby="explorer-keys",
    )
    many = len(by_node(m)) > RANGES_IN_ONE_FIGURE
    more = "; 100 ranges in a row" if many else "; and where the frames land"
    parts = (
        element("h3", f"Holes folded: every range at once, widths by the logarithm of sizes{more}"),
        address_figure(m, tracks, paint),
        paint.legend(nodes) if nodes else "",
        element("div", id="range-panel", class_="control"),
        element("p", id="range-said", class_="said", aria_live="polite"),
        element("h3", "To scale", class_="control"),
        element("div", *buttons, class_="controls control", role="toolbar", aria_label="zoom"),
        element("svg", id="navigator", class_="control", aria_hidden="true"),
        element("div", figure, element("p", id="scale"), class_="script"),
        element("p", element("small", keys), id="explorer-keys", class_="control"),
        ranges(report, tracks),
    )
    return section("space", "Address space", *parts)


def ranges(report: Report, tracks: Sequence[Host]) -> Markup:
    """Every range of RAM as a table: the figures' alternative."""
    pieces = by_node(report.memory_map)
    if len(pieces) > RANGES_MAX:
        return too_many(len(pieces))
    images = [landings(host) for host in tracks]
    rows = []
    for piece in pieces:
        frames = -(-piece.start >> PAGE_SHIFT), piece.end >> PAGE_SHIFT
        found = []
        for image in images:
            parts = [span(each.pdx, each.pdx + each.frames) for each in within(image, *frames)]
            more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
            found.append(element("code", ", ".join(parts[:3]) + more or "not used"))
        start, end = (element("code", f"{edge:#x}") for edge in (piece.start, piece.end))
        node = "–" if piece.node is None else piece.node
        rows.append((start, end, size(piece.end - piece.start), node, *found))
    heads = ("start", "end", "size", "node", *(f"pdx, {host.profile.name}" for host in tracks))
    words = f"{plural(len(rows), 'range')} of RAM, cut where the node changes, as a table"
    return element(
        "details", element("summary", words), scrolled(table(heads, rows, left=0), "ranges of RAM")
    )


def profile_select(report: Report, chosen: int, name: str) -> Markup:
    """The choice of a profile; every one on the page follows the others."""
    options = [
        element("option", host.profile.name, value=i, selected="" if i == chosen else None)
        for i, host in enumerate(report.hosts)
    ]
    return element("select", *options, class_="profile", id=name, autocomplete="off")


def converter(report: Report, chosen: int) -> Markup:
    """The box that converts, and a few values to try."""
    box = element(
        "input",
        type="text",
        id="convert-value",
        autocomplete="off",
        autocapitalize="off",
        spellcheck="false",
        placeholder="mfn:0x100000",
        aria_describedby="convert-help convert-error",
    )
    form = element(
        "form",
        element("label", "address", box, class_="value"),
        element("label", "profile", profile_select(report, chosen, "convert-profile")),
        element("button", "convert", type="submit"),
        id="convert",
    )
    host = report.hosts[chosen]
    values = []
    if host.plan.used:
        mfn = host.plan.used[-1][0] >> 12
        values = [
            f"mfn:{mfn:#x}",
            f"pdx:{host.mfn_to_pdx_unchecked(mfn):#x}",
            f"page:{host.mfn_to_page_unchecked(mfn):#x}",
            f"maddr:{mfn << 12:#x}",
            f"virt:{host.mfn_to_virt_unchecked(mfn):#x}",
        ]
    examples = [element("button", value, type="button", class_="example") for value in values]
    return section(
        "convert-section",
        "Convert an address",
        element("div", *examples, class_="examples", role="group", aria_label="examples"),
        form,
        element("p", id="convert-error", role="alert"),
        element("div", id="convert-out", aria_live="polite"),
        lead=element(
            "span",
            "A kind (mfn, pdx, page, maddr, virt), a colon and a number, as for ",
            element("code", "xenmm convert"),
            ". Worked out in this page, as the Python API does it.",
            id="convert-help",
        ),
    )


def squeezed(report: Report) -> Markup:
    """Which bits were removed, for each way to compress."""
    return section("squeezed", "What is squeezed out of a frame number", bit_figures(report.hosts))


def virtual(report: Report, chosen: int) -> Markup:
    """The virtual layout: a panel for each profile whose layout differs; one is shown, paper shows all."""
    panels: dict[Markup, list[int]] = {}
    for i, host in enumerate(report.hosts):
        panels.setdefault(virtual_layout(host), []).append(i)
    shown = []
    for panel, at in panels.items():
        names = ", ".join(report.hosts[i].profile.name for i in at)
        off = "" if chosen in at else "off"
        block = join((element("h3", element("b", names)), panel))
        shown.append(element("div", block, class_=off or None, data_profiles=" ".join(map(str, at))))
    choice = element("label", "profile ", profile_select(report, chosen, "layout-profile"), class_="control")
    lead = (
        "Each table from its start to the end of its last entry; the height of a bar is the size of the page."
    )
    return section(
        "virtual",
        "Virtual layout",
        choice,
        pages_legend(),
        *shown,
        element("p", id="layout-said", class_="control", aria_live="off"),
        lead=lead,
    )


def cost(report: Report) -> Markup:
    """The waterfall, and the steps that change no memory."""
    ram = report.memory_map.ram_bytes
    notes = [
        "Dashed outline: what the step before cost more. Dotted line: the minimum of the 2009 design. Each "
        "step of 2009 is set against the row above, each Xen of today against the last step of 2009."
    ]
    if len(report.hosts) > 1:
        notes.append(f"{', '.join(TIME_ONLY_STEPS)}: these steps of 2009 save time and change no memory.")
    body = waterfall(report.hosts, report.minimum, ram)
    return section(
        "cost",
        "What the tables cost, step by step",
        body,
        *(element("p", element("small", n)) for n in notes),
    )


def linux(report: Report) -> Markup:
    """What describes the same RAM under Linux's memory models, and how fast."""
    rows, notes = beside_rows(report)
    if not rows:
        return Markup("")
    cycles = ("frame to record, cycles", "record to frame, cycles", "valid, cycles")
    heads = ("model", "describes", "records", "other", "of RAM", *cycles)
    body = table(heads, [(name, *figures) for name, figures in rows.items()])
    said = (element("p", element("small", note)) for note in notes)
    return section(
        "linux", "Beside Linux: what describes the same RAM", scrolled(body, "beside Linux"), *said
    )


def reading(report: Report) -> Markup:
    """What reading the input found: notes, what the log's own Xen printed, SRAT rows."""
    m = report.memory_map
    parts: list[Any] = []
    if report.agreement:
        rows = [element("li", row) for row in report.agreement]
        parts += [
            element("h3", "Against what this log's own Xen printed"),
            element("ul", *rows, class_="notes"),
        ]
    if m.notes:
        rows = [element("li", note_text(note)) for note in m.notes]
        parts += [element("h3", "From reading the input"), element("ul", *rows, class_="notes")]
    if m.srat:
        parts.append(_srat(m))
    return section("input", "The input", *parts) if parts else Markup("")


def _srat(m: MemoryMap) -> Markup:
    words = ((SRAT_HOTPLUG, "hot-pluggable"), (SRAT_NONVOLATILE, "non-volatile"))
    rows = []
    for r in m.srat or ():
        flags = [] if r.flags & SRAT_ENABLED else ["disabled"]
        flags += [word for flag, word in words if r.flags & flag]
        edges = (element("code", f"{edge:#x}") for edge in (r.start, r.end))
        rows.append((*edges, size(r.end - r.start), r.node, ", ".join(flags) or "–"))
    if len(rows) > RANGES_MAX:
        return too_many(len(rows))
    body = table(("start", "end", "size", "node", "flags"), rows, left=0)
    title = element("summary", f"{plural(len(rows), 'SRAT row')} as a table")
    return element("details", title, scrolled(body, "SRAT rows"))


def foot(report: Report) -> Markup:
    """What made the page, of what, with which options."""
    given = report.input
    options = ", ".join(f"{name} {value}" for name, value in report.options.items() if value is not None)
    read = ", ".join(f"{name} {value}" for name, value in given.options.items() if value)
    facts = [f"xenmm {__version__}", f"input {given.name}"]
    facts += [f"{given.bytes:,} bytes, sha256 {given.sha256}"] if given.sha256 else []
    facts += [f"map sha256 {report.memory_map.sha256}", f"boot options: {options}"]
    facts += [f"read with: {read}"] if read else []
    return element("footer", "; ".join(facts), ".")
