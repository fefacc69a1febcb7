"""Memory added to a live machine: what is taken, what is refused and why, and that the tables grow."""

import numpy as np
import pytest
from machines import GIB, MIB

import xenmm
from xenmm import MachineError
from xenmm.machine import Machine, checkpoint

#: 2 GiB at 0 and at 512 GiB: the mask squeezes what lies between; nodes have room to grow.
RAM = [(1 * MIB, 2 * GIB), (4 * GIB, 6 * GIB), (512 * GIB, 514 * GIB)]
SRAT = [(0, 8 * GIB, 1, 0), (512 * GIB, 518 * GIB, 1 | 2, 1)]


def machine_of(profile="xen-mask", ram=RAM, srat=SRAT, **options):
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram, srat), profile, page_sizes="2m", **options)
    return Machine(host)


@pytest.mark.parametrize("profile", ["sparse-m2p", "xen-4.17", "xen-mask", "xen-offset"])
def test_added_memory_is_used_and_every_invariant_holds(profile):
    machine = machine_of(profile)
    start, end = 515 * GIB, 517 * GIB
    host, free, params = machine.host, machine.free_pages, dict(machine.host.params)
    assert not machine.mfn_valid(start >> 12)
    machine.add_memory(start, end)
    assert machine.max_page == end >> 12
    assert machine.mfn_valid((end >> 12) - 1) and not machine.mfn_valid(end >> 12)
    # The host is as it was: its parameters are write-once.
    assert dict(host.params) == params and host.max_page == 514 * GIB >> 12
    machine.audit().check()
    # 8 groups of frame table, 2 M2P slots and 2 compat ones, 2 MiB each, came from the memory itself.
    taken = (end - start >> 12) - (machine.free_pages - free)
    assert taken == 512 * (8 + 2 + (2 if host.compat_m2p else 0))
    domain = machine.create_domain(1)
    mfns = []
    while machine.free_pages_by_node()[1]:
        mfns.append(domain.populate(len(mfns) << 9, order=9, node=1, exact_node=True))
        if len(mfns) > 500:
            break
    assert any(mfn >= start >> 12 for mfn in mfns)
    machine.audit().check()
    domain.destroy()
    machine.audit().check()


def test_fresh_tables_read_as_new():
    machine = machine_of()
    machine.add_memory(515 * GIB, 516 * GIB)
    for mfn in (515 * GIB >> 12, (516 * GIB >> 12) - 1):
        assert machine.m2p_entry(mfn) == (1 << 64) - 1
    first = machine.page((515 * GIB >> 12) + 5)
    assert machine._record(first.pdx) == (0, 0, 0, 0, 0, 0)
    runs = machine.groups()
    assert runs[-1][1] == machine.max_pdx >> 16
    views = list(machine.page_infos())
    assert sum(int((v["owner"] == 0xFFFFFFFF).sum()) for _, v in views[-1:]) == 0


def test_records_behind_the_old_end_come_into_reach():
    # The old end lies inside a group: its tail was 0xff or not backed, and is zero now.
    ram = [(1 * MIB, 2 * GIB), (4 * GIB, 4 * GIB + 100 * MIB)]
    machine = machine_of("xen-none", ram, [(0, 8 * GIB, 1, 0)])
    old = machine.max_pdx
    assert old % 65536
    machine.add_memory(5 * GIB, 5 * GIB + 258 * MIB)
    for pdx in (old, old + 1, (old | 65535)):
        assert machine._record(pdx) == (0, 0, 0, 0, 0, 0)
    machine.audit().check()
    # So does the end of what was added: all of its group is backed by now.
    old = machine.max_pdx
    assert old % 65536
    machine.add_memory(8 * GIB, 9 * GIB, node=0)
    assert {machine._record(pdx) for pdx in range(old, (old | 65535) + 1)} == {(0, 0, 0, 0, 0, 0)}
    machine.audit().check()


def test_machphys_list_knows_the_new_slots():
    machine = machine_of("xen-none", [(1 * MIB, 2 * GIB)], [(0, 8 * GIB, 1, 0)])
    before = machine.machphys_mfn_list()
    machine.add_memory(4 * GIB, 5 * GIB)
    after = machine.machphys_mfn_list()
    assert after[: len(before)] == before
    assert after[2:4] == [before[-1]] * 2
    assert 4 * GIB >> 12 <= after[4] < 5 * GIB >> 12


def test_new_node_joins():
    machine = machine_of()
    machine.add_memory(515 * GIB, 516 * GIB, node=7)
    assert machine.nodes == (0, 1, 7)
    assert machine.free_pages_by_node()[7] > 200_000
    mfn = machine.alloc(node=2, exact_node=True)
    assert 515 * GIB <= mfn << 12 < 516 * GIB
    machine.audit().check()


@pytest.mark.parametrize(
    "start, end, why",
    [
        (515 * GIB + 4096, 516 * GIB, "2 MiB"),
        (515 * GIB, 516 * GIB + MIB, "2 MiB"),
        (516 * GIB, 515 * GIB, "no range"),
        (-GIB, GIB, "no range"),
        (64 * GIB, 66 * GIB, "cannot express"),
        (5 * GIB, 7 * GIB, "RAM is there already"),
        (513 * GIB, 515 * GIB, "RAM is there already"),
        (515 * GIB, 515 * GIB + 256 * MIB, "no whole group"),
        (515 * GIB, 515 * GIB + 2 * MIB, "no whole group"),
        (518 * GIB, 520 * GIB, "SRAT"),
    ],
)
def test_every_refusal_says_why_and_changes_nothing(start, end, why):
    machine = machine_of()
    before = checkpoint.dumps(machine)
    with pytest.raises(MachineError, match=f"not added: .*{why}"):
        machine.add_memory(start, end)
    assert checkpoint.dumps(machine) == before


def test_an_empty_range_is_none_and_the_message_names_it():
    with pytest.raises(MachineError) as refused:
        machine_of().add_memory(515 * GIB, 515 * GIB)
    assert str(refused.value) == "memory [0x80c0000000, 0x80c0000000) is not added: it is no range"


def test_whole_group_boundary_is_exact():
    # One whole group before the last: 256 MiB and one more 2 MiB, aligned to the group.
    machine = machine_of()
    with pytest.raises(MachineError, match="no whole group"):
        machine.add_memory(515 * GIB, 515 * GIB + 256 * MIB)
    machine.add_memory(515 * GIB, 515 * GIB + 258 * MIB)
    machine.audit().check()


def test_the_smallest_range_pays_for_its_own_tables():
    # A whole group and 2 MiB of the next: 2 MiB of frame table for each, and a slot of the M2P.
    machine = machine_of()
    free = machine.free_pages
    machine.add_memory(515 * GIB, 515 * GIB + 258 * MIB)
    assert machine.free_pages - free == 512 * (129 - 2 - 1)


def test_what_is_past_the_tables_is_refused():
    machine = machine_of("xen-none", [(1 * MIB, 2 * GIB)], None)
    tib = 1 << 40
    with pytest.raises(MachineError, match="frame table"):
        machine.add_memory(16 * tib, 16 * tib + GIB)
    machine = machine_of("pre", [(1 * MIB, 1 * GIB)], None)
    with pytest.raises(MachineError, match="past the end"):
        machine.add_memory(tib, tib + GIB)


def test_grown_machine_survives_a_checkpoint():
    machine = machine_of()
    machine.add_memory(515 * GIB, 516 * GIB)
    machine.add_memory(517 * GIB, 518 * GIB, node=5)
    domain = machine.create_domain(1)
    mfn = domain.populate(3, node=2, exact_node=True)
    again = checkpoint.loads(checkpoint.dumps(machine))
    assert again.domain(1).mfn(3) == mfn
    assert again.audit() == machine.audit()
    assert checkpoint.dumps(again) == checkpoint.dumps(machine)


def test_views_reach_the_added_records():
    machine = machine_of()
    machine.add_memory(515 * GIB, 516 * GIB)
    mfn = machine.create_domain(1).populate(0, node=1, exact_node=True)
    pdx = machine.page(mfn).pdx
    for first, view in machine.page_infos():
        if first <= pdx < first + len(view):
            assert int(view["owner"][pdx - first]) == machine._domain(1)["pdx"]
            break
    else:
        raise AssertionError("no view holds the record")
    assert isinstance(view, np.ndarray)
