"""Time: caches, TLBs and page walks of one core, and what accesses cost in them.

>>> from xenmm.timing import Cache, Engine, Hierarchy
>>> engine = Engine(Hierarchy([Cache("L1", 32 << 10, 8, latency=4)]))
>>> engine.load(0x1000), engine.load(0x1008)
(0, 4)

A hierarchy comes from objects, from TOML (:meth:`Hierarchy.from_toml`) or from a preset
(:func:`load_microarchitecture`). Arrays go through :meth:`Engine.run`.
"""

from .config import (
    Cache,
    Core,
    Hierarchy,
    Memory,
    PageWalk,
    Tlb,
    load_microarchitecture,
    microarchitectures,
)
from .engine import EXECUTE, READ, WRITE, Engine, Run
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
