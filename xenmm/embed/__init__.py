"""What leaves for other simulators: a frozen C header, the struct as JSON, numba functions, a Unicorn hook,
virtual pages for DynamoRIO.

A Cython embedder needs nothing from here: ``from xenmm cimport mfn_to_page``.
"""

from __future__ import annotations

from typing import Final

from .._core import HostCore
from ..errors import need_one_of
from .provenance import stale

__all__ = ["FORMATS", "export", "stale"]

#: What :func:`export` writes, and what each is for.
FORMATS: Final = {
    "c": "one self-contained C and C++ header with this machine's constants",
    "numba": "one self-contained Python module for numba with this machine's constants",
    "v2p": "every virtual page and the machine address behind it, as DynamoRIO's v2p.textproto",
    "json": "the map, and the frozen struct field by field for the generic header",
}


def export(
    host: HostCore,
    form: str,
    *,
    prefix: str = "machine",
    page_size: str | None = None,
    virt_range: tuple[int, int] | None = None,
) -> str:
    """Return a host's conversions as a text that another program compiles or reads.

    Parameters
    ----------
    host : HostCore
        A booted host.
    form : str
        ``"c"``, ``"numba"``, ``"v2p"`` or ``"json"``; see :data:`FORMATS`.
    prefix : str
        For ``"c"``: what every name in the header starts with, so that headers of several machines can be
        included together.
    page_size, virt_range : str, (start, end)
        For ``"v2p"``: see :func:`xenmm.embed.v2p.v2p`.

    Raises
    ------
    ConfigError
        If the format is unknown, the prefix is no C identifier, or a v2p file would be too long.
    """
    need_one_of("form", form, FORMATS)
    if form == "c":
        from .c_header import c_header

        return c_header(host, prefix=prefix)
    if form == "numba":
        from .numba_module import numba_module

        return numba_module(host)
    if form == "v2p":
        from .v2p import v2p

        return v2p(host, page_size=page_size, virt_range=virt_range)
    from .params_json import params_json

    return params_json(host)
