"""How figures and tables are set in plain text, at any width.

What sets a line marks its parts - a heading, a row's label, a severity - by name. Marks change no character:
:mod:`xenmm.report.terminal` colours them where it can, and everybody else sees a str.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=(?:[KMGTPE]iB|bytes?)\b)|(?<=,) (?=0x)")


#: Parts of lines that are marked, beside the severities and verdicts, which go by their own words.
HEADING, HEAD, LABEL = "heading", "head", "label"


class Line(str):
    """A line of text that knows which of its parts are what: ``(start, end, name)`` each."""

    __slots__ = ("parts",)
    parts: tuple[tuple[int, int, str], ...]


def marked(line: str, *parts: tuple[int, int, str]) -> Line:
    """The same line with these parts marked, beside those that were."""
    result = Line(line)
    result.parts = (*getattr(line, "parts", ()), *parts)
    return result


def mark_word(line: str, word: str, name: str | None = None) -> str:
    """The line with the first such word in it marked, by its own name or another."""
    at = line.find(word)
    return line if at < 0 else marked(line, (at, at + len(word), name or word))


def size(count: int) -> str:
    """Bytes in the largest binary unit that keeps the figure at 1 or more: exact, or to four digits."""
    if count < 0:
        return "-" + size(-count)
    unit = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    scale = 1 << 10 * unit
    if count % scale == 0:
        return f"{count // scale:,} {_UNITS[unit]}" if count != 1 else "1 byte"
    value = count / scale
    if value >= 1023.5 and unit < len(_UNITS) - 1:
        # It would round to 1,024 of the smaller unit.
        unit, value = unit + 1, value / 1024
    return f"{value:,.{max(4 - len(str(int(value))), 0)}f} {_UNITS[unit]}"


def span(start: int, end: int) -> str:
    """A half-open range in hex."""
    return f"[{start:#x}, {end:#x})"


def percent(value: float) -> str:
    """A percentage to three decimals, from 100 on to one; what would vanish is less than the last decimal."""
    if 0 < value < 0.0005:
        return "<0.001%"
    return f"{value:,.{3 if value < 100 else 1}f}%"


def plural(count: int, word: str, words: str | None = None) -> str:
    """``1 range``, ``2 ranges``, ``1,024 ranges``."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def printable(text: str) -> str:
    """The text with what is not printable escaped, so that a log cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def wrap(text: str, width: int, first: str = "", rest: str = "", mark: str = "") -> list[str]:
    """Fill a paragraph; addresses are never broken, and figures stay with their units.

    A label that begins the first line, up to two blanks, is marked, and the first ``mark`` in the text.
    """
    filled = textwrap.wrap(
        _BEFORE_UNIT.sub("\xa0", text),
        max(width, 20),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [line.replace("\xa0", " ") for line in filled]
    if lines and first.strip():
        lines[0] = _labelled(lines[0], len(first) - len(first.lstrip()), len(first))
    if mark:
        at = next((i for i, line in enumerate(lines) if mark in line), None)
        if at is not None:
            lines[at] = mark_word(lines[at], mark.rstrip(":"))
    return lines


def _labelled(line: str, start: int, end: int) -> Line:
    label = line[start:end].split("  ")[0]
    return marked(line, (start, start + len(label), LABEL))


def table(
    rows: Iterable[Sequence[str]], *, left: int = 1, gap: int = 2, indent: str = "", heads: int = 1
) -> list[str]:
    """Set rows in columns: the first ``left`` columns flush left, the others flush right.

    Every row has as many cells as the first; an empty row becomes an empty line. The first ``heads`` rows are
    marked as heads, of the others the first cell as a label.
    """
    lines = [tuple(row) for row in rows]
    columns = max((len(row) for row in lines), default=0)
    widths = [max((len(row[i]) for row in lines if row), default=0) for i in range(columns)]
    out: list[str] = []
    for n, row in enumerate(lines):
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        line = (indent + (" " * gap).join(cells)).rstrip()
        label = (len(indent), len(indent) + len(row[0]), LABEL) if row else (0, 0, LABEL)
        out.append(marked(line, (0, len(line), HEAD) if n < heads else label))
    return out


def titled(text: str) -> Line:
    """A line that is a title."""
    return marked(text, (0, len(text), HEADING))


def heading(text: str) -> list[str]:
    """A section's title, underlined."""
    return [titled(line) for line in (text, "-" * len(text))]


def labelled(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Set facts below one another, each a word and a paragraph beside it."""
    label = max((len(word) for word, _ in facts), default=0)
    return [
        line for word, text in facts for line in wrap(text, width, f"  {word:<{label}}  ", " " * (label + 4))
    ]


def sections(parts: Iterable[Sequence[str]]) -> list[str]:
    """The lines of every part that has some, with an empty line between parts."""
    lines: list[str] = []
    for part in parts:
        if part:
            lines += ["", *part] if lines else part
    return lines


def joined(lines: Iterable[str]) -> str:
    """Lines as one text, the last one ended."""
    return "\n".join(lines) + "\n"


def cells(rows: Iterable[Sequence[str]], width: int, first: int, indent: str = "") -> list[str]:
    """Set rows whose cells wrap: the first column ``first`` wide, the others share what is left equally.

    The first row holds the heads.
    """
    lines = [tuple(row) for row in rows]
    others = max(len(row) for row in lines) - 1
    column = max((width - len(indent) - first - 2 * others) // others, 20)
    out: list[str] = []
    for n, (label, *texts) in enumerate(lines):
        parts = [wrap(text, column) or [""] for text in texts]
        for i in range(max(len(p) for p in parts)):
            figures = "".join("  " + (p[i] if i < len(p) else "").ljust(column) for p in parts)
            line = (indent + (label if i == 0 else "").ljust(first) + figures).rstrip()
            end = len(indent) + len(label) if i == 0 else 0
            out.append(marked(line, (0, len(line), HEAD) if n == 0 else (len(indent), end, LABEL)))
    return out
