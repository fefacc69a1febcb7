"""``xenmm man``: the manual page, made from the parser that reads the arguments."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
import time
from collections.abc import Iterator
from typing import Any

from .. import version
from . import command

_MACRO = re.compile(r"^([.'])", re.MULTILINE)


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "man",
        run,
        "print the manual page",
        "man > xenmm.1",
        "man -o xenmm.1",
        notes="Read it at once: xenmm man | man -l -",
    )
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT", help="file to write; - is standard output"
    )


def run(args: argparse.Namespace) -> int:
    """Print the page."""
    command.write(args.output, manual_page(args.root))
    return command.EXIT_DONE


def manual_page(parser: argparse.ArgumentParser, dated: float | None = None) -> str:
    """The manual page of a command and its subcommands, in the man macros of roff.

    Parameters
    ----------
    parser : ArgumentParser
        The whole command's.
    dated : float, optional
        Seconds since 1970 of its date; by default of the package as it is installed.
    """
    subcommands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    title, _, more = (parser.description or "").partition(";")
    lines = [
        f'.TH XENMM 1 {_date(dated)} "xenmm {version.__version__}" "User Commands"',
        # Commands are neither hyphenated nor stretched.
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"xenmm \- {_roff(_filled(title[0].lower() + title[1:])).rstrip('.')}",
        ".SH SYNOPSIS",
        ".B xenmm",
        _roff("[--version] [COMMAND ...]"),
        ".SH DESCRIPTION",
        *_text(f"{title};{more}"),
        *_text((parser.epilog or "").partition("examples:")[0]),
        ".SH OPTIONS",
        *_arguments(parser._actions),
        ".SH COMMANDS",
    ]
    for name, sub in subcommands.choices.items():
        lines += [f".SS {_roff(f'xenmm {name}')}", *_subcommand(sub)]
    lines += [".SH EXIT STATUS", *_text((parser.epilog or "").partition("exit codes: ")[2])]
    return "\n".join(line for line in lines if line) + "\n"


def _date(seconds: float | None) -> str:
    seconds = os.path.getmtime(version.__file__) if seconds is None else seconds
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _subcommand(parser: argparse.ArgumentParser) -> Iterator[str]:
    words = [f"[{_synopsis(a)}]" for a in parser._actions if a.option_strings and not _is_hidden(a)]
    words += [str(a.metavar or a.dest) for a in parser._actions if not a.option_strings]
    yield _roff(f"{parser.prog} {' '.join(words)}")
    yield ".PP"
    description, _, notes = (parser.description or "").partition(".\n")
    yield from _text(description + ("." if notes else ""))
    if notes:
        yield from ("", ".PP", *_text(notes))
    yield from _arguments(parser._actions)
    examples = (parser.epilog or "").partition("examples:\n")[2]
    if examples:
        yield from (".PP", "Examples:", ".PP", ".nf", _roff(textwrap.dedent(examples.rstrip())), ".fi")


def _arguments(actions: list[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if _is_hidden(action) or isinstance(action, argparse._SubParsersAction):
            continue
        yield from (".TP", rf"\fB{_roff(_synopsis(action, every=True))}\fR")
        yield from _text((action.help or "").replace("%%", "%"))


def _is_hidden(action: argparse.Action) -> bool:
    return action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction)


def _synopsis(action: argparse.Action, *, every: bool = False) -> str:
    if not action.option_strings:
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        return f"{action.metavar or action.dest}{choices}"
    names = ", ".join(action.option_strings) if every else action.option_strings[-1]
    if action.nargs == 0:
        return names
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    return f"{names} {value}"


def _text(text: str) -> Iterator[str]:
    # Paragraphs; what is indented stands as it is.
    for i, block in enumerate(re.split(r"\n\s*\n", text.strip("\n"))):
        if i:
            yield ".PP"
        verbatim = False
        for line in block.split("\n"):
            if line.startswith("  ") != verbatim:
                verbatim = not verbatim
                yield ".nf" if verbatim else ".fi"
            yield _roff(line if verbatim else line.strip())
        if verbatim:
            yield ".fi"


def _filled(text: str) -> str:
    return " ".join(text.split())


def _roff(text: str) -> str:
    # A hyphen of a command must stay one that can be pasted; a dot that begins a line is no macro.
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return _MACRO.sub(r"\\&\1", escaped)
