"""The maps that come with the package: real machines, candidate layouts, and consoles of real Xen boots.

``*.json`` are the package's own JSON (``xenmm.firmware.own_json``): the ranges of real machines, each with
the machine's name, and layouts called ``candidate-...`` which no machine is known to have. ``*.log`` are the
consoles of Xen booted under an emulator on layouts with and without holes.
"""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Final

from ..errors import ConfigError

#: The machine that a report shows when none is named: four nodes in two packages, the second at 32 TiB,
#: so that the span is 65 times the RAM, tables over the span cannot be afforded, and each profile differs.
DEFAULT_MAP: Final = "taishan200-4node"

_SUFFIXES: Final = (".json", ".log")


@functools.cache
def _bundled() -> dict[str, Path]:
    # The package is installed as files, never run from a zip: Cython extensions could not be loaded from one.
    folder = Path(str(resources.files(__name__)))
    return {entry.stem: entry for entry in sorted(folder.iterdir()) if entry.suffix in _SUFFIXES}


def bundled() -> dict[str, Path]:
    """Return the path of every bundled map by its name, the file's name without its suffix, sorted."""
    return dict(_bundled())


def path(name: str) -> Path:
    """Return the path of a bundled map.

    Parameters
    ----------
    name : str
        One of :func:`bundled`, with or without ``.json`` or ``.log``.

    Raises
    ------
    ConfigError
        If no bundled map has this name; the message lists those there are.
    """
    found = _bundled().get(name)
    if found is None:
        found = next((entry for entry in _bundled().values() if entry.name == name), None)
        if found is None:
            raise ConfigError(f"no bundled map is called {name!r}; there are {', '.join(_bundled())}")
    return found


def open_map(name: str) -> str:
    """Return the text of a bundled map; raises :class:`~xenmm.errors.ConfigError` as :func:`path` does."""
    return path(name).read_text(encoding="utf-8")
