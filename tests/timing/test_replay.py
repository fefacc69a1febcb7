"""Replay: where a trace's addresses land, what workloads do, comparison, and the timeline."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hostile_values import EDGES

import xenmm
from xenmm.errors import ConfigError
from xenmm.timing import Cache, Engine, Hierarchy, Tlb, workloads
from xenmm.timing.frames import Frames
from xenmm.timing.host_space import host_space
from xenmm.timing.replay import RULES, Input, compare, replay, timeline_json
from xenmm.timing.workloads import WORKLOADS, make_workload, mixed_trace, parameters, sentence

TERA = 1 << 40
RAM = [(0x100000, 0x7000_0000), (1 << 32, 5 << 30), (TERA, TERA + (6 << 30))]
SMALL = Hierarchy(
    [Cache("L1", 4096, 4, latency=4)],
    [Tlb("T4k", 16, 4, ("4k",)), Tlb("T2m", 8, 4, ("2m",)), Tlb("T1g", 4, 4, ("1g",))],
)


@pytest.fixture(scope="module")
def host():
    return xenmm.boot(xenmm.MemoryMap.from_ranges(ram=RAM, srat=[(0, 5 << 30), RAM[2]]), profile="xen-offset")


@pytest.fixture(scope="module")
def frames(host):
    return Frames(host, host_space(host))


def write(tmp_path, addresses):
    path = tmp_path / "t.bin"
    np.array(addresses, np.uint64).tofile(path)
    return path


def seen(monkeypatch, host, source):
    """Return the addresses that the engine was given."""
    addresses = []
    simulate = Engine.simulate

    def spy(self, a, *rest, **more):
        addresses.extend(a.tolist())
        return simulate(self, a, *rest, **more)

    monkeypatch.setattr(Engine, "simulate", spy)
    result = replay(host, source, SMALL)
    return addresses, result


def test_frames_count_what_the_direct_map_reaches(host, frames):
    assert frames.bytes == sum(end - start for start, end in host.plan.used)
    numbers = np.array([0, 1, frames.count - 1, frames.count], np.uint64)
    maddrs = frames.maddr(numbers).tolist()
    assert maddrs == [host.plan.used[0][0], host.plan.used[0][0] + 4096, RAM[2][1] - 4096, maddrs[0]]
    virts, inside = frames.virt(np.array([*maddrs, 0xF000_0000, TERA - 1, 2**64 - 1], np.uint64))
    assert inside.tolist() == [True] * 4 + [False] * 3
    assert virts[:4].tolist() == [host.maddr_to_virt(m) for m in maddrs]


def test_machine_addresses_go_through_the_direct_map(tmp_path, monkeypatch, host):
    trace = write(tmp_path, [0x100000, TERA + 5, 0xF000_0000, (5 << 30) - 1])
    addresses, result = seen(monkeypatch, host, Input(trace))
    assert addresses == [host.maddr_to_virt(a) for a in (0x100000, TERA + 5, (5 << 30) - 1)]
    assert result.input["unmapped"] == 1
    assert result.input["first_unmapped"] == ["0xf0000000"]
    assert result.input["rule"] == RULES["maddr"]


def test_frame_numbers_are_frames(tmp_path, monkeypatch, host):
    trace = write(tmp_path, [0x100, TERA >> 12, 1 << 52, (1 << 52) + 0x100])
    addresses, result = seen(monkeypatch, host, Input(trace, interpretation="mfn"))
    assert addresses == [host.mfn_to_virt(0x100), host.mfn_to_virt(TERA >> 12)]
    assert result.input["unmapped"] == 2


def test_linear_addresses_wrap_over_ram(tmp_path, monkeypatch, host, frames):
    page = 4096
    trace = write(tmp_path, [7, page + 1, frames.bytes + 9])
    addresses, result = seen(monkeypatch, host, Input(trace, interpretation="linear"))
    first = host.plan.used[0][0]
    assert addresses == [host.maddr_to_virt(first + n) for n in (7, page + 1, 9)]
    assert result.input["unmapped"] == 0


def test_virtual_addresses_are_the_hosts(tmp_path, monkeypatch, host):
    page = host.mfn_to_page(0x100)
    m2p = host.m2p.virt_start + 8 * 0x100
    trace = write(tmp_path, [page, m2p, 0x1000, 2**64 - 1])
    addresses, result = seen(monkeypatch, host, Input(trace, interpretation="virt"))
    assert addresses == [page, m2p]
    assert result.input["unmapped"] == 2


def test_a_trace_is_read_in_the_format_that_is_named(tmp_path, monkeypatch, host):
    path = tmp_path / "t.din"
    path.write_bytes(b"0 100000\n1 000000100040\n")
    addresses, result = seen(monkeypatch, host, Input(path))
    assert addresses == [host.maddr_to_virt(0x100000), host.maddr_to_virt(0x100040)]
    assert result.input["trace"]["format"] == "din"
    # The same 24 bytes are three numbers, none of which is an address of RAM.
    first = int.from_bytes(path.read_bytes()[:8], "little")
    with pytest.raises(ConfigError, match=f"3 addresses not mapped .the first: {first:#x}"):
        replay(host, Input(path, format="raw"), SMALL)


def test_an_access_that_ends_outside_is_unmapped(tmp_path, monkeypatch, host):
    path = tmp_path / "t.txt"
    path.write_text(f" L {RAM[0][1] - 8:x},8\n L {RAM[0][1] - 4:x},8\n")
    addresses, result = seen(monkeypatch, host, Input(path))
    assert addresses == [host.maddr_to_virt(RAM[0][1] - 8)]
    assert result.input["unmapped"] == 1


def test_nothing_to_simulate_is_an_error(tmp_path, host):
    with pytest.raises(ConfigError, match=r"t.bin: no access could be simulated; 0 bad lines, 1 addresses"):
        replay(host, Input(write(tmp_path, [0xF000_0000])), SMALL)
    with pytest.raises(ConfigError, match="address 0xf0000000 is not mapped"):
        replay(host, Input(write(tmp_path, [0xF000_0000]), strict=True), SMALL)


@pytest.mark.parametrize("host_given", [True, False])
def test_raw_is_for_no_machine_only(tmp_path, host, host_given):
    trace = write(tmp_path, [1, 2])
    with pytest.raises(ConfigError, match="raw addresses, and no others"):
        replay(
            host if host_given else None, Input(trace, interpretation="raw" if host_given else "maddr"), SMALL
        )


@pytest.mark.parametrize("name", [n for n in WORKLOADS if n != "mixed"])
def test_workloads_touch_only_what_the_host_maps(host, name):
    results = [replay(host, Input(workload=name, accesses=5000, seed=4), SMALL).to_json() for _ in range(2)]
    assert results[0] == results[1]
    facts = json.loads(results[0])
    assert facts["accesses"]["total"] == 5000
    assert facts["input"]["parameters"] == parameters(name)
    assert facts["input"]["sentence"] == sentence(name) and sentence(name).endswith(".")
    if name not in ("sequential", "page-scrub"):
        assert replay(host, Input(workload=name, accesses=5000, seed=5), SMALL).to_json() != results[0]


def addresses_of(name, frames, n, **given):
    chunks = list(make_workload(name, frames, n, 1, **given))
    kinds = np.concatenate([c.kinds for c in chunks]).tolist()
    return list(zip(np.concatenate([c.addresses for c in chunks]).tolist(), kinds, strict=True))


def test_page_scrub_updates_page_info_and_writes_every_line(host, frames):
    got = addresses_of("page-scrub", frames, 2 * 66, first=3)
    for n, first in enumerate((3, 4)):
        maddr = host.plan.used[0][0] + first * 4096
        page, virt = host.mfn_to_page(maddr >> 12), host.maddr_to_virt(maddr)
        expected = [(page, 0), (page, 1)] + [(virt + line, 1) for line in range(0, 4096, 64)]
        assert got[66 * n : 66 * n + 66] == expected


def test_p2m_update_writes_the_entries_of_one_frame(host, frames):
    got = addresses_of("p2m-update", frames, 400)
    for page, again, m2p, p2m in (got[i : i + 4] for i in range(0, 400, 4)):
        mfn = host.page_to_mfn(page[0])
        assert again == (page[0], 1)
        assert m2p == (host.m2p.virt_start + 8 * mfn, 1)
        assert host.direct_map.virt_start <= p2m[0] and p2m[1] == 1


def test_grant_storm_maps_and_unmaps_the_same_frame(frames):
    got = addresses_of("grant-storm", frames, 1000, grants=16)
    for op in (got[i : i + 10] for i in range(0, 1000, 10)):
        assert [kind for _, kind in op] == [0, 0, 1, 1, 1, 0, 0, 1, 1, 1]
        grant, page, track = op[0][0], op[1][0], op[4][0]
        assert [a for a, _ in op] == [grant, page, page, grant, track, track, page, page, grant, track]
    assert len({op[0] for op in got[::10]}) == 16


def test_page_table_walk_reads_one_entry_a_level(frames):
    got = addresses_of("page-table-walk", frames, 4000, span=1 << 34)
    tables = [{a >> 12 for a, _ in got[level::4]} for level in range(4)]
    assert [len(t) for t in tables[:2]] == [1, 1]
    assert len(tables[2]) <= 16 < len(tables[3])
    assert all(a.isdisjoint(b) for i, a in enumerate(tables) for b in tables[:i])


@pytest.mark.parametrize(
    ("given", "lines", "exponent"),
    [({}, 1 << 20, 0.99), ({"lines": 50}, 50, 0.99), ({"exponent": 2, "lines": 1000}, 1000, 2)],
)
def test_zipf_reads_its_nth_line_as_often_as_the_law_says(frames, given, lines, exponent):
    n = 100_000
    counts = Counter(addresses_of("zipf", frames, n, **given))
    whole = sum(rank**-exponent for rank in range(1, lines + 1))
    for rank, (_, count) in enumerate(counts.most_common(4), 1):
        share = rank**-exponent / whole
        assert abs(count - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_workloads_have_exactly_the_length_asked_for(frames):
    assert len(addresses_of("page-scrub", frames, 100)) == 100
    assert len(addresses_of("sequential", frames, 100_001)) == 100_001


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("foo", {}, "workload: 'foo' is not one of sequential"),
        ("zipf", {"line": 3}, "zipf.line: unknown; known here are lines"),
        ("zipf", {"lines": 0}, "lines: 0"),
        ("zipf", {"lines": 2.5}, "zipf.lines: 2.5"),
        ("mixed", {}, "mixed has addresses of its own"),
    ],
)
def test_wrong_workloads_are_named(frames, name, given, message):
    with pytest.raises(ConfigError, match=message):
        list(make_workload(name, frames, 10, 1, **given))


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "mixed"])
def test_every_parameter_is_told_at_every_edge(frames, name, monkeypatch):
    # So many entries as are really allowed take gigabytes.
    monkeypatch.setattr(workloads, "_MOST_ENTRIES", 1 << 12)
    for key, default in parameters(name).items():
        most = 1 << 12 if key in ("lines", "grants") else 1 << 52
        fractions = [math.nan, math.inf, -math.inf, 1e308] if isinstance(default, float) else []
        for value in [*EDGES, most - 1, most, most + 1, *fractions]:
            try:
                assert len(addresses_of(name, frames, 10, **{key: value})) == 10
            except ConfigError as error:
                # A span below one line has none to read.
                assert not 64 <= value <= most
                assert f"{key}: {value!r} is not" in str(error) or (key == "span" and 0 <= value < 64)
            else:
                assert 0 <= value <= most


@pytest.mark.parametrize("given", [{"lines": (1 << 28) + 1}, {"grants": (1 << 28) + 1}])
def test_entries_that_no_memory_holds_are_refused_at_once(frames, given):
    name = "zipf" if "lines" in given else "grant-storm"
    with pytest.raises(ConfigError, match=r"268435457 is not a number in \[0, 268435456\]"):
        make_workload(name, frames, 10, 1, **given)
    with pytest.raises(ConfigError, match="at most 268435456, not 268435457"):
        next(make_workload("mixed", frames, (1 << 28) + 1, 1))


def test_the_mixture_is_the_reference_trace():
    result = replay(
        None, Input(workload="mixed", interpretation="raw", accesses=50_000, seed=20261123), SMALL
    )
    assert result.counts == Engine(SMALL).run(mixed_trace(50_000)).counts


def test_comparison_lists_what_differs(host):
    source = Input(workload="random", accesses=3000, parameters={"span": 16384})
    small = replay(host, source, SMALL)
    large = replay(host, source, Hierarchy([Cache("L1", 8192, 4, latency=4)], SMALL.tlbs))
    assert compare({"a": small, "b": small}) == []
    rows = {row["figure"]: row for row in compare({"a": small, "b": large})}
    assert rows["cache.L1.hits"]["values"] == {"a": small.caches["L1"].hits, "b": large.caches["L1"].hits}
    assert "accesses.read" not in rows
    assert rows["cache.L1.misses"]["ratios"]["a"] == 1.0


def test_the_timeline_is_as_long_as_serial_time(host):
    result = replay(host, Input(workload="zipf", accesses=20_000), SMALL, timeline=True)
    facts = json.loads(timeline_json(result))
    slices = [e for e in facts["traceEvents"] if e["ph"] == "X" and e["tid"] == 0]
    assert facts["displayTimeUnit"] == "ns"
    assert sum(s["args"]["accesses"] for s in slices) == 20_000
    assert slices[-1]["ts"] + slices[-1]["dur"] == pytest.approx(result.cycles["total"] / 1000)
    assert {e["ph"] for e in facts["traceEvents"]} == {"M", "X", "C"}
    tracks = {e["tid"]: e["args"]["name"] for e in facts["traceEvents"] if e["ph"] == "M"}
    assert tracks == dict(enumerate(["serial time", *list(result.cycles)[:-1]]))
    assert {e["name"] for e in facts["traceEvents"] if e["ph"] == "M"} == {"thread_name"}
    # Caches go by their own names, the other tables with their kind before it.
    counters = [e["args"] for e in facts["traceEvents"] if e["ph"] == "C"]
    assert {frozenset(names) for names in counters} == {frozenset({"L1", "tlb.T4k", "tlb.T2m", "tlb.T1g"})}


def test_the_packages_face_takes_a_path(tmp_path, host):
    trace = write(tmp_path, [0x100000, TERA])
    assert xenmm.replay(host, trace, "zen3").accesses["read"] == 2
    assert xenmm.replay(host, trace).hierarchy.name == replay(host, trace).hierarchy.name == "zen3"
    assert xenmm.replay(None, trace, SMALL).input["interpretation"] == "raw"
