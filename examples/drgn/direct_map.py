"""A debugger's view of a memory image: xenmm translates Xen's direct-map addresses to machine memory.

    xenmm export server.dmesg --format json > machine.json
    python direct_map.py machine.json memory.img 0xffff830000100000 16

The image holds the machine's RAM, range after range without the holes, as a dump tool writes it. With drgn
installed its Program does the reading, as at its own prompt; without, the image is read directly.
"""

import sys

import numpy as np

import xenmm


class Image:
    """RAM in a file: machine addresses to bytes."""

    def __init__(self, path, ram):
        self._bytes = np.memmap(path, np.uint8, "r")
        self.segments, at = [], 0
        for start, end in ram:
            self.segments.append((start, end - start, at))
            at += end - start

    def read(self, maddr, count):
        """Bytes of machine memory; they lie in one range."""
        for start, size, at in self.segments:
            if start <= maddr and maddr + count <= start + size:
                return self._bytes[at + maddr - start :][:count].tobytes()
        raise xenmm.FrameError(f"maddr {maddr:#x}: {count} bytes there are not in the image")


def pieces(host, virt, count):
    """Where bytes of the direct map lie, page by page: neighbours there can be far apart in the machine."""
    while count:
        here = min(count, 4096 - virt % 4096)
        maddr = host.virt_to_maddr(virt)
        if not host.mfn_valid(maddr >> 12):
            raise xenmm.FrameError(f"virt {virt:#x} is in the direct map, but no memory is behind it")
        yield maddr, here
        virt, count = virt + here, count - here


def plain_reader(host, image):
    """Read virtual addresses without drgn."""
    return lambda virt, count: b"".join(image.read(*piece) for piece in pieces(host, virt, count))


def drgn_reader(host, image):
    """Read virtual addresses by a drgn Program that knows the direct map as one segment of memory."""
    import drgn

    program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    table = host.direct_map

    def read(address, count, offset, physical):
        return b"".join(image.read(*piece) for piece in pieces(host, address, count))

    program.add_memory_segment(table.virt_start, table.size, read)
    return program.read


def reader(host, image):
    """The reader that there is, and its name."""
    try:
        return drgn_reader(host, image), "drgn"
    except ImportError:
        return plain_reader(host, image), "no drgn here"


def main():
    machine, image, virt, count = sys.argv[1:]
    host = xenmm.boot(machine, profile="xen-offset")
    read, name = reader(host, Image(image, host.memory_map.ram))
    virt, count = int(virt, 0), int(count, 0)
    for maddr, here in pieces(host, virt, count):
        print(f"{virt:#x} is {maddr:#x} in the machine: {read(virt, here).hex()} ({name})")
        virt += here


if __name__ == "__main__":
    main()
