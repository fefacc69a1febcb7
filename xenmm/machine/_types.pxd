# SPDX-License-Identifier: MIT
"""Type counts, and page tables as what they exclude: validation, entries, pins.

Follows xen/arch/x86/mm.c: _get_page_type, _put_page_type, alloc_l1_table to free_l4_table, get_page_from_l1e
and put_page_from_l1e with their siblings, mod_l1_entry to mod_l4_entry, do_mmu_update, and do_mmuext_op for
MMUEXT_PIN_L1_TABLE to MMUEXT_UNPIN_TABLE. Types exclude one another: a page changes its type only while
nobody uses it as the old one. A table's entries hold what they name: a writable L1 entry a reference and a
writable type reference of its page, so that no page is a table and writable at once.

Differs from Xen: one lock guards the machine, so nothing is preempted and no table is half validated; tables
do not refer to their own level (as with CONFIG_PV_LINEAR_PT off); an entry names pages of the table's owner
and I/O frames only; entries stay as they were given, where Xen adds user and cache bits; descriptors in
seg_desc pages are counted as validated and not looked at.
"""

from libc.errno cimport EBUSY, EINVAL, ENOMEM, EOPNOTSUPP, EPERM
from libc.stdint cimport uint32_t, uint64_t

from xenmm.machine._frames cimport mfn_to_page, mfn_valid, page_to_pdx
from xenmm.machine._page_tables cimport (
    PTE_FRAME,
    PTE_PRESENT,
    PTE_RW,
    TABLE_ENTRIES,
    pte_mfn,
    table_get,
    table_of,
    table_reserve,
    table_set,
    table_tidy,
)
from xenmm.machine._pages cimport get_page, io_permitted, owner_of, page_get_owner_and_reference, put_page
from xenmm.machine._state cimport (
    PGC_STATE,
    PGT_COUNT,
    PGT_L4,
    PGT_PINNED,
    PGT_TYPE,
    PGT_VALIDATED,
    PGT_WRITABLE,
    domain,
    machine,
    page_info,
)
from xenmm.machine._tlb cimport tlb_flush_stale, tlb_stamp


cdef extern from *:
    """
    #define XENMM_PTE_UNCHECKED ((0xfffull << 52) | 0xf64ull)
    """
    # Bits that a guest may change in an entry without a new look at it: NX, available ones, global, dirty,
    # accessed, user (FASTPATH_FLAG_WHITELIST). With the frame number these say what an entry holds.
    const uint64_t PTE_UNCHECKED "XENMM_PTE_UNCHECKED"


cdef enum:
    # No guest sets these (BASE_DISALLOW_MASK); in L1 entries global is free, and the three that choose a
    # cache type for who may map I/O (l1_disallow_mask).
    PTE_DISALLOWED = 0x198
    PTE_GLOBAL = 0x100
    PTE_CACHE = 0x98
    # Root slots that are Xen's own: ROOT_PAGETABLE_FIRST_XEN_SLOT, ROOT_PAGETABLE_LAST_XEN_SLOT.
    FIRST_XEN_SLOT = 256
    LAST_XEN_SLOT = 271


cdef inline bint _guest_slot(uint32_t level, uint32_t index) noexcept nogil:
    return level < 4 or index < FIRST_XEN_SLOT or index > LAST_XEN_SLOT


# What one entry holds.

cdef inline int _get_l1e(machine *m, domain *d, uint64_t pte) noexcept nogil:
    cdef uint64_t mfn = pte_mfn(pte)
    cdef page_info *pg = NULL
    cdef domain *owner = NULL
    if mfn_valid(m, mfn):
        pg = mfn_to_page(m, mfn)
        owner = page_get_owner_and_reference(m, pg)
    if pg == NULL or owner == m.dom_io:
        # The reference only served to see that dom_io owns it: I/O frames are not counted.
        if pg != NULL:
            put_page(m, pg)
        if io_permitted(d, mfn):
            return 0
        return -EINVAL if mfn == PTE_FRAME >> 12 else -EPERM
    if owner != d:
        if owner != NULL:
            put_page(m, pg)
        return -EBUSY
    if pte & PTE_RW and take_type(m, pg, PGT_WRITABLE):
        put_page(m, pg)
        return -EBUSY
    return 0


cdef inline int _get_entry(machine *m, domain *d, uint32_t level, uint64_t pte) noexcept nogil:
    cdef uint64_t disallowed = PTE_DISALLOWED
    cdef page_info *pg
    cdef int rc
    if level == 1:
        disallowed = PTE_CACHE if d.nr_iomem == 0 else 0
    if pte & disallowed:
        return -EINVAL
    if level == 1:
        return _get_l1e(m, d, pte)
    if not mfn_valid(m, pte_mfn(pte)):
        return -EINVAL
    pg = mfn_to_page(m, pte_mfn(pte))
    if not get_page(m, pg, d):
        return -EINVAL
    rc = take_type(m, pg, <uint64_t>(level - 1) << 61)
    if rc:
        put_page(m, pg)
    return rc


cdef inline void _put_entry(machine *m, uint32_t level, uint64_t pte) noexcept nogil:
    cdef page_info *pg
    if not pte & PTE_PRESENT or not mfn_valid(m, pte_mfn(pte)):
        return
    pg = mfn_to_page(m, pte_mfn(pte))
    if level > 1 or pte & PTE_RW:
        if owner_of(m, pg) != m.dom_io:
            put_page_and_type(m, pg)
    elif owner_of(m, pg) != m.dom_io:
        put_page(m, pg)


# Tables.

cdef inline void _put_entries(
    machine *m, page_info *pg, uint32_t level, uint32_t end
) noexcept nogil:
    # What the entries [0, end) of a table hold is dropped; they stand there still.
    cdef uint64_t *entries = table_of(m, page_to_pdx(m, pg))
    cdef uint32_t i = end
    if entries == NULL:
        return
    while i > 0:
        i -= 1
        if _guest_slot(level, i):
            _put_entry(m, level, entries[i])


cdef inline int _validate(machine *m, page_info *pg, uint32_t level) noexcept nogil:
    # The one type reference was just taken. On failure it is gone again, and nothing is held.
    cdef uint64_t *entries = table_of(m, page_to_pdx(m, pg))
    cdef domain *d = owner_of(m, pg)
    cdef uint32_t i
    cdef int rc = 0
    if entries != NULL and d != NULL:
        for i in range(TABLE_ENTRIES):
            if not entries[i] & PTE_PRESENT or not _guest_slot(level, i):
                continue
            rc = _get_entry(m, d, level, entries[i])
            if rc == 0:
                continue
            _put_entries(m, pg, level, i)
            if level == 1 or i == 0:
                pg.type_info = 0
            else:
                # Xen tears a partly validated table down as if it had been one.
                tlb_stamp(m, pg)
                pg.type_info -= 1
            return rc
    pg.type_info |= PGT_VALIDATED
    return 0


cdef inline void invalidate(machine *m, page_info *pg) noexcept nogil:
    """A page table is none any more: its entries hold nothing. Its type references stay."""
    pg.type_info &= ~PGT_VALIDATED
    _put_entries(m, pg, <uint32_t>(pg.type_info >> 61), TABLE_ENTRIES)


# Type references.

cdef inline int take_type(machine *m, page_info *pg, uint64_t type) noexcept nogil:
    """Take a type reference; 0 or -errno. A page that becomes a table has its entries validated."""
    cdef uint64_t x = pg.type_info
    cdef domain *d
    m.n.get_page_type += 1
    if ((x + 1) & PGT_COUNT) == 0:
        return -EINVAL
    if x & PGT_COUNT:
        # Not validated though in use: a table that is being validated this very moment, or one that the end
        # of its domain invalidated.
        if (x & PGT_TYPE) != type or not x & PGT_VALIDATED:
            return -EINVAL
        pg.type_info = x + 1
        return 0
    if (x & PGT_TYPE) != type:
        if m.nr_cpus:
            d = owner_of(m, pg)
            if d != NULL:
                tlb_flush_stale(m, d.dirty_cpus, pg.context)
        x = (x & ~(PGT_TYPE | PGT_VALIDATED)) | type
        if type == PGT_WRITABLE:
            x |= PGT_VALIDATED
    pg.type_info = x + 1
    if x & PGT_VALIDATED:
        return 0
    m.n.validations += 1
    if type > PGT_L4:
        pg.type_info |= PGT_VALIDATED
        return 0
    return _validate(m, pg, <uint32_t>(type >> 61))


cdef inline bint get_page_type(machine *m, page_info *pg, uint64_t type) noexcept nogil:
    # One more of what it is in use as already is by far the most frequent, and stays in line.
    cdef uint64_t x = pg.type_info
    if (x & (PGT_TYPE | PGT_VALIDATED)) == type | PGT_VALIDATED and (x + 1) & PGT_COUNT:
        m.n.get_page_type += 1
        pg.type_info = x + 1
        return True
    return take_type(m, pg, type) == 0


cdef inline bint _put_last_type(machine *m, page_info *pg) noexcept nogil:
    # Page tables lose their validation with their last use; descriptor and writable pages keep it.
    if (pg.type_info & PGT_TYPE) <= PGT_L4 and pg.type_info & PGT_VALIDATED:
        invalidate(m, pg)
    tlb_stamp(m, pg)
    pg.type_info -= 1
    return True


cdef inline bint put_page_type(machine *m, page_info *pg) noexcept nogil:
    # False: there was no type reference to drop; nothing changed.
    cdef uint64_t x = pg.type_info
    m.n.put_page_type += 1
    if (x & PGT_COUNT) == 0 or (pg.count_info & PGC_STATE) != 0:
        return False
    if (x & PGT_COUNT) == 1 and (m.nr_cpus or (x & PGT_TYPE) <= PGT_L4):
        return _put_last_type(m, pg)
    pg.type_info = x - 1
    return True


cdef inline void put_page_and_type(machine *m, page_info *pg) noexcept nogil:
    put_page_type(m, pg)
    put_page(m, pg)


# What a guest asks for.

cdef inline page_info *_own_page(machine *m, domain *d, uint64_t mfn) noexcept nogil:
    # With a reference, or NULL.
    cdef page_info *pg
    if not mfn_valid(m, mfn):
        return NULL
    pg = mfn_to_page(m, mfn)
    return pg if get_page(m, pg, d) else NULL


cdef inline int pin_table(machine *m, domain *d, uint64_t mfn, uint32_t level) noexcept nogil:
    """Keep a page as a table of a level, 1 to 4, until it is unpinned. No page is pinned twice."""
    cdef page_info *pg
    cdef int rc
    if d.translated or d.dying or level < 1 or level > 4:
        return -EINVAL
    pg = _own_page(m, d, mfn)
    if pg == NULL:
        return -EINVAL
    rc = take_type(m, pg, <uint64_t>level << 61)
    if rc:
        put_page(m, pg)
        return rc
    if pg.type_info & PGT_PINNED:
        put_page_and_type(m, pg)
        return -EINVAL
    pg.type_info |= PGT_PINNED
    m.n.pins += 1
    return 0


cdef inline bint drop_pin(machine *m, page_info *pg) noexcept nogil:
    """Drop what a pin holds; False when there is none. The caller has a reference of its own."""
    if not pg.type_info & PGT_PINNED:
        return False
    pg.type_info &= ~PGT_PINNED
    put_page_and_type(m, pg)
    m.n.unpins += 1
    return True


cdef inline int unpin_table(machine *m, domain *d, uint64_t mfn) noexcept nogil:
    cdef page_info *pg
    cdef bint pinned
    if d.translated or d.dying:
        return -EINVAL
    pg = _own_page(m, d, mfn)
    if pg == NULL:
        return -EINVAL
    pinned = drop_pin(m, pg)
    put_page(m, pg)
    return 0 if pinned else -EINVAL


cdef inline int _mod_entry(
    machine *m, domain *d, page_info *pg, uint32_t level, uint32_t index, uint64_t pte
) noexcept nogil:
    # An entry of a table in use: what the new one names is taken before the old one's is dropped.
    cdef uint64_t pdx = page_to_pdx(m, pg), old = table_get(m, pdx, index)
    cdef bint known = old & PTE_PRESENT and not (old ^ pte) & ~PTE_UNCHECKED
    cdef uint64_t disallowed = PTE_DISALLOWED
    cdef int rc
    if not _guest_slot(level, index):
        return -EINVAL
    if pte & PTE_PRESENT:
        if level == 1:
            disallowed = PTE_CACHE if d.nr_iomem == 0 else 0
        if pte & disallowed:
            return -EINVAL
        if not known:
            rc = _get_entry(m, d, level, pte)
            if rc:
                return rc
    table_set(m, pdx, index, pte)
    if not (pte & PTE_PRESENT and known):
        _put_entry(m, level, old)
    return 0


cdef inline int _write_entry(
    machine *m, domain *d, page_info *pg, uint32_t index, uint64_t pte
) noexcept nogil:
    # By what the page is: an entry of a table is checked, any other page is only written to.
    cdef uint64_t x = pg.type_info
    cdef int rc
    if x & PGT_VALIDATED and x & PGT_COUNT:
        if (x & PGT_TYPE) <= PGT_L4:
            return _mod_entry(m, d, pg, <uint32_t>(x >> 61), index, pte)
        if (x & PGT_TYPE) != PGT_WRITABLE:
            return -EINVAL
        table_set(m, page_to_pdx(m, pg), index, pte)
        return 0
    rc = take_type(m, pg, PGT_WRITABLE)
    if rc == 0:
        table_set(m, page_to_pdx(m, pg), index, pte)
        put_page_type(m, pg)
    return rc


cdef inline int mmu_update(
    machine *m, domain *d, uint64_t mfn, uint32_t index, uint64_t pte, uint64_t *old
) noexcept nogil:
    """Write one entry of one of the domain's pages, whatever the page is in use as; ``old`` gets the old."""
    cdef page_info *pg
    cdef uint64_t pdx
    cdef int rc
    if d.translated:
        return -EOPNOTSUPP
    if d.dying or index >= TABLE_ENTRIES:
        return -EINVAL
    pg = _own_page(m, d, mfn)
    if pg == NULL:
        return -EINVAL
    pdx = page_to_pdx(m, pg)
    old[0] = table_get(m, pdx, index)
    rc = table_reserve(m, pdx)
    if rc == 0:
        rc = _write_entry(m, d, pg, index, pte)
        table_tidy(m, pdx)
        m.n.mmu_updates += rc == 0
    put_page(m, pg)
    return rc
