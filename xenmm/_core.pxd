# SPDX-License-Identifier: MIT
"""The private Cython face of ``_core``; embedders use ``xenmm/__init__.pxd`` instead."""

from xenmm cimport xenmm_params


cdef class _ParameterPage:
    # The struct and, behind it, the group bitmap: pages of their own, read-only once filled.
    cdef void *base
    cdef size_t bytes_mapped
    cdef const xenmm_params *p


cdef class FrozenParameters:
    cdef tuple _names
    cdef tuple _values
    cdef tuple _writers
    cdef tuple _own
    cdef _ParameterPage page


cdef class PdxTranslation:
    cdef _ParameterPage page
    cdef const xenmm_params *p


cdef class HostCore:
    cdef const xenmm_params *p
    cdef readonly FrozenParameters params
    cdef readonly object plan
