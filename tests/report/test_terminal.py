"""With rich and a terminal there is colour; without either, the same text to the last character."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from terminal import ANSI, WITHOUT_RICH, on_terminal

from xenmm.boot.hazards import SEVERITIES
from xenmm.report import terminal
from xenmm.report.layout import cells, heading, mark_word, marked, table, wrap

pytest.importorskip("rich", reason="rich is not installed")

COMMANDS = {
    "report": ("report", "taishan200-4node"),
    "report of a log": ("report", "b7-ldr-hotplug-mask"),
    "boot": ("boot", "taishan200-4node"),
    "convert": ("convert", "dell-r930", "mfn:0x100000", "mfn:0xfffffff"),
    "steps": ("steps", "candidate-4x4g-64g", "--size", "100"),
    "replay": ("replay", "dell-r930", "--workload", "random", "--accesses", "1000"),
    "replay --compare": (
        *("replay", "taishan200-4node", "--workload", "random", "--accesses", "1000"),
        *("--compare", "--profile", "pre,xen-mask,xen-offset"),
    ),
    "compare": ("compare", "dell-r930", "--profile-a", "fold", "--profile-b", "xen-offset"),
    "plan": ("plan", "--ram", "64G", "--nodes", "4", "--spacing", "2^40"),
    "machines": ("machines",),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_same_text_with_and_without_rich(words, columns):
    # On a slow machine some of these show how far they are.
    coloured = on_terminal(columns, *words, progress=False)
    plain = on_terminal(columns, *words, rich=False, progress=False)
    piped = subprocess.run(
        [sys.executable, "-c", WITHOUT_RICH, *words, "--width", str(columns)], capture_output=True, text=True
    )
    assert coloured[0] == plain[0] == piped.returncode in (0, 1)
    assert "\x1b[" in coloured[1] and "\x1b" not in plain[1] + piped.stdout
    if words[0] == "doctor":
        # It says that rich is missing, and nobody else does.
        assert "absent  rich" in plain[1] and "ok      rich" in ANSI.sub("", coloured[1])
        one, other = (
            [line for line in re.sub("\n {9,}", " ", ANSI.sub("", text)).splitlines() if " rich " not in line]
            for _, text in (coloured, plain)
        )
        assert one == other
    else:
        assert ANSI.sub("", coloured[1]) == plain[1] == piped.stdout
    too_long = [line for line in plain[1].splitlines() if len(line) > columns]
    # A path is never broken.
    assert [line for line in too_long if not line.strip().startswith("/")] == []


def test_no_color_and_dumb_terminals_are_richs_to_heed():
    words = COMMANDS["convert"]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        _, text = on_terminal(80, *words, environment=environment)
        assert "\x1b[3" not in text and "mfn" in text
    _, text = on_terminal(80, *words, "--color", "never")
    assert "\x1b" not in text


def test_colour_when_asked_for_and_what_it_needs():
    words = (*COMMANDS["convert"], "--color", "always")
    run = subprocess.run([sys.executable, "-m", "xenmm", *words], capture_output=True, text=True)
    plain = subprocess.run([sys.executable, "-m", "xenmm", *words[:-2]], capture_output=True, text=True)
    assert "\x1b[" in run.stdout and ANSI.sub("", run.stdout) == plain.stdout
    run = subprocess.run([sys.executable, "-c", WITHOUT_RICH, *words], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert "pip install 'xenmm[rich]'" in run.stderr


def test_a_pipe_imports_no_rich():
    code = (
        "import sys; from xenmm.cli import main; main(['convert', 'dell-r930', 'mfn:1']);"
        "sys.exit(any(m.startswith('rich') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def parts(line):
    return [(line[start:end], name) for start, end, name in getattr(line, "parts", ())]


def test_what_sets_lines_marks_them():
    assert [parts(line) for line in heading("Title")] == [[("Title", "heading")], [("-----", "heading")]]
    head, row = table([("", "a"), ("name", "1,000")], indent="  ")
    assert parts(head) == [(str(head), "head")] and parts(row) == [("name", "label")]
    head, row, *more = cells([("", "x"), ("row", "word " * 9)], 30, 6)
    assert parts(row) == [("row", "label")] and parts(more[0]) == [("", "label")]
    first, second = wrap("crash: it ends here and now for good", 30, "  word  ", "    ", mark="crash:")
    assert parts(first) == [("word", "label"), ("crash", "crash")] and parts(second) == []


def test_marks_stay_when_a_line_is_marked_again_and_are_no_characters():
    line = mark_word(marked("a word more", (0, 1, "label")), "word", "valid")
    assert line == "a word more" and parts(line) == [("a", "label"), ("word", "valid")]
    assert mark_word("nothing", "word") == "nothing"


def test_every_severity_has_a_style():
    assert set(SEVERITIES) <= set(terminal._STYLES)


def test_what_a_log_says_is_no_markup():
    out = io.StringIO()
    terminal.write_lines(["[bold]x[/bold] :smile: [/]"], out, "always")
    assert ANSI.sub("", out.getvalue()) == "[bold]x[/bold] :smile: [/]\n"
