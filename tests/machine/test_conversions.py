"""The conversions that each path executes, in both flavours: rule book part 10, row by row.

The numbers are that table's; a row says how many mfn -> page conversions and mfn_valid tests a path runs.
"""

import pytest
from machines import IO, Counted, small_machine, two_domains

from xenmm.machine import GNTMAP, GNTST

HOST, DEVICE, READONLY = GNTMAP.host_map, GNTMAP.device_map, GNTMAP.readonly

#: path: (flags, mfn_to_page before, after)
MAPS = {
    "host read-only": (HOST | READONLY, 1, 1),
    "host writable": (HOST, 2, 1),
    "host and device writable": (HOST | DEVICE, 4, 1),
}
UNMAPS = {
    "host read-only": (HOST | READONLY, 1, 1),
    "host writable": (HOST, 2, 1),
    "host and device writable": (HOST | DEVICE, 3, 1),
    "host and device read-only": (HOST | DEVICE | READONLY, 2, 1),
    "device writable": (DEVICE, 1, 1),
}


def expected(flavour, before, after):
    return before if flavour == "naive" else after


@pytest.mark.parametrize("path", MAPS)
@pytest.mark.parametrize("flavour", ["naive", "cse"])
def test_map_conversions_as_in_the_table(flavour, path):
    flags, before, after = MAPS[path]
    machine = small_machine(flavour=flavour)
    owner, mapper, _ = two_domains(machine)
    with Counted(machine) as n:
        assert mapper.map_grant(owner, 8, flags=flags).status is GNTST.okay
    assert (n["mfn_valid"], n["mfn_to_page"]) == (1, expected(flavour, before, after))


@pytest.mark.parametrize("path", UNMAPS)
@pytest.mark.parametrize("flavour", ["naive", "cse"])
def test_unmap_conversions_as_in_the_table(flavour, path):
    flags, before, after = UNMAPS[path]
    machine = small_machine(flavour=flavour)
    owner, mapper, mfn = two_domains(machine)
    mapping = mapper.map_grant(owner, 8, flags=flags)
    page = machine.page(mfn)
    with Counted(machine) as n:
        assert mapper.unmap_grant(mapping.handle, dev_bus_addr=mapping.dev_bus_addr) is GNTST.okay
    assert n["mfn_to_page"] == expected(flavour, before, after)
    assert (page.references, page.type_references) == (1, 0)


@pytest.mark.parametrize("flavour, valid, converted", [("naive", 2, 2), ("cse", 1, 1)])
def test_map_of_io_frame_conversions(flavour, valid, converted):
    machine = small_machine(flavour=flavour)
    owner, mapper, _ = two_domains(machine)
    owner.permit_iomem(*IO)
    owner.grant(9, mapper, IO[0] + 3)
    with Counted(machine) as n:
        assert mapper.map_grant(owner, 9).status is GNTST.okay
    assert (n["mfn_valid"], n["mfn_to_page"]) == (valid, converted)
    assert machine.page(IO[0] + 3).references == 1


@pytest.mark.parametrize("flavour, more", [("naive", 4), ("cse", 0)])
def test_failed_map_undoes_two_references(flavour, more):
    machine = small_machine(flavour=flavour)
    owner, mapper, mfn = two_domains(machine, iommu=True, iommu_max=0)
    with Counted(machine) as n:
        assert mapper.map_grant(owner, 8, flags=HOST | DEVICE).status is GNTST.general_error
    _, before, after = MAPS["host and device writable"]
    assert n["mfn_to_page"] == expected(flavour, before, after) + more
    page = machine.page(mfn)
    assert (page.references, page.type_references) == (1, 0)
    assert mapper.map_grant(owner, 8, flags=HOST | DEVICE).status is GNTST.general_error
    machine.audit().check()


@pytest.mark.parametrize("flavour, undo", [("naive", 1), ("cse", 0)])
def test_failed_read_only_map_drops_its_reference(flavour, undo):
    machine = small_machine(flavour=flavour)
    owner, mapper, _ = two_domains(machine)
    foreign = mapper.populate(3)
    owner.grant(9, mapper, foreign)
    with Counted(machine) as n:
        mapping = mapper.map_grant(owner, 9, flags=HOST | READONLY)
    assert mapping.status is GNTST.general_error
    assert (n["mfn_valid"], n["mfn_to_page"]) == (1, 1 + undo)


@pytest.mark.parametrize("path", UNMAPS)
@pytest.mark.parametrize("flavour", ["naive", "cse"])
def test_release_of_a_dying_domain_converts_per_grant_as_unmap(flavour, path):
    # Rule book: 1 to 3 a grant before, 1 after.
    flags, before, after = UNMAPS[path]
    machine = small_machine(flavour=flavour)
    owner, mapper, _ = two_domains(machine)
    for _ in range(10):
        assert mapper.map_grant(owner, 8, flags=flags).status is GNTST.okay
    with Counted(machine) as n:
        assert mapper.destroy()
    assert n["grant_releases"] == 10
    assert n["mfn_to_page"] == 10 * expected(flavour, before, after)
    assert 1 <= before <= 3 and after == 1
    machine.audit().check()


@pytest.mark.parametrize("map_by, unsqueezes, squeezes", [("frame", 1, 1), ("page", 0, 0)])
def test_mapping_a_page_at_hand_costs_one_of_each_unless_the_page_is_taken(map_by, unsqueezes, squeezes):
    machine = small_machine(map_by=map_by)
    mfn = machine.create_domain(1).populate(0)
    page = machine.page(mfn)
    with Counted(machine) as n:
        virt = machine.map_domain_page_of(page)
    assert virt == machine.host.mfn_to_virt(mfn)
    assert (n["page_to_mfn"], n["mfn_to_virt"], n["page_to_virt"]) == (unsqueezes, squeezes, 1 - squeezes)


@pytest.mark.parametrize("map_by", ["frame", "page"])
def test_with_a_mapcache_taking_the_page_saves_nothing(map_by):
    machine = small_machine(map_by=map_by, mapcache=1)
    mfn = machine.create_domain(1).populate(0)
    with Counted(machine) as by_page:
        machine.unmap_domain_page(machine.map_domain_page_of(machine.page(mfn)))
    with Counted(machine) as by_frame:
        machine.unmap_domain_page(machine.map_domain_page(mfn))
    # The window is keyed by frame: from a page it must be found first, whatever the variant.
    assert (by_page["page_to_mfn"], by_frame["page_to_mfn"]) == (1, 0)
    assert by_page["page_to_virt"] == by_frame["mfn_to_virt"] == 0


def test_profile_chooses_the_flavour():
    chosen = {
        profile: (machine.flavour, machine.setup.by_page)
        for profile in ("pre", "sparse-m2p", "map-page", "cse", "write-once", "xen-4.17", "xen-offset")
        for machine in [small_machine(profile)]
    }
    assert chosen == {
        "pre": ("naive", False),
        "sparse-m2p": ("naive", False),
        "map-page": ("naive", True),
        "cse": ("cse", True),
        "write-once": ("cse", True),
        "xen-4.17": ("cse", True),
        "xen-offset": ("cse", True),
    }
