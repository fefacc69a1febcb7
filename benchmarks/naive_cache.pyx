# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""What one writes first in Cython, and the engine is measured against: tags, and an age for every way.

`simulate` keeps age counters: each access makes every way of its set one older, and its own way new.
`simulate_stamps` keeps the time of the last use instead, and stops at the hit: the same counts, less work.
"""

import numpy as np


cdef bint by_age(unsigned long long[:, ::1] tags, unsigned long long[:, ::1] ages, unsigned long long number,
                 unsigned long long now) noexcept:
    cdef Py_ssize_t index = number % <unsigned long long> tags.shape[0], way, found = -1, oldest = 0
    for way in range(tags.shape[1]):
        ages[index, way] += 1
        if tags[index, way] == number:
            found = way
        if ages[index, way] > ages[index, oldest]:
            oldest = way
    if found >= 0:
        ages[index, found] = 0
        return True
    tags[index, oldest] = number
    ages[index, oldest] = 0
    return False


cdef bint by_stamp(unsigned long long[:, ::1] tags, unsigned long long[:, ::1] stamps,
                   unsigned long long number, unsigned long long now) noexcept:
    cdef Py_ssize_t index = number % <unsigned long long> tags.shape[0], way, oldest = 0
    for way in range(tags.shape[1]):
        if tags[index, way] == number:
            stamps[index, way] = now
            return True
    for way in range(1, tags.shape[1]):
        if stamps[index, way] < stamps[index, oldest]:
            oldest = way
    tags[index, oldest] = number
    stamps[index, oldest] = now
    return False


ctypedef bint (*lookup_type)(unsigned long long[:, ::1], unsigned long long[:, ::1], unsigned long long,
                             unsigned long long) noexcept


cdef inline list run(const unsigned long long[::1] addresses, shape, lookup_type lookup):
    cdef unsigned long long[:, ::1] t1, t2, t3, t4, t5, a1, a2, a3, a4, a5
    cdef unsigned long long m1 = 0, m2 = 0, m3 = 0, m4 = 0, m5 = 0
    cdef Py_ssize_t i, n = addresses.shape[0]
    tags = [np.full(s, 2**64 - 1, np.uint64) for s in shape]
    ages = [np.zeros(s, np.uint64) for s in shape]
    t1, t2, t3, t4, t5 = tags
    a1, a2, a3, a4, a5 = ages
    for i in range(n):
        if not lookup(t4, a4, addresses[i] >> 12, i + 1):
            m4 += 1
            if not lookup(t5, a5, addresses[i] >> 12, i + 1):
                m5 += 1
        if not lookup(t1, a1, addresses[i] >> 6, i + 1):
            m1 += 1
            if not lookup(t2, a2, addresses[i] >> 6, i + 1):
                m2 += 1
                if not lookup(t3, a3, addresses[i] >> 6, i + 1):
                    m3 += 1
    return [n - m1, m1, m1 - m2, m2, m2 - m3, m3, n - m4, m4, m4 - m5, m5]


def simulate(const unsigned long long[::1] addresses, shape):
    """Return the hits and misses of three caches and two TLBs; `shape` is (sets, ways) of each."""
    return run(addresses, shape, by_age)


def simulate_stamps(const unsigned long long[::1] addresses, shape):
    """The same, by time stamps."""
    return run(addresses, shape, by_stamp)
