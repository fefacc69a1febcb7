"""A parallel loop over the frames of a machine, compiled by numba with the machine's constants inside."""

import numba
import numpy as np

import xenmm
from xenmm.embed.numba import functions

GIB = 1 << 30
NODES = [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)]

host = xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES), profile="xen-offset")
convert = functions(host)
mfn_to_page, mfn_valid = convert.mfn_to_page, convert.mfn_valid


@numba.njit(parallel=True)
def pages_of(mfns, pages):
    """Fill `pages` with the record of each valid frame, 0 for the others; return how many are valid."""
    valid = 0
    for i in numba.prange(mfns.size):
        if mfn_valid(mfns[i]):
            pages[i] = mfn_to_page(mfns[i])
            valid += 1
        else:
            pages[i] = 0
    return valid


mfns = np.arange(0, 1026 * GIB >> 12, 64, dtype=np.uint64)
pages = np.empty_like(mfns)
valid = pages_of(mfns, pages)
assert valid == np.count_nonzero(host.mfn_valid(mfns))
print(f"{valid} of {mfns.size} sampled frames are memory; the last record is at {int(pages.max()):#x}")
