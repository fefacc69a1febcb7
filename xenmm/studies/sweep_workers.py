"""Processes that do a sweep's work.

Each has a pipe of its own, so that one that dies, even in the middle of an answer, is known with what it was
doing and takes nothing else along; an executor's processes share their queues. They are spawned: they import
this package and inherit nothing of the caller's state. They leave Ctrl-C to the parent, and end when it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from ..errors import XenmmError
from ..version import __version__
from .sweep_run import Chunk, Keep, Work, died, keep_all

_SPAWN: Final = multiprocessing.get_context("spawn")
#: Seconds that a process which closed its pipe, or was told to end, is given.
_END_SECONDS: Final = 5.0


def on_processes(chunks: Iterator[Chunk], keep: Keep, count: int, work: Work) -> None:
    """Do every chunk on ``count`` processes; the parameters are those of :func:`.sweep_run.run_chunks`.

    A cell that ends its process is a failure. What else was in the chunk is done again.
    """
    workers: list[_Worker] = []
    try:
        while (chunk := next(chunks, None)) is not None:
            if len(workers) < count:
                workers.append(_Worker(work))
                worker = workers[-1]
            else:
                worker = _next_free(workers, keep)
            worker.begin(chunk)
        while any(worker.chunk for worker in workers):
            _next_free(workers, keep)
        for worker in workers:
            worker.end()
    finally:
        # Nothing is left of them unless something went wrong or Ctrl-C was pressed: then what is at work is
        # not waited for.
        for worker in workers:
            worker.kill()


def _next_free(workers: list[_Worker], keep: Keep) -> _Worker:
    # Settle what arrives first, and return a worker that has nothing to do.
    while True:
        busy = {worker.pipe: worker for worker in workers if worker.chunk}
        worker = busy[wait(list(busy))[0]]  # type: ignore[index]
        if worker.is_ready():
            break
    chunk, documents = worker.chunk, worker.answer()
    if documents is None:
        worker = _one_by_one(workers, worker, keep)
    else:
        keep_all(chunk, documents, keep)
    return worker


def _one_by_one(workers: list[_Worker], dead: _Worker, keep: Keep) -> _Worker:
    # Which cell ended the process shows when each runs alone; the first death may have come from outside.
    worker = dead
    for cell in dead.chunk:
        if not worker.is_alive():
            worker = _replaced(workers, worker)
        worker.begin([cell])
        documents = worker.answer()
        keep(cell, died(cell, worker.how_it_ended()) if documents is None else documents[0])
    return worker if worker.is_alive() else _replaced(workers, worker)


def _replaced(workers: list[_Worker], dead: _Worker) -> _Worker:
    dead.kill()
    workers[workers.index(dead)] = worker = _Worker(dead.work)
    return worker


class _Worker:
    """One process, its pipe, and the chunk that it is doing."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.chunk: Chunk = ()
        self._ready = False
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, work), daemon=True)
        # It inherits that SIGINT is blocked, so that Ctrl-C at a terminal, which goes to every process there,
        # is the parent's alone; here it is only put off.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def begin(self, chunk: Chunk) -> None:
        self.chunk = chunk
        # If it is dead, its answer tells.
        with contextlib.suppress(OSError):
            self.pipe.send((chunk, __version__))

    def answer(self) -> list[bytes] | None:
        """The documents of the chunk; None when the process died over it, or before."""
        try:
            while not self._ready:
                self._hear_that_it_started()
            documents, error = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_END_SECONDS)
            return None
        if error is not None:
            raise XenmmError(f"a worker cannot do a cell: {error}")
        self.chunk = ()
        return list(documents)

    def is_ready(self) -> bool:
        """Whether what it says is an answer; when it says that it started, that is heard here."""
        was_ready = self._ready
        if not was_ready:
            with contextlib.suppress(EOFError, OSError):
                self._hear_that_it_started()
        return was_ready or not self._ready

    def _hear_that_it_started(self) -> None:
        try:
            self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_END_SECONDS)
            if (self._process.exitcode or 0) > 0:
                raise XenmmError(
                    "a worker process does not start: a script that calls sweep needs"
                    ' if __name__ == "__main__": around it, or workers=0'
                ) from None
            raise
        self._ready = True

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def how_it_ended(self) -> str:
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"killed by {name}" + (", as when memory runs out" if -code == signal.SIGKILL else "")
        return f"exit code {code}"

    def end(self) -> None:
        self.pipe.close()
        self._process.join(_END_SECONDS)

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(_END_SECONDS)
        self.pipe.close()


def _serve(pipe: Connection[Any, Any], work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A pipe that ends or breaks is a parent that ended, with or without taking leave: nobody is to be told.
    with contextlib.suppress(EOFError, OSError):
        pipe.send("started")
        while True:
            chunk, version = pipe.recv()
            pipe.send(_answer(work, chunk, version))


def _answer(work: Work, chunk: Chunk, version: str) -> tuple[list[bytes] | None, str | None]:
    try:
        return work(chunk, version), None
    except XenmmError as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    # A long replay would go on for nobody.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
