"""``xenmm boot``: its arguments, and what it does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import command

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "boot",
        run,
        "boot one profile and show its frozen parameters, its tables and its hazards",
        "boot server.dmesg --profile xen-mask",
        "boot dell-r930 --page-sizes 2m --json -",
    )
    command.add_input(parser)
    command.add_profile(parser)
    command.add_boot_options(parser)
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Boot the machine and show it."""
    from ..report import host_text, json

    host, given = command.booted(args)
    command.output(
        args, lambda width: host_text.host_lines(host, given, width), lambda: json.host_to_dict(host, given)
    )
    return command.EXIT_DONE
