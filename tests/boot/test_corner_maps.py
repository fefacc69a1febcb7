"""Machines at the corners: each corner is reached, and boot agrees there with loops over everything."""

import random
from collections import Counter

import corner_maps
import pytest
import slow_boot
from torture_cases import COMPARISONS

import xenmm

DRAWS = 2000


def test_every_corner_is_reached():
    rng, found = random.Random(1), Counter()
    for _ in range(DRAWS):
        machine = corner_maps.draw(rng)
        memory_map = xenmm.MemoryMap.from_ranges(*machine)
        hosts = [xenmm.boot(memory_map, profile) for profile in ("xen-mask", "xen-offset")]
        found.update(corner_maps.reached(machine, *hosts))
    assert set(found) <= corner_maps.names()
    assert {name for name in corner_maps.names() if found[name] < 3} == set()


@pytest.mark.parametrize("page_sizes", ["2m", "1g"])
@pytest.mark.parametrize("profile", list(slow_boot.RULES))
def test_boot_agrees_at_the_corners(profile, page_sizes):
    rng = random.Random(f"{profile} {page_sizes}")
    for _ in range(15):
        case = COMPARISONS["boot"].draw(rng) | {"profile": profile, "page_sizes": page_sizes}
        COMPARISONS["boot"].check(case)
