"""The audit names each kind of damage: every invariant broken once, by hand, in the tables themselves."""

import re
import struct

import numpy as np
import pytest
from machines import small_machine

from xenmm import MachineError
from xenmm.machine import PTE, checkpoint, pte
from xenmm.machine.audit import active_dtype, maptrack_dtype
from xenmm.machine.page_info import PGC_ALLOCATED, PGC_STATE_FREE, PGT_PINNED, PGT_VALIDATED

#: A number of pages that stands nowhere else in a struct domain.
ODD = 37


class Scene:
    """A machine with something of everything, and its records to write on."""

    def __init__(self):
        self.machine = machine = small_machine()
        self.owner = machine.create_domain(1, max_pages=5000)
        self.other = machine.create_domain(2, max_pages=5000)
        self.mfns = [self.owner.populate(gfn) for gfn in range(ODD)]
        self.others = [self.other.populate(gfn) for gfn in range(4)]
        self.held = machine.alloc()
        self.owner.grant(8, self.other, self.mfns[0])
        self.handle = self.other.map_grant(self.owner, 8).handle
        self.owner.mmu_update(self.mfns[1], 3, pte(self.mfns[2], PTE.present | PTE.rw))
        self.owner.pin_table(self.mfns[1], 1)
        machine.audit().check()
        self.runs = list(machine.page_infos(writable=True))
        self.entries = list(machine.m2p_entries(writable=True))

    def pdx(self, mfn):
        return self.machine.host.mfn_to_pdx(mfn)

    def record(self, pdx):
        return next(run[pdx - first :][:1] for first, run in self.runs if first <= pdx < first + len(run))

    def entry(self, mfn):
        return next(run[mfn - first :][:1] for first, run in self.entries if first <= mfn < first + len(run))

    def free_head(self, least=2):
        lists, *_ = self.machine._free_lists()
        return next(head for *_, order, head, _ in lists if order >= least)


def add(field, value):
    def change(s):
        s.record(s.pdx(s.mfns[5]))[field] += np.uint64(value)

    return change


def put(field, value, pdx):
    def change(s):
        s.record(pdx(s))[field] = value(s) if callable(value) else value

    return change


def page(i):
    return lambda s: s.pdx(s.mfns[i])


RECORDS = [
    (add("count_info", 1), r"references, of which 1 of the allocation and 0 of others"),
    (add("type_info", 1), r"1 type references, 0 known"),
    (put("owner", lambda s: s.machine._domain(2)["pdx"], page(5)), r"owned but not listed"),
    (put("owner", 0, page(5)), r"listed but not owned|references, owner 0x0"),
    (put("next", lambda s: s.pdx(s.mfns[9]), page(5)), r"links back|tot_pages"),
    (put("prev", 1, page(5)), r"links back to 0x1"),
    (put("owner", 1, Scene.free_head), r"no free head of that order"),
    (put("count_info", 0, Scene.free_head), r"no free head of that order"),
    (put("count_info", 1, lambda s: s.free_head() + 1), r"inside a free chunk is in use"),
    (put("owner", 5, lambda s: s.free_head() + 1), r"inside a free chunk is in use"),
    (put("count_info", PGC_ALLOCATED, lambda s: s.free_head() + 1), r"is dirty, but its chunk"),
    (put("count_info", PGC_STATE_FREE, page(5)), r"marked free, but on no free list"),
    (put("type_info", PGT_PINNED | 1 << 61 | PGT_VALIDATED, page(5)), r": 0 type references, 1 known"),
    (put("type_info", PGT_PINNED, page(5)), r"is pinned, but no page table"),
    (put("type_info", 1 << 61 | PGT_VALIDATED | 1, page(1)), r"2 references, of which 1 .* 0 of others"),
    (put("type_info", 0, page(1)), r"references, of which"),
    (put("owner", 9, lambda s: s.pdx(s.held)), r"held by the caller, but owned"),
    (put("count_info", 0, lambda s: s.machine._grant_frames(1)[0][0]), r"not marked as Xen heap"),
    (put("context", 1, lambda s: s.free_head()), None),
]


@pytest.mark.parametrize("change, words", RECORDS)
def test_damaged_record(change, words):
    scene = Scene()
    change(scene)
    report = scene.machine.audit()
    if words is None:
        # The context word is the embedder's: nothing of it is an invariant.
        assert report.ok
        return
    assert any(re.search(words, error) for error in report.errors), report.errors
    with pytest.raises(MachineError, match="audit: "):
        report.check()


def test_damaged_m2p():
    scene = Scene()
    scene.entry(scene.mfns[4])[0] = 99
    assert any("its M2P entry says 0x63" in e for e in scene.machine.audit().errors)
    scene.entry(scene.mfns[4])[0] = 4
    scene.entry(scene.held)[0] = 1000
    assert any("at gfn 0x3e8, no P2M does" in e for e in scene.machine.audit().errors)


def changed(scene, change):
    """The errors of a checkpoint with something changed in it, loaded without the checks of a load."""
    state = scene.machine._export()
    change(state)
    fresh = small_machine()
    fresh._import(state)
    return fresh.audit().errors


def domain(state, number):
    return next(d for d in state["domains"] if struct.unpack_from("<H", d["struct"])[0] == number)


def words(data, at, old, new, form="<Q"):
    size = struct.calcsize(form)
    assert struct.unpack_from(form, data, at)[0] == old
    return data[:at] + struct.pack(form, new) + data[at + size :]


def replaced(d, old, new):
    at = next(i for i in range(0, len(d["struct"]), 8) if struct.unpack_from("<Q", d["struct"], i)[0] == old)
    d["struct"] = words(d["struct"], at, old, new)


def p2m_pair(d, index, gfn, mfn):
    pairs = np.frombuffer(d["p2m"], dtype=np.uint64).copy()
    pairs[2 * index : 2 * index + 2] = gfn, mfn
    d["p2m"] = pairs.tobytes()


def active_pin(d, value):
    entries = np.frombuffer(d["active"], dtype=active_dtype()).copy()
    entries["pin"][8] = value
    d["active"] = entries.tobytes()


def track_flags(d, flags):
    tracks = np.frombuffer(d["tracks"], dtype=maptrack_dtype()).copy()
    tracks["flags"][0] = flags
    d["tracks"] = tracks.tobytes()


def table_entry(state, scene):
    entries = np.frombuffer(state["tables"], dtype=np.uint64).copy()
    entries[3] = 0
    state["tables"] = entries.tobytes()


STATES = [
    (lambda t, s: replaced(domain(t, 1), ODD, ODD + 1), "tot_pages: 38, should be 37"),
    (lambda t, s: t["numbers"].__setitem__(2, t["numbers"][2] + 1), "free pages: "),
    (lambda t, s: t["numbers"].__setitem__(3, t["numbers"][3] + 1), "dirty free pages"),
    (lambda t, s: t.update(node_free=bytes(len(t["node_free"]))), "free pages by node"),
    (lambda t, s: p2m_pair(domain(t, 1), 0, 0, s.others[0]), "which it does not own"),
    (lambda t, s: p2m_pair(domain(t, 1), 0, 0, s.mfns[1]), "is at gfn 0x1 of domain 1 and in"),
    (lambda t, s: active_pin(domain(t, 1), 2), "pins"),
    (lambda t, s: active_pin(domain(t, 1), 0), "pinned grants: 1, should be 0"),
    (lambda t, s: track_flags(domain(t, 2), 6), "pins"),
    (lambda t, s: track_flags(domain(t, 2), 0), "mappings in use: 1, should be 0"),
    (
        lambda t, s: domain(t, 1).update(shared=words(domain(t, 1)["shared"], 64, 25, 1, "<H")),
        "grants marked as in use",
    ),
    (
        lambda t, s: domain(t, 1).update(shared=words(domain(t, 1)["shared"], 64, 25, 9, "<H")),
        "the writing mark is False",
    ),
    (lambda t, s: t["holds"].clear(), "pages accounted for"),
    (lambda t, s: t["holds"].append((s.pdx(s.mfns[7]), 1, 0, 0)), "1 of the allocation and 1 of others"),
    (table_entry, "references, of which"),
    (lambda t, s: t.update(free_orders=bytes(len(t["free_orders"]))), "marked as empty, but is not"),
]


@pytest.mark.parametrize("change, expected", STATES)
def test_damaged_books(change, expected):
    scene = Scene()
    errors = changed(scene, lambda state: change(state, scene))
    assert any(expected in error for error in errors), errors


def test_undamaged_books_have_no_errors():
    scene = Scene()
    assert changed(scene, lambda state: None) == ()
    assert checkpoint.loads(checkpoint.dumps(scene.machine)).audit().ok
