"""What the machine that xenmm runs on says about its own memory, as far as it may be read.

Linux tells it in several places, each with its own permission: the firmware's map in ``/sys/firmware/memmap``
(every user, x86 only), the kernel log in ``/dev/kmsg`` (root, where ``kernel.dmesg_restrict`` is set), the
resources in ``/proc/iomem`` (addresses for root alone), a device tree, and the blocks of memory on line. The
SRAT is a table of ACPI (root) and stands in the kernel log too. A place that says nothing is named with its
reason; nothing is guessed in its stead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..constants import MIB
from ..errors import MemoryMapError
from . import lsmem, read_map
from .memory_map import MemoryMap, Note, SratRange

#: The name that stands for this machine where a file is asked for.
THIS_MACHINE: Final = "this-machine"

_ROOT: Final = Path("/")
_MEMMAP: Final = "sys/firmware/memmap"
_KERNEL_LOG: Final = "dev/kmsg"
_IOMEM: Final = "proc/iomem"
_TREE: Final = "sys/firmware/devicetree/base"
_BLOCKS: Final = "sys/devices/system/memory"
_SRAT: Final = "sys/firmware/acpi/tables/SRAT"

_NOT_THERE: Final = "not there"
#: A record of /dev/kmsg is shorter (Linux Documentation/ABI/testing/dev-kmsg, PRINTK_MESSAGE_MAX).
_RECORD_BYTES: Final = 1 << 14
_LOG_BYTES_MAX: Final = 64 << 20
_RECORD: Final = re.compile(r"\d+,\d+,(\d+),[^;]*;(.*)")
_ONLY_ZEROS: Final = re.compile(rb"(?:\s*0+-0+ :[^\n]*\n)+")
_BLOCK: Final = re.compile(r"memory(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A place that was asked: its path, and what of it is used, or why nothing is."""

    path: str
    used_for: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.why or self.used_for}"


@dataclass(frozen=True, slots=True)
class ThisMachine:
    """What this machine says: its map, or None where it says nothing, and every place that was asked."""

    memory_map: MemoryMap | None
    places: tuple[Place, ...]

    @property
    def refusals(self) -> tuple[Place, ...]:
        """The places that said nothing."""
        return tuple(p for p in self.places if p.why)


def read_this_machine(root: Path = _ROOT) -> ThisMachine:
    """Read the best that the running machine says about its memory.

    The first place with RAM gives the ranges. Rows of the SRAT come from that place, the ACPI table, or the
    kernel log.

    Parameters
    ----------
    root : Path
        The folder that holds ``proc``, ``sys`` and ``dev``.

    Returns
    -------
    ThisMachine
        With the map, its notes on what the figures stand for, and the places.
    """
    places: list[Place] = []
    found: MemoryMap | None = None
    for path, reader in _READERS.items():
        found = _try(reader, root, path, places)
        if found is not None:
            break
    if found is None:
        return ThisMachine(None, tuple(places))
    srat = found.srat if found.srat is not None else _srat(root, places)
    notes = (*found.notes, *_surroundings(root, found))
    withheld = next((p for p in places if p.path == f"/{_SRAT}" and p.why not in ("", _NOT_THERE)), None)
    if srat is None and withheld is not None:
        text = f"nodes are not known to this user: {withheld}; root may read them"
        notes = (*notes, Note("warning", text))
    name = _name(root) or (found.name if not found.name.startswith("/") else "")
    found = replace(found, srat=srat, notes=notes, name=f"this machine ({name})" if name else "this machine")
    return ThisMachine(found, tuple(places))


def _try(
    reader: Callable[[Path, str], MemoryMap], root: Path, path: str, places: list[Place]
) -> MemoryMap | None:
    shown = f"/{path}"
    try:
        found = reader(root / path, shown)
    except (OSError, MemoryMapError) as error:
        places.append(Place(shown, "", _why(error)))
        return None
    if found.top <= MIB:
        places.append(Place(shown, "", "holds no RAM above the first MiB"))
        return None
    places.append(Place(shown, "RAM" if found.srat is None else "RAM and SRAT"))
    return found


def _why(error: OSError | MemoryMapError) -> str:
    if isinstance(error, OSError):
        return _NOT_THERE if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return error.message.removeprefix("cannot be read: ")


def _srat(root: Path, places: list[Place]) -> tuple[SratRange, ...] | None:
    # The ACPI table, else the kernel log's rows, unless the log was asked before.
    shown = f"/{_SRAT}"
    try:
        rows = read_map((root / _SRAT).read_bytes(), name=shown).srat
        places.append(Place(shown, "SRAT"))
        return rows
    except (OSError, MemoryMapError) as error:
        places.append(Place(shown, "", _why(error)))
    if any(p.path == f"/{_KERNEL_LOG}" for p in places):
        return None
    log = _try(_kernel_log, root, _KERNEL_LOG, places)
    if log is None:
        return None
    used, why = ("SRAT", "") if log.srat is not None else ("", "tells no SRAT")
    places[-1] = Place(f"/{_KERNEL_LOG}", used, why)
    return log.srat


def _folder(path: Path, shown: str) -> MemoryMap:
    # Whether it is there, and whether it may be looked into, is the system's to say.
    if not os.listdir(path):
        raise MemoryMapError("empty")
    return read_map(path, name=shown)


def _iomem(path: Path, shown: str) -> MemoryMap:
    data = path.read_bytes()
    if _ONLY_ZEROS.fullmatch(data):
        raise MemoryMapError("addresses are zeros, as root alone sees them")
    return read_map(data, name=shown)


def _kernel_log(path: Path, shown: str) -> MemoryMap:
    """The kernel's ring buffer, its records set as dmesg sets them."""
    lines = []
    for record in _records(path):
        found = _RECORD.match(record)
        if found:
            lines.append(f"[{int(found[1]) / 1e6:12.6f}] {found[2]}\n")
    if not lines:
        raise MemoryMapError("holds no record")
    return read_map("".join(lines), name=shown)


def _records(path: Path) -> list[str]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    data = bytearray()
    try:
        while len(data) < _LOG_BYTES_MAX:
            try:
                piece = os.read(descriptor, _RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # Records were overwritten while we read: the next read goes on with the oldest there is.
                continue
            if not piece:
                break
            data += piece
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace").split("\n")


def _blocks(path: Path, shown: str) -> MemoryMap:
    """The blocks of memory, as lsmem prints them: holes smaller than a block do not show."""
    text = (path / "block_size_bytes").read_text(errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{1,15}", text) or int(text, 16) == 0:
        raise MemoryMapError("tells no size of its blocks", text=text[:40])
    size = int(text, 16)
    numbers = sorted(int(m[1]) for name in os.listdir(path) if (m := _BLOCK.match(name)))
    rows = ["RANGE STATE"]
    for n in numbers:
        state = (path / f"memory{n}" / "state").read_text().strip()
        rows.append(f"0x{n * size:016x}-0x{(n + 1) * size - 1:016x} {state}")
    found = lsmem.read(list(enumerate(rows, 1)), shown)
    text = f"RAM is told in blocks of {size >> 20} MiB: smaller holes do not show"
    return replace(found, notes=(*found.notes, Note("note", text)))


_READERS: Final[dict[str, Callable[[Path, str], MemoryMap]]] = {
    _MEMMAP: _folder,
    _KERNEL_LOG: _kernel_log,
    _IOMEM: _iomem,
    _TREE: _folder,
    _BLOCKS: _blocks,
}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _name(root: Path) -> str:
    dmi = root / "sys/class/dmi/id"
    return " ".join(filter(None, (_text(dmi / "sys_vendor"), _text(dmi / "product_name")))) or _text(
        root / _TREE / "model"
    )


def _surroundings(root: Path, found: MemoryMap) -> list[Note]:
    """What one has to know before one believes the figures."""
    notes = []
    if _text(root / "sys/hypervisor/type") == "xen":
        text = (
            "it runs on Xen: this is a guest's map, not the machine's, which in dom0 is told by: "
            "sudo xl dmesg | xenmm report -"
        )
        notes.append(Note("warning", text))
    elif re.search(r"^flags\s*:.*\bhypervisor\b", _text(root / "proc/cpuinfo"), re.MULTILINE):
        text = "it is a virtual machine: its map is the one that its hypervisor gives it"
        notes.append(Note("note", text))
    total = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if total and int(total[1]) << 10 > found.ram_bytes:
        text = (
            f"the kernel has {int(total[1]) >> 10:,} MiB of memory, this map {found.ram_bytes >> 20:,} MiB: "
            "memory was added since boot, or the map is not this kernel's"
        )
        notes.append(Note("warning", text))
    return notes
