"""Reference counts, type counts, allocation and the M2P: the rules that mutual exclusion rests on."""

import contextlib
import errno

import pytest
from machine_pair import Pair
from machines import GIB, MIB, small_host, small_machine

import xenmm
from xenmm import ConfigError, MachineError
from xenmm.machine import Machine, checkpoint
from xenmm.machine.machine import INVALID_M2P_ENTRY, SHARED_M2P_ENTRY
from xenmm.machine.page_info import (
    PAGE_TYPES,
    PGC_ALLOCATED,
    PGC_COUNT_MASK,
    PGC_NEED_SCRUB,
    PGT_COUNT_MASK,
    PGT_VALIDATED,
)

INVALID_DIRTY = (1 << 19) - 1
TYPES = [name for name in PAGE_TYPES if name != "none"]


@pytest.fixture
def machine():
    return small_machine()


@pytest.fixture
def page(machine):
    mfn = machine.create_domain(1).populate(0)
    return machine.page(mfn)


def write_record(machine, pdx, **fields):
    """Set fields of a record behind the machine's back."""
    for first, view in machine.page_infos(writable=True):
        if first <= pdx < first + len(view):
            for name, value in fields.items():
                view[name][pdx - first] = value


def test_allocated_page_has_one_reference(machine, page):
    assert (page.references, page.is_allocated, page.owner, page.type_references) == (1, True, 1, 0)


def test_last_reference_frees_the_page(machine, page):
    domain = machine.domain(1)
    assert machine.get_page(page.mfn, 1)
    free = machine.free_pages
    domain.remove(0)
    assert (machine.free_pages, page.owner, page.is_allocated) == (free, 1, False)
    machine.put_page(page.mfn)
    assert (machine.free_pages, page.is_free, page.owner) == (free + 1, True, None)


def test_get_page_wants_the_owner(machine, page):
    machine.create_domain(2)
    assert not machine.get_page(page.mfn, 2)
    assert not machine.get_page(page.mfn, 3)
    assert page.references == 1


def test_put_page_without_a_reference_of_the_callers_is_refused(machine, page):
    with pytest.raises(MachineError, match="put_page"):
        machine.put_page(page.mfn)
    assert page.references == 1
    free_frame = next(m for m in range(0x200, 0x1800) if machine.page(m).is_free)
    with pytest.raises(MachineError, match="put_page"):
        machine.put_page(free_frame)


@pytest.mark.parametrize("below", [0, 1, 2, 3])
def test_reference_overflow_is_refused(machine, page, below):
    # Xen keeps the last but one count for get_page_light: the last two are refused.
    write_record(machine, page.pdx, count_info=PGC_ALLOCATED | (PGC_COUNT_MASK - below))
    assert machine.get_page(page.mfn, 1) == (below >= 2)
    assert page.references == PGC_COUNT_MASK - below + (below >= 2)


@pytest.mark.parametrize("below", [0, 1])
def test_type_overflow_is_refused(machine, page, below):
    assert machine.get_page(page.mfn, 1)
    writable = PAGE_TYPES["writable"] << 61 | PGT_VALIDATED
    write_record(machine, page.pdx, type_info=writable | (PGT_COUNT_MASK - below))
    assert machine.get_page_type(page.mfn, "writable") == (below == 1)
    assert page.type_references == PGT_COUNT_MASK


@pytest.mark.parametrize("held", TYPES)
@pytest.mark.parametrize("wanted", TYPES)
def test_types_exclude_one_another_while_in_use(machine, page, held, wanted):
    assert machine.get_page(page.mfn, 1) and machine.get_page(page.mfn, 1)
    assert machine.get_page_type(page.mfn, held)
    assert (page.type, page.type_references, page.is_validated) == (held, 1, True)
    assert machine.get_page_type(page.mfn, wanted) == (held == wanted)
    if held == wanted:
        machine.put_page_type(page.mfn)
    machine.put_page_type(page.mfn)
    # Nobody uses it now: any type may come.
    assert machine.get_page_type(page.mfn, wanted)
    machine.audit().check()
    machine.put_page_and_type(page.mfn)
    machine.put_page(page.mfn)
    machine.audit().check()


@pytest.mark.parametrize("kind", TYPES)
def test_last_use_of_a_page_table_unvalidates_it(machine, page, kind):
    assert machine.get_page(page.mfn, 1)
    assert machine.get_page_type(page.mfn, kind)
    machine.put_page_type(page.mfn)
    assert page.is_validated == (kind in ("writable", "seg_desc"))
    assert (page.type, page.type_references) == (kind, 0)


def test_type_needs_a_reference_under_it(machine, page):
    with pytest.raises(MachineError, match="no reference"):
        machine.get_page_type(page.mfn, "writable")
    assert machine.get_page(page.mfn, 1)
    assert machine.get_page_type(page.mfn, "l1")
    with pytest.raises(MachineError, match="put_page"):
        machine.put_page(page.mfn)
    for wrong in ("none", "shared", "l5"):
        with pytest.raises(MachineError, match="page type"):
            machine.get_page_type(page.mfn, wrong)


def test_validation_is_counted_once_a_use(machine, page):
    assert machine.get_page(page.mfn, 1) and machine.get_page(page.mfn, 1)
    for kind, validations in (("writable", 0), ("l2", 1)):
        machine.reset_counters()
        assert machine.get_page_type(page.mfn, kind) and machine.get_page_type(page.mfn, kind)
        assert machine.counters()["validations"] == validations
        machine.put_page_type(page.mfn)
        machine.put_page_type(page.mfn)


@pytest.mark.parametrize("order", range(19))
def test_every_order_is_aligned_or_refused(machine, order):
    try:
        mfn = machine.alloc(order)
    except MachineError as refused:
        # 64 MiB of RAM have no chunk of 16 MiB or more that boot has not cut.
        assert order >= 12 and "order" in str(refused)
        return
    assert mfn % (1 << order) == 0
    machine.audit().check()
    machine.free(mfn, order)
    machine.audit().check()


def test_order_past_the_maximum_is_refused(machine):
    with pytest.raises(MachineError, match="Invalid argument"):
        machine.alloc(19)


@pytest.mark.parametrize("bits", [24, 25, 26, 32, 33, 52])
def test_address_width_is_honoured(machine, bits):
    mfns = [machine.alloc(bits=bits) for _ in range(100)]
    assert all(mfn >> (bits - 12) == 0 for mfn in mfns)


def test_width_that_no_ram_has_is_refused(machine):
    with pytest.raises(MachineError, match="Cannot allocate memory"):
        machine.alloc(bits=20)


def test_nodes_are_honoured(machine):
    assert machine.nodes == (0, 3)
    for index in (0, 1):
        mfn = machine.alloc(node=index, exact_node=True)
        assert machine._is_heap(mfn)[0] == index
    free = machine.free_pages_by_node()
    while free[3]:
        machine.alloc(node=1, exact_node=True)
        free = machine.free_pages_by_node()
    with pytest.raises(MachineError):
        machine.alloc(node=1, exact_node=True)
    assert machine._is_heap(machine.alloc(node=1))[0] == 0


def test_high_memory_goes_first_and_dma_memory_only_when_nothing_else_is_left(machine):
    width = machine.setup.dma_zone + 12
    assert width
    seen = []
    while True:
        try:
            seen.append(machine.alloc(node=0) >> (width - 12) == 0)
        except MachineError:
            break
    assert seen == sorted(seen)
    assert any(seen)


def test_limit_of_a_domain_is_exact(machine):
    domain = machine.create_domain(1, max_pages=4)
    domain.populate(0, order=1)
    domain.populate(2)
    with pytest.raises(MachineError, match="Argument list too long"):
        domain.populate(4, order=1)
    domain.populate(3)
    with pytest.raises(MachineError, match="Argument list too long"):
        domain.populate(4)
    domain.set_max_pages(5)
    domain.populate(4)
    assert domain.tot_pages == 5


def test_gfn_limits(machine):
    domain = machine.create_domain(1)
    domain.populate((1 << 30) - 1)
    for gfn, order in (((1 << 30), 0), ((1 << 64) - 1, 0), (1, 1), ((1 << 30) - 1, 1)):
        with pytest.raises(MachineError, match="Invalid argument"):
            domain.populate(gfn, order)
    assert domain.mfn(1 << 40) is None


def test_m2p_entries_valid_shared_invalid(machine):
    domain = machine.create_domain(1)
    mfn = domain.populate(9)
    assert machine.get_gpfn_from_mfn(mfn) == 9
    with pytest.raises(MachineError, match="busy"):
        machine.set_m2p(mfn, INVALID_M2P_ENTRY)
    domain.displace(mfn, 9)
    assert machine.get_gpfn_from_mfn(mfn) is None
    machine.set_m2p(mfn, SHARED_M2P_ENTRY)
    assert machine.get_gpfn_from_mfn(mfn) == SHARED_M2P_ENTRY
    with pytest.raises(MachineError, match="Invalid argument"):
        machine.set_m2p(mfn, 12)
    machine.audit().check()
    domain.place(mfn, 77)
    assert (machine.get_gpfn_from_mfn(mfn), domain.mfn(77)) == (77, mfn)
    domain.remove(77)
    assert machine.m2p_entry(mfn) == INVALID_M2P_ENTRY


def test_machphys_list_repeats_the_frame_before_a_hole():
    import xenmm
    from xenmm.machine import Machine

    gib = 1 << 30
    memory_map = xenmm.MemoryMap.from_ranges([(1 << 20, 2 * gib), (6 * gib, 8 * gib)])
    machine = Machine(xenmm.boot(memory_map, "xen-none", page_sizes="2m"))
    frames = machine.machphys_mfn_list()
    assert len(frames) == 8
    backed = machine.m2p_backing
    assert sorted(backed) == [0, 1, 6, 7]
    assert frames == [backed[0], backed[1], *[backed[1]] * 4, backed[6], backed[7]]
    assert machine.machphys_mfn_list(3) == frames[:3]
    # The frames are RAM that boot keeps.
    assert all(machine._is_heap(m)[1] for m in set(frames))


def test_steal_assign_free_move_one_page(machine):
    a, b = machine.create_domain(1), machine.create_domain(2)
    mfn = a.populate(0)
    assert machine.get_page(mfn, 1)
    with pytest.raises(MachineError, match="steal"):
        a.steal(mfn)
    machine.put_page(mfn)
    a.steal(mfn)
    assert (a.tot_pages, machine.page(mfn).owner, machine.page(mfn).gfn) == (0, None, None)
    machine.audit().check()
    b.assign(mfn)
    b.place(mfn, 4)
    with pytest.raises(MachineError, match="assign"):
        a.assign(mfn)
    with pytest.raises(MachineError, match="busy"):
        machine.free(mfn)
    b.displace(mfn, 4)
    machine.free(mfn)
    assert machine.page(mfn).is_free
    machine.audit().check()


def test_exchange_makes_a_contiguous_extent(machine):
    domain = machine.create_domain(1)
    for gfn in range(8):
        domain.populate(gfn)
    domain.exchange(list(range(8)), [0], out_order=3)
    first = domain.mfn(0)
    assert first % 8 == 0
    assert [domain.mfn(g) for g in range(8)] == list(range(first, first + 8))
    assert domain.tot_pages == 8
    machine.audit().check()
    with pytest.raises(MachineError, match="page counts differ"):
        domain.exchange([0, 1], [0], out_order=3)


def test_dying_domains_pages_are_dirty_until_scrubbed(machine):
    domain = machine.create_domain(1)
    for gfn in range(10):
        domain.populate(gfn)
    assert machine.dirty_pages == 0
    domain.destroy()
    dirty = machine.dirty_pages
    assert dirty >= 10
    machine.reset_counters()
    assert machine.scrub(4) == 4 * machine.nr_nodes or machine.dirty_pages == 0
    machine.scrub()
    assert machine.dirty_pages == 0
    counted = machine.counters()
    assert counted["pages_scrubbed"] == counted["map_domain_page"] == dirty
    machine.audit().check()


def test_domain_limits_and_unknown_domains(machine):
    machine.create_domain(1)
    with pytest.raises(MachineError, match="File exists"):
        machine.create_domain(1)
    for domid in (-1, 0x7FF0, 0x7FF1, 0x10000):
        with pytest.raises(MachineError, match="domid"):
            machine.create_domain(domid)
    with pytest.raises(MachineError, match="no domain 5"):
        machine.domain(5)
    machine.create_domain(0x7FEF).destroy()
    gone = machine.domain(1)
    gone.destroy()
    assert gone.destroy() and not gone.exists
    with pytest.raises(MachineError, match="does not exist"):
        _ = gone.tot_pages
    status, _, _ = machine._do(10, 1, frame=0)
    assert status == -errno.ESRCH


def test_context_word_is_the_embedders_while_the_page_is_in_use(machine, page):
    page.set_context(0x12345678)
    assert page.context == 0x12345678
    machine.audit().check()
    machine.domain(1).remove(0)
    assert page.context == 0
    with pytest.raises(MachineError, match="context"):
        page.set_context(1)


def test_audit_sees_what_is_wrong(machine, page):
    broken = {
        "count_info": (PGC_ALLOCATED | 2, "references"),
        "type_info": (PAGE_TYPES["writable"] << 61 | 1, "type references"),
        "owner": (0, "owned but not listed"),
        "next": (page.pdx, ""),
    }
    good = machine._record(page.pdx)
    names = ("next", "prev", "count_info", "type_info", "owner", "context")
    for field, (value, words) in broken.items():
        write_record(machine, page.pdx, **{field: value})
        report = machine.audit()
        assert not report.ok and any(words in e for e in report.errors), field
        with pytest.raises(MachineError, match="audit"):
            report.check()
        write_record(machine, page.pdx, **dict(zip(names, good, strict=True)))
    machine.audit().check()
    for _, entries in machine.m2p_entries(writable=True):
        if len(entries) > page.mfn:
            entries[page.mfn] = 3
            break
    assert any("M2P" in e for e in machine.audit().errors)


@pytest.mark.parametrize("gfns", [["", b"\x80"], [1, [2, 3]], 5, [1.5], [[1]], None, [-1], [1 << 64]])
def test_extents_to_exchange_are_a_row_of_whole_numbers(machine, gfns):
    guest = machine.create_domain(1)
    guest.populate(5)
    with pytest.raises(MachineError, match="out_gfns are "):
        guest.exchange([5], gfns)
    assert guest.mfn(5) is not None
    machine.audit().check()


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 511, 513])
def test_buddies_of_two_nodes_never_merge(frames):
    """A node begins in the middle of what would be a chunk."""
    border = (16 << 20) + (frames << 12)
    srat = [(0, border, 1, 0), (border, 1 << 30, 1, 1)]
    host = xenmm.boot(xenmm.MemoryMap.from_ranges([(1 << 20, 32 << 20)], srat), page_sizes="2m")
    machine = host.machine()
    whole = machine.free_chunks(), machine.free_pages_by_node()
    for order in (0, 3):
        guest = machine.create_domain(1)
        gfns = []
        with contextlib.suppress(MachineError):
            for gfn in range(0, 1 << 20, 1 << order):
                guest.populate(gfn, order=order)
                gfns.append(gfn)
        assert len(gfns) << order > 3000
        for gfn in gfns:
            for each in range(gfn, gfn + (1 << order)):
                guest.remove(each)
        guest.destroy()
        machine.scrub()
        for node, _, order, head, _ in machine._free_lists()[0]:
            for mfn in machine._mfns_of_list(head):
                assert (mfn << 12 < border) == (mfn + (1 << order) - 1 << 12 < border) == (node == 0)
        assert sorted(machine.free_chunks()) == sorted(whole[0])
        assert machine.free_pages_by_node() == whole[1]
        machine.audit().check()


def test_a_dying_domain_waits_for_its_grant_frames():
    machine = small_machine()
    owner = machine.create_domain(1)
    frames = range(0x100, machine.host.max_page)
    (mfn,) = [f for f in frames if machine.mfn_valid(f) and machine.page(f).owner == 1]
    assert mfn not in owner.pages
    assert machine.get_page(mfn, owner)
    assert not owner.destroy() and owner.exists
    machine.put_page(mfn)
    assert not owner.exists
    machine.audit().check()


@pytest.mark.parametrize("value", [-1, 1 << 64, 1 << 100])
def test_numbers_out_of_range_are_refused_in_words(machine, value):
    domain = machine.create_domain(1)
    for call in (domain.populate, domain.remove, domain.assign, domain.steal):
        with pytest.raises(MachineError, match=r"not an integer in its range"):
            call(value)
    with pytest.raises(MachineError):
        domain.grant(1, 2, value)


def test_orders_that_are_none_are_refused(machine):
    for order in (-1, 256):
        with pytest.raises(ConfigError, match="order"):
            machine.alloc(order)
    for domid in (-1, 1 << 16, 1 << 70):
        with pytest.raises(MachineError, match="no domain"):
            machine.domain(domid)
    for pages in (-1, 1 << 64):
        with pytest.raises(MachineError, match="max_pages"):
            machine.create_domain(3, max_pages=pages)


def test_larger_chunks_are_taken_clean_as_long_as_there_are_any():
    machine = small_machine()
    domain = machine.create_domain(1, max_pages=10000)
    for gfn in range(0, 4096, 2):
        domain.populate(gfn, order=1)
    domain.destroy()
    machine.alloc(order=9)
    dirty = machine.dirty_pages
    # Below the width kept for who asks for it, clean chunks may be left.
    zones = range(machine.setup.dma_zone + 1, 53)
    clean = True
    while clean:
        heads = [h for _, zone, order, h, _ in machine._free_lists()[0] if order and zone in zones]
        clean = any(machine._record(head)[3] == INVALID_DIRTY for head in heads)
        machine.alloc(order=1)
        assert (machine.dirty_pages == dirty) == clean
    machine.audit().check()


def test_scrubbing_begins_with_the_largest_chunks_of_a_zone():
    machine = small_machine()
    kept = [machine.alloc(order=order) for order in (9, 0, 9, 0)]
    machine.free(kept[1])
    machine.free(kept[0], order=9)
    large = machine.page(kept[0]).mfn
    assert machine.scrub(512) == 512 and machine.dirty_pages
    assert not machine._record(machine.host.mfn_to_pdx(large))[2] & PGC_NEED_SCRUB
    machine.audit().check()


def test_page_without_an_owner_is_dirty_when_it_is_freed():
    machine = small_machine()
    mfn = machine.alloc(order=2)
    before = machine.dirty_pages
    machine.free(mfn, order=2)
    assert machine.dirty_pages == before + 4
    assert machine.scrub() == before + 4 and machine.dirty_pages == 0


@pytest.mark.parametrize("order", [19, 31, 32, 63, 64, 255])
def test_no_chunk_of_an_order_past_the_largest_is_freed(machine, order):
    mfn, free = machine.alloc(), machine.free_pages
    with pytest.raises(MachineError, match="Invalid argument"):
        machine.free(mfn, order)
    assert machine.free_pages == free
    machine.audit().check()


@pytest.mark.parametrize(
    ("rows", "zone"),
    [
        ([(0, 2 * GIB, 1, 0), (4 * GIB, 5 * GIB, 1, 3)], 17),  # a quarter of 2 GiB: 29 bits
        ([(0, 128 * MIB, 1, 0), (128 * MIB, 5 * GIB, 1, 3)], 13),
        ([(0, 5 * GIB, 1, 0)], 0),  # one node: nothing is kept
        ([(4 * GIB, 5 * GIB, 1, 0), (0, 2 * GIB, 1, 3)], 17),  # the first that begins below 4 GiB
        ([(0, 4 * GIB, 1, 0), (4 * GIB, 64 * GIB, 1, 1)], 18),
    ],
)
def test_width_kept_for_dma_is_a_quarter_of_the_node_as_the_srat_has_it(rows, zone):
    assert Machine(small_host(srat=rows)).setup.dma_zone == zone


#: What is reserved, and the pages that the heap then does not have: those that hold any byte of it.
RESERVED = [
    ((8 * MIB, 9 * MIB), (8 * MIB, 9 * MIB)),
    ((8 * MIB + 1, 9 * MIB - 1), (8 * MIB, 9 * MIB)),
    ((8 * MIB - 1, 9 * MIB + 1), (8 * MIB - 4096, 9 * MIB + 4096)),
    ((8 * MIB, 8 * MIB + 1), (8 * MIB, 8 * MIB + 4096)),
    ((8 * MIB, 8 * MIB), (0, 0)),
    ((1 << 64, 1 << 64), (0, 0)),
]


@pytest.mark.parametrize("given, kept", RESERVED)
def test_the_heap_gets_no_page_of_reserved_bytes(given, kept):
    pair = Pair(reserve=[given])
    pair.compare()
    machine, free = pair.fast, small_machine().free_pages
    assert machine.free_pages == free - (kept[1] - kept[0] >> 12)
    for mfn in range(8 * MIB - 8192 >> 12, 9 * MIB + 8192 >> 12):
        assert machine.page(mfn).is_free == (not kept[0] <= mfn << 12 < kept[1])
    again = checkpoint.loads(checkpoint.dumps(machine))
    assert (again.options, again.free_pages) == (machine.options, machine.free_pages)


@pytest.mark.parametrize("given", [(4096, 0), (-1, 4096), (0, 2**64 + 1), (1, 2, 3), 7, "ab", (0.0, 4096.0)])
def test_what_is_no_range_is_not_reserved(given):
    with pytest.raises(ConfigError, match="each of reserve is") as refused:
        small_machine(reserve=[given])
    assert repr(given) in str(refused.value)
