"""``xenmm doctor``: its arguments, and what it does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import command

if TYPE_CHECKING:
    import argparse


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
    command.add_output(parser, width=False)


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 when something that xenmm needs is broken."""
    from ..config import checks, configuration, render

    results = checks()
    command.output(args, lambda width: render(results), configuration)
    broken = any(c.needed and not c.ok for c in results)
    return command.EXIT_NEGATIVE if broken else command.EXIT_DONE
