"""The slow model: every conversion in plain Python integers, written from the rules, nothing of xenmm used.

Masks are applied one bit at a time and regions are looked up in lists, so that this text shares no
formula with the fast ones. It is less quick, less clever and easier to believe.
"""

U64 = 1 << 64
GROUP_FRAMES = 65536
RECORD_BYTES = 32
PAGE_BYTES = 4096
SLOTS = 64

CONVERSIONS = (
    "mfn_to_pdx",
    "pdx_to_mfn",
    "mfn_to_page",
    "page_to_mfn",
    "mfn_to_virt",
    "virt_to_mfn",
    "maddr_to_virt",
    "virt_to_maddr",
    "page_to_virt",
    "virt_to_page",
    "page_to_mfn_to_virt",
)


def bits_of(mask):
    return [i for i in range(64) if mask >> i & 1]


class Oracle:
    """One host's conversions from its boot parameters, given by name as a mapping."""

    def __init__(self, params):
        self.params = dict(params)
        self.mode = params["pdx_compression"]
        self.max_page = params["max_page"]
        self.max_pdx = params["max_pdx"]
        self.frame_table = params["frametable_virt_start"]
        self.direct_map = params["directmap_virt_start"]
        self.direct_map_end = params["directmap_virt_end"]
        self.image = None
        if params["xen_phys_start"] is not None:
            self.image = (params["xen_virt_start"], params["xen_virt_end"], params["xen_phys_start"])
        bitmap = params["pdx_group_valid"]
        self.groups = {8 * i + b for i, byte in enumerate(bitmap) for b in range(8) if byte >> b & 1}

    # Compression of frames.

    def mfn_to_pdx(self, mfn):
        if self.mode == "none":
            return mfn
        if self.mode == "mask":
            return self._squeeze(mfn, self.params["pfn_pdx_bottom_mask"], self.params["pfn_top_mask"])
        return (mfn - self._entry("pfn_pdx_lookup", mfn, "pfn_index_shift")) % U64

    def pdx_to_mfn(self, pdx):
        if self.mode == "none":
            return pdx
        if self.mode == "mask":
            return self._spread(pdx, self.params["pfn_pdx_bottom_mask"], self.params["pfn_top_mask"])
        return (pdx + self._entry("pdx_pfn_lookup", pdx, "pdx_index_shift")) % U64

    # Compression of byte addresses: the masks stand 12 bits higher, the lookups are in frames.

    def maddr_to_directmapoff(self, maddr):
        if self.mode == "none":
            return maddr
        if self.mode == "mask":
            return self._squeeze(maddr, self.params["ma_va_bottom_mask"], self.params["ma_top_mask"])
        frames = self._entry("pfn_pdx_lookup", maddr // PAGE_BYTES, "pfn_index_shift")
        return (maddr - frames * PAGE_BYTES) % U64

    def directmapoff_to_maddr(self, off):
        if self.mode == "none":
            return off
        if self.mode == "mask":
            return self._spread(off, self.params["ma_va_bottom_mask"], self.params["ma_top_mask"])
        frames = self._entry("pdx_pfn_lookup", off // PAGE_BYTES, "pdx_index_shift")
        return (off + frames * PAGE_BYTES) % U64

    # The rest is arithmetic on those.

    def mfn_to_page(self, mfn):
        return (self.frame_table + RECORD_BYTES * self.mfn_to_pdx(mfn)) % U64

    def page_to_mfn(self, page):
        return self.pdx_to_mfn((page - self.frame_table) % U64 // RECORD_BYTES)

    def maddr_to_virt(self, maddr):
        return (self.direct_map + self.maddr_to_directmapoff(maddr)) % U64

    def virt_to_maddr(self, virt):
        if self._in_image(virt):
            return (self.image[2] + virt - self.image[0]) % U64
        return self.directmapoff_to_maddr((virt - self.direct_map) % U64)

    def mfn_to_virt(self, mfn):
        return self.maddr_to_virt(mfn * PAGE_BYTES % U64)

    def virt_to_mfn(self, virt):
        return self.virt_to_maddr(virt) // PAGE_BYTES

    def page_to_virt(self, page):
        return (self.direct_map + (page - self.frame_table) % U64 * PAGE_BYTES // RECORD_BYTES) % U64

    def virt_to_page(self, virt):
        if self._in_image(virt):
            return self.mfn_to_page(self.virt_to_mfn(virt))
        return (self.frame_table + RECORD_BYTES * ((virt - self.direct_map) % U64 // PAGE_BYTES)) % U64

    def page_to_mfn_to_virt(self, page):
        return self.mfn_to_virt(self.page_to_mfn(page))

    # What judges.

    def compressible(self, mfn):
        if self.mode == "none":
            return True
        if self.mode == "mask":
            return not any(mfn >> i & 1 for i in bits_of(self.params["pfn_hole_mask"]))
        bases = self.params["pfn_bases"]
        slot = mfn // 2 ** self.params["pfn_index_shift"] % SLOTS
        base = bases[slot] if slot < len(bases) else U64 - 1
        return base <= mfn < base + self.params["pdx_region_size"]

    def group_valid(self, pdx):
        return pdx // GROUP_FRAMES in self.groups

    def mfn_valid(self, mfn):
        return mfn < self.max_page and self.compressible(mfn) and self.group_valid(self.mfn_to_pdx(mfn))

    def in_domain(self, name, x):
        """Whether the checked conversion of that name takes x."""
        kind = name.partition("_")[0]
        if name in ("mfn_to_pdx", "mfn_to_page"):
            return self.mfn_valid(x)
        if kind == "pdx":
            return x < self.max_pdx and self.group_valid(x)
        if kind == "page":
            pdx, rest = divmod(x - self.frame_table, RECORD_BYTES)
            return rest == 0 and 0 <= pdx < self.max_pdx and self.group_valid(pdx)
        if kind == "virt":
            return self.direct_map <= x < self.direct_map_end or self._in_image(x)
        mfn = x // PAGE_BYTES if kind == "maddr" else x
        end = (self.direct_map_end - self.direct_map) // PAGE_BYTES
        return self.compressible(mfn) and self.mfn_to_pdx(mfn) < end

    # Helpers.

    def _in_image(self, virt):
        return self.image is not None and self.image[0] <= virt < self.image[1]

    def _entry(self, table, frame, shift):
        values = self.params[table]
        slot = frame // 2 ** self.params[shift] % SLOTS
        return values[slot] if slot < len(values) else 0

    def _squeeze(self, x, bottom, top):
        shift = self.params["pfn_pdx_hole_shift"]
        kept = {i for i in bits_of(bottom) if x >> i & 1}
        kept |= {i - shift for i in bits_of(top) if x >> i & 1 and i >= shift}
        return sum(1 << i for i in kept)

    def _spread(self, x, bottom, top):
        shift = self.params["pfn_pdx_hole_shift"]
        kept = {i for i in bits_of(bottom) if x >> i & 1}
        kept |= {i for i in bits_of(top) if i >= shift and x >> (i - shift) & 1}
        return sum(1 << i for i in kept)
