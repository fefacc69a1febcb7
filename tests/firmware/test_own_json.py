"""The package's own JSON: what goes out comes back, and everything else is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.errors import MemoryMapError
from xenmm.firmware import own_json, read_map
from xenmm.firmware.memory_map import KINDS, MemoryMap, MemoryRange, Note, Source, SratRange, Stated

U64_END = 1 << 64
sources = st.none() | st.builds(Source, st.text(), st.none() | st.integers(1, 10**9), st.text())
edges = st.tuples(st.integers(0, U64_END), st.integers(0, U64_END)).filter(lambda e: e[0] != e[1]).map(sorted)
ranges = st.builds(
    lambda e, k, t, s: MemoryRange(e[0], e[1], k, t, s), edges, st.sampled_from(KINDS), st.text(), sources
)
u32 = st.integers(0, 2**32 - 1)
srat = st.builds(lambda e, n, f, p, s: SratRange(*e, n, f, p, s), edges, u32, u32, st.none() | u32, sources)
notes = st.builds(
    Note,
    st.sampled_from(own_json.LEVELS),
    st.text(),
    sources,
    st.text(),
    st.none() | st.integers(0, U64_END),
)
stated = st.builds(
    Stated,
    st.none() | st.integers(0, U64_END),
    st.none() | st.integers(0, U64_END),
    st.none() | st.text(),
    st.none() | st.text(),
    st.lists(st.text()).map(tuple),
    st.lists(st.text()).map(tuple),
    st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()),
)
maps = st.builds(
    MemoryMap,
    st.lists(ranges, max_size=6).map(tuple),
    st.none() | st.lists(srat, max_size=4).map(tuple),
    st.text(),
    st.just("any"),
    st.lists(notes, max_size=3).map(tuple),
    stated,
    st.text(),
)


def numbered(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.split("\n"), 1))


def read(text: str) -> MemoryMap:
    return own_json.read(numbered(text), "map.json")


def refuse(text: str) -> MemoryMapError:
    with pytest.raises(MemoryMapError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert caught.value.file == "map.json"
    return caught.value


def document(**changes: object) -> dict[str, object]:
    return {"schema": "xenmm-map/1", "ranges": [{"start": "0x0", "end": "0x1000", "kind": "ram"}], **changes}


@given(maps)
def test_any_map_survives_the_dictionary(memory_map: MemoryMap) -> None:
    assert MemoryMap.from_dict(memory_map.to_dict()) == memory_map


@given(maps)
def test_any_map_survives_the_text(memory_map: MemoryMap) -> None:
    text = memory_map.to_json()
    assert own_json.sniff(numbered(text))
    back = read(text)
    assert back.sha256 == memory_map.sha256
    assert [r.kind for r in back.ranges] == [r.kind for r in memory_map.ranges]
    assert back.notes == memory_map.notes
    assert back.stated == memory_map.stated


def test_integers_and_hexadecimal_texts_are_the_same_address() -> None:
    rows = [{"start": 4096, "end": "0x10000000000000000", "kind": "reserved"}]
    assert read(json.dumps(document(ranges=rows))).ranges[0].end == U64_END


def test_a_range_without_source_names_the_file() -> None:
    assert read(json.dumps(document())).ranges[0].source == Source("map.json", None, "xenmm-map")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"start": 0, "end": 4096.0, "kind": "ram"}, ["ranges[1].end", "4096.0"]),
        ({"start": True, "end": 4096, "kind": "ram"}, ["ranges[1].start", "True"]),
        ({"start": -1, "end": 4096, "kind": "ram"}, ["ranges[1].start", "-1"]),
        ({"start": 0, "end": U64_END + 1, "kind": "ram"}, ["ranges[1].end", str(U64_END + 1)]),
        ({"start": 0, "end": "1000", "kind": "ram"}, ["ranges[1].end", "'1000'"]),
        ({"start": 0, "end": "0x1_0", "kind": "ram"}, ["ranges[1].end", "0x1_0"]),
        ({"start": 4096, "end": 4096, "kind": "ram"}, ["ranges[1]", "0x1000", "is empty"]),
        ({"start": 8192, "end": 4096, "kind": "ram"}, ["ranges[1]", "ends before it starts"]),
        ({"start": 0, "end": 4096, "kind": "RAM"}, ["ranges[1].kind", "'RAM'"]),
        ({"start": 0, "end": 4096}, ["ranges[1].kind", "missing"]),
        ({"start": 0, "end": 4096, "kind": "ram", "size": 1}, ["ranges[1].size", "unknown key"]),
        ({"start": 0, "end": 4096, "kind": "ram", "\nd": 1}, ["ranges[1]. d", "unknown key '\\nd'"]),
        ([0, 4096], ["ranges[1]", "need an object"]),
        (None, ["ranges[1]", "need an object"]),
    ],
)
def test_a_bad_range_is_refused_with_its_place_and_line(row: object, words: list[str]) -> None:
    good = {"start": 0, "end": 1, "kind": "ram"}
    rows = f"{json.dumps(good)},\n{json.dumps(row)}"
    error = refuse('{"schema": "xenmm-map/1",\n"ranges": [\n' + rows + "]}")
    assert all(word in str(error) for word in words), str(error)
    assert error.line == 4 and "\n" not in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "xenmm-map/2"}, ["schema", "xenmm-map/2", "xenmm-map/1"]),
        ({"schema": 1}, ["schema"]),
        ({"machine": "x"}, ["machine", "unknown key"]),
        ({"ranges": {}}, ["ranges", "need a list"]),
        ({"name": 3}, ["name", "need a text"]),
        ({"arch": 3}, [": arch: ", "need a text"]),
        ({"format": 3}, [": format: ", "need a text"]),
        ({"srat": [{"start": 0, "end": 1, "node": 1 << 32}]}, ["srat[0].node"]),
        ({"srat": [{"start": 0, "end": 1, "flags": "enabled"}]}, ["srat[0].flags", "'enabled'"]),
        ({"notes": [{"level": "fatal", "text": ""}]}, ["notes[0].level", "fatal"]),
        ({"notes": [{"level": [], "text": ""}]}, ["notes[0].level"]),
        ({"stated": {"ram": 1}}, ["stated.ram"]),
        ({"stated": {"numa_rows": [1]}}, ["stated.numa_rows[0]"]),
        ({"stated": {"details": 1}}, ["stated.details", "need an object, got 1"]),
        (
            {"notes": [{"level": "dropped", "text": "", "dropped_bytes": "x"}]},
            ["notes[0].dropped_bytes", "'x'"],
        ),
    ],
)
def test_a_bad_field_is_refused_with_its_place(changes: dict[str, object], words: list[str]) -> None:
    error = refuse(json.dumps(document(**changes)))
    assert all(word in str(error) for word in words), str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": "xenmm-map/1", "ranges": []', ["no JSON"]),
        ('{"schema": "xenmm-map/1", "ranges": [], "ranges": []}', ["'ranges'", "twice"]),
        ('{"schema": "xenmm-map/1", "ranges": [{"start": NaN, "end": 1, "kind": "ram"}]}', ["NaN"]),
        ('{"schema": "xenmm-map/1", "ranges": [{"start": %s, "end": 1}]}' % ("9" * 9000), ["9000 digits"]),
        ('{"schema": "xenmm-map/1", "ranges": ' + "[" * 100000, ["nested too deeply"]),
        ('{"schema": "xenmm-map/1"}', ["ranges", "missing"]),
        ("[]", ["need an object"]),
        ("", ["no JSON"]),
    ],
)
def test_a_bad_text_is_refused(text: str, words: list[str]) -> None:
    error = refuse(text)
    assert all(word in str(error) for word in words), str(error)


def test_a_key_that_stands_twice_is_found_in_its_line():
    text = '{\n "schema": "xenmm-map/1",\n "ranges": [],\n "name": "a",\n "name": "b"\n}'
    error = refuse(text)
    assert error.line == 5 and "'name' stands twice" in str(error)


@given(st.text())
def test_any_text_is_a_map_or_an_error(text: str) -> None:
    try:
        read(text)
    except MemoryMapError as error:
        assert error.file == "map.json"


def test_what_only_a_log_has_is_not_asked_of_a_document():
    text = MemoryMap.from_ranges([(1 << 20, 1 << 30)], name="plain").to_json().encode()
    assert read_map(text, boot=1, strict=True).ram == ((1 << 20, 1 << 30),)
    with pytest.raises(MemoryMapError, match="no boot 2: the input is no log of boots"):
        read_map(text, boot=2)
    with pytest.raises(MemoryMapError, match="no map of a kernel's own"):
        read_map(text, map="user")
