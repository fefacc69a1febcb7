"""The model: ranges are checked, RAM is merged, what a map says of itself follows from its ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError
from xenmm.firmware.memory_map import MemoryMap, MemoryRange, Note, Source, SratRange, merge

END = 1 << 64


@pytest.mark.parametrize("start, end", [(0, 1), (0, END), (END - 1, END), (5, 6)])
def test_range_inside_the_limits_is_made(start, end):
    assert MemoryRange(start, end).size == end - start
    assert SratRange(start, end).end == end


@pytest.mark.parametrize("start, end", [(0, 0), (6, 5), (-1, 5), (0, END + 1), (END, END + 1), (7, 7)])
def test_range_outside_the_limits_is_refused_with_its_numbers(start, end):
    for make in (MemoryRange, SratRange):
        with pytest.raises(MemoryMapError, match=f"{end:#x}"):
            make(start, end)
    with pytest.raises(MemoryMapError):
        MemoryMap.from_ranges([(start, end)])


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (-1, 5, "negative"),
        (-2, -1, "negative"),
        (7, 7, "empty"),
        (6, 5, "ends before"),
        (0, END + 1, "past 64 bits"),
    ],
)
def test_a_refused_range_says_why(start, end, why):
    with pytest.raises(MemoryMapError, match=why):
        MemoryRange(start, end)


def test_unknown_kind_is_refused():
    with pytest.raises(MemoryMapError, match="'memory'"):
        MemoryRange(0, 1, "memory")


@pytest.mark.parametrize("ram", [5, None, [5], [(1,)], [(1, 2, 3)], [("a", "b")], [(0.0, 1.0)], "ab"])
def test_ranges_that_are_no_pairs_of_integers_are_refused(ram):
    with pytest.raises(MemoryMapError):
        MemoryMap.from_ranges(ram)


@pytest.mark.parametrize("ram", [5, None])
def test_what_is_no_sequence_is_told(ram):
    with pytest.raises(MemoryMapError, match=rf"ranges are a sequence of \(start, end\), got {ram}$"):
        MemoryMap.from_ranges(ram)


def test_srat_rows_default_to_enabled_and_to_nodes_of_their_own():
    found = MemoryMap.from_ranges([(0, 9)], [(0, 4), (4, 9, 3), (9, 12, 1, 7)])
    assert [(r.flags, r.node) for r in found.srat] == [(1, 0), (3, 1), (1, 7)]
    assert found.nodes == (0, 1, 7)
    assert {r.source for r in found.srat} == {Source("from_ranges", None, "ranges")}
    assert MemoryMap.from_ranges([(0, 9)]).srat is None
    assert MemoryMap.from_ranges([(0, 9)], []).srat == ()


def test_map_without_ranges_is_empty_and_says_so():
    empty = MemoryMap.from_ranges([])
    assert (empty.ram, empty.ram_bytes, empty.top, empty.holes, empty.nodes) == ((), 0, 0, (), ())


rows = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50)).filter(lambda r: r[0] < r[1]), min_size=1, max_size=9
)


@given(rows)
def test_ram_is_the_union_of_its_rows(pairs):
    found = MemoryMap.from_ranges(pairs)
    union = {x for a, b in pairs for x in range(a, b)}
    assert {x for a, b in found.ram for x in range(a, b)} == union
    assert all(a[1] < b[0] for a, b in zip(found.ram, found.ram[1:], strict=False))
    assert found.ram_bytes == len(union) and found.top == max(union) + 1
    holes = {x for a, b in found.holes for x in range(a, b)}
    assert holes == set(range(found.top)) - union
    assert merge(found.ram) == found.ram


@given(rows, st.randoms())
def test_hash_knows_the_facts_and_not_the_file(pairs, random):
    other = list(pairs)
    random.shuffle(other)
    assert MemoryMap.from_ranges(pairs, name="a").sha256 == MemoryMap.from_ranges(other, name="b").sha256
    assert MemoryMap.from_ranges(pairs).sha256 != MemoryMap.from_ranges([*pairs, (60, 61)]).sha256


def test_note_prints_its_place():
    note = Note("dropped", "the row is cut", Source("box.log", 7), "BIOS-e820: [mem")
    assert str(note) == "dropped: box.log:7: the row is cut: 'BIOS-e820: [mem'"
