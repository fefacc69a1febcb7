"""The walk over RAM: limits, groups, what is used and what is lost, and the direct map's calls.

Rule book: parts 2, 4 and 7, and rule 10. Xen c447b7308b, xen/arch/x86/setup.c, __start_xen and
setup_max_pdx (2009: the same at 78e09264ad).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..constants import GIB, PAGE_SHIFT, PAGE_SIZE, PDX_GROUP_COUNT, U64_END
from ._runs import Run, clipped, merged, round_down, round_up, total
from .e820 import FIRST_RAM, Lost
from .page_tables import PAGE_2M
from .pdx import Compression, Translation, no_compression
from .profiles import Profile

#: Ranges at or above this address make Xen look at the SRAT; below it the direct map has static tables.
FOUR_GIB: Final = 4 * GIB

#: Chooses the compression for a base address, and how frames then translate.
Chooser = Callable[[int], tuple[Compression, Translation]]

#: One mapping call of the direct map: byte offset in it, frame, and how many frames.
Call = tuple[int, int, int]


@dataclass(slots=True)
class Walk:
    """What the walk finds out; ranges in bytes, groups as runs of 65,536 pdx.

    ``used`` are the ranges handed to the allocator and mapped. ``stops`` tells where Xen itself would
    stop or go astray, as (code, text, start, end).
    """

    compression: Compression
    translation: Translation
    max_page: int
    max_pdx: int
    used: list[Run] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    groups: list[Run] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    stops: list[tuple[str, str, int, int]] = field(default_factory=list)

    def groups_valid(self) -> tuple[Run, ...]:
        """Valid groups as sorted runs; group 0 always is (Xen: pdx_group_valid's initial value)."""
        return tuple(merged([(0, 1), *self.groups]))


def walk_ram(
    ram: Sequence[Run],
    profile: Profile,
    max_page: int,
    identity: Translation,
    choose: Chooser,
) -> Walk:
    """Walk the RAM entries upward as Xen does.

    Parameters
    ----------
    ram : sequence of (start, end)
        The clipped e820's RAM entries in bytes, ascending.
    profile : Profile
        Whose limits and flow.
    max_page : int
        One past the last frame of the e820, in frames.
    identity : Translation
        How frames translate before the compression is known.
    choose : callable
        Called once, with the address of the first range at or above 4 GiB.
    """
    looked = profile.compression == "none" and not profile.modern
    why = "this version compresses nothing" if looked else "no RAM range starts at or above 4 GiB"
    state = Walk(no_compression(profile.compression, why), identity, 0, 0)
    _set_limits(state, profile, max_page)
    _map_early(state, ram, profile)
    limits_top = max_page if profile.modern else state.max_page
    for i, (start, end) in enumerate(ram):
        s, e = max(round_up(start, PAGE_SIZE), FIRST_RAM), round_down(end, PAGE_SIZE)
        if s >= e:
            _lose_edges(state, start, end, end, end)
            continue
        _lose_edges(state, start, end, s, e)
        if s >= FOUR_GIB and not looked:
            looked = True
            state.compression, state.translation = choose(s)
            _set_limits(state, profile, limits_top)
        e = _within_limits(state, profile, ram, i, s, e)
        if e > s:
            _use(state, profile, s, e)
    return state


def usable_below_limits(ram: Sequence[Run], profile: Profile, max_page: int, choose: Chooser) -> int:
    """Bytes of RAM that a modern profile uses: whole pages from 1 MiB up to its max_page."""
    base = next((start for start, _ in ram if round_up(start, PAGE_SIZE) >= FOUR_GIB), None)
    if base is not None and max_page:
        _, translation = choose(round_up(base, PAGE_SIZE))
        max_pdx = min(translation.mfn_to_pdx(max_page - 1) + 1, profile.pdx_limit or max_page)
        max_page = translation.pdx_to_mfn(max_pdx - 1) + 1
    whole = ((round_up(start, PAGE_SIZE), round_down(end, PAGE_SIZE)) for start, end in ram)
    return total(clipped((r for r in whole if r[0] < r[1]), FIRST_RAM, max_page << PAGE_SHIFT))


def _set_limits(state: Walk, profile: Profile, top: int) -> None:
    # Xen: setup_max_pdx. The frame table, the direct map and the list links bound max_pdx, not max_page.
    if not top:
        state.max_pdx = state.max_page = 0
        return
    max_pdx = state.translation.mfn_to_pdx(top - 1) + 1
    if profile.pdx_limit is not None:
        max_pdx = min(max_pdx, profile.pdx_limit)
    state.max_pdx = max_pdx
    state.max_page = state.translation.pdx_to_mfn(max_pdx - 1) + 1


def _lose_edges(state: Walk, start: int, end: int, s: int, e: int) -> None:
    # The edges that rounding inward cuts off, and what lies below 1 MiB.
    low = min(end, FIRST_RAM)
    if start < low:
        state.lost.append(Lost(start, low, "below 1 MiB: not given to the allocator"))
        start = low
    if start < min(s, end):
        state.lost.append(Lost(start, min(s, end), "part of a page"))
    if max(e, start) < end:
        state.lost.append(Lost(max(e, start), end, "part of a page"))


def _within_limits(state: Walk, profile: Profile, ram: Sequence[Run], i: int, s: int, e: int) -> int:
    # Return the range's end after truncation at max_page, or its start when it is skipped altogether.
    if profile.pdx_limit is None or state.translation.mfn_to_pdx((e - 1) >> PAGE_SHIFT) < state.max_pdx:
        return e
    reason = f"past max_pdx {state.max_pdx:#x}"
    if state.translation.mfn_to_pdx(s >> PAGE_SHIFT) < state.max_pdx:
        end = state.max_page << PAGE_SHIFT
        if end <= s or end > e:
            text = "frames alias: the range would be truncated at an address outside of it"
            state.stops.append(("truncation-astray", text, s, e))
            end = s
        state.lost.append(Lost(end, e, reason))
        return end
    state.lost.append(Lost(s, e, reason))
    if i == 0:
        text = "the first RAM entry is past max_pdx: Xen looks for the entry before it, which is not there"
        state.stops.append(("no-ram-below-limit", text, s, e))
        return s
    previous_end = ram[i - 1][1]
    last = -(-previous_end >> PAGE_SHIFT) if profile.modern else previous_end >> PAGE_SHIFT
    if 0 < last < state.max_page:
        state.max_page = last
        state.max_pdx = state.translation.mfn_to_pdx(last - 1) + 1
    return s


def _mark(state: Walk, s: int, e: int) -> None:
    # Xen: set_pdx_range.
    first = state.translation.mfn_to_pdx(s >> PAGE_SHIFT) // PDX_GROUP_COUNT
    last = state.translation.mfn_to_pdx((e >> PAGE_SHIFT) - 1) // PDX_GROUP_COUNT
    state.groups.append((first, last + 1))


def _map(state: Walk, s: int, e: int) -> None:
    if s < e:
        mfn = s >> PAGE_SHIFT
        offset = state.translation.mfn_to_pdx(mfn) << PAGE_SHIFT
        state.calls.append((offset, mfn, (e - s) >> PAGE_SHIFT))


def _map_early(state: Walk, ram: Sequence[Run], profile: Profile) -> None:
    # Before the allocator lives, whole 2 MiB pieces below 4 GiB are mapped, from the last entry to the first.
    for start, end in reversed(ram):
        s = max(round_up(start, PAGE_2M), profile.directmap_prebuilt_bytes)
        e = round_down(min(end, FOUR_GIB), PAGE_2M)
        if s < e:
            _mark(state, s, e)
            _map(state, s, e)


def _use(state: Walk, profile: Profile, s: int, e: int) -> None:
    state.used.append((s, e))
    _mark(state, s, e)
    s = max(s, profile.directmap_prebuilt_bytes)
    if not profile.modern:
        _map(state, s, e)
        return
    # What the early pass has left of the range: its tail first, then its head. An empty piece still splits
    # the range, for only the order of its ends tells Xen that there was none.
    piece_s, piece_e = s, min(e, FOUR_GIB)
    if s < piece_e:
        piece_s, piece_e = round_up(s, PAGE_2M), round_down(piece_e, PAGE_2M)
    if piece_s > piece_e:
        piece_s = piece_e = s
    for part_s, part_e in _split_for_guests(state, profile, piece_e, e):
        _map(state, part_s, part_e)
    _map(state, s, piece_s)


def _split_for_guests(state: Walk, profile: Profile, s: int, e: int) -> tuple[Run, ...]:
    # 64-bit PV guests see only the first 5 TiB of the direct map: what lies past it is mapped apart.
    layout = profile.layout
    if layout.hypervisor_virt_end is None or s >= e:
        return ((s, e),)
    last = (layout.hypervisor_virt_end - layout.directmap_virt_start - 1) >> PAGE_SHIFT
    limit = (state.translation.pdx_to_mfn(last) + 1 << PAGE_SHIFT) % U64_END
    end = min(e, limit)
    return ((s, end), (end, e)) if s < end else ((s, e),)
