"""Where an exported text comes from: the map and its hash, the boot that froze it."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from .._core import HostCore
from .._embed import struct_values
from ..version import __version__

_MODES: Final = ("none", "mask", "offset")


def provenance(host: HostCore) -> dict[str, str]:
    """What an export says of its origin, by name.

    ``memory_map_sha256`` is :attr:`MemoryMap.sha256`, whatever file the map came from, or "unknown" for a
    host that was made from parameters alone; ``params_sha256`` is the hash of the struct's values.
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
        "params_sha256": hashlib.sha256(json.dumps(struct).encode()).hexdigest(),
    }
    if memory_map is not None:
        facts["machine"] = memory_map.name or "unnamed"
        facts["memory_map_sha256"] = memory_map.sha256
        facts["profile"] = plan.profile.name
        facts["page_sizes"] = plan.options.page_sizes
    return facts
