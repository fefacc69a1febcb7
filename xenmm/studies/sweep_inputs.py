"""The inputs of a sweep: files, patterns, folders, bundled machines and maps, each once, in a fixed order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ..errors import ConfigError, need_all
from ..firmware.memory_map import MemoryMap
from .sweep_cells import SweepInput, content_hash

#: The word for every bundled machine.
BUNDLED: Final = "bundled"
#: The file that makes a folder one of a sweep's results: nothing in it is an input.
MARKER: Final = "xenmm-sweep.json"

Source = str | os.PathLike[str] | MemoryMap


def find_inputs(sources: Source | Iterable[Source]) -> list[SweepInput]:
    """Return every input that the sources name, in their order, each name once.

    Parameters
    ----------
    sources : str, path, MemoryMap, or an iterable of them
        A file; a folder, for every file in and below it, save hidden ones and results of sweeps (a copy of
        /sys/firmware/memmap or /proc/device-tree is one input itself); a pattern as ``logs/**/*.log``; a
        bundled machine's name where no such file exists; ``bundled`` for all of them; ``this-machine``; or a
        map with a name.

    Raises
    ------
    ConfigError
        If a source names nothing, or two maps have one name. What cannot be read is an input nevertheless:
        its cells fail with the reason.
    """
    if isinstance(sources, str | os.PathLike | MemoryMap):
        sources = [sources]
    found: dict[str, SweepInput] = {}
    for source in need_all("inputs", sources, object):
        if not isinstance(source, str | os.PathLike | MemoryMap):
            raise ConfigError(f"each of inputs is a path, a pattern, a name or a map, got {source!r}")
        for each in _map_input(source) if isinstance(source, MemoryMap) else _named(os.fspath(source)):
            other = found.setdefault(each.name, each)
            if other != each:
                raise ConfigError(
                    f"two inputs are called {each.name!r} and differ: give them different names"
                )
    if not found:
        raise ConfigError("no inputs: name files, patterns, folders, bundled machines, or 'bundled' for all")
    return list(found.values())


def _map_input(memory_map: MemoryMap, name: str = "") -> Iterator[SweepInput]:
    import hashlib

    name = name or memory_map.name
    if not name:
        raise ConfigError("a map without a name cannot be told from others: give it one")
    data = memory_map.to_json().encode()
    yield SweepInput(name, None, data, hashlib.sha256(data).hexdigest(), len(data))


def _named(source: str) -> Iterator[SweepInput]:
    from ..firmware.this_machine import THIS_MACHINE
    from ..maps import bundled
    from ..report.inputs import load, no_such_file

    if source == "-":
        raise ConfigError("a sweep reads its inputs more than once: give standard input's content as a file")
    path = Path(source)
    if os.path.lexists(path):
        yield from (_of_path(each) for each in _files(path))
    elif source == BUNDLED:
        yield from (_of_path(each, name, True) for name, each in bundled().items())
    elif source in bundled():
        yield _of_path(bundled()[source], source, True)
    elif source == THIS_MACHINE:
        yield from _map_input(load(source)[0], source)
    elif glob.has_magic(source):
        names = sorted(glob.glob(source, recursive=True))
        if not names:
            raise ConfigError(f"no file matches {source!r}")
        yield from (_of_path(each) for name in names for each in _files(Path(name)))
    else:
        raise ConfigError(no_such_file(source))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir() or _is_machine(path):
        yield path
        return
    if (path / MARKER).exists():
        return
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith(".") and (entry.is_dir() or entry.is_file()):
            yield from _files(entry)


def _is_machine(folder: Path) -> bool:
    # What firmware.folders reads as one machine.
    if (folder / "#address-cells").exists():
        return True
    return any(e.name.isdigit() and (e / "start").is_file() for e in folder.iterdir())


def _of_path(path: Path, name: str | None = None, bundled: bool = False) -> SweepInput:
    name = str(path) if name is None else name
    try:
        sha256, size = content_hash(path)
    except OSError:
        return SweepInput(name, str(path.absolute()), bundled=bundled)
    return SweepInput(name, str(path.absolute()), None, sha256, size, bundled)
