"""Operations' costs of a file of one's own: read, completed with what is assumed, and used."""

import pytest

from xenmm.errors import ConfigError
from xenmm.timing import Cache, Engine, Hierarchy, load_microarchitecture
from xenmm.timing.cost import cost
from xenmm.timing.operations import FIELDS, Operations, operations, operations_of

CACHES = 'name = "mine"\n[cache.L1]\nsize = "32KiB"\nassoc = 8\nlatency = 6\n'
BLOCK = '[operations]\nalus = 2\nload = 7\n[source]\n"operations.alus" = "our manual"\n"cache" = "it"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return write


def test_what_a_file_gives_is_taken_and_the_rest_says_assumed(write):
    found = operations_of(write(CACHES + BLOCK))
    assert (found.name, found.alus, found.load) == ("mine", 2, 7)
    assert found.sources["alus"] == "our manual"
    assert found.sources["load"] == "assumed"
    for f in set(FIELDS) - {"alus", "load"}:
        assert found.sources[f].startswith("assumed: ")
        assert getattr(found, f) == (8 if f == "indexed_load" else getattr(operations()["zen3"], f))


def test_without_a_block_everything_is_assumed_but_the_load_is_the_first_caches(write):
    found = operations_of(write(CACHES))
    assert found.load == 6
    assert set(found.sources) == set(FIELDS)
    assert all(where.startswith("assumed") for where in found.sources.values())


def test_costs_follow_the_file(write):
    path = write(CACHES + BLOCK)
    narrow, wide = cost("mfn_to_page", "mask", uarch=path), cost("mfn_to_page", "mask", uarch="zen3")
    assert narrow.bound_by == "alus"
    assert narrow.throughput == 2 * wide.throughput
    assert cost("m2p_read", "mask", uarch=path).latency == 8


def test_every_value_in_effect_is_echoed_and_makes_the_same_again(write):
    hierarchy = load_microarchitecture(write(CACHES + BLOCK))
    echoed = Engine(hierarchy).result().to_dict()["hierarchy"]
    assert set(echoed["operations"]) == set(FIELDS)
    assert echoed["source"]["operations.alus"] == "our manual"
    assert echoed["source"]["operations.width"] == "assumed: as zen3"
    assert Hierarchy.from_dict(echoed) == hierarchy


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("load = 0", "operations.load: 0 is not an integer in [1, 65536]"),
        ("load = true", "operations.load: True is not"),
        ("alus = 2.5", "operations.alus: 2.5 is not"),
        ("adders = 2", "operations.adders: unknown; known here are width, alus"),
    ],
)
def test_a_wrong_field_is_named(write, block, message):
    path = write(CACHES + "[operations]\n" + block + "\n")
    with pytest.raises(ConfigError) as error:
        operations_of(path)
    assert str(error.value).startswith(path + ": " + message)
    with pytest.raises(ConfigError, match="operations: 3 is not a table"):
        Hierarchy.from_dict({"cache": {}, "operations": 3})


def test_a_name_that_is_nothing_is_refused():
    with pytest.raises(ConfigError, match="'zen9' is not one of"):
        operations_of("zen9")


def test_operations_check_themselves():
    numbers = dict.fromkeys(FIELDS, 1)
    assert Operations("one", **numbers).to_dict() == numbers
    with pytest.raises(ConfigError, match=r"operations\.width"):
        Operations("none", **(numbers | {"width": 0}))
    assert Hierarchy([Cache("L1", 4096, 1)]).operations is None
