"""What real kernels made of odd maps, as QEMU walked their page tables, against what is computed here.

``tests/support/boot_linux.py`` booted them and wrote the record; nothing in it comes from xenmm.
"""

import json
import os
import re
from pathlib import Path

import pytest

import xenmm
from xenmm.firmware import read_map
from xenmm.peers.linux import LINUX_VERSION, memory_model

RECORD = json.loads((Path(__file__).parents[1] / "data" / "linux-boots.json").read_text())
BOOTS = RECORD["boots"]


@pytest.fixture
def corpus_logs():
    folder = os.environ.get("XENMM_CORPUS")
    if not folder:
        pytest.skip("XENMM_CORPUS names no folder of logs")
    return sorted((Path(folder) / "maps").glob("linux-*"))


def model_of(boot):
    ram = [(start, end) for start, end, _ in boot["memory"]]
    memory_map = xenmm.MemoryMap.from_ranges(ram)
    page_ext = boot["mem_section_bytes"] == 32
    return memory_model(memory_map, levels=boot["levels"], page_ext=page_ext, added=boot["added"])


def test_the_record_is_of_the_kernel_that_the_rules_cite():
    assert all(f"Debian {LINUX_VERSION}-" in boot["version"] for boot in BOOTS.values())
    assert len(BOOTS) >= 10


@pytest.mark.parametrize("name", BOOTS)
def test_vmemmap_is_backed_where_the_kernel_backed_it(name):
    boot = BOOTS[name]
    linux, base = model_of(boot), boot["vmemmap_base"]
    large = [[base + (s << 21), base + (e << 21)] for s, e in linux.vmemmap.large]
    small = [[base + 64 * s, base + 64 * e] for s, e in linux.vmemmap.small]
    assert (boot["vmemmap_2m"], boot["vmemmap_4k"]) == (large, small)


@pytest.mark.parametrize("name", BOOTS)
def test_page_tables_are_as_many_as_the_kernel_has(name):
    tables = {str(level): n for level, n in model_of(BOOTS[name]).vmemmap.tables.items() if n}
    assert BOOTS[name]["page_tables"] == tables


@pytest.mark.parametrize("name", BOOTS)
def test_sections_and_their_words_are_the_kernel_s(name):
    boot = BOOTS[name]
    linux = model_of(boot)
    computed = [n for start, end in linux.sections for n in range(start, end)]
    assert [n for n, _ in boot["sections"]] == computed
    for section, word in boot["sections"]:
        # Bit 2 is whether memory is on line: what was plugged in waits for somebody to say so.
        online = 1 << 2
        expected = linux.section_mem_map(section)
        if not expected & 1 << 3:
            expected &= ~online
        assert int(word, 16) & ~(online if expected & online == 0 else 0) == expected
    per_root = 4096 // boot["mem_section_bytes"]
    assert boot["roots"] == sorted({n // per_root for n in computed})


def test_real_logs_state_the_memory_that_is_computed(corpus_logs):
    """ "Memory: ...K/...K available": the second is the frames of memblock, to the page."""
    checked = []
    for path in corpus_logs:
        text = path.read_text(errors="replace")
        stated = re.search(r"Memory: \d+[kK]/(\d+)[kK] available", text)
        # An option took memory away from the map that the log shows.
        removed = re.search(r"e820: remove \[mem 0x[0-9a-f]+-0x[0-9a-f]+\] *$", text, re.MULTILINE)
        if not stated or removed:
            continue
        try:
            memory_map = read_map(path, map="user")
        except xenmm.MemoryMapError:
            memory_map = read_map(path)
        if memory_map.arch == "x86" and memory_map.ram:
            frames = memory_model(memory_map).frames
            assert sum(end - start for start, end in frames) * 4 == int(stated[1]), path.name
            checked.append(path.name)
    assert len(checked) >= 20
