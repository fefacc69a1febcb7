# SPDX-License-Identifier: MIT
"""What a live machine is made of: plain structs, shared by every part of the hot path.

``page_info`` has Xen's layout on x86-64 (xen/arch/x86/include/asm/mm.h, struct page_info), 32 bytes::

    byte  0      4      8           16          24      28      32
          | next | prev | count_info | type_info | owner | context |

``next`` and ``prev`` are the list links, ``owner`` the pdx of the owner's struct domain, all three as 32-bit
pdx. Of the head of a free chunk ``owner`` is the chunk's order and the low word of ``type_info`` the index of
its first dirty page. ``context`` is the TLB timestamp on a machine with ``cpus``, as in Xen, else free for
embedders; the record of a domain's own page holds domid + 1 there.

Bits of count_info: 63 allocated (of a free page: needs scrubbing), 62 xen_heap, 59:58 state, 56:0 count.
Bits of type_info: 63:61 type, 59 pinned, 58 validated, 54:0 count; of a free page: 32 TLBs need a flush
before its next use, 31:0 first dirty page.
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from xenmm cimport xenmm_params


cdef extern from *:
    """
    #define XENMM_PGC_ALLOCATED   (1ull << 63)
    #define XENMM_PGC_NEED_SCRUB  XENMM_PGC_ALLOCATED
    #define XENMM_PGC_XEN_HEAP    (1ull << 62)
    #define XENMM_PGC_STATE       (3ull << 58)
    #define XENMM_PGC_STATE_FREE  (3ull << 58)
    #define XENMM_PGC_COUNT       ((1ull << 57) - 1)
    #define XENMM_PGT_TYPE        (7ull << 61)
    #define XENMM_PGT_WRITABLE    (7ull << 61)
    #define XENMM_PGT_SEG_DESC    (5ull << 61)
    #define XENMM_PGT_L4          (4ull << 61)
    #define XENMM_PGT_L3          (3ull << 61)
    #define XENMM_PGT_L2          (2ull << 61)
    #define XENMM_PGT_L1          (1ull << 61)
    #define XENMM_PGT_PINNED      (1ull << 59)
    #define XENMM_PGT_VALIDATED   (1ull << 58)
    #define XENMM_PGT_COUNT       ((1ull << 55) - 1)
    #define XENMM_NEED_TLBFLUSH   (1ull << 32)
    #define XENMM_INVALID_M2P     (~0ull)
    #define XENMM_SHARED_M2P      (~0ull - 1)
    #define XENMM_INVALID_MFN     (~0ull)
    #define XENMM_LIST_NULL       0xffffffffu
    #define XENMM_NO_HANDLE       0xffffffffu
    """
    const uint64_t PGC_ALLOCATED "XENMM_PGC_ALLOCATED"
    const uint64_t PGC_NEED_SCRUB "XENMM_PGC_NEED_SCRUB"
    const uint64_t PGC_XEN_HEAP "XENMM_PGC_XEN_HEAP"
    const uint64_t PGC_STATE "XENMM_PGC_STATE"
    const uint64_t PGC_STATE_FREE "XENMM_PGC_STATE_FREE"
    const uint64_t PGC_COUNT "XENMM_PGC_COUNT"
    const uint64_t PGT_TYPE "XENMM_PGT_TYPE"
    const uint64_t PGT_WRITABLE "XENMM_PGT_WRITABLE"
    const uint64_t PGT_SEG_DESC "XENMM_PGT_SEG_DESC"
    const uint64_t PGT_L4 "XENMM_PGT_L4"
    const uint64_t PGT_L3 "XENMM_PGT_L3"
    const uint64_t PGT_L2 "XENMM_PGT_L2"
    const uint64_t PGT_L1 "XENMM_PGT_L1"
    const uint64_t PGT_PINNED "XENMM_PGT_PINNED"
    const uint64_t PGT_VALIDATED "XENMM_PGT_VALIDATED"
    const uint64_t PGT_COUNT "XENMM_PGT_COUNT"
    const uint64_t NEED_TLBFLUSH "XENMM_NEED_TLBFLUSH"
    const uint64_t INVALID_M2P "XENMM_INVALID_M2P"
    const uint64_t SHARED_M2P "XENMM_SHARED_M2P"
    const uint64_t INVALID_MFN "XENMM_INVALID_MFN"
    const uint32_t LIST_NULL "XENMM_LIST_NULL"
    const uint32_t NO_HANDLE "XENMM_NO_HANDLE"


cdef enum:
    MAX_ORDER = 18            # xen/common/page_alloc.c on x86: 1 GiB
    NR_ORDERS = 19
    NR_ZONES = 53             # by bit length of the mfn; Xen's PADDR_BITS is 52 on x86-64
    INVALID_DIRTY_IDX = (1 << 19) - 1
    DOMID_FIRST_RESERVED = 0x7ff0
    DOMID_SELF = 0x7ff0
    DOMID_IO = 0x7ff1
    DOMID_XEN = 0x7ff2
    DOMID_COW = 0x7ff3
    DOMID_INVALID = 0x7ff4
    NR_DOMIDS = 0x8000
    P2M_LIMIT = 1 << 30       # gfns a domain may use: 4 TiB of guest space
    MAX_CPUS = 64             # TLBs that a machine may have


cdef struct page_info:
    uint32_t next
    uint32_t prev
    uint64_t count_info
    uint64_t type_info
    uint32_t owner
    uint32_t context


# A doubly linked list of pages; its links are pdx.
cdef struct page_list:
    uint32_t head
    uint32_t tail


# A run of RAM frames of one node, half-open, ascending. Frames of boot are RAM that boot keeps; a valid frame
# in no run is I/O.
cdef struct heap_run:
    uint64_t smfn
    uint64_t emfn
    uint32_t node
    uint32_t boot


# How often each conversion ran: what the steps of the 2009 series change. Field names are Xen's functions.
cdef struct counters:
    uint64_t mfn_valid
    uint64_t mfn_to_page
    uint64_t page_to_mfn
    uint64_t mfn_to_virt
    uint64_t page_to_virt
    uint64_t virt_to_mfn
    uint64_t virt_to_page
    uint64_t m2p_reads
    uint64_t m2p_writes
    uint64_t get_page
    uint64_t put_page
    uint64_t get_page_type
    uint64_t put_page_type
    uint64_t validations
    uint64_t pages_allocated
    uint64_t pages_freed
    uint64_t pages_scrubbed
    uint64_t map_domain_page
    uint64_t unmap_domain_page
    uint64_t mapcache_hits
    uint64_t tlb_flushes
    uint64_t need_flush_tlb_flush
    uint64_t mmu_updates
    uint64_t pins
    uint64_t unpins
    uint64_t grant_maps
    uint64_t grant_unmaps
    uint64_t grant_releases
    uint64_t grant_transfers
    uint64_t grant_copies
    uint64_t bytes_copied


# xen/include/public/grant_table.h: the entries that guests write.
cdef struct grant_v1:
    uint16_t flags
    uint16_t domid
    uint32_t frame


# full_page: frame; sub_page: offset, length, frame; transitive: trans_domid in offset, gref in frame.
cdef struct grant_v2:
    uint16_t flags
    uint16_t domid
    uint16_t offset
    uint16_t length
    uint64_t frame


# Xen's own record of a grant in use. pin: four counts of eight bits, host write, host read, device write,
# device read from bit 0 up, each with its top bit as overflow mark.
cdef struct active_entry:
    uint32_t pin
    uint16_t domid
    uint16_t trans_domid
    uint32_t trans_gref
    uint16_t start
    uint16_t length
    uint64_t mfn
    uint64_t gfn
    uint32_t is_sub_page
    uint32_t pad


# One mapping that a domain holds; of a free one ``ref`` links to the next free. host_addr stands in for the
# mapping domain's page table.
cdef struct maptrack:
    uint32_t ref
    uint16_t flags
    uint16_t domid
    uint64_t host_addr


cdef struct grant_table:
    uint32_t version
    uint32_t max_frames
    uint32_t nr_frames          # shared
    uint32_t nr_status_frames
    uint32_t nr_active_frames
    uint32_t nr_maptrack_frames
    uint32_t max_maptrack_frames
    uint32_t maptrack_free      # head of the free list, or NO_HANDLE
    uint32_t maptrack_used
    uint32_t nr_pinned          # entries whose pin is not 0
    uint32_t *shared_pdx
    uint32_t *status_pdx
    uint32_t *active_pdx
    uint32_t *maptrack_pdx
    void *shared                # grant_v1 or grant_v2 entries
    uint16_t *status            # of version 2
    active_entry *active
    maptrack *tracks


cdef struct domain:
    uint16_t domid
    uint8_t dying               # 1: dying; 2: its very end, while its own frames are freed
    uint8_t translated
    uint8_t need_iommu
    uint8_t[3] pad
    uint32_t pdx                # of the page that stands for struct domain: what records name as owner
    uint32_t last_node
    uint64_t tot_pages
    uint64_t max_pages
    uint64_t xenheap_pages
    page_list pages
    page_list xenheap_list
    uint64_t p2m_count
    uint64_t p2m_end            # one past the last leaf that exists
    uint64_t **p2m              # leaves of 512 entries, each ~mfn, so that 0 reads as INVALID_MFN
    uint64_t iommu_used
    uint64_t iommu_max          # device mappings its IOMMU tables have room for
    uint64_t *iomem             # pairs [smfn, emfn) that it may map
    uint64_t nr_iomem
    uint64_t dirty_cpus         # bitmap of TLBs that may hold its translations
    domain *next_finish         # dying domains that may be at their end
    grant_table gt


# What the machine's user holds of a page, by pdx: open addressing, key 0 is empty.
cdef struct hold:
    uint64_t key                # pdx + 1
    uint64_t refs
    uint64_t types
    uint64_t page               # 1: the page itself, which no domain owns


# What stands in a page that was written as a page table, by pdx: open addressing, key 0 is empty. RAM has no
# other contents here.
cdef struct table_entries:
    uint64_t key                # pdx + 1
    uint64_t *entries           # 512; NULL when nothing stands there any more
    uint64_t used               # of them not 0


cdef struct mapcache_vcpu:
    uint64_t[8] hash_mfn        # ~0 when empty
    uint32_t[8] hash_idx
    uint32_t[8] hash_refs
    uint32_t inuse              # bitmaps of 16 slots
    uint32_t garbage
    uint32_t cursor
    uint32_t pad
    uint64_t[16] slot_mfn       # ~0 when not mapped


cdef struct machine:
    const xenmm_params *p
    page_info *frame_table      # the record of pdx 0 in this process
    uint64_t *m2p               # the entry of mfn 0 in this process
    uint32_t *compat            # the compat M2P's entry of mfn 0, or NULL where the profile has none
    uint8_t *m2p_slots          # bitmap over 262,144 frames: the slot is backed
    uint8_t *compat_slots       # bitmap over 524,288 frames
    uint64_t nr_m2p_slots
    uint64_t nr_compat_slots
    uint8_t *ft_touched         # bitmaps over 4 KiB of each table: written since it was backed
    uint8_t *m2p_touched
    uint8_t *compat_touched
    uint64_t ft_bytes
    uint64_t m2p_bytes
    uint64_t compat_bytes
    uint64_t max_page           # grow when memory is added; the compression never does
    uint64_t max_pdx
    uint64_t nr_groups
    uint8_t *groups             # the live bitmap of backed groups
    heap_run *runs
    uint32_t nr_runs
    uint32_t nr_nodes
    page_list *free_lists       # [node][zone][order]
    uint32_t *free_orders       # [node][zone]: bit o set when the list of order o is not empty
    uint64_t *node_free         # free pages by node
    uint64_t total_free
    uint64_t dirty_pages
    uint32_t dma_zone           # highest zone kept for those who ask for it; 0: none
    uint32_t naive              # conversions repeated as before the series, or kept
    uint32_t by_page            # map_domain_page takes the page where one is at hand (84d568f5c9)
    uint32_t nr_vcpus           # of the mapcache; 0: direct-mapped
    uint64_t mapcache_epoch
    uint64_t sink               # keeps addresses that nobody reads from being optimised away
    domain **domains
    domain *dom_io
    domain *finish              # dying domains whose end is to be looked at after the operation
    mapcache_vcpu *vcpus
    hold *holds
    uint64_t holds_size         # a power of two
    uint64_t holds_used
    table_entries *tables
    uint64_t tables_size        # a power of two
    uint64_t tables_used        # places taken, of entries that are gone too
    uint64_t nr_tables          # pages that have entries
    uint32_t nr_cpus            # TLBs; 0: none is modelled, and the context word is the embedder's
    uint32_t tlb_clock
    uint32_t[64] tlb_time       # when each TLB was flushed last
    counters n


# One operation of a batch, 40 bytes. What each field means depends on the code: see xenmm.machine.ops.
cdef struct op:
    uint16_t code
    uint16_t dom
    uint16_t peer
    int16_t status
    uint32_t flags
    uint32_t ref
    uint64_t addr
    uint64_t frame
    uint64_t out


# One copy of xen/include/public/grant_table.h, struct gnttab_copy, 48 bytes.
cdef struct copy_op:
    uint64_t src_frame          # a grant reference when GNTCOPY_source_gref is set
    uint64_t dst_frame
    uint16_t src_dom
    uint16_t dst_dom
    uint16_t src_offset
    uint16_t dst_offset
    uint16_t len
    uint16_t flags
    int16_t status
    uint16_t pad
    uint64_t[2] pad2
