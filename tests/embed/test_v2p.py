"""Virtual pages for DynamoRIO: read back by a parser of the format, compared with the host and its tables."""

import re

import pytest

import xenmm
from xenmm import ConfigError
from xenmm.cli import main
from xenmm.embed import v2p as exporter
from xenmm.embed.v2p import v2p
from xenmm.timing.host_space import host_space

MIB, GIB = 1 << 20, 1 << 30
NODES = xenmm.MemoryMap.from_ranges(
    [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)], [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)], name="two\nnodes"
)
DIRECT_MAP = 0xFFFF830000000000


@pytest.fixture(scope="module")
def host():
    return xenmm.boot(NODES)


def read_as_dynamorio(text):
    """The reader's own way: line by line, a comment begins a line, virtual stands right before physical."""
    facts, pages, virtual = {}, {}, None
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        key, colon, value = line.strip().partition(":")
        if key == "virtual_address":
            virtual = int(value, 0)
            continue
        if key == "physical_address":
            assert virtual is not None and virtual not in pages
            pages[virtual] = int(value, 0)
        elif colon:
            assert facts.setdefault(key, int(value, 0)) == int(value, 0)
        virtual = None
    return facts, pages


def read_as_protobuf(text):
    """The text through Google's parser, with a description of the messages made here."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    number = descriptor_pb2.FieldDescriptorProto.TYPE_UINT64
    message = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    file = descriptor_pb2.FileDescriptorProto(name="v2p.proto", package="v2p", syntax="proto2")

    def add(name, *fields):
        made = file.message_type.add(name=name)
        for i, (field, kind, repeated) in enumerate(fields, 1):
            label = 3 if repeated else 1
            of = f".v2p.{kind}" if isinstance(kind, str) else None
            made.field.add(name=field, number=i, label=label, type=message if of else kind, type_name=of)

    add("Mapping", ("virtual_address", number, False), ("physical_address", number, False))
    add("Information", ("page_count", number, False), ("bytes_mapped", number, False))
    add(
        "Group",
        ("page_size", number, False),
        ("address_mapping", "Mapping", True),
        ("information", "Information", False),
    )
    add("Whole", ("address_mapping_group", "Group", True), ("information", "Information", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("v2p.Whole"))()
    return text_format.Parse(text, made)


def test_every_page_of_the_file_is_where_the_host_s_tables_say(host):
    facts, pages = read_as_dynamorio(v2p(host, page_size="2m"))
    space = host_space(host)
    for virtual, physical in pages.items():
        maddr, size = space.translate(virtual)
        assert (maddr, size in ("2m", "1g")) == (physical, True)
    assert facts == {
        "page_size": 2 * MIB,
        "page_count": len(pages),
        "bytes_mapped": len(pages) * 2 * MIB,
    }


def test_pages_of_the_direct_map_are_the_host_s_conversions(host):
    start, end = DIRECT_MAP, DIRECT_MAP + 1024 * GIB
    pages = read_as_dynamorio(v2p(host, page_size="2m", virt_range=(start, end)))[1]
    # The first 2 MiB are small pages.
    assert len(pages) == 4 * GIB // (2 * MIB) - 1
    assert all(host.virt_to_maddr(virtual) == physical for virtual, physical in pages.items())


def test_by_default_nothing_in_the_range_is_left_out(host):
    text = v2p(host, virt_range=(DIRECT_MAP, DIRECT_MAP + 4 * MIB))
    facts, pages = read_as_dynamorio(text)
    assert facts["page_size"] == 4096 and len(pages) == 1024
    assert pages == {DIRECT_MAP + at: at for at in range(0, 4 * MIB, 4096)}
    assert "Left out" not in text
    high = v2p(host, virt_range=(DIRECT_MAP + 2 * MIB, DIRECT_MAP + 16 * MIB))
    assert read_as_dynamorio(high)[0]["page_size"] == 2 * MIB


def test_what_has_no_place_is_counted(host):
    text = v2p(host, page_size="2m", virt_range=(DIRECT_MAP, DIRECT_MAP + 4 * MIB))
    assert "# Left out: 2097152 bytes in pages smaller than 2m.\n" in text
    assert read_as_dynamorio(text)[0]["page_count"] == 1


@pytest.mark.parametrize("cut", [-1, 0, 1])
def test_a_page_is_in_the_range_as_a_whole_or_not_at_all(host, cut):
    start = DIRECT_MAP + 4 * MIB
    pages = read_as_dynamorio(v2p(host, virt_range=(start, start + 4 * MIB + cut)))[1]
    assert list(pages) == [start, start + 2 * MIB][: 1 if cut < 0 else 2]
    pages = read_as_dynamorio(v2p(host, virt_range=(start + cut, start + 8 * MIB)))[1]
    assert min(pages) == (start + 2 * MIB if cut > 0 else start)


def test_google_s_parser_reads_the_same(host):
    text = v2p(host, page_size="2m")
    whole = read_as_protobuf(text)
    (group,) = whole.address_mapping_group
    pages = {m.virtual_address: m.physical_address for m in group.address_mapping}
    assert pages == read_as_dynamorio(text)[1]
    assert group.information == whole.information
    assert whole.information.page_count == len(pages)


def test_the_limit_is_the_last_file_that_is_written(host, monkeypatch):
    virt_range = (DIRECT_MAP, DIRECT_MAP + 2 * MIB)
    monkeypatch.setattr(exporter, "PAGES_MAX", 512)
    assert read_as_dynamorio(v2p(host, virt_range=virt_range))[0]["page_count"] == 512
    monkeypatch.setattr(exporter, "PAGES_MAX", 511)
    with pytest.raises(ConfigError, match=r"512 pages of 4k are more than the 511 .*: choose a range$"):
        v2p(host, virt_range=virt_range)


def test_a_large_machine_is_refused_with_what_fits():
    flat = xenmm.boot(xenmm.MemoryMap.from_ranges([(0, 64 * GIB)]))
    with pytest.raises(ConfigError, match=r"pages of 4k are more than .* or pages of 2m \(33,\d{3}; "):
        v2p(flat)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"page_size": "64k"}, "page_size: '64k' is not one of 4k, 2m, 1g"),
        ({"virt_range": (5, 5)}, "range .0x5, 0x5. is empty"),
        ({"virt_range": (0, 1 << 65)}, r"virt_range is \(start, end\), half-open and up to 2\^64"),
        ({"virt_range": (0, 4096)}, r"nothing is mapped in .*direct_map \[0xffff830000000000"),
        ({"page_size": "1g", "virt_range": (DIRECT_MAP, DIRECT_MAP + MIB)}, "the largest have 4k"),
    ],
)
def test_bad_options_are_refused(host, options, message):
    with pytest.raises(ConfigError, match=message):
        v2p(host, **options)


def test_parameters_alone_map_nothing():
    from hosts import assorted_params, make_host

    with pytest.raises(ConfigError, match="booted on a memory map"):
        v2p(make_host(assorted_params()["none"]))


def test_the_command_writes_both(tmp_path, capsys):
    out = tmp_path / "v2p.textproto"
    assert main(["export", "dell-r930", "--format", "v2p", "--v2p-pages", "1g", "-o", str(out)]) == 0
    assert re.search(r"^# machine: Dell PowerEdge R930", out.read_text(), re.MULTILINE)
    assert read_as_dynamorio(out.read_text())[0]["page_size"] == GIB
    for bad in ("5", "x-y", "1-2-3", ""):
        with pytest.raises(SystemExit):
            main(["export", "dell-r930", "--format", "v2p", "--v2p-range", bad])
        assert "is no range of addresses" in capsys.readouterr().err
    assert main(["export", "dell-r930", "--format", "v2p"]) == 2
    assert "choose a range, or pages of 2m" in capsys.readouterr().err
    assert main(["export", "dell-r930", "--format", "numba"]) == 0
    assert "from numba import njit" in capsys.readouterr().out
