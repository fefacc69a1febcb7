"""A Unicorn 2 engine whose hypervisor addresses are a booted host's: direct map, frame table, Xen image.

The engine's own page walk is replaced (``UC_TLB_VIRTUAL``): whenever its TLB lacks a page, it asks a hook,
and the hook answers with the host's arithmetic. So guest code that uses direct-map addresses loads and stores
the right machine memory across every hole, without page tables in the guest.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Final

from .._core import HostCore
from .._embed import TlbFill, struct_values
from ..constants import GIB, PAGE_SHIFT, PAGE_SIZE, PDX_GROUP_COUNT
from ..errors import ConfigError

CALLBACKS: Final = ("c", "python")

_PAGE_INFO_BYTES: Final = 32


class Attachment:
    """One engine's hook. Kept alive by the engine; needed only to count, or to :meth:`detach`.

    Attributes
    ----------
    frame_table_maddr : int
        Machine address of the frame table's first byte.
    """

    def __init__(
        self, uc: Any, fill: TlbFill, frame_table_maddr: int, runs: list[tuple[int, int]], hook: int
    ) -> None:
        self._uc = weakref.ref(uc)
        self._fill = fill
        self._runs = runs
        self._hook = hook
        self.frame_table_maddr = frame_table_maddr

    @property
    def fills(self) -> int:
        """How often the engine's TLB lacked a page and asked."""
        return self._fill.fills

    @property
    def faults(self) -> int:
        """How often nothing was mapped at the address that it asked for."""
        return self._fill.faults

    def detach(self) -> None:
        """Remove the hook and the frame table's memory; virtual addresses are physical ones from then on."""
        uc = self._uc()
        if uc is not None and _ATTACHED.pop(uc, None) is self:
            uc.hook_del(self._hook)
            for start, end in self._runs:
                uc.mem_unmap(start, end - start)
            _flush_tlb(uc)


# What an engine's hook points at must live as long as the engine.
_ATTACHED: weakref.WeakKeyDictionary[Any, Attachment] = weakref.WeakKeyDictionary()


def attach(
    uc: Any, host: HostCore, *, callback: str = "c", frame_table_maddr: int | None = None
) -> Attachment:
    """Translate an engine's addresses as the booted host lays them out.

    Direct-map addresses of frames that the host knows go to their machine address, readable and writable;
    frame-table addresses of backed groups go to the frame table's memory; addresses in the Xen image go to
    the image, when the host was told where that is; addresses below 2^47 stay as they are, for code, stack
    and data of one's own. Everything else faults, which ends ``emu_start`` with an error.

    Machine memory is the engine's: map what the guest will touch with ``uc.mem_map(maddr, size)``. The frame
    table's memory is mapped here, for which frames Xen took for it is not modelled.

    Parameters
    ----------
    uc : unicorn.Uc
        An x86-64 engine of Unicorn 2.
    host : HostCore
        A booted host.
    callback : str
        ``"c"``: a compiled hook; ``"python"``: the same answers by way of Python, more than ten times
        slower, to be stepped through.
    frame_table_maddr : int, optional
        Machine address of the frame table's first byte, on a page; by default the first GiB boundary past the
        host's memory.

    Returns
    -------
    Attachment
        Its counts of questions and faults, and its ``detach()``.

    Raises
    ------
    ConfigError
        If unicorn is not installed, the callback is unknown, the engine already has a host, or the frame
        table's address is not on a page.
    """
    try:
        import unicorn
    except ImportError as e:
        raise ConfigError(f"unicorn is needed for this: pip install 'xenmm[unicorn]' ({e})") from e
    if callback not in CALLBACKS:
        raise ConfigError(f"unknown callback {callback!r}; one of {', '.join(CALLBACKS)}")
    if uc in _ATTACHED:
        raise ConfigError("the engine already has a host attached: detach() that one first")
    struct = struct_values(host.capsule)
    if frame_table_maddr is None:
        frame_table_maddr = -(-(struct["max_page"] << PAGE_SHIFT) // GIB) * GIB
    if frame_table_maddr % PAGE_SIZE:
        raise ConfigError(f"frame_table_maddr {frame_table_maddr:#x} is not on a page")
    fill = TlbFill(host.capsule, frame_table_maddr)
    runs = [(frame_table_maddr + s, frame_table_maddr + e) for s, e in _frame_table_runs(struct)]
    for start, end in runs:
        uc.mem_map(start, end - start)
    uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
    hook = (_c_hook if callback == "c" else _python_hook)(unicorn, uc, fill)
    _flush_tlb(uc)
    attachment = Attachment(uc, fill, frame_table_maddr, runs, hook)
    _ATTACHED[uc] = attachment
    return attachment


def _flush_tlb(uc: Any) -> None:
    # What the TLB kept from before is not the host's. The binding has no name of its own for it.
    from unicorn import UC_CTL_IO_WRITE, UC_CTL_TLB_FLUSH

    uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)


def _frame_table_runs(struct: dict[str, Any]) -> list[tuple[int, int]]:
    # Backed bytes of the frame table, as half-open runs of whole pages from its first byte.
    runs: list[tuple[int, int]] = []
    group_bytes = PDX_GROUP_COUNT * _PAGE_INFO_BYTES
    table_end = -(-struct["max_pdx"] * _PAGE_INFO_BYTES // PAGE_SIZE) * PAGE_SIZE
    for w, word in enumerate(struct["pdx_group_valid"]):
        for b in range(64):
            if word >> b & 1:
                start = (64 * w + b) * group_bytes
                end = min(start + group_bytes, table_end)
                if runs and runs[-1][1] == start:
                    start = runs.pop()[0]
                if start < end:
                    runs.append((start, end))
    return runs


def _c_hook(unicorn: Any, uc: Any, fill: TlbFill) -> int:
    # The binding's hook_add wraps a Python callable; the library's own takes the C function as it is.
    from unicorn.unicorn_py3.unicorn import uclib

    hook = ctypes.c_size_t()
    status = uclib.uc_hook_add(
        uc._uch,
        ctypes.byref(hook),
        unicorn.UC_HOOK_TLB_FILL,
        ctypes.cast(fill.callback, ctypes.c_void_p),
        ctypes.c_void_p(fill.user_data),
        ctypes.c_uint64(1),
        ctypes.c_uint64(0),
    )
    if status != unicorn.UC_ERR_OK:
        raise unicorn.UcError(status)
    # Where the binding keeps what its hooks refer to: hook_del() looks there.
    uc._callbacks[hook.value] = fill
    return hook.value


def _python_hook(unicorn: Any, uc: Any, fill: TlbFill) -> int:
    def answer(_uc: Any, virt: int, _access: int, entry: Any, _user: Any) -> bool:
        found = fill.fill(virt)
        if found is not None:
            entry.paddr, entry.perms = found
        return found is not None

    return int(uc.hook_add(unicorn.UC_HOOK_TLB_FILL, answer))
