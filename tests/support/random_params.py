"""Boot parameters that no boot needs to have chosen, and inputs at their edges, for the slow model to answer.

Holes at any bits, regions of any base and size, limits in the middle of a group, odd virtual layouts.
"""

from hosts import domain_edges, make_params

U64_MAX = (1 << 64) - 1


def some_u64(rng, bits=None):
    return rng.getrandbits(rng.randrange(1, 65) if bits is None else bits)


def mask_changes(rng):
    low, width = rng.randrange(0, 50), rng.randrange(1, 14)
    bottom, hole = (1 << low) - 1, ((1 << width) - 1) << low
    top = U64_MAX & ~(bottom | hole)
    return {
        "pdx_compression": "mask",
        "pfn_pdx_hole_shift": width,
        "pfn_pdx_bottom_mask": bottom,
        "pfn_top_mask": top,
        "pfn_hole_mask": hole,
        "ma_va_bottom_mask": (bottom << 12 | 0xFFF) & U64_MAX,
        "ma_top_mask": (top << 12) & U64_MAX,
    }


def wild_mask_changes(rng):
    # Masks that no boot makes: the formula is defined for them all the same.
    names = ("pfn_pdx_bottom_mask", "pfn_top_mask", "pfn_hole_mask", "ma_va_bottom_mask", "ma_top_mask")
    changes = {name: rng.choice([some_u64(rng), U64_MAX, 0]) for name in names}
    return {**changes, "pdx_compression": "mask", "pfn_pdx_hole_shift": rng.randrange(64)}


def offset_changes(rng, count=None):
    """Regions in their slots, as a boot makes them, but of any size and alignment."""
    size_bits, count = rng.randrange(3, 30), count or rng.choice([1, 2, 3, 7, 16, 17, 40, 64])
    shift = rng.randrange(size_bits, 46)
    used = sorted(rng.sample(range(64), count))
    compress, bases, expand = [0] * 64, [U64_MAX] * 64, []
    for i, slot in enumerate(used):
        base = (slot << shift) + rng.choice([0, 0, some_u64(rng, shift)])
        bases[slot], compress[slot] = base, (base - (i << size_bits)) & U64_MAX
        expand.append(compress[slot])
    return {
        "pdx_compression": "offset",
        "pfn_index_shift": shift,
        "pdx_index_shift": size_bits,
        "pdx_region_size": (1 << size_bits) - rng.choice([0, 0, 1, (1 << size_bits) // 3]),
        "pfn_pdx_lookup": compress,
        "pdx_pfn_lookup": expand[: rng.choice([64, 64, 20])],
        "pfn_bases": bases,
    }


def wild_offset_changes(rng):
    tables = ("pfn_pdx_lookup", "pdx_pfn_lookup", "pfn_bases")
    changes = {name: [rng.choice([some_u64(rng), U64_MAX, 0]) for _ in range(64)] for name in tables}
    shifts = {"pfn_index_shift": rng.randrange(64), "pdx_index_shift": rng.randrange(64)}
    return {**changes, **shifts, "pdx_compression": "offset", "pdx_region_size": some_u64(rng)}


def random_params(rng):
    kind = rng.choice(
        [dict, mask_changes, mask_changes, wild_mask_changes, offset_changes, wild_offset_changes]
    )
    changes = kind() if kind is dict else kind(rng)
    groups, end = [], 0
    for _ in range(rng.randrange(1, 6)):
        start = end + rng.choice([0, 1, 5])
        end = start + rng.choice([1, 2, 9, 70, 5000])
        groups.append((start, end))
    # Limits anywhere near the last group, so that partial groups occur; now and then absurd ones.
    top = rng.choice([(end << 16) - rng.choice([0, 1, 40, 65535]), some_u64(rng)])
    max_page = rng.choice([some_u64(rng), U64_MAX, 1 << 63, top])
    if rng.random() < 0.3:
        start = some_u64(rng, 63)
        layout = {"directmap_virt_start": start, "directmap_virt_end": start + some_u64(rng, 63)}
        changes |= {**layout, "frametable_virt_start": some_u64(rng, 62)}
    if rng.random() < 0.3:
        changes["xen_phys_start"] = some_u64(rng, 40)
        if rng.random() < 0.3:
            changes["xen_virt_start"] = changes.get("directmap_virt_start", 0xFFFF830000000000) + some_u64(
                rng, 30
            )
            changes["xen_virt_end"] = changes["xen_virt_start"] + some_u64(rng, 30)
    return make_params(groups, max_page, top, **changes)


def inputs(rng, params, conversion):
    """Edges, and runs of neighbours across and beside them."""
    edges = domain_edges(params, conversion)
    steps = {"page": [32, 32, 1], "maddr": [1, 4096], "virt": [1, 4096]}.get(
        conversion.partition("_")[0], [1, 3]
    )
    values = []
    for _ in range(12):
        start, step = rng.choice(edges) - rng.randrange(80), rng.choice(steps)
        values += [(start + step * i) & U64_MAX for i in range(rng.choice([33, 64, 100]))]
    return values + rng.sample(edges, min(40, len(edges)))
