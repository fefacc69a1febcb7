"""What the model says of everything that ``xenmm bench --silicon`` measures: the predictions.

Nothing here is measured. The same addresses, in the same order, go through the engine here and through the
processor in :mod:`xenmm.studies.silicon`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .._embed import struct_values
from ..errors import ConfigError
from ..timing.config import Hierarchy, load_microarchitecture
from ..timing.cost import cost
from ..timing.engine import READ, WRITE, Engine
from ..timing.levels import PAGE_BYTES
from ..timing.operations import Operations, operations_of
from ..timing.primitives import WAYS
from ..timing.space import AddressSpace, Mapping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .bench_machine import Subject

    U64Array = NDArray[np.uint64]

PREDICTIONS_SCHEMA: Final = "xenmm-silicon-predictions/1"
SEED: Final = 2009
#: By mode, and those that are the same in every mode.
CONVERSIONS: Final = (
    "mfn_to_pdx",
    "pdx_to_mfn",
    "mfn_to_page",
    "page_to_mfn",
    "mfn_to_virt",
    "virt_to_mfn",
    "maddr_to_virt",
    "virt_to_maddr",
    "page_to_mfn_to_virt",
)
MODELESS: Final = ("page_to_virt", "virt_to_page", "m2p_read", "m2p_write")
RECORDS: Final = ("get_page", "put_page", "get_page_type", "put_page_type")
#: A verdict reaches the next input through an and with zero and an addition.
_VERDICTS: Final = ("mfn_valid", *RECORDS)
_WAIT: Final = 2
#: One fused decrement and branch for eight calls, and a copy of the input for each.
_AROUND: Final = 1 / 8
_COPIES: Final = 1
#: Where the engine sees the buffers; the processor's buffers lie elsewhere, as well aligned.
_VIRT: Final = 1 << 40
_MADDR: Final = 1 << 33
_KIB: Final = 1 << 10
_MIB: Final = 1 << 20

#: Answers that published measurements give away, on which nothing can be predicted.
KNOWN: Final = ("mfn_to_page", "page_to_mfn", "mfn_to_virt", "page_to_virt", "page_to_mfn_to_virt")


@dataclass(frozen=True)
class Plateau:
    """A pointer chase: `count` lines in a random circle, next to one another or one on each page."""

    name: str
    count: int
    page_size: str
    apart: bool

    def offsets(self) -> U64Array:
        """Offsets of the lines into the buffer, in the order of the chase."""
        import numpy as np

        rng = np.random.default_rng(SEED)
        number = rng.permutation(self.count).astype(np.uint64)
        if not self.apart:
            return number * np.uint64(64)
        # Any line of each page, so that no set of a cache gets more than its share.
        return number * np.uint64(4096) + rng.integers(0, 64, self.count, dtype=np.uint64) * np.uint64(64)

    @property
    def bytes(self) -> int:
        """Bytes of the buffer, whole pages of 2 MiB."""
        length = self.count * (4096 if self.apart else 64)
        return -(-length // (2 * _MIB)) * 2 * _MIB


def plateaus(quick: bool) -> tuple[Plateau, ...]:
    """The chases; a quick run leaves the largest out."""
    sizes = {"24 KiB": 24 * _KIB, "512 KiB": 512 * _KIB, "8 MiB": 8 * _MIB, "512 MiB": 512 * _MIB}
    out = [Plateau(f"{name}, 2 MiB pages", size // 64, "2m", False) for name, size in sizes.items()]
    out += [Plateau(f"{n} pages of 4 KiB", n, "4k", True) for n in (64, 1024, 32768)]
    return tuple(p for p in out if not quick or p.bytes <= 64 * _MIB)


def predict(
    uarch: str,
    subjects: dict[str, Subject],
    large: dict[str, Subject],
    frames: dict[str, U64Array],
    *,
    quick: bool,
) -> dict[str, Any]:
    """Return what the model says: primitives, plateaus, and the two runs end to end.

    Parameters
    ----------
    uarch : str
        A preset or a TOML file.
    subjects : mapping of str to Subject
        The hosts, by compression.
    large : mapping of str to Subject
        Those of the end-to-end runs: a known machine, whose tables fit in the memory of this one.
    frames : mapping of str to ndarray of uint64
        The frames of the end-to-end runs, by compression.
    quick : bool
        As for the measurement.
    """
    core, hierarchy = operations_of(uarch), load_microarchitecture(uarch)
    return {
        "schema": PREDICTIONS_SCHEMA,
        "uarch": uarch,
        "primitives": primitive_rows(core, subjects),
        "plateaus": [{"what": p.name, "cycles": _chase(p, hierarchy)} for p in plateaus(quick)],
        "end_to_end": end_to_end_rows(core, hierarchy, large, frames),
    }


def variants(subjects: dict[str, Subject]) -> list[tuple[str, str, str]]:
    """Return (primitive, mode, way) of everything that is measured; what has no mode, in the first one."""
    first = next(iter(subjects))
    out = [
        (p, mode, way)
        for mode in subjects
        for way in WAYS
        for p in (*CONVERSIONS, "mfn_valid", *(MODELESS if mode == first else ()))
        # No code at all is not worth a row.
        if not (mode == "none" and p in ("mfn_to_pdx", "pdx_to_mfn"))
    ]
    return out + [(p, first, "constants") for p in RECORDS]


def primitive_rows(core: Operations, subjects: dict[str, Subject]) -> list[dict[str, Any]]:
    """Return latency, throughput, code bytes and accesses of each primitive."""
    rows = []
    for primitive, mode, way in variants(subjects):
        values = struct_values(subjects[mode].host.capsule)
        c = cost(primitive, mode, way, core, values=values, around=_AROUND, copies=_COPIES)
        wait = _WAIT if primitive in _VERDICTS else 0
        rows.append(
            {
                "primitive": primitive,
                "mode": mode,
                "way": way,
                "known": primitive in KNOWN,
                "latency": None if primitive == "m2p_write" else (c.latency or 0) + wait,
                "throughput": round(c.throughput, 3),
                "code_bytes": c.code_bytes,
                "accesses": len(c.accesses),
            }
        )
    return rows


def _chase(plateau: Plateau, hierarchy: Hierarchy) -> float:
    space = AddressSpace([Mapping(_VIRT, _MADDR, plateau.bytes, plateau.page_size)])
    return _per_access(Engine(hierarchy, space), plateau.offsets() + _np64(_VIRT))


def _np64(value: int) -> Any:
    import numpy as np

    return np.uint64(value)


def _per_access(engine: Engine, addresses: U64Array) -> float:
    engine.run(addresses)
    engine.reset_counts()
    return round(engine.run(addresses).cycles["total"] / len(addresses), 2)


def end_to_end_rows(
    core: Operations, hierarchy: Hierarchy, subjects: dict[str, Subject], frames: dict[str, U64Array]
) -> list[dict[str, Any]]:
    """Return cycles a frame of random conversions with a read of each record, and of a storm of grants.

    The assumptions: the array of frames is read ahead; conversions that wait for each other add their
    latencies to the serial time of their records' reads; independent ones take the overlapped bound, or their
    throughput; locked operations let nothing overlap.
    """
    rows = []
    for page_size in ("2m", "4k"):
        for mode, subject in subjects.items():
            if page_size == "4k" and mode != "offset":
                continue
            run = _Memory(subject, frames[mode], page_size, hierarchy)
            convert = cost("mfn_to_page", mode, "variables", core)
            reads = run.records()
            n = len(frames[mode])
            chain = _WAIT + (convert.latency or 0) + 1 + reads.cycles["total"] / n
            free = max(convert.throughput, reads.overlapped["total"] / n)
            where = {"mode": mode, "page_size": page_size}
            rows.append({"what": "random frames, dependent", **where, "cycles": round(chain, 1)})
            rows.append({"what": "random frames, independent", **where, "cycles": round(free, 1)})
            rows.append({"what": "grant storm", **where, "cycles": round(run.grants(core, mode), 1)})
    return rows


class _Memory:
    """The engine with a frame table and an M2P, and the frames that a run meets."""

    def __init__(self, subject: Subject, frames: U64Array, page_size: str, hierarchy: Hierarchy) -> None:
        host, page = subject.host, PAGE_BYTES["1g"]
        table = -(-host.max_pdx * 32 // page) * page
        m2p = -(-host.max_page * 8 // page) * page
        if table + m2p >= _VIRT:
            raise ConfigError("machine: its frame table and M2P are too large for a run in one process")
        self._space = AddressSpace([Mapping(_VIRT, _MADDR, table + m2p, page_size)])
        self._hierarchy = hierarchy
        start = struct_values(host.capsule)["frametable_virt_start"]
        self._pages = host.mfn_to_page_unchecked(frames) - _np64(start) + _np64(_VIRT)
        self._entries = frames * _np64(8) + _np64(_VIRT + table)

    def records(self) -> Any:
        """Read the records of the frames, warm."""
        import numpy as np

        return self._run(self._pages, np.full(len(self._pages), READ, np.uint8))

    def grants(self, core: Operations, mode: str) -> float:
        """Return cycles a grant."""
        import numpy as np

        primitives = ("mfn_valid", "mfn_to_page", "get_page", "get_page_type", "m2p_read")
        compute = sum(
            cost(p, mode, "variables", core).latency or 0 for p in (*primitives, "put_page_type", "put_page")
        )
        both = np.stack([self._pages, self._entries], axis=1).ravel()
        result = self._run(both, np.resize(np.array([WRITE, READ], np.uint8), len(both)))
        first, _ = self._hierarchy.entries()
        hit = first.latency if first is not None else 0
        # What the primitives' latencies have counted already: hits of the first cache.
        return float(compute + (result.cycles["total"] - hit * len(both)) / len(self._pages))

    def _run(self, addresses: U64Array, kinds: NDArray[np.uint8]) -> Any:
        engine = Engine(self._hierarchy, self._space)
        engine.run(addresses, kinds)
        engine.reset_counts()
        return engine.run(addresses, kinds)
