"""Sweeps: every combination of machines and settings, resumable, with one result for each and a table."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from .sweep_axes import ALL, Names, make_settings, parse_shard, uarch_file
from .sweep_cells import Cell, SweepInput, is_failure
from .sweep_inputs import Source, find_inputs
from .sweep_run import run_chunks
from .sweep_store import Store
from .sweep_table import columns_of, csv_bytes, order_of, parquet_bytes

TABLE: Final = "table.csv"
PARQUET: Final = "table.parquet"
#: Cells that a worker does in one go, of one input: what it reads and boots is shared.
_CHUNK: Final = {"report": 64, "replay": 4, "steps": 1}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did, and where its results are.

    Attributes
    ----------
    folder : Path
        The folder with a JSON file for each cell.
    table : Path or None
        The table; None for a shard of a sweep.
    cells : int
        Cells of this sweep, or of this shard of it.
    done : int
        Those that were done now.
    kept : int
        Those that were there already.
    failed : int
        Those whose result is a failure, old or new.
    reasons : dict of str to int
        Why, and how many cells each.
    """

    folder: Path
    table: Path | None
    cells: int
    done: int
    kept: int
    failed: int
    reasons: Mapping[str, int]

    def documents(self) -> Iterator[dict[str, Any]]:
        """Every cell's document in the folder, by the cells' names."""
        yield from Store(self.folder, create=False).cells()

    def failures(self) -> Iterator[dict[str, Any]]:
        """The documents of the cells that failed."""
        return (document for document in self.documents() if document["status"] == "failed")


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep, made one after another: there may be very many."""

    inputs: Sequence[SweepInput]
    settings: Sequence[Mapping[str, Any]]
    uarchs: Mapping[str, tuple[str | None, str | None]]
    shard: tuple[int, int] = (1, 1)

    def cells(self) -> Iterator[Cell]:
        """Every cell of the shard, one input after another."""
        for given in self.inputs:
            for settings in self.settings:
                path, sha256 = self.uarchs[settings["uarch"]] if "uarch" in settings else (None, None)
                made_from = {"input": given.sha256, **({"uarch": sha256} if "uarch" in settings else {})}
                cell = Cell(given, settings, made_from, path)
                # By the cell's own name: no other input changes where it is done.
                if int(cell.id, 16) % self.shard[1] == self.shard[0] - 1:
                    yield cell


def sweep(
    inputs: Source | Iterable[Source],
    out: str | os.PathLike[str],
    *,
    kind: str | None = None,
    profiles: Names = ALL,
    page_sizes: Names = "1g",
    compat_m2p: Any = None,
    hotplug: Any = None,
    stack_guards: Any = False,
    command_line: Any = None,
    uarchs: Names | None = None,
    workloads: Any = None,
    accesses: int = 1_000_000,
    seed: int = 1,
    size: int = 4096,
    boot: int | None = None,
    map: str = "firmware",
    strict: bool = False,
    retry: bool = False,
    shard: str | tuple[int, int] | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    parquet: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Do every combination of inputs and settings, each once.

    A cell whose result is in ``out`` already is not done again, unless its input's content, an option or the
    version changed. The results' bytes depend on nothing but these.

    Parameters
    ----------
    inputs : str, path, MemoryMap, or an iterable of them
        Files, folders, patterns, bundled machines' names, ``"bundled"`` for all of those, or maps with names.
    out : path
        Folder of the results: new, empty, or a sweep's.
    kind : str, optional
        ``report``: boot, overhead figures and hazards; ``replay``: a workload through a microarchitecture;
        ``steps``: the steps of the 2009 series. By default ``report``, or ``replay`` when ``uarchs`` or
        ``workloads`` are given.
    profiles : str or sequence of str
        Profiles to boot, or ``"all"``. Of no use to ``steps``, which has its own.
    page_sizes, compat_m2p, hotplug, stack_guards, command_line
        Options of :func:`xenmm.boot`: a value, or a list of values to combine. ``steps`` takes page sizes
        only.
    uarchs : str or sequence of str, optional
        Microarchitectures by name or TOML file, or ``"all"``.
    workloads : str, mapping or sequence of them, optional
        Names, ``"name:key=value,..."``, for ``replay`` or for ``steps``.
    accesses, seed : int
        Of each replay.
    size : int
        Pages that each workload of ``steps`` works on.
    boot, map, strict
        How inputs are read; as :func:`xenmm.read_map` takes them.
    retry : bool
        Do failed cells again.
    shard : str or (int, int), optional
        ``"3/64"``: only the third of 64 parts, which together are all and of which no two share a cell. The
        same call without it then does what is missing and writes the table.
    workers : int, optional
        Processes; by default one for each CPU, 0 for none but this one.
    executor : concurrent.futures.Executor, optional
        Does the work instead; it stays open. Its workers read inputs by their paths.
    parquet : bool
        Write ``table.parquet`` beside ``table.csv``; needs pyarrow (extra ``arrow``).
    progress : callable, optional
        Called with the cells that are settled and how many there are.

    Returns
    -------
    SweepResult
        Failures are results: :meth:`SweepResult.failures` has them with their reasons.

    Raises
    ------
    ConfigError
        If a name or an option is unknown, or ``out`` holds something else.
    OSError
        If a result cannot be written. What was finished before is kept.
    """
    if parquet:
        parquet_bytes((), [])
    axes = {
        "page_sizes": page_sizes,
        "compat_m2p": compat_m2p,
        "hotplug": hotplug,
        "stack_guards": stack_guards,
        "command_line": command_line,
    }
    read = {"boot": boot, "map": map, "strict": strict}
    if kind is None:
        kind = "report" if uarchs is None and workloads is None else "replay"
    settings = make_settings(kind, profiles, axes, uarchs, workloads, accesses, seed, size, read)
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise ConfigError(f"workers is a number from 0 on, got {workers!r}")
    files = {s["uarch"]: uarch_file(s["uarch"], kind) for s in settings if "uarch" in s}
    grid = Grid(find_inputs(inputs), settings, files, parse_shard(shard))
    store = Store(out)
    count = _Count(sum(1 for _ in grid.cells()), progress)
    _run(grid, store, count, retry, _CHUNK[kind], workers, executor)
    table = None
    if grid.shard[1] == 1:
        table = write_table(store, (cell.id for cell in grid.cells()), parquet)
    return SweepResult(Path(out), table, count.total, count.done, count.kept, count.failed, count.reasons)


def collect(out: str | os.PathLike[str], *, parquet: bool = False) -> SweepResult:
    """Write the table anew from every cell in a sweep's folder, and do nothing else.

    Raises
    ------
    ConfigError
        If the folder is none of a sweep.
    """
    store = Store(out, create=False)
    ids, count = [], _Count(0, None)
    for document in store.cells():
        ids.append(document["cell"])
        count.settle(document, now=False)
    table = write_table(store, ids, parquet)
    return SweepResult(Path(out), table, len(ids), 0, count.kept, count.failed, count.reasons)


def write_table(store: Store, ids: Iterable[str], parquet: bool) -> Path:
    """Write the table of these cells; a cell's document is in memory only while its row is made."""
    ordered, kinds = [], set()
    for cell_id in ids:
        document = _there(store, cell_id)
        ordered.append((order_of(document), cell_id))
        kinds.add(document["settings"]["kind"])
    ordered.sort()
    columns = columns_of(kinds)
    if parquet:
        documents = (_there(store, cell_id) for _, cell_id in ordered)
        store.write_file(PARQUET, parquet_bytes(documents, columns))
    documents = (_there(store, cell_id) for _, cell_id in ordered)
    return store.write_file(TABLE, csv_bytes(documents, columns))


def _there(store: Store, cell_id: str) -> dict[str, Any]:
    document = store.read(cell_id)
    if document is None:
        raise ConfigError(f"{store.path(cell_id)}: gone or damaged since it was written; run the sweep again")
    return document


class _Count:
    """How many cells are settled, and how."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done, self.kept = total, 0, 0
        self.reasons: dict[str, int] = {}
        self._progress = progress

    @property
    def failed(self) -> int:
        return sum(self.reasons.values())

    def settle(self, document: Mapping[str, Any] | None, *, now: bool) -> None:
        """Count a cell; ``document`` is needed of a failure only."""
        self.done += now
        self.kept += not now
        if document is not None and document["status"] == "failed":
            reason = document["error"]["message"]
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self._progress is not None:
            self._progress(self.done + self.kept, self.total)


def _run(
    grid: Grid,
    store: Store,
    count: _Count,
    retry: bool,
    chunk: int,
    workers: int | None,
    executor: Executor | None,
) -> None:
    def keep(cell: Cell, document: bytes) -> None:
        store.write(cell, document)
        count.settle(json.loads(document) if is_failure(document) else None, now=True)

    def open_cells() -> Iterator[Cell]:
        for cell in grid.cells():
            document = store.current(cell)
            if document is None or (retry and document["status"] == "failed"):
                yield cell
            else:
                count.settle(document, now=False)

    chunks = _chunks(open_cells(), chunk)
    first = next(chunks, None)
    if first is not None:
        run_chunks(itertools.chain([first], chunks), keep, workers=workers, executor=executor)


def _chunks(cells: Iterator[Cell], size: int) -> Iterator[list[Cell]]:
    # Neighbours of one input, so many at most.
    for _, group in itertools.groupby(cells, key=lambda cell: cell.input.name):
        while chunk := list(itertools.islice(group, size)):
            yield chunk
