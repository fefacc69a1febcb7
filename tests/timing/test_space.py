"""Address spaces: placement of page tables, superpages, canonical addresses, and those of booted hosts."""

import itertools
import random

import pytest

import xenmm
from xenmm.errors import ConfigError, FrameError
from xenmm.timing import AddressSpace, Cache, Engine, Hierarchy, Mapping, Memory, PageWalk, Tlb
from xenmm.timing.host_space import host_space

TERA = 1 << 40
LOW = 0x0000_7F00_0000_0000
HIGH = 0xFFFF_8300_0000_0000


def walk_cost(space, virt):
    """Return the entries that one walk reads, through a memory that costs 1 a read."""
    h = Hierarchy([], [Tlb("T", 4, 4, ("4k", "2m", "1g"))], PageWalk(), Memory(1))
    engine = Engine(h, space)
    engine.load(virt)
    return engine.result().walks.reads_by_level


@pytest.mark.parametrize(("size", "levels"), [("4k", (1, 2, 3, 4)), ("2m", (2, 3, 4)), ("1g", (3, 4))])
def test_superpages_end_the_walk_early(size, levels):
    reads = walk_cost(AddressSpace([Mapping(HIGH, 0, 1 << 30, size)]), HIGH + 5)
    assert reads == {level: int(level in levels) for level in (1, 2, 3, 4)}


def test_tables_are_placed_by_the_rule():
    space = AddressSpace(
        [
            Mapping(LOW, 0, 3 << 21, "4k"),
            Mapping(HIGH, TERA, 4 << 21, "2m"),
            Mapping(HIGH + (512 << 30), 2 * TERA, 1 << 30, "1g"),
        ],
        tables_maddr=0x1000_0000,
    )
    runs = space.table_runs()
    page = 4096
    # One root for both halves; then the level 3 tables in order: LOW's, HIGH's and the 1 GiB page's.
    assert [maddr for _, _, maddr in runs[4]] == [0x1000_0000] * 2
    assert [(last - first + 1, maddr) for first, last, maddr in runs[3]] == [
        (1, 0x1000_0000 + page),
        (2, 0x1000_0000 + 2 * page),
    ]
    assert [(last - first + 1, maddr) for first, last, maddr in runs[2]] == [
        (1, 0x1000_0000 + 4 * page),
        (1, 0x1000_0000 + 5 * page),
    ]
    assert [(last - first + 1, maddr) for first, last, maddr in runs[1]] == [(3, 0x1000_0000 + 6 * page)]


def test_a_first_cache_larger_than_a_page_is_indexed_by_virt():
    # Two pages whose virtual addresses differ in bit 12 and whose machine addresses do not.
    space = AddressSpace([Mapping(0x0, 0x10000, 4096), Mapping(0x1000, 0x20000, 4096)])
    h = Hierarchy([Cache("L1", 8192, 1, parent="L2"), Cache("L2", 8192, 1)])
    engine = Engine(h, space)
    for _ in range(2):
        engine.load(0x0)
        engine.load(0x1000)
    result = engine.result()
    assert (result.caches["L1"].hits, result.caches["L1"].misses) == (2, 2)
    assert (result.caches["L2"].hits, result.caches["L2"].misses) == (0, 2)


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        ([], "an address space needs one"),
        ([(0, 0, 8192), (4096, 0, 4096)], "overlaps 0x1000"),
        ([(1 << 47, 0, 4096)], "is not canonical"),
        ([((1 << 47) - 4096, 0, 8192)], "is not canonical"),
        ([(5, 0, 4096)], "virt_start: 5 is not a multiple"),
        ([(0, 0, 4096, "2m")], "length: 4096 is not a multiple of the 2m page"),
        ([(0, 0, 4096, "4m")], "page_size: '4m'"),
        ([(0, 0, 0)], "length: a mapping of 0 bytes"),
        ([(1 << 63, (1 << 64) - 4096, 8192)], "maddr_start"),
    ],
)
def test_what_is_no_address_space_is_refused(mappings, message):
    with pytest.raises(ConfigError, match=message):
        AddressSpace([Mapping(*m) for m in mappings])


def test_the_edges_of_the_canonical_halves_are_accepted():
    space = AddressSpace(
        [Mapping(0, 0, 4096), Mapping((1 << 47) - 4096, 0, 4096), Mapping((1 << 64) - 4096, 0, 4096)]
    )
    assert space.translate((1 << 64) - 1) == (4095, "4k")
    with pytest.raises(FrameError):
        space.translate(4096)


@pytest.mark.parametrize("profile", ["pre", "sparse-m2p", "xen-mask", "xen-offset"])
@pytest.mark.parametrize("page_sizes", ["2m", "1g"])
def test_a_hosts_space_maps_what_the_host_converts(profile, page_sizes):
    host = xenmm.boot(
        xenmm.MemoryMap.from_ranges(
            ram=[(0, 0x9F000), (0x100000, 0x7000_0000), (1 << 32, 5 << 30), (TERA, TERA + (6 << 30))],
            srat=[(0, 6 << 30), (TERA, TERA + (6 << 30))],
        ),
        profile=profile,
        page_sizes=page_sizes,
    )
    space, rng = host_space(host), random.Random(profile)
    for start, end in host.plan.used:
        for _ in range(20):
            maddr = rng.randrange(start, end)
            mfn = maddr >> 12
            assert space.translate(host.maddr_to_virt(maddr))[0] == maddr
            assert (
                space.translate(host.m2p.virt_start + 8 * mfn)[0]
                == (space.translate(host.ro_m2p.virt_start + 8 * mfn)[0])
            )
            space.translate(host.mfn_to_page(mfn))
    for table in (host.frame_table, host.m2p, host.direct_map):
        mapped = [
            m for m in space.mappings if table.virt_start <= m.virt_start < table.virt_start + table.size
        ]
        assert sum(m.length for m in mapped) == table.mapped_bytes
    assert tables_do_not_overlap(space, host)


def test_tables_in_many_pieces_are_mapped_whole():
    # No range of RAM has room for more than a quarter of the frame table.
    ram = [(n << 23, (n << 23) + (1 << 22)) for n in range(256)]
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram=ram), "xen-none")
    space, start = host_space(host), host.frame_table.virt_start
    pieces = [m for m in space.mappings if start <= m.virt_start < start + host.frame_table.size]
    assert len(pieces) >= 4
    for mfn in range(0, ram[-1][1] >> 12, 97):
        if host.mfn_valid(mfn):
            space.translate(host.mfn_to_page(mfn))
    assert sum(m.length for m in pieces) == host.frame_table.mapped_bytes
    assert tables_do_not_overlap(space, host)


def tables_do_not_overlap(space, host):
    """Check that frames of tables lie in RAM, and no two share one."""
    taken = []
    for table in filter(None, (host.frame_table, host.m2p, host.compat_m2p)):
        for m in space.mappings:
            if table.virt_start <= m.virt_start < table.virt_start + table.size:
                taken.append((m.maddr_start, m.maddr_start + m.length))
    pages = sum(last - first + 1 for level in (1, 2, 3) for first, last, _ in space.table_runs()[level]) + 1
    taken.append((space.tables_maddr, space.tables_maddr + pages * 4096))
    taken.sort()
    apart = all(a[1] <= b[0] for a, b in itertools.pairwise(taken))
    return apart and all(any(s <= a and b <= e for s, e in host.plan.used) for a, b in taken)


@pytest.mark.parametrize(
    ("mappings", "tables", "words"),
    [
        ([], -1, "^tables_maddr: -1 "),
        ([], 1 << 64, "^tables_maddr: "),
        ([5], 0, "^each of mappings is a Mapping, got 5$"),
    ],
)
def test_a_wrong_part_is_named(mappings, tables, words):
    with pytest.raises(ConfigError, match=words):
        AddressSpace(mappings, tables_maddr=tables)
