"""Numbers of the hardware and of Xen on x86-64, in Xen's spelling where Xen has one.

Sources: Xen c447b7308b, xen/include/xen/page-defs.h, xen/arch/x86/include/asm/page.h,
xen/include/xen/pdx.h, xen/arch/x86/include/asm/mm.h, xen/arch/x86/include/asm/config.h.
"""

from typing import Final

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
L2_PAGETABLE_SHIFT: Final = 21
L3_PAGETABLE_SHIFT: Final = 30
L4_PAGETABLE_SHIFT: Final = 39
#: Entries in one page of a page table, of any level.
L1_PAGETABLE_ENTRIES: Final = 512

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

#: ``sizeof(struct page_info)`` on x86-64, in bytes.
PAGE_INFO_BYTES: Final = 32
#: One entry of the machine-to-physical table, in bytes.
M2P_ENTRY_BYTES: Final = 8
#: One entry of the copy of the M2P for 32-bit PV guests, in bytes.
COMPAT_M2P_ENTRY_BYTES: Final = 4
#: Pages in one validity group of the frame table: the ones whose records fill one 2 MiB page.
PDX_GROUP_COUNT: Final = (1 << L2_PAGETABLE_SHIFT) // PAGE_INFO_BYTES
PDX_GROUP_SHIFT: Final = 16
#: The largest order of the page allocator on x86: bits below it are never squeezed out.
MAX_ORDER: Final = 18
#: One past the largest 64-bit value.
U64_END: Final = 1 << 64

assert PDX_GROUP_COUNT == 1 << PDX_GROUP_SHIFT
