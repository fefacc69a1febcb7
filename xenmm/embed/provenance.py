"""Where an exported text comes from: the map and its hash, the boot that froze it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

from .._core import HostCore
from .._embed import struct_values
from ..errors import need
from ..version import __version__

_MODES: Final = ("none", "mask", "offset")


def provenance(host: HostCore) -> dict[str, str]:
    """What an export says of its origin, by name.

    ``memory_map_sha256`` is :attr:`MemoryMap.sha256`, whatever file the map came from, or "unknown" for a
    host that was made from parameters alone; ``params_sha256`` is the hash of the struct's values,
    and of the embedder's own parameters where there are any.
    """
    struct = struct_values(host.capsule)
    own = {p.name: host.params[p.name] for p in host.params.own}
    memory_map, plan = getattr(host, "memory_map", None), host.plan
    facts = {
        "made_by": f"xenmm {__version__}",
        "machine": "unknown",
        "memory_map_sha256": "unknown",
        "profile": "unknown",
        "page_sizes": "unknown",
        "compression": _MODES[struct["mode"]],
        "params_sha256": hashlib.sha256(json.dumps([struct, own] if own else struct).encode()).hexdigest(),
    }
    if memory_map is not None:
        facts["machine"] = memory_map.name or "unnamed"
        facts["memory_map_sha256"] = memory_map.sha256
        facts["profile"] = plan.profile.name
        facts["page_sizes"] = plan.options.page_sizes
    return facts


_DIGEST: Final = re.compile(r"params_sha256\W+([0-9a-f]{64})")


def stale(host: HostCore, text: str) -> str:
    """Why an export of earlier is not one of this host, in one line; empty when it is.

    Parameters
    ----------
    host : HostCore
        The host as it boots now.
    text : str
        What :func:`xenmm.embed.export` once returned, of any form.

    Raises
    ------
    ConfigError
        If one of them is something else.
    """
    need("host", host, HostCore)
    need("text", text, str)
    found = _DIGEST.search(text)
    if found is None:
        return "it is no export: it names no params_sha256"
    now = provenance(host)["params_sha256"]
    if found[1] == now:
        return ""
    return f"made for other boot parameters: params_sha256 {found[1]}, this host's is {now}; export it again"
