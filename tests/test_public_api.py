"""Every public callable with arguments of every kind: a result that can be trusted, or an error in words."""

import re
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from public_api import outcome
from public_targets import TARGETS
from run_api import BYTES_MAX, run_for

import xenmm
from xenmm import ConfigError, MemoryMapError, timing
from xenmm.firmware.memory_map import MemoryMap, MemoryRange, Note, Source, SratRange

GIB = 1 << 30
SLOW = {"steps", "method"}


@pytest.fixture(scope="module")
def bounded_memory():
    """A call that asks for more ends with a MemoryError, which fails, and not with the whole machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status").read_text()
    held = int(re.search(r"VmData:\s*(\d+) kB", status)[1]) << 10
    # A sanitizer's shadow counts, too; then there is no such limit.
    if held < BYTES_MAX // 2:
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES_MAX, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("name", TARGETS)
def test_a_result_or_an_error_in_words(name):
    target = TARGETS[name]

    @settings(max_examples=10 if name in SLOW else 30, suppress_health_check=list(HealthCheck))
    @given(target.arguments())
    def calls(arguments):
        outcome(target, arguments)

    calls()


def test_every_public_name_is_called():
    classes_of_results = {"Comparison", "Host", "Overhead", "SweepResult"}
    errors = {name for name in xenmm.__all__ if name.endswith("Error")}
    without_arguments = {"__version__", "get_include"}
    assert set(xenmm.__all__) - classes_of_results - errors - without_arguments <= set(TARGETS)


def test_the_long_run_counts_its_calls(tmp_path):
    record = run_for(0.01, ["Cache", "Note"])
    assert set(record["targets"]) == {"Cache", "Note"}
    for counts in record["targets"].values():
        assert counts["calls"] == counts["results"] + counts["refused"] > 0


# ---- faults that were found so ----


@pytest.mark.parametrize("wrong", [1.0, np.uint64(1), True, None, "1", [1]])
def test_a_map_is_made_of_what_it_says(wrong):
    for cls in (MemoryRange, SratRange):
        for place in ({"start": wrong}, {"end": wrong}, {"source": wrong or 5}):
            with pytest.raises(MemoryMapError, match=f"{next(iter(place))} is an? "):
                cls(**{"start": 0, "end": 4096, **place})
    for values in ({"ranges": [wrong]}, {"ranges": wrong}, {"notes": [wrong]}, {"stated": wrong}):
        with pytest.raises(MemoryMapError):
            MemoryMap(**{"ranges": (), **values})


@pytest.mark.parametrize("field", ["node", "flags", "pxm"])
def test_numbers_of_the_srat_have_32_bits(field):
    assert getattr(SratRange(0, 1, **{field: (1 << 32) - 1}), field) == (1 << 32) - 1
    for value in (-1, 1 << 32, 1 << 64):
        with pytest.raises(MemoryMapError, match=f"{field} .* no number of 32 bits"):
            SratRange(0, 1, **{field: value})
    with pytest.raises(MemoryMapError, match="node"):
        MemoryMap.from_ranges([(0, 1)], [(0, 1, 1, 1 << 32)])


def test_notes_and_sources_are_texts():
    for make in (
        lambda: Note("remark", "x"),
        lambda: Note("note", None),
        lambda: Note("note", "x", dropped_bytes=1.5),
        lambda: Source(7),
        lambda: Source("file", "7"),
        lambda: MemoryMap((), name=7),
        lambda: MemoryMap((), name=None),
        lambda: MemoryMap.from_ranges([], name=7),
    ):
        with pytest.raises(MemoryMapError):
            make()


def test_ranges_need_no_name():
    assert MemoryMap.from_ranges([(0, GIB)], name=None) == MemoryMap.from_ranges([(0, GIB)])


def test_a_name_that_is_no_text_survives_the_maps_json():
    named = MemoryMap.from_ranges([(0, GIB)], name="log\udcff")
    text = named.to_json()
    assert xenmm.read_map(text.encode()).name == "log\udcff"
    assert "é" in MemoryMap.from_ranges([(0, GIB)], name="é").to_json()


@pytest.mark.parametrize(
    "reserve", [[(1 << 63, -392)], [(5, 4)], [(0, 1 << 65)], [(0.0, 1.0)], [3], [(1, 2, 3)]]
)
def test_a_reserve_that_is_no_range_is_refused(reserve):
    # One that ends before it starts once broke the heap.
    host = xenmm.boot(MemoryMap.from_ranges([(1 << 20, GIB)]))
    with pytest.raises(ConfigError, match="each of reserve is"):
        host.machine(reserve=reserve)
    host.machine(reserve=[(1 << 20, 1 << 20), (0, 1 << 64 >> 40)]).audit().check()


def test_what_is_of_another_kind_is_named():
    cache, tlb = timing.Cache("L1", 32768, 8), timing.Tlb("T", 64, 4)
    zen3, space = timing.load_microarchitecture("zen3"), timing.AddressSpace([timing.Mapping(0, 0, 4096)])
    layout = xenmm.Layout.even(64 * GIB, 2)
    host = xenmm.boot(MemoryMap.from_ranges([(1 << 20, GIB)]))
    for what, make in {
        "host is a Host": lambda: xenmm.Machine(None),
        "each of parameters is a OwnParameter": lambda: xenmm.boot(host.memory_map, parameters=[[1]]),
        "each of caches is a Cache": lambda: timing.Hierarchy([tlb]),
        "each of tlbs is a Tlb": lambda: timing.Hierarchy([cache], [cache]),
        "caches: 5 is no sequence": lambda: timing.Hierarchy(5),
        "memory is a Memory": lambda: timing.Hierarchy([cache], memory=100),
        "core is a Core": lambda: timing.Hierarchy([cache], core=None),
        "walk is a PageWalk": lambda: timing.Hierarchy([cache], [tlb], walk=1.5),
        "microarchitecture is a str": lambda: xenmm.replay(None, "trace", None),
        "hierarchy is a Hierarchy": lambda: timing.Engine(None),
        "space is a AddressSpace": lambda: timing.Engine(zen3, 5),
        "each of mappings is a Mapping": lambda: timing.AddressSpace(b"abc"),
        "tables_maddr: ": lambda: timing.AddressSpace(space.mappings, tables_maddr=range(3)),
        "length: ": lambda: timing.Mapping(0, 4096, np.uint64((1 << 64) - 1)),
        "ram is an int": lambda: xenmm.Layout.even(np.True_, 2),
        "spacing is an int": lambda: xenmm.Layout((GIB,), spacing=1.5),
        "each of node_bytes is an int": lambda: xenmm.Layout((1.5,)),
        "layout is a Layout": lambda: xenmm.plan(None),
        "granule is an int": lambda: xenmm.largest_machine(layout, "pre", granule="1g"),
        "alignment is an int": lambda: xenmm.search_layouts(layout, "pre", alignment=float("inf")),
        "size is an int": lambda: xenmm.steps(host.memory_map, size=np.uint8(200)),
        "granule is an int, got inf": lambda: xenmm.plan(layout, (), granule=float("inf")),
        "boots is an int": lambda: xenmm.plan(layout, boots=None),
    }.items():
        with pytest.raises(ConfigError) as refused:
            make()
        assert str(refused.value).startswith(what)


@pytest.mark.parametrize("wrong", [0, 1, 0.0, np.True_, np.array(0), "on"])
def test_yes_and_no_are_true_and_false(wrong):
    # What only equals one of them went on into the options, and could not be told as JSON.
    small = MemoryMap.from_ranges([(1 << 20, GIB)])
    for name in ("compat_m2p", "hotplug", "stack_guards"):
        with pytest.raises(ConfigError, match=f"{name} is .*True.* False, got"):
            xenmm.boot(small, **{name: wrong})
    with pytest.raises(ConfigError, match="page_sizes"):
        xenmm.boot(small, page_sizes=np.array("2m"))


def test_nodes_without_number_are_refused_before_they_fill_memory():
    with pytest.raises(ConfigError, match="nodes is a number from 1 to 4096"):
        xenmm.Layout.even(1 << 128, 1 << 40)
