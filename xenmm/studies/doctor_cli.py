"""``xenmm doctor``: its arguments, and what it does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ..config import Check


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "doctor",
        run,
        "show what is installed, what was built and what is missing; exit 1 if something needed is broken",
        "doctor",
        "doctor --json -",
    )
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 when something that xenmm needs is broken."""
    from ..config import checks, configuration

    results = checks()
    command.output(args, lambda width: _lines(results, width), configuration)
    broken = any(c.needed and not c.ok for c in results)
    return command.EXIT_NEGATIVE if broken else command.EXIT_DONE


def _lines(results: Sequence[Check], width: int) -> list[str]:
    from ..report.layout import mark_word, wrap

    name = max(len(c.name) for c in results)
    lines: list[str] = []
    for c in results:
        first, *rest = wrap(c.text, width, f"{c.verdict:<7} {c.name:<{name}}  ", " " * (name + 10))
        lines += [mark_word(str(first), c.verdict), *rest]
    return lines
