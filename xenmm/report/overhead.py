"""One machine booted under every profile: the figures of the report, and nothing of how they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..boot.agreement import Agreement, compare_with_log
from ..boot.host import Host, boot
from ..boot.overhead import Costs, minimum_costs
from ..constants import MIB, PAGE_SIZE
from ..display import repr_html
from ..firmware.memory_map import MemoryMap
from .inputs import Input

#: The steps of the report, in the order of history.
STEPS: Final = (
    "pre",
    "ext5t",
    "fold",
    "sparse-frametable",
    "sparse-m2p",
    "xen-4.17",
    "xen-mask",
    "xen-offset",
    "xen-none",
)

#: Steps of the 2009 series that change time and not memory, and what they do.
TIME_ONLY_STEPS: Final = {
    "map-page": "map_domain_page takes the page and skips page -> mfn -> virt",
    "cse": "the grant table converts a frame to its page once",
    "write-once": "boot parameters become constants",
}


@dataclass(frozen=True)
class Report:
    """A machine and its hosts, one for each profile.

    Attributes
    ----------
    memory_map : MemoryMap
        What the firmware says.
    input : Input
        Where that came from.
    hosts : tuple of Host
        The machine booted under each profile, in the order of :data:`STEPS` or as asked for.
    options : dict
        The options every boot was given.
    """

    memory_map: MemoryMap
    input: Input
    hosts: tuple[Host, ...]
    options: dict[str, Any]

    _repr_html_ = repr_html

    @property
    def agreement(self) -> tuple[Agreement, ...]:
        """What the log's own Xen printed, against what is computed here; empty for other logs."""
        return compare_with_log(self.memory_map)

    @property
    def minimum(self) -> Costs:
        """The least that the machine's RAM needs."""
        return minimum_costs(self.memory_map.ram_bytes)

    def host(self, profile: str) -> Host | None:
        """The host of a profile, if it was booted."""
        return next((h for h in self.hosts if h.profile.name == profile), None)


def make_report(
    memory_map: MemoryMap,
    given: Input,
    *,
    profiles: Sequence[str] | None = None,
    page_sizes: str = "1g",
    **options: Any,
) -> Report:
    """Boot a machine under every profile, or under those asked for.

    Parameters
    ----------
    memory_map, given : MemoryMap, Input
        The machine, and where it was read.
    profiles : sequence of str, optional
        Which profiles, in this order; :data:`STEPS` by default.
    page_sizes, **options
        As :func:`xenmm.boot` takes them; the same for every profile.

    Raises
    ------
    ConfigError
        If a profile is unknown or an option is out of its domain.
    MemoryMapError
        If the map holds no memory that a hypervisor can boot on.
    """
    names = tuple(dict.fromkeys(profiles)) if profiles else STEPS
    hosts = tuple(boot(memory_map, name, page_sizes=page_sizes, **options) for name in names)
    return Report(memory_map, given, hosts, {"page_sizes": page_sizes, **options})


def limit_losses(host: Host) -> int:
    """Bytes of RAM that the profile cannot use, past the first MiB and parts of pages, which no Xen uses."""
    return sum(part.size for part in host.lost if part.end > MIB and part.size >= PAGE_SIZE)
