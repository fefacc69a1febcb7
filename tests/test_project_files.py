"""The files about the project say what the package says."""

import re
from pathlib import Path

import pytest

import xenmm

ROOT = Path(__file__).parents[1]


def test_citation_names_the_version_and_the_licence():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == xenmm.__version__
    assert re.search(r"^license: (\S+)$", citation, re.MULTILINE)[1] == "MIT"


def test_citation_is_valid():
    cffconvert = pytest.importorskip("cffconvert", reason="needs cffconvert; make check-dist has it")
    cffconvert.Citation((ROOT / "CITATION.cff").read_text()).validate()


def test_changelog_has_a_place_for_what_is_new():
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text()
