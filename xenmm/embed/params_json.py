"""A booted machine as JSON: its memory map, and the frozen struct that fills ``xenmm_params`` at run time.

The text is the map's own JSON, which ``read_map`` reads, with one member more: ``frozen``. There every field
of the struct stands under its own name, in the struct's order, with where it all comes from before it.
Numbers are hexadecimal strings, for many JSON readers round integers above 2^53; tables are arrays of 64 of
them, and ``pdx_group_valid`` is the array of its 64-bit words. Each value stands on a line of its own.
"""

from __future__ import annotations

import json
from typing import Any, Final

from .._core import HostCore
from .._embed import struct_values
from .provenance import provenance

PARAMS_SCHEMA: Final = "xenmm-params/1"


def params_json(host: HostCore) -> str:
    """Return a host's map and struct as JSON; a host made from parameters alone has no map in it."""
    frozen: dict[str, Any] = {"schema": PARAMS_SCHEMA, **provenance(host)}
    for name, value in struct_values(host.capsule).items():
        frozen[name] = [f"{v:#x}" for v in value] if isinstance(value, tuple) else f"{value:#x}"
    memory_map = getattr(host, "memory_map", None)
    document = {} if memory_map is None else memory_map.to_dict()
    return json.dumps({**document, "frozen": frozen}, indent=1) + "\n"
