"""One cell of a sweep: what names it, and the work on it, done in a process that imports little.

A cell is one input under one set of settings. Its document is a JSON text that depends on nothing else: no
time, no path of the machine that made it, no order. Only cells that replay or run steps import NumPy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import XenmmError
from ..version import __version__

if TYPE_CHECKING:
    from ..boot.host import Host
    from ..firmware.memory_map import MemoryMap

CELL_SCHEMA: Final = "xenmm-sweep-cell/1"
#: What a cell can be: a boot's overhead figures and hazards, a replayed workload, the series' steps.
KINDS: Final = ("report", "replay", "steps")
#: Settings that :func:`xenmm.boot` takes, by its names.
BOOT_OPTIONS: Final = ("page_sizes", "compat_m2p", "hotplug", "stack_guards", "command_line")
_ID_DIGITS: Final = 20


@dataclass(frozen=True)
class SweepInput:
    """One input of a sweep.

    Attributes
    ----------
    name : str
        As it was given: what cells and the table call it.
    path : str or None
        Where workers read it, absolute; None when the map came as an object.
    data : bytes or None
        That map, as the package's own JSON.
    sha256 : str or None
        Hash of the content: of a file's bytes, or of a folder's files with their names. None when it
        cannot be read.
    bytes : int or None
        Size of the content.
    bundled : bool
        It is a bundled machine.
    """

    name: str
    path: str | None = None
    data: bytes | None = None
    sha256: str | None = None
    bytes: int | None = None
    bundled: bool = False


@dataclass(frozen=True)
class Cell:
    """One input under one set of settings.

    ``settings`` hold the kind and every option, by name; ``made_from`` the hashes of the files that it is
    made from. The first name the cell, both and the version say whether a document is still true.
    """

    input: SweepInput
    settings: Mapping[str, Any]
    made_from: Mapping[str, str | None]
    #: A microarchitecture of one's own: where its file is.
    uarch_path: str | None = None

    @cached_property
    def id(self) -> str:
        """Hexadecimal name, of the input's name and the settings alone."""
        facts = json.dumps([self.input.name, self.settings], sort_keys=True)
        return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return str(self.settings["kind"])

    def head(self) -> dict[str, Any]:
        """What the document begins with: equal heads mean that nothing has to be done again."""
        return {
            "schema": CELL_SCHEMA,
            "xenmm": __version__,
            "cell": self.id,
            "input": {
                "name": self.input.name,
                "bytes": self.input.bytes,
                "sha256": self.input.sha256,
                "bundled": self.input.bundled,
            },
            "made_from": dict(self.made_from),
            "settings": dict(self.settings),
        }

    def failure(self, type: str, message: str) -> bytes:
        """The document of a cell that could not be done."""
        error = {"type": type, "message": message}
        return encoded({**self.head(), "status": "failed", "error": error, "result": None})


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document's bytes: the same document, the same bytes."""
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def is_failure(document: bytes) -> bool:
    """Whether these bytes of :func:`encoded` are a failed cell's: no text in JSON holds a bare line end."""
    return b'\n "status": "failed"' in document


def content_hash(path: Path) -> tuple[str, int]:
    """Hash and size of the bytes that count in a file, or of the files in a folder with their names.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if not path.is_dir():
        from ..firmware.source import file_hash

        return file_hash(path)
    whole, size = hashlib.sha256(), 0
    for each in sorted(p for p in path.rglob("*") if p.is_file()):
        one, count = content_hash(each)
        whole.update(f"{each.relative_to(path)}\0{one}\n".encode("utf-8", "surrogateescape"))
        size += count
    return whole.hexdigest(), size


def do_cells(cells: Sequence[Cell], version: str) -> list[bytes]:
    """Do cells of one input, which is read once, and return their documents in the same order.

    Whatever goes wrong in a cell is its result.

    Raises
    ------
    XenmmError
        If this process has another version of the package than the one that asks.
    """
    if version != __version__:
        raise XenmmError(f"a worker runs xenmm {__version__}, this is {version}: install the same")
    work = _Work()
    return [_do(work, cell) for cell in cells]


def _do(work: _Work, cell: Cell) -> bytes:
    try:
        result = work.do(cell)
    except (XenmmError, MemoryError) as error:
        return cell.failure(type(error).__name__, str(error) or "out of memory")
    except OSError as error:
        return cell.failure("OSError", f"{cell.input.name}: {error.strerror or error}")
    except ImportError as error:
        return cell.failure("ImportError", str(error))
    except Exception as error:
        return cell.failure("internal error", f"{type(error).__name__}: {error}")
    return encoded({**cell.head(), "status": "done", "error": None, "result": result})


class _Work:
    """What neighbouring cells share: the map that was read last, and the host that was booted last."""

    def __init__(self) -> None:
        self._map: tuple[Any, MemoryMap | Exception] | None = None
        self._host: tuple[Any, Host] | None = None

    def do(self, cell: Cell) -> dict[str, Any]:
        do = {"report": self._report, "replay": self._replay, "steps": self._steps}[cell.kind]
        return {"machine": _machine(self._read(cell)), **do(cell)}

    def _read(self, cell: Cell) -> MemoryMap:
        key = (cell.input, tuple(cell.settings[name] for name in ("boot", "map", "strict")))
        if self._map is None or self._map[0] != key:
            self._map, self._host = (key, _read_or_error(cell)), None
        found = self._map[1]
        if isinstance(found, Exception):
            raise found
        return found

    def _booted(self, cell: Cell) -> Host:
        from ..boot.host import boot

        memory_map = self._read(cell)
        key = {name: cell.settings[name] for name in ("profile", *BOOT_OPTIONS)}
        if self._host is None or self._host[0] != key:
            options = {name: key[name] for name in BOOT_OPTIONS}
            self._host = key, boot(memory_map, key["profile"], **options)
        return self._host[1]

    def _report(self, cell: Cell) -> dict[str, Any]:
        from ..report.json import step_to_dict

        return step_to_dict(self._booted(cell))

    def _replay(self, cell: Cell) -> dict[str, Any]:
        from ..timing.replay import Input, replay

        given = cell.settings
        workload = given["workload"]
        source = Input(
            workload=workload["name"],
            parameters=workload["parameters"],
            accesses=given["accesses"],
            seed=given["seed"],
        )
        uarch = cell.uarch_path or given["uarch"]
        return replay(self._booted(cell), source, uarch, seed=given["seed"]).to_dict()

    def _steps(self, cell: Cell) -> dict[str, Any]:
        from .steps import steps

        given = cell.settings
        return steps(
            self._read(cell),
            given["workload"]["name"],
            size=given["size"],
            page_sizes=given["page_sizes"],
            uarch=given["uarch"],
        ).to_dict()


def _read_or_error(cell: Cell) -> MemoryMap | Exception:
    # An input that cannot be read fails each of its cells, and is tried once.
    try:
        return _read(cell)
    except (XenmmError, OSError, MemoryError) as error:
        return error


def _read(cell: Cell) -> MemoryMap:
    from ..errors import MemoryMapError
    from ..firmware import read_map
    from ..report.inputs import need_ram

    given, options = cell.input, cell.settings
    source = given.data if given.path is None else Path(given.path)
    assert source is not None
    found = read_map(
        source, name=given.name, boot=options["boot"], map=options["map"], strict=options["strict"]
    )
    if given.path is not None and content_hash(Path(given.path))[0] != given.sha256:
        raise MemoryMapError("changed while the sweep ran; run the sweep again", file=given.name)
    return need_ram(found, given.name)


def _machine(memory_map: MemoryMap) -> dict[str, Any]:
    return {
        "name": memory_map.name,
        "format": memory_map.format,
        "arch": memory_map.arch,
        "map_sha256": memory_map.sha256,
        "ram_bytes": memory_map.ram_bytes,
        "top": memory_map.top,
        "ram_ranges": len(memory_map.ram),
        "nodes": len(memory_map.nodes),
    }
