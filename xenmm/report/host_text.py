"""One booted host as plain text: its frozen parameters, its tables, its hazards; and the forms of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ..boot.frozen import PARAMETERS
from ..boot.host import Host
from ..constants import PAGE_SIZE
from .forms import Forms
from .inputs import Input
from .layout import heading, percent, plural, printable, size, span, table, wrap
from .text import compression_text

_TABLES: Final = (
    ("frame table", "frame_table"),
    ("M2P", "m2p"),
    ("M2P, read-only copy", "ro_m2p"),
    ("compat M2P", "compat_m2p"),
    ("direct map", "direct_map"),
)


def render_host(host: Host, given: Input, width: int = 80) -> str:
    """Set one host as text of at most ``width`` columns where its values allow."""
    options = ", ".join(
        f"{name} {value}" for name, value in asdict(host.options).items() if value is not None
    )
    title = [
        printable(host.memory_map.name or given.name),
        *wrap(f"profile {host.profile.name}; {options}", width, "  ", "    "),
        *wrap(f"compression: {compression_text(host)}", width, "  ", "    "),
    ]
    sections = (title, _params(host, width), _tables(host), _lost(host, width), _hazards(host, width))
    return "\n\n".join("\n".join(s) for s in sections if s) + "\n"


def _params(host: Host, width: int) -> list[str]:
    rows = [(p.name, _value(host.params[p.name]), p.unit, p.rule) for p in PARAMETERS]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = heading("Boot parameters, frozen")
    for name, value, unit, rule in rows:
        left = f"  {name:<{widths[0]}}  {value:<{widths[1]}}"
        lines += wrap(f"{unit}; {rule}", width, left + "  ", " " * (widths[0] + 6))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes | bytearray):
        return (
            f"{plural(len(value), 'byte')}, {plural(int.from_bytes(value, 'little').bit_count(), 'bit')} set"
        )
    if isinstance(value, tuple | list):
        used = len(set(value) - {0, (1 << 64) - 1})
        return f"{plural(used, 'value')} in {plural(len(value), 'slot')}" if value else "empty"
    return str(value)


def _tables(host: Host) -> list[str]:
    ram = host.memory_map.ram_bytes
    rows = [("", "virt", "spans", "backed", "of RAM", "1G", "2M", "4K", "PT pages")]
    for name, attribute in _TABLES:
        t = getattr(host, attribute)
        if t is None:
            continue
        p = t.page_tables
        rows.append(
            (
                name,
                hex(t.virt_start),
                size(t.size),
                size(t.backed_bytes),
                percent(100 * t.backed_bytes / ram if ram else 0.0),
                str(p.leaf_1g),
                str(p.leaf_2m),
                str(p.leaf_4k),
                str(t.pt_allocated),
            )
        )
    total = host.page_table_bytes
    return [
        *heading("Tables, their leaves by page size, and the page-table pages they take"),
        *table(rows, indent="  "),
        f"  page tables in all: {size(total)} ({plural(total // PAGE_SIZE, 'page')})",
    ]


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
        lines += wrap(f"{hazard.severity}: {printable(hazard.text)}", width, "  ", "    ")
    return lines


def render_forms(host: Host, found: Sequence[Forms], width: int = 80) -> str:
    """Set the forms of frames, each with the formula that gave it."""
    return "\n".join("\n".join(_forms(host, f, width)) + "\n" for f in found)


def _forms(host: Host, found: Forms, width: int) -> list[str]:
    lines = [f"{found.kind}:{found.given:#x} under {host.profile.name} ({host.compression.kind})"]
    digits = max(len(hex(f.value)) for f in found.forms)
    for form in found.forms:
        left = f"  {form.name:<5}  {form.value:<#{digits}x}  "
        lines += wrap(form.how, width, left, " " * len(left))
    verdict = "valid" if found.valid else "not valid"
    return lines + wrap(f"{verdict}: {'; '.join(found.why)}", width, "  ", "    ")
