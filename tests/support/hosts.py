"""Hosts for the tests of ``_core``: boot parameters from the golden cases and from made-up limits.

The golden cases hold what Xen's own functions chose, so that these tests need no boot of ours.
"""

import functools
import json
import lzma
from pathlib import Path

from oracle import Oracle

from xenmm._core import HostCore
from xenmm.boot.frozen import PARAMETERS, BootSlots

GOLDEN = Path(__file__).parent.parent / "data" / "golden-cases.json.xz"
U64_MAX = (1 << 64) - 1

# Virtual layout of modern Xen on x86-64 without BIGMEM (rule book, part 1).
LAYOUT = {
    "directmap_virt_start": 0xFFFF830000000000,
    "directmap_virt_end": 0xFFFFFF8000000000,
    "frametable_virt_start": 0xFFFF82E000000000,
    "frametable_virt_end": 0xFFFF830000000000,
    "rdwr_mpt_virt_start": 0xFFFF828000000000,
    "rdwr_mpt_virt_end": 0xFFFF82C000000000,
    "ro_mpt_virt_start": 0xFFFF800000000000,
    "rdwr_compat_mpt_virt_start": 0xFFFF82D000000000,
    "xen_virt_start": 0xFFFF82D040000000,
    "xen_virt_end": 0xFFFF82D080000000,
    "xen_phys_start": None,
}
IDENTITY = {
    "pdx_compression": "none",
    "pfn_pdx_hole_shift": 0,
    "pfn_pdx_bottom_mask": U64_MAX,
    "pfn_top_mask": 0,
    "pfn_hole_mask": 0,
    "ma_va_bottom_mask": U64_MAX,
    "ma_top_mask": 0,
    "pfn_index_shift": 0,
    "pdx_index_shift": 0,
    "pdx_region_size": U64_MAX,
    "pfn_pdx_lookup": (),
    "pdx_pfn_lookup": (),
    "pfn_bases": (),
}


def bitmap(groups):
    """The group bitmap of half-open runs of groups, little-endian."""
    bits = 0
    for start, end in groups:
        bits |= (1 << end) - (1 << start)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def make_params(groups, max_page, max_pdx, **changes):
    """Boot parameters by name: identity compression in the modern layout, with changes."""
    limits = {"max_page": max_page, "max_pdx": max_pdx, "pdx_group_valid": bitmap(groups)}
    return {**IDENTITY, **LAYOUT, **limits, **changes}


def freeze(params):
    slots = BootSlots()
    for parameter in PARAMETERS:
        slots.write(parameter.name, params[parameter.name], writer="tests")
    return slots.freeze()


def make_host(params):
    return HostCore(freeze(params), None)


@functools.cache
def golden_cases():
    with lzma.open(GOLDEN) as file:
        return json.load(file)


def golden_params(output):
    """Boot parameters of one golden result of the modern tree (or None when it has no groups)."""
    compress = output["compress"]
    changes = {}
    if compress["enabled"] and "pfn_hole_mask" in compress:
        changes = {name: compress[name] for name in IDENTITY if name in compress}
        changes |= {"pdx_compression": "mask", "pfn_pdx_hole_shift": compress["hole_shift"]}
    elif compress["enabled"]:
        changes = {name: compress[name] for name in IDENTITY if name in compress}
        changes["pdx_compression"] = "offset"
    return make_params(output["groups_valid"], output["max_page"], output["max_pdx"], **changes)


def edge_values(params):
    """Frames at the edges of everything the parameters name, at -1, 0 and +1, and the ends of uint64."""
    edges = {0, 1 << 32, 1 << 52, 1 << 63, U64_MAX, params["max_page"], params["max_pdx"]}
    edges |= {1 << i for i in range(0, 64, 7)}
    directmap_pages = (params["directmap_virt_end"] - params["directmap_virt_start"]) >> 12
    edges |= {directmap_pages, Oracle(params).pdx_to_mfn(directmap_pages)}
    for base in params["pfn_bases"]:
        edges |= {base, base + params["pdx_region_size"]}
    for table in ("pfn_pdx_lookup", "pdx_pfn_lookup"):
        edges |= set(params[table])
    for mask in ("pfn_pdx_bottom_mask", "pfn_top_mask", "pfn_hole_mask", "ma_top_mask"):
        edges |= {params[mask], params[mask] + 1}
    bits, group = int.from_bytes(params["pdx_group_valid"], "little"), 0
    while bits:
        run = (bits & -bits).bit_length() - 1
        group, bits = group + run, bits >> run
        length = (~bits & (bits + 1)).bit_length() - 1
        edges |= {group << 16, (group + length) << 16}
        group, bits = group + length, bits >> length
    return sorted({(e + d) & U64_MAX for e in edges for d in (-1, 0, 1)})


def domain_edges(params, name):
    """Inputs for the conversion of that name, at the edges of its domain and far outside."""
    frames = edge_values(params)
    kind = name.partition("_")[0]
    values = set(frames)
    if kind == "page":
        values |= {
            (params["frametable_virt_start"] + 32 * f + d) & U64_MAX for f in frames for d in (0, 1, 31)
        }
    elif kind == "maddr":
        values |= {(f << 12) + d & U64_MAX for f in frames for d in (0, 0x5A8, 4095)}
    elif kind == "virt":
        start = params["directmap_virt_start"]
        values |= {(start + (f << 12) + d) & U64_MAX for f in frames for d in (0, 0x5A8, 4095)}
        limits = [params[n] for n in ("directmap_virt_end", "xen_virt_start", "xen_virt_end")]
        values |= {(limit + d) & U64_MAX for limit in (start, *limits) for d in (-1, 0, 1)}
    return sorted(values)


def assorted_params():
    """A few parameter sets of every mode by name: real choices of Xen and made-up extremes."""
    cases = golden_cases()

    def of(case, profile):
        return golden_params(cases[case]["output"][profile]["1g"])

    image = {"xen_phys_start": 0x3C000000}
    mask = dict(of(8, "head_mask"))
    return {
        "none": of(20, "head_none"),
        "none-image": {**of(20, "head_none"), **image},
        "none-everything": make_params([(0, 64)], U64_MAX, U64_MAX),
        "mask-7-bits": of(1, "head_mask"),
        "mask-9-bits-image": {**mask, **image},
        "mask-2009": golden_params(cases[26]["output"]["spm2p09"]["1g"]),
        "offset-2": of(25, "head_offset"),
        "offset-16-image": {**of(4, "head_offset"), **image},
        "offset-slots": of(35, "head_offset"),
        "offset-2^51": of(28, "head_offset"),
        "offset-high": of(26, "head_offset"),
    }
