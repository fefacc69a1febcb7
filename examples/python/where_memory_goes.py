"""Where a machine's memory goes, from its boot log: what the tables cost, what is lost, and one address.

    python where_memory_goes.py server.dmesg

The log is whatever the machine says of its memory: dmesg, xl dmesg, /proc/iomem, an SRAT, a device tree.
"""

import sys

import numpy as np

import xenmm

memory_map = xenmm.read_map(sys.argv[1])
print(f"{memory_map.ram_bytes >> 20:,} MiB of RAM up to {memory_map.top:#x}")

# What the tables cost: before the 2009 series, after it, and under Xen today.
for profile in ("ext5t", "sparse-m2p", "xen-offset"):
    host = xenmm.boot(memory_map, profile)
    costs, percent = host.overhead().costs, host.overhead().percent["total"]
    print(f"{profile:<10}  {costs.total / 2**20:10,.1f} MiB, {percent:6.3f}% of RAM; {host.compression.kind}")
    for part in host.lost:
        print(f"{'':<10}  lost: [{part.start:#x}, {part.end:#x}): {part.reason}")

# One frame, checked: the highest that is memory. Then all of them at once, as an array.
last = host.plan.used[-1][1] - 4096 >> 12
page = host.mfn_to_page(last)
print(f"mfn {last:#x}: page {page:#x}, virt {host.page_to_virt(page):#x}")
try:
    host.mfn_to_page(host.max_page)
except xenmm.FrameError as error:
    print(f"as it should be: {error}")

frames = np.arange(0, host.max_page, 1 << 10, dtype=np.uint64)
memory = frames[host.mfn_valid(frames)]
pages = host.mfn_to_page(memory)
assert np.array_equal(host.page_to_mfn(pages), memory)
print(f"{memory.size:,} of {frames.size:,} frames, one every 4 MiB, are memory")
