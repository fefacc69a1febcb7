"""What primitives cost on a core when everything they read is in the first cache.

From the program of a primitive (:mod:`xenmm.timing.primitives`):

- **latency**: the longest chain from input to result, for calls that wait for each other. Parameters are at
  addresses that are known before, so their loads are off the chain; branches are predicted, so they are too.
- **throughput**: cycles a call when calls are independent: the busiest of the ALUs, shifters, load and store
  ports, the rename width and the atomic unit decides.
- **code bytes**: of x86-64 code, in line, without call and return.

What accesses cost that miss the first cache is the engine's to say, and what single operations cost,
:mod:`xenmm.timing.operations`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .operations import Operations, operations_of
from .primitives import ALU, SHIFTS, Access, Program, Step, program


@dataclass(frozen=True)
class Cost:
    """What a primitive costs when everything that it reads is in the first cache."""

    latency: int | None
    throughput: float
    bound_by: str
    code_bytes: int
    accesses: tuple[Access, ...]
    alu_ops: int
    ops: int

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "latency": self.latency,
            "throughput": round(self.throughput, 4),
            "bound_by": self.bound_by,
            "code_bytes": self.code_bytes,
            "accesses": [a.what if a.what in ("m2p", "bitmap") else a.name for a in self.accesses],
            "alu_ops": self.alu_ops,
            "ops": self.ops,
        }


def cost(
    primitive: str,
    mode: str,
    way: str = "variables",
    uarch: str | Operations = "zen3",
    *,
    values: Mapping[str, Any] | None = None,
    around: float = 0.0,
    copies: float = 0.0,
) -> Cost:
    """Return what a primitive costs.

    Parameters
    ----------
    primitive, mode, way : str
        See :func:`xenmm.timing.primitives.program`.
    uarch : str or Operations
        A preset, a TOML file, or the operations' costs themselves.
    values : mapping of str to int, optional
        The boot parameters' values: how many bytes a constant takes in the code. Assumed where not given.
    around : float
        ALU operations of a loop around it, for each call.
    copies : float
        Copies of registers that the loop makes for each call; they are renamed and take no ALU.
    """
    return cost_of(program(primitive, mode, way), uarch, values=values, around=around, copies=copies)


def cost_of(
    p: Program,
    uarch: str | Operations = "zen3",
    *,
    values: Mapping[str, Any] | None = None,
    around: float = 0.0,
    copies: float = 0.0,
) -> Cost:
    """Return what a program costs; the other parameters are those of :func:`cost`."""
    core = uarch if isinstance(uarch, Operations) else operations_of(uarch)
    way = p.way
    shifts = [s for s in p.steps if s.kind in SHIFTS]
    # A shift by what the code does not know shifts by a register.
    by_register = [s for s in shifts if s.immediate is None and not (s.parameter and way == "constants")]
    more = (core.shift_ops - 1) * len(by_register)
    alu = sum(s.kind in (*ALU, *SHIFTS, "br") for s in p.steps) + more
    reads = sum(not a.writes for a in p.accesses) + sum(s.kind == "atomic" for s in p.steps)
    writes = sum(a.writes for a in p.accesses)
    atomics = sum(s.kind == "atomic" for s in p.steps)
    # Memory operands are part of the operation that uses them, except of shifts, and the addresses of tables.
    moves = sum(bool(s.parameter) and s.kind in (*SHIFTS, "index", "store") for s in p.steps)
    ops = len(p.steps) + more + p.copies() + (moves if way == "variables" else 0)
    parts = {
        "alus": (alu + around) / core.alus,
        "shifts": (len(shifts) + more) / core.shifts,
        "loads": reads / core.loads,
        "stores": writes / core.stores,
        "width": (ops + around + copies) / core.width,
        "atomics": float(atomics * core.atomic_interval),
    }
    busiest = max(parts, key=lambda k: parts[k])
    return Cost(_latency(p, core), parts[busiest], busiest, code_bytes(p, values or {}), p.accesses, alu, ops)


def _latency(p: Program, core: Operations) -> int | None:
    cycles = {"load": core.load, "index": core.indexed_load, "atomic": core.atomic}
    ready = {"x": 0}
    for s in p.steps:
        if s.result is not None:
            # What comes from elsewhere (a gfn, a domain) is there before.
            ready[s.result] = max((ready.get(r, 0) for r in s.sources), default=0) + cycles.get(s.kind, 1)
    if not p.steps or any(s.result == "x" for s in p.steps):
        return ready["x"]
    # A reference is taken, or dropped, when the exchange is done; a store is nobody's input.
    return ready.get("done")


# Bytes of x86-64 code. A constant that does not fit in 32 bits is moved to a register first.
_REGISTERS: Final = 3
_BYTE: Final = 4
_WORD: Final = 7
_MOVABS: Final = 10
_MEMORY: Final = 7
_JUMP: Final = 2
_LOAD_CL: Final = 6
_ATOMIC: Final = 6
_INDEXED: Final = 8
_SHORT: Final = ("pfn_pdx_bottom_mask", "max_page", "pdx_group_count", "xen_image_bytes", "pfn_hole_mask")


def code_bytes(p: Program, values: Mapping[str, Any]) -> int:
    """Return the bytes of a program's code; `values` are the constants', assumed to be long where missing."""
    return _REGISTERS * p.copies() + sum(_step_bytes(s, p.way, values) for s in p.steps)


def _step_bytes(s: Step, way: str, values: Mapping[str, Any]) -> int:
    if s.kind == "index":
        # The table's address comes first, from memory or by itself.
        return _MEMORY + (_BYTE if s.parameter else _INDEXED)
    if s.kind in ("load", "store"):
        return _BYTE + (_MEMORY if s.parameter else 0)
    if s.kind == "atomic":
        # The old value goes to rax.
        return _ATOMIC + _REGISTERS + _JUMP
    constant = s.immediate
    if s.parameter is not None and way == "constants":
        constant = int(values.get(s.parameter, 1 << 20 if s.parameter in _SHORT else 1 << 62))
    if s.kind in SHIFTS:
        return _REGISTERS + (_LOAD_CL if s.parameter and way == "variables" else constant is not None)
    jump = _JUMP if s.kind == "br" else 0
    if s.parameter is not None and way == "variables":
        return _MEMORY + jump
    return jump + (_REGISTERS if constant is None else _constant_bytes(constant))


def _constant_bytes(value: int) -> int:
    signed = value - (1 << 64) if value >> 63 else value
    if -128 <= signed < 128:
        return _BYTE
    return _WORD if -(1 << 31) <= signed < 1 << 31 else _MOVABS + _REGISTERS
