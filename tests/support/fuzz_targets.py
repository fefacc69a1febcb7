"""What the fuzzers feed: one reader a target, the seeds, and what must hold of every single input.

Each input yields what the reader promises or one line of a :class:`XenmmError`; it takes at most a second of
processor time a kilobyte, and memory bounded by :data:`MEMORY_FLOOR` and :data:`MEMORY_MULTIPLE`.
"""

import functools
import hashlib
import json
import os
import random
import struct
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import xenmm
from xenmm import XenmmError
from xenmm.firmware.writers import write_map
from xenmm.machine import checkpoint
from xenmm.timing.traces import FORMATS, open_trace

MAPS = Path(xenmm.__file__).parent / "maps"
CORPUS = Path(__file__).parent.parent / "data" / "fuzz"

#: At most so many seconds of processor time for an input of up to a kilobyte, and for each kilobyte more.
SECONDS_A_KILOBYTE = 1.0
#: The most memory that Python may allocate for one input: so many bytes, and so many for each of its own.
MEMORY_FLOOR = 24 << 20
MEMORY_MULTIPLE = 400


class FindingError(Exception):
    """An input broke what must hold; the message says which."""


def read_text(data):
    """The detector and every reader behind it, on a text."""
    tell_again(xenmm.read_map(data, name="fuzz"))


def tell_again(found):
    """What was read as a map can be told again, and is the same then."""
    if xenmm.read_map(found.to_json().encode(), name="fuzz").sha256 != found.sha256:
        raise FindingError("the map's own JSON reads as another map")


def read_srat(data):
    """A binary SRAT; its length and checksum are made right for three inputs of four."""
    if data and data[0] & 3:
        table = bytearray(b"SRAT" + data[1:])
        table += bytes(max(0, 48 - len(table)))
        table[4:8] = struct.pack("<I", len(table))
        table[9] = 0
        table[9] = -sum(table) & 0xFF
        xenmm.read_map(bytes(table), name="fuzz")
    else:
        xenmm.read_map(data[1:], name="fuzz")


def read_dtb(data):
    """A flattened device tree, with its magic number."""
    xenmm.read_map(b"\xd0\x0d\xfe\xed" + data, name="fuzz")


def read_elf(data):
    """A dump in ELF, with its magic number."""
    tell_again(xenmm.read_map(b"\x7fELF" + data, name="fuzz"))


def read_trace(data):
    """A trace: the first byte picks the format, or none."""
    if not data:
        return
    number = data[0] % (len(FORMATS) + 1)
    format = FORMATS[number] if number < len(FORMATS) else None
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, data[1:])
        accesses = 0
        for chunk in open_trace(f"/proc/self/fd/{descriptor}", format):
            accesses += len(chunk.addresses)
            # A packed trace may say much with few bytes; it is read in constant memory.
            if accesses > 1 << 20:
                break
    finally:
        os.close(descriptor)


def read_checkpoint(data):
    """A checkpoint. A first byte of 0 has it as it is. Any other picks a machine: the input is then another
    header for it and, behind a line end, changes of its sections' words, sealed so that they are read."""
    if not data:
        return
    data = changed(data) if data[0] else data[1:]
    machine = checkpoint.loads(data, "fuzz")
    if machine.audit().errors:
        raise FindingError("a machine was loaded whose audit fails")


def changed(data):
    """The checkpoint of the machine that ``data[0]`` picks, with the header and the changes that follow."""
    sections = bytearray(b"".join(_saved(data[0] % len(MACHINES))[1].values()))
    header, _, changes = data[1:].partition(b"\n")
    for offset, value in struct.iter_unpack("<II", changes[: len(changes) // 8 * 8]):
        struct.pack_into("<I", sections, 4 * (offset % (len(sections) // 4)), value)
    packed = zlib.compress(sections, 1)
    pack = struct.Struct("<Q").pack
    body = checkpoint.MAGIC + pack(len(header)) + header + pack(len(packed)) + packed
    return body + hashlib.sha256(body).digest()


#: Steps of the random operations after which a machine is saved, and its options.
MACHINES = ((0, {}), (20, {}), (60, {"mapcache": 2}))


@functools.cache
def _saved(number):
    from machine_driver import DOMAINS, Driver
    from machine_pair import Pair

    steps, options = MACHINES[number]
    pair = Pair(**options)
    driver = Driver(pair.slow, random.Random(number))
    for operation in DOMAINS[1::2]:
        pair.apply(operation)
    for _ in range(steps):
        pair.apply(driver.step())
    return checkpoint._unpack(checkpoint.dumps(pair.fast), "seed")


def text_seeds():
    import log_samples as samples

    for path in sorted(MAPS.iterdir()):
        if path.suffix in (".log", ".json"):
            yield path.read_bytes()
    for rows in (samples.linux_new(), samples.linux_old(), samples.linux_oldest(), samples.xen_new(),
                 samples.xen_old(), samples.xen_arm(), samples.smap(), samples.efi(),
                 samples.efi(style="type"), samples.efi(style="half-open")):  # fmt: skip
        yield samples.text(rows, samples.srat_linux(), samples.node_ranges()).encode()
    for format in ("iomem", "lsmem", "dts"):
        yield write_map(_small_map(), format).encode()


def _small_map():
    ram = [(1 << 30, 3 << 30), (1 << 32, 1 << 36)]
    return xenmm.MemoryMap.from_ranges(ram, [(0, 1 << 35, 1, 0), (1 << 35, 1 << 36, 1, 1)], name="seed")


def srat_seeds():
    for path in sorted(MAPS.iterdir()):
        if path.suffix in (".log", ".json"):
            found = xenmm.read_map(path)
            if found.srat:
                table = write_map(found, "srat")
                yield b"\0" + table
                yield b"\1" + table[4:]
                # Revision 1.
                yield b"\1" + table[4:8] + b"\1" + table[9:]


def dtb_seeds():
    for memory_map in (_small_map(), xenmm.read_map(MAPS / "taishan200-4node.json")):
        yield write_map(memory_map, "dtb")[4:]


def elf_seeds():
    from elf_samples import core, kexec_notes, note

    for path in sorted((CORPUS.parent / "elf-cores").iterdir()):
        yield path.read_bytes()[4:]
    loads = [(0x1000, 0x9E000), (1 << 20, 1 << 30), (1 << 32, 1 << 36)]
    yield core(loads, kexec_notes(xen=(4, 17)))[4:]
    for bits, order, many in ((32, "<", False), (32, ">", True), (64, ">", False), (64, "<", True)):
        yield core(loads[:2], note("CORE", 1, bytes(8), order), bits=bits, order=order, many=many)[4:]


def trace_seeds():
    texts = {
        "lackey": b"==1== tool\nI  04001234,3\n L 1ffe,8\n S 7fff00,4\n M 1000,4\n",
        "din": b"0 7fff1234\n1 1000 8\n2 400000\n",
        "ldst": b"LD 0x1234\nST 0x1234\nR 10\nW 20\n",
        "perf": b"app 1 2.5: 1 cpu/mem-loads/P:  7f0012345678 f\napp 1 2.6: 1 mem-stores:  7f00 f\n",
        "champsim": struct.pack("<Q8B6Q", 0x400000, *range(8), 0, 0x1000, 0x2000, 0, 0, 0x3000) * 3,
        "raw": struct.pack("<4Q", 0, 0x1000, 1 << 47, (1 << 64) - 1),
        "npy": _npy(struct.pack("<3Q", 1, 2, 3), 3),
    }
    import bz2
    import gzip
    import lzma

    for format, data in texts.items():
        number = bytes([FORMATS.index(format)])
        yield number + data
        yield bytes([len(FORMATS)]) + data
        for module in (bz2, gzip, lzma):
            yield number + module.compress(data)


def _npy(data, count):
    header = f"{{'descr': '<u8', 'fortran_order': False, 'shape': ({count},), }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def checkpoint_seeds():
    for number in range(len(MACHINES)):
        header = json.dumps(_saved(number)[0], sort_keys=True).encode()
        plain = bytes([number + len(MACHINES)]) + header + b"\n"
        yield plain
        yield plain + struct.pack("<4I", 0, 1, 2, 3)
        yield b"\0" + changed(plain)


#: Of each target: what it runs, its seeds, and the longest input that is made of them.
TARGETS = {
    "text": (read_text, text_seeds, 16384),
    "srat": (read_srat, srat_seeds, 4096),
    "dtb": (read_dtb, dtb_seeds, 4096),
    "elf": (read_elf, elf_seeds, 4096),
    "trace": (read_trace, trace_seeds, 2048),
    "checkpoint": (read_checkpoint, checkpoint_seeds, 32768),
}


def run(target, data, *, memory=False):
    """Give one input to a target, and raise :class:`FindingError` where something does not hold.

    The memory is measured when asked for, since that takes several times as long.
    """
    if memory:
        tracemalloc.start()
    began = time.thread_time()
    try:
        TARGETS[target][0](data)
    except XenmmError as error:
        text = str(error)
        if not text or "\n" in text or len(text) > 1000:
            raise FindingError(f"an error that is no one line: {text[:200]!r}") from error
    finally:
        seconds = time.thread_time() - began
        peak = 0
        if memory:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    if not memory and seconds > SECONDS_A_KILOBYTE * max(1.0, len(data) / 1024):
        raise FindingError(f"{seconds:.1f} s of processor time for {len(data)} bytes")
    if peak > MEMORY_FLOOR + MEMORY_MULTIPLE * len(data):
        raise FindingError(f"{peak} bytes of memory for {len(data)} bytes")


def kept(target):
    """The inputs that are kept of a target's fuzzing, by name."""
    path = CORPUS / f"{target}.zip"
    if not path.exists():
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist())}
