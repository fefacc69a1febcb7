"""The frozen struct as JSON, from which a simulator fills ``xenmm_params`` of the generic header at run time.

One flat object. Every field of the struct stands under its own name, in the struct's order. Numbers are
hexadecimal strings, for many JSON readers round integers above 2^53; tables are arrays of 64 of them, and
``pdx_group_valid`` is the array of its 64-bit words. Each value stands on a line of its own.
"""

from __future__ import annotations

import json
from typing import Any, Final

from .._core import HostCore
from .._embed import struct_values
from .provenance import provenance

PARAMS_SCHEMA: Final = "xenmm-params/1"


def params_json(host: HostCore) -> str:
    """Return the host's struct as JSON of schema ``xenmm-params/1``."""
    document: dict[str, Any] = {"schema": PARAMS_SCHEMA, **provenance(host)}
    for name, value in struct_values(host.capsule).items():
        document[name] = [f"{v:#x}" for v in value] if isinstance(value, tuple) else f"{value:#x}"
    return json.dumps(document, indent=1) + "\n"
