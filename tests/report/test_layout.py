"""Figures as text: units, rounding, and nothing that a log could smuggle into a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.report.layout import cells, percent, plural, printable, size, table, wrap


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1,023 bytes"),
        (1024, "1 KiB"),
        (1025, "1.001 KiB"),
        (640 << 10, "640 KiB"),
        ((1 << 20) - 1, "1.000 MiB"),
        (1 << 20, "1 MiB"),
        (3 << 29, "1.500 GiB"),
        (1 << 64, "16 EiB"),
        (1 << 75, "32,768 EiB"),
        (-1536, "-1.500 KiB"),
    ],
)
def test_size(count, text):
    assert size(count) == text


_SCALE = {
    "byte": 1,
    "bytes": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "PiB": 1 << 50,
}


@given(st.integers(0, (1 << 60) - 1))
def test_size_is_exact_or_within_a_thousandth(count):
    figure, unit = size(count).split()
    shown = float(figure.replace(",", "")) * _SCALE.get(unit, 1 << 60)
    assert abs(shown - count) <= count / 1000
    assert "." in figure or shown == count or float(figure.replace(",", "")) >= 1000
    assert len(f"{figure} {unit}") <= 11


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000%"), (1e-9, "<0.001%"), (0.00049, "<0.001%"), (0.0006, "0.001%"), (14.1876, "14.188%"),
     (1234.56, "1,234.6%")],
)  # fmt: skip
def test_percent_never_rounds_something_to_nothing(value, text):
    assert percent(value) == text


def test_plural():
    assert [plural(n, "range") for n in (0, 1, 2, 1000)] == [
        "0 ranges",
        "1 range",
        "2 ranges",
        "1,000 ranges",
    ]
    assert plural(2, "entry", "entries") == "2 entries"


def test_printable_escapes_what_drives_a_terminal():
    assert printable("Dell\x1b[2J R930\n") == "Dell\\x1b[2J R930\\n"
    assert printable("Größe 4 µ") == "Größe 4 µ"


def test_wrap_never_breaks_an_address():
    address = "0x" + "f" * 60
    assert address in "".join(wrap(f"the range {address} is long", 40))


def test_table_lines_up_and_leaves_no_trailing_blanks():
    lines = table([("", "a", "bbb"), ("name", "1,000", "2"), ("n", "", "")])
    assert lines == ["          a  bbb", "name  1,000    2", "n"]


@given(st.lists(st.text("ab -", max_size=90), min_size=2, max_size=2), st.integers(60, 140))
def test_cells_keep_every_word_within_the_width(words, width):
    lines = cells([("head", "x", "y"), ("row", *words)], width, 10)
    assert sorted("".join(lines[1:]).removeprefix("row").replace(" ", "")) == sorted(
        "".join(words).replace(" ", "")
    )
    assert all(
        len(line) <= width or "-" * 20 in line or " " not in line.strip() or len(max(words, key=len)) > 20
        for line in lines
    )
