"""Progress: silent off a terminal and in the first second, then count, rate, time left; gone at the end."""

from __future__ import annotations

import io
import re
import signal
import sys
import threading

import pytest
from terminal import screen

from xenmm import progress
from xenmm.progress import Meter, progress_text


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["plain", "rich"])
def terminal(request, monkeypatch):
    if request.param == "rich":
        pytest.importorskip("rich", reason="rich is not installed")
        monkeypatch.setenv("TERM", "xterm")
    else:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
        monkeypatch.setitem(sys.modules, "rich.console", None)
    return Terminal()


def shown(stream):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_text_of_small_and_large_counts():
    assert progress_text("sweep", "cells", 120, 10_000, 120, 2.0) == (
        "sweep: 120 of 10,000 cells, 60.0/s, 2:45 left"
    )
    assert progress_text("replay", "accesses", 12_300_000, 100_000_000, 12_300_000, 3.0) == (
        "replay: 12.3 of 100.0 million accesses, 4.10 million/s, 0:21 left"
    )
    assert progress_text("replay", "accesses", 2_000_000, None, 2_000_000, 4) == (
        "replay: 2,000,000 accesses, 500,000/s"
    )
    assert progress_text("sweep", "cells", 50, 7250, 50, 25.0).endswith("2.0/s, 1:00:00 left")


def test_text_says_no_rate_where_there_is_none():
    assert progress_text("sweep", "cells", 50, 100, 0, 2.0) == "sweep: 50 of 100 cells"
    assert progress_text("sweep", "cells", 0, 100, 0, 0.0) == "sweep: 0 of 100 cells"
    # More than was announced: no time is left to tell.
    assert progress_text("sweep", "cells", 101, 100, 101, 1.0) == "sweep: 101 of 100 cells, 101/s"


def test_work_taken_up_again_counts_for_no_rate(terminal):
    clock = Clock()
    with Meter("sweep", "cells", 1000, start=900, stream=terminal, clock=clock) as meter:
        clock.now += 2
        meter(950)
    assert "sweep: 950 of 1,000 cells, 25.0/s, 0:02 left" in shown(terminal)


def test_first_second_is_silent_and_later_calls_are_few(terminal):
    clock = Clock()
    with Meter("replay", "accesses", stream=terminal, clock=clock) as meter:
        for _ in range(99):
            clock.now += 0.01
            meter(5)
        assert terminal.getvalue() == ""
        for i in range(200):
            clock.now += 0.01
            meter(1000 + i, "trace.gz")
        text = shown(terminal)
    assert 5 <= len(set(re.findall(r"replay: [\d,]+ accesses", text))) <= 11
    assert "trace.gz" in text
    # Nothing of it stays on the screen.
    assert screen(terminal.getvalue()).strip() == ""


def test_an_interrupt_waits_until_the_line_is_drawn(terminal, monkeypatch):
    clock = Clock()
    write, drawn = terminal.write, []

    def interrupted(text):
        if not drawn:
            signal.raise_signal(signal.SIGINT)
        drawn.append(text)
        return write(text)

    monkeypatch.setattr(terminal, "write", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            Meter("sweep", "cells", 9, stream=terminal, clock=clock) as meter,
        ):
            clock.now += 2
            meter(5)
            raise AssertionError("the interrupt is raised once the line is drawn")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "5 of 9 cells" in shown(terminal) and screen(terminal.getvalue()).strip() == ""


def test_another_thread_may_tell_progress(terminal):
    clock = Clock()
    with Meter("sweep", "cells", 9, stream=terminal, clock=clock) as meter:
        clock.now += 2
        thread = threading.Thread(target=meter, args=(5,))
        thread.start()
        thread.join()
    assert "5 of 9 cells" in shown(terminal)


def test_stages_are_named(terminal):
    clock = Clock()
    with Meter("measuring", "part", 3, stream=terminal, clock=clock) as meter:
        meter.stage("arrays")
        assert terminal.getvalue() == ""
        clock.now += 30
        meter.stage("calls")
    assert "measuring: calls (part 2 of 3, 0:30 so far)" in shown(terminal)


def test_long_work_names_its_first_stage_at_once(terminal):
    with Meter("measuring", "part", 8, at_once=True, stream=terminal, clock=Clock()) as meter:
        meter.stage("arrays")
    assert "measuring: arrays (part 1 of 8, 0:00 so far)" in shown(terminal)


def test_nothing_off_a_terminal_or_without_standard_error(monkeypatch):
    clock, stream = Clock(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", None)
    for meter in (Meter("a", "b", stream=stream, clock=clock), Meter("a", "b", clock=clock)):
        with meter:
            clock.now += 5
            meter(1)
            meter.stage("c")
    assert stream.getvalue() == ""


def test_rich_is_not_imported_before_it_is_needed():
    before = set(sys.modules)
    with Meter("a", "b", stream=Terminal()) as meter:
        meter(1)
    assert not any(name.startswith("rich.") for name in set(sys.modules) - before)
    assert progress._FIRST_SECONDS == 1.0
