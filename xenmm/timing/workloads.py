"""Built-in workloads: each a named stream of accesses with parameters and a seed, made in pieces.

A workload yields chunks of at most :data:`CHUNK` operations, so that any length streams in constant memory.
Randomness is NumPy's PCG64: the same parameters and seed give the same accesses on every machine. Each
function's first line is the sentence that describes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..constants import GIB, PAGE_SHIFT, PAGE_SIZE
from ..errors import ConfigError, did_you_mean, need_one_of
from .frames import Frames
from .traces import Chunk

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]

#: Operations of a workload that are in memory at once.
CHUNK: Final = 1 << 15
LINE: Final = 64
_READ, _WRITE = 0, 1
#: Bytes of one entry: Xen c447b7308b, xen/include/public/grant_table.h (version 1), xen/common/grant_table.c.
_GRANT_ENTRY_BYTES: Final = 8
_MAPTRACK_ENTRY_BYTES: Final = 16
_PT_ENTRY_BYTES: Final = 8
#: Parameters that take 8 or 16 bytes of memory for each of what they count, and the most that they may be.
_ENTRIES: Final = ("lines", "grants")
_MOST_ENTRIES: Final = 1 << 28
#: The most of the others: there is no more memory than 52 bits of address.
_MOST: Final = 1 << 52

Workload = Callable[..., Iterator[Chunk]]


def sequential(frames: Frames, n: int, seed: int, *, stride: int = 8, write: int = 0) -> Iterator[Chunk]:
    """Reads (or writes) every `stride` bytes of RAM, from its lowest frame up, again and again."""
    import numpy as np

    for at, count in _pieces(n):
        offsets = np.arange(at, at + count, dtype=np.uint64) * np.uint64(_positive("stride", stride))
        yield _chunk([(frames.linear(offsets), _WRITE if write else _READ)])


def uniform(frames: Frames, n: int, seed: int, *, span: int = 0, write: int = 0) -> Iterator[Chunk]:
    """Reads (or writes) 8 aligned bytes anywhere in the lowest `span` bytes of RAM (0: all)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    words = min(span or frames.bytes, frames.bytes) // 8
    for _, count in _pieces(n):
        offsets = rng.integers(0, _positive("span", words), count, dtype=np.uint64) * np.uint64(8)
        yield _chunk([(frames.linear(offsets), _WRITE if write else _READ)])


def zipf(
    frames: Frames, n: int, seed: int, *, lines: int = 1 << 20, exponent: float = 0.99, span: int = 0
) -> Iterator[Chunk]:
    """Reads one of `lines` lines, scattered over the lowest `span` bytes of RAM (0: all), by a zipf law."""
    import numpy as np

    rng = np.random.default_rng(seed)
    shares = np.arange(1, _positive("lines", lines) + 1) ** -float(exponent)
    # In place, here and below: there may be hundreds of millions of lines.
    np.cumsum(shares, out=shares)
    shares /= shares[-1]
    total = min(span or frames.bytes, frames.bytes) // LINE
    where = rng.integers(0, _positive("span", total), lines, dtype=np.uint64)
    where *= np.uint64(LINE)
    for _, count in _pieces(n):
        ranks = np.searchsorted(shares, rng.random(count))
        yield _chunk([(frames.linear(where[ranks]), _READ)])


def page_scrub(frames: Frames, n: int, seed: int, *, first: int = 0) -> Iterator[Chunk]:
    """Frees frames upward from number `first`: updates each page_info, writes the frame's 64 lines."""
    import numpy as np

    lines = np.arange(0, PAGE_SIZE, LINE, dtype=np.uint64)
    for at, count in _pieces(n, 2 + len(lines)):
        maddr = frames.maddr(np.arange(first + at, first + at + count, dtype=np.uint64))
        page = frames.page_info(maddr)
        virt = frames.virt(maddr)[0]
        yield _chunk([(page, _READ), (page, _WRITE), *((virt + line, _WRITE) for line in lines)])


def p2m_update(frames: Frames, n: int, seed: int, *, guest_frames: int = 1 << 20) -> Iterator[Chunk]:
    """Gives a guest random frames: updates each page_info, writes its M2P entry and the guest's P2M entry.

    The guest has `guest_frames` frames; its P2M's leaf tables take the highest frames of RAM (assumed).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    tables = -(-_positive("guest_frames", guest_frames) * _PT_ENTRY_BYTES // PAGE_SIZE)
    base = np.uint64(max(frames.count - tables, 0) << PAGE_SHIFT)
    for _, count in _pieces(n, 4):
        maddr = frames.maddr(rng.integers(0, frames.count, count, dtype=np.uint64))
        gfn = rng.integers(0, guest_frames, count, dtype=np.uint64)
        page = frames.page_info(maddr)
        p2m = frames.linear(base + gfn * np.uint64(_PT_ENTRY_BYTES))
        yield _chunk([(page, _READ), (page, _WRITE), (frames.m2p_entry(maddr), _WRITE), (p2m, _WRITE)])


def grant_storm(
    frames: Frames, n: int, seed: int, *, grants: int = 8192, guest_frames: int = 1 << 18
) -> Iterator[Chunk]:
    """Maps and unmaps random grants: grant entries, maptrack entries, and page_info of each frame.

    A domain of `guest_frames` frames offers `grants` entries (`_GRANT_ENTRY_BYTES` each); the frame behind
    each is fixed by the seed. Map: read the grant entry, read and write page_info, write the grant entry,
    write the maptrack entry. Unmap: read the maptrack entry, read and write page_info, write the grant
    entry, write the maptrack entry. The domain's memory begins at a quarter of RAM, the grant table at half,
    the maptrack behind it (assumed).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    first, table = frames.count // 4, (frames.count // 2) << PAGE_SHIFT
    track = table + _positive("grants", grants) * _GRANT_ENTRY_BYTES
    behind = rng.integers(0, _positive("guest_frames", guest_frames), grants, dtype=np.uint64)
    for _, count in _pieces(n, 10):
        ref = rng.integers(0, grants, count, dtype=np.uint64)
        page = frames.page_info(frames.maddr(np.uint64(first) + behind[ref]))
        grant = frames.linear(np.uint64(table) + ref * np.uint64(_GRANT_ENTRY_BYTES))
        entry = frames.linear(np.uint64(track) + ref * np.uint64(_MAPTRACK_ENTRY_BYTES))
        mapped = [(grant, _READ), (page, _READ), (page, _WRITE), (grant, _WRITE), (entry, _WRITE)]
        unmapped = [(entry, _READ), (page, _READ), (page, _WRITE), (grant, _WRITE), (entry, _WRITE)]
        yield _chunk(mapped + unmapped)


def page_table_walk(frames: Frames, n: int, seed: int, *, span: int = 64 * GIB) -> Iterator[Chunk]:
    """Walks a guest's four-level page table in software, for random pages of `span` bytes.

    Its tables stand together from a third of RAM on: the root, then level by level (assumed).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    pages = _positive("span", span) >> PAGE_SHIFT
    bases, at = [], frames.count // 3
    for level in (4, 3, 2, 1):
        bases.append(np.uint64(at << PAGE_SHIFT))
        at += -(-pages // 512**level)
    for _, count in _pieces(n, 4):
        page = rng.integers(0, max(pages, 1), count, dtype=np.uint64)
        reads = []
        for base, level in zip(bases, (4, 3, 2, 1), strict=True):
            entry = page >> np.uint64(9 * (level - 1))
            reads.append((frames.linear(base + entry * np.uint64(_PT_ENTRY_BYTES)), _READ))
        yield _chunk(reads)


def mixed(frames: Frames, n: int, seed: int) -> Iterator[Chunk]:
    """Reads the reference mixture, 40 % sequential, 20 % uniform, 40 % zipf, as mixed_trace makes it.

    It is for runs without a machine, and its length is part of it: all `n` accesses are made at once.
    """
    if n > _MOST_ENTRIES:
        raise ConfigError(f"workload: mixed makes its accesses at once, at most {_MOST_ENTRIES}, not {n}")
    if frames.host is not None:
        raise ConfigError("workload: mixed has addresses of its own, so it takes no machine: FILE none")
    yield Chunk(mixed_trace(n, seed))


#: By the name that the command line uses.
WORKLOADS: Final[dict[str, Workload]] = {
    "sequential": sequential,
    "random": uniform,
    "zipf": zipf,
    "page-scrub": page_scrub,
    "p2m-update": p2m_update,
    "grant-storm": grant_storm,
    "page-table-walk": page_table_walk,
    "mixed": mixed,
}


def parameters(name: str) -> dict[str, Any]:
    """Return a workload's parameters and their defaults."""
    found = inspect.signature(_workload(name)).parameters.values()
    return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY}


def sentence(name: str) -> str:
    """Return what a workload does, in one sentence."""
    return (_workload(name).__doc__ or "").split("\n")[0]


def make_workload(name: str, frames: Frames, n: int, seed: int, **given: Any) -> Iterator[Chunk]:
    """Return `n` accesses of a workload.

    Raises
    ------
    ConfigError
        The workload or a parameter is unknown, or a value is out of its domain.
    """
    known = parameters(name)
    for key, value in given.items():
        if key not in known:
            near = did_you_mean(key, known)
            raise ConfigError(f"{name}.{key}: unknown; known here are {', '.join(known) or 'none'}{near}")
        kinds = (int, float) if isinstance(known[key], float) else (int,)
        most = _MOST_ENTRIES if key in _ENTRIES else _MOST
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value <= most:
            raise ConfigError(f"{name}.{key}: {value!r} is not a number in [0, {most}]")
    if not isinstance(n, int) or n < 1:
        raise ConfigError(f"accesses: {n!r} is not an integer from 1 on")
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed: {seed!r} is not an integer from 0 on")
    return _cut(_workload(name)(frames, n, seed, **given), n)


def mixed_trace(
    n: int = 10_000_000, seed: int = 20261123, *, zipf_lines: int = 1 << 20, exponent: float = 0.99
) -> Words:
    """Return the reference mixture as one array: 40 % sequential, 20 % uniform, 40 % zipf.

    Each part has a GiB of its own, from 4, 8 and 12 GiB on. The sequential part reads 8 bytes after 8 bytes,
    the uniform one any aligned 8 bytes, the zipf one the beginnings of `zipf_lines` lines drawn without
    order.

    Returns
    -------
    ndarray of uint64, shape (n,)
        Addresses of loads.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    part = rng.choice(3, size=n, p=[0.4, 0.2, 0.4])
    counts = np.bincount(part, minlength=3)
    out = np.empty(n, np.uint64)
    out[part == 0] = 4 * GIB + np.arange(counts[0], dtype=np.uint64) * 8 % GIB
    out[part == 1] = 8 * GIB + rng.integers(0, GIB // 8, counts[1], dtype=np.uint64) * 8
    weights = np.cumsum(np.arange(1, zipf_lines + 1) ** -exponent)
    ranks = np.searchsorted(weights / weights[-1], rng.random(counts[2]))
    lines = rng.permutation(GIB // LINE)[:zipf_lines].astype(np.uint64)
    out[part == 2] = 12 * GIB + lines[ranks] * LINE
    return out


def _workload(name: str) -> Workload:
    need_one_of("workload", name, WORKLOADS)
    return WORKLOADS[name]


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name}: {value} is not an integer from 1 on")
    return value


def _pieces(n: int, each: int = 1) -> Iterator[tuple[int, int]]:
    # (first operation, how many) of pieces that make at least n accesses of `each` an operation.
    operations = -(-n // each)
    step = max(CHUNK // each, 1)
    for at in range(0, operations, step):
        yield at, min(step, operations - at)


def _chunk(columns: list[tuple[Words, int]]) -> Chunk:
    # One operation a row, its accesses in the order of the columns.
    import numpy as np

    table = np.stack([addresses for addresses, _ in columns], axis=1)
    kinds = np.broadcast_to(np.array([kind for _, kind in columns], np.uint8), table.shape)
    return Chunk(np.ascontiguousarray(table.ravel()), np.ascontiguousarray(kinds.ravel()))


def _cut(chunks: Iterator[Chunk], n: int) -> Iterator[Chunk]:
    # The last operation may make more accesses than were asked for.
    for chunk in chunks:
        if len(chunk.addresses) > n:
            chunk = Chunk(chunk.addresses[:n], None if chunk.kinds is None else chunk.kinds[:n])
        n -= len(chunk.addresses)
        yield chunk
