"""Batches: arrays of operations that run in C with the GIL released, one record an operation.

An operation's ``status`` is a GNTST code for grant map, unmap, transfer and copy; for every other
operation 0 or a negative ``errno``, as in Xen.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from ..errors import ConfigError, MachineError
from .arguments import whole


class Op(IntEnum):
    """What an operation does, and what its fields mean. ``dom`` is the domain that acts.

    Allocation ``flags`` come from :func:`memflags`.
    """

    #: The guest writes its grant entry ``ref``: ``peer`` may use ``frame``; ``flags`` are GTF bits. Version
    #: 2: ``addr`` = offset | length << 16 of a sub-page; transitive: trans_domid in ``addr``, gref in
    #: ``frame``. -EBUSY while it is in use; -EINVAL for the marks of reading and writing, which only Xen
    #: sets.
    GRANT = 1
    #: The guest takes its entry ``ref`` back; -EBUSY while it is in use.
    GRANT_END = 2
    #: Map grant ``ref`` of ``peer`` at ``addr``; ``flags``: GNTMAP bits. ``out``: handle; ``frame``: bus
    #: address.
    MAP = 3
    #: Unmap handle ``ref``: the host part when ``addr`` is given, the device part when ``frame``, a bus
    #: address, is.
    UNMAP = 4
    #: Transfer page ``frame`` to ``peer``, at its grant ``ref``.
    TRANSFER = 5
    #: Fresh pages at gfn ``frame``. ``out``: first mfn.
    POPULATE = 10
    #: The page at gfn ``frame`` leaves the guest.
    REMOVE = 11
    #: Fresh pages at no gfn; ``dom`` = DOMID_INVALID: the caller's own, with ``addr`` 1 of the Xen heap.
    #: ``out``: first mfn.
    ALLOC = 12
    #: The caller's own page ``frame`` becomes the domain's.
    ASSIGN = 13
    #: Page ``frame`` leaves the domain and is the caller's own.
    STEAL = 14
    #: Free the caller's own pages from ``frame`` (order in ``flags``), or a domain's page that is at no gfn.
    FREE = 15
    #: The domain's page ``frame`` gets its place at gfn ``addr``.
    PHYSMAP_ADD = 16
    #: The domain's page ``frame`` loses its place at gfn ``addr``, and stays the domain's.
    PHYSMAP_REMOVE = 17
    #: A reference to page ``frame`` of the domain.
    GET_PAGE = 20
    #: Drop a reference taken by GET_PAGE on ``frame``.
    PUT_PAGE = 21
    #: A type reference on ``frame``, of which a reference is held; ``flags``: the type's number.
    GET_PAGE_TYPE = 22
    #: Drop a type reference taken by GET_PAGE_TYPE on ``frame``.
    PUT_PAGE_TYPE = 23
    #: ``out``: the M2P entry of ``frame``.
    M2P_GET = 30
    #: Make the M2P entry of ``frame`` invalid or shared (``addr``); -EBUSY while the frame is in a guest.
    M2P_SET = 31
    #: ``out``: the mfn at gfn ``frame``.
    P2M_GET = 32
    #: map_domain_page by frame; ``ref``: vCPU. ``out``: virt.
    MAP_FRAME = 40
    #: map_domain_page by page (named by its frame); ``ref``: vCPU. ``out``: virt.
    MAP_PAGE = 41
    #: unmap_domain_page of ``addr``.
    UNMAP_PAGE = 42
    #: Scrub up to ``frame`` dirty pages of node index ``ref``. ``out``: how many.
    SCRUB = 50
    #: Page ``frame`` of the domain is pinned as a page table of level ``flags``, 1 to 4.
    PIN_TABLE = 60
    #: Page ``frame`` of the domain is pinned no more.
    UNPIN_TABLE = 61
    #: Entry ``ref`` of page ``frame`` of the domain becomes ``addr``. ``out``: what stood there.
    MMU_UPDATE = 62
    #: ``out``: entry ``ref`` of page ``frame``.
    PTE_GET = 63
    #: Flush TLB ``ref``; 0xffffffff: every one.
    FLUSH_TLB = 64
    #: The domain ran on CPU ``ref``.
    RUN_ON = 65


_OP_FIELDS: Final = (
    ("code", "<u2"),
    ("dom", "<u2"),
    ("peer", "<u2"),
    ("status", "<i2"),
    ("flags", "<u4"),
    ("ref", "<u4"),
    ("addr", "<u8"),
    ("frame", "<u8"),
    ("out", "<u8"),
)
_COPY_FIELDS: Final = (
    ("src_frame", "<u8"),
    ("dst_frame", "<u8"),
    ("src_dom", "<u2"),
    ("dst_dom", "<u2"),
    ("src_offset", "<u2"),
    ("dst_offset", "<u2"),
    ("len", "<u2"),
    ("flags", "<u2"),
    ("status", "<i2"),
    ("pad", "<u2"),
    ("pad2", "<u8", (2,)),
)


def word(name: str, value: int) -> int:
    """The value, if it fits the 32 bits of its field; else MachineError."""
    if not hasattr(value, "__index__") or not 0 <= value < 1 << 32:
        raise MachineError(f"{name} is an integer in [0, 2^32), got {value!r}")
    return value


def op_dtype() -> Any:
    """The NumPy dtype of one operation of :meth:`Machine.run`, 40 bytes."""
    import numpy as np

    return np.dtype(list(_OP_FIELDS))


def copy_dtype() -> Any:
    """The NumPy dtype of one grant copy of :meth:`Machine.grant_copy`, 48 bytes."""
    import numpy as np

    return np.dtype(list(_COPY_FIELDS))


@whole
def memflags(
    order: int = 0,
    *,
    bits: int = 0,
    node: int | None = None,
    exact_node: bool = False,
    no_dma: bool = False,
    no_scrub: bool = False,
) -> int:
    """Allocation flags as one number.

    Parameters
    ----------
    order : int
        2**order pages, 0 to 18.
    bits : int
        The pages' machine addresses have at most this many bits; 0: any.
    node : int, optional
        Index of the NUMA node to begin with; with ``exact_node`` no other is tried.
    exact_node, no_dma, no_scrub : bool
        Fail rather than take another node's pages; rather than take what is kept below the DMA width; take
        dirty pages as they are.
    """
    if not 0 <= order <= 0xFF or not 0 <= bits <= 64 or not -1 <= (-1 if node is None else node) < 0xFFF:
        raise ConfigError(f"no allocation flags for order {order}, bits {bits}, node {node}")
    word = order | bits << 8 | (0 if node is None else node + 1) << 16
    return word | exact_node << 28 | no_dma << 29 | no_scrub << 30
