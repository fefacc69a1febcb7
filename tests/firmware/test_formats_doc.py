"""Every sample row of docs/formats.md is read, and to the range that all of them stand for."""

import re
from pathlib import Path

import pytest

from xenmm.firmware import read_map

TEXT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
SAMPLES = [m[1].replace("\\|", "|") for m in re.finditer(r"^\| .*? \| `(.*?[^\\])` \| ", TEXT, re.M)]
RANGE = (0x100000, 0xBFF00000)
# Rows that mean nothing without the heading above them.
HEADINGS = {" -> ": "early_node_map[1] active PFN ranges", "pages)": "Physical memory chunk(s):"}


def test_samples_are_found() -> None:
    assert len(SAMPLES) >= 20


@pytest.mark.parametrize("sample", SAMPLES)
def test_sample_is_read_to_its_range(sample: str) -> None:
    heading = next((h for mark, h in HEADINGS.items() if mark in sample), "")
    found = read_map(f"{heading}\n{sample}\n")
    rows = found.ranges or found.srat
    assert rows is not None
    assert [(r.start, r.end) for r in rows] == [RANGE]


def test_own_json_of_the_page_is_read() -> None:
    (sample,) = re.findall(r'^    (\{"schema".*)$', TEXT, re.M)
    assert read_map(sample + "\n").ram == (RANGE,)
