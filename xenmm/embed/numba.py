"""Conversions as numba functions with one machine's parameters as closure constants.

numba freezes what a function closes over, so that the compiled code holds the constants. For the same reason
it cannot keep such functions on disk: ``cache=True`` would have to tell two machines' functions apart, which
share one source line. Each process compiles them again, at the first call of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._core import HostCore
from .._embed import struct_values
from ..errors import ConfigError

_Function: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Conversions:
    """One machine's conversions, each callable from Python and from nopython code, and in ``prange``.

    All take and give uint64 and are the bare formula modulo 2^64; only ``mfn_valid`` judges, and takes any
    value. Bind those that a loop uses to names (``mfn_to_page = functions.mfn_to_page``): numba compiles no
    attribute of a Python object.
    """

    mfn_to_pdx: _Function
    pdx_to_mfn: _Function
    mfn_to_page: _Function
    page_to_mfn: _Function
    mfn_to_virt: _Function
    virt_to_mfn: _Function
    maddr_to_virt: _Function
    virt_to_maddr: _Function
    page_to_virt: _Function
    virt_to_page: _Function
    page_to_mfn_to_virt: _Function
    mfn_valid: _Function


def constants(host: HostCore) -> Any:
    """Return the embedder's own write-once parameters as a named tuple of ``numpy.uint64``.

    A compiled function that closes over it, or has it as a global, holds the values as constants:
    ``own = constants(host)``, then ``own.rob_entries`` inside the function.
    """
    from collections import namedtuple

    import numpy as np

    names = [p.name for p in host.params.own]
    made: Any = namedtuple("OwnParameters", names)  # type: ignore[misc]
    return made(*(np.uint64(host.params[name]) for name in names))


def functions(host: HostCore) -> Conversions:
    """Return a host's conversions, compiled by numba at the first call of each.

    Parameters
    ----------
    host : HostCore
        A booted host.

    Raises
    ------
    ConfigError
        If numba is not installed.
    """
    try:
        from numba import njit
    except ImportError as e:
        raise ConfigError(f"numba is needed for this: pip install 'xenmm[numba]' ({e})") from e
    from .numba_text import conversions

    inline = njit(inline="never", nogil=True, error_model="numpy")
    return Conversions(**conversions(inline, struct_values(host.capsule)))
