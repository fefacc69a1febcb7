"""Every exception the package raises on purpose. Nothing else is public to catch."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any, cast


class XenmmError(Exception):
    """Base of every error of the package; as text it is one line, whatever was given."""

    def __str__(self) -> str:
        return _one_line(super().__str__())


def _one_line(text: str) -> str:
    # An array prints itself in several lines, and a file may be called anything.
    lines = text.splitlines()
    return text if lines == [text] else " ".join(map(str.strip, lines))


class MemoryMapError(XenmmError, ValueError):
    """What a machine says about its memory cannot be read, or contradicts itself.

    Parameters
    ----------
    message : str
        What is wrong, with the offending value.
    file : str, optional
        The input's name as the user gave it.
    line : int, optional
        Line number in that file, from 1.
    column : int, optional
        Column in that line, from 1.
    text : str, optional
        The offending text.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        text: str | None = None,
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.text = text
        super().__init__(message)

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)
        quoted = f": {self.text!r}" if self.text else ""
        return _one_line(f"{place}: {self.message}{quoted}" if place else f"{self.message}{quoted}")


class FrameError(XenmmError, LookupError):
    """A frame, page or address is outside what the booted host can convert.

    The message holds the value in hex and the limit that it broke.
    """


class ConfigError(XenmmError, ValueError):
    """An option, profile or parameter is unknown or out of its domain; the message names it."""


class WriteOnceError(XenmmError, RuntimeError):
    """A boot parameter was written twice, read before it was written, or written after the freeze.

    The message names the parameter and who wrote it first.
    """


class FrozenError(WriteOnceError, AttributeError, TypeError):
    """A write to a host or its parameters after boot, by attribute or by item.

    It is what Python raises for such a write to any immutable object, too.
    """


class MachineError(XenmmError, RuntimeError):
    """A live machine refuses: no memory for it, or a request that its state does not allow.

    The message says what was asked and why it is refused; nothing was changed.
    """


class TraceError(XenmmError, ValueError):
    """A trace of accesses cannot be read; the message names the file, and the line where there is one."""


def a_kind(kind: type) -> str:
    """``an int``, ``a str``: the name of a type, to be read in a sentence."""
    return f"{'an' if kind.__name__[0] in 'aeiou' else 'a'} {kind.__name__}"


def need(name: str, value: object, kind: type, error: type[XenmmError] = ConfigError) -> None:
    """Refuse a value of another kind, in one line that names both."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise error(f"{name} is {a_kind(kind)}, got {value!r}")


def need_all(name: str, values: object, kind: type) -> tuple[Any, ...]:
    """Refuse what is no sequence of one kind; return it as a tuple."""
    try:
        found = tuple(cast("Iterable[Any]", values))
    except TypeError:
        of = "" if kind is object else f" of {kind.__name__}"
        raise ConfigError(f"{name}: {values!r} is no sequence{of}") from None
    for value in found:
        need(f"each of {name}", value, kind)
    return found


def need_one_of(name: str, value: object, known: Iterable[str]) -> None:
    """Refuse what is none of some words, in one line that names them and the nearest."""
    words = tuple(known)
    if not isinstance(value, str) or value not in words:
        near = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(words)}{near}")


def need_range(name: str, value: object) -> tuple[int, int]:
    """Refuse what is no range [start, end) of 64-bit numbers; return its two ends. It may be empty."""
    try:
        start, end = map(index, cast("Iterable[Any]", value))
    except (TypeError, ValueError):
        start, end = 0, -1
    if not 0 <= start <= end <= 1 << 64:
        raise ConfigError(f"{name} is (start, end), half-open and up to 2^64, got {value!r}")
    return start, end


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """``; did you mean 'xen-mask'?`` for what is nearest to a wrong word; empty if nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(str(word), words, 1) or get_close_matches(str(word).lower(), words, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
