"""A domain of a live machine: its memory, its grants, and the grants of others that it maps."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MachineError
from .arguments import whole
from .grant_table import GNTMAP, GNTST, GTF
from .ops import Op, memflags, word

if TYPE_CHECKING:
    from .machine import Machine


class Mapping(NamedTuple):
    """What a grant map gave back: a code, and on success the handle and the bus address of the frame."""

    status: GNTST
    handle: int = 0
    dev_bus_addr: int = 0


@dataclass(frozen=True)
class Domain:
    """A domain, by number; every property reads the machine.

    Memory operations raise MachineError when Xen would refuse (no memory, over the limit, gfn in use).
    Grant hypercalls return GNTST codes and raise only for misuse.
    """

    machine: Machine
    domid: int

    def _fact(self, name: str) -> Any:
        facts = self.machine._domain(self.domid)
        if facts is None:
            raise MachineError(f"domain {self.domid} does not exist any more")
        return facts[name]

    def _memory(self, op: Op, what: str, **fields: int) -> int:
        status, out, _ = self.machine._do(op, self.domid, **fields)
        if status:
            raise MachineError(f"domain {self.domid}: {what}: {os.strerror(-status)}")
        return out

    @property
    def alive(self) -> bool:
        """It exists and is not dying."""
        facts = self.machine._domain(self.domid)
        return facts is not None and not facts["dying"]

    @property
    def exists(self) -> bool:
        """It exists, dying or not."""
        return self.machine._domain(self.domid) is not None

    @property
    def tot_pages(self) -> int:
        """Pages that it owns, Xen-heap pages apart."""
        return int(self._fact("tot_pages"))

    @property
    def max_pages(self) -> int:
        """The most pages that it may own."""
        return int(self._fact("max_pages"))

    @whole
    def set_max_pages(self, pages: int) -> None:
        """Change the limit; what it owns beyond it stays."""
        if not 0 <= pages < 1 << 64:
            raise MachineError(f"domain {self.domid}: {pages} pages are not in [0, 2^64)")
        self.machine._set_max_pages(self.domid, pages)

    @property
    def translated(self) -> bool:
        """Its grants name guest frames, not machine frames."""
        return bool(self._fact("translated"))

    @property
    def pages(self) -> list[int]:
        """The mfns on its list of pages, in order."""
        (head, _), _ = self.machine._domain_lists(self._fact("domid"))
        return self.machine._mfns_of_list(head)

    # Memory.

    @whole
    def populate(self, gfn: int, order: int = 0, **where: Any) -> int:
        """Put 2**order fresh pages at ``gfn`` (aligned to the order); return the first mfn.

        Keywords are those of :func:`memflags`. Xen: XENMEM_populate_physmap.
        """
        flags = memflags(order, **where)
        return self._memory(Op.POPULATE, f"populate gfn {gfn:#x}, order {order}", frame=gfn, flags=flags)

    @whole
    def remove(self, gfn: int) -> None:
        """Take the page at ``gfn`` out of the guest. Xen: XENMEM_decrease_reservation, guest_remove_page."""
        self._memory(Op.REMOVE, f"remove gfn {gfn:#x}", frame=gfn)

    @whole
    def exchange(
        self,
        in_gfns: Sequence[int],
        out_gfns: Sequence[int],
        *,
        in_order: int = 0,
        out_order: int = 0,
        **where: Any,
    ) -> None:
        """Give extents of 2**in_order pages for as many pages in extents of 2**out_order; all or nothing.

        Xen: XENMEM_exchange. The new extents are placed at ``out_gfns``, which may be gfns that are given up.
        """
        given, wanted = _gfns("in_gfns", in_gfns), _gfns("out_gfns", out_gfns)
        if not 0 <= in_order <= 18 or not 0 <= out_order <= 18:
            raise MachineError(f"orders are 0 to 18, got {in_order} and {out_order}")
        if len(given) << in_order != len(wanted) << out_order:
            raise MachineError(
                f"domain {self.domid}: exchange of {len(given)} extents of order {in_order} for "
                f"{len(wanted)} of order {out_order}: the page counts differ"
            )
        self._fact("domid")
        rc = self.machine._exchange(
            self.domid,
            given.ctypes.data,
            wanted.ctypes.data,
            in_order,
            out_order,
            len(given),
            memflags(**where),
        )
        if rc:
            raise MachineError(f"domain {self.domid}: exchange: {os.strerror(-rc)}")

    @whole
    def alloc(self, order: int = 0, **where: Any) -> int:
        """Own 2**order fresh pages at no gfn; return the first mfn. Xen: alloc_domheap_pages."""
        return self._memory(Op.ALLOC, f"allocate order {order}", flags=memflags(order, **where))

    @whole
    def assign(self, mfn: int) -> None:
        """Take over a page that the caller holds itself. Xen: assign_pages."""
        self._memory(Op.ASSIGN, f"assign mfn {mfn:#x}", frame=mfn)

    @whole
    def steal(self, mfn: int) -> None:
        """Make a page of the domain the caller's own. Xen: steal_page."""
        self._memory(Op.STEAL, f"steal mfn {mfn:#x}", frame=mfn)

    @whole
    def place(self, mfn: int, gfn: int) -> None:
        """Give a page that it owns its place at ``gfn``. Xen: guest_physmap_add_page."""
        self._memory(Op.PHYSMAP_ADD, f"place mfn {mfn:#x} at gfn {gfn:#x}", frame=mfn, addr=gfn)

    @whole
    def displace(self, mfn: int, gfn: int) -> None:
        """Take a page from its place and keep it. Xen: guest_physmap_remove_page."""
        self._memory(Op.PHYSMAP_REMOVE, f"displace mfn {mfn:#x} from gfn {gfn:#x}", frame=mfn, addr=gfn)

    @whole
    def mfn(self, gfn: int) -> int | None:
        """The frame at ``gfn``, or None."""
        self._fact("domid")
        status, out, _ = self.machine._do(Op.P2M_GET, self.domid, frame=gfn)
        return None if status else out

    def p2m(self) -> dict[int, int]:
        """Every gfn in use and its mfn."""
        import numpy as np

        self._fact("domid")
        pairs = np.frombuffer(self.machine._p2m(self.domid), dtype=np.uint64)
        return dict(zip(pairs[::2].tolist(), pairs[1::2].tolist(), strict=True))

    @whole
    def permit_iomem(self, start: int, end: int) -> None:
        """Let it grant (and map) the I/O frames ``[start, end)``. Xen: iomem_permit_access."""
        if not 0 <= start < end <= 1 << 52:
            raise MachineError(f"domain {self.domid}: [{start:#x}, {end:#x}) is no range of frames")
        self.machine._permit_iomem(self.domid, start, end)

    # Its page tables.

    @whole
    def pin_table(self, mfn: int, level: int) -> None:
        """Keep a page as a page table of ``level``, 1 to 4, used or not. Xen: MMUEXT_PIN_L1_TABLE and on.

        The page gets a reference, a type reference and PGT_pinned; its entries are validated, and refused
        when one names what a table may not. A page that is in use as another type, or pinned already, is
        refused.
        """
        self._memory(Op.PIN_TABLE, f"pin mfn {mfn:#x} as l{level}", frame=mfn, flags=level)

    @whole
    def unpin_table(self, mfn: int) -> None:
        """Let a pinned page go. Xen: MMUEXT_UNPIN_TABLE."""
        self._memory(Op.UNPIN_TABLE, f"unpin mfn {mfn:#x}", frame=mfn)

    @whole
    def mmu_update(self, mfn: int, index: int, entry: int) -> int:
        """Write page-table entry ``index`` in a page of the domain; return the entry before.

        Of a page in use as a table the new entry is checked, and holds what it names: below the lowest level
        a table of the next one; in an ``l1`` table a page, which a writable entry keeps writable, so that a
        table is never mapped so. Any other page is only written, and must be free to be writable.
        Xen: do_mmu_update, MMU_NORMAL_PT_UPDATE.

        Parameters
        ----------
        mfn : int
            The table.
        index : int
            0 to 511.
        entry : int
            As the processor reads it: see :func:`pte`.
        """
        what = f"write entry {index} of mfn {mfn:#x}"
        return self._memory(Op.MMU_UPDATE, what, frame=mfn, ref=index, addr=entry)

    @whole
    def ran_on(self, cpu: int) -> None:
        """It ran on a CPU, whose TLB may hold its translations from now on. Xen: d->dirty_cpumask."""
        self._memory(Op.RUN_ON, f"run on CPU {cpu}", ref=cpu)

    # What the guest does with its own grant table.

    @whole
    def grant(
        self,
        ref: int,
        to: int | Domain,
        frame: int,
        *,
        readonly: bool = False,
        sub_page: tuple[int, int] | None = None,
        transfer: bool = False,
    ) -> None:
        """Write entry ``ref``: domain ``to`` may use ``frame`` (its mfn; a translated guest's gfn).

        Parameters
        ----------
        ref : int
            Index of the entry.
        to : int or Domain
            Who may use it.
        frame : int
            The page; with ``transfer`` the gfn where a received page goes.
        readonly : bool
            It may only be read.
        sub_page : (offset, length), optional
            Version 2: only these bytes, and only by copy.
        transfer : bool
            Accept a page from ``to`` instead.
        """
        flags = GTF.accept_transfer if transfer else GTF.permit_access
        if readonly:
            flags |= GTF.readonly
        addr = 0
        if sub_page is not None:
            flags |= GTF.sub_page
            addr = _part(sub_page)
        self._entry(ref, to, frame, flags, addr)

    @whole
    def grant_transitive(self, ref: int, to: int | Domain, owner: int | Domain, owner_ref: int) -> None:
        """Version 2: write entry ``ref``: ``to`` may copy through it from ``owner``'s grant ``owner_ref``."""
        self._entry(ref, to, owner_ref, GTF.transitive, domid_of(owner, self.machine))

    def _entry(self, ref: int, to: int | Domain, frame: int, flags: int, addr: int) -> None:
        peer = domid_of(to, self.machine)
        what = f"write grant {ref:#x}"
        self._memory(Op.GRANT, what, peer=peer, ref=ref, frame=frame, flags=int(flags), addr=addr)

    @whole
    def end_grant(self, ref: int) -> None:
        """Take entry ``ref`` back; refused while it is in use."""
        self._memory(Op.GRANT_END, f"end grant {ref:#x}", ref=ref)

    def grant_entries(self) -> Any:
        """A copy of the shared entries as a structured array: version 1 or 2 fields."""
        import numpy as np

        one = [("flags", "<u2"), ("domid", "<u2"), ("frame", "<u4")]
        two = [("flags", "<u2"), ("domid", "<u2"), ("offset", "<u2"), ("length", "<u2"), ("frame", "<u8")]
        data = self.machine._domain_array(self._fact("domid"), "shared")
        return np.frombuffer(data, dtype=np.dtype(one if self.grant_version == 1 else two))

    def grant_status(self) -> Any:
        """Version 2: a copy of the status words, one an entry."""
        import numpy as np

        return np.frombuffer(self.machine._domain_array(self._fact("domid"), "status"), dtype="<u2")

    @property
    def grant_version(self) -> int:
        """1 or 2."""
        return int(self._fact("grant_version"))

    @whole
    def set_grant_version(self, version: int) -> None:
        """Change the version while no grant is in use. Xen: gnttab_set_version."""
        self._fact("domid")
        rc = self.machine._set_grant_version(self.domid, word("version", version))
        if rc:
            raise MachineError(f"domain {self.domid}: grant table version {version}: {os.strerror(-rc)}")

    def query_size(self) -> tuple[int, int]:
        """(grant frames now, the most there may be). Xen: gnttab_query_size."""
        return self._fact("nr_grant_frames"), self._fact("max_grant_frames")

    @whole
    def setup_table(self, frames: int) -> None:
        """Grow the shared table to ``frames`` frames. Xen: gnttab_setup_table."""
        self._fact("domid")
        rc = self.machine._grow_grants(self.domid, word("frames", frames))
        if rc:
            raise MachineError(f"domain {self.domid}: {frames} grant frames: {os.strerror(-rc)}")

    # Hypercalls on the grants of others.

    @whole
    def map_grant(
        self, owner: int | Domain, ref: int, *, flags: int = GNTMAP.host_map, host_addr: int = 0x1000
    ) -> Mapping:
        """Map grant ``ref`` of ``owner``. Xen: map_grant_ref."""
        status, handle, bus = self.machine._do(
            Op.MAP, self.domid, peer=domid_of(owner, self.machine), flags=int(flags), ref=ref, addr=host_addr
        )
        return Mapping(GNTST(status)) if status else Mapping(GNTST.okay, handle, bus)

    @whole
    def unmap_grant(self, handle: int, *, host_addr: int = 0x1000, dev_bus_addr: int = 0) -> GNTST:
        """Unmap the host part (``host_addr`` not 0), the device part (``dev_bus_addr``), or both."""
        status, _, _ = self.machine._do(Op.UNMAP, self.domid, ref=handle, addr=host_addr, frame=dev_bus_addr)
        return GNTST(status)

    @whole
    def transfer_grant(self, mfn: int, to: int | Domain, ref: int) -> GNTST:
        """Give page ``mfn`` to ``to``, at its grant ``ref``; most failures free the page, as in Xen."""
        status, _, _ = self.machine._do(
            Op.TRANSFER, self.domid, peer=domid_of(to, self.machine), ref=ref, frame=mfn
        )
        return GNTST(status)

    def destroy(self) -> bool:
        """Begin its end, or look again: True when every page is home. Xen: domain_kill.

        Its mappings and allocations go at once; what others still refer to keeps it dying, until they let go.
        """
        if not self.exists:
            return True
        return self.machine._kill_domain(self.domid)


def domid_of(domain: int | Domain, machine: Machine) -> int:
    """The number of a domain that is given as a Domain of the machine or as its number."""
    if isinstance(domain, Domain):
        if domain.machine is not machine:
            raise MachineError(f"domain {domain.domid} is one of another machine")
        return domain.domid
    try:
        number = operator.index(domain)
    except TypeError:
        raise MachineError(f"a domain of the machine, or its number, is needed, got {domain!r}") from None
    if not 0 <= number <= 0xFFFF:
        raise MachineError(f"domain numbers are 0 to 0xffff, got {number}")
    return int(number)


def _part(sub_page: Any) -> int:
    # Offset and length of a part of a page, as an operation has them.
    try:
        offset, length = (operator.index(value) for value in sub_page)
    except (TypeError, ValueError):
        offset = length = -1
    if not 0 <= offset <= offset + length <= 4096:
        raise MachineError(f"a part of a page is (offset, length) within 4096 bytes, got {sub_page!r}")
    return int(offset | length << 16)


def _gfns(name: str, values: Sequence[int]) -> Any:
    # As they came, or not at all: NumPy would cut fractions off and wrap negative numbers.
    import numpy as np

    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        raise MachineError(f"{name} are whole numbers below 2^64 in one row, got {values!r}") from None
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise MachineError(
            f"{name} are whole numbers below 2^64 in one row, got {array.ndim}-d {array.dtype}"
        )
    if len(array) and int(array.min()) < 0:
        raise MachineError(f"{name} are not negative, got {int(array.min())}")
    return np.ascontiguousarray(array, dtype=np.uint64)
