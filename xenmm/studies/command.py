"""What the subcommands of ``xenmm`` share: their frame, their input, the options of boot, and their output.

A subcommand is a module ``NAME_cli.py`` with ``add_parser(commands)`` and imports nothing heavy by itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..files import ensure_writable, write_whole

if TYPE_CHECKING:
    from ..boot.host import Host
    from ..firmware.memory_map import MemoryMap
    from ..report.inputs import Input

EXIT_DONE: Final = 0
EXIT_NEGATIVE: Final = 1

#: Text is never set narrower than this.
WIDTH_MIN: Final = 40


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    *examples: str,
    notes: str = "",
) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser.

    Parameters
    ----------
    commands : action
        What ``add_subparsers`` returned.
    name : str
        The subcommand.
    run : callable
        Takes the arguments, returns the exit code.
    help : str
        One line that begins with a verb, in lower case.
    *examples : str
        Two at least, without the word ``xenmm``.
    notes : str
        What else one needs to know, set as it stands.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description="\n".join([*textwrap.wrap(help[0].upper() + help[1:] + ".", 79), notes]).rstrip(),
        epilog="examples:\n" + "\n".join(f"  xenmm {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(command=run, parser=parser)
    return parser


def add_input(parser: argparse.ArgumentParser, *, optional: str | None = None) -> None:
    """Add FILE and how a log is read; with ``optional`` FILE may be left out, and the text says what then."""
    text = "a log, table or blob; -: standard input; this-machine; or a bundled name"
    if optional is None:
        parser.add_argument("file", metavar="FILE", help=text)
    else:
        parser.add_argument("file", nargs="?", metavar="FILE", help=f"{text} (default: {optional})")
    group = parser.add_argument_group("reading FILE")
    group.add_argument("--boot", type=int, metavar="N", help="which boot of a log with several, from 1")
    group.add_argument(
        "--map",
        choices=("firmware", "user"),
        default="firmware",
        help="the firmware's map, or the one the kernel was told to use (default: firmware)",
    )
    group.add_argument(
        "--strict", action="store_true", help="refuse a damaged log instead of keeping what is certain"
    )


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile``, one name."""
    parser.add_argument(
        "--profile", default="xen-offset", metavar="P", help="what to boot (default: xen-offset)"
    )


def add_page_sizes(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--page-sizes``."""
    parser.add_argument(
        "--page-sizes", choices=("2m", "1g"), default="1g", help="the CPU's largest page (default: 1g)"
    )


def add_boot_options(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`xenmm.boot` takes beside the map and the profile."""
    group = parser.add_argument_group("booting it")
    add_page_sizes(group)
    group.add_argument(
        "--compat-m2p",
        choices=("on", "off", "default"),
        default="default",
        help="the M2P copy for 32-bit PV guests (default: as the profile has it)",
    )
    group.add_argument(
        "--no-hotplug", action="store_true", help="leave out hot-pluggable SRAT rows, to see what they cost"
    )
    group.add_argument(
        "--stack-guards", action="store_true", help="split the page at node 0's top, as real boots do"
    )
    group.add_argument(
        "--command-line",
        metavar="TEXT",
        help="Xen's boot options, as mem=64G (default: those a Xen log states; ignore: none)",
    )


def add_output(parser: argparse.ArgumentParser, *, width: bool = True) -> Any:
    """Add ``--json``, ``--color`` and, for text that fits itself to it, ``--width``; return their group."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", metavar="DEST", help="write JSON to this file; - writes it instead of the text"
    )
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colour the text, with rich installed (default: auto, on a terminal)",
    )
    if width:
        group.add_argument(
            "--width", type=int, metavar="N", help="columns of text (default: the terminal's, else 80)"
        )
    return group


def add_plot(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--plot`` and the width of its picture; ``what`` says what it shows."""
    parser.add_argument(
        "--plot", metavar="OUT", help=f"draw {what} into a .png, .svg or .pdf (needs the extra plot)"
    )
    parser.add_argument(
        "--plot-width",
        choices=("single", "double"),
        default="double",
        help="of the picture, in columns of a paper: 3.4 or 7 inches (default: double)",
    )


def ensure_plot(args: argparse.Namespace) -> None:
    """Refuse a picture that cannot be drawn or written before any work is done."""
    if args.plot is not None:
        from ..report.plot import check_destination

        check_destination(args.plot)
        ensure_writable(args.plot)


def plot(args: argparse.Namespace, figure: Callable[[str], Any]) -> None:
    """Draw what the arguments of :func:`add_plot` ask for: ``figure`` makes the picture of a width."""
    if args.plot is not None:
        from ..report.plot import save

        save(figure(args.plot_width), args.plot)


def load(args: argparse.Namespace, file: str | None = None) -> tuple[MemoryMap, Input]:
    """Read the map that the arguments of :func:`add_input` name, or another file as they say.

    Raises
    ------
    ConfigError, MemoryMapError, OSError
        As :func:`xenmm.report.inputs.load`.
    """
    from ..report.inputs import load as load_input
    from ..report.inputs import read_stdin

    if args.boot is not None and args.boot < 1:
        raise ConfigError(f"--boot counts from 1, got {args.boot}")
    name = args.file if file is None else file
    data = read_stdin() if name == "-" else None
    return load_input(name, data, boot=args.boot, map=args.map, strict=args.strict)


def load_ram(args: argparse.Namespace, file: str | None = None) -> tuple[MemoryMap, Input]:
    """As :func:`load`, and there is RAM to boot on."""
    from ..report.inputs import need_ram

    memory_map, given = load(args, file)
    return need_ram(memory_map, given.name), given


def boot_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords for :func:`xenmm.boot` that the arguments of :func:`add_boot_options` mean."""
    return {
        "page_sizes": args.page_sizes,
        "compat_m2p": {"on": True, "off": False, "default": None}[args.compat_m2p],
        "hotplug": False if args.no_hotplug else None,
        "stack_guards": args.stack_guards,
        "command_line": args.command_line,
    }


def booted(args: argparse.Namespace, profile: str | None = None) -> tuple[Host, Input]:
    """Read the map and boot it as the arguments say, or with another profile."""
    from ..boot.host import boot

    memory_map, given = load_ram(args)
    return boot(memory_map, args.profile if profile is None else profile, **boot_options(args)), given


def output(
    args: argparse.Namespace, text: Callable[[int], str | Sequence[str]], facts: Callable[[], dict[str, Any]]
) -> None:
    """Write what the arguments of :func:`add_output` ask for: JSON, and the text unless JSON took its place.

    Parameters
    ----------
    args : Namespace
        The arguments.
    text : callable
        Sets the answer as lines of so many columns; as one text it has no colour.
    facts : callable
        The answer as plain values, with its schema.
    """
    if args.json is not None:
        write(args.json, json_text(facts()))
    if args.json != "-":
        show(text(text_width(args)), args)


def show(text: str | Sequence[str], args: argparse.Namespace) -> None:
    """Write lines to standard output, in colour if it is a terminal or was asked for; a text has none."""
    from ..report.terminal import write_lines

    lines = text.removesuffix("\n").split("\n") if isinstance(text, str) else text
    write_lines(lines, sys.stdout, args.color)


def ensure_output(destination: str | None) -> None:
    """Refuse a place that cannot be written before minutes of work rather than after."""
    if destination not in (None, "-"):
        ensure_writable(destination)


def write(destination: str, content: str | bytes) -> None:
    """Write to a file, whole or not at all, or to standard output for ``-``."""
    if destination != "-":
        write_whole(destination, content)
    elif isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        emit(content)


def emit(text: str) -> None:
    """Write text to standard output, its last line ended."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def complain(text: str) -> None:
    """Write one line to standard error, whatever a file name or a log put into it."""
    from ..report.layout import printable

    if sys.stderr is not None:
        print("xenmm: " + printable(text), file=sys.stderr)


def json_text(facts: dict[str, Any], indent: int = 2) -> str:
    """The facts as JSON in ASCII."""
    import json

    return json.dumps(facts, indent=indent, ensure_ascii=True) + "\n"


def text_width(args: argparse.Namespace) -> int:
    """Columns to set text in: those asked for, the terminal's, or 80."""
    if getattr(args, "width", None) is not None:
        return max(int(args.width), WIDTH_MIN)
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns, WIDTH_MIN)
    except (OSError, ValueError):
        return 80
