"""The whole state of a live machine against the slow model's: records, entries, lists, counts."""

from __future__ import annotations

import numpy as np

NULL = 0xFFFFFFFF
STATE_FREE, NEED_SCRUB, NEED_TLBFLUSH = 3 << 58, 1 << 63, 1 << 32
INVALID = (1 << 64) - 1
PINS = (0, 8, 16, 24)


def compare_state(fast, slow):
    """AssertionError where a machine and the slow model differ."""
    assert fast.counters() | slow.n.to_dict() == fast.counters(), _differing(
        fast.counters(), slow.n.to_dict()
    )
    assert (fast.max_page, fast.max_pdx) == (slow.ram.max_page, slow.ram.max_pdx)
    assert [tuple(map(int, r)) for r in fast._runs()] == [tuple(map(int, r)) for r in slow.ram.runs]
    assert sorted(d.domid for d in fast.domains) == sorted(slow.doms)
    for number, dom in slow.doms.items():
        _compare_domain(fast, slow, number, dom)
    held = [
        (slow.ram.pdx(mfn), frame.held_refs, frame.held_types, int(frame.held))
        for mfn, frame in slow.frames.items()
        if frame.held_refs or frame.held_types or frame.held
    ]
    assert fast._holds() == sorted(held), "what the user holds"
    assert fast.tlb_times() == (slow.clock, slow.flushed), "TLB times"
    written = {slow.ram.pdx(mfn): entries for mfn, entries in slow.tables.items()}
    found = {pdx: memoryview(table).cast("Q").tolist() for pdx, table in fast._tables().items()}
    assert {p: {i: e for i, e in enumerate(t) if e} for p, t in found.items()} == written, "page tables"
    _compare_free_lists(fast, slow)
    _compare_records(fast, slow)
    _compare_m2p(fast, slow)


def _differing(fast, slow):
    return {name: (fast[name], slow[name]) for name in slow if fast[name] != slow[name]}


def _compare_domain(fast, slow, number, dom):
    facts = fast._domain(number)
    pdx = slow.ram.pdx
    wanted = {
        "dying": dom.dying,
        "translated": dom.translated,
        "need_iommu": dom.iommu,
        "pdx": pdx(dom.page),
        "last_node": dom.last_node,
        "tot_pages": len(dom.pages),
        "max_pages": dom.max_pages,
        "xenheap_pages": len(dom.xen_pages),
        "p2m_count": len(dom.p2m),
        "iommu_used": dom.iommu_used,
        "grant_version": dom.version,
        "maptrack_used": len(dom.mappings),
        "maptrack_free": dom.free_handles[-1] if dom.free_handles else NULL,
        "nr_pinned": sum(act.pinned() for act in dom.active.values()),
    }
    assert facts | wanted == facts, (number, _differing(facts, wanted))
    assert fast.domain(number).pages == list(dom.pages), f"pages of {number}"
    assert fast.domain(number).p2m() == dom.p2m, f"P2M of {number}"
    frames = [
        [pdx(m) for m in mfns] for mfns in (dom.shared, dom.status, dom.active_frames, dom.track_frames)
    ]
    assert [list(part) for part in fast._grant_frames(number)] == frames, f"grant frames of {number}"
    _compare_grants(fast, number, dom)
    _compare_tracks(fast, number, dom)


def _compare_grants(fast, number, dom):
    v1 = [("flags", "<u2"), ("domid", "<u2"), ("frame", "<u4")]
    v2 = [("flags", "<u2"), ("domid", "<u2"), ("offset", "<u2"), ("length", "<u2"), ("frame", "<u8")]
    entries = np.frombuffer(fast._domain_array(number, "shared"), dtype=v1 if dom.version == 1 else v2)
    wanted = np.zeros_like(entries)
    status = np.zeros(len(entries), dtype="<u2")
    for ref, entry in dom.entries.items():
        fields = (entry.offset, entry.length) if dom.version == 2 else ()
        wanted[ref] = (entry.flags, entry.to, *fields, entry.frame)
        status[ref] = entry.status
    _same_arrays(f"grants of {number}", entries, wanted)
    if dom.version == 2:
        found = np.frombuffer(fast._domain_array(number, "status"), dtype="<u2")[: len(status)]
        _same_arrays(f"status of {number}", found, status)
    active = np.frombuffer(fast._domain_array(number, "active"), dtype=_ACTIVE)
    for ref in np.flatnonzero(active["pin"]).tolist():
        assert dom.act(ref).pinned(), (number, ref)
    for ref, act in dom.active.items():
        if act.pinned():
            pin = sum(count << shift for count, shift in zip(act.pins, PINS, strict=True))
            seen = tuple(int(active[name][ref]) for name in _ACTIVE_SEEN)
            trans = act.trans
            assert seen == (pin, act.domid, *trans, act.start, act.length, act.mfn, act.gfn, act.sub_page), (
                ref
            )


_ACTIVE = np.dtype(
    [
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
    ]
)
_ACTIVE_SEEN = ("pin", "domid", "trans_domid", "trans_gref", "start", "length", "mfn", "gfn", "is_sub_page")
_TRACK = np.dtype([("ref", "<u4"), ("flags", "<u2"), ("domid", "<u2"), ("host_addr", "<u8")])
_IO_FRAME = 0x8000


def _compare_tracks(fast, number, dom):
    tracks = np.frombuffer(fast._domain_array(number, "maptrack"), dtype=_TRACK)
    assert np.flatnonzero(tracks["flags"]).tolist() == sorted(dom.mappings), f"mappings of {number}"
    for handle, track in dom.mappings.items():
        flags = track.device | track.host << 1 | track.readonly << 2 | (_IO_FRAME if track.io else 0)
        assert tracks[handle].item() == (track.ref, flags, track.owner, track.addr), (number, handle)


def _compare_free_lists(fast, slow):
    lists, total, by_node, dirty = fast._free_lists()
    wanted = {
        (node, zone, order): list(chunks)
        for (node, zone), orders in slow.heap.lists.items()
        for order, chunks in orders.items()
    }
    found = {(n, z, o): fast._mfns_of_list(head) for n, z, o, head, _ in lists}
    assert found == wanted, _differing(found | dict.fromkeys(wanted.keys() - found), wanted)
    assert (total, dirty) == (slow.heap.free_pages, len(slow.heap.dirty)), "free and dirty pages"
    assert sum(by_node) == total


def _links(mfns, pdx):
    # (pdx, next, prev) of each page of a list.
    chain = [NULL, *map(pdx, mfns), NULL]
    return [(chain[i], chain[i + 1], chain[i - 1]) for i in range(1, len(chain) - 1)]


def _free_words(slow, mfn):
    # What count_info and type_info of a page inside a free chunk say.
    return NEED_SCRUB * (mfn in slow.heap.dirty), NEED_TLBFLUSH * (mfn in slow.need_flush)


def expected_records(slow, dtype):
    """The frame table by the model: (pdx, records) of every record that is not all zero."""
    pdx = slow.ram.pdx
    owners = {number: pdx(dom.page) for number, dom in slow.doms.items()}
    owners[None], owners[0x7FF1] = 0, pdx(slow.io_page)
    rows = {}
    context = slow.context
    for mfn in slow.heap.dirty | slow.need_flush | context.keys():
        rows[pdx(mfn)] = [0, 0, *_free_words(slow, mfn), 0, context.get(mfn, 0)]
    for mfn, (order, first_dirty) in slow.heap.chunk.items():
        dirty, flush = _free_words(slow, mfn)
        rows[pdx(mfn)] = [0, 0, STATE_FREE | dirty, flush | first_dirty, order, context.get(mfn, 0)]
    for mfn, frame in slow.frames.items():
        owner, at = owners[frame.owner], pdx(mfn)
        rows[at] = [0, 0, frame.count_info(), frame.type_info(), owner, context.get(mfn, 0)]
    lists = [chunks for orders in slow.heap.lists.values() for chunks in orders.values()]
    lists += [pages for dom in slow.doms.values() for pages in (dom.pages, dom.xen_pages)]
    for pages in lists:
        for at, after, before in _links(pages, pdx):
            rows[at][:2] = after, before
    records = np.array([tuple(row) for row in rows.values()], dtype=dtype)
    return np.array(list(rows), dtype=np.uint64), records


def _compare_records(fast, slow):
    pdxs, wanted = None, None
    for first, view in fast.page_infos():
        if pdxs is None:
            pdxs, wanted = expected_records(slow, view.dtype)
        inside = (pdxs >= first) & (pdxs < first + len(view))
        table = np.zeros(len(view), dtype=view.dtype)
        table[(pdxs[inside] - np.uint64(first)).astype(np.int64)] = wanted[inside]
        _same_arrays(f"records from pdx {first:#x}", view, table)


def _compare_m2p(fast, slow):
    mfns = np.array(list(slow.m2p), dtype=np.uint64)
    entries = np.array(list(slow.m2p.values()), dtype=np.uint64)
    for first, view in fast.m2p_entries():
        _same_arrays(f"M2P from mfn {first:#x}", view, _entries(first, view, slow.ram.fills, mfns, entries))
    low = entries.astype(np.uint32)
    for first, view in fast.compat_m2p_entries():
        wanted = _entries(first, view, slow.ram.compat_fills, mfns, low)
        _same_arrays(f"compat M2P from mfn {first:#x}", view, wanted)


def _entries(first, view, fills, mfns, entries):
    # What was filled in, and what was written over it.
    table = np.full(len(view), INVALID & (1 << 8 * view.itemsize) - 1, dtype=view.dtype)
    for start, end, value in fills:
        lo, hi = max(start - first, 0), min(end - first, len(view))
        if lo < hi:
            table[lo:hi] = int.from_bytes(bytes([value]) * view.itemsize, "little")
    inside = (mfns >= first) & (mfns < first + len(view))
    table[(mfns[inside] - np.uint64(first)).astype(np.int64)] = entries[inside]
    return table


def _same_arrays(what, fast, slow):
    differ = np.flatnonzero(fast != slow)
    if len(differ):
        at = differ[0]
        raise AssertionError(
            f"{what}: {len(differ)} differ, first [{at:#x}]: the machine has {fast[at]}, the model {slow[at]}"
        )
