"""Write-once parameters of a simulator that embeds the machine: frozen with ours, constants of exports."""

import copy
import pickle
import shutil
import subprocess

import pytest
from machines import RAM, SRAT, small_host

import xenmm
from xenmm import ConfigError, OwnParameter, WriteOnceError
from xenmm.boot.frozen import PARAMETERS, BootSlots
from xenmm.machine import Machine, checkpoint

ROB = OwnParameter("rob_entries", "entries", "the simulated core", 512)
TOP = OwnParameter("top_bytes", "bytes", "max_page in bytes", lambda read: read("max_page") << 12)


def host_with(*parameters):
    return small_host(parameters=parameters)


def test_own_parameters_stand_behind_ours():
    host = host_with(ROB, TOP)
    assert list(host.params) == [p.name for p in PARAMETERS] + ["rob_entries", "top_bytes"]
    assert (host.params.rob_entries, host.params["top_bytes"]) == (512, host.max_page << 12)
    assert host.params.writer("rob_entries") == "the embedder"
    told = host.params.to_dict()["rob_entries"]
    assert told == {"value": 512, "unit": "entries", "rule": "the simulated core", "writer": "the embedder"}
    line = next(row for row in str(host.params).splitlines() if row.startswith("rob_entries"))
    assert all(word in line for word in ("entries", "the simulated core", "the embedder"))
    assert host.to_dict()["params"]["rob_entries"] in (512, "0x200")


def test_conversions_do_not_change():
    plain, own = small_host(), host_with(ROB)
    assert all(plain.params[p.name] == own.params[p.name] for p in PARAMETERS)
    assert plain.mfn_to_virt(0x900) == own.mfn_to_virt(0x900)


def test_nothing_changes_them_after_boot():
    host = host_with(ROB)
    for change in (
        lambda: setattr(host.params, "rob_entries", 1),
        lambda: delattr(host.params, "rob_entries"),
        lambda: host.params.__setitem__("rob_entries", 1),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()
    assert copy.deepcopy(host).params.rob_entries == 512


def test_slots_take_one_write():
    slots = BootSlots([ROB])
    with pytest.raises(WriteOnceError, match="rob_entries is read before"):
        slots.read("rob_entries")
    ROB.write_into(slots)
    with pytest.raises(WriteOnceError, match="already written by the embedder"):
        ROB.write_into(slots)
    with pytest.raises(WriteOnceError, match="no boot parameter"):
        BootSlots().write("rob_entries", 1, writer="a test")
    with pytest.raises(WriteOnceError, match=r"before anything wrote .*rob_entries"):
        BootSlots([ROB]).freeze()


def test_value_is_computed_after_ours_and_in_order():
    second = OwnParameter("twice", "entries", "of the first", lambda read: 2 * read("rob_entries"))
    assert host_with(ROB, second).params.twice == 1024
    with pytest.raises(WriteOnceError, match="rob_entries is read before"):
        host_with(second, ROB)


@pytest.mark.parametrize("value", [-1, 1 << 64, 1.5, "7", None, True])
def test_value_outside_64_bits_is_refused(value):
    for given in (value, lambda read: value):
        with pytest.raises(ConfigError, match="odd"):
            host_with(OwnParameter("odd", "u", "r", given))


def test_a_name_of_xens_is_told():
    with pytest.raises(ConfigError, match=r"^parameter max_page is Xen's own$"):
        OwnParameter("max_page", "u", "r", 1)


@pytest.mark.parametrize("name", ["", "Rob", "9x", "a-b", "a b", "max_page", "xen_phys_start", 7, "a\n"])
def test_names_that_are_none_or_ours_are_refused(name):
    with pytest.raises(ConfigError):
        OwnParameter(name, "u", "r", 1)


def test_one_name_twice_is_refused():
    with pytest.raises(ConfigError, match="one name"):
        host_with(ROB, OwnParameter("rob_entries", "u", "r", 1))


def test_limits_are_exact():
    host = host_with(OwnParameter("low", "u", "r", 0), OwnParameter("high", "u", "r", (1 << 64) - 1))
    assert (host.params.low, host.params.high) == (0, (1 << 64) - 1)


def test_pickled_host_keeps_the_values():
    again = pickle.loads(pickle.dumps(host_with(ROB, TOP)))
    assert dict(again.params) == dict(host_with(ROB, TOP).params)


def test_checkpoint_keeps_them():
    again = checkpoint.loads(checkpoint.dumps(Machine(host_with(ROB, TOP))))
    assert dict(again.host.params) == dict(host_with(ROB, TOP).params)


def test_header_has_them_as_constants(tmp_path):
    header = host_with(ROB, OwnParameter("evil", "*/ x", "a\nb", 7)).export("c", prefix="sim")
    assert "#define SIM_OWN_ROB_ENTRIES UINT64_C(0x200)" in header
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "sim_mm.h").write_text(header)
    (tmp_path / "main.c").write_text(
        '#include "sim_mm.h"\nint main(void) {'
        " static const int table[SIM_OWN_EVIL] = {0};"
        " return SIM_OWN_ROB_ENTRIES == 512 && sizeof(table) == 7 * sizeof(int) ? 0 : 1; }\n"
    )
    binary = tmp_path / "main"
    subprocess.run(
        [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", binary, tmp_path / "main.c"], check=True
    )
    assert subprocess.run([binary], check=False).returncode == 0


def test_numba_functions_hold_them_as_constants():
    numba = pytest.importorskip("numba")
    from xenmm.embed.numba import constants

    own = constants(host_with(ROB, TOP))
    assert (own.rob_entries, own.top_bytes) == (512, small_host().max_page << 12)

    @numba.njit
    def slots(n):
        return n % own.rob_entries

    assert slots(1000) == 488
    text = slots.inspect_llvm(slots.signatures[0])
    assert "512" in text or "511" in text


def test_map_and_report_are_untouched():
    memory_map = xenmm.MemoryMap.from_ranges(RAM, SRAT, name="small")
    assert xenmm.boot(memory_map, parameters=()).params.own == ()
