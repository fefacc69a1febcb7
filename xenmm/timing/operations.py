"""What single operations cost on a microarchitecture: the presets', and those of a TOML file of one's own.

The presets' are in ``operations.toml``, with their sources. A file of one's own has them as ``[operations]``
beside its caches; a field that it leaves out is taken from a preset and says "assumed".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Final

from ..errors import ConfigError, need
from ._fields import check_integer, check_known

#: The preset whose operations stand in for those that a file leaves out.
_STAND_IN: Final = "zen3"
_MOST: Final = 1 << 16


@dataclass(frozen=True)
class Operations:
    """What single operations cost on one microarchitecture, in cycles or operations a cycle.

    Parameters
    ----------
    name : str
        Of the microarchitecture.
    width : int
        Operations renamed a cycle.
    alus, shifts, loads, stores : int
        Additions and the like, shifts, loads and stores that can begin in a cycle.
    load, indexed_load : int
        Cycles from address to value in the first cache, from a register or from base and index.
    shift_ops : int
        Operations of a shift by a register.
    atomic, atomic_interval : int
        Cycles of a compare-and-exchange of a line in the first cache, and between two.
    sources : mapping of str to str
        Field to where it was found, or "assumed".

    Raises
    ------
    ConfigError
        A number is not an integer from 1 on; the message names it, as ``operations.load``.
    """

    name: str
    width: int
    alus: int
    shifts: int
    loads: int
    stores: int
    load: int
    indexed_load: int
    shift_ops: int
    atomic: int
    atomic_interval: int
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in FIELDS:
            check_integer(f"operations.{name}", getattr(self, name), 1, _MOST)

    def to_dict(self) -> dict[str, int]:
        """Return the numbers by field; their sources are the caller's to put beside."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS: Final = tuple(f.name for f in fields(Operations) if f.name not in ("name", "sources"))


@cache
def operations() -> Mapping[str, Operations]:
    """Return the operations' costs by microarchitecture."""
    import tomllib
    from pathlib import Path

    text = Path(__file__).with_name("operations.toml").read_text(encoding="utf-8")
    return {name: _preset(name, table) for name, table in tomllib.loads(text).items()}


def _preset(name: str, table: dict[str, Any]) -> Operations:
    check_known(name, table, [*FIELDS, "source"])
    for f in FIELDS:
        if f not in table:
            raise ConfigError(f"{name}.{f}: missing")
        if f not in table["source"]:
            raise ConfigError(f"{name}.source.{f}: missing")
    return Operations(name, **{f: table[f] for f in FIELDS}, sources=table["source"])


def operations_of(uarch: str) -> Operations:
    """Return the operations' costs of a microarchitecture.

    Parameters
    ----------
    uarch : str
        A preset, or the path of a TOML file, as for :func:`xenmm.timing.load_microarchitecture`.

    Raises
    ------
    ConfigError
        `uarch` is neither, or the file is wrong.
    """
    need("uarch", uarch, str)
    known = operations().get(uarch)
    if known is not None:
        return known
    from .config import load_microarchitecture

    hierarchy = load_microarchitecture(uarch)
    if hierarchy.operations is not None:
        return hierarchy.operations
    return completed(hierarchy.name, {}, {}, hierarchy.load_latency())


def completed(name: str, table: Any, sources: Mapping[str, str], load: int) -> Operations:
    """Return the operations of a block ``[operations]``, with what it leaves out assumed.

    Parameters
    ----------
    name : str
        Of the microarchitecture.
    table : mapping of str to int
        The block; its fields are those of :class:`Operations`.
    sources : mapping of str to str
        Field to where it was found; "assumed" where not given.
    load : int
        Latency of the first cache of data, for `load`; 0 when it has none.
    """
    check_known("operations", table, FIELDS)
    stand_in = operations()[_STAND_IN]
    values = {**stand_in.to_dict(), **table}
    said = {f: sources.get(f, "assumed") if f in table else f"assumed: as {_STAND_IN}" for f in FIELDS}
    if "load" not in table and load:
        values["load"], said["load"] = load, "assumed: the first cache's latency"
    if "indexed_load" not in table and isinstance(values["load"], int):
        # A stand-in's own figure could be less than this file's plain load.
        values["indexed_load"] = values["load"] + stand_in.indexed_load - stand_in.load
        said["indexed_load"] = f"assumed: as much more than load as on {_STAND_IN}"
    return Operations(name, **values, sources=said)
