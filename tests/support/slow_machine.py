"""A live machine, slowly: dictionaries and plain lists, written from Xen's rules and not from the fast one.

It knows what each operation answers, what state it leaves and how often each conversion runs on the way, in
both flavours. Each part stands in a module of its own:

    slow_machine_ram      what RAM there is, and which frames are valid
    slow_machine_heap     the page allocator
    slow_machine_pages    references, allocation
    slow_machine_tables   types, page tables, pins
    slow_machine_tlb      the TLB clock
    slow_machine_memory   P2M, M2P, populate, remove, exchange
    slow_machine_map      map_domain_page, the mapcache
    slow_machine_domains  domains, grant frames, versions, the end of a domain
    slow_machine_grants   map, unmap, transfer
    slow_machine_copy     grant copies

Frames are objects, owners are domain numbers, free lists are ordered dictionaries.
"""

from __future__ import annotations

from slow_machine_copy import Copies
from slow_machine_domains import Domains
from slow_machine_grants import Grants
from slow_machine_heap import SlowHeap
from slow_machine_hot_add import HotAdd
from slow_machine_map import Mapping, Window
from slow_machine_memory import Memory
from slow_machine_pages import DOM_IO, Counts, Pages
from slow_machine_ram import Ram
from slow_machine_tables import Tables
from slow_machine_tlb import Tlbs


class SlowMachine(Pages, Tables, Tlbs, Memory, Mapping, Domains, Grants, Copies, HotAdd):
    """The operations of a live machine on a booted host.

    Parameters
    ----------
    host : Host
        Booted; its parameters, its tables and its map are read.
    naive : bool
        Conversions repeated, as before 0ed9151a5f.
    by_page : bool
        map_domain_page takes the page where one is at hand (84d568f5c9).
    vcpus : int
        Windows of the mapcache; 0: everything is in the direct map.
    cpus : int
        TLBs.
    """

    def __init__(self, host, naive=False, by_page=True, vcpus=0, cpus=0, reserve=()):
        self.ram = Ram(host, reserve)
        self.naive, self.by_page = naive, by_page
        self.windows = [Window() for _ in range(vcpus)]
        self.clock, self.flushed, self.context, self.need_flush = 1, [0] * cpus, {}, set()
        self.n = Counts()
        self.frames, self.doms, self.m2p, self.tables, self.dying = {}, {}, {}, {}, set()
        self.heap = SlowHeap(self.ram)
        self.io_page = self.xenheap_alloc()
        self.context[self.io_page] = DOM_IO + 1
        self.n = Counts()
        names = [name for name in dir(self) if name.startswith("do_")]
        self.operations = {name[3:]: getattr(self, name) for name in names}

    def do(self, name, dom=0, peer=0, flags=0, ref=0, addr=0, frame=0):
        """One operation by name, its fields as ``xenmm.machine.Op`` has them: (status, out[, frame])."""
        answer = self.operations[name](dom, peer, flags, ref, addr, frame)
        if self.dying:
            self.finish_dying()
        return answer

    def run(self, names, records):
        """A batch of records (code, dom, peer, status, flags, ref, addr, frame, out); their answers.

        ``names`` tells the operation of each code.
        """
        table = {code: self.operations[name] for code, name in names.items()}
        answers = []
        for code, dom, peer, _, flags, ref, addr, frame, _ in records:
            answers.append(table[code](dom, peer, flags, ref, addr, frame))
            if self.dying:
                self.finish_dying()
        return answers
