"""The part of the C preprocessor that device-tree sources need to be read without their includes.

Comments and directives become blanks, so that every line keeps its number; object-like macros are replaced;
``#if`` of a constant, ``#ifdef`` and ``#ifndef`` choose. An include is named and left alone.
"""

from __future__ import annotations

import re
from typing import Final

from .expressions import ExpressionError, evaluate

#: A line that macros have made longer than this stays as it is: hostile macros double at every step.
_LINE_MAX: Final = 4096
_EXPANSIONS_MAX: Final = 16
#: The most characters that macros may make of one text.
_GROWTH_MAX: Final = 4 << 20

_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"{_STRING}|/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
_DIRECTIVE = re.compile(
    r"\s*#\s*(include|define|undef|ifdef|ifndef|if|elif|else|endif|error|pragma|line)(?![\w,-])(.*)"
)
# What the C preprocessor itself leaves of an include: # 1 "board.dts" 2
_LINE_MARK = re.compile(r'\s*#\s*\d+\s+"')
_DEFINE = re.compile(r"(\w+)(\()?\s*(.*)")
_WORD = re.compile(rf"{_STRING}|[A-Za-z_]\w*")


class Preprocessor:
    """Collects macros and includes while it turns a text into one without directives.

    Attributes
    ----------
    includes : list of str
        The includes, as written.
    doubts : list of (line index from 0, str)
        Conditions that are not understood.
    """

    def __init__(self) -> None:
        self.includes: list[str] = []
        self.doubts: list[tuple[int, str]] = []
        self._macros: dict[str, str] = {}
        self._room = _GROWTH_MAX
        # One entry an open conditional: whether its lines are read, and whether one of its branches was.
        self._conditions: list[tuple[bool, bool]] = []

    def run(self, text: str) -> str:
        """Return the text with as many lines, comments and directives blanked out and macros replaced."""
        text = _COMMENT.sub(lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)
        out: list[str] = []
        begun = ""
        for index, row in enumerate(text.split("\n")):
            row = begun + row
            found = _DIRECTIVE.match(row)
            begun = ""
            if found and row.endswith("\\") and len(row) <= _LINE_MAX:
                begun = row[:-1]
            elif found:
                self._directive(found[1], found[2].strip(), index)
            hidden = found or not self._reading or _LINE_MARK.match(row)
            out.append("" if hidden else self._expand(row))
        return "\n".join(out)

    @property
    def _reading(self) -> bool:
        return self._conditions[-1][0] if self._conditions else True

    def _directive(self, word: str, rest: str, index: int) -> None:
        if word in ("if", "ifdef", "ifndef"):
            truth = self._reading and self._holds(word, rest, index)
            self._conditions.append((truth, truth))
        elif word in ("elif", "else") and self._conditions:
            _, done = self._conditions.pop()
            truth = self._reading and not done and self._holds(word, rest, index)
            self._conditions.append((truth, done or truth))
        elif word == "endif" and self._conditions:
            self._conditions.pop()
        elif self._reading:
            self._define(word, rest)

    def _holds(self, word: str, rest: str, index: int) -> bool:
        if word == "else":
            return True
        if word in ("ifdef", "ifndef"):
            return (rest in self._macros) == (word == "ifdef")
        try:
            return bool(evaluate(self._expand(rest)))
        except ExpressionError:
            self.doubts.append((index, f"the condition {rest!r} is not understood and taken as false"))
            return False

    def _define(self, word: str, rest: str) -> None:
        if word == "include":
            self.includes.append(f"#include {rest}")
        elif word == "undef":
            self._macros.pop(rest, None)
        elif word == "define" and (found := _DEFINE.match(rest)) and not found[2]:
            self._macros[found[1]] = found[3].strip()

    def _expand(self, row: str) -> str:
        for _ in range(_EXPANSIONS_MAX if self._macros else 0):
            expanded = _WORD.sub(lambda m: self._macros.get(m[0], m[0]), row)
            if expanded == row or len(expanded) > _LINE_MAX or self._room < 0:
                break
            self._room -= len(expanded)
            row = expanded
        return row
