"""Frozen means frozen: every route that Python has to change a booted host, on everything it leads to."""

import copy
import ctypes
import dataclasses
import gc
import pickle
import types
from collections.abc import Mapping

import pytest
from machines import small_host

import xenmm
from xenmm import FrameError
from xenmm._facts import Facts, FrozenDict
from xenmm.boot.frozen import BootParameters, OwnParameter

#: What leads on to no part of a host.
CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, property)
#: What anybody can change who holds it.
CHANGEABLE = (list, dict, set, bytearray, memoryview, types.CellType)


@pytest.fixture(scope="module")
def host():
    own = [OwnParameter("trap_cycles", "cycles", "a simulator's own", 77)]
    return xenmm.boot(small_host().memory_map, "xen-offset", parameters=own)


@pytest.fixture(scope="module")
def logged():
    """A host of a log, whose map carries notes, lines and stated facts."""
    text = "".join(f"(XEN) {line}\n" for line in (
        "Xen version 4.22-unstable (test@test) Thu Nov 26 2026", "Command line: dom0_mem=1G",
        "Xen-e820 RAM map:", " [0000000000000000, 000000000009fbff] (usable)",
        " [0000000000100000, 00000000bffeffff] (usable)", " [0000000100000000, 00000020ffffffff] (usable)",
        " [garbage", "System RAM: 134217344kB (137438560256kB)",
    ))  # fmt: skip
    return xenmm.boot(text)


def state(host):
    """Everything that a host says, in values."""
    frames = (0, 0x100, 0x2000, 0x100000, 0x104000, 1 << 40)

    def answers(name):
        for frame in frames:
            try:
                yield getattr(host, name)(frame)
            except FrameError as error:
                yield str(error)

    names = ("mfn_to_pdx", "pdx_to_mfn", "mfn_to_page", "mfn_to_virt", "mfn_valid", "maddr_to_virt")
    said = host.to_dict()
    return repr((said, host.plan, host.overhead(), [list(answers(name)) for name in names]))


@pytest.mark.parametrize("which", ["host", "logged"])
def test_nothing_that_the_host_holds_can_be_changed(which, request):
    host = request.getfixturevalue(which)
    held = {id(v): v for v in _held(host)}
    assert len(held) > 100
    loose = [v for v in held.values() if isinstance(v, CHANGEABLE) or hasattr(v, "__dict__")]
    assert loose == []


def _held(host):
    """What the garbage collector finds inside a host: nothing that is made anew when asked for."""
    seen, waiting = {}, [host]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, CODE):
            continue
        seen[id(found)] = found
        waiting += gc.get_referents(found)
    return seen.values()


def attempts(found):
    """Each way to set or delete something of an object; all raise, or it is a hole."""
    names = [n for n in dir(found) if not n.startswith("__")] + [
        "anything",
        "__class__",
        "__dict__",
        "__slots__",
    ]
    kind = type(found)
    for name in names:
        yield f"setattr {name}", lambda name=name: setattr(found, name, 5)
        yield f"delattr {name}", lambda name=name: delattr(found, name)
        yield f"object.__setattr__ {name}", lambda name=name: object.__setattr__(found, name, 5)
        yield f"object.__delattr__ {name}", lambda name=name: object.__delattr__(found, name)
        member = vars(kind).get(name)
        if hasattr(member, "__set__"):
            yield f"descriptor {name}", lambda member=member: member.__set__(found, 5)
            yield f"descriptor's delete {name}", lambda member=member: member.__delete__(found)
        yield f"class {name}", lambda name=name: setattr(kind, name, 5)
        yield f"type.__setattr__ {name}", lambda name=name: type.__setattr__(kind, name, 5)
    yield "__dict__", lambda: found.__dict__.update(max_page=5)
    yield "item", lambda: found.__setitem__("max_page", 5)
    yield "item's delete", lambda: found.__delitem__("max_page")
    yield "setstate", lambda: found.__setstate__({"max_page": 5})
    yield "buffer", lambda: memoryview(found)
    yield "bytes of it", lambda: (ctypes.c_char * 1).from_buffer(found)


def test_every_route_to_a_fact_is_refused(host):
    before = state(host)
    facts = [v for v in _held(host) if isinstance(v, Facts | FrozenDict | BootParameters | xenmm.Host)]
    kinds = {type(v): v for v in facts}
    assert {"HostPlan", "MemoryMap", "BootOptions", "Profile", "Table", "Compression", "BootParameters",
            "Host", "MemoryRange", "SratRange"} <= {kind.__name__ for kind in kinds}  # fmt: skip
    holes = []
    for found in kinds.values():
        for what, attempt in attempts(found):
            try:
                attempt()
            except (AttributeError, TypeError):
                continue
            holes.append(f"{type(found).__name__}: {what}")
    assert holes == []
    assert state(host) == before


def test_another_class_cannot_take_the_place_of_its_own(host):
    class Other(type(host)):
        __slots__ = ()

    class OtherPlan(type(host.plan)):
        __slots__ = ()

    for found, other in ((host, Other), (host.plan, OtherPlan)):
        with pytest.raises(AttributeError):
            found.__class__ = other
        with pytest.raises((AttributeError, TypeError)):
            object.__setattr__(found, "__class__", other)
        with pytest.raises((AttributeError, TypeError)):
            object.__dict__["__class__"].__set__(found, other)


def test_a_subclass_changes_nothing_of_what_stands(host):
    before = state(host)

    class Liar(xenmm.Host):
        max_page = 5

        def mfn_to_virt(self, mfn):
            return 5

    class LiarPlan(type(host.plan)):
        max_page = 5

    Liar.mfn_to_page = lambda self, mfn: 5
    assert state(host) == before
    # A field that is not declared anew is no field of the subclass: the values stay whole.
    lied = LiarPlan(*(getattr(host.plan, f.name) for f in dataclasses.fields(host.plan)))
    assert lied.max_pdx == host.plan.max_pdx
    assert state(host) == before


def test_init_and_new_change_nothing(host):
    before = state(host)
    for found in (host, host.plan, host.memory_map, host.options, host.params):
        for again in (lambda f=found: f.__init__(), lambda f=found: f.__init__(5, max_page=5)):
            try:
                again()
            except (TypeError, AttributeError):
                continue
    assert state(host) == before


def test_copies_are_the_facts_themselves_and_pickles_are_equal(host):
    for found in (host.plan, host.memory_map, host.options, host.compression, host.frame_table):
        assert copy.copy(found) is found
        assert copy.deepcopy(found) is found
        assert pickle.loads(pickle.dumps(found)) == found
        assert found.__reduce_ex__(2)[0] is type(found)
    again = pickle.loads(pickle.dumps(host))
    assert state(again) == state(host)


def test_what_a_pickle_claims_is_booted_again_not_believed(host):
    data = pickle.dumps(host)
    assert host.max_page.to_bytes(3, "little") not in data
    make, arguments = host.__reduce__()
    assert make.__name__ == "_boot_again"
    assert all(not isinstance(a, type(host.plan)) for a in arguments)


def test_dictionaries_that_it_gives_out_are_copies(host):
    before = state(host)

    def spoil(value):
        if isinstance(value, dict):
            for inner in list(value.values()):
                spoil(inner)
            value.clear()
        elif isinstance(value, list):
            for inner in value:
                spoil(inner)
            value.clear()

    for given in (host.to_dict(), host.overhead().to_dict(), host.params.to_dict(), host.memory_map.to_dict(),
                  host.compression.parameters(), dataclasses.asdict(host.options),
                  dataclasses.asdict(host.plan)):  # fmt: skip
        spoil(given)
    assert state(host) == before


def test_the_capsule_leads_to_memory_that_the_processor_guards(host):
    # tests/test_core_frozen.py writes there with ctypes, and the process dies of it. Here: no other address.
    assert not any(isinstance(v, ctypes.Array | ctypes._Pointer | memoryview) for v in _held(host))


@pytest.mark.parametrize("value", [[1, [2]], {"a": [1]}, bytearray(b"x"), {1}])
def test_a_value_that_could_change_is_kept_as_one_that_cannot(value):
    from xenmm.firmware.memory_map import Stated

    kept = Stated(details={"x": value})
    held = _held(kept)
    assert not [v for v in held if isinstance(v, CHANGEABLE)]
    before = repr(kept)
    if isinstance(value, Mapping):
        value["b"] = 2
    assert repr(kept) == before
