"""Built-in workloads: each a named stream of accesses with parameters and a seed, made in pieces.

A workload yields (addresses, kinds) arrays of at most :data:`CHUNK` accesses, so that any length streams in
constant memory. Randomness is NumPy's PCG64 and the result is the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Addresses = npt.NDArray[np.uint64]
    Kinds = npt.NDArray[np.uint8]
    Chunk = tuple[Addresses, Kinds | None]

CHUNK: Final = 1 << 16
GIB: Final = 1 << 30
LINE: Final = 64


def mixed_trace(
    n: int = 10_000_000, seed: int = 20261123, *, zipf_lines: int = 1 << 20, exponent: float = 0.99
) -> Addresses:
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
