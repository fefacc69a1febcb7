"""``xenmm convert``: its arguments, and what it does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import command

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "convert",
        run,
        "show every form of a frame and how each is computed; exit 1 if one is not valid",
        "convert server.dmesg mfn:0x100000",
        "convert dell-r930 maddr:0x100000abc pdx:0x10 --profile xen-mask",
    )
    command.add_input(parser)
    parser.add_argument(
        "value",
        nargs="+",
        metavar="KIND:NUMBER",
        help="mfn:, pdx:, page:, maddr: or virt: and a number, decimal or 0x..., underscores allowed",
    )
    command.add_profile(parser)
    command.add_boot_options(parser)
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Convert the values; 1 when one of them is no valid frame."""
    from ..report import host_text, json
    from ..report.forms import forms_of, parse_value

    values = [parse_value(v) for v in args.value]
    host, given = command.booted(args)
    found = [forms_of(host, kind, number) for kind, number in values]
    command.output(
        args,
        lambda width: host_text.forms_lines(host, found, width),
        lambda: json.forms_to_dict(host, given, found),
    )
    return command.EXIT_DONE if all(f.valid for f in found) else command.EXIT_NEGATIVE
