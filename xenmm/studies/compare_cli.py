"""``xenmm compare``: its arguments; what it prints stands in compare_text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from . import command

if TYPE_CHECKING:
    import argparse

_NOTES: Final = """\
A result is what --json writes: of report, boot, replay, steps, bench, or a cell
of a sweep. With a profile the maps are booted and the hosts compared.
Exit code 0 when nothing differs, 1 when something does, 2 for bad input."""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "compare",
        run,
        "show what differs between two maps, two booted hosts or two results; exit 1 if anything does",
        "compare before.dmesg after.dmesg",
        "compare dell-r930 --profile-a fold --profile-b xen-offset",
        "compare before.dmesg after.dmesg --profile xen-mask --json -",
        "compare old/replay.json new/replay.json",
        notes=_NOTES,
    )
    add = parser.add_argument
    add("a", metavar="A", help="a log, table or blob, a bundled name, or a result; - for standard input")
    add("b", metavar="B", nargs="?", help="the other (default: A, under another profile)")
    add("--profile", metavar="P", help="boot both with this profile")
    add("--profile-a", metavar="P", help="boot A with this one")
    add("--profile-b", metavar="P", help="boot B with this one")
    add("--boot", type=int, metavar="N", help="which boot of each log, from 1")
    add("--map", choices=("firmware", "user"), default="firmware", help="which map of each log")
    add("--strict", action="store_true", help="refuse a damaged log")
    command.add_boot_options(parser)
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, and show what differs."""
    from .compare import compare
    from .compare_text import lines

    profiles = args.profile_a or args.profile, args.profile_b or args.profile
    if args.b is None and (profiles[0] is None or profiles[1] is None):
        raise ConfigError("compare needs B, or --profile-a and --profile-b for two boots of A")
    if args.a == args.b == "-":
        raise ConfigError("standard input can be read once only: give one of the two as a file")
    sides = [_side(args, name) for name in dict.fromkeys((args.a, args.b or args.a))]
    names = args.a, args.b or args.a
    booted = any(profiles)
    found = compare(
        sides[0],
        sides[-1],
        profile_a=profiles[0],
        profile_b=profiles[1],
        names=names,
        **(command.boot_options(args) if booted else {}),
    )
    command.output(args, lambda width: lines(found, width), found.to_dict)
    return command.EXIT_DONE if found.same else command.EXIT_NEGATIVE


def _side(args: argparse.Namespace, name: str) -> Any:
    # A result as it is; everything else as the other commands read it.
    from .compare import result_in, result_of_file

    if name != "-":
        found = result_of_file(name)
        return command.load(args, name)[0] if found is None else found
    from ..report.inputs import load, read_stdin

    data = read_stdin()
    options = {"boot": args.boot, "map": args.map, "strict": args.strict}
    return result_in(data) or load("-", data, **options)[0]
