"""Names of the grant tables' interface: status codes, flags of entries, maps and copies.

Xen c447b7308b, xen/include/public/grant_table.h.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class GNTST(IntEnum):
    """Status of a grant operation. Negative: it was refused; save for transfers, nothing changed."""

    okay = 0
    general_error = -1
    bad_domain = -2
    bad_gntref = -3
    bad_handle = -4
    bad_virt_addr = -5
    bad_dev_addr = -6
    no_device_space = -7
    permission_denied = -8
    bad_page = -9
    bad_copy_arg = -10
    address_too_big = -11
    eagain = -12
    no_space = -13


class GNTMAP(IntFlag):
    """How a grant is mapped."""

    device_map = 1
    host_map = 2
    readonly = 4


class GNTCOPY(IntFlag):
    """Which sides of a copy are grant references; the others are the caller's own frames."""

    source_gref = 1
    dest_gref = 2


class GTF(IntFlag):
    """Flags of a grant entry. The lowest two bits are its type."""

    invalid = 0
    permit_access = 1
    accept_transfer = 2
    transitive = 3
    readonly = 4
    reading = 8
    writing = 16
    #: Of an entry that accepts a transfer: it is under way; it is done.
    transfer_committed = 4
    transfer_completed = 8
    sub_page = 256


DOMID_SELF = 0x7FF0
DOMID_IO = 0x7FF1
DOMID_INVALID = 0x7FF4
DOMID_FIRST_RESERVED = 0x7FF0
