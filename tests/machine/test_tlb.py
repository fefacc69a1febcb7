"""TLB timestamps: a page used anew costs a flush only where a TLB may still hold what it was."""

import pytest
from machines import Counted, small_machine

from xenmm import MachineError
from xenmm.errors import ConfigError
from xenmm.machine import Op, checkpoint
from xenmm.machine.page_info import NEED_TLBFLUSH


def test_without_cpus_nothing_is_stamped_or_flushed():
    machine = small_machine()
    guest = machine.create_domain(1)
    mfn = guest.populate(0, node=0)
    page = machine.page(mfn)
    assert page.tlbflush_timestamp is None
    page.set_context(7)
    guest.remove(0)
    with Counted(machine) as n:
        guest.populate(0)
    assert n["tlb_flushes"] == n["need_flush_tlb_flush"] == 0
    for call in (machine.flush_tlb, lambda: machine.flush_tlb(0), lambda: guest.ran_on(0)):
        with pytest.raises(MachineError, match="Invalid argument"):
            call()


def test_reused_page_costs_one_flush_of_every_tlb():
    machine = small_machine(cpus=3)
    guest = machine.create_domain(1)
    mfn = guest.populate(0, node=0)
    assert machine.tlb_times() == (1, [0, 0, 0])
    guest.remove(0)
    head = machine._record(machine._free_chunk_of(machine.page(mfn).pdx)[0])
    assert machine.page(mfn).context == 1 and head
    with Counted(machine) as n:
        assert guest.populate(0, node=0) == mfn
    assert (n["need_flush_tlb_flush"], n["tlb_flushes"]) == (1, 3)
    assert machine.tlb_times() == (4, [2, 3, 4])
    machine.audit().check()


def test_flush_since_then_saves_it():
    machine = small_machine(cpus=2)
    guest = machine.create_domain(1)
    mfn = guest.populate(0, node=0)
    guest.remove(0)
    machine.flush_tlb(1)
    with Counted(machine) as n:
        assert guest.populate(0, node=0) == mfn
    assert (n["need_flush_tlb_flush"], n["tlb_flushes"]) == (1, 1)
    guest.remove(0)
    machine.flush_tlb()
    with Counted(machine) as n:
        assert guest.populate(0, node=0) == mfn
    assert (n["need_flush_tlb_flush"], n["tlb_flushes"]) == (0, 0)


def test_page_that_nobody_owned_needs_none():
    machine = small_machine(cpus=1)
    mfn = machine.alloc()
    machine.free(mfn)
    with Counted(machine) as n:
        assert machine.alloc() == mfn
    assert n["tlb_flushes"] == 0
    machine.free(mfn)
    machine.audit().check()


def test_many_pages_cost_one_flush():
    machine = small_machine(cpus=1)
    guest = machine.create_domain(1)
    first = guest.populate(0, order=6, node=0)
    for gfn in range(64):
        guest.remove(gfn)
    with Counted(machine) as n:
        assert guest.populate(0, order=6, node=0) == first
    assert (n["need_flush_tlb_flush"], n["tlb_flushes"]) == (1, 1)
    machine.audit().check()


def test_type_change_flushes_where_its_domain_ran():
    machine = small_machine(cpus=4)
    guest = machine.create_domain(1)
    mfn = guest.populate(0, node=0)
    machine.get_page(mfn, guest)
    with Counted(machine) as n:
        assert machine.get_page_type(mfn, "writable")
        machine.put_page_type(mfn)
        guest.pin_table(mfn, 1)
        guest.unpin_table(mfn)
    # It never ran: no TLB holds anything of it.
    assert n["tlb_flushes"] == 0
    guest.ran_on(1)
    guest.ran_on(3)
    assert machine.page(mfn).tlbflush_timestamp == 1
    with Counted(machine) as n:
        assert machine.get_page_type(mfn, "writable")
    assert (n["need_flush_tlb_flush"], n["tlb_flushes"]) == (1, 2)
    assert machine.tlb_times() == (3, [0, 2, 0, 3])
    machine.put_page_type(mfn)
    assert machine.page(mfn).tlbflush_timestamp == 3
    with Counted(machine) as n:
        # The same type again is no change.
        assert machine.get_page_type(mfn, "writable")
        machine.put_page_type(mfn)
    assert n["tlb_flushes"] == 0
    machine.flush_tlb()
    with Counted(machine) as n:
        guest.pin_table(mfn, 1)
    assert n["tlb_flushes"] == 0


def test_clock_wraps_with_a_flush_of_every_tlb():
    machine = small_machine(cpus=2)
    guest = machine.create_domain(1)
    mfn = guest.populate(0, node=0)
    machine._set_tlb_clock((1 << 32) - 2)
    guest.remove(0)
    assert machine.page(mfn).context == (1 << 32) - 2
    machine.flush_tlb(0)
    assert machine.tlb_times() == ((1 << 32) - 1, [(1 << 32) - 1, 0])
    with Counted(machine) as n:
        machine.flush_tlb(0)
    assert n["tlb_flushes"] == 2
    assert machine.tlb_times() == (1, [0, 0])
    # The stamp is of the time before: every TLB was flushed since.
    with Counted(machine) as n:
        assert guest.populate(0, node=0) == mfn
    assert n["tlb_flushes"] == 0
    machine.audit().check()


def test_free_pages_keep_their_stamps_through_merge_split_and_scrub():
    machine = small_machine(cpus=1)
    guest = machine.create_domain(1)
    mfns = [guest.populate(i) for i in range(8)]
    guest.destroy()
    for mfn in mfns:
        fields = machine._record(machine.page(mfn).pdx)
        assert fields[3] & NEED_TLBFLUSH and fields[5] == 1
    with Counted(machine) as n:
        machine.scrub()
    # Before a dirty page is written to, no guest may see it any more: the first of them costs the flush.
    assert (n["need_flush_tlb_flush"], n["tlb_flushes"]) == (1, 1)
    machine.audit().check()
    for mfn in mfns:
        assert machine._record(machine.page(mfn).pdx)[3] & NEED_TLBFLUSH
    other = machine.create_domain(2)
    with Counted(machine) as n:
        fresh = [other.populate(i) for i in range(8)]
    assert set(fresh) & set(mfns) and n["tlb_flushes"] == 0
    assert not any(machine._record(machine.page(mfn).pdx)[3] & NEED_TLBFLUSH for mfn in fresh)
    machine.audit().check()


def test_checkpoint_keeps_clock_times_and_cpus():
    machine = small_machine(cpus=2)
    guest = machine.create_domain(1)
    guest.populate(0)
    guest.ran_on(1)
    machine.flush_tlb(0)
    saved = checkpoint.dumps(machine)
    again = checkpoint.loads(saved)
    assert again.tlb_times() == machine.tlb_times() == (2, [2, 0])
    assert again._domain(1)["dirty_cpus"] == 2
    assert checkpoint.dumps(again) == saved


def test_what_there_is_not():
    machine = small_machine(cpus=2)
    guest = machine.create_domain(1)
    mfn = guest.populate(0, node=0)
    for cpu in (2, 64, -1, 1 << 32, 0xFFFFFFFF, 1.0, "0"):
        with pytest.raises((MachineError, TypeError)):
            machine.flush_tlb(cpu)
        with pytest.raises((MachineError, TypeError)):
            guest.ran_on(cpu)
    with pytest.raises(MachineError, match="TLB timestamp"):
        machine.page(mfn).set_context(1)
    assert machine._do(Op.RUN_ON, 9, ref=0)[0] == -3
    for cpus in (-1, 65):
        with pytest.raises(ConfigError, match="number of TLBs"):
            small_machine(cpus=cpus)
    assert len(small_machine(cpus=64).tlb_times()[1]) == 64
