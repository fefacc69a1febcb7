"""Where an exported text comes from: the map and its hash, the boot that froze it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from .._core import HostCore
from .._embed import struct_values
from ..version import __version__

_MODES: Final = ("none", "mask", "offset")


def canonical_json(document: Any) -> str:
    """One text for one document: sorted keys, no spaces."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def provenance(host: HostCore) -> dict[str, str]:
    """What an export says of its origin, by name.

    ``memory_map_sha256`` is the hash of the map's own JSON in its canonical form (sorted keys, no spaces), or
    "unknown" for a host that was made from parameters alone; ``params_sha256`` is that of the struct.
    """
    struct = struct_values(host.capsule)
    memory_map, plan = getattr(host, "memory_map", None), host.plan
    facts = {
        "made_by": f"xenmm {__version__}",
        "machine": "unknown",
        "memory_map_sha256": "unknown",
        "profile": "unknown",
        "page_sizes": "unknown",
        "compression": _MODES[struct["mode"]],
        "params_sha256": _sha256(struct),
    }
    if memory_map is not None:
        facts["machine"] = memory_map.name or "unnamed"
        facts["memory_map_sha256"] = _sha256(memory_map.to_dict())
        facts["profile"] = plan.profile.name
        facts["page_sizes"] = plan.options.page_sizes
    return facts


def _sha256(document: Any) -> str:
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()
