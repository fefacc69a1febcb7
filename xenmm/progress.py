"""How far long work has come: its count, rate and time left, on a terminal's standard error.

Nothing is shown where standard error is no terminal, nor in the first second of what may be short. What
works deep below takes a plain ``Callable[[int], None]``, told the count so far; a :class:`Meter` is one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import IO, Any, Final

#: Told how much is done so far.
Progress = Callable[[int], None]

_FIRST_SECONDS: Final = 1.0
_EVERY_SECONDS: Final = 0.2
#: A terminal echoes Ctrl-C as ^C: the line leaves it room, that it may be wiped with it.
_ECHO: Final = 2


class Meter:
    """A line that tells how far work has come, gone when the work is done.

    >>> with Meter("replay", "accesses", total=4_000_000) as meter:
    ...     meter(1_000_000)

    Parameters
    ----------
    what : str
        What is done, the line's first word.
    unit : str
        What is counted, as a plural.
    total : int, optional
        How much there is to do; without it no time left is told.
    start : int
        What was done already when the work was taken up again: it counts for no rate.
    at_once : bool
        The work is known to take long: show it from its beginning on, not after the first second.
    stream : text stream, optional
        Where to show it; standard error if not given.
    clock : callable
        Seconds, for tests.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None = None,
        *,
        start: int = 0,
        at_once: bool = False,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.unit, self.total, self.start = what, unit, total, start
        self._stream = sys.stderr if stream is None else stream
        self._on_terminal = self._stream is not None and self._stream.isatty()
        self._clock = clock
        self._begun = clock()
        self._next = self._begun + (0 if at_once else _FIRST_SECONDS)
        self._stages = 0
        self._line: _PlainLine | _RichLine | None = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, done: int, now_at: str = "") -> None:
        """Tell that so much is done, and what is being done now; shown a few times a second at most."""
        if not self._on_terminal:
            return
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        text = progress_text(self.what, self.unit, done, self.total, done - self.start, now - self._begun)
        self._show(text + (f": {now_at}" if now_at else ""), done)

    def stage(self, name: str) -> None:
        """Tell that the next of a few stages begins, when ``unit`` and ``total`` are of stages."""
        self._stages += 1
        if self._on_terminal and self._clock() >= self._next:
            of = f" of {self.total}" if self.total is not None else ""
            so_far = _clock_text(self._clock() - self._begun)
            text = f"{self.what}: {name} ({self.unit} {self._stages}{of}, {so_far} so far)"
            self._show(text, self._stages - 1)

    def _show(self, text: str, done: int) -> None:
        # An interrupt in the midst of drawing would leave a line that nobody can wipe.
        with _interrupts_held():
            if self._line is None:
                self._line = _line(self._stream)
            self._line.show(text, done, self.total)

    def close(self) -> None:
        """Take the line away; it comes back with the next call."""
        if self._line is not None:
            self._line.close()
            self._line = None


def progress_text(what: str, unit: str, done: int, total: int | None, fresh: int, seconds: float) -> str:
    """``replay: 12.3 of 100.0 million accesses, 4.10 million/s, 0:22 left``: ``fresh`` in ``seconds``."""
    scale, word = (10**6, "million ") if max(done, total or 0) >= 10**7 else (1, "")
    of = f" of {_figure(total, scale)}" if total is not None else ""
    text = f"{what}: {_figure(done, scale)}{of} {word}{unit}"
    if fresh <= 0 or seconds <= 0:
        return text
    rate = fresh / seconds
    text += f", {rate / 1e6:.2f} million/s" if rate >= 1e6 else f", {rate:,.{0 if rate >= 100 else 1}f}/s"
    if total is not None and done <= total:
        text += f", {_clock_text((total - done) / rate)} left"
    return text


def _figure(count: int, scale: int) -> str:
    return f"{count:,}" if scale == 1 else f"{count / scale:,.1f}"


def _clock_text(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    held: list[tuple[int, FrameType | None]] = []
    if signal.getsignal(signal.SIGINT) is None:
        # A handler that is not Python's could not be put back.
        yield
        return
    try:
        handler = signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    except ValueError:
        # Not the main thread, which alone gets interrupts.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held and callable(handler):
        handler(*held[0])


def _line(stream: IO[str]) -> _PlainLine | _RichLine:
    try:
        return _RichLine(stream)
    except ImportError:
        return _PlainLine(stream)


class _PlainLine:
    # One line, written over itself.
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._width = 0

    def show(self, text: str, done: int, total: int | None) -> None:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 80
        text = text[: columns - _ECHO - 1]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def close(self) -> None:
        self._stream.write("\r" + " " * (self._width + _ECHO) + "\r")
        self._stream.flush()


class _RichLine:
    # The same text beside a bar.
    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        text = TextColumn("{task.description}", markup=False)
        console = Console(file=stream)
        console.width -= _ECHO + 1
        # No thread, and nobody's standard output taken over.
        self._bars: Any = Progress(
            text,
            BarColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: Any = None

    def show(self, text: str, done: int, total: int | None) -> None:
        if self._task is None:
            self._task = self._bars.add_task(text, total=total)
            self._bars.start()
        self._bars.update(self._task, description=text, completed=done)
        self._bars.refresh()

    def close(self) -> None:
        self._bars.stop()
