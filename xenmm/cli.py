"""The ``xenmm`` command: its arguments, its exit codes, and nothing of what the commands do.

Exit codes: 0 done; 1 the question has a negative answer; 2 the input or the usage is wrong, told in one line
on standard error; 130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NoReturn

from .errors import XenmmError, did_you_mean
from .report.layout import printable
from .studies.command import complain
from .version import __version__

EXIT_BAD_INPUT: Final = 2
EXIT_FAULT: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_OUTPUT_CLOSED: Final = 141

#: The subcommands in the order and the groups of the help, each with a module ``studies/NAME_cli.py``.
_GROUPS: Final = {
    "look at a machine": ("report", "boot", "convert", "machines"),
    "study it": ("compare", "plan", "sweep", "steps", "replay", "bench"),
    "take it elsewhere": ("export",),
    "xenmm itself": ("doctor", "completion", "man"),
}
_EPILOG: Final = """\
FILE is what a machine says about its memory: a boot log of Linux, Xen or
FreeBSD, /proc/iomem, lsmem, an ACPI SRAT table, a device tree, a memory dump in
ELF, or a folder such as /sys/firmware/memmap. A - reads standard input,
this-machine asks the machine at hand, and the name of a bundled machine (xenmm
machines) does as well.

examples:
  xenmm report this-machine
  xenmm convert dell-r930 mfn:0x100000 --profile xen-mask

exit codes: 0 done; 1 the answer is negative; 2 the input or the usage is wrong.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises on bad input."""
    try:
        return _finish(_main(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python would flush once more at exit and complain; it finds nothing to do on /dev/null.
        _discard_output()
        return EXIT_OUTPUT_CLOSED


def _main(argv: Sequence[str]) -> int:
    if sys.stdout is None:
        complain("error: standard output is closed")
        return EXIT_BAD_INPUT
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args, unknown = make_parser().parse_known_args(argv)
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except XenmmError as e:
        complain(f"error: {e}")
    except BrokenPipeError:
        raise
    except OSError as e:
        complain(f"error: {_os_error(e)}")
    except MemoryError:
        complain("error: out of memory")
    except ImportError as e:
        complain(f"error: {e} (xenmm doctor shows what is missing)")
    except Exception as e:
        if "--traceback" in argv:
            raise
        complain(f"internal error: {type(e).__name__}: {e} (a fault of xenmm; --traceback shows where)")
        return EXIT_FAULT
    return EXIT_BAD_INPUT


def _finish(code: int) -> int:
    # Only a flush tells whether the output arrived: the disk may be full, the reader gone.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        complain(f"error: standard output: {_os_error(e)}")
        _discard_output()
        return EXIT_BAD_INPUT
    return code


def _discard_output() -> None:
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _os_error(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line: help, completion and man page are made from it."""
    parser = _Parser(
        prog="xenmm",
        description="What a hypervisor's memory tables cost on a real machine, exactly as Xen lays\n"
        "them out; alone, xenmm shows what it can tell of this machine.",
        epilog=_EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xenmm {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an internal error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for name in (name for group in _GROUPS.values() for name in group):
        import_module(f".studies.{name}_cli", __package__).add_parser(commands)
    parser.set_defaults(command=_guide, color="auto", parser=parser, root=parser)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        text = printable(f"{message}{_hint(self, message)} (see: {self.prog} --help)")
        self.exit(EXIT_BAD_INPUT, f"xenmm: error: {text}\n")


def _hint(parser: argparse.ArgumentParser, message: str) -> str:
    # The next step, where argparse tells the mistake alone.
    if "invalid choice: 'help'" in message:
        return "; did you mean --help, behind a command or alone?"
    if found := re.search(r"invalid choice: (.+) \(choose from (.+)\)", message):
        return did_you_mean(found[1].strip("'"), [word.strip("'") for word in found[2].split(", ")])
    if found := re.search(r"unrecognized arguments: (-\S+)", message):
        options = (option for action in parser._actions for option in action.option_strings)
        return did_you_mean(found[1].partition("=")[0], options)
    if "invalid int value" in message:
        return "; it is a whole number without a unit, as 1000000 or 1_000_000"
    if message.endswith("required: FILE"):
        return "; this-machine will do, or a bundled name (xenmm machines)"
    return ""


class _Help(argparse.RawDescriptionHelpFormatter):
    # argparse knows no groups of subcommands.
    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):
            return super()._format_action(action)
        each = {a.dest: a for a in action._choices_actions}
        # They stand deeper by one step than argparse made room for.
        self._action_max_length += self._indent_increment
        parts = []
        for title, names in _GROUPS.items():
            parts.append(f"  {title}:\n")
            self._indent()
            parts += map(super()._format_action, (each[name] for name in names))
            self._dedent()
        return "".join(parts)


def _guide(args: argparse.Namespace) -> int:
    from .studies import guide

    return guide.run(args)
