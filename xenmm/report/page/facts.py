"""What the page's script is told: ranges, where they land, and each host's parameters, as one JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...boot.host import Host
from ...firmware.memory_map import SRAT_HOTPLUG
from ..overhead import Report
from ..text import compression_text
from .paint import Paint
from .places import by_node, landings

_ALWAYS: Final = (
    "frametable_virt_start",
    "frametable_virt_end",
    "directmap_virt_start",
    "directmap_virt_end",
    "xen_virt_start",
    "xen_virt_end",
    "xen_phys_start",
    "max_page",
    "max_pdx",
)
_BY_MODE: Final = {
    "none": (),
    "mask": (
        "pfn_pdx_hole_shift",
        "pfn_pdx_bottom_mask",
        "pfn_top_mask",
        "pfn_hole_mask",
        "ma_va_bottom_mask",
        "ma_top_mask",
    ),
    "offset": (
        "pfn_index_shift",
        "pdx_index_shift",
        "pdx_region_size",
        "pfn_pdx_lookup",
        "pdx_pfn_lookup",
        "pfn_bases",
    ),
}


def script_params(params: Mapping[str, Any], groups: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The boot parameters that conversions need, under Xen's names, numbers as hexadecimal strings.

    ``groups`` are the valid groups as runs; they come as one flat list of numbers.
    """
    mode = params["pdx_compression"]
    out: dict[str, Any] = {"pdx_compression": mode, "groups": [edge for run in groups for edge in run]}
    for name in (*_ALWAYS, *_BY_MODE[mode]):
        value = params[name]
        if isinstance(value, tuple):
            out[name] = [hex(v) for v in value]
        else:
            out[name] = None if value is None else hex(value)
    return out


class _Pool:
    # Lists that several hosts share are told once.
    def __init__(self) -> None:
        self.values: list[Any] = []
        self._known: dict[str, int] = {}

    def put(self, value: Any) -> int:
        key = json.dumps(value)
        if key not in self._known:
            self._known[key] = len(self.values)
            self.values.append(value)
        return self._known[key]


def page_facts(report: Report, tracks: Sequence[Host], paint: Paint) -> dict[str, Any]:
    """Everything the script draws from and converts with; lists of numbers are text, in hexadecimal."""
    pool = _Pool()
    m = report.memory_map
    profiles = []
    for host in report.hosts:
        params = script_params(dict(host.params), host.groups_valid)
        params["groups"] = pool.put(params["groups"])
        profiles.append(
            {
                "name": host.profile.name,
                "squeezed": compression_text(host, reason=False),
                "params": params,
                "landings": pool.put(
                    _text((each.mfn, each.pdx, each.frames, _node(each.node)) for each in landings(host))
                ),
                "lost": pool.put([[hex(part.start), hex(part.end), part.reason] for part in host.lost]),
            }
        )
    names = [host.profile.name for host in report.hosts]
    return {
        "top": hex(m.top),
        "ram": _text((p.start, p.end, _node(p.node)) for p in by_node(m)),
        "other": [[hex(r.start), hex(r.end), r.label or r.kind] for r in m.ranges if r.kind != "ram"],
        "srat": [[hex(r.start), hex(r.end), r.node, bool(r.flags & SRAT_HOTPLUG)] for r in m.srat or ()],
        "nodes": {str(node): [*_attributes(paint.fill(node)), paint.halo(node)] for node in m.nodes},
        "tracks": [names.index(host.profile.name) for host in tracks],
        "profiles": profiles,
        "pool": pool.values,
    }


def _attributes(fill: Mapping[str, str]) -> list[str]:
    ((name, value),) = fill.items()
    return [name.rstrip("_"), value]


def _node(node: int | None) -> int:
    return -1 if node is None else node


def _text(rows: Any) -> str:
    return ";".join(" ".join(f"{value:x}" for value in row) for row in rows)


def script_json(facts: Mapping[str, Any]) -> str:
    """The facts as JSON that nothing can break out of: no ``<``, no ``&``, ASCII alone."""
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace("&", "\\u0026").replace(">", "\\u003e")
