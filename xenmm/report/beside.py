"""The machine's RAM under Linux's memory models, beside Xen's frame table: the figures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ..boot.host import Host
from ..constants import PAGE_SHIFT, PDX_GROUP_SHIFT
from ..errors import MemoryMapError
from ..firmware.memory_map import MemoryMap
from ..peers.linux import LINUX_VERSION, MODELS, MemoryModel, memory_model
from ..peers.linux_sections import PHYSMEM_BITS
from ..peers.linux_time import XEN_PRIMITIVES
from ..peers.linux_time import cost as linux_cost
from ..timing.cost import Cost
from ..timing.cost import cost as xen_cost
from .overhead import limit_losses

#: The core whose cycles stand in the report.
UARCH: Final = "zen3"


@dataclass(frozen=True, slots=True)
class Beside:
    """One way of describing frames.

    Attributes
    ----------
    name : str
        A memory model of Linux, or a profile of Xen's.
    system : str
        ``linux`` or ``xen``.
    described_bytes : int
        Bytes of addresses whose frames have a record, holes among them included.
    record_bytes : int
        Memory behind the records: struct pages of 64 bytes, page_info of 32.
    other_bytes : int
        Tables that finding and mapping the records takes: sections and page tables. Xen's bitmap of groups,
        one bit for 256 MiB, is part of its image.
    lost_bytes : int
        RAM that this way cannot use.
    conversion, back, validity : Cost
        From a frame to its record, from the record to its frame, and the test whether there is one, on
        :data:`UARCH` with the parameters in memory.
    """

    name: str
    system: str
    described_bytes: int
    record_bytes: int
    other_bytes: int
    lost_bytes: int
    conversion: Cost
    back: Cost
    validity: Cost

    @property
    def total_bytes(self) -> int:
        """Bytes of everything."""
        return self.record_bytes + self.other_bytes

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "name": self.name,
            "system": self.system,
            "described_bytes": self.described_bytes,
            "record_bytes": self.record_bytes,
            "other_bytes": self.other_bytes,
            "total_bytes": self.total_bytes,
            "lost_bytes": self.lost_bytes,
            "cycles": {
                name: {
                    "latency": c.latency,
                    "throughput": round(c.throughput, 4),
                    "accesses": len(c.accesses),
                }
                for name, c in (
                    ("frame_to_record", self.conversion),
                    ("record_to_frame", self.back),
                    ("frame_valid", self.validity),
                )
            },
        }


def beside_linux(memory_map: MemoryMap, hosts: Sequence[Host]) -> tuple[Beside, ...]:
    """Return Linux's memory models on a machine, then the frame tables of hosts that were booted on it.

    Of the hosts those of today's Xen, or all where there is none of them. Empty where Linux could not boot:
    no whole page of RAM below what it addresses.
    """
    try:
        rows = [_linux(linux_of(memory_map, model)) for model in MODELS]
    except MemoryMapError:
        return ()
    today = [h for h in hosts if h.profile.name.startswith("xen-")] or list(hosts)
    return (*rows, *(_xen(host) for host in today))


def linux_of(memory_map: MemoryMap, model: str) -> MemoryModel:
    """Return a memory model with the levels of page tables that the machine's RAM calls for, if it may."""
    five = model == "vmemmap" and memory_map.top > 1 << PHYSMEM_BITS[4]
    return memory_model(memory_map, model, levels=5 if five else 4)


def beside_to_dict(rows: Sequence[Beside]) -> dict[str, Any]:
    """The rows as plain values, with what they were computed for."""
    return {"linux": LINUX_VERSION, "uarch": UARCH, "rows": [row.to_dict() for row in rows]}


def _linux(linux: MemoryModel) -> Beside:
    costs = linux.costs
    return Beside(
        linux.model,
        "linux",
        linux.described_bytes,
        costs.struct_pages,
        costs.section_tables + costs.page_tables,
        linux.lost_bytes,
        *_cycles("linux", linux.model),
    )


def _xen(host: Host) -> Beside:
    groups = ((start << PDX_GROUP_SHIFT, end << PDX_GROUP_SHIFT) for start, end in host.groups_valid)
    described = sum(min(end, host.max_pdx) - start for start, end in groups)
    return Beside(
        host.profile.name,
        "xen",
        described << PAGE_SHIFT,
        host.frame_table.backed_bytes,
        host.frame_table.page_tables.allocated_bytes,
        limit_losses(host),
        *_cycles("xen", host.compression.kind),
    )


@cache
def _cycles(system: str, model: str) -> tuple[Cost, Cost, Cost]:
    conversion, back, validity = (
        linux_cost(name, model, uarch=UARCH)
        if system == "linux"
        else xen_cost(XEN_PRIMITIVES[name], model, uarch=UARCH)
        for name in ("pfn_to_page", "page_to_pfn", "pfn_valid")
    )
    return conversion, back, validity
