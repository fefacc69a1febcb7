"""RAM as the timing tools address it: frames by number, and where the hypervisor sees each."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from ..constants import M2P_ENTRY_BYTES, PAGE_SHIFT, PAGE_SIZE
from ..errors import ConfigError
from .space import AddressSpace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..boot.host import Host

    Words = npt.NDArray[np.uint64]

#: RAM of a trace without a machine, in bytes.
_RAW_BYTES: Final = 1 << 36


class Frames:
    """The frames of RAM that the direct map reaches, counted from the lowest.

    Parameters
    ----------
    host : Host or None
        None: 64 GiB from 0 on, seen where they are, and no tables.
    space : AddressSpace
        The host's, from :func:`xenmm.timing.host_space.host_space`.
    """

    def __init__(self, host: Host | None, space: AddressSpace) -> None:
        import numpy as np

        self.host = host
        runs = [(0, _RAW_BYTES, 0)] if host is None else sorted(_reached(host, space))
        if not runs:
            raise ConfigError("machine: the direct map reaches no RAM")
        self._maddr = np.array([a for a, _, _ in runs], np.uint64)
        self._end = np.array([b for _, b, _ in runs], np.uint64)
        self._virt = np.array([v for _, _, v in runs], np.uint64)
        counts = (self._end - self._maddr) >> np.uint64(PAGE_SHIFT)
        self._first = np.concatenate([np.zeros(1, np.uint64), np.cumsum(counts)[:-1]])
        self.count = int(counts.sum())

    @property
    def bytes(self) -> int:
        """Bytes of RAM."""
        return self.count << PAGE_SHIFT

    def maddr(self, number: Words) -> Words:
        """Return the machine address of the frame of each number, modulo how many there are."""
        import numpy as np

        number = number % np.uint64(self.count)
        run = np.searchsorted(self._first, number, side="right") - 1
        maddr: Words = self._maddr[run] + ((number - self._first[run]) << np.uint64(PAGE_SHIFT))
        return maddr

    def virt(self, maddr: Words) -> tuple[Words, npt.NDArray[np.bool_]]:
        """Return where the direct map shows each machine address, and whether it does at all."""
        import numpy as np

        run = np.maximum(np.searchsorted(self._maddr, maddr, side="right") - 1, 0)
        inside = (maddr >= self._maddr[run]) & (maddr < self._end[run])
        return self._virt[run] + (maddr - self._maddr[run]), inside

    def linear(self, offset: Words) -> Words:
        """Return the direct-map address of each byte offset into RAM, holes not counted, modulo its size."""
        import numpy as np

        maddr = self.maddr(offset >> np.uint64(PAGE_SHIFT)) + (offset & np.uint64(PAGE_SIZE - 1))
        return self.virt(maddr)[0]

    def page_info(self, maddr: Words) -> Words:
        """Return the address of the frame table's record of each machine address."""
        import numpy as np

        page: Words = self._booted("page_info").mfn_to_page_unchecked(maddr >> np.uint64(PAGE_SHIFT))
        return page

    def m2p_entry(self, maddr: Words) -> Words:
        """Return the address of the M2P's entry of each machine address."""
        import numpy as np

        start = np.uint64(self._booted("the M2P").m2p.virt_start)
        entry: Words = start + (maddr >> np.uint64(PAGE_SHIFT)) * np.uint64(M2P_ENTRY_BYTES)
        return entry

    def _booted(self, what: str) -> Host:
        if self.host is None:
            raise ConfigError(f"workload: it needs {what}, so it needs a machine")
        return self.host


def _reached(host: Host, space: AddressSpace) -> list[tuple[int, int, int]]:
    # (maddr, end, virt) of RAM in the direct map, whole frames.
    start = host.direct_map.virt_start
    end = start + host.direct_map.virt_size_reserved
    mapped = sorted(
        (m.maddr_start, m.maddr_start + m.length, m.virt_start)
        for m in space.mappings
        if start <= m.virt_start < end
    )
    out, at = [], 0
    for a, b in sorted(host.plan.used):
        while at < len(mapped) and mapped[at][1] <= a:
            at += 1
        for low, high, virt in islice(mapped, at, None):
            if low >= b:
                break
            first, last = max(a, low), min(b, high)
            first, last = -(-first // PAGE_SIZE) * PAGE_SIZE, last // PAGE_SIZE * PAGE_SIZE
            if first < last:
                out.append((first, last, virt + first - low))
    return out
