"""``xenmm report``: its arguments, and what it does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from . import command

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "report",
        run,
        "show the machine, what each step's tables cost, and what can go wrong",
        "report server.dmesg",
        "report dell-r930 --profile fold --profile xen-offset --json -",
        "report server.dmesg --html server.html",
    )
    command.add_input(parser)
    parser.add_argument(
        "--profile", action="append", metavar="P", help="only this profile; may be given several times"
    )
    command.add_boot_options(parser)
    group = command.add_output(parser)
    group.add_argument(
        "--html",
        metavar="DEST",
        help="write one self-contained page to this file; - writes it instead of the text",
    )
    command.add_plot(parser, "the address map and the tables' costs")


def run(args: argparse.Namespace) -> int:
    """Report on the machine."""
    if args.html == args.json == "-":
        raise ConfigError("--html and --json cannot both write to standard output: name a file for one")
    from ..report import json, text
    from ..report.overhead import make_report

    command.ensure_plot(args)
    memory_map, given = command.load_ram(args)
    report = make_report(memory_map, given, profiles=args.profile, **command.boot_options(args))
    if args.html is not None:
        from ..report.html import report_page

        # Bytes: the page is UTF-8 whatever the terminal speaks.
        command.write(args.html, report_page(report).encode())
    if args.html == "-":
        if args.json is not None:
            command.write(args.json, command.json_text(json.report_to_dict(report)))
        return command.EXIT_DONE
    command.output(args, lambda width: text.report_lines(report, width), lambda: json.report_to_dict(report))
    if args.plot is not None:
        from ..report.plot import report_figure

        command.plot(args, lambda width: report_figure(report, width))
    return command.EXIT_DONE
