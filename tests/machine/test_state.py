"""The tables as memory: what they read as, what they cost, what is refused, and who keeps them alive."""

import gc
import resource
import subprocess
import sys

import numpy as np
import pytest
from machines import GIB, IO, MIB, small_host, small_machine

import xenmm
from xenmm import FrameError, MachineError
from xenmm.machine import Machine
from xenmm.machine.page_info import page_info_dtype

TIB = 1 << 40


def spread_map(nodes=8, each=768 * GIB, pitch=2 * TIB):
    """6 TiB of RAM over a span of about 15 TiB."""
    first = [(0, 0xA0000), (MIB, 2 * GIB), (4 * GIB, each)]
    ram = first + [(i * pitch, i * pitch + each) for i in range(1, nodes)]
    return xenmm.MemoryMap.from_ranges(ram, [(i * pitch, i * pitch + each, 1, i) for i in range(nodes)])


def test_record_is_32_bytes_with_xens_fields():
    dtype = page_info_dtype()
    assert dtype.itemsize == 32
    assert {n: dtype.fields[n][1] for n in dtype.names} == {
        "next": 0,
        "prev": 4,
        "count_info": 8,
        "type_info": 16,
        "owner": 24,
        "context": 28,
    }


def test_large_sparse_machine_starts_small():
    # A process of its own, for its memory is what is asked about.
    code = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import xenmm, numpy
from test_state import spread_map
from xenmm.machine import Machine
host = xenmm.boot(spread_map())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
machine = Machine(host)
assert host.ram_bytes > 5 << 40 and host.max_page << 12 > 14 << 40
assert machine.frame_table_memory.committed == host.frame_table.mapped_bytes
assert machine.m2p_memory.committed == host.m2p.mapped_bytes
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    here = str(__import__("pathlib").Path(__file__).parent)
    support = str(__import__("pathlib").Path(__file__).parent.parent / "support")
    code = f"import sys; sys.path.insert(0, {support!r})\n" + code
    done = subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 * 1024, "KiB resident for a 6 TiB machine"


def test_cost_follows_what_is_touched():
    machine = Machine(xenmm.boot(spread_map()))
    touched = [int(np.unpackbits(np.frombuffer(v, dtype=np.uint8)).sum()) for v in machine._touched()]
    domain = machine.create_domain(1)
    domain.populate(0, order=12)
    after = [int(np.unpackbits(np.frombuffer(v, dtype=np.uint8)).sum()) for v in machine._touched()]
    # 4,096 records are 32 pages of the table, their M2P entries 8; the rest are the domain's own frames.
    assert 31 <= after[0] - touched[0] <= 40
    assert after[1] - touched[1] == 8


@pytest.mark.parametrize(
    "profile, page_sizes, fills",
    [("sparse-m2p", "2m", {0x55}), ("sparse-m2p", "1g", {0x55, 0x77}), ("xen-offset", "1g", {0xFF})],
)
def test_m2p_reads_as_boot_filled_it(profile, page_sizes, fills):
    host = xenmm.boot(spread_map(each=600 * GIB, pitch=640 * GIB), profile, page_sizes=page_sizes)
    machine = Machine(host)
    assert {value for *_, value in host.m2p.fills} == fills
    for offset, size, value in host.m2p.fills[:: max(1, len(host.m2p.fills) // 50)]:
        pattern = int.from_bytes(bytes([value]) * 8, "little")
        for mfn in (offset // 8, (offset + size) // 8 - 1):
            if machine.mfn_valid(mfn):
                assert machine.m2p_entry(mfn) == pattern
    assert not np.frombuffer(machine._touched()[1], dtype=np.uint8).any()


def test_frame_table_is_zero_inside_and_ff_in_the_tail():
    memory_map = xenmm.MemoryMap.from_ranges([(MIB, 64 * MIB), (GIB, GIB + 24 * MIB + 0x3000)])
    host = xenmm.boot(memory_map, page_sizes="2m")
    machine = Machine(host)
    fills = [f for f in host.frame_table.fills if f[2] == 0xFF and f[1]]
    assert fills, "this machine's last run has a tail"
    import ctypes

    for offset, size, value in fills:
        tail = ctypes.string_at(machine.frame_table_address + offset, size)
        assert tail == bytes([value]) * size
    # A frame that nobody uses and that heads no chunk.
    assert machine._record(machine.page(0x801).pdx) == (0, 0, 0, 0, 0, 0)


def test_views_are_the_table_itself():
    machine = small_machine()
    domain = machine.create_domain(1)
    mfn = domain.populate(7)
    pdx = machine.page(mfn).pdx
    views = dict(machine.page_infos())
    first = max(p for p in views if p <= pdx)
    view = views[first]
    assert not view.flags.writeable
    assert int(view[pdx - first]["owner"]) == machine._domain(1)["pdx"]
    before = int(view[pdx - first]["count_info"])
    assert machine.get_page(mfn, domain)
    assert int(view[pdx - first]["count_info"]) == before + 1
    machine.put_page(mfn)
    entries = dict(machine.m2p_entries())
    start = max(m for m in entries if m <= mfn)
    assert int(entries[start][mfn - start]) == 7
    with pytest.raises(ValueError, match="read-only"):
        entries[start][0] = 1


def test_views_keep_the_machine_alive():
    machine = small_machine()
    mfn = machine.create_domain(1).populate(7)
    entries = dict(machine.m2p_entries())
    start = max(m for m in entries if m <= mfn)
    del machine
    gc.collect()
    assert int(entries[start][mfn - start]) == 7


def test_views_outlive_what_happens_to_their_machine(tmp_path):
    # Memory is added, the machine is saved, trimmed, loaded and dropped: views read what they did.
    ram = [(1 * MIB, 2 * GIB), (4 * GIB, 6 * GIB)]
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(ram, [(0, 64 * GIB, 1, 0)]), "sparse-m2p")
    machine = Machine(host)
    domain = machine.create_domain(1)
    mfn = domain.populate(7, bits=32)
    pdx = machine.page(mfn).pdx
    records, entries, compat = (
        next(view[at - first :][:1] for first, view in runs if first <= at < first + len(view))
        for runs, at in (
            (machine.page_infos(), pdx),
            (machine.m2p_entries(), mfn),
            (machine.compat_m2p_entries(), mfn),
        )
    )
    taken = records.tobytes(), entries.tobytes(), compat.tobytes()
    machine.add_memory(16 * GIB, 18 * GIB)
    machine.save(tmp_path / "m")
    machine.trim()
    again = Machine.load(tmp_path / "m")
    assert (records.tobytes(), entries.tobytes(), compat.tobytes()) == taken
    again.domain(1).destroy()
    assert machine.page(mfn).owner == 1
    del machine, domain, again, host
    gc.collect()
    assert (records.tobytes(), entries.tobytes(), compat.tobytes()) == taken
    assert records.base is not None and int(entries[0]) == 7


def test_runs_of_views_cover_the_valid_groups():
    host = xenmm.boot(spread_map())
    machine = Machine(host)
    assert machine.groups() == list(host.groups_valid)
    assert sum(len(view) for _, view in machine.page_infos()) == sum(
        min(e << 16, host.max_pdx) - (s << 16) for s, e in host.groups_valid
    )


def test_frames_without_a_record_are_refused():
    host = xenmm.boot(spread_map())
    machine = Machine(host)
    inside_hole = 1 * TIB >> 12
    for mfn in (inside_hole, host.max_page, host.max_page + 1, 1 << 40, 1 << 63, (1 << 64) - 1):
        assert not machine.mfn_valid(mfn)
        for call in (machine.page, machine.m2p_entry, machine.map_domain_page, machine.put_page):
            with pytest.raises(FrameError, match=f"{mfn:#x}"):
                call(mfn)
    assert machine.mfn_valid(host.max_page - 1)
    for pdx in (host.max_pdx, 1 << 40, (1 << 64) - 1):
        with pytest.raises(FrameError, match=f"{pdx:#x}"):
            machine.page_at_pdx(pdx)
    for mfn in (-1, 1 << 64):
        with pytest.raises(FrameError):
            machine.page(mfn)


def test_refused_frames_in_a_batch_get_a_status():
    machine = small_machine()
    ops = machine.ops(3)
    ops["code"] = 30
    ops["frame"] = [0x900, 1 << 40, (1 << 64) - 1]
    assert machine.run(ops) == 2
    assert ops["status"].tolist() == [0, -6, -6]


def touched_pages(machine):
    return sum(int(np.unpackbits(np.frombuffer(bits, dtype=np.uint8)).sum()) for bits in machine._touched())


def test_trim_gives_emptied_pages_back():
    machine = small_machine()
    # Freed whole, 8 MiB leave one head: the other records are zero, their M2P entries invalid.
    domain = machine.create_domain(1)
    for gfn in range(0, 2048, 512):
        domain.populate(gfn, order=9)
    for gfn in range(2048):
        domain.remove(gfn)
    domain.destroy()
    machine.scrub()
    before = touched_pages(machine)
    given = machine.trim()
    assert given >= 15 * 4096 + 4 * 4096
    assert given == (before - touched_pages(machine)) * 4096
    machine.audit().check()
    assert machine.trim() == 0
    assert machine.create_domain(1).populate(0, order=9)
    machine.audit().check()


def test_no_address_space_is_a_clear_error():
    code = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import numpy
from machines import small_host
from xenmm import MachineError
from xenmm.machine import Machine
host = small_host()
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
try:
    Machine(host)
except MachineError as error:
    print(error)
"""
    support = str(__import__("pathlib").Path(__file__).parent.parent / "support")
    done = subprocess.run([sys.executable, "-c", code, support], capture_output=True, text=True, check=True)
    assert "overcommit" in done.stdout and "ulimit -v" in done.stdout


def test_machine_on_a_host_that_has_no_room_for_tables():
    # A dense M2P and frame table for a span of 1 TiB do not fit into 64 MiB.
    memory_map = xenmm.MemoryMap.from_ranges([(MIB, 32 * MIB), (TIB - 32 * MIB, TIB)])
    with pytest.raises(MachineError, match="do not fit into RAM"):
        Machine(xenmm.boot(memory_map, "pre"))


def test_unknown_options_are_refused():
    host = small_host()
    for options in ({"flavour": "fast"}, {"map_by": "mfn"}, {"mapcache": -1}, {"mapcache": 4097}):
        with pytest.raises(xenmm.ConfigError):
            Machine(host, **options)


def test_io_frames_have_records_and_belong_to_nobody_yet():
    machine = small_machine()
    page = machine.page(IO[0])
    assert (page.owner, page.references, page.is_free) == (None, 0, False)
    assert resource.getpagesize() == 4096


def test_machine_is_not_pickled():
    import pickle

    with pytest.raises(TypeError, match="save"):
        pickle.dumps(small_machine())


@pytest.mark.parametrize(
    "profile",
    ["pre", "ext5t", "fold", "sparse-frametable", "sparse-m2p", "xen-4.17", "xen-mask", "xen-none"],
)
def test_every_profile_comes_to_life(profile):
    machine = small_machine(profile)
    free = machine.free_pages
    domain = machine.create_domain(1)
    mfn = domain.populate(3)
    assert machine.page(mfn).gfn == 3
    machine.audit().check()
    assert domain.destroy()
    assert machine.free_pages == free
    machine.audit().check()
