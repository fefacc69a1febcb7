"""``xenmm machines``: the bundled machines, by the names that stand for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from . import command

if TYPE_CHECKING:
    import argparse

SCHEMA: Final = "xenmm-machines/1"


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "machines",
        run,
        "list the bundled machines, whose names do wherever a FILE is asked for",
        "machines",
        "machines --json -",
    )
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """List them."""
    from ..firmware import read_map
    from ..maps import bundled
    from ..report.layout import plural, size, wrap

    maps = {name: read_map(path, name=name) for name, path in bundled().items()}

    def lines(width: int) -> list[str]:
        longest = max(map(len, maps))
        found = []
        for name, m in maps.items():
            facts = f"{size(m.ram_bytes)} up to {size(m.top)}, {plural(len(m.nodes), 'node')}"
            text = f"{facts}: {m.name}" if m.name != name else facts
            found += wrap(text, width, f"{name:<{longest}}  ", " " * (longest + 2))
        return found

    def facts() -> dict[str, Any]:
        rows = [
            {"name": n, "machine": m.name, "ram_bytes": m.ram_bytes, "top": m.top, "nodes": len(m.nodes)}
            for n, m in maps.items()
        ]
        return {"schema": SCHEMA, "machines": rows}

    command.output(args, lines, facts)
    return command.EXIT_DONE
