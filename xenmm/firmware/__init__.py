"""What the machine says about its memory: one reader a format, one detector, one model.

``read_map`` is the face; :class:`~xenmm.firmware.memory_map.MemoryMap` is what every reader makes.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ConfigError, need, need_one_of
from .memory_map import MemoryMap

__all__ = ["MemoryMap", "read_map"]

_MAPS = ("firmware", "user")


def read_map(
    source: str | os.PathLike[str] | bytes,
    *,
    boot: int | None = None,
    map: str = "firmware",
    strict: bool = False,
    name: str | None = None,
) -> MemoryMap:
    """Read what a machine says about its memory, in any format that is known; docs/formats.md lists them.

    Parameters
    ----------
    source : str, os.PathLike or bytes
        A path (a string without a line end), a text (a string with one), or the bytes of a file. Packed input
        is refused; the error says how to unpack it.
    boot : int, optional
        Which boot of a log to read, from 1; by default the first whose map is whole.
    map : str
        ``firmware``: what the firmware, or the hypervisor, says; ``user``: the kernel's own corrected map.
    strict : bool
        Refuse a damaged map. By default what is certain is kept, and what was dropped stands in the notes.
    name : str, optional
        What to call the input in errors and provenance, in place of its path.

    Returns
    -------
    MemoryMap
        Ranges in bytes, half-open; without RAM where the input holds SRAT rows only.

    Raises
    ------
    MemoryMapError
        If the input cannot be read or unpacked, holds no map of a machine, lacks the boot that is asked for,
        or is damaged and ``strict`` is set. The message names file, line and text.
    ConfigError
        If ``boot`` or ``map`` is out of its domain.
    """
    need_one_of("map", map, _MAPS)
    if name is not None:
        need("name", name, str)
    need("strict", strict, bool)
    if boot is not None and (isinstance(boot, bool) or not isinstance(boot, int) or boot < 1):
        raise ConfigError(f"boot is a number from 1, not {boot!r}")
    from .detect import read_input
    from .source import Input, open_source

    if isinstance(source, str | os.PathLike) and "\n" not in str(source) and os.path.isdir(source):
        from .folders import read_folder

        path = Path(source)
        return read_folder(path, name or str(path))
    stream, file = open_source(source, name)
    with stream:
        return read_input(Input(stream, file), boot=boot, map=map, strict=strict)
