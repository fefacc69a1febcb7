"""The mapcache: a window of 16 slots a vCPU, against a plain restatement of its rules."""

import random

import pytest
from machines import Counted, small_machine

from xenmm import MachineError

START = 0xFFFF820040000000


class Window:
    """Slots as a list, the hash as a dictionary; the TLB is flushed only when the window wraps."""

    def __init__(self):
        self.slots = [None] * 16
        self.idle = {}  # bucket: [mfn, slot, references]
        self.garbage = set()
        self.inuse = set()
        self.cursor = 0
        self.flushes = 0

    def map(self, mfn):
        entry = self.idle.get(mfn % 8)
        if entry and entry[0] == mfn:
            entry[2] += 1
            return entry[1]
        slot = next((i for i in range(self.cursor, 16) if i not in self.inuse), None)
        if slot is None:
            self.inuse -= self.garbage
            self.garbage.clear()
            slot = next((i for i in range(16) if i not in self.inuse), None)
            if slot is None:
                order = [(mfn + k) % 8 for k in range(8)]
                bucket = next((b for b in order if b in self.idle and not self.idle[b][2]), None)
                if bucket is None:
                    return None
                slot = self.idle.pop(bucket)[1]
            self.flushes += 1
        self.inuse.add(slot)
        self.cursor = slot + 1
        self.slots[slot] = mfn
        return slot

    def unmap(self, slot):
        mfn = self.slots[slot]
        entry = self.idle.get(mfn % 8)
        if entry and entry[1] == slot:
            entry[2] -= 1
        elif not entry or not entry[2]:
            if entry:
                self.garbage.add(entry[1])
                self.slots[entry[1]] = None
            self.idle[mfn % 8] = [mfn, slot, 0]
        else:
            self.garbage.add(slot)
            self.slots[slot] = None


@pytest.mark.parametrize("seed", range(5))
def test_random_maps_and_unmaps_as_restated(seed):
    rng = random.Random(seed)
    machine, window = small_machine(mapcache=1), Window()
    mapped = []
    with Counted(machine) as n:
        for _ in range(3000):
            if mapped and rng.random() < 0.5:
                slot = mapped.pop(rng.randrange(len(mapped)))
                machine.unmap_domain_page(START + slot * 4096)
                window.unmap(slot)
                continue
            mfn = rng.randrange(0x900, 0x900 + rng.choice([4, 12, 60]))
            right = window.map(mfn)
            if right is None:
                with pytest.raises(MachineError, match="Cannot allocate memory"):
                    machine.map_domain_page(mfn)
                continue
            assert machine.map_domain_page(mfn) == START + right * 4096
            mapped.append(right)
    assert n["tlb_flushes"] == window.flushes > 0
    assert n["mapcache_hits"] > 0


def test_flush_is_deferred_until_the_window_wraps():
    machine = small_machine(mapcache=1)
    with Counted(machine) as n:
        for mfn in range(0x900, 0x900 + 16):
            machine.unmap_domain_page(machine.map_domain_page(mfn))
    assert n["tlb_flushes"] == 0
    with Counted(machine) as n:
        machine.unmap_domain_page(machine.map_domain_page(0xA00))
    assert n["tlb_flushes"] == 1


def test_vcpus_have_windows_of_their_own():
    machine = small_machine(mapcache=2)
    a, b = machine.map_domain_page(0x900, vcpu=0), machine.map_domain_page(0x900, vcpu=1)
    assert (a, b) == (START, START + 16 * 4096)
    with pytest.raises(MachineError, match="Invalid"):
        machine.map_domain_page(0x900, vcpu=2)


def test_unmap_of_what_is_not_mapped_is_refused():
    machine = small_machine(mapcache=1)
    virt = machine.map_domain_page(0x900)
    machine.unmap_domain_page(virt)
    for wrong in (virt, START + 4096, START - 4096, START + 16 * 4096, 0):
        with pytest.raises(MachineError, match="unmap"):
            machine.unmap_domain_page(wrong)


def test_global_mapping_is_the_direct_maps():
    machine = small_machine()
    assert machine.map_domain_page_global(0x900) == machine.map_domain_page(0x900)
