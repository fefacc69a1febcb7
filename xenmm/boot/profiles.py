"""The profiles: the 2009 series step by step and modern Xen, as data; and the virtual layouts.

A profile says which rules of one version of Xen hold. The code that applies them asks the profile and never
a profile's name.
"""

from __future__ import annotations

from typing import Final

from .._facts import Facts
from ..constants import GIB, MIB, PAGE_SHIFT, TIB
from ..errors import ConfigError, did_you_mean


class Layout(Facts):
    """Where the tables lie in the hypervisor's virtual address space, in bytes.

    Source: Xen, xen/arch/x86/include/asm/config.h (2009: xen/include/asm-x86/config.h).
    """

    __slots__ = ()

    name: str
    rdwr_mpt_virt_start: int
    rdwr_mpt_bytes: int
    compat_mpt_virt_start: int
    frametable_virt_start: int
    frametable_bytes: int
    directmap_bytes: int
    xen_virt_start: int
    ro_mpt_virt_start: int = 0xFFFF800000000000
    compat_mpt_bytes: int = GIB
    directmap_virt_start: int = 0xFFFF830000000000
    xen_bytes: int = GIB
    #: Where the direct map ends for 64-bit PV guests: RAM past it is mapped in calls of its own.
    hypervisor_virt_end: int | None = None


_PRE: Final = Layout(
    "pre",
    rdwr_mpt_virt_start=0xFFFF828000000000,
    rdwr_mpt_bytes=16 * GIB,
    compat_mpt_virt_start=0xFFFF828C00000000,
    frametable_virt_start=0xFFFF828400000000,
    frametable_bytes=16 * GIB,
    directmap_bytes=TIB,
    xen_virt_start=0xFFFF828C80000000,
)
_SERIES_2009: Final = Layout(
    "2009",
    rdwr_mpt_virt_start=0xFFFF828000000000,
    rdwr_mpt_bytes=256 * GIB,
    compat_mpt_virt_start=0xFFFF82C400000000,
    frametable_virt_start=0xFFFF82F600000000,
    frametable_bytes=40 * GIB,
    directmap_bytes=5 * TIB,
    xen_virt_start=0xFFFF82C480000000,
)
_MODERN: Final = Layout(
    "modern",
    rdwr_mpt_virt_start=0xFFFF828000000000,
    rdwr_mpt_bytes=256 * GIB,
    compat_mpt_virt_start=0xFFFF82D000000000,
    frametable_virt_start=0xFFFF82E000000000,
    frametable_bytes=128 * GIB,
    directmap_bytes=0xFFFFFF8000000000 - 0xFFFF830000000000,
    xen_virt_start=0xFFFF82D040000000,
    hypervisor_virt_end=0xFFFF880000000000,
)


class Profile(Facts):
    """Which rules one version of Xen follows.

    Attributes
    ----------
    name, source, summary : str
        The profile's name, the Xen commit that it reproduces, and what changed there.
    layout : Layout
        The virtual addresses.
    compression : str
        What this version can squeeze with: ``none``, ``mask`` or ``offset``.
    clip_bytes : int
        RAM above this address is cut from the e820.
    clip_skips : bool
        The clipping loop of 2009 steps over the entry behind each one that it removes.
    pdx_limit : int or None
        The most page_info records, in frames; None: nothing bounds them but the clipping.
    sparse_frame_table, sparse_m2p : bool
        Back the table only where there is RAM.
    modern : bool
        The flow of Xen since 4.2: limits from the raw top, the direct map mapped piece by piece, and the
        2 MiB prebuilt low map, against the 2009 flow with its 16 MiB.
    checks_regions : bool
        After choosing, check every RAM entry, base and bits, and fall back to no compression.
    m2p_fill, m2p_fill_1g : int
        The byte that fresh M2P pages are filled with; in 1 GiB pages.
    compat_m2p : bool
        The compat M2P is there unless asked otherwise.
    """

    __slots__ = ()

    name: str
    source: str
    summary: str
    layout: Layout
    compression: str = "none"
    clip_bytes: int = 128 * TIB
    clip_skips: bool = True
    pdx_limit: int | None = None
    sparse_frame_table: bool = False
    sparse_m2p: bool = False
    modern: bool = False
    checks_regions: bool = False
    m2p_fill: int = 0x55
    m2p_fill_1g: int = 0x77
    compat_m2p: bool = True

    @property
    def directmap_prebuilt_bytes(self) -> int:
        """The low part of the direct map that Xen's image brings along, in bytes."""
        return 2 * MIB if self.modern else 16 * MIB


_FRAMES_5T: Final = 5 * TIB >> PAGE_SHIFT
#: List links in page_info are 32-bit pdx values with one for "none" (Xen's setup_max_pdx).
_FRAMES_LIST_LINKS: Final = (1 << 32) - 2


def _of_2009(name: str, source: str, summary: str, *, sparse: int = 0) -> Profile:
    return Profile(
        name,
        source,
        summary,
        _SERIES_2009,
        compression="mask",
        pdx_limit=_FRAMES_5T,
        sparse_frame_table=sparse > 0,
        sparse_m2p=sparse > 1,
    )


def _of_today(name: str, source: str, summary: str, compression: str, *, checks: bool = True) -> Profile:
    return Profile(
        name,
        source,
        summary,
        _MODERN,
        compression=compression,
        clip_skips=False,
        pdx_limit=_FRAMES_LIST_LINKS,
        sparse_frame_table=True,
        sparse_m2p=True,
        modern=True,
        checks_regions=checks,
        m2p_fill=0xFF,
        m2p_fill_1g=0xFF,
        compat_m2p=False,
    )


_LIST: Final = (
    Profile(
        "pre",
        "615588563e~1",
        "1 TiB direct map, dense frame table, dense M2P, index = mfn",
        _PRE,
        clip_bytes=TIB,
    ),
    Profile(
        "ext5t",
        "615588563e",
        "direct map of 5 TiB; the frame table's virtual size follows it",
        _SERIES_2009,
        clip_bytes=5 * TIB,
    ),
    _of_2009("fold", "bac2000063", "the widest run of bits that no frame uses is squeezed out"),
    _of_2009("sparse-frametable", "73f0173619", "frame table backed only where there is RAM", sparse=1),
    _of_2009("sparse-m2p", "78e09264ad", "M2P and compat M2P backed only where there is RAM", sparse=2),
    _of_2009("map-page", "84d568f5c9", "map_domain_page variant that takes the page", sparse=2),
    _of_2009("cse", "0ed9151a5f", "grant tables convert a frame to its page once and keep it", sparse=2),
    _of_2009("write-once", "RFC of 2009", "parameters of boot are constants afterwards", sparse=2),
    _of_today("xen-4.17", "RELEASE-4.17", "Xen 4.17: mask compression", "mask", checks=False),
    _of_today("xen-mask", "c447b7308b", "the 2026-08 tree built with mask compression", "mask"),
    _of_today(
        "xen-offset", "c447b7308b", "the 2026-08 tree with offset compression, x86's default", "offset"
    ),
    _of_today("xen-none", "c447b7308b", "the 2026-08 tree built without compression", "none"),
)
#: Every profile by name, oldest first.
PROFILES: Final = {p.name: p for p in _LIST}


def get_profile(name: str | Profile) -> Profile:
    """Return the profile of that name.

    Raises
    ------
    ConfigError
        If there is no such profile; the message lists those there are.
    """
    if isinstance(name, Profile):
        return name
    if not isinstance(name, str) or name not in PROFILES:
        near = did_you_mean(name, PROFILES)
        raise ConfigError(f"unknown profile {name!r}; one of {', '.join(PROFILES)}{near}")
    return PROFILES[name]
