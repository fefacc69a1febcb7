"""Every figure, command and example of the documentation is what the program says today.

- Figures and generated blocks: the marks of ``tests/support/doc_figures.py``. A percentage, or a size with
  decimals, that has no mark is an error.
- Fenced blocks of commands: run as ``tests/support/doc_commands.py`` tells; no command stands elsewhere.
- A fenced ``python`` block with ``>>>`` prompts is a doctest; another is a program, or a file of the tree.
"""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import doc_commands
import doc_figures
import pytest

from xenmm import cli

ROOT = Path(__file__).parents[1]
PAGES = {str(p.relative_to(ROOT)): p.read_text() for p in doc_figures.documents()}
BLOCKS = [
    pytest.param(block, id=f"{name}:{block.line}: {next(block.commands())[0]}")
    for name, page in PAGES.items()
    for block in doc_commands.blocks(page)
    if block.language in ("console", "sh") and any(doc_commands.is_run(c) for c, _ in block.commands())
]
FIGURES = [
    pytest.param(m, id=f"{name}: {m['figure']}{m['unit']}")
    for name, page in PAGES.items()
    for m in doc_figures.figures(page)
]
EXAMPLES = [
    pytest.param(block.text, id=f"{name}:{block.line}")
    for name, page in PAGES.items()
    for block in doc_commands.blocks(page)
    if block.language == "python"
]
GENERATED = [
    pytest.param(m, id=f"{name}: {m['what']}")
    for name, page in PAGES.items()
    for m in doc_figures.BLOCK.finditer(page)
]
#: Commands named within a line of prose.
INLINE = [
    pytest.param(m[1], id=f"{name}: {m[1]}")
    for name, page in PAGES.items()
    for m in re.finditer(r"`(xenmm(?:\s+[^`]*)?)`", doc_figures.FENCED.sub("", page))
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


@pytest.mark.parametrize("block", BLOCKS)
def test_commands_run_and_print_what_the_document_shows(block):
    for command, shown, code, printed in doc_commands.run_block(block):
        if block.language == "sh":
            assert code == 0, "\n".join([command, *printed])
            continue
        while shown and not shown[-1].strip():
            shown = shown[:-1]
        assert matches(shown, printed), "\n".join([command, *printed])


@pytest.mark.parametrize("name", PAGES)
def test_no_command_stands_where_nothing_runs_it(name):
    assert doc_commands.commands_that_escape(doc_figures.BLOCK.sub("", PAGES[name])) == []


def test_a_command_in_a_plain_or_an_indented_block_is_found():
    assert doc_commands.commands_that_escape("```\nxenmm report a\n```\n")
    assert doc_commands.commands_that_escape("```text\nxenmm report a\n```\n") == ["xenmm report a"]
    assert doc_commands.commands_that_escape("text\n\n    make test\n") == ["    make test"]


def test_commands_that_are_not_run_stand_in_the_documents_and_their_targets_exist():
    standing = {
        command
        for page in PAGES.values()
        for block in doc_commands.blocks(page)
        if block.language in ("console", "sh")
        for command, _ in block.commands()
    }
    assert set(doc_commands.NOT_RUN) <= standing
    makefile = (ROOT / "Makefile").read_text()
    for command in doc_commands.NOT_RUN:
        if command.startswith("make "):
            assert f"\n{command.split()[1]}:" in makefile, command


@pytest.mark.parametrize("text", INLINE)
def test_commands_named_in_prose_have_the_options_that_they_name(text):
    # FILE, ... and other placeholders stand for values; the command and its options must be the program's.
    words = shlex.split(" ".join(text.split()).replace("...", " "))
    commands = cli_commands()
    if len(words) > 1 and words[1] in commands:
        known, words = commands[words[1]], words[2:]
    else:
        known, words = commands[""], words[1:]
        assert not words or words[0].startswith("-") or words[0].isupper(), f"no command {words[0]}"
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0].strip("[]") in known, word


def cli_commands():
    """Option strings of every command of ``xenmm``, and of xenmm itself under the empty name."""
    parser = cli.make_parser()
    found = {"": {o for a in parser._actions for o in a.option_strings}}
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for name, sub in action.choices.items():
                found[name] = {o for a in sub._actions for o in a.option_strings}
    return found


@pytest.mark.parametrize("source", EXAMPLES)
def test_python_example_runs_as_shown(source, tmp_path, monkeypatch):
    if any(path.read_text() == source for path in (ROOT / "examples").rglob("*.py")):
        return  # Quoted from a file that another test runs.
    if ">>> " in source:
        test = doctest.DocTestParser().get_doctest(source, {}, "example", None, 0)
        result = doctest.DocTestRunner().run(test)
        assert result.attempted and not result.failed
        return
    with doc_commands.sandbox() as (folder, _):
        monkeypatch.chdir(folder)
        exec(compile(source, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("match", FIGURES)
def test_figure_in_prose_is_recomputed(match):
    assert match["comment"], "needs <!-- figure: EXPRESSION --> or <!-- quoted: SOURCE --> behind it"
    if match["kind"] == "quoted":
        assert match["what"]
        return
    assert doc_figures.as_shown(match) == match["figure"]


@pytest.mark.parametrize("match", GENERATED)
def test_generated_block_is_todays(match):
    assert doc_figures.evaluate(match["what"]) == match["text"]


def test_figures_and_blocks_are_put_in_anew():
    page = (
        "RAM 9 <!-- figure: ram('dell-r930') / 2 ** 40 -->\n<!-- block: quote('LICENSE', 'text') -->\nold\n"
    )
    page += "<!-- end of block -->\n1.30% <!-- quoted: someone -->\n"
    fresh = doc_figures.regenerated(page)
    assert fresh == doc_figures.regenerated(fresh) and "MIT License" in fresh and "old" not in fresh
    assert "1.30% <!-- quoted: someone -->" in fresh and not fresh.startswith("RAM 9 ")


def test_model_page_has_figures_and_commands():
    assert any("model.md" in p.id for p in FIGURES)
    assert any("model.md" in p.id for p in BLOCKS)


LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_that_exist(name):
    linked = LINK.findall(doc_figures.FENCED.sub("", PAGES[name]))
    assert [link for link in linked if not ((ROOT / name).parent / link).exists()] == []
