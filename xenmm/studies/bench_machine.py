"""The machine that is measured: its hosts, its frames, and the slow model that answers are held to."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .._embed import struct_values
from ..boot.host import Host, boot
from ..errors import XenmmError
from ..firmware.memory_map import MemoryMap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    U64Array = NDArray[np.uint64]

#: The conversions that are measured; the shortcut stands beside the round trip that it saves.
MEASURED: Final = ("mfn_to_page", "page_to_mfn", "mfn_to_virt", "page_to_virt", "page_to_mfn_to_virt")
#: Compressions, and the profile that has each.
PROFILES: Final = {"offset": "xen-offset", "mask": "xen-mask", "none": "xen-none"}
_HUGE: Final = 1 << 21
_U64: Final = 1 << 64


class SlowModel:
    """The conversions in plain Python integers, one at a time: what answers must be, and the slowest peer."""

    def __init__(self, host: Host) -> None:
        self._s = struct_values(host.capsule)
        self._mode = host.compression.kind
        self._frame_table: int = self._s["frametable_virt_start"]
        self._direct_map: int = self._s["directmap_virt_start"]

    def mfn_to_pdx(self, mfn: int) -> int:
        """The pdx of a frame."""
        s = self._s
        if self._mode == "mask":
            top = (mfn & s["pfn_top_mask"]) >> s["pfn_pdx_hole_shift"]
            return int((mfn & s["pfn_pdx_bottom_mask"]) | top)
        if self._mode == "offset":
            return int(mfn - s["pfn_pdx_lookup"][mfn >> s["pfn_index_shift"] & 63]) % _U64
        return mfn

    def pdx_to_mfn(self, pdx: int) -> int:
        """The frame of a pdx."""
        s = self._s
        if self._mode == "mask":
            top = (pdx << s["pfn_pdx_hole_shift"]) & s["pfn_top_mask"]
            return int((pdx & s["pfn_pdx_bottom_mask"]) | top)
        if self._mode == "offset":
            return int(pdx + s["pdx_pfn_lookup"][pdx >> s["pdx_index_shift"] & 63]) % _U64
        return pdx

    def mfn_to_page(self, mfn: int) -> int:
        """The record's address."""
        return (self._frame_table + 32 * self.mfn_to_pdx(mfn)) % _U64

    def page_to_mfn(self, page: int) -> int:
        """The frame of a record."""
        return self.pdx_to_mfn((page - self._frame_table) % _U64 >> 5)

    def mfn_to_virt(self, mfn: int) -> int:
        """The direct-map address."""
        return (self._direct_map + 4096 * self.mfn_to_pdx(mfn)) % _U64

    def page_to_virt(self, page: int) -> int:
        """The direct-map address, from the record."""
        return (self._direct_map + (page - self._frame_table) * 128) % _U64

    def page_to_mfn_to_virt(self, page: int) -> int:
        """The same by way of the frame."""
        return self.mfn_to_virt(self.page_to_mfn(page))

    def mfn_valid(self, mfn: int) -> bool:
        """Whether the frame is memory."""
        s = self._s
        if mfn >= s["max_page"]:
            return False
        if self._mode == "mask" and mfn & s["pfn_hole_mask"]:
            return False
        if self._mode == "offset":
            base = s["pfn_bases"][mfn >> s["pfn_index_shift"] & 63]
            if not base <= mfn < base + s["pdx_region_size"]:
                return False
        group = self.mfn_to_pdx(mfn) >> 16
        return bool(group < s["pdx_group_count"] and s["pdx_group_valid"][group >> 6] >> (group & 63) & 1)


@dataclass(frozen=True, slots=True)
class Subject:
    """One host to measure on: of one compression, of the machine itself or of a bundled one that has it."""

    compression: str
    host: Host
    machine: str
    slow: SlowModel = field(repr=False)

    def inputs(self, name: str, frames: U64Array) -> U64Array:
        """The frames as what the conversion takes."""
        if name.startswith("page_"):
            return self.host.mfn_to_page_unchecked(frames)
        return frames


def subjects(memory_map: MemoryMap, fallback: MemoryMap) -> dict[str, Subject]:
    """A subject for each compression; where the machine's frames cannot be squeezed so, the fallback's."""
    found = {}
    for compression, profile in PROFILES.items():
        for candidate in (memory_map, fallback):
            host = boot(candidate, profile=profile)
            if host.compression.kind == compression:
                break
        else:
            raise XenmmError(f"{fallback.name} has no {compression} compression to measure")
        found[compression] = Subject(compression, host, candidate.name or "unnamed", SlowModel(host))
    return found


def valid_runs(host: Host) -> list[tuple[int, int]]:
    """RAM as half-open runs of whole frames that the host knows."""
    runs = []
    for start, end in host.memory_map.ram:
        first, last = -(-start // 4096), end // 4096
        last = min(last, host.max_page)
        if first < last and host.mfn_valid(first) and host.mfn_valid(last - 1):
            runs.append((first, last))
    return runs


def coherent_frames(host: Host, count: int) -> U64Array:
    """Frames in ascending order from the start of RAM, around again when there are fewer than asked for."""
    import numpy as np

    parts, left = [], count
    for first, last in valid_runs(host):
        parts.append(np.arange(first, min(last, first + left), dtype=np.uint64))
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.resize(np.concatenate(parts), count)


def random_frames(host: Host, count: int, seed: int = 2009) -> U64Array:
    """Frames drawn from all of RAM alike; past a million the same ones come again."""
    import numpy as np

    runs = np.array(valid_runs(host), dtype=np.uint64)
    ends = np.cumsum(runs[:, 1] - runs[:, 0])
    drawn = np.random.default_rng(seed).integers(0, int(ends[-1]), min(count, 1 << 20), dtype=np.uint64)
    run = np.searchsorted(ends, drawn, side="right")
    frames = runs[run, 1] - (ends[run] - drawn)
    return np.resize(frames, count)


def buffer(count: int, dtype: Any = "uint64") -> Any:
    """An array on huge pages, aligned to 2 MiB, all its pages touched."""
    import numpy as np

    size = count * np.dtype(dtype).itemsize
    memory = mmap.mmap(-1, -(-size // _HUGE) * _HUGE + _HUGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, dtype=np.uint8)
    skipped = -whole.ctypes.data % _HUGE
    array = whole[skipped : skipped + size].view(dtype)
    array[:] = 0
    return array
