/* SPDX-License-Identifier: MIT */
/*
 * Python int <-> uint64_t without a call for the 1, 2 and 3 digit integers of CPython's 30-bit digits.
 *
 * Virtual addresses and page addresses exceed 2^60, so that the third digit is the normal case, where
 * PyLong_AsUnsignedLongLong() alone costs more than the whole conversion.
 */
#ifndef XENMM_INTEGERS_H
#define XENMM_INTEGERS_H

#include <Python.h>
#include <stdint.h>

#if defined(CPYTHON_DIGITS_OFF) || defined(PYPY_VERSION) || defined(Py_LIMITED_API) || PYLONG_BITS_IN_DIGIT != 30
#define XENMM_INLINE_DIGITS 0
#else
#define XENMM_INLINE_DIGITS 1
#endif

#if XENMM_INLINE_DIGITS && PY_VERSION_HEX >= 0x030C0000
/* From 3.12 the tag holds the digit count above three bits, of which two say zero (1) or negative (2). */
#define XENMM_DIGITS(o) (((const PyLongObject *)(o))->long_value.ob_digit)
#define XENMM_DIGIT_COUNT(o)                                                                             \
    ((((const PyLongObject *)(o))->long_value.lv_tag & 3) == 2                                           \
         ? -1                                                                                            \
         : (Py_ssize_t)(((const PyLongObject *)(o))->long_value.lv_tag >> 3))
#elif XENMM_INLINE_DIGITS
#define XENMM_DIGITS(o) (((const PyLongObject *)(o))->ob_digit)
#define XENMM_DIGIT_COUNT(o) Py_SIZE(o)
#endif

/* 1 and *value when o is exactly an int in [0, 2^64); else 0, with no exception set. */
static inline int xenmm_int_as_u64(PyObject *o, uint64_t *value)
{
    if (!PyLong_CheckExact(o))
        return 0;
#if XENMM_INLINE_DIGITS
    {
        const digit *d = XENMM_DIGITS(o);
        switch (XENMM_DIGIT_COUNT(o)) {
        case 3:
            *value = (uint64_t)d[0] | (uint64_t)d[1] << 30 | (uint64_t)d[2] << 60;
            return d[2] < 16;
        case 2:
            *value = (uint64_t)d[0] | (uint64_t)d[1] << 30;
            return 1;
        case 1:
            *value = d[0];
            return 1;
        case 0:
            *value = 0;
            return 1;
        default:
            return 0;
        }
    }
#else
    *value = PyLong_AsUnsignedLongLong(o);
    if (*value == (uint64_t)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
#endif
}

#endif /* XENMM_INTEGERS_H */
