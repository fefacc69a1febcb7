"""The live machine and its slow model side by side: the same operations, the same answers, the same state.

An operation is a plain list, so that a sequence of them can be written down: its name and its arguments.
The name is an :class:`~xenmm.machine.Op` in lower case, with (dom, peer, flags, ref, addr, frame), or that
of a method of ``_Fast`` and ``_Slow`` below.
"""

from __future__ import annotations

import errno
import os

import numpy as np
from machine_state import compare_state
from machines import IO, small_host
from slow_machine import SlowMachine

from xenmm.errors import MachineError
from xenmm.machine import Machine, Op
from xenmm.machine.ops import copy_dtype

NAMES = {int(op): op.name.lower() for op in Op}
CODES = {name: code for code, name in NAMES.items()}
_FIELDS = ("code", "dom", "peer", "flags", "ref", "addr", "frame")
_COPY = ("src_frame", "dst_frame", "src_dom", "dst_dom", "src_offset", "dst_offset", "len", "flags")


#: What Xen may answer to the calls that raise MachineError with the error's text.
_ERRORS = (errno.EEXIST, errno.ENOMEM, errno.EINVAL, errno.EBUSY, errno.ERANGE, errno.ENOENT)


def _status(call, *args, **options):
    # 0, or the negative errno that a MachineError tells of.
    try:
        call(*args, **options)
    except MachineError as error:
        (code,) = [code for code in _ERRORS if str(error).endswith(os.strerror(code))]
        return -code
    return 0


class _Fast:
    """Operations on a machine by its public face; each answers a tuple, the status first."""

    def __init__(self, machine):
        self.machine = machine

    def play(self, name, args):
        if name not in CODES:
            return (getattr(self, name)(*args),)
        ops = self.machine.ops(1)
        for field, value in zip(_FIELDS, (CODES[name], *args), strict=True):
            ops[field] = value
        self.machine.run(ops)
        return tuple(int(ops[field][0]) for field in ("status", "out", "frame"))

    def create(self, number, max_pages, translated, iommu, iommu_max, grant_frames, maptrack):
        rc = _status(
            self.machine.create_domain,
            number,
            max_pages=max_pages,
            translated=translated,
            iommu=iommu,
            iommu_max=iommu_max,
            max_grant_frames=grant_frames,
            max_maptrack_frames=maptrack,
        )
        if rc == 0:
            self.machine.domain(number).permit_iomem(*IO)
        return rc

    def destroy(self, number):
        return self.machine.domain(number).destroy()

    def exchange(self, number, given, wanted, in_order, out_order, flags):
        where = {"bits": flags >> 8 & 0xFF, "exact_node": flags >> 28 & 1, "no_dma": flags >> 29 & 1}
        where |= {
            "no_scrub": flags >> 30 & 1,
            "node": (flags >> 16 & 0xFFF) - 1 if flags >> 16 & 0xFFF else None,
        }
        exchange = self.machine.domain(number).exchange
        return _status(exchange, given, wanted, in_order=in_order, out_order=out_order, **where)

    def copy(self, number, *fields):
        copy = np.zeros(1, dtype=copy_dtype())
        for name, value in zip(_COPY, fields, strict=True):
            copy[name] = value
        self.machine.grant_copy(number, copy)
        return int(copy["status"][0])

    def set_version(self, number, version):
        return _status(self.machine.domain(number).set_grant_version, version)

    def grow(self, number, frames):
        domain = self.machine.domain(number)
        return _status(domain.setup_table, frames), domain.query_size()

    def max_pages(self, number, pages):
        self.machine.domain(number).set_max_pages(pages)

    def add_memory(self, start, end, node):
        try:
            self.machine.add_memory(start, end, node=node)
        except MachineError:
            return False
        return True


class _Slow:
    """The same on the slow model."""

    def __init__(self, model):
        self.model = model

    def play(self, name, args):
        if name in CODES:
            answer = self.model.do(name, *args)
            return answer if answer[0] == 0 else answer[:1]
        answer = (getattr(self, name)(*args),)
        self.model.finish_dying()
        return answer

    def create(self, number, max_pages, translated, iommu, iommu_max, grant_frames, maptrack):
        rc = self.model.create(number, max_pages, grant_frames, maptrack)
        if rc == 0:
            self.model.configure(number, translated, iommu, iommu_max)
            self.model.permit_io(number, *IO)
        return rc

    def destroy(self, number):
        return self.model.destroy(number)

    def exchange(self, *args):
        return self.model.exchange(*args)

    def copy(self, *args):
        return self.model.copy(*args)

    def set_version(self, number, version):
        return self.model.set_version(number, version)

    def grow(self, number, frames):
        rc, dom = self.model.grow_grants(number, frames), self.model.doms[number]
        return rc, (len(dom.shared), dom.max_grant_frames)

    def max_pages(self, number, pages):
        self.model.set_max_pages(number, pages)

    def add_memory(self, start, end, node):
        return self.model.add_memory(start, end, node)


def senseless(model, operation):
    """On a domain that is not there, where only a domain can be asked; or pages that do not add up."""
    name, *args = operation
    if name == "exchange" and len(args[1]) << args[3] != len(args[2]) << args[4]:
        return True
    return name in ("destroy", "exchange", "set_version", "grow", "max_pages") and args[0] not in model.doms


def play_on_model(model, operation):
    """Carry an operation out on the slow model alone."""
    name, *args = operation
    if name not in ("reload", "trim") and not senseless(model, operation):
        _Slow(model).play(name, args)


class Pair:
    """A fast and a slow machine on one host.

    Parameters
    ----------
    host : Host, optional
        By default two nodes of a few MiB with I/O frames between; ``profile`` names its profile.
    flavour, map_by, mapcache, cpus, reserve : as Machine takes them
    folder : Path, optional
        Where checkpoints go; without one, ``reload`` does nothing.
    """

    def __init__(self, host=None, profile="xen-offset", folder=None, **options):
        host = host or small_host(profile)
        self.fast = Machine(host, **options)
        naive, by_page = self.fast.options["flavour"] == "naive", self.fast.options["map_by"] == "page"
        given = [self.fast.options[name] for name in ("mapcache", "cpus", "reserve")]
        self.slow = SlowMachine(host, naive, by_page, *given)
        self.folder = folder
        self.free_at_start = self.fast.free_pages
        assert self.free_at_start == self.slow.heap.free_pages

    def apply(self, operation):
        """Carry one operation out on both; its status. AssertionError when they answer differently."""
        name, *args = operation
        if name == "reload":
            self._reload()
        elif name == "trim":
            self.fast.trim()
        elif not senseless(self.slow, operation):
            free = self.slow.heap.free_pages
            fast, slow = _Fast(self.fast).play(name, args), _Slow(self.slow).play(name, args)
            fast = fast[: len(slow)]
            assert fast == slow, f"{operation}: the machine answers {fast}, the model {slow}"
            if name == "add_memory":
                self.free_at_start += self.slow.heap.free_pages - free
            return slow[0]
        return None

    def _reload(self):
        if self.folder is not None:
            path = self.folder / "machine.xenmm"
            self.fast.save(path)
            self.fast = Machine.load(path)

    def compare(self):
        """The whole state, field by field; then the fast machine's own audit."""
        compare_state(self.fast, self.slow)
        report = self.fast.audit()
        assert report.ok, f"audit: {report.errors[:3]}"

    def all_home(self):
        """Everything is let go and destroyed: every page comes home."""
        for mfn, frame in sorted(self.slow.frames.items()):
            for _ in range(frame.held_types):
                self.apply(["put_page_type", 0, 0, 0, 0, 0, mfn])
            for _ in range(frame.held_refs):
                self.apply(["put_page", 0, 0, 0, 0, 0, mfn])
        for mfn, frame in sorted(self.slow.frames.items()):
            if frame.held:
                self.apply(["free", 0, 0, 0, 0, 0, mfn])
        for number in sorted(self.slow.doms):
            self.apply(["destroy", number])
        self.compare()
        assert not self.fast.domains, "a domain is left"
        assert self.fast.free_pages == self.free_at_start, "pages did not come home"
