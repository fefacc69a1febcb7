"""Every exception the package raises on purpose. Nothing else is public to catch."""

from __future__ import annotations

from collections.abc import Iterable


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


def need(name: str, value: object, kind: type, error: type[XenmmError] = ConfigError) -> None:
    """Refuse a value of another kind, in one line that names both."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise error(f"{name} is a {kind.__name__}, got {value!r}")


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """``; did you mean 'xen-mask'?`` for what is nearest to a wrong word; empty if nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(str(word), words, 1) or get_close_matches(str(word).lower(), words, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
