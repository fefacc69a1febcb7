"""Time: caches, TLBs and page walks of one core, and what accesses cost in them.

>>> from xenmm.timing import Cache, Engine, Hierarchy
>>> engine = Engine(Hierarchy([Cache("L1", 32 << 10, 8, latency=4)]))
>>> engine.load(0x1000), engine.load(0x1008)
(0, 4)

A hierarchy comes from objects, from TOML (:meth:`Hierarchy.from_toml`) or from a preset
(:func:`load_microarchitecture`). Arrays go through :meth:`Engine.run`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Hierarchy, load_microarchitecture, microarchitectures
    from .engine import EXECUTE, READ, WRITE, Engine, Run
    from .levels import Cache, Core, Memory, PageWalk, Tlb
    from .result import CacheCounts, Result, TlbCounts, WalkCounts
    from .space import AddressSpace, Mapping

__all__ = [
    "EXECUTE",
    "READ",
    "WRITE",
    "AddressSpace",
    "Cache",
    "CacheCounts",
    "Core",
    "Engine",
    "Hierarchy",
    "Mapping",
    "Memory",
    "PageWalk",
    "Result",
    "Run",
    "Tlb",
    "TlbCounts",
    "WalkCounts",
    "load_microarchitecture",
    "microarchitectures",
]

# Imported at their first use: what operations cost is asked for without the engine too.
_HOMES = {
    "config": ("Hierarchy", "load_microarchitecture", "microarchitectures"),
    "engine": ("EXECUTE", "READ", "WRITE", "Engine", "Run"),
    "levels": ("Cache", "Core", "Memory", "PageWalk", "Tlb"),
    "result": ("CacheCounts", "Result", "TlbCounts", "WalkCounts"),
    "space": ("AddressSpace", "Mapping"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f".{home}", __name__), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
