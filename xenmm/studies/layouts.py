"""Layouts that no machine need have: nodes at even distances, as a memory map with its SRAT.

The low memory is a PC's: RAM up to ``low_bytes``, a hole for devices up to 4 GiB, and node 0's rest above it;
from 640 KiB to 1 MiB there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from ..constants import GIB, MIB, PAGE_SIZE
from ..errors import ConfigError, need, need_one_of
from ..firmware.memory_map import SRAT_ENABLED, SRAT_HOTPLUG, MemoryMap, MemoryRange, SratRange
from ..report.layout import size, span
from .units import power_text

#: x86-64 has no more physical address bits.
ADDRESS_END: Final = 1 << 52
#: Of a layout that is made from a number of nodes: more than any Xen can be built for.
NODES_MAX: Final = 4096
_FOUR_GIB: Final = 4 * GIB
#: AMD's HyperTransport range, where no memory is: RAM goes on at 1 TiB. AMD IOMMU specification 48882, table
#: 3, Special Address Controls (GPA); QEMU hw/i386/pc.c, AMD_HT_START and AMD_ABOVE_1TB_START.
HT_HOLE: Final = (0xFD00000000, 1 << 40)
#: What can become of it; :class:`Layout` says what each does.
HT_WAYS: Final = ("none", "split", "move")

Run = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Where a machine's memory would be.

    Attributes
    ----------
    node_bytes : tuple of int
        RAM of each node.
    spacing : int or None
        Bytes from one node's base to the next's; None: each begins where the one before ends.
    base : int
        Node 0's base: 0 for a PC with its low memory; elsewhere RAM begins there, as on many Arm machines.
    low_bytes : int
        Of a PC: where RAM below 4 GiB ends.
    ht_hole : str
        AMD's HyperTransport hole, the 12 GiB below 1 TiB. ``none``: it is not there; ``split``: a range that
        reaches it goes on behind it, as with AMD's firmware; ``move``: once RAM reaches it, all RAM above
        4 GiB begins at 1 TiB, as QEMU has it for AMD guests (which counts the 64-bit PCI hole as RAM there).
    hotplug_bytes : int
        Size of a hot-pluggable window of the last node, from the first GiB boundary above all RAM.
    max_address : int
        Nothing lies at or above it.
    """

    node_bytes: tuple[int, ...]
    spacing: int | None = None
    base: int = 0
    low_bytes: int = 2 * GIB
    ht_hole: str = "none"
    hotplug_bytes: int = 0
    max_address: int = ADDRESS_END

    def __post_init__(self) -> None:
        need("node_bytes", self.node_bytes, tuple)
        if not self.node_bytes:
            raise ConfigError("a layout has one node at least")
        for each in ("base", "low_bytes", "hotplug_bytes", "max_address"):
            need(each, getattr(self, each), int)
        if self.spacing is not None:
            need("spacing", self.spacing, int)
        for count in self.node_bytes:
            need("each of node_bytes", count, int)
        for name, value in (
            ("spacing", self.spacing or 0),
            ("base", self.base),
            ("low memory", self.low_bytes),
            ("hot-plug window", self.hotplug_bytes),
            *((f"node {i}", count) for i, count in enumerate(self.node_bytes)),
        ):
            if value < 0 or value % PAGE_SIZE:
                raise ConfigError(f"{name}: {value:#x} is no multiple of a page, {PAGE_SIZE:#x}")
        for i, count in enumerate(self.node_bytes):
            if not count:
                raise ConfigError(f"node {i} has no memory")
        if not 2 * MIB <= self.low_bytes <= _FOUR_GIB:
            raise ConfigError(f"low memory ends between 2 MiB and 4 GiB, got {self.low_bytes:#x}")
        need_one_of("ht_hole", self.ht_hole, HT_WAYS)
        if self.ht_hole == "move" and (self.spacing is not None or self.base):
            raise ConfigError(
                "ht_hole 'move' is for packed nodes from 0 on: spacing and base fix where RAM is"
            )
        self._check(self._node_runs())

    @classmethod
    def even(cls, ram: int, nodes: int, *, granule: int = GIB, **options: object) -> Layout:
        """Return a layout of nodes of one size, or with a granule more in the first ones.

        Parameters
        ----------
        ram : int
            All RAM, in bytes: a multiple of ``granule``, one for each node at least.
        nodes : int
            How many.
        granule : int
            What a node's size is a multiple of.
        **options
            Every other attribute of the class.

        Raises
        ------
        ConfigError
            If it cannot be divided, or nodes would overlap or lie too high.
        """
        for name, value in (("ram", ram), ("nodes", nodes), ("granule", granule)):
            need(name, value, int)
        if not 1 <= nodes <= NODES_MAX:
            raise ConfigError(f"nodes is a number from 1 to {NODES_MAX}, got {nodes}")
        if granule < PAGE_SIZE or granule % PAGE_SIZE:
            raise ConfigError(f"granule: {granule:#x} is no multiple of a page, {PAGE_SIZE:#x}")
        each, more = divmod(ram, granule)
        if more:
            raise ConfigError(f"{size(ram)} of RAM is no multiple of the granule, {size(granule)}")
        if each < nodes:
            raise ConfigError(
                f"{size(ram)} of RAM does not give {nodes} nodes a granule of {size(granule)} each"
            )
        counts = tuple((each // nodes + (i < each % nodes)) * granule for i in range(nodes))
        return cls(counts, **options)  # type: ignore[arg-type]

    @property
    def ram_bytes(self) -> int:
        """RAM of all nodes, a PC's part below 1 MiB that is none included."""
        return sum(self.node_bytes)

    @property
    def name(self) -> str:
        """The layout in a few words."""
        sizes = set(self.node_bytes)
        count = len(self.node_bytes)
        text = f"{count} node{'s' if count > 1 else ''} of {size(max(sizes))}"
        if len(sizes) > 1:
            text = f"{count} nodes of {size(min(sizes))} to {size(max(sizes))}"
        if count > 1:
            text += ", packed" if self.spacing is None else f", one every {size(self.spacing)}"
        return text

    def memory_map(self) -> MemoryMap:
        """The map that firmware would give for it."""
        nodes = self._node_runs()
        rows = [(run, i, SRAT_ENABLED) for i, runs in enumerate(nodes) for run in runs]
        top = max(end for (_, end), _, _ in rows)
        if self.hotplug_bytes:
            start = -(-top // GIB) * GIB
            window = (start, start + self.hotplug_bytes)
            rows.append((window, len(nodes) - 1, SRAT_ENABLED | SRAT_HOTPLUG))
        return MemoryMap(
            tuple(MemoryRange(*run, "ram") for runs in nodes for each in runs for run in _around_video(each)),
            tuple(SratRange(*run, node=i, flags=flags) for run, i, flags in rows),
            name=self.name,
            format="ranges",
            arch="x86",
        )

    def _node_runs(self) -> list[list[Run]]:
        if self.ht_hole == "move":
            stays = self._placed(_FOUR_GIB)
            if max(end for runs in stays for _, end in runs) <= HT_HOLE[0]:
                return stays
            return self._placed(HT_HOLE[1])
        return self._placed(_FOUR_GIB)

    def _placed(self, above: int) -> list[list[Run]]:
        # ``above`` is where node 0's RAM goes on that has no place in low memory.
        nodes: list[list[Run]] = []
        at = self.base
        for i, count in enumerate(self.node_bytes):
            if self.spacing is not None:
                at = self.base + i * self.spacing
            if at == 0:
                low = min(count, self.low_bytes)
                runs = [(0, low)] + ([(above, above + count - low)] if count > low else [])
                # A node that fits into low memory leaves the rest of it free.
                at = max(above, runs[-1][1])
            else:
                runs = [(at, at + count)]
                at += count
            if self.ht_hole == "split":
                runs = [piece for run in runs for piece in _around_ht(run)]
                at = max(at, runs[-1][1])
                at = HT_HOLE[1] if HT_HOLE[0] <= at < HT_HOLE[1] else at
            nodes.append(runs)
        return nodes

    def _check(self, nodes: Sequence[Sequence[Run]]) -> None:
        every = sorted((start, end, i) for i, runs in enumerate(nodes) for start, end in runs)
        for (s, e, i), (s2, e2, j) in pairwise(every):
            if s2 < e:
                at = "" if self.spacing is None else f" (spacing {power_text(self.spacing)})"
                raise ConfigError(f"node {i} {span(s, e)} and node {j} {span(s2, e2)} overlap{at}")
        top = every[-1][1] + self.hotplug_bytes + (-every[-1][1] % GIB if self.hotplug_bytes else 0)
        if top > self.max_address:
            raise ConfigError(
                f"the layout reaches {top:#x}, past the highest address {power_text(self.max_address)}"
            )

    def resized(self, node_bytes: Sequence[int]) -> Layout:
        """The same layout with other sizes of nodes."""
        return replace(self, node_bytes=tuple(node_bytes))


def _around_video(run: Run) -> list[Run]:
    # A PC's firmware reports no RAM from 640 KiB to 1 MiB.
    start, end = run
    if start:
        return [run]
    return [(0, 0xA0000), (MIB, end)]


def _around_ht(run: Run) -> list[Run]:
    start, end = run
    first, behind = HT_HOLE
    if end <= first or start >= behind:
        return [run]
    if start >= first:
        return [(behind, behind + end - start)]
    return [(start, first), (behind, behind + end - first)]
