"""Replay: a trace or a workload through a microarchitecture, on the mappings of a booted host."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..constants import PAGE_SHIFT
from ..errors import ConfigError, need, need_one_of
from .config import Hierarchy, load_microarchitecture
from .engine import Engine, Run
from .frames import Frames
from .host_space import host_space
from .result import Result, serial_cycles
from .space import AddressSpace
from .traces import Chunk, Trace, open_trace
from .workloads import make_workload, parameters, sentence

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..boot.host import Host

#: What a trace's addresses are, and the rule that puts them into the machine.
RULES: Final[Mapping[str, str]] = {
    "maddr": (
        "a machine address, accessed through the direct map; what is no RAM, or lies in the first MiB, "
        "is counted as unmapped"
    ),
    "mfn": "a machine frame number: the first byte of the frame, as for maddr",
    "linear": (
        "a guest-linear address: page p of the guest is the frame number p modulo all of the RAM that the "
        "direct map reaches, counted from the lowest frame, holes left out (assumed)"
    ),
    "virt": "a hypervisor virtual address of this host; what no table maps is counted as unmapped",
    "raw": "an address of no machine: maddr = virt, in pages of 4 KiB",
}
_SEED: Final = 1
_ACCESSES: Final = 1_000_000
_TIMELINE_INTERVAL: Final = 4096
_TIMELINE_MOST: Final = 2048

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Input:
    """What to replay: a trace file, or a built-in workload.

    Parameters
    ----------
    trace : path, optional
        Read anew for each run.
    format : str, optional
        Of the trace; see :data:`xenmm.timing.traces.FORMATS`.
    interpretation : str
        One of :data:`RULES`: what the trace's addresses are.
    workload : str, optional
        A name of :data:`xenmm.timing.workloads.WORKLOADS`.
    parameters : mapping of str to number
        Of the workload.
    accesses, seed : int
        Of the workload.
    strict : bool
        A bad line of the trace, or an unmapped address, ends the run.
    """

    trace: str | os.PathLike[str] | None = None
    format: str | None = None
    interpretation: str = "maddr"
    workload: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    accesses: int = _ACCESSES
    seed: int = _SEED
    strict: bool = False

    def __post_init__(self) -> None:
        if (self.trace is None) == (self.workload is None):
            raise ConfigError("input: either a trace or a workload is needed")
        need_one_of("interpretation", self.interpretation, RULES)


@dataclass
class _Mapped:
    # What became of a trace's addresses.
    unmapped: int = 0
    first: list[int] = field(default_factory=list)

    def count(self, addresses: npt.NDArray[np.uint64], strict: bool) -> None:
        if strict and len(addresses):
            raise ConfigError(f"trace: address {int(addresses[0]):#x} is not mapped")
        self.unmapped += len(addresses)
        self.first += [int(a) for a in addresses[: 10 - len(self.first)]]


def replay(
    host: Host | None,
    source: Input | str | os.PathLike[str],
    uarch: str | Hierarchy = "zen3",
    *,
    straddle: str = "both",
    warmup: int = 0,
    roi: tuple[int, int | None] | None = None,
    interval: int | None = None,
    timeline: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Run a trace or a workload on a booted host, or without one.

    Parameters
    ----------
    host : Host or None
        None: addresses are machine addresses in pages of 4 KiB; the input must be raw.
    source : Input or path
        What to run; a path is a trace of machine addresses, or without a host of raw ones.
    uarch : str or Hierarchy
        A preset, a TOML file, or a hierarchy.
    straddle, warmup, roi, interval
        As for :meth:`xenmm.timing.Engine.run`.
    timeline : bool
        Keep intervals for :func:`timeline_json`, as coarse as it takes to keep few.
    seed : int
        Of random replacement.
    progress : callable, optional
        Called with the number of accesses so far, now and then.

    Raises
    ------
    ConfigError, TraceError
        What was asked for is wrong, or the trace cannot be read.
    """
    if not isinstance(source, Input):
        source = Input(source, interpretation="raw" if host is None else "maddr")
    need("timeline", timeline, bool)
    hierarchy = uarch if isinstance(uarch, Hierarchy) else load_microarchitecture(uarch)
    space = AddressSpace.identity() if host is None else host_space(host)
    frames = Frames(host, space)
    engine = Engine(hierarchy, space, seed)
    if timeline and interval is None:
        interval = _TIMELINE_INTERVAL
    most = _TIMELINE_MOST if timeline else None
    run = Run(engine, straddle=straddle, warmup=warmup, roi=roi, interval=interval, most_intervals=most)
    chunks, describe = _open(host, source, frames, space)
    for chunk in chunks:
        run.feed(chunk.addresses, chunk.kinds, chunk.sizes)
        if progress is not None:
            progress(run.position)
    if not run.position:
        name = source.trace or source.workload
        raise ConfigError(f"{name}: no access could be simulated; {_why(describe())}")
    return run.result(input={**describe(), "machine": None if host is None else _booted(host)})


def _booted(host: Host) -> dict[str, Any]:
    return {
        "name": host.memory_map.name,
        "map_sha256": host.memory_map.sha256,
        "profile": host.profile.name,
        "options": asdict(host.options),
    }


def compare(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Return what differs between runs of one input.

    A row a figure, with its value in each run and the ratio to the first; figures that are the same in all
    runs are left out.
    """
    tables = {name: {row: value for row, value, _ in r.rows()} for name, r in results.items()}
    rows = []
    for figure in dict.fromkeys(itertools.chain.from_iterable(tables.values())):
        values = {name: table.get(figure) for name, table in tables.items()}
        if len(set(values.values())) == 1 or not any(values.values()):
            continue
        first = next(iter(values.values()))
        ratios = {n: round(v / first, 6) if first and v is not None else None for n, v in values.items()}
        rows.append({"figure": figure, "values": values, "ratios": ratios})
    return rows


def timeline_json(result: Result) -> str:
    """Return the intervals as a Chrome trace, which Perfetto opens: one cycle is one nanosecond.

    A slice for each interval, as long as its serial cycles; below it, on a track for each cause, the part
    that the cause took; and counters of misses.
    """
    hierarchy, events, at = result.hierarchy, [], 0
    causes = list(result.cycles)[:-1]
    for tid, name in enumerate(["serial time", *causes]):
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": {"name": name}})
    for counts in result.intervals:
        cycles = serial_cycles(hierarchy, counts, 0)
        n = sum(counts["accesses"])
        label = f"accesses {counts['start']} to {counts['start'] + n - 1}"
        events.append(_slice(label, 0, at, cycles["total"], {"accesses": n}))
        for tid, cause in enumerate(causes, 1):
            if cycles[cause]:
                events.append(_slice(cause, tid, at, cycles[cause], {}))
        misses = {
            name.partition(".")[2] if name.startswith("cache.") else name: sum(t["misses"][:3])
            for name, t in counts["tables"].items()
            if not name.startswith("walk.")
        }
        events.append({"name": "misses", "ph": "C", "pid": 1, "ts": at / 1000, "args": misses})
        at += cycles["total"]
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": events}) + "\n"


def _slice(name: str, tid: int, at: int, cycles: int, args: dict[str, Any]) -> dict[str, Any]:
    # The format counts in microseconds.
    return {
        "name": name,
        "ph": "X",
        "pid": 1,
        "tid": tid,
        "ts": at / 1000,
        "dur": cycles / 1000,
        "args": args,
    }


def _open(
    host: Host | None, source: Input, frames: Frames, space: AddressSpace
) -> tuple[Iterator[Chunk], Callable[[], dict[str, Any]]]:
    if source.workload is not None:
        chunks = make_workload(source.workload, frames, source.accesses, source.seed, **source.parameters)
        given = {
            "workload": source.workload,
            "sentence": sentence(source.workload),
            "parameters": {**parameters(source.workload), **source.parameters},
            "accesses": source.accesses,
            "seed": source.seed,
        }
        return chunks, lambda: given
    assert source.trace is not None
    if (source.interpretation == "raw") != (host is None):
        raise ConfigError("interpretation: raw addresses, and no others, are replayed without a machine")
    trace = open_trace(source.trace, source.format, strict=source.strict)
    mapped = _Mapped()
    return _translated(trace, source, frames, space, mapped), lambda: _describe(trace, source, mapped)


def _describe(trace: Trace, source: Input, mapped: _Mapped) -> dict[str, Any]:
    return {
        "trace": trace.to_dict(),
        "interpretation": source.interpretation,
        "rule": RULES[source.interpretation],
        "unmapped": mapped.unmapped,
        "first_unmapped": [f"{a:#x}" for a in mapped.first],
    }


def _why(described: Mapping[str, Any]) -> str:
    trace = described.get("trace")
    if trace is None:
        return "the workload is empty"
    first = f" (the first: {trace['problems'][0]})" if trace["problems"] else ""
    at = f" (the first: {described['first_unmapped'][0]})" if described["unmapped"] else ""
    return f"{trace['bad']} bad lines{first}, {described['unmapped']} addresses not mapped{at}"


def _translated(
    trace: Trace, source: Input, frames: Frames, space: AddressSpace, mapped: _Mapped
) -> Iterator[Chunk]:
    if source.interpretation == "raw":
        yield from trace
        return
    where = _Where(space)
    for chunk in trace:
        virt, inside = _place(chunk.addresses, source.interpretation, frames)
        if source.interpretation == "virt" or chunk.sizes is not None:
            inside = inside & where.mapped(virt, chunk.sizes)
        if not inside.all():
            mapped.count(chunk.addresses[~inside], source.strict)
            kinds = None if chunk.kinds is None else chunk.kinds[inside]
            chunk = Chunk(virt[inside], kinds, None if chunk.sizes is None else chunk.sizes[inside])
        else:
            chunk = Chunk(virt, chunk.kinds, chunk.sizes)
        yield chunk


def _place(
    addresses: npt.NDArray[np.uint64], interpretation: str, frames: Frames
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    import numpy as np

    if interpretation == "virt":
        return addresses, np.ones(len(addresses), bool)
    if interpretation == "linear":
        return frames.linear(addresses), np.ones(len(addresses), bool)
    if interpretation == "maddr":
        return frames.virt(addresses)
    shift = np.uint64(PAGE_SHIFT)
    virt, inside = frames.virt(addresses << shift)
    return virt, inside & (addresses >> np.uint64(64 - PAGE_SHIFT) == 0)


class _Where:
    """Which bytes an address space maps."""

    def __init__(self, space: AddressSpace) -> None:
        import numpy as np

        merged: list[list[int]] = []
        for first, last, _, _ in space.runs():
            if merged and merged[-1][1] + 1 == first:
                merged[-1][1] = last
            else:
                merged.append([first, last])
        self._first = np.array([a for a, _ in merged], np.uint64)
        self._last = np.array([b for _, b in merged], np.uint64)

    def mapped(
        self, virt: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint16] | None
    ) -> npt.NDArray[np.bool_]:
        """Return whether every byte of each access is mapped."""
        import numpy as np

        run = np.searchsorted(self._first, virt, side="right") - 1
        room = self._last[np.maximum(run, 0)] - virt
        longer = np.uint64(0) if sizes is None else sizes.astype(np.uint64) - np.uint64(1)
        begins: npt.NDArray[np.bool_] = (run >= 0) & (virt <= self._last[np.maximum(run, 0)])
        return begins & (room >= longer)
