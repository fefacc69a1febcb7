"""Running a sweep's work on processes of our own or on any executor: bounded, and nothing done is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Final

from ..errors import XenmmError
from ..version import __version__
from .sweep_cells import Cell, do_cells

#: Chunks in flight for each worker of an executor: one at work and one that waits.
_IN_FLIGHT: Final = 2
#: In flight on an executor that does not say how many workers it has.
_IN_FLIGHT_UNKNOWN: Final = 64
#: What executors raise, beside BrokenExecutor, when the process that ran a task died: dask's, by its name.
_DIED: Final = ("KilledWorker",)

Chunk = Sequence[Cell]
Work = Callable[[Chunk, str], list[bytes]]
#: Takes a cell and its document.
Keep = Callable[[Cell, bytes], None]


def run_chunks(
    chunks: Iterable[Chunk],
    keep: Keep,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    work: Work = do_cells,
) -> None:
    """Do every chunk and hand each cell's document to ``keep``, in this process.

    Parameters
    ----------
    chunks : iterable of sequence of Cell
        Taken one by one: no more are in flight than keep the workers busy.
    keep : callable
        Called as results arrive, in any order.
    workers : int, optional
        Processes of our own, by default one for each CPU; 0: none, everything happens in this process.
    executor : Executor, optional
        Used instead; it stays open.
    work : callable
        What a worker does with a chunk: it can be imported there.

    Raises
    ------
    XenmmError
        If the work cannot be done at all.
    """
    if executor is not None:
        _on_executor(iter(chunks), keep, executor, work)
    elif workers == 0:
        for chunk in chunks:
            keep_all(chunk, work(chunk, __version__), keep)
    else:
        from .sweep_workers import on_processes

        on_processes(iter(chunks), keep, workers or cpus(), work)


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def keep_all(chunk: Chunk, documents: Sequence[bytes], keep: Keep) -> None:
    """Keep the document of each cell of a chunk."""
    for cell, document in zip(chunk, documents, strict=True):
        keep(cell, document)


def died(cell: Cell, how: str) -> bytes:
    """The document of a cell that ends its worker whenever it is done."""
    return cell.failure("WorkerDied", f"its worker process ended abruptly: {how}")


def _on_executor(chunks: Iterator[Chunk], keep: Keep, executor: Executor, work: Work) -> None:
    known = getattr(executor, "_max_workers", None)
    width = _IN_FLIGHT * known if isinstance(known, int) else _IN_FLIGHT_UNKNOWN
    pending: dict[Future[list[bytes]], Chunk] = {}
    try:
        while True:
            while len(pending) < width and (chunk := next(chunks, None)) is not None:
                pending[_submitted(executor, work, chunk)] = chunk
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                chunk = pending.pop(future)
                if not _settled(future, chunk, keep):
                    _one_by_one(chunk, keep, executor, work)
    finally:
        for future in pending:
            future.cancel()


def _submitted(executor: Executor, work: Work, chunk: Chunk) -> Future[list[bytes]]:
    try:
        return executor.submit(work, chunk, __version__)
    except (BrokenExecutor, RuntimeError) as error:
        raise XenmmError(f"the executor takes no more work ({error}); what is done is kept") from error


def _settled(future: Future[list[bytes]], chunk: Chunk, keep: Keep) -> bool:
    # Keep a chunk's documents, or return False when its worker died.
    try:
        documents = future.result()
    except Exception as error:
        if isinstance(error, BrokenExecutor) or type(error).__name__ in _DIED:
            return False
        if isinstance(error, XenmmError):
            raise
        raise XenmmError(f"the executor cannot do a cell: {type(error).__name__}: {error}") from error
    keep_all(chunk, documents, keep)
    return True


def _one_by_one(chunk: Chunk, keep: Keep, executor: Executor, work: Work) -> None:
    # Which cell ended its worker shows when each runs alone.
    for cell in chunk:
        if not _settled(_submitted(executor, work, [cell]), [cell], keep):
            keep(cell, died(cell, "killed, or out of memory"))
