"""The record of a page, ``struct page_info``, as NumPy and Python see it.

Layout and bits: Xen c447b7308b, xen/arch/x86/include/asm/mm.h. 32 bytes; see ``_state.pxd`` for the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import MachineError
from .arguments import whole
from .ops import word

if TYPE_CHECKING:
    from .machine import Machine

PGC_ALLOCATED: Final = 1 << 63
#: Of a free page: it must be scrubbed before its next use. The same bit as PGC_ALLOCATED.
PGC_NEED_SCRUB: Final = PGC_ALLOCATED
PGC_XEN_HEAP: Final = 1 << 62
PGC_STATE: Final = 3 << 58
PGC_STATE_FREE: Final = 3 << 58
PGC_COUNT_MASK: Final = (1 << 57) - 1
PGT_TYPE_SHIFT: Final = 61
PGT_PINNED: Final = 1 << 59
PGT_VALIDATED: Final = 1 << 58
PGT_COUNT_MASK: Final = (1 << 55) - 1
#: In type_info of a free page: TLBs may need a flush before its next use.
NEED_TLBFLUSH: Final = 1 << 32
#: Page types by number: the top three bits of type_info. 6 is Xen's type of shared pages, not offered here.
PAGE_TYPES: Final = {"none": 0, "l1": 1, "l2": 2, "l3": 3, "l4": 4, "seg_desc": 5, "writable": 7}
_TYPE_NAMES: Final = {number: name for name, number in PAGE_TYPES.items()}
#: The end of a list of pages.
PAGE_LIST_NULL: Final = 0xFFFFFFFF

_FIELDS: Final = (
    ("next", "<u4"),
    ("prev", "<u4"),
    ("count_info", "<u8"),
    ("type_info", "<u8"),
    ("owner", "<u4"),
    ("context", "<u4"),
)


def page_info_dtype() -> Any:
    """The NumPy dtype of one record: 32 bytes, fields by Xen's names."""
    import numpy as np

    return np.dtype(list(_FIELDS))


@dataclass(frozen=True)
class Page:
    """One record as it stands now: reads go to the machine each time.

    Attributes
    ----------
    machine : Machine
        Whose it is.
    mfn : int
        The frame, a valid one.
    """

    machine: Machine
    mfn: int

    @property
    def pdx(self) -> int:
        """Index of the record in the frame table."""
        return int(self.machine.host.mfn_to_pdx_unchecked(self.mfn))

    @property
    def address(self) -> int:
        """Emulated address of the record, in the frame table."""
        return int(self.machine.host.mfn_to_page_unchecked(self.mfn))

    def _field(self, index: int) -> int:
        return self.machine._record(self.pdx)[index]

    @property
    def next(self) -> int:
        """Next page of its list, as pdx."""
        return self._field(0)

    @property
    def prev(self) -> int:
        """Previous page of its list, as pdx."""
        return self._field(1)

    @property
    def count_info(self) -> int:
        """Reference count and PGC flags, as Xen packs them."""
        return self._field(2)

    @property
    def type_info(self) -> int:
        """Type, type count and PGT flags; the low word of a free chunk's head: its first dirty page."""
        return self._field(3)

    @property
    def owner_pdx(self) -> int:
        """The owner as Xen stores it: the pdx of its struct domain; of a free chunk's head, the order."""
        return self._field(4)

    @property
    def context(self) -> int:
        """The context word. On a machine with ``cpus``: the TLB clock when the page was last in use.

        On any other free for embedders while the page is in use, and gone when it is freed.
        """
        return self._field(5)

    @whole
    def set_context(self, value: int) -> None:
        """Write the context word of a page that somebody owns; raises MachineError for any other.

        Refused on a machine with ``cpus``, where the word is Xen's.
        """
        if self.machine.setup.cpus:
            raise MachineError("on a machine with cpus the context word holds the TLB timestamp")
        if self.is_free or self.owner_pdx == 0:
            raise MachineError(f"mfn {self.mfn:#x} is nobody's: its context word is not free to use")
        self.machine._set_context(self.pdx, word("a context word", value))

    @property
    def is_free(self) -> bool:
        """It is on a free list, as a chunk's head or inside a chunk."""
        return self.machine._free_chunk_of(self.pdx) is not None

    @property
    def free_order(self) -> int | None:
        """Order of the free chunk that holds it, None while it is not free."""
        chunk = self.machine._free_chunk_of(self.pdx)
        return None if chunk is None else chunk[1]

    @property
    def references(self) -> int:
        """How many references there are; 0 for a page that is free or that nobody owns."""
        return self.count_info & PGC_COUNT_MASK

    @property
    def is_allocated(self) -> bool:
        """The owner has it: one of the references is the allocation's."""
        return bool(self.count_info & PGC_ALLOCATED) and not self.is_free

    @property
    def is_xen_heap(self) -> bool:
        """It belongs to the hypervisor."""
        return bool(self.count_info & PGC_XEN_HEAP)

    @property
    def type(self) -> str:
        """``none``, ``l1`` ... ``l4``, ``seg_desc`` or ``writable``: its present or last use."""
        return _TYPE_NAMES.get(self.type_info >> PGT_TYPE_SHIFT, "shared") if not self.is_free else "none"

    @property
    def type_references(self) -> int:
        """How many use it as that type."""
        return 0 if self.is_free else self.type_info & PGT_COUNT_MASK

    @property
    def is_validated(self) -> bool:
        """It has been checked for its type."""
        return bool(self.type_info & PGT_VALIDATED) and not self.is_free

    @property
    def is_pinned(self) -> bool:
        """Its owner keeps it as the page table that it is."""
        return bool(self.type_info & PGT_PINNED) and not self.is_free

    @property
    def tlbflush_timestamp(self) -> int | None:
        """The TLB clock when the page was last in use; None without ``cpus``."""
        return self.context if self.machine.setup.cpus else None

    @property
    def owner(self) -> int | None:
        """Domid of its owner, or None."""
        return self.machine._owner(self.pdx)

    @property
    def gfn(self) -> int | None:
        """Where its owner sees it, from the M2P; None without a place in a guest."""
        return self.machine.get_gpfn_from_mfn(self.mfn)
