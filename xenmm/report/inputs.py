"""The input of a command: a file, standard input, or a bundled machine, read once."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..constants import MIB
from ..errors import ConfigError, MemoryMapError, did_you_mean
from ..firmware import read_map
from ..firmware.memory_map import MemoryMap
from ..firmware.this_machine import THIS_MACHINE, read_this_machine
from .layout import plural

#: More than this is no log of one machine; it is refused before it fills memory.
INPUT_BYTES_MAX: Final = 1 << 30
#: How a machine is asked that tells its memory to root alone.
ASK_AS_ROOT: Final = "sudo dmesg | xenmm report -"


@dataclass(frozen=True, slots=True)
class Input:
    """What was read: its name, its size and hash, and the options it was read with.

    ``bytes`` and ``sha256`` are None for a folder and for this machine, which have neither; a memory dump's
    are of its beginning, which is all that is read.
    """

    name: str
    bytes: int | None
    sha256: str | None
    bundled: bool
    options: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The same facts as plain values."""
        return asdict(self)


def load(
    name: str,
    data: bytes | None = None,
    *,
    boot: int | None = None,
    map: str = "firmware",
    strict: bool = False,
) -> tuple[MemoryMap, Input]:
    """Read a machine's memory map by file name, by a bundled machine's name, or from bytes.

    Parameters
    ----------
    name : str
        A path, or where no such file exists ``this-machine`` or a bundled machine's name, or the name to show
        for ``data``.
    data : bytes, optional
        What standard input said; ``name`` is then not opened.
    boot, map, strict
        As :func:`xenmm.read_map` takes them.

    Raises
    ------
    MemoryMapError
        If there is no such file or machine, the input is too large, or it cannot be read as a memory map.
    ConfigError
        If ``boot`` or ``map`` is out of its domain, or is given for this machine.
    OSError
        If the file cannot be opened or read.
    """
    if not name:
        raise MemoryMapError("the name of the file is empty")
    options: dict[str, Any] = {"boot": boot, "map": map, "strict": strict}
    path = Path(name)
    bundled = data is None and not os.path.lexists(path)
    if bundled and name == THIS_MACHINE:
        _refuse_options_of_logs(boot, map)
        return _this_machine(), Input(name, None, None, False, options)
    if bundled:
        path = _bundled(name)
    if data is None and not path.is_dir():
        if path.is_file():
            from ..firmware.source import file_hash

            digest, size = file_hash(path)
            return read_map(path, name=name, **options), Input(name, size, digest, bundled, options)
        # What can be read only once, such as a pipe, is kept.
        data = _read(path)
    if data is None:
        return read_map(path, name=name, **options), Input(name, None, None, bundled, options)
    name = "<stdin>" if name == "-" else name
    if not data and name == "<stdin>":
        raise MemoryMapError(
            "the input is empty: what writes it failed, or needs root (sudo dmesg)", file=name
        )
    if len(data) > INPUT_BYTES_MAX:
        raise MemoryMapError(f"larger than {INPUT_BYTES_MAX >> 20} MiB: no log of one machine", file=name)
    memory_map = read_map(data, name=name, **options)
    return memory_map, Input(name, len(data), hashlib.sha256(data).hexdigest(), bundled, options)


def _refuse_options_of_logs(boot: int | None, map: str) -> None:
    given = f"--boot {boot}" if boot is not None else f"--map {map}" if map != "firmware" else None
    if given:
        raise ConfigError(f"{given}: {THIS_MACHINE} is no log; try: {ASK_AS_ROOT} {given}")


def _this_machine() -> MemoryMap:
    machine = read_this_machine()
    if machine.memory_map is None:
        raise MemoryMapError(
            f"it does not tell its memory to this user ({'; '.join(map(str, machine.refusals))}); "
            f"try: {ASK_AS_ROOT}",
            file=THIS_MACHINE,
        )
    return machine.memory_map


def _read(path: Path) -> bytes:
    from ..firmware.source import read_stream

    with open(path, "rb") as f:
        return read_stream(f, INPUT_BYTES_MAX + 1)


def read_stdin() -> bytes:
    """What standard input says, or enough of it to see that it is too much."""
    from ..firmware.source import read_stream

    return read_stream(sys.stdin.buffer, INPUT_BYTES_MAX + 1)


def need_ram(memory_map: MemoryMap, name: str) -> MemoryMap:
    """Return the map if it holds RAM to boot on.

    Raises
    ------
    MemoryMapError
        If it holds none (SRAT rows tell where nodes may have memory, not what is there), or none above the
        first MiB, which no Xen gives to its allocator.
    """
    if memory_map.top > MIB:
        return memory_map
    if memory_map.ram:
        raise MemoryMapError(
            f"no RAM above the first MiB, only {memory_map.ram_bytes:#x} bytes below", file=name
        )
    rows = len(memory_map.srat or ())
    only = (
        f"only {plural(rows, 'SRAT row')}; the log's memory map is needed too"
        if rows
        else "only ranges of other kinds"
    )
    raise MemoryMapError(f"no RAM in it: {only}", file=name)


def _bundled(name: str) -> Path:
    from ..maps import bundled

    path = bundled().get(name)
    if path is None:
        raise MemoryMapError(no_such_file(name))
    return path


def no_such_file(name: str) -> str:
    """What to say of a name that is no file and no machine."""
    from ..maps import bundled

    folder = os.path.dirname(name)
    try:
        beside = [os.path.join(folder, other) for other in os.listdir(folder or ".")]
    except (OSError, ValueError):
        return f"no such file, and no folder {folder!r} for it: {name!r}"
    near = did_you_mean(name, [*bundled(), THIS_MACHINE, *beside])
    what = f"no such file, and no bundled machine of that name: {name!r}"
    return what + (near or " (xenmm machines lists those)")
