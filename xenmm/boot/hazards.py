"""Where a real Xen would crash, alias, assert or lose memory: said, where and why, in plain words.

Rule book: part 11. Each finder looks at what boot decided and yields what it finds; none changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._facts import Facts
from ..constants import PAGE_SHIFT, PDX_GROUP_COUNT, PDX_GROUP_SHIFT
from ..firmware.memory_map import SRAT_ENABLED, SRAT_HOTPLUG, SRAT_NONVOLATILE
from ._runs import Run, clipped, merged, subtracted, total
from .e820 import FIRST_RAM
from .m2p import GROUPS_PER_SLOT
from .pdx import choose
from .walk import FOUR_GIB

if TYPE_CHECKING:
    from .plan import HostPlan
    from .walk import Walk

#: From the worst to the least.
SEVERITIES: Final = ("crash", "assert", "lost", "note")


class Hazard(Facts):
    """One thing that a real Xen would not survive, or not do as one expects.

    Attributes
    ----------
    code : str
        A word for programs.
    severity : str
        ``crash``: any build goes astray; ``assert``: a debug build stops; ``lost``: memory is not used;
        ``note``: good to know.
    text : str
        Which, where and why, in plain words.
    ranges : tuple of (start, end)
        Where, in bytes; empty when it is not about a place.
    """

    __slots__ = ()

    code: str
    severity: str
    text: str
    ranges: tuple[Run, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes that the ranges hold."""
        return total(self.ranges)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON has them."""
        return {
            "code": self.code,
            "severity": self.severity,
            "text": self.text,
            "ranges": [list(r) for r in self.ranges],
            "bytes": self.bytes,
        }


def find_hazards(plan: HostPlan, walk: Walk) -> tuple[Hazard, ...]:
    """Return every hazard of a boot, the worst first."""
    found = [hazard for finder in _FINDERS for hazard in finder(plan, walk)]
    return tuple(sorted(found, key=lambda h: SEVERITIES.index(h.severity)))


def _span(runs: Sequence[Run]) -> str:
    shown = ", ".join(f"[{start:#x}, {end:#x})" for start, end in runs[:3])
    return shown + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")


def size_text(size: int) -> str:
    """A size in the largest unit that leaves at least one: ``1.5 GiB``."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{size} bytes"


def _aliasing(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    hole = plan.compression.pfn_hole_mask
    inside = tuple(r for r in plan.used if r[0] >> PAGE_SHIFT & hole)
    if inside:
        yield Hazard(
            "alias",
            "crash",
            f"RAM {_span(inside)} has its base inside the squeezed hole, outside every SRAT entry: its frames"
            " share page_info records and direct-map addresses with lower memory. This version prints its"
            " compression line and dies of a page fault while it sets up its tables",
            inside,
        )


def _mapped_elsewhere(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    # RAM below 4 GiB is mapped before the compression is known, where its own address says; offset tables
    # whose lowest region begins above 0 then convert it to another place.
    mfn_to_pdx = walk.translation.mfn_to_pdx
    low = clipped(plan.used, 0, FOUR_GIB)
    moved = tuple(r for r in low if mfn_to_pdx(r[0] >> PAGE_SHIFT) != r[0] >> PAGE_SHIFT)
    if moved:
        yield Hazard(
            "mapped-elsewhere",
            "crash",
            f"RAM {_span(moved)} is mapped at its own address early in boot, and the compression chosen later"
            " moves it: no SRAT entry begins near 0, as they do on x86. Its direct-map addresses lead"
            " elsewhere or nowhere, and the boot faults",
            moved,
        )


def _fallback(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    first = plan.compression.first
    if first is not None:
        yield Hazard(
            "compression-fallback",
            "note",
            f"Xen prints that it compresses ({first.reason}), then finds that {plan.compression.reason}, and"
            " goes on without compression",
        )


def _allocator_bug(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    # Before the modern tree the truncated range is handed to the page allocator up to the limit itself.
    profile, limit = plan.profile, plan.profile.pdx_limit
    if not profile.modern or profile.checks_regions or plan.compression.kind != "none" or limit is None:
        return
    end = limit << PAGE_SHIFT
    across = tuple(r for r in plan.e820.ram if r[0] < end < r[1])
    if across:
        yield Hazard(
            "allocator-bug",
            "crash",
            f"RAM {_span(across)} crosses 16 TiB without compression: this version stops at a BUG in the page"
            " allocator; the modern tree truncates the range",
            across,
        )


def _group_without_node(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    if not (plan.profile.modern and plan.profile.checks_regions):
        return
    orphans = tuple(_orphan_groups(plan, walk))
    if orphans:
        yield Hazard(
            "node-mid-group",
            "assert",
            f"a NUMA node begins in the middle of a group of {PDX_GROUP_COUNT} frames, at {_span(orphans)}:"
            " the group's first frame belongs to no node, and a debug build stops while it sets up the M2P",
            orphans,
        )


def _orphan_groups(plan: HostPlan, walk: Walk) -> Iterator[Run]:
    # For each slot of the M2P Xen asks which node its first valid frame is of. The answer comes from a map
    # with one entry for 2^shift pdx, the shift being the lowest bit set in any node's start.
    rows = _numa_rows(plan)
    if rows is None:
        return
    mfn_to_pdx = walk.translation.mfn_to_pdx
    spans = [(mfn_to_pdx(s >> PAGE_SHIFT), mfn_to_pdx((e - 1) >> PAGE_SHIFT) + 1) for s, e in rows]
    starts = 0
    for start, _ in spans:
        starts |= start
    shift = (starts & -starts).bit_length() - 1 if starts else 63
    covered = merged((s >> shift, (e - 1 >> shift) + 1) for s, e in spans)
    # Only the group in which some node begins can lack one at its first frame.
    for start, _ in sorted(rows):
        group = start >> PAGE_SHIFT >> PDX_GROUP_SHIFT
        slot = group // GROUPS_PER_SLOT * GROUPS_PER_SLOT
        inside = clipped(plan.mfn_groups_valid, slot, slot + GROUPS_PER_SLOT)
        if inside and inside[0][0] == group:
            entry = mfn_to_pdx(group << PDX_GROUP_SHIFT) >> shift
            if not clipped(covered, entry, entry + 1):
                yield (group << PDX_GROUP_SHIFT + PAGE_SHIFT, start)


def _numa_rows(plan: HostPlan) -> list[Run] | None:
    # The SRAT entries that make nodes, in bytes; None when Xen would not use them: switched off, only one
    # node, or not all RAM covered.
    asked, rows = plan.memory_options, plan.memory_map.srat
    if not rows or not asked.numa or not asked.acpi:
        return None
    hot = SRAT_HOTPLUG if plan.options.hotplug is False else 0
    wanted = [r for r in rows if r.flags & SRAT_ENABLED and not r.flags & (SRAT_NONVOLATILE | hot)]
    runs = [(r.start, r.end) for r in wanted]
    if len({r.node for r in wanted}) < 2 or subtracted(plan.e820.ram, merged(runs)):
        return None
    return runs


def _survivors(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    survivors = plan.e820.survivors
    if survivors:
        yield Hazard(
            "clip-survivor",
            "assert",
            f"RAM {_span(survivors)} lies above {plan.profile.clip_bytes >> 40} TiB, yet the clipping loop of"
            " this version steps over every second entry there and leaves it in: a debug build stops",
            survivors,
        )


def _stops(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    for code, text, start, end in walk.stops:
        yield Hazard(code, "crash", f"{text}: RAM [{start:#x}, {end:#x})", ((start, end),))


def _beyond_limits(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    for code, reason_start, why in (
        ("ram-beyond-max-pdx", "past max_pdx", "has no place in the frame table and is not used"),
        ("ram-clipped", "above ", "is cut from the e820 and not used"),
    ):
        runs = tuple((r.start, r.end) for r in plan.lost if r.reason.startswith(reason_start))
        if runs:
            better = _who_uses_more(plan)
            who = f"; of it, more is used by {better}" if better else "; no other profile here uses more"
            yield Hazard(code, "lost", f"{size_text(total(runs))} of RAM {_span(runs)} {why}{who}", runs)


def _who_uses_more(plan: HostPlan) -> str:
    from .plan import usable_bytes

    better = [(size, name) for name, size in usable_bytes(plan).items() if size > plan.used_ram_bytes]
    best = max((size for size, _ in better), default=0)
    return ", ".join(name for size, name in better if size == best)


def _hotplug_window(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    chosen = plan.compression
    rows = plan.memory_map.srat or ()
    windows = tuple(
        (r.start, r.end)
        for r in rows
        if r.flags & SRAT_ENABLED and r.flags & SRAT_HOTPLUG and not r.flags & SRAT_NONVOLATILE
    )
    if chosen.kind != "none" or chosen.base is None or not windows or plan.options.hotplug is False:
        return
    if not plan.memory_options.acpi or not plan.memory_options.compress:
        return
    rest = [
        (r.start, r.end)
        for r in rows
        if r.flags & SRAT_ENABLED and not r.flags & (SRAT_HOTPLUG | SRAT_NONVOLATILE)
    ]
    profile = plan.profile
    without = choose(
        profile.compression, chosen.base, rest, plan.e820.ram, checks_regions=profile.checks_regions
    )
    if without.kind != "none":
        yield Hazard(
            "hotplug-window",
            "note",
            f"SRAT entries that can be hot-plugged, {_span(windows)}, defeat the compression, though no"
            f" memory is there; without them: {without.reason}",
            windows,
        )


def _nodes_not_covering(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    rows = plan.memory_map.srat
    if not rows or not plan.memory_options.acpi:
        return
    covered = merged((r.start, r.end) for r in rows if r.flags & SRAT_ENABLED)
    outside = tuple(subtracted(plan.e820.ram, covered))
    whole = tuple(r for r in outside if r[1] - r[0] >= 1 << PAGE_SHIFT)
    if whole:
        yield Hazard(
            "ram-outside-srat",
            "note",
            f"{size_text(total(whole))} of RAM {_span(whole)} is in no SRAT entry: Xen gives the nodes up and"
            " takes the machine for one node",
            whole,
        )


def _no_ram_above(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    if not plan.used:
        yield Hazard(
            "no-usable-ram",
            "crash",
            f"no whole page of RAM lies at or above {FIRST_RAM:#x} within the limits: there is no heap",
            plan.e820.ram,
        )


def _tables_outgrow_ram(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    # The boot allocator panics when it runs dry: dense tables over a wide span can ask for too much.
    needed = sum(t.backed_bytes for t in plan.tables) + plan.page_table_bytes
    if plan.used and needed > plan.used_ram_bytes:
        yield Hazard(
            "tables-outgrow-ram",
            "crash",
            f"the tables need {size_text(needed)}, more than the {size_text(plan.used_ram_bytes)} of RAM that"
            " can be used: the boot allocator runs dry and Xen stops",
        )


def _other_arch(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    arch = plan.memory_map.arch
    if arch not in ("", "x86"):
        yield Hazard(
            "other-arch",
            "note",
            f"the map is of a machine of another architecture ({arch}): it is booted as if an x86 machine had"
            " this memory",
        )


def _command_line(plan: HostPlan, walk: Walk) -> Iterator[Hazard]:
    for note in plan.memory_options.notes:
        yield Hazard("option-not-applied", "note", note)
    for word in plan.memory_options.applied:
        yield Hazard("option-applied", "note", f"{word}: a boot option that changes memory; applied")


_FINDERS: Final[tuple[Callable[[HostPlan, Walk], Iterator[Hazard]], ...]] = (
    _aliasing,
    _mapped_elsewhere,
    _allocator_bug,
    _stops,
    _no_ram_above,
    _tables_outgrow_ram,
    _survivors,
    _group_without_node,
    _beyond_limits,
    _fallback,
    _hotplug_window,
    _nodes_not_covering,
    _other_arch,
    _command_line,
)
