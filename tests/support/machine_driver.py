"""Random operations on a live machine, chosen by a look at the slow model: most are possible, some are not.

Values keep to the edges: refs at the end of the table, offsets and lengths that just fit and just do not,
orders 0 and 18, limits at -1, 0 and +1.
"""

from __future__ import annotations

from machines import IO

HIGHEST = (1 << 64) - 1
MIB, GIB = 1 << 20, 1 << 30
#: Memory to add: next to RAM, over it, past every table; whole groups and less.
PLACES = (
    (4 * GIB + 512 * MIB, 4 * GIB + 1024 * MIB),
    (5 * GIB, 5 * GIB + 768 * MIB),
    (6 * GIB, 6 * GIB + 512 * MIB),
    (6 * GIB, 6 * GIB + 256 * MIB),
    (4 * GIB, 5 * GIB),
    (1 << 46, (1 << 46) + GIB),
    (7 * GIB, 7 * GIB + 514 * MIB),
    (7 * GIB + 4096, 8 * GIB),
)


#: To begin with: an ordinary domain or two, one behind an IOMMU with little room, one with a P2M of Xen's.
DOMAINS = tuple(["create", n, 5000, n == 3, n == 1, 3, 4, 4] for n in range(4))


class Driver:
    """``step()`` gives the next operation, as a list; whoever asks applies it before asking again."""

    def __init__(self, slow, rng):
        self.slow, self.rng = slow, rng
        names = [name for name in dir(self) if name.startswith("op_")]
        # Grants, mappings and memory several times: the others need something to work on.
        often = ("op_grant", "op_map", "op_map", "op_unmap", "op_populate", "op_copy", "op_get_page")
        often += ("op_mmu_update", "op_mmu_update", "op_pin_table")
        self.choices = [getattr(self, name) for name in (*names, *often)]

    def step(self):
        while True:
            operation = self.rng.choice(self.choices)()
            if operation is not None:
                return operation

    # What to work on.

    def number(self):
        doms = list(self.slow.doms)
        return (
            self.rng.choice(doms)
            if doms and self.rng.random() < 0.97
            else self.rng.choice([7, 0x7FF1, 0x7FFF])
        )

    def dom(self):
        number = self.number()
        return number, self.slow.doms.get(number)

    def mfn(self, number):
        dom = self.slow.doms.get(number)
        if dom and dom.pages and self.rng.random() < 0.9:
            return self.rng.choice(list(dom.pages))
        frames = list(self.slow.frames)
        pool = [self.rng.choice(frames), IO[0], IO[1] - 1, IO[0] + 5, 0x100, 0x3800, 0x100001]
        ends = [edge + d for s, e, *_ in self.slow.ram.runs for edge in (s, e) for d in (-1, 0)]
        return self.rng.choice([*pool, *pool, self.rng.choice(ends), self.slow.ram.max_page, HIGHEST])

    def held(self, refs=False):
        found = [m for m, f in self.slow.frames.items() if f.held_refs or (f.held and not refs)]
        return self.rng.choice(found or [0x100])

    def make(self, name, dom=0, peer=0, flags=0, ref=0, addr=0, frame=0):
        return [name, dom, peer, flags, ref, addr, frame]

    def memflags(self, order):
        rng = self.rng
        bits, node = rng.choice([(0, 0), (0, 0), (32, 0), (24, 0), (13, 0), (0, 1), (0, 2), (0, 3), (64, 0)])
        return order | bits << 8 | node << 16 | rng.choice([0, 0, 0, 1 << 28, 1 << 29, 1 << 30])

    # Domains.

    def op_create(self):
        rng = self.rng
        if rng.random() < 0.7:
            return None
        limits = (
            rng.choice([0, 1, 40, 5000]),
            rng.random() < 0.3,
            rng.random() < 0.4,
            rng.choice([0, 1, 2, 100]),
        )
        return ["create", rng.randrange(6), *limits, rng.choice([1, 2, 4]), rng.choice([0, 1, 4])]

    def op_destroy(self):
        return ["destroy", self.rng.randrange(6)] if self.rng.random() < 0.05 else None

    def op_set_version(self):
        return (
            ["set_version", self.number(), self.rng.choice([0, 1, 1, 2, 2, 3])]
            if self.rng.random() < 0.3
            else None
        )

    def op_grow(self):
        number, dom = self.dom()
        limit = dom.max_grant_frames if dom else 4
        return (
            ["grow", number, self.rng.choice([0, 1, 2, limit, limit + 1])]
            if self.rng.random() < 0.2
            else None
        )

    def op_max_pages(self):
        number, dom = self.dom()
        have = len(dom.pages) if dom else 0
        if self.rng.random() < 0.9:
            return None
        return ["max_pages", number, self.rng.choice([0, max(have - 1, 0), have, have + 1, 5000, 5000])]

    def op_add_memory(self):
        if self.rng.random() < 0.98:
            return None
        return ["add_memory", *self.rng.choice(PLACES), self.rng.choice([None, 0, 3, 9])]

    def op_reload(self):
        return ["reload"] if self.rng.random() < 0.01 else None

    def op_trim(self):
        return ["trim"] if self.rng.random() < 0.02 else None

    # Memory.

    def op_populate(self):
        order = self.rng.choice([0, 0, 0, 0, 1, 3, 9, 11, 18, 19])
        gfn = self.rng.choice(
            [self.rng.randrange(64) << order, 3, (1 << 30) - 4, (1 << 30) - 1, 1 << 30, HIGHEST]
        )
        return self.make("populate", self.number(), flags=self.memflags(order), frame=gfn)

    def gfn(self, dom):
        return self.rng.choice([*(dom.p2m if dom else ()), 99, HIGHEST])

    def op_remove(self):
        number, dom = self.dom()
        return self.make("remove", number, frame=self.gfn(dom))

    def op_p2m_get(self):
        number, dom = self.dom()
        return self.make("p2m_get", number, frame=self.gfn(dom))

    def op_alloc(self):
        number = self.rng.choice([0x7FF4, 0x7FF4, self.number()])
        flags = self.memflags(self.rng.choice([0, 0, 2, 10, 19]))
        return self.make("alloc", number, flags=flags, addr=self.rng.random() < 0.2)

    def op_free(self):
        order = self.rng.choice([0, 0, 0, 2, 10, 19, 64, 255])
        if self.rng.random() < 0.5:
            return self.make("free", flags=order, frame=self.held())
        return self.make("free", flags=0, frame=self.mfn(self.number()))

    def op_assign(self):
        return self.make("assign", self.number(), frame=self.held())

    def op_steal(self):
        number = self.number()
        return self.make("steal", number, frame=self.mfn(number))

    def op_physmap_add(self):
        number, dom = self.dom()
        gfn = self.rng.choice([self.gfn(dom), self.rng.randrange(500), 1 << 30])
        return self.make("physmap_add", number, addr=gfn, frame=self.mfn(number))

    def op_physmap_remove(self):
        number, dom = self.dom()
        gfn = self.gfn(dom)
        mfn = dom.p2m.get(gfn) if dom else None
        return self.make("physmap_remove", number, addr=gfn, frame=self.mfn(number) if mfn is None else mfn)

    def op_m2p_get(self):
        return self.make("m2p_get", frame=self.mfn(self.number()))

    def op_m2p_set(self):
        value = self.rng.choice([HIGHEST, HIGHEST - 1, 5])
        return self.make("m2p_set", addr=value, frame=self.mfn(self.number()))

    def op_exchange(self):
        number, dom = self.dom()
        if not dom or not dom.p2m:
            return None
        rng, order = self.rng, self.rng.choice([0, 1, 2])
        gfns = [g for g in dom.p2m if all(g + i in dom.p2m for i in range(1 << order))]
        given = rng.sample(gfns, min(len(gfns), rng.choice([1, 2, 4])))
        if given and rng.random() < 0.2:
            given[-1] = rng.choice([given[0], 98])
        pages = len(given) << order
        out_order = rng.choice([0, order, (pages & -pages).bit_length() - 1 if pages else 0])
        places = rng.choice([given, [g << out_order for g in range(200, 203 + pages)], [(1 << 30) - 1], [1]])
        wanted = places[: pages >> out_order]
        if len(wanted) << out_order != pages:
            return None
        return ["exchange", number, given, wanted, order, out_order, self.memflags(0) & ~0xFF]

    def op_scrub(self):
        node = self.rng.choice([0, 1, 2])
        return self.make("scrub", ref=node, frame=self.rng.choice([0, 1, 7, 1000, HIGHEST]))

    # References, types, mappings.

    def op_get_page(self):
        number = self.number()
        return self.make(
            "get_page", number if self.rng.random() < 0.9 else self.number(), frame=self.mfn(number)
        )

    def op_put_page(self):
        return self.make("put_page", frame=self.held(refs=True))

    def op_get_page_type(self):
        kind = self.rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8])
        return self.make("get_page_type", flags=kind, frame=self.held(refs=True))

    def op_put_page_type(self):
        return self.make("put_page_type", frame=self.held(refs=True))

    def op_map_frame(self):
        return self.make("map_frame", ref=self.rng.choice([0, 0, 1, 2]), frame=self.mfn(self.number()))

    def op_map_page(self):
        return self.make("map_page", ref=self.rng.choice([0, 0, 1, 2]), frame=self.mfn(self.number()))

    def op_unmap_page(self):
        window = 0xFFFF820040000000
        slot = self.rng.choice([self.rng.randrange(32), 32, -1])
        return self.make("unmap_page", addr=window + slot * 4096)

    # Page tables and TLBs. A few pages of each domain serve as tables, so that they come to name one another.

    def table(self, number):
        dom = self.slow.doms.get(number)
        if dom and dom.pages and self.rng.random() < 0.9:
            return self.rng.choice(list(dom.pages)[:7])
        return self.mfn(number)

    def op_pin_table(self):
        number = self.number()
        level = self.rng.choice([0, 1, 1, 1, 2, 2, 3, 4, 5])
        return self.make("pin_table", number, flags=level, frame=self.table(number))

    def op_unpin_table(self):
        number = self.number()
        return self.make("unpin_table", number, frame=self.table(number))

    def op_mmu_update(self):
        rng, number = self.rng, self.number()
        named = rng.choice([self.table(number), self.mfn(number), IO[0], (1 << 40) - 1, 1 << 39])
        flags = rng.choice([1, 1, 3, 3, 7, 0x67, 2, 0x101, 0x83, 0x9, 1 << 63 | 1])
        entry = rng.choice([0, named << 12 | flags, named << 12 | flags, named << 12 | flags]) & HIGHEST
        index = rng.choice([0, 0, 1, 1, 2, 3, 255, 256, 271, 272, 511, 512])
        return self.make("mmu_update", number, ref=index, addr=entry, frame=self.table(number))

    def op_pte_get(self):
        number = self.number()
        return self.make("pte_get", ref=self.rng.choice([0, 1, 2, 511, 512]), frame=self.table(number))

    def op_flush_tlb(self):
        return self.make("flush_tlb", ref=self.rng.choice([0, 0, 1, 2, 63, 64, 0xFFFFFFFF]))

    def op_run_on(self):
        return self.make("run_on", self.number(), ref=self.rng.choice([0, 0, 1, 2, 63, 64]))

    # Grants.

    def ref(self, dom):
        last = dom.nr_entries() if dom else 512
        return self.rng.choice([*range(12), *range(12), last - 1, last, (1 << 32) - 1])

    def op_grant(self):
        rng = self.rng
        number, dom = self.dom()
        flags = rng.choice([1, 1, 1, 1, 1, 5, 2, 2, 0, 257, 261, 3, 3, 9, 17, 4, 12, 0xFFFF])
        frame = self.mfn(number)
        if dom and dom.translated and rng.random() < 0.9:
            frame = rng.choice([*dom.p2m, 77, 78])
        if flags == 2 and rng.random() < 0.9:
            frame = rng.choice([rng.randrange(300, 400), (1 << 30) - 1, 1 << 30])
        addr = rng.choice([0, 0x1000, 100 | 200 << 16, 4095 | 1 << 16, 4096 << 16, 0xFFFF | 0xFFFF << 16])
        if flags & 3 == 3:
            addr, frame = self.number(), rng.randrange(12)
        return self.make("grant", number, self.number(), flags, self.ref(dom), addr, frame)

    def op_grant_end(self):
        number, dom = self.dom()
        return self.make("grant_end", number, ref=self.ref(dom))

    def usable(self, dom, kinds=(1,)):
        return [(ref, e.to) for ref, e in dom.entries.items() if e.flags & 3 in kinds] if dom else []

    def op_map(self):
        rng = self.rng
        owner, dom = self.dom()
        live = self.usable(dom)
        ref, number = rng.choice(live) if live and rng.random() < 0.9 else (self.ref(dom), self.number())
        flags = rng.choice([0, 1, 2, 2, 3, 4, 5, 6, 7])
        return self.make("map", number, owner, flags, ref, rng.choice([0, 0x1000, 0x2000, 0x1001]))

    def op_unmap(self):
        number, dom = self.dom()
        handle = self.rng.choice([*(dom.mappings if dom else ()), 3, 511, 512])
        if self.rng.random() < 0.5:
            return None
        track = dom.mappings.get(handle) if dom else None
        addr = self.rng.choice([track.addr if track else 0x1000] * 3 + [0, 0x3000])
        bus = self.rng.choice([0, 0x5000])
        if track and self.rng.random() < 0.8:
            bus = self.slow.doms[track.owner].act(track.ref).mfn << 12 & HIGHEST
        return self.make("unmap", number, ref=handle, addr=addr, frame=bus)

    def op_transfer(self):
        number, rng = self.number(), self.rng
        accepting = [
            (peer, ref)
            for peer, dom in self.slow.doms.items()
            for ref, entry in dom.entries.items()
            if entry.flags == 2 and entry.to == number
        ]
        if accepting and rng.random() < 0.8:
            to, ref = rng.choice(accepting)
        elif rng.random() < 0.3:
            to, dom = self.dom()
            ref = self.ref(dom)
        else:
            return None
        return self.make("transfer", number, to, ref=ref, frame=self.mfn(number))

    def op_copy(self):
        rng, number = self.rng, self.number()
        sides = []
        for _ in range(2):
            owner, dom = self.dom()
            live = [ref for ref, to in self.usable(dom, (1, 3)) if to == number]
            if live and rng.random() < 0.7:
                sides.append((rng.choice(live), owner, True))
            elif rng.random() < 0.3:
                frame = rng.choice([self.ref(dom), 1 << 32])
                sides.append((frame, rng.choice([owner, 0x7FF0]), rng.random() < 0.8))
            else:
                own = self.slow.doms.get(number)
                gfn = own is not None and own.translated
                sides.append((self.gfn(own) if gfn else self.mfn(number), 0x7FF0, False))
        (src, src_dom, from_ref), (dst, dst_dom, to_ref) = sides
        offsets = [rng.choice([0, 0, 1, 100, 299, 300, 4095, 4096]) for _ in range(2)]
        length = rng.choice([0, 1, 100, 200, 201, 4095, 4096, 4097, 0xFFFF])
        return ["copy", number, src, dst, src_dom, dst_dom, *offsets, length, from_ref | to_ref << 1]
