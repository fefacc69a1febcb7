"""Page tables of guests: what an entry holds, what excludes what, pins, and that every page comes home."""

import random

import pytest
from machines import GIB, IO, small_machine

from xenmm import FrameError, MachineError
from xenmm.machine import GNTMAP, GNTST, PTE, Op, checkpoint, pte

RW = PTE.present | PTE.rw


@pytest.fixture
def machine():
    return small_machine()


@pytest.fixture
def guest(machine):
    return machine.create_domain(1, max_pages=4000)


def pages(domain, count, first=0):
    return [domain.populate(first + i) for i in range(count)]


def counts(machine, mfn):
    page = machine.page(mfn)
    return page.type, page.type_references, page.references


def build(guest, data):
    """Four tables, one a level, over a page; returned from the root down, none pinned."""
    tables = pages(guest, 4, first=100)
    for upper, lower in zip(tables, [*tables[1:], data], strict=True):
        guest.mmu_update(upper, 5, pte(lower, RW))
    return tables


def test_pin_holds_reference_and_type_until_it_is_undone(machine, guest):
    (table,) = pages(guest, 1)
    guest.pin_table(table, 1)
    assert counts(machine, table) == ("l1", 1, 2)
    assert machine.page(table).is_pinned and machine.page(table).is_validated
    with pytest.raises(MachineError, match=r"pin mfn .* as l1: Invalid argument"):
        guest.pin_table(table, 1)
    assert counts(machine, table) == ("l1", 1, 2)
    machine.audit().check()
    guest.unpin_table(table)
    assert counts(machine, table) == ("l1", 0, 1)
    assert not machine.page(table).is_pinned and not machine.page(table).is_validated
    with pytest.raises(MachineError, match="unpin"):
        guest.unpin_table(table)
    machine.audit().check()


def test_pinned_root_holds_the_whole_tree(machine, guest):
    (data,) = pages(guest, 1)
    l4, l3, l2, l1 = build(guest, data)
    # Written into pages that are no tables yet, entries hold nothing.
    assert counts(machine, data) == ("none", 0, 1)
    before = machine.counters()["validations"]
    guest.pin_table(l4, 4)
    assert machine.counters()["validations"] - before == 4
    assert [counts(machine, mfn) for mfn in (l4, l3, l2, l1, data)] == [
        ("l4", 1, 2),
        ("l3", 1, 2),
        ("l2", 1, 2),
        ("l1", 1, 2),
        ("writable", 1, 2),
    ]
    machine.audit().check()
    guest.unpin_table(l4)
    assert [counts(machine, mfn)[1:] for mfn in (l4, l3, l2, l1, data)] == [(0, 1)] * 5
    machine.audit().check()


def test_no_page_is_a_table_and_writable_at_once(machine, guest):
    table, other, data = pages(guest, 3)
    guest.pin_table(table, 1)
    # A writable entry for a page table, itself or another: refused, and nothing stays taken.
    guest.pin_table(other, 1)
    for target in (table, other):
        with pytest.raises(MachineError, match="Device or resource busy"):
            guest.mmu_update(table, 0, pte(target, RW))
        guest.mmu_update(table, 1, pte(target))
    assert counts(machine, other) == ("l1", 1, 3)
    # A page that is mapped writable becomes no table, whoever asks.
    guest.mmu_update(table, 2, pte(data, RW))
    assert counts(machine, data) == ("writable", 1, 2)
    with pytest.raises(MachineError, match="Invalid argument"):
        guest.pin_table(data, 1)
    guest.mmu_update(table, 2, pte(data))
    assert counts(machine, data) == ("writable", 0, 2)
    guest.pin_table(data, 1)
    machine.audit().check()


def test_table_is_not_granted_writable_and_a_granted_page_becomes_no_table(machine, guest):
    friend = machine.create_domain(2, max_pages=100)
    table, shared = pages(guest, 2)
    guest.pin_table(table, 1)
    guest.grant(8, friend, table)
    assert friend.map_grant(guest, 8).status is GNTST.general_error
    assert friend.map_grant(guest, 8, flags=GNTMAP.host_map | GNTMAP.readonly).status is GNTST.okay
    guest.grant(9, friend, shared)
    handle = friend.map_grant(guest, 9).handle
    with pytest.raises(MachineError, match="Invalid"):
        guest.pin_table(shared, 1)
    assert friend.unmap_grant(handle) is GNTST.okay
    guest.pin_table(shared, 1)
    machine.audit().check()


@pytest.mark.parametrize("level", [2, 3, 4])
def test_entry_of_a_higher_level_needs_a_table_of_the_next(machine, guest, level):
    upper, lower, wrong = pages(guest, 3)
    guest.pin_table(upper, level)
    guest.mmu_update(upper, 0, pte(lower, RW))
    assert counts(machine, lower) == (f"l{level - 1}", 1, 2)
    guest.mmu_update(upper, 1, pte(lower, RW))
    assert counts(machine, lower) == (f"l{level - 1}", 2, 3)
    guest.pin_table(wrong, level)
    for target in (wrong, upper):
        with pytest.raises(MachineError, match="Invalid argument"):
            guest.mmu_update(upper, 2, pte(target))
    assert machine.page_table(upper) == {0: pte(lower, RW), 1: pte(lower, RW)}
    guest.mmu_update(upper, 0, 0)
    guest.mmu_update(upper, 1, 0)
    assert counts(machine, lower) == (f"l{level - 1}", 0, 1)
    machine.audit().check()


@pytest.mark.parametrize("bad", [0, 1, 7, 511])
@pytest.mark.parametrize("level", [1, 2, 4])
def test_refused_validation_leaves_nothing_taken(machine, guest, level, bad):
    table, *good = pages(guest, 1 + 16)
    stranger = machine.create_domain(2).populate(0)
    for index, mfn in enumerate(good):
        if index != bad:
            guest.mmu_update(table, index, pte(mfn, RW))
    guest.mmu_update(table, bad, pte(stranger, RW))
    before = [counts(machine, mfn)[1:] for mfn in (*good, stranger)]
    with pytest.raises(MachineError, match="busy" if level == 1 else "Invalid"):
        guest.pin_table(table, level)
    assert [counts(machine, mfn)[1:] for mfn in (*good, stranger)] == before
    assert counts(machine, table)[1:] == (0, 1) and not machine.page(table).is_validated
    # A table of the lowest level, and one refused at its first entry, are of no type afterwards.
    assert machine.page(table).type == ("none" if level == 1 or bad == 0 else f"l{level}")
    machine.audit().check()


def test_entry_that_changes_only_free_bits_keeps_what_it_holds(machine, guest):
    table, data = pages(guest, 2)
    guest.pin_table(table, 1)
    guest.mmu_update(table, 0, pte(data, RW))
    before = machine.counters()
    free = PTE.nx | PTE.glob | PTE.dirty | PTE.accessed | PTE.user | 0xE00 | 0x7FF << 52
    assert guest.mmu_update(table, 0, pte(data, RW | free)) == pte(data, RW)
    after = machine.counters()
    assert after["get_page_type"] == before["get_page_type"]
    assert counts(machine, data) == ("writable", 1, 2)
    guest.mmu_update(table, 0, pte(data, PTE.present | free))
    assert counts(machine, data) == ("writable", 0, 2)
    machine.audit().check()


@pytest.mark.parametrize("flag", [PTE.pwt, PTE.pcd, PTE.pse])
def test_flags_that_no_guest_sets(machine, guest, flag):
    table, data = pages(guest, 2)
    guest.pin_table(table, 1)
    with pytest.raises(MachineError, match="Invalid argument"):
        guest.mmu_update(table, 0, pte(data, RW | flag))
    # Who may map I/O chooses how its pages are cached; a large page or a global table nobody asks for.
    guest.permit_iomem(*IO)
    guest.mmu_update(table, 0, pte(data, RW | flag))
    guest.unpin_table(table)
    guest.mmu_update(table, 0, 0)
    guest.pin_table(table, 2)
    for odd in (flag, PTE.glob):
        with pytest.raises(MachineError, match="Invalid argument"):
            guest.mmu_update(table, 0, pte(data, PTE.present | odd))


def test_io_frames_need_permission_and_are_not_counted(machine, guest):
    (table,) = pages(guest, 1)
    guest.pin_table(table, 1)
    outside = 1 << 40 >> 12
    for mfn in (IO[0], outside):
        with pytest.raises(MachineError, match="Operation not permitted"):
            guest.mmu_update(table, 0, pte(mfn, RW))
    with pytest.raises(MachineError, match="Invalid argument"):
        guest.mmu_update(table, 0, pte((1 << 40) - 1, RW))
    guest.permit_iomem(*IO)
    guest.permit_iomem(outside, outside + 1)
    guest.mmu_update(table, 0, pte(IO[0], RW))
    guest.mmu_update(table, 1, pte(outside, RW))
    assert machine.page(IO[0]).references == 1
    machine.audit().check()
    guest.mmu_update(table, 0, 0)
    guest.destroy()
    machine.audit().check()


def test_xens_slots_of_a_root_are_its_own(machine, guest):
    root, lower = pages(guest, 2)
    guest.mmu_update(root, 256, pte(lower, RW))
    guest.pin_table(root, 4)
    assert counts(machine, lower)[2] == 1
    for index in (256, 271):
        with pytest.raises(MachineError, match="Invalid argument"):
            guest.mmu_update(root, index, pte(lower, RW))
    for index in (255, 272):
        guest.mmu_update(root, index, pte(lower, RW))
    assert counts(machine, lower) == ("l3", 2, 3)
    machine.audit().check()


def test_pages_that_guests_may_not_name(machine, guest):
    other = machine.create_domain(2)
    foreign, (own,) = other.populate(0), pages(guest, 1)
    shared = machine.host.pdx_to_mfn(machine._grant_frames(1)[0][0])
    for mfn in (foreign, 1 << 39, machine.alloc(), IO[0], 1 << 63):
        for attempt in (
            lambda mfn=mfn: guest.pin_table(mfn, 1),
            lambda mfn=mfn: guest.unpin_table(mfn),
            lambda mfn=mfn: guest.mmu_update(mfn, 0, 0),
        ):
            with pytest.raises(MachineError, match="Invalid argument"):
                attempt()
    # Its grant frames are its own, but writable for good.
    with pytest.raises(MachineError, match="Invalid argument"):
        guest.pin_table(shared, 1)
    for level in (0, 5, 1 << 31):
        with pytest.raises(MachineError, match="Invalid argument"):
            guest.pin_table(own, level)
    for index in (512, 1 << 31):
        with pytest.raises(MachineError, match="Invalid argument"):
            guest.mmu_update(own, index, 0)
    for bad in (-1, 1 << 64, 1.5, None, "1"):
        with pytest.raises((MachineError, TypeError)):
            guest.mmu_update(own, 0, bad)
        with pytest.raises((MachineError, FrameError, TypeError)):
            machine.page_table(bad)
    hvm = machine.create_domain(3, translated=True)
    mfn = hvm.populate(0)
    with pytest.raises(MachineError, match="Invalid argument"):
        hvm.pin_table(mfn, 1)
    with pytest.raises(MachineError, match="not supported"):
        hvm.mmu_update(mfn, 0, 0)
    machine.audit().check()


def test_end_of_a_domain_takes_pins_and_tables_down(machine, guest):
    free = machine.free_pages
    before = machine.free_pages + guest.tot_pages
    (data,) = pages(guest, 1)
    l4, _, l2, _ = build(guest, data)
    guest.pin_table(l4, 4)
    guest.pin_table(l2, 2)
    other, third = pages(guest, 2, first=300)
    guest.pin_table(other, 1)
    guest.mmu_update(other, 3, pte(third, RW))
    assert guest.destroy()
    assert machine.free_pages > free and machine.free_pages >= before
    assert machine._tables() == {}
    machine.audit().check()


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_table_still_referred_to_when_its_domain_dies_holds_nothing(machine, guest, level):
    (data,) = pages(guest, 1)
    tables = build(guest, data)
    guest.pin_table(tables[0], 4)
    held = tables[4 - level]
    assert machine.get_page(held, guest) and machine.get_page(held, guest)
    assert machine.get_page_type(held, f"l{level}")
    assert not guest.destroy()
    # Roots, l3 and l2 are invalidated though in use; an l1 table keeps its pages until it is let go.
    assert machine.page(held).is_validated is (level == 1)
    assert machine.domain(1).tot_pages == (2 if level == 1 else 1)
    assert machine.get_page_type(held, f"l{level}") is (level == 1)
    machine.audit().check()
    for _ in range(machine.page(held).type_references):
        machine.put_page_type(held)
    machine.put_page(held)
    machine.audit().check()
    machine.put_page(held)
    assert not guest.exists
    machine.audit().check()


def test_page_that_leaves_the_guest_loses_its_pin(machine, guest):
    # Xen: guest_remove_page. Before, the pin kept a page that nobody could reach any more.
    table, data = pages(guest, 2)
    guest.mmu_update(table, 0, pte(data, RW))
    guest.pin_table(table, 1)
    guest.remove(0)
    assert machine.page(table).is_free and counts(machine, data) == ("writable", 0, 1)
    machine.audit().check()


def test_stolen_and_freed_pages(machine, guest):
    table, plain = pages(guest, 2)
    guest.mmu_update(table, 9, pte(plain))
    guest.pin_table(table, 1)
    for attempt in (guest.steal, machine.free):
        with pytest.raises(MachineError):
            attempt(table)
    guest.unpin_table(table)
    guest.steal(table)
    # What was written stays until the page is freed.
    assert machine.page_table(table) == {9: pte(plain)}
    machine.free(table)
    assert machine.page_table(table) == {}
    machine.audit().check()


def test_writing_zeros_keeps_no_memory(machine, guest):
    (page,) = pages(guest, 1)
    guest.mmu_update(page, 4, 0)
    assert machine._tables() == {}
    guest.mmu_update(page, 4, 6)
    assert machine.page_table(page) == {4: 6}
    assert guest.mmu_update(page, 4, 0) == 6
    assert machine._tables() == {}


def test_tables_survive_a_checkpoint(machine, guest):
    (data,) = pages(guest, 1)
    tables = build(guest, data)
    guest.pin_table(tables[0], 4)
    saved = checkpoint.dumps(machine)
    again = checkpoint.loads(saved)
    assert checkpoint.dumps(again) == saved
    assert again._tables() == machine._tables() and again.audit() == machine.audit()
    again.domain(1).unpin_table(tables[0])
    assert counts(again, data) == ("writable", 0, 1)
    again.audit().check()


def test_batch_builds_a_tree(machine, guest):
    mfns = pages(guest, 513)
    ops = machine.ops(514)
    ops["dom"], ops["frame"], ops["code"] = 1, mfns[0], Op.MMU_UPDATE
    ops["ref"][:512] = range(512)
    ops["addr"][:512] = [pte(mfn, RW) for mfn in mfns[1:]]
    ops[512]["code"], ops[512]["flags"] = Op.PIN_TABLE, 1
    ops[513]["code"], ops[513]["ref"] = Op.PTE_GET, 511
    assert machine.run(ops) == 0
    assert ops[513]["out"] == pte(mfns[512], RW)
    assert all(counts(machine, mfn) == ("writable", 1, 2) for mfn in mfns[1:])
    machine.audit().check()


@pytest.mark.parametrize("seed", range(6))
def test_random_tables_against_a_count_by_hand(seed):
    # Random writes, pins and ends of domains; after each phase what tables and pins hold is counted anew.
    rng = random.Random(seed)
    machine = small_machine()
    start = machine.free_pages
    for _ in range(8):
        guests = [machine.domain(n) if machine._domain(n) else machine.create_domain(n) for n in (1, 2)]
        owned = {
            g.domid: pages(g, max(0, 24 - g.tot_pages), first=rng.randrange(1 << 20)) + g.pages
            for g in guests
        }
        for _ in range(400):
            guest = rng.choice(guests)
            mfn, target = rng.choice(owned[guest.domid]), rng.choice(owned[rng.choice([1, guest.domid])])
            try:
                kind = rng.random()
                if kind < 0.6:
                    flags = rng.choice([0, PTE.present, RW, RW | PTE.user])
                    guest.mmu_update(mfn, rng.choice([0, 1, 2, 300, 511]), pte(target, flags))
                elif kind < 0.8:
                    guest.pin_table(mfn, rng.choice([1, 1, 2, 3, 4]))
                else:
                    guest.unpin_table(mfn)
            except MachineError:
                pass
        machine.audit().check()
        rng.choice(guests).destroy()
        machine.audit().check()
    for domain in machine.domains:
        domain.destroy()
    machine.audit().check()
    assert machine.free_pages == start and machine._tables() == {}


@pytest.mark.parametrize("mfn, flags", [(1 << 40, 0), (-1, 0), (0, 1 << 12), (0, 1 << 64), (0, -1)])
def test_entries_are_whole(mfn, flags):
    with pytest.raises(MachineError, match="no page-table entry"):
        pte(mfn, flags)


def test_entry_of_the_highest_frame():
    assert pte((1 << 40) - 1, PTE.present | PTE.nx) == (1 << 63) | ((1 << 52) - 4096) | 1
    assert pte(GIB >> 12) == GIB | 1
