"""One booted host as plain text: its frozen parameters, its tables, its hazards; and the forms of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ..boot.frozen import PARAMETERS, value_text
from ..boot.host import Host
from ..constants import PAGE_SIZE
from .forms import Forms
from .inputs import Input
from .layout import (
    heading,
    joined,
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
from .text import compression_text

_TABLES: Final = (
    ("frame table", "frame_table"),
    ("M2P", "m2p"),
    ("read-only M2P", "ro_m2p"),
    ("compat M2P", "compat_m2p"),
    ("read-only compat", "ro_compat_m2p"),
    ("direct map", "direct_map"),
)


def render_host(host: Host, given: Input, width: int = 80) -> str:
    """Set one host as text of at most ``width`` columns where its values allow."""
    return joined(host_lines(host, given, width))


def host_lines(host: Host, given: Input, width: int = 80) -> list[str]:
    """The lines of :func:`render_host`, their parts marked."""
    options = ", ".join(
        f"{name} {value}" for name, value in asdict(host.options).items() if value is not None
    )
    name = printable(host.memory_map.name or given.name)
    title = [
        titled(name),
        *wrap(f"profile {host.profile.name}; {options}", width, "  ", "    "),
        *wrap(f"compression: {compression_text(host)}", width, "  ", "    "),
    ]
    parts = (
        title,
        _params(host, width),
        _regions(host),
        _tables(host, width),
        _lost(host, width),
        _hazards(host, width),
    )
    return sections(parts)


def _params(host: Host, width: int) -> list[str]:
    every = (*PARAMETERS, *host.params.own)
    rows = [(p.name, _value(p.name, host.params[p.name]), f"{p.unit}; {p.rule}") for p in every]
    names, values = (max(len(row[i]) for row in rows) for i in range(2))
    lines = heading("Boot parameters, frozen: value, unit, rule")
    for name, value, text in rows:
        left = f"  {name:<{names}}  {value:<{values}}  "
        lines += wrap(text, width, left, " " * len(left))
    return lines


def _value(name: str, value: Any) -> str:
    text = value_text(name, value)
    # Lookup tables stand below, region by region.
    return "see regions" if isinstance(value, tuple) and text != "unused" else text


def _regions(host: Host) -> list[str]:
    c = host.compression
    if not c.regions:
        return []
    rows = [("region", "mfn", "pdx", "slot", "mfn - pdx")]
    for i, region in enumerate(c.regions):
        mfn, pdx = region.base_pfn, i * c.pdx_region_size
        there, here = (span(at, at + c.pdx_region_size) for at in (mfn, pdx))
        rows.append((str(i), there, here, str(region.pfn_idx), f"{mfn - pdx:#x}"))
    return [*heading("Regions of the offset compression, in frames"), *table(rows, indent="  ")]


def _tables(host: Host, width: int) -> list[str]:
    # The virtual addresses stand among the parameters too: they are repeated where there is room.
    wide = width >= 100
    rows = [_row(wide, "", "virt", "spans", "backed", "of RAM", "1 GiB", "2 MiB", "4 KiB", "PT pages")]
    ram = host.memory_map.ram_bytes
    for name, attribute in _TABLES:
        t = getattr(host, attribute)
        if t is None:
            continue
        p = t.page_tables
        leaves = (f"{n:,}" for n in (p.leaf_1g, p.leaf_2m, p.leaf_4k, t.pt_allocated))
        backed = (size(t.backed_bytes), percent(100 * t.backed_bytes / ram)) if t.backed_bytes else ("-", "-")
        rows.append(_row(wide, name, hex(t.virt_start), size(t.size), *backed, *leaves))
    total = host.page_table_bytes
    return [
        *heading("Tables, the pages that map them, and page-table pages"),
        *table(rows, indent="  "),
        f"  page tables in all: {size(total)} ({plural(total // PAGE_SIZE, 'page')})",
    ]


def _row(wide: bool, name: str, virt: str, *rest: str) -> tuple[str, ...]:
    return (name, virt, *rest) if wide else (name, *rest)


def _lost(host: Host, width: int) -> list[str]:
    if not host.lost:
        return []
    lines = heading("RAM that this profile cannot use")
    for part in host.lost:
        text = f"{span(part.start, part.end)}, {size(part.size)}: {part.reason}"
        lines += wrap(text, width, "  ", "    ")
    return lines


def _hazards(host: Host, width: int) -> list[str]:
    if not host.hazards:
        return []
    lines = heading("Hazards: what a real Xen would do here")
    for hazard in host.hazards:
        lines += wrap(
            f"{hazard.severity}: {printable(hazard.text)}", width, "  ", "    ", mark=f"{hazard.severity}:"
        )
    return lines


def render_forms(host: Host, found: Sequence[Forms], width: int = 80) -> str:
    """Set the forms of frames, each with the formula that gave it."""
    return joined(forms_lines(host, found, width))


def forms_lines(host: Host, found: Sequence[Forms], width: int = 80) -> list[str]:
    """The lines of :func:`render_forms`, their parts marked."""
    return sections(_forms(host, f, width) for f in found)


def _forms(host: Host, found: Forms, width: int) -> list[str]:
    title = f"{found.kind}:{found.given:#x} under {host.profile.name} (compression: {host.compression.kind})"
    lines: list[str] = [titled(title)]
    digits = max(len(hex(f.value)) for f in found.forms)
    for form in found.forms:
        left = f"  {form.name:<5}  {form.value:<#{digits}x}  "
        lines += wrap(form.how, width, left, " " * len(left))
    verdict = "valid" if found.valid else "not valid"
    return lines + wrap(f"{verdict}: {'; '.join(found.why)}", width, "  ", "    ", mark=f"{verdict}:")
