"""The seven steps of the 2009 series on one machine and one workload: what each changed, memory or work.

Memory comes from booting the map under each step's profile; work from running the workload on a live machine
of that profile and reading its counters. Cycles are a model's (:mod:`xenmm.timing.cost`) and said to be
approximate; bytes of code are measured or "not measured".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..boot.host import Host, boot
from ..errors import ConfigError, MachineError, need, need_one_of
from ..machine.grant_table import GNTMAP
from ..machine.machine import Machine
from ..machine.ops import Op
from ..timing.cost import cost
from ..timing.operations import operations_of
from ..version import __version__

if TYPE_CHECKING:
    from ..firmware.memory_map import MemoryMap

STEPS_SCHEMA: Final = "xenmm-steps/1"
#: Bytes of code of the committed record of ``xenmm bench``; benchmarks/update_docs.py takes them from it.
COMMITTED_RECORD: Final = os.path.join(os.path.dirname(__file__), "committed_code_bytes.json")
#: The profiles in the order of the series: the state before it, then its seven steps.
STEPS: Final = (
    "pre",
    "ext5t",
    "fold",
    "sparse-frametable",
    "sparse-m2p",
    "map-page",
    "cse",
    "write-once",
)
#: Steps 1 to 4 change what memory costs, 5 to 7 what work costs.
_MEMORY_STEPS: Final = STEPS[1:5]
#: Variables that one mask conversion reads: two masks and the shift (rule book, part 8).
_READS_PER_CONVERSION: Final = 3
#: Which code of the benchmark record's part "freezing" a step's grant table is.
_CODE: Final = {"pre": "none", "ext5t": "none", "cse": "once", "write-once": "both"}
_CONVERSIONS: Final = ("mfn_to_page", "page_to_mfn", "mfn_to_virt")


@dataclass(frozen=True)
class Work:
    """What a workload did on one machine.

    Attributes
    ----------
    operations : int
        Hypervisor operations carried out.
    counters : dict of str to int
        How often each function ran, by Xen's names.
    parameter_reads : int
        Reads of boot parameters that these conversions take; 0 where they are constants, and where there is
        nothing to compute (index = mfn).
    """

    operations: int
    counters: dict[str, int]
    parameter_reads: int

    @property
    def conversions(self) -> int:
        """Conversions executed: mfn to page, page to mfn, mfn to virt."""
        return sum(self.counters[name] for name in _CONVERSIONS)

    @property
    def squeezes(self) -> int:
        """Those that take hole bits out: mfn to page, mfn to virt."""
        return self.counters["mfn_to_page"] + self.counters["mfn_to_virt"]

    @property
    def unsqueezes(self) -> int:
        """Those that put hole bits in: page to mfn."""
        return self.counters["page_to_mfn"]


@dataclass(frozen=True)
class Step:
    """One row.

    Attributes
    ----------
    profile : str
        The step's profile.
    summary : str
        What the step is.
    overhead : dict
        ``Overhead.to_dict()`` of the boot.
    virtual_bytes : int
        Virtual address space of frame table, M2P and direct map, from each start to its end.
    work : Work or None
        None where the machine does not come to life; ``why`` says why.
    cycles : (float, float) or None
        What the conversions take, when each waits for the one before it, and when all are independent; with
        everything that they read in the first cache. None: not modelled.
    code_bytes : int or None
        Machine code of the grant-map path in the benchmark record; None: not measured.
    changes : tuple of str
        What is different from the row above, in words.
    """

    profile: str
    summary: str
    overhead: dict[str, Any]
    virtual_bytes: int
    work: Work | None
    why: str
    cycles: tuple[float, float] | None
    code_bytes: int | None
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        work = self.work
        return {
            "profile": self.profile,
            "summary": self.summary,
            "memory_bytes": self.overhead["bytes"],
            "memory_percent": self.overhead["percent"],
            "virtual_bytes": self.virtual_bytes,
            "work": None
            if work is None
            else {
                "operations": work.operations,
                "conversions": work.conversions,
                "squeezes": work.squeezes,
                "unsqueezes": work.unsqueezes,
                "parameter_reads": work.parameter_reads,
                "counters": work.counters,
            },
            "why_no_work": self.why or None,
            "cycles": None
            if self.cycles is None
            else {"latency": self.cycles[0], "throughput": self.cycles[1]},
            "code_bytes": self.code_bytes,
            "changes": list(self.changes),
        }


@dataclass(frozen=True)
class StepsTable:
    """The rows, and what they were made from."""

    machine: str
    ram_bytes: int
    workload: str
    size: int
    steps: tuple[Step, ...]
    map_sha256: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        from .steps_cli import fragment

        return fragment(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, versioned."""
        return {
            "schema": STEPS_SCHEMA,
            "xenmm": __version__,
            "machine": self.machine,
            "map_sha256": self.map_sha256,
            "options": dict(self.options),
            "ram_bytes": self.ram_bytes,
            "workload": self.workload,
            "size": self.size,
            "steps": [step.to_dict() for step in self.steps],
        }


# Workloads. Each drives a machine by batches and returns how many operations it carried out.


def _run(machine: Machine, code: Op, count: int, **fields: Any) -> Any:
    ops = machine.ops(count)
    ops["code"] = code
    for name, value in fields.items():
        ops[name] = value
    failed = machine.run(ops)
    if failed:
        status = ops["status"][ops["status"] != 0][0]
        raise MachineError(f"the workload does not fit: {failed} of {count} {code.name} failed with {status}")
    return ops


def _populated(machine: Machine, domid: int, pages: int) -> Any:
    import numpy as np

    machine.create_domain(domid, max_grant_frames=4096, max_maptrack_frames=65536)
    return _run(machine, Op.POPULATE, pages, dom=domid, frame=np.arange(pages))["out"]


def _granted(machine: Machine, pages: int) -> Any:
    # Domain 1 owns and grants, domain 2 maps: a third each read-only, writable, writable with a device.
    import numpy as np

    mfns = _populated(machine, 1, pages)
    machine.domain(1).setup_table(-(-pages // 512))
    machine.create_domain(2, max_maptrack_frames=65536)
    _run(machine, Op.GRANT, pages, dom=1, peer=2, ref=np.arange(pages), frame=mfns, flags=1)
    host, device, readonly = GNTMAP.host_map, GNTMAP.device_map, GNTMAP.readonly
    return np.array([host | readonly, host, host | device], dtype=np.uint32)[np.arange(pages) % 3]


def _end(machine: Machine, *domids: int) -> int:
    for domid in domids:
        machine.domain(domid).destroy()
    return len(domids)


def grant_storm(machine: Machine, pages: int) -> int:
    """Every page granted, mapped and unmapped."""
    import numpy as np

    flags = _granted(machine, pages)
    maps = _run(machine, Op.MAP, pages, dom=2, peer=1, ref=np.arange(pages), flags=flags, addr=0x1000)
    bus = np.where(flags & int(GNTMAP.device_map), maps["frame"], 0)
    _run(machine, Op.UNMAP, pages, dom=2, ref=maps["out"], addr=0x1000, frame=bus)
    return 4 * pages + _end(machine, 1, 2)


def page_scrub(machine: Machine, pages: int) -> int:
    """A domain dies, and its pages are scrubbed: each mapped, where the page is at hand."""
    _populated(machine, 1, pages)
    _end(machine, 1)
    return pages + 1 + machine.scrub()


def domain_build(machine: Machine, pages: int) -> int:
    """A domain is populated page by page, and the builder maps each to fill it."""
    mfns = _populated(machine, 1, pages)
    virts = _run(machine, Op.MAP_PAGE, pages, frame=mfns)["out"]
    _run(machine, Op.UNMAP_PAGE, pages, addr=virts)
    return 3 * pages + _end(machine, 1)


def balloon(machine: Machine, pages: int) -> int:
    """Half of a domain's pages leave and come back."""
    import numpy as np

    _populated(machine, 1, pages)
    gfns = np.arange(0, pages, 2)
    _run(machine, Op.REMOVE, len(gfns), dom=1, frame=gfns)
    _run(machine, Op.POPULATE, len(gfns), dom=1, frame=gfns)
    return pages + 2 * len(gfns) + _end(machine, 1)


def dying_release(machine: Machine, pages: int) -> int:
    """A domain dies while it holds a mapping of every grant of another."""
    import numpy as np

    flags = _granted(machine, pages)
    _run(machine, Op.MAP, pages, dom=2, peer=1, ref=np.arange(pages), flags=flags, addr=0x1000)
    return 3 * pages + _end(machine, 2, 1)


def mixed(machine: Machine, pages: int) -> int:
    """All of them, one after the other, with a fifth of the pages each; what dies is scrubbed in between."""
    each = max(pages // 5, 1)
    runs = [run for name, run in WORKLOADS.items() if name != "mixed"]
    return sum(run(machine, each) + machine.scrub() for run in runs)


WORKLOADS: Final[dict[str, Callable[[Machine, int], int]]] = {
    "grant-storm": grant_storm,
    "page-scrub": page_scrub,
    "domain-build": domain_build,
    "balloon": balloon,
    "dying-release": dying_release,
    "mixed": mixed,
}


def steps(
    source: Host | MemoryMap | str | bytes | os.PathLike[str],
    workload: str = "mixed",
    *,
    size: int = 4096,
    page_sizes: str | None = None,
    uarch: str | None = "zen3",
    record: str | os.PathLike[str] | None = COMMITTED_RECORD,
    progress: Callable[[str], None] = lambda profile: None,
) -> StepsTable:
    """Run the seven steps of the series on a machine.

    Parameters
    ----------
    source : Host, MemoryMap, or what ``boot`` takes
        The machine; of a Host its map and page sizes are used.
    workload : str
        One of :data:`WORKLOADS`.
    size : int
        Pages that the workload works on.
    page_sizes : str, optional
        Largest page of the CPU, ``2m`` or ``1g``; by default the host's, else ``1g``.
    uarch : str or None
        The core whose cycles are shown, one of :func:`xenmm.timing.operations.operations`; None: no cycles.
    record : path or None
        A record of ``xenmm bench`` with its part "freezing", for the bytes of code; by default those of the
        project's committed record. None: not measured.
    progress : callable
        Told the profile of each step as it begins.

    Raises
    ------
    ConfigError
        If the workload or the core is unknown, the size is not positive, or the record cannot be read.
    """
    need_one_of("workload", workload, WORKLOADS)
    need("size", size, int)
    if not 1 <= size <= 1 << 21:
        raise ConfigError(f"size is 1 to {1 << 21} pages, got {size}")
    if isinstance(source, Host):
        page_sizes = source.options.page_sizes if page_sizes is None else page_sizes
        source = source.memory_map
    elif not hasattr(source, "ram_bytes"):
        from ..firmware import read_map

        source = read_map(source)
    if uarch is not None:
        operations_of(uarch)
    code = _code_bytes(record)
    rows: list[Step] = []
    for profile in STEPS:
        progress(profile)
        host = boot(source, profile, page_sizes="1g" if page_sizes is None else page_sizes)
        step = _row(host, workload, size, uarch, code)
        rows.append(step if not rows else _compared(rows[-1], step))
    options = {
        **asdict(host.options),
        "uarch": uarch,
        "code_bytes": None if record is None else {"record": os.path.basename(record), **code},
    }
    machine = host.memory_map
    return StepsTable(machine.name, host.ram_bytes, workload, size, tuple(rows), machine.sha256, options)


def _row(host: Host, workload: str, size: int, uarch: str | None, code: Mapping[str, int]) -> Step:
    overhead = host.overhead().to_dict()
    work, why, cycles = None, "", None
    try:
        machine = Machine(host)
        machine.reset_counters()
        operations = WORKLOADS[workload](machine, size)
        work = _work(host, operations, machine.counters())
        if uarch is not None:
            cycles = _cycles(host, work.counters, uarch)
    except MachineError as error:
        why = str(error)
    profile = host.profile.name
    return Step(
        profile=profile,
        summary=host.profile.summary,
        overhead=overhead,
        virtual_bytes=sum(overhead["virtual_bytes"][t] for t in ("frame_table", "m2p", "direct_map")),
        work=work,
        why=why,
        cycles=cycles,
        code_bytes=code.get(_CODE.get(profile, "variables")),
    )


def _work(host: Host, operations: int, counters: dict[str, int]) -> Work:
    # Before the fold there is nothing to compute; after write-once nothing to read.
    computed = host.profile.compression != "none" and host.profile.name != "write-once"
    conversions = sum(counters[name] for name in _CONVERSIONS)
    return Work(operations, counters, _READS_PER_CONVERSION * conversions if computed else 0)


def _cycles(host: Host, counters: Mapping[str, int], uarch: str) -> tuple[float, float]:
    # The programs of the compression that the step's Xen was built with, whatever it found to squeeze.
    way = "constants" if host.profile.name == "write-once" else "variables"
    latency = throughput = 0.0
    for name in (*_CONVERSIONS, "page_to_virt", "mfn_valid"):
        one = cost(name, host.profile.compression, way, uarch)
        latency += counters[name] * (one.throughput if one.latency is None else one.latency)
        throughput += counters[name] * one.throughput
    return latency, throughput


def _code_bytes(record: str | os.PathLike[str] | None) -> dict[str, int]:
    # Bytes of the grant-map path by way of writing it, for mask compression.
    if record is None:
        return {}
    try:
        with open(record, encoding="utf-8") as file:
            rows = json.load(file)["freezing"]
        return {r["way"]: r["code_bytes"] for r in rows if r["compression"] == "mask" and r["code_bytes"]}
    except OSError as error:
        raise ConfigError(f"{os.fspath(record)}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{os.fspath(record)}: no record of xenmm bench with a part 'freezing'") from None


def _compared(above: Step, step: Step) -> Step:
    # What is different from the row above: tables by bytes, work by function.
    from dataclasses import replace

    changes: list[str] = []
    before, after = above.overhead["bytes"], step.overhead["bytes"]
    changes += [
        f"{name.replace('_', ' ')} {_signed(after[name] - before[name])} bytes"
        for name in after
        if after[name] != before[name] and name != "total"
    ]
    used = step.overhead["used_ram_bytes"] - above.overhead["used_ram_bytes"]
    if used:
        changes.append(f"usable RAM {_signed(used)} bytes")
    if above.work and step.work:
        old, new = above.work.counters, step.work.counters
        changes += [
            f"{name} {_signed(new[name] - old[name])}"
            for name in (*_CONVERSIONS, "page_to_virt", "mfn_valid")
            if new[name] != old[name]
        ]
        reads = step.work.parameter_reads - above.work.parameter_reads
        if reads:
            changes.append(f"parameter reads {_signed(reads)}")
    return replace(step, changes=tuple(changes))


def _signed(value: int) -> str:
    return f"{value:+,}"
