# Arrays: what of NumPy the conversions accept, and the way to the loops of _kernels.c.
#
# NumPy is reached through its C API alone, looked up at the first array, so that importing xenmm never
# imports NumPy.

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyArray_Descr
    ctypedef struct PyArrayObject
    ctypedef struct NpyIter
    ctypedef Py_ssize_t npy_intp
    ctypedef uint32_t npy_uint32
    ctypedef int NpyIter_IterNextFunc(NpyIter *) noexcept nogil
    enum: NPY_UINT64, NPY_BOOL, NPY_KEEPORDER, NPY_CORDER, NPY_EQUIV_CASTING
    enum: NPY_ITER_EXTERNAL_LOOP, NPY_ITER_BUFFERED, NPY_ITER_ZEROSIZE_OK, NPY_ITER_READONLY
    enum: NPY_ITER_READWRITE, NPY_ITER_NBO, NPY_ITER_ALIGNED, NPY_ITER_CONTIG, NPY_ITER_NO_BROADCAST
    int _import_array() except -1
    bint PyArray_Check(object)
    bint PyArray_CheckExact(object)
    int PyArray_NDIM(PyArrayObject *) noexcept nogil
    npy_intp *PyArray_DIMS(PyArrayObject *) noexcept nogil
    npy_intp *PyArray_STRIDES(PyArrayObject *) noexcept nogil
    npy_intp PyArray_SIZE(PyArrayObject *) noexcept nogil
    npy_intp PyArray_ITEMSIZE(PyArrayObject *) noexcept nogil
    void *PyArray_DATA(PyArrayObject *) noexcept nogil
    bint PyArray_ISUNSIGNED(PyArrayObject *) noexcept nogil
    bint PyArray_ISBOOL(PyArrayObject *) noexcept nogil
    bint PyArray_ISALIGNED(PyArrayObject *) noexcept nogil
    bint PyArray_ISNOTSWAPPED(PyArrayObject *) noexcept nogil
    bint PyArray_ISWRITEABLE(PyArrayObject *) noexcept nogil
    bint PyArray_IS_C_CONTIGUOUS(PyArrayObject *) noexcept nogil
    bint PyArray_IS_F_CONTIGUOUS(PyArrayObject *) noexcept nogil
    PyArray_Descr *PyArray_DescrFromType(int)
    object PyArray_NewLikeArray(PyArrayObject *, int order, PyArray_Descr *, int subok)
    NpyIter *NpyIter_AdvancedNew(
        int, PyArrayObject **, npy_uint32, int order, int casting, npy_uint32 *, PyArray_Descr **,
        int, int **, npy_intp *, npy_intp
    ) except NULL
    int NpyIter_Deallocate(NpyIter *) except 0
    NpyIter_IterNextFunc *NpyIter_GetIterNext(NpyIter *, char **) except NULL
    char **NpyIter_GetDataPtrArray(NpyIter *)
    npy_intp *NpyIter_GetInnerLoopSizePtr(NpyIter *)
    npy_intp NpyIter_GetIterSize(NpyIter *)

# Values from which the GIL is given up: below, taking it back costs more than the loop.
cdef enum:
    RELEASE_FROM = 2048
    BUFFER_VALUES = 1024

cdef bint _numpy_ready = False


cdef bint _is_array(object x) except -1:
    global _numpy_ready
    if not _numpy_ready:
        if "numpy" not in sys.modules:
            return False
        _import_array()
        _numpy_ready = True
    return PyArray_Check(x)


cdef void _require_type(object x, str name) except *:
    """A plain ndarray (or memmap): what other subclasses mean by their elements is not known here."""
    if not PyArray_CheckExact(x) and type(x) is not sys.modules["numpy"].memmap:
        raise TypeError(f"{name} is a {type(x).__name__}; pass a plain array, numpy.asarray({name})")


cdef inline bint _is_u64(PyArrayObject *a) noexcept:
    return PyArray_ISUNSIGNED(a) and PyArray_ITEMSIZE(a) == 8


cdef void _require_u64(object x, str name) except *:
    _require_type(x, name)
    if not _is_u64(<PyArrayObject *>x):
        raise TypeError(f"{name} has dtype {x.dtype}, not uint64; convert it by {name}.astype('uint64')")


cdef void _extent(PyArrayObject *a, char **start, char **end) noexcept nogil:
    # The bytes that an array of at least one element can touch.
    cdef int i
    cdef npy_intp reach
    start[0] = <char *>PyArray_DATA(a)
    end[0] = start[0] + PyArray_ITEMSIZE(a)
    for i in range(PyArray_NDIM(a)):
        reach = (PyArray_DIMS(a)[i] - 1) * PyArray_STRIDES(a)[i]
        if reach < 0:
            start[0] += reach
        else:
            end[0] += reach


cdef bint _same_shape(PyArrayObject *a, PyArrayObject *b) noexcept:
    cdef int i
    if PyArray_NDIM(a) != PyArray_NDIM(b):
        return False
    for i in range(PyArray_NDIM(a)):
        if PyArray_DIMS(a)[i] != PyArray_DIMS(b)[i]:
            return False
    return True


cdef bint _same_layout(PyArrayObject *a, PyArrayObject *b) noexcept:
    # Shapes are known to be equal.
    cdef int i
    if PyArray_DATA(a) != PyArray_DATA(b) or PyArray_ITEMSIZE(a) != PyArray_ITEMSIZE(b):
        return False
    for i in range(PyArray_NDIM(a)):
        if PyArray_DIMS(a)[i] > 1 and PyArray_STRIDES(a)[i] != PyArray_STRIDES(b)[i]:
            return False
    return True


cdef bint _self_overlap(PyArrayObject *a):
    """Whether two elements may share a byte; of interleaved windows it is said, even where they do not."""
    cdef int i
    cdef list axes = []
    if PyArray_IS_C_CONTIGUOUS(a) or PyArray_IS_F_CONTIGUOUS(a):
        return False
    for i in range(PyArray_NDIM(a)):
        if PyArray_DIMS(a)[i] > 1:
            axes.append((abs(PyArray_STRIDES(a)[i]), PyArray_DIMS(a)[i]))
    reach = PyArray_ITEMSIZE(a)
    for stride, length in sorted(axes):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False


cdef void _require_out(object x, object out, Conversion what, str name) except *:
    """out= is a plain writable array of the right dtype and shape, and is x or apart from it."""
    if not _is_array(out):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    _require_type(out, "out")
    cdef PyArrayObject *a = <PyArrayObject *>x
    cdef PyArrayObject *o = <PyArrayObject *>out
    if what == XK_MFN_VALID and not PyArray_ISBOOL(o):
        raise TypeError(f"out has dtype {out.dtype}; verdicts are bool")
    if what != XK_MFN_VALID and not _is_u64(o):
        raise TypeError(f"out has dtype {out.dtype}, not uint64")
    if x is out and PyArray_ISWRITEABLE(o) and PyArray_IS_C_CONTIGUOUS(o):
        return
    if not _same_shape(a, o):
        raise ValueError(f"out has shape {out.shape}, {name} has {x.shape}")
    if not PyArray_ISWRITEABLE(o):
        raise ValueError("out is read-only")
    if PyArray_SIZE(o) == 0:
        return
    if _self_overlap(o):
        raise ValueError("elements of out overlap each other in memory")
    cdef char *a_start
    cdef char *a_end
    cdef char *o_start
    cdef char *o_end
    _extent(a, &a_start, &a_end)
    _extent(o, &o_start, &o_end)
    if a_end <= o_start or o_end <= a_start or _same_layout(a, o):
        return
    numpy = sys.modules["numpy"]
    try:
        shared = numpy.shares_memory(x, out, max_work=100_000)
    except numpy.exceptions.TooHardError:
        shared = True
    if shared:
        raise ValueError(f"out overlaps {name} in part; it must be {name} itself or apart from it")


cdef inline npy_intp _run(
    const xk_plan *plan, Conversion what, const void *source, void *target, npy_intp n, bint checked
) noexcept nogil:
    if what == XK_MFN_VALID:
        xk_mfn_valid(plan, <const uint64_t *>source, <uint8_t *>target, n)
        return n
    return xk_convert(plan, what, <const uint64_t *>source, <uint64_t *>target, n, checked)


cdef inline bint _plain_memory(PyArrayObject *a) noexcept:
    return PyArray_ISALIGNED(a) and PyArray_ISNOTSWAPPED(a)


cdef npy_intp _run_strided(
    const xk_plan *plan, Conversion what, PyArrayObject *a, PyArrayObject *o, bint checked
) except -1:
    """Any layout, alignment and byte order, through NumPy's buffers. Returns as xk_convert() does."""
    cdef (PyArrayObject *)[2] operands = [a, o]
    # The output's buffers are read too: what lies behind a refused value must be written back unchanged.
    cdef npy_uint32[2] flags = [
        NPY_ITER_READONLY | NPY_ITER_NBO | NPY_ITER_ALIGNED | NPY_ITER_CONTIG,
        NPY_ITER_READWRITE | NPY_ITER_NBO | NPY_ITER_ALIGNED | NPY_ITER_CONTIG | NPY_ITER_NO_BROADCAST,
    ]
    cdef NpyIter *walk = NpyIter_AdvancedNew(
        2, operands, NPY_ITER_EXTERNAL_LOOP | NPY_ITER_BUFFERED | NPY_ITER_ZEROSIZE_OK,
        NPY_CORDER if checked else NPY_KEEPORDER, NPY_EQUIV_CASTING, flags, NULL,
        -1, NULL, NULL, BUFFER_VALUES,
    )
    cdef NpyIter_IterNextFunc *next_buffer
    cdef char **data
    cdef npy_intp *size
    cdef npy_intp done = 0, part
    try:
        if NpyIter_GetIterSize(walk) > 0:
            next_buffer = NpyIter_GetIterNext(walk, NULL)
            data = NpyIter_GetDataPtrArray(walk)
            size = NpyIter_GetInnerLoopSizePtr(walk)
            with nogil:
                while True:
                    part = _run(plan, what, data[0], data[1], size[0], checked)
                    done += part
                    if part < size[0] or not next_buffer(walk):
                        break
    finally:
        # Writes the last buffer back.
        NpyIter_Deallocate(walk)
    return done


cdef object _refuse_element(const xk_plan *plan, Conversion what, object x, npy_intp flat):
    order = "C" if x.flags.c_contiguous or not x.flags.f_contiguous else "F"
    index = tuple(map(int, sys.modules["numpy"].unravel_index(flat, x.shape, order=order)))
    shown = index[0] if len(index) == 1 else index
    value = int(x[index])
    cdef const xenmm_params *p = <const xenmm_params *>plan
    raise FrameError(f"{_INPUTS[what]} {value:#x} at index {shown} {_why_not(p, what, value)}")


cdef object _convert_array(const xk_plan *plan, Conversion what, object x, object out, bint checked):
    """The conversion of an array: straight through the loops where memory is plain, else by buffers."""
    cdef PyArrayObject *a = <PyArrayObject *>x
    cdef npy_intp done, n
    if not (PyArray_CheckExact(x) and _is_u64(a)):
        _require_u64(x, _INPUTS[what])
    if out is None:
        out = PyArray_NewLikeArray(
            a, NPY_KEEPORDER, PyArray_DescrFromType(NPY_BOOL if what == XK_MFN_VALID else NPY_UINT64), 0
        )
    else:
        _require_out(x, out, what, _INPUTS[what])
    cdef PyArrayObject *o = <PyArrayObject *>out
    n = PyArray_SIZE(a)
    if _plain_memory(a) and _plain_memory(o) and (
        (PyArray_IS_C_CONTIGUOUS(a) and PyArray_IS_C_CONTIGUOUS(o))
        or (PyArray_IS_F_CONTIGUOUS(a) and PyArray_IS_F_CONTIGUOUS(o))
    ):
        if n < RELEASE_FROM:
            done = _run(plan, what, PyArray_DATA(a), PyArray_DATA(o), n, checked)
        else:
            with nogil:
                done = _run(plan, what, PyArray_DATA(a), PyArray_DATA(o), n, checked)
    else:
        done = _run_strided(plan, what, a, o, checked)
    if done < n:
        _refuse_element(plan, what, x, done)
    return out
