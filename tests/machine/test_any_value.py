"""Any value into every public call: a result or an error in words, never a broken machine, never a crash."""

import inspect

import numpy as np
import pytest
from machines import small_machine

from xenmm.errors import MachineError, XenmmError
from xenmm.machine import Domain, Machine, memflags, pte

VALUES = [
    *(-1, 0, 1, 255, 256, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64),
    *(1 << 70, np.uint64((1 << 64) - 1), np.int64(-1), np.uint8(3), np.float64(2), True, np.True_, None),
    *(1.5, float("nan"), "1", b"x", [], (1, 2), object()),
]
#: Good arguments of each method; ``mfn`` is a page of domain 1 at gfn 5, granted at 8, ``free`` a free one.
MACHINE = {
    "mfn_valid": ["mfn"],
    "page": ["mfn"],
    "page_at_pdx": [3],
    "get_gpfn_from_mfn": ["mfn"],
    "m2p_entry": ["mfn"],
    "compat_m2p_entry": ["mfn"],
    "set_m2p": ["free", (1 << 64) - 1],
    "machphys_mfn_list": [1],
    "page_table": ["mfn"],
    "flush_tlb": [0],
    "alloc": [0],
    "free": ["free", 0],
    "scrub": [1],
    "get_page": ["mfn", 1],
    "put_page": ["mfn"],
    "get_page_type": ["mfn", "l1"],
    "put_page_type": ["mfn"],
    "put_page_and_type": ["mfn"],
    "map_domain_page": ["mfn", 0],
    "map_domain_page_of": ["mfn", 0],
    "unmap_domain_page": [0x1000],
    "map_domain_page_global": ["mfn"],
    "create_domain": [7],
    "domain": [1],
    "run": [1],
    "grant_copy": [1, 1],
    "add_memory": [1 << 33, (1 << 33) + (1 << 30)],
}
DOMAIN = {
    "populate": [6, 0],
    "remove": [6],
    "exchange": [[5], [9]],
    "alloc": [0],
    "assign": ["free"],
    "steal": ["free"],
    "place": ["free", 4],
    "displace": ["mfn", 5],
    "mfn": [5],
    "permit_iomem": [1, 2],
    "grant": [9, 2, "mfn"],
    "grant_transitive": [9, 2, 1, 8],
    "end_grant": [9],
    "set_grant_version": [2],
    "setup_table": [2],
    "set_max_pages": [7],
    "map_grant": [1, 8],
    "unmap_grant": [0],
    "transfer_grant": ["mfn", 2, 8],
    "pin_table": ["mfn", 1],
    "unpin_table": ["mfn"],
    "mmu_update": ["mfn", 0, 1],
    "ran_on": [0],
}
#: Without a number to get wrong, or (ops) asking for as much memory as one says.
PLAIN = {
    *(
        "groups",
        "trim",
        "free_chunks",
        "free_pages_by_node",
        "counters",
        "reset_counters",
        "audit",
        "tlb_times",
    ),
    *("tlb_times", "page_infos", "m2p_entries", "compat_m2p_entries", "save", "load", "ops"),
    *("p2m", "grant_entries", "grant_status", "query_size", "destroy"),
}


def fresh():
    machine = small_machine(cpus=2, mapcache=1)
    domain, friend = machine.create_domain(1), machine.create_domain(2)
    mfn = domain.populate(5)
    domain.grant(8, friend, mfn)
    friend.map_grant(domain, 8)
    return machine, domain, {"mfn": mfn, "free": 300}


def test_every_public_method_is_here():
    for cls, known in ((Machine, MACHINE), (Domain, DOMAIN)):
        public = {n for n, f in inspect.getmembers(cls, callable) if not n.startswith("_")}
        assert public - {*known, *PLAIN} == set(), "give them good arguments above"


@pytest.mark.parametrize("kind, name", [("machine", n) for n in MACHINE] + [("domain", n) for n in DOMAIN])
def test_any_value_in_any_place(kind, name):
    good = (MACHINE if kind == "machine" else DOMAIN)[name]
    machine, domain, names = fresh()
    method = getattr(machine if kind == "machine" else domain, name)
    keywords = [p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for place in (*range(len(good)), *keywords):
        for value in VALUES:
            if not machine._domain(1):
                machine, domain, names = fresh()
                method = getattr(machine if kind == "machine" else domain, name)
            args = [names.get(a, a) if isinstance(a, str) else a for a in good]
            named = {}
            if isinstance(place, str):
                named[place] = value
            else:
                args[place] = value
            try:
                method(*args, **named)
            except XenmmError as error:
                assert "\n" not in str(error) and str(error)
                continue
            except TypeError as error:
                assert "batch" in str(error)
                continue
            assert not isinstance(value, float), f"{name}: a fraction was taken at {place}"
    machine.audit().check()


@pytest.mark.parametrize("value", [1.5, None, "1", [], np.float32(1)])
def test_numbers_are_whole_and_the_error_names_them(value):
    machine, domain, _ = fresh()
    with pytest.raises(MachineError, match="populate: gfn is a whole number, got"):
        domain.populate(value)
    with pytest.raises(MachineError, match="create_domain: translated is True or False, got"):
        machine.create_domain(9, translated=value)
    for make in (memflags, pte):
        with pytest.raises(MachineError, match="whole number"):
            make(value)


def test_numpys_numbers_are_numbers():
    machine, domain, _ = fresh()
    mfn = domain.populate(np.uint8(200), order=np.int8(0), node=np.int64(1))
    assert domain.mfn(np.uint64(200)) == mfn
    assert machine.domain(np.uint8(1)) == domain and machine.page(np.uint64(mfn)).gfn == 200
    machine.audit().check()


def test_arrays_of_operations_have_a_size():
    machine, *_ = fresh()
    for count in (-1, 1 << 48, 1 << 64):
        with pytest.raises(MachineError, match="no arrays"):
            machine.ops(count)
