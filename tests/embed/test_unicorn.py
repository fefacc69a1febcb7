"""Guest x86-64 code at the hypervisor's addresses: what it writes lands on the right machine memory."""

import gc
import struct

import pytest

import xenmm
from xenmm.errors import ConfigError

unicorn = pytest.importorskip("unicorn")
from unicorn import x86_const as x86  # noqa: E402

from xenmm.embed.unicorn import attach  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
# Three nodes; those above 4 GiB are squeezed together by masks as by offsets.
NODES = [(0, 2 * GIB), (4 * GIB, 5 * GIB), (1024 * GIB, 1025 * GIB)]
CODE = 16 * MIB
PROFILES = {"xen-offset": "offset", "xen-mask": "mask", "xen-none": "none"}

# Each of the rcx words from address rsi gets its own address; then they are read back and added up in rax.
STORE = bytes.fromhex("4889364883c60848ffc975f4")  # L: mov [rsi],rsi; add rsi,8; dec rcx; jnz L
ADD = bytes.fromhex("4803064883c60848ffc975f4")  # L: add rax,[rsi]; add rsi,8; dec rcx; jnz L


def engine(host, **options):
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    for start, end in NODES:
        uc.mem_map(start, end - start)
    return uc, attach(uc, host, **options)


def execute(uc, code, **registers):
    uc.mem_write(CODE, code)
    for name, value in registers.items():
        uc.reg_write(getattr(x86, f"UC_X86_REG_{name.upper()}"), value)
    uc.emu_start(CODE, CODE + len(code))


@pytest.fixture(params=PROFILES)
def host(request):
    booted = xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES), profile=request.param)
    assert booted.compression.kind == PROFILES[request.param]
    return booted


@pytest.mark.parametrize("callback", ["c", "python"])
def test_stores_and_loads_cross_the_hole_onto_the_right_frames(host, callback):
    uc, attachment = engine(host, callback=callback)
    for start, end in NODES:
        # A node's first and last pages are where a wrong hole would show.
        for mfn in (start >> 12, (end >> 12) - 2):
            virt = host.mfn_to_virt(mfn)
            execute(uc, STORE, rsi=virt, rcx=1024)
            expected = struct.pack("<1024Q", *range(virt, virt + 8192, 8))
            assert uc.mem_read(mfn << 12, 8192) == expected, hex(mfn)
            execute(uc, ADD, rsi=virt, rcx=1024, rax=0)
            assert uc.reg_read(x86.UC_X86_REG_RAX) == sum(range(virt, virt + 8192, 8)) % (1 << 64)
    assert attachment.fills > 0 and attachment.faults == 0


@pytest.mark.parametrize("callback", ["c", "python"])
def test_store_that_runs_on_past_a_node_continues_where_the_direct_map_does(callback):
    nodes = [NODES[0], (NODES[2][0], NODES[2][0] + 2 * GIB)]
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(nodes, nodes), profile="xen-offset")
    uc, _ = engine(host, callback=callback)
    mfn = (nodes[0][1] >> 12) - 1
    virt = host.mfn_to_virt(mfn)
    beyond = host.virt_to_mfn(virt + 4096)
    assert beyond == nodes[1][0] >> 12, "the nodes are neighbours in the direct map"
    execute(uc, STORE, rsi=virt + 4096 - 8, rcx=2)
    assert uc.mem_read((mfn << 12) + 4088, 8) == struct.pack("<Q", virt + 4088)
    assert uc.mem_read(beyond << 12, 8) == struct.pack("<Q", virt + 4096)
    # An unaligned store over the seam is two halves, far apart in machine memory.
    execute(uc, b"\x48\x89\x1e", rsi=virt + 4096 - 4, rbx=0x1122334455667788)
    assert uc.mem_read((mfn << 12) + 4092, 4) == bytes.fromhex("88776655")
    assert uc.mem_read(beyond << 12, 4) == bytes.fromhex("44332211")


def test_frame_table_records_are_memory_of_their_own(host):
    uc, attachment = engine(host)
    for start, end in NODES:
        for mfn in (start >> 12, (end >> 12) - 1):
            page = host.mfn_to_page(mfn)
            execute(uc, b"\x48\x89\x1e", rsi=page, rbx=mfn + 1)
            maddr = attachment.frame_table_maddr + page - host.params.frametable_virt_start
            assert uc.mem_read(maddr, 8) == struct.pack("<Q", mfn + 1)
    assert attachment.frame_table_maddr >= NODES[-1][1]


def test_addresses_that_nothing_maps_fault(host):
    uc, attachment = engine(host)
    params = host.params
    hole = params.directmap_virt_start + (host.max_pdx << 12)
    past_table = params.frametable_virt_start + -(-host.max_pdx * 32 // 4096) * 4096
    for virt in (hole, past_table, params.directmap_virt_start - 1, params.rdwr_mpt_virt_start, 1 << 47):
        faults = attachment.faults
        with pytest.raises(unicorn.UcError):
            execute(uc, b"\x48\x8b\x06", rsi=virt)
        assert attachment.faults > faults, hex(virt)
    # The last byte before the hole is memory.
    execute(uc, b"\x8a\x06", rsi=hole - 1)


def test_direct_map_is_not_executable(host):
    uc, _ = engine(host)
    virt = host.mfn_to_virt(NODES[1][0] >> 12)
    uc.mem_write(NODES[1][0], b"\x90")
    with pytest.raises(unicorn.UcError):
        uc.emu_start(virt, virt + 1)


def test_image_addresses_go_to_the_image_when_its_place_is_known():
    host = xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES), profile="xen-offset", xen_phys_start=1 * GIB)
    uc, _ = engine(host)
    virt = host.params.xen_virt_start + 0x1234
    execute(uc, b"\x48\x89\x1e", rsi=virt, rbx=77)
    assert uc.mem_read(GIB + 0x1234, 8) == struct.pack("<Q", 77)


def test_engine_keeps_its_hook_alive_and_detach_ends_it(host):
    uc, attachment = engine(host)
    virt = host.mfn_to_virt(NODES[1][0] >> 12)
    with pytest.raises(ConfigError, match="already"):
        attach(uc, host)
    del attachment
    gc.collect()
    execute(uc, STORE, rsi=virt, rcx=512)
    assert uc.mem_read(NODES[1][0], 8) == struct.pack("<Q", virt)
    other, kept = engine(host)
    kept.detach()
    kept.detach()
    with pytest.raises(unicorn.UcError):
        execute(other, STORE, rsi=virt, rcx=1)
    again = attach(other, host, frame_table_maddr=NODES[-1][1] + 8 * GIB)
    execute(other, STORE, rsi=virt, rcx=1)
    assert again.fills > 0


def test_wrong_use_is_refused_by_name(host):
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    with pytest.raises(ConfigError, match=r"'perl'.*c, python"):
        attach(uc, host, callback="perl")
    with pytest.raises(ConfigError, match="0x1001 is not on a page"):
        attach(uc, host, frame_table_maddr=0x1001)
