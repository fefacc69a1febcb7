"""Every figure and every console block of the documentation is what the program prints today.

Three mechanisms, all general:

- A fenced ``console`` block that starts with ``$ xenmm ...`` is executed, and its output is compared
  line by line; a line that is ``...`` alone stands for any number of lines.
- A fenced ``python`` block with ``>>>`` prompts is a doctest.
- A percentage in prose is followed by a comment: ``<!-- figure: EXPRESSION -->`` is evaluated with the names
  of :data:`NAMES` and must print as the figure does, to the figure's own number of decimals;
  ``<!-- quoted: SOURCE -->`` marks another's figure. A percentage with neither is an error. Any other number
  that has the comment is held to it as well; those of docs/timing.md come from the committed records.
"""

from __future__ import annotations

import doctest
import functools
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import conversion_figures
import pytest
import timing_figures

import xenmm
from xenmm.boot.overhead import minimum_costs
from xenmm.maps import open_map

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(
    r"(?P<figure>\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit> ?%|(?<=\d\.\d) [KMGT]iB|(?<=\.\d\d) [KMGT]iB)"
    r"(?P<comment>\**\s*<!--\s*(?P<kind>figure|quoted):\s*(?P<what>.*?)\s*-->)?",
    re.DOTALL,
)
# A number of another unit, or of none, with the comment behind it.
NUMBER = re.compile(
    r"(?P<figure>\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit>(?: [a-z]+){0,2})"
    r"(?P<comment>\**\s*<!--\s*(?P<kind>figure):\s*(?P<what>.*?)\s*-->)"
)


@functools.cache
def machine(name):
    return xenmm.read_map(open_map(name), name=name)


@functools.cache
def overhead(name, profile, page_sizes="1g"):
    return xenmm.boot(machine(name), profile, page_sizes=page_sizes).overhead()


def percent(name, profile, part="total", page_sizes="1g"):
    return overhead(name, profile, page_sizes).percent[part]


def mib(name, profile, part="total", page_sizes="1g"):
    return overhead(name, profile, page_sizes).costs.to_dict()[part] / (1 << 20)


def minimum(part="total"):
    return minimum_costs(1 << 40).percent_of(1 << 40)[part]


def ram(name):
    return machine(name).ram_bytes


def top(name):
    return machine(name).top


NAMES = (
    {f.__name__: f for f in (percent, mib, minimum, ram, top)}
    | timing_figures.NAMES
    | conversion_figures.NAMES
)


def blocks(document):
    for match in BLOCK.finditer(document.read_text()):
        lines = match[1].splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
        for start, end in itertools.pairwise(starts):
            words = shlex.split(lines[start][2:])
            if words[:1] == ["xenmm"]:
                yield words[1:], lines[start + 1 : end]


COMMANDS = [
    pytest.param(words, expected, id=f"{d.relative_to(ROOT)}: xenmm {' '.join(words)}")
    for d in DOCUMENTS
    for words, expected in blocks(d)
]
FIGURES = [
    pytest.param(m, id=f"{d.relative_to(ROOT)}: {m['figure']}{m['unit']}")
    for d in DOCUMENTS
    for pattern in (FIGURE, NUMBER)
    for m in pattern.finditer(FENCED.sub("", d.read_text()))
]


PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(m[1], id=f"{d.relative_to(ROOT)}: {m[1].splitlines()[0]}")
    for d in DOCUMENTS
    for m in PYTHON.finditer(d.read_text())
    if ">>> " in m[1]
]


def matches(expected, actual):
    """Whether the lines agree, where an expected line of ``...`` alone stands for any number of lines."""
    if not expected:
        return not actual
    if expected[0].strip() == "...":
        return any(matches(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    return bool(actual) and expected[0].rstrip() == actual[0].rstrip() and matches(expected[1:], actual[1:])


def test_elision_matches_any_lines_and_nothing_else_does():
    assert matches(["a", "...", "d"], ["a", "b", "c", "d"])
    assert matches(["..."], [])
    assert not matches(["a", "...", "d"], ["a", "b", "c"])
    assert not matches(["a"], ["a", "b"])
    assert not matches(["a", "b"], ["a"])


@pytest.mark.parametrize(("words", "expected"), COMMANDS)
def test_console_block_prints_what_the_document_shows(words, expected):
    run = subprocess.run(
        [sys.executable, "-m", "xenmm", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    actual = (run.stdout + run.stderr).splitlines()
    while actual and not actual[-1].strip():
        actual.pop()
    while expected and not expected[-1].strip():
        expected = expected[:-1]
    assert matches(expected, actual), "\n".join(actual)


@pytest.mark.parametrize("source", EXAMPLES)
def test_python_example_runs_as_shown(source):
    test = doctest.DocTestParser().get_doctest(source, {}, "example", None, 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("match", FIGURES)
def test_figure_in_prose_is_recomputed(match):
    assert match["comment"], "needs <!-- figure: EXPRESSION --> or <!-- quoted: SOURCE --> behind it"
    if match["kind"] == "quoted":
        assert match["what"]
        return
    digits = match["figure"].replace(",", "")
    decimals = len(digits.partition(".")[2])
    value = eval(match["what"], {"__builtins__": {}}, NAMES)
    assert f"{value:.{decimals}f}" == digits


def test_model_page_has_figures_and_commands():
    assert any("model.md" in p.id for p in FIGURES)
    assert any("model.md" in p.id for p in COMMANDS)


LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document):
    linked = LINK.findall(FENCED.sub("", document.read_text()))
    assert [link for link in linked if not (document.parent / link).exists()] == []
