# SPDX-License-Identifier: MIT
# Reserved address space for the tables, and views of it. Included by _machine.pyx.

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/mman.h>
    #include <unistd.h>
    """
    void *mmap(void *, size_t, int, int, int, long) nogil
    int munmap(void *, size_t) nogil
    int madvise(void *, size_t, int) nogil
    int memfd_create(const char *, unsigned int) nogil
    int ftruncate(int, long) nogil
    int close(int) nogil
    const int PROT_NONE
    const int PROT_READ
    const int PROT_WRITE
    const int MAP_PRIVATE
    const int MAP_SHARED
    const int MAP_ANONYMOUS
    const int MAP_NORESERVE
    const int MAP_FIXED
    const int MADV_DONTNEED
    const int MFD_CLOEXEC
    void *MAP_FAILED


cdef uint64_t _PATTERN_BYTES = 2 << 20


cdef object _no_memory(str what, uint64_t size):
    return MachineError(
        f"this system gives no {size:#x} bytes of address space for {what}; a live machine needs memory "
        f"overcommit (vm.overcommit_memory 0 or 1) and no limit on address space (ulimit -v)"
    )


cdef class _Table:
    """Reserved address space, backed in whole pages where :meth:`commit` was called."""

    def __cinit__(self, uint64_t reserved, str what):
        self.pattern_fd = -1
        self.reserved = reserved
        cdef void *base = mmap(
            NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
        )
        if base == MAP_FAILED:
            raise _no_memory(what, reserved)
        self.base = <char *>base

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.reserved)
        if self.pattern_fd >= 0:
            close(self.pattern_fd)

    cdef int commit_zero(self, uint64_t offset, uint64_t size) except -1:
        cdef void *at = mmap(
            self.base + offset, size, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0
        )
        if at == MAP_FAILED:
            raise _no_memory("a table", size)
        self.committed += size
        return 0

    cdef int commit_pattern(self, uint64_t offset, uint64_t size, int value) except -1:
        # One file of a few chunks, one for each value, mapped again and again; a write makes a private copy.
        cdef uint64_t done = 0, step
        cdef void *at
        if self.pattern_fd < 0:
            self._make_patterns()
        while done < size:
            step = min(size - done, _PATTERN_BYTES)
            at = mmap(
                self.base + offset + done, step, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, self.pattern_fd,
                _PATTERN_BYTES * {0x55: 0, 0x77: 1, 0xff: 2}[value]
            )
            if at == MAP_FAILED:
                raise _no_memory("a table", size)
            done += step
        self.committed += size
        return 0

    cdef int _make_patterns(self) except -1:
        cdef int fd = memfd_create(b"xenmm-patterns", MFD_CLOEXEC)
        if fd < 0:
            raise MachineError(f"no memory file for the tables' patterns: {os.strerror(errno.ENOSYS)}")
        self.pattern_fd = fd
        with open(fd, "wb", closefd=False) as file:
            for value in (0x55, 0x77, 0xff):
                file.write(bytes([value]) * _PATTERN_BYTES)
        return 0


cdef class TableView:
    """The buffer of one run of a table: zero copy, and the machine lives as long as it does."""

    cdef object owner
    cdef void *at
    cdef Py_ssize_t size
    cdef bint writable

    def __init__(self):
        raise TypeError("views come from a machine")

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.at, self.size, not self.writable, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        pass


cdef TableView _view(object owner, void *at, Py_ssize_t size, bint writable):
    cdef TableView view = TableView.__new__(TableView)
    view.owner = owner
    view.at = at
    view.size = size
    view.writable = writable
    return view
