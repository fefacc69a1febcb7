"""Configurations: what is refused names its field, what is accepted comes back the same."""

import json
import math
import random

import numpy as np
import pytest

from xenmm.errors import ConfigError
from xenmm.timing import (
    AddressSpace,
    Cache,
    Core,
    Engine,
    Hierarchy,
    Memory,
    PageWalk,
    Tlb,
    microarchitectures,
)
from xenmm.timing import load_microarchitecture as load

TOML = """
name = "example"
[core]
frequency_ghz = 2.5
[cache.L1]
size = "32KiB"
assoc = 8
latency = 4
parent = "L2"
[cache.L2]
size = "1536KiB"
assoc = 12
latency_ns = 6
replacement = "plru"
[memory]
latency_ns = 80
[tlb.T]
entries = 1536
assoc = 12
page_sizes = ["4K", "2M"]
[tlb.U]
entries = 16
assoc = "full"
page_sizes = ["1g"]
splits = { "1g" = "2m" }
[walk]
walkers = 2
caches = { l2e = 32 }
[source]
"cache.L1" = "assumed"
"""


def test_toml_makes_what_it_says():
    h = Hierarchy.from_toml(TOML.replace("assoc = 12\nlatency_ns", "assoc = 16\nlatency_ns"))
    assert h.caches[1] == Cache("L2", 1536 << 10, 16, latency=15, replacement="plru")
    assert h.caches[1].sets == 1536
    assert h.memory.latency == 200
    assert h.tlbs[0].page_sizes == ("4k", "2m")
    assert h.tlbs[1].assoc == 16
    assert h.walk == PageWalk(walkers=2, caches={"l2e": 32})
    assert Hierarchy.from_dict(h.to_dict()) == h


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'size = "32KiB"',
            'size = "33000"',
            "cache.L1.size: 33000 bytes are not a whole number of sets of 8",
        ),
        ('size = "32KiB"', 'size = "32 potatoes"', "cache.L1.size: '32 potatoes' is not a size"),
        ('size = "32KiB"\n', "", "cache.L1.size: missing"),
        ("assoc = 8", "assoc = 0", r"cache.L1.assoc: 0 is not an integer in \[1"),
        ("assoc = 8", "assoc = 8\nways = 8", "cache.L1.ways: unknown; known here are size, assoc"),
        ("assoc = 8", "assoc = 8\nline = 48", "cache.L1.line: 48 is not a power of two"),
        ("assoc = 8", "assoc = 8\nline = 8", r"cache.L1.line: 8 is not an integer in \[16"),
        ("assoc = 8", "assoc = 8\nline = 128", "cache.L1.line: 128 bytes are more than the 64 of L2"),
        ("assoc = 8", 'assoc = 8\nprefetch = "stride"', "cache.L1.prefetch: 'stride' is not one of none"),
        ('parent = "L2"', 'parent = "L3"', "cache.L1.parent: no cache is named 'L3'"),
        ("latency_ns = 6", 'latency_ns = 6\nparent = "L1"', "parent: the caches L1 -> L2 -> L1 form a ring"),
        ("latency_ns = 6", "latency = 3", "cache.L2.latency: 3 cycles from load to use are fewer than the 4"),
        ("latency_ns = 6", "latency = 3\nlatency_ns = 6", "cache.L2.latency_ns: latency is given too"),
        ("frequency_ghz = 2.5", "", "memory.latency_ns: needs core.frequency_ghz"),
        ("latency_ns = 80", "latency_ns = -1", "memory.latency_ns: -1 is not a number of nanoseconds"),
        ('replacement = "plru"', 'replacement = "mru"', "cache.L2.replacement: 'mru' is not one of lru"),
        ('replacement = "plru"', 'replacement = "plru"#', "cache.L2.assoc: 12 ways have no binary tree"),
        ("entries = 1536", "entries = 1535", "tlb.T.entries: 1535 entries are not a whole number of sets"),
        ('"4K", "2M"', '"4K", "4M"', "tlb.T.page_sizes: '4m' is not one of 4k, 2m, 1g"),
        ('page_sizes = ["1g"]', 'page_sizes = ["2m"]', "tlb.U.splits: '1g' is not one of 2m"),
        (
            '{ "1g" = "2m" }',
            '{}\n[tlb.V]\nentries=4\nassoc=4\npage_sizes=["1g"]',
            "tlb.V.page_sizes: U already",
        ),
        ('{ "1g" = "2m" }', "{}\nlevel = 3", "tlb: level 3 is given, but no level 2"),
        ("walkers = 2", "walkers = 0", "walk.walkers: 0 is not an integer"),
        ("l2e = 32", "l9e = 32", "walk.caches: 'l9e' is not one of l2e"),
        ("walkers = 2", 'entry = "L9"', "walk.entry: no cache is named 'L9'"),
        ("[walk]", "[walks]", "^walks: unknown; known here are name, core"),
        ("[memory]", "[memory", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(old, new, message):
    plain = TOML.replace("assoc = 12\nlatency_ns", "assoc = 16\nlatency_ns")
    text = (TOML if "plru" in old and new.endswith("#") else plain).replace(old, new, 1)
    with pytest.raises(ConfigError, match=message):
        Hierarchy.from_toml(text)


def test_a_files_name_stands_before_the_field(tmp_path):
    path = tmp_path / "u.toml"
    path.write_text("[cache.L1]\nsize = 1\nassoc = 1\n")
    with pytest.raises(ConfigError, match=r"u.toml: cache.L1.size: 1 is not an integer"):
        load(str(path))
    with pytest.raises(ConfigError, match="No such file"):
        load(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="'zen9' is not one of icelake-sp, nehalem"):
        load("zen9")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (5, "^hierarchy: 5 is not a table"),
        (
            {"cache": {"A": {"size": 32768, "assoc": "full", "line": "64B"}}},
            "^cache.A.line: '64B' is not an int",
        ),
        (
            {"cache": {"A": {"size": 32768, "assoc": "full", "line": [1]}}},
            r"^cache.A.line: \[1\] is not an int",
        ),
        (
            {"cache": {"A": {"size": 32768, "assoc": "full", "line": 1e400}}},
            "^cache.A.line: inf is not an int",
        ),
        ({"cache": {"A": {"size": 2.5, "assoc": "full"}}}, "^cache.A.size: 2.5 is not an integer"),
        ({"cache": {"A": {"size": 32768, "assoc": np.zeros(2, "V8")}}}, "^cache.A.assoc: array"),
        ({"tlb": {"T": {"entries": 16, "assoc": np.zeros(2)}}}, "^tlb.T.assoc: array"),
        ({"cache": {"A": {"size": 32768, "assoc": "half"}}}, "^cache.A.assoc: 'half' is not an integer"),
        (
            {"tlb": {"T": {"entries": 4, "assoc": 4, "page_sizes": 5}}},
            "^tlb.T.page_sizes: 5 is not a list of 4k",
        ),
        ({"source": {1: "a datasheet"}}, "^source: it is not a table from field to text"),
    ],
)
def test_tables_of_the_wrong_kinds_are_clear_errors(table, message):
    with pytest.raises(ConfigError, match=message):
        Hierarchy.from_dict(table)


#: What a field may be said to be, and is not.
WRONG = (
    *(
        None,
        True,
        -1,
        0,
        3,
        1 << 32,
        1 << 64,
        1.5,
        math.nan,
        math.inf,
        b"x",
        object(),
        (),
        [],
        {},
        [1],
        ["4k", "4k"],
    ),
    *(
        "",
        "x",
        "full",
        "32KiB",
        "99999999999999999999KiB",
        "0x10",
        "a\nb",
        "\0",
        "\ud800",
        {"4k": "4k"},
        {"l2e": 1},
    ),
)


def spoilt(rng, table):
    """A copy of a table in which one entry at any depth is something else, away, or one too many."""
    key = rng.choice(list(table))
    if isinstance(table[key], dict) and table[key] and rng.random() < 0.8:
        return {**table, key: spoilt(rng, table[key])}
    change = rng.choice(
        [{key: rng.choice(WRONG)}] * 3
        + [{name: rng.choice(WRONG)} for name in ("assoc", "line", "size", "latency_ns", "l2e", 5)]
    )
    return {**table, **change} if rng.random() < 0.9 else {k: v for k, v in table.items() if k != key}


@pytest.mark.parametrize("name", microarchitectures())
def test_any_spoilt_table_is_a_hierarchy_or_one_line_of_what_is_wrong(name):
    rng = random.Random(name)
    for _ in range(400):
        table = load(name).to_dict()
        for _ in range(rng.choice([1, 1, 2])):
            table = spoilt(rng, table)
        try:
            made = Hierarchy.from_dict(table)
        except ConfigError as error:
            assert str(error).isprintable(), table
        else:
            assert Hierarchy.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made


def test_a_fully_associative_cache_is_one_set():
    table = {"cache": {"A": {"size": "32KiB", "assoc": "full", "line": 32}}}
    (cache,) = Hierarchy.from_dict(table).caches
    assert (cache.assoc, cache.sets) == (1024, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hierarchy([Cache("A", 1024, 1), Cache("B", 1024, 1)]), "cache.B.holds: A already"),
        (
            lambda: Hierarchy([Cache("A", 1024, 1, holds="instruction")]),
            "cache.A.holds: no first cache holds data",
        ),
        (
            lambda: Hierarchy([Cache("A", 1024, 1, content="exclusive")]),
            "cache.A.content: no cache stands above",
        ),
        (lambda: Hierarchy([Cache("A", 1024, 1), Cache("A", 1024, 1)]), "cache.A: the name is used twice"),
        (lambda: Hierarchy([], walk=PageWalk()), "walk: nothing walks without a TLB"),
        (lambda: Cache("A", 64, 1, arrival="stay"), "cache.A.arrival: 'stay' is not one of mark, use"),
        (lambda: Cache("A b", 1024, 1), "'A b' is not a name"),
        (lambda: Cache("A", True, 1), "cache.A.size: True is not an integer"),
        (lambda: Tlb("T", 4, 4, "4k"), "tlb.T.page_sizes: '4k' is not a list of 4k, 2m, 1g"),
        (lambda: Core(frequency_ghz=0), "core.frequency_ghz: 0 is not a positive number"),
        (lambda: Memory(-1), "memory.latency: -1"),
        (lambda: Engine(Hierarchy([Cache("A", 1024, 1)]), seed=-1), "seed: -1"),
        (lambda: Engine(Hierarchy([Cache("A", 1024, 1)]), instruction_set="mmx"), "instruction_set: 'mmx'"),
    ],
)
def test_objects_are_checked_too(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(("side", "other"), [("data", "instruction"), ("instruction", "data")])
def test_a_level_has_one_tlb_for_each_side_and_page_size(side, other):
    def level(*holds):
        return Hierarchy([], [Tlb(f"T{n}", 4, 4, holds=h) for n, h in enumerate(holds)])

    assert len(level(side, other).tlbs) == 2
    for second in (side, "all"):
        with pytest.raises(ConfigError, match=rf"^tlb\.T1\.page_sizes: T0 already holds 4k pages of {side} "):
            level(side, second)


def test_a_page_is_split_into_smaller_ones_or_stays_what_it_is():
    whole, same = (Tlb("T", 4, 4, ("2m",), splits=splits) for splits in ({}, {"2m": "2m"}))
    pages = np.arange(8, dtype=np.uint64) % 5 << 21
    runs = [Engine(Hierarchy([], [t]), AddressSpace.identity("2m")).run(pages) for t in (whole, same)]
    assert runs[0].counts == runs[1].counts
    with pytest.raises(ConfigError, match=r"^tlb\.T\.splits\.2m: 1g is larger"):
        Tlb("T", 4, 4, ("2m",), splits={"2m": "1g"})


@pytest.mark.parametrize("name", microarchitectures())
def test_presets_are_sound_and_every_number_has_a_source(name):
    h = load(name)
    assert h.name == name
    Engine(h).load(0)
    facts = h.to_dict()
    for kind in ("core", "memory", "walk"):
        for field in facts[kind]:
            assert source_of(h, f"{kind}.{field}"), f"{kind}.{field}"
    for kind in ("cache", "tlb"):
        for block, values in facts[kind].items():
            for field in values:
                assert source_of(h, f"{kind}.{block}.{field}"), f"{kind}.{block}.{field}"
    known = {f"{k}.{b}.{f}" for k in ("cache", "tlb") for b, v in facts[k].items() for f in v}
    known |= {f"{k}.{f}" for k in ("core", "memory", "walk") for f in facts[k]} | set(facts)
    assert set(h.sources) <= known, "a source of nothing"


def source_of(h, field):
    while field:
        if field in h.sources:
            return h.sources[field]
        field = field.rpartition(".")[0]
    return None
