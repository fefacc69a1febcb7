"""The choice of compression at its corners: limits at -1, 0 and +1, and a reason for every refusal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xenmm
from xenmm._core import PdxTranslation
from xenmm.boot.pdx import RANGES_MAX, choose, fill, setup
from xenmm.firmware.memory_map import MemoryMap

GIB, TIB = 1 << 30, 1 << 40


@pytest.mark.parametrize(("bits", "filled"), [(0, 0), (1, 1), (2, 3), (5, 7), (1 << 63, (1 << 64) - 1)])
def test_fill(bits, filled):
    assert fill(bits) == filled


def spaced(count, step, size):
    """Equal regions from 0 upward, one every ``step`` bytes."""
    return [(i * step, i * step + size) for i in range(count)]


@pytest.mark.parametrize(("count", "order"), [(63, 0), (64, 0), (65, 7), (128, 7), (129, 8)])
def test_table_of_64_tells_64_regions_apart(count, order):
    chosen = setup("offset", 4 * GIB, spaced(count, 1 << 42, 8 * GIB))
    assert chosen.order_needed == order
    assert (chosen.kind == "offset") == (order == 0)
    if order:
        # Neighbours share a slot, and a region of two spans as much as it would save.
        assert "64 slots are too few" in chosen.reason
    else:
        assert len(chosen.regions) == count


def test_regions_that_share_a_slot_are_merged_where_that_gains():
    pairs = [(i << 42) + j for i in range(40) for j in (0, 16 * GIB)]
    chosen = setup("offset", 4 * GIB, [(start, start + 8 * GIB) for start in pairs])
    assert (chosen.kind, len(chosen.regions)) == ("offset", 40)
    assert chosen.pdx_region_size == 32 * GIB >> 12


@pytest.mark.parametrize("count", [RANGES_MAX - 1, RANGES_MAX, RANGES_MAX + 1])
@pytest.mark.parametrize("method", ["mask", "offset"])
def test_input_list_is_bounded(method, count):
    regions = [(1 << 42, (1 << 42) + GIB)] * (count - 1) + [(0, 8 * GIB)]
    chosen = setup(method, 4 * GIB, regions)
    assert (chosen.kind == method) == (count <= RANGES_MAX)
    if chosen.kind == "none":
        assert "more than 1024" in chosen.reason


def test_offset_without_gain_is_refused_with_the_reason():
    chosen = setup("offset", 4 * GIB, [(0, 18 * GIB), (32 * GIB, 48 * GIB)])
    assert chosen.no_gain
    assert chosen.reason.startswith("no gain: 2 regions")


def test_bits_that_move_are_counted_after_ranges_are_joined():
    # Two sockets of a Dell R740, in frames: aligned down to 1 GiB, every range overlaps the one before.
    # Xen's own test-pdx.c has this machine since the merge of a last range was miscounted.
    edges = [
        (0, 0x80000),
        (0x100000, 0x3070000),
        (0x3070000, 0x3870000),
        (0x3870000, 0x6870000),
        (0x6870000, 0x7070000),
    ]
    chosen = setup("offset", 0, [(start << 12, end << 12) for start, end in edges])
    assert chosen.kind == "none"
    assert chosen.no_gain


@pytest.mark.parametrize("gap_frames", [-1, 0, 1])
def test_offset_gains_only_past_the_region_size(gap_frames):
    # Two regions of 16 GiB: size 2^22 frames, and the last base decides.
    base = 16 * GIB + (gap_frames << 30)
    chosen = setup(
        "offset",
        4 * GIB,
        [(0, 16 * GIB), (base, base + 8 * GIB)]
        if gap_frames >= 0
        else [(0, 15 * GIB), (base, base + 8 * GIB)],
    )
    assert chosen.kind == "none" if gap_frames <= 0 else chosen.kind in ("none", "offset")


def test_mask_takes_the_lowest_of_equal_holes():
    # Bits 20..22 and 24..26 of a frame number are unused, 23 and 27 are used.
    chosen = setup("mask", 4 * GIB, [(0, 4 * GIB), (1 << 35, (1 << 35) + GIB), (1 << 39, (1 << 39) + GIB)])
    assert (chosen.bottom_shift, chosen.hole_shift) == (20, 3)


def test_mask_never_squeezes_below_the_largest_order():
    chosen = setup("mask", 0, [(0, 4096), (1 << 40, (1 << 40) + 4096)])
    assert (chosen.bottom_shift, chosen.hole_shift) == (18, 10)


def test_amd_relocation_to_1_tib_is_for_offset_alone():
    ram = [(1 << 20, 2 * GIB), (TIB, TIB + 64 * GIB)]
    srat = [(0, 2 * GIB), (TIB, TIB + 64 * GIB)]
    assert choose("mask", TIB, srat, ram, checks_regions=True).kind == "none"
    assert choose("offset", TIB, srat, ram, checks_regions=True).kind == "offset"


@pytest.mark.parametrize(
    ("regions", "method", "reason"),
    [
        (None, "mask", "the machine has no SRAT"),
        (None, "offset", "the machine has no SRAT"),
        ([], "mask", "the SRAT has no memory entry that counts"),
        ([], "offset", "the SRAT has no memory entry that counts"),
        ([(0, 8 * GIB)] * 1025, "offset", "1025 ranges are more than 1024"),
        (None, "none", "built without compression"),
        ([(0, 8 * GIB)], "mask", "every bit below the top one is used by some range"),
        (
            [(0, 18 * GIB), (32 * GIB, 48 * GIB)],
            "offset",
            "no gain: 2 regions of 0x800000 frames reach as far as the last one's base, frame 0x800000",
        ),
        (
            [(0, 8 * GIB), (TIB, 3 * TIB)],
            "offset",
            "no gain: 1 region of 0x40000000 frames reach as far as the last one's base, frame 0x0",
        ),
        (
            spaced(65, 1 << 42, 8 * GIB),
            "offset",
            "no gain: 33 regions of 0x80000000 frames reach as far as the last one's base, frame 0x1000000000"
            "; the table's 64 slots are too few to tell the ranges apart",
        ),
    ],
)
def test_every_refusal_has_a_reason(regions, method, reason):
    chosen = choose(method, 4 * GIB, regions, [(1 << 20, 8 * GIB)], checks_regions=True)
    assert (chosen.kind, chosen.method, chosen.base) == ("none", method, 4 * GIB)
    assert chosen.reason == reason


def test_a_bit_that_moves_in_ram_and_in_no_entry_is_a_reason_until_4_17():
    ram = [(1 << 20, 8 * GIB), (TIB, 3 * TIB)]
    chosen = choose("mask", 4 * GIB, [(0, 8 * GIB), (TIB, TIB + GIB)], ram, checks_regions=False)
    assert chosen.reason == "RAM [0x10000000000, 0x30000000000) has bits that move where the SRAT has none"
    assert (chosen.kind, chosen.method, chosen.base) == ("none", "mask", 4 * GIB)


def test_a_choice_says_what_it_squeezes():
    srat = [(0, 8 * GIB), (TIB, TIB + 8 * GIB)]
    assert setup("mask", 4 * GIB, srat).reason == "frame-number bits 21...27 are zero in every range"
    assert (
        setup("offset", 4 * GIB, srat).reason
        == "2 regions of 0x200000 frames, told apart by frame-number bits from 28 up"
    )
    assert (
        setup("offset", 4 * GIB, srat[1:]).reason
        == "1 region of 0x200000 frames, told apart by frame-number bits from 21 up"
    )


@pytest.mark.parametrize("method", ["mask", "offset"])
def test_uncovered_ram_falls_back_in_the_modern_tree(method):
    srat = [(0, 8 * GIB), (TIB, TIB + 8 * GIB)]
    ram = [(1 << 20, 8 * GIB), (256 * GIB, 257 * GIB), (TIB, TIB + 8 * GIB)]
    chosen = choose(method, 4 * GIB, srat, ram, checks_regions=True)
    assert (chosen.kind, chosen.first.kind) == ("none", method)
    why = "RAM [0x4000000000, 0x4040000000) is not covered by the compression that the SRAT allows"
    assert (chosen.reason, chosen.base) == (why, 4 * GIB)


def test_uncovered_ram_aliases_in_4_17():
    srat = [(0, 8 * GIB), (TIB, TIB + 8 * GIB)]
    ram = [(1 << 20, 8 * GIB), (256 * GIB, 257 * GIB), (TIB, TIB + 8 * GIB)]
    for profile in ("xen-4.17", "sparse-m2p"):
        host = xenmm.boot(MemoryMap.from_ranges(ram, srat), profile)
        assert host.compression.kind == "mask"
        assert [(h.code, h.ranges) for h in host.hazards if h.severity == "crash"] == [
            ("alias", ((256 * GIB, 257 * GIB),))
        ]


def test_no_trigger_below_or_across_4_gib():
    for ram in ([(1 << 20, 4 * GIB)], [(1 << 20, 6 * GIB)]):
        host = xenmm.boot(MemoryMap.from_ranges(ram, [*ram, (TIB, TIB + GIB)]))
        assert host.compression.base is None
        assert host.compression.reason == "no RAM range starts at or above 4 GiB"


def test_versions_before_compression_say_that_they_have_none():
    # There is RAM at 4 GiB, at which a later version looks.
    machine = MemoryMap.from_ranges([(1 << 20, 2 * GIB), (4 * GIB, 8 * GIB)], [(0, 8 * GIB)])
    for profile in ("pre", "ext5t"):
        chosen = xenmm.boot(machine, profile).compression
        assert (chosen.kind, chosen.reason) == ("none", "this version compresses nothing")
    assert xenmm.boot(machine, "xen-none").compression.reason == "built without compression"


def test_entries_that_are_off_or_non_volatile_do_not_count():
    ram = [(1 << 20, 2 * GIB), (4 * GIB, 8 * GIB), (TIB, TIB + 8 * GIB)]
    srat = [(0, 8 * GIB, 1), (TIB, TIB + 8 * GIB, 1)]
    spoiler = (1 << 46) - GIB, 1 << 46
    for flags, kind in (
        (0, "mask"),
        (2, "mask"),
        (4, "mask"),
        (5, "mask"),
        (7, "mask"),
        (1, "none"),
        (3, "none"),
    ):
        host = xenmm.boot(MemoryMap.from_ranges(ram, [*srat, (*spoiler, flags)]), "xen-mask")
        assert host.compression.kind == kind, flags


regions = st.lists(
    st.builds(lambda a, n: (a << 28, (a << 28) + n), st.integers(0, 1 << 16), st.integers(1, 1 << 36)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(regions, st.sampled_from(["mask", "offset"]))
def test_what_is_squeezed_round_trips_on_every_region(ranges, method):
    chosen = setup(method, 4 * GIB, ranges)
    translation = PdxTranslation(chosen.parameters())
    frames = sorted({f for start, end in ranges for f in (start >> 12, (end - 1) >> 12, (start + end) >> 13)})
    covered = [f for f in frames if chosen.is_region_compressible(f << 12, (f + 1) << 12)]
    pdxs = [translation.mfn_to_pdx(f) for f in covered]
    assert [translation.pdx_to_mfn(p) for p in pdxs] == covered
    # No two frames share a pdx, and their order is kept.
    assert pdxs == sorted(set(pdxs))
    if method == "mask":
        assert covered == frames
