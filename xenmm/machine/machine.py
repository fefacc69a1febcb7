"""A booted host brought to life: records, allocator, domains, M2P, mappings and grants on real state.

>>> machine = host.machine()                                    # doctest: +SKIP
>>> dom = machine.create_domain(1, max_pages=1024)              # doctest: +SKIP
>>> machine.page(dom.populate(gfn=0)).owner                     # doctest: +SKIP
1
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .._machine import MachineCore
from ..boot.host import Host
from ..errors import ConfigError, FrameError, MachineError, need, need_all, need_one_of, need_range
from .allocator import HeapRun, dma_bits, heap_runs
from .arguments import whole
from .domain import Domain, domid_of
from .grant_table import DOMID_FIRST_RESERVED, DOMID_INVALID, DOMID_IO
from .ops import Op, copy_dtype, memflags, op_dtype
from .page_info import PAGE_LIST_NULL, PAGE_TYPES, Page, page_info_dtype

if TYPE_CHECKING:
    from .audit import AuditReport

INVALID_M2P_ENTRY: Final = (1 << 64) - 1
SHARED_M2P_ENTRY: Final = INVALID_M2P_ENTRY - 1
#: 32-bit links with one value for "none" (Xen's setup_max_pdx).
_MOST_RECORDS: Final = (1 << 32) - 2
_MOST_CPUS: Final = 64
_FLAVOURS: Final = ("naive", "cse")
#: Which profiles have the page-taking map_domain_page (84d568f5c9), and which keep conversions (0ed9151a5f).
_BEFORE_MAP_PAGE: Final = ("pre", "ext5t", "fold", "sparse-frametable", "sparse-m2p")
_BEFORE_CSE: Final = (*_BEFORE_MAP_PAGE, "map-page")


@dataclass(frozen=True)
class MachineSetup:
    """What the core needs to know of a host; offsets, sizes and ends in bytes of the table, or in frames."""

    frame_table_reserved: int
    frame_table_pages: tuple[tuple[int, int], ...]
    frame_table_fills: tuple[tuple[int, int, int], ...]
    m2p_reserved: int
    m2p_fills: tuple[tuple[int, int, int], ...]
    compat_reserved: int
    compat_fills: tuple[tuple[int, int, int], ...]
    max_page: int
    max_pdx: int
    groups: tuple[tuple[int, int], ...]
    runs: tuple[HeapRun, ...]
    nr_nodes: int
    dma_zone: int
    naive: bool
    by_page: bool
    vcpus: int
    cpus: int


def plan_machine(
    host: Host, *, flavour: str, by_page: bool, vcpus: int, cpus: int, runs: list[HeapRun], nodes: int
) -> MachineSetup:
    """Derive the setup from what boot decided."""
    table, m2p, compat = host.frame_table, host.m2p, host.compat_m2p
    if host.max_pdx > _MOST_RECORDS or table.size > table.virt_size_reserved:
        raise MachineError(
            f"max_pdx {host.max_pdx:#x} is past what 32-bit list links or the frame table's address space "
            f"can hold; a real Xen of this profile would not boot"
        )
    bits = dma_bits(host)
    return MachineSetup(
        frame_table_reserved=table.virt_size_reserved,
        frame_table_pages=tuple((at, (frames << 12) * n) for at, frames, n in table.chunks),
        frame_table_fills=table.fills,
        m2p_reserved=m2p.virt_size_reserved,
        m2p_fills=m2p.fills,
        compat_reserved=compat.virt_size_reserved if compat else 0,
        compat_fills=compat.fills if compat else (),
        max_page=host.max_page,
        max_pdx=host.max_pdx,
        groups=host.groups_valid,
        runs=tuple(runs),
        nr_nodes=nodes,
        dma_zone=bits - 12 if bits else 0,
        naive=flavour == "naive",
        by_page=by_page,
        vcpus=vcpus,
        cpus=cpus,
    )


class Machine(MachineCore):
    """A live machine.

    Safe to use from several threads: one lock guards the state; a batch holds it, with the GIL released, for
    its whole length, and other threads wait. Array views read and write past the lock. Saving takes the lock
    once; an audit reads table by table, and means something only while no other thread changes the machine.

    Parameters
    ----------
    host : Host
        The booted host. Nothing of it changes.
    flavour : str, optional
        ``naive``: the grant table converts a frame at each use, as before 0ed9151a5f; ``cse``: once. By
        default as the host's profile.
    map_by : str, optional
        ``page`` when map_domain_page takes the page where one is at hand, ``frame`` when it always takes the
        frame. By default as the host's profile.
    mapcache : int
        Number of vCPUs with a mapcache; 0: everything is in the direct map, as on x86-64.
    cpus : int
        Number of TLBs, 0 to 64, whose flushes are counted: pages are then stamped with the TLB clock in the
        context word of their records, and flushed for when they come into use again. 0: no TLB is modelled,
        and the context word is free for embedders.
    reserve : iterable of (start, end)
        Bytes of RAM that the heap does not get: Xen's image, modules.

    Raises
    ------
    MachineError
        If boot's tables leave no page, the host aliases frames, or the system gives no address space.
    """

    @whole
    def __new__(
        cls,
        host: Host,
        *,
        flavour: str | None = None,
        map_by: str | None = None,
        mapcache: int = 0,
        cpus: int = 0,
        reserve: Iterable[tuple[int, int]] = (),
    ) -> Machine:
        need("host", host, Host)
        profile = host.profile.name
        chosen = ("naive" if profile in _BEFORE_CSE else "cse") if flavour is None else flavour
        by = ("frame" if profile in _BEFORE_MAP_PAGE else "page") if map_by is None else map_by
        need_one_of("flavour", chosen, _FLAVOURS)
        need_one_of("map_by", by, ("page", "frame"))
        if not 0 <= mapcache <= 4096:
            raise ConfigError(f"mapcache is a number of vCPUs, 0 to 4096, got {mapcache!r}")
        if not 0 <= cpus <= _MOST_CPUS:
            raise ConfigError(f"cpus is a number of TLBs, 0 to {_MOST_CPUS}, got {cpus!r}")
        reserve = [need_range("each of reserve", each) for each in need_all("reserve", reserve, object)]
        runs, nodes, backing = heap_runs(host, reserve)
        setup = plan_machine(
            host,
            flavour=chosen,
            by_page=by == "page",
            vcpus=mapcache,
            cpus=cpus,
            runs=runs,
            nodes=len(nodes),
        )
        self: Machine = super().__new__(cls, host, setup)
        self.setup = setup
        self.nodes = nodes
        self.m2p_backing, self.compat_m2p_backing = backing
        self.options = {
            "flavour": chosen,
            "map_by": by,
            "mapcache": mapcache,
            "cpus": cpus,
            "reserve": [list(each) for each in reserve],
        }
        self.added = []
        self.m2p_fills = list(setup.m2p_fills)
        self.compat_fills = list(setup.compat_fills)
        return self

    def __init__(self, host: Host, **options: Any) -> None:
        pass

    setup: MachineSetup
    #: Node ids; the core counts nodes by their index here.
    nodes: tuple[int, ...]
    #: First mfn behind each backed 2 MiB of the M2P.
    m2p_backing: dict[int, int]
    #: The same of the compat M2P.
    compat_m2p_backing: dict[int, int]
    #: The options that it was made with.
    options: dict[str, Any]
    #: Memory added since: (start, end, node), in bytes.
    added: list[tuple[int, int, int]]
    #: What each part of the M2P was filled with: (offset, bytes, value).
    m2p_fills: list[tuple[int, int, int]]
    #: The same of the compat M2P.
    compat_fills: list[tuple[int, int, int]]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a live machine is saved with save() and loaded with Machine.load(), not pickled")

    def __repr__(self) -> str:
        return (
            f"<xenmm.Machine on {self.host!r}: {len(self.domains)} domains, "
            f"{self.free_pages} free pages, {self.flavour}>"
        )

    @property
    def flavour(self) -> str:
        """``naive`` or ``cse``."""
        return "naive" if self.setup.naive else "cse"

    def _do(
        self,
        code: int,
        dom: int = 0,
        peer: int = 0,
        flags: int = 0,
        ref: int = 0,
        addr: int = 0,
        frame: int = 0,
    ) -> tuple[int, int, int]:
        try:
            return super()._do(code, *map(index, (dom, peer, flags, ref, addr, frame)))
        except (OverflowError, TypeError):
            fields = {"domid": dom, "peer": peer, "flags": flags, "ref": ref, "addr": addr, "frame": frame}
            given = ", ".join(f"{name} {value!r}" for name, value in fields.items() if value != 0)
            raise MachineError(
                f"{Op(code).name.lower()}: not an integer in its range among {given}"
            ) from None

    # Records and tables.

    @whole
    def mfn_valid(self, mfn: int) -> bool:
        """Whether a frame has a record now; hot-added frames included."""
        return 0 <= mfn < 1 << 64 and self._frame_ok(mfn)

    def _checked(self, mfn: int) -> int:
        if not self.mfn_valid(mfn):
            # The host knows which test fails; what hot-add made valid does not come here.
            if 0 <= mfn < 1 << 64 and not self.host.mfn_valid(mfn):
                self.host.mfn_to_pdx(mfn)
            raise FrameError(f"mfn {mfn:#x} is not valid on this machine")
        return mfn

    @whole
    def page(self, mfn: int) -> Page:
        """The record of a frame, by name.

        Raises
        ------
        FrameError
            If ``mfn_valid(mfn)`` is false: past the end, in a hole, or in a group never backed.
        """
        return Page(self, self._checked(mfn))

    @whole
    def page_at_pdx(self, pdx: int) -> Page:
        """The record at an index of the frame table."""
        if not 0 <= pdx < 1 << 64 or not self._pdx_ok(pdx):
            raise FrameError(
                f"pdx {pdx:#x} has no record: max_pdx is {self.max_pdx:#x}, or its group is not backed"
            )
        return Page(self, self.host.pdx_to_mfn_unchecked(pdx))

    def _owner(self, pdx: int) -> int | None:
        if self._free_chunk_of(pdx) is not None:
            return None
        owner = self._record(pdx)[4]
        return self._record(owner)[5] - 1 if owner else None

    def groups(self) -> list[tuple[int, int]]:
        """Backed groups of 65,536 pdx, as half-open runs; hot-added ones included."""
        return _bit_runs(self._groups())

    @whole
    def page_infos(self, *, writable: bool = False) -> Iterator[tuple[int, Any]]:
        """Every run of backed records as ``(first pdx, structured array)``; the array is the table itself.

        Writing past the machine's operations can break every rule that :meth:`audit` checks.
        """
        import numpy as np

        for first, end in self.groups():
            start, stop = first << 16, min(end << 16, self.max_pdx)
            if start < stop:
                view = self._frame_table_view(start, stop, writable)
                yield start, np.frombuffer(view, dtype=page_info_dtype())

    @whole
    def m2p_entries(self, *, writable: bool = False) -> Iterator[tuple[int, Any]]:
        """Every run of backed M2P entries as ``(first mfn, uint64 array)``; the array is the table itself."""
        import numpy as np

        for first, end in _bit_runs(self._m2p_slots()):
            view = self._m2p_view(first << 18, end << 18, writable)
            yield first << 18, np.frombuffer(view, dtype=np.uint64)

    @whole
    def compat_m2p_entries(self, *, writable: bool = False) -> Iterator[tuple[int, Any]]:
        """The same of the compat M2P, uint32 arrays; nothing where the profile has none."""
        import numpy as np

        for first, end in _bit_runs(self._compat_slots()):
            view = self._compat_view(first << 19, end << 19, writable)
            yield first << 19, np.frombuffer(view, dtype=np.uint32)

    def trim(self) -> int:
        """Give memory of emptied table pages back to the system; return how many bytes."""
        return self._trim(self.m2p_fills, self.compat_fills)

    # M2P.

    @whole
    def get_gpfn_from_mfn(self, mfn: int) -> int | None:
        """The gfn in the M2P, or None for an invalid entry; ``SHARED_M2P_ENTRY`` for a shared frame."""
        _, entry, _ = self._do(Op.M2P_GET, frame=self._checked(mfn))
        return None if entry >> 63 and entry != SHARED_M2P_ENTRY else entry

    @whole
    def m2p_entry(self, mfn: int) -> int:
        """The raw entry: what boot filled in, as long as nothing was written."""
        return self._do(Op.M2P_GET, frame=self._checked(mfn))[1]

    @whole
    def compat_m2p_entry(self, mfn: int) -> int | None:
        """The 4-byte entry that 32-bit guests read: the low half of the M2P's, once that was written.

        None where there is none: the profile has no such table, or the frame is past its end (1 TiB).
        """
        return self._compat_entry(self._checked(mfn))

    @whole
    def set_m2p(self, mfn: int, entry: int) -> None:
        """Write ``INVALID_M2P_ENTRY`` or ``SHARED_M2P_ENTRY``; refused while the frame is in a guest."""
        self._memory(Op.M2P_SET, f"M2P entry of mfn {mfn:#x}", frame=self._checked(mfn), addr=entry)

    @whole
    def machphys_mfn_list(self, max_extents: int | None = None, *, compat: bool = False) -> list[int]:
        """The frames behind the M2P, one for each 2 MiB of it; a hole repeats the frame before it.

        Xen: XENMEM_machphys_mfn_list, arch/x86/x86_64/mm.c, subarch_memory_op; with ``compat``
        XENMEM_machphys_compat_mfn_list, which is also what a 32-bit guest is told.
        """
        found: list[int] = []
        last = 0
        table = self.host.compat_m2p if compat else self.host.m2p
        backing = self.compat_m2p_backing if compat else self.m2p_backing
        if max_extents is not None and max_extents < 0:
            raise MachineError(f"there are no lists of {max_extents} extents")
        if table is None:
            return found
        slots = min(-(-self.max_page * (4 if compat else 8) >> 21), table.virt_size_reserved >> 21)
        for slot in range(slots if max_extents is None else min(slots, max_extents)):
            last = backing.get(slot, last)
            found.append(last)
        return found

    # The allocator.

    def _memory(self, op: Op, what: str, dom: int = DOMID_INVALID, **fields: int) -> int:
        status, out, _ = self._do(op, dom, **fields)
        if status:
            raise MachineError(f"{what}: {os.strerror(-status)}")
        return out

    @whole
    def alloc(self, order: int = 0, *, xen_heap: bool = False, **where: Any) -> int:
        """Take 2**order pages that no domain owns; return the first mfn. Keywords: :func:`memflags`."""
        flags = memflags(order, **where)
        return self._memory(Op.ALLOC, f"allocate order {order}", flags=flags, addr=int(xen_heap))

    @whole
    def free(self, mfn: int, order: int = 0) -> None:
        """Free pages taken by :meth:`alloc`, or one page of a domain that has no place in the guest."""
        self._memory(
            Op.FREE, f"free mfn {mfn:#x}, order {order}", frame=self._checked(mfn), flags=memflags(order)
        )

    @whole
    def scrub(self, budget: int = 1 << 62) -> int:
        """Scrub dirty free pages of every node; return how many. Xen: scrub_free_pages."""
        return sum(self._memory(Op.SCRUB, "scrub", ref=node, frame=budget) for node in range(self.nr_nodes))

    def free_chunks(self) -> list[tuple[int, int, int, int]]:
        """(node id, zone, order, how many chunks) of every free list that is not empty."""
        lists, *_ = self._free_lists()
        return [
            (self.nodes[node], zone, order, len(self._walk(head, self.max_pdx)) // 4)
            for node, zone, order, head, _ in lists
        ]

    def free_pages_by_node(self) -> dict[int, int]:
        """Free pages of each node."""
        return dict(zip(self.nodes, self._free_lists()[2], strict=True))

    def _mfns_of_list(self, head: int) -> list[int]:
        import numpy as np

        if head == PAGE_LIST_NULL:
            return []
        pdxs = np.frombuffer(self._walk(head, self.max_pdx), dtype=np.uint32)
        return [self.host.pdx_to_mfn_unchecked(pdx) for pdx in pdxs.tolist()]

    @whole
    def add_memory(self, start: int, end: int, *, node: int | None = None) -> None:
        """Hot-add RAM at ``[start, end)`` bytes to the live machine.

        The frozen compression does not change: only memory that it can express is taken. The tables grow;
        their new pages come from the added memory itself.

        Parameters
        ----------
        start, end : int
            Machine addresses, multiples of 2 MiB.
        node : int, optional
            NUMA node, a new one or one that is there; by default that of the SRAT row which covers the range.

        Raises
        ------
        MachineError
            If the range is not taken; the message says which rule refuses it. Nothing has changed then.
        """
        from .hot_add import add_memory

        add_memory(self, start, end, node)

    # References and types by name.

    @whole
    def get_page(self, mfn: int, domain: int | Domain) -> bool:
        """Take a reference to a page of ``domain``; False: not its page, or the count would overflow."""
        return self._do(Op.GET_PAGE, domid_of(domain, self), frame=self._checked(mfn))[0] == 0

    @whole
    def put_page(self, mfn: int) -> None:
        """Drop a reference taken by :meth:`get_page`; the last one frees the page."""
        self._memory(Op.PUT_PAGE, f"put_page of mfn {mfn:#x}", frame=self._checked(mfn))

    @whole
    def get_page_type(self, mfn: int, type: str) -> bool:
        """Take a type reference under a reference; False while the page is in use as another type."""
        if not isinstance(type, str) or type not in PAGE_TYPES or type == "none":
            raise MachineError(
                f"page type is one of {', '.join(n for n in PAGE_TYPES if n != 'none')}, got {type!r}"
            )
        status = self._do(Op.GET_PAGE_TYPE, frame=self._checked(mfn), flags=PAGE_TYPES[type])[0]
        if status == -22:
            raise MachineError(f"get_page_type of mfn {mfn:#x}: the caller holds no reference without a type")
        return status == 0

    @whole
    def put_page_type(self, mfn: int) -> None:
        """Drop a type reference taken by :meth:`get_page_type`."""
        self._memory(Op.PUT_PAGE_TYPE, f"put_page_type of mfn {mfn:#x}", frame=self._checked(mfn))

    @whole
    def put_page_and_type(self, mfn: int) -> None:
        """Drop one of each."""
        self.put_page_type(mfn)
        self.put_page(mfn)

    # Page tables, and what stands in TLBs.

    @whole
    def page_table(self, mfn: int) -> dict[int, int]:
        """The entries of a page that was written as a page table, by index; those that are 0 are left out."""
        entries = memoryview(self._table(self.page(mfn).pdx)).cast("Q")
        return {i: entry for i, entry in enumerate(entries) if entry}

    @whole
    def flush_tlb(self, cpu: int | None = None) -> None:
        """Flush one TLB, or every one. Xen: flush_tlb_mask."""
        ref = 0xFFFFFFFF if cpu is None else cpu
        if ref == 0xFFFFFFFF and cpu is not None:
            raise MachineError(f"there is no TLB {cpu}")
        self._memory(Op.FLUSH_TLB, f"flush TLB {cpu}" if cpu is not None else "flush every TLB", ref=ref)

    def tlb_times(self) -> tuple[int, list[int]]:
        """(the TLB clock, the time at which each TLB was flushed last)."""
        return self._tlb()

    # map_domain_page.

    @whole
    def map_domain_page(self, mfn: int, vcpu: int = 0) -> int:
        """The address at which a frame is mapped; by frame."""
        return self._memory(Op.MAP_FRAME, f"map mfn {mfn:#x}", frame=self._checked(mfn), ref=vcpu)

    @whole
    def map_domain_page_of(self, page: Page, vcpu: int = 0) -> int:
        """The address at which a page is mapped; by page, where no frame is needed (84d568f5c9)."""
        if not isinstance(page, Page) or page.machine is not self:
            raise MachineError(f"a page of this machine is needed (machine.page(mfn)), got {page!r}")
        return self._memory(Op.MAP_PAGE, f"map mfn {page.mfn:#x}", frame=page.mfn, ref=vcpu)

    @whole
    def unmap_domain_page(self, virt: int) -> None:
        """End a mapping; nothing to do in the direct map."""
        self._memory(Op.UNMAP_PAGE, f"unmap {virt:#x}", addr=virt)

    @whole
    def map_domain_page_global(self, mfn: int) -> int:
        """A lasting mapping: the direct map's, on x86-64 with or without a mapcache.

        Differs from Xen: a mapcache machine takes global mappings from a window of its own (vmap).
        """
        return int(self.host.mfn_to_virt(self._checked(mfn)))

    # Domains.

    @whole
    def create_domain(
        self,
        domid: int,
        *,
        max_pages: int = 1 << 40,
        translated: bool = False,
        iommu: bool = False,
        iommu_max: int = 1 << 62,
        max_grant_frames: int = 64,
        max_maptrack_frames: int = 1024,
        grant_version: int = 1,
    ) -> Domain:
        """Make a domain.

        Parameters
        ----------
        domid : int
            Its number, 0 to 0x7fef, not in use.
        max_pages : int
            The most pages that it may own.
        translated : bool
            A guest with a P2M of Xen's (HVM): grants name gfns, and host mappings by others take no type.
        iommu : bool
            Its mappings of others' grants also take an IOMMU entry.
        iommu_max : int
            How many such entries there is room for (assumed: Xen's limit is memory).
        max_grant_frames, max_maptrack_frames : int
            Limits of its grant table (Xen's defaults 64 and 1,024).
        grant_version : int
            1 or 2.
        """
        if not 0 <= domid < DOMID_FIRST_RESERVED:
            raise MachineError(f"domid {domid} is not in [0, {DOMID_FIRST_RESERVED:#x})")
        for name, value in (("max_pages", max_pages), ("iommu_max", iommu_max)):
            if not 0 <= value < 1 << 64:
                raise MachineError(f"{name} {value} is not in [0, 2^64)")
        if not 1 <= max_grant_frames <= 4096 or not 0 <= max_maptrack_frames <= 65536:
            raise MachineError(
                f"grant frames are 1 to 4096 and maptrack frames 0 to 65536, got {max_grant_frames} and "
                f"{max_maptrack_frames}"
            )
        rc = self._create_domain(domid, max_pages, max_grant_frames, max_maptrack_frames)
        if rc:
            raise MachineError(f"create domain {domid}: {os.strerror(-rc)}")
        self._configure_domain(domid, translated, iommu, iommu_max)
        domain = Domain(self, domid)
        if grant_version != 1:
            try:
                domain.set_grant_version(grant_version)
            except MachineError:
                domain.destroy()
                raise
        return domain

    @whole
    def domain(self, domid: int) -> Domain:
        """A domain by number.

        Raises
        ------
        MachineError
            If there is none.
        """
        if not 0 <= domid < DOMID_FIRST_RESERVED or self._domain(domid) is None:
            raise MachineError(f"there is no domain {domid}")
        return Domain(self, domid)

    @property
    def domains(self) -> list[Domain]:
        """Every domain, dying ones included, by number."""
        return [Domain(self, domid) for domid in self._domids() if domid != DOMID_IO]

    # Batches.

    @whole
    def ops(self, count: int) -> Any:
        """An array for ``count`` operations of :meth:`run`, all zero."""
        import numpy as np

        if not 0 <= count < 1 << 48:
            raise MachineError(f"there are no arrays of {count} operations")
        return np.zeros(count, dtype=op_dtype())

    def run(self, ops: Any) -> int:
        """Carry out an array of operations (:class:`Op`), in order; return how many failed.

        Parameters
        ----------
        ops : ndarray of op_dtype(), C-contiguous and writable
            Each ``status`` is written, and ``out`` and ``frame`` where the operation says so.
        """
        _check_batch(ops, op_dtype())
        return self._run(ops.ctypes.data, len(ops))

    @whole
    def grant_copy(self, domain: int | Domain, copies: Any) -> int:
        """Copy between grants or own frames of ``domain``, one ``copy_dtype()`` each; return the failures."""
        _check_batch(copies, copy_dtype())
        return self._copy(domid_of(domain, self), copies.ctypes.data, len(copies))

    # Checkpoints.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole state to a file; see :mod:`xenmm.machine.checkpoint`."""
        from .checkpoint import save

        save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Machine:
        """Read a machine back, its host with it; refuses what is truncated, altered or foreign."""
        from .checkpoint import load

        return load(path)

    # Counters and checks.

    def counters(self) -> dict[str, int]:
        """How often each conversion and operation ran since the last reset, by Xen's function names."""
        return self._counters()

    def reset_counters(self) -> None:
        """Count from zero."""
        self._reset_counters()

    def audit(self) -> AuditReport:
        """Check every invariant; see :mod:`xenmm.machine.audit`. Costs what was touched, not the span."""
        from .audit import audit

        return audit(self)


def _check_batch(array: Any, dtype: Any) -> None:
    import numpy as np

    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        raise TypeError(f"a batch is a one-dimensional NumPy array of {dtype}")
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise TypeError("a batch is C-contiguous and writable: statuses are written into it")


def _bit_runs(bitmap: bytes) -> list[tuple[int, int]]:
    # Runs of set bits of a little-endian bitmap.
    runs: list[tuple[int, int]] = []
    bits = int.from_bytes(bitmap, "little")
    at = 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        at += skip
        bits >>= skip
        length = (~bits & (bits + 1)).bit_length() - 1
        runs.append((at, at + length))
        at += length
        bits >>= length
    return runs
