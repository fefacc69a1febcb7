"""A booted host as exactly the fields of the golden cases: renames and lists; every figure is the host's."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import xenmm
from xenmm._core import PdxTranslation
from xenmm.boot.pdx import setup
from xenmm.firmware.memory_map import MemoryMap

DATA = Path(__file__).parent.parent / "data"

#: The golden file's names of profiles, and ours.
PROFILES = {
    "pre": "pre",
    "ext5t": "ext5t",
    "pdx09": "fold",
    "spft09": "sparse-frametable",
    "spm2p09": "sparse-m2p",
    "head_mask": "xen-mask",
    "head_offset": "xen-offset",
    "head_none": "xen-none",
}
_U64 = (1 << 64) - 1
#: Byte within the page of every sampled machine address.
_SAMPLE = 0x5A8


def golden_cases():
    """The cases as a list of {input, output, direct}."""
    with lzma.open(DATA / "golden-cases.json.xz") as file:
        return json.load(file)


def memory_map(case):
    """The MemoryMap of one case's input."""
    given = case["input"]
    srat = given.get("srat")
    return MemoryMap.from_ranges(given["ram"], srat, name=given["name"])


def boot(case, profile, page_sizes):
    """Boot one case as the golden run did: with the compat M2P."""
    return xenmm.boot(memory_map(case), PROFILES[profile], page_sizes=page_sizes, compat_m2p=True)


def as_golden(host, pfns=()):
    """Return the fields that the golden file has for the host's profile."""
    profile, modern = host.profile, host.profile.modern
    out = {
        "raw_max_page": host.raw_max_page,
        "max_page": host.max_page,
        "max_pdx": host.max_pdx,
        "e820_ram_bytes": host.plan.e820.ram_bytes,
        "e820_ram_frames": host.plan.e820.ram_frames,
        "samples": [_sample(host, pfn) for pfn in pfns],
        "frametable": _frame_table(host.frame_table),
        "m2p": {
            "bytes": host.m2p.backed_bytes,
            "chunks": _lists(host.m2p.chunks),
            "tables": host.m2p.page_tables.to_dict(),
            "ro_tables": host.ro_m2p.page_tables.to_dict(),
        },
        "compat_m2p": _compat(host),
        "directmap": {
            "calls": _lists(host.plan.directmap_calls),
            "tables": host.direct_map.page_tables.to_dict(),
            "pt_allocated": host.direct_map.pt_allocated,
        },
        "total": _total(host),
        "asserts": [h.text for h in host.hazards if h.code == "clip-survivor"],
    }
    if not modern:
        # Only from the compression on did Xen count the pages while walking.
        out["total_pages"] = host.used_ram_bytes >> 12 if profile.pdx_limit else 0
    if profile.pdx_limit:
        out["compress"] = compress(host.compression)
    if profile.sparse_frame_table:
        out["max_idx"] = -(-host.max_pdx // 65536)
        out["groups_valid"] = _lists(host.groups_valid)
    return out


def as_golden_direct(case, method, pfns):
    """Return the ``direct`` part: the modern compression alone, on the SRAT's regions, or the RAM's."""
    given = case["input"]
    regions = [tuple(r[:2]) for r in given.get("srat") or given["ram"]]
    compression = setup(method, 0, regions)
    translation = PdxTranslation(compression.parameters())
    ends = [pfn for start, end in regions for pfn in (start >> 12, (end - 1) >> 12)]
    return {
        "setup_returned": compression.kind != "none",
        "compress": compress(compression),
        "samples": [_direct_sample(compression, translation, pfn) for pfn in pfns],
        "covered": all(
            compression.is_region_compressible(start & ~0xFFF, -(-end // 4096) * 4096)
            for start, end in regions
        ),
        "bidirectional": all(translation.pdx_to_mfn(translation.mfn_to_pdx(pfn)) == pfn for pfn in ends),
        "asserts": [],
    }


def compress(compression):
    """What is squeezed, in the golden file's words; the offset tables are cut at one common length."""
    enabled = compression.kind != "none"
    if compression.method == "none":
        return {"enabled": enabled}
    values = compression.parameters()
    if compression.method == "mask":
        names = ("pfn_pdx_bottom_mask", "ma_va_bottom_mask", "pfn_hole_mask", "pfn_top_mask", "ma_top_mask")
        out = {name: values[name] for name in names}
        return {
            "enabled": enabled,
            "bottom_shift": compression.bottom_shift,
            "hole_shift": values["pfn_pdx_hole_shift"],
            **out,
        }
    tables = {"pfn_pdx_lookup": 0, "pdx_pfn_lookup": 0, "pfn_bases": _U64 if enabled else 0}
    length = max(
        (i + 1 for name, default in tables.items() for i, x in enumerate(values[name]) if x != default),
        default=0,
    )
    return {
        "enabled": enabled,
        "tbl_order": 6,
        "pfn_index_shift": values["pfn_index_shift"],
        "pdx_index_shift": values["pdx_index_shift"],
        "pdx_region_size": values["pdx_region_size"],
        "ranges": [
            {"base_pfn": r.base_pfn, "pages": r.pages, "pfn_idx": r.pfn_idx} for r in compression.regions
        ],
        **{name: list(values[name][:length]) for name in tables},
    }


def _lists(rows):
    return [list(row) for row in rows]


def _sample(host, pfn):
    pdx = host.mfn_to_pdx_unchecked(pfn)
    out = {"pfn": pfn, "pdx": pdx, "back": host.pdx_to_mfn_unchecked(pdx), "valid": host.mfn_valid(pfn)}
    if host.profile.modern:
        start = host.params["directmap_virt_start"]
        maddr = pfn * 4096 + _SAMPLE
        virt = host.maddr_to_virt_unchecked(maddr)
        out["maddr"] = maddr
        out["dmapoff"] = (virt - start) & _U64
        out["dmap_back"] = host.virt_to_maddr_unchecked(virt)
        out["compressible"] = host.compression.is_region_compressible(pfn << 12, (pfn + 1) << 12)
    return out


def _direct_sample(compression, translation, pfn):
    pdx = translation.mfn_to_pdx(pfn)
    back = translation.pdx_to_mfn(pdx)
    return {
        "pfn": pfn,
        "pdx": pdx,
        "back": back,
        "maddr": pfn * 4096 + _SAMPLE,
        "dmapoff": (pdx * 4096 + _SAMPLE) & _U64,
        "dmap_back": (back * 4096 + _SAMPLE) & _U64,
        "compressible": translation.mfn_compressible(pfn),
    }


def _frame_table(table):
    return {
        "va_start": table.virt_start,
        "bytes": table.backed_bytes,
        "pt_allocated": table.pt_allocated,
        "chunks": _lists(table.chunks),
        "memset": _lists(table.fills),
        "tables": table.page_tables.to_dict(),
    }


def _compat(host):
    out = {
        "bytes": host.compat_m2p.backed_bytes,
        "m2p_compat_vstart": host.ro_compat_m2p.virt_start,
        "chunks": _lists(host.compat_m2p.chunks),
        "tables": host.compat_m2p.page_tables.to_dict(),
    }
    rdwr = host.m2p.pt_allocated + host.compat_m2p.pt_allocated
    copies = host.ro_m2p.pt_allocated + host.ro_compat_m2p.pt_allocated
    if host.profile.modern:
        return {**out, "pt_allocated": rdwr + copies}
    hiro = host.ro_compat_m2p.page_tables.to_dict()
    return {**out, "hiro_tables": hiro, "pt_allocated": rdwr, "ro_pt_allocated": copies}


def _total(host):
    costs = host.overhead().costs
    return {
        "frametable": costs.frame_table,
        "m2p": costs.m2p,
        "compat_m2p": costs.compat_m2p,
        "pagetables": costs.page_tables,
        "sum": costs.total,
    }
