"""What each primitive does, step by step, and which memory it touches.

A primitive is a short program: one operation a line, as compilers emit it for ``include/xenmm.h`` at -O2,
without the copies of registers, which follow. Its input and its result are ``x`` (``done`` of what has no
result); ``$name`` is a boot parameter, which is read from memory (``variables``) or stands in the code
(``constants``); the other names are registers, or what the caller has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from ..errors import need_one_of

MODES: Final = ("none", "mask", "offset")
WAYS: Final = ("variables", "constants")

ALU: Final = ("add", "sub", "and", "or")
SHIFTS: Final = ("shl", "shr")
_COMMUTATIVE: Final = ("add", "and", "or")

# The four compressions of a value x, by mode; the formulas are those of include/xenmm.h.
_COMPRESS: Final = {
    "none": "",
    "mask": """
        low = and x $bottom
        x = and x $top
        x = shr x $pfn_pdx_hole_shift
        x = or x low""",
    "offset": """
        slot = shr x $pfn_index_shift
        slot = and slot 63
        base = index pfn_pdx_lookup slot
        x = sub x base""",
}
_EXPAND: Final = {
    "none": "",
    "mask": """
        high = shl x $pfn_pdx_hole_shift
        high = and high $top
        x = and x $bottom
        x = or x high""",
    "offset": """
        slot = shr x $pdx_index_shift
        slot = and slot 63
        base = index pdx_pfn_lookup slot
        x = add x base""",
}


def _of_mfn(text: str) -> str:
    return text.replace("$bottom", "$pfn_pdx_bottom_mask").replace("$top", "$pfn_top_mask")


def _of_maddr(text: str) -> str:
    return text.replace("$bottom", "$ma_va_bottom_mask").replace("$top", "$ma_top_mask")


_COMPRESS_MFN: Final = {m: _of_mfn(t) for m, t in _COMPRESS.items()}
_EXPAND_PDX: Final = {m: _of_mfn(t) for m, t in _EXPAND.items()}
# Offsets are of frames, so a byte address looks its slot up by frame and shifts what it finds.
_COMPRESS_MADDR: Final = {m: _of_maddr(t) for m, t in _COMPRESS.items()} | {
    "offset": """
        slot = shr x 12
        slot = shr slot $pfn_index_shift
        slot = and slot 63
        base = index pfn_pdx_lookup slot
        base = shl base 12
        x = sub x base"""
}
_EXPAND_OFF: Final = {m: _of_maddr(t) for m, t in _EXPAND.items()} | {
    "offset": """
        slot = shr x 12
        slot = shr slot $pdx_index_shift
        slot = and slot 63
        base = index pdx_pfn_lookup slot
        base = shl base 12
        x = add x base"""
}
_NOT_IN_IMAGE: Final = """
        image = sub x $xen_virt_start
        br image $xen_image_bytes"""
_COMPRESSIBLE: Final = {
    "none": "",
    "mask": """
        hole = and x $pfn_hole_mask
        br hole 0""",
    "offset": """
        slot = shr x $pfn_index_shift
        slot = and slot 63
        first = index pfn_bases slot
        br x first
        first = sub x first
        br first $pdx_region_size
        base = index pfn_pdx_lookup slot""",
}
_GROUP_BIT: Final = """
        bit = shr x 16
        br bit $pdx_group_count
        x = shr x 22
        x = index $pdx_group_valid x
        x = shr x bit
        x = and x 1"""


def _conversions(mode: str, way: str) -> dict[str, str]:
    page_to_mfn = f"""
        x = sub x $frametable_virt_start
        x = shr x 5{_EXPAND_PDX[mode]}"""
    mfn_to_virt = f"""
        x = shl x 12{_COMPRESS_MADDR[mode]}
        x = add x $directmap_virt_start"""
    maddr_to_virt = f"""{_COMPRESS_MADDR[mode]}
        x = add x $directmap_virt_start"""
    expand = _EXPAND_OFF[mode]
    if mode == "offset":
        # Compilers clear the frame's top bits instead of shifting to bytes and back, and add the direct map
        # while the slot is looked up. Two right shifts by known amounts are one: then the slot comes straight
        # from the frame, the page or the address.
        known = way == "constants"
        slot = "\n".join(_COMPRESS_MADDR[mode].splitlines()[2:])
        if known:
            slot = slot.partition("\n")[2]
            expand = expand.replace("slot = shr x 12\n        slot = shr slot", "slot = shr x")
            page_to_mfn = f"""
        x = sub x $frametable_virt_start
        slot = shr x $pdx_index_shift
        x = shr x 5{_EXPAND_PDX[mode].partition("$pdx_index_shift")[2]}"""
        mfn_to_virt = f"""
        slot = {"shr x $pfn_index_shift" if known else "and x 0xfffffffffffff"}
        x = shl x 12
        x = add x $directmap_virt_start
{slot}"""
        maddr_to_virt = f"""
        slot = shr x {"$pfn_index_shift" if known else 12}
        x = add x $directmap_virt_start
{slot}"""
    round_trip = page_to_mfn + mfn_to_virt
    if mode == "mask" and way == "constants":
        # Known shifts, left to bytes and right by the hole, are one shift.
        round_trip = f"""{page_to_mfn}
        low = shl x 12
        low = and low $ma_va_bottom_mask
        x = shl x 12
        x = and x $ma_top_mask
        x = or x low
        x = add x $directmap_virt_start"""
    # Where the image lies is not in a log: then the constants leave nothing to test (assumed).
    image = _NOT_IN_IMAGE if way == "variables" else ""
    virt_to_maddr = f"""{image}
        x = sub x $directmap_virt_start{expand}"""
    return {
        "mfn_to_pdx": _COMPRESS_MFN[mode],
        "pdx_to_mfn": _EXPAND_PDX[mode],
        "mfn_to_page": f"""{_COMPRESS_MFN[mode]}
        x = shl x 5
        x = add x $frametable_virt_start""",
        "page_to_mfn": page_to_mfn,
        "mfn_to_virt": mfn_to_virt,
        "virt_to_mfn": f"""{virt_to_maddr}
        x = shr x 12""",
        "maddr_to_virt": maddr_to_virt,
        "virt_to_maddr": virt_to_maddr,
        "page_to_virt": """
        x = sub x $frametable_virt_start
        x = shl x 7
        x = add x $directmap_virt_start""",
        "virt_to_page": f"""{image}
        x = sub x $directmap_virt_start
        x = shr x 12
        x = shl x 5
        x = add x $frametable_virt_start""",
        "page_to_mfn_to_virt": round_trip,
    }


def _validity(mode: str) -> str:
    # An offset's slot is looked up once for both of its tables.
    compress = "\n        x = sub x base" if mode == "offset" else _COMPRESS_MFN[mode]
    return f"""
        br x $max_page{_COMPRESSIBLE[mode]}{compress}{_GROUP_BIT}"""


# Reference counts are changed by one compare-and-exchange, after a look at what they are: Xen c447b7308b,
# xen/arch/x86/mm.c, page_get_owner_and_reference, put_page, _get_page_type, _put_page_type; the common case.
_RECORDS: Final = {
    "m2p_read": """
        x = index $m2p x""",
    "m2p_write": """
        store $m2p x gfn""",
    "get_page": """
        count = load count_info x
        test = add count 2
        test = and test 0x3ffffffffffffff
        br test 2
        more = add count 1
        done = atomic count_info x count more
        owner = load owner x
        br owner domain""",
    "put_page": """
        count = load count_info x
        less = sub count 1
        done = atomic count_info x count less
        rest = and less 0x3ffffffffffffff
        br rest 0""",
    "get_page_type": """
        type = load type_info x
        more = add type 1
        test = and more 0x3ffffffffffffff
        br test 0
        test = and type 0xe000000000000000
        br test wanted
        test = and type 0x0800000000000000
        br test 0
        done = atomic type_info x type more""",
    "put_page_type": """
        type = load type_info x
        less = sub type 1
        test = and less 0x3ffffffffffffff
        br test 0
        done = atomic type_info x type less""",
}


def _programs(mode: str, way: str) -> dict[str, str]:
    conversions = _conversions(mode, way)
    return {
        **conversions,
        "mfn_valid": _validity(mode),
        # 84d568f5c9: before, map_domain_page took the frame, and callers that had the page converted it.
        "map_domain_page(mfn)": conversions["mfn_to_virt"],
        "map_domain_page(page_to_mfn(page))": conversions["page_to_mfn_to_virt"],
        "map_domain_page(page)": conversions["page_to_virt"],
        **_RECORDS,
    }


@dataclass(frozen=True)
class Step:
    """One operation: what it does, its register sources, and its other operand if it has one."""

    result: str | None
    kind: str
    sources: tuple[str, ...]
    parameter: str | None = None
    immediate: int | None = None
    memory: str | None = None


@dataclass(frozen=True)
class Access:
    """One access of memory: ``variable`` (a parameter), ``table`` (an entry of one, `name` says which),
    ``m2p``, ``bitmap`` or ``page_info``; reads, or writes (an atomic reads and writes)."""

    what: str
    name: str
    writes: bool = False


@dataclass(frozen=True)
class Program:
    """The steps of one primitive in one variant."""

    primitive: str
    mode: str
    way: str
    steps: tuple[Step, ...]

    @property
    def accesses(self) -> tuple[Access, ...]:
        """What it reads and writes, in order."""
        return tuple(a for s in self.steps for a in self._accesses(s))

    def _accesses(self, step: Step) -> Iterator[Access]:
        if step.parameter is not None and self.way == "variables":
            # The M2P's first address is a parameter too.
            name = "rdwr_mpt_virt_start" if step.parameter == "m2p" else step.parameter
            yield Access("variable", name)
        if step.memory in ("count_info", "type_info", "owner"):
            yield Access("page_info", step.memory, step.kind == "atomic")
        elif step.memory == "m2p":
            yield Access("m2p", "m2p", step.kind == "store")
        elif step.memory is not None:
            yield Access("bitmap" if step.memory == "pdx_group_valid" else "table", step.memory)

    def copies(self) -> int:
        """Register copies that a two-address machine needs: a source that is wanted again."""
        return sum(self._copied(i) for i in range(len(self.steps)))

    def _copied(self, at: int) -> bool:
        s = self.steps[at]
        if s.kind not in (*ALU, *SHIFTS) or not s.sources:
            return False
        spent = s.sources if s.kind in _COMMUTATIVE else s.sources[:1]
        return all(self._wanted(name, at) for name in spent)

    def _wanted(self, name: str, at: int) -> bool:
        # Whether a register is read again before it is written.
        if self.steps[at].result == name:
            return False
        for s in self.steps[at + 1 :]:
            if name in s.sources:
                return True
            if s.result == name:
                return False
        return False


def primitives() -> tuple[str, ...]:
    """Return the names of the primitives."""
    return tuple(_programs(MODES[0], WAYS[0]))


@cache
def program(primitive: str, mode: str, way: str = "variables") -> Program:
    """Return the steps of a primitive.

    Parameters
    ----------
    primitive : str
        One of :func:`primitives`.
    mode : {"none", "mask", "offset"}
        Compression.
    way : {"variables", "constants"}
        Whether boot parameters are read from memory or are in the code.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    need_one_of("mode", mode, MODES)
    need_one_of("way", way, WAYS)
    programs = _programs(mode, way)
    need_one_of("primitive", primitive, programs)
    return parse_program(primitive, mode, way, programs[primitive])


def parse_program(primitive: str, mode: str, way: str, text: str) -> Program:
    """Return the program that a text in the language above describes."""
    return Program(primitive, mode, way, tuple(_step(line) for line in text.splitlines() if line.strip()))


def _step(line: str) -> Step:
    left, _, right = line.partition(" = ") if " = " in line else ("", "", line)
    kind, *operands = right.split()
    memory = None
    if kind in ("load", "index", "store", "atomic"):
        memory = operands.pop(0)
    parameter = next((o[1:] for o in [*operands, memory or ""] if o.startswith("$")), None)
    immediate = next((int(o, 0) for o in operands if o[0].isdigit()), None)
    sources = tuple(o for o in operands if not o.startswith("$") and not o[0].isdigit())
    return Step(
        left.strip() or None, kind, sources, parameter, immediate, memory.lstrip("$") if memory else None
    )
