"""Boot on made-up maps that reach for the corners, against a slow model that loops over everything."""

from __future__ import annotations

from itertools import pairwise

import pytest
import slow_boot
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import xenmm
from xenmm.boot.profiles import PROFILES
from xenmm.firmware.memory_map import MemoryMap, merge

GIB, MIB = 1 << 30, 1 << 20

# Edges that the rules care about, and distances from them.
EDGES = [0, 0xA0000, MIB, 2 * MIB, 16 * MIB, GIB, 3 * GIB, 4 * GIB, 5 * GIB, 8 * GIB, 64 * GIB, 512 * GIB]
EDGES += [1 << 40, 5 << 40, 1 << 44, 1 << 46, 1 << 47, 3 << 41, 0x63E80000000, 0xC7E80000000]
NUDGES = [0, 1, -1, 512, 4096, -4096, 8192, 2 * MIB, -2 * MIB, 63 * MIB, 256 * MIB, -256 * MIB, GIB, 3 * GIB]
SIZES = [1, 4095, 4096, 8192, 2 * MIB, 2 * MIB - 4096, 255 * MIB, 256 * MIB, 257 * MIB + 12288, GIB]
SIZES += [GIB + 4096, 2 * GIB - 65536, 5 * GIB]

starts = st.builds(lambda e, n: max(0, e + n), st.sampled_from(EDGES), st.sampled_from(NUDGES))
ranges = st.builds(lambda a, n: (a, a + n), starts, st.sampled_from(SIZES))
flags = st.sampled_from([1, 1, 1, 1, 0, 3, 5, 7])


@st.composite
def maps(draw):
    """RAM with a whole page, and an SRAT: of the RAM, rounded and with additions, or none."""
    low = draw(st.sampled_from([(), ((0, 0x9FC00), (MIB, 2 * GIB)), ((0, 3 * GIB + 4096),)]))
    ram = merge([*low, *draw(st.lists(ranges, min_size=1, max_size=5))])
    if not any(-(-start // 4096) < end // 4096 for start, end in ram):
        ram = merge([*ram, (2 * MIB, 3 * MIB)])
    how = draw(st.sampled_from(["none", "exact", "rounded", "other"]))
    if how == "none":
        return ram, None
    granule = GIB if how == "rounded" else 1
    srat = [(a // granule * granule, -(-b // granule) * granule, 1) for a, b in ram]
    srat += [(a, b, draw(flags)) for a, b in draw(st.lists(ranges, max_size=2))]
    if how == "other":
        srat = srat[1:]
    return ram, draw(st.permutations(srat))


def both(ram, srat, profile, page_sizes):
    """Figures of the host and of the slow model."""
    host = xenmm.boot(MemoryMap.from_ranges(ram, srat), profile, page_sizes=page_sizes, compat_m2p=True)
    regions = None if srat is None else [r[:2] for r in srat if r[2] & 1 and not r[2] & 4]
    hot = max((r[1] for r in srat or () if r[2] & 3 == 3), default=0)
    slow = slow_boot.boot(merge(ram), regions, profile, page_sizes == "1g", hot)
    return host, slow_boot.figures(host), slow


@pytest.mark.parametrize("page_sizes", ["2m", "1g"])
@pytest.mark.parametrize("profile", list(slow_boot.RULES))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(maps())
@example(([(MIB, 4 * GIB), (4 * GIB, 4 * GIB + 4096)], None))
@example(
    (
        [(0, 0x9FC00), (MIB, 5 * GIB), (1 << 41, (1 << 41) + 4096)],
        [(0, 5 * GIB, 1), (1 << 41, (1 << 41) + GIB, 1)],
    )
)
def test_boot_agrees_with_loops_over_everything(profile, page_sizes, machine):
    host, got, wanted = both(*machine, profile, page_sizes)
    differing = {name for name in wanted if got[name] != wanted[name]}
    assert {n: got[n] for n in differing} == {n: wanted[n] for n in differing}
    assert host.ram_bytes == host.used_ram_bytes + sum(r.size for r in host.lost)
    assert_disjoint(host)


def assert_disjoint(host):
    """What is used and what is lost are the machine's RAM, each byte once."""
    parts = sorted([*host.plan.used, *((r.start, r.end) for r in host.lost)])
    assert all(a[1] <= b[0] for a, b in pairwise(parts))
    assert merge(parts) == host.memory_map.ram


anything = st.builds(
    lambda a, n: (a, min(a + n, 1 << 64)),
    st.one_of(starts, st.integers(0, (1 << 64) - 1), st.sampled_from([1 << n for n in range(32, 64)])),
    st.one_of(st.sampled_from(SIZES), st.integers(1, 1 << 50)),
)


@pytest.mark.parametrize("profile", list(PROFILES))
@settings(max_examples=25, deadline=None)
@given(
    st.lists(anything, min_size=1, max_size=8),
    st.none() | st.lists(st.builds(lambda r, f: (*r, f), anything, flags), max_size=6),
)
@example([(0, 4096)], None)
@example([((1 << 64) - 4096, 1 << 64)], [((1 << 64) - 4096, 1 << 64, 1)])
@example([(20 << 40, 21 << 40)], [(20 << 40, 21 << 40, 1)])
@example([(i << 48, (i << 48) + 4096) for i in range(1, 9)], [(0, 1 << 64, 3)])
def test_any_map_with_a_page_boots(profile, ram, srat):
    ram = merge(ram)
    machine = MemoryMap.from_ranges(ram, srat)
    if not any(-(-start // 4096) < end // 4096 for start, end in ram):
        with pytest.raises(xenmm.MemoryMapError, match="no whole page"):
            xenmm.boot(machine, profile)
        return
    host = xenmm.boot(machine, profile, stack_guards=True)
    assert_disjoint(host)
    assert host.to_dict()["schema"] == "xenmm-host/1"
    assert host.max_pdx <= host.max_page or host.compression.kind != "none"
    for start, end in host.plan.used:
        assert_usable(host, start >> 12)
        assert_usable(host, (end >> 12) - 1)


def assert_usable(host, mfn):
    """A used frame is valid, and comes back from its pdx, unless frames alias, which a hazard tells."""
    if any(h.severity == "crash" for h in host.hazards):
        return
    assert host.mfn_valid(mfn)
    assert host.pdx_to_mfn(host.mfn_to_pdx(mfn)) == mfn
