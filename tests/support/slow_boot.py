"""A slow, independent model of boot: plain loops over groups, slots and pages, on small maps.

Nothing here is shared with the package: it restates the rule book frame by frame, so that a slip in the
arithmetic on runs shows. ``boot`` returns a dict of figures for ``figures`` of a host to be compared with.
"""

from __future__ import annotations

import re

K4, M2, G1, T512 = 1 << 12, 1 << 21, 1 << 30, 1 << 39
U64 = (1 << 64) - 1

# name: (compression, clip, skipping loop, limit in frames, sparse frame table, sparse M2P, modern, checks)
RULES = {
    "pre": ("none", 1 << 40, True, None, False, False, False, False),
    "ext5t": ("none", 5 << 40, True, None, False, False, False, False),
    "fold": ("mask", 1 << 47, True, 5 << 28, False, False, False, False),
    "sparse-frametable": ("mask", 1 << 47, True, 5 << 28, True, False, False, False),
    "sparse-m2p": ("mask", 1 << 47, True, 5 << 28, True, True, False, False),
    "xen-4.17": ("mask", 1 << 47, False, (1 << 32) - 2, True, True, True, False),
    "xen-mask": ("mask", 1 << 47, False, (1 << 32) - 2, True, True, True, True),
    "xen-offset": ("offset", 1 << 47, False, (1 << 32) - 2, True, True, True, True),
    "xen-none": ("none", 1 << 47, False, (1 << 32) - 2, True, True, True, True),
}


def up(x, step):
    return (x + step - 1) // step * step


def down(x, step):
    return x // step * step


def some_set(start, end, bit):
    """Whether some number in [start, end) has the bit set."""
    first = start if start >> bit & 1 else ((start >> bit) + 1) << bit
    return first < end


def some_clear(start, end, bit):
    """Whether some number in [start, end) has the bit clear."""
    first = start if not start >> bit & 1 else ((start >> bit) + 1) << bit
    return first < end


class Squeeze:
    """mfn <-> pdx by definition: bits dropped one by one, or regions looked up one by one."""

    def __init__(self, kind="none", hole=(), regions=(), shift=0, size=0):
        self.kind, self.hole, self.regions, self.shift, self.size = kind, hole, regions, shift, size
        self.hole_bits = sum(1 << bit for bit in hole)

    def to_pdx(self, mfn):
        if self.kind == "mask":
            kept = [bit for bit in range(64) if bit not in self.hole]
            return sum((mfn >> bit & 1) << i for i, bit in enumerate(kept))
        if self.kind == "offset":
            for i, (base, slot) in enumerate(self.regions):
                if mfn >> self.shift & 63 == slot:
                    return (mfn - base + self.size * i) & U64
        return mfn

    def to_mfn(self, pdx):
        if self.kind == "mask":
            kept = [bit for bit in range(64) if bit not in self.hole]
            return sum((pdx >> i & 1) << bit for i, bit in enumerate(kept))
        if self.kind == "offset":
            i = pdx // self.size & 63
            if i < len(self.regions):
                return (pdx + self.regions[i][0] - self.size * i) & U64
        return pdx

    def fits(self, mfn):
        if self.kind == "mask":
            return not mfn & self.hole_bits
        if self.kind == "offset":
            return any(
                mfn >> self.shift & 63 == slot and base <= mfn < base + self.size
                for base, slot in self.regions
            )
        return True


def clip(ram, limit, skips):
    ram = list(ram)
    i = 0
    while i < len(ram):
        start, end = ram[i]
        if end > limit:
            if start < limit:
                ram[i] = (start, limit)
            else:
                del ram[i]
                if not skips:
                    continue
        i += 1
    return ram


def choose_mask(base, regions, ram, checks):
    frames = [(start >> 12, up(end, K4) >> 12) for start, end in regions]
    below = (base - 1).bit_length() - 12
    used = [bit < below or any(some_set(s, e, bit) for s, e in frames) for bit in range(52)]
    if checks and not frames:
        return Squeeze()
    if not checks:
        for start, end in ram:
            for bit in range(12, 64):
                moves = some_set(start, end, bit) and some_clear(start, end, bit)
                if moves and not (bit < 64 and used[bit - 12] if bit - 12 < 52 else False):
                    return Squeeze()
    text = "".join("1" if bit else "0" for bit in used).rstrip("0")
    holes = [(m.end() - m.start(), -m.start()) for m in re.finditer("0+", text)]
    if not holes:
        return Squeeze()
    width, first = max(holes)
    hole = range(-first, -first + width)
    squeeze = Squeeze("mask", hole=hole)
    for start, end in ram if checks else ():
        pages = (up(end, K4) >> 12) - (start >> 12)
        last = (start + pages * K4 - 1) >> 12
        if any(some_set(start >> 12, last + 1, bit) for bit in hole):
            return Squeeze()
    return squeeze


def choose_offset(base, regions, ram):
    frames = sorted(((start >> 12, up(end, K4) >> 12) for start, end in regions), key=lambda r: r[0])
    if not frames or len(frames) > 1024:
        return Squeeze()
    width = max((base - 1).bit_length(), 30) - 12
    joined = []
    for start, end in frames:
        start = down(start, 1 << 18)
        if joined and start < joined[-1][1]:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    width = max([width, *((start ^ (end - 1)).bit_length() for start, end in joined)])
    differ = [b for b in range(width, 52) if len({start >> b & 1 for start, _ in joined}) == 2]
    shift = width
    if differ:
        shift = differ[0] if differ[-1] - differ[0] < 6 else differ[-1] - 5
    merged = []
    for start, end in joined:
        slot = start >> shift & 63
        if slot != (end - 1) >> shift & 63:
            return Squeeze()
        if merged and merged[-1][2] == slot:
            merged[-1][1] = end
        else:
            merged.append([start, end, slot])
    size = 1 << 18
    while size < max(end - start for start, end, _ in merged):
        size *= 2
    if size * (len(merged) - 1) >= merged[-1][0]:
        return Squeeze()
    squeeze = Squeeze("offset", regions=[(s, slot) for s, _, slot in merged], shift=shift, size=size)
    for start, end in ram:
        pfn, last = start >> 12, up(end, K4) >> 12
        bases = [b for b, slot in squeeze.regions if slot == pfn >> shift & 63]
        if not bases or not bases[0] <= pfn or last > bases[0] + size:
            return Squeeze()
    return squeeze


class Pages:
    """Page tables as sets: a leaf of each size by its number, with Xen's replacing and splitting."""

    def __init__(self, page_1g):
        self.page_1g = page_1g
        self.g, self.m, self.k = set(), set(), set()
        # Which 2 MiB hold, or once held, pages of 4 KiB: the others need not be searched for them.
        self.small = set()

    def map(self, offset, mfn, count, leaf_frames=None):
        at = offset >> 12
        while count > 0:
            both = at | mfn
            if self.page_1g and both % (1 << 18) == 0 and count >= 1 << 18 and leaf_frames in (None, 1 << 18):
                self.m -= {at // 512 + i for i in range(512)}
                self.k = {x for x in self.k if x >> 18 != at >> 18}
                self.g.add(at >> 18)
                step = 1 << 18
            elif both % 512 == 0 and count >= 512 and leaf_frames in (None, 512, 1 << 18):
                self.split_1g(at >> 18)
                if at >> 9 in self.small:
                    self.k -= {at + i for i in range(512)}
                self.m.add(at >> 9)
                step = 512
            else:
                self.split_1g(at >> 18)
                if at >> 9 in self.m:
                    self.m.remove(at >> 9)
                    self.k |= {(at >> 9 << 9) + i for i in range(512)}
                    self.small.add(at >> 9)
                self.k.add(at)
                self.small.add(at >> 9)
                step = 1
            at, mfn, count = at + step, mfn + step, count - step

    def split_1g(self, number):
        if number in self.g:
            self.g.remove(number)
            self.m |= {number * 512 + i for i in range(512)}

    def counts(self, statics=0):
        l1 = {x >> 9 for x in self.k}
        l2 = {x >> 18 for x in self.k} | {x >> 9 for x in self.m}
        l3 = {x >> 27 for x in self.k} | {x >> 18 for x in self.m} | {x >> 9 for x in self.g}
        l2 |= {x for x in range(statics) if x not in self.g}
        # The first L3 is Xen's own, and there before anything is mapped.
        return (len(self.g), len(self.m), len(self.k), max(len(l3), 1), len(l2), len(l1))


def boot(ram, srat, name, page_1g, hotplug_end=0, tables=True):
    """Boot a map: sorted RAM ranges in bytes, SRAT regions that count (or None); if asked, without tables."""
    kind, limit_bytes, skips, limit, sparse_ft, sparse_m2p, modern, checks = RULES[name]
    entries = []
    for start, end in ram:
        for a, b in ((start, min(end, 0xA0000)), (max(start, 1 << 20), end)):
            if a < b and (a, b) not in entries:
                entries.append((a, b))
    entries = clip(entries, limit_bytes, skips)
    if limit is None:
        entries = [r for r in entries if r[1] <= limit_bytes]
    whole = [(up(s, K4), down(e, K4)) for s, e in entries]
    raw = max((e >> 12 for s, e in whole if s < e), default=0)
    state = {"squeeze": Squeeze(), "groups": {0}, "calls": [], "used": []}

    def limits(top):
        if not top:
            return 0, 0
        pdx = state["squeeze"].to_pdx(top - 1) + 1
        pdx = pdx if limit is None else min(pdx, limit)
        return state["squeeze"].to_mfn(pdx - 1) + 1, pdx

    def mark(s, e):
        first, last = state["squeeze"].to_pdx(s >> 12) >> 16, state["squeeze"].to_pdx((e >> 12) - 1) >> 16
        state["groups"] |= set(range(first, last + 1))

    def call(s, e):
        if s < e:
            state["calls"].append((state["squeeze"].to_pdx(s >> 12) << 12, s >> 12, (e - s) >> 12))

    prebuilt = M2 if modern else 16 << 20
    max_page, max_pdx = limits(raw)
    top = raw if modern else max_page
    for start, end in reversed(entries):
        s, e = max(up(start, M2), prebuilt), down(min(end, 4 * G1), M2)
        if s < e:
            mark(s, e)
            call(s, e)
    looked = False
    for i, (start, end) in enumerate(entries):
        s, e = max(up(start, K4), 1 << 20), down(end, K4)
        if s >= e:
            continue
        if s >= 4 * G1 and not looked and limit is not None:
            looked = True
            if kind == "mask" and srat is not None:
                state["squeeze"] = choose_mask(s, srat, entries, checks)
            if kind == "offset" and srat is not None:
                state["squeeze"] = choose_offset(s, srat, entries)
            max_page, max_pdx = limits(top)
        if limit is not None and state["squeeze"].to_pdx((e >> 12) - 1) >= max_pdx:
            if state["squeeze"].to_pdx(s >> 12) >= max_pdx:
                last = (up(entries[i - 1][1], K4) if modern else entries[i - 1][1]) >> 12 if i else 0
                if 0 < last < max_page:
                    max_page, max_pdx = last, state["squeeze"].to_pdx(last - 1) + 1
                continue
            if not s < max_page << 12 <= e:
                continue
            e = max_page << 12
        state["used"].append((s, e))
        mark(s, e)
        s = max(s, prebuilt)
        if not modern:
            call(s, e)
            continue
        piece = (s, min(e, 4 * G1))
        if piece[0] < piece[1]:
            piece = (up(piece[0], M2), down(piece[1], M2))
        if piece[0] > piece[1]:
            piece = (s, s)
        guest_end = (state["squeeze"].to_mfn((5 << 28) - 1) + 1) << 12 & U64
        if piece[1] < guest_end < e:
            call(piece[1], guest_end)
            call(guest_end, e)
        else:
            call(piece[1], e)
        call(s, piece[0])
    squeeze = state["squeeze"]
    groups = state["groups"] if sparse_ft else set(range(max(1, up(max_pdx, 65536) >> 16)))
    out = {
        "kind": squeeze.kind,
        "max_page": max_page,
        "max_pdx": max_pdx,
        "used": state["used"],
        "groups": groups,
        "calls": state["calls"],
    }
    if not tables:
        return out
    out["frame_table"], out["fills"] = frame_table(groups, max_pdx, page_1g, sparse_ft, modern)
    out["m2p"], out["ro_m2p"], filled = m2p(squeeze, groups, max_page, page_1g, sparse_m2p)
    # 2009 told entries of large pages from those of small ones; since then both read as invalid.
    out["m2p_fills"] = {slot: 0xFF if modern else 0x77 if large else 0x55 for slot, large in filled.items()}
    out["compat"] = compat(squeeze, groups, max_page, sparse_m2p)
    out["compat_fills"] = dict.fromkeys(out["compat"], 0xFF if modern else 0x55)
    out["crashes"] = crashes(name, state, entries)
    out["direct_map"] = direct_map(state["calls"], page_1g, prebuilt, squeeze, hotplug_end if modern else 0)
    return out


def crashes(name, state, entries):
    """What stops this Xen that the ranges alone tell: frames that share a record, a range over 16 TiB."""
    found, squeeze = set(), state["squeeze"]
    if squeeze.kind == "mask" and any(not squeeze.fits(s >> 12) for s, _ in state["used"]):
        found.add("alias")
    if name == "xen-4.17" and squeeze.kind == "none":
        end = ((1 << 32) - 2) << 12
        found |= {"allocator-bug" for s, e in entries if s < end < e}
    return found


def frame_table(groups, max_pdx, page_1g, sparse, modern):
    """Page tables, and what is filled in where: (offset, bytes, value)."""
    pages, fills = Pages(page_1g), []
    size = max_pdx * 32
    if not sparse:
        count, at, step = up(size, K4) >> 12, 0, 1 << 18 if page_1g else 512
        while at < count:
            while count + 4 - at < step:
                step //= 512
            pages.map(at << 12, at, step)
            at += step
        return pages.counts(), [(0, count << 12, 0)]
    marks = sorted(g for g in groups if g < up(max_pdx, 65536) >> 16)
    runs = []
    for g in marks:
        if runs and runs[-1][1] == g * M2:
            runs[-1][1] = (g + 1) * M2
        else:
            runs.append([g * M2, (g + 1) * M2])
    if runs:
        runs[-1][1] = size
    for start, end in runs:
        at = start
        while at < end:
            step = G1 if page_1g and at % G1 == 0 else M2
            while at + step > end + 4 * K4:
                step //= 512
            pages.map(at, 0 if step > K4 else 1, step >> 12, step >> 12)
            at += step
        fills += [(start, end - start, 0), (end, at - end, 0xFF)]
    if modern:
        fills.append((size, 0, 0xFF))
    return pages.counts(), fills


def valid(squeeze, groups, max_page, mfn):
    return mfn < max_page and squeeze.fits(mfn) and squeeze.to_pdx(mfn) >> 16 in groups


def m2p(squeeze, groups, max_page, page_1g, sparse):
    slots = up(max_page * 8, M2) // M2
    live = [
        not sparse or any(valid(squeeze, groups, max_page, (i << 18) + (n << 16)) for n in range(4))
        for i in range(slots)
    ]
    pages, copies, filled = Pages(page_1g), 0, {}
    at = 0
    while at < slots:
        if page_1g and at % 512 == 0 and at + 512 <= slots:
            if not any(live[at : at + 512]):
                at += 512
                continue
            if all(live[at : at + 512]):
                pages.map(at * M2, 0, 1 << 18)
                filled |= dict.fromkeys(range(at, at + 512), True)
                at += 512
                continue
        copies += at % 512 == 0
        if live[at]:
            pages.map(at * M2, 512, 512)
            filled[at] = False
        at += 1
    return pages.counts(), copies, filled


def compat(squeeze, groups, max_page, sparse):
    slots = min(up(max_page * 4, M2) // M2, 512)
    return [
        i
        for i in range(slots)
        if not sparse or any(valid(squeeze, groups, max_page, (i << 19) + (n << 16)) for n in range(8))
    ]


def direct_map(calls, page_1g, prebuilt, squeeze, hotplug_end):
    pages = Pages(page_1g)
    pages.map(0, 1, 512, 1)
    if prebuilt > M2:
        pages.map(M2, 512, (prebuilt - M2) >> 12, 512)
    for offset, mfn, count in calls:
        pages.map(offset, mfn, count)
    counts = list(pages.counts(statics=4))
    l3 = {x >> 27 for x in pages.k} | {x >> 18 for x in pages.m} | {x >> 9 for x in pages.g}
    start = 0xFFFF830000000000
    virt = (start + (squeeze.to_pdx(hotplug_end >> 12) << 12) + hotplug_end % K4) & U64
    if hotplug_end and virt > start:
        top = min(virt, 0xFFFFFF8000000000) - start
        l3 |= set(range(up(top, T512) // T512))
    counts[3] = len(l3)
    return tuple(counts)


def figures(host):
    """The same figures of a booted host."""

    def counts(table):
        t = table.page_tables
        return (t.leaf_1g, t.leaf_2m, t.leaf_4k, t.l3_tables, t.l2_tables, t.l1_tables)

    def by_slot(fills):
        return {slot: v for at, size, v in fills for slot in range(at // M2, (at + size) // M2)}

    return {
        "kind": host.compression.kind,
        "max_page": host.max_page,
        "max_pdx": host.max_pdx,
        "used": list(host.plan.used),
        "groups": {g for start, end in host.groups_valid for g in range(start, end)},
        "calls": list(host.plan.directmap_calls),
        "frame_table": counts(host.frame_table),
        "m2p": counts(host.m2p),
        "ro_m2p": host.ro_m2p.page_tables.l2_tables,
        "fills": list(host.frame_table.fills),
        "m2p_fills": by_slot(host.m2p.fills),
        "compat": [at // M2 + i for at, _, count in host.compat_m2p.chunks for i in range(count)],
        "compat_fills": by_slot(host.compat_m2p.fills),
        "crashes": {h.code for h in host.hazards} & {"alias", "allocator-bug"},
        "direct_map": counts(host.direct_map),
    }
