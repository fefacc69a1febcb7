"""The live machine and its slow model side by side, and a driver of random operations."""

from machines import IO, small_machine
from slow_machine import DOM_IO, SlowMachine

from xenmm.machine import Op, memflags


class Pair:
    """The fast machine and the slow one, given the same operations."""

    def __init__(self, **options):
        self.fast = small_machine(**options)
        self.free_at_start = self.fast.free_pages
        self.slow = SlowMachine(
            self.fast._runs(), self.fast.nr_nodes, self.fast.setup.dma_zone, self.fast.mfn_valid
        )
        self.handles = {}

    def op(self, code, *args, **fields):
        status, out, frame = self.fast._do(code, *args, **fields)
        return status, out, frame

    def same(self, fast, slow, what):
        assert fast == slow, f"{what}: {fast}, the model says {slow}"

    def create(self, number, max_pages, translated, iommu, iommu_max, grant_frames, maptrack):
        slow = self.slow.create(number, max_pages, translated, iommu, iommu_max, grant_frames, maptrack)
        fast = self.fast._create_domain(number, max_pages, grant_frames, maptrack)
        if fast == 0:
            self.fast._configure_domain(number, translated, iommu, iommu_max)
            self.fast._permit_iomem(number, *IO)
            self.slow.doms[number].io.append(IO)
        self.same(fast, slow, f"create {number}")

    def destroy(self, number):
        if number in self.slow.doms:
            self.slow.destroy(number)
            gone = self.fast.domain(number).destroy()
            self.same(gone, number not in self.slow.doms, f"destroy {number}")

    def populate(self, number, gfn, order, bits=0, node=None):
        slow = self.slow.populate(number, gfn, order, bits=bits, node=node)
        flags = memflags(order, bits=bits, node=node)
        status, out, _ = self.op(Op.POPULATE, number, frame=gfn, flags=flags)
        self.same((status, out if status == 0 else None), slow, f"populate {number} {gfn:#x} {order}")

    def remove(self, number, gfn):
        self.same(self.op(Op.REMOVE, number, frame=gfn)[0], self.slow.remove(number, gfn), "remove")

    def alloc(self, number, order):
        slow = self.slow.alloc(number, order)
        status, out, _ = self.op(Op.ALLOC, 0x7FF4 if number is None else number, flags=order)
        self.same((status, out if status == 0 else None), slow, f"alloc {number} {order}")

    def free(self, mfn, order):
        self.same(
            self.op(Op.FREE, frame=mfn, flags=order)[0], self.slow.free(mfn, order), f"free {mfn:#x} {order}"
        )

    def assign(self, number, mfn):
        self.same(self.op(Op.ASSIGN, number, frame=mfn)[0], self.slow.assign(number, mfn), "assign")

    def steal(self, number, mfn):
        self.same(self.op(Op.STEAL, number, frame=mfn)[0], self.slow.steal(number, mfn), "steal")

    def exchange(self, number, given, wanted, in_order, out_order):
        import numpy as np

        if number not in self.slow.doms:
            return
        slow = self.slow.exchange(number, given, wanted, in_order, out_order)
        a, b = np.array(given, dtype=np.uint64), np.array(wanted, dtype=np.uint64)
        fast = self.fast._exchange(number, a.ctypes.data, b.ctypes.data, in_order, out_order, len(given), 0)
        self.same(fast, slow, f"exchange {given} {wanted} {in_order} {out_order}")

    def get_page(self, number, mfn):
        self.same(self.op(Op.GET_PAGE, number, frame=mfn)[0], self.slow.get_page(number, mfn), "get_page")

    def put_page(self, mfn):
        self.same(self.op(Op.PUT_PAGE, frame=mfn)[0], self.slow.put_page(mfn), "put_page")

    def get_type(self, mfn, kind):
        fast = self.op(Op.GET_PAGE_TYPE, frame=mfn, flags=kind)[0]
        self.same(fast, self.slow.get_page_type(mfn, kind), f"get type {kind}")

    def put_type(self, mfn):
        self.same(self.op(Op.PUT_PAGE_TYPE, frame=mfn)[0], self.slow.put_page_type(mfn), "put type")

    def grant(self, number, ref, to, frame, flags):
        fast = self.op(Op.GRANT, number, peer=to, ref=ref, frame=frame, flags=flags)[0]
        self.same(fast, self.slow.grant(number, ref, to, frame, flags), "grant")

    def end_grant(self, number, ref):
        self.same(self.op(Op.GRANT_END, number, ref=ref)[0], self.slow.end_grant(number, ref), "end grant")

    def map(self, number, owner, ref, flags, addr):
        slow = self.slow.map(number, owner, ref, bool(flags & 2), bool(flags & 1), flags >> 2 & 1, addr)
        status, out, _ = self.op(Op.MAP, number, peer=owner, ref=ref, flags=flags, addr=addr)
        self.same((status, out if status == 0 else None), slow, f"map {ref} of {owner} by {number}, {flags}")

    def unmap(self, number, handle, addr, bus):
        fast = self.op(Op.UNMAP, number, ref=handle, addr=addr, frame=bus)[0]
        self.same(fast, self.slow.unmap(number, handle, addr, bus), f"unmap {handle} by {number}")

    def transfer(self, number, mfn, to, ref):
        fast = self.op(Op.TRANSFER, number, peer=to, ref=ref, frame=mfn)[0]
        self.same(fast, self.slow.transfer(number, mfn, to, ref), f"transfer {mfn:#x}")

    def compare(self):
        """The whole state, page by page; then the fast machine's own audit."""
        fast, slow = self.fast, self.slow
        assert sorted(d.domid for d in fast.domains) == sorted(slow.doms)
        for number, dom in slow.doms.items():
            facts = fast.domain(number)
            assert facts.pages == dom.pages
            assert facts.p2m() == dom.p2m
            assert fast._domain(number)["maptrack_used"] == len(dom.mappings)
            assert fast._domain(number)["iommu_used"] == dom.iommu_used
        for mfn, frame in slow.frames.items():
            page = fast.page(mfn)
            if frame.owner == DOM_IO and page.references == 0:
                # The fast machine writes an I/O frame's record at its first use only.
                assert frame.refs == 1
                continue
            seen = (page.references, page.type_references, page.is_xen_heap, page.is_free)
            assert seen == (frame.refs, frame.type_refs, frame.xen_heap, False), hex(mfn)
            if not frame.xen_heap:
                assert page.owner == frame.owner, hex(mfn)
                assert page.gfn == slow.m2p.get(mfn), hex(mfn)
            if frame.type_refs:
                assert page.type_info >> 61 == frame.type
        lists = {
            (node, zone, order): fast._mfns_of_list(head)
            for node, zone, order, head, _ in fast._free_lists()[0]
        }
        assert lists == {key: members for key, members in slow.heap.lists.items() if members}
        assert fast.dirty_pages == len(slow.heap.dirty)
        fast.audit().check()

    def all_home(self):
        """Everything is let go and destroyed: every page comes home."""
        for mfn, frame in sorted(self.slow.frames.items()):
            for _ in range(frame.held_types):
                self.put_type(mfn)
            for _ in range(frame.held_refs):
                self.put_page(mfn)
        for mfn, frame in sorted(self.slow.frames.items()):
            if frame.held:
                self.free(mfn, 0)
        for number in sorted(self.slow.doms):
            self.destroy(number)
        self.compare()
        assert not self.fast.domains
        assert self.fast.free_pages == self.free_at_start


class Driver:
    """Random operations on a pair, most of them sensible."""

    def __init__(self, pair, rng):
        self.pair = pair
        self.rng = rng

    def domain(self):
        doms = list(self.pair.slow.doms)
        return self.rng.choice(doms) if doms and self.rng.random() < 0.97 else 7

    def frame(self, number):
        dom = self.pair.slow.doms.get(number)
        if dom and dom.pages and self.rng.random() < 0.9:
            return self.rng.choice(dom.pages)
        pool = [*list(self.pair.slow.frames)[:50], IO[0] + 5, 0x100, 0x3800, 0x100001]
        return self.rng.choice([m for m in pool if self.pair.fast.mfn_valid(m)])

    def held(self):
        return [m for m, f in self.pair.slow.frames.items() if f.held_refs or f.held] or [0x100]

    def step(self):
        names = [n for n in dir(self) if n.startswith("do_")]
        # Grants and mappings twice: they need something to work on.
        names += ["do_grant", "do_map", "do_map", "do_unmap", "do_populate"]
        getattr(self, self.rng.choice(names))()

    def do_create(self):
        rng = self.rng
        if rng.random() < 0.3:
            self.pair.create(
                rng.randrange(6),
                rng.choice([0, 40, 5000]),
                rng.random() < 0.3,
                rng.random() < 0.4,
                rng.choice([0, 2, 100]),
                4,
                rng.choice([0, 1, 4]),
            )

    def do_destroy(self):
        if self.rng.random() < 0.05:
            self.pair.destroy(self.rng.randrange(6))

    def do_populate(self):
        order = self.rng.choice([0, 0, 0, 1, 3, 9, 11])
        gfn = self.rng.choice([self.rng.randrange(64) << order, 3, (1 << 30) - 4])
        bits, node = self.rng.choice([(0, None), (32, None), (24, None), (0, 0), (0, 1), (0, 2)])
        self.pair.populate(self.domain(), gfn, order, bits, node)

    def do_remove(self):
        number = self.domain()
        dom = self.pair.slow.doms.get(number)
        gfns = list(dom.p2m) if dom else []
        self.pair.remove(number, self.rng.choice([*gfns, 99]))

    def do_alloc(self):
        self.pair.alloc(self.rng.choice([None, self.domain()]), self.rng.choice([0, 0, 2, 10]))

    def do_free(self):
        if self.rng.random() < 0.5:
            return self.pair.free(self.rng.choice(self.held()), self.rng.choice([0, 0, 2, 10]))
        return self.pair.free(self.frame(self.domain()), 0)

    def frames_of_refs(self):
        return [m for m, f in self.pair.slow.frames.items() if f.held_refs] or [0x100]

    def do_assign(self):
        self.pair.assign(self.domain(), self.rng.choice(self.held()))

    def do_steal(self):
        number = self.domain()
        self.pair.steal(number, self.frame(number))

    def do_exchange(self):
        number = self.domain()
        dom = self.pair.slow.doms.get(number)
        if not dom or not dom.p2m:
            return
        order = self.rng.choice([0, 1, 2])
        gfns = [g for g in dom.p2m if all(g + i in dom.p2m for i in range(1 << order))]
        given = self.rng.sample(gfns, min(len(gfns), self.rng.choice([1, 2, 4])))
        if given and self.rng.random() < 0.2:
            given[-1] = given[0]
        pages = len(given) << order
        out_order = self.rng.choice([0, order, (pages & -pages).bit_length() - 1 if pages else 0])
        places = self.rng.choice([given, [g << out_order for g in range(200, 203 + pages)]])
        wanted = [p for p in places if p % (1 << out_order) == 0][: pages >> out_order]
        if len(wanted) << out_order == pages:
            self.pair.exchange(number, given, wanted, order, out_order)

    def do_get_page(self):
        number = self.domain()
        self.pair.get_page(number if self.rng.random() < 0.9 else self.domain(), self.frame(number))

    def do_put_page(self):
        self.pair.put_page(self.rng.choice(self.frames_of_refs()))

    def do_get_type(self):
        self.pair.get_type(self.rng.choice(self.frames_of_refs()), self.rng.choice([1, 2, 3, 4, 5, 7, 7]))

    def do_put_type(self):
        self.pair.put_type(self.rng.choice(self.frames_of_refs()))

    def do_grant(self):
        number = self.domain()
        dom = self.pair.slow.doms.get(number)
        flags = self.rng.choice([1, 1, 1, 1, 5, 2, 2, 0])
        frame = self.frame(number)
        if dom and dom.translated and self.rng.random() < 0.9:
            frame = self.rng.choice([*dom.p2m, 77, 78])
        if flags == 2 and self.rng.random() < 0.9:
            frame = self.rng.randrange(300, 400)
        self.pair.grant(number, self.rng.choice([*range(12), 511, 512]), self.domain(), frame, flags)

    def do_end_grant(self):
        self.pair.end_grant(self.domain(), self.rng.randrange(12))

    def do_map(self):
        owner = self.domain()
        dom = self.pair.slow.doms.get(owner)
        live = [(r, g.to) for r, g in dom.grants.items() if g.kind == 1] if dom else []
        ref, number = self.rng.choice(live) if live and self.rng.random() < 0.9 else (3, self.domain())
        flags = self.rng.choice([0, 1, 2, 2, 3, 5, 6, 7])
        self.pair.map(number, owner, ref, flags, self.rng.choice([0x1000, 0x2000, 0x1001]))

    def do_unmap(self):
        number = self.domain()
        dom = self.pair.slow.doms.get(number)
        handle = self.rng.choice(list(dom.mappings) if dom and dom.mappings else [3])
        if self.rng.random() < 0.5:
            return
        mapping = dom.mappings.get(handle) if dom else None
        addr = self.rng.choice([mapping.addr if mapping else 0x1000] * 3 + [0, 0x3000])
        bus = self.rng.choice([0, 0x5000])
        if mapping and self.rng.random() < 0.8:
            bus = self.pair.slow.entry(mapping.owner, mapping.ref).mfn << 12
        self.pair.unmap(number, handle, addr, bus)

    def do_transfer(self):
        number = self.domain()
        accepting = [
            (peer, ref)
            for peer, dom in self.pair.slow.doms.items()
            for ref, grant in dom.grants.items()
            if grant.flags == 2 and grant.to == number
        ]
        if accepting and self.rng.random() < 0.8:
            return self.pair.transfer(number, self.frame(number), *self.rng.choice(accepting))
        if self.rng.random() < 0.3:
            return self.pair.transfer(number, self.frame(number), self.domain(), self.rng.randrange(12))
        return None
