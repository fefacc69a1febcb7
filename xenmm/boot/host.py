"""A booted host: the conversions over its frozen parameters, and everything that boot decided."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .._core import HostCore
from .._facts import sealed
from ..constants import U64_END
from ..display import repr_html
from ..errors import ConfigError, need_all
from ..firmware.memory_map import MemoryMap
from ._runs import Run
from .e820 import Lost
from .frozen import BootSlots, OwnParameter
from .hazards import Hazard
from .host_json import host_to_dict
from .overhead import Costs, Overhead
from .page_tables import PAGE_2M
from .pdx import Compression
from .plan import BootOptions, HostPlan, plan_boot
from .profiles import Profile, get_profile
from .tables import Table


@sealed
class Host(HostCore):
    """A booted host: its conversions, its parameters, and everything that boot decided.

    Nothing changes it. Pickling keeps the map and the options, and loading boots again.
    """

    __slots__ = ()

    plan: HostPlan
    _repr_html_ = repr_html

    def __reduce__(self) -> tuple[Any, ...]:
        # Values of the embedder's parameters, not what computed them: they were written once.
        own = [OwnParameter(p.name, p.unit, p.rule, self.params[p.name]) for p in self.params.own]
        return _boot_again, (self.plan.memory_map, self.plan.profile.name, self.plan.options, own)

    def __repr__(self) -> str:
        plan = self.plan
        name = plan.memory_map.name or "unnamed"
        return (
            f"<xenmm.Host {name!r} {plan.profile.name} {plan.compression.kind}"
            f" max_page={plan.max_page:#x} max_pdx={plan.max_pdx:#x}>"
        )

    @property
    def memory_map(self) -> MemoryMap:
        """The map it was booted on."""
        return self.plan.memory_map

    @property
    def profile(self) -> Profile:
        """The profile it was booted with."""
        return self.plan.profile

    @property
    def options(self) -> BootOptions:
        """The options in effect."""
        return self.plan.options

    @property
    def compression(self) -> Compression:
        """What was squeezed, or why nothing was."""
        return self.plan.compression

    @property
    def raw_max_page(self) -> int:
        """One past the last frame of the e820, before any limit."""
        return self.plan.raw_max_page

    @property
    def max_page(self) -> int:
        """One past the last mfn."""
        return self.plan.max_page

    @property
    def max_pdx(self) -> int:
        """One past the last pdx."""
        return self.plan.max_pdx

    @property
    def ram_bytes(self) -> int:
        """Bytes of RAM that the firmware reports, each byte once."""
        return self.plan.memory_map.ram_bytes

    @property
    def used_ram_bytes(self) -> int:
        """Bytes of RAM that this profile can use; with :attr:`lost` it adds up to :attr:`ram_bytes`."""
        return self.plan.used_ram_bytes

    @property
    def groups_valid(self) -> tuple[Run, ...]:
        """Valid groups of 65,536 pdx, as half-open runs."""
        return self.plan.groups_valid

    @property
    def lost(self) -> tuple[Lost, ...]:
        """RAM that this profile cannot use, ascending, each with its reason."""
        return self.plan.lost

    @property
    def frame_table(self) -> Table:
        """The frame table."""
        return self.plan.frame_table

    @property
    def m2p(self) -> Table:
        """The machine-to-physical table."""
        return self.plan.m2p

    @property
    def ro_m2p(self) -> Table:
        """The guests' read-only mapping of the M2P."""
        return self.plan.ro_m2p

    @property
    def compat_m2p(self) -> Table | None:
        """The M2P for 32-bit PV guests; None when the boot is without."""
        return self.plan.compat_m2p

    @property
    def ro_compat_m2p(self) -> Table | None:
        """The 32-bit guests' mapping of it, at the address that they see."""
        return self.plan.ro_compat_m2p

    @property
    def direct_map(self) -> Table:
        """The direct map of RAM."""
        return self.plan.direct_map

    @property
    def page_table_bytes(self) -> int:
        """Bytes of page-table pages that all tables take from RAM."""
        return self.plan.page_table_bytes

    @property
    def hazards(self) -> tuple[Hazard, ...]:
        """Where a real Xen would crash, alias, assert or lose memory on this map."""
        return self.plan.hazards

    def overhead(self) -> Overhead:
        """What the tables cost."""
        plan = self.plan
        direct = plan.direct_map.page_tables.allocated_bytes
        costs = Costs(
            frame_table=plan.frame_table.backed_bytes,
            m2p=plan.m2p.backed_bytes,
            compat_m2p=plan.compat_m2p.backed_bytes if plan.compat_m2p else 0,
            direct_map_page_tables=direct,
            other_page_tables=plan.page_table_bytes - direct,
        )
        virtual = {t.name: t.size for t in plan.tables}
        return Overhead(plan.profile.name, self.ram_bytes, plan.used_ram_bytes, costs, virtual)

    def export(self, form: str, **options: Any) -> str:
        """The conversions as a text for another program; options are those of :func:`xenmm.embed.export`.

        Examples
        --------
        >>> header = host.export("c", prefix="server")  # doctest: +SKIP
        """
        # The exporters stand above boot, and are looked up by name so that boot does not depend on them.
        return str(import_module("xenmm.embed").export(self, form, **options))

    def machine(self, **options: Any) -> Any:
        """Bring the host to life: a :class:`xenmm.machine.Machine` on it, with records, domains and grants.

        Keywords are those of :class:`xenmm.machine.Machine`. Each call makes a machine of its own; the host
        does not change.
        """
        # As above: a machine stands on a host, not the other way round.
        return import_module("xenmm.machine").Machine(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, versioned: ``schema`` is ``xenmm-host/1``."""
        return host_to_dict(self.plan, dict(self.params))


def _boot_again(
    memory_map: MemoryMap, profile: str, options: BootOptions, own: Sequence[OwnParameter] = ()
) -> Host:
    return _boot(memory_map, get_profile(profile), options, own)


def _boot(memory_map: MemoryMap, profile: Profile, options: BootOptions, own: Sequence[OwnParameter]) -> Host:
    slots = BootSlots(own)
    plan = plan_boot(memory_map, profile, options, slots)
    for parameter in own:
        parameter.write_into(slots)
    return Host(slots.freeze(), plan)


def boot(
    source: MemoryMap | str | bytes | os.PathLike[str],
    profile: str | Profile = "xen-offset",
    *,
    page_sizes: str = "1g",
    compat_m2p: bool | None = None,
    hotplug: bool | None = None,
    stack_guards: bool = False,
    xen_phys_start: int | None = None,
    command_line: str | None = None,
    parameters: Sequence[OwnParameter] = (),
) -> Host:
    """Boot an emulated Xen memory layer on a machine's memory map, and freeze it.

    Parameters
    ----------
    source : MemoryMap, str, bytes or path
        The map; or a log's path, text (a str with a newline) or bytes, read by ``read_map``.
    profile : str
        One of ``PROFILES``, from ``pre`` to ``xen-none``.
    page_sizes : str
        Largest page of the CPU: ``2m`` or ``1g``.
    compat_m2p : bool, optional
        Have the M2P for 32-bit PV guests; by default as the profile's Xen is built.
    hotplug : bool, optional
        False leaves the SRAT entries that can be hot-plugged out, to see what they cost.
    stack_guards : bool
        Split node 0's topmost whole 2 MiB page for the guards of CPU stacks, as a real boot does.
    xen_phys_start : int, optional
        Machine address of Xen's image, 2 MiB-aligned, for conversions of virtual addresses inside it.
    command_line : str, optional
        Xen's boot options; by default those that a Xen log states; ``"ignore"`` for none.
    parameters : sequence of OwnParameter
        Write-once parameters of the simulator that embeds this: frozen with ours, constants of exports.

    Returns
    -------
    Host
        Frozen. A compression that Xen refuses is a result with a reason, never an error.

    Raises
    ------
    ConfigError
        If the profile or an option is unknown or out of its domain.
    MemoryMapError
        If the map cannot be read or holds no whole page of RAM.
    """
    chosen = get_profile(profile)
    if not isinstance(page_sizes, str) or page_sizes not in ("2m", "1g"):
        raise ConfigError(f"page_sizes is '2m' or '1g', got {page_sizes!r}")
    for name, value in {"compat_m2p": compat_m2p, "hotplug": hotplug}.items():
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"{name} is None, True or False, got {value!r}")
    if not isinstance(stack_guards, bool):
        raise ConfigError(f"stack_guards is True or False, got {stack_guards!r}")
    if command_line is not None and not isinstance(command_line, str):
        raise ConfigError(f"command_line is a string or None, got {command_line!r}")
    options = BootOptions(
        page_sizes=page_sizes,
        compat_m2p=chosen.compat_m2p if compat_m2p is None else compat_m2p,
        hotplug=hotplug,
        stack_guards=stack_guards,
        xen_phys_start=_checked_phys_start(xen_phys_start),
        command_line=command_line,
    )
    return _boot(_as_map(source), chosen, options, need_all("parameters", parameters, OwnParameter))


def _checked_phys_start(value: int | None) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"xen_phys_start is a machine address or None, got {value!r}") from None
    if not 0 <= number < U64_END or number % PAGE_2M:
        raise ConfigError(f"xen_phys_start {number:#x} is no 2 MiB-aligned 64-bit address")
    return number


def _as_map(source: MemoryMap | str | bytes | os.PathLike[str]) -> MemoryMap:
    if isinstance(source, MemoryMap):
        return source
    from ..firmware import read_map

    return read_map(source)
