"""Lines on a terminal: in colour where rich is installed, else as they stand; every character the same.

Whether there is colour is rich's to say: it heeds NO_COLOR and TERM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Final

from ..errors import ConfigError

#: When text is coloured: on a terminal, in any case, or never.
COLORS: Final = ("auto", "always", "never")

# How each marked part looks: the parts of the layout, the severities of hazards and notes, and verdicts.
_STYLES: Final = {
    "heading": "bold",
    "head": "dim",
    "label": "cyan",
    "crash": "bold red",
    "assert": "bold red",
    "lost": "yellow",
    "warning": "yellow",
    "dropped": "yellow",
    "note": "dim",
    "differs": "bold red",
    "agrees": "green",
    "valid": "green",
    "not valid": "bold red",
    "ok": "green",
    "BROKEN": "bold red",
    "absent": "yellow",
    "missed": "bold red",
}


def write_lines(lines: Sequence[str], stream: IO[str], color: str = "auto") -> None:
    """Write lines to a stream, their marked parts in colour if it is a terminal.

    Parameters
    ----------
    lines : sequence of str
        What the functions of :mod:`xenmm.report.layout` set.
    stream : text stream
        Where to.
    color : str
        One of :data:`COLORS`.

    Raises
    ------
    ConfigError
        ``always`` without rich.
    """
    if color == "always" or (color == "auto" and stream.isatty()):
        try:
            _write_with_rich(lines, stream, color == "always")
            return
        except ImportError:
            if color == "always":
                raise ConfigError("--color always needs rich: pip install 'xenmm[rich]'") from None
    stream.write("".join(line + "\n" for line in lines))


def _write_with_rich(lines: Sequence[str], stream: IO[str], always: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, force_terminal=True if always else None, highlight=False, markup=False)
    text = Text()
    for line in lines:
        part = Text(str(line))
        for start, end, name in getattr(line, "parts", ()):
            part.stylize(_STYLES.get(name, ""), start, end)
        text.append_text(part)
        text.append("\n")
    # Lines were set to a width already: what is longer is the terminal's to break.
    console.print(text, soft_wrap=True, end="")
