"""Ctrl-C in the midst of work: one line, exit code 130, no half-written file, a screen without progress."""

from __future__ import annotations

import pytest
from terminal import ANSI, on_terminal, screen

LONG = ("replay", "dell-r930", "--workload", "random", "--accesses", "2000000000")


@pytest.mark.parametrize("rich", [True, False])
def test_replay_shows_progress_and_is_interrupted(tmp_path, rich):
    if rich:
        pytest.importorskip("rich", reason="rich is not installed")
    outputs = [
        word
        for option in ("--json", "--csv", "--stats", "--timeline")
        for word in (option, tmp_path / f"out{option}")
    ]
    code, text = on_terminal(80, *LONG, *outputs, rich=rich, interrupt_at="left")
    shown = ANSI.sub("", text)
    assert code == 130
    assert "of 2,000.0 million accesses" in shown and "/s, " in shown and " left" in shown
    assert [line.rstrip() for line in screen(text, 80).split("\n")] == ["xenmm: interrupted", ""]
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []
    # rich hides the cursor while it draws.
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")


def test_bench_leaves_what_was_there(tmp_path):
    record = tmp_path / "record.json"
    record.write_text("of before\n")
    code, text = on_terminal(
        100, "bench", "--only", "inline", "--only", "startup", "--json", record, interrupt_at="startup"
    )
    assert code == 130 and ANSI.sub("", text).rstrip("\n").endswith("xenmm: interrupted")
    assert record.read_text() == "of before\n" and [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_sweep_says_how_to_go_on(tmp_path):
    words = ("sweep", "bundled", "--uarch", "all", "--workloads", "random", "--accesses", "3000000")
    code, text = on_terminal(100, *words, "-o", tmp_path / "out", "--workers", "1", interrupt_at=" cells,")
    last = ANSI.sub("", text).rstrip("\n").splitlines()[-1].split("\r")[-1]
    assert code == 130
    assert last.startswith("xenmm: interrupted: ") and "the same command goes on from there" in last
