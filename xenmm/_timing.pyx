# cython: language_level=3, freethreading_compatible=False
"""The timing engine's face to Python: it builds the C state, takes buffers and numbers, and hands out
counts.

The rules stand in _timing_kernels.h (the loops), in xenmm.timing.levels and xenmm.timing.config (what may be
asked for). Nothing here judges a configuration: xenmm.timing has validated it.
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from operator import index as whole_number

from .errors import ConfigError, FrameError, need_one_of

cdef dict POLICY = {"lru": 0, "fifo": 1, "plru": 2, "random": 3}
cdef dict PAGE_SIZE = {"4k": 0, "2m": 1, "1g": 2}
KINDS = ("read", "write", "execute", "walk", "prefetch", "writeback", "victim")


def instruction_sets():
    """Return the names of the loops that this processor can run, the best last."""
    return tuple((<bytes> xt_all_functions[i].name).decode() for i in range(xt_functions_count()))


cdef uint64_t _mix(uint64_t x) noexcept nogil:
    # splitmix64 (Steele, Lea and Flood 2014): any seed, 0 too, gives each table a non-zero state of its own.
    x += <uint64_t> 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t> 0x94D049BB133111EB
    x ^= x >> 31
    return x if x else 1


cdef uint64_t _api_access(void *engine, uint64_t virt, unsigned kind) noexcept nogil:
    cdef xt_engine *h = <xt_engine *> engine
    return h.functions.access(h, virt, kind, 1, 0) if kind <= 2 else XT_NO_COST


cdef size_t _api_run(void *engine, const uint64_t *virt, const uint8_t *kinds, size_t n) noexcept nogil:
    cdef xt_engine *h = <xt_engine *> engine
    return h.functions.run(h, virt, kinds, n)


cdef void _release(object capsule) noexcept:
    Py_DECREF(<object> PyCapsule_GetContext(capsule))


cdef class EngineCore:
    """EngineCore(hierarchy, space, seed=0, instruction_set=None)
    --

    The caches, TLBs and page walks of one core; `xenmm.timing.Engine` adds runs and results.
    """

    def __cinit__(self):
        self.state = <xt_engine *> calloc(1, sizeof(xt_engine))
        if self.state == NULL or not xt_buffers_init(self.state):
            raise MemoryError("the engine's buffers")
        # Until __init__ has built something, there is memory alone.
        self.state.functions = &xt_all_functions[0]
        self.state.entry[0] = self.state.entry[1] = self.state.special = self.state.walk_entry = -1
        self.state.identity = 1
        self.state.memo.line_shift = 6
        self.api.abi_version = XENMM_TIMING_ABI
        self.api.engine = self.state
        self.api.access = _api_access
        self.api.run = _api_run

    def __dealloc__(self):
        if self.state != NULL:
            xt_free(self.state)
            free(self.state)
        free(self._runs)
        for level in range(5):
            free(self._pt[level])

    def __init__(self, hierarchy, space, seed=0, instruction_set=None):
        if self._table_of is not None:
            raise TypeError("an engine is made once")
        if not isinstance(seed, int) or not 0 <= seed < 1 << 64:
            raise ConfigError(f"seed: {seed!r} is not an integer in [0, 2**64)")
        self.hierarchy = hierarchy
        self.space = space
        self.seed = seed
        self._table_of = {}
        self._choose_functions(instruction_set)
        self._build_caches()
        self._build_tlbs()
        self._build_walk()
        self._build_space()
        self._choose_loops()
        self.flush()

    cdef _choose_functions(self, name):
        names = instruction_sets()
        if name is None:
            name = names[len(names) - 1]
        need_one_of("instruction_set", name, names)
        self.state.functions = &xt_all_functions[names.index(name)]

    cdef int _table(self, str name, uint64_t sets, uint32_t assoc, str replacement) except -1:
        cdef int index = self.state.tables
        if index == XT_MAX_TABLES:
            raise ConfigError(f"{name}: more than {XT_MAX_TABLES} caches and TLBs")
        if not xt_table_init(&self.state.table[index], sets, assoc, <int> POLICY[replacement]):
            raise MemoryError(f"the tags of {name}")
        self.state.tables += 1
        self._table_of[name] = index
        return index

    cdef _build_caches(self):
        cdef xt_engine *h = self.state
        cdef xt_table *t
        cdef int side
        for c in self.hierarchy.caches:
            t = &h.table[self._table("cache." + c.name, c.sets, c.assoc, c.replacement)]
            t.line_shift = c.line.bit_length() - 1
            t.latency = c.latency
            t.prefetch = c.prefetch == "next-line"
            t.exclusive = c.content == "exclusive"
            t.arrival_is_use = c.arrival == "use"
        h.caches = h.tables
        for c in self.hierarchy.caches:
            if c.parent is not None:
                h.table[<int> self._table_of["cache." + c.name]].parent = self._table_of["cache." + c.parent]
        for side, entry in enumerate(self.hierarchy.entries()):
            h.entry[side] = -1 if entry is None else self._table_of["cache." + entry.name]
        h.memory_latency = self.hierarchy.memory.latency

    cdef _build_tlbs(self):
        cdef xt_engine *h = self.state
        cdef xt_table *t
        cdef int index, level, side
        memset(h.tlb, 0xff, sizeof(h.tlb))
        for tlb in self.hierarchy.tlbs:
            index = self._table("tlb." + tlb.name, tlb.entries // tlb.assoc, tlb.assoc, tlb.replacement)
            t = &h.table[index]
            t.latency = tlb.latency
            level = tlb.level - 1
            h.tlb_levels = max(h.tlb_levels, level + 1)
            for size in tlb.page_sizes:
                t.held[<int> PAGE_SIZE[size]] = <int> PAGE_SIZE[tlb.splits.get(size, size)]
                for side in range(2):
                    if tlb.holds in ("all", ("data", "instruction")[side]):
                        h.tlb[level][side][<int> PAGE_SIZE[size]] = index

    cdef _build_walk(self):
        cdef xt_engine *h = self.state
        walk = self.hierarchy.walk
        for level in range(5):
            h.walk_cache[level] = -1
        if walk is None:
            return
        h.walk_enabled = 1
        h.walk_latency = walk.latency
        h.walk_entry = h.entry[0] if walk.entry is None else self._table_of["cache." + walk.entry]
        for level, entries, assoc in walk.tables():
            h.walk_cache[<int> level] = self._table(f"walk.level{level}", entries // assoc, assoc, "lru")

    cdef _build_space(self):
        cdef xt_engine *h = self.state
        cdef size_t i
        space = self.space
        h.identity = space.is_identity
        runs = [] if h.identity else list(space.runs())
        self._runs = <xt_run *> calloc(len(runs) + 1, sizeof(xt_run))
        if self._runs == NULL:
            raise MemoryError("the address space's runs")
        for i, (start, last, delta, size) in enumerate(runs):
            self._runs[i].start = start
            self._runs[i].last = last
            self._runs[i].delta = delta
            self._runs[i].size = <int> PAGE_SIZE[size]
        h.runs = self._runs
        h.run_count = len(runs)
        tables = space.table_runs()
        for level in range(1, 5):
            placed = tables[level]
            self._pt[level] = <xt_pt_run *> calloc(len(placed) + 1, sizeof(xt_pt_run))
            if self._pt[level] == NULL:
                raise MemoryError("the page tables' runs")
            for i, (start, last, maddr) in enumerate(placed):
                self._pt[level][i].start = start
                self._pt[level][i].last = last
                self._pt[level][i].maddr = maddr
            h.pt[level] = self._pt[level]
            h.pt_count[level] = len(placed)

    cdef bint _hears(self, int cache):
        cdef xt_table *t = &self.state.table[cache]
        return t.prefetch or t.exclusive or (t.parent >= 0 and self.state.table[t.parent].exclusive)

    cdef _choose_loops(self):
        # Level by level is exact when each level hears only from the one above: one chain of ordinary caches.
        # From the first one on that hears from below, lines go one by one.
        cdef xt_engine *h = self.state
        cdef int i, side, size
        cdef size_t r
        # Where data has a first cache, instructions have one: their own, or that of data.
        cdef bint chain = h.entry[0] >= 0
        h.special = -1
        if chain:
            chain = h.table[h.entry[0]].parent == h.table[h.entry[1]].parent or h.entry[0] == h.entry[1]
            chain = chain and not self._hears(h.entry[0]) and not self._hears(h.entry[1])
            i = h.table[h.entry[0]].parent
            while i >= 0 and chain:
                if self._hears(i) or h.chain_length == XT_MAX_LEVELS:
                    h.special = i
                    break
                h.chain[h.chain_length] = i
                h.chain_length += 1
                i = h.table[i].parent
        h.memo_allowed = h.entry[0] >= 0 and not h.table[h.entry[0]].prefetch
        used = {0} if h.identity else {self._runs[r].size for r in range(h.run_count)}
        for side in range(2):
            for size in used:
                if h.tlb_levels and h.tlb[0][side][<int> size] < 0:
                    chain = False
        if h.walk_enabled and h.walk_entry != h.entry[0]:
            chain = False
        h.tlb_split = 0
        for i in range(h.tlb_levels):
            for size in range(3):
                if h.tlb[i][0][size] != h.tlb[i][1][size]:
                    h.tlb_split = 1
        h.virtual_index = 0
        if chain:
            for side in range(2):
                i = h.entry[side]
                if not h.table[i].power_of_two or (h.table[i].sets << h.table[i].line_shift) > 4096:
                    h.virtual_index = 1
        h.batch = chain
        h.memo.line_shift = 6
        if h.entry[0] >= 0:
            # The shorter line of the two first caches: what repeats it repeats the line of either.
            h.memo.line_shift = min(h.table[h.entry[0]].line_shift, h.table[h.entry[1]].line_shift)
            h.memo.latency = h.table[h.entry[0]].latency

    def flush(self):
        """Empty every cache and TLB, start the random policies anew, and reset the counts."""
        cdef int i
        if self._busy:
            self._refuse()
        for i in range(self.state.tables):
            xt_table_clear(&self.state.table[i], _mix(<uint64_t> self.seed + <uint64_t> i * 0x10001))
        self.state.memo.valid = 0
        self.state.dirty = 0
        self.reset_counts()

    def reset_counts(self):
        """Set every count to zero; what the caches and TLBs hold stays."""
        cdef int i
        self.state.memo.repeats[0] = 0
        self.state.memo.repeats[1] = 0
        for i in range(self.state.tables):
            memset(self.state.table[i].hits, 0, sizeof(self.state.table[i].hits))
            memset(self.state.table[i].misses, 0, sizeof(self.state.table[i].misses))
            self.state.table[i].writebacks = 0
            self.state.table[i].prefetches = 0
        memset(&self.state.counts, 0, sizeof(xt_counts))

    # ---- one access ----

    def load(self, virt, /):
        """Simulate one read of one byte and return its cycles."""
        return self._one(virt, 0)

    def store(self, virt, /):
        """Simulate one write of one byte and return its cycles."""
        return self._one(virt, 1)

    def fetch(self, virt, /):
        """Simulate one instruction fetch of one byte and return its cycles."""
        return self._one(virt, 2)

    def access(self, virt, kind=0, size=1, straddle="both"):
        """Simulate one access of `size` bytes and return its cycles."""
        if kind not in (0, 1, 2):
            raise ConfigError(f"kind: {kind!r} is not 0 (read), 1 (write) or 2 (execute)")
        if not isinstance(size, int) or not 1 <= size <= XT_MAX_BYTES:
            raise ConfigError(f"size: {size!r} is not a number of bytes in [1, {XT_MAX_BYTES}]")
        if straddle not in ("both", "once"):
            raise ConfigError(f"straddle: {straddle!r} is not 'both' or 'once'")
        cdef uint64_t address = self._address(virt)
        if self._busy:
            self._refuse()
        return self._cost(
            self.state.functions.access(self.state, address, <int> kind, <int> size, straddle == "once"))

    cdef uint64_t _address(self, virt) except? 0:
        try:
            return virt if type(virt) is int else whole_number(virt)
        except OverflowError:
            raise FrameError(f"address {virt:#x} is outside [0, 2**64)") from None

    cdef _one(self, virt, unsigned kind):
        cdef uint64_t address = self._address(virt)
        if self._busy:
            self._refuse()
        cdef uint64_t cycles = xenmm_timing_access(&self.api, address, kind)
        if cycles == XT_NO_COST:
            self._unmapped()
        return cycles

    cdef _cost(self, uint64_t cycles):
        if cycles == XT_NO_COST:
            self._unmapped()
        return cycles

    cdef _refuse(self):
        # The blocks run without the interpreter's lock.
        raise RuntimeError("another thread is using this engine")

    cdef _unmapped(self):
        raise FrameError(f"address {self.state.fault:#x} is not mapped by the address space")

    @property
    def fault(self):
        """The last address that the address space does not map."""
        return self.state.fault

    # ---- many accesses ----

    def simulate(self, addresses, kinds=None, sizes=None, straddle="both", start=0, stop=None):
        """Simulate accesses [start, stop) of the arrays; return how many were done until one is not mapped.

        Parameters
        ----------
        addresses : buffer of uint64, shape (n,), C-contiguous
        kinds : buffer of uint8, shape (n,), optional
            0 read, 1 write, 2 execute.
        sizes : buffer of uint8 or uint16, shape (n,), optional
            Bytes of each access, from 1.
        """
        cdef Py_buffer a, k, s
        cdef size_t n, first, last, done = 0
        cdef const uint64_t *virt
        cdef const uint8_t *kind = NULL
        if self._busy:
            self._refuse()
        _acquire(addresses, &a, "addresses", b"QL", 8)
        try:
            n = <size_t> a.len // 8
            virt = <const uint64_t *> a.buf
            last = n if stop is None else stop
            first = start
            if last > n or first > last:
                raise ConfigError(f"start, stop: [{start}, {stop}) is not inside the {n} accesses")
            if kinds is not None:
                _acquire(kinds, &k, "kinds", b"B", 1)
            try:
                if kinds is not None:
                    if <size_t> k.len != n:
                        raise ConfigError(f"kinds: {k.len} kinds for {n} addresses")
                    kind = <const uint8_t *> k.buf
                    _check_kinds(kind, first, last)
                if sizes is None:
                    self._busy = True
                    with nogil:
                        done = self.state.functions.run(
                            self.state, virt + first, kind + first if kind != NULL else NULL, last - first)
                    self._busy = False
                    return done
                _acquire(sizes, &s, "sizes", b"BH", 0)
                try:
                    if <size_t> (s.len // s.itemsize) != n:
                        raise ConfigError(f"sizes: {s.len // s.itemsize} sizes for {n} addresses")
                    _check_sizes(<const uint8_t *> s.buf, <int> s.itemsize, first, last)
                    self._busy = True
                    done = self._sized(
                        virt, kind, <const uint8_t *> s.buf, <int> s.itemsize, straddle == "once",
                        first, last)
                    self._busy = False
                    return done
                finally:
                    PyBuffer_Release(&s)
            finally:
                if kinds is not None:
                    PyBuffer_Release(&k)
        finally:
            PyBuffer_Release(&a)

    cdef size_t _sized(self, const uint64_t *virt, const uint8_t *kinds, const uint8_t *sizes, int width,
                       bint once, size_t first, size_t last) except? 0:
        # Accesses inside one line go in blocks; one that crosses lines goes alone, between the blocks.
        cdef size_t i, begin = first, done
        cdef uint64_t size, line = <uint64_t> 1 << self.state.memo.line_shift
        cdef unsigned kind
        with nogil:
            for i in range(first, last + 1):
                if i < last:
                    size = sizes[i] if width == 1 else (<const unsigned short *> sizes)[i]
                    if (virt[i] & (line - 1)) + size <= line:
                        continue
                if begin < i:
                    done = self.state.functions.run(
                        self.state, virt + begin, kinds + begin if kinds != NULL else NULL, i - begin)
                    if done < i - begin:
                        return begin + done - first
                if i < last:
                    kind = kinds[i] if kinds != NULL else 0
                    if self.state.functions.access(self.state, virt[i], kind, size, once) == XT_NO_COST:
                        return i - first
                begin = i + 1
        return last - first

    # ---- counts ----

    def counts(self):
        """Return every count since the last reset: dicts of numbers, and of lists in the order of `KINDS`."""
        cdef xt_engine *h = self.state
        if self._busy:
            self._refuse()
        self._drain()
        tables = {}
        for name, index in (self._table_of or {}).items():
            tables[name] = {
                "hits": [h.table[<int> index].hits[i] for i in range(XT_KINDS)],
                "misses": [h.table[<int> index].misses[i] for i in range(XT_KINDS)],
                "writebacks": h.table[<int> index].writebacks,
                "prefetches": h.table[<int> index].prefetches,
            }
        return {
            "accesses": [h.counts.accesses[i] for i in range(3)],
            "tables": tables,
            "walks": [h.counts.walks[i] for i in range(3)],
            "walk_reads": h.counts.walk_reads,
            "walk_reads_level": [h.counts.walk_reads_level[i] for i in range(5)],
            "memory_reads": [h.counts.memory_reads[i] for i in range(XT_KINDS)],
            "memory_writes": h.counts.memory_writes,
        }

    cdef _drain(self):
        # A run of nothing moves the fast path's hits into the counts.
        self.state.functions.run(self.state, NULL, NULL, 0)

    @property
    def capsule(self):
        """A capsule with the ``xenmm_timing_api`` of this engine; the engine lives as long as it does."""
        capsule = PyCapsule_New(<void *> &self.api, XENMM_TIMING_CAPSULE, _release)
        Py_INCREF(self)
        PyCapsule_SetContext(capsule, <void *> self)
        return capsule

    @property
    def instruction_set(self):
        """The name of the loops in use."""
        return (<bytes> self.state.functions.name).decode()

    @property
    def level_by_level(self):
        """Whether blocks go through the fast loops, or each access through everything."""
        return bool(self.state.batch)

    @property
    def tag_bytes(self):
        """Memory that the tags of all caches and TLBs take, in bytes."""
        cdef int i
        cdef uint64_t total = 0
        for i in range(self.state.tables):
            total += self.state.table[i].sets * self.state.table[i].lanes * 8
        return total


cdef _check_kinds(const uint8_t *kinds, size_t first, size_t last):
    cdef size_t i
    cdef uint8_t worst = 0
    for i in range(first, last):
        worst |= kinds[i] > 2
    if worst:
        for i in range(first, last):
            if kinds[i] > 2:
                raise ConfigError(f"kinds[{i}]: {kinds[i]} is not 0 (read), 1 (write) or 2 (execute)")


cdef _check_sizes(const uint8_t *sizes, int width, size_t first, size_t last):
    cdef size_t i
    cdef unsigned size
    for i in range(first, last):
        size = sizes[i] if width == 1 else (<const unsigned short *> sizes)[i]
        if not 1 <= size <= XT_MAX_BYTES:
            raise ConfigError(f"sizes[{i}]: {size} is not a number of bytes in [1, {XT_MAX_BYTES}]")


cdef _acquire(obj, Py_buffer *view, str name, bytes formats, int itemsize):
    if not PyObject_CheckBuffer(obj):
        raise ConfigError(f"{name}: {type(obj).__name__} is not a buffer")
    try:
        PyObject_GetBuffer(obj, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (BufferError, ValueError) as e:
        raise ConfigError(f"{name}: {e}") from None
    cdef bytes fmt = b"B" if view.format == NULL else <bytes> view.format
    if view.ndim != 1 or fmt.lstrip(b"@=<") not in [bytes([f]) for f in formats] or (
            itemsize and view.itemsize != itemsize):
        shape = [view.shape[i] for i in range(view.ndim)]
        PyBuffer_Release(view)
        wanted = {b"QL": "uint64", b"B": "uint8", b"BH": "uint8 or uint16"}[formats]
        raise ConfigError(
            f"{name}: a contiguous array of {wanted} and one dimension is needed, not format "
            f"{fmt.decode()!r} and shape {shape}")
