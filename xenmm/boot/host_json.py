"""A booted host as plain JSON values, in the field's own words; versioned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .pdx import Compression

if TYPE_CHECKING:
    from .plan import HostPlan

#: Version of the JSON that :meth:`xenmm.Host.to_dict` writes.
HOST_SCHEMA: Final = "xenmm-host/1"


def host_to_dict(plan: HostPlan, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that boot decided.

    Ranges are half-open pairs in bytes, groups half-open pairs of groups of 65,536 pdx, chunks
    [byte offset in the table, 4 KiB frames in a page, count], fills [byte offset, bytes, value].
    """
    return {
        "schema": HOST_SCHEMA,
        "machine": _machine(plan),
        "profile": {
            "name": plan.profile.name,
            "source": plan.profile.source,
            "summary": plan.profile.summary,
        },
        "options": _options(plan),
        "e820": {
            "ram": [list(r) for r in plan.e820.ram],
            "ram_bytes": plan.e820.ram_bytes,
            "raw_max_page": plan.raw_max_page,
        },
        "compression": compression_to_dict(plan.compression),
        "max_page": plan.max_page,
        "max_pdx": plan.max_pdx,
        "groups_valid": [list(r) for r in plan.groups_valid],
        "used": {"ranges": [list(r) for r in plan.used], "bytes": plan.used_ram_bytes},
        "lost": {
            "ranges": [{"start": r.start, "end": r.end, "reason": r.reason} for r in plan.lost],
            "bytes": plan.lost_bytes,
        },
        "tables": {t.name: t.to_dict() for t in plan.tables},
        "directmap_calls": [list(c) for c in plan.directmap_calls],
        "page_table_bytes": plan.page_table_bytes,
        "params": {name: _plain(params[name]) for name in params},
        "hazards": [h.to_dict() for h in plan.hazards],
    }


def compression_to_dict(chosen: Compression) -> dict[str, Any]:
    """Return a choice of compression: what, why, and its figures."""
    out: dict[str, Any] = {
        "kind": chosen.kind,
        "method": chosen.method,
        "reason": chosen.reason,
        "base": chosen.base,
    }
    if chosen.kind == "mask":
        out["bits"] = [chosen.bottom_shift, chosen.bottom_shift + chosen.hole_shift - 1]
        out["hole_shift"] = chosen.hole_shift
    if chosen.kind == "offset":
        out["pfn_index_shift"] = chosen.pfn_index_shift
        out["pdx_index_shift"] = chosen.pdx_index_shift
        out["pdx_region_size"] = chosen.pdx_region_size
        out["regions"] = [
            {"base_pfn": r.base_pfn, "pages": r.pages, "pfn_idx": r.pfn_idx} for r in chosen.regions
        ]
    return out


def _machine(plan: HostPlan) -> dict[str, Any]:
    memory_map = plan.memory_map
    return {
        "name": memory_map.name,
        "format": memory_map.format,
        "sha256": memory_map.sha256,
        "ram_bytes": memory_map.ram_bytes,
        "top": memory_map.top,
        "nodes": list(memory_map.nodes),
    }


def _options(plan: HostPlan) -> dict[str, Any]:
    options, asked = plan.options, plan.memory_options
    return {
        "page_sizes": options.page_sizes,
        "compat_m2p": options.compat_m2p,
        "hotplug": options.hotplug,
        "hotplug_end": plan.hotplug_end,
        "stack_guards": options.stack_guards,
        "xen_phys_start": options.xen_phys_start,
        "command_line": {"applied": list(asked.applied), "notes": list(asked.notes)},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return list(value)
    return value
