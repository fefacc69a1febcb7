"""A Python module of one booted machine for numba: its constants and its conversions, without xenmm.

The functions are the text of :mod:`xenmm.embed.numba_text` itself; added are the constants that they close
over, and where they come from.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from .._core import HostCore
from .._embed import struct_values
from .provenance import provenance

_TEXT: Final = Path(__file__).with_name("numba_text.py")
_LINE: Final = "# " + "-" * 106 + "\n"

_HEAD: Final = '''\
"""Frames, pages and addresses of one booted machine, for numba. Generated: do not edit.

{facts}

mfn: machine frame number. pdx: index into the frame table. page: address of a 32-byte record there.
maddr: machine address. virt: hypervisor virtual address in the direct map. All are uint64.

mfn_to_page, page_to_mfn, mfn_to_virt, virt_to_mfn, mfn_to_pdx, pdx_to_mfn, maddr_to_virt, virt_to_maddr,
virt_to_page: the bare formula modulo 2^64, which judges nothing. page_to_virt is the map_domain_page(page)
shortcut, page_to_mfn_to_virt the same the long way round. mfn_valid tells whether a frame is memory of this
machine, and takes any value.

Call them from Python, from nopython code and in prange. numba and NumPy are all that this file needs. numba
can keep none of it on disk (cache=True): it finds compiled code by where the source stands, and knows nothing
of the constants. A Python integer is an int64 to numba: pass what is 2^63 or more as numpy.uint64.
"""

from typing import Any

import numpy as np
from numba import njit

# The frozen parameters, by the names of xenmm_params in xenmm.h.
STRUCT = {{
{struct}
}}

MAX_PAGE, MAX_PDX = np.uint64(STRUCT["max_page"]), np.uint64(STRUCT["max_pdx"])
{own}

'''

_TAIL: Final = """

_made = conversions(njit(inline="never", nogil=True, error_model="numpy"), STRUCT)
{names}
"""


def numba_module(host: HostCore) -> str:
    """Return the module of a host as text.

    Notes
    -----
    The embedder's own write-once parameters are in it as ``OWN_NAME``.
    """
    text = _TEXT.read_text().partition(_LINE)[2].strip("\n")
    facts = "\n".join(f"  {name + ':':<19}{_quoted(value)}" for name, value in provenance(host).items())
    struct = struct_values(host.capsule)
    rows = "\n".join(f'    "{name}": {_value(value)},' for name, value in struct.items())
    own = "".join(
        f"\n# {_quoted(p.unit)}: {_quoted(p.rule)}"
        f"\nOWN_{p.name.upper()} = np.uint64({host.params[p.name]:#x})"
        for p in host.params.own
    )
    names = re.findall(r'^        "(\w+)": \1,$', text, re.MULTILINE)
    # What numba compiles must not say what mypy is to leave alone.
    text = re.sub(r"  # type: ignore\[[\w-]+\]", "", text)
    tail = _TAIL.format(names="\n".join(f'{name} = _made["{name}"]' for name in names))
    return _HEAD.format(facts=facts, struct=rows, own=own) + "\n" + text + "\n" + tail


def _quoted(value: str) -> str:
    # A machine's name is anybody's text: it must end neither the docstring nor the line.
    return re.sub(r'[^ -~]|["\\]', "_", value)


def _value(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value:#x}"
    rows = (", ".join(f"{v:#x}" for v in value[i : i + 4]) for i in range(0, len(value), 4))
    return "(\n" + "".join(f"        {row},\n" for row in rows) + "    )"
