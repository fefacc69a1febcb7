"""The compat M2P: four bytes an entry for 32-bit guests, always what the M2P says."""

import numpy as np
import pytest
from machines import GIB, small_machine

import xenmm
from xenmm import MachineError
from xenmm.machine import Machine, checkpoint
from xenmm.machine.machine import INVALID_M2P_ENTRY, SHARED_M2P_ENTRY

TIB = 1 << 40


def far_machine(profile="sparse-m2p", **options):
    """Memory on both sides of 1 TiB, where the table ends."""
    ram = [(1 << 20, GIB), (TIB - GIB, TIB), (TIB, TIB + GIB), (2 * TIB, 2 * TIB + GIB)]
    srat = [(0, GIB, 1, 0), (TIB - GIB, 2 * TIB + GIB, 1, 1)]
    return Machine(xenmm.boot(xenmm.MemoryMap.from_ranges(ram, srat), profile, **options))


@pytest.mark.parametrize(
    "profile, options, fill",
    [("sparse-m2p", {}, 0x55555555), ("xen-offset", {"compat_m2p": True}, 0xFFFFFFFF)],
)
def test_it_follows_the_m2p(profile, options, fill):
    machine = far_machine(profile, **options)
    low = machine.alloc(bits=40)
    assert machine.compat_m2p_entry(low) in (fill, 0xFFFFFFFF)
    untouched = next(mfn for mfn in range(256, 400) if machine.m2p_entry(mfn) & 0xFFFFFFFF == fill)
    assert machine.compat_m2p_entry(untouched) == fill
    guest = machine.create_domain(1)
    mfn = guest.populate(0x123456, bits=40)
    assert (machine.m2p_entry(mfn), machine.compat_m2p_entry(mfn)) == (0x123456, 0x123456)
    guest.displace(mfn, 0x123456)
    assert machine.compat_m2p_entry(mfn) == 0xFFFFFFFF
    machine.set_m2p(mfn, SHARED_M2P_ENTRY)
    assert machine.compat_m2p_entry(mfn) == 0xFFFFFFFE
    machine.set_m2p(mfn, INVALID_M2P_ENTRY)
    assert machine.compat_m2p_entry(mfn) == 0xFFFFFFFF
    machine.audit().check()


def test_it_ends_at_one_tib():
    machine = far_machine()
    last, first = (TIB >> 12) - 1, TIB >> 12
    assert machine.compat_m2p_entry(last) == 0x55555555
    assert machine.compat_m2p_entry(first) is None
    guest = machine.create_domain(1)
    high = guest.populate(7, node=1)
    assert high >= first and machine.compat_m2p_entry(high) is None
    runs = list(machine.compat_m2p_entries())
    assert sum(len(run) for _, run in runs) * 4 == machine.host.compat_m2p.mapped_bytes
    assert machine.compat_memory.committed == machine.host.compat_m2p.mapped_bytes
    assert all(not run.flags.writeable for _, run in runs)


def test_profile_without_one():
    machine = small_machine("xen-offset")
    mfn = machine.create_domain(1).populate(0)
    assert machine.compat_m2p_entry(mfn) is None and machine.compat_memory is None
    assert list(machine.compat_m2p_entries()) == [] and machine.machphys_mfn_list(compat=True) == []


def test_list_for_32_bit_guests_fills_holes():
    machine = far_machine()
    found = machine.machphys_mfn_list(compat=True)
    assert len(found) == 512
    backed = machine.compat_m2p_backing
    assert sorted(backed) == [0, 511]
    assert found[0] == backed[0] and set(found[:511]) == {backed[0]} and found[511] == backed[511]
    assert machine.machphys_mfn_list(3, compat=True) == [backed[0]] * 3
    with pytest.raises(MachineError, match="-1 extents"):
        machine.machphys_mfn_list(-1)


@pytest.mark.parametrize("write, words", [(5, "0x5 of mfn"), (0xFFFFFFFE, "0xfffffffe of mfn")])
def test_audit_names_an_entry_that_strays(write, words):
    machine = far_machine()
    guest = machine.create_domain(1)
    mfn = guest.populate(9, bits=40)
    first, run = next((f, r) for f, r in machine.compat_m2p_entries(writable=True) if f <= mfn < f + len(r))
    run[mfn - first] = write
    report = machine.audit()
    assert [e for e in report.errors if words in e and f"{mfn:#x}" in e]
    run[mfn - first] = 9
    machine.audit().check()


def test_trim_and_checkpoint():
    machine = far_machine("xen-offset", compat_m2p=True)
    guest = machine.create_domain(1)
    guest.populate(0, order=11, bits=40)
    touched = lambda m: int(np.unpackbits(np.frombuffer(m._compat_touched(), dtype=np.uint8)).sum())  # noqa: E731
    assert touched(machine) == 2
    saved = checkpoint.dumps(machine)
    again = checkpoint.loads(saved)
    assert checkpoint.dumps(again) == saved and touched(again) == 2
    again.domain(1).destroy()
    again.scrub()
    again.trim()
    assert touched(again) == 0
    again.audit().check()


def test_added_memory_gets_entries():
    ram = [(1 << 20, 2 * GIB), (4 * GIB, 8 * GIB)]
    machine = Machine(xenmm.boot(xenmm.MemoryMap.from_ranges(ram, [(0, 1024 * GIB, 1, 0)]), "sparse-m2p"))
    start = 64 * GIB
    assert machine._compat_slots()[(start >> 12 >> 19) // 8] == 0
    before = machine.compat_memory.committed
    machine.add_memory(start, start + 4 * GIB, node=0)
    assert machine.compat_memory.committed - before == 2 << 21
    slot = start >> 12 >> 19
    assert {slot, slot + 1} <= set(machine.compat_m2p_backing)
    assert machine.compat_m2p_entry(start >> 12) == 0x55555555
    assert machine.machphys_mfn_list(compat=True)[slot] == machine.compat_m2p_backing[slot]
    again = checkpoint.loads(checkpoint.dumps(machine))
    assert again.compat_m2p_backing == machine.compat_m2p_backing
    again.audit().check()
