"""Write-once boot parameters: slots that take one write during boot, then freeze.

Xen marks such variables ``__ro_after_init``; here the rule is enforced, and a breach names the
parameter and its first writer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from .._core import FrozenParameters
from .._facts import Facts, sealed
from ..constants import U64_END
from ..errors import ConfigError, WriteOnceError


class Parameter(Facts):
    """One boot parameter: its name in Xen's spelling, its unit, and the rule that it comes from."""

    __slots__ = ()

    name: str
    unit: str
    rule: str


#: Every parameter of a host, in the order of boot. Masks and lookups of the compression that is not in
#: use keep the identity's values (bottom mask all ones, others 0), so that one struct serves all modes.
PARAMETERS: Final = (
    Parameter("pdx_compression", "none | mask | offset", "xen/common/pdx.c, pfn_pdx_compression_setup"),
    Parameter("pfn_pdx_hole_shift", "bits", "mask: width of the squeezed hole"),
    Parameter("pfn_pdx_bottom_mask", "mfn bits", "mask: bits below the hole"),
    Parameter("pfn_top_mask", "mfn bits", "mask: bits above the hole"),
    Parameter("pfn_hole_mask", "mfn bits", "mask: the hole"),
    Parameter("ma_va_bottom_mask", "maddr bits", "mask: bottom mask in bytes"),
    Parameter("ma_top_mask", "maddr bits", "mask: top mask in bytes"),
    Parameter("pfn_index_shift", "bits", "offset: shift of an mfn to its table index"),
    Parameter("pdx_index_shift", "bits", "offset: shift of a pdx to its table index"),
    Parameter("pdx_region_size", "frames", "offset: size of one region"),
    Parameter("pfn_pdx_lookup", "frames[64]", "offset: what to subtract from an mfn"),
    Parameter("pdx_pfn_lookup", "frames[64]", "offset: what to add to a pdx"),
    Parameter("pfn_bases", "frames[64]", "offset: first mfn of each region, ~0 where unused"),
    Parameter("max_page", "frames", "one past the last mfn"),
    Parameter("max_pdx", "frames", "one past the last pdx"),
    Parameter("pdx_group_valid", "bitmap, bytes, little-endian", "bit g: group g of 65,536 pdx is backed"),
    Parameter("directmap_virt_start", "virt", "virtual layout"),
    Parameter("directmap_virt_end", "virt", "virtual layout"),
    Parameter("frametable_virt_start", "virt", "virtual layout"),
    Parameter("frametable_virt_end", "virt", "virtual layout"),
    Parameter("rdwr_mpt_virt_start", "virt", "virtual layout"),
    Parameter("rdwr_mpt_virt_end", "virt", "virtual layout"),
    Parameter("ro_mpt_virt_start", "virt", "virtual layout"),
    Parameter("rdwr_compat_mpt_virt_start", "virt", "virtual layout"),
    Parameter("xen_virt_start", "virt", "virtual layout"),
    Parameter("xen_virt_end", "virt", "virtual layout"),
    Parameter("xen_phys_start", "maddr or None", "where the image lies, when the boot was told"),
)
_BY_NAME: Final = {p.name: p for p in PARAMETERS}
_OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


class OwnParameter(Parameter):
    """A write-once parameter of a simulator that embeds this, registered with ``boot(parameters=...)``.

    Attributes
    ----------
    name : str
        Lower case, a C identifier, none of ours.
    unit, rule : str
        As for every parameter: what it counts, and where it comes from.
    value : int or callable
        In [0, 2^64); or what computes it at the end of boot, told a function that reads a parameter by name.
    """

    __slots__ = ()

    value: int | Callable[[Callable[[str], Any]], int] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _OWN_NAME.match(self.name):
            raise ConfigError(f"parameter name {self.name!r} is no lower-case identifier")
        if self.name in _BY_NAME:
            raise ConfigError(f"parameter {self.name} is Xen's own")
        if not isinstance(self.unit, str) or not isinstance(self.rule, str):
            raise ConfigError(f"parameter {self.name}: unit and rule are texts")

    def write_into(self, slots: BootSlots) -> None:
        """Compute the value and write it, once."""
        value = self.value(slots.read) if callable(self.value) else self.value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < U64_END:
            raise ConfigError(f"parameter {self.name} must be an integer in [0, 2^64), got {value!r}")
        slots.write(self.name, value, writer="the embedder")


def _immutable(value: Any) -> Any:
    # A list or a bytearray would leave a second way in.
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list | tuple):
        return tuple(_immutable(v) for v in value)
    return value


def value_text(name: str, value: Any) -> str:
    """Return a parameter's value as people read it: hex, shifts in decimal, tables by their used slots."""
    if value is None:
        return "not given"
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"{sum(b.bit_count() for b in value)} of {8 * len(value)} bits set"
    if isinstance(value, tuple):
        used = [f"[{i}] {v:#x}" for i, v in enumerate(value) if v not in (0, U64_END - 1)]
        return ", ".join(used) or "unused"
    return str(value) if name.endswith("_shift") else f"{value:#x}"


@sealed
class BootParameters(FrozenParameters):
    """The boot parameters after the freeze: an immutable mapping, also by attribute.

    Printing it gives a table of name, value, unit, rule and writer. Nothing changes it: there is no
    setter, no ``__dict__`` and no buffer, a copy is the same object, and the C struct of the same values
    that the conversions read (:attr:`Host.capsule`) is memory that the processor holds read-only.
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Value, unit, rule and writer by name, ready for JSON; bitmaps are hexadecimal text."""
        return {
            p.name: {
                "value": self[p.name].hex() if isinstance(self[p.name], bytes) else self[p.name],
                "unit": p.unit,
                "rule": p.rule,
                "writer": self.writer(p.name),
            }
            for p in (*PARAMETERS, *self.own)
        }

    def __str__(self) -> str:
        rows = [("parameter", "value", "unit", "rule", "written by")]
        for p in (*PARAMETERS, *self.own):
            rows.append((p.name, value_text(p.name, self[p.name]), p.unit, p.rule, self.writer(p.name)))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ([cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)] for row in rows)
        return "\n".join("  ".join(line) for line in lines)

    def __repr__(self) -> str:
        return f"<BootParameters of {len(self)}, {self['pdx_compression']} compression>"


class BootSlots:
    """The parameters while boot runs: each takes exactly one :meth:`write`."""

    __slots__ = ("_frozen", "_known", "_own", "_values", "_writers")

    def __init__(self, own: Sequence[OwnParameter] = ()) -> None:
        self._own = tuple(own)
        self._known = {**_BY_NAME, **{p.name: p for p in self._own}}
        if len(self._known) != len(_BY_NAME) + len(self._own):
            raise ConfigError("two parameters of the embedder have one name")
        self._values: dict[str, Any] = {}
        self._writers: dict[str, str] = {}
        self._frozen = False

    def write(self, name: str, value: Any, *, writer: str) -> None:
        """Write a parameter, once.

        Raises
        ------
        WriteOnceError
            If it was written before, is no parameter, or boot is over.
        """
        if name not in self._known:
            raise WriteOnceError(f"{name!r} is no boot parameter (written by {writer})")
        if self._frozen:
            first = self._writers.get(name, "nobody")
            raise WriteOnceError(
                f"{name} is frozen since boot (first written by {first}); {writer} may not write it"
            )
        if name in self._writers:
            raise WriteOnceError(
                f"{name} was already written by {self._writers[name]}; {writer} may not write it again"
            )
        self._values[name] = value
        self._writers[name] = writer

    def read(self, name: str) -> Any:
        """Read a parameter that has been written; raises WriteOnceError before that."""
        if name not in self._writers:
            raise WriteOnceError(f"{name} is read before anything wrote it")
        return self._values[name]

    def freeze(self) -> BootParameters:
        """End boot: the slots take no more writes, and what they hold becomes the host's.

        Raises
        ------
        WriteOnceError
            If a parameter was never written, or boot is already over.
        ConfigError
            If a value is outside its unit; the message names the parameter.
        """
        if self._frozen:
            raise WriteOnceError("the boot parameters are already frozen")
        every = [*PARAMETERS, *self._own]
        missing = [p.name for p in every if p.name not in self._writers]
        if missing:
            raise WriteOnceError(f"frozen before anything wrote {', '.join(missing)}")
        frozen = BootParameters(
            [p.name for p in every],
            [_immutable(self._values[p.name]) for p in every],
            [self._writers[p.name] for p in every],
            [Parameter(p.name, p.unit, p.rule) for p in self._own],
        )
        self._frozen = True
        return frozen
