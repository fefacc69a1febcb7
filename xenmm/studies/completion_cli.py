"""``xenmm completion``: a shell's completion of xenmm's own words, made by shtab from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ..errors import ConfigError
from . import command

SHELLS: Final = ("bash", "zsh", "fish")
_NOTES: Final = """\
Each shell looks for it in a folder of its own:
  bash  ~/.local/share/bash-completion/completions/xenmm
  zsh   _xenmm in a folder of $fpath
  fish  ~/.config/fish/completions/xenmm.fish"""

# What an argument that argparse knows no choices of is completed with, by option or by metavar.
_WORDS_OF: Final = {
    **dict.fromkeys(("--profile", "--profiles"), "profile"),
    **dict.fromkeys(("--uarch", "--uarchs"), "uarch"),
    **dict.fromkeys(("FILE", "INPUT", "INPUTS", "A", "B"), "machine"),
    **dict.fromkeys(("TRACE", "DEST", "OUT", "RECORD"), "file"),
    **dict.fromkeys(("DIR",), "directory"),
}


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "completion",
        run,
        "print the completion script of a shell, with the names of machines, profiles and uarchs",
        "completion bash",
        "completion fish",
        notes=_NOTES,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    command.emit(script(args.root, args.shell))
    return command.EXIT_DONE


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Make the completion script of a shell.

    Parameters
    ----------
    parser : ArgumentParser
        The whole command's.
    shell : str
        One of :data:`SHELLS`.

    Raises
    ------
    ConfigError
        Without shtab, which writes it.
    """
    try:
        import shtab
    except ImportError:
        raise ConfigError("completion needs shtab: pip install 'xenmm[completion]'") from None
    from ..boot.profiles import PROFILES
    from ..firmware.this_machine import THIS_MACHINE
    from ..maps import bundled
    from ..timing.config import microarchitectures

    words = {
        "machine": _completes("machine", [*bundled(), THIS_MACHINE], files=True),
        "profile": _completes("profile", list(PROFILES)),
        "uarch": _completes("uarch", microarchitectures(), files=True),
        "file": shtab.FILE,
        "directory": shtab.DIRECTORY,
    }
    for action in _actions(parser):
        names = (*action.option_strings, action.metavar)
        kind = next((_WORDS_OF[n] for n in names if isinstance(n, str) and n in _WORDS_OF), None)
        if kind is not None and not action.choices:
            action.complete = words[kind]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _actions(sub)


def _completes(kind: str, words: Sequence[str], *, files: bool = False) -> dict[str, Any]:
    # What shtab wants of an argument: a function for each shell, and the text that defines it.
    name, listed = f"_xenmm_{kind}", " ".join(words)
    bash_files, zsh_files = ("; compgen -f -- $1", " 'files:file:_files'") if files else ("", "")
    fish_files = " (__fish_complete_path (commandline -ct))" if files else ""
    return {
        "bash": name,
        "zsh": name,
        "fish": f"{listed}{fish_files}",
        "preamble": {
            "bash": f'{name}() {{ compgen -W "{listed}" -- $1{bash_files}; }}',
            "zsh": f"{name}() {{ _alternative '{kind}s:{kind}:({listed})'{zsh_files} }}",
        },
    }
