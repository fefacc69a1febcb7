"""Integer expressions of C, as device-tree sources hold them in parentheses and ``#if`` lines."""

from __future__ import annotations

import re
from typing import Final

_MASK: Final = (1 << 64) - 1
_DEPTH_MAX: Final = 60
_DIGITS_MAX: Final = 24

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:0[xX][0-9a-fA-F]+|\d+))[uUlL]{0,3}(?![\w.])|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<character>'(?:\\.|[^'\\])')|(?P<mark><<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>()?:]))"
)
_LEVELS: Final = ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %")
_PRECEDENCE: Final = {mark: level for level, marks in enumerate(_LEVELS, 1) for mark in marks.split()}


class ExpressionError(Exception):
    """The text is no expression, or needs a name that has no value here; the message says which."""


def number(text: str) -> int:
    """Return the value of a C integer literal without its suffix: decimal, hexadecimal or octal."""
    if len(text) > _DIGITS_MAX:
        raise ExpressionError(f"{text[:12]}... has {len(text)} digits")
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    base = 8 if text[0] == "0" else 10
    try:
        return int(text, base)
    except ValueError:
        raise ExpressionError(f"{text} is no octal number") from None


def character(text: str) -> int:
    """Return the value of a C character literal with its quotes."""
    escapes = {"n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11}
    return escapes.get(text[2], ord(text[2])) if text[1] == "\\" else ord(text[1])


def evaluate(text: str) -> int:
    """Return the value of an expression, modulo 2^64 as dtc computes it.

    Raises
    ------
    ExpressionError
        If the text is no expression, names a macro, divides by zero or is nested too deeply.
    """
    parser = _Expression(text)
    value = parser.ternary(0)
    if parser.at < len(parser.tokens):
        raise ExpressionError(f"{parser.tokens[parser.at][1]!r} cannot stand here")
    return value


class _Expression:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found or not found.lastgroup:
                raise ExpressionError(f"{text[at : at + 20]!r} is no expression")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def next_mark(self) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "mark":
            return self.tokens[self.at][1]
        return ""

    def need(self, mark: str) -> None:
        if self.next_mark() != mark:
            raise ExpressionError(f"{mark!r} is missing")
        self.at += 1

    def ternary(self, depth: int) -> int:
        if depth > _DEPTH_MAX:
            raise ExpressionError("nested too deeply")
        condition = self.binary(1, depth)
        if self.next_mark() != "?":
            return condition
        self.at += 1
        if_true = self.ternary(depth + 1)
        self.need(":")
        if_false = self.ternary(depth + 1)
        return if_true if condition else if_false

    def binary(self, least: int, depth: int) -> int:
        left = self.unary(depth)
        while (precedence := _PRECEDENCE.get(self.next_mark(), 0)) >= least:
            mark = self.next_mark()
            self.at += 1
            left = _apply(mark, left, self.binary(precedence + 1, depth))
        return left

    def unary(self, depth: int) -> int:
        if depth > _DEPTH_MAX:
            raise ExpressionError("nested too deeply")
        if self.at >= len(self.tokens):
            raise ExpressionError("the expression breaks off")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return number(text) & _MASK
        if kind == "character":
            return character(text)
        if kind == "name":
            raise ExpressionError(f"needs the macro {text}")
        if text == "(":
            value = self.ternary(depth + 1)
            self.need(")")
            return value
        if text in "-+~!":
            value = self.unary(depth + 1)
            return {"-": -value, "+": value, "~": ~value, "!": int(not value)}[text] & _MASK
        raise ExpressionError(f"{text!r} cannot stand here")


def _apply(mark: str, left: int, right: int) -> int:
    if mark in "/%":
        if not right:
            raise ExpressionError("division by zero")
        return left // right if mark == "/" else left % right
    if mark in ("<<", ">>"):
        # A shift by the width or more gives 0 in dtc.
        if right >= 64:
            return 0
        return (left << right) & _MASK if mark == "<<" else left >> right
    if mark in ("&&", "||"):
        return int(bool(left) and bool(right)) if mark == "&&" else int(bool(left) or bool(right))
    compared = {"==": left == right, "!=": left != right, "<": left < right, ">": left > right}
    compared |= {"<=": left <= right, ">=": left >= right}
    if mark in compared:
        return int(compared[mark])
    return {
        "+": left + right,
        "-": left - right,
        "*": left * right,
        "&": left & right,
        "|": left | right,
        "^": left ^ right,
    }[mark] & _MASK
