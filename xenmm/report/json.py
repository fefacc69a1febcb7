"""The same content as the text, as versioned dictionaries for programs.

Bytes and counts are integers; addresses and frames are integers too, save in ``forms``, where they are
hexadecimal strings as a person would type them. Every document names its schema, the package's version, the
input with its hash, and every option in effect.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from ..boot.host import Host
from ..firmware.memory_map import MemoryMap
from ..version import __version__
from .beside import beside_linux, beside_to_dict
from .forms import Forms
from .inputs import Input
from .overhead import TIME_ONLY_STEPS, Report

REPORT_SCHEMA: Final = "xenmm-report/1"
BOOT_SCHEMA: Final = "xenmm-boot/1"
CONVERT_SCHEMA: Final = "xenmm-convert/1"


def report_to_dict(report: Report) -> dict[str, Any]:
    """The report: the machine, what reading it found, and every profile's figures."""
    ram = report.memory_map.ram_bytes
    return {
        **_head(REPORT_SCHEMA, report.input, report.options),
        "machine": machine_to_dict(report.memory_map),
        "agreement": [asdict(row) for row in report.agreement],
        "minimum": {"bytes": report.minimum.to_dict(), "percent": report.minimum.percent_of(ram)},
        "steps": [step_to_dict(host) for host in report.hosts],
        "time_only_steps": dict(TIME_ONLY_STEPS),
        "beside_linux": beside_to_dict(beside_linux(report.memory_map, report.hosts)),
    }


def host_to_dict(host: Host, given: Input) -> dict[str, Any]:
    """One booted host, by its own public JSON, beside the input that it came from."""
    return {
        **_head(BOOT_SCHEMA, given, asdict(host.options)),
        "machine": machine_to_dict(host.memory_map),
        "host": host.to_dict(),
    }


def forms_to_dict(host: Host, given: Input, found: list[Forms]) -> dict[str, Any]:
    """The forms of the frames that were asked for."""
    return {
        **_head(CONVERT_SCHEMA, given, asdict(host.options)),
        "profile": host.profile.name,
        "frames": [f.to_dict() for f in found],
    }


def _head(schema: str, given: Input, options: dict[str, Any]) -> dict[str, Any]:
    return {"schema": schema, "xenmm": __version__, "input": given.to_dict(), "options": options}


def machine_to_dict(m: MemoryMap) -> dict[str, Any]:
    """What the firmware says: totals, ranges, holes, SRAT rows, notes, and the map's own hash."""
    return {
        "name": m.name,
        "format": m.format,
        "arch": m.arch,
        "map_sha256": m.sha256,
        "ram_bytes": m.ram_bytes,
        "top": m.top,
        "ram": [list(r) for r in m.ram],
        "holes": [list(h) for h in m.holes],
        "nodes": list(m.nodes),
        "srat": None if m.srat is None else [[r.start, r.end, r.node, r.flags] for r in m.srat],
        "notes": [
            {
                "level": n.level,
                "text": n.text,
                "file": n.source.file if n.source else None,
                "line": n.source.line if n.source else None,
                "excerpt": n.excerpt,
                "dropped_bytes": n.dropped_bytes,
            }
            for n in m.notes
        ],
    }


def step_to_dict(host: Host) -> dict[str, Any]:
    """One profile's line of the report; the words are those of :meth:`xenmm.Host.to_dict`."""
    facts = host.to_dict()
    return {**host.overhead().to_dict(), **{name: facts[name] for name in _HOST_FACTS}}


_HOST_FACTS: Final = ("options", "compression", "max_page", "max_pdx", "lost", "hazards")
