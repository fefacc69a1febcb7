"""Every form of one frame, and how each was computed: what ``xenmm convert`` shows.

The values come from the host's own conversions; the text beside them writes out the same formula with this
host's constants, so that a person can follow it by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ..boot.host import Host
from ..constants import PAGE_INFO_BYTES, PAGE_SHIFT, PAGE_SIZE, PDX_GROUP_SHIFT, U64_END
from ..errors import ConfigError, FrameError, did_you_mean

KINDS: Final = ("mfn", "pdx", "page", "maddr", "virt")


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the frame: its name, its value, and the formula that gave it."""

    name: str
    value: int
    how: str


@dataclass(frozen=True, slots=True)
class Forms:
    """Every form of one frame.

    Attributes
    ----------
    kind, given : str, int
        What was asked.
    forms : tuple of Form
        In the order of computation, the given one first.
    valid : bool
        Whether ``mfn_valid`` holds and the given form is the frame's own.
    why : tuple of str
        The tests behind ``valid``, each with its numbers.
    """

    kind: str
    given: int
    forms: tuple[Form, ...]
    valid: bool
    why: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values; addresses are hexadecimal strings."""
        return {
            "given": {"kind": self.kind, "value": hex(self.given)},
            "forms": {f.name: {"value": hex(f.value), "how": f.how} for f in self.forms},
            "valid": self.valid,
            "why": list(self.why),
        }


def parse_value(text: str) -> tuple[str, int]:
    """Read ``mfn:0x100000`` and its kin.

    Raises
    ------
    ConfigError
        If the kind is unknown, the number is none, or it does not fit 64 bits.
    """
    kind, colon, digits = text.partition(":")
    if not colon or kind not in KINDS:
        raise ConfigError(
            f"{text!r}: need a kind and a number, as mfn:0x100000; kinds are {', '.join(KINDS)}"
            f"{did_you_mean(kind, KINDS)}"
        )
    try:
        number = int(digits, 0)
    except ValueError:
        raise ConfigError(
            f"{text[:80]!r}: {digits[:40]!r} is no number; write 4096, 4_096 or 0x1000{_unit_hint(digits)}"
        ) from None
    if not 0 <= number < U64_END:
        raise ConfigError(f"{text[:80]!r}: outside [0, 2^64)")
    return kind, number


def _unit_hint(digits: str) -> str:
    found = re.fullmatch(r"(\d{1,12})([KMGTP])i?B?", digits, re.IGNORECASE | re.ASCII)
    if found is None:
        return ""
    count = int(found[1]) << 10 * ("KMGTP".index(found[2].upper()) + 1)
    return f" (units are not read: {digits} of bytes are maddr:{count:#x})"


def forms_of(host: Host, kind: str, given: int) -> Forms:
    """Compute every form of a frame from any one of them.

    Frames that are not valid are converted by the bare formula, as Xen's unchecked macros would, and are
    reported as not valid.

    Raises
    ------
    FrameError
        If a page lies outside the frame table or is no multiple of a record, if a virt lies outside the
        direct map and the Xen image, or if the frame has no 64-bit machine address.
    """
    mfn, offset, path = _START[kind](host, given)
    if mfn >= U64_END >> PAGE_SHIFT:
        raise FrameError(f"mfn {mfn:#x} has no 64-bit machine address; need mfn < {U64_END >> PAGE_SHIFT:#x}")
    pdx = host.mfn_to_pdx_unchecked(mfn)
    maddr = (mfn << PAGE_SHIFT) + offset
    known = {
        "mfn": Form("mfn", mfn, f"maddr >> {PAGE_SHIFT}"),
        "pdx": Form("pdx", pdx, _mfn_to_pdx_text(host, mfn, pdx)),
        "page": Form(
            "page",
            host.mfn_to_page_unchecked(mfn),
            f"frame table {host.params['frametable_virt_start']:#x} + pdx * {PAGE_INFO_BYTES}",
        ),
        "maddr": Form(
            "maddr", maddr, f"mfn << {PAGE_SHIFT}" + (f", + {offset:#x} in the page" if offset else "")
        ),
        "virt": Form(
            "virt",
            host.maddr_to_virt_unchecked(maddr),
            f"direct map {host.params['directmap_virt_start']:#x} + (pdx << {PAGE_SHIFT})"
            + (f" + {offset:#x}" if offset else ""),
        ),
    }
    # A pdx, page or virt can be the squeezed image of a frame that converts elsewhere on the way back.
    own = known[kind].value == given or (kind == "virt" and path[-1].name == "maddr")
    why = _validity(host, mfn, pdx)
    if not own:
        why = (f"mfn {mfn:#x} converts back to {kind} {known[kind].value:#x}, not {given:#x}",)
    known.update({form.name: form for form in path})
    order = [form.name for form in path]
    forms = tuple(known[name] for name in order + [name for name in KINDS if name not in order])
    return Forms(kind, given, forms, own and host.mfn_valid(mfn), why)


# From each form to the mfn, with the forms passed on the way.
_Start = tuple[int, int, tuple[Form, ...]]


def _from_mfn(host: Host, mfn: int) -> _Start:
    return mfn, 0, (Form("mfn", mfn, "given"),)


def _from_maddr(host: Host, maddr: int) -> _Start:
    mfn = maddr >> PAGE_SHIFT
    return (
        mfn,
        maddr & (PAGE_SIZE - 1),
        (Form("maddr", maddr, "given"), Form("mfn", mfn, f"maddr >> {PAGE_SHIFT}")),
    )


def _from_pdx(host: Host, pdx: int) -> _Start:
    mfn = host.pdx_to_mfn_unchecked(pdx)
    return mfn, 0, (Form("pdx", pdx, "given"), Form("mfn", mfn, _pdx_to_mfn_text(host, pdx)))


def _from_page(host: Host, page: int) -> _Start:
    start, end = host.params["frametable_virt_start"], host.params["frametable_virt_end"]
    if not start <= page < end:
        raise FrameError(f"page {page:#x} is outside the frame table [{start:#x}, {end:#x})")
    pdx, rest = divmod(page - start, PAGE_INFO_BYTES)
    if rest:
        raise FrameError(f"page {page:#x} is no multiple of {PAGE_INFO_BYTES} bytes into the frame table")
    mfn, offset, forms = _from_pdx(host, pdx)
    return (
        mfn,
        offset,
        (
            Form("page", page, "given"),
            Form("pdx", pdx, f"(page - frame table {start:#x}) / {PAGE_INFO_BYTES}"),
            forms[1],
        ),
    )


def _from_virt(host: Host, virt: int) -> _Start:
    start, end = host.params["directmap_virt_start"], host.params["directmap_virt_end"]
    offset = virt & (PAGE_SIZE - 1)
    if start <= virt < end:
        mfn, _, forms = _from_pdx(host, (virt - start) >> PAGE_SHIFT)
        return (
            mfn,
            offset,
            (
                Form("virt", virt, "given"),
                Form("pdx", forms[0].value, f"(virt - direct map {start:#x}) >> {PAGE_SHIFT}"),
                forms[1],
            ),
        )
    image, image_end, phys = (host.params[n] for n in ("xen_virt_start", "xen_virt_end", "xen_phys_start"))
    if phys is not None and image <= virt < image_end:
        maddr = virt - image + phys
        how = f"virt - Xen image {image:#x} + its physical start {phys:#x}"
        return maddr >> PAGE_SHIFT, offset, (Form("virt", virt, "given"), Form("maddr", maddr, how))
    raise FrameError(f"virt {virt:#x} is outside the direct map [{start:#x}, {end:#x})")


_START: Final = {
    "mfn": _from_mfn,
    "pdx": _from_pdx,
    "page": _from_page,
    "maddr": _from_maddr,
    "virt": _from_virt,
}


def _mfn_to_pdx_text(host: Host, mfn: int, pdx: int) -> str:
    p = host.params
    if p["pdx_compression"] == "mask":
        bottom, top, shift = p["pfn_pdx_bottom_mask"], p["pfn_top_mask"], p["pfn_pdx_hole_shift"]
        formula = f"(mfn & {bottom:#x}) | ((mfn & {top:#x}) >> {shift})"
        return f"{formula} = {mfn & bottom:#x} | {(mfn & top) >> shift:#x}"
    if p["pdx_compression"] == "offset":
        shift = p["pfn_index_shift"]
        slot = (mfn >> shift) & 63
        entry = _signed(p["pfn_pdx_lookup"][slot])
        return f"mfn - pfn_pdx_lookup[(mfn >> {shift}) & 63 = {slot}] = {mfn:#x} - {entry}"
    return "mfn: no compression"


def _pdx_to_mfn_text(host: Host, pdx: int) -> str:
    p = host.params
    if p["pdx_compression"] == "mask":
        bottom, top, shift = p["pfn_pdx_bottom_mask"], p["pfn_top_mask"], p["pfn_pdx_hole_shift"]
        formula = f"(pdx & {bottom:#x}) | ((pdx << {shift}) & {top:#x})"
        return f"{formula} = {pdx & bottom:#x} | {(pdx << shift) & top:#x}"
    if p["pdx_compression"] == "offset":
        shift = p["pdx_index_shift"]
        slot = (pdx >> shift) & 63
        entry = _signed(p["pdx_pfn_lookup"][slot])
        return f"pdx + pdx_pfn_lookup[(pdx >> {shift}) & 63 = {slot}] = {pdx:#x} + {entry}"
    return "pdx: no compression"


def _signed(entry: int) -> str:
    # Differences of frames are kept modulo 2^64; a person reads a small negative one.
    return f"{entry:#x}" if entry < 1 << 63 else f"({entry - U64_END:#x})"


def _validity(host: Host, mfn: int, pdx: int) -> tuple[str, ...]:
    # mfn_valid's own tests, in Xen's order; the first that fails decides.
    p = host.params
    if mfn >= p["max_page"]:
        return (f"mfn {mfn:#x} >= max_page {p['max_page']:#x}",)
    why = [f"mfn < max_page {p['max_page']:#x}"]
    if p["pdx_compression"] == "mask":
        hole = p["pfn_hole_mask"]
        if mfn & hole:
            return (f"mfn {mfn:#x} has bits {mfn & hole:#x} inside the hole {hole:#x}",)
        why.append(f"no bit in the hole {hole:#x}")
    elif p["pdx_compression"] == "offset":
        slot = (mfn >> p["pfn_index_shift"]) & 63
        bases, size = p["pfn_bases"], p["pdx_region_size"]
        if bases[slot] == U64_END - 1:
            return (f"mfn {mfn:#x} is in no region: slot {slot} is unused",)
        first = bases[slot]
        if not first <= mfn < first + size:
            return (f"mfn {mfn:#x} is outside its slot's region [{first:#x}, {first + size:#x})",)
        why.append(f"inside the region [{first:#x}, {first + size:#x})")
    group = pdx >> PDX_GROUP_SHIFT
    if not any(start <= group < end for start, end in host.groups_valid):
        return (f"no frame table behind group {group:#x} of pdx {pdx:#x}: no memory there",)
    why.append(f"group {group:#x} is backed")
    return tuple(why)
