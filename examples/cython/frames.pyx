# cython: language_level=3
"""A simulator's own Cython module: conversions inline in its loop, nothing of xenmm linked or imported."""

from libc.stdint cimport uint64_t

from xenmm cimport (
    mfn_to_page,
    mfn_valid,
    page_to_virt,
    xenmm_params,
    xenmm_params_of,
)


def touched_bytes(host, uint64_t first_mfn, uint64_t count):
    """Walk frames as a hypervisor would: judge each, take its page, and that page's address.

    Returns how many frames are memory, and the sum of their direct-map addresses modulo 2^64.
    """
    cdef const xenmm_params *p = xenmm_params_of(host.capsule)
    cdef uint64_t mfn, valid = 0, total = 0
    with nogil:
        for mfn in range(first_mfn, first_mfn + count):
            if mfn_valid(p, mfn):
                valid += 1
                total += page_to_virt(p, mfn_to_page(p, mfn))
    return valid, total
