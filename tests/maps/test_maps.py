"""The bundled maps: each reads, has a name, and the ones the docs speak of are what they are called."""

from itertools import pairwise

import pytest

from xenmm import maps
from xenmm.errors import ConfigError
from xenmm.firmware import own_json
from xenmm.firmware.memory_map import MemoryMap

GIB, MIB = 1 << 30, 1 << 20
JSON_MAPS = [name for name, path in maps.bundled().items() if path.suffix == ".json"]


def read(name: str) -> MemoryMap:
    text = maps.path(name).read_text(encoding="utf-8")
    return own_json.read(list(enumerate(text.split("\n"), 1)), name)


@pytest.mark.parametrize("name", JSON_MAPS)
def test_every_json_map_reads_and_names_its_machine(name: str) -> None:
    memory_map = read(name)
    assert memory_map.ram_bytes > 0
    assert memory_map.name
    assert memory_map.arch
    rows = sorted((r.start, r.end) for r in memory_map.ranges)
    assert all(a[1] <= b[0] for a, b in pairwise(rows)), "rows overlap"


def test_the_default_map_has_nodes_and_a_hole_larger_than_its_memory() -> None:
    memory_map = read(maps.DEFAULT_MAP)
    assert len(memory_map.nodes) == 4
    assert max(end - start for start, end in memory_map.holes) > memory_map.ram_bytes


@pytest.mark.parametrize(
    ("name", "count", "size", "step"),
    [
        ("candidate-8x32g-512g", 8, 32 * GIB, 512 * GIB),
        ("candidate-13x576m-8g", 13, 576 * MIB, 8 * GIB),
        ("candidate-5x64g-1t", 5, 64 * GIB, 1024 * GIB),
        ("candidate-4x4g-64g", 4, 4 * GIB, 64 * GIB),
        ("candidate-8x256m-4g", 8, 256 * MIB, 4 * GIB),
    ],
)
def test_a_candidate_is_the_layout_in_its_name(name: str, count: int, size: int, step: int) -> None:
    memory_map = read(name)
    banks = [(i * step, i * step + size) for i in range(1, count)]
    # Node 0 leaves the addresses from 2 to 4 GiB to devices, as PCs do.
    low = [(0, size)] if size <= 2 * GIB else [(0, 2 * GIB), (4 * GIB, 2 * GIB + size)]
    assert list(memory_map.ram) == low + banks
    assert memory_map.ram_bytes == count * size
    assert [(r.start, r.end) for r in memory_map.srat or ()] == list(memory_map.ram)
    assert any("candidate" in note.text for note in memory_map.notes)


def test_a_name_is_found_with_and_without_its_suffix() -> None:
    assert maps.path("dell-r930") == maps.path("dell-r930.json") == maps.bundled()["dell-r930"]
    assert maps.path("a1-flat8g-417.log").suffix == ".log"


@pytest.mark.parametrize("name", ["", "nothing", "dell-r930.log", "../maps/dell-r930.json", "__init__"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="dell-r930"):
        maps.path(name)
