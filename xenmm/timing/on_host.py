"""What a primitive costs on a booted host: its operations, and its accesses where that host's boot put them.

>>> import xenmm
>>> from xenmm.timing.on_host import run_primitive
>>> nodes = [(0, 1 << 31), (1 << 36, (1 << 36) + (1 << 31))]
>>> host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram=nodes, srat=nodes))
>>> host.compression.kind, run_primitive(host, "mfn_valid", [0x100, 0x1000100], uarch="zen3").dependent
('offset', 16.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..constants import M2P_ENTRY_BYTES, PAGE_SIZE
from ..errors import ConfigError
from .config import load_microarchitecture
from .cost import Cost, cost
from .engine import READ, WRITE, Engine
from .host_space import host_space
from .primitives import Access, program
from .result import Result

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..boot.host import Host
    from .space import AddressSpace

    Words = npt.NDArray[np.uint64]

#: Bytes into a page_info record: Xen c447b7308b, xen/arch/x86/include/asm/mm.h, struct page_info.
_RECORD: Final = {"count_info": 8, "type_info": 16, "owner": 24}
#: Fields of 4 bytes in include/xenmm.h; the tables have 64 entries of 8, the others 8 bytes.
_SHORT: Final = (
    *("abi_version", "size", "mode", "pfn_pdx_hole_shift"),
    *("pfn_index_shift", "pdx_index_shift"),
)
_TABLES: Final = ("pfn_pdx_lookup", "pdx_pfn_lookup", "pfn_bases")
_TABLE_BYTES: Final = 64 * 8
_VARIABLES_FROM: Final = 1 << 20


@dataclass(frozen=True)
class PrimitiveRun:
    """A primitive over frames of a host.

    Attributes
    ----------
    cost : Cost
        With all it touches in the first cache.
    memory : Result or None
        What its accesses did in caches and TLBs, one call after another; None when it makes none.
    dependent : float
        Cycles a call when calls wait for each other: the latency, and what accesses take beyond the first
        cache (assumed: all of it is waited for).
    independent : float
        Cycles a call when they do not: the throughput, or the overlapped bound of the accesses.
    """

    cost: Cost
    memory: Result | None
    dependent: float | None
    independent: float


def run_primitive(
    host: Host,
    primitive: str,
    mfns: Sequence[int] | Words,
    *,
    way: str = "variables",
    uarch: str = "zen3",
    warm: bool = True,
) -> PrimitiveRun:
    """Run a primitive on frames, one call for each.

    Parameters
    ----------
    host : Host
        Booted: its compression chooses the program, its tables the addresses and page sizes.
    primitive, way : str
        See :func:`xenmm.timing.primitives.program`.
    mfns : sequence of int
        Valid frames; conversions from something else begin with what the frame has there.
    uarch : str
        A preset or a TOML file.
    warm : bool
        Run the accesses once before they are counted.

    Raises
    ------
    ConfigError
        A name is unknown, or there are no frames.
    FrameError
        A frame is not valid.
    """
    import numpy as np

    frames = np.asarray(mfns, np.uint64)
    if frames.ndim != 1 or not len(frames):
        raise ConfigError("mfns: a primitive runs on one frame or more")
    host.mfn_to_page(frames)
    mode = host.compression.kind
    found = cost(primitive, mode, way, uarch, values=_struct(host))
    made = accesses(host, primitive, frames, way=way)
    return run_accesses(found, *made, len(frames), uarch, lambda: host_space(host), warm=warm)


def run_accesses(
    found: Cost,
    addresses: Words,
    kinds: npt.NDArray[np.uint8],
    calls: int,
    uarch: str,
    space: Callable[[], AddressSpace],
    *,
    warm: bool,
) -> PrimitiveRun:
    """Run the accesses of so many calls in a space, and add what they take to what the operations do."""
    if not len(addresses):
        return PrimitiveRun(found, None, found.latency, found.throughput)
    hierarchy = load_microarchitecture(uarch)
    engine = Engine(hierarchy, space())
    if warm:
        engine.run(addresses, kinds)
        engine.reset_counts()
    memory = engine.run(addresses, kinds)
    first, _ = hierarchy.entries()
    hits = len(addresses) * (first.latency if first is not None else 0)
    beyond = (memory.cycles["total"] - hits) / calls
    dependent = None if found.latency is None else found.latency + beyond
    independent = max(found.throughput, memory.overlapped["total"] / calls)
    return PrimitiveRun(found, memory, dependent, independent)


def accesses(
    host: Host, primitive: str, mfns: Words, *, way: str = "variables"
) -> tuple[Words, npt.NDArray[np.uint8]]:
    """Return the addresses (hypervisor virtual) and kinds of every access, call after call.

    Where a real Xen keeps its variables is not in a log. The rule (assumed): the parameters lie together, as
    in ``include/xenmm.h``, in the first frames of RAM from 1 MiB up, seen in the direct map; the bitmap of
    groups begins on the page behind them.
    """
    import numpy as np

    made = program(primitive, host.compression.kind, way).accesses
    table = [_where(host, a, mfns, _variables(host)) for a in made]
    kinds = np.array([WRITE if a.writes else READ for a in made], np.uint8)
    if not table:
        return np.empty(0, np.uint64), kinds
    return np.stack(table, axis=1).ravel(), np.tile(kinds, len(mfns))


def offsets(struct: dict[str, Any]) -> dict[str, int]:
    """Return the byte offset of every parameter in the struct of ``include/xenmm.h``."""
    out, at = {}, 0
    for name in struct:
        size = 4 if name in _SHORT else 8
        at = -(-at // size) * size
        out[name] = at
        at += _TABLE_BYTES if name in _TABLES else size
    return out


def _where(host: Host, access: Access, mfns: Words, variables: int) -> Words:
    import numpy as np

    word = np.uint64
    if access.what == "page_info":
        page: Words = host.mfn_to_page_unchecked(mfns) + word(_RECORD[access.name])
        return page
    if access.what == "m2p":
        return word(host.m2p.virt_start) + mfns * word(M2P_ENTRY_BYTES)
    struct = _struct(host)
    if access.what == "bitmap":
        groups: Words = host.mfn_to_pdx_unchecked(mfns) >> word(22)
        return word(variables + PAGE_SIZE) + groups * word(8)
    base = word(variables + offsets(struct)[access.name])
    if access.what == "variable":
        return np.full(len(mfns), base)
    if access.name == "pdx_pfn_lookup":
        frames, shift = host.mfn_to_pdx_unchecked(mfns), struct["pdx_index_shift"]
    else:
        frames, shift = mfns, struct["pfn_index_shift"]
    slot: Words = (frames >> word(shift)) & word(63)
    return base + slot * word(8)


def _variables(host: Host) -> int:
    for start, end in host.plan.used:
        first = -(-max(start, _VARIABLES_FROM) // PAGE_SIZE) * PAGE_SIZE
        if end - first >= _VARIABLES_FROM:
            return host.maddr_to_virt(first)
    raise ConfigError("machine: no RAM from 1 MiB up has room for the parameters")


def _struct(host: Host) -> dict[str, Any]:
    from .._embed import struct_values

    return struct_values(host.capsule)
