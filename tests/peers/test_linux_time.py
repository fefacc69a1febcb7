"""Linux's conversions in time: their steps beside a compiler's, their accesses, and runs in the engine."""

import re
import subprocess

import numpy as np
import pytest
from embeddings import CC

import xenmm
from xenmm import ConfigError, FrameError
from xenmm.peers.linux import MODELS, memory_model
from xenmm.peers.linux_time import PRIMITIVES, beside_xen, cost, program, run_primitive
from xenmm.timing.cost import cost as xen_cost

GIB = 1 << 30
NODES = xenmm.MemoryMap.from_ranges([(1 << 20, 2 * GIB), (64 * GIB, 66 * GIB)], name="two nodes")

# The same look-ups, written for a compiler from the rules of Linux.
LOOKUPS = """
struct page { unsigned long flags; char rest[56]; };
struct section { unsigned long coded, usage; };
extern struct section **mem_section;
static inline struct section *find(unsigned long nr)
{
    if (__builtin_expect(nr / 256 >= 2048, 0) || !mem_section || !mem_section[nr / 256])
        return 0;
    return &mem_section[nr / 256][nr % 256];
}
struct page *pfn_to_page(unsigned long pfn)
{
    return (struct page *)(find(pfn >> 15)->coded & ~31ul) + pfn;
}
unsigned long page_to_pfn(const struct page *page)
{
    return (unsigned long)(page - (struct page *)(find(page->flags >> 45)->coded & ~31ul));
}
"""


class TestPrograms:
    @pytest.mark.skipif(CC is None, reason="no C compiler")
    @pytest.mark.parametrize("primitive", ["pfn_to_page", "page_to_pfn"])
    def test_sparsemem_has_the_operations_that_a_compiler_emits(self, primitive, tmp_path):
        source = tmp_path / "lookups.c"
        source.write_text(LOOKUPS)
        # The kernel is compiled so that a null pointer is no licence to leave a test out.
        command = [CC, "-O2", "-fno-delete-null-pointer-checks", "-S", "-o", "-", source]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "rdi" not in text:
            pytest.skip("the steps are those of x86-64")
        body = re.search(rf"^{primitive}:\n(.*?)\tret", text, re.MULTILINE | re.DOTALL)[1]
        # Copies of registers follow by themselves, and a jump is one operation with its test.
        emitted = [
            line
            for line in re.findall(r"^\t(\w+\t?.*)$", body, re.MULTILINE)
            if not re.match(r"j\w+|movq\t%\w+, %\w+$|\.", line)
        ]
        steps = program(primitive, "sparsemem").steps
        # The pointer to the roots is read by itself; the steps read it where it is tested.
        assert len(emitted) - 1 == len(steps)

    def test_latencies_on_zen3_are_the_chains_counted_by_hand(self):
        # Shift, read the root, add, read the section, mask, add; a page's flags are read first.
        assert cost("pfn_to_page", "sparsemem").latency == 1 + 5 + 1 + 4 + 1 + 1
        assert cost("page_to_pfn", "sparsemem").latency == 4 + 1 + 5 + 1 + 4 + 1 + 1 + 1
        for model in ("flatmem", "vmemmap"):
            assert cost("pfn_to_page", model).latency == cost("page_to_pfn", model).latency == 2

    @pytest.mark.parametrize("way", ["variables", "constants"])
    def test_vmemmap_costs_what_xen_without_compression_does(self, way):
        for linux, xen in (("pfn_to_page", "mfn_to_page"), ("page_to_pfn", "page_to_mfn")):
            ours, theirs = cost(linux, "vmemmap", way), xen_cost(xen, "none", way)
            assert (ours.latency, ours.throughput) == (theirs.latency, theirs.throughput)

    def test_accesses_are_those_of_the_tables(self):
        def names(primitive, model, way="variables"):
            return [a.name for a in program(primitive, model, way).accesses]

        assert names("pfn_to_page", "vmemmap") == ["vmemmap_base"]
        assert names("pfn_to_page", "vmemmap", "constants") == []
        assert names("pfn_to_page", "sparsemem") == ["mem_section", "mem_section", "section_mem_map"]
        assert names("page_to_pfn", "sparsemem", "constants") == ["flags", "mem_section", "section_mem_map"]
        assert names("pfn_valid", "flatmem") == ["max_mapnr"]

    def test_page_extensions_change_the_shifts_and_not_the_steps(self):
        plain, large = (program("pfn_to_page", "sparsemem", page_ext=e) for e in (False, True))
        assert [s.kind for s in plain.steps] == [s.kind for s in large.steps]
        assert [s.immediate for s in plain.steps] != [s.immediate for s in large.steps]

    @pytest.mark.parametrize("names", [("mfn_to_page", "vmemmap"), ("pfn_valid", "mask")])
    def test_unknown_names_are_refused(self, names):
        with pytest.raises(ConfigError):
            cost(*names)

    def test_a_table_beside_xen_has_every_model_and_every_compression(self):
        rows = beside_xen()
        assert [(r["system"], r["model"]) for r in rows] == [
            *(("linux", m) for m in MODELS),
            *(("xen", m) for m in ("none", "mask", "offset")),
        ]
        assert all(r[p]["throughput"] > 0 for r in rows for p in PRIMITIVES)


class TestRuns:
    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize("primitive", PRIMITIVES)
    def test_the_same_frame_again_and_again_costs_the_latency(self, model, primitive):
        linux = memory_model(NODES, model)
        run = run_primitive(linux, primitive, [0x1000] * 64)
        assert run.dependent == run.cost.latency
        assert run.independent >= run.cost.throughput

    def test_only_sparsemem_reads_the_struct_page_to_name_its_frame(self):
        rng = np.random.default_rng(3)
        pfns = rng.integers(0x1000, 2 * GIB >> 12, 5000, dtype=np.uint64)
        found = {m: run_primitive(memory_model(NODES, m), "page_to_pfn", pfns) for m in MODELS}
        assert found["vmemmap"].dependent == found["flatmem"].dependent == 2
        # 5,000 struct pages are more lines than the first cache has.
        assert found["sparsemem"].dependent > found["sparsemem"].cost.latency + 8

    def test_accesses_meet_the_tables_of_the_section(self):
        # Every frame of one section reads one root and one record: three lines, whatever the frame.
        linux = memory_model(NODES, "sparsemem")
        run = run_primitive(linux, "pfn_to_page", np.arange(0x8000, 0x10000, dtype=np.uint64), warm=False)
        assert run.memory.caches["L1D"].misses == 3

    def test_hot_added_parts_of_a_section_are_mapped_in_small_pages(self):
        added = [(32 * GIB, 32 * GIB + (4 << 20))]
        linux = memory_model(NODES, "vmemmap", added=added)
        pfn = 32 * GIB >> 12
        run = run_primitive(linux, "pfn_valid", [pfn, pfn + 1023])
        assert run.dependent == run.cost.latency

    def test_what_cannot_run_is_refused(self):
        with pytest.raises(ConfigError, match="one frame or more"):
            run_primitive(memory_model(NODES), "pfn_to_page", [])
        with pytest.raises(FrameError, match="at index 1"):
            run_primitive(memory_model(NODES), "pfn_to_page", [1, 1 << 33])
        with pytest.raises(ConfigError, match="4 levels"):
            run_primitive(memory_model(NODES, levels=5), "pfn_to_page", [1])
        tiny = xenmm.MemoryMap.from_ranges([(1 << 20, 8 << 20)])
        with pytest.raises(ConfigError, match="no RAM from 64 MiB up"):
            run_primitive(memory_model(tiny), "pfn_to_page", [256])
