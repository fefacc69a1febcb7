"""Linux's memory models: conversions, limits, and the counts beside a slow model of them."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_linux import SlowVmemmap, flat_bytes, memory_frames, section_bytes

import xenmm
from xenmm import ConfigError, FrameError, MemoryMapError
from xenmm.peers.linux import MODELS, memory_model

MIB, GIB = 1 << 20, 1 << 30
SECTION = 128 * MIB
FRAMES = SECTION >> 12
NODES = [(0, 2 * GIB), (64 * GIB, 64 * GIB + 3 * SECTION), (1 << 40, (1 << 40) + GIB)]


def of(ram, model="vmemmap", **options):
    return memory_model(xenmm.MemoryMap.from_ranges(ram), model, **options)


# Ranges of odd frames with holes of every size, within a few GiB so that sets of frames stay small.
@st.composite
def maps(draw):
    at, out = draw(st.integers(0, 3)), []
    for _ in range(draw(st.integers(1, 5))):
        size = draw(st.sampled_from([1, 2, 511, 513, FRAMES - 1, FRAMES, FRAMES + 1, 40000]))
        out.append((at * 4096, (at + size) * 4096))
        at += size + draw(st.sampled_from([1, 7, 512, FRAMES - 1, FRAMES, FRAMES + 1, 100000, 16777216]))
    return out


class TestCounts:
    @settings(max_examples=60, deadline=None)
    @given(maps(), st.sampled_from([4, 5]), st.booleans())
    def test_vmemmap_costs_what_the_slow_model_counts(self, ram, levels, page_ext):
        frames = memory_frames(ram, levels)
        if not frames:
            with pytest.raises(MemoryMapError, match="no whole page that Linux can use"):
                of(ram, levels=levels)
            return
        linux, slow = of(ram, levels=levels, page_ext=page_ext), SlowVmemmap(frames, levels)
        assert linux.costs.struct_pages == slow.bytes
        assert linux.costs.page_tables == slow.table_pages * 4096
        record = 32 if page_ext else 16
        assert linux.costs.section_tables == section_bytes(slow.sections, levels, record, 56)
        present = {n for start, end in linux.sections for n in range(start, end)}
        assert present == slow.sections

    @settings(max_examples=30, deadline=None)
    @given(maps())
    def test_the_other_models_cost_what_the_slow_model_counts(self, ram):
        frames = memory_frames(ram)
        if not frames:
            return
        classic = of(ram, "sparsemem")
        sections = SlowVmemmap(frames).sections
        assert classic.costs.struct_pages == len(sections) * (2 << 20)
        assert classic.costs.section_tables == section_bytes(sections, 4, 16, 48)
        assert classic.costs.page_tables == 0
        flat = of(ram, "flatmem")
        assert (flat.costs.struct_pages, flat.costs.page_tables) == (flat_bytes(frames), 0)

    @settings(max_examples=60, deadline=None)
    @given(maps(), st.data())
    def test_hot_adding_costs_what_the_slow_model_counts(self, ram, data):
        frames = memory_frames(ram)
        if not frames:
            return
        taken = {pfn // 512 for pfn in frames}
        added = []
        for _ in range(data.draw(st.integers(1, 4))):
            first = data.draw(st.integers(0, 400))
            count = data.draw(st.sampled_from([1, 3, 63, 64, 65, 130]))
            wanted = set(range(first, first + count))
            if not wanted & taken:
                taken |= wanted
                added.append((first * 2 * MIB, (first + count) * 2 * MIB))
        linux, slow = of(ram, added=added), SlowVmemmap(frames, added=added)
        assert linux.costs.struct_pages == slow.bytes
        assert linux.costs.page_tables == slow.table_pages * 4096
        edges = [e // 4096 for pair in added for e in pair]
        for pfn in [p + d for p in edges for d in (-1, 0, 1) if p + d >= 0]:
            assert linux.pfn_valid(pfn) == slow.pfn_valid(pfn)

    def test_one_frame_of_ram_costs_a_section(self):
        linux = of([(GIB, GIB + 4096)])
        assert linux.sections == ((8, 9),)
        assert (linux.costs.struct_pages, linux.costs.page_tables) == (2 * MIB, 2 * 4096)
        # The array of roots for 2^46 bytes, one root, one usage record.
        assert linux.costs.section_tables == 16384 + 4096 + 56

    @pytest.mark.parametrize("end, count", [(-4096, 1), (0, 1), (4096, 2)])
    def test_a_section_is_present_from_its_first_frame_on(self, end, count):
        assert sum(b - a for a, b in of([(MIB, SECTION + end)]).sections) == count

    def test_less_than_a_page_is_no_memory(self):
        linux = of([(MIB, 2 * MIB), (GIB + 1, GIB + 8191)])
        assert linux.sections == ((0, 1),)

    def test_page_tables_are_one_more_past_64_gib(self):
        # 64 GiB of frames have 1 GiB of struct pages: one table of the lowest level.
        assert of([(MIB, 64 * GIB)]).vmemmap.tables == {1: 0, 2: 1, 3: 1}
        assert of([(MIB, 64 * GIB + 4096)]).vmemmap.tables == {1: 0, 2: 2, 3: 1}

    def test_the_flags_of_pageblocks_are_counted_by_zone(self):
        # Zones end at 16 MiB and 4 GiB: 8, 2,040 and 1 blocks of 2 MiB, four bits each, in whole words.
        assert of([(MIB, 4 * GIB + 2 * MIB)], "flatmem").costs.section_tables == 8 + 1024 + 8


class TestReach:
    @pytest.mark.parametrize("levels, bits", [(4, 46), (5, 52)])
    def test_ram_past_the_last_physical_address_is_lost(self, levels, bits):
        top = 1 << bits
        whole = of([(0, GIB), (top - GIB, top)], levels=levels)
        past = of([(0, GIB), (top - GIB, top + 8192)], levels=levels)
        assert (whole.lost_bytes, past.lost_bytes) == (0, 8192)
        assert whole.sections == past.sections
        last = (top >> 12) - 1
        assert [past.pfn_valid(pfn) for pfn in (last - 1, last, last + 1)] == [True, True, False]
        assert past.page_to_pfn(past.pfn_to_page(last)) == last

    def test_all_of_it_lost_is_an_error(self):
        with pytest.raises(MemoryMapError, match="no whole page that Linux can use"):
            of([(1 << 50, (1 << 50) + GIB)])

    def test_a_map_of_a_few_islands_takes_no_time_of_its_span(self):
        linux = of([(0, GIB), ((1 << 52) - GIB, 1 << 52)], levels=5)
        assert linux.costs.struct_pages == 2 * 8 * 2 * MIB


class TestConversions:
    @pytest.mark.parametrize("model", MODELS)
    def test_round_trip_at_every_edge(self, model):
        linux = of(NODES, model)
        edges = [e // 4096 for pair in NODES for e in pair] + [64 * FRAMES, 512 * FRAMES + FRAMES]
        pfns = [p + d for p in edges for d in (-1, 0, 1) if p + d >= 0]
        for pfn in pfns:
            if linux.pfn_valid(pfn):
                assert linux.page_to_pfn(linux.pfn_to_page(pfn)) == pfn
            else:
                with pytest.raises(FrameError, match=f"^pfn {pfn:#x}: pfn {pfn:#x} "):
                    linux.pfn_to_page(pfn)

    @pytest.mark.parametrize("model", MODELS)
    def test_arrays_answer_as_scalars_do(self, model):
        linux = of(NODES, model, levels=4)
        random.seed(5)
        pfns = [random.randrange(s // 4096, e // 4096) for s, e in NODES for _ in range(200)]
        array = np.array(pfns, np.uint64).reshape(3, 200)
        pages = linux.pfn_to_page(array)
        assert pages.dtype == np.uint64 and pages.shape == array.shape
        assert pages.ravel().tolist() == [linux.pfn_to_page(p) for p in pfns]
        assert linux.page_to_pfn(pages).ravel().tolist() == pfns
        asked = np.array([*pfns, 0, 1 << 20, (1 << 24) + 3 * FRAMES, (1 << 64) - 1], np.uint64)
        assert linux.pfn_valid(asked).tolist() == [linux.pfn_valid(int(p)) for p in asked]

    def test_an_array_names_the_first_frame_that_fails(self):
        linux = of(NODES)
        with pytest.raises(FrameError, match=r"pfn 0x90000 at index 1: .* section 0x12"):
            linux.pfn_to_page(np.array([1, 0x90000, 0xA0000], np.uint64))
        page = linux.pfn_to_page(7)
        with pytest.raises(FrameError, match="at index 1 is no beginning of a struct page"):
            linux.page_to_pfn(np.array([page, page + 1], np.uint64))

    def test_a_hole_inside_a_section_is_valid_to_linux(self):
        linux = of([(MIB, 64 * MIB), (65 * MIB, 66 * MIB)])
        assert linux.pfn_valid(64 * MIB >> 12) and linux.pfn_valid(FRAMES - 1)
        assert linux.pfn_valid(0)
        assert not linux.pfn_valid(FRAMES)

    @pytest.mark.parametrize("model", MODELS)
    def test_pages_of_different_frames_do_not_meet(self, model):
        linux = of(NODES, model)
        pfns = np.concatenate([np.arange(s // 4096, e // 4096, 509, dtype=np.uint64) for s, e in NODES])
        pages = linux.pfn_to_page(pfns)
        assert len(np.unique(pages)) == len(pfns) and not np.any(pages % np.uint64(64))

    def test_bare_vmemmap_is_the_formula_modulo_2_64(self):
        linux = of(NODES)
        assert linux.pfn_to_page_unchecked(0) == 0xFFFFEA0000000000
        assert linux.pfn_to_page_unchecked((1 << 64) - 1) == 0xFFFFEA0000000000 - 64
        assert linux.page_to_pfn_unchecked(0xFFFFEA0000000000 - 64) == (1 << 64) - 1
        below = np.array([0xFFFFEA0000000000 - 64], np.uint64)
        assert linux.page_to_pfn_unchecked(below).tolist() == [(1 << 64) - 1]

    def test_bare_sparsemem_reads_a_zero_in_a_present_root_and_faults_without_one(self):
        linux = of(NODES, "sparsemem")
        assert linux.section_mem_map(17) == 0
        assert linux.pfn_to_page_unchecked(17 * FRAMES + 5) == (17 * FRAMES + 5) * 64
        # A root holds 256 sections, 32 GiB; with page_ext 128.
        with pytest.raises(FrameError, match="no root of sections is there"):
            linux.pfn_to_page_unchecked(256 * FRAMES)
        with pytest.raises(FrameError, match="no root of sections is there"):
            linux.pfn_to_page_unchecked(np.array([1, 256 * FRAMES], np.uint64))
        with pytest.raises(FrameError, match="no root"):
            of(NODES, "sparsemem", page_ext=True).pfn_to_page_unchecked(128 * FRAMES)
        with pytest.raises(FrameError, match="no struct page to read"):
            linux.page_to_pfn_unchecked(0xFFFF888000000000)

    @pytest.mark.parametrize("model", ["sparsemem", "vmemmap"])
    def test_the_word_of_a_section_gives_the_page(self, model):
        linux = of(NODES, model)
        for section in (0, 15, 512, 514, 8192):
            word = linux.section_mem_map(section)
            first = section * FRAMES
            assert word & 0xF == 0xF
            assert (word & ~0x1F) + 64 * first == linux.pfn_to_page(first)
        with pytest.raises(ConfigError, match="no sections"):
            of(NODES, "flatmem").section_mem_map(0)

    @pytest.mark.parametrize(
        "value, error", [(-1, OverflowError), (1 << 64, OverflowError), (1.5, TypeError)]
    )
    def test_what_is_no_word_is_refused(self, value, error):
        for linux in (of(NODES, model) for model in MODELS):
            with pytest.raises(error, match="pfn"):
                linux.pfn_to_page(value)
            with pytest.raises(error):
                linux.pfn_valid(value)

    def test_a_signed_array_is_refused(self):
        with pytest.raises(TypeError, match=r"int64, not uint64"):
            of(NODES).pfn_to_page(np.array([1]))


class TestOptions:
    @pytest.mark.parametrize(
        "options, message",
        [
            ({"model": "discontigmem"}, "unknown memory model 'discontigmem'; one of flatmem"),
            ({"levels": 3}, "4 or 5, got 3"),
            ({"model": "sparsemem", "levels": 5}, "5 come with vmemmap alone"),
            ({"page_ext": 2}, "page_ext is True or False"),
            ({"model": "flatmem", "added": [(GIB, 2 * GIB)]}, "cannot hot-add"),
            ({"added": [(32 * GIB, 32 * GIB + MIB)]}, "multiples of 2 MiB"),
            ({"model": "sparsemem", "added": [(32 * GIB, 32 * GIB + 2 * MIB)]}, "multiples of 128 MiB"),
            ({"added": [(GIB, 3 * GIB)]}, "overlaps memory that is there"),
            ({"added": [((1 << 46), (1 << 46) + GIB)]}, "ends past 0x400000000000"),
        ],
    )
    def test_bad_options_are_refused(self, options, message):
        with pytest.raises(ConfigError, match=message):
            of(NODES, **options)

    def test_facts_are_plain(self):
        facts = of(NODES, added=[(32 * GIB, 32 * GIB + 4 * MIB)]).to_dict()
        assert facts["schema"] == "xenmm-linux/1"
        assert facts["vmemmap"]["frames_4k"] == [[8 << 20, (8 << 20) + 1024]]
        assert (
            sum(facts["bytes"][k] for k in ("struct_pages", "section_tables", "page_tables"))
            == (facts["bytes"]["total"])
        )
