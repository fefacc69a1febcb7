"""Checkpoints: the same state comes back, the same bytes come out, and nothing broken is let in."""

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from machine_driver import DOMAINS, Driver
from machine_pair import Pair
from machines import IO, small_machine, two_domains

from xenmm import MachineError
from xenmm.machine import GNTMAP, Machine, checkpoint
from xenmm.machine.audit import maptrack_dtype


def busy_machine(seed=1, steps=300, **options):
    pair = Pair(**options)
    driver = Driver(pair.slow, random.Random(seed))
    for operation in DOMAINS:
        pair.apply(operation)
    for _ in range(steps):
        pair.apply(driver.step())
    return pair, driver


@pytest.fixture(scope="module")
def saved():
    return checkpoint.dumps(busy_machine()[0].fast)


def resealed(body):
    return body + hashlib.sha256(body).digest()


def repacked(data, change):
    """The checkpoint after ``change(header, sections)``, with all lengths and the checksum made right."""
    header, sections = checkpoint._unpack(data, "x")
    sections = {name: bytearray(section) for name, section in sections.items()}
    change(header, sections)
    header["sections"] = [[name, len(section)] for name, section in sections.items()]
    text = json.dumps(header, sort_keys=True).encode()
    packed = zlib.compress(b"".join(sections.values()))
    pack = checkpoint._U64.pack
    return resealed(checkpoint.MAGIC + pack(len(text)) + text + pack(len(packed)) + packed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"flavour": "naive", "mapcache": 2}])
def test_resumed_machine_goes_on_as_the_saved_one(seed, options, tmp_path):
    pair, driver = busy_machine(seed, **options)
    pair.fast.save(tmp_path / "m.xenmm")
    before = pair.fast.audit()
    again = Machine.load(tmp_path / "m.xenmm")
    assert again.audit() == before
    assert again.counters() == pair.fast.counters()
    assert again.options == pair.fast.options
    assert dict(again.host.params) == dict(pair.fast.host.params)
    pair.fast = again
    for _ in range(300):
        pair.apply(driver.step())
    pair.compare()
    pair.all_home()


def test_same_state_same_bytes(saved):
    assert checkpoint.dumps(busy_machine()[0].fast) == saved
    assert checkpoint.dumps(checkpoint.loads(saved)) == saved
    assert checkpoint.dumps(busy_machine(2)[0].fast) != saved


def test_mappings_io_frames_and_transfers_survive():
    machine = small_machine()
    owner, mapper = machine.create_domain(1, grant_version=2), machine.create_domain(2)
    owner.permit_iomem(*IO)
    mfn = owner.populate(5)
    owner.grant(8, mapper, mfn)
    owner.grant(9, mapper, IO[0])
    first = mapper.map_grant(owner, 8, flags=GNTMAP.host_map | GNTMAP.device_map)
    second = mapper.map_grant(owner, 9)
    again = checkpoint.loads(checkpoint.dumps(machine))
    mapper = again.domain(2)
    assert mapper.unmap_grant(first.handle, dev_bus_addr=first.dev_bus_addr) == 0
    assert mapper.unmap_grant(second.handle) == 0
    again.audit().check()


def test_trimmed_pages_stay_given_back():
    machine = small_machine()
    machine.create_domain(1).populate(0, order=10)
    machine.domain(1).destroy()
    machine.scrub()
    machine.trim()
    again = checkpoint.loads(checkpoint.dumps(machine))
    assert again.trim() == 0
    again.audit().check()


def test_what_is_in_use_is_not_trimmed():
    machine = small_machine()
    guest = machine.create_domain(1)
    mfns = [guest.populate(gfn) for gfn in range(700)]
    machine.trim()
    again = checkpoint.loads(checkpoint.dumps(machine))
    assert [again.m2p_entry(mfn) for mfn in mfns] == list(range(700))
    assert again.audit() == machine.audit()


def test_what_is_written_through_a_view_is_saved():
    """A record inside a free chunk, whose part of the table nobody wrote to before."""
    machine = small_machine()
    mfn = next(
        machine._mfns_of_list(head)[0] for _, _, order, head, _ in machine._free_lists()[0] if order > 9
    )
    pdx = machine.host.mfn_to_pdx(mfn + 500)
    for first, view in machine.page_infos(writable=True):
        if first <= pdx < first + len(view):
            view["context"][pdx - first] = 0xABCD
    assert machine._record(pdx)[5] == 0xABCD
    assert checkpoint.loads(checkpoint.dumps(machine))._record(pdx) == machine._record(pdx)


def test_file_is_small(saved):
    assert len(saved) < 1 << 20


@pytest.mark.parametrize("keep", [0, 1, 15, 16, 17, 24, 100, 0.5, 0.9, -1])
def test_truncated_file_is_refused(saved, keep, tmp_path):
    length = int(len(saved) * keep) if isinstance(keep, float) else keep
    path = tmp_path / "m.xenmm"
    path.write_bytes(saved[:length])
    with pytest.raises(MachineError, match=r"m\.xenmm: (truncated|no checkpoint|of another)"):
        Machine.load(path)


def edges(data):
    """Where parts of the file begin and end, and a byte on each side."""
    length = int.from_bytes(data[16:24], "little")
    packed = 24 + length
    parts = [0, 16, 24, packed, packed + 8, len(data) - 32, len(data)]
    return sorted({at + k for at in parts for k in (-1, 0, 1) if 0 <= at + k < len(data)})


def test_file_cut_or_changed_at_every_edge_is_refused(saved):
    for at in edges(saved):
        with pytest.raises(MachineError):
            checkpoint.loads(saved[:at])
        with pytest.raises(MachineError):
            checkpoint.loads(saved[:at] + bytes([saved[at] ^ 0xFF]) + saved[at + 1 :])
    for more in (b"\0", saved):
        with pytest.raises(MachineError, match="truncated or altered"):
            checkpoint.loads(saved + more)


def test_cut_inside_with_its_checksum_made_right_is_refused(saved):
    for at in edges(saved)[1:]:
        if at > 16:
            with pytest.raises(MachineError):
                checkpoint.loads(resealed(saved[: max(at - 32, 17)]))


def test_bytes_are_the_same_in_any_process():
    # Another process, another seed of hashes: sets and dicts have no say in what is written.
    code = """
import hashlib, sys
sys.path[:0] = sys.argv[1:]
from test_checkpoint import busy_machine
from xenmm.machine import checkpoint
print(hashlib.sha256(checkpoint.dumps(busy_machine(5, cpus=2)[0].fast)).hexdigest())
"""
    here = Path(__file__).parent
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(here), str(here.parent / "support")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(found) == 1


def test_altered_file_is_refused(saved):
    rng = random.Random(0)
    for _ in range(100):
        at, bit = rng.randrange(len(saved)), 1 << rng.randrange(8)
        damaged = saved[:at] + bytes([saved[at] ^ bit]) + saved[at + 1 :]
        with pytest.raises(MachineError):
            checkpoint.loads(damaged)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "no checkpoint"),
        (b"\x7fELF" * 100, "no checkpoint"),
        (b"xenmm-machine/1\n" + b"\0" * 100, "another version"),
        (resealed(checkpoint.MAGIC + b"\0" * 64), "damaged"),
        (resealed(checkpoint.MAGIC + b"\xff" * 64), "damaged"),
    ],
)
def test_foreign_file_is_refused(data, words):
    with pytest.raises(MachineError, match=words):
        checkpoint.loads(data)


def test_missing_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(MachineError, match=str(path)):
            Machine.load(path)
    with pytest.raises(MachineError, match="its folder is not there"):
        small_machine().save(tmp_path / "no" / "m.xenmm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda h, s: h.update(params_sha256="0" * 64), "^x: its host boots differently in this version$"),
        (lambda h, s: h.update(profile="xen-9"), "unknown profile"),
        (lambda h, s: h["structs"].__setitem__(0, 40), "binary layout"),
        (lambda h, s: h["machine"].update(flavour="odd"), "flavour"),
        (lambda h, s: h.pop("holds"), "header"),
        (lambda h, s: h["frame_table_pages"].__setitem__(0, 1 << 30), "no table is backed"),
        (lambda h, s: s["free_lists"].extend(b"1234"), "free_lists"),
        (lambda h, s: s["0.p2m"].extend(b"\0" * 16), "p2m"),
        (lambda h, s: h["numbers"].__setitem__(0, 1 << 40), "limits"),
        (lambda h, s: h["domains"].pop(), "set of domains"),
    ],
)
def test_consistent_checksum_does_not_make_a_state_right(saved, change, words):
    with pytest.raises(MachineError, match=words):
        checkpoint.loads(repacked(saved, change), "x")


@pytest.mark.parametrize("limit, most", [("max_grant_frames", 4096), ("max_maptrack_frames", 65536)])
def test_a_grant_table_is_as_large_as_xen_lets_it_be_and_no_larger(limit, most):
    machine = small_machine()
    machine.create_domain(1, **{limit: 1234})
    data = checkpoint.dumps(machine)

    def with_limit(value):
        def change(header, sections):
            (domain,) = [
                s for name, s in sections.items() if struct.pack("<I", 1234) in s and "struct" in name
            ]
            struct.pack_into("<I", domain, domain.index(struct.pack("<I", 1234)), value)

        return repacked(data, change)

    checkpoint.loads(with_limit(most)).audit().check()
    with pytest.raises(MachineError, match="domain 1: an impossible grant table"):
        checkpoint.loads(with_limit(most + 1))


@pytest.mark.parametrize("field, value", [("ref", 1 << 20), ("domid", 77), ("flags", 4)])
def test_a_mapping_of_no_entry_and_one_of_no_kind_are_refused(field, value):
    machine = small_machine()
    owner, mapper, _ = two_domains(machine)
    mapper.map_grant(owner, 8)

    def change(header, sections):
        for name in [name for name in sections if name.endswith(".tracks")]:
            tracks = np.frombuffer(sections[name], dtype=maptrack_dtype()).copy()
            tracks[field][tracks["flags"] != 0] = value
            sections[name] = tracks.tobytes()

    with pytest.raises(MachineError, match=r"domain 2 maps grant 0x.* of domain .*, which is not there"):
        checkpoint.loads(repacked(checkpoint.dumps(machine), change))


@pytest.mark.parametrize("seed", range(40))
def test_damage_under_a_right_checksum_is_refused_or_harmless(saved, seed):
    # Whatever bits change inside, either the load refuses, or what comes back passes its audit and works.
    rng = random.Random(seed)

    def damage(header, sections):
        name = rng.choice([n for n, section in sections.items() if section])
        for _ in range(rng.choice([1, 4, 50])):
            sections[name][rng.randrange(len(sections[name]))] ^= 1 << rng.randrange(8)

    try:
        machine = checkpoint.loads(repacked(saved, damage))
    except MachineError:
        return
    machine.audit().check()
    for domain in machine.domains:
        domain.destroy()
    machine.audit()


def test_a_number_past_64_bits_is_refused(saved, tmp_path):
    def change(header, _):
        header["domains"][0]["frames"][3] = [10**40]

    with pytest.raises(MachineError, match="x: "):
        checkpoint.loads(repacked(saved, change), "x")


def test_a_size_without_end_is_refused(saved):
    start = len(checkpoint.MAGIC) + 8
    (length,) = struct.unpack_from("<Q", saved, len(checkpoint.MAGIC))
    header = json.loads(saved[start : start + length])
    header["sections"][0][1] = float("inf")
    text = json.dumps(header).encode()
    rest = saved[start + length : -checkpoint._DIGEST_BYTES]
    body = checkpoint.MAGIC + struct.pack("<Q", len(text)) + text + rest
    with pytest.raises(MachineError, match="damaged inside"):
        checkpoint.loads(resealed(body))


def test_a_list_in_a_circle_is_walked_no_further_than_there_are_records(saved):
    def change(header, sections):
        # The first free chunk's record: its next is itself.
        heads = struct.iter_unpack("<I", sections["free_lists"])
        pdx = next(h for (h,) in heads if h != 0xFFFFFFFF)
        place = header["frame_table_pages"].index(pdx // 128) * 4096 + pdx % 128 * 32
        struct.pack_into("<I", sections["frame_table"], place, pdx)

    walked = []
    real = Machine._walk

    class Watched(Machine):
        def _walk(self, head, most):
            found = real(self, head, most)
            walked.append(len(found) // 4)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xenmm.machine.machine.Machine", Watched)
        with pytest.raises(MachineError, match="links back to"):
            checkpoint.loads(repacked(saved, change), "x")
    records = len(checkpoint._unpack(saved, "x")[1]["frame_table"]) // 32
    assert 1 < max(walked) <= records + 1


def test_pages_whose_records_were_given_back_are_saved_once_they_are_used():
    # Records of the caller's own pages are all zero: trim gives their part of the table back.
    machine = small_machine()
    domain = machine.create_domain(1)
    assigned, freed = machine.alloc(9), machine.alloc(9)
    machine.trim()
    domain.assign(assigned + 300)
    machine.free(freed, 9)
    machine.audit().check()
    again = checkpoint.loads(checkpoint.dumps(machine))
    assert again.domain(1).pages == [assigned + 300]
    assert again.dirty_pages == machine.dirty_pages == 512
