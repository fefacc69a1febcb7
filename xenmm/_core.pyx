# cython: embedsignature=True, embedsignature.format=clinic, autotestdict=False
# SPDX-License-Identifier: MIT
"""The hot path: the frozen parameters' memory, and every conversion of a booted host.

Arithmetic stands in ``__init__.pxd`` (here) and ``include/xenmm.h`` (the loops over arrays); this module
holds what surrounds it: Python integers in and out, the domains of the checked forms, their errors.
"""

from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.mman cimport (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    mmap,
    mprotect,
    munmap,
)

cimport xenmm
from xenmm cimport (
    XENMM_ABI_VERSION,
    XENMM_LOOKUP_ENTRIES,
    XENMM_MODE_MASK,
    XENMM_MODE_NONE,
    XENMM_MODE_OFFSET,
    XENMM_PAGE_SHIFT,
    XENMM_PDX_GROUP_SHIFT,
    xenmm_params,
)

import operator
import reprlib
import sys

from .errors import ConfigError, FrameError, FrozenError

cdef extern from "_integers.h":
    bint xenmm_int_as_u64(object o, uint64_t *value) noexcept

cdef extern from "_kernels.h" nogil:
    # Each conversion by number: it indexes the tables of names and of loops.
    ctypedef enum Conversion "int":
        XK_MFN_TO_PDX
        XK_PDX_TO_MFN
        XK_MFN_TO_PAGE
        XK_PAGE_TO_MFN
        XK_MFN_TO_VIRT
        XK_VIRT_TO_MFN
        XK_MADDR_TO_VIRT
        XK_VIRT_TO_MADDR
        XK_PAGE_TO_VIRT
        XK_VIRT_TO_PAGE
        XK_PAGE_TO_MFN_TO_VIRT
        XK_MFN_VALID
    enum:
        XK_BITMAP_WORDS_MIN
    ctypedef struct c_params "xenmm_params":
        pass
    ctypedef struct xk_plan:
        pass
    void xk_derive(xk_plan *plan) noexcept
    size_t xk_convert(
        const xk_plan *plan, int conversion, const uint64_t *source, uint64_t *target, size_t n, bint checked
    ) noexcept
    void xk_mfn_valid(const xk_plan *plan, const uint64_t *source, uint8_t *target, size_t n) noexcept
    uint64_t xk_convert_one(const c_params *p, int conversion, uint64_t x) noexcept
    const char *xk_name(int target) noexcept
    bint xk_runs_here(int target) noexcept
    void xk_select(int target) noexcept
    int xk_selected() noexcept

cdef dict _MODES = {"none": XENMM_MODE_NONE, "mask": XENMM_MODE_MASK, "offset": XENMM_MODE_OFFSET}


# --- the frozen struct ---------------------------------------------------------------------------

cdef uint64_t _u64_of(object mapping, str name, object default=0) except? 0:
    value = mapping.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ConfigError(f"boot parameter {name} must be an integer in [0, 2^64), got {value!r}")
    return value


cdef uint32_t _shift_of(object mapping, str name) except? 0:
    value = mapping.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 64:
        raise ConfigError(f"boot parameter {name} must be a shift in [0, 64), got {value!r}")
    return value


cdef void _fill_lookup(object mapping, str name, uint64_t unused, uint64_t *table) except *:
    values = mapping.get(name, ())
    if len(values) > XENMM_LOOKUP_ENTRIES:
        raise ConfigError(f"boot parameter {name} has {len(values)} entries; at most 64 fit")
    cdef int i
    for i in range(XENMM_LOOKUP_ENTRIES):
        # Differences of frames are kept modulo 2^64, as Xen's unsigned long keeps them.
        table[i] = <uint64_t>(values[i] & ((1 << 64) - 1)) if i < len(values) else unused


cdef void _fill(xenmm_params *p, object mapping) except *:
    mode = mapping.get("pdx_compression", "none")
    if mode not in _MODES:
        raise ConfigError(f"boot parameter pdx_compression must be none, mask or offset, got {mode!r}")
    cdef uint64_t ones = ~<uint64_t>0
    p.abi_version = XENMM_ABI_VERSION
    p.size = sizeof(xenmm_params)
    p.mode = _MODES[mode]
    p.pfn_pdx_hole_shift = _shift_of(mapping, "pfn_pdx_hole_shift")
    p.pfn_pdx_bottom_mask = _u64_of(mapping, "pfn_pdx_bottom_mask", ones)
    p.pfn_top_mask = _u64_of(mapping, "pfn_top_mask")
    p.pfn_hole_mask = _u64_of(mapping, "pfn_hole_mask")
    p.ma_va_bottom_mask = _u64_of(mapping, "ma_va_bottom_mask", ones)
    p.ma_top_mask = _u64_of(mapping, "ma_top_mask")
    p.pfn_index_shift = _shift_of(mapping, "pfn_index_shift")
    p.pdx_index_shift = _shift_of(mapping, "pdx_index_shift")
    p.pdx_region_size = _u64_of(mapping, "pdx_region_size", ones)
    _fill_lookup(mapping, "pfn_pdx_lookup", 0, p.pfn_pdx_lookup)
    _fill_lookup(mapping, "pdx_pfn_lookup", 0, p.pdx_pfn_lookup)
    _fill_lookup(mapping, "pfn_bases", ones, p.pfn_bases)
    if p.mode == XENMM_MODE_NONE:
        # The loops over arrays treat the identity as a mask that removes nothing.
        p.pfn_pdx_bottom_mask = p.ma_va_bottom_mask = ones
        p.pfn_top_mask = p.pfn_hole_mask = p.ma_top_mask = p.pfn_pdx_hole_shift = 0
    p.max_page = _u64_of(mapping, "max_page")
    p.max_pdx = _u64_of(mapping, "max_pdx")
    p.directmap_virt_start = _u64_of(mapping, "directmap_virt_start")
    p.directmap_virt_end = _u64_of(mapping, "directmap_virt_end")
    p.frametable_virt_start = _u64_of(mapping, "frametable_virt_start")
    p.frametable_virt_end = _u64_of(mapping, "frametable_virt_end")
    p.rdwr_mpt_virt_start = _u64_of(mapping, "rdwr_mpt_virt_start")
    p.rdwr_mpt_virt_end = _u64_of(mapping, "rdwr_mpt_virt_end")
    p.ro_mpt_virt_start = _u64_of(mapping, "ro_mpt_virt_start")
    p.rdwr_compat_mpt_virt_start = _u64_of(mapping, "rdwr_compat_mpt_virt_start")
    p.xen_virt_start = _u64_of(mapping, "xen_virt_start")
    p.xen_virt_end = _u64_of(mapping, "xen_virt_end")
    # Without a known place of the image its range is empty, and no address is ever inside it.
    p.xen_phys_start = 0
    p.xen_image_bytes = 0
    if mapping.get("xen_phys_start") is not None:
        p.xen_phys_start = _u64_of(mapping, "xen_phys_start")
        p.xen_image_bytes = p.xen_virt_end - p.xen_virt_start


cdef class _ParameterPage:
    """The C struct of one host in pages of its own, read-only from the moment it is filled."""

    def __cinit__(self, mapping):
        cdef bytes bitmap = bytes(mapping.get("pdx_group_valid", b""))
        cdef size_t words = (len(bitmap) + 7) // 8
        self.base = NULL
        # The loops read whole tables of words; what lies past the bitmap is 0.
        self.bytes_mapped = sizeof(xk_plan) + 8 * max(words, <size_t>XK_BITMAP_WORDS_MIN)
        cdef void *base = mmap(
            NULL, self.bytes_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
        )
        if base == MAP_FAILED:
            raise MemoryError(f"no memory for {self.bytes_mapped} bytes of boot parameters")
        self.base = base
        cdef xenmm_params *p = <xenmm_params *>base
        cdef uint64_t *group_valid = <uint64_t *>(<char *>base + sizeof(xk_plan))
        _fill(p, mapping)
        cdef size_t i
        for i in range(words):
            group_valid[i] = <uint64_t>int.from_bytes(bitmap[8 * i:8 * i + 8], "little")
        p.pdx_group_valid = group_valid
        p.pdx_group_count = 8 * <uint64_t>len(bitmap)
        xk_derive(<xk_plan *>base)
        if mprotect(base, self.bytes_mapped, PROT_READ) != 0:
            raise OSError("the boot parameters' page cannot be made read-only")
        self.p = p

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.bytes_mapped)


cdef class FrozenParameters:
    """The values of the boot parameters, and the read-only struct that the conversions use.

    ``boot.frozen.BootParameters`` is the public type above it. Nothing here can be written: the fields are
    tuples that no Python code reaches, and the struct's page is read-only to the processor.
    """

    def __cinit__(self, names, values, writers, own=()):
        self._own = tuple(own)
        self._names = tuple(names)
        self._values = tuple(values)
        self._writers = tuple(writers)
        if not len(self._names) == len(self._values) == len(self._writers):
            raise ValueError("names, values and writers of the boot parameters differ in length")
        self.page = _ParameterPage(dict(zip(self._names, self._values)))

    def _value(self, name):
        # KeyError for what is no parameter: the mapping's own protocol.
        try:
            return self._values[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    @property
    def own(self):
        """The parameters that the embedder registered, as definitions; their values stand with ours."""
        return self._own

    def writer(self, name, /):
        """Who wrote the parameter during boot."""
        try:
            return self._writers[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def keys(self):
        """The parameters' names, in the order of boot."""
        return self._names

    def __getitem__(self, name):
        return self._value(name)

    def __getattr__(self, name):
        if name in self._names:
            return self._value(name)
        raise AttributeError(f"{name!r} is no boot parameter")

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)

    def __contains__(self, name):
        return name in self._names

    def __dir__(self):
        return [*object.__dir__(self), *self._names]

    @property
    def __class__(self):
        # Of its own, so that object.__setattr__ does not reach the one of object, which swaps types.
        return type(self)

    def __setattr__(self, name, value):
        raise FrozenError(f"{name} is frozen since boot{self._first_writer(name)}")

    def __delattr__(self, name):
        raise FrozenError(f"{name} is frozen since boot{self._first_writer(name)}")

    def __setitem__(self, name, value):
        raise FrozenError(f"{name} is frozen since boot{self._first_writer(name)}")

    def __delitem__(self, name):
        raise FrozenError(f"{name} is frozen since boot{self._first_writer(name)}")

    def _first_writer(self, name):
        # For the message of a late write, which may name what is no parameter.
        return f" (first written by {self.writer(name)})" if name in self._names else ""

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("boot parameters are not pickled: pickle the host, which boots again")


cdef class PdxTranslation:
    """mfn <-> pdx alone, unchecked, for the time of boot, when only the compression is known.

    Parameters
    ----------
    mapping : mapping of str to value
        The compression's boot parameters by name; what is left out keeps the identity's value.
    """

    def __cinit__(self, mapping):
        self.page = _ParameterPage(mapping)
        self.p = self.page.p

    def mfn_to_pdx(self, mfn, /):
        """The pdx of a frame: the bare formula modulo 2^64."""
        return xenmm.mfn_to_pdx(self.p, _u64(mfn, "mfn"))

    def pdx_to_mfn(self, pdx, /):
        """The frame of a pdx: the bare formula modulo 2^64."""
        return xenmm.pdx_to_mfn(self.p, _u64(pdx, "pdx"))

    def mfn_compressible(self, mfn, /):
        """Whether the frame survives compression: no bit in the hole, or inside its slot's region."""
        return xenmm.mfn_compressible(self.p, _u64(mfn, "mfn"))

    def __setattr__(self, name, value):
        raise FrozenError(f"{name}: a translation does not change")


# --- integers in ---------------------------------------------------------------------------------

cdef uint64_t _u64(object x, str what) except? 0:
    """Any integer object as uint64, or TypeError or OverflowError with the value."""
    cdef uint64_t value = 0
    if xenmm_int_as_u64(x, &value):
        return value
    try:
        number = operator.index(x)
    except TypeError:
        got = f"{reprlib.repr(x)} ({type(x).__name__})"
        raise TypeError(f"{what} must be an integer or a NumPy array of uint64, got {got}") from None
    if number < 0:
        raise OverflowError(f"{what} {number} is negative; need 0 <= {what} < 2^64")
    if number >= 1 << 64:
        raise OverflowError(f"{what} {number:#x} is past 64 bits; need 0 <= {what} < 2^64")
    return number


# --- domains and refusals of the checked forms ---------------------------------------------------

cdef tuple _NAMES = (
    "mfn_to_pdx", "pdx_to_mfn", "mfn_to_page", "page_to_mfn", "mfn_to_virt", "virt_to_mfn", "maddr_to_virt",
    "virt_to_maddr", "page_to_virt", "virt_to_page", "page_to_mfn_to_virt", "mfn_valid",
)
# What each takes: the first word of its name.
cdef tuple _INPUTS = tuple([name.partition("_")[0] for name in _NAMES])


cdef inline bint pdx_valid(const xenmm_params *p, uint64_t pdx) noexcept nogil:
    return pdx < p.max_pdx and xenmm.group_valid(p, pdx)


cdef inline bint virt_known(const xenmm_params *p, uint64_t virt) noexcept nogil:
    return xenmm.virt_in_directmap(p, virt) or xenmm.virt_in_image(p, virt)


cdef bint _in_domain(const xenmm_params *p, Conversion what, uint64_t x) noexcept nogil:
    if what == XK_MFN_TO_PDX or what == XK_MFN_TO_PAGE:
        return xenmm.mfn_valid(p, x)
    if what == XK_PDX_TO_MFN:
        return pdx_valid(p, x)
    if what == XK_PAGE_TO_MFN or what == XK_PAGE_TO_VIRT or what == XK_PAGE_TO_MFN_TO_VIRT:
        return xenmm.page_valid(p, x)
    if what == XK_MFN_TO_VIRT:
        return xenmm.mfn_in_directmap(p, x)
    if what == XK_MADDR_TO_VIRT:
        return xenmm.maddr_in_directmap(p, x)
    if what == XK_MFN_VALID:
        return True
    return virt_known(p, x)


cdef str _why_not_group(const xenmm_params *p, uint64_t pdx):
    return (
        f"is in pdx group {pdx >> XENMM_PDX_GROUP_SHIFT:#x} (pdx {pdx:#x}), which is not backed "
        "(pdx_group_valid)"
    )


cdef str _why_not_compressible(const xenmm_params *p, uint64_t mfn):
    cdef uint64_t slot
    if p.mode == XENMM_MODE_OFFSET:
        slot = (mfn >> p.pfn_index_shift) & 63
        if p.pfn_bases[slot] == ~<uint64_t>0:
            return f"is outside every region: slot {slot} of pfn_bases is unused"
        return (
            f"is outside the region [{p.pfn_bases[slot]:#x}, {p.pfn_bases[slot] + p.pdx_region_size:#x}) "
            f"of its slot {slot} (pfn_bases, pdx_region_size)"
        )
    return f"has bits {mfn & p.pfn_hole_mask:#x} inside the hole (pfn_hole_mask {p.pfn_hole_mask:#x})"


cdef str _why_not_mfn(const xenmm_params *p, uint64_t mfn):
    if mfn >= p.max_page:
        return f"is not below max_page {p.max_page:#x}"
    if not xenmm.mfn_compressible(p, mfn):
        return _why_not_compressible(p, mfn)
    return _why_not_group(p, xenmm.mfn_to_pdx(p, mfn))


cdef str _why_not_pdx(const xenmm_params *p, uint64_t pdx):
    if pdx >= p.max_pdx:
        return f"is not below max_pdx {p.max_pdx:#x}"
    return _why_not_group(p, pdx)


cdef str _why_not_page(const xenmm_params *p, uint64_t page):
    cdef uint64_t end = p.frametable_virt_start + (p.max_pdx << 5)
    if page < p.frametable_virt_start or page >= end:
        return f"is outside the frame table [{p.frametable_virt_start:#x}, {end:#x}), {p.max_pdx:#x} records"
    if (page - p.frametable_virt_start) & 31:
        return "is not the start of a page_info record (32 bytes each)"
    return _why_not_group(p, xenmm.page_to_pdx(p, page))


cdef str _why_not_in_directmap(const xenmm_params *p, uint64_t mfn):
    if not xenmm.mfn_compressible(p, mfn):
        return _why_not_compressible(p, mfn)
    return (
        f"would be at pdx {xenmm.mfn_to_pdx(p, mfn):#x}, past the direct map "
        f"[{p.directmap_virt_start:#x}, {p.directmap_virt_end:#x})"
    )


cdef str _why_not_virt(const xenmm_params *p, uint64_t virt):
    image = ""
    if p.xen_image_bytes:
        image = f" and the Xen image [{p.xen_virt_start:#x}, {p.xen_virt_end:#x})"
    elif p.xen_virt_start <= virt < p.xen_virt_end:
        image = "; it is in the Xen image, whose place (xen_phys_start) was not given"
    return f"is outside the direct map [{p.directmap_virt_start:#x}, {p.directmap_virt_end:#x}){image}"


cdef str _why_not(const xenmm_params *p, Conversion what, uint64_t x):
    """The limit that a value outside the domain breaks, as the end of a sentence on that value."""
    if what == XK_MFN_TO_PDX or what == XK_MFN_TO_PAGE:
        return _why_not_mfn(p, x)
    if what == XK_PDX_TO_MFN:
        return _why_not_pdx(p, x)
    if what == XK_PAGE_TO_MFN or what == XK_PAGE_TO_VIRT or what == XK_PAGE_TO_MFN_TO_VIRT:
        return _why_not_page(p, x)
    if what == XK_MFN_TO_VIRT:
        return _why_not_in_directmap(p, x)
    if what == XK_MADDR_TO_VIRT:
        return _why_not_in_directmap(p, x >> XENMM_PAGE_SHIFT)
    return _why_not_virt(p, x)


cdef str _refusal(const xenmm_params *p, Conversion what, uint64_t x):
    return f"{_INPUTS[what]} {x:#x} {_why_not(p, what, x)}"


# --- the host ------------------------------------------------------------------------------------

cdef void _release_page(object capsule) noexcept:
    cdef void *page = PyCapsule_GetContext(capsule)
    if page != NULL:
        Py_DECREF(<object>page)


cdef class HostCore:
    """The conversions of one booted host, over its frozen parameters.

    Every conversion takes an int (or any object with ``__index__``) and gives an int, or takes a NumPy array
    of uint64 of any shape and strides and gives one of that shape. The plain names are checked: a value
    outside the conversion's domain raises FrameError with the value in hex and the limit that it broke. The
    names that end in ``_unchecked`` are the bare formula modulo 2^64, defined for every uint64 and never
    judging. All raise TypeError for what is no integer and OverflowError outside [0, 2^64).

    Arrays may have any shape, strides, alignment and byte order; other dtypes than uint64 are refused, never
    cast. Results go to a fresh array of the same shape, or to ``out``, which may be the input itself but must
    not overlap it in part. C- and Fortran-contiguous arrays are taken in the order of memory, all others in C
    order. When a checked conversion meets its first bad value in that order, the error gives its value and
    index; ``out`` holds the results of everything before it, and from it on what it held before.

    The loops run without the GIL, at the speed of memory where neighbours are alike. Large fresh arrays cost
    more than the conversion itself, because the process touches their pages for the first time: pass ``out``
    in loops.

    Nothing changes a host after boot, so that any number of threads may share it.

    Parameters
    ----------
    parameters : FrozenParameters
        What ``BootSlots.freeze()`` returned.
    plan : object
        The Python-level facts of the boot, kept as :attr:`plan`.
    """

    def __cinit__(self, parameters, plan=None, *args, **kwargs):
        if not isinstance(parameters, FrozenParameters):
            got = type(parameters).__name__
            raise TypeError(f"a host is made from frozen boot parameters (BootSlots.freeze()), got {got}")
        self.params = parameters
        self.plan = plan
        self.p = self.params.page.p

    @property
    def capsule(self):
        """A PyCapsule named ``xenmm.xenmm_params`` with the read-only C struct, which it keeps alive."""
        capsule = PyCapsule_New(<void *>self.p, b"xenmm.xenmm_params", _release_page)
        Py_INCREF(self.params.page)
        PyCapsule_SetContext(capsule, <void *>self.params.page)
        return capsule

    @property
    def __class__(self):
        # Of its own, so that object.__setattr__ does not reach the one of object, which swaps types.
        return type(self)

    def __setattr__(self, name, value):
        first = self.params._first_writer(name)
        raise FrozenError(f"a booted host does not change: cannot set {name}{first}")

    def __delattr__(self, name):
        first = self.params._first_writer(name)
        raise FrozenError(f"a booted host does not change: cannot delete {name}{first}")

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def mfn_to_pdx(self, mfn, /, out=None):
        """Return the frame-table index of a machine frame.

        Parameters
        ----------
        mfn : int or ndarray of uint64
            Machine frame number.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``mfn`` itself.

        Returns
        -------
        int or ndarray of uint64
            The pdx.

        Raises
        ------
        FrameError
            If ``mfn_valid(mfn)`` is false; the message says which of its three tests fails.

        Notes
        -----
        Xen c447b7308b, xen/include/xen/pdx.h, pfn_to_pdx.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            if not xenmm.mfn_valid(self.p, value):
                raise FrameError(_refusal(self.p, XK_MFN_TO_PDX, value))
            return xenmm.mfn_to_pdx(self.p, value)
        return _other(self.p, XK_MFN_TO_PDX, mfn, out, True)

    def mfn_to_pdx_unchecked(self, mfn, /, out=None):
        """:meth:`mfn_to_pdx` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            return xenmm.mfn_to_pdx(self.p, value)
        return _other(self.p, XK_MFN_TO_PDX, mfn, out, False)

    def pdx_to_mfn(self, pdx, /, out=None):
        """Return the machine frame of a frame-table index.

        Parameters
        ----------
        pdx : int or ndarray of uint64
            Index into the frame table.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``pdx`` itself.

        Returns
        -------
        int or ndarray of uint64
            The mfn.

        Raises
        ------
        FrameError
            If it is not below ``max_pdx``, or its group is not backed.

        Notes
        -----
        Xen c447b7308b, xen/include/xen/pdx.h, pdx_to_pfn.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(pdx, &value):
            if not pdx_valid(self.p, value):
                raise FrameError(_refusal(self.p, XK_PDX_TO_MFN, value))
            return xenmm.pdx_to_mfn(self.p, value)
        return _other(self.p, XK_PDX_TO_MFN, pdx, out, True)

    def pdx_to_mfn_unchecked(self, pdx, /, out=None):
        """:meth:`pdx_to_mfn` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(pdx, &value):
            return xenmm.pdx_to_mfn(self.p, value)
        return _other(self.p, XK_PDX_TO_MFN, pdx, out, False)

    def mfn_to_page(self, mfn, /, out=None):
        """Return the address of the page_info record of a machine frame.

        Parameters
        ----------
        mfn : int or ndarray of uint64
            Machine frame number.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``mfn`` itself.

        Returns
        -------
        int or ndarray of uint64
            Address of the record in the frame table, 32 bytes each.

        Raises
        ------
        FrameError
            If ``mfn_valid(mfn)`` is false; the message says which of its three tests fails.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, mfn_to_page.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            if not xenmm.mfn_valid(self.p, value):
                raise FrameError(_refusal(self.p, XK_MFN_TO_PAGE, value))
            return xenmm.mfn_to_page(self.p, value)
        return _other(self.p, XK_MFN_TO_PAGE, mfn, out, True)

    def mfn_to_page_unchecked(self, mfn, /, out=None):
        """:meth:`mfn_to_page` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            return xenmm.mfn_to_page(self.p, value)
        return _other(self.p, XK_MFN_TO_PAGE, mfn, out, False)

    def page_to_mfn(self, page, /, out=None):
        """Return the machine frame that a page_info record describes.

        Parameters
        ----------
        page : int or ndarray of uint64
            Address of a page_info record in the frame table.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``page`` itself.

        Returns
        -------
        int or ndarray of uint64
            The mfn.

        Raises
        ------
        FrameError
            If it is not the start of a record below ``max_pdx`` in a backed group.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, page_to_mfn.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(page, &value):
            if not xenmm.page_valid(self.p, value):
                raise FrameError(_refusal(self.p, XK_PAGE_TO_MFN, value))
            return xenmm.page_to_mfn(self.p, value)
        return _other(self.p, XK_PAGE_TO_MFN, page, out, True)

    def page_to_mfn_unchecked(self, page, /, out=None):
        """:meth:`page_to_mfn` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(page, &value):
            return xenmm.page_to_mfn(self.p, value)
        return _other(self.p, XK_PAGE_TO_MFN, page, out, False)

    def mfn_to_virt(self, mfn, /, out=None):
        """Return the direct-map address of a machine frame.

        Parameters
        ----------
        mfn : int or ndarray of uint64
            Machine frame number.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``mfn`` itself.

        Returns
        -------
        int or ndarray of uint64
            Virtual address of the first byte of the frame.

        Raises
        ------
        FrameError
            If the frame has no address of its own inside the direct map.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, maddr_to_virt of the first byte.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            if not xenmm.mfn_in_directmap(self.p, value):
                raise FrameError(_refusal(self.p, XK_MFN_TO_VIRT, value))
            return xenmm.mfn_to_virt(self.p, value)
        return _other(self.p, XK_MFN_TO_VIRT, mfn, out, True)

    def mfn_to_virt_unchecked(self, mfn, /, out=None):
        """:meth:`mfn_to_virt` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            return xenmm.mfn_to_virt(self.p, value)
        return _other(self.p, XK_MFN_TO_VIRT, mfn, out, False)

    def virt_to_mfn(self, virt, /, out=None):
        """Return the machine frame behind a hypervisor virtual address.

        Parameters
        ----------
        virt : int or ndarray of uint64
            Hypervisor virtual address; the offset within the page is dropped.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``virt`` itself.

        Returns
        -------
        int or ndarray of uint64
            The mfn.

        Raises
        ------
        FrameError
            If it is outside the direct map and, when the image's place is known, outside the Xen image.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, virt_to_maddr.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(virt, &value):
            if not virt_known(self.p, value):
                raise FrameError(_refusal(self.p, XK_VIRT_TO_MFN, value))
            return xenmm.virt_to_mfn(self.p, value)
        return _other(self.p, XK_VIRT_TO_MFN, virt, out, True)

    def virt_to_mfn_unchecked(self, virt, /, out=None):
        """:meth:`virt_to_mfn` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(virt, &value):
            return xenmm.virt_to_mfn(self.p, value)
        return _other(self.p, XK_VIRT_TO_MFN, virt, out, False)

    def maddr_to_virt(self, maddr, /, out=None):
        """Return the direct-map address of a machine address.

        Parameters
        ----------
        maddr : int or ndarray of uint64
            Machine address in bytes; the offset within the page is kept.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``maddr`` itself.

        Returns
        -------
        int or ndarray of uint64
            Virtual address of the same byte.

        Raises
        ------
        FrameError
            If the frame has no address of its own inside the direct map.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, __maddr_to_virt.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(maddr, &value):
            if not xenmm.maddr_in_directmap(self.p, value):
                raise FrameError(_refusal(self.p, XK_MADDR_TO_VIRT, value))
            return xenmm.maddr_to_virt(self.p, value)
        return _other(self.p, XK_MADDR_TO_VIRT, maddr, out, True)

    def maddr_to_virt_unchecked(self, maddr, /, out=None):
        """:meth:`maddr_to_virt` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(maddr, &value):
            return xenmm.maddr_to_virt(self.p, value)
        return _other(self.p, XK_MADDR_TO_VIRT, maddr, out, False)

    def virt_to_maddr(self, virt, /, out=None):
        """Return the machine address behind a hypervisor virtual address.

        Parameters
        ----------
        virt : int or ndarray of uint64
            Hypervisor virtual address; the offset within the page is kept.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``virt`` itself.

        Returns
        -------
        int or ndarray of uint64
            The machine address of the same byte.

        Raises
        ------
        FrameError
            If it is outside the direct map and, when the image's place is known, outside the Xen image.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, __virt_to_maddr.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(virt, &value):
            if not virt_known(self.p, value):
                raise FrameError(_refusal(self.p, XK_VIRT_TO_MADDR, value))
            return xenmm.virt_to_maddr(self.p, value)
        return _other(self.p, XK_VIRT_TO_MADDR, virt, out, True)

    def virt_to_maddr_unchecked(self, virt, /, out=None):
        """:meth:`virt_to_maddr` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(virt, &value):
            return xenmm.virt_to_maddr(self.p, value)
        return _other(self.p, XK_VIRT_TO_MADDR, virt, out, False)

    def page_to_virt(self, page, /, out=None):
        """Return the direct-map address of the frame of a record, without its mfn.

        Parameters
        ----------
        page : int or ndarray of uint64
            Address of a page_info record in the frame table.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``page`` itself.

        Returns
        -------
        int or ndarray of uint64
            Virtual address of the first byte of the frame.

        Raises
        ------
        FrameError
            If it is not the start of a record below ``max_pdx`` in a backed group.

        Notes
        -----
        The map_domain_page(page) shortcut, one multiplication: Xen c447b7308b,
        xen/arch/x86/include/asm/x86_64/page.h, __page_to_virt.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(page, &value):
            if not xenmm.page_valid(self.p, value):
                raise FrameError(_refusal(self.p, XK_PAGE_TO_VIRT, value))
            return xenmm.page_to_virt(self.p, value)
        return _other(self.p, XK_PAGE_TO_VIRT, page, out, True)

    def page_to_virt_unchecked(self, page, /, out=None):
        """:meth:`page_to_virt` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(page, &value):
            return xenmm.page_to_virt(self.p, value)
        return _other(self.p, XK_PAGE_TO_VIRT, page, out, False)

    def virt_to_page(self, virt, /, out=None):
        """Return the address of the page_info record of a hypervisor virtual address.

        Parameters
        ----------
        virt : int or ndarray of uint64
            Hypervisor virtual address; the offset within the page is dropped.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``virt`` itself.

        Returns
        -------
        int or ndarray of uint64
            Address of the record in the frame table.

        Raises
        ------
        FrameError
            If it is outside the direct map and, when the image's place is known, outside the Xen image.

        Notes
        -----
        Xen c447b7308b, xen/arch/x86/include/asm/x86_64/page.h, __virt_to_page.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(virt, &value):
            if not virt_known(self.p, value):
                raise FrameError(_refusal(self.p, XK_VIRT_TO_PAGE, value))
            return xenmm.virt_to_page(self.p, value)
        return _other(self.p, XK_VIRT_TO_PAGE, virt, out, True)

    def virt_to_page_unchecked(self, virt, /, out=None):
        """:meth:`virt_to_page` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(virt, &value):
            return xenmm.virt_to_page(self.p, value)
        return _other(self.p, XK_VIRT_TO_PAGE, virt, out, False)

    def page_to_mfn_to_virt(self, page, /, out=None):
        """Return what :meth:`page_to_virt` does, the long way round through the mfn, in one pass.

        Parameters
        ----------
        page : int or ndarray of uint64
            Address of a page_info record in the frame table.
        out : ndarray of uint64, optional
            Where an array's results go; may be ``page`` itself.

        Returns
        -------
        int or ndarray of uint64
            Virtual address of the first byte of the frame.

        Raises
        ------
        FrameError
            If it is not the start of a record below ``max_pdx`` in a backed group.

        Notes
        -----
        What Xen did before 84d568f5c9: page_to_mfn, then mfn_to_virt.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(page, &value):
            if not xenmm.page_valid(self.p, value):
                raise FrameError(_refusal(self.p, XK_PAGE_TO_MFN_TO_VIRT, value))
            return xenmm.mfn_to_virt(self.p, xenmm.page_to_mfn(self.p, value))
        return _other(self.p, XK_PAGE_TO_MFN_TO_VIRT, page, out, True)

    def page_to_mfn_to_virt_unchecked(self, page, /, out=None):
        """:meth:`page_to_mfn_to_virt` by the bare formula modulo 2^64, for every uint64."""
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(page, &value):
            return xenmm.mfn_to_virt(self.p, xenmm.page_to_mfn(self.p, value))
        return _other(self.p, XK_PAGE_TO_MFN_TO_VIRT, page, out, False)

    def mfn_valid(self, mfn, /, out=None):
        """Whether a frame is memory that the host knows: below max_page, not in the hole, its group backed.

        Parameters
        ----------
        mfn : int or ndarray of uint64
            Any value: this is the judge.
        out : ndarray of bool, optional
            Where an array's results go.

        Returns
        -------
        bool or ndarray of bool

        Notes
        -----
        Xen c447b7308b, xen/common/pdx.c, mfn_valid.
        """
        cdef uint64_t value
        if out is None and xenmm_int_as_u64(mfn, &value):
            return xenmm.mfn_valid(self.p, value)
        return _other(self.p, XK_MFN_VALID, mfn, out, False)


cdef object _other(const xenmm_params *p, Conversion what, object x, object out, bint checked):
    """What is no plain int in [0, 2^64): an array, an integer object of another type, or an error."""
    if _is_array(x):
        return _convert_array(<const xk_plan *>p, what, x, out, checked)
    cdef uint64_t value = _u64(x, _INPUTS[what])
    if out is not None:
        raise TypeError(f"out= goes with an array, but {_INPUTS[what]} is one integer")
    if checked and not _in_domain(p, what, value):
        raise FrameError(_refusal(p, what, value))
    if what == XK_MFN_VALID:
        return xenmm.mfn_valid(p, value)
    return xk_convert_one(<const c_params *>p, what, value)


include "_arrays.pxi"


# --- which loops run -----------------------------------------------------------------------------

def _kernels():
    """The tables of loops by name, in order of preference from the plainest: whether this CPU runs each."""
    names = []
    while xk_name(len(names)) != NULL:
        names.append(xk_name(len(names)).decode())
    return {name: bool(xk_runs_here(i)) for i, name in enumerate(names)}


def _set_kernels(name=None, /):
    """Force the table of that name (None: the best), for tests and benchmarks; returns the one before."""
    names = list(_kernels())
    before = names[xk_selected()]
    if name is not None and not _kernels().get(name):
        raise ConfigError(f"array loops {name!r} do not run here; these do: {build_info()['runnable']}")
    xk_select(-1 if name is None else names.index(name))
    return before


def _repeat(HostCore host, str name, x, out, uint64_t repeats, bint checked=False, /):
    """The loop of a conversion alone, over plain arrays of one length, that many times: for benchmarks."""
    cdef Conversion what = <Conversion><int>_NAMES.index(name)
    cdef npy_intp n = x.size
    cdef uint64_t _i
    _require_u64(x, "x")
    _require_out(x, out, what, "x")
    if not (x.flags.c_contiguous and out.flags.c_contiguous):
        raise ValueError("x and out must be contiguous")
    cdef const xk_plan *plan = <const xk_plan *>host.p
    cdef void *source = PyArray_DATA(<PyArrayObject *>x)
    cdef void *target = PyArray_DATA(<PyArrayObject *>out)
    with nogil:
        for _i in range(repeats):
            _run(plan, what, source, target, n, checked)


def _checks_bounds():
    """Whether an index past the end is refused here, as in a build with XENMM_DEBUG: by trying it."""
    cdef bytes nothing = b""
    cdef Py_ssize_t end = 0  # Where C has the terminator, so that it may be read.
    try:
        return nothing[end] != 0
    except IndexError:
        return True


def build_info():
    """What the loops over arrays are, and what of them this processor runs."""
    kernels = _kernels()
    return {
        "array loops": list(kernels)[xk_selected()],
        "runnable": " ".join(name for name, runs in kernels.items() if runs),
        "parameters ABI": int(XENMM_ABI_VERSION),
        "debug checks": _checks_bounds(),
    }


if sizeof(xenmm_params) != sizeof(c_params):
    raise ImportError("xenmm._core was built from a __init__.pxd and an xenmm.h that differ")
xk_select(-1)
