"""What a host's C struct takes of each boot parameter: its domain at -1, 0 and +1, and its place."""

import pytest
from hosts import IDENTITY, LAYOUT, U64_MAX, make_host, make_params

from xenmm._core import PdxTranslation
from xenmm._embed import struct_values
from xenmm.errors import ConfigError

SHIFTS = ["pfn_pdx_hole_shift", "pfn_index_shift", "pdx_index_shift"]
TABLES = ["pfn_pdx_lookup", "pdx_pfn_lookup", "pfn_bases"]
WORDS = [name for name in {**IDENTITY, **LAYOUT, "max_page": 0, "max_pdx": 0}
         if name not in {*SHIFTS, *TABLES, "pdx_compression"}]  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_a_word_is_any_integer_of_64_bits_and_nothing_else(name):
    for value in (0, 1, U64_MAX):
        PdxTranslation({name: value})
    for value in (-1, U64_MAX + 1, True, 1.0, "1"):
        with pytest.raises(ConfigError, match=f"parameter {name} must be an integer in .*, got {value!r}"):
            PdxTranslation({name: value})


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_one_that_a_word_can_be_shifted_by(name):
    for value in (0, 63):
        PdxTranslation({name: value})
    for value in (-1, 64, False, 1.0, None):
        with pytest.raises(ConfigError, match=f"parameter {name} must be a shift in .*, got {value!r}"):
            PdxTranslation({name: value})


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_at_most_one_entry_a_slot(name):
    PdxTranslation({name: [0] * 64})
    with pytest.raises(ConfigError, match=f"boot parameter {name} has 65 entries; at most 64 fit"):
        PdxTranslation({name: [0] * 65})


def test_a_compression_that_is_none_of_the_three_is_refused():
    with pytest.raises(ConfigError, match="pdx_compression must be none, mask or offset, got 'fold'"):
        PdxTranslation({"pdx_compression": "fold"})


def test_entries_of_tables_are_taken_modulo_2_64():
    given = {"pdx_compression": "offset", "pdx_region_size": 64, "pfn_bases": [1 << 64]}
    moved = PdxTranslation({**given, "pfn_pdx_lookup": [-5], "pdx_pfn_lookup": [(1 << 64) + 7]})
    assert (moved.mfn_to_pdx(0), moved.pdx_to_mfn(0)) == (5, 7)
    assert moved.mfn_compressible(0) and not moved.mfn_compressible(64)


@pytest.mark.parametrize("mode", ["none", "mask", "offset"])
def test_what_is_left_out_is_the_identitys(mode):
    plain = PdxTranslation({"pdx_compression": mode})
    for x in (0, 1, 1 << 40, U64_MAX):
        assert plain.mfn_to_pdx(x) == plain.pdx_to_mfn(x) == x
        assert plain.mfn_compressible(x) is (mode != "offset" or x == U64_MAX)


def test_the_identity_does_not_look_at_masks():
    host = make_host(make_params([(0, 1)], 1 << 16, 1 << 16, pfn_top_mask=U64_MAX, pfn_hole_mask=U64_MAX,
                                 ma_top_mask=U64_MAX, pfn_pdx_hole_shift=3))  # fmt: skip
    assert host.mfn_to_pdx(5) == 5
    assert struct_values(host.capsule)["pfn_top_mask"] == 0
