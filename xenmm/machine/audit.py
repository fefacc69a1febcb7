"""Every invariant of a live machine, checked from its tables alone, in time proportional to what was touched.

Nothing here shares code with the operations: lists are walked, records read, and counts summed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..constants import COMPAT_M2P_ENTRY_BYTES
from ..errors import MachineError
from .grant_table import DOMID_IO
from .page_info import (
    PAGE_LIST_NULL,
    PGC_ALLOCATED,
    PGC_COUNT_MASK,
    PGC_NEED_SCRUB,
    PGC_STATE,
    PGC_STATE_FREE,
    PGC_XEN_HEAP,
    PGT_COUNT_MASK,
    PGT_PINNED,
    PGT_TYPE_SHIFT,
    PGT_VALIDATED,
    page_info_dtype,
)
from .page_table import PTE

if TYPE_CHECKING:
    from .machine import Machine

_NOT_DIRTY: Final = (1 << 19) - 1
_INVALID: Final = (1 << 64) - 1
_SHARED: Final = _INVALID - 1
_PIN_SHIFTS: Final = (0, 8, 16, 24)
_ACTIVE: Final = (
    ("pin", "<u4"),
    ("domid", "<u2"),
    ("trans_domid", "<u2"),
    ("trans_gref", "<u4"),
    ("start", "<u2"),
    ("length", "<u2"),
    ("mfn", "<u8"),
    ("gfn", "<u8"),
    ("is_sub_page", "<u4"),
    ("pad", "<u4"),
)
_MAPTRACK: Final = (("ref", "<u4"), ("flags", "<u2"), ("domid", "<u2"), ("host_addr", "<u8"))
#: A mapping of an I/O frame, in maptrack flags (ours, see _grant_map.pxd).
IO_FRAME: Final = 0x8000
_NO_HANDLE: Final = 0xFFFFFFFF
#: Slots of a root table that are Xen's.
_XEN_SLOTS: Final = range(256, 272)
_FRAME: Final = ((1 << 52) - 1) & ~0xFFF


def active_dtype() -> Any:
    """The NumPy dtype of an active grant entry."""
    import numpy as np

    return np.dtype(list(_ACTIVE))


def maptrack_dtype() -> Any:
    """The NumPy dtype of a grant mapping's record."""
    import numpy as np

    return np.dtype(list(_MAPTRACK))


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    errors : tuple of str
        Every broken invariant, in words; empty when all hold.
    pages : dict of str to int
        Pages by use: free, domains, xen_heap, held, boot, io.
    """

    errors: tuple[str, ...]
    pages: dict[str, int]

    @property
    def ok(self) -> bool:
        """All invariants hold."""
        return not self.errors

    def __bool__(self) -> bool:
        return self.ok

    def check(self) -> None:
        """Raise MachineError with the first errors, if there are any."""
        if self.errors:
            more = f" (and {len(self.errors) - 5} more)" if len(self.errors) > 5 else ""
            raise MachineError("audit: " + "; ".join(self.errors[:5]) + more)


@dataclass
class _Books:
    # What the audit has read so far.
    machine: Machine
    pdxs: Any
    records: Any
    errors: list[str] = field(default_factory=list)
    pages: dict[str, int] = field(default_factory=dict)
    free_head: dict[int, int] = field(default_factory=dict)
    free_spans: list[tuple[int, int]] = field(default_factory=list)
    references: dict[int, int] = field(default_factory=dict)
    types: dict[int, int] = field(default_factory=dict)

    def wrong(self, what: str) -> None:
        if len(self.errors) < 1000:
            self.errors.append(what)

    def expect(self, what: str, found: object, right: object) -> None:
        if found != right:
            self.wrong(f"{what}: {found}, should be {right}")

    def refer(self, pdx: int, references: int, types: int) -> None:
        self.references[pdx] = self.references.get(pdx, 0) + references
        self.types[pdx] = self.types.get(pdx, 0) + types


def audit(machine: Machine) -> AuditReport:
    """Check every invariant of a machine.

    Free lists are consistent, merged and disjoint; every page in use has one owner, on whose list it is;
    reference and type counts equal the sum of what holds them, entries of page tables and pins among them;
    M2P and P2M are inverse, and the compat M2P is the M2P's low half; pins and status words of grants equal
    the mappings; no page is lost.
    """
    books = _read(machine)
    _audit_free(books)
    _audit_domains(books)
    _audit_grants(books)
    _audit_holds(books)
    _audit_tables(books)
    _audit_records(books)
    _audit_m2p(books)
    _audit_compat(books)
    _audit_total(books)
    return AuditReport(tuple(books.errors), dict(books.pages))


def _touched(view: Any, per_page: int, end: int) -> Any:
    # Indices of all entries that share a touched 4 KiB page.
    import numpy as np

    bits = np.frombuffer(view, dtype=np.uint8)
    used = np.flatnonzero(bits)
    pages = (used[:, None] * 8 + np.arange(8))[
        np.unpackbits(bits[used, None], axis=1, bitorder="little") == 1
    ]
    entries = (pages[:, None] * per_page + np.arange(per_page)).ravel()
    return entries[entries < end]


def _read(machine: Machine) -> _Books:
    import numpy as np

    pdxs = _touched(machine._touched()[0], 128, machine.max_pdx)
    table = np.frombuffer(machine._frame_table_view(0, machine.max_pdx, False), dtype=page_info_dtype())
    records = table[pdxs]
    seen = (records["count_info"] != 0) | (records["type_info"] != 0) | (records["owner"] != 0)
    seen |= (records["next"] != 0) | (records["prev"] != 0) | (records["context"] != 0)
    return _Books(machine, pdxs[seen], records[seen])


def _list(books: _Books, head: int, tail: int, name: str) -> list[int]:
    # A list's pdx, walked forward; its back links and its tail are checked.
    import numpy as np

    if head == PAGE_LIST_NULL:
        books.expect(f"{name}: tail of an empty list", tail, PAGE_LIST_NULL)
        return []
    # No list is longer than there are records; one that is goes in a circle.
    found: list[int] = np.frombuffer(books.machine._walk(head, len(books.pdxs) + 1), dtype=np.uint32).tolist()
    books.expect(f"{name}: tail", tail, found[-1])
    before = PAGE_LIST_NULL
    for place, pdx in enumerate(found):
        link = books.machine._record(pdx)[1]
        if link != before:
            books.wrong(f"{name}: pdx {pdx:#x} links back to {link:#x}, not {before:#x}")
            return found[:place]
        before = pdx
    if books.machine._record(found[-1])[0] != PAGE_LIST_NULL:
        books.wrong(f"{name}: does not end at pdx {found[-1]:#x}")
    return found


def _audit_free(books: _Books) -> None:
    machine = books.machine
    lists, total, by_node, _ = machine._free_lists()
    marks = machine._free_marks()
    counted = [0] * machine.nr_nodes
    to_mfn = machine.host.pdx_to_mfn_unchecked
    for node, zone, order, head, tail in lists:
        name = f"free list of node {node}, zone {zone}, order {order}"
        members = _list(books, head, tail, name)
        if not members:
            books.wrong(f"{name}: marked as not empty, but is")
        elif (node, zone, order) not in marks:
            books.wrong(f"{name}: marked as empty, but is not")
        for pdx in members:
            mfn = to_mfn(pdx)
            place = machine._is_heap(mfn)
            fields = machine._record(pdx)
            if fields[2] & PGC_STATE != PGC_STATE_FREE or fields[4] != order:
                books.wrong(f"{name}: pdx {pdx:#x} is no free head of that order")
            if place is None or place != (node, False) or max(mfn.bit_length(), 1) != zone:
                books.wrong(f"{name}: mfn {mfn:#x} does not belong there")
            if pdx & ((1 << order) - 1):
                books.wrong(f"{name}: pdx {pdx:#x} is not aligned")
            if books.free_head.get(pdx ^ (1 << order)) == order and order < 18:
                other = machine._is_heap(to_mfn(pdx ^ (1 << order)))
                if other == place:
                    books.wrong(f"{name}: pdx {pdx:#x} and its buddy are not merged")
            books.free_head[pdx] = order
            books.free_spans.append((pdx, pdx + (1 << order)))
        counted[node] += len(members) << order
    books.free_spans.sort()
    for (_, end), (start, _) in zip(books.free_spans, books.free_spans[1:], strict=False):
        if start < end:
            books.wrong(f"free chunks overlap at pdx {start:#x}")
    books.expect("free pages by node", by_node, counted)
    books.expect("free pages", total, sum(counted))
    books.pages["free"] = sum(counted)


def _audit_domains(books: _Books) -> None:
    machine = books.machine
    owned = 0
    for domid in machine._domids():
        facts = machine._domain(domid)
        (head, tail), (xen_head, xen_tail) = machine._domain_lists(domid)
        pages = _list(books, head, tail, f"pages of domain {domid}")
        xen = _list(books, xen_head, xen_tail, f"Xen-heap pages of domain {domid}")
        books.expect(f"domain {domid}: tot_pages", facts["tot_pages"], len(pages))
        books.expect(f"domain {domid}: xenheap_pages", facts["xenheap_pages"], len(xen))
        owner = books.records["owner"] == facts["pdx"]
        owner &= (books.records["count_info"] & PGC_STATE) != PGC_STATE_FREE
        if domid != DOMID_IO:
            theirs = set(books.pdxs[owner].tolist())
            if theirs != set(pages) | set(xen):
                odd = sorted(theirs ^ (set(pages) | set(xen)))
                books.wrong(f"domain {domid}: owned but not listed, or listed but not owned: pdx {odd[:3]}")
        else:
            books.pages["io"] = int(owner.sum())
        shared, status, active, tracks = machine._grant_frames(domid)
        books.expect(f"domain {domid}: grant frames", sorted(xen), sorted(shared + status))
        for pdx in xen:
            books.refer(pdx, 0, 1)
        books.pages["xen_heap"] = books.pages.get("xen_heap", 0) + 1 + len(xen) + len(active) + len(tracks)
        for pdx in (facts["pdx"], *xen, *active, *tracks):
            if not machine._record(pdx)[2] & PGC_XEN_HEAP:
                books.wrong(f"domain {domid}: pdx {pdx:#x} is not marked as Xen heap")
        owned += len(pages)
    books.pages["domains"] = owned


def _audit_grants(books: _Books) -> None:
    import numpy as np

    machine = books.machine
    facts = {domid: machine._domain(domid) for domid in machine._domids()}
    active = {
        domid: np.frombuffer(machine._domain_array(domid, "active"), dtype=active_dtype()) for domid in facts
    }
    pins: dict[tuple[int, int], list[int]] = {}
    for domid, fact in facts.items():
        tracks = np.frombuffer(machine._domain_array(domid, "maptrack"), dtype=maptrack_dtype())
        used = tracks[tracks["flags"] != 0]
        books.expect(f"domain {domid}: mappings in use", fact["maptrack_used"], len(used))
        _audit_handles(books, domid, fact, tracks)
        in_iommu = 0
        for ref, flags, owner, _ in used.tolist():
            entry = active[owner][ref]
            pin = pins.setdefault((owner, ref), [0, 0, 0, 0])
            readonly = flags >> 2 & 1
            pin[readonly] += flags >> 1 & 1
            pin[2 + readonly] += flags & 1
            if int(entry["domid"]) != domid:
                books.wrong(f"grant {ref:#x} of domain {owner} is mapped by {domid}, but pinned for another")
            if flags & IO_FRAME:
                continue
            in_iommu += owner != domid and fact["need_iommu"]
            writable = not readonly
            host_type = writable and (owner == domid or not facts[owner]["translated"])
            books.refer(
                machine.host.mfn_to_pdx_unchecked(int(entry["mfn"])),
                (flags & 1) + (flags >> 1 & 1),
                (flags & 1) * writable + (flags >> 1 & 1) * host_type,
            )
        books.expect(f"domain {domid}: IOMMU entries", fact["iommu_used"], in_iommu)
    for domid, fact in facts.items():
        _audit_pins(books, domid, fact, active[domid], pins)


def _audit_handles(books: _Books, domid: int, fact: dict[str, Any], tracks: Any) -> None:
    # The free handles are linked, each once, and are all that is not in use.
    free: set[int] = set()
    handle = fact["maptrack_free"]
    while handle != _NO_HANDLE and handle < len(tracks) and handle not in free:
        free.add(handle)
        if tracks["flags"][handle]:
            books.wrong(f"domain {domid}: handle {handle} is both free and in use")
        handle = int(tracks["ref"][handle])
    books.expect(f"domain {domid}: free handles", len(free), len(tracks) - fact["maptrack_used"])
    if handle != _NO_HANDLE:
        books.wrong(f"domain {domid}: the free handles do not end")


def _audit_pins(
    books: _Books, domid: int, fact: dict[str, Any], active: Any, pins: dict[tuple[int, int], list[int]]
) -> None:
    import numpy as np

    shared = books.machine._domain_array(domid, "shared")
    size = 8 if fact["grant_version"] == 1 else 16
    flags = np.frombuffer(shared, dtype="<u2").reshape(-1, size // 2)[:, 0]
    status = flags
    if fact["grant_version"] == 2:
        status = np.frombuffer(books.machine._domain_array(domid, "status"), dtype="<u2")
    pinned = np.flatnonzero(active["pin"]).tolist()
    books.expect(f"domain {domid}: pinned grants", fact["nr_pinned"], len(pinned))
    for ref in sorted({*pinned, *(r for d, r in pins if d == domid)}):
        pin = int(active["pin"][ref])
        have = [pin >> shift & 0xFF for shift in _PIN_SHIFTS]
        want = pins.get((domid, ref), [0, 0, 0, 0])
        books.expect(f"grant {ref:#x} of domain {domid}: pins", have, want)
    marked = np.flatnonzero(status[: len(active)] & 24).tolist()
    # Entries that accept a transfer use the bit of "reading" for "completed".
    marked = [r for r in marked if fact["grant_version"] == 2 or flags[r] & 3 != 2]
    books.expect(f"domain {domid}: grants marked as in use", marked, pinned)
    for ref in pinned:
        writing = bool(status[ref] & 16)
        if writing != bool(int(active["pin"][ref]) & 0x00FF00FF):
            books.wrong(f"grant {ref:#x} of domain {domid}: the writing mark is {writing}")


def _audit_holds(books: _Books) -> None:
    held = 0
    for pdx, references, types, page in books.machine._holds():
        books.refer(pdx, references, types)
        held += page
        fields = books.machine._record(pdx)
        if page and (fields[4] or fields[2] & ~PGC_XEN_HEAP):
            books.wrong(f"pdx {pdx:#x} is held by the caller, but owned or counted")
    books.pages["held"] = held


def _audit_tables(books: _Books) -> None:
    # What stands in validated page tables, and pins, hold what they name.
    import numpy as np

    machine = books.machine
    for pdx, entries in machine._tables().items():
        type_info = machine._record(pdx)[3]
        level = type_info >> PGT_TYPE_SHIFT
        if machine._free_chunk_of(pdx) is not None:
            books.wrong(f"pdx {pdx:#x} is free, but page-table entries stand in it")
        elif type_info & PGT_VALIDATED and level <= 4:
            for index, entry in enumerate(np.frombuffer(entries, dtype=np.uint64).tolist()):
                if entry & PTE.present and not (level == 4 and index in _XEN_SLOTS):
                    _refer_entry(books, level, entry)
    pinned = (books.records["type_info"] & np.uint64(PGT_PINNED)) != 0
    pinned &= (books.records["count_info"] & np.uint64(PGC_STATE)) != PGC_STATE_FREE
    for pdx, type_info in zip(
        books.pdxs[pinned].tolist(), books.records["type_info"][pinned].tolist(), strict=True
    ):
        books.refer(pdx, 1, 1)
        if not 1 <= type_info >> PGT_TYPE_SHIFT <= 4 or not type_info & PGT_VALIDATED:
            books.wrong(f"pdx {pdx:#x} is pinned, but no page table")


def _refer_entry(books: _Books, level: int, entry: int) -> None:
    machine, mfn = books.machine, (entry & _FRAME) >> 12
    if not machine._frame_ok(mfn):
        return
    pdx = machine.host.mfn_to_pdx_unchecked(mfn)
    owner = machine._record(pdx)[4]
    if owner != machine._domain(DOMID_IO)["pdx"]:
        books.refer(pdx, 1, 1 if level > 1 or entry & PTE.rw else 0)


def _in_spans(books: _Books) -> Any:
    # Which of the records seen lie in a free chunk.
    import numpy as np

    if not books.free_spans:
        return np.zeros(len(books.pdxs), dtype=bool)
    spans = np.array(books.free_spans, dtype=np.int64)
    at = np.searchsorted(spans[:, 0], books.pdxs, side="right") - 1
    return (at >= 0) & (books.pdxs < spans[at, 1])


def _audit_records(books: _Books) -> None:
    import numpy as np

    records, free = books.records, _in_spans(books)
    heads = np.isin(books.pdxs, np.array(sorted(books.free_head), dtype=np.int64))
    _audit_dirty(books, free, heads)
    inside = free & ~heads
    if (records["count_info"][inside] & ~np.uint64(PGC_NEED_SCRUB)).any() or records["owner"][inside].any():
        books.wrong("a page inside a free chunk is in use")
    stray = ~free & ((records["count_info"] & PGC_STATE) != 0)
    for pdx in books.pdxs[stray].tolist()[:3]:
        books.wrong(f"pdx {pdx:#x} is marked free, but on no free list")
    for pdx, fields in zip(books.pdxs[~free].tolist(), records[~free].tolist(), strict=True):
        _, _, count_info, type_info, owner, _ = fields
        allocation = 1 if count_info & PGC_ALLOCATED else 0
        count = count_info & PGC_COUNT_MASK
        if count != allocation + books.references.get(pdx, 0):
            books.wrong(
                f"pdx {pdx:#x}: {count} references, of which {allocation} of the allocation and "
                f"{books.references.get(pdx, 0)} of others are known"
            )
        if type_info & PGT_COUNT_MASK != books.types.get(pdx, 0):
            books.wrong(
                f"pdx {pdx:#x}: {type_info & PGT_COUNT_MASK} type references, {books.types.get(pdx, 0)} known"
            )
        if bool(count) != bool(owner):
            books.wrong(f"pdx {pdx:#x}: {count} references, owner {owner:#x}")


def _audit_dirty(books: _Books, free: Any, heads: Any) -> None:
    # Dirty free pages: none before its chunk's first dirty index, and as many as the books say.
    import numpy as np

    dirty = books.pdxs[free & ((books.records["count_info"] & PGC_NEED_SCRUB) != 0)]
    books.expect("dirty free pages", books.machine._free_lists()[3], len(dirty))
    if not len(dirty):
        return
    first_dirty = (books.records["type_info"][heads] & np.uint64(0xFFFFFFFF)).tolist()
    firsts = dict(zip(books.pdxs[heads].tolist(), first_dirty, strict=True))
    starts = np.array([s for s, _ in books.free_spans], dtype=np.int64)
    owner = starts[np.searchsorted(starts, dirty, side="right") - 1]
    for pdx, head in zip(dirty.tolist(), owner.tolist(), strict=True):
        if firsts[head] == _NOT_DIRTY or pdx - head < firsts[head]:
            books.wrong(f"pdx {pdx:#x} is dirty, but its chunk at {head:#x} does not say so")


def _audit_m2p(books: _Books) -> None:
    import numpy as np

    machine = books.machine
    table = np.frombuffer(machine._m2p_view(0, machine.max_page, False), dtype=np.uint64)
    places: dict[int, tuple[int, int]] = {}
    for domid in machine._domids():
        facts = machine._domain(domid)
        pairs = np.frombuffer(machine._p2m(domid), dtype=np.uint64).reshape(-1, 2)
        books.expect(f"domain {domid}: P2M entries", facts["p2m_count"], len(pairs))
        for gfn, mfn in pairs.tolist():
            if mfn in places:
                books.wrong(f"mfn {mfn:#x} is at gfn {gfn:#x} of domain {domid} and in {places[mfn]}")
            places[mfn] = (domid, gfn)
            fields = machine._record(machine.host.mfn_to_pdx_unchecked(mfn))
            if fields[4] != facts["pdx"] or not fields[2] & PGC_ALLOCATED:
                books.wrong(f"gfn {gfn:#x} of domain {domid} is mfn {mfn:#x}, which it does not own")
            if int(table[mfn]) != gfn:
                books.wrong(f"mfn {mfn:#x} is at gfn {gfn:#x}, its M2P entry says {int(table[mfn]):#x}")
    mfns = _touched(machine._touched()[1], 512, machine.max_page)
    entries = table[mfns]
    odd = ~np.isin(entries, np.array([_INVALID, _SHARED], dtype=np.uint64))
    odd &= ~np.isin(entries, _patterns(machine.m2p_fills, np.uint64))
    for mfn, gfn in zip(mfns[odd].tolist(), entries[odd].tolist(), strict=True):
        if places.get(mfn, (0, -1))[1] != gfn:
            books.wrong(f"the M2P places mfn {mfn:#x} at gfn {gfn:#x}, no P2M does")


def _patterns(fills: list[tuple[int, int, int]], dtype: Any) -> Any:
    # The entries that boot filled a table with.
    import numpy as np

    return np.array(
        sorted({int.from_bytes(bytes([value]) * np.dtype(dtype).itemsize, "little") for *_, value in fills}),
        dtype=dtype,
    )


def _audit_compat(books: _Books) -> None:
    # Where an entry of either table was written, both say the same. What boot filled in may differ.
    import numpy as np

    machine, table = books.machine, books.machine.host.compat_m2p
    if table is None:
        return
    end = min(machine.max_page, table.virt_size_reserved // COMPAT_M2P_ENTRY_BYTES)
    m2p = np.frombuffer(machine._m2p_view(0, end, False), dtype=np.uint64)
    compat = np.frombuffer(machine._compat_view(0, end, False), dtype=np.uint32)
    mfns = np.union1d(
        _touched(machine._touched()[1], 512, end), _touched(machine._compat_touched(), 1024, end)
    )
    both = [machine._m2p_ok(mfn) and machine._compat_ok(mfn) for mfn in mfns[::512].tolist()]
    mfns = mfns[np.repeat(np.array(both, dtype=bool), 512)[: len(mfns)]]
    wide, narrow = m2p[mfns], compat[mfns]
    filled = np.isin(wide, _patterns(machine.m2p_fills, np.uint64))
    filled &= np.isin(narrow, _patterns(machine.compat_fills, np.uint32))
    odd = ~filled & (wide.astype(np.uint32) != narrow)
    for mfn in mfns[odd].tolist()[:100]:
        books.wrong(f"the compat M2P says {int(compat[mfn]):#x} of mfn {mfn:#x}, the M2P {int(m2p[mfn]):#x}")


def _audit_total(books: _Books) -> None:
    ram = sum(emfn - smfn for smfn, emfn, _, boot in books.machine._runs() if not boot)
    books.pages["boot"] = sum(emfn - smfn for smfn, emfn, _, boot in books.machine._runs() if boot)
    known = sum(books.pages[use] for use in ("free", "domains", "xen_heap", "held"))
    books.expect("pages accounted for", known, ram)
