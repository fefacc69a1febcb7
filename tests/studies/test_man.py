"""The manual page: everything that help says, and nothing that its readers complain of."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess

import pytest

from xenmm import cli
from xenmm.studies.man_cli import manual_page

PAGE = manual_page(cli.make_parser())


def shown(text):
    """Roff as words, for those who search in it."""
    text = text.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\&", "").replace(r"\e", "\\")
    return " ".join(re.sub(r"\\f.", "", text).split())


def test_every_subcommand_option_and_example_stands_in_it():
    page = shown(PAGE)
    commands = next(a for a in cli.make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert f".SS xenmm {name} " in page
        for action in parser._actions:
            if action.help != argparse.SUPPRESS:
                assert all(
                    option in page for option in action.option_strings if option not in ("-h", "--help")
                )
                assert " ".join(action.help.split()) in page or "--help" in action.option_strings
        for line in parser.epilog.splitlines()[1:]:
            assert line.strip() in page
    assert ".SH EXIT STATUS" in page


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_has_nothing_to_say():
    run = subprocess.run(["mandoc", "-Tlint", "-Wwarning"], input=PAGE, capture_output=True, text=True)
    assert run.stdout + run.stderr == ""


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_say():
    run = subprocess.run(["groff", "-ww", "-man", "-Tutf8"], input=PAGE, capture_output=True, text=True)
    assert run.stderr == "" and "bundled machines" in run.stdout


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_shows_it_within_80_columns(tmp_path):
    (tmp_path / "xenmm.1").write_text(PAGE)
    run = subprocess.run(
        ["man", "--warnings", "-l", "xenmm.1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
    )
    assert run.stderr == ""
    assert [line for line in run.stdout.splitlines() if len(re.sub(".\b", "", line)) > 80] == []


def test_command_writes_it(tmp_path, capsys):
    assert cli.main(["man"]) == 0
    assert capsys.readouterr().out == PAGE
    assert cli.main(["man", "-o", str(tmp_path / "xenmm.1")]) == 0
    assert (tmp_path / "xenmm.1").read_text() == PAGE


def test_the_page_is_dated_as_it_is_told():
    # The time of a file once made two builds of one tree differ.
    assert ".TH XENMM 1 2001-09-09 " in manual_page(cli.make_parser(), 1_000_000_000)
