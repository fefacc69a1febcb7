"""Runs and results: warm-up, region, intervals, time, formats, errors; the same input gives the same."""

import csv
import io
import json
import pickle
import sys
import threading

import numpy as np
import pytest

from xenmm.errors import ConfigError, FrameError
from xenmm.timing import (
    AddressSpace,
    Cache,
    Core,
    Engine,
    Hierarchy,
    Mapping,
    Memory,
    PageWalk,
    Run,
    Tlb,
    engine,
)
from xenmm.timing.workloads import mixed_trace

H = Hierarchy(
    [Cache("L1", 4096, 4, latency=4, parent="L2"), Cache("L2", 32768, 8, latency=14)],
    [Tlb("T1", 16, 4), Tlb("T2", 64, 4, level=2, latency=7)],
    PageWalk(latency=5, walkers=2, caches={"l2e": 4}),
    Memory(200),
    Core(3.0, 2, 10),
)
TRACE = mixed_trace(20_000)
KINDS = (np.arange(20_000) % 3 == 0).astype(np.uint8)


def test_intervals_add_up_to_the_whole():
    whole = Engine(H).run(TRACE, KINDS)
    parts = Engine(H).run(TRACE, KINDS, interval=3000)
    assert parts.counts == whole.counts
    assert [i["start"] for i in parts.intervals] == list(range(0, 20_000, 3000))
    assert sum(sum(i["accesses"]) for i in parts.intervals) == 20_000
    walks = [d["walks"]["total"] for d in parts.to_dict()["intervals"]]
    assert sum(walks) == whole.walks.walks


def test_warmup_and_region_leave_out_but_simulate():
    engine = Engine(H)
    engine.run(TRACE[:5000], KINDS[:5000])
    second = engine.run(TRACE[5000:9000], KINDS[5000:9000])
    assert Engine(H).run(TRACE[:9000], KINDS[:9000], warmup=5000).counts == second.counts
    assert Engine(H).run(TRACE, KINDS, roi=(5000, 9000)).counts == second.counts


def test_the_dictionary_has_every_part_by_name():
    told = Engine(H).run(TRACE, KINDS).to_dict()
    assert {"accesses", "caches", "tlbs", "walks", "memory", "cycles"} <= set(told)
    assert told["memory"] == dict(Engine(H).run(TRACE, KINDS).memory)


def test_a_run_in_pieces_is_the_run():
    run = Run(Engine(H), warmup=700, interval=1000)
    for at in range(0, 20_000, 777):
        run.feed(TRACE[at : at + 777], KINDS[at : at + 777])
    assert run.result().to_dict() == Engine(H).run(TRACE, KINDS, warmup=700, interval=1000).to_dict()


def test_more_intervals_than_memory_is_for_are_refused(monkeypatch):
    monkeypatch.setattr(engine, "_MOST_INTERVALS", 20)
    assert len(Engine(H).run(TRACE, KINDS, interval=1000).intervals) == 20
    with pytest.raises(
        ConfigError, match="interval: 952 accesses make more than 20 intervals; take a larger"
    ):
        Engine(H).run(TRACE, KINDS, interval=952)


def test_few_intervals_stay_few():
    run = Run(Engine(H), interval=10, most_intervals=16)
    run.feed(TRACE)
    result = run.result()
    assert 16 <= len(result.intervals) <= 33
    assert sum(sum(i["accesses"]) for i in result.intervals) == 20_000


def test_time_follows_from_the_counts():
    r = Engine(H).run(TRACE, KINDS, compute_cycles=1000)
    c = r.counts
    l1, l2 = r.caches["L1"], r.caches["L2"]
    assert r.cycles["compute"] == 1000
    assert r.cycles["cache.L1"] == 4 * l1.hits
    assert r.cycles["cache.L2"] == 14 * l2.hits
    assert r.cycles["memory"] == 200 * l2.misses
    assert r.cycles["tlb"] == 7 * r.tlbs["T2"].hits
    walk = 5 * r.walks.walks + 4 * l1.by_kind["walk"][0] + 14 * l2.by_kind["walk"][0]
    assert r.cycles["walk"] == walk + 200 * c["memory_reads"][3]
    assert r.cycles["total"] == sum(n for k, n in r.cycles.items() if k != "total")
    parts = r.overlapped["parts"]
    assert parts["issue"] == 10_000
    assert parts["misses"] == -(-(r.cycles["cache.L2"] + r.cycles["memory"]) // 10)
    assert parts["walks"] == -(-r.cycles["walk"] // 2)
    assert r.overlapped["total"] == max(parts.values()) <= r.cycles["total"]


def test_formats_agree_and_bytes_repeat():
    results = [Engine(H, seed=7).run(TRACE, KINDS, interval=7000) for _ in range(2)]
    assert results[0].to_json() == results[1].to_json()
    facts = json.loads(results[0].to_json())
    assert facts["schema"] == "xenmm.timing/1"
    assert facts["options"]["seed"] == 7
    assert Hierarchy.from_dict(facts["hierarchy"]) == H
    rows = {name: int(value) for name, value, _ in list(csv.reader(io.StringIO(results[0].to_csv())))[1:]}
    lines = {line.split()[0]: int(line.split()[1]) for line in results[0].to_text().splitlines()}
    assert rows == lines
    assert rows["cache.L2.misses"] == facts["caches"]["L2"]["misses"]
    assert all(" # " in line for line in results[0].to_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"addresses": [1, 2]}, "addresses: list is not a buffer"),
        ({"addresses": np.zeros(4)}, "addresses: a contiguous array of uint64"),
        ({"addresses": np.zeros(4, np.int64)}, "addresses: a contiguous array of uint64"),
        ({"addresses": np.zeros((2, 2), np.uint64)}, r"shape \[2, 2\]"),
        ({"addresses": np.zeros(8, np.uint64)[::2]}, "addresses: "),
        ({"addresses": np.zeros(4, ">u8")}, "addresses: a contiguous array of uint64"),
        ({"kinds": np.zeros(3, np.uint8)}, "kinds: 3 kinds for 4 addresses"),
        ({"kinds": np.array([0, 1, 2, 3], np.uint8)}, r"kinds\[3\]: 3 is not 0"),
        ({"sizes": np.ones(5, np.uint8)}, "sizes: 5 sizes for 4 addresses"),
        (
            {"sizes": np.array([1, 0, 1, 1], np.uint16)},
            r"sizes\[1\]: 0 is not a number of bytes",
        ),
        ({"sizes": np.array([1, 1, 1, 4097], np.uint16)}, r"sizes\[3\]: 4097"),
        ({"straddle": "twice"}, "straddle: 'twice'"),
        ({"warmup": -1}, "warmup: -1"),
        ({"warmup": 1, "roi": (0, 1)}, "warmup: the region"),
        ({"roi": (3, 1)}, "roi: 1 is not an integer from 3 on"),
        ({"interval": 0}, "interval: 0"),
        ({"compute_cycles": 1.5}, "compute_cycles: 1.5"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Engine(H).run(**{"addresses": np.zeros(4, np.uint64), **arguments})


def test_single_calls_check_too():
    engine = Engine(H)
    for wrong in (-1, 1 << 64):
        with pytest.raises(FrameError, match=r"outside \[0, 2\*\*64\)"):
            engine.load(wrong)
    with pytest.raises(TypeError):
        engine.load("0")
    with pytest.raises(ConfigError, match="kind: 3"):
        engine.access(0, 3)
    with pytest.raises(ConfigError, match="size: 0"):
        engine.access(0, 0, 0)
    assert engine.counts()["accesses"] == [0, 0, 0]


def test_no_access_and_no_array_elements():
    result = Engine(H).run(np.zeros(0, np.uint64))
    assert result.cycles["total"] == 0
    assert result.to_text()


def test_unmapped_addresses_are_told_by_index_and_value():
    space = AddressSpace([Mapping(0x10000, 0, 0x4000)])
    engine = Engine(H, space)
    addresses = np.array([0x10000, 0x13FFF, 0x14000, 0x10000], np.uint64)
    with pytest.raises(FrameError, match="access 2: address 0x14000 is not mapped"):
        engine.run(addresses)
    assert engine.counts()["accesses"] == [2, 0, 0]
    with pytest.raises(FrameError, match="address 0x14000 is not mapped"):
        engine.access(0x13FFF, 0, 2)
    with pytest.raises(FrameError, match="address 0xffff is not mapped"):
        engine.load(0xFFFF)
    assert engine.counts()["accesses"] == [2, 0, 0]


def test_flush_makes_the_engine_new():
    engine = Engine(H, seed=3)
    first = engine.run(TRACE, KINDS).counts
    assert engine.run(TRACE, KINDS).counts != first
    engine.flush()
    assert engine.run(TRACE, KINDS).counts == first


def test_a_large_cache_costs_its_tags():
    engine = Engine(Hierarchy([Cache("L3", 32 << 20, 16)]))
    assert engine.tag_bytes == (32 << 20) // 64 * 8


def test_an_engine_without_caches_counts_memory():
    engine = Engine(Hierarchy([], memory=Memory(100)))
    assert engine.load(0) == engine.load(0) == 100
    assert engine.run(TRACE[:100]).memory["reads"] == 100


def test_two_threads_cannot_use_one_engine():
    engine, long = Engine(H), np.tile(TRACE, 400)
    worker = threading.Thread(target=engine.simulate, args=(long,))
    worker.start()
    refused = 0
    while worker.is_alive():
        try:
            engine.load(0)
        except RuntimeError as e:
            assert "another thread" in str(e)
            refused += 1
    worker.join()
    assert refused
    assert engine.load(0) > 0


def test_an_engine_that_was_never_made_is_memory():
    engine = Engine.__new__(Engine)
    assert engine.load(1 << 63) == 0
    assert engine.counts()["memory_reads"][0] == 1


def test_an_engine_is_made_once_and_not_pickled():
    engine = Engine(H)
    with pytest.raises(TypeError, match="made once"):
        engine.__init__(H)
    with pytest.raises(TypeError):
        pickle.dumps(engine)


def test_a_capsule_keeps_its_engine():
    engine = Engine(H)
    before = sys.getrefcount(engine)
    capsule = engine.capsule
    assert sys.getrefcount(engine) == before + 1
    del capsule
    assert sys.getrefcount(engine) == before
