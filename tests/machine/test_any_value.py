"""Any value into every public call: a result or an error in words, never a broken machine, never a crash."""

import inspect

import numpy as np
import pytest
from any_value import DOMAIN, MACHINE, PLAIN, fresh

from xenmm.errors import MachineError, XenmmError
from xenmm.machine import Domain, Machine, memflags, pte

VALUES = [
    *(-1, 0, 1, 255, 256, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64),
    *(1 << 70, np.uint64((1 << 64) - 1), np.int64(-1), np.uint8(3), np.float64(2), True, np.True_, None),
    *(1.5, float("nan"), "1", b"x", [], (1, 2), object()),
]


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
