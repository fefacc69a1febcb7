"""The pages of a booted host for DynamoRIO's drcachesim: virtual to physical, as ``v2p.textproto``.

The format, read from DynamoRIO's clients/drcachesim/reader/v2p_reader.cpp and the sample beside its tests:
protocol-buffer text, an ``address_mapping_group`` with one ``page_size`` and an ``address_mapping`` for each
page, each field on a line of its own, virtual address before physical. Comments begin a line. One file has
one page size, and every page is in it: hence the limit, and the choice of a range.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from .._core import HostCore
from ..constants import U64_END
from ..errors import ConfigError, need_one_of, need_range
from ..timing.host_space import host_space
from ..timing.levels import PAGE_BYTES
from .provenance import provenance

if TYPE_CHECKING:
    from ..boot.host import Host
    from ..timing.space import Mapping

#: Pages that a file holds at most: about 90 MB of text.
PAGES_MAX: Final = 1 << 20

#: A piece of the address space: first virtual address, first machine address, bytes, bytes of its pages.
_Piece = tuple[int, int, int, int]


def v2p(host: HostCore, *, page_size: str | None = None, virt_range: tuple[int, int] | None = None) -> str:
    """Return the host's virtual pages and the machine addresses behind them, as text.

    Parameters
    ----------
    host : HostCore
        A host booted on a map: its direct map, frame table, M2P, read-only M2P and compat M2P.
    page_size : {"4k", "2m", "1g"}, optional
        Of the file. Larger pages are written as several; smaller ones have no place in it, are left out and
        counted in a comment. By default the smallest in the range, so that nothing is left out.
    virt_range : (start, end), optional
        Half-open, in hypervisor virtual addresses; pages that lie in it as a whole. All by default.

    Raises
    ------
    ConfigError
        If the page size is unknown, the range is none or maps nothing, or there are more pages than
        :data:`PAGES_MAX`; the message tells what would fit.

    Notes
    -----
    Which machine addresses the direct map reaches is the host's own. Where in RAM the frames of the other
    tables lie is in no log: the rule (assumed) is that of :func:`xenmm.timing.host_space.host_space`.
    """
    from ..boot.host import Host

    if not isinstance(host, Host):
        raise ConfigError("v2p needs a host that was booted on a memory map: parameters alone map no pages")
    if page_size is not None:
        need_one_of("page_size", page_size, PAGE_BYTES)
    start, end = (0, U64_END) if virt_range is None else need_range("virt_range", virt_range)
    if start == end:
        raise ConfigError(f"range [{start:#x}, {end:#x}) is empty")
    pieces = [p for m in host_space(host).mappings for p in _inside(m, start, end)]
    if not pieces:
        raise ConfigError(f"nothing is mapped in [{start:#x}, {end:#x}): {_tables_text(host)}")
    smallest = min(piece[3] for piece in pieces)
    page = PAGE_BYTES[page_size] if page_size else smallest
    kept = [p for p in pieces if p[3] >= page]
    count = sum(length for _, _, length, _ in kept) // page
    if not kept:
        largest = _name(max(size for *_, size in pieces))
        raise ConfigError(f"no page of {_name(page)} or more is in the range; the largest have {largest}")
    if count > PAGES_MAX:
        raise ConfigError(_too_many(pieces, page, count))
    left = sum(length for _, _, length, size in pieces if size < page)
    return "".join(_lines(host, kept, page, count, left))


def _inside(m: Mapping, start: int, end: int) -> Iterator[_Piece]:
    # The whole pages of a mapping inside the range.
    page = PAGE_BYTES[m.page_size]
    low = max(m.virt_start, start)
    low += -(low - m.virt_start) % page
    high = min(m.virt_start + m.length, end)
    high -= (high - m.virt_start) % page
    if low < high:
        yield low, m.maddr_start + low - m.virt_start, high - low, page


def _lines(host: Host, pieces: list[_Piece], page: int, count: int, left: int) -> Iterator[str]:
    yield "# Virtual to machine addresses of one booted machine. Generated: do not edit.\n"
    for name, value in provenance(host).items():
        yield f"# {name}: {''.join(c if ' ' <= c <= '~' else '_' for c in value)}\n"
    yield "# The direct map is exact; where the frames of the other tables lie is assumed.\n"
    if left:
        yield f"# Left out: {left} bytes in pages smaller than {_name(page)}.\n"
    yield f"address_mapping_group {{\n  page_size: {page}\n"
    for virt, maddr, length, _ in sorted(pieces):
        for at in range(0, length, page):
            yield (
                f"  address_mapping {{\n    virtual_address: {virt + at:#x}\n"
                f"    physical_address: {maddr + at:#x}\n  }}\n"
            )
    facts = f"information {{\n  page_count: {count}\n  bytes_mapped: {count * page}\n}}\n"
    yield "".join(f"  {line}\n" for line in facts.splitlines())
    yield "}\n" + facts


def _too_many(pieces: list[_Piece], page: int, count: int) -> str:
    text = f"{count:,} pages of {_name(page)} are more than the {PAGES_MAX:,} that one file may hold: "
    for name, size in PAGE_BYTES.items():
        fits = sum(length for _, _, length, of in pieces if of >= size) // size
        if size > page and 0 < fits <= PAGES_MAX:
            left = sum(length for _, _, length, of in pieces if of < size)
            smaller = f"{left >> 10:,} KiB are in smaller ones"
            return f"{text}choose a range, or pages of {name} ({fits:,}; {smaller})"
    return text + "choose a range"


def _name(page: int) -> str:
    return next(name for name, size in PAGE_BYTES.items() if size == page)


def _tables_text(host: Host) -> str:
    tables = (host.direct_map, host.frame_table, host.m2p)
    return ", ".join(f"{t.name} [{t.virt_start:#x}, {t.virt_start + t.size:#x})" for t in tables)
