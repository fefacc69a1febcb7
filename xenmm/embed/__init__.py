"""What leaves for other simulators: a frozen C header, the struct as JSON, numba functions, a Unicorn hook.

A Cython embedder needs nothing from here: ``from xenmm cimport mfn_to_page``.
"""

from __future__ import annotations

from typing import Final

from .._core import HostCore
from ..errors import ConfigError
from .provenance import stale

__all__ = ["FORMATS", "export", "stale"]

#: What :func:`export` writes, and what each is for.
FORMATS: Final = {
    "c": "one self-contained C and C++ header with this machine's constants",
    "json": "the map, and the frozen struct field by field for the generic header",
}


def export(host: HostCore, form: str, *, prefix: str = "machine") -> str:
    """Return a host's conversions as a text that another program compiles or reads.

    Parameters
    ----------
    host : HostCore
        A booted host.
    form : str
        ``"c"`` or ``"json"``; see :data:`FORMATS`.
    prefix : str
        For ``"c"``: what every name in the header starts with, so that headers of several machines can be
        included together.

    Raises
    ------
    ConfigError
        If the format is unknown, or the prefix is no C identifier.
    """
    if form == "c":
        from .c_header import c_header

        return c_header(host, prefix=prefix)
    if form == "json":
        from .params_json import params_json

        return params_json(host)
    raise ConfigError(f"unknown format {form!r}; one of {', '.join(FORMATS)}")
