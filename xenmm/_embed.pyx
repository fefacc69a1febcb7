# SPDX-License-Identifier: MIT
"""What embedders need in C: the struct's values, Unicorn's TLB-fill callback, the benchmarks' yardsticks."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

cimport xenmm
from xenmm cimport XENMM_LOOKUP_ENTRIES, XENMM_PAGE_SHIFT, xenmm_params, xenmm_params_of

cdef extern from "stdbool.h":
    ctypedef bint c_bool "bool"

cdef enum:
    # Unicorn 2's uc_prot.
    UC_PROT_READ = 1
    UC_PROT_WRITE = 2
    UC_PROT_EXEC = 4

# One past the last canonical address of the lower half: what is below is left to the guest.
cdef uint64_t LOWER_HALF_END = <uint64_t>1 << 47


cdef tuple _words(const uint64_t *words, uint64_t count):
    cdef uint64_t i
    return tuple([words[i] for i in range(count)])


def struct_values(capsule):
    """The fields of the C struct behind a host's capsule, by name, in the struct's order.

    Tables are tuples of 64; ``pdx_group_valid`` is a tuple of its 64-bit words.
    """
    cdef const xenmm_params *p = xenmm_params_of(capsule)
    return {
        "abi_version": p.abi_version,
        "size": p.size,
        "mode": p.mode,
        "pfn_pdx_hole_shift": p.pfn_pdx_hole_shift,
        "pfn_pdx_bottom_mask": p.pfn_pdx_bottom_mask,
        "pfn_top_mask": p.pfn_top_mask,
        "pfn_hole_mask": p.pfn_hole_mask,
        "ma_va_bottom_mask": p.ma_va_bottom_mask,
        "ma_top_mask": p.ma_top_mask,
        "pfn_index_shift": p.pfn_index_shift,
        "pdx_index_shift": p.pdx_index_shift,
        "pdx_region_size": p.pdx_region_size,
        "pfn_pdx_lookup": _words(p.pfn_pdx_lookup, XENMM_LOOKUP_ENTRIES),
        "pdx_pfn_lookup": _words(p.pdx_pfn_lookup, XENMM_LOOKUP_ENTRIES),
        "pfn_bases": _words(p.pfn_bases, XENMM_LOOKUP_ENTRIES),
        "max_page": p.max_page,
        "max_pdx": p.max_pdx,
        "pdx_group_count": p.pdx_group_count,
        "pdx_group_valid": _words(p.pdx_group_valid, (p.pdx_group_count + 63) // 64),
        "directmap_virt_start": p.directmap_virt_start,
        "directmap_virt_end": p.directmap_virt_end,
        "frametable_virt_start": p.frametable_virt_start,
        "frametable_virt_end": p.frametable_virt_end,
        "rdwr_mpt_virt_start": p.rdwr_mpt_virt_start,
        "rdwr_mpt_virt_end": p.rdwr_mpt_virt_end,
        "ro_mpt_virt_start": p.ro_mpt_virt_start,
        "rdwr_compat_mpt_virt_start": p.rdwr_compat_mpt_virt_start,
        "xen_virt_start": p.xen_virt_start,
        "xen_virt_end": p.xen_virt_end,
        "xen_phys_start": p.xen_phys_start,
        "xen_image_bytes": p.xen_image_bytes,
    }


# --- Unicorn -------------------------------------------------------------------------------------

cdef struct TlbEntry:
    # Unicorn 2's uc_tlb_entry.
    uint64_t paddr
    uint32_t perms


cdef struct Translation:
    const xenmm_params *p
    uint64_t frame_table_maddr
    uint64_t fills
    uint64_t faults


cdef bint _translate(const Translation *t, uint64_t virt, TlbEntry *entry) noexcept nogil:
    cdef const xenmm_params *p = t.p
    cdef uint64_t pdx, off
    if xenmm.virt_in_image(p, virt):
        entry.paddr = xenmm.virt_to_maddr(p, virt)
        entry.perms = UC_PROT_READ | UC_PROT_WRITE | UC_PROT_EXEC
        return True
    if xenmm.virt_in_directmap(p, virt):
        pdx = (virt - p.directmap_virt_start) >> XENMM_PAGE_SHIFT
        # Beyond max_pdx and in unbacked groups two addresses could share a frame.
        if pdx >= p.max_pdx or not xenmm.group_valid(p, pdx):
            return False
        entry.paddr = xenmm.virt_to_maddr(p, virt)
        entry.perms = UC_PROT_READ | UC_PROT_WRITE
        return True
    off = virt - p.frametable_virt_start
    if off < p.frametable_virt_end - p.frametable_virt_start:
        # Records that share a page share a group: a page holds 128 of them.
        pdx = xenmm.page_to_pdx(p, virt)
        if pdx >= (p.max_pdx + 127) & ~<uint64_t>127 or not xenmm.group_valid(p, pdx):
            return False
        entry.paddr = t.frame_table_maddr + off
        entry.perms = UC_PROT_READ | UC_PROT_WRITE
        return True
    entry.paddr = virt
    entry.perms = UC_PROT_READ | UC_PROT_WRITE | UC_PROT_EXEC
    return virt < LOWER_HALF_END


cdef c_bool _tlb_fill(void *uc, uint64_t virt, int access, TlbEntry *entry, void *user) noexcept nogil:
    cdef Translation *t = <Translation *>user
    t.fills += 1
    if _translate(t, virt, entry):
        # The engine's TLB keeps whole pages.
        entry.paddr &= ~<uint64_t>0xfff
        return True
    t.faults += 1
    return False


cdef class TlbFill:
    """The state behind one engine's TLB-fill hook, and the address of the C callback that uses it.

    Parameters
    ----------
    capsule : PyCapsule
        A host's :attr:`~xenmm._core.HostCore.capsule`; kept alive.
    frame_table_maddr : int
        Machine address at which the frame table's first byte lies.
    """

    cdef Translation t
    cdef object _capsule

    def __cinit__(self, capsule, uint64_t frame_table_maddr):
        self.t.p = xenmm_params_of(capsule)
        self._capsule = capsule
        self.t.frame_table_maddr = frame_table_maddr

    @property
    def callback(self):
        """Address of the C function, of Unicorn's type uc_cb_tlbevent_t."""
        return <uintptr_t>&_tlb_fill

    @property
    def user_data(self):
        """The pointer to hand to that function; valid while this object lives."""
        return <uintptr_t>&self.t

    @property
    def fills(self):
        """How often the engine asked."""
        return self.t.fills

    @property
    def faults(self):
        """How often the answer was that nothing is mapped there."""
        return self.t.faults

    def fill(self, uint64_t virt):
        """What the callback does, for Python: (machine address, permissions), or None for a fault."""
        cdef TlbEntry entry
        entry.paddr = entry.perms = 0
        if not _tlb_fill(NULL, virt, 0, &entry, &self.t):
            return None
        return entry.paddr, entry.perms


# --- yardsticks of the benchmarks ----------------------------------------------------------------

def returned(x, /):
    """The argument: what the cheapest possible method of one argument costs."""
    return x


def repeat_memcpy(const uint8_t[::1] source, uint8_t[::1] target, uint64_t repeats, /):
    """memcpy() of the whole source, that many times."""
    cdef size_t n = source.shape[0]
    cdef uint64_t _i
    if target.shape[0] < source.shape[0] or n == 0:
        raise ValueError("target is shorter than source, or both are empty")
    with nogil:
        for _i in range(repeats):
            memcpy(&target[0], &source[0], n)


cdef extern from *:
    """
    /* Keeps the compiler from seeing through a step, at no cost in instructions. */
    #define XENMM_OPAQUE(x) __asm__ volatile("" : "+r"(x))
    """
    void XENMM_OPAQUE(uint64_t) noexcept nogil


def chained_mfn_to_page(capsule, uint64_t x, uint64_t repeats, /):
    """mfn_to_page of its own result, that many times, by the inline functions of the .pxd."""
    cdef const xenmm_params *p = xenmm_params_of(capsule)
    cdef uint64_t _i
    with nogil:
        if p.mode == xenmm.XENMM_MODE_MASK:
            for _i in range(repeats):
                x = xenmm.mask_mfn_to_page(p, x)
                XENMM_OPAQUE(x)
        elif p.mode == xenmm.XENMM_MODE_OFFSET:
            for _i in range(repeats):
                x = xenmm.offset_mfn_to_page(p, x)
                XENMM_OPAQUE(x)
        else:
            for _i in range(repeats):
                x = xenmm.none_mfn_to_page(p, x)
                XENMM_OPAQUE(x)
    return x
