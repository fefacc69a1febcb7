"""Runs of the timing engine: warm-up, region of interest, intervals, and the result."""

from __future__ import annotations

from typing import Any

from .._timing import EngineCore
from ..errors import ConfigError, FrameError, need
from .config import Hierarchy
from .result import Counts, Result, add, subtract
from .space import AddressSpace

#: Kinds of access, as `kinds` arrays hold them.
READ, WRITE, EXECUTE = 0, 1, 2
#: Each takes some 6 KB.
_MOST_INTERVALS = 100_000


class Engine(EngineCore):
    """Engine(hierarchy, space=None, seed=0, instruction_set=None)
    --

    The caches, TLBs and page walks of one core: no coherence, no nested walks, no synonyms.

    Parameters
    ----------
    hierarchy : Hierarchy
        What to simulate.
    space : AddressSpace, optional
        From virtual to machine addresses, and where page-table entries are read. Without one, addresses are
        machine addresses on every 64-bit value, in pages of 4 KiB.
    seed : int
        Of the random replacement policies.
    instruction_set : str, optional
        Loops to use (``xenmm._timing.instruction_sets()``); the best that the processor has by default. All
        give the same counts.

    Notes
    -----
    The rules. A look-up of a line makes it the newest of its set (LRU, PLRU); a miss reads the next
    level, then replaces: an invalid way if there is one, else what the policy says. A write allocates and
    makes the line dirty in the first cache. A dirty line that is replaced goes to the next level, after
    the read that replaced it: where it is found there, only its dirty bit changes (or, with
    ``arrival="use"``, it becomes the newest too); where not, it is allocated, and nothing is fetched, for
    the line is whole. The first cache chooses the set by the virtual address, the others by the machine
    address; tags are machine addresses. A look-up that misses one TLB fills it. A walk reads the entries
    below the deepest one that a page-walk cache keeps, before the access itself.

    One thread at a time may use an engine. State stays from run to run: :meth:`flush` empties it.
    """

    __slots__ = ()

    def __init__(
        self,
        hierarchy: Hierarchy,
        space: AddressSpace | None = None,
        seed: int = 0,
        instruction_set: str | None = None,
    ) -> None:
        space = AddressSpace.identity() if space is None else space
        need("hierarchy", hierarchy, Hierarchy)
        need("space", space, AddressSpace)
        super().__init__(hierarchy, space, seed, instruction_set)

    def run(
        self,
        addresses: Any,
        kinds: Any = None,
        sizes: Any = None,
        *,
        straddle: str = "both",
        warmup: int = 0,
        roi: tuple[int, int | None] | None = None,
        interval: int | None = None,
        compute_cycles: int = 0,
    ) -> Result:
        """Simulate accesses and return what they did.

        Parameters
        ----------
        addresses : buffer of uint64, shape (n,), C-contiguous
            Bytes.
        kinds : buffer of uint8, shape (n,), optional
            0 read (the default), 1 write, 2 execute.
        sizes : buffer of uint8 or uint16, shape (n,), optional
            Bytes of each access, 1 to 4096; 1 by default.
        straddle : {"both", "once"}
            An access that crosses a line or page counts in every line and page that it touches, or once: a
            level that has all its lines hits; where one is missing it misses, and all its lines go on to the
            next level (as cachegrind has it). Its pages count once too, as a miss when any missed.
        warmup : int
            That many accesses are simulated first and not counted.
        roi : (int, int or None), optional
            Only accesses [start, stop) count; the others are simulated all the same.
        interval : int, optional
            Also keep the counts of each `interval` counted accesses; at most 100,000 are kept.
        compute_cycles : int
            Cycles that the program computes, added to the time.

        Raises
        ------
        ConfigError
            An argument is wrong; the message names it.
        FrameError
            The address space does not map an address. The accesses before it have been simulated.
        """
        r = Run(self, straddle=straddle, warmup=warmup, roi=roi, interval=interval)
        r.feed(addresses, kinds, sizes)
        return r.result(compute_cycles)

    def result(self) -> Result:
        """Return everything counted since the last :meth:`reset_counts`, one-access calls too."""
        return Result(self.hierarchy, self.space.to_dict(), {"seed": self.seed}, self.counts())


class Run:
    """A run that is fed piece by piece, for traces that do not fit in memory.

    Parameters are those of :meth:`Engine.run`, and:

    most_intervals : int, optional
        When there are so many intervals, each two become one and `interval` doubles: memory stays bounded.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        straddle: str = "both",
        warmup: int = 0,
        roi: tuple[int, int | None] | None = None,
        interval: int | None = None,
        most_intervals: int | None = None,
    ) -> None:
        if not isinstance(straddle, str) or straddle not in ("both", "once"):
            raise ConfigError(f"straddle: {straddle!r} is not 'both' or 'once'")
        _natural("warmup", warmup, 0)
        if interval is not None:
            _natural("interval", interval, 1)
        if roi is not None and warmup:
            raise ConfigError("warmup: the region of interest says already where counting begins")
        first, stop = (warmup, None) if roi is None else _two("roi", roi)
        _natural("roi", first, 0)
        if stop is not None:
            _natural("roi", stop, first)
        self.engine = engine
        self.straddle = straddle
        self.first, self.stop, self.interval = first, stop, interval
        self.most_intervals = most_intervals
        self.position = 0
        self._counts: Counts = subtract(engine.counts(), engine.counts())
        self._intervals: list[Counts] = []
        self._partial: Counts | None = None

    def feed(self, addresses: Any, kinds: Any = None, sizes: Any = None) -> None:
        """Simulate the next accesses."""
        try:
            n, at = len(addresses), 0
        except TypeError:
            # The engine says what is wrong with it.
            n = at = 0
        while at < n:
            stop = min(n, at + self._next_cut())
            self._segment(addresses, kinds, sizes, at, stop)
            at = stop
        if n == 0:
            self.engine.simulate(addresses, kinds, sizes, self.straddle)

    def result(self, compute_cycles: int = 0, input: dict[str, Any] | None = None) -> Result:
        """Return what was counted so far."""
        _natural("compute_cycles", compute_cycles, 0)
        intervals = list(self._intervals)
        if self._partial is not None:
            intervals.append(self._partial)
        options = {
            "seed": self.engine.seed,
            "straddle": self.straddle,
            "roi": [self.first, self.stop],
            "interval": self.interval,
        }
        return Result(
            self.engine.hierarchy,
            self.engine.space.to_dict(),
            options,
            self._counts,
            compute_cycles,
            tuple(intervals),
            input or {},
        )

    def _counted(self) -> bool:
        return self.first <= self.position and (self.stop is None or self.position < self.stop)

    def _next_cut(self) -> int:
        # How many accesses until counting begins or ends, or an interval is full.
        cuts = [c - self.position for c in (self.first, self.stop) if c is not None and c > self.position]
        if self.interval is not None and self._counted():
            cuts.append(self.interval - (self.position - self.first) % self.interval)
        return min(cuts, default=1 << 62)

    def _segment(self, addresses: Any, kinds: Any, sizes: Any, start: int, stop: int) -> None:
        before = self.engine.counts()
        done = self.engine.simulate(addresses, kinds, sizes, self.straddle, start, stop)
        if self._counted():
            counts = subtract(self.engine.counts(), before)
            self._counts = add(self._counts, counts)
            if self.interval is not None:
                self._add_interval(counts, done)
        self.position += done
        if done < stop - start:
            raise FrameError(
                f"access {self.position}: address {self.engine.fault:#x} is not mapped by the address space"
            )

    def _add_interval(self, counts: Counts, done: int) -> None:
        assert self.interval is not None
        into = (self.position - self.first) % self.interval
        if self._partial is not None:
            start = self._partial.pop("start")
            counts = {"start": start, **add(self._partial, counts)}
        else:
            counts = {"start": self.position, **counts}
        self._partial = counts
        if into + done == self.interval:
            self._intervals.append(counts)
            self._partial = None
            if self.most_intervals is None and len(self._intervals) > _MOST_INTERVALS:
                raise ConfigError(
                    f"interval: {self.interval} accesses make more than {_MOST_INTERVALS} intervals; "
                    "take a larger one"
                )
            self._coarsen()

    def _coarsen(self) -> None:
        done = self._intervals
        if self.most_intervals is None or self.interval is None or len(done) < 2 * self.most_intervals:
            return
        pairs = zip(done[::2], done[1::2], strict=True)
        self._intervals = [{**add(a, b), "start": a["start"]} for a, b in pairs]
        self.interval *= 2


def _two(name: str, value: Any) -> tuple[Any, Any]:
    try:
        first, stop = value
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: {value!r} is not (first, stop)") from None
    return first, stop


def _natural(name: str, value: object, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{name}: {value!r} is not an integer from {low} on")
