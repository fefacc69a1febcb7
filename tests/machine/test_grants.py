"""Grant tables: what each refusal is called, what is left behind, version 2, copies, transfers, release."""

import pytest
from machines import IO, Counted, small_machine, two_domains

from xenmm import MachineError
from xenmm.machine import GNTCOPY, GNTMAP, GNTST, GTF, Op
from xenmm.machine.grant_table import DOMID_SELF
from xenmm.machine.ops import copy_dtype

HOST, DEVICE, READONLY = GNTMAP.host_map, GNTMAP.device_map, GNTMAP.readonly


@pytest.fixture(params=["naive", "cse"])
def machine(request):
    return small_machine(flavour=request.param)


def copies(**fields):
    import numpy as np

    ops = np.zeros(1, dtype=copy_dtype())
    for name, value in {"len": 4096, **fields}.items():
        ops[name] = int(value)
    return ops


def copy_status(machine, domain, **fields):
    ops = copies(**fields)
    machine.grant_copy(domain, ops)
    return GNTST(int(ops["status"][0]))


def test_reads_and_writes_mark_the_entry(machine):
    owner, mapper, _ = two_domains(machine)
    read = mapper.map_grant(owner, 8, flags=HOST | READONLY)
    assert int(owner.grant_entries()["flags"][8]) == 1 | 8
    write = mapper.map_grant(owner, 8)
    assert int(owner.grant_entries()["flags"][8]) == 1 | 8 | 16
    mapper.unmap_grant(write.handle)
    assert int(owner.grant_entries()["flags"][8]) == 1 | 8
    with pytest.raises(MachineError, match="busy"):
        owner.end_grant(8)
    mapper.unmap_grant(read.handle)
    assert int(owner.grant_entries()["flags"][8]) == 1
    owner.end_grant(8)


def test_every_refused_map_has_its_code(machine):
    owner, mapper, mfn = two_domains(machine)
    third = machine.create_domain(3, max_maptrack_frames=0)
    hvm = machine.create_domain(4, translated=True)
    owner.grant(9, mapper, mfn, readonly=True)
    owner.grant(10, third, mfn)
    owner.grant(11, hvm, mfn)
    hvm.grant(0, mapper, 0x99)
    refused = {
        GNTST.bad_gntref: [mapper.map_grant(owner, 8, flags=0), mapper.map_grant(owner, 512)],
        GNTST.bad_domain: [mapper.map_grant(77, 8), mapper.map_grant(0x7FF1, 0)],
        GNTST.general_error: [
            mapper.map_grant(owner, 7),
            mapper.map_grant(owner, 9),
            mapper.map_grant(owner, 10),
            mapper.map_grant(owner, 8, host_addr=0x1004),
            hvm.map_grant(owner, 11, flags=DEVICE),
        ],
        GNTST.no_space: [third.map_grant(owner, 10)],
        GNTST.bad_page: [mapper.map_grant(hvm, 0)],
    }
    for code, results in refused.items():
        assert [r.status for r in results] == [code] * len(results)
    assert machine.page(mfn).references == 1
    machine.audit().check()


def test_every_refused_unmap_has_its_code(machine):
    owner, mapper, mfn = two_domains(machine)
    m = mapper.map_grant(owner, 8, flags=HOST | DEVICE)
    assert m.dev_bus_addr == mfn << 12
    assert mapper.unmap_grant(m.handle + 1) is GNTST.bad_handle
    assert mapper.unmap_grant(1 << 31) is GNTST.bad_handle
    assert mapper.unmap_grant(m.handle, host_addr=0x5000) is GNTST.general_error
    assert mapper.unmap_grant(m.handle, host_addr=0, dev_bus_addr=0x3000) is GNTST.bad_dev_addr
    assert owner.unmap_grant(m.handle) is GNTST.bad_handle
    assert machine.page(mfn).references == 3
    # In two halves, each once.
    assert mapper.unmap_grant(m.handle) is GNTST.okay
    assert (machine.page(mfn).references, machine.page(mfn).type_references) == (2, 1)
    assert mapper.unmap_grant(m.handle) is GNTST.okay
    assert machine.page(mfn).references == 2
    assert mapper.unmap_grant(m.handle, host_addr=0, dev_bus_addr=m.dev_bus_addr) is GNTST.okay
    assert mapper.unmap_grant(m.handle) is GNTST.bad_handle
    assert (machine.page(mfn).references, machine.page(mfn).type_references) == (1, 0)


@pytest.mark.parametrize("flags", [HOST, HOST | READONLY, DEVICE, DEVICE | READONLY])
def test_pin_count_overflow_is_refused(machine, flags):
    # Eight bits a kind of mapping, the top one as the overflow mark: 128 mappings, no more.
    owner, mapper, _ = two_domains(machine)
    assert [mapper.map_grant(owner, 8, flags=flags).status for _ in range(128)] == [GNTST.okay] * 128
    assert mapper.map_grant(owner, 8, flags=flags).status is GNTST.general_error
    machine.audit().check()
    assert mapper.destroy()
    machine.audit().check()


def test_type_conflict_is_refused_and_leaves_nothing(machine):
    owner, mapper, mfn = two_domains(machine)
    assert machine.get_page(mfn, owner) and machine.get_page_type(mfn, "l1")
    for flags in (HOST, DEVICE, HOST | DEVICE):
        assert mapper.map_grant(owner, 8, flags=flags).status is GNTST.general_error
    assert mapper.map_grant(owner, 8, flags=HOST | READONLY).status is GNTST.okay
    assert machine.page(mfn).references == 3
    machine.audit().check()


def test_io_frame_needs_permission(machine):
    owner, mapper, _ = two_domains(machine)
    owner.grant(9, mapper, IO[0])
    owner.grant(10, mapper, 1 << 24)
    assert mapper.map_grant(owner, 9).status is GNTST.general_error
    owner.permit_iomem(*IO)
    mapping = mapper.map_grant(owner, 9)
    assert mapping.status is GNTST.okay
    assert mapper.map_grant(owner, 10).status is GNTST.general_error
    owner.permit_iomem(1 << 24, (1 << 24) + 1)
    assert mapper.map_grant(owner, 10).status is GNTST.okay
    machine.audit().check()
    # A dying owner stays while its I/O grants are mapped.
    assert not owner.destroy()
    assert mapper.destroy() and not owner.exists
    machine.audit().check()


def test_frame_of_another_domain_is_refused(machine):
    owner, mapper, _ = two_domains(machine)
    theirs = mapper.populate(0)
    free = next(m for m in range(0x200, 0x1800) if machine.page(m).is_free)
    for ref, frame in ((9, theirs), (10, free), (11, (1 << 32) - 1)):
        owner.grant(ref, mapper, frame)
        assert mapper.map_grant(owner, ref).status is GNTST.general_error
    assert machine.page(theirs).references == 1
    machine.audit().check()


def test_translated_owner_takes_no_type_for_foreign_host_maps(machine):
    hvm, mapper = machine.create_domain(1, translated=True), machine.create_domain(2)
    mfn = hvm.populate(5)
    hvm.grant(8, mapper, 5)
    mapping = mapper.map_grant(hvm, 8)
    assert (machine.page(mfn).references, machine.page(mfn).type_references) == (2, 0)
    machine.audit().check()
    assert mapper.unmap_grant(mapping.handle) is GNTST.okay
    assert machine.page(mfn).references == 1


def test_dying_owner_lives_on_until_the_last_mapping_goes(machine):
    free = machine.free_pages
    owner, mapper, mfn = two_domains(machine)
    mapping = mapper.map_grant(owner, 8)
    assert not owner.destroy()
    assert owner.exists and not owner.alive
    assert (machine.page(mfn).owner, machine.page(mfn).is_allocated) == (1, False)
    machine.audit().check()
    assert mapper.unmap_grant(mapping.handle) is GNTST.okay
    assert not owner.exists
    mapper.destroy()
    assert machine.free_pages == free
    machine.audit().check()


def test_transfer_moves_the_page(machine):
    giver, taker = machine.create_domain(1), machine.create_domain(2)
    mfn = giver.populate(3)
    taker.grant(8, giver, 40, transfer=True)
    assert giver.transfer_grant(mfn, taker, 8) is GNTST.okay
    assert (giver.tot_pages, taker.tot_pages, taker.mfn(40), machine.page(mfn).gfn) == (0, 1, mfn, 40)
    entry = taker.grant_entries()[8]
    assert (int(entry["flags"]), int(entry["frame"])) == (2 | 4 | 8, mfn)
    machine.audit().check()


def test_refused_transfers_have_their_codes(machine):
    giver, taker = machine.create_domain(1), machine.create_domain(2, max_pages=1)
    taker.grant(8, giver, 40, transfer=True)
    mfns = [giver.populate(g) for g in range(4)]
    foreign = taker.populate(0)
    assert giver.transfer_grant(foreign, taker, 8) is GNTST.bad_page
    assert giver.transfer_grant(1 << 40, taker, 8) is GNTST.bad_page
    assert giver.transfer_grant(mfns[0], taker, 8) is GNTST.general_error  # no headroom
    assert giver.transfer_grant(mfns[1], 9, 8) is GNTST.bad_domain
    taker.set_max_pages(5)
    assert giver.transfer_grant(mfns[2], taker, 9) is GNTST.general_error  # accepts nothing
    # As in Xen the pages of the last three are gone.
    assert giver.tot_pages == 1
    machine.get_page(mfns[3], giver)
    assert giver.transfer_grant(mfns[3], taker, 8) is GNTST.bad_page
    assert giver.tot_pages == 1
    machine.audit().check()


def test_version_2_status_is_apart_from_the_flags(machine):
    owner = machine.create_domain(1, grant_version=2)
    mapper = machine.create_domain(2)
    mfn = owner.populate(5)
    owner.grant(8, mapper, mfn)
    mapping = mapper.map_grant(owner, 8)
    assert (int(owner.grant_entries()["flags"][8]), int(owner.grant_status()[8])) == (1, 24)
    machine.audit().check()
    mapper.unmap_grant(mapping.handle)
    assert int(owner.grant_status()[8]) == 0
    assert owner.query_size() == (1, 64)
    assert len(owner.grant_entries()) == 256


def test_version_change_keeps_eight_entries_and_wants_no_use(machine):
    owner, mapper, mfn = two_domains(machine)
    owner.grant(3, mapper, mfn)
    kept = mapper.map_grant(owner, 3)
    used = mapper.map_grant(owner, 8)
    with pytest.raises(MachineError, match="busy"):
        owner.set_grant_version(2)
    mapper.unmap_grant(used.handle)
    owner.set_grant_version(2)
    entries = owner.grant_entries()
    assert (int(entries["flags"][3]), int(entries["frame"][3]), int(owner.grant_status()[3])) == (1, mfn, 24)
    assert int(entries["flags"][8]) == 0
    machine.audit().check()
    owner.set_grant_version(1)
    assert int(owner.grant_entries()["flags"][3]) == 1 | 24
    mapper.unmap_grant(kept.handle)
    machine.audit().check()
    owner.set_grant_version(2)
    owner.grant_transitive(2, mapper, 5, 1)
    with pytest.raises(MachineError, match="range"):
        owner.set_grant_version(1)
    with pytest.raises(MachineError, match="Invalid"):
        owner.set_grant_version(3)


def test_table_grows_to_its_limit(machine):
    domain = machine.create_domain(1, max_grant_frames=3)
    assert domain.query_size() == (1, 3)
    domain.setup_table(3)
    assert len(domain.grant_entries()) == 3 * 512
    with pytest.raises(MachineError, match="Invalid"):
        domain.setup_table(4)
    machine.audit().check()


def test_copy_between_grants_and_own_frames(machine):
    _, mapper, mfn = two_domains(machine)
    own = mapper.populate(0)
    fields = {"src_dom": 1, "src_frame": 8, "dst_dom": DOMID_SELF, "dst_frame": own}
    with Counted(machine) as n:
        assert copy_status(machine, mapper, **fields, flags=GNTCOPY.source_gref, len=100) is GNTST.okay
    assert (n["grant_copies"], n["bytes_copied"]) == (1, 100)
    # Taken and dropped on each side: the second conversions are what 0ed9151a5f removed.
    assert n["mfn_to_page"] == (4 if machine.flavour == "naive" else 2)
    back = {"src_dom": DOMID_SELF, "src_frame": own, "dst_dom": 1, "dst_frame": 8}
    assert copy_status(machine, mapper, **back, flags=GNTCOPY.dest_gref) is GNTST.okay
    assert machine.page(mfn).references == machine.page(own).references == 1
    machine.audit().check()


def test_refused_copies_have_their_codes(machine):
    owner, mapper, mfn = two_domains(machine)
    own = mapper.populate(0)
    owner.grant(9, mapper, mfn, readonly=True)
    good = {"src_dom": 1, "src_frame": 8, "dst_dom": DOMID_SELF, "dst_frame": own, "flags": 1}
    cases = [
        (GNTST.bad_copy_arg, {"src_offset": 1}),
        (GNTST.bad_copy_arg, {"dst_offset": 4096, "len": 1}),
        (GNTST.permission_denied, {"flags": 0}),
        (GNTST.bad_domain, {"src_dom": 9}),
        (GNTST.bad_gntref, {"src_frame": 512}),
        (GNTST.bad_gntref, {"src_frame": 1 << 32}),
        (GNTST.general_error, {"src_frame": 7}),
        (GNTST.bad_page, {"dst_frame": mfn}),
        (GNTST.bad_page, {"dst_frame": 1 << 40}),
        (GNTST.general_error, {"dst_dom": 1, "dst_frame": 9, "flags": 3}),
    ]
    for code, change in cases:
        assert copy_status(machine, mapper, **{**good, **change}) is code, change
    assert copy_status(machine, mapper, **good) is GNTST.okay
    assert machine.page(mfn).references == machine.page(own).references == 1
    machine.audit().check()


def test_sub_page_grants_are_copied_within_bounds_and_never_mapped(machine):
    owner = machine.create_domain(1, grant_version=2)
    mapper = machine.create_domain(2)
    mfn, own = owner.populate(5), mapper.populate(0)
    owner.grant(8, mapper, mfn, sub_page=(100, 50))
    assert mapper.map_grant(owner, 8).status is GNTST.general_error
    good = {"src_dom": 1, "src_frame": 8, "dst_dom": DOMID_SELF, "dst_frame": own, "flags": 1}
    for offset, length, code in (
        (100, 50, GNTST.okay),
        (99, 50, GNTST.general_error),
        (100, 51, GNTST.general_error),
        (149, 1, GNTST.okay),
        (150, 1, GNTST.general_error),
    ):
        assert copy_status(machine, mapper, **good, src_offset=offset, len=length) is code
    machine.audit().check()


def test_transitive_grants_reach_one_level(machine):
    a = machine.create_domain(1)
    b = machine.create_domain(2, grant_version=2)
    c = machine.create_domain(3)
    d = machine.create_domain(4, grant_version=2)
    mfn, own = a.populate(0), c.populate(0)
    a.grant(8, b, mfn)
    b.grant_transitive(9, c, a, 8)
    d.grant_transitive(9, c, b, 9)
    fields = {"dst_dom": DOMID_SELF, "dst_frame": own, "flags": 1, "len": 8}
    assert copy_status(machine, c, src_dom=2, src_frame=9, **fields) is GNTST.okay
    assert c.map_grant(b, 9).status is GNTST.general_error
    assert copy_status(machine, c, src_dom=4, src_frame=9, **fields) is GNTST.general_error
    b.grant_transitive(10, c, b, 9)
    assert copy_status(machine, c, src_dom=2, src_frame=10, **fields) is GNTST.general_error
    assert machine.page(mfn).references == 1
    assert int(b.grant_status()[9]) == 0
    machine.audit().check()


def test_grant_of_version_1_has_32_bits_for_the_frame(machine):
    owner, mapper, _ = two_domains(machine)
    with pytest.raises(MachineError, match="Invalid"):
        owner.grant(9, mapper, 1 << 32)
    with pytest.raises(MachineError, match="Invalid"):
        owner.grant(9, mapper, 1, sub_page=(0, 1))


def test_batch_is_checked_before_it_runs(machine):
    import numpy as np

    for wrong in (
        np.zeros(3),
        [1, 2],
        machine.ops(4)[::2],
        machine.ops(4).reshape(2, 2),
        np.zeros(3, dtype=copy_dtype()),
    ):
        with pytest.raises(TypeError, match="batch"):
            machine.run(wrong)
    frozen = machine.ops(1)
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match="writable"):
        machine.run(frozen)
    assert machine.run(machine.ops(0)) == 0


def test_unknown_operation_codes_do_nothing(machine):
    mfn = machine.create_domain(1).populate(0)
    known = {int(op) for op in Op}
    ops = machine.ops(200)
    ops["code"] = [c for c in range(300) if c not in known][:200]
    ops["dom"] = 1
    ops["frame"] = mfn
    assert machine.run(ops) == 200
    machine.audit().check()


def test_mapper_without_a_free_handle_hears_of_that_before_the_grant(machine):
    mapper, owner = machine.create_domain(1, max_maptrack_frames=0), machine.create_domain(2)
    assert mapper.map_grant(owner, 1 << 20).status is GNTST.no_space


def test_parties_of_a_copy_are_looked_up_before_either_side(machine):
    _, mapper, _ = two_domains(machine)
    bad = {"src_dom": 1, "src_frame": 1 << 20, "dst_frame": mapper.populate(1), "len": 5000}
    flags = GNTCOPY.source_gref
    assert copy_status(machine, mapper, **bad, dst_dom=9, flags=flags | GNTCOPY.dest_gref) is GNTST.bad_domain
    assert copy_status(machine, mapper, **bad, dst_dom=1, flags=flags) is GNTST.permission_denied
    # A length past the page is found last, with both sides in hand.
    assert copy_status(machine, mapper, **bad, dst_dom=0x7FF0, flags=flags) is GNTST.bad_gntref
    bad["src_frame"] = 8
    assert copy_status(machine, mapper, **bad, dst_dom=0x7FF0, flags=flags) is GNTST.bad_copy_arg
    machine.audit().check()


def test_both_sides_of_a_copy_may_be_one_transitive_grant(machine):
    a, c = machine.create_domain(1), machine.create_domain(3)
    b = machine.create_domain(2, grant_version=2)
    a.grant(8, b, a.populate(5))
    b.grant_transitive(9, c, a, 8)
    fields = {"src_dom": 2, "src_frame": 9, "dst_dom": 2, "dst_frame": 9, "len": 16}
    flags = GNTCOPY.source_gref | GNTCOPY.dest_gref
    assert copy_status(machine, c, **fields, flags=flags) is GNTST.okay
    machine.audit().check()


def test_domains_and_pages_of_another_machine_are_refused(machine):
    owner, mapper, mfn = two_domains(machine)
    other = small_machine()
    stranger = other.create_domain(2)
    strange_page = other.page(stranger.populate(0))
    for wrong in (
        lambda: owner.grant(9, stranger, mfn),
        lambda: mapper.map_grant(stranger, 8),
        lambda: owner.transfer_grant(mfn, stranger, 0),
        lambda: machine.get_page(mfn, stranger),
        lambda: machine.map_domain_page_of(strange_page),
        lambda: machine.map_domain_page_of(mfn),
    ):
        with pytest.raises(MachineError):
            wrong()
    machine.audit().check()


@pytest.mark.parametrize("number", [-1, 1 << 16, 1 << 64])
def test_domain_numbers_that_none_can_have_are_refused(machine, number):
    owner, mapper, mfn = two_domains(machine)
    for wrong in (lambda: owner.grant(9, number, mfn), lambda: mapper.map_grant(number, 8)):
        with pytest.raises(MachineError, match="domain numbers"):
            wrong()


@pytest.mark.parametrize("part", [(-1, 5), (0, 4097), (4000, 97), (5, -6), (70000, 1)])
def test_parts_that_no_page_has_are_refused(machine, part):
    owner = machine.create_domain(1, grant_version=2)
    with pytest.raises(MachineError, match="part of a page"):
        owner.grant(8, 2, owner.populate(0), sub_page=part)


@pytest.mark.parametrize("gfns", [[1.5], [-1], [[1]], ["1"], [1 << 64], [None]])
def test_exchange_takes_whole_gfns_only(machine, gfns):
    owner, _, _ = two_domains(machine)
    for given, wanted in ((gfns, [7]), ([5], gfns)):
        with pytest.raises(MachineError, match="gfns are"):
            owner.exchange(given, wanted)
    machine.audit().check()


@pytest.mark.parametrize("value", [-1, 1 << 32, 1 << 70, 1.0, "1", None])
def test_words_of_32_bits_take_nothing_else(machine, value):
    owner, _, mfn = two_domains(machine)
    for wrong in (owner.setup_table, owner.set_grant_version, machine.page(mfn).set_context):
        with pytest.raises(MachineError, match=r"2\^32|is a whole number"):
            wrong(value)


@pytest.mark.parametrize("profile", ["sparse-m2p", "xen-offset"])
def test_transfer_of_a_page_without_a_place(profile):
    # Its M2P entry is what boot filled in, or a shared one, and names no gfn of the domain.
    machine = small_machine(profile)
    giver, taker = machine.create_domain(1), machine.create_domain(2)
    untouched, shared = giver.alloc(), giver.alloc()
    machine.set_m2p(shared, (1 << 64) - 2)
    for ref, mfn in enumerate((untouched, shared)):
        taker.grant(ref, giver, 7 + ref, transfer=True)
        assert giver.transfer_grant(mfn, taker, ref) == GNTST.okay
        assert taker.mfn(7 + ref) == mfn
    machine.audit().check()


def test_copy_of_a_mapped_grant_of_a_dying_owner_is_refused(machine):
    owner, mapper, _ = two_domains(machine)
    mapping = mapper.map_grant(owner, 8, flags=HOST)
    fields = {"src_frame": 8, "src_dom": 1, "dst_dom": DOMID_SELF, "flags": GNTCOPY.source_gref}
    target = mapper.populate(0)
    assert copy_status(machine, mapper, dst_frame=target, **fields) == GNTST.okay
    owner.destroy()
    assert copy_status(machine, mapper, dst_frame=target, **fields) == GNTST.bad_domain
    assert mapper.unmap_grant(mapping.handle) == GNTST.okay
    assert not owner.exists
    machine.audit().check()


@pytest.mark.parametrize("version", [1, 2])
def test_guests_do_not_set_the_marks_of_use(machine, version):
    domain = machine.create_domain(1, grant_version=version)
    mfn = domain.populate(0)
    for mark in (GTF.reading, GTF.writing):
        ops = machine.ops(1)
        ops["code"], ops["dom"], ops["peer"], ops["ref"], ops["frame"] = Op.GRANT, 1, 1, 8, mfn
        ops["flags"] = int(GTF.permit_access | mark)
        machine.run(ops)
        assert ops["status"][0] == -22
    machine.audit().check()


def test_a_finished_transfer_is_no_mark_of_use_in_version_2(machine):
    giver, taker = machine.create_domain(1), machine.create_domain(2)
    taker.grant(6, giver, 7, transfer=True)
    assert giver.transfer_grant(giver.populate(0), taker, 6) == GNTST.okay
    taker.set_grant_version(2)
    assert taker.grant_status()[6] == 0
    machine.audit().check()
