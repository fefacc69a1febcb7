"""Write-once slots and their freeze: one write, no early read, no late write, nothing thaws."""

import copy
import operator
import pickle

import pytest

import xenmm
from xenmm.boot.frozen import PARAMETERS, BootParameters, BootSlots
from xenmm.errors import ConfigError, WriteOnceError


def written_slots(**changes):
    slots = BootSlots()
    lookups = ("pfn_pdx_lookup", "pdx_pfn_lookup", "pfn_bases")
    for parameter in PARAMETERS:
        name = parameter.name
        value = () if name in lookups else b"\xff" if name == "pdx_group_valid" else 0
        value = "none" if name == "pdx_compression" else None if name == "xen_phys_start" else value
        slots.write(name, changes.get(name, value), writer=f"setup_{name}")
    return slots


def test_second_write_names_parameter_and_first_writer():
    slots = BootSlots()
    slots.write("max_page", 5, writer="init_frametable")
    with pytest.raises(WriteOnceError, match=r"max_page was already written by init_frametable; .*late_code"):
        slots.write("max_page", 5, writer="late_code")
    assert slots.read("max_page") == 5


def test_read_before_write_names_parameter():
    with pytest.raises(WriteOnceError, match="max_pdx is read before anything wrote it"):
        BootSlots().read("max_pdx")


def test_write_of_no_parameter_is_refused():
    with pytest.raises(WriteOnceError, match="'max_pxd' is no boot parameter"):
        BootSlots().write("max_pxd", 1, writer="typo")


def test_write_after_freeze_names_first_writer():
    slots = written_slots()
    slots.freeze()
    with pytest.raises(WriteOnceError, match=r"max_page is frozen since boot .*setup_max_page.*late_code"):
        slots.write("max_page", 1, writer="late_code")
    with pytest.raises(WriteOnceError, match="already frozen"):
        slots.freeze()


def test_freeze_with_a_parameter_never_written_is_refused():
    slots = BootSlots()
    slots.write("max_page", 1, writer="test")
    with pytest.raises(WriteOnceError, match=r"^frozen before anything wrote pdx_compression, .*, max_pdx, "):
        slots.freeze()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_page", -1),
        ("max_page", 1 << 64),
        ("max_page", 1.0),
        ("pfn_pdx_hole_shift", 64),
        ("pfn_pdx_lookup", [0] * 65),
        ("pdx_compression", "zip"),
    ],
)
def test_freeze_refuses_a_value_outside_its_unit_and_names_it(name, value):
    with pytest.raises(ConfigError, match=name):
        written_slots(**{name: value}).freeze()


def test_failed_freeze_does_not_end_boot():
    slots = written_slots(max_page=-1)
    with pytest.raises(ConfigError):
        slots.freeze()
    with pytest.raises(WriteOnceError, match="already written"):
        slots.write("max_page", 1, writer="test")


def test_frozen_is_a_mapping_with_attributes_in_boot_order():
    params = written_slots(max_page=0x1234).freeze()
    assert isinstance(params, BootParameters)
    assert list(params) == list(params.keys()) == [p.name for p in PARAMETERS]
    assert params.max_page == params["max_page"] == dict(params)["max_page"] == 0x1234
    assert params.writer("max_page") == "setup_max_page"
    with pytest.raises(KeyError):
        params["nothing"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = params.nothing


def test_frozen_prints_value_unit_rule_and_writer():
    params = written_slots(max_page=0x1234).freeze()
    lines = str(params).splitlines()
    assert len(lines) == len(PARAMETERS) + 1
    for parameter, line in zip(PARAMETERS, lines[1:], strict=True):
        assert line.startswith(parameter.name)
        for part in (parameter.unit, parameter.rule, f"setup_{parameter.name}"):
            assert part in line
    assert params.to_dict()["max_page"] == {
        "value": 0x1234,
        "unit": "frames",
        "rule": "one past the last mfn",
        "writer": "setup_max_page",
    }


def test_frozen_says_in_a_word_what_it_is():
    assert repr(written_slots().freeze()) == f"<BootParameters of {len(PARAMETERS)}, none compression>"


def test_frozen_values_do_not_share_memory_with_what_boot_wrote():
    bases, bitmap = [7], bytearray(b"\x01")
    params = written_slots(pfn_bases=bases, pdx_group_valid=bitmap).freeze()
    bases[0] = 9
    bitmap[0] = 0
    assert params.pfn_bases == (7,)
    assert params.pdx_group_valid == b"\x01"
    params.to_dict()["max_page"]["value"] = 99
    assert params.max_page == 0


def test_no_attribute_of_the_frozen_can_be_written():
    params = written_slots().freeze()
    with pytest.raises(AttributeError, match=r"max_page is frozen since boot .*setup_max_page"):
        params.max_page = 1
    with pytest.raises(AttributeError):
        params.anything = 1
    with pytest.raises(AttributeError):
        del params.max_page
    with pytest.raises((TypeError, AttributeError)):
        object.__setattr__(params, "max_page", 1)
    with pytest.raises((TypeError, AttributeError)):
        object.__setattr__(params, "__class__", BootSlots)
    with pytest.raises(AttributeError):
        params.__class__ = BootSlots
    with pytest.raises(TypeError):
        params["max_page"] = 1
    assert not hasattr(params, "__dict__")
    with pytest.raises(TypeError):
        memoryview(params)


@pytest.mark.parametrize("late", [setattr, operator.setitem])
def test_a_late_write_names_the_parameter_and_its_first_writer(late):
    params = written_slots().freeze()
    with pytest.raises(WriteOnceError, match=r"max_page is frozen since boot .*setup_max_page"):
        late(params, "max_page", 1)
    with pytest.raises(WriteOnceError, match=r"anything is frozen since boot$"):
        late(params, "anything", 1)


@pytest.mark.parametrize("late", [delattr, operator.delitem])
def test_a_late_deletion_names_the_parameter_and_its_first_writer(late):
    params = written_slots().freeze()
    with pytest.raises(WriteOnceError, match=r"max_page is frozen since boot .*setup_max_page"):
        late(params, "max_page")


def test_what_a_host_knows_has_no_dict_to_write_through():
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram=[(0, 1 << 30)]))
    for part in (host, host.params, host.plan, host.compression, host.frame_table, host.options):
        assert not hasattr(part, "__dict__")


def test_a_late_write_through_the_host_names_the_first_writer():
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram=[(0, 1 << 30)]))
    with pytest.raises(WriteOnceError, match=r"cannot set max_page \(first written by the walk"):
        host.max_page = 1
    with pytest.raises(WriteOnceError, match=r"cannot delete max_page \(first written by the walk"):
        del host.max_page


def test_a_second_init_changes_nothing():
    params = written_slots().freeze()
    params.__init__(["max_page"], [1], ["late"])
    assert params.max_page == 0
    assert len(params) == len(PARAMETERS)


def test_copies_are_the_object_itself_and_pickling_is_refused():
    params = written_slots().freeze()
    assert copy.copy(params) is params
    assert copy.deepcopy(params) is params
    with pytest.raises(TypeError, match="pickle the host"):
        pickle.dumps(params)
